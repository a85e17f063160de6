"""Cuts the page's fonts out of their npm packages: `python fonts/subset.py`, in page/ after `npm ci`.

Needs fontTools and brotli. Only the weights and characters that the page uses are kept, as woff2 for the page, and as
one TrueType file a style for the pictures that matplotlib draws. The serif's licence (SIL OFL 1.1) reserves the name
"Source" for the unmodified font, so the subset is named "Steepest Serif", and Inter's "Steepest Sans".
"""

import tempfile
from pathlib import Path

from fontTools.merge import Merger
from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont
from fontTools.ttLib.tables._g_l_y_f import Glyph, GlyphComponent
from fontTools.varLib.instancer import instantiateVariableFont

HERE = Path(__file__).parent
PACKAGES = HERE.parent / "node_modules" / "@fontsource-variable"
PICTURES = HERE.parents[1] / "steepest" / "view" / "render" / "fonts"

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
STYLES = (
    # file, page's font, weight where it varies, family and style by which matplotlib finds it
    ("sans", "sans", 400, "Steepest Sans", "Regular"),
    ("bold", "sans", 600, "Steepest Sans", "Bold"),
    ("serif", "serif", None, "Steepest Serif", "Regular"),
    ("italic", "serif-italic", None, "Steepest Serif", "Italic"),
)
SUPERSCRIPTS = dict(zip("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "−0123456789"))
SCALE, RISE = 0.72, 0.34
"""Size of superscripts, and how far they are raised, in sizes of the line: `write` in src/render/labels.ts."""
LICENCE = "SIL Open Font License, Version 1.1"


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


def convert(style: str, name: str, weight: int | None, family: str, subfamily: str) -> None:
    """Writes the Latin and the Greek subset of one style as one TrueType file, at one weight."""
    with tempfile.TemporaryDirectory() as folder:
        parts = [f"{folder}/{part}.ttf" for part in (name, f"{name}-greek")]
        for part in parts:
            font = TTFont(HERE / f"{Path(part).stem}.woff2", recalcTimestamp=False)
            font = font if weight is None else instantiateVariableFont(font, {"wght": weight})
            set_figures_of_one_width(font)
            set_superscripts(font)
            for table in ("GSUB", "GDEF", "BASE", "STAT", "MVAR", "gasp"):
                if table in font:
                    del font[table]
            font.flavor = None
            font.save(part)
        font = Merger().merge(parts)
    font["head"].created = font["head"].modified = 0
    font["OS/2"].usWeightClass = 700 if subfamily == "Bold" else 400  # as matplotlib's own bold font has it
    whole = f"{family} {subfamily}".removesuffix(" Regular")
    names = {
        1: family,
        2: subfamily,
        4: whole,
        6: whole.replace(" ", ""),
        13: LICENCE,
        14: "https://openfontlicense.org",
    }
    font["name"].names = []
    for identifier, text in names.items():
        font["name"].setName(text, identifier, 3, 1, 0x409)
    font.recalcTimestamp = False
    PICTURES.mkdir(exist_ok=True)
    font.save(PICTURES / f"{style}.ttf")
    print(f"{style}.ttf: {(PICTURES / f'{style}.ttf').stat().st_size} bytes")


def set_figures_of_one_width(font: TTFont) -> None:
    """Makes the figures of the feature `tnum` the font's own."""
    if "GSUB" not in font:
        return
    table = font["GSUB"].table
    lookups = {k for f in table.FeatureList.FeatureRecord if f.FeatureTag == "tnum" for k in f.Feature.LookupListIndex}
    subtables = [part for k in lookups for part in table.LookupList.Lookup[k].SubTable]
    swap = {old: new for part in subtables for old, new in part.mapping.items()}
    for cmap in font["cmap"].tables:
        cmap.cmap = {code: swap.get(glyph, glyph) for code, glyph in cmap.cmap.items()}


def set_superscripts(font: TTFont) -> None:
    """Makes superscripts of the font's own figures: few fonts have all of them."""
    cmap, glyphs, widths, em = font.getBestCmap(), font["glyf"], font["hmtx"], font["head"].unitsPerEm
    for raised, plain in SUPERSCRIPTS.items():
        base = cmap.get(ord(plain))
        if base is None:
            continue
        part = GlyphComponent()
        part.glyphName, part.flags = base, 0x4 | 0x2 | 0x8
        part.x, part.y, part.transform = 0, round(RISE * em), [[SCALE, 0], [0, SCALE]]
        glyph = Glyph()
        glyph.numberOfContours, glyph.components = -1, [part]
        name = f"superscript{ord(raised):04X}"
        glyphs[name] = glyph
        width, left = widths[base]
        widths[name] = round(width * SCALE), round(left * SCALE)
        for table in font["cmap"].tables:
            if table.isUnicode():
                table.cmap[ord(raised)] = name
    font.setGlyphOrder(glyphs.glyphOrder)


if __name__ == "__main__":
    import sys

    if "--pictures" not in sys.argv:
        for row in FONTS:
            cut(*row)
    for style in STYLES:
        convert(*style)
