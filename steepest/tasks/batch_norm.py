"""Batch norm needs more than one value of each channel in training: a batch of one is refused before the first step.

The values of a channel are those of all samples and, after a convolution, of all places; so one image may be enough.
"""

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import DataLoader

from steepest import seeds
from steepest.errors import InputError
from steepest.tasks.batches import Batches, micro_batch_size
from steepest.tasks.module_copy import copy_module
from steepest.tasks.objective import Objective

TORCHS_WORDS = "more than 1 value per channel"
"""In torch's error for such a batch."""
SUGGESTIONS = 3
"""Batch sizes that are suggested."""


def check_batch_norm(objective: Objective, batches: Batches, steps: int) -> None:
    """Checks that batch norm can be trained on the smallest batch; by a pass of a copy of the model.

    Args:
        objective: with the model.
        batches: of the descent.
        steps: of the descent.

    Raises:
        InputError: a batch of one sample occurs, which is too few; says which batch sizes work.
    """
    layers = [(name, m) for name, m in objective.model.named_modules() if isinstance(m, _BatchNorm)]
    if not layers or batches.smallest(steps) != 1:
        return
    model = _copy(objective.model)
    if model is None:
        return
    with torch.no_grad(), seeds.ours(batches.seed, "batch norm"):
        one = batches.single_sample()
        try:
            model.train()  # alone: a model's own `train` may return nothing
            objective.with_model(model).loss(one)
        except ValueError as error:
            if TORCHS_WORDS not in str(error):
                return  # the first step will raise it
        except Exception:  # of the user's code; the first step will raise it
            return
        else:
            return
    name, layer = layers[0]
    needs = f"{type(layer).__name__} ({name or 'the model'}) needs more than one in training"
    raise InputError(f"{_problem(batches)}: {needs}. {_advice(batches)}")


def _copy(model: nn.Module) -> nn.Module | None:
    try:
        return copy_module(model)
    except Exception:  # of the user's code
        return None


def _problem(batches: Batches) -> str:
    kind = "batches" if batches.accumulate == 1 or batches.is_iterable else "micro-batches"
    size = f"batch_size={batches.batch_size}" if batches.batch_size else "the data's batches"
    if kind == "micro-batches":
        size += f" and accumulate={batches.accumulate}"
    samples = "" if batches.samples is None else f" for {batches.samples:,} samples"
    return f"All {kind} must have more than one sample, got one of 1 ({size}{samples})"


def _advice(batches: Batches) -> str:
    sizes = ", ".join(map(str, _sizes_that_work(batches)))
    if isinstance(batches.loader, DataLoader):
        return f"Make the DataLoader with drop_last=True{f', or with batch_size {sizes}' if sizes else ''}."
    if batches.is_iterable:
        return "Join that batch with another one, or leave it out."
    return f"Use batch_size {sizes}." if sizes else "Use more samples."


def _sizes_that_work(batches: Batches) -> list[int]:
    n, size, parts = batches.samples or 0, batches.batch_size or 1, 1 if batches.is_iterable else batches.accumulate
    works = [b for b in range(max(2, parts), n + 1) if _smallest(n, b, parts) > 1]
    return sorted(works, key=lambda b: (abs(b - size), b))[:SUGGESTIONS]


def _smallest(n: int, size: int, parts: int) -> int:
    return min(micro_batch_size(b, parts) for b in (size, n % size or size))
