"""The film page in headless chromium without a GPU: frames per second, and the time until a long run is ready.

The run of a million steps is in 4,096 buckets, as in every film, with spikes of one step each: a spike is visible if
the curve reaches its height at its column of pixels.
"""

import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.report import check, span, table, yes
from tests.page import films
from tests.page.conftest import ARGUMENTS

TITLE = "The page"

SIZE = {"width": 1400, "height": 900}
SECONDS = 4
ROUNDS = 5
MIN_TURN_FPS, MIN_PLAY_FPS, MAX_READY_S = 30, 50, 1.0

SCRIPTS = Path(__file__).with_suffix(".js").read_text(encoding="utf-8")


def measure() -> Sequence[str]:
    """The section's lines."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        race = _write(films.race(), folder, "race")
        million = _write(films.million(), folder, "million")
        turn, play, ready, visible = [], [], [], []
        for _ in range(ROUNDS):
            turn.append(_in_page(browser, race, "turn", SECONDS)[1])
            play.append(_in_page(browser, race, "play", SECONDS)[1])
            seconds, count = _in_page(browser, million, "spikes", [s / films.LONG for s in films.SPIKES])
            ready.append(seconds)
            visible.append(count)
        browser.close()
    spikes, fewest, time_s = len(films.SPIKES), min(visible), statistics.median(ready)
    rows = [
        ("turning, 51 × 51 cells, 5 paths of 1,000 points", *_frames(turn, MIN_TURN_FPS)),
        ("playing the same", *_frames(play, MIN_PLAY_FPS)),
        ("1,000,000 steps, ready", span(time_s), f"< {MAX_READY_S:g} s", check(time_s, MAX_READY_S)),
        ("visible spikes of one step", f"{fewest} of {spikes}", "all", yes(fewest == spikes)),
    ]
    return table(("what", f"median of {ROUNDS}, {SIZE['width']} × {SIZE['height']}", "target", "met"), rows)


def _write(film: films.Film, folder: str, name: str) -> str:
    path = Path(folder, f"{name}.html")
    path.write_text(films.page(film))
    return path.as_uri()


def _in_page(browser: Any, url: str, script: str, argument: Any) -> tuple[float, Any]:
    """Seconds until a fresh page is ready, and the result of one of SCRIPTS in it."""
    context = browser.new_context(viewport=SIZE, reduced_motion="reduce")
    page = context.new_page()
    start = time.perf_counter()
    page.goto(url)
    page.wait_for_selector("html[data-ready]")
    seconds = time.perf_counter() - start
    page.wait_for_selector(".stage[data-fine]")
    result = page.evaluate(f"{SCRIPTS.strip()}.{script}", argument)
    context.close()
    return seconds, result


def _frames(rates: Sequence[float], target: float) -> tuple[str, str, str]:
    """Frames per second, their target, and whether it is met."""
    middle = statistics.median(rates)
    return f"{middle:.0f} frames/s ({min(rates):.0f} to {max(rates):.0f})", f"≥ {target}", check(-middle, -target)
