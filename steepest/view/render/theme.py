"""Constants that pictures share with the page: `constants.json`, which `page/src` reads too, and its two themes."""

import json
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from steepest.errors import unknown

Rgb = tuple[float, float, float]
CONSTANTS: dict[str, Any] = json.loads(
    files("steepest.view.render").joinpath("constants.json").read_text(encoding="utf-8")
)


@dataclass(frozen=True)
class Theme:
    """Colours of a picture.

    Attributes:
        name: light or dark.
        paper, wash, hair: background, highlighted background, rules.
        ink, ink2, ink3: text, from strong to faint.
        bad, accent: errors, and the logo's dot.
        casing, opacity: outline of what lies on the relief, and its opacity for paths.
        edge, dim: block edges and leader lines, and the brightness of the map.
        members, names: colours of the members, and the same for small text.
        ramp: of the relief, from the smallest loss to the largest.
        shadow, sun: factors of a colour in shadow and in the sun, in linear light.
        thin, thick: darkness of contour lines.
        wall, strata: colour of the block's walls, and the share of the ramp in it.
    """

    name: str
    paper: str
    casing: str
    ink: str
    ink2: str
    ink3: str
    hair: str
    wash: str
    bad: str
    accent: str
    edge: str
    opacity: float
    dim: float
    members: tuple[str, ...]
    names: tuple[str, ...]
    ramp: tuple[str, ...]
    shadow: Rgb
    sun: Rgb
    thin: float
    thick: float
    wall: Rgb
    strata: float

    def colour(self, member: int) -> str:
        """A member's colour."""
        return self.members[member % len(self.members)]

    def name_colour(self, member: int) -> str:
        """A member's colour for small text."""
        return self.names[member % len(self.names)]


THEMES = {
    name: Theme(**entry["look"], **{key: value for key, value in entry.items() if key != "look"})
    for name, entry in CONSTANTS["themes"].items()
}
LIGHT_THEME = THEMES["light"]


def find_theme(name: str) -> Theme:
    """The theme of this name.

    Raises:
        UnknownNameError: neither light nor dark.
    """
    if name not in THEMES:
        raise unknown("theme", name, THEMES)
    return THEMES[name]
