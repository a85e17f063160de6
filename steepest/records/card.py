"""Results as HTML for a notebook: a card with the conclusion first, then what it rests on. All text is escaped.

The colours are those of the page; a card is dark where the notebook is.
"""

import html
import re
from collections.abc import Sequence

LIGHT_COLOURS = {
    "paper": "#FAF8F3", "ink": "#1A1E23", "ink2": "#545B64", "ink3": "#686E75", "hair": "#E1DCD0", "bad": "#A3271A",
    "c0": "#B5340C", "c1": "#25109D", "c2": "#D07B00", "c3": "#A066F0", "c4": "#259A95", "c5": "#740F2A",
}  # fmt: skip
DARK_COLOURS = {
    "paper": "#0F1317", "ink": "#ECE9E1", "ink2": "#A5A9AC", "ink3": "#868B90", "hair": "#262C33", "bad": "#FF8B7A",
    "c0": "#F0533F", "c1": "#87C3F1", "c2": "#FEB311", "c3": "#9B62E6", "c4": "#90FDDF", "c5": "#CC71A4",
}  # fmt: skip
LIGHT_HOSTS = ('body[data-jp-theme-light="true"]', "body.vscode-light", 'html[theme="light"]')
DARK_HOSTS = ('body[data-jp-theme-light="false"]', "body.vscode-dark", 'html[theme="dark"]')
"""How JupyterLab, VS Code and Colab say which theme they have; elsewhere the system's is used."""
CARD_CLASS = ".steepest-card"


def _colours(values: dict[str, str], scheme: str) -> str:
    return "".join(f"--{name}:{value};" for name, value in values.items()) + f"color-scheme:{scheme}"


def _in(hosts: Sequence[str]) -> str:
    return ",".join(f"{host} {CARD_CLASS}" for host in hosts)


CARD_STYLE = f"""
{CARD_CLASS}{{{_colours(LIGHT_COLOURS, "light")}}}
@media (prefers-color-scheme:dark){{{CARD_CLASS}{{{_colours(DARK_COLOURS, "dark")}}}}}
{_in(LIGHT_HOSTS)}{{{_colours(LIGHT_COLOURS, "light")}}}
{_in(DARK_HOSTS)}{{{_colours(DARK_COLOURS, "dark")}}}
{CARD_CLASS}{{background:var(--paper);color:var(--ink);border:1px solid var(--hair);border-radius:6px;padding:14px 18px;
  max-width:760px;box-sizing:border-box;font:14px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif;
  overflow-wrap:anywhere}}
{CARD_CLASS} p{{margin:0 0 6px;color:var(--ink2)}}
{CARD_CLASS} p.lead{{font-size:16px;font-weight:600;line-height:1.35;color:var(--ink)}}
{CARD_CLASS} p.note,{CARD_CLASS} summary{{font-size:12px;color:var(--ink3);margin-bottom:2px}}
{CARD_CLASS} code{{font-size:12px;color:var(--ink);background:none}}
{CARD_CLASS} p:last-child{{margin-bottom:0}}
{CARD_CLASS} table{{border-collapse:collapse;margin:8px 0;font-size:13px;background:none;border:0}}
{CARD_CLASS} th,{CARD_CLASS} td{{text-align:left;padding:3px 18px 3px 0;border:0;border-bottom:1px solid var(--hair);
  vertical-align:top;background:none;color:var(--ink);font-weight:400;font-variant-numeric:tabular-nums}}
{CARD_CLASS} th{{color:var(--ink3)}}
{CARD_CLASS} svg{{display:block;width:100%;height:auto;margin:8px 0 4px;overflow:visible}}
"""


def text(words: object) -> str:
    """Words as HTML that only shows itself; characters that turn the direction of writing are made visible.

    >>> text("<b>\\u202e & 'x'")
    '&lt;b&gt;\\\\u202e &amp; &#x27;x&#x27;'
    """
    plain = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(words))
    return html.escape(plain)


def card(words: str, *parts: str) -> str:
    """A card.

    Args:
        words: the conclusion; its first sentence stands out.
        parts: HTML, from the functions here.
    """
    first, *rest = re.split(r"(?<=[.!?]) (?=[^\W\d])", words, maxsplit=1)
    lead = f'<p class="lead">{text(first)}</p>{paragraphs(" ".join(rest))}'
    return f'<div class="steepest-card"><style>{CARD_STYLE}</style>{lead}{"".join(parts)}</div>'


def paragraphs(words: str, kind: str = "") -> str:
    """A paragraph for each line of a text that is not empty.

    Args:
        words: the text.
        kind: "note" for small print.

    >>> paragraphs("one, then run `two & three`")
    '<p>one, then run <code>two &amp; three</code></p>'
    """
    name = f' class="{kind}"' if kind else ""
    lines = [re.sub("`([^`]+)`", r"<code>\1</code>", text(line)) for line in words.split("\n") if line.strip()]
    return "".join(f"<p{name}>{line}</p>" for line in lines)


def details(title: str, words: Sequence[str]) -> str:
    """Lines that are shown on demand; empty without any.

    >>> details("1 event", ["skipped"])
    '<details><summary>1 event</summary><p class="note">skipped</p></details>'
    """
    if not words:
        return ""
    return f"<details><summary>{text(title)}</summary>{paragraphs(chr(10).join(words), 'note')}</details>"


def table(rows: Sequence[Sequence[object]], headings: Sequence[str] = ()) -> str:
    """A table; empty without rows.

    >>> table([["lr", 0.1]], ["setting", "value"])
    '<table><tr><th>setting</th><th>value</th></tr><tr><td>lr</td><td>0.1</td></tr></table>'
    """
    if not rows:
        return ""
    head = f"<tr>{''.join(f'<th>{text(cell)}</th>' for cell in headings)}</tr>" if headings else ""
    body = "".join(f"<tr>{''.join(f'<td>{text(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table>{head}{body}</table>"
