"""Tables and fenced texts in Markdown, in which names and texts of strangers stay text."""

from __future__ import annotations

import re
from collections.abc import Sequence

from edgelm.lines import plain_text

Table = tuple[list[str], list[list[str]]]  # a header, and rows as long as it

_TAG = re.compile(r"<(?=[A-Za-z/!?])")


def as_markdown(lines: Sequence[str]) -> str:
    """Lines of Markdown as one text in which names and texts of strangers are text: no HTML, nothing that a terminal
    acts on."""
    return escaped(plain_text("\n".join(lines)))


def escaped(text: str) -> str:
    """A text outside of code in which nothing is a tag of HTML."""
    return _TAG.sub("&lt;", text)


def markdown_table(title: str, table: Table) -> list[str]:
    """A table as lines of Markdown, under a heading."""
    return [f"## {title}", "", *markdown_rows(table)]


def markdown_rows(table: Table) -> list[str]:
    """A table as lines of Markdown."""
    header, rows = table
    lines = [
        "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in row) + " |" for row in (header, *rows)
    ]
    return [lines[0], "|" + "---|" * len(header), *lines[1:], ""]


def markdown_code(text: str, language: str = "") -> list[str]:
    """A text as it stands, between fences longer than any in it."""
    longest = max((len(found) for found in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}{language}", *text.splitlines(), fence, ""]
