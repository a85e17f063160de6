"""Colours of the two themes, as the page has them. How far apart they are under four kinds of sight is told there."""

from dataclasses import dataclass

from steepest.errors import unknown

Rgb = tuple[float, float, float]


@dataclass(frozen=True)
class Look:
    """How the relief is coloured.

    Attributes:
        ramp: from the least loss to the greatest.
        shadow, sun: what a colour is multiplied by in shadow and in the sun, in linear light.
        contour, thick: how dark contour lines are, thin ones and thick ones.
        wall: the block's walls.
        wall_ramp: how much of the ramp the walls show.
    """

    ramp: tuple[str, ...]
    shadow: Rgb
    sun: Rgb
    contour: float
    thick: float
    wall: Rgb
    wall_ramp: float


@dataclass(frozen=True)
class Theme:
    """A theme.

    Attributes:
        name: light or dark.
        paper, ink, ink2, ink3, hair, bad: grounds, letters in three strengths, rules, what went wrong.
        casing: around lines and letters that lie on the relief.
        edge: colour and opacity of block edges and leader lines.
        cased: opacity of a path's casing.
        dim: brightness of the map.
        members: colours of the members.
        names: the same for small text.
        look: of the relief.
    """

    name: str
    paper: str
    casing: str
    ink: str
    ink2: str
    ink3: str
    hair: str
    edge: tuple[str, float]
    cased: float
    dim: float
    bad: str
    members: tuple[str, ...]
    names: tuple[str, ...]
    look: Look


LIGHT = Theme(
    name="light",
    paper="#FAF8F3",
    casing="#FAF8F3",
    ink="#1A1E23",
    ink2="#545B64",
    ink3="#686E75",
    hair="#E1DCD0",
    edge=("#1A1E23", 0.55),
    cased=0.92,
    dim=1.0,
    bad="#A3271A",
    members=("#B5340C", "#25109D", "#D07B00", "#A066F0", "#259A95", "#740F2A"),
    names=("#B5340C", "#25109D", "#995800", "#8546DA", "#177571", "#740F2A"),
    look=Look(
        ramp=("#164150", "#2F6B74", "#6FA29A", "#B4C7AC", "#E4DBBF", "#F6EEDC"),
        shadow=(0.3, 0.36, 0.46),
        sun=(1.1, 1.07, 1.0),
        contour=0.34,
        thick=0.5,
        wall=(0.93, 0.915, 0.87),
        wall_ramp=0.3,
    ),
)

DARK = Theme(
    name="dark",
    paper="#0F1317",
    casing="#0B0E11",
    ink="#ECE9E1",
    ink2="#A5A9AC",
    ink3="#868B90",
    hair="#262C33",
    edge=("#ECE9E1", 0.42),
    cased=0.8,
    dim=0.86,
    bad="#FF8B7A",
    members=("#F0533F", "#87C3F1", "#FEB311", "#9B62E6", "#90FDDF", "#CC71A4"),
    names=("#F0533F", "#87C3F1", "#FEB311", "#A878EC", "#90FDDF", "#CC71A4"),
    look=Look(
        ramp=("#0B2B38", "#154650", "#2E6467", "#5B8479", "#8FA086", "#BDB899"),
        shadow=(0.16, 0.2, 0.28),
        sun=(1.0, 0.98, 0.94),
        contour=0.42,
        thick=0.6,
        wall=(0.11, 0.13, 0.15),
        wall_ramp=0.35,
    ),
)

THEMES = {"light": LIGHT, "dark": DARK}


def theme_of(name: str) -> Theme:
    """The theme of a name.

    Raises:
        UnknownNameError: neither light nor dark.
    """
    if name not in THEMES:
        raise unknown("theme", name, THEMES)
    return THEMES[name]
