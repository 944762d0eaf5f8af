"""The noun MeasuredRows: what a long measurement has so far, kept in the user's cache until it is whole."""

from __future__ import annotations

import contextlib
import hashlib
import json
from typing import Any

from edgelm.runtime.cache import cache_folder, keep

_SCHEMA = 1


class MeasuredRows:
    """Rows of a measurement that may be interrupted: each is written as it comes, whole or not at all, and the next
    measurement of the same goes on from them.

    Args:
        kind: folder of the cache.
        question: all that the rows depend on, as JSON.

    Attributes:
        name: of the question, for what is kept once all is measured.
        rows: as JSON has them; those of an interrupted measurement at first.
    """

    def __init__(self, kind: str, question: Any) -> None:
        text = json.dumps(question, default=str, sort_keys=True)
        self.name = hashlib.sha256(text.encode()).hexdigest()[:24]
        self._file = cache_folder(kind) / f"{self.name}.part.json"
        self.rows: list[Any] = self._read()

    def add(self, row: Any) -> None:
        """Keep a row."""
        self.rows.append(row)
        keep(self._file, json.dumps({"edgelm_rows": _SCHEMA, "rows": self.rows}).encode())

    def forget(self) -> None:
        """Take them away: all is measured, or they are of no use."""
        self.rows.clear()
        with contextlib.suppress(OSError):
            self._file.unlink()

    def _read(self) -> list[Any]:
        try:
            values = json.loads(self._file.read_text(encoding="utf-8"))
            rows = values["rows"] if values["edgelm_rows"] == _SCHEMA else []
        except (OSError, ValueError, KeyError, TypeError):  # none, or torn
            return []
        return rows if isinstance(rows, list) else []
