"""The parts that a page or a Markdown file is made of: words, charts, tables, code."""

from __future__ import annotations

from dataclasses import dataclass

from edgelm.markdown import Table, markdown_code, markdown_rows
from edgelm.report.svg import Chart


@dataclass(frozen=True)
class Section:
    """One part of a report, under a heading.

    Attributes:
        text: paragraphs.
        charts: drawings; of a page alone.
        tables: captions and tables; those without rows are left out. A caption may be empty.
        code: captions and texts that can be pasted into a shell or a file.
        terms: words and what they mean.
    """

    title: str
    text: tuple[str, ...] = ()
    charts: tuple[Chart, ...] = ()
    tables: tuple[tuple[str, Table], ...] = ()
    code: tuple[tuple[str, str], ...] = ()
    terms: tuple[tuple[str, str], ...] = ()

    @property
    def filled(self) -> tuple[tuple[str, Table], ...]:
        """The tables that have rows."""
        return tuple((caption, table) for caption, table in self.tables if table[1])

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing in it but words."""
        return not (self.charts or self.filled or self.code or self.terms)


def markdown_section(section: Section) -> list[str]:
    """A section as lines of Markdown."""
    lines = [f"## {section.title}", ""]
    for paragraph in section.text:
        lines += [paragraph, ""]
    for caption, table in section.filled:
        lines += [f"**{caption}**", ""] if caption else []
        lines += markdown_rows(table)
    for caption, text in section.code:
        lines += [f"{caption}:", "", *markdown_code(text)]
    for word, meaning in section.terms:
        lines += [f"- **{word}**: {meaning}"]
    return [*lines, ""] if section.terms else lines
