"""Data sets as a file of the search: every worker reads the same rows, wherever they came from."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgelm.data.dataset import Dataset, Origin
from edgelm.search.folder import write_json


def write_rows(path: Path, dataset: Dataset) -> None:
    """Write every row as JSON, and how they were read."""
    values = {name: getattr(dataset, name) for name in dataset.__dataclass_fields__}
    write_json(path, values | {"origin": None if dataset.origin is None else asdict(dataset.origin)})


def read_rows(path: Path) -> Dataset:
    """The inverse of `write_rows`: a data set with the same fingerprint."""
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    origin = values.pop("origin", None)
    rows = {name: _tuples(value) for name, value in values.items()}
    return Dataset(**rows, origin=origin and Origin(**{name: _tuples(value) for name, value in origin.items()}))


def _tuples(value: Any) -> Any:
    return tuple(_tuples(part) for part in value) if isinstance(value, list) else value
