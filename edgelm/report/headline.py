"""The first lines of a report: how many times as fast and as small, what was lost, against what, on which machine, at
what price."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgelm.profile.doubts import doubts_of
from edgelm.profile.interval import Ratio, measure_ratio
from edgelm.profile.result import case_from_dict
from edgelm.report.beside import pairs
from edgelm.report.cost import cost_of, cost_words
from edgelm.report.language import speaking, thread_words, told, tr
from edgelm.report.quality import comparisons, points_words
from edgelm.report.tables import Profiles, subject_name


def headlines(
    bundles: Sequence[Mapping[str, Any]],
    profiles: Profiles,
    answers: Mapping[str, Any] | None,
    prices: Mapping[str, Any] | None = None,
    energy: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """JSON-ready, one a bundle: `speed` by its first profile, `size`, `quality`, `cost`; each None where nothing is
    known.

    Args:
        prices, energy: as `estimate_prices` and `estimate_energy` give them.
    """
    found = []
    for bundle, mine, other in pairs(bundles, profiles):
        compared = comparisons(bundle, answers)
        values = {"name": bundle["label"], "quality": compared[0] if compared else None}
        values["speed"] = None if mine is None else _speed(mine, other)
        values["size"] = {"mb": bundle["size_mb"]} | _size(bundle, other)
        values["cost"] = None if mine is None else cost_of(bundle["label"], mine, other, prices, energy)
        with speaking("en"):  # in JSON and in the picture
            found.append(values | {"words": headline_words(values)})
    return found


def _speed(mine: dict[str, Any], other: dict[str, Any] | None) -> dict[str, Any]:
    case = mine["cases"][0]
    values = {
        "p50_ms": case["p50_ms"],
        "interval_ms": case.get("p50_interval_ms"),
        "machine": mine["machine"]["cpu"],
        "host": mine["host"],
        "threads": mine["settings"]["threads"],
        "case": case_words(case),
        "source": mine["source"],
        "doubts": doubts_of(case_from_dict(case), mine["warnings"]),
        "against": None,
    }
    if other is None:
        return values
    ratio = measured_ratio(mine, other)
    return (
        values
        | {"against": _against(other), "against_p50_ms": other["cases"][0]["p50_ms"]}
        | {"ratio": ratio.to_dict()}
    )


def measured_ratio(profile: Mapping[str, Any], other: dict[str, Any]) -> Ratio:
    """How many times as fast as another subject of the same turns one is, in the first case of both."""
    mine, theirs = profile["cases"][0], other["cases"][0]
    return measure_ratio(mine["samples_ms"], theirs["samples_ms"], mine["block"], against=subject_name(other))


def _size(bundle: Mapping[str, Any], other: dict[str, Any] | None) -> dict[str, Any]:
    if other is None:
        return {"against": None}
    return {"against": _against(other), "against_mb": other["size_mb"], "ratio": other["size_mb"] / bundle["size_mb"]}


def _against(profile: dict[str, Any]) -> str:
    kind = {"pytorch": "PyTorch", "gguf": "llama.cpp", "genai": "onnxruntime-genai"}.get(profile["kind"], "")
    return " ".join(part for part in (profile["name"], f"({kind} {profile['precision']})".replace("( ", "(")) if part)


def case_words(case: Mapping[str, Any]) -> str:
    """What was timed, in words."""
    if "measure" in case:
        what = {"token": "a token behind", "first-token": "the first token of a prompt of"}[case["measure"]]
        return f"{what} {case['tokens']:,} tokens"
    texts = "one text at a time" if case["batch"] == 1 else f"{case['batch']} texts at a time"
    return texts + ("" if case["sequence"] is None else f" of {case['sequence']} tokens")


def headline_words(headline: Mapping[str, Any]) -> list[str]:
    """A headline as sentences: what was found, then what stands against it."""
    speed = headline["speed"]
    doubts = [tr("Doubtful: {doubt}", doubt=told(doubt)) for doubt in (speed or {}).get("doubts", ())]
    size, quality, cost = (
        _size_words(headline["size"]),
        _quality_words(headline["quality"]),
        cost_words(headline["cost"]),
    )
    return [_speed_words(speed), size, quality, cost, *doubts]


def _speed_words(speed: Mapping[str, Any] | None) -> str:
    if speed is None:
        return tr("How fast it is was not measured: give a profile of it with --profile.")
    host = f"{speed['host']}, " if speed["host"] else ""
    there = tr(
        "on {host}{machine}, {threads}", host=host, machine=speed["machine"], threads=thread_words(speed["threads"])
    )
    case = told(speed["case"])
    if speed["against"] is None:
        values = {"p50": speed["p50_ms"], "case": case, "there": there}
        return tr("{p50:.3g} ms, p50 of {case}, {there}; it was measured beside nothing.", **values)
    ratio = speed["ratio"]
    return tr(
        "{ratio:.1f} times as fast as {against} (95 % interval {low:.1f} to {high:.1f}{doubt}): {p50:.3g} ms instead "
        "of {before:.3g} ms, p50 of {case}, {there}.",
        ratio=ratio["p50"],
        against=speed["against"],
        low=ratio["low"],
        high=ratio["high"],
        doubt="" if ratio["established"] else tr(", not established: {reason}", reason=told(ratio["reason"])),
        p50=speed["p50_ms"],
        before=speed["against_p50_ms"],
        case=case,
        there=there,
    )


def _size_words(size: Mapping[str, Any]) -> str:
    if size["against"] is None:
        return tr("{mb:.1f} MB on disk.", mb=size["mb"])
    values = {"against": size["against"], "mb": size["mb"], "before": size["against_mb"]}
    if size["ratio"] < 1:
        return tr(
            "{ratio:.1f} times larger than {against}: {mb:.1f} MB on disk instead of {before:.1f} MB.",
            ratio=1 / size["ratio"],
            **values,
        )
    return tr(
        "{ratio:.1f} times smaller than {against}: {mb:.1f} MB on disk instead of {before:.1f} MB.",
        ratio=size["ratio"],
        **values,
    )


def _quality_words(quality: Mapping[str, Any] | None) -> str:
    if quality is None:
        return tr("What was lost was not measured: give labelled rows with --data, and the original with --original.")
    words = points_words(quality)
    return tr(
        "{points}: {metric} {after:.3f} instead of {before:.3f}, {what}, on {rows}.",
        points=f"{words[:1].upper()}{words[1:]}",
        metric=tr(quality["metric"]),
        after=quality["after"],
        before=quality["before"],
        what=told(quality["what"]),
        rows=told(quality["rows"]),
    )
