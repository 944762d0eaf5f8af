"""The Pareto front of a search: a table, and one HTML page with quality over latency and size."""

from __future__ import annotations

from typing import Any

from edgelm.markdown import Table
from edgelm.report.charts import Point, point_chart
from edgelm.report.page import render_page
from edgelm.report.svg import Chart


def front_table(values: dict[str, Any]) -> Table:
    """One row a trial of the front, the best quality first."""
    trials = {trial["number"]: trial for trial in values["trials"]}
    return _header(values), [_row(trials[number]) for number in values["front"]]


def other_table(values: dict[str, Any]) -> Table:
    """One row for each finished trial that another beats."""
    rows = [_row(trial) for trial in _finished(values) if trial["number"] not in values["front"]]
    return _header(values), rows


def render_front(values: dict[str, Any]) -> str:
    """One page with style and drawing inside.

    Args:
        values: as `edgelm search --json` prints them.

    Raises:
        MissingExtraError: jinja2 or matplotlib is not installed.
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
    legend = (
        "Full: the front, which no trial beats in all three, joined by a line; rings: other trials. The numbers are "
        "those of the tables; where there is no room for one, it is left out."
    )
    return render_page(
        "front.html", where=where, sections=sections, charts=_charts(values), legend=legend, metric=values["metric"]
    )


def _finished(values: dict[str, Any]) -> list[dict[str, Any]]:
    return [trial for trial in values["trials"] if trial["state"] == "finished"]


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


def _charts(values: dict[str, Any]) -> list[Chart]:
    """Every finished trial as a point, quality over latency and over size; those of the front joined by a line."""
    if not (finished := _finished(values)):
        return []
    metric = values["metric"]
    return [
        _chart(finished, values, "latency_ms", f"{metric} over latency", "p50, ms", "size_mb", "size in MB"),
        _chart(finished, values, "size_mb", f"{metric} over size", "size, MB", "latency_ms", "p50 in ms"),
    ]


def _chart(
    finished: list[dict[str, Any]], values: dict[str, Any], across: str, title: str, axis: str, area: str, unit: str
) -> Chart:
    points = [
        Point(
            str(trial["number"]),
            trial[across],
            trial["quality"],
            trial[area],
            kind=0 if trial["number"] in values["front"] else 1,
            hollow=trial["number"] not in values["front"],
        )
        for trial in finished
    ]
    front = sorted((point.across, point.up) for point in points if not point.hollow)
    return point_chart(title, points, across=axis, up=values["metric"], area=unit, path=front)
