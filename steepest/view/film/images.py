"""Pictures and videos of a film without a browser: PNG, GIF and MP4."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from steepest.errors import InputError
from steepest.view.figures.curves import check_path
from steepest.view.film.schema import Film
from steepest.view.render.theme import find_theme

if TYPE_CHECKING:
    from steepest.view.render.picture import Picture

MIN_SIZES = ((360, 600), (820, 480))
"""Smallest width and height in pixels, of narrow pictures and of others."""
HOLD_S = 1.5
"""Duration of the last frame of a GIF."""
PALETTE_SIZE = 255
QUALITY = 7
"""Of an MP4, on imageio-ffmpeg's scale from 0 to 10: x264's constant rate factor 15, at which thin lines stay clean."""


def encoder() -> Any:
    """The library that writes an .mp4.

    Raises:
        InputError: it is not installed.
    """
    try:
        import imageio_ffmpeg
    except ImportError:
        raise InputError("An .mp4 needs imageio-ffmpeg. Run pip install 'steepest[video]', or write a .gif.") from None
    return imageio_ffmpeg


def still(
    film: Film, out: str | Path, *, surface: str | None = None, t: float | None = None,
    size: tuple[int, int] = (1400, 900), theme: str = "light",
) -> Path:  # fmt: skip
    """Draws a film at one step, in the page's layout.

    Args:
        film: to draw.
        out: the file; .png.
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
    picture = _picture(film, surface, size, theme)
    if t is not None and not 0 <= t <= picture.steps:
        raise InputError(f"t must be a step from 0 to {picture.steps:g}, got {t}")
    Image.fromarray(picture.draw(picture.steps if t is None else t)).save(out)
    return out


def video(
    film: Film, out: str | Path, *, seconds: float = 12, fps: int = 25, surface: str | None = None,
    size: tuple[int, int] = (960, 620), theme: str = "light", turn: float = 0.0,
) -> Path:  # fmt: skip
    """Writes a video of a whole film.

    Args:
        film: whose members have paths or curves.
        out: the file; .gif or .mp4.
        seconds: duration.
        fps: frames a second. A GIF counts hundredths of seconds: 20, 25 and 50 are exact.
        surface: name of one of its surfaces; the first where it is None.
        size: width and height in pixels; both even for an MP4.
        theme: light or dark.
        turn: degrees by which the camera rotates in all, around the page's view in the middle. A GIF without rotation
            is a fifth as large.

    Returns:
        The file.

    Raises:
        InputError: another suffix, a surface that is not in the film, a film in which nothing moves, or an .mp4 without
            imageio-ffmpeg.
    """
    out = check_path(out, (".gif", ".mp4"))
    if not (seconds > 0 and fps > 0):
        raise InputError(f"seconds and fps must be positive, got {seconds} and {fps}")
    write = _write_gif if out.suffix.lower() == ".gif" else _write_mp4
    picture = _picture(film, surface, size, theme)
    if not picture.is_moving:
        needs = "a member with a curve or a path of two points or more"
        raise InputError(f"A video needs {needs}, got none. Write a .png instead.")
    count = max(2, round(seconds * fps))
    shares = np.arange(count) / (count - 1)
    angles = math.radians(turn) * (shares - 0.5)
    frames = (picture.draw(share * picture.steps, angle) for share, angle in zip(shares.tolist(), angles.tolist()))
    write(out, frames, picture.draw(picture.steps), size, fps)
    return out


def _picture(film: Film, surface: str | None, size: tuple[int, int], theme: str) -> "Picture":
    from steepest.view.render.picture import Picture  # loads matplotlib

    if not any(size[0] >= width and size[1] >= height for width, height in MIN_SIZES):
        sizes = " or ".join(f"{width} × {height}" for width, height in MIN_SIZES)
        raise InputError(f"size must be at least {sizes} pixels, got {size[0]} × {size[1]}")
    return Picture(film, surface, size, find_theme(theme))


def _write_gif(out: Path, frames: Iterator[np.ndarray], last: np.ndarray, size: tuple[int, int], fps: int) -> None:
    """One palette for all frames, so that colours do not flicker; the last one is held."""
    from PIL import Image

    palette = Image.fromarray(last).quantize(PALETTE_SIZE, dither=Image.Dither.NONE)
    indices, images = np.full(last.shape[:2], PALETTE_SIZE, np.uint8), []
    for frame in frames:
        before = indices
        indices = np.asarray(Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE))
        image = Image.fromarray(np.where(indices == before, np.uint8(PALETTE_SIZE), indices))  # unchanged: transparent
        image.putpalette(palette.getpalette() or [])
        images.append(image)
    times = [max(20, 10 * round(100 / fps))] * (len(images) - 1) + [round(1000 * HOLD_S)]
    images[0].save(
        out, save_all=True, append_images=images[1:], duration=times, loop=0, optimize=False, transparency=PALETTE_SIZE,
        disposal=1,
    )  # fmt: skip


def _write_mp4(out: Path, frames: Iterator[np.ndarray], last: np.ndarray, size: tuple[int, int], fps: int) -> None:
    """H.264 in the pixel format that every player reads."""
    if size[0] % 2 or size[1] % 2:
        raise InputError(f"The width and height of an .mp4 must be even, got {size[0]} × {size[1]}")
    writer = encoder().write_frames(
        str(out), size, fps=fps, codec="libx264", quality=QUALITY, macro_block_size=2, pix_fmt_out="yuv420p",
        output_params=["-movflags", "+faststart"],
    )  # fmt: skip
    writer.send(None)
    try:
        for frame in frames:
            writer.send(np.ascontiguousarray(frame))
    finally:
        writer.close()
