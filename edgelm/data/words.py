"""Rows of words with a tag a word: names, places, slots."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from edgelm.data.cells import list_of, simple_key, text_of, unpack_lists
from edgelm.data.content import BadRows, Content
from edgelm.data.label_matching import is_whole, match_labels, shorten
from edgelm.data.schemas import Found
from edgelm.data.table import Table
from edgelm.errors import DataError, DataWarning
from edgelm.metrics.spans import loose_starts, split_tag

_LETTERED = re.compile(r"[BIESLU](-.*)?", re.DOTALL)
_TAG_HINT = "Correct the row, or choose another column with --label-column."
_WORD_HINT = "Correct the row, or choose another column with --text-column."


def read_words(table: Table, columns: Found, *, labels: Sequence[str] | None, skip_bad_rows: bool) -> Content:
    """Words and tags.

    Args:
        table: the rows.
        columns: where words and tags are; without tags, a column of plain texts will do for the words.
        labels: the tags of a model, in the order of its logits; None: taken from the rows (O first, then sorted), or
            in the order of labels.json or of a data set's features where these name every one.
        skip_bad_rows: leave rows out that cannot be read, and warn of them.

    Raises:
        DataError: no words in a row, more or fewer tags than words, a tag that is not known, or tags that none of the
            schemes BIO, IOB1, BIOES and BILOU allows, with file and line.
    """
    bad = BadRows(table, skip=skip_bad_rows)
    cells = table.column(columns.text)
    if columns.label is None:
        cells = unpack_lists(cells)
        plain = all(isinstance(cell, str) for cell in cells)
        texts = bad.read(range(len(cells)), lambda row: _row(table, row, columns.text, cells[row], plain=plain))
        bad.tell()
        return Content(tuple(texts.values()))
    name = columns.label
    tags = table.column(name)
    words = bad.read(range(len(cells)), lambda row: _row(table, row, columns.text, cells[row], plain=False))
    keys = bad.read(words, lambda row: _keys(table, row, name, tags[row], len(words[row])))
    given = table.class_names.get(name) or table.label_names
    named = bad.read(keys, lambda row: _named(table, row, keys[row], given, numbers_of_model=labels is not None))
    used = {tag for row in named.values() for tag in row}
    names = tuple(labels) if labels is not None else _ordered(used, given)
    places = match_labels(sorted(used), names, first=0, source=table.source)
    found = bad.read(named, lambda row: _places(table, row, named[row], places, names))
    written = {row: [names[place] for place in found[row]] for row in found}
    letters = {split_tag(tag)[0] for row in written.values() for tag in row if _LETTERED.fullmatch(tag)}
    if letters:
        kept = bad.read(written, lambda row: _check_scheme(table, row, written[row], letters))
        _tell_loose(table, {row: written[row] for row in kept}, letters)
    else:
        kept = dict.fromkeys(written)
    bad.tell()
    matched = {
        key: names[place]
        for row in kept
        for key, place in zip(keys[row], found[row], strict=True)
        if key != names[place]
    }
    return Content(tuple(words[row] for row in kept), None, tuple(tuple(found[row]) for row in kept), names, matched)


def _row(table: Table, row: int, name: str, cell: Any, *, plain: bool) -> Any:
    """The words of a row, or its text where rows are plain texts."""
    if plain:
        if not cell.strip():
            raise DataError(f"{table.place(row)}: the text in column {name!r} is empty.", hint=_WORD_HINT)
        return text_of(cell, table.place(row), f"column {name!r}", hint=_WORD_HINT)
    words = list_of(cell)
    if words is None:
        raise DataError(
            f"{table.place(row)}: column {name!r} is {cell!r:.60}; expected a list of words.",
            hint='Give words as a list, such as ["New", "York"], or another column with --text-column.',
        )
    if not any(isinstance(word, str) and word.strip() for word in words):
        raise DataError(f"{table.place(row)}: no words in column {name!r}.", hint="Correct or remove the row.")
    return tuple(
        text_of(word, table.place(row), f"word {place} in column {name!r}", hint=_WORD_HINT)
        for place, word in enumerate(words, start=1)
    )


def _keys(table: Table, row: int, name: str, cell: Any, words: int) -> list[str]:
    """The tags of a row as the data writes them; numbers as text."""
    tags = list_of(cell)
    if tags is None:
        raise DataError(
            f"{table.place(row)}: column {name!r} is {cell!r:.60}; expected a list of tags, one a word.",
            hint=_TAG_HINT,
        )
    if len(tags) != words:
        raise DataError(
            f"{table.place(row)}: {words} word{'s' * (words != 1)} and {len(tags)} tag{'s' * (len(tags) != 1)}; every "
            "word needs one.",
            hint="Correct or remove the row.",
        )
    keys = []
    for place, tag in enumerate(tags, start=1):
        key = simple_key(tag, whole=True)
        if not key or isinstance(tag, bool):
            raise DataError(
                f"{table.place(row)}: tag {place} in column {name!r} is {tag!r:.60}; expected a name or a number.",
                hint=_TAG_HINT,
            )
        keys.append(key)
    return keys


def _named(
    table: Table, row: int, keys: list[str], given: Sequence[str] | None, *, numbers_of_model: bool
) -> list[str]:
    """Tags by name: numbers are places in labels.json or in the features of a data set, else the model's own."""
    numbers = [key for key in keys if is_whole(key)]
    if not numbers or (given is None and numbers_of_model):
        return keys
    if given is None:
        raise DataError(
            f"{table.place(row)}: tag {numbers[0]} is a number, and nothing says its name.",
            hint="Put the names of the tags, in order, as a list into labels.json beside the file.",
        )
    for key in numbers:
        if not 0 <= int(key) < len(given):
            raise DataError(
                f"{table.place(row)}: tag {key}, but there are names for {len(given)} tags.",
                hint="Correct the row or labels.json.",
            )
    return [given[int(key)] if is_whole(key) else key for key in keys]


def _ordered(used: set[str], given: Sequence[str] | None) -> tuple[str, ...]:
    if given is not None and used <= set(given):
        return tuple(given)
    return tuple(sorted(used, key=lambda tag: (tag != "O", tag)))


def _places(table: Table, row: int, tags: list[str], places: dict[str, int], names: Sequence[str]) -> list[int]:
    for tag in tags:
        if tag not in places:
            raise DataError(
                f"{table.place(row)}: tag {tag!r:.60} is none of those that are known.",
                hint=f"Known tags: {shorten(names)}.",
            )
    return [places[tag] for tag in tags]


def _check_scheme(table: Table, row: int, tags: list[str], letters: set[str]) -> None:
    """Refuse tags that no scheme allows; what BIO alone forbids is told by `_tell_loose`."""
    hint = "The schemes are BIO, IOB1, BIOES and BILOU. Correct or remove the row."
    bare = next((tag for tag in tags if tag != "O" and not _LETTERED.fullmatch(tag)), None)
    if bare is not None:
        raise DataError(
            f"{table.place(row)}: tag {bare!r:.60} has no letter of a scheme before it, as others do.",
            hint=hint,
        )
    if not letters & {"E", "S"}:
        return
    parts = [("O", ""), *map(split_tag, tags), ("O", "")]
    for place, ((before, last), (letter, kind)) in enumerate(pairwise(parts)):
        inside = before in ("B", "I")
        if inside != (letter in ("I", "E")) or (inside and kind != last):
            what = f"tag {place + 1} is {tags[place]!r:.60}" if place < len(tags) else "the row ends"
            after = f" after {tags[place - 1]!r:.60}" if place else ""
            raise DataError(f"{table.place(row)}: {what}{after}, which BIOES and BILOU do not allow.", hint=hint)


def _tell_loose(table: Table, rows: dict[int, list[str]], letters: set[str]) -> None:
    """Warn of spans that begin with I-: they are spans in IOB1, and none in BIO."""
    if letters & {"E", "S"}:
        return
    found = {row: starts for row, tags in rows.items() if (starts := loose_starts(tags))}
    if found:
        count, first = sum(map(len, found.values())), next(iter(found))
        text = (
            f"{table.source}: {count} span{'s' * (count > 1)} in {len(found)} row{'s' * (len(found) > 1)} begin with "
            f"I- and no B- before it, first at {table.place(first)}: the tags are kept, and read as IOB1."
        )
        warnings.warn(DataWarning(text), stacklevel=4)
