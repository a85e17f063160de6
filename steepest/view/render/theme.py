"""Constants that pictures share with the page: `constants.json`, which `page/src` reads too, and its two themes."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steepest.errors import unknown

Rgb = tuple[float, float, float]
CONSTANTS: dict[str, Any] = json.loads(Path(__file__).with_name("constants.json").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Theme:
    """Colours of a picture.

    `ink` to `ink3` are text, from strong to faint; `casing` outlines what lies on the relief, paths with an `opacity`;
    `edge` is for the block's edges and leader lines, `names` for members in small text. The relief's `ramp` goes from
    the smallest loss to the largest; `shadow` and `sun` are its factors in linear light, `thin` and `thick` the
    darkness of contour lines, `strata` the share of the ramp in the `wall`, `dim` the brightness of the map.
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
