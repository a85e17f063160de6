"""Views, from records written by hand."""

import io

import numpy as np
import pytest

from steepest.errors import InputError
from steepest.records.config import Config
from steepest.records.run import Measurement, Record, Step, Steps
from steepest.records.search import SearchProgress
from steepest.view.figures.curves import compare_curves, curves
from steepest.view.format import sparkline
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
    assert lines[-1].startswith("1000/1000  loss 1")
    assert "\x1b" not in screen.getvalue()


def test_a_search_is_redrawn_at_most_ten_times_a_second(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    now, screen = [0.0], Screen(tty=True)
    with SearchDisplay(screen, lambda: now[0]) as progress:
        for t in range(1, 10_001):
            now[0] += 1e-3
            progress(SearchProgress(t, 10_000, t // 1000, 0.01, 0.5, t % 1000 == 0))
    assert 10 <= screen.writes <= 101
    assert "best 0.01, loss 0.5" in screen.getvalue()
    assert screen.getvalue().endswith("\n")


def test_elsewhere_a_search_has_a_line_for_each_set_of_short_runs():
    screen = Screen(tty=False)
    with SearchDisplay(screen, lambda: 1.0) as progress:
        for t in range(1, 101):
            progress(SearchProgress(t, 100, t // 25, None if t < 25 else 0.01, 0.5, t % 50 == 0))
    assert screen.getvalue() == (
        "finding the rate 50/100  2 tried  best 0.01, loss 0.5  0.0 s left\n"
        "finding the rate 100/100  4 tried  best 0.01, loss 0.5  0.0 s\n"
    )


def test_a_closed_stream_does_not_end_the_run():
    screen = Screen(tty=False)
    progress = Progress(10, stream=screen)
    screen.close()
    progress.say("nobody hears this")
    progress.say("nor this")


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
    with pytest.raises(InputError, match=r"must end in .png or .svg or .pdf"):
        curves(a_record([1.0]), tmp_path / "a.bmp")
