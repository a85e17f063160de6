"""Colours of code: those of films, dark enough on their ground."""

from pygments.style import Style
from pygments.token import Comment, Error, Generic, Keyword, Name, Number, Operator, String, Token

from steepest.view.render.theme import THEMES

LIGHT, DARK = THEMES["light"], THEMES["dark"]


class LightCode(Style):
    """Code in the light theme."""

    background_color = LIGHT.wash
    styles = {  # noqa: RUF012, as pygments reads it
        Token: LIGHT.ink,
        Comment: "italic #5D636A",
        Keyword: LIGHT.names[1],
        Operator.Word: LIGHT.names[1],
        Name.Builtin: "#5B3596",
        Name.Decorator: LIGHT.names[5],
        String: "#0F625E",
        Number: "#7F4900",
        Generic.Prompt: LIGHT.accent,
        Generic.Output: LIGHT.ink2,
        Generic.Traceback: LIGHT.bad,
        Generic.Error: LIGHT.bad,
        Error: LIGHT.bad,
    }


class DarkCode(Style):
    """Code in the dark theme."""

    background_color = DARK.wash
    styles = {  # noqa: RUF012, as pygments reads it
        Token: DARK.ink,
        Comment: "italic #9A9EA2",
        Keyword: DARK.names[1],
        Operator.Word: DARK.names[1],
        Name.Builtin: "#BFA4F2",
        Name.Decorator: DARK.names[5],
        String: DARK.names[4],
        Number: DARK.names[2],
        Generic.Prompt: "#FF8A72",
        Generic.Output: DARK.ink2,
        Generic.Traceback: DARK.bad,
        Generic.Error: DARK.bad,
        Error: DARK.bad,
    }
