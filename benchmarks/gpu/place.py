"""Where the parts run, how large they are, and how time is taken there."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Place:
    """A device with the sizes of the parts.

    Attributes:
        device: where everything is.
        is_large: whether sizes are those of the goals.
        rounds: timed calls of each contender.
        steps: of a descent that is timed.
        members: of a population.
        must_succeed: whether an error of a part is raised.
    """

    device: torch.device
    is_large: bool
    rounds: int
    steps: int
    members: int
    must_succeed: bool

    @classmethod
    def cuda(cls) -> "Place":
        """The GPU, at the sizes of the goals."""
        return cls(torch.device("cuda", torch.cuda.current_device()), True, 20, 4000, 1024, must_succeed=False)

    @classmethod
    def cpu(cls) -> "Place":
        """The CPU, at sizes of which each part takes seconds."""
        return cls(torch.device("cpu"), False, 2, 60, 4, must_succeed=True)

    def wait(self) -> None:
        """Waits for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def seconds(self, call: Callable[[], object], count: int) -> float:
        """Seconds of one of `count` calls that the device works off one after the other."""
        self.wait()
        start = time.perf_counter()
        for _ in range(count):
            call()
        self.wait()
        return (time.perf_counter() - start) / count

    def medians(self, contenders: Mapping[str, Callable[[], object]], count: int, rounds: int = 7) -> dict[str, float]:
        """Median seconds of a call of each contender; they take turns, and the first round is not counted."""
        times: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(rounds + 1):
            for name, call in contenders.items():
                times[name].append(self.seconds(call, count))
        return {name: statistics.median(values[1:]) for name, values in times.items()}
