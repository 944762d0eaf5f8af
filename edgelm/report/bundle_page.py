"""A report about bundles as one HTML page, and as Markdown."""

from __future__ import annotations

from edgelm.markdown import as_markdown
from edgelm.report.bundle_report import BundleReport
from edgelm.report.bundle_sections import bundle_sections
from edgelm.report.facts import facts
from edgelm.report.page import render_page
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
        headlines=[headline | {"facts": facts(headline)} for headline in report.headlines],
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
