"""The relief that is drawn without a browser, laid over the page's own."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from steepest.view.film.document import encode
from steepest.view.render.canvas import Canvas
from steepest.view.render.frame import Area, Frame
from steepest.view.render.stage import Stage
from steepest.view.render.theme import find_theme
from tests.page import films

CATCH = """() => {
  const real = OffscreenCanvasRenderingContext2D.prototype.putImageData;
  OffscreenCanvasRenderingContext2D.prototype.putImageData = function (image, x, y) {
    window.caught = image;
    return real.call(this, image, x, y);
  };
}"""
"""What the page's renderer has drawn, before it is made smaller for the canvas."""
READ = """() => {
  const { width, height, data } = window.caught;
  let text = '';
  for (let i = 0; i < data.length; i += 32768) text += String.fromCharCode(...data.subarray(i, i + 32768));
  return [width, height, btoa(text)];
}"""
OVERLAYS = "() => document.querySelector('.stage').overlayBoxes.map(b => [b.left, b.top, b.right, b.bottom])"
BESIDE = ".saying, .inset { visibility: hidden !important } .stage { outline: none !important }"

RELIEF_APART = 1e-4
"""Share of the relief's pixels that may differ at all: 0 in Chromium 150 on x86; another libm may round otherwise."""
STAGE_APART, FAR = 0.015, 24
"""Share of the stage's pixels that may be farther apart than that, of 255: at most 0.007 of the same, at the soft edges
of letters and lines, which Skia and FreeType draw otherwise."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "width", "scheme"),
    [
        ("race", 1400, "dark"),
        pytest.param("run", 1400, "light", marks=pytest.mark.long),
        pytest.param("race", 1000, "light", marks=pytest.mark.long),
    ],
)
def test_the_twin_draws_what_the_page_draws(opened, kind, width, scheme):
    film = getattr(films, f"a_{kind}")()
    page = opened(encode(film), width, 800, scheme)
    page.wait_for_selector(".stage[data-fine]")
    page.evaluate(CATCH)
    page.focus(".stage")
    for key in ("ArrowLeft", "ArrowRight"):  # there and back: drawn anew from the opening view
        page.keyboard.press(key)
    page.wait_for_function("() => window.caught !== undefined")
    page.wait_for_selector(".stage[data-fine]")
    wide, high, data = page.evaluate(READ)
    theirs = np.frombuffer(base64.b64decode(data), np.uint8).reshape(high, wide, 4)
    overlays = page.evaluate(OVERLAYS)
    page.add_style_tag(content=BESIDE)
    shot = np.array(Image.open(io.BytesIO(page.locator(".stage").screenshot())).convert("RGB"))

    frame = Frame(shot.shape[1], shot.shape[0], tuple(Area(*area) for area in overlays))
    stage, canvas = twin(film, frame, scheme)
    ours = stage.block.pixels.view(np.uint8).reshape(stage.block.height, stage.block.width, 4)
    assert ours.shape == theirs.shape
    assert (ours != theirs).any(axis=-1).mean() <= RELIEF_APART
    apart = np.abs(canvas.pixels.astype(int) - shot).max(axis=-1)
    assert (apart > FAR).mean() <= STAGE_APART


def twin(film, frame: Frame, scheme: str) -> tuple[Stage, Canvas]:
    """Our stage of a film's first surface at its end."""
    name, grid = next(iter(film.surfaces.items()))
    theme = find_theme(scheme)
    stage = Stage(grid, name, list(film.members.values()), film.steps, frame, theme)
    canvas = Canvas(frame.width, frame.height, theme.paper)
    stage.draw(canvas, film.steps)
    return stage, canvas
