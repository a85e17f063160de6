"""The page's layout by boxes: at every size nothing overlaps, nothing is wider than the window, and play is in view."""

from dataclasses import replace

import numpy as np
import pytest

from steepest.view.film.schema import FilmEvent
from tests.page import boxes, films
from tests.page.test_page import SERIOUS

pytestmark = pytest.mark.slow

SIZES = ((1400, 900), (1366, 650), (1280, 600), (1100, 520), (1000, 700), (820, 1100), (380, 800), (320, 700))
BESIDE = 1000
"""From this width on the page does not scroll, and targets may be smaller."""

TEXTS = """() => {
  const shown = e => e.checkVisibility({ visibilityProperty: true, opacityProperty: true });
  const inline = e => getComputedStyle(e).display.startsWith('inline');
  const block = e => e.closest('math') ?? (inline(e) ? block(e.parentElement) : e);
  const clip = (e, box) => {
    for (let up = e; up && up !== document.body; up = up.parentElement) {
      const style = getComputedStyle(up);
      if (style.overflowX === 'visible' && style.overflowY === 'visible') continue;
      const r = up.getBoundingClientRect();
      box = { left: Math.max(box.left, r.left), right: Math.min(box.right, r.right),
              top: Math.max(box.top, r.top), bottom: Math.min(box.bottom, r.bottom) };
      if (style.position === 'fixed') break;
    }
    return box;
  };
  const found = [];
  const walker = document.createTreeWalker(document.querySelector('.page'), NodeFilter.SHOW_TEXT);
  for (let node; (node = walker.nextNode());) {
    const e = node.parentElement;
    if (!node.data.trim() || !shown(e) || e.closest('.hidden, option, script')) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const r of range.getClientRects()) {
      const trim = 0.18 * r.height; // above capitals and below the baseline there is no ink
      const inked = { left: r.left, right: r.right, top: r.top + trim, bottom: r.bottom - trim };
      found.push({ e, of: block(e), text: node.data.trim(), ...clip(e, inked) });
    }
  }
  for (const e of document.querySelectorAll('.page *')) {
    if (!e.textBoxes || !shown(e)) continue;
    const at = e.getBoundingClientRect();
    for (const b of e.textBoxes) {
      const trim = 0.12 * (b.bottom - b.top);
      found.push({ e, of: {}, text: b.text ?? b.label?.text, left: at.left + b.left, right: at.left + b.right,
                   top: at.top + b.top + trim, bottom: at.top + b.bottom - trim });
    }
  }
  const foot = document.querySelector('footer');
  const top = foot.getBoundingClientRect().top;
  return found
    .map(b => (foot.contains(b.e) ? b : { ...b, bottom: Math.min(b.bottom, top) }))
    .filter(b => b.right - b.left > 1 && b.bottom - b.top > 1);
}"""
"""Every piece of text that is seen, in the document and on canvases, cut where something cuts it."""

OVERLAPS = f"""() => {{
  const boxes = ({TEXTS})();
  const out = [];
  boxes.forEach((a, i) => boxes.slice(i + 1).forEach(b => {{
    if (a.of === b.of) return;
    const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
    const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
    if (across > 1 && down > 1) out.push([a.text, b.text, across, down]);
  }}));
  return out;
}}"""
CUT = f"() => ({TEXTS})().filter(b => b.right > innerWidth + 1 || b.left < -1).map(b => b.text)"
TARGETS = """least => [...document.querySelectorAll('button, a, select, summary, input, [tabindex="0"]')]
  .filter(e => e.checkVisibility({ visibilityProperty: true }) && !e.closest('.hidden, dialog:not([open])'))
  .map(e => [e, (e.matches('.member input') ? e.closest('label') : e).getBoundingClientRect()])
  .filter(([, r]) => r.width < least || r.height < least)
  .map(([e, r]) => [`${e.className || e.id || e.tagName} ${e.textContent.slice(0, 20)}`, r.width, r.height])
"""
IN_VIEW = """() => ['.go', '.scrub'].every(name => {
  const r = document.querySelector(name).getBoundingClientRect();
  return r.top >= 0 && r.left >= 0 && r.bottom <= innerHeight && r.right <= innerWidth && r.width > 24;
})"""


def with_events(n: int) -> films.Encoded:
    """A run with so many events, at steps of their own."""
    film = films.a_run()
    member = film.members["adam"]
    steps = np.linspace(30, 2390, n).astype(int).tolist()
    kinds = ("clip", "rewind", "skip", "lower")
    many = tuple(
        FilmEvent(
            t,
            kinds[i % 4],
            f"event {i}: the loss was {t / 7:.3g}, 12 × its running mean",
            t - 25 if i % 4 == 1 else None,
        )
        for i, t in enumerate(steps)
    )
    return films.encode(replace(film, members={"adam": replace(member, events=many)}))


def of_size(factor: float) -> films.Encoded:
    """A run whose losses are so many times as large, and that has no verdict's numbers."""
    film = films.a_run()
    member = film.members["adam"]
    curves = {
        name: curve
        if name == "lr"
        else replace(curve, lo=curve.lo * factor, mid=curve.mid * factor, hi=curve.hi * factor)
        for name, curve in member.curves.items()
    }
    surfaces = {name: replace(grid, loss=grid.loss * factor, error=None) for name, grid in film.surfaces.items()}
    whole = replace(member, curves=curves, loss=member.loss * factor, verdict=None)
    return films.encode(replace(film, members={"adam": whole}, surfaces=surfaces, headline=f"Loss {factor:g}: done."))


FILMS = {
    "run": films.run,
    "race": films.race,
    "play": films.play,
    "no events": lambda: with_events(0),
    "50 events": lambda: with_events(50),
    "loss 1e-9": lambda: of_size(1e-9),
    "loss 1e9": lambda: of_size(1e9),
}


def settled(page) -> None:
    """Waits until the page has taken a size, and the stage its fine picture."""
    page.evaluate("document.querySelector('.stage')?.removeAttribute('data-fine')")
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    page.wait_for_function("() => document.querySelector('.stage').textBoxes")


def faults(page, width: int) -> dict[str, object]:
    """What is wrong at this size."""
    found = {
        "overlap": page.evaluate(OVERLAPS),
        "cut": page.evaluate(CUT),
        "small targets": page.evaluate(TARGETS, 24 if width >= BESIDE else 44),
        "wider than the window": page.evaluate("document.documentElement.scrollWidth > innerWidth"),
        "play out of view": not page.evaluate(IN_VIEW),
        "scrolls": width >= BESIDE and page.evaluate("document.documentElement.scrollHeight > innerHeight"),
    }
    return {name: what for name, what in found.items() if what}


@pytest.mark.parametrize("name", FILMS)
def test_nothing_overlaps_at_any_size(opened, name):
    page = opened(FILMS[name](), *SIZES[0])
    wrong = {}
    for width, height in SIZES:
        page.set_viewport_size({"width": width, "height": height})
        settled(page)
        wrong |= {(width, height): found} if (found := faults(page, width)) else {}
        if width < BESIDE:
            page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
            wrong |= {(width, height, "end"): found} if (found := faults(page, width)) else {}
            page.evaluate("scrollTo(0, 0)")
    assert not wrong, "\n".join(f"{size}: {found}" for size, found in wrong.items())


def test_no_width_is_too_small(opened):
    page = opened(films.play(), 320, 700)
    wide = []
    for width in range(320, 1500, 56):
        page.set_viewport_size({"width": width, "height": 640})
        if page.evaluate("document.documentElement.scrollWidth > innerWidth") or not page.evaluate(IN_VIEW):
            wide.append(width)
    assert wide == []


def test_advice_waits_behind_a_word_where_there_is_hardly_any_height(opened):
    page = opened(films.run(), 1280, 520)
    assert not page.locator(".verdict .advice").is_visible()
    page.get_by_role("button", name="more", exact=True).click()
    assert page.locator(".verdict .advice").is_visible()
    assert page.locator(".chart.grow").bounding_box()["height"] >= 150
    page.set_viewport_size({"width": 1280, "height": 600})
    assert page.get_by_role("button", name="less").count() == 0


def test_boxes_that_overlap_are_seen(opened):
    page = opened(films.run(), *SIZES[0])
    settled(page)
    texts = page.evaluate(f"() => ({TEXTS})().map(b => b.text)")
    assert {"start", "step 2,400", "loss", "How to read this", "Loss"} <= set(texts)  # on the canvas and beside it
    page.add_style_tag(content=".advice { margin-top: -40px !important }")
    assert page.evaluate(OVERLAPS)
    page.add_style_tag(content=".title { margin-left: -400px }")
    assert page.evaluate(CUT)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(opened, axe, scheme):
    page = opened(films.run(), *SIZES[0], scheme)
    found = {}
    for width, height in SIZES[0], (820, 1100), (380, 800):
        page.set_viewport_size({"width": width, "height": height})
        settled(page)
        violations = boxes.violations(page, axe)
        serious = [(v["id"], [n["target"] for n in v["nodes"]][:3]) for v in violations if v["impact"] in SERIOUS]
        found |= {(width, height): serious} if serious else {}
    assert found == {}
