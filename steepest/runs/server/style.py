"""Styles of the server's own pages: that of the built film page, and a few rules for the list."""

import base64
import hashlib
import re
from functools import cache
from html import escape

from steepest.view.film import document

LOGO = (
    '<svg width="26" height="20" viewBox="0 0 26 20" class="logo" aria-hidden="true">'
    '<path d="M2 3c4 0 5.5 12.5 11 12.500S19 8 24 8"/><circle cx="13" cy="15.5" r="2.6"/></svg>'
)
STYLE = """
main { display: block; max-width: 1180px; margin: 0 auto; padding: 28px; }
header { max-width: 1180px; margin: 0 auto; height: 56px; flex-wrap: nowrap; }
.mark { color: inherit; text-decoration: none; }
h1 { margin-bottom: 28px; overflow-wrap: anywhere; }
.list { width: 100%; border-collapse: collapse; }
th { text-align: left; font-weight: 400; font-size: 12px; color: var(--ink2); padding: 0 16px 8px 0; }
td { padding: 12px 16px 12px 0; }
tr { border-bottom: 1px solid var(--hair); }
tbody tr:hover { background: var(--wash); }
td:first-child { width: 36px; padding-left: 8px; }
.pick { width: 18px; height: 18px; accent-color: var(--accent); display: block; margin: 0; }
.id { font: 400 19px/24px var(--serif); color: var(--ink); text-decoration: none; overflow-wrap: anywhere; }
.id:hover { text-decoration: underline; text-underline-offset: 3px; text-decoration-thickness: 1px; }
small { display: block; font-size: 12px; line-height: 16px; color: var(--ink2); overflow-wrap: anywhere; }
.figure { text-align: right; white-space: nowrap; }
.running { color: var(--accent); font-weight: 600; }
.running::before {
  content: ""; display: inline-block; width: 8px; height: 8px; border-radius: 4px; margin-right: 7px;
  background: currentColor;
}
.failed { color: var(--bad); }
.spark { display: block; overflow: visible; fill: none; stroke: var(--ink2); stroke-width: 1.4; }
.spark .bad { stroke: var(--bad); stroke-width: 2; }
.foot { display: flex; gap: 24px; align-items: center; padding: 20px 0; color: var(--ink2); }
.foot a { color: var(--ink); }
.foot button { background: var(--ink); color: var(--paper); border-radius: 20px; padding: 9px 20px; font-weight: 600; }
code { font: 13px/20px ui-monospace, monospace; background: var(--wash); padding: 2px 7px; overflow-wrap: anywhere; }
.begin { color: var(--ink2); display: grid; gap: 14px; justify-items: start; }
@media (max-width: 819px) {
  main { padding: 12px 18px 28px; }
  h1 { margin-bottom: 20px; }
  thead { display: none; }
  .list, tbody { display: block; }
  tbody tr {
    display: grid; grid-template-columns: 32px minmax(0, 1fr) auto; gap: 2px 12px; padding: 12px 0; align-items: center;
  }
  td, td:first-child { padding: 0; width: auto; }
  .curve { grid-column: 3; grid-row: 1; }
  .curve svg { width: 84px; }
  .state { grid-column: 2; grid-row: 2; }
  .metric { grid-column: 3; grid-row: 2; }
  .metric small { display: none; }
  .steps, .when { grid-row: 3; font-size: 12px; color: var(--ink2); }
  .steps { grid-column: 3; }
  .steps::after { content: " steps"; }
  .when { grid-column: 2; }
  .when small { display: inline; }
}
"""


def frame_page(title: str, content: str, folder: str = "") -> str:
    """A whole page.

    Args:
        title: of the window.
        content: HTML.
        folder: of the runs.
    """
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)} · steepest</title><style>{style()}</style></head><body>"
        f'<header><a class="mark" href="/">{LOGO}steepest</a><span class="title">{escape(folder)}</span></header>'
        f"<main>{content}</main></body></html>"
    )


def message_page(words: str) -> str:
    """A page with one sentence, such as an error."""
    sentence = words[:1].upper() + words[1:].removesuffix(".")
    return frame_page("steepest", f'<h1>{escape(sentence)}.</h1><p class="foot"><a href="/">All runs</a></p>')


@cache
def style() -> str:
    """The film page's style, with its dark colours if the system prefers them, and the list's own."""
    page_style = re.search(r"<style[^>]*>(.*?)</style>", document.PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert page_style is not None
    dark = re.search(r"\[data-theme=dark\]\s*\{(.*?)\}", page_style[1])
    assert dark is not None
    return f"{page_style[1]}@media (prefers-color-scheme: dark) {{ :root {{ {dark[1]} }} }}{STYLE}"


@cache
def policy() -> str:
    """The content security policy: this style only, and forms are sent to this server only."""
    digest = base64.b64encode(hashlib.sha256(style().encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; font-src data:; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    )
