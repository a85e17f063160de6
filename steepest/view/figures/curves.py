"""Figures of runs: loss, metric and learning rate over the steps, drawn without matplotlib's global state."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from steepest.errors import InputError
from steepest.records.per_sample import PER_SAMPLE, is_sum, per_sample
from steepest.records.run import Record
from steepest.records.shares import wilson
from steepest.view.film.metrics import metric_info, metric_text, words_of
from steepest.view.format import number
from steepest.view.running_median import running_median, window_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FIGURE_SUFFIXES = (".png", ".svg", ".pdf")
MAX_BUCKETS = 4096
"""Maximum of a curve."""
BAND_BARS = 160
"""Of the band of single losses."""
INK, MUTED, GRID = "#20242c", "#6b7280", "#e5e7eb"
TITLE: dict[str, Any] = {"loc": "left", "color": INK, "fontsize": 11, "fontweight": "bold"}
NOT_A_NUMBER = "#a3271a"
"""Colour of what is no finite number."""
MAX_METRICS, EARLY_PART = 2, 0.4
"""Metrics in a comparison, and the share of the axis above which early values are not cut."""
FIGURE_COLOURS = ("#2563a8", "#c2571a", "#2f855a", "#8b5aa8")  # distinguishable with colour blindness


def curves(record: Record, path: str | Path) -> Path:
    """A figure of a run: training and validation loss, the validation metric, events and learning rate over the steps.

    Args:
        record: the run.
        path: file; .png, .svg or .pdf.

    Raises:
        InputError: another suffix.
    """
    return _draw([record], path, _title(record), [""])


def compare_curves(records: Sequence[Record], path: str | Path) -> Path:
    """The losses, metrics and learning rates of several runs in one figure.

    Raises:
        InputError: a suffix that is not .png, .svg or .pdf.
    """
    ids = [record.id for record in records]
    return _draw(records, path, " vs ".join(ids), ids)


def _draw(records: Sequence[Record], path: str | Path, title: str, names: Sequence[str]) -> Path:
    """Loss, metric and learning rate of runs by their names, one below another."""
    metrics = list(dict.fromkeys(r.config.metric for r in records if r.series("validation", r.config.metric)))
    metrics = [name for name in metrics if name != "loss"][:MAX_METRICS]
    rows = (3, *[1.5] * len(metrics), 1)
    path, figure, axes = panels(path, 4.8 + 1.5 * len(metrics), rows)
    loss, *middle, rate = axes
    is_alone = len(records) == 1
    for record, colour, name in zip(records, FIGURE_COLOURS * len(records), names):
        _draw_loss(loss, per_sample(record) if is_alone else record, colour, name)
        rate.plot(record.steps.t, record.steps.lr, color=MUTED if is_alone else colour, linewidth=1.4)
        for metric, below in zip(metrics, middle):
            _draw_metric(below, record, metric, INK if is_alone else colour, is_alone)
    if is_alone:
        for event in records[0].events:
            loss.axvline(event.t, color=FIGURE_COLOURS[3], linewidth=0.8, alpha=0.6)
    for metric, below in zip(metrics, middle):
        _finish_metric(below, metric, records)
    name = PER_SAMPLE if is_alone and is_sum(records[0]) else "loss"
    _legend(loss, is_alone, names, any(r.events for r in records) and is_alone)
    return _finish(figure, axes, title, path, name)


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


def _draw_loss(axes: "Axes", record: Record, colour: str, name: str) -> None:
    """The training loss: a band of single batches and the running median; validation losses as open circles.

    What is no number is a gap with a pale span, what is infinite a triangle at the top.
    """
    t, loss = record.steps.t, record.steps.loss
    if len(t):
        finite, each = np.where(np.isfinite(loss), loss, np.nan), size(len(t), BAND_BARS)
        low, _, high = bucket(finite, each)
        starts = t[::each]
        alpha = 0.25 if not name else 0.12
        axes.bar(starts, high - low, each, low, align="edge", color=colour, alpha=alpha, linewidth=0)
        for a, b in _spans(np.isnan(loss)):
            axes.axvspan(t[a] - 0.5, t[b] + 0.5, color=NOT_A_NUMBER, alpha=0.15, linewidth=0)
        infinite = t[np.isinf(loss)]
        axes.plot(infinite, np.full(len(infinite), 0.98), "^", color=NOT_A_NUMBER, markersize=5, label="_infinite",
                  transform=axes.get_xaxis_transform())  # fmt: skip
        axes.plot(t, running_median(finite, window_of(len(t))), color=colour, linewidth=1.7, label="_median")
    validation = record.series("validation", "loss")
    if validation:
        ink = colour if name else INK
        _draw_points(axes, [m.t for m in validation], [m.value for m in validation], ink)


def _draw_points(axes: "Axes", t: Sequence[float], values: Sequence[float], colour: str) -> None:
    """What is measured now and then: open circles on a thin line; a cross at the foot for what is no number."""
    axes.plot(t, values, color=colour, linewidth=0.9, alpha=0.6)
    axes.plot(t, values, "o", color="white", markeredgecolor=colour, markeredgewidth=1.1, markersize=4, label="_points")
    without = [at for at, value in zip(t, values) if not np.isfinite(value)]
    axes.plot(without, [0.03] * len(without), "x", color=NOT_A_NUMBER, transform=axes.get_xaxis_transform())


def _draw_metric(axes: "Axes", record: Record, name: str, colour: str, has_interval: bool) -> None:
    """A validation metric, and the interval of its last value where it is a share of samples."""
    values = record.series("validation", name)
    info = metric_info(record, name)
    if info is None:
        return
    scale = 100 if info.unit else 1
    _draw_points(axes, [m.t for m in values], [scale * m.value for m in values], colour)
    last = values[-1]
    if has_interval and info.samples and np.isfinite(last.value):
        low, high = wilson(last.value * info.samples, info.samples)
        error = [[scale * (last.value - low)], [scale * (high - last.value)]]
        axes.errorbar([last.t], [scale * last.value], error, color=colour, capsize=3, linewidth=1.1)


def _finish_metric(axes: "Axes", name: str, records: Sequence[Record]) -> None:
    """The axis of a metric, with its unit; it begins at the later values where the first would take most of it."""
    infos = [info for record in records if (info := metric_info(record, name)) is not None]
    is_percent = all(info.unit for info in infos)
    axes.set_ylabel(words_of(name), color=MUTED)
    lines = [np.asarray(line.get_ydata(), float) for line in axes.get_lines() if line.get_label() == "_points"]
    if not is_percent:
        log_if_wide(axes, lines, 30)
        return
    axes.yaxis.set_major_formatter(lambda v, _: f"{v:g} %")
    values = np.concatenate([line[np.isfinite(line)] for line in lines])
    later = np.concatenate([line[len(line) // 5 :][np.isfinite(line[len(line) // 5 :])] for line in lines])
    if len(later) and values.max() - later.min() < EARLY_PART * (values.max() - values.min()):
        axes.set_ylim(bottom=later.min() - 0.1 * (values.max() - later.min() + 1))
    axes.set_ylim(top=min(axes.get_ylim()[1], 100 + 0.04 * (100 - axes.get_ylim()[0])))


def _spans(mask: np.ndarray) -> list[tuple[int, int]]:
    """First and last index of each run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], mask.astype(int), [0]))))
    return [(int(a), int(b) - 1) for a, b in zip(edges[::2], edges[1::2])]


def _legend(axes: "Axes", is_alone: bool, names: Sequence[str], has_events: bool) -> None:
    """What the signs mean, in rows above the data."""
    from matplotlib.lines import Line2D

    kinds = {line.get_label() for line in axes.get_lines() if len(np.asarray(line.get_xdata()))}
    colours = FIGURE_COLOURS * len(names)
    train = [Line2D([], [], color=colour, linewidth=1.7, label=name or "train") for colour, name in zip(colours, names)]
    wide: dict[str, Any] = {"linewidth": 6, "solid_capstyle": "butt"}
    medians = [line.get_ydata() for line in axes.get_lines() if line.get_label() == "_median"]
    handles = train if any(np.isfinite(np.asarray(values, float)).any() for values in medians) else []
    if is_alone and handles:
        handles.append(Line2D([], [], color=colours[0], alpha=0.25, label="single batches", **wide))
    if "_points" in kinds:
        ink = INK if is_alone else MUTED
        circle: dict[str, Any] = {"marker": "o", "markerfacecolor": "white", "markersize": 4, "linewidth": 0.9}
        handles.append(Line2D([], [], color=ink, label="validation", **circle))
    if axes.patches and any(patch.get_alpha() == 0.15 for patch in axes.patches):
        handles.append(Line2D([], [], color=NOT_A_NUMBER, alpha=0.15, label="NaN", **wide))
    if "_infinite" in kinds:
        handles.append(Line2D([], [], color=NOT_A_NUMBER, marker="^", linestyle="", markersize=5, label="infinite"))
    if has_events:
        handles.append(Line2D([], [], color=FIGURE_COLOURS[3], alpha=0.6, linewidth=0.8, label="events"))
    if handles:
        axes.legend(handles=handles, loc="lower left", bbox_to_anchor=(-0.01, 1), ncols=min(6, len(handles)),
                    frameon=False, fontsize=8, labelcolor=MUTED, borderaxespad=0.2, handlelength=1.4,
                    columnspacing=1.2)  # fmt: skip


def _finish(figure: "Figure", panels_of: Any, title: str, path: Path, name: str) -> Path:
    loss, rate = panels_of[0], panels_of[-1]
    lines = [
        np.asarray(line.get_ydata(), float) for line in loss.get_lines() if line.get_label() in ("_median", "_points")
    ]
    log_if_wide(loss, lines, 30)
    if not any(np.isfinite(line).any() for line in lines) and len(lines):
        loss.text(0.5, 0.5, "no loss is a finite number", color=MUTED, ha="center", transform=loss.transAxes)
        loss.set_yticks([])
    figure.suptitle(title, x=0.01, ha="left", color=INK, fontsize=11, fontweight="bold")
    loss.set_ylabel(name, color=MUTED)
    rate.set_ylabel("learning rate", color=MUTED)
    rate.set_xlabel("step", color=MUTED)
    rate.set_ylim(bottom=0)
    for axes in panels_of:
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
    info = metric_info(record, name)
    text = "" if value is None else number(value) if info is None else metric_text(info, value)
    metric = "" if value is None else f": {split} {words_of(name)} {text}"
    return f"{', '.join(filter(None, (record.id, record.config.rule)))}{metric}"


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
