"""CoNLL files: a word and its tag a line, a blank line between sentences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgelm.data.table import Table
from edgelm.errors import DataError
from edgelm.lines import split_lines


def read_conll(path: Path, text: str) -> Table:
    """The sentences of a file as rows of `tokens` and `tags`, each on the line of its first word.

    The first field of a line is the word and the last one the tag, whatever stands between (CoNLL-2003 has parts of
    speech there). Fields are parted by tabs if the line has any, else by spaces. `-DOCSTART-` lines are left out. A
    file of one field a line has words without tags.

    Raises:
        DataError: a line with more or fewer fields than the first one.
    """
    rows: list[dict[str, Any]] = []
    lines: list[int] = []
    words: list[list[str]] = []
    width = 0
    for number, line in enumerate([*split_lines(text), ""], start=1):
        fields = line.split("\t") if "\t" in line else line.split()
        if not line.strip() or fields[0] == "-DOCSTART-":
            if words:
                rows.append(_row(words))
                lines.append(number - len(words))
            words = []
            continue
        width = width or len(fields)
        if len(fields) != width or not all(field.strip() for field in (fields[0], fields[-1])):
            raise DataError(
                f"{path}:{number}: {line.strip()[:60]!r} has {len(fields)} fields; the first line has {width}.",
                hint="Every line must be a word and its tag, with a tab or a space between.",
            )
        words.append([field.strip() for field in fields])
    return Table(str(path), ("tokens", "tags") if width > 1 else ("tokens",), tuple(rows), tuple(lines))


def _row(words: list[list[str]]) -> dict[str, Any]:
    row = {"tokens": [fields[0] for fields in words]}
    return row | {"tags": [fields[-1] for fields in words]} if len(words[0]) > 1 else row
