"""Profiles and fronts to reports: one self-contained HTML page, Markdown, JSON."""

from edgelm.report.front import render_front
from edgelm.report.page import check_page
from edgelm.report.report import Report
from edgelm.report.tables import doubt_notes
from edgelm.report.write import render_html, render_markdown, write_reports

__all__ = [
    "Report",
    "check_page",
    "doubt_notes",
    "render_front",
    "render_html",
    "render_markdown",
    "write_reports",
]
