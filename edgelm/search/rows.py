"""Data sets as a file of the search: every worker reads the same rows, wherever they came from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgelm.dataset import Dataset
from edgelm.search.folder import write_json


def write_rows(path: Path, dataset: Dataset) -> None:
    """Write every row as JSON."""
    write_json(path, {name: getattr(dataset, name) for name in dataset.__dataclass_fields__})


def read_rows(path: Path) -> Dataset:
    """The inverse of `write_rows`: a data set with the same fingerprint."""
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return Dataset(**{name: _tuples(value) for name, value in values.items()})


def _tuples(value: Any) -> Any:
    return tuple(_tuples(part) for part in value) if isinstance(value, list) else value
