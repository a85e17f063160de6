"""The film page in headless chromium without a GPU: frames a second while turning and playing, and a million steps.

The race has 51 × 51 cells and 5 paths of 1,000 points. Frames are counted by requestAnimationFrame while each of them
turns the relief, or while the film plays at 1×. The run of a million steps is in 4,096 buckets, as films are, with 19
spikes of one step each: one is seen where the curve reaches its height at its column of pixels.
"""

import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.report import span, table
from tests.page import films
from tests.page.conftest import ARGUMENTS

TITLE = "The page"

SIZE = {"width": 1400, "height": 900}
SECONDS = 4
ROUNDS = 5
TURNING, PLAYING, READY_S = 30, 50, 2.0

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
"""How many of the steps, as shares of the run, have a spike; the plot's margins are those of page/src/ui/curves.tsx."""


def measure() -> Sequence[str]:
    """The section's lines."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        race = _written(films.race(), folder, "race")
        million = _written(films.million(), folder, "million")
        turning, playing, ready, seen = [], [], [], []
        for _ in range(ROUNDS):
            turning.append(_in_page(browser, race, TURN, SECONDS)[1])
            playing.append(_in_page(browser, race, PLAY, SECONDS)[1])
            seconds, found = _in_page(browser, million, SPIKES, [s / films.LONG for s in films.SPIKES])
            ready.append(seconds)
            seen.append(found)
        browser.close()
    spikes = len(films.SPIKES)
    rows = [
        ("turning, 51 × 51 cells, 5 paths of 1,000 points", _frames(turning), f"≥ {TURNING}", _met(turning, TURNING)),
        ("playing the same", _frames(playing), f"≥ {PLAYING}", _met(playing, PLAYING)),
        ("1,000,000 steps, ready", span(statistics.median(ready)), f"< {READY_S:g} s", _met(ready, READY_S, False)),
        ("spikes of one step that are seen", f"{min(seen)} of {spikes}", "all", "yes" if min(seen) == spikes else "no"),
    ]  # fmt: skip
    return table(("what", f"median of {ROUNDS}, {SIZE['width']} × {SIZE['height']}", "goal", "met"), rows)


def _written(film: films.Film, folder: str, name: str) -> str:
    path = Path(folder, f"{name}.html")
    path.write_text(films.page(film))
    return path.as_uri()


def _in_page(browser: Any, url: str, script: str, argument: Any) -> tuple[float, Any]:
    """Seconds until a fresh page is ready, and what a script in it says."""
    context = browser.new_context(viewport=SIZE, reduced_motion="reduce")
    page = context.new_page()
    began = time.perf_counter()
    page.goto(url)
    page.wait_for_selector("html[data-ready]")
    seconds = time.perf_counter() - began
    page.wait_for_selector(".stage[data-fine]")
    result = page.evaluate(script, argument)
    context.close()
    return seconds, result


def _frames(rates: Sequence[float]) -> str:
    return f"{statistics.median(rates):.0f} frames/s ({min(rates):.0f} to {max(rates):.0f})"


def _met(values: Sequence[float], limit: float, least: bool = True) -> str:
    middle = statistics.median(values)
    return "yes" if (middle >= limit if least else middle < limit) else "no"
