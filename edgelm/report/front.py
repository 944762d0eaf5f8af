"""The Pareto front of a search: a table, and one HTML page with quality over latency."""

from __future__ import annotations

from typing import Any

from edgelm.report.page import render_page
from edgelm.report.tables import Table

_WIDTH, _HEIGHT, _MARGIN = 640, 300, 44  # of the drawing, in its own units


def front_table(values: dict[str, Any]) -> Table:
    """One row a trial of the front, the best quality first."""
    trials = {trial["number"]: trial for trial in values["trials"]}
    return _header(values), [_row(trials[number]) for number in values["front"]]


def other_table(values: dict[str, Any]) -> Table:
    """One row for each finished trial that another beats."""
    rows = [
        _row(trial)
        for trial in values["trials"]
        if trial["state"] == "finished" and trial["number"] not in values["front"]
    ]
    return _header(values), rows


def render_front(values: dict[str, Any]) -> str:
    """One page with style and drawing inside.

    Args:
        values: as `edgelm search --json` prints them.

    Raises:
        MissingExtraError: jinja2 is not installed.
    """
    titles = (("Pareto front", front_table(values)), ("Other trials", other_table(values)))
    sections = [{"title": title, "header": header, "rows": rows} for title, (header, rows) in titles if rows]
    question = values["question"]
    failed = sum(trial["state"] == "failed" for trial in values["trials"])
    where = (
        f"{len(values['trials'])} trials, {failed} failed; {question['precision']} for {question['device']['name']}; "
        "p50 of one text at a time, "
        f"measured on {question['machine']} with {question['threads']} threads"
        + (f"; trained with {question['train_share']:.0%} of the steps" if question["train_share"] < 1 else "")
        + "."
    )
    return render_page("front.html", where=where, sections=sections, chart=_chart(values), metric=values["metric"])


def _header(values: dict[str, Any]) -> list[str]:
    return ["trial", values["metric"], "p50 ms", "size MB", "weights", "recipe", "settings"]


def _row(trial: dict[str, Any]) -> list[str]:
    figures = [
        f"{trial['quality']:.4f}",
        f"{trial['latency_ms']:.3f}",
        f"{trial['size_mb']:.1f}",
        f"{trial['parameters'] / 1e6:.2f}M",
    ]
    return [str(trial["number"]), *figures, trial["recipe"], " ".join(trial["overrides"])]


def _chart(values: dict[str, Any]) -> dict[str, Any]:
    """Every finished trial as a point; those of the front joined by a line, from the slowest to the fastest."""
    finished = [trial for trial in values["trials"] if trial["state"] == "finished"]
    across = _scale([trial["latency_ms"] for trial in finished], _MARGIN, _WIDTH - _MARGIN)
    up = _scale([trial["quality"] for trial in finished], _HEIGHT - _MARGIN, _MARGIN)
    points = [
        {
            "x": across["place"](trial["latency_ms"]),
            "y": up["place"](trial["quality"]),
            "number": trial["number"],
            "front": trial["number"] in values["front"],
            "label": f"trial {trial['number']}: {trial['quality']:.4f}, {trial['latency_ms']:.3f} ms, "
            f"{trial['size_mb']:.1f} MB",
        }
        for trial in finished
    ]
    line = " ".join(
        f"{point['x']},{point['y']}" for point in sorted(points, key=lambda point: point["x"]) if point["front"]
    )
    axes = {
        "left": f"{across['low']:.3f}",
        "right": f"{across['high']:.3f}",
        "bottom": f"{up['low']:.3f}",
        "top": f"{up['high']:.3f}",
    }
    return {
        "points": sorted(points, key=lambda point: point["front"]),
        "line": line,
        "width": _WIDTH,
        "height": _HEIGHT,
        "margin": _MARGIN,
        **axes,
    }


def _scale(values: list[float], start: float, end: float) -> dict[str, Any]:
    """Where a value lies between two places of the drawing; the smallest at `start`, the largest at `end`, alone in the
    middle."""
    low, high = min(values, default=0.0), max(values, default=1.0)

    def place(value: float) -> float:
        return round((start + end) / 2 if high == low else start + (end - start) * (value - low) / (high - low), 1)

    return {"low": low, "high": high, "place": place}
