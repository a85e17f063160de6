"""Frame and style of the server's own pages: the style of the built film page, and a few rules for the list."""

import base64
import hashlib
import re
from functools import cache
from html import escape
from pathlib import Path
from string import Template

from steepest.view.film import document

STYLE = Path(__file__).with_name("style.css")
"""Rules for the list."""


def template(name: str) -> Template:
    """An HTML file of this folder, in one line."""
    lines = Path(__file__).with_name(name).read_text(encoding="utf-8").splitlines()
    return Template("".join(line.strip() for line in lines))


FRAME = template("frame.html")


def frame_page(title: str, content: str, folder: str = "") -> str:
    """A whole page.

    Args:
        title: of the window.
        content: HTML.
        folder: of the runs.
    """
    return FRAME.substitute(title=escape(title), style=style(), folder=escape(folder), content=content)


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
