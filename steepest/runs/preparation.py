"""A run before its first step: all is read and checked, and a refusal leaves the task's model as it was."""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from steepest.descent.loop import Descent
from steepest.descent.population.dispatch import SEQUENTIAL
from steepest.descent.settings import ARGUMENTS, DEFAULT_SCHEDULE, Settings, resolve
from steepest.distributed.group import refuse_several
from steepest.distributed.processes import ALONE, Processes
from steepest.records.config import Config, to_json
from steepest.records.search import Search
from steepest.runs.config import AUTO, check_choices, make_config
from steepest.runs.first_line import first_line, idle_note
from steepest.runs.live import open_live
from steepest.runs.no_record import NoProgress, NoRecord
from steepest.runs.restore import check_start, start_state
from steepest.runs.run import Run
from steepest.runs.store import Store, versions
from steepest.runs.together import begin_record, begin_together, versions_of
from steepest.runs.trackers import make_trackers, say_on_stderr, track
from steepest.runs.trainer import Trainer
from steepest.search.rungs import run_search
from steepest.tasks import Task, module_state
from steepest.tasks.module_state import ModuleState
from steepest.view.terminal import Progress, SearchDisplay


class Preparation(NamedTuple):
    """What a run needs for its first step.

    Attributes:
        trainer: of the run.
        store: that records it; None without a record.
        task: that is trained.
        messages: shown before the first step.
        on_start: gets the run's id first.
    """

    trainer: Trainer
    store: Store | None
    task: Task
    messages: list[str]
    on_start: Callable[[str], None] | None = None

    def train(self) -> None:
        """Trains to the end or an interruption; says once where a split was not measured as a whole."""
        trainer = self.trainer
        trainer.run(self.on_start, self.messages)
        if trainer.descent.objective.note:
            trainer.progress.say(trainer.descent.objective.note)

    def run(self) -> Run:
        """The run as it is recorded now; of several processes the first one reads it.

        Raises:
            StoreError: its record cannot be read.
        """
        trainer, store = self.trainer, self.store
        assert store is not None
        trainer.record.flush()
        record = trainer.descent.processes.from_first(lambda: store.read(trainer.record.id))
        return Run(store, record, trainer.descent.model, self.task)


def prepare(
    task: Task,
    arguments: Mapping[str, Any],
    has_body: bool = False,
    default_schedule: str = DEFAULT_SCHEDULE,
    processes: Processes = ALONE,
    can_requeue: bool = False,
) -> Preparation:
    """A new run.

    Args:
        task: the task to train.
        arguments: of `fit`, by name; `runs` is None for a descent without a record.
        has_body: whether code of the user's runs between two steps.
        default_schedule: where neither argument nor recipe has one.
        processes: that train it together.
        can_requeue: whether the run goes on where the program is started again.

    Raises:
        SteepestError: invalid arguments, or a task that cannot be trained or stored.
    """
    a, runs = arguments, arguments["runs"]
    check_choices(task, a["keep"], a["stop_after"], a["checkpoint_every"])
    choices = {name: a[name] for name in ARGUMENTS} | {"lr": None if a["lr"] == AUTO else a["lr"]}
    settings = resolve(task, default_schedule, **choices)
    trackers = make_trackers(a["trackers"], has_folder=runs is not None) if processes.is_first else []
    store = None if runs is None else Store(runs)
    start = None if a["start"] is None else processes.from_first(lambda: start_state(a["start"], store or Store()))
    search, messages = None, [task.validation_note(), task.lazy_note()]
    if a["lr"] == AUTO:
        refuse_several("lr='auto'", "Search the rate before, in one process (steepest find-lr), and pass it as lr=.")
        if start is not None:
            check_start(a["start"], start, task.copy(settings.seed))
        search = _find_lr(task, settings, start, is_silent=store is None)
        settings = dataclasses.replace(settings, lr=search.best)
        messages.append(search.sentence)
        if search.way == SEQUENTIAL:
            messages.append(f"The search ran sequentially: {search.why}.")
    if start is None:
        messages.append(task.change_note())
    with task.unchanged_on_error():
        model = task.build(settings.seed)
        if start is not None:
            check_start(a["start"], start, model)
            module_state.write(model, start)
        choices = _choices(a, store)
        messages.append(begin_together(processes, task, settings, model, choices))
        descent = Descent(task, settings, model, processes)
        config = make_config(task, descent, **choices)
        messages.append(idle_note(descent, a["stop_after"]))
        messages.append(first_line(task, a, descent, config, default_guard=not has_body))
        on_start = None if store is None or not processes.is_first else open_live(a["live"], store.folder)
        name, as_json = a["name"] or task.name, to_json(config, search, None)
        if store is None:
            record, progress = NoRecord(), NoProgress()
        else:
            begin = partial(store.begin, name, as_json, versions() | versions_of(processes), settings.seed, a["notes"])
            record = begin_record(processes, begin, store.folder)
            progress = Progress(descent.steps, config.metric) if processes.is_first else NoProgress()
    say = say_on_stderr if store is None else progress.say
    record = track(record, trackers, as_json, name, 0, say)
    trainer = Trainer(descent, record, progress, config, search, has_body=has_body, can_requeue=can_requeue)
    return Preparation(trainer, store, task, messages, on_start)


def _choices(arguments: Mapping[str, Any], store: Store | None) -> dict[str, Any]:
    """What is recorded besides the settings of the descent."""
    start = arguments["start"]
    origin = start if isinstance(start, str) else getattr(start, "id", Config.start)
    names = ("keep", "stop_after", "checkpoint_every")
    locate = arguments["locate"] and store is not None
    return {**{name: arguments[name] for name in names}, "locate": locate, "start": origin}


def _find_lr(task: Task, settings: Settings, start: ModuleState | None, is_silent: bool) -> Search:
    """The learning rate of the first stage, measured at the run's start."""
    task = task if start is None else task.at(start)
    first = dataclasses.replace(settings, stages=settings.stages.first)
    if is_silent:
        return run_search(task, first)
    with SearchDisplay() as display:
        return run_search(task, first, watch=display)
