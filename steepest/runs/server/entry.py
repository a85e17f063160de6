"""What the list knows of a run: its record as the few values that a row shows, sorts by and is found by."""

import math
from dataclasses import dataclass
from datetime import UTC, datetime

from steepest.records.run import Record
from steepest.records.shares import wilson
from steepest.runs.store.counts import Counts
from steepest.view.film.metrics import metric_info, metric_text
from steepest.view.film.schema import MetricInfo
from steepest.view.plain_text import visible

LIST_STATUSES = ("running", "failed", "damaged", "stopped", "interrupted", "done")
"""In the order in which the list sorts them."""


@dataclass(frozen=True)
class Entry:
    """A run in the list; its texts have no control characters.

    Attributes:
        run: its id as it is stored; `id` is the same as it is shown.
        status: running, done, interrupted, stopped, failed or damaged.
        reason: why it failed, stopped or is damaged; "" where it did not or nobody knows.
        task, rule, schedule: names of the task and the update rule, and the schedule as text.
        lr, batch, seed: settings; None where the run does not say.
        steps, total: current steps, and how many there will be (0 where that is not known).
        rewinds: how many there were.
        metric, value, text: name and validation value of the run's metric, and the value as it is written; None where
            it was not measured.
        low, high: ends of its interval, for a share of known samples; None otherwise.
        better: "higher", "lower" or None.
        started, seconds: when it started, and how long it ran.
    """

    run: str
    id: str
    name: str
    status: str
    reason: str
    note: str
    task: str
    rule: str
    schedule: str
    lr: float | None
    batch: int | str | None
    seed: int | None
    steps: int
    total: int
    rewinds: int
    metric: str
    value: float | None
    text: str
    low: float | None
    high: float | None
    better: str | None
    started: datetime
    seconds: float

    @property
    def words(self) -> str:
        """The text in which words are searched."""
        return " ".join((self.id, self.name, self.note, self.rule, self.schedule, self.task, self.reason)).lower()

    @property
    def batch_count(self) -> float | None:
        """The batch size as a number; all samples are more than any number of them."""
        return math.inf if self.batch == "full" else self.batch if isinstance(self.batch, int) else None

    @property
    def rank(self) -> tuple[str, float] | None:
        """By which runs are sorted from worst to best: runs of one metric lie together."""
        if self.value is None:
            return None
        value = -self.value if self.better == "lower" else self.value
        return self.metric, -math.inf if math.isnan(value) else value


def entry(record: Record, counts: Counts) -> Entry:
    """A run in the list.

    Args:
        record: of the run, with its measurements; its steps are not needed.
        counts: its steps and rewinds.
    """
    config = record.config
    value = record.last("validation", config.metric)
    info = metric_info(record, config.metric)
    text = "" if value is None or info is None else metric_text(info, value)
    low, high = _interval(value, info)
    reason = record.damage or (counts.reason if record.status in ("failed", "stopped", "interrupted") else "")
    return Entry(
        run=record.id, id=visible(record.id), name=visible(record.name), status=record.status, reason=visible(reason),
        note=visible(record.notes), task=visible(config.task), rule=visible(config.rules),
        schedule=visible(config.schedule).replace(">>", "»"), lr=config.lr if isinstance(config.lr, float) else None,
        batch=config.batch_size, seed=config.seed, steps=counts.steps, total=config.steps, rewinds=counts.rewinds,
        metric=visible(config.metric), value=value, text=text, low=low, high=high, better=config.better,
        started=_time(record.started), seconds=record.seconds,
    )  # fmt: skip


def _interval(value: float | None, info: MetricInfo | None) -> tuple[float | None, float | None]:
    """The 95 % interval of a metric that is a share of a known number of samples."""
    if value is None or info is None or not info.samples or not 0 <= value <= 1:
        return None, None
    return wilson(value * info.samples, info.samples)


def _time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return datetime.fromtimestamp(0, UTC)
    return time if time.tzinfo else time.replace(tzinfo=UTC)
