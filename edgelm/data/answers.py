"""Rows of a question, a text, and the answers that stand in the text (SQuAD)."""

from __future__ import annotations

import re
import warnings
from typing import Any

from edgelm.data.cells import parse_value, text_of
from edgelm.data.content import BadRows, Content
from edgelm.data.schemas import Found
from edgelm.data.table import Table
from edgelm.errors import DataError, DataWarning

Answer = tuple[str, int]

_OBJECT = re.compile(r"""\s*\{\s*['"]text['"]""")  # as pandas prints arrays in a cell, which nothing can read back
_HINT = "Correct or remove the row, or leave such rows out with --skip-bad-rows."


def read_answers(table: Table, columns: Found, *, skip_bad_rows: bool) -> Content:
    """Questions, contexts and answers: per row a tuple of (text, first character in the context), () where the
    question has no answer.

    Args:
        table: the rows.
        columns: where questions, contexts and answers are.
        skip_bad_rows: leave rows out that cannot be read, and warn of them.

    Raises:
        DataError: an empty question or context, answers of another form, or an answer that does not stand in its
            context where it should, with file and line.
    """
    bad = BadRows(table, skip=skip_bad_rows)
    rows = range(len(table.rows))
    questions = bad.read(rows, lambda row: _text(table, row, columns.text, "--text-column"))
    contexts = bad.read(questions, lambda row: _text(table, row, columns.pair[0], "--pair-column"))
    if columns.label is None:
        bad.tell()
        return Content(tuple(questions[row] for row in contexts), tuple(contexts.values()))
    name, cells = columns.label, table.column(columns.label)
    found = bad.read(contexts, lambda row: _answers(table, row, name, cells[row]))
    several: list[int] = []  # a row for each answer that was looked up and occurs more than once
    placed = bad.read(found, lambda row: _placed(table, row, found[row], contexts[row], several))
    bad.tell()
    if several:
        text = (
            f"{table.source}: {len(several)} answer{'s' * (len(several) > 1)} without a place occur several times in "
            f"their context, first at {table.place(several[0])}: the first occurrence is taken."
        )
        warnings.warn(DataWarning(text), stacklevel=3)
    return Content(
        tuple(questions[row] for row in placed), tuple(contexts[row] for row in placed), tuple(placed.values())
    )


def _text(table: Table, row: int, name: str, option: str) -> str:
    hint = f"Correct the row, or choose another column with {option}."
    text = text_of(table.rows[row].get(name), table.place(row), f"column {name!r}", hint=hint)
    if not text.strip():
        raise DataError(f"{table.place(row)}: the text in column {name!r} is empty.", hint=hint)
    return text


def _answers(table: Table, row: int, name: str, cell: Any) -> list[tuple[str, int | None]]:
    """The answers of a cell: SQuAD's object of two lists, a list of objects, texts, or one text; () or an empty text
    where there is none."""
    if isinstance(cell, str) and cell.strip()[:1] in ("{", "["):
        parsed = parse_value(cell.strip())
        cell = parsed if isinstance(parsed, (dict, list)) else cell
    if isinstance(cell, dict) and "text" in cell:
        texts, starts = cell["text"], cell.get("answer_start")
        texts = [texts] if isinstance(texts, str) else texts
        starts = [starts] if isinstance(starts, int) else starts
        items = _zipped(texts, starts)
    elif isinstance(cell, list) and all(isinstance(item, dict) and "text" in item for item in cell):
        items = [(item["text"], item.get("answer_start")) for item in cell]
    elif isinstance(cell, list):
        items = [(item, None) for item in cell]
    else:
        items = [(cell, None)] if isinstance(cell, str) and not _OBJECT.match(cell) else None
    if items is None or not all(isinstance(text, str) and _is_place(start) for text, start in items):
        raise DataError(
            f"{table.place(row)}: column {name!r} is {cell!r:.80}; expected answers.",
            hint='Give a text, or {"text": [...], "answer_start": [...]}; empty where a question has no answer.',
        )
    if not any(text.strip() for text, _ in items):
        return []
    if not all(text.strip() for text, _ in items):
        raise DataError(f"{table.place(row)}: one answer of several is empty.", hint=_HINT)
    return items


def _zipped(texts: Any, starts: Any) -> list[tuple[Any, Any]] | None:
    """Texts with their places; None if they are not as many."""
    if not isinstance(texts, list) or (starts is not None and not isinstance(starts, list)):
        return None
    if starts is None:
        return [(text, None) for text in texts]
    return list(zip(texts, starts, strict=True)) if len(texts) == len(starts) else None


def _is_place(start: Any) -> bool:
    return start is None or (isinstance(start, int) and not isinstance(start, bool))


def _placed(
    table: Table, row: int, answers: list[tuple[str, int | None]], context: str, several: list[int]
) -> tuple[Answer, ...]:
    """Answers with their places, each checked against the context."""
    placed = []
    for text, said in answers:
        text_of(text, table.place(row), "an answer", hint=_HINT)
        start = context.find(text) if said is None else said
        if said is None and start >= 0 and context.count(text) > 1:
            several.append(row)
        if start < 0 or not context.startswith(text, start):
            where = "" if said is None else f" at character {said}"
            there = f", where {context[said : said + len(text)]!r:.60} stands" if said is not None and said >= 0 else ""
            raise DataError(
                f"{table.place(row)}: the answer {text!r:.60} is not in its context{where}{there}.", hint=_HINT
            )
        placed.append((text, start))
    return tuple(placed)
