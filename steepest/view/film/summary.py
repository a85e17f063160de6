"""What a run's film says: a headline with the metric and how the run ended, why, what to do next, and final numbers."""

from collections.abc import Sequence

import numpy as np

from steepest.records.per_sample import per_sample
from steepest.records.run import BAD_DATA, REWIND, Event, History, Record
from steepest.records.verdict import (
    CONVERGED,
    DIVERGED,
    DIVERGED_ADVICE,
    FACTORS_AFTER_EXPLOSION,
    MINIMUM,
    UNDECIDED,
    VERDICT_HEADLINES,
    Verdict,
)
from steepest.view.film.attempts import final_length, split
from steepest.view.film.metrics import loss_text, metric_info, metric_text, share_detail, words_of
from steepest.view.film.numbers import count, two_digits
from steepest.view.film.schema import FilmEvent, Result
from steepest.view.format import capitalise
from steepest.view.plain_text import shell_word
from steepest.view.running_median import running_median, window_of

TIMES = ("", "once", "twice", *(f"{n} times" for n in ("three", "four", "five", "six", "seven", "eight", "nine")))
NEVER_FINITE_ADVICE = (
    "Look for NaN or infinity in the data and in the initial weights, a log of 0 or below, a division by 0."
)


# -- Final numbers -----------------------------------------------------------------------------------------------------


def results(record: Record) -> tuple[Result, ...]:
    """The final numbers: the validation metric, the test metric, the train loss over the validation loss.

    Args:
        record: of the run, its losses per sample.
    """
    rows = [row for split in ("validation", "test") if (row := _metric_result(record, split)) is not None]
    train, validation = train_loss(record), record.last("validation", "loss")
    if record.config.metric == "loss":  # it stands in a row of its own
        validation = None
    if train is not None:
        detail = "" if validation is None else f"validation {loss_text(validation)}"
        rows.append(Result("Train loss", loss_text(train), detail))
    return tuple(rows)


def _metric_result(record: Record, split: str) -> Result | None:
    config = record.config
    value, info = record.last(split, config.metric), metric_info(record, config.metric)
    if value is None or info is None:
        return None
    samples = config.validation_samples if split == "validation" else config.test_samples
    detail = share_detail(value, samples) if info.samples else ""
    if split == "test" and detail:  # the interval is that of the metric which choices looked at
        detail = detail.split(" %, ")[1]
    return Result(f"{split.capitalize()} {words_of(config.metric)}", metric_text(info, value), detail)


def train_loss(record: Record) -> float | None:
    """The running median of the training loss at the end; NaN where the last loss is none."""
    steps = record.steps
    if not len(steps):
        return None
    window = window_of(len(steps))
    return float(running_median(steps.loss[-window:], window)[-1])


def end_events(record: Record) -> list[FilmEvent]:
    """The best validation metric and the end of a run as events.

    Args:
        record: of the run, its losses per sample.
    """
    config, events = record.config, []
    info, values = metric_info(record, config.metric), record.series("validation", config.metric)
    finite = [m for m in values if np.isfinite(m.value) and m.t > 0]
    if info is not None and config.better is not None and len(finite) > 1:
        sign = -1 if config.better == "higher" else 1
        best = min(finite, key=lambda m: sign * m.value)
        words = f"best validation {words_of(config.metric)}, {metric_text(info, best.value)}"
        events.append(FilmEvent(best.t, "best", words))
    if record.status == "done":
        rows = {row.label.split(" ")[0]: row for row in results(record)}
        row = rows.get("Test")
        test = "" if row is None else f"; {row.label[0].lower()}{row.label[1:]} {row.value}"
        events.append(FilmEvent(len(record.steps), "end", f"finished{test}"))
    return events


# -- Headline ----------------------------------------------------------------------------------------------------------


def headline(history: History, verdict: Verdict | None, live: bool) -> str:
    """At most twelve words: the metric, and how the run ended. Of a live run: how far it is.

    Args:
        history: of the run.
        verdict: where it ended.
        live: whether it still goes on: then no end is told.
    """
    record = per_sample(history.record)
    metric, length = metric_phrase(record), steps_left(history)
    if live:
        total = record.config.steps
        place = f"step {count(length)} of {count(total)}" if total else f"step {count(length)}"
        return f"{metric} at {place}." if metric else f"{capitalise(place)}."
    if nothing := _loss_of_numbers(record):
        return nothing
    if verdict is not None and verdict.kind == DIVERGED:
        return _divergence(record)
    end = _end_words(record, verdict, length)
    return f"{metric}, {end}." if metric else f"{capitalise(end)}."


def metric_phrase(record: Record) -> str:
    """The metric at the end, as in "97.2 % validation accuracy"; else the validation loss, else the train loss.

    Args:
        record: of the run, its losses per sample.
    """
    rows = results(record)
    if not rows:
        return ""
    first = rows[0]
    label = first.label[0].lower() + first.label[1:]
    return f"{first.value} {label}" if first.value.endswith("%") else f"{first.label} {first.value}"


def _loss_of_numbers(record: Record) -> str:
    """What became of a loss that does not end as a finite number, as a sentence; empty where it does."""
    steps = record.steps
    bad = ~np.isfinite(steps.loss)
    if not len(steps) or not bad[-1]:
        return ""
    if bad.all():
        return "The loss was never a finite number."
    first = int(steps.t[np.flatnonzero(~bad)[-1]]) + 1
    return f"The loss is not a finite number from step {count(first)} on."


def _divergence(record: Record) -> str:
    steps, last = record.steps, train_loss(record)
    finite = steps.loss[np.isfinite(steps.loss)]
    if last is None or not len(finite):
        return "Training diverged."
    return f"Training diverged: the loss ends at {loss_text(last)}, from {loss_text(float(finite[0]))}."


def _end_words(record: Record, verdict: Verdict | None, length: int) -> str:
    """How the run ended, as the second half of a sentence."""
    total, events = record.config.steps, record.events
    if record.is_stopped_by_guard:
        return "stopped by the guard, for the loss kept exploding"
    if record.status in ("interrupted", "failed"):
        return f"{record.status} at step {count(length)}" + (f" of {count(total)}" if total else "")
    explosions = explosion_phrase(events)
    has_converged = verdict is not None and verdict.headline == CONVERGED
    if explosions:
        return f"{'converged ' if has_converged else ''}after {explosions}"
    if record.status == "stopped":
        return f"stopped early at step {count(length)}"
    if has_converged:
        return "and training has converged"
    return _place(verdict) or f"after {count(length)} steps"


def explosion_phrase(events: tuple[Event, ...]) -> str:
    """What made the guard go back, and how often; empty where it did not."""
    rewinds = [e for e in events if e.kind == REWIND]
    if not rewinds:
        return ""
    often = TIMES[len(rewinds)] if len(rewinds) < len(TIMES) else f"{len(rewinds)} times"
    if all(BAD_DATA.search(e.done) for e in rewinds):
        return f"bad batches were undone {often}"
    return f"the loss exploded {often}"


def _place(verdict: Verdict | None) -> str:
    if verdict is None:
        return ""
    if verdict.kind == UNDECIDED:
        is_stationary = verdict.sentence.startswith(VERDICT_HEADLINES[UNDECIDED])
        return "stationary" if is_stationary else "at a degenerate saddle or flat valley"
    if verdict.kind == MINIMUM and verdict.sentence.startswith("At a strict minimum"):
        return "at a strict minimum"
    words = VERDICT_HEADLINES.get(verdict.kind, "")
    return "in a flat region" if words == "Flat region" else words[:1].lower() + words[1:]


def _state(verdict: Verdict) -> str:
    return "converged" if verdict.headline == CONVERGED else _place(verdict)


def steps_left(history: History) -> int:
    """The number of the run's steps that were kept."""
    return final_length(split(len(history.record.steps), history.back))


# -- Advice ------------------------------------------------------------------------------------------------------------


def advice(history: History, verdict: Verdict | None) -> str:
    """Why, and on a line of its own what to do next, with a command between backticks."""
    record = history.record
    if verdict is not None and verdict.kind != DIVERGED and explosion_phrase(record.events):
        return _after_explosions(history, verdict)
    if verdict is None:
        return _command(_advice_without_verdict(record), record)
    return "\n".join(filter(None, (_reason(verdict), verdict.outlook, _command(verdict.advice, record))))


def _reason(verdict: Verdict) -> str:
    """The verdict's sentence without its first words, which the headline has."""
    words = verdict.sentence
    for start in (verdict.headline, VERDICT_HEADLINES.get(verdict.kind, ""), "Undecided"):
        if start and words.startswith(start):
            words = words[len(start) :].lstrip(",: ")
            break
    return capitalise(words) if len(words) > 1 else ""


def _advice_without_verdict(record: Record) -> str:
    """What to do where the loss did not end as a finite number."""
    finite = np.isfinite(record.steps.loss)
    if not len(finite) or finite[-1]:
        return ""
    return DIVERGED_ADVICE if finite.any() else NEVER_FINITE_ADVICE


def _command(words: str, record: Record) -> str:
    """Advice whose command can be copied: it names the task. A task from Python has a function instead."""
    source = shell_word(record.config.source) if record.config.source else ""
    return words.replace("`steepest find-lr TASK`", f"`steepest find-lr {source}`" if source else "`find_lr(task)`")


def no_surface(record: Record, messages: Sequence[str]) -> str:
    """What a film of the loss surface of a watched run needs, or why another run has none; empty if none was tried."""
    if not record.config.is_watched:
        return " ".join(f"{words.rstrip('.')}." for words in messages)
    return (
        "No surface: a loop of your own does not record its model, loss and data. Write them as `task()` in a Python "
        f"file, then run `steepest film {record.id} --task FILE`."
    )


def _after_explosions(history: History, verdict: Verdict) -> str:
    """Where the loss exploded, what the guard undid, and what to change."""
    record = history.record
    rewinds = [e for e in record.events if e.kind == REWIND]
    total, length = len(record.steps), steps_left(history)
    each = "" if len(rewinds) == 1 else " each time"
    reversal = f"The guard went back{each} and undid {count(total - length)} of {count(total)} steps."
    if all(BAD_DATA.search(e.done) for e in rewinds):
        batches = f"Bad batches made it rise, not the learning rate. {reversal}"
        return f"{batches}\nLook at the data of the steps before {count(rewinds[-1].t)}: outliers, wrong labels."
    rates = [record.steps.lr[min(e.t, total) - 1] for e in rewinds]
    lowest, last = float(min(rates)), float(record.steps.lr[-1])
    where = f"It exploded at a learning rate of {two_digits(lowest)}"
    if len(rewinds) > 1 and max(rates) > 1.05 * lowest:
        where = f"It exploded at learning rates from {two_digits(lowest)}"
    end = f" It ended at a learning rate of {two_digits(last)}, {_state(verdict)}." if 0 < last < lowest else ""
    base = record.config.lr if isinstance(record.config.lr, int | float) else lowest
    flag = f"{FACTORS_AFTER_EXPLOSION[0] * base:.2g}"
    return f"{where}. {reversal}{end}\nNext time: `--lr {flag}`, or let it be measured: `--lr auto`."
