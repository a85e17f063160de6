"""Figures of runs: loss and learning rate over the steps, drawn without matplotlib's global state."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from steepest.errors import InputError
from steepest.records.per_sample import PER_SAMPLE, is_sum, per_sample
from steepest.records.run import Record
from steepest.view.format import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FIGURE_SUFFIXES = (".png", ".svg", ".pdf")
MAX_BUCKETS = 4096
"""Maximum of a curve."""
MEDIANS = 60
"""Points of a curve's strong line."""
INK, MUTED, GRID = "#20242c", "#6b7280", "#e5e7eb"
TITLE: dict[str, Any] = {"loc": "left", "color": INK, "fontsize": 11, "fontweight": "bold"}
FIGURE_COLOURS = ("#2563a8", "#c2571a", "#2f855a", "#8b5aa8")  # distinguishable with colour blindness


def curves(record: Record, path: str | Path) -> Path:
    """A figure of a run: training and validation loss, events and learning rate over the steps.

    Args:
        record: the run.
        path: file; .png, .svg or .pdf.

    Raises:
        InputError: another suffix.
    """
    path, figure, (loss, rate) = panels(path, 4.8, (3, 1))
    title, name, record = _title(record), PER_SAMPLE if is_sum(record) else "loss", per_sample(record)
    _draw_loss(loss, record, FIGURE_COLOURS[0], "train")
    validation = record.series("validation", "loss")
    if validation:
        steps, values = [m.t for m in validation], [m.value for m in validation]
        loss.plot(steps, values, color=FIGURE_COLOURS[1], marker="o", markersize=3, linewidth=1.2)
        _label(loss, steps[-1], values[-1], "val", FIGURE_COLOURS[1])
    for event in record.events:
        loss.axvline(event.t, color=FIGURE_COLOURS[3], linewidth=0.8, alpha=0.6)
    rate.plot(record.steps.t, record.steps.lr, color=MUTED, linewidth=1.4)
    return _finish(figure, loss, rate, title, path, name)


def compare_curves(records: Sequence[Record], path: str | Path) -> Path:
    """The training loss and learning rate of several runs in one figure.

    Raises:
        InputError: a suffix that is not .png, .svg or .pdf.
    """
    path, figure, (loss, rate) = panels(path, 4.8, (3, 1))
    for record, colour in zip(records, FIGURE_COLOURS * len(records)):
        _draw_loss(loss, record, colour, record.id)
        rate.plot(record.steps.t, record.steps.lr, color=colour, linewidth=1.2)
    return _finish(figure, loss, rate, " vs ".join(r.id for r in records), path)


def check_path(path: str | Path, suffixes: Sequence[str] = FIGURE_SUFFIXES) -> Path:
    """The path, if its suffix is supported."""
    if Path(path).suffix.lower() not in suffixes:
        raise InputError(f"The figure's file must end in {' or '.join(suffixes)}, got '{path}'")
    return Path(path)


def panels(path: str | Path, height: float, rows: Sequence[float]) -> "tuple[Path, Figure, Any]":
    """The checked path, a figure and its panels, one below another.

    Args:
        path: file; .png, .svg or .pdf.
        height: of the figure in inches.
        rows: relative heights of the panels; one is given alone, several as an array.

    Raises:
        InputError: another suffix.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, height), dpi=150, layout="constrained")
    return check_path(path), figure, figure.subplots(len(rows), sharex=True, height_ratios=rows)


def _draw_loss(axes: "Axes", record: Record, colour: str, label: str) -> None:
    """The range of the loss as a light line, its running median as a strong one, and non-finite steps as crosses."""
    t, loss = record.steps.t, record.steps.loss
    if not len(t):
        return
    clean, each = np.where(np.isfinite(loss), loss, np.nan), size(len(t))
    low, _, high = bucket(clean, each)
    axes.plot(np.repeat(bucket(t, each)[1], 2), np.stack([low, high], 1).flat, color=colour, linewidth=0.6, alpha=0.35)
    crosses = t[~np.isfinite(loss)]
    if len(crosses):
        heights = np.full(len(crosses), 0.98)
        axes.plot(crosses, heights, "x", color=FIGURE_COLOURS[3], transform=axes.get_xaxis_transform())
    wide = size(len(t), MEDIANS)
    mx, median = bucket(t, wide)[1], bucket(clean, wide)[1]
    axes.plot(mx, median, color=colour, linewidth=1.8)
    finite = np.isfinite(median)
    if finite.any():
        _label(axes, mx[finite][-1], median[finite][-1], label, colour)


def _label(axes: "Axes", x: float, y: float, text: str, colour: str) -> None:
    if np.isfinite(y):
        axes.annotate(text, (x, y), xytext=(6, 0), textcoords="offset points", color=colour, va="center",
                      annotation_clip=False, fontsize=9)  # fmt: skip


def _finish(figure: "Figure", loss: "Axes", rate: "Axes", title: str, path: Path, name: str = "loss") -> Path:
    log_if_wide(loss, [np.asarray(line.get_ydata(), float) for line in loss.get_lines()[:2]], 30)
    loss.set_title(title, **TITLE)
    loss.set_ylabel(name, color=MUTED)
    rate.set_ylabel("learning rate", color=MUTED)
    rate.set_xlabel("step", color=MUTED)
    rate.set_ylim(bottom=0)
    for axes in (loss, rate):
        plain(axes)
        axes.margins(x=0.01)
    return save(figure, path)


def log_if_wide(axes: "Axes", lines: Sequence[np.ndarray], ratio: float) -> None:
    """A logarithmic axis where all finite values are positive and the largest is more than `ratio` × the smallest."""
    values = np.concatenate([np.empty(0), *(line[np.isfinite(line)] for line in lines)])
    if len(values) and values.min() > 0 and values.max() > ratio * values.min():
        axes.set_yscale("log")


def plain(axes: "Axes") -> None:
    """A light grid, no frame, no ticks."""
    axes.grid(True, color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", colors=MUTED, labelsize=8, length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _title(record: Record) -> str:
    name = record.config.metric
    value = record.last("test", name)
    split, value = ("test", value) if value is not None else ("validation", record.last("validation", name))
    metric = "" if value is None else f": {split} {name} {number(value)}"
    return f"{record.id}, {record.config.rule}{metric}"


def save(figure: "Figure", path: Path) -> Path:
    """Writes a figure; the same record gives the same bytes: no dates, fixed identifiers."""
    import matplotlib

    metadata: dict[str, Any] = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(path.suffix.lower(), {})
    with matplotlib.rc_context({"svg.hashsalt": "steepest", "svg.fonttype": "none"}):
        figure.savefig(path, metadata=metadata, facecolor="white")
    return path


# -- Long curves in few buckets that keep every spike ------------------------------------------------------------------


def size(count: int, most: int = MAX_BUCKETS) -> int:
    """The bucket size for `count` values in at most `most` buckets."""
    return max(1, -(-count // most))


def bucket(values: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The smallest value, the median and the largest value of each bucket of neighbours.

    Args:
        values: [n]; NaN is a gap.
        size: of a bucket; the last one may be smaller.

    Returns:
        three arrays, one value per bucket; NaN for a bucket of gaps.

    >>> least, middle, greatest = bucket(np.array([1.0, 9.0, 2.0, np.nan, 3.0]), 3)
    >>> least.tolist(), middle.tolist(), greatest.tolist()
    ([1.0, 3.0], [2.0, 3.0], [9.0, 3.0])
    """
    rows = np.full((-(-len(values) // size), size), np.nan)
    rows.flat[: len(values)] = values
    some, middle = ~np.isnan(rows).all(1), np.full(len(rows), np.nan)
    middle[some] = np.nanmedian(rows[some], axis=1)
    return np.fmin.reduce(rows, axis=1), middle, np.fmax.reduce(rows, axis=1)
