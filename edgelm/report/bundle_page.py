"""A report about bundles as one HTML page, and as Markdown."""

from __future__ import annotations

from typing import Any

from edgelm.markdown import as_markdown
from edgelm.report.bundle_report import BundleReport
from edgelm.report.bundle_sections import bundle_sections
from edgelm.report.page import render_page
from edgelm.report.quality import points
from edgelm.report.section import markdown_section
from edgelm.version import __version__


def render_bundle_page(report: BundleReport) -> str:
    """One page with style and drawings inside: it needs no network and no other file.

    Raises:
        MissingExtraError: jinja2 or matplotlib is not installed.
    """
    return render_page(
        "report.html",
        title=report.title,
        where=_where(report),
        headlines=[headline | {"facts": _facts(headline)} for headline in report.headlines],
        sections=bundle_sections(report, with_charts=True),
    )


def render_bundle_markdown(report: BundleReport) -> str:
    """The headline and the tables in Markdown, for a pull request or a model's card."""
    lines = [f"# {report.title}", "", _where(report), ""]
    for headline in report.headlines:
        lines += [f"**{headline['name']}**", ""] if len(report.bundles) > 1 else []
        lines += [*(f"- {sentence}" for sentence in headline["words"]), ""]
    for section in bundle_sections(report, with_charts=False):
        lines += markdown_section(section)
    return as_markdown(lines)


def _where(report: BundleReport) -> str:
    kinds = "; ".join(
        f"{bundle['label']}: "
        + ", ".join([bundle["family"], bundle["task"]["kind"], bundle["precision"], f"for {bundle['device']}"])
        for bundle in report.bundles
    )
    return f"{kinds}. Made by edgelm {__version__}, {report.created}."


def _facts(headline: dict[str, Any]) -> list[dict[str, str]]:
    """The headline as figures: speed, size, quality."""
    return [_speed_fact(headline["speed"]), _size_fact(headline["size"]), _quality_fact(headline["quality"])]


def _speed_fact(speed: dict[str, Any] | None) -> dict[str, str]:
    if speed is None:
        return {"name": "speed", "figure": "not measured", "note": ""}
    if speed["against"] is None:
        return {"name": "speed, measured", "figure": f"{speed['p50_ms']:.3g} ms", "note": speed["case"]}
    ratio = speed["ratio"]
    note = f"{ratio['low']:.1f} to {ratio['high']:.1f}; {speed['p50_ms']:.3g} ms after {speed['against_p50_ms']:.3g} ms"
    return {"name": "speed, measured", "figure": f"{ratio['p50']:.1f}x as fast", "note": note}


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
