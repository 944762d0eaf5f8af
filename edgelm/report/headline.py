"""The first lines of a report: how many times as fast and as small, what was lost, against what, on which machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgelm.profile.interval import Ratio, measure_ratio
from edgelm.report.quality import comparisons, points_words
from edgelm.report.tables import Profiles, profile_of, subject_name


def headlines(
    bundles: Sequence[Mapping[str, Any]], profiles: Profiles, answers: Mapping[str, Any] | None
) -> list[dict[str, Any]]:
    """JSON-ready, one a bundle: `speed` by its first profile, `size`, `quality`; each None where nothing is known."""
    found = []
    for bundle in bundles:
        mine = profile_of(bundle, profiles)
        other = None if mine is None else reference_of(mine, profiles, bundles)
        compared = comparisons(bundle, answers)
        values = {"name": bundle["label"], "quality": compared[0] if compared else None}
        values["speed"] = None if mine is None else _speed(mine, other)
        values["size"] = {"mb": bundle["size_mb"]} | _size(bundle, other)
        found.append(values | {"words": _words(values)})
    return found


def reference_of(
    profile: Mapping[str, Any], profiles: Profiles, bundles: Sequence[Mapping[str, Any]]
) -> dict[str, Any] | None:
    """What a bundle is compared with: of the subjects that took turns with it on its machine the last that is none of
    the report's bundles, which is a checkpoint in PyTorch where there is one; None: it was measured alone."""
    known = {bundle["id"] for bundle in bundles}
    beside = [
        other
        for other in profiles
        if (other["file"], other["host"]) == (profile["file"], profile["host"]) and other["id"] not in known
    ]
    checkpoints = [other for other in beside if other["kind"] == "pytorch"]
    return next(iter(reversed(checkpoints or beside)), None)


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
        "doubts": list(mine["warnings"]),
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


def _words(values: Mapping[str, Any]) -> list[str]:
    """The headline as sentences."""
    doubts = [f"Doubtful: {doubt}" for doubt in (values["speed"] or {}).get("doubts", ())]
    return [_speed_words(values["speed"]), *doubts, _size_words(values["size"]), _quality_words(values["quality"])]


def _speed_words(speed: Mapping[str, Any] | None) -> str:
    if speed is None:
        return "How fast it is was not measured: give a profile of it with --profile."
    there = f"on {speed['host'] + ', ' if speed['host'] else ''}{speed['machine']}, {speed['threads']} threads"
    if speed["against"] is None:
        return f"{speed['p50_ms']:.3g} ms, p50 of {speed['case']}, {there}; it was measured beside nothing."
    ratio = speed["ratio"]
    sure = "" if ratio["established"] else f", not established: {ratio['reason']}"
    return (
        f"{ratio['p50']:.1f} times as fast as {speed['against']} (95 % interval {ratio['low']:.1f} to "
        f"{ratio['high']:.1f}{sure}): {speed['p50_ms']:.3g} ms after {speed['against_p50_ms']:.3g} ms, p50 of "
        f"{speed['case']}, {there}."
    )


def _size_words(size: Mapping[str, Any]) -> str:
    if size["against"] is None:
        return f"{size['mb']:.1f} MB on disk."
    return (
        f"{_smaller(size['ratio'])} {size['against']}: {size['mb']:.1f} MB on disk after {size['against_mb']:.1f} MB."
    )


def _smaller(ratio: float) -> str:
    return f"{ratio:.1f} times smaller than" if ratio >= 1 else f"{1 / ratio:.1f} times larger than"


def _quality_words(quality: Mapping[str, Any] | None) -> str:
    if quality is None:
        return "What was lost was not measured: give labelled rows with --data, and the original with --original."
    return (
        f"{points_words(quality)[:1].upper()}{points_words(quality)[1:]}: {quality['metric']} {quality['after']:.3f} "
        f"after {quality['before']:.3f}, {quality['what']}, on {quality['rows']}."
    )
