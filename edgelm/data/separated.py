"""Cells between separators, with quoting and without it, and which of the two a TSV file means.

A TSV file is read without quoting where a quote is only a character (as GLUE's are), and with it where a program has
quoted cells: where one of the readings does not fit the header in every row, by the other; where both fit but give
different rows, with quoting if the header or (where rows are lines either way) a whole column is quoted, or every
quoted cell needs it (it holds a tab, a line break or a quote), and without it if no cell needs it. What remains is
refused.
"""

from __future__ import annotations

import csv
import io
import re
import sys
from dataclasses import dataclass

from edgelm.errors import DataError
from edgelm.lines import split_lines

_CELL = re.compile(r'("(?:[^"]|"")*"|[^\t\r\n]*)(\t|\r\n|[\r\n]|\Z)')


@dataclass(frozen=True)
class Found:
    """Rows of cells with the line on which each began (header first), and what ended the reading early."""

    rows: tuple[list[str], ...]
    lines: tuple[int, ...]
    error: str | None = None
    error_line: int = 0

    @property
    def fits(self) -> bool:
        """Whether every row has as many cells as the header."""
        return self.error is None and len({len(row) for row in self.rows}) == 1


def read_quoted(text: str, delimiter: str) -> Found:
    """The rows of a text whose cells may be quoted, as RFC 4180 has it; blank lines are left out."""
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    rows, lines = [], []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    start = 0
    try:
        for row in reader:
            line, start = start + 1, reader.line_num
            if row:
                rows.append(row)
                lines.append(line)
    except csv.Error as error:
        return Found(tuple(rows), tuple(lines), str(error), reader.line_num)
    return Found(tuple(rows), tuple(lines))


def read_plain(text: str) -> Found:
    """The rows of a text with a tab between cells and a quote as any other character; blank lines are left out."""
    kept = [(number, line.split("\t")) for number, line in enumerate(split_lines(text), start=1) if line]
    return Found(tuple(cells for _, cells in kept), tuple(number for number, _ in kept))


def choose_reading(text: str, source: str) -> tuple[Found, str]:
    """The rows that a TSV file means, and what to tell about the choice, if anything.

    Raises:
        DataError: both readings fit, and nothing says which is meant.
    """
    plain = read_plain(text)
    if '"' not in text or not plain.rows:
        return plain, ""
    quoted = read_quoted(text, "\t")
    if not quoted.fits or quoted.rows == plain.rows:
        return plain, ""
    if not plain.fits:
        return quoted, ""
    wrapped = [cell for row in plain.rows for cell in row if len(cell) > 1 and cell[0] == cell[-1] == '"']
    if _quotes_everything(text, quoted, columns=len(quoted.rows) == len(plain.rows)):
        return quoted, ""
    line = next(
        number
        for cells, number in zip(plain.rows, plain.lines, strict=True)
        if any(cell.startswith('"') for cell in cells)
    )
    if len(quoted.rows) == len(plain.rows):
        needed = ['"' in cell[1:-1] for cell in wrapped]
        if not any(needed):
            return plain, ""
        if all(needed):
            return quoted, ""
    elif len(plain.rows[0]) > 1:
        rows = f"{len(plain.rows) - 1} rows, one a line; with quoting they would be {len(quoted.rows) - 1}"
        return plain, f"line {line} begins a cell with a quote; quotes were read as part of the texts: {rows}."
    counts = f"{len(plain.rows) - 1} rows with the quotes in them, or {len(quoted.rows) - 1} without"
    raise DataError(
        f"{source}:{line}: the quotes can belong to the texts or enclose cells: {counts}.",
        hint="Save it as .csv or .jsonl, which leave no doubt.",
    )


def _quotes_everything(text: str, quoted: Found, *, columns: bool) -> bool:
    """Whether a program has quoted the header or, if `columns` is asked about too, every cell of each column in which
    it has quoted one.

    A column tells nothing where its quotes would make one row of several: texts that begin and end with a quote in turn
    look the same.
    """
    written = _marks(text)
    rows = len(quoted.rows)
    if len(written) != rows:
        return False
    header = [mark for mark, name in zip(written[0], quoted.rows[0], strict=True) if name]
    if all(header):
        return True
    used = [column for column in zip(*written[1:], strict=True) if any(column)]
    return columns and rows > 2 and all(all(column) for column in used)


def _marks(text: str) -> list[list[bool]]:
    """Per row and cell of the quoted reading, whether the cell was quoted."""
    rows: list[list[bool]] = []
    cells: list[str] = []
    for cell, end in _CELL.findall(text):
        cells.append(cell)
        if end != "\t":
            if cells != [""]:  # a blank line, or what follows the last one
                rows.append([cell.startswith('"') for cell in cells])
            cells = []
    return rows
