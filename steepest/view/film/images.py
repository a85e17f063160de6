"""A film without a browser: a picture of it as PNG, and the film itself as GIF or MP4. The relief is the page's."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from steepest.errors import InputError
from steepest.view.figures.curves import check_path
from steepest.view.render.picture import Picture
from steepest.view.render.theme import theme_of

LEAST = ((360, 600), (820, 480))
"""Least widths and heights in pixels, of narrow pictures and of others: below them words do not fit."""
HOLD_S = 1.5
"""So long the last frame of a GIF stays."""
COLOURS = 255
QUALITY = 7
"""Of an MP4, as imageio-ffmpeg counts from 0 to 10: x264's constant rate factor 15, at which thin lines stay clean."""


def still(
    film: dict[str, Any], out: str | Path, *, surface: str | None = None, t: float | None = None,
    size: tuple[int, int] = (1400, 900), theme: str = "light",
) -> Path:  # fmt: skip
    """Draws a film at one step as the page shows it: the sentence, relief and paths, map, members or numbers, curves.

    Args:
        film: as the page takes it (`page/src/film/film.ts`).
        out: where to; .png.
        surface: name of one of its surfaces; the first where it is None. A film without surfaces shows its curves.
        t: the step; the last where it is None.
        size: width and height in pixels.
        theme: light or dark.

    Returns:
        The file.

    Raises:
        InputError: another suffix, a surface or step that is not in the film, a film with nothing to draw.
    """
    from PIL import Image

    out = check_path(out, (".png",))
    plate = _plate(film, surface, size, theme)
    if t is not None and not 0 <= t <= plate.steps:
        raise InputError(f"step {t} is not in the film; expected is one from 0 to {plate.steps:g}")
    Image.fromarray(plate.draw(plate.steps if t is None else t)).save(out)
    return out


def moving(
    film: dict[str, Any], out: str | Path, *, seconds: float = 12, fps: int = 25, surface: str | None = None,
    size: tuple[int, int] = (960, 620), theme: str = "light", turn: float = 0.0,
) -> Path:  # fmt: skip
    """Plays a whole film as the page plays it.

    Args:
        film: as the page takes it; its members have paths or curves.
        out: where to; .gif or .mp4.
        seconds: how long it plays.
        fps: frames a second. A GIF counts hundredths of seconds: 20, 25 and 50 are exact.
        surface: name of one of its surfaces; the first where it is None.
        size: width and height in pixels; both even for an MP4.
        theme: light or dark.
        turn: degrees by which the camera goes around meanwhile, half before and half behind the view of the page. A GIF
            whose camera rests is a fifth as large.

    Returns:
        The file.

    Raises:
        InputError: another suffix, a surface that is not in the film, a film in which nothing moves, or an .mp4 without
            imageio-ffmpeg.
    """
    out = check_path(out, (".gif", ".mp4"))
    if not (seconds > 0 and fps > 0):
        raise InputError(f"{seconds} seconds at {fps} frames a second were asked for; expected are more than 0 of both")
    write = _write_gif if out.suffix.lower() == ".gif" else _write_mp4
    plate = _plate(film, surface, size, theme)
    if not plate.is_moving:
        raise InputError(
            "nothing moves in this film: no member has a curve or a path of two points; on a play's terrain the page "
            "descends by itself. Expected are recorded members; ask for a .png of the surface"
        )
    count = max(2, round(seconds * fps))
    shares = np.arange(count) / (count - 1)
    turned = math.radians(turn) * (shares - 0.5)
    frames = (plate.draw(share * plate.steps, angle) for share, angle in zip(shares.tolist(), turned.tolist()))
    write(out, frames, plate.draw(plate.steps), size, fps)
    return out


def _plate(film: dict[str, Any], surface: str | None, size: tuple[int, int], theme: str) -> Picture:
    if film.get("format") != 1:
        raise InputError(f"the film's format is {film.get('format')}; expected is a film of format 1")
    if not any(size[0] >= width and size[1] >= height for width, height in LEAST):
        fitting = " or ".join(f"{width} × {height}" for width, height in LEAST)
        raise InputError(f"the size is {size[0]} × {size[1]}; expected are at least {fitting} pixels")
    return Picture(film, surface, size, theme_of(theme))


def _write_gif(out: Path, frames: Iterator[np.ndarray], last: np.ndarray, size: tuple[int, int], fps: int) -> None:
    """One palette for all frames, so that colours do not flicker; the last one is held."""
    from PIL import Image

    palette = Image.fromarray(last).quantize(COLOURS, dither=Image.Dither.NONE)
    shown, images = np.full(last.shape[:2], COLOURS, np.uint8), []
    for frame in frames:
        before, shown = shown, np.asarray(Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE))
        image = Image.fromarray(np.where(shown == before, np.uint8(COLOURS), shown))  # what stays is not told again
        image.putpalette(palette.getpalette() or [])
        images.append(image)
    tick = max(20, 10 * round(100 / fps))
    times = [tick] * (len(images) - 1) + [round(1000 * HOLD_S)]
    images[0].save(
        out, save_all=True, append_images=images[1:], duration=times, loop=0, optimize=False, transparency=COLOURS,
        disposal=1,
    )  # fmt: skip


def _write_mp4(out: Path, frames: Iterator[np.ndarray], last: np.ndarray, size: tuple[int, int], fps: int) -> None:
    """H.264 in the colours that every player reads."""
    if size[0] % 2 or size[1] % 2:
        raise InputError(f"the size is {size[0]} × {size[1]}; an .mp4 needs an even width and an even height")
    try:
        import imageio_ffmpeg
    except ImportError:
        raise InputError("an .mp4 needs imageio-ffmpeg; pip install 'steepest[video]', or ask for a .gif") from None
    writer = imageio_ffmpeg.write_frames(
        str(out), size, fps=fps, codec="libx264", quality=QUALITY, macro_block_size=2, pix_fmt_out="yuv420p",
        output_params=["-movflags", "+faststart"],
    )  # fmt: skip
    writer.send(None)
    try:
        for frame in frames:
            writer.send(np.ascontiguousarray(frame))
    finally:
        writer.close()
