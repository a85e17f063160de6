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
from steepest.tasks.module_state import is_storable

MAX_CHECKPOINT_SHARE = 0.02
"""Of the run's time, for checkpoints whose interval is given in seconds."""


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
        joint.is_checkpoint_due = is_due  # all of them write, when all know of it
        return joint.agreed_checkpoint

    def write(self, best: BestPoint, config: Config, seconds: Callable[[], float]) -> bool:
        """Writes everything that a resumed run needs; says a failure, and returns whether it has succeeded."""
        processes, is_sharded = self._descent.processes, self._descent.space.is_sharded
        if self._record.folder is None or not (processes.is_first or is_sharded):
            return True  # the first process writes what is the same on all
        now, is_written = time.perf_counter(), False
        descent, recovery = self._descent, self._descent.recovery
        state = {
            "descent": descent.state(), "place": self._place(), "best": vars(best), "stopped": descent.is_stopped,
            "recovery": recovery and {**recovery.state(), "count": descent.events},
        }  # fmt: skip
        manifest = {
            "t": descent.t, "attempt": recovery.attempt if recovery else 0, "events": descent.events,
            "seconds": seconds(), "model": config.model, "data": config.data,
        }  # fmt: skip
        try:
            self._record.flush()
            trouble = self._record.trouble
            if is_sharded:
                trouble = processes.from_first(lambda: self._record.trouble)
            if trouble:  # a run that resumed from here would have a gap in its record
                raise StoreError(f"No checkpoint is written while the record cannot be: {trouble}")
            folder = self._record.folder / "checkpoints"
            if is_sharded:
                checkpoints.save_together(folder, state, manifest, processes, descent.model)
            else:
                checkpoints.save(folder, state, manifest)
            is_written = True
        except TypeError as error:
            self._complain(f"No checkpoints: a state cannot be written as numbers and tensors ({error}).")
        except StoreError as error:
            self._complain(str(error))
        self._last = time.perf_counter()
        self._interval_s = max(self._interval_s, (self._last - now) / MAX_CHECKPOINT_SHARE)
        return is_written

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
