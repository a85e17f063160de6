"""A training, and the table of kinds."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import steepest as sd

CHOICE, REPORT = "choice", "report"
"""Groups of kinds: thresholds are chosen on the one, the other is run once and reported."""
SAMPLES, VALIDATION = 2000, 500


@dataclass(frozen=True)
class Training:
    """A healthy training.

    Attributes:
        task: with a validation split.
        settings: of `sd.descend`.
        baseline: validation loss that a training without a fault beats.
        body: called after each step.
    """

    task: sd.Task
    settings: dict[str, Any]
    baseline: float
    body: Callable[[Any], None] = lambda step: None


@dataclass(frozen=True)
class Kind:
    """A kind of training.

    Attributes:
        name: in words.
        group: "choice" or "report".
        make: the training of a seed.
    """

    name: str
    group: str
    make: Callable[[int], Training]


KINDS: dict[str, Kind] = {}


def kind(name: str, group: str) -> Callable[[Callable[[int], Training]], Callable[[int], Training]]:
    """Registers a function that makes the training of a seed."""

    def register(make: Callable[[int], Training]) -> Callable[[int], Training]:
        KINDS[name] = Kind(name, group, make)
        return make

    return register


def generator(seed: int) -> torch.Generator:
    """Random numbers of a seed's data."""
    return torch.Generator().manual_seed(1000 + seed)


def dense(*widths: int, activation: type[nn.Module] = nn.ReLU, seed: int = 0) -> nn.Sequential:
    """A dense network whose initial weights depend on the seed only."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        for inputs, outputs in zip(widths, widths[1:], strict=False):
            layers += [nn.Linear(inputs, outputs), activation()]
        return nn.Sequential(*layers[:-1])


def regression(seed: int, inputs: int = 16, noise: float = 0.1) -> tuple[Tensor, Tensor]:
    """Inputs and a smooth nonlinear function of them, [n, inputs] and [n, 1]."""
    random = generator(seed)
    x = torch.randn(SAMPLES + VALIDATION, inputs, generator=random)
    w = torch.randn(inputs, 1, generator=random) / inputs**0.5
    return x, x @ w + torch.sin(3 * x[:, :1]) + noise * torch.randn(len(x), 1, generator=random)


def classification(seed: int, classes: int = 4, inputs: int = 16, spread: float = 1.0) -> tuple[Tensor, Tensor]:
    """Points around random centres, [n, inputs] and their classes [n]."""
    random = generator(seed)
    centres = 2 * torch.randn(classes, inputs, generator=random)
    y = torch.randint(classes, (SAMPLES + VALIDATION,), generator=random)
    return centres[y] + spread * torch.randn(len(y), inputs, generator=random), y


def split(*columns: Tensor) -> dict[str, tuple[Tensor, ...]]:
    """Training and validation data, as arguments of a task."""
    return {"data": tuple(c[:SAMPLES] for c in columns), "validation": tuple(c[SAMPLES:] for c in columns)}


class Steps(nn.Module):
    """Counts a model's training steps in a buffer, which goes back with the weights when a run is rewound."""

    count: Tensor

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def forward(self, *inputs: Any) -> Any:
        """The model's output."""
        if self.training:
            self.count += 1
        return self.model(*inputs)


def batches_of(draw: Callable[[int, torch.Generator], Any], seed: int, steps: int) -> Iterator[Any]:
    """Batches that a function draws for each step."""
    random = generator(seed + 500)
    return (draw(t, random) for t in range(1, steps + 1))


class Stream:
    """An iterable of a fixed number of batches, drawn anew in the same way each time.

    Args:
        draw: gives the batch of a step, from 1, with random numbers.
        seed: of the numbers.
        steps: their number.
    """

    def __init__(self, draw: Callable[[int, torch.Generator], Any], seed: int, steps: int) -> None:
        self._draw, self._seed, self._steps = draw, seed, steps

    def __iter__(self) -> Iterator[Any]:
        return batches_of(self._draw, self._seed, self._steps)

    def __len__(self) -> int:
        return self._steps
