"""Files of rows, one reader a format: every error with file and line."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgelm.data.conll import read_conll
from edgelm.data.separated import Found, choose_reading, read_quoted
from edgelm.data.squad_json import flatten_articles
from edgelm.data.table import Table
from edgelm.errors import DataError, DataWarning, MissingExtraError, install_extra
from edgelm.lines import decode, split_lines


def read_file(path: Path, *, documents: bool = False) -> Table:
    """The rows of a file, by the ending of its name.

    Args:
        documents: whether the texts of a .txt file are what stands between blank lines, where it has some.

    Raises:
        DataError: of an unknown kind, empty, no text, or with a broken row.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(
            f"{path}: unknown kind of file {path.suffix!r}.",
            hint=f"Use one of {', '.join(sorted(_READERS))}, a folder or a hub id.",
        )
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty.", hint="Give a file with rows.")
    return _read_documents(path) if documents and reader is _read_text else reader(path)


def _read_csv(path: Path) -> Table:
    return _as_table(path, read_quoted(_text(path), ","), ",")


def _read_tsv(path: Path) -> Table:
    found, note = choose_reading(_text(path), str(path))
    if note:
        warnings.warn(DataWarning(f"{path}: {note}"), stacklevel=2)
    return _as_table(path, found, "\t")


def _as_table(path: Path, found: Found, delimiter: str) -> Table:
    """Rows under the names of the header; blank lines are nothing."""
    if not found.rows:
        if found.error is not None:
            raise DataError(f"{path}:{found.error_line}: {found.error}.", hint="Check the quotes on that line.")
        raise DataError(f"{path}: no rows.", hint="Give a file with a header and at least one row below it.")
    header = [name.strip() for name in found.rows[0]]
    _check_header(path, header, delimiter)
    rows = []
    for cells, line in zip(found.rows[1:], found.lines[1:], strict=True):
        if len(cells) != len(header):
            raise DataError(
                f"{path}:{line}: {len(cells)} cells; the header has {len(header)}.",
                hint="Quote texts that contain the separator, or save the rows as .jsonl.",
            )
        rows.append({name: cell for name, cell in zip(header, cells, strict=True) if name})
    if found.error is not None:
        raise DataError(
            f"{path}:{found.error_line}: not {path.suffix[1:].upper()}: {found.error}.",
            hint="Check the quotes on that line.",
        )
    return Table(str(path), tuple(name for name in header if name), tuple(rows), tuple(found.lines[1:]))


def _check_header(path: Path, names: list[str], delimiter: str) -> None:
    twice = [name for name in dict.fromkeys(names) if name and names.count(name) > 1]
    if twice:
        raise DataError(f"{path}:1: the header has {twice[0]!r} twice.", hint="Give every column a name of its own.")
    others = [mark for mark in (";", "\t", ",", "|") if mark != delimiter and mark in names[0]]
    if len(names) == 1 and others:
        shown = "tabs" if others[0] == "\t" else repr(others[0])
        hint = (
            "Save it with commas as .csv, or with tabs as .tsv; in Python: pandas.read_csv(FILE, sep=...).to_csv(NEW, "
            "index=False)."
        )
        raise DataError(
            f"{path}:1: one column, named {names[0]!r:.60}: its cells seem to be separated by {shown}.", hint=hint
        )


def _read_text(path: Path) -> Table:
    """One text a line; blank lines are no texts."""
    lines = split_lines(_text(path))
    kept = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    if kept and len(kept) < len(lines):
        blank = len(lines) - len(kept)
        warnings.warn(
            DataWarning(f"{path}: {blank} blank line{'s' * (blank > 1)} of {len(lines)} left out."), stacklevel=2
        )
    return Table(str(path), ("text",), tuple({"text": line} for _, line in kept), tuple(number for number, _ in kept))


def _read_documents(path: Path) -> Table:
    """One text between each two blank lines; without blank lines one a line."""
    lines = [*split_lines(_text(path).strip("\n")), ""]
    if all(line.strip() for line in lines[:-1]):
        return _read_text(path)
    rows, places, kept = [], [], list[str]()
    for number, line in enumerate(lines, start=1):
        if line.strip():
            kept.append(line)
        elif kept:
            rows.append({"text": "\n".join(kept)})
            places.append(number - len(kept))
            kept = []
    return Table(str(path), ("text",), tuple(rows), tuple(places))


def _read_json_lines(path: Path) -> Table:
    rows, lines = [], []
    for number, line in enumerate(split_lines(_text(path)), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"{path}:{number}: not JSON: {error}.", hint="Every line must be one JSON object."
            ) from error
        if not isinstance(row, dict):
            raise DataError(
                f"{path}:{number}: expected a JSON object, got {line.strip()[:40]!r}.",
                hint='Every line must look like {"text": ..., "label": ...}.',
            )
        rows.append(row)
        lines.append(number)
    return Table(str(path), _names(rows), tuple(rows), tuple(lines))


def _read_json(path: Path) -> Table:
    text = _text(path)
    several = text.lstrip().startswith("{") and len(split_lines(text.strip())) > 1
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        if several:
            return _read_json_lines(path)  # under a name that many programs give them
        raise DataError(
            f"{path}: not JSON: {error}.", hint="Give a list of objects, or JSON lines in a .jsonl file."
        ) from error
    if isinstance(rows, dict) and isinstance(rows.get("data"), list):
        rows = rows["data"]
        if any(isinstance(row, dict) and "paragraphs" in row for row in rows):
            rows = flatten_articles(rows, str(path))
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{path}: expected a list of JSON objects.", hint="Use JSON lines in a .jsonl file.")
    return Table(str(path), _names(rows), tuple(rows))


def _read_parquet(path: Path) -> Table:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError(f"{path}: reading Parquet needs pyarrow.", hint=install_extra("compress")) from error
    try:
        rows = parquet.read_table(path).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a Parquet file: {error}.", hint="Write it again.") from error
    return Table(str(path), _names(rows), tuple(rows))


def _read_conll(path: Path) -> Table:
    return read_conll(path, _text(path))


def _text(path: Path) -> str:
    return decode(path.read_bytes(), path)


def _names(rows: list[dict[str, Any]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for row in rows for name in row))


_READERS: dict[str, Callable[[Path], Table]] = {
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".txt": _read_text,
    ".jsonl": _read_json_lines,
    ".ndjson": _read_json_lines,
    ".json": _read_json,
    ".parquet": _read_parquet,
    ".conll": _read_conll,
    ".bio": _read_conll,
}
