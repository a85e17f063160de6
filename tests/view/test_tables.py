"""Text of users in tables: shown as written, ids and columns whole, in pipes nothing cut."""

import io
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from steepest.records.config import Config
from steepest.records.run import Event, Measurement, Record, Steps
from steepest.view import tables
from steepest.view.plain_text import visible
from steepest.view.terminal import Progress

LONG = "resnet50-imagenet-adamw-wd0.05-bs1024-mixup0.8-cutmix1.0-ema0.9999-warmup5-3f2a"
TEXTS = [
    "RMSE [m]",
    "speed [m/s]",
    "rate [/s]",
    "[bold red]x[/]",
    "[link=http://x]y[/link]",
    ":smile:",
    "\\[m]",
    "100 %",
]


def record(run="digits-1a2b", metric="loss", **values):
    t = np.arange(1.0, 31.0)
    config = Config(rule="adam", lr=1e-3, metric=metric, steps=30)
    steps, measurements = Steps(t, t, t, 1 / t, t, t), (Measurement(30, 1.0, "validation", metric, 0.25),)
    host = {"host": "h", "pid": "1"}
    whole = Record(run, "digits", "done", "2026-01-02T03:04:05", 1.5, config, host, steps, measurements)
    return replace(whole, **values)


def printed(monkeypatch, width, function, *args):
    """What a function prints in a terminal of a width; in a pipe for None."""
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=True, color_system=None, highlight=False)
    pipe = Console(file=out, width=tables.PIPE_WIDTH, highlight=False)
    monkeypatch.setattr(tables, "_console", lambda: pipe if width is None else console)
    function(*args)
    return out.getvalue()


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("width", [80, None])
def test_text_is_shown_as_it_is_written(text, width, monkeypatch):
    one = record(metric=text, notes=text, events=(Event(3, "clip", text, "clipped"),))
    shown = printed(monkeypatch, width, tables.print_runs, [one])
    assert f"{text} 0.25" in shown
    assert text in printed(monkeypatch, width, tables.print_run, one, None)
    assert f"validation {text}" in printed(monkeypatch, 120, tables.print_comparison, (one, one), {}, text)


@pytest.mark.parametrize("width", [40, 80, 120, None])
@pytest.mark.parametrize("run", ["short-1a2b", LONG, "名前" * 30, "x" * 300], ids=["short", "long", "wide", "huge"])
def test_ids_and_columns_are_whole(run, width, monkeypatch):
    shown = printed(monkeypatch, width, tables.print_runs, [record(), record(run)])
    assert sum(run in line for line in shown.splitlines()) == 1
    for cell in ("done", " adam ", "0.001", "loss 0.25", "1.5 s", "2026-01-02 03:04"):
        assert shown.count(cell) == 2, shown
    compared = printed(monkeypatch, width, tables.print_comparison, (record(), record(run)), {"lr": (1, 2)}, "End.")
    assert run.replace(" ", "") in compared.replace("\n", "").replace(" ", "")


def test_a_pipe_gets_a_line_a_run_whose_columns_are_below_one_another(monkeypatch):
    lines = printed(monkeypatch, None, tables.print_runs, [record(), record(LONG)]).splitlines()
    assert len(lines) == 3
    assert len({line.index(word) for line, word in zip(lines, ("status", "done", "done"), strict=True)}) == 1


STEERING = {
    "\x1b[2Jgone": r"\x1b[2Jgone",
    "two\nlines": r"two\nlines",
    "back\rwards": r"back\rwards",
    "bell\a": r"bell\x07",
    "\u202egnp.exe": r"\u202egnp.exe",
    "\x9b31m": r"\x9b31m",
    "zero\u200bwidth": r"zero\u200bwidth",
    "\ud800": r"\ud800",
}


@pytest.mark.parametrize("text", STEERING)
def test_what_steers_a_terminal_is_made_visible(text, monkeypatch):
    one = record(f"a{text}", notes=text, metric=text)
    for shown in (
        printed(monkeypatch, 200, tables.print_runs, [one]),
        printed(monkeypatch, 200, tables.print_run, one, None),
        printed(monkeypatch, 200, tables.print_comparison, (one, one), {text: (text, text)}, text),
    ):
        assert STEERING[text] in shown
        assert all(c.isprintable() or c == "\n" for c in shown)


@pytest.mark.parametrize("text", ["plain", "Größe", "名前", "👩‍🔬", "a\u00a0b", "‖∇L‖² ≤ 1"])
def test_other_text_stays(text):
    assert visible(text) == text


def test_progress_shows_what_steers_as_text():
    out = io.StringIO()
    Progress(10, stream=out).say("metric \x1b[2J has \ud800")
    assert out.getvalue() == "metric \\x1b[2J has \\ud800\n"
