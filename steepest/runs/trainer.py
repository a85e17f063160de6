"""Training with a record: each step goes to the store and the terminal, with measurements, points and checkpoints."""

import dataclasses
import math
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from steepest.analysis.location.locate import quick_check
from steepest.descent import async_loop
from steepest.descent.loop import Descent
from steepest.descent.path import PointSelection
from steepest.descent.state import restore_tensors
from steepest.errors import StoreError
from steepest.records.config import Config, to_json
from steepest.records.run import Event, Measurement, Message, Outcome, SnapshotInterval, Step, Steps
from steepest.records.search import Search
from steepest.records.verdict import Verdict
from steepest.rules.stability import FINAL_SHARE
from steepest.runs.best import BestPoint
from steepest.runs.config import checkpoint_interval
from steepest.runs.store import Writer, checkpoints
from steepest.runs.store.state import pack
from steepest.view.terminal import Progress

MAX_CHECKPOINT_SHARE = 0.02
"""Of the run's time, for checkpoints whose interval is given in seconds."""


class Trainer:
    """A descent that is recorded.

    Attributes:
        status: of the run at its end.
        config, search, verdict: as recorded.

    Args:
        descent: at its start, or where it resumes.
        writer: of the record.
        progress: in the terminal.
        config: of the run.
        search: the learning-rate search before the run.
        verdict: of an earlier end, for a resumed run.
        seconds: that the run took before it was resumed.
    """

    def __init__(
        self, descent: Descent, writer: Writer, progress: Progress, config: Config, search: Search | None = None,
        verdict: Verdict | None = None, seconds: float = 0.0,
    ) -> None:  # fmt: skip
        self.descent, self.writer, self.progress = descent, writer, progress
        self.config, self.search, self.verdict = config, search, verdict
        self.status, self._earlier_s = "failed", seconds
        self.best = BestPoint(config.better == "higher")
        block = 1 if descent.device.type == "cpu" else async_loop.LAG
        self._selection, self._path_t = PointSelection(descent.space.size, descent.steps, block), -1
        self._must_stop, self._has_complained, self._validation_t = False, False, -1
        self._recent = deque[Step](maxlen=max(1, math.ceil(FINAL_SHARE * descent.steps)))
        self._start = self._last_checkpoint = time.perf_counter()
        self._interval_s, self._interval = checkpoint_interval(config.checkpoint_every)

    def run(self, on_start: Callable[[str], None] | None = None, messages: Sequence[str] = ()) -> None:
        """Trains to the end or an interruption; the record is closed in any case.

        Args:
            on_start: gets the run's id first.
            messages: shown before the first step; empty ones are not.
        """
        if on_start is not None:
            on_start(self.writer.id)
        for words in filter(None, messages):
            self.progress.say(words)
        mode = self.descent.model.training
        with self._close_at_end(), self._interruptible():
            self._add_point(self._selection.selects(self.descent.t))
            if self.descent.t == 0:
                self._measure("validation")  # the loss at the start, without the noise of a batch
            self._train()
        self.descent.model.train(mode)

    def _train(self) -> None:
        descent, record, show, recent = self.descent, self.writer.step, self.progress.step, self._recent.append
        for step in self._steps():
            record(step)
            show(step)
            recent(step)
            if step.event is not None:
                self._on_event(step.event)
            for update in step.updates:
                self._on_update(update)
            if step.t == descent.t:
                self._after(step)
            if step.t == descent.t or step.event is not None:
                self._add_point(self._selection.selects(descent.t, step.event is not None))
            if self._must_stop and step.t == descent.t:
                self.status = "interrupted"
                break
        else:
            self.status = "stopped" if descent.is_stopped else "done"
        self.checkpoint()  # from which the run can be continued or extended
        if self.status == "interrupted":
            run = self.writer.id
            words = f"Interrupted after step {descent.t}. Saved as {run}; continue with: steepest resume {run}"
            self.progress.say(words)

    def _steps(self) -> Iterator[Step]:
        """The descent's steps; in blocks on an asynchronous device."""
        if self.descent.device.type == "cpu":
            return iter(self.descent)
        return async_loop.steps(self.descent, (self._selection.every, self._interval or 0))

    def _after(self, step: Step) -> None:
        """Measurements and checkpoints, after a step that was not rewound."""
        descent = self.descent
        if step.t % descent.steps_per_epoch == 0 or step.t == descent.steps:
            values = self._measure("validation")
            self._validation_t = step.t
            if self.config.metric in values:
                self._compare(values[self.config.metric])
        if self._interval is not None:
            if step.t % self._interval == 0:
                self.checkpoint()
        elif time.perf_counter() - self._last_checkpoint >= self._interval_s:
            self.checkpoint()

    def _add_point(self, is_selected: bool) -> None:
        """Adds the point to the path; the run continues if it cannot be written."""
        t = self.descent.t
        if t == self._path_t or not is_selected:
            return
        try:
            self.writer.keep(t, self.descent.space.tensors())
            self._path_t = t
        except StoreError as error:
            self._complain(f"{error}; the run continues")

    def _on_event(self, event: Event) -> None:
        self.writer.event(event)
        self.progress.event(event)
        if event.kind in ("rewind", "stop"):
            self.writer.go_back(self.descent.t)
            self._path_t = -1

    def _on_update(self, update: Outcome | SnapshotInterval | Message) -> None:
        match update:
            case Outcome(n, words):
                self.writer.after(n, words)
            case SnapshotInterval(every):
                guard = {**(self.config.guard or {}), "snapshot_every": every}
                self._record(config=dataclasses.replace(self.config, guard=guard))
            case Message(words):
                self.progress.say(words)

    def _record(self, config: Config | None = None, verdict: Verdict | None = None) -> None:
        """Records what was decided or measured during the run."""
        self.config, self.verdict = config or self.config, verdict or self.verdict
        self.writer.configure(to_json(self.config, self.search, self.verdict))

    # -- measuring -----------------------------------------------------------------------------------------------------

    def _measure(self, split: str) -> dict[str, float]:
        """Loss and metrics on a split, recorded and shown."""
        descent = self.descent
        values = descent.measure(split)
        for name, value in values.items():
            m = Measurement(descent.t, descent.t / descent.steps_per_epoch, split, name, value)
            self.writer.measure(m)
            self.progress.measure(m)
        return values

    def _compare(self, value: float) -> None:
        """Updates the best point, and stops the run after `stop_after` measurements without improvement."""
        descent, patience, best = self.descent, self.config.stop_after, self.best
        if self.config.keep == "best" and best.is_better(value):
            with descent.at_reported_point():
                best.update(descent.t, value, descent.named_tensors())
        else:
            best.update(descent.t, value, None)
        if patience is not None and best.since >= patience and descent.t < descent.steps:
            descent.is_stopped = True
            reason = f"validation {self.config.metric} has not improved in {patience} evaluations"
            event = Event(descent.t, "stop", reason, f"stopped early; best {best.value:.4g} at step {best.t}")
            self.writer.event(descent.register(event))
            self.progress.event(event)

    # -- checkpoints ---------------------------------------------------------------------------------------------------

    def restore(self, state: Mapping[str, Any], events: int) -> None:
        """Restores a checkpoint's state and number of events."""
        descent = self.descent
        descent.load(state["descent"])
        descent.batches.restore(state["descent"]["taken"], descent.t, state["place"])
        descent.is_stopped, descent.events = state["stopped"], events
        if descent.recovery is not None and state["recovery"] is not None:
            descent.recovery.load(state["recovery"])
        self.best = BestPoint(**state["best"])

    def checkpoint(self) -> None:
        """Writes everything that a resumed run needs; reports a failure, and the run continues."""
        now = time.perf_counter()
        descent, recovery = self.descent, self.descent.recovery
        state = {
            "descent": descent.state(), "place": self._place(), "best": vars(self.best), "stopped": descent.is_stopped,
            "recovery": recovery and {**recovery.state(), "count": descent.events},
        }  # fmt: skip
        manifest = {
            "t": descent.t, "attempt": recovery.attempt if recovery else 0, "events": descent.events,
            "seconds": self._earlier_s + now - self._start, "model": self.config.model, "data": self.config.data,
        }  # fmt: skip
        try:
            self.writer.flush()
            if self.writer.trouble:  # a run that resumed from here would have a gap in its record
                raise StoreError(f"No checkpoint is written while the record cannot be: {self.writer.trouble}")
            checkpoints.save(self.writer.folder / "checkpoints", state, manifest)
            self._has_complained = False
        except TypeError as error:
            self._complain(f"No checkpoints: a state cannot be written as numbers and tensors ({error}).")
        except StoreError as error:
            self._complain(str(error))
        self._last_checkpoint = time.perf_counter()
        self._interval_s = max(self._interval_s, (self._last_checkpoint - now) / MAX_CHECKPOINT_SHARE)

    def _place(self) -> dict[str, Any] | None:
        """The state of the user's loader; None if it cannot be written: a resumed run then skips its batches."""
        place = self.descent.batches.loader_state()
        try:
            pack(place, {})
        except TypeError:
            return None
        return place

    def _complain(self, words: str) -> None:
        if not self._has_complained:
            self.progress.say(words)
        self._has_complained = True

    # -- the end -------------------------------------------------------------------------------------------------------

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Ctrl-C or SIGTERM ends the run after the present step; a second one at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def request_stop(number: int, frame: Any) -> None:
            if self._must_stop:
                raise KeyboardInterrupt
            self._must_stop = True

        handlers = {s: signal.signal(s, request_stop) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        except KeyboardInterrupt:
            self.status, run = "interrupted", self.writer.id
            self.progress.say(f"Interrupted. Continue from the last checkpoint with: steepest resume {run}")
        finally:
            for s, handler in handlers.items():
                signal.signal(s, handler)

    @contextmanager
    def _close_at_end(self) -> Iterator[None]:
        """Closes the record, whatever happens in the block."""
        descent, writer = self.descent, self.writer
        try:
            yield
        finally:
            seconds = time.perf_counter() - self._start
            try:
                if self.status != "failed":
                    self._finish()
                writer.point(descent.t, dict(descent.space.named()))
            finally:
                self.progress.stop()
                writer.close(self.status, seconds + self._earlier_s)

    def _finish(self) -> None:
        """Leaves the model at the reported or the best point; measures the test split there."""
        descent = self.descent
        self._add_point(self._selection.every > 0)
        descent.finish()
        if self.status == "interrupted":
            return
        if self.best.tensors is not None:
            restore_tensors(self.best.tensors, descent.named_tensors())
            descent.task.remember_weights(descent.model)
            self.progress.say(f"Restored the best weights (step {self.best.t}).")
        elif self.status == "stopped" and descent.t != self._validation_t:
            self._measure("validation")
        self._measure("test")
        if self.config.locate:
            self._locate()

    def _locate(self) -> None:
        """A quick check of the end."""
        try:
            verdict = quick_check(self.descent, Steps.of(list(self._recent)))
        except Exception as error:  # the user's model may fail to be differentiated twice in any way; the run is done
            verdict = f"No verdict: {error}"
        if isinstance(verdict, str):
            self.progress.say(verdict)
        else:
            self._record(verdict=verdict)
