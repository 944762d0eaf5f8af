"""Rows that a generator learns to go on with: plain texts, prompts with their completions, and conversations."""

from __future__ import annotations

from typing import Any

from edgelm.data.cells import is_empty, parse_value, text_of
from edgelm.data.content import BadRows, Content
from edgelm.data.schemas import Found
from edgelm.data.table import Table
from edgelm.errors import DataError

Messages = tuple[tuple[str, str], ...]
ROLES = ("system", "user", "assistant", "tool")
_HINT = "Correct the row, or choose another column with --text-column."


def read_prompts(table: Table, columns: Found, *, skip_bad_rows: bool) -> Content:
    """Texts, prompts or conversations; and completions, where there are any.

    Args:
        table: the rows.
        columns: where they are. Conversations are lists of objects with role and content, also written as JSON.
        skip_bad_rows: leave rows out that cannot be read, and warn of them.

    Raises:
        DataError: an empty text, prompt or completion, a conversation of another form, a role that is not known, or no
            answer in it to learn, with file and line; no text at all.
    """
    bad = BadRows(table, skip=skip_bad_rows)
    cells = table.column(columns.text)
    talks = next((_is_talk(cell) for cell in cells if not is_empty(cell)), False)
    rows = range(len(cells))
    if talks:
        found = bad.read(rows, lambda row: _conversation(table, row, columns.text, cells[row]))
        bad.tell()
        return Content(tuple(found.values()))
    what = f"column {columns.text!r}"
    if columns.label is None:  # blank texts, such as those between paragraphs, are nothing
        texts = bad.read(
            rows, lambda row: text_of(cells[row], table.place(row), f"column {columns.text!r}", hint=_HINT)
        )
        bad.tell()
        written = tuple(text for text in texts.values() if text.strip())
        if not written:
            raise DataError(f"{table.source}: every text in {what} is empty.", hint=_HINT)
        return Content(written)
    name, answers = columns.label, table.column(columns.label)
    prompts = bad.read(rows, lambda row: _filled(table, row, columns.text, cells[row], "prompt"))
    completions = bad.read(prompts, lambda row: _filled(table, row, name, answers[row], "completion"))
    bad.tell()
    return Content(tuple(prompts[row] for row in completions), None, tuple(completions.values()))


def _filled(table: Table, row: int, name: str, cell: Any, what: str) -> str:
    text = text_of(cell, table.place(row), f"column {name!r}", hint=_HINT)
    if not text.strip():
        raise DataError(f"{table.place(row)}: the {what} in column {name!r} is empty.", hint=_HINT)
    return text


def _is_talk(cell: Any) -> bool:
    return isinstance(_list(cell), list)


def _list(cell: Any) -> Any:
    return parse_value(cell) if isinstance(cell, str) and cell.lstrip().startswith("[{") else cell


def _conversation(table: Table, row: int, name: str, cell: Any) -> Messages:
    messages, place = _list(cell), table.place(row)
    if not isinstance(messages, list) or not messages:
        raise DataError(
            f"{place}: column {name!r} is {cell!r:.60}; expected a conversation.",
            hint='Give a list of messages, such as [{"role": "user", "content": ...}, ...].',
        )
    found = []
    for number, message in enumerate(messages, start=1):
        if not isinstance(message, dict) or not {"role", "content"} <= message.keys():
            raise DataError(
                f"{place}: message {number} is {message!r:.60}; expected role and content.",
                hint='A message looks like {"role": "user", "content": "..."}.',
            )
        role = message["role"]
        if role not in ROLES:
            raise DataError(f"{place}: message {number} has the role {role!r:.40}.", hint=f"Roles: {', '.join(ROLES)}.")
        content = text_of(message["content"], place, f"the content of message {number}", hint=_HINT)
        if not content.strip():
            raise DataError(f"{place}: the content of message {number} ({role}) is empty.", hint=_HINT)
        found.append((str(role), content))
    if not any(role == "assistant" for role, _ in found):
        raise DataError(
            f"{place}: no message of the assistant, so nothing to learn.", hint="Correct or remove the row."
        )
    if found[0][0] == "assistant":
        raise DataError(f"{place}: the conversation begins with the assistant: an empty prompt.", hint=_HINT)
    return tuple(found)
