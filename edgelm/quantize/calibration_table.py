"""A calibration table: what was learnt from texts, kept in a file, so that the next export needs none."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from edgelm.errors import CalibrationError
from edgelm.field_types import check_types
from edgelm.files.output import staged_output
from edgelm.limits import read_json
from edgelm.quantize.histogram import BINS, Histogram
from edgelm.quantize.matmuls import find_matmuls
from edgelm.quantize.statistics import Statistics

_SCHEMA = 1


@dataclass(frozen=True)
class CalibrationTable:
    """Statistics and choices for one model.

    Attributes:
        model: fingerprint of the weights that it was made with.
        source: of the texts, with their number and how they were chosen.
        target: whose ranges were chosen.
        statistics: by activation: histogram, moving average and channels; without tokens.
        chosen: by site: option, and alpha where it was smoothed.
    """

    model: str
    source: dict[str, Any]
    target: str
    statistics: Mapping[str, Statistics]
    chosen: dict[str, dict[str, Any]] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write it as JSON.

        Raises:
            ResourceError: the disk is full.
        """
        values = {
            "edgelm_calibration": _SCHEMA,
            "model": self.model,
            "source": self.source,
            "target": self.target,
            "chosen": self.chosen,
            "statistics": {name: _to_dict(entry) for name, entry in self.statistics.items()},
        }
        with staged_output(path, overwrite=True) as aside:
            aside.write_text(json.dumps(values) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class _Written:
    """What the file holds beside the schema."""

    model: str
    source: dict[str, Any]
    target: str
    statistics: dict[str, dict[str, Any]]
    chosen: dict[str, dict[str, Any]]


def read_table(path: Path, *, model: str | None = None) -> CalibrationTable:
    """Read a table.

    Args:
        model: the fingerprint that it must have been made with; None: any.

    Raises:
        CalibrationError: not a table, broken, or of another model.
    """
    try:
        values = read_json(path.read_bytes(), str(path), error=CalibrationError)
        if values["edgelm_calibration"] != _SCHEMA:
            raise ValueError(f"schema {values['edgelm_calibration']}, expected {_SCHEMA}")
        check_types(_Written, values, str(path), error=CalibrationError)
        statistics = {name: _from_dict(entry) for name, entry in values["statistics"].items()}
        table = CalibrationTable(values["model"], values["source"], values["target"], statistics, values["chosen"])
    except (ArithmeticError, AttributeError, ValueError, KeyError, TypeError, IndexError, OSError) as error:
        raise CalibrationError(
            f"{path}: not a calibration table ({str(error)[:160]}).", hint="Delete it; the next export writes it again."
        ) from error
    if model is not None and table.model != model:
        raise CalibrationError(
            f"{path}: made with other weights than this model's.",
            hint="Give another --calibration-table, or delete it to calibrate again.",
        )
    return table


def fingerprint(graph: onnx.ModelProto) -> str:
    """SHA-256 over the weights of the products."""
    digest = hashlib.sha256()
    for product in find_matmuls(graph):
        digest.update(product.name.encode() + np.ascontiguousarray(product.weight).tobytes())
    return digest.hexdigest()


def _to_dict(entry: Statistics) -> dict[str, Any]:
    counts = entry.histogram.counts.astype(np.int64)
    full = np.flatnonzero(counts)
    first, last = (int(full[0]), int(full[-1]) + 1) if len(full) else (0, 0)
    return {
        "low": entry.histogram.low,
        "high": entry.histogram.high,
        "limit": entry.histogram.limit,
        "first_bin": first,
        "counts": counts[first:last].tolist(),
        "average": list(entry.average),
        "tokens": entry.tokens,
        "channel_low": [float(value) for value in entry.channel_low],
        "channel_high": [float(value) for value in entry.channel_high],
    }


def _from_dict(values: dict[str, Any]) -> Statistics:
    counts = np.zeros(2 * BINS)
    counts[values["first_bin"] : values["first_bin"] + len(values["counts"])] = values["counts"]
    ends = [float(value) for value in (values["low"], values["high"], values["limit"], *values["average"])]
    if not np.isfinite(ends).all():
        raise ValueError("a range is not finite")
    return Statistics(
        Histogram(ends[0], ends[1], ends[2], counts),
        (ends[3], ends[4]),
        np.asarray(values["channel_low"], dtype=np.float32),
        np.asarray(values["channel_high"], dtype=np.float32),
        int(values["tokens"]),
    )
