"""Styles of the server's own pages: that of the built film page, and a few rules for the list."""

import base64
import hashlib
import re
from functools import cache
from html import escape
from pathlib import Path

from steepest.view.film import document

LOGO = (
    '<svg width="26" height="20" viewBox="0 0 26 20" class="logo" aria-hidden="true">'
    '<path d="M2 3c4 0 5.5 12.5 11 12.500S19 8 24 8"/><circle cx="13" cy="15.5" r="2.6"/></svg>'
)
STYLE = Path(__file__).with_name("style.css")
"""Rules for the list."""


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
    page, own = (path.read_text(encoding="utf-8") for path in (document.PAGE, STYLE))
    film = re.findall(r"<style[^>]*>(.*?)</style>", page, re.DOTALL)[0]
    dark = re.findall(r"\[data-theme=dark\]\s*\{(.*?)\}", film)[0]
    return f"{film}@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}{own}"


@cache
def policy() -> str:
    """The content security policy: this style only, and forms are sent to this server only."""
    digest = base64.b64encode(hashlib.sha256(style().encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; font-src data:; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    )
