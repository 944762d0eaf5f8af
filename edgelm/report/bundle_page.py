"""A report about bundles as one HTML page, and as Markdown."""

from __future__ import annotations

from edgelm.choices import Language
from edgelm.markdown import as_markdown
from edgelm.report.bundle_report import BundleReport
from edgelm.report.bundle_sections import bundle_sections
from edgelm.report.cost import cost_fact
from edgelm.report.facts import facts
from edgelm.report.headline import headline_words
from edgelm.report.language import speaking, tr
from edgelm.report.page import render_page
from edgelm.report.section import markdown_section
from edgelm.report.tables import minute
from edgelm.version import __version__


def render_bundle_page(report: BundleReport, *, language: Language = "en") -> str:
    """One page with style and drawings inside: it needs no network and no other file.

    Raises:
        MissingExtraError: jinja2 or matplotlib is not installed.
    """
    with speaking(language):
        return render_page(
            "report.html",
            title=report.title,
            where=_where(report),
            headlines=[
                headline | {"facts": [*facts(headline), cost_fact(headline["cost"])], "words": headline_words(headline)}
                for headline in report.headlines
            ],
            sections=bundle_sections(report, with_charts=True),
        )


def render_bundle_markdown(report: BundleReport, *, language: Language = "en") -> str:
    """The headline and the tables in Markdown, for a pull request or a model's card."""
    with speaking(language):
        lines = [f"# {report.title}", "", _where(report), ""]
        for headline in report.headlines:
            lines += [f"**{headline['name']}**", ""] if len(report.bundles) > 1 else []
            lines += [*(f"- {sentence}" for sentence in headline_words(headline)), ""]
        for section in bundle_sections(report, with_charts=False):
            lines += markdown_section(section)
        return as_markdown(lines)


def _where(report: BundleReport) -> str:
    kinds = "; ".join(
        f"{bundle['label']}: "
        + ", ".join(
            [bundle["family"], bundle["task"]["kind"], bundle["precision"], tr("for {device}", device=bundle["device"])]
        )
        for bundle in report.bundles
    )
    return tr(
        "{kinds}. Made by edgelm {version}, {created}.",
        kinds=kinds,
        version=__version__,
        created=minute(report.created),
    )
