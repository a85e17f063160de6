"""Boxes of text and targets in any page of ours, without canvases: for the list and the comparison."""

SIZES = ((1400, 900), (1366, 650), (1280, 600), (1000, 700), (820, 1100), (380, 800), (320, 700))
TOUCH = 1000
"""Below this width targets are for fingers."""

TEXTS = """() => {
  const inline = e => getComputedStyle(e).display.startsWith('inline') || e.closest('svg') === e;
  const block = e => (inline(e) && !e.matches('a, button, label') ? block(e.parentElement) : e);
  const found = [];
  const walker = document.createTreeWalker(document.querySelector('main'), NodeFilter.SHOW_TEXT);
  for (let node; (node = walker.nextNode());) {
    const e = node.parentElement;
    if (!node.data.trim() || !e.checkVisibility({ visibilityProperty: true, opacityProperty: true })) continue;
    if (e.closest('.hidden, option, script, .tray, .live')) continue; // the tray lies above the list, which scrolls
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const r of range.getClientRects()) {
      let box = { left: r.left, right: r.right, top: r.top + 0.18 * r.height, bottom: r.bottom - 0.18 * r.height };
      for (let up = e; up && up !== document.body; up = up.parentElement) {
        const style = getComputedStyle(up);
        if (style.overflowX === 'visible' && style.overflowY === 'visible') continue;
        const c = up.getBoundingClientRect();
        box = { left: Math.max(box.left, c.left), right: Math.min(box.right, c.right),
                top: Math.max(box.top, c.top), bottom: Math.min(box.bottom, c.bottom) };
      }
      if (box.right - box.left < 1 || box.bottom - box.top < 1) continue;
      found.push({ of: e.closest('svg') ? e : block(e), text: node.data.trim(), ...box });
    }
  }
  return found;
}"""

OVERLAPS = f"""() => {{
  const boxes = ({TEXTS})(), out = [];
  boxes.forEach((a, i) => boxes.slice(i + 1).forEach(b => {{
    if (a.of === b.of || a.of.contains(b.of) || b.of.contains(a.of)) return;
    const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
    const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
    if (across > 1 && down > 1) out.push([a.text, b.text, Math.round(across), Math.round(down)]);
  }}));
  return out;
}}"""
"""Pairs of texts that lie over one another."""

CUT = f"() => ({TEXTS})().filter(b => b.right > innerWidth + 1 || b.left < -1).map(b => b.text)"
"""Texts that lie beyond the window."""

TARGETS = """least => [...document.querySelectorAll('button, a, select, input')]
  .filter(e => e.checkVisibility({ visibilityProperty: true }) && !e.closest('[hidden]'))
  .map(e => [e, (e.closest('label') ?? e).getBoundingClientRect()])
  .filter(([, r]) => r.width < least - 0.5 || r.height < least - 0.5)
  .map(([e, r]) => [e.className || e.name || e.tagName, e.textContent.slice(0, 20), ~~r.width, ~~r.height])
"""
"""Targets smaller than so many pixels."""


def resize(page, width: int, height: int, scheme: str) -> None:
    """Gives an open page a size and a theme: opening it anew takes ten times as long."""
    page.set_viewport_size({"width": width, "height": height})
    page.emulate_media(color_scheme=scheme)
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def violations(page, axe: str) -> list[dict]:
    """What axe finds in a page. Only that is sent: all that is in order takes seconds to send."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(axe)
    return page.evaluate("axe.run(document, { resultTypes: ['violations'] }).then(found => found.violations)")


def problems(page, axe: str | None = None) -> dict:
    """What is wrong with a page's layout: empty if nothing is."""
    width = page.viewport_size["width"]
    wide = page.evaluate("document.documentElement.scrollWidth")
    found = {
        "wider than the window": [] if wide <= width else [wide],
        "overlap": page.evaluate(OVERLAPS),
        "beyond the window": page.evaluate(CUT),
        "small targets": page.evaluate(TARGETS, 24 if width >= TOUCH else 44),
    }
    if axe is not None:
        found["axe"] = [(v["id"], [n["target"] for n in v["nodes"]][:3]) for v in violations(page, axe)]
    return {what: items for what, items in found.items() if items}
