"""Training with a record: every step to the store and to the screen, measurements, points, checkpoints."""

import math
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from steepest.analysis.location.locate import QUICK_MIN_S, QUICK_SHARE, quick_check
from steepest.descent import async_loop
from steepest.descent.loop import Descent
from steepest.descent.path import Thinning
from steepest.descent.state import restore_tensors
from steepest.errors import StoreError
from steepest.records.run import Event, Measurement, Step, Steps
from steepest.rules.stability import FINAL_SHARE
from steepest.runs.best import Best
from steepest.runs.store import Writer, checkpoints
from steepest.runs.store.state import pack
from steepest.view.terminal import Progress

WRITING_SHARE = 0.02
"""Of the time that writing checkpoints may take, whatever interval is asked for in seconds."""


class Trainer:
    """A descent that is recorded.

    Attributes:
        status: how it ended.

    Args:
        descent: at its start, or where it goes on.
        writer: of its record.
        progress: of its terminal.
        config: its configuration, as recorded.
        before: seconds that it took until it was interrupted.
    """

    def __init__(
        self, descent: Descent, writer: Writer, progress: Progress, config: dict[str, Any], before: float = 0.0
    ) -> None:
        self.descent, self.writer, self.progress = descent, writer, progress
        self.config, self.status, self._before = config, "failed", before
        self.best = Best(config["better"] == "higher")
        block = 1 if descent.device.type == "cpu" else async_loop.LAG
        self._thinning, self._kept = Thinning(descent.space.size, descent.steps, block), -1
        self._asked, self._troubled, self._measured = False, False, -1
        self._recent = deque[Step](maxlen=max(1, math.ceil(FINAL_SHARE * descent.steps)))
        self._began = self._written = time.perf_counter()
        self._interval_s, self._interval = _interval(config["checkpoint_every"])

    def run(self) -> None:
        """To the end, or to an interruption; the record is ended whatever happens."""
        with self._ended(), self._interruptible():
            self._keep(self._thinning.takes(self.descent.t))
            if self.descent.t == 0:
                self._note("validation")  # what the first steps begin from, free of their batches' noise
            self._train()

    def _train(self) -> None:
        descent, record, show, recent = self.descent, self.writer.step, self.progress.step, self._recent.append
        for step in self._steps():
            record(step)
            show(step)
            recent(step)
            if step.event is not None:
                self._happened(step.event)
            if step.t == descent.t:
                self._after(step)
            if step.t == descent.t or step.event is not None:
                self._keep(self._thinning.takes(descent.t, step.event is not None))
            if self._asked and step.t == descent.t:
                self._interrupted()
                return
        self.status = "stopped" if descent.stopped else "done"
        self.checkpoint()  # a longer run may go on from here

    def _steps(self) -> Iterator[Step]:
        """One after another; on a device that need not be waited for, in blocks."""
        if self.descent.device.type == "cpu":
            return iter(self.descent)
        return async_loop.steps(self.descent, (self._thinning.every, self._interval or 0))

    def _after(self, step: Step) -> None:
        """What belongs after a step that was not rewound."""
        descent, recovery = self.descent, self.descent.recovery
        if step.t % descent.steps_per_epoch == 0 or step.t == descent.steps:
            self.measure()
        if recovery is not None and recovery.news:
            self._follow(recovery)
        if self._interval is not None:
            if step.t % self._interval == 0:
                self.checkpoint()
        elif time.perf_counter() - self._written >= self._interval_s:
            self.checkpoint()

    def _keep(self, is_wanted: bool) -> None:
        """Keeps the point as one of the path's; where it cannot be written, the run goes on."""
        t = self.descent.t
        if t == self._kept or not is_wanted:
            return
        try:
            self.writer.keep(t, self.descent.space.tensors())
            self._kept = t
        except StoreError as error:
            self._complain(f"{error}; the run goes on")

    def _happened(self, event: Event) -> None:
        self.writer.event(event)
        self.progress.event(event)
        if event.kind in ("rewind", "stop"):
            self.writer.go_back(self.descent.t)
            self._kept = -1

    def _follow(self, recovery: Any) -> None:
        """What the losses did after earlier events; the interval of the snapshots, once it is chosen."""
        for n, words in recovery.news:
            if n:
                self.writer.after(n, words)
            else:
                self.config["guard"]["snapshot_every"] = recovery.snapshots.every
                self.writer.configure(self.config)
        recovery.news.clear()
        for words in recovery.said:
            self.progress.say(words)
        recovery.said.clear()

    # -- measuring -----------------------------------------------------------------------------------------------------

    def measure(self) -> None:
        """Loss and metrics on the validation split, and whether they are a gain."""
        found = self._note("validation")
        self._measured = self.descent.t
        metric = self.config["metric"]
        if metric in found:
            self._judge(found[metric])

    def _note(self, split: str) -> dict[str, float]:
        """Measures a split, to record and screen."""
        descent = self.descent
        found = descent.measure(split)
        for name, value in found.items():
            m = Measurement(descent.t, descent.t / descent.steps_per_epoch, split, name, value)
            self.writer.measure(m)
            self.progress.measure(m)
        return found

    def _judge(self, value: float) -> None:
        """Keeps the best point, and stops where patience ends."""
        descent, patience = self.descent, self.config["stop_after"]
        if self.config["keep"] == "best" and self.best.is_gain(value):
            with descent.reported():
                self.best.note(descent.t, value, descent.everything())
        else:
            self.best.note(descent.t, value, None)
        if patience is not None and self.best.since >= patience and descent.t < descent.steps:
            descent.stopped = True
            seen = f"the validation {self.config['metric']} has not improved for {patience} measurements"
            done = f"stopped; the best was {self.best.value:.4g} after step {self.best.t}"
            event = Event(descent.t, "stop", seen, done)
            self.writer.event(event if descent.recovery is None else descent.recovery.noted(event))
            self.progress.event(event)

    # -- checkpoints ---------------------------------------------------------------------------------------------------

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from what a checkpoint held."""
        descent = self.descent
        descent.load(state["descent"])
        descent.batches.restore(state["descent"]["taken"], descent.t, state["place"])
        descent.stopped = state["stopped"]
        if descent.recovery is not None and state["recovery"] is not None:
            descent.recovery.load(state["recovery"])
        self.best.load(state["best"])

    def checkpoint(self) -> None:
        """Writes everything that going on needs; what cannot be written is said, and the run goes on."""
        began, tensors = time.perf_counter(), {}
        descent = self.descent
        state = {
            "descent": descent.state(),
            "place": self._place(),
            "recovery": descent.recovery and descent.recovery.state(),
            "best": self.best.state(),
            "stopped": descent.stopped,
        }
        at = {"t": descent.t, "attempt": descent.recovery.attempt if descent.recovery else 0}
        at |= {"events": self.writer.events, "seconds": self._before + began - self._began}
        at |= {"model": self.config["model"], "data": self.config["data"]}
        try:
            self.writer.flush()
            if self.writer.trouble:  # a run that went on from here would have a hole in its record
                raise StoreError(f"no checkpoint is written while the record cannot be: {self.writer.trouble}")
            packed = pack(state, tensors)
            checkpoints.save(self.writer.folder / "checkpoints", packed, tensors, at)
            self._troubled = False
        except TypeError as error:
            self._complain(f"no checkpoints: a state cannot be written as numbers and tensors: {error}")
        except StoreError as error:
            self._complain(str(error))
        self._written = time.perf_counter()
        self._interval_s = max(self._interval_s, (self._written - began) / WRITING_SHARE)

    def _place(self) -> dict[str, Any] | None:
        """Where the user's loader is; one that says it in what cannot be written is passed over on resuming."""
        place = self.descent.batches.loader_state()
        try:
            pack(place, {})
        except TypeError:
            return None
        return place

    def _complain(self, words: str) -> None:
        if not self._troubled:
            self.progress.say(words)
        self._troubled = True

    # -- the end -------------------------------------------------------------------------------------------------------

    def _interrupted(self) -> None:
        """Between two steps: nothing is lost."""
        self.status = "interrupted"
        self.checkpoint()
        self.progress.say(
            f"interrupted after step {self.descent.t}; what was done is kept as {self.writer.id}: "
            f"steepest resume {self.writer.id} goes on"
        )

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Ctrl-C and a request to end are heard between two steps; a second one ends the run at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        kept = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}

        def asked(number: int, frame: Any) -> None:
            if self._asked:
                raise KeyboardInterrupt
            self._asked = True

        for s in kept:
            signal.signal(s, asked)
        try:
            yield
        except KeyboardInterrupt:
            self.status = "interrupted"
            self.progress.say(f"interrupted; {self.writer.id} goes on from its last checkpoint")
        finally:
            for s, handler in kept.items():
                signal.signal(s, handler)

    @contextmanager
    def _ended(self) -> Iterator[None]:
        """Ends the record whatever happens in the block."""
        descent, writer = self.descent, self.writer
        try:
            yield
        finally:
            seconds = time.perf_counter() - self._began
            try:
                if self.status != "failed":
                    self._finish()
                writer.point(descent.t, dict(descent.space.named()))
            finally:
                self.progress.stop()
                writer.close(self.status, seconds + self._before)

    def _finish(self) -> None:
        """Leaves the model at the point that is reported, or at the best one; measures the test split there."""
        descent = self.descent
        self._keep(self._thinning.every > 0)
        descent.finish()
        if self.status == "interrupted":
            return
        if self.best.tensors is not None:
            restore_tensors(self.best.tensors, descent.everything())
            descent.task.remember_weights(descent.model)
            self.progress.say(f"kept: the best point, after step {self.best.t}")
        elif self.status == "stopped" and descent.t != self._measured:
            self._note("validation")
        self._note("test")
        if self.config["locate"]:
            self._locate()

    def _locate(self) -> None:
        """A short look at where it ended."""
        seconds = max(QUICK_SHARE * (time.perf_counter() - self._began), QUICK_MIN_S)
        try:
            found = quick_check(self.descent, Steps.of(list(self._recent)), seconds)
        except Exception as error:  # whatever a model makes of being differentiated twice; the run itself is done
            found = f"no verdict: {error}"
        if isinstance(found, str):
            self.progress.say(found)
            return
        self.config["verdict"] = found.describe()
        self.writer.configure(self.config)


def _interval(given: int | str) -> tuple[float, int | None]:
    """Checkpoints' interval as (seconds, None) or (0, steps)."""
    if isinstance(given, int):
        return 0.0, given
    return float(given.removesuffix("s").strip()), None


def train(training: Trainer, watched: Callable[[str], None] | None = None) -> None:
    """Says what there is to say, and trains to the end; whoever wants to watch is told the run's id first."""
    if watched is not None:
        watched(training.writer.id)
    descent, task = training.descent, training.descent.task
    for words in task.said:
        training.progress.say(words)
    task.said.clear()
    mode = descent.model.training
    training.run()
    descent.model.train(mode)
