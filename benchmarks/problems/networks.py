"""Small networks of different kinds, each built from a seed; for training problems that take a second."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from benchmarks.problems.text import SYMBOLS


def with_seed(make: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    """`make` with a seed for torch's random numbers as its first argument."""

    @functools.wraps(make)
    def build(seed: int, *arguments: Any, **options: Any) -> nn.Module:
        torch.manual_seed(seed)
        return make(*arguments, **options)

    return build


@with_seed
def dense(widths: tuple[int, ...], activation: type[nn.Module] = nn.ReLU) -> nn.Module:
    """A multilayer perceptron with these widths, from input to output."""
    pairs = list(zip(widths, widths[1:]))
    layers = [layer for a, b in pairs for layer in (nn.Linear(a, b), activation())]
    return nn.Sequential(*layers[:-1])


@with_seed
def convolution() -> nn.Module:
    """Two convolutions with BatchNorm, for 1 × 8 × 8 pixels and ten classes."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Flatten(), nn.Linear(256, 10),
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
        heads = scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        h = h + self.mix(heads.transpose(1, 2).flatten(2))
        return h + self.think(h)


class Transformer(nn.Module):
    """Two blocks over [samples, places, inputs]; outputs at each place if causal, else for the mean over places."""

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


READS = {"every": lambda states: states, "mean": lambda states: states.mean(1), "last": lambda states: states[:, -1]}


class Recurrent(nn.Module):
    """A layer on every, the mean or the last state of a GRU or LSTM over [samples, places, inputs]."""

    def __init__(self, cell: str, inputs: int, width: int, outputs: int, read: str) -> None:
        super().__init__()
        self.cell, self.read = getattr(nn, cell)(inputs, width, batch_first=True), READS[read]
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.read(self.cell(x)[0]))


class Attention(nn.Module):
    """Attention with one head, then a layer: [samples, places, inputs] to [samples, outputs]."""

    def __init__(self, inputs: int, width: int, outputs: int) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(inputs, width), nn.Linear(width, outputs)
        self.attention = nn.MultiheadAttention(width, 1, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x)
        return self.head((h + self.attention(h, h, h, need_weights=False)[0]).relu().mean(1))


class Factors(nn.Module):
    """A matrix as the product of two thin ones, read at (row, column)."""

    def __init__(self, rows: int, columns: int, rank: int) -> None:
        super().__init__()
        self.rows = nn.Parameter(0.3 * torch.randn(rows, rank))
        self.columns = nn.Parameter(0.3 * torch.randn(columns, rank))

    def forward(self, pairs: Tensor) -> Tensor:
        return (self.rows[pairs[:, 0]] * self.columns[pairs[:, 1]]).sum(1)


class Neighbours(nn.Module):
    """The next symbol from a few before it, each embedded as a vector (Bengio et al. 2003)."""

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.vectors = nn.Parameter(torch.randn(SYMBOLS, width))
        self.think = nn.Sequential(nn.Linear(count * width, 64), nn.Tanh(), nn.Linear(64, SYMBOLS))

    def forward(self, symbols: Tensor) -> Tensor:
        return self.think(self.vectors[symbols].flatten(1))


class Residual(nn.Module):
    """x plus layers of it: LayerNorm and a perceptron with GELU, or a perceptron with Mish."""

    def __init__(self, width: int, norm: bool = True) -> None:
        super().__init__()
        perceptron = nn.Linear(width, width), nn.GELU() if norm else nn.Mish(), nn.Linear(width, width)
        self.think = nn.Sequential(*([nn.LayerNorm(width)] if norm else []), *perceptron)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.think(x)


transformer = with_seed(Transformer)


@with_seed
def recurrent(inputs: int, width: int) -> nn.Module:
    """A GRU that predicts its next input at every place."""
    return Recurrent("GRU", inputs, width, inputs, "every")
