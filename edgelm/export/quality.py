"""The metrics of a checkpoint and of its graph, on the same labelled rows."""

from __future__ import annotations

from typing import Any

from edgelm.data.dataset import Dataset
from edgelm.export.parity import graph_outputs, torch_outputs
from edgelm.export.source import Source
from edgelm.metrics.scores import pair_similarity, score
from edgelm.tasks.text import SentenceEmbedding


def measure_quality(session: Any, source: Source, evaluation: Dataset) -> dict[str, Any]:
    """The task's metrics of the checkpoint and of the graph, on the same rows."""

    def judge(outputs_of: Any) -> dict[str, float]:
        if isinstance(source.task, SentenceEmbedding) and evaluation.pairs is not None:
            outputs = pair_similarity(outputs_of(evaluation.texts), outputs_of(evaluation.pairs))
        else:
            outputs = outputs_of(evaluation.inputs())
        return score(source.task, outputs, evaluation.labels or ())

    length = source.max_length
    return {
        "samples": len(evaluation),
        "source": evaluation.source,
        "checkpoint": judge(
            lambda texts: torch_outputs(source.model, source.tokenizer, source.task, texts, max_length=length)
        ),
        "bundle": judge(lambda texts: graph_outputs(session, source.tokenizer, source.task, texts, max_length=length)),
    }
