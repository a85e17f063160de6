"""Frame, style and script of the server's own pages: fonts and colours are those of the built film page."""

import base64
import hashlib
import re
from functools import cache
from html import escape
from pathlib import Path
from string import Template

from steepest.view.film import document
from steepest.view.plain_text import visible
from steepest.view.render.theme import CONSTANTS

FOLDER = Path(__file__).parent
EARLY = 'try{const t=localStorage.getItem("steepest-theme");if(t)document.documentElement.dataset.theme=t}catch{}'
"""Before the page is drawn: the theme that was chosen."""


def template(name: str) -> Template:
    """An HTML file of this folder, in one line."""
    lines = (FOLDER / name).read_text(encoding="utf-8").splitlines()
    return Template("".join(f"{line.strip()} " if line.endswith(("'", '"')) else line.strip() for line in lines))


FRAME = template("frame.html")


def frame_page(title: str, content: str, folder: str = "", is_list: bool = False) -> str:
    """A whole page.

    Args:
        title: of the window.
        content: HTML.
        folder: of the runs.
        is_list: whether it is the list of runs, which is kept up to date.
    """
    return FRAME.substitute(
        title=escape(visible(title)), style=style(), early=EARLY, script=script(), folder=escape(visible(folder)),
        content=content, data=" data-list" if is_list else "",
    )  # fmt: skip


def message_page(words: str) -> str:
    """A page with one sentence, such as an error."""
    sentence = words[:1].upper() + words[1:].removesuffix(".")
    return frame_page("steepest", f'<h1>{escape(visible(sentence))}.</h1><p class="foot"><a href="/">All runs</a></p>')


@cache
def script() -> str:
    """What keeps the list up to date, and gives it keys."""
    return (FOLDER / "list.js").read_text(encoding="utf-8")


@cache
def style() -> str:
    """The film page's fonts and colours, dark if the system prefers that or it was chosen, and the list's own rules."""
    film = re.findall(r"<style[^>]*>(.*?)</style>", document.PAGE.read_text(encoding="utf-8"), re.DOTALL)[0]
    fonts = "".join(re.findall(r"@font-face\s*\{.*?\}", film, re.DOTALL))
    (light,) = re.findall(r":root\s*\{([^}]*--paper[^}]*)\}", film)[:1]
    (dark,) = re.findall(r"\[data-theme=[\"']?dark[\"']?\]\s*\{([^}]*--paper[^}]*)\}", film)[:1]
    light, dark = f"{light};{_members('light')}", f"{dark};{_members('dark')}"
    own = (FOLDER / "style.css").read_text(encoding="utf-8")
    by_system = f"@media (prefers-color-scheme: dark) {{ :root:not([data-theme=light]) {{ {dark} }} }}"
    return f"{fonts}:root {{ {light} }} {by_system} :root[data-theme=dark] {{ {dark} }} {own}"


def _members(theme: str) -> str:
    """The members' colours as variables; those on the tray are the other theme's, whose ground it has."""
    other = {"light": "dark", "dark": "light"}[theme]
    own, opposite = (CONSTANTS["themes"][name]["members"] for name in (theme, other))
    return "".join(f"--m{i}: {a}; --o{i}: {b};" for i, (a, b) in enumerate(zip(own, opposite, strict=True)))


@cache
def policy() -> str:
    """The content security policy: this style and these scripts only, and forms are sent to this server only."""
    scripts = " ".join(_digest(text) for text in (EARLY, script()))
    return (
        f"default-src 'none'; style-src {_digest(style())}; script-src {scripts}; connect-src 'self'; font-src data:; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
