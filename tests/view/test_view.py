"""Views, from records written by hand."""

import io
import math
from dataclasses import replace

import numpy as np
import pytest

from steepest.errors import InputError
from steepest.records.config import Config
from steepest.records.run import Event, Measurement, Record, Step, Steps
from steepest.records.search import Curve, RaceResult, Search, SearchProgress, Trial
from steepest.records.verdict import Verdict
from steepest.view.figures.curves import compare_curves, curves
from steepest.view.format import sparkline
from steepest.view.tables import headline, print_race, print_rates
from steepest.view.terminal import Progress, SearchDisplay


class Screen(io.StringIO):
    """A terminal that counts what is written to it."""

    def __init__(self, tty):
        super().__init__()
        self.tty, self.writes = tty, 0

    def isatty(self):
        return self.tty

    def write(self, text):
        self.writes += 1
        return super().write(text)


def a_record(losses):
    steps = Steps.of([Step(t, t / 10, 1e-3, loss, 1.0, 0.1) for t, loss in enumerate(losses, 1)])
    measured = (Measurement(len(losses), 1.0, "validation", "loss", 0.5),)
    config = Config(rule="adam")
    return Record("run-1", "run", "done", "2026-01-01", 1.0, config, {}, steps, measured)


def test_a_terminal_is_redrawn_at_most_ten_times_a_second(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    now = [0.0]
    screen = Screen(tty=True)
    progress = Progress(10_000, stream=screen, clock=lambda: now[0])
    for t in range(1, 10_001):
        now[0] += 1e-3
        progress.step(Step(t, t / 10, 1e-3, 1.0, 1.0, 0.1))
    assert 10 <= screen.writes <= 100
    assert "lr 0.001" in screen.getvalue()


def test_elsewhere_lines_are_plain_and_few():
    screen = Screen(tty=False)
    progress = Progress(1000, "accuracy", screen, clock=lambda: 1.0)
    for t in range(1, 1001):
        progress.step(Step(t, t / 10, 1e-3, 1.0, 1.0, 0.1))
        progress.measure(Measurement(t, t / 10, "validation", "accuracy", 0.5))
    lines = screen.getvalue().splitlines()
    assert 2 <= len(lines) <= 22
    assert lines[-1].startswith("step 1000/1000 · train loss 1 ▁")
    assert " · val accuracy 0.5 · lr 0.001 · " in lines[-1]
    assert "\x1b" not in screen.getvalue()


def test_a_search_is_redrawn_at_most_ten_times_a_second(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    now, screen = [0.0], Screen(tty=True)
    with SearchDisplay(screen, lambda: now[0]) as progress:
        for t in range(1, 10_001):
            now[0] += 1e-3
            progress(SearchProgress(t, 10_000, t // 1000, 0.01, 0.5, t % 1000 == 0))
    assert 10 <= screen.writes <= 101
    assert "best so far 0.01 (val loss 0.5)" in screen.getvalue()
    assert screen.getvalue().endswith("\n")


def test_elsewhere_a_search_has_a_line_for_each_set_of_short_runs():
    screen = Screen(tty=False)
    with SearchDisplay(screen, lambda: 1.0) as progress:
        for t in range(1, 101):
            progress(SearchProgress(t, 100, t // 25, None if t < 25 else 0.01, 0.5, t % 50 == 0))
    assert screen.getvalue() == (
        "learning-rate search · 50/100 steps · 2 values · best so far 0.01 (val loss 0.5) · 0.0 s left\n"
        "learning-rate search · 100/100 steps · 4 values · best so far 0.01 (val loss 0.5) · 0.0 s\n"
    )


def test_a_closed_stream_does_not_end_the_run():
    screen = Screen(tty=False)
    progress = Progress(10, stream=screen)
    screen.close()
    progress.say("to a closed stream")
    progress.say("and again")


@pytest.mark.parametrize("columns", [40, 80, 120, 200])
def test_a_live_line_fits_the_terminal(columns, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(columns))
    now, screen = [0.0], Screen(tty=True)
    progress = Progress(42, "accuracy", screen, lambda: now[0])
    progress.measure(Measurement(21, 1.0, "validation", "accuracy", 0.8542))
    for t in range(1, 22):
        now[0] += 0.1
        progress.step(Step(t, t / 21, 0.00168, 2 / t, 1.0, 0.1))
    with SearchDisplay(screen, lambda: now[0]) as display:
        display(SearchProgress(140, 240, 7, 0.01, 0.371, False))
    drawn = [text.removesuffix("\x1b[K") for text in screen.getvalue().removesuffix("\n").split("\r")]
    line, search = drawn[-3], drawn[-1]
    assert len(line) < columns
    if columns >= 80:
        assert line.startswith("step 2")
        assert " · val accuracy 0.854 · lr 0.00168 · " in line
        assert line.endswith(" s left")
        assert " (val loss 0.371) · " in search
        assert search.endswith(" s left")
    assert ("█" in line) == (columns >= 120)
    assert ("10 steps/s" in line) == (columns >= 120)


def test_of_many_clipped_gradients_only_some_are_shown():
    screen = Screen(tty=False)
    progress = Progress(10, stream=screen)
    for t in range(1, 11):
        progress.event(Event(t, "clip", "norm 40, threshold 3", "gradient clipped"))
    progress.event(Event(10, "rewind", "loss inf", "rewound to step 3", "the loss fell"))
    assert screen.getvalue().splitlines() == [
        "step 1 · gradient clipped: norm 40, threshold 3",
        *(f"step {t} · gradient clipped: norm 40, threshold 3 ({t} clipped so far)" for t in (2, 4, 8)),
        "step 10 · rewound to step 3: loss inf; the loss fell",
    ]


def test_the_metric_comes_first_then_the_verdict_with_the_run_s_id():
    verdict = Verdict("UNDECIDED", "Stationary.", "To test for a minimum run `steepest locate RUN`.")
    record = a_record([2.0, 1.0])
    measurements = (
        Measurement(2, 1.0, "validation", "accuracy", 0.875),
        Measurement(2, 1.0, "test", "accuracy", 0.9778),
    )
    record = replace(record, config=replace(record.config, metric="accuracy"), measurements=measurements)
    assert headline(record, verdict) == (
        "Test accuracy 97.8 % (validation 87.5 %). Stationary. To test for a minimum run `steepest locate RUN`."
    )
    assert headline(replace(record, measurements=measurements[:1]), verdict).startswith(
        "Validation accuracy 87.5 %. Stationary."
    )
    assert headline(a_record([2.0, 1.0]), None) == "Validation loss 0.5."


def search_record(**changes):
    table = (
        Trial(0.01, 20, 0.37, 1.0, "works"),
        Trial(0.1, 1200, math.inf, -math.inf, "fails", "non-finite loss from step 3"),
    )
    return replace(
        Search(0.0056, 0.01, 0.01, 0.1, table, 2.3, 240, 21, 0.6, "one after another", "batching was not faster",
               "adam", "Use lr = 0.0056 with adam."), **changes)  # fmt: skip


def test_the_table_of_a_search_and_its_cost(capsys):
    print_rates(search_record())
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[:3] == [
        "steps lr val loss gain vs best result",
        "20 0.01 0.37 100 % works",
        "1,200 0.1 inf none failed (non-finite loss from step 3)",
    ]
    assert " ".join(lines[3:]) == (
        "Use lr = 0.0056 with adam. 240 steps (11× the run of 21 steps) in 0.6 s, sequential: batching was not faster."
    )


def test_the_table_of_a_race(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    t = np.array([10, 20])
    curves = tuple(Curve(side, 0, 0.1, t, np.array([1.0, end]), np.array([0.5, 0.9]), 1e-3)
                   for side, end in (("adam", 0.3), ("sgd", 0.6)))  # fmt: skip
    print_race(RaceResult(("adam", "sgd"), curves, 0.5, True, (), "No difference detected.", "accuracy", 0))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split("  ")[0] == "contender"
    assert lines[0].endswith("median final val loss  median final accuracy")
    assert lines[1].split() == ["adam", "0.1", "20", "1", "of", "1", "0.3", "0.9"]
    assert lines[2].split() == ["sgd", "0.1", "—", "0", "of", "1", "0.6", "0.9"]
    assert lines[3:] == [
        "Target: val loss 0.5, the highest median final loss. —: the median run did not reach it.",
        "No difference detected.",
    ]


def test_sparkline_keeps_spikes_and_what_is_not_finite():
    losses = [1.0] * 1000
    losses[503], losses[250] = 9.0, float("nan")
    drawn = sparkline(losses, 20)
    assert len(drawn) == 20
    assert drawn[10] == "█"
    assert drawn[5] == "!"
    assert set(drawn) == {"▁", "█", "!"}


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_the_same_record_gives_the_same_figure(suffix, tmp_path):
    record = a_record(1 / np.arange(1.0, 300.0))
    one, two = (curves(record, tmp_path / f"{n}{suffix}").read_bytes() for n in "ab")
    assert one == two
    assert len(one) > 5000
    if suffix == ".svg":
        assert b"run-1, adam: validation loss 0.5" in one


LOSSES = {
    "nan": [1.0, float("nan"), 0.5], "all nan": [float("nan")] * 3, "one": [1.0], "negative": [1.0, -1.0], "none": [],
    "many": np.linspace(1.0, 0.1, 100_000),
}  # fmt: skip


@pytest.mark.parametrize("losses", LOSSES.values(), ids=LOSSES)
def test_any_losses_can_be_drawn(losses, tmp_path):
    assert compare_curves([a_record(losses)] * 2, tmp_path / "two.png").stat().st_size > 5000
    assert curves(a_record(losses), tmp_path / "one.svg").stat().st_size < 1_500_000


def test_other_suffixes_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"must end in .png or .svg or .pdf, got '.*a.bmp'"):
        curves(a_record([1.0]), tmp_path / "a.bmp")
