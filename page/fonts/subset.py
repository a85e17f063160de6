"""Cuts the page's fonts out of their npm packages: `python fonts/subset.py`, in page/ after `npm ci`.

Needs fontTools and brotli. Only the weights and characters that the page uses are kept. The serif's licence (SIL OFL
1.1) reserves the name "Source" for the unmodified font, so what comes out is named "Steepest Serif", and Inter's cut
"Steepest Sans".
"""

from pathlib import Path

from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont
from fontTools.varLib.instancer import instantiateVariableFont

HERE = Path(__file__).parent
PACKAGES = HERE.parent / "node_modules" / "@fontsource-variable"

LATIN = {*range(0x20, 0x7F), *range(0xA0, 0x100), *map(ord, "ı–—‘’“”•…‹›‖′″←↑→↓↔−∂∇√∞≈≠≤≥⁰⁴⁵⁶⁷⁸⁹⁻₀₁₂₃×·")}
GREEK = {*range(0x391, 0x3AA), *range(0x3B1, 0x3CA), 0x3D5, 0x3F5}
FEATURES = ["kern", "mark", "mkmk", "tnum", "calt", "ccmp", "locl"]
FONTS = (
    # file, package, source, characters, weights, family
    ("sans", "inter", "inter-latin-wght-normal", LATIN, (400, 600), "Steepest Sans"),
    ("sans-greek", "inter", "inter-greek-wght-normal", GREEK, (400, 600), "Steepest Sans"),
    ("serif", "source-serif-4", "source-serif-4-latin-wght-normal", LATIN, 400, "Steepest Serif"),
    ("serif-greek", "source-serif-4", "source-serif-4-greek-wght-normal", GREEK, 400, "Steepest Serif"),
    ("serif-italic", "source-serif-4", "source-serif-4-latin-wght-italic", LATIN, 400, "Steepest Serif"),
    ("serif-italic-greek", "source-serif-4", "source-serif-4-greek-wght-italic", GREEK, 400, "Steepest Serif"),
)


def cut(name: str, package: str, source: str, characters: set[int], weights: object, family: str) -> None:
    """Writes one subset as woff2."""
    font = TTFont(PACKAGES / package / "files" / f"{source}.woff2", recalcTimestamp=False)
    options = Options(layout_features=FEATURES, name_IDs=[], hinting=False)
    subsetter = Subsetter(options)
    subsetter.populate(unicodes=characters)
    subsetter.subset(font)
    font = instantiateVariableFont(font, {"wght": weights})
    for identifier, text in ((1, family), (2, "Regular"), (4, family), (6, family.replace(" ", ""))):
        font["name"].setName(text, identifier, 3, 1, 0x409)
    font.flavor = "woff2"
    font.save(HERE / f"{name}.woff2")
    found = sorted(font.getBestCmap())
    print(f"{name}: {(HERE / f'{name}.woff2').stat().st_size} bytes, {len(found)} characters")


if __name__ == "__main__":
    for row in FONTS:
        cut(*row)
