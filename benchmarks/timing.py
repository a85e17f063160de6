"""Medians of things that take turns, so that a noisy machine is noisy for all of them."""

import time
from collections.abc import Callable

import torch


def medians(sides: dict[str, Callable[[], object]], rounds: int, *, cold_bytes: int = 0) -> dict[str, float]:
    """Seconds a call of each side, interleaved; before each call so many bytes are read, to empty the caches."""
    trash = torch.zeros(max(1, cold_bytes // 4))
    for call in sides.values():
        call()
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, call in sides.items():
            if cold_bytes:
                trash.add_(1.0)
            began = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - began)
    return {name: sorted(found)[len(found) // 2] for name, found in times.items()}
