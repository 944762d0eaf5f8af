"""Files of rows as tables: one reader a format, every error with file and line."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgelm.errors import DataError, MissingExtraError

_TEXT_NAMES = ("text", "sentence", "content", "review", "utterance", "query", "question", "source", "body", "message", "comment", "title")
_PAIR_NAMES = (
    ("text_a", "text_b"),
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("query", "passage"),
    ("question", "passage"),
)
_LABEL_NAMES = ("label", "labels", "intent", "category", "class", "target", "sentiment", "score", "stars", "rating")
_RAGGED = object()  # stands for the cells that a CSV row has too many


@dataclass(frozen=True)
class Table:
    """Rows by column name, and on which line each began."""

    source: str
    names: tuple[str, ...]
    rows: tuple[dict[str, Any], ...]
    lines: tuple[int, ...] | None = None
    label_names: tuple[str, ...] | None = None

    def column(self, name: str) -> list[Any]:
        """The values of a column; None where a row does not have it."""
        return [row.get(name) for row in self.rows]

    def place(self, row: int) -> str:
        """Where a row stands, for people: `file:line`, or the row's number."""
        return f"{self.source}:{self.lines[row]}" if self.lines else f"{self.source}, row {row + 1}"


def read_table(source: str | Path, *, split: str = "train") -> Table:
    """Read a file, a saved folder or a hub data set.

    Raises:
        DataError: missing, empty, of an unknown kind, not UTF-8, or with a broken row.
    """
    path = Path(source)
    if path.is_dir():
        table = _read_with_datasets(str(source), split, folder=True)
    elif path.is_file():
        reader = _READERS.get(path.suffix.lower())
        if reader is None:
            raise DataError(f"{path}: unknown kind of file {path.suffix!r}.", hint=f"Use one of {', '.join(sorted(_READERS))}, a folder or a hub id.")
        if path.stat().st_size == 0:
            raise DataError(f"{path}: the file is empty.", hint="Give a file with rows.")
        table = reader(path)
    elif path.suffix or str(source).startswith((".", "/", "~")) or str(source).count("/") > 1:
        raise DataError(f"{source}: no such file.", hint="Check the path.")
    else:
        table = _read_with_datasets(str(source), split, folder=False)
    if not table.rows:
        raise DataError(f"{source}: no rows.", hint="Give a file with at least one row below the header.")
    return _with_label_names(table, path)


def find_columns(table: Table, text: str | None, pair: str | None, label: str | None) -> tuple[str, str | None, str | None]:
    """The names of the text, pair and label columns; those that are not given are guessed by their usual names.

    Raises:
        DataError: a given column is not there, or no text column can be guessed.
    """
    by_lower = {name.lower(): name for name in table.names}
    for name, option in ((text, "--text-column"), (pair, "--pair-column"), (label, "--label-column")):
        if name is not None and name not in table.names:
            raise DataError(f"{table.source}: no column {name!r}; there are: {', '.join(table.names)}.", hint=f"Choose one of them with {option}.")
    if text is None and pair is None:
        for first, second in _PAIR_NAMES:
            if first in by_lower and second in by_lower:
                text, pair = by_lower[first], by_lower[second]
                break
    if text is None:
        text = next((by_lower[name] for name in _TEXT_NAMES if name in by_lower), None)
    if text is None:
        raise DataError(f"{table.source}: no column looks like text; there are: {', '.join(table.names)}.", hint="Name it with --text-column.")
    if label is None:
        label = next((by_lower[name] for name in _LABEL_NAMES if name in by_lower and by_lower[name] != text), None)
    return text, pair, label


def _read_csv(path: Path) -> Table:
    return _read_separated(path, ",")


def _read_tsv(path: Path) -> Table:
    return _read_separated(path, "\t")


def _read_separated(path: Path, delimiter: str) -> Table:
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    rows, lines = [], []
    with _decoded(path) as text:
        reader = csv.DictReader(text, delimiter=delimiter, restkey=_RAGGED, restval=_RAGGED, strict=True)  # type: ignore[call-overload]
        names = tuple(reader.fieldnames or ())
        start = reader.line_num
        try:
            for row in reader:
                line, start = start + 1, reader.line_num
                if _RAGGED in row or _RAGGED in row.values():
                    found = len(names) + len(row.get(_RAGGED, ())) if _RAGGED in row else sum(value is not _RAGGED for value in row.values())
                    raise DataError(f"{path}:{line}: {found} cells; the header has {len(names)}.", hint="Quote texts that contain the separator.")
                rows.append(dict(row))
                lines.append(line)
        except csv.Error as error:
            raise DataError(f"{path}:{reader.line_num}: not {path.suffix[1:].upper()}: {error}.", hint="Check the quotes on that line.") from error
    return Table(str(path), names, tuple(rows), tuple(lines))


def _read_json_lines(path: Path) -> Table:
    rows, lines = [], []
    with _decoded(path) as text:
        for number, line in enumerate(text, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise DataError(f"{path}:{number}: not JSON: {error}.", hint="Every line must be one JSON object.") from error
            if not isinstance(row, dict):
                raise DataError(
                    f"{path}:{number}: expected a JSON object, got {line.strip()[:40]!r}.",
                    hint='Every line must look like {"text": ..., "label": ...}.',
                )
            rows.append(row)
            lines.append(number)
    return Table(str(path), _names(rows), tuple(rows), tuple(lines))


def _read_json(path: Path) -> Table:
    with _decoded(path) as text:
        try:
            rows = json.load(text)
        except ValueError as error:
            raise DataError(f"{path}: not JSON: {error}.", hint="Give a list of objects, or JSON lines in a .jsonl file.") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{path}: expected a list of JSON objects.", hint="Use JSON lines in a .jsonl file.")
    return Table(str(path), _names(rows), tuple(rows))


def _read_parquet(path: Path) -> Table:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError(f"{path}: reading Parquet needs pyarrow.", hint="pip install 'edgelm[compress]'") from error
    try:
        rows = parquet.read_table(path).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a Parquet file: {error}.", hint="Write it again.") from error
    return Table(str(path), _names(rows), tuple(rows))


def _read_with_datasets(source: str, split: str, *, folder: bool) -> Table:
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError(f"{source}: reading it needs the package datasets.", hint="pip install 'edgelm[compress]'") from error
    try:
        saved = folder and ((Path(source) / "dataset_info.json").is_file() or (Path(source) / "dataset_dict.json").is_file())
        data = datasets.load_from_disk(source) if saved else datasets.load_dataset(source)
        if isinstance(data, dict):
            data = data[split] if split in data else data[next(iter(data))]
        features: Any = data.features
    except Exception as error:  # the library raises errors of many others
        what = "a data set that can be read" if folder else "a file, nor a data set that the hub gave"
        raise DataError(f"{source}: not {what} ({type(error).__name__}).", hint="Check the name and the network, or give a file.") from error
    feature = next((features[name] for name in _LABEL_NAMES if name in features), None)
    names = tuple(getattr(feature, "names", None) or ()) or None
    return Table(source, tuple(data.column_names), tuple(data.to_list()), label_names=names)


def _with_label_names(table: Table, path: Path) -> Table:
    """Add the names of integer labels from a `labels.json` beside the file."""
    file = path.parent / "labels.json"
    if table.label_names is not None or not path.is_file() or not file.is_file():
        return table
    try:
        names = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{file}: not JSON: {error}.", hint="It must be a list of label names.") from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(f"{file}: expected a list of label names.", hint='For instance: ["negative", "positive"]')
    return Table(table.source, table.names, table.rows, table.lines, tuple(names))


def _names(rows: list[dict[str, Any]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for row in rows for name in row))


class _decoded:  # noqa: N801 - reads as a function
    """A text file opened as UTF-8; a byte that is not UTF-8 becomes an error with its place."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> io.StringIO:
        data = self.path.read_bytes()
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            hint = f"Convert it: iconv -f latin1 -t utf-8 {self.path} > converted{self.path.suffix}"
            raise DataError(f"{self.path}:{line}: not UTF-8 at byte {error.start} (0x{data[error.start]:02x}).", hint=hint) from error
        self._stream = io.StringIO(text, newline="" if self.path.suffix.lower() in (".csv", ".tsv") else "\n")
        return self._stream

    def __exit__(self, *_: object) -> None:
        self._stream.close()


_READERS: dict[str, Callable[[Path], Table]] = {
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".jsonl": _read_json_lines,
    ".ndjson": _read_json_lines,
    ".json": _read_json,
    ".parquet": _read_parquet,
}
