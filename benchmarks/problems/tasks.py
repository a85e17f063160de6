"""Tasks as rows of a table: data, network and loss as text, and how the samples are split.

    moons = ["moons 0.25", "2-32-32-2 Softplus", "cross_entropy", 1200, 71]

A generator, a layer or a loss is its name and its arguments, separated by blanks. Dense networks are their widths and
their activation, `ReLU` by default; others are layers of `torch.nn` or `benchmarks.problems.networks`, separated by
bars: "Conv2d 1 8 3 stride=2 | ReLU | Flatten | Linear 72 10".
"""

import ast
import functools
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

import steepest as sd
from benchmarks.problems import classes, digits, functions, networks, text
from steepest.tasks.digits import images

HELD_OUT = 600
"""Validation samples where a task is trained on the rest."""


@dataclass(frozen=True)
class Row:
    """A task.

    Attributes:
        data: a generator and its arguments.
        network: layers.
        loss: a function of `torch.nn.functional` or of this module.
        samples: to train on; "rest" for all but HELD_OUT.
        seed: of the split.
        data_seed: of the data; None for the seed of the split.
        validation: samples that follow those to train on.
        wrong: share of the labels that is drawn at random.
        wrong_seed: of these; None for the seed of the data.
        shuffle: whether samples are shuffled before they are split.
        flat: whether each sample is flattened to a vector.
        scale: factor of all initial weights.
        shift: subtracted from the initial biases of layers with more than `shift_above` outputs.
        healthy: value of scale or shift from which the task can be learned, where its own leads to a plateau.
    """

    data: str
    network: str
    loss: str
    samples: int | str
    seed: int
    data_seed: int | None = None
    validation: int = 400
    wrong: float = 0.0
    wrong_seed: int | None = None
    shuffle: bool = True
    flat: bool = False
    scale: float | None = None
    shift: float | None = None
    shift_above: int = 2
    healthy: float | None = None


def parse(words: str) -> tuple[str, list[Any], dict[str, Any]]:
    """The name, arguments and options that a text stands for.

    >>> parse("Conv2d 1 8 (3,3) stride=2")
    ('Conv2d', [1, 8, (3, 3)], {'stride': 2})
    """
    name, *rest = words.split()
    options = {key: _value(value) for key, _, value in (word.partition("=") for word in rest if "=" in word)}
    return name, [_value(word) for word in rest if "=" not in word], options


def _value(word: str) -> Any:
    try:
        return ast.literal_eval(word)
    except (ValueError, SyntaxError):
        return word


def _find(name: str, *modules: Any) -> Any:
    """What a name stands for in the first of the modules that has it."""
    return next(getattr(module, name) for module in modules if hasattr(module, name))


def _layer(words: str) -> nn.Module:
    name, arguments, options = parse(words)
    return _find(name, networks, nn)(*arguments, **options)


@networks.with_seed
def build(words: str) -> nn.Module:
    """The network that a text stands for."""
    layers = [_layer(layer) for layer in words.split("|")]
    return layers[0] if len(layers) == 1 else nn.Sequential(*layers)


def network(words: str) -> Callable[[int], nn.Module]:
    """What builds a network from a seed."""
    widths = words.split()[0]
    if widths.replace("-", "").isdigit():
        _, activation, options = parse(words)
        kind = getattr(nn, activation[0] if activation else "ReLU")
        return functools.partial(networks.dense, widths=tuple(map(int, widths.split("-"))), activation=kind, **options)
    return functools.partial(build, words=words)


def loss(words: str) -> Callable[..., Tensor]:
    """The loss that a text stands for."""
    name, _, options = parse(words)
    function = LOSSES.get(name) or getattr(functional, name)
    return functools.partial(function, **options) if options else function


def _at_each_place(output: Tensor, target: Tensor) -> Tensor:
    """Cross entropy at every place of a sequence."""
    return functional.cross_entropy(output.flatten(0, 1), target.flatten())


def _binary(output: Tensor, target: Tensor) -> Tensor:
    return functional.binary_cross_entropy_with_logits(output.squeeze(1), target)


def _gaussian(output: Tensor, target: Tensor) -> Tensor:
    """Negative log-density of the target under the predicted mean and log-deviation; below 0 where it fits well."""
    mean, log_deviation = output.unbind(1)
    return (0.5 * ((target[:, 0] - mean) / log_deviation.exp()).square() + log_deviation).mean()


LOSSES = {"at_each_place": _at_each_place, "binary": _binary, "gaussian": _gaussian}


def task(row: Row, healthy: bool = False) -> sd.Task:
    """The task of a row, or the same with initial weights from which it can be learned."""
    halves = split(row)
    model = network(row.network)
    if row.scale is not None:
        scale = row.healthy if healthy else row.scale
        model = functools.partial(_modify, model, lambda p: scale * p)
    if row.shift is not None:
        shift = row.healthy if healthy else row.shift
        model = functools.partial(_modify, model, lambda p: p - shift if _is_bias(p, row.shift_above) else p)
    return sd.Task(model, loss=loss(row.loss), **halves)


def _is_bias(p: Tensor, outputs: int) -> bool:
    """Whether a parameter is a vector with more than so many entries."""
    return p.dim() == 1 and len(p) > outputs


def split(row: Row) -> dict[str, Any]:
    """Data and validation of a Task."""
    x, y = _data(row)
    order = torch.arange(len(x))
    if row.shuffle:
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(row.seed))
    if isinstance(row.samples, str):
        train, validation = order[HELD_OUT:], order[:HELD_OUT]
    else:
        train, validation = order[: row.samples], order[row.samples : row.samples + row.validation]
    return {"data": (x[train], y[train]), "validation": (x[validation], y[validation])}


def _data(row: Row) -> tuple[Tensor, Tensor]:
    name, arguments, _ = parse(row.data)
    seed = row.seed if row.data_seed is None else row.data_seed
    random = torch.Generator().manual_seed(seed)
    inputs = images() if hasattr(digits, name) else ()
    x, y = _find(name, functions, classes, digits, text)(*inputs, *arguments, random=random)
    if row.wrong:
        random = torch.Generator().manual_seed(seed if row.wrong_seed is None else row.wrong_seed)
        wrong = torch.rand(len(y), generator=random) < row.wrong
        y = torch.where(wrong, torch.randint(int(y.max()) + 1, y.shape, generator=random), y)
    if row.loss == "binary":
        y = y.float()
    if row.loss == "binary_cross_entropy_with_logits" and y.dim() == 1:
        y = y[:, None].float()
    return x.flatten(1) if row.flat else x, y


def _modify(build: Callable[[int], nn.Module], change: Callable[[Tensor], Tensor], seed: int) -> nn.Module:
    """A network whose initial parameters are changed."""
    net = build(seed)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(change(p))
    return net


def load(path: Path) -> dict[str, Any]:
    """A table of tasks and trainings."""
    return tomllib.loads(path.read_text(encoding="utf-8"))


def rows(table: Mapping[str, Sequence[Any]]) -> dict[str, Row]:
    """The rows of a table of tasks: the first five entries by place, the others by name."""
    return {name: Row(*entries[:5], **(entries[5] if len(entries) > 5 else {})) for name, entries in table.items()}
