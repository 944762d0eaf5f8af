"""What a user names as rows: a file, a saved folder or a hub id, and one split of it."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgelm.data.formats import read_file
from edgelm.data.table import Table
from edgelm.errors import DataError, MissingExtraError, install_extra
from edgelm.lines import decode

_STANDARD_SPLITS = {"train": ("train", "training"), "validation": ("validation", "dev", "valid", "val")}


@dataclass(frozen=True)
class Source:
    """A path or hub id, with the configuration and the split that the user named after it."""

    name: str
    config: str | None = None
    split: str | None = None


def parse_source(text: str) -> Source:
    """`PATH`, `PATH@split`, `ID`, `ID@split` or `ID:config@split`; a path that exists is a path, whatever is in it."""
    if _exists(text):
        return Source(text)
    name, at, split = text.rpartition("@")
    if not at or not name or not split or "/" in split or "\\" in split or Path(split).suffix:
        name, split = text, ""
    if _exists(name) or not _is_hub_id(name.partition(":")[0]):
        return Source(name, None, split or None)
    name, _, config = name.partition(":")
    return Source(name, config or None, split or None)


def read_table(source: str | Path, *, split: str = "train", documents: bool = False) -> Table:
    """Read a file, a saved folder or a hub data set.

    Args:
        source: as `parse_source` takes it.
        split: where the source names none: `train` or `validation` by any of their usual names, or exactly another.
        documents: whether the texts of a plain text are what stands between blank lines, where it has some.

    Raises:
        DataError: missing, empty, of an unknown kind, no text, with a broken row, or without the split.
    """
    found = parse_source(str(source))
    path = Path(found.name)
    if path.is_file():
        if found.split is not None:
            raise DataError(
                f"{path}: a file has no splits, and {found.split!r} is asked for.", hint=f"Give {path} alone."
            )
        table = read_file(path, documents=documents)
    elif path.is_dir() or _is_hub_id(found.name):
        table = _read_with_datasets(found, split, folder=path.is_dir())
    else:
        raise _nothing_there(found)
    if not table.rows:
        raise DataError(f"{source}: no rows.", hint="Give a file with at least one row below the header.")
    return replace(_with_label_names(table, path), source=str(source))


def check_source(source: str) -> None:
    """Refuse a source that is no file or folder, and no name that a hub could have; it is not read.

    Raises:
        DataError: nothing is there.
    """
    found = parse_source(source)
    if not _exists(found.name) and not _is_hub_id(found.name):
        raise _nothing_there(found)


def _nothing_there(source: Source) -> DataError:
    return DataError(f"{source.name}: no such file.", hint="Check the path.")


def _exists(text: str) -> bool:
    try:
        return Path(text).exists()
    except (OSError, ValueError):  # too long for a path, or with a NUL
        return False


def _is_hub_id(name: str) -> bool:
    return not (
        Path(name).suffix or name.startswith((".", "/", "~")) or name.count("/") > 1 or len(name) == 1 or "\\" in name
    )


def _read_with_datasets(source: Source, split: str, *, folder: bool) -> Table:
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError(
            f"{source.name}: reading it needs the package datasets.", hint=install_extra("compress")
        ) from error
    path = Path(source.name)
    try:
        saved = folder and ((path / "dataset_info.json").is_file() or (path / "dataset_dict.json").is_file())
        data = datasets.load_from_disk(source.name) if saved else datasets.load_dataset(source.name, source.config)
    except Exception as error:  # the library raises errors of many others
        what = "a data set that can be read" if folder else "a file, nor a data set that the hub gave"
        reason = (
            f"{type(error).__name__}: {str(error).strip().splitlines()[0]:.150}"
            if str(error).strip()
            else type(error).__name__
        )
        raise DataError(
            f"{source.name}: not {what} ({reason}).", hint="Check the name and the network, or give a file."
        ) from error
    data = _choose_split(source, data, split)
    names = {name: found for name, feature in data.features.items() if (found := _class_names(feature))}
    return Table(source.name, tuple(data.column_names), tuple(data.to_list()), class_names=names)


def _choose_split(source: Source, data: Any, split: str) -> Any:
    """The split that was named, else the standard one."""
    if not isinstance(data, dict):
        if source.split is not None:
            raise DataError(
                f"{source.name}: it has no splits, and {source.split!r} is asked for.",
                hint=f"Give {source.name} alone.",
            )
        return data
    wanted = (source.split,) if source.split is not None else _STANDARD_SPLITS.get(split, (split,))
    for name in wanted:
        if name in data:
            return data[name]
    whole = source.name + (f":{source.config}" if source.config else "")
    raise DataError(
        f"{source.name}: no split {' or '.join(wanted)}; there are: {', '.join(data)}.",
        hint=f"Name one of them, such as {whole}@{next(iter(data))}.",
    )


def _class_names(feature: Any) -> tuple[str, ...]:
    """The names of a column of classes, or of lists of classes."""
    inner = getattr(feature, "feature", feature)
    return tuple(getattr(inner, "names", None) or ())


def _with_label_names(table: Table, path: Path) -> Table:
    """Add the names of integer labels from a `labels.json` beside the file."""
    file = path.parent / "labels.json"
    if table.label_names is not None or not path.is_file() or not file.is_file():
        return table
    try:
        names = json.loads(decode(file.read_bytes(), file))
    except ValueError as error:
        raise DataError(f"{file}: not JSON: {error}.", hint="It must be a list of label names.") from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(f"{file}: expected a list of label names.", hint='For instance: ["negative", "positive"]')
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{file}: it has the name {twice!r} twice.", hint="Every label needs a name of its own.")
    return replace(table, label_names=tuple(names))
