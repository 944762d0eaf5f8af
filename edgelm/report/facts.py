"""The headline of a report as figures in few words, as they stand on its page and in its picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgelm.report.quality import points


def facts(headline: Mapping[str, Any]) -> list[dict[str, str]]:
    """Speed, size and quality, each with its `name`, `figure` and `note`."""
    return [_speed_fact(headline["speed"]), _size_fact(headline["size"]), _quality_fact(headline["quality"])]


def _speed_fact(speed: dict[str, Any] | None) -> dict[str, str]:
    if speed is None:
        return {"name": "speed", "figure": "not measured", "note": ""}
    if speed["against"] is None:
        return {"name": f"speed, {speed['source']}", "figure": f"{speed['p50_ms']:.3g} ms", "note": speed["case"]}
    ratio = speed["ratio"]
    note = f"{ratio['low']:.1f} to {ratio['high']:.1f}; {speed['p50_ms']:.3g} ms after {speed['against_p50_ms']:.3g} ms"
    return {"name": f"speed, {speed['source']}", "figure": f"{ratio['p50']:.1f}x as fast", "note": note}


def _size_fact(size: dict[str, Any]) -> dict[str, str]:
    if size["against"] is None:
        return {"name": "size", "figure": f"{size['mb']:.1f} MB", "note": ""}
    note = f"{size['mb']:.1f} MB after {size['against_mb']:.1f} MB"
    if size["ratio"] < 1:
        return {"name": "size", "figure": f"{1 / size['ratio']:.1f}x larger", "note": note}
    return {"name": "size", "figure": f"{size['ratio']:.1f}x smaller", "note": note}


def _quality_fact(quality: dict[str, Any] | None) -> dict[str, str]:
    if quality is None:
        return {"name": "quality", "figure": "not measured", "note": ""}
    value = points(quality)
    interval = "" if quality["low"] is None else f" ({quality['low']:+.1f} to {quality['high']:+.1f})"
    note = f"{quality['metric']} {quality['after']:.3f} after {quality['before']:.3f}{interval}"
    return {"name": f"quality, {quality['what']}", "figure": f"{value:+.1f} points", "note": note}
