"""AdamW with clip, running average and norms of each parameter, against the bandwidth of a copy and torch's passes."""

import math
import time
from collections.abc import Callable

import torch
from torch import nn

from benchmarks.gpu.place import Place
from benchmarks.report import span, table, yes
from benchmarks.speed.average import BETA, BYTES, buffer_copy, passes
from benchmarks.speed.weights import GPT2, Weights, copy
from steepest.rules.compiled_group import CompiledGroup
from steepest.rules.rule import with_average
from steepest.rules.textbook import adamw
from steepest.rules.update import Update
from steepest.tasks.space import Space

SMALL = [(40, 64), (64,), (64, 64), (64,)] * 2
GOAL = 0.85
"""Share of the bandwidth of a copy that the update reaches."""


def lines(place: Place) -> list[str]:
    """Lines of the report."""
    shapes = GPT2 if place.is_large else SMALL
    with torch.device(place.device):
        module, eager, peer = (Weights(shapes) for _ in range(3))
    start = time.perf_counter()
    ours, kind = _ours(module)
    ours()
    place.wait()
    compile_s = time.perf_counter() - start
    reference, _ = _ours(eager, steps=1)
    waits = _waits(place, ours)
    with torch.device(place.device):
        contenders = {
            f"ours, by {kind}": ours,
            "ours, not compiled": reference,
            "torch, separate passes": passes(peer, buffer_copy(peer)),
            "copy": copy(module.count),
        }
    times = place.medians(contenders, place.rounds)
    floor = BYTES / 8 * times.pop("copy")
    share = floor / times[f"ours, by {kind}"]
    rows = [[name, span(s), f"{floor / s:.0%}"] for name, s in times.items()]
    return [
        f"{module.count / 1e6:.3g} million float32 weights in {len(shapes)} tensors; numbers stay on the device. "
        f"Floor: {BYTES} bytes per weight at the bandwidth of a copy in the same run "
        f"({BYTES * module.count / floor / 1e9:.0f} GB/s): {span(floor)}. Ours ran as {kind}; its first call took "
        f"{compile_s:.0f} s.",
        "",
        *table(["update", "time", "of the copy's bandwidth"], rows),
        "",
        f"Goal: ≥ {GOAL:.0%} of the bandwidth: met {yes(share >= GOAL)}. A step waits for the device: {waits}.",
    ]


def _ours(module: nn.Module, steps: float = math.inf) -> tuple[Callable[[], object], str]:
    """A step whose numbers stay on the device, and what runs it."""
    rule = with_average(adamw, BETA)
    update, hypers = Update(Space(module), rule, steps=steps), dict(rule.hypers)
    update.keep_on_device()

    def run() -> object:
        norm = update.norm()
        update.advance(hypers, torch.where(norm <= 1.0, 1.0, 1.0 / (norm + 1e-6)))
        return update.parameter_norms()

    groups = [group for group, _ in update._groups]
    is_compiled = all(isinstance(group, CompiledGroup) for group in groups)
    return run, "compiled functions" if is_compiled else "torch's operations"


def _waits(place: Place, step: Callable[[], object]) -> str:
    """Whether torch sees a step wait for the device, in words."""
    if place.device.type != "cuda":
        return "not asked on the CPU"
    mode = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    except RuntimeError as error:
        return f"yes ({next(iter(str(error).splitlines()), '')})"
    finally:
        torch.cuda.set_sync_debug_mode(mode)
    return "no"
