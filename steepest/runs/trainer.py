"""Training with a record: each step goes to the store and the terminal, with measurements, points and checkpoints."""

import dataclasses
import math
import signal
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, nullcontext

from steepest.analysis.location.locate import quick_check
from steepest.descent import async_loop, calm_loop
from steepest.descent.loop import Descent
from steepest.descent.path import PATH_BYTES, PointSelection
from steepest.distributed.shards import whole_state, whole_tensors
from steepest.errors import StoreError
from steepest.records.config import Config, to_json
from steepest.records.run import (
    OUT_OF_PATIENCE,
    REWIND,
    STOP,
    Event,
    Measurement,
    Message,
    Outcome,
    SnapshotInterval,
    Step,
    Steps,
)
from steepest.records.search import Search
from steepest.records.verdict import Verdict
from steepest.rules.stability import FINAL_SHARE
from steepest.runs import end_reason
from steepest.runs.best import BestPoint
from steepest.runs.config import identity
from steepest.runs.continuation import Continuation, has_own_generator
from steepest.runs.no_record import NoProgress, NoRecord
from steepest.runs.signals import StopSignals
from steepest.runs.store import Writer
from steepest.tasks.module_state import ModuleState, PlainAttributes, is_storable, read_extra
from steepest.view.format import number
from steepest.view.terminal import Progress

MODULE_ADVICE = "Register it as a buffer, or return it as numbers and tensors from get_extra_state."
LOADER_ADVICE = "Give the generator to its sampler, which has a state, or drop it: the order then follows from seed=."


class Trainer:
    """A descent with its record: `steps` yields each step, `run` is that loop with an empty body.

    Attributes:
        status: of the run at its end.
        best: the best point by validation, and the measurements since.
        config, search, verdict: as recorded.
        signals: that end it after the present step.

    Args:
        descent: at its start, or where it resumes.
        record: of the run.
        progress: in the terminal.
        config: of the run.
        search: the learning-rate search before the run.
        verdict: of an earlier end, for a resumed run.
        seconds: that the run took before it was resumed.
        has_body: whether code of the user's runs between two steps: no step is then taken ahead, and no line redrawn.
        can_requeue: whether the run goes on where the program is started again.
    """

    def __init__(
        self, descent: Descent, record: Writer | NoRecord, progress: Progress | NoProgress, config: Config,
        search: Search | None = None, verdict: Verdict | None = None, seconds: float = 0.0, has_body: bool = False,
        can_requeue: bool = False,
    ) -> None:  # fmt: skip
        self.descent, self.record, self.progress = descent, record, progress
        self.config, self.search, self.verdict = config, search, verdict
        self.status, self._earlier_s, self._has_body = "failed", seconds, has_body
        self.best = BestPoint(config.better == "higher")
        self._in_blocks = descent.device.type != "cpu" and not has_body and descent.joint is None
        budget = 0 if record.folder is None else PATH_BYTES
        block = async_loop.LAG if self._in_blocks else 1
        self._selection, self._path_t = PointSelection(descent.space.size, descent.steps, block, budget), -1
        is_wanted = config.keep == "best" or bool(config.stop_after or config.measure_every)
        self._measures = is_wanted or record.folder is not None
        self._has_complained, self._validation_t = False, -1
        self._recent = deque[Step](maxlen=max(1, math.ceil(FINAL_SHARE * descent.steps)))
        self._start = time.perf_counter()
        self._continuation = Continuation(descent, record, config, self._complain)
        self.signals = StopSignals(descent.joint, can_requeue)

    def run(self, on_start: Callable[[str], None] | None = None, messages: Sequence[str] = ()) -> None:
        """Trains to the end or an interruption; the record is closed in any case. The arguments are as in `steps`."""
        try:
            with self.signals.catch():
                for _ in self.steps(on_start, messages):
                    pass
        except KeyboardInterrupt:
            if self.status != "interrupted":
                raise

    def steps(
        self, on_start: Callable[[str], None] | None = None, messages: Sequence[str] = ()
    ) -> Generator[Step, None, None]:
        """Yields each step once it is recorded. If the generator is closed, the run is interrupted after that step.

        Args:
            on_start: gets the run's id first.
            messages: shown before the first step; empty ones are not.
        """
        if on_start is not None:
            on_start(self.record.id)
        for words in filter(None, messages):
            self.progress.say(words)
        mode = self.descent.model.training
        try:
            with self._close_at_end():
                self._begin()
                with nullcontext() if self._has_body else self.descent.random.hold():
                    yield from self._train()
        finally:
            self.descent.model.train(mode)

    def abandon(self) -> None:
        """Ends a run whose first step nobody has asked for; it goes on from its start."""
        self.status = "interrupted"
        self.record.end_point(self.descent.t, self.descent.end_state())
        self.record.close(self.status, self._earlier_s)

    def _begin(self) -> None:
        self._add_point(self._selection.selects(self.descent.t))
        if self.descent.t == 0 and self._measures:
            self._measure("validation")  # the loss at the start, without the noise of a batch
        self._attributes = PlainAttributes.of(self.descent.model) if self.record.folder else None
        extra, lost = read_extra(self.descent.model)
        lost = (*lost, *(name for name, value in extra.items() if not is_storable(value)))
        if lost and self.record.folder:
            self._say_inexact(f"the extra state of {', '.join(name or 'the model' for name in lost)}")

        if has_own_generator(self.descent.task.data) and self.record.folder:
            name = type(self.descent.task.data).__name__
            self._say_inexact(f"the generator of the {name}, which its state_dict leaves out", LOADER_ADVICE)

    def _train(self) -> Generator[Step, None, None]:
        descent = self.descent
        try:
            for step in self._steps():
                self._take(step)
                if self.signals.due and step.t == descent.t:
                    self.status = "interrupted"
                    break
                yield step
                if self._has_body and descent.follow_model():
                    self._follow_model()
            else:
                self.status = "stopped" if descent.is_stopped else "done"
        except GeneratorExit:  # the caller's loop has ended early
            self.status = "interrupted"
            raise
        finally:
            if self.status != "failed":
                self._end_training()

    def _follow_model(self) -> None:
        """Records that other parameters are trained; the path, the best point and the patience begin anew."""
        descent = self.descent
        names = tuple(descent.space.names)
        now = {**identity(descent.task, descent.model), "weights": descent.space.size, "parameters": names}
        self._configure(config=dataclasses.replace(self.config, **now))
        self.best = BestPoint(self.config.better == "higher")
        budget = PATH_BYTES if self._selection.every else 0
        self._selection, self._path_t = PointSelection(descent.space.size, descent.steps, budget=budget), -1
        try:
            self.record.restart_path()
        except StoreError as error:
            self._complain(f"{error}; the run continues")
        self._add_point(self._selection.every > 0)

    def _end_training(self) -> None:
        self.checkpoint(waits=True)  # from which the run can be continued or extended
        if self.status == "interrupted":
            self.record.event(end_reason.interruption(self.descent.t, self.signals.due))
            run = self.record.id
            words = f"Interrupted after step {self.descent.t}. Saved as {run}; continue with: steepest resume {run}"
            self.progress.say(words)

    def _steps(self) -> Iterator[Step]:
        """The descent's steps; in blocks on an asynchronous device."""
        if self._has_body or self.descent.joint is not None:  # blocks end by the clock, which processes do not share
            return iter(self.descent)
        if not self._in_blocks:
            marks = self._selection.every, self._continuation.steps or 0
            return calm_loop.steps(self.descent, marks, lambda: bool(self.signals.due))
        return async_loop.steps(self.descent, (self._selection.every, self._continuation.steps or 0))

    def _take(self, step: Step) -> None:
        """Records and shows a step; measures and stores what is due after it."""
        descent = self.descent
        self.record.step(step)
        if not self._has_body:
            self.progress.step(step)
        self._recent.append(step)
        if step.event is not None:
            self._on_event(step.event)
        for update in step.updates:
            self._on_update(update)
        if step.t == descent.t:
            self._after(step)
        if step.t == descent.t or step.event is not None:
            self._add_point(self._selection.selects(descent.t, step.event is not None))

    def _after(self, step: Step) -> None:
        """Measurements and checkpoints, after a step that was not rewound."""
        descent = self.descent
        if self._attributes is not None:
            self._compare_attributes(self._attributes)
        if self._measures and (step.t % descent.measure_every == 0 or step.t == descent.steps):
            with descent.at_reported_point():
                values = self._measure("validation")
                self._validation_t = step.t
                if self.config.metric in values:
                    self._compare(values[self.config.metric])
        self._on_checkpoint(self._continuation.collect())
        if self._continuation.is_due(step.t):
            self.checkpoint()

    def _compare_attributes(self, before: PlainAttributes) -> None:
        """Says once, after the first step, which attributes of the model no checkpoint holds."""
        changes, self._attributes = before.changes(self.descent.model), None
        if changes:
            self._say_inexact(f"what the model keeps in {', '.join(changes[:3])}")

    def _say_inexact(self, what: str, advice: str = MODULE_ADVICE) -> None:
        self.progress.say(f"A resumed run will not be exact: no checkpoint holds {what}. {advice}")

    def _add_point(self, is_selected: bool) -> None:
        """Adds the point to the path; the run continues if it cannot be written."""
        t = self.descent.t
        if t == self._path_t or not is_selected:
            return
        try:
            self.record.keep(t, whole_tensors(self.descent.model, self.descent.space.tensors()))
            self._path_t = t
        except StoreError as error:
            self._complain(f"{error}; the run continues")

    def _on_event(self, event: Event) -> None:
        self.record.event(event)
        self.progress.event(event)
        if event.kind in (REWIND, STOP):
            self.record.go_back(self.descent.t)
            self._path_t = -1

    def _on_update(self, update: Outcome | SnapshotInterval | Message) -> None:
        match update:
            case Outcome(n, words):
                self.record.after(n, words)
            case SnapshotInterval(every):
                guard = {**(self.config.guard or {}), "snapshot_every": every}
                self._configure(config=dataclasses.replace(self.config, guard=guard))
            case Message(words):
                self.progress.say(words)

    def _configure(self, config: Config | None = None, verdict: Verdict | None = None) -> None:
        """Records what was decided or measured during the run."""
        self.config, self.verdict = config or self.config, verdict or self.verdict
        self.record.configure(to_json(self.config, self.search, self.verdict))

    # -- measuring -----------------------------------------------------------------------------------------------------

    def _measure(self, split: str) -> dict[str, float]:
        """Loss and metrics on a split, recorded and shown."""
        descent = self.descent
        values = descent.measure(split)
        for name, value in values.items():
            m = self._measurement(descent.t, split, name, value)
            self.record.measure(m)
            self.progress.measure(m)
        return values

    def _measurement(self, t: int, split: str, name: str, value: float) -> Measurement:
        return Measurement(t, t / self.descent.steps_per_epoch, split, name, value)

    def _compare(self, value: float) -> None:
        """Updates the best point, and stops the run after `stop_after` measurements without improvement."""
        descent, patience, best = self.descent, self.config.stop_after, self.best
        is_kept = self.config.keep == "best" and best.is_better(value)
        best.update(descent.t, value, descent.end_state() if is_kept else None)
        if patience is not None and best.since >= patience and descent.t < descent.steps:
            descent.is_stopped = True
            reason = f"validation {self.config.metric} has not improved in {patience} evaluations"
            where = "every one was NaN" if best.value is None else f"best {best.value:.4g} at step {best.t}"
            event = Event(descent.t, STOP, reason, f"{OUT_OF_PATIENCE}; {where}")
            self.record.event(descent.register(event))
            self.progress.event(event)

    # -- checkpoints ---------------------------------------------------------------------------------------------------

    def checkpoint(self, waits: bool = False) -> None:
        """Writes everything that a resumed run needs; reports a failure, and the run continues.

        Args:
            waits: until it is complete, where it is written in the background.
        """
        self._on_checkpoint(self._continuation.write(self.best, self.config, self._seconds, waits))

    def _on_checkpoint(self, t: int | None) -> None:
        """Records the step of a checkpoint that has become complete."""
        if t is not None:
            self._has_complained = False
            self._configure(config=dataclasses.replace(self.config, last_checkpoint=t))

    def _seconds(self) -> float:
        return self._earlier_s + time.perf_counter() - self._start

    def _complain(self, words: str) -> None:
        if not self._has_complained:
            self.progress.say(words)
        self._has_complained = True

    # -- the end -------------------------------------------------------------------------------------------------------

    @contextmanager
    def _close_at_end(self) -> Iterator[None]:
        """Closes the record, whatever happens in the block."""
        descent, record = self.descent, self.record
        try:
            yield
        except KeyboardInterrupt:
            self.status = "interrupted"
            record.event(end_reason.interruption(descent.t, signal.SIGINT))
            self.progress.say(f"Interrupted. Continue from the last checkpoint with: steepest resume {record.id}")
            raise
        except Exception as error:
            record.event(end_reason.failure(descent.t, error))
            raise
        finally:
            self.signals.restore()
            seconds = self._seconds()
            try:
                if self.status != "failed":
                    self._finish()
            except Exception as error:
                record.event(end_reason.failure(descent.t, error))
                raise
            finally:
                try:
                    if self.status != "failed" or not descent.space.is_sharded:  # the others may be gone
                        record.end_point(descent.t, self._end_state())
                finally:
                    self.progress.stop()
                    record.close(self.status, seconds)

    def _end_state(self) -> ModuleState:
        """The state of the end, of which the first process gets the whole weights."""
        descent = self.descent
        return whole_state(descent.model, descent.end_state(), descent.processes.is_first)

    def _finish(self) -> None:
        """Leaves the model at the reported or the best point; measures the test split there."""
        descent, best = self.descent, self.best
        self._add_point(self._selection.every > 0)
        descent.finish()
        if self.status == "interrupted":
            return
        if best.restore(descent.model):
            descent.task.remember_weights(descent.model)
            assert best.value is not None
            value = f"validation {self.config.metric} {number(best.value)}"
            self.progress.say(f"Restored the best weights (step {best.t}, {value}).")
            m = self._measurement(best.t, "validation", self.config.metric, best.value)
            self.progress.end(m)
            if descent.recovery is not None and descent.recovery.attempt:
                self.record.measure(m)  # after a rewind the same step may have been measured again
            self._configure(config=dataclasses.replace(self.config, end_step=best.t))
        elif self._measures and self.status == "stopped" and descent.t != self._validation_t:
            self._measure("validation")
            self._configure(config=dataclasses.replace(self.config, end_step=descent.t))
        if self.config.keep == "best" and best.tensors is None:
            self.progress.say(f"Every measurement of {self.config.metric} was NaN, so the last weights are kept.")
        if self.record.folder:
            self._measure("test")
            if self.config.locate and descent.processes.is_first and not descent.space.is_sharded:
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
            self._configure(verdict=verdict)
