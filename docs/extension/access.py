"""What the theme leaves out for people who use a keyboard or hear a page."""

import re
from typing import Any

from sphinx.application import Sphinx

SCROLLED = {
    '<div class="highlight"><pre>': '<div class="highlight"><pre tabindex="0">',
    '<div class="table-wrapper': '<div tabindex="0" class="table-wrapper',
    '<p class="formula">': '<p class="formula" tabindex="0">',
}
"""What may be wider than a narrow window, so that it scrolls: the keyboard has to reach it."""

SIGNATURE = re.compile(r'<dt class="sig .*?</dt>', re.DOTALL)
LINES = {"<dl>": '<span class="sig-lines">', "</dl>": "</span>", "<dd>": '<span class="sig-line">', "</dd>": "</span>"}
"""Sphinx writes the lines of a signature as a list of definitions that defines nothing."""


def complete(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """Gives headings of the sidebar their level, what scrolls a place in the keyboard's order, signatures lines."""
    if tree := context.get("furo_navigation_tree"):
        context["furo_navigation_tree"] = tree.replace('role="heading"', 'role="heading" aria-level="2"')
    if body := context.get("body"):
        for before, after in SCROLLED.items():
            body = body.replace(before, after)
        context["body"] = SIGNATURE.sub(lambda match: _in_lines(match[0]), body)


def _in_lines(signature: str) -> str:
    for before, after in LINES.items():
        signature = signature.replace(before, after)
    return signature
