"""The film page in headless chromium without a GPU: frames per second while turning and playing, and a million steps.

The race has 51 × 51 cells and 5 paths of 1,000 points. requestAnimationFrame counts frames while each of them turns the
relief, or while the film plays at 1×. The run of a million steps is in 4,096 buckets, as in every film, with 19 spikes
of one step each: a spike is visible if the curve reaches its height at its column of pixels.
"""

import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.report import met, span, table, yes
from tests.page import films
from tests.page.conftest import ARGUMENTS

TITLE = "The page"

SIZE = {"width": 1400, "height": 900}
SECONDS = 4
ROUNDS = 5
MIN_TURN_FPS, MIN_PLAY_FPS, MAX_READY_S = 30, 50, 2.0

TURN = """async seconds => {
  const stage = document.querySelector('.stage');
  let frames = 0;
  const began = performance.now();
  while (performance.now() - began < seconds * 1000) {
    stage.dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowLeft', bubbles: true }));
    await new Promise(requestAnimationFrame);
    frames++;
  }
  return 1000 * frames / (performance.now() - began);
}"""
PLAY = """async seconds => {
  window.dispatchEvent(new KeyboardEvent('keydown', { key: 'Home' }));
  window.dispatchEvent(new KeyboardEvent('keydown', { key: ' ' }));
  await new Promise(requestAnimationFrame);
  let frames = 0;
  const began = performance.now();
  while (performance.now() - began < seconds * 1000) {
    await new Promise(requestAnimationFrame);
    frames++;
  }
  return 1000 * frames / (performance.now() - began);
}"""
SPIKES = """steps => {
  const canvas = document.querySelector('.chart.grow canvas');
  const { width, height } = canvas;
  const pixels = canvas.getContext('2d').getImageData(0, 0, width, height).data;
  const left = 46, right = 14;
  const top = column => {
    for (let y = 0; y < height; y++) {
      const [red, , blue, alpha] = pixels.subarray(4 * (y * width + column), 4 * (y * width + column) + 4);
      if (alpha > 0 && red > blue + 60) return y; // the line is red, the ticks are grey
    }
    return height;
  };
  return steps.filter(share => {
    const x = Math.round(left + share * (width - left - right));
    return Math.min(top(x - 1), top(x), top(x + 1)) < 0.12 * height;
  }).length;
}"""
"""How many of the steps, as shares of the run, show a spike; the plot's margins are those of page/src/ui/curves.tsx."""


def measure() -> Sequence[str]:
    """The section's lines."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        race = _write(films.race(), folder, "race")
        million = _write(films.million(), folder, "million")
        turn, play, ready, visible = [], [], [], []
        for _ in range(ROUNDS):
            turn.append(_in_page(browser, race, TURN, SECONDS)[1])
            play.append(_in_page(browser, race, PLAY, SECONDS)[1])
            seconds, count = _in_page(browser, million, SPIKES, [s / films.LONG for s in films.SPIKES])
            ready.append(seconds)
            visible.append(count)
        browser.close()
    spikes, fewest, time_s = len(films.SPIKES), min(visible), statistics.median(ready)
    rows = [
        ("turning, 51 × 51 cells, 5 paths of 1,000 points", *_frames(turn, MIN_TURN_FPS)),
        ("playing the same", *_frames(play, MIN_PLAY_FPS)),
        ("1,000,000 steps, ready", span(time_s), f"< {MAX_READY_S:g} s", met(time_s, MAX_READY_S)),
        ("visible spikes of one step", f"{fewest} of {spikes}", "all", yes(fewest == spikes)),
    ]
    return table(("what", f"median of {ROUNDS}, {SIZE['width']} × {SIZE['height']}", "target", "met"), rows)


def _write(film: films.Film, folder: str, name: str) -> str:
    path = Path(folder, f"{name}.html")
    path.write_text(films.page(film))
    return path.as_uri()


def _in_page(browser: Any, url: str, script: str, argument: Any) -> tuple[float, Any]:
    """Seconds until a fresh page is ready, and the result of a script in it."""
    context = browser.new_context(viewport=SIZE, reduced_motion="reduce")
    page = context.new_page()
    start = time.perf_counter()
    page.goto(url)
    page.wait_for_selector("html[data-ready]")
    seconds = time.perf_counter() - start
    page.wait_for_selector(".stage[data-fine]")
    result = page.evaluate(script, argument)
    context.close()
    return seconds, result


def _frames(rates: Sequence[float], target: float) -> tuple[str, str, str]:
    """Frames per second, their target, and whether it is met."""
    middle = statistics.median(rates)
    return f"{middle:.0f} frames/s ({min(rates):.0f} to {max(rates):.0f})", f"≥ {target}", met(-middle, -target)
