"""The Pareto front of a search: a table, and one HTML page with quality over latency and size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgelm.choices import Language
from edgelm.markdown import Table
from edgelm.report.charts import Point, point_chart
from edgelm.report.language import speaking, thread_words, tr, tr_all
from edgelm.report.page import render_page
from edgelm.report.svg import Chart

_COSTS = {  # by their names in the values: columns
    "per_million": "price of a million",
    "a_year": "price of a year",
    "joules": "joules of a call",
    "kwh_a_year": "kWh of a year",
}


def front_table(values: dict[str, Any]) -> Table:
    """One row a trial of the front, the best quality first."""
    trials = {trial["number"]: trial for trial in values["trials"]}
    return _header(values), [_row(values, trials[number]) for number in values["front"]]


def original_table(values: dict[str, Any]) -> Table:
    """One row, of the model that the search began with, if it was measured."""
    header = [tr("model"), *_header(values)[1:5], tr("run by"), *_header(values)[7:]]
    if not (original := _original(values)):
        return header, []
    return header, [[tr("original"), *_figures(original), tr("PyTorch fp32, eager"), *_costs(values, original)]]


def original_note(values: dict[str, Any]) -> str:
    """Why the trials are compared with no original; empty where they are, or where none was looked at yet."""
    error = (values["original"] or {}).get("error")
    return tr("The original was not measured: {error}", error=error) if error else ""


def other_table(values: dict[str, Any]) -> Table:
    """One row for each finished trial that another beats."""
    rows = [_row(values, trial) for trial in _finished(values) if trial["number"] not in values["front"]]
    return _header(values), rows


def render_front(values: dict[str, Any], *, language: Language = "en") -> str:
    """One page with style and drawing inside.

    Args:
        values: as `edgelm search --json` prints them.

    Raises:
        MissingExtraError: jinja2 or matplotlib is not installed.
    """
    with speaking(language):
        titles = (
            (tr("Pareto front"), front_table(values)),
            (tr("The original"), original_table(values)),
            (tr("Other trials"), other_table(values)),
        )
        sections = [{"title": title, "header": header, "rows": rows} for title, (header, rows) in titles if rows]
        return render_page(
            "front.html",
            where=" ".join(filter(None, (_where(values), original_note(values), price_note(values)))),
            sections=sections,
            charts=_charts(values),
            legend=_legend(values),
            metric=values["metric"],
        )


def _where(values: dict[str, Any]) -> str:
    question = values["question"]
    share = question["train_share"]
    return tr(
        "{trials} trials, {failed} failed; {precision} for {device}; p50 of one text at a time, measured on {machine} "
        "with {threads}{trained}.",
        trials=len(values["trials"]),
        failed=sum(trial["state"] == "failed" for trial in values["trials"]),
        precision=question["precision"],
        device=question["device"]["name"],
        machine=question["machine"],
        threads=thread_words(question["threads"]),
        trained=tr("; trained with {share:.0%} of the steps", share=share) if share < 1 else "",
    )


def _legend(values: dict[str, Any]) -> str:
    legend = tr(
        "Full: the front, which no trial beats in all three; hollow: other trials. The line joins what no trial beats "
        "in the two figures of its chart. The numbers are those of the tables; where there is no room for one, it is "
        "left out, and pointing at the point shows it."
    )
    if not _original(values):
        return legend
    return legend + tr(
        " The diamond is the original in PyTorch, measured beside a trial; the dotted line is its quality."
    )


def _finished(values: dict[str, Any]) -> list[dict[str, Any]]:
    return [trial for trial in values["trials"] if trial["state"] == "finished"]


def _original(values: dict[str, Any]) -> dict[str, Any] | None:
    """The model that the search began with, if it may stand beside the trials."""
    original: dict[str, Any] | None = values["original"]
    if original is None or original["quality"] is None or original["latency_ms"] is None:
        return None
    return original


def _header(values: dict[str, Any]) -> list[str]:
    costs = [tr(_COSTS[name]) for name in _cost_names(values)]
    return [tr("trial"), values["metric"], *tr_all("p50 ms", "size MB", "weights", "recipe", "settings"), *costs]


def _row(values: dict[str, Any], trial: dict[str, Any]) -> list[str]:
    told = (trial["recipe"], " ".join(trial["overrides"]))
    return [str(trial["number"]), *_figures(trial), *told, *_costs(values, trial)]


def _figures(model: dict[str, Any]) -> list[str]:
    return [
        f"{model['quality']:.4f}",
        f"{model['latency_ms']:.3f}",
        f"{model['size_mb']:.1f}",
        f"{model['parameters'] / 1e6:.2f}M",
    ]


def _cost_names(values: dict[str, Any]) -> list[str]:
    """Which costs the models have, as `edgelm.search.prices` names them."""
    costs: dict[str, float] = next((trial["cost"] for trial in _finished(values) if trial.get("cost")), {})
    return [name for name in _COSTS if name in costs]


def _costs(values: dict[str, Any], model: dict[str, Any]) -> list[str]:
    return [f"{model['cost'][name]:.4g}" for name in _cost_names(values)]


def price_note(values: dict[str, Any]) -> str:
    """What costs are reckoned from; empty where no price was told."""
    if not _cost_names(values):
        return ""
    given = values["prices"]
    said = {
        "price_per_hour": tr("{amount:g} an hour of the machine", amount=given["price_per_hour"] or 0),
        "watts": tr("{amount:g} W while it answers", amount=given["watts"] or 0),
        "calls_per_day": tr("{amount:,.0f} calls a day, 365 days a year", amount=given["calls_per_day"] or 0),
    }
    return tr(
        "Costs are estimated: p50 at {figures}, the machine busy all the time, one call after the other, no training "
        "counted. On one machine they are in proportion to the latency: the front by cost is that by latency. Searches "
        "on machines of other prices are compared by these columns.",
        figures=tr(", ").join(text for name, text in said.items() if given[name] is not None),
    )


def _charts(values: dict[str, Any]) -> list[Chart]:
    """The original and every finished trial as points, quality over latency and over size; those of the front joined by
    a line."""
    if not (finished := _finished(values)):
        return []
    over_latency = tr("{metric} over latency", metric=values["metric"])
    over_size = tr("{metric} over size", metric=values["metric"])
    return [
        _chart(finished, values, "latency_ms", tr("p50, ms"), "size_mb", tr("size in MB"), over_latency),
        _chart(finished, values, "size_mb", tr("size, MB"), "latency_ms", tr("p50 in ms"), over_size),
    ]


def _chart(
    finished: list[dict[str, Any]], values: dict[str, Any], across: str, axis: str, area: str, unit: str, title: str
) -> Chart:
    points = [
        Point(
            str(trial["number"]),
            trial[across],
            trial["quality"],
            trial[area],
            kind=0 if trial["number"] in values["front"] else 1,
            hollow=trial["number"] not in values["front"],
            about=" ".join((trial["recipe"], *trial["overrides"])),
        )
        for trial in finished
    ]
    line = _unbeaten([(point.across, point.up) for point in points])
    level = None
    if original := _original(values):
        level = original["quality"]
        about = tr("PyTorch fp32, eager")
        reference = Point(tr("original"), original[across], level, original[area], kind=2, about=about)
        points.insert(0, reference)  # before others take its room
    return point_chart(title, points, across=axis, up=values["metric"], area=unit, path=line, level=level)


def _unbeaten(places: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Those that lie higher than all that are further left: what a line from left to right joins without falling."""
    found: list[tuple[float, float]] = []
    for place in sorted(places, key=lambda place: (place[0], -place[1])):
        if not found or place[1] > found[-1][1]:
            found.append(place)
    return found
