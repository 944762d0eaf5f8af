"""What onnxruntime really runs of a graph on this machine, and how long each operator takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgelm.profile.generation.worker import NEXT
from edgelm.profile.inputs import find_texts, make_feeds
from edgelm.profile.interleave import WorkerClient
from edgelm.profile.subject import find_subject

RUNS = 50
_CONTEXT = 8  # tokens of the made-up text of a model that writes
_TOKENS = 32  # of the made-up text that a graph without a bundle is given


def measure_operators(path: str | Path) -> list[dict[str, Any]]:
    """Nodes and time by operator, after onnxruntime's own optimizations, the slowest first.

    A bundle runs its golden samples, that of a model that writes single tokens, an ONNX file 32 equal tokens.

    Raises:
        EdgelmError: onnxruntime cannot load it here, or it takes other inputs than text gives.
    """
    subject = find_subject(path)
    feeds: list[dict[str, Any]]
    if subject.generates:
        feeds = [{"measure": NEXT, "tokens": _CONTEXT}]
    elif subject.kind == "bundle":
        feeds = make_feeds([subject], find_texts([subject], None), [(1, None)])[0][0]
    else:
        ones = [[1] * _TOKENS]
        feeds = [{"input_ids": ones, "attention_mask": ones, "token_type_ids": [[0] * _TOKENS]}]
    worker = WorkerClient(subject, threads=None)
    try:
        worker.ask("prepare", feeds=feeds)
        rows: list[dict[str, Any]] = worker.ask("operators", runs=RUNS)["operators"]
    finally:
        worker.close()
    return rows
