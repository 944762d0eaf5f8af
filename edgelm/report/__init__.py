"""Profiles to reports: one self-contained HTML page, Markdown, JSON."""

from edgelm.report.write import render_html, render_markdown, write_reports

__all__ = ["render_html", "render_markdown", "write_reports"]
