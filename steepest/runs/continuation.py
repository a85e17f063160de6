"""What a resumed run needs: written into checkpoints while the run trains, and restored from one."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from steepest.descent.loop import Descent
from steepest.errors import SteepestError, StoreError
from steepest.records.config import Config
from steepest.runs.best import BestPoint
from steepest.runs.config import checkpoint_interval
from steepest.runs.no_record import NoRecord
from steepest.runs.store import Writer, checkpoints
from steepest.runs.store.checkpoints import BackgroundWrite
from steepest.tasks.module_state import is_storable

MAX_CHECKPOINT_SHARE = 0.02
"""Of the run's time, in which it waits for checkpoints whose interval is given in seconds."""
MAX_BACKGROUND_SHARE = 0.25
"""Of the run's time, in which such checkpoints are written in the background."""


class Continuation:
    """Writes the checkpoints of a run.

    Attributes:
        steps: between checkpoints; None where the interval is given in seconds.

    Args:
        descent: the run's.
        record: the run's; without one nothing is written.
        config: of the run.
        complain: says what goes wrong.
    """

    def __init__(
        self, descent: Descent, record: Writer | NoRecord, config: Config, complain: Callable[[str], None]
    ) -> None:
        self._descent, self._record, self._complain = descent, record, complain
        self._interval_s, self.steps = checkpoint_interval(config.checkpoint_every)
        self._last = time.perf_counter()
        self._background: BackgroundWrite | None = None
        self._background_t, self._background_start = 0, 0.0

    def is_due(self, t: int) -> bool:
        """Whether a checkpoint is due after step t."""
        if self._record.folder is None:
            return False
        if self.steps is not None:
            return t % self.steps == 0
        is_due = time.perf_counter() - self._last >= self._interval_s
        joint = self._descent.joint
        if joint is None or not self._descent.space.is_sharded:
            return is_due
        joint.is_checkpoint_due = is_due and self._background is None  # all of them write, when all know of it
        return joint.agreed_checkpoint

    def write(self, best: BestPoint, config: Config, seconds: Callable[[], float], waits: bool) -> int | None:
        """Writes everything that a resumed run needs, and says a failure.

        A sharded model's is copied, and written while the run goes on; one at a time.

        Args:
            best: point so far.
            config: of the run.
            seconds: that it has taken.
            waits: until it is written.

        Returns:
            the step of the newest checkpoint that has become complete; None where none has.
        """
        processes, is_sharded = self._descent.processes, self._descent.space.is_sharded
        if self._record.folder is None:
            return None
        if not (processes.is_first or is_sharded):  # the first process writes what is the same on all
            return self._descent.t
        now, t = time.perf_counter(), self.collect(waits=True)
        try:
            self._check_record()
            state, manifest, folder = *self._contents(best, config, seconds), self._record.folder / "checkpoints"
            if is_sharded:
                self._background_t, self._background_start = self._descent.t, time.perf_counter()
                self._background = checkpoints.begin_together(folder, state, manifest, processes, self._descent.model)
                t = (self.collect(waits=True) if waits else None) or t
            else:
                checkpoints.save(folder, state, manifest)
                t = self._descent.t
        except TypeError as error:
            self._complain(f"No checkpoints: a state cannot be written as numbers and tensors ({error}).")
        except StoreError as error:
            self._complain(str(error))
        self._last = time.perf_counter()
        self._interval_s = max(self._interval_s, (self._last - now) / MAX_CHECKPOINT_SHARE)
        return t

    def collect(self, waits: bool = False) -> int | None:
        """The step of a checkpoint that has been written in the background; None where none has. Says a failure.

        Args:
            waits: until it is written.
        """
        background = self._background
        if background is None or not (waits or background.is_done):
            return None
        self._background = None
        error = background.error()
        duration = time.perf_counter() - self._background_start
        self._interval_s = max(self._interval_s, duration / MAX_BACKGROUND_SHARE)
        if error is None:
            return self._background_t
        self._complain(str(error))
        return None

    def _check_record(self) -> None:
        """Raises a StoreError where the record cannot be written: a run that resumed here would have a gap in it."""
        self._record.flush()
        trouble = self._record.trouble
        if self._descent.space.is_sharded:
            trouble = self._descent.processes.from_first(lambda: self._record.trouble)
        if trouble:
            raise StoreError(f"No checkpoint is written while the record cannot be: {trouble}")

    def _contents(
        self, best: BestPoint, config: Config, seconds: Callable[[], float]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """State and manifest of a checkpoint."""
        descent, recovery = self._descent, self._descent.recovery
        state = {
            "descent": descent.state(), "place": self._place(), "best": vars(best), "stopped": descent.is_stopped,
            "recovery": recovery and {**recovery.state(), "count": descent.events},
        }  # fmt: skip
        manifest = {
            "t": descent.t, "attempt": recovery.attempt if recovery else 0, "events": descent.events,
            "seconds": seconds(), "model": config.model, "data": config.data,
        }  # fmt: skip
        return state, manifest

    def _place(self) -> dict[str, Any] | None:
        """The state of the user's loader; None if it cannot be written: a resumed run then skips its batches."""
        place = self._descent.batches.loader_state()
        return place if is_storable(place) else None


def has_own_generator(loader: Any) -> bool:
    """Whether a loader with a state draws its order from a generator that is not in it, as a StatefulDataLoader's."""
    return hasattr(loader, "load_state_dict") and getattr(loader, "generator", None) is not None


def restore(descent: Descent, state: Mapping[str, Any], events: int) -> BestPoint:
    """Restores a checkpoint's state and number of events; returns the best point so far.

    Raises:
        StoreError: it is not a state of this descent.
    """
    with state_of_run():
        descent.load(state["descent"])
        descent.batches.restore(state["descent"]["taken"], descent.t, state["place"])
        descent.is_stopped, descent.events = state["stopped"], events
        if descent.recovery is not None and state["recovery"] is not None:
            descent.recovery.load(state["recovery"])
        return BestPoint(**state["best"])


@contextmanager
def state_of_run() -> Iterator[None]:
    """Within the block a checkpoint is used: one whose hashes are right may still hold anything."""
    try:
        yield
    except SteepestError:
        raise
    except (LookupError, TypeError, ValueError, RuntimeError, AttributeError, ArithmeticError) as error:
        raise StoreError(
            f"The checkpoint's state does not fit the run ({type(error).__name__}: {error}). Remove the checkpoint: "
            "the one before it is then used."
        ) from error
