"""The kinds of charts that reports have: bars, histograms, lines, points, reliability."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from unicodedata import east_asian_width

import numpy as np

from edgelm.report.language import tr
from edgelm.report.svg import DASHES, INK, MARKERS, PAPER, SERIES, SOFT, Chart, drawing, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BINS = 60
_ROW = 0.24  # inches of a bar with its name
_BAR_NAME = 32  # letters of the name of a bar
_LEGEND = 60  # letters that a line of a legend has room for
_ALONG = 60  # places on a part of a line
_APART = 5.0  # times the least that the most is, from which on an axis is logarithmic


@dataclass(frozen=True)
class Point:
    """A point with a name.

    Attributes:
        across, up: where it lies.
        size: what its area stands for, of the same unit in all points; None: all are alike.
        kind: what it belongs to, by which it is coloured: an index into `SERIES`.
        hollow: drawn as a ring, so as to stand behind others.
        about: what a reader sees who points at it, beside its name and figures.
    """

    name: str
    across: float
    up: float
    size: float | None = None
    kind: int = 0
    hollow: bool = False
    about: str = ""


def bar_chart(title: str, rows: Sequence[tuple[str, float]], *, unit: str, form: str = "{:.3g}") -> Chart:
    """Horizontal bars from zero, each with its name and its value, in the order given from top to bottom."""
    names = [short(name, _BAR_NAME) for name, _ in rows]
    values = [value for _, value in rows]
    summary = "; ".join(f"{name} {form.format(value)} {unit}" for name, value in rows[:8])
    with drawing(title, summary, height=0.75 + _ROW * len(rows), across=unit) as canvas:
        axes = canvas.axes
        bars = axes.barh(range(len(rows)), values, height=0.66, color=SERIES[0], linewidth=0)
        axes.bar_label(bars, labels=[form.format(value) for value in values], padding=3)
        axes.set_yticks(range(len(rows)), names)
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.grid(axis="x", color=SOFT, linewidth=0.6)
        axes.set_xlim(0, max([*values, 1e-12]) * 1.16)
    return canvas.chart


def distribution_chart(title: str, samples: Mapping[str, Sequence[float]], *, unit: str) -> Chart:
    """Histograms of samples on one axis, one line a series, with a mark at each median; logarithmic across, where the
    medians are far apart. What is slower than the slowest series' 99th percentile is left out, and said so."""
    medians = {name: float(np.median(values)) for name, values in samples.items()}
    end = max(float(np.percentile(values, 99)) for values in samples.values()) * 1.02
    low = min(float(np.min(values)) for values in samples.values()) * 0.98
    apart = max(medians.values()) > 4 * min(medians.values()) > 0
    edges = np.geomspace(max(low, 1e-9), end, _BINS + 1) if apart else np.linspace(low, end, _BINS + 1)
    summary = "; ".join(
        tr("{name}: median {value:.3g} {unit}", name=name, value=value, unit=unit) for name, value in medians.items()
    )
    across = tr("{unit}, logarithmic", unit=unit) if apart else unit
    with drawing(title, summary, across=across, up=tr("share of calls")) as canvas:
        axes = canvas.axes
        for number, (name, values) in enumerate(samples.items()):
            color = SERIES[number % len(SERIES)]
            counts, _ = np.histogram(values, bins=edges)
            shares = counts / max(1, len(values))
            axes.stairs(shares, edges, color=color, fill=True, alpha=0.25, linewidth=0)
            label = f"{short(name)}, p50 {medians[name]:.3g}"
            axes.stairs(shares, edges, color=color, linestyle=DASHES[number % len(DASHES)], label=label)
            axes.plot([medians[name]], [0], marker="^", color=color, markersize=7, clip_on=False, zorder=4)
        if apart:
            _log_ticks(axes)
            axes.set_xlim(low, end)
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g}%")
        _legend(axes, len(samples))
    return canvas.chart


def line_chart(
    title: str,
    series: Mapping[str, Sequence[tuple[float, float, float, float]]],
    *,
    across: str,
    up: str,
) -> Chart:
    """Lines through measured values with their intervals, from zero up.

    Args:
        series: by name, points of (place, value, low, high).
    """
    ends = [
        tr(
            "{name}: {first:.3g} at {start:g}, {last:.3g} at {end:g}",
            name=name,
            first=points[0][1],
            start=points[0][0],
            last=points[-1][1],
            end=points[-1][0],
        )
        for name, points in series.items()
    ]
    with drawing(title, "; ".join(ends), across=across, up=up) as canvas:
        axes = canvas.axes
        for number, (name, points) in enumerate(series.items()):
            places, values, lows, highs = (np.asarray(column, dtype=float) for column in zip(*points, strict=True))
            spread = np.maximum(0, [values - lows, highs - values])
            axes.errorbar(
                places,
                values,
                yerr=spread,
                capsize=2,
                color=SERIES[number % len(SERIES)],
                linestyle=DASHES[number % len(DASHES)],
                marker=MARKERS[number % len(MARKERS)],
                markersize=4,
                linewidth=1.4,
                label=short(name),
            )
        axes.set_ylim(bottom=0)
        ticks = sorted({point[0] for points in series.values() for point in points})
        if len(ticks) > 2 and ticks[-1] >= 8 * max(ticks[0], 1e-9):
            axes.set_xscale("log")
            axes.minorticks_off()
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        _legend(axes, len(series))
    return canvas.chart


def point_chart(
    title: str,
    points: Sequence[Point],
    *,
    across: str,
    up: str,
    area: str = "",
    path: Sequence[tuple[float, float]] = (),
    level: float | None = None,
    height: float = 3.2,
) -> Chart:
    """Named points, their names where none covers another, their areas by size; and a line through some of them. Each
    says its name and figures to whoever points at it. Logarithmic across, where they are far apart.

    Args:
        area: what the areas stand for, with its unit; empty where points have no size.
        path: places that a line is drawn through.
        level: a height that a line across marks, such as that of a reference; None: none.
    """
    sizes = [point.size for point in points if point.size is not None]
    largest = max(sizes, default=1.0)
    summary = "; ".join(_point_words(point, across, up, area) for point in points[:12])
    caption = tr("{title}; the area of a point is its {area}", title=title, area=area) if area and sizes else title
    places = [point.across for point in points]
    apart = max(places) > _APART * min(places) > 0
    name = tr("{unit}, logarithmic", unit=across) if apart else across
    with drawing(caption, summary, height=height, across=name, up=up) as canvas:
        axes = canvas.axes
        if apart:
            _log_ticks(axes)
        if level is not None:
            axes.axhline(level, color=INK, linewidth=0.8, linestyle=":", zorder=1)
        if path:
            axes.plot(*zip(*path, strict=True), color=SERIES[0], linewidth=1.2, zorder=1)
        areas = [46.0 if point.size is None else 20 + 240 * point.size / largest for point in points]
        for point, each in zip(points, areas, strict=True):
            color = SERIES[point.kind % len(SERIES)]
            words = _point_words(point, across, up, area)
            marks = axes.scatter(
                [point.across],
                [point.up],
                s=each,
                facecolors="none" if point.hollow else color,
                edgecolors=color if point.hollow else PAPER,
                linewidths=1.2 if point.hollow else 0.6,
                marker=MARKERS[point.kind % len(MARKERS)],
                zorder=2 if point.hollow else 3,
            )
            marks.set_gid(canvas.tooltip(f"{words}. {point.about}" if point.about else words))
        axes.margins(0.12, 0.16)
        _name_points(axes, points, areas, _dense(path, level, points))
    return canvas.chart


def reliability_chart(
    title: str, series: Mapping[str, Sequence[tuple[float, float, int]]], *, summary: str = ""
) -> Chart:
    """How often answers of each confidence are right: on the diagonal a model is as sure as it should be.

    Args:
        series: by name, bins of (mean confidence, share that is right, number of answers); their areas are by number.

    Source: Guo et al. 2017 (arXiv:1706.04599), section 2.
    """
    with drawing(title, summary, height=3.2, across=tr("confidence"), up=tr("share that is right")) as canvas:
        axes = canvas.axes
        axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=":", label=tr("as sure as right"))
        for number, (name, bins) in enumerate(series.items()):
            color = SERIES[number % len(SERIES)]
            most = max((count for _, _, count in bins), default=1)
            sure, right, counts = zip(*bins, strict=True) if bins else ((), (), ())
            axes.plot(sure, right, color=color, linestyle=DASHES[number % len(DASHES)], linewidth=1.2)
            areas = [10 + 60 * count / most for count in counts]
            marker = MARKERS[number % len(MARKERS)]
            axes.scatter(sure, right, s=areas, color=color, marker=marker, linewidths=0, label=short(name))
        axes.set_xlim(0, 1.03)
        axes.set_ylim(0, 1.05)
        _legend(axes, len(series) + 1)
    return canvas.chart


def _point_words(point: Point, across: str, up: str, area: str) -> str:
    size = f", {area} {point.size:.3g}" if area and point.size is not None else ""
    return f"{point.name}: {across} {point.across:.3g}, {up} {point.up:.4g}{size}"


def _legend(axes: Axes, entries: int) -> None:
    """Above the axes, where it covers nothing; names in letters as wide as Chinese ones stand one below the other,
    since matplotlib knows no width of theirs without a font of them."""
    names = axes.get_legend_handles_labels()[1]
    columns = max(1, min(entries, _LEGEND // (max(map(len, names), default=0) + 6)))
    if any(east_asian_width(letter) in "WF" for name in names for letter in name):
        columns = 1
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, borderaxespad=0.2)


def _log_ticks(axes: Axes) -> None:
    """A logarithmic axis with plain numbers at 1, 2 and 5 times powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _dense(
    path: Sequence[tuple[float, float]], level: float | None, points: Sequence[Point]
) -> Sequence[tuple[float, float]]:
    """Places on what is drawn as lines, so close that no name has room between two of them."""
    parts = list(pairwise(path))
    if level is not None and points:
        across = [point.across for point in points]
        parts.append(((min(across) * 0.5, level), (max(across) * 1.5, level)))
    return [place for part in parts for place in np.linspace(*part, num=_ALONG).tolist()]


def _name_points(
    axes: Axes, points: Sequence[Point], areas: Sequence[float], lines: Sequence[tuple[float, float]]
) -> None:
    """Names beside points where no other name, point or line is in the way; a name for which there is no room is left
    to the table below the chart."""
    from matplotlib.backends.backend_agg import RendererAgg
    from matplotlib.transforms import Bbox

    figure: Any = axes.figure
    figure.draw_without_rendering()
    renderer = RendererAgg(360, 360, figure.dpi)
    unit = figure.dpi / 72
    taken = []
    for point, area in zip(points, areas, strict=True):
        x, y = axes.transData.transform((point.across, point.up))
        radius = np.sqrt(area) / 2 * unit
        taken.append(Bbox.from_extents(x - radius, y - radius, x + radius, y + radius))
    taken += [Bbox.from_extents(x, y, x, y).padded(1) for x, y in (axes.transData.transform(at) for at in lines)]
    inside = axes.get_window_extent(renderer)
    order = sorted(range(len(points)), key=lambda index: points[index].hollow)
    for index in order:
        point, away = points[index], np.sqrt(areas[index]) / 2 + 3
        for ha, va, dx, dy in (
            ("left", "center", away, 0),
            ("right", "center", -away, 0),
            ("center", "bottom", 0, away),
            ("center", "top", 0, -away),
            ("left", "bottom", away * 0.7, away * 0.7),
            ("right", "bottom", -away * 0.7, away * 0.7),
            ("left", "top", away * 0.7, -away * 0.7),
            ("right", "top", -away * 0.7, -away * 0.7),
        ):
            label = axes.annotate(
                short(point.name), (point.across, point.up), (dx, dy), textcoords="offset points", ha=ha, va=va
            )
            label.set_in_layout(False)
            box = label.get_window_extent(renderer)
            within = inside.x0 <= box.x0 and box.x1 <= inside.x1 and inside.y0 <= box.y0 and box.y1 <= inside.y1
            if within and not any(box.overlaps(other) for number, other in enumerate(taken) if number != index):
                taken.append(box)
                break
            label.remove()
