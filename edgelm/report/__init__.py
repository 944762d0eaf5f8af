"""Profiles, fronts and bundles to reports: one self-contained HTML page, Markdown, JSON."""

from edgelm.report.bundle_page import render_bundle_markdown, render_bundle_page
from edgelm.report.bundle_report import BundleReport, report_schema
from edgelm.report.front import render_front
from edgelm.report.page import check_page
from edgelm.report.report import Report
from edgelm.report.tables import doubt_notes
from edgelm.report.write import render_html, render_markdown, write_reports

__all__ = [
    "BundleReport",
    "Report",
    "check_page",
    "doubt_notes",
    "render_bundle_markdown",
    "render_bundle_page",
    "render_front",
    "render_html",
    "render_markdown",
    "report_schema",
    "write_reports",
]
