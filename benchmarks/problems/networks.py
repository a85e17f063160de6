"""Small networks of different kinds, each from a seed; for training problems that take a second."""

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention


def dense(seed: int, widths: tuple[int, ...], activation: type[nn.Module] = nn.ReLU) -> nn.Module:
    """A multilayer perceptron of these widths, from input to output."""
    torch.manual_seed(seed)
    pairs = list(zip(widths, widths[1:]))
    layers = [layer for a, b in pairs for layer in (nn.Linear(a, b), activation())]
    return nn.Sequential(*layers[:-1])


def normed(seed: int) -> nn.Module:
    """A perceptron with BatchNorm and dropout, for 64 pixels and two classes."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(64, 48), nn.BatchNorm1d(48), nn.ReLU(), nn.Dropout(0.1),
        nn.Linear(48, 48), nn.BatchNorm1d(48), nn.ReLU(), nn.Linear(48, 2),
    )  # fmt: skip


def convolution(seed: int) -> nn.Module:
    """Two convolutions with BatchNorm, for 1 × 8 × 8 pixels and ten classes."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Flatten(), nn.Linear(256, 10),
    )  # fmt: skip


def grouped(seed: int) -> nn.Module:
    """Two convolutions with GroupNorm and a mean over places, for 1 × 8 × 8 pixels and ten classes."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1), nn.GroupNorm(3, 12), nn.GELU(),
        nn.Conv2d(12, 24, 3, stride=2, padding=1), nn.GroupNorm(3, 24), nn.GELU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(96, 10),
    )  # fmt: skip


class Block(nn.Module):
    """Attention with four heads, then a perceptron, both after a LayerNorm and beside the residual stream."""

    def __init__(self, width: int, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        self.attend = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 3 * width))
        self.mix = nn.Linear(width, width)
        self.think = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.GELU(), nn.Linear(3 * width, width)
        )

    def forward(self, h: Tensor) -> Tensor:
        query, key, value = self.attend(h).unflatten(-1, (3, 4, -1)).permute(2, 0, 3, 1, 4)
        seen = scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        h = h + self.mix(seen.transpose(1, 2).flatten(2))
        return h + self.think(h)


class Transformer(nn.Module):
    """Two blocks over [samples, places, inputs].

    Args:
        inputs: numbers at each place.
        places: of them.
        width: of the residual stream.
        outputs: at each place where it is causal, else for the mean over places.
        causal: whether a place sees only itself and those before it.
    """

    def __init__(self, inputs: int, places: int, width: int, outputs: int, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        self.embed = nn.Linear(inputs, width, bias=False)
        self.place = nn.Parameter(0.02 * torch.randn(places, width))
        self.blocks = nn.Sequential(Block(width, causal), Block(width, causal))
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, outputs))

    def forward(self, x: Tensor) -> Tensor:
        h = self.blocks(self.embed(x) + self.place)
        return self.head(h if self.causal else h.mean(1))


def transformer(seed: int, inputs: int, places: int, width: int, outputs: int, causal: bool) -> nn.Module:
    """A Transformer from a seed."""
    torch.manual_seed(seed)
    return Transformer(inputs, places, width, outputs, causal)


class Recurrent(nn.Module):
    """A GRU over [samples, places, inputs] that predicts at every place."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.cell = nn.GRU(inputs, width, batch_first=True)
        self.head = nn.Linear(width, inputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cell(x)[0])


def recurrent(seed: int, inputs: int, width: int) -> nn.Module:
    """A Recurrent from a seed."""
    torch.manual_seed(seed)
    return Recurrent(inputs, width)
