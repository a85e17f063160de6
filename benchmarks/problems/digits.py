"""Data from scikit-learn's 1,797 handwritten digits: generators make x and y from pixels [1797, 64] and digits [1797].

`random` is the torch generator of all random numbers of a generator, in the order in which they are drawn.
"""

import math

import torch
from torch import Generator, Tensor, nn

from benchmarks.problems.functions import Data

_MIDDLE = torch.zeros(8, 8, dtype=torch.bool)
_MIDDLE[2:6, 2:6] = True

VIEWS = {
    "flat": lambda x: x,
    "picture": lambda x: x.reshape(-1, 1, 8, 8),
    "rows": lambda x: x.reshape(-1, 8, 8),
    "columns": lambda x: x.reshape(-1, 8, 8).transpose(1, 2),
    "upper_half": lambda x: x[:, :32],
    "frame": lambda x: x.reshape(-1, 8, 8)[:, ~_MIDDLE],
}
"""Inputs from pixels [1797, 64]."""


def _ink(x: Tensor) -> Tensor:
    """How much ink is in the upper half, the left half and the rim, normalized: [1797, 3]."""
    pictures = x.reshape(-1, 8, 8)
    rim = pictures.sum((1, 2)) - pictures[:, 2:-2, 2:-2].sum((1, 2))
    y = torch.stack([pictures[:, :4].sum((1, 2)), pictures[:, :, :4].sum((1, 2)), rim], 1)
    return (y - y.mean(0)) / y.std(0)


def _centre(x: Tensor) -> Tensor:
    """The centre of the ink, down and across, and its spread, normalized: [1797, 3]."""
    ink = (x - x.min()).reshape(-1, 8, 8)
    ink = ink / ink.sum((1, 2), keepdim=True)
    at = torch.linspace(-1, 1, 8)
    down, across = (ink.sum(2) * at).sum(1), (ink.sum(1) * at).sum(1)
    spread = (ink * (at[:, None] ** 2 + at**2)).sum((1, 2))
    y = torch.stack([down, across, spread], 1)
    return (y - y.mean(0)) / y.std(0)


TARGETS = {
    "digit": lambda x, y: y,
    "one_hot": lambda x, y: nn.functional.one_hot(y, 10).float(),
    "number": lambda x, y: y[:, None] / 9,
    "parity": lambda x, y: y % 2,
    "remainder": lambda x, y: y % 3,
    "above_4": lambda x, y: (y > 4).long(),
    "above_6": lambda x, y: (y > 6).long(),
    "below_4": lambda x, y: (y < 4).long(),
    "loop": lambda x, y: torch.isin(y, torch.tensor([0, 6, 8, 9])).long(),
    "bits": lambda x, y: torch.stack([(y >> k) & 1 for k in range(4)], 1).float(),
    "properties": lambda x, y: torch.stack([y % 2 == 0, y > 4, y % 3 == 0], 1).float(),
    "pixels": lambda x, y: x,
    "lower_half": lambda x, y: x[:, 32:],
    "middle": lambda x, y: x.reshape(-1, 8, 8)[:, _MIDDLE],
    "ink": lambda x, y: _ink(x),
    "centre": lambda x, y: _centre(x),
}
"""Targets from pixels and digits."""


def digits(x: Tensor, y: Tensor, view: str, target: str, random: Generator) -> Data:
    """The digits as they are, with a view of VIEWS and a target of TARGETS."""
    return VIEWS[view](x), TARGETS[target](x, y)


# -- Several digits ----------------------------------------------------------------------------------------------------


def pair(x: Tensor, y: Tensor, random: Generator) -> Data:
    """Two digits side by side: whether the first is greater."""
    other = torch.randperm(len(x), generator=random)
    return torch.cat([x, x[other]], 1), (y > y[other]).long()


def total(x: Tensor, y: Tensor, random: Generator) -> Data:
    """Two digits one above the other [1, 16, 8]: their sum."""
    other = torch.randperm(len(x), generator=random)
    return torch.cat([x, x[other]], 1).reshape(-1, 1, 16, 8), y + y[other]


def smallest(x: Tensor, y: Tensor, random: Generator) -> Data:
    """Three digits side by side: which is smallest."""
    one, two = torch.randperm(len(x), generator=random), torch.randperm(len(x), generator=random)
    return torch.cat([x, x[one], x[two]], 1), torch.stack([y, y[one], y[two]], 1).argmin(1)


def difference(x: Tensor, y: Tensor, random: Generator) -> Data:
    """The difference of two pictures: whether they show the same digit [1]."""
    order = y.argsort()
    near = order.roll(1)[order.argsort()]
    other = torch.where(torch.rand(len(x), generator=random) < 0.5, near, torch.randperm(len(x), generator=random))
    return x - x[other], (y == y[other]).float()[:, None]


def overlay(x: Tensor, y: Tensor, random: Generator) -> Data:
    """Two digits over each other: which of the ten are there [10]."""
    other = torch.randperm(len(x), generator=random)
    both = nn.functional.one_hot(y, 10) + nn.functional.one_hot(y[other], 10)
    return torch.maximum(x, x[other]), both.clamp(max=1).float()


# -- Damaged digits ----------------------------------------------------------------------------------------------------


def denoise(x: Tensor, y: Tensor, random: Generator) -> Data:
    """Pictures with noise: the pictures."""
    return x + 0.4 * torch.randn(x.shape, generator=random), x


def inpainting(x: Tensor, y: Tensor, random: Generator) -> Data:
    """Pictures of which 40 % of the pixels are 0: the pictures."""
    return x * (torch.rand(x.shape, generator=random) > 0.4), x


def occlusion(x: Tensor, y: Tensor, random: Generator) -> Data:
    """Pictures of which half of the pixels are 0: the digit."""
    return x * (torch.rand(x.shape, generator=random) < 0.5), y


def blur(x: Tensor, y: Tensor, random: Generator) -> Data:
    """Blurred pictures with noise: the digit."""
    soft = nn.functional.avg_pool2d(x.reshape(-1, 1, 8, 8), 3, 1, 1).flatten(1)
    return 2 * soft + 0.3 * torch.randn(x.shape, generator=random), y


def pepper(x: Tensor, y: Tensor, share: float, random: Generator) -> Data:
    """Pictures of which a share of the pixels is another digit's: the digit."""
    other = x[torch.randperm(len(x), generator=random)]
    return torch.where(torch.rand(x.shape, generator=random) < share, other, x), y


def fade(x: Tensor, y: Tensor, random: Generator) -> Data:
    """Pictures of random contrast on a sloping background: the digit."""
    contrast = 0.3 + 0.7 * torch.rand(len(x), 1, generator=random)
    at = torch.linspace(-1, 1, 8)
    slope = torch.randn(len(x), 2, generator=random) @ torch.stack([at.repeat_interleave(8), at.repeat(8)])
    return contrast * x + 0.3 * slope, y


def scramble(x: Tensor, y: Tensor, random: Generator) -> Data:
    """Pixels mixed by a random matrix, with noise: the digit."""
    mixture = (x - x.mean(0)) @ torch.randn(64, 64, generator=random) / 8
    return mixture + 0.2 * torch.randn(x.shape, generator=random), y


# -- What was done to the picture --------------------------------------------------------------------------------------


def quarter_turns(x: Tensor, y: Tensor, random: Generator) -> Data:
    """Pictures turned by right angles: by how many."""
    y = torch.randint(4, (len(x),), generator=random)
    pictures = [torch.rot90(one.reshape(8, 8), int(k)) for one, k in zip(x, y, strict=True)]
    return torch.stack(pictures)[:, None], y


def rotation(x: Tensor, y: Tensor, random: Generator) -> Data:
    """Pictures with noise, turned by an angle: its sine and cosine [2]."""
    pictures = x.reshape(-1, 1, 8, 8)
    angle = math.pi * (torch.rand(len(pictures), generator=random) - 0.5)
    c, s = angle.cos(), angle.sin()
    turn = torch.stack([torch.stack([c, -s, 0 * c], 1), torch.stack([s, c, 0 * c], 1)], 1)
    grid = nn.functional.affine_grid(turn, list(pictures.shape), align_corners=False)
    x = nn.functional.grid_sample(pictures, grid, align_corners=False)
    return x + 0.1 * torch.randn(x.shape, generator=random), torch.stack([s, c], 1)


def shift(x: Tensor, y: Tensor, random: Generator) -> Data:
    """Pictures as columns [8, 8], shifted cyclically: by how many columns."""
    y = torch.randint(8, (len(x),), generator=random)
    columns = [one.reshape(8, 8).roll(int(k), 1) for one, k in zip(x, y, strict=True)]
    return torch.stack(columns), y


def mirror(x: Tensor, y: Tensor, random: Generator) -> Data:
    """Pictures, some of them mirrored: which."""
    pictures = x.reshape(-1, 8, 8)
    y = torch.randint(2, (len(pictures),), generator=random)
    return torch.where(y[:, None, None] == 1, pictures.flip(2), pictures)[:, None], y


def bold(x: Tensor, y: Tensor, random: Generator) -> Data:
    """Pictures, some with thick strokes: which."""
    pictures = x.reshape(-1, 1, 8, 8)
    y = torch.randint(2, (len(pictures),), generator=random)
    thick = 0.5 * (pictures + nn.functional.max_pool2d(pictures, 2, 1, 1)[:, :, :8, :8])
    return torch.where(y[:, None, None, None] == 1, thick, pictures), y


def missing_row(x: Tensor, y: Tensor, random: Generator) -> Data:
    """Pictures with noise and one row set to 0: which row."""
    pictures = x.reshape(-1, 8, 8)
    pictures = pictures + 0.2 * torch.randn(pictures.shape, generator=random)
    y = torch.randint(8, (len(pictures),), generator=random)
    return torch.where(torch.arange(8)[None, :, None] == y[:, None, None], 0.0, pictures)[:, None], y


def darkest_quarter(x: Tensor, y: Tensor, random: Generator) -> Data:
    """Pictures with noise: the quarter that had most ink before."""
    pictures = x.reshape(-1, 1, 8, 8)
    y = nn.functional.avg_pool2d(pictures, 4).flatten(1).argmax(1)
    return pictures + 0.15 * torch.randn(pictures.shape, generator=random), y
