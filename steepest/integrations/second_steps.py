"""Steps that a loop takes by `optimizer.step()` beside `run.step(loss)`: each batch then moves the weights twice."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch.optim import Optimizer

TWO_STEPS = (
    "optimizer.step() was called beside run.step(loss), so batches move the weights twice. Remove it: run.step takes "
    "the optimizer's step."
)


class SecondSteps:
    """Sees the steps of some optimizers, and says once where others than the own ones are among them.

    Args:
        optimizers: that are watched.
        say: is called with the words.
    """

    def __init__(self, optimizers: Sequence[Optimizer], say: Callable[[str], None]) -> None:
        self._say, self._is_own, self._has_own = say, False, False
        self._others = 0  # since the last own step; those before the first one are the loop's own affair
        self._handles = [o.register_step_post_hook(self._after) for o in optimizers]

    def _after(self, *_: Any) -> None:
        self._others += not self._is_own

    @contextmanager
    def own(self) -> Iterator[None]:
        """The block takes the step that the loop asked for."""
        if self._others and self._has_own and self._handles:
            self._say(TWO_STEPS)
            self.end()
        self._is_own = True
        try:
            yield
        finally:
            self._is_own, self._has_own, self._others = False, True, 0

    def end(self) -> None:
        """Steps are no longer seen."""
        while self._handles:
            self._handles.pop().remove()
