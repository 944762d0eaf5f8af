"""On which rows a figure of a bundle was measured: dev, on which choices were made, and test are told apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def dev_metrics(lineage: Mapping[str, Any]) -> tuple[dict[str, float], dict[str, float]]:
    """Of the original and of the compressed checkpoint, on the rows that compression judged by; empty where there was
    none. A fine-tuning at the beginning is not part of it: what it made is the original."""
    stages = [stage for stage in lineage.get("stages") or [] if stage["before"]]
    return (stages[0]["before"], stages[-1]["after"]) if stages else ({}, {})


def role_of(lineage: Mapping[str, Any], source: str, sha256: str | None = None) -> str:
    """What rows were to a model: `train` or `dev`, if its lineage says that it learnt from them or was judged by them
    on the way, and else `test`."""
    for name, entry in (lineage.get("data") or {}).items():
        if entry.get("source") == source or (sha256 and entry.get("sha256") == sha256):
            return {"eval": "dev"}.get(name, name)
    return "test"


def rows_words(lineage: Mapping[str, Any], source: str, count: int | None, sha256: str | None = None) -> str:
    """A set of rows in words: its role, its source and how many they are."""
    number = "" if count is None else f", {count:,} rows"
    return f"{role_of(lineage, source, sha256)}: {source}{number}"
