"""The headline of a report as figures in few words, as they stand on its page and in its picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgelm.report.language import told, tr
from edgelm.report.quality import points


def facts(headline: Mapping[str, Any]) -> list[dict[str, str]]:
    """Speed, size and quality, each with its `name`, `figure` and `note`."""
    return [_speed_fact(headline["speed"]), _size_fact(headline["size"]), _quality_fact(headline["quality"])]


def _speed_fact(speed: dict[str, Any] | None) -> dict[str, str]:
    if speed is None:
        return {"name": tr("speed"), "figure": tr("not measured"), "note": ""}
    name = tr("speed, {source}", source=tr(speed["source"]))
    if speed["against"] is None:
        return {"name": name, "figure": f"{speed['p50_ms']:.3g} ms", "note": told(speed["case"])}
    ratio = speed["ratio"]
    note = tr(
        "{low:.1f} to {high:.1f}; {p50:.3g} ms instead of {before:.3g} ms",
        low=ratio["low"],
        high=ratio["high"],
        p50=speed["p50_ms"],
        before=speed["against_p50_ms"],
    )
    note += "" if ratio["established"] else tr("; not established")
    return {"name": name, "figure": tr("{ratio:.1f}x as fast", ratio=ratio["p50"]), "note": note}


def _size_fact(size: dict[str, Any]) -> dict[str, str]:
    name = tr("size")
    if size["against"] is None:
        return {"name": name, "figure": f"{size['mb']:.1f} MB", "note": ""}
    note = tr("{mb:.1f} MB instead of {before:.1f} MB", mb=size["mb"], before=size["against_mb"])
    if size["ratio"] < 1:
        return {"name": name, "figure": tr("{ratio:.1f}x larger", ratio=1 / size["ratio"]), "note": note}
    return {"name": name, "figure": tr("{ratio:.1f}x smaller", ratio=size["ratio"]), "note": note}


def _quality_fact(quality: dict[str, Any] | None) -> dict[str, str]:
    if quality is None:
        return {"name": tr("quality"), "figure": tr("not measured"), "note": ""}
    pair = {"metric": tr(quality["metric"]), "after": quality["after"], "before": quality["before"]}
    note = tr("{metric} {after:.3f} instead of {before:.3f}", **pair)
    if quality["low"] is not None:
        note += tr(" ({low:+.1f} to {high:+.1f})", low=quality["low"], high=quality["high"])
    name = tr("quality, {what}", what=told(quality["what"]))
    return {"name": name, "figure": tr("{points:+.1f} points", points=points(quality)), "note": note}
