"""Colours of code: those of films, dark enough on their ground."""

from typing import Any

from pygments.style import Style
from pygments.token import Comment, Error, Generic, Keyword, Name, Number, Operator, String, Token

from steepest.view.render.theme import THEMES, Theme

LIGHT, DARK = THEMES["light"], THEMES["dark"]


def _styles(theme: Theme, comment: str, builtin: str, string: str, number: str, prompt: str) -> dict[Any, str]:
    """The colours of a theme, and those that are not in it."""
    return {
        Token: theme.ink,
        Comment: f"italic {comment}",
        Keyword: theme.names[1],
        Operator.Word: theme.names[1],
        Name.Builtin: builtin,
        Name.Decorator: theme.names[5],
        String: string,
        Number: number,
        Generic.Prompt: prompt,
        Generic.Output: theme.ink2,
        Generic.Traceback: theme.bad,
        Generic.Error: theme.bad,
        Error: theme.bad,
    }


class LightCode(Style):
    """Code in the light theme."""

    background_color = LIGHT.wash
    styles = _styles(LIGHT, "#5D636A", "#5B3596", "#0F625E", "#7F4900", LIGHT.accent)


class DarkCode(Style):
    """Code in the dark theme."""

    background_color = DARK.wash
    styles = _styles(DARK, "#9A9EA2", "#BFA4F2", DARK.names[4], DARK.names[2], "#FF8A72")
