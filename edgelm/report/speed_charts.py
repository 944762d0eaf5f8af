"""What was measured of speed, drawn: latencies of calls, over length and batch, tokens by context, operators."""

from __future__ import annotations

from typing import Any

from edgelm.report.charts import bar_chart, distribution_chart, line_chart
from edgelm.report.language import tr
from edgelm.report.svg import SERIES, Chart
from edgelm.report.tables import Profiles, subject_name

_OPERATORS = 10  # that are drawn; all of them are in the table


def speed_charts(profiles: Profiles) -> list[Chart]:
    """The charts that there are measurements for, of subjects with the same cases; of more than six subjects the first
    six, since there are no more colours."""
    shown = profiles[: len(SERIES)]
    if "measure" in profiles[0]["cases"][0]:
        return _writing_charts(shown)
    return [_distribution(shown), *_over(shown, "sequence"), *_over(shown, "batch")]


def series_names(profiles: Profiles) -> list[str]:
    """What the subjects are called in a chart: of those of one name, such as a model and its bundle, the kind and the
    precision stand behind it, and a number where these are the same too."""
    names = [subject_name(profile) for profile in profiles]
    longer = [
        f"{name}, {each['kind']} {each['precision']}" if names.count(name) > 1 else name
        for name, each in zip(names, profiles, strict=True)
    ]
    return [f"{name} ({place})" if longer.count(name) > 1 else name for place, name in enumerate(longer, start=1)]


def operator_chart(profile: dict[str, Any]) -> list[Chart]:
    """The slowest operators of a subject as bars; empty where it has none."""
    rows = [(row["name"], row["ms_per_call"]) for row in profile["operators"][:_OPERATORS]]
    if not rows:
        return []
    return [bar_chart(tr("Time by operator: {name}", name=subject_name(profile)), rows, unit=tr("ms per call"))]


def _distribution(profiles: Profiles) -> Chart:
    case = profiles[0]["cases"][0]
    title = tr("Latency of every call, batch {batch}, {tokens}", batch=case["batch"], tokens=_length(case["sequence"]))
    samples = dict(zip(series_names(profiles), (each["cases"][0]["samples_ms"] for each in profiles), strict=True))
    return distribution_chart(title, samples, unit="ms")


def _length(tokens: int | None) -> str:
    return tr("texts as they are") if tokens is None else tr("{tokens} tokens", tokens=tokens)


def _over(profiles: Profiles, axis: str) -> list[Chart]:
    """The p50 over tokens of a text at the first batch size, or over texts of a call at the first length, where there
    are at least two."""
    other = "batch" if axis == "sequence" else "sequence"
    fixed = profiles[0]["cases"][0][other]
    series = {}
    for name, profile in zip(series_names(profiles), profiles, strict=True):
        cases = [case for case in profile["cases"] if case[other] == fixed and case[axis] is not None]
        series[name] = [_point(case, case[axis]) for case in sorted(cases, key=lambda case: case[axis])]
    if min(len({point[0] for point in points}) for points in series.values()) < 2:
        return []
    if axis == "sequence":
        title = tr("Latency over length, batch {batch}", batch=fixed)
        return [line_chart(title, series, across=tr("tokens of a text"), up=tr("p50, ms"))]
    title = tr("Latency over batch, {tokens}", tokens=_length(fixed))
    return [line_chart(title, series, across=tr("texts in a call"), up=tr("p50, ms"))]


def _writing_charts(profiles: Profiles) -> list[Chart]:
    return [
        *_by_tokens(profiles, "token", tr("Time of a token by context"), tr("tokens before it")),
        *_by_tokens(profiles, "first-token", tr("Time to the first token by prompt"), tr("tokens of the prompt")),
    ]


def _by_tokens(profiles: Profiles, measure: str, title: str, across: str) -> list[Chart]:
    series = {}
    for name, profile in zip(series_names(profiles), profiles, strict=True):
        cases = [case for case in profile["cases"] if case["measure"] == measure]
        series[name] = sorted(_point(case, case["tokens"]) for case in cases)
    if not all(series.values()):
        return []
    if max(len(points) for points in series.values()) == 1:
        rows = [(name, points[0][1]) for name, points in series.items()]
        length = next(iter(series.values()))[0][0]
        return [bar_chart(tr("{title} of {tokens:g}", title=title, tokens=length), rows, unit="ms")]
    return [line_chart(title, series, across=across, up=tr("p50, ms"))]


def _point(case: dict[str, Any], place: float) -> tuple[float, float, float, float]:
    low, high = case.get("p50_interval_ms") or (case["p50_ms"], case["p50_ms"])
    return float(place), case["p50_ms"], low, high
