"""Reranking: texts in the order in which they fit a query, by a model that reads both at once (a cross-encoder)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgelm.errors import UsageError
from edgelm.runtime.answers.classes import class_width
from edgelm.runtime.model import Model
from edgelm.tasks.text import TextClassification


def rank(
    model: Model, query: str, texts: Sequence[str], *, top: int | None = None, batch_size: int = 32
) -> list[dict[str, Any]]:
    """The texts that fit a query best, the best first.

    Texts of like length are read together, so that little padding is read with them.

    Args:
        model: of pairs of texts, with one value a pair.
        top: how many to keep; None: all.
        batch_size: how many texts the model reads at once.

    Returns:
        for each text its `text`, its `score` and its `index` among those that were given.

    Raises:
        UsageError: the model gives something else; an empty query; a size of less than one.
    """
    task = model.manifest.task
    if not (isinstance(task, TextClassification) and task.pair and class_width(task) == 1):
        raise UsageError(
            "ranking needs a model that reads two texts and gives them one score; this one is of "
            f"{task.kind}{f' with {len(task.labels)} labels' if task.labels else ''}.",
            hint="Export a cross-encoder that was trained for reranking, with one output.",
        )
    if not query.strip():
        raise UsageError("the query is empty.", hint='Give one: --query "what to look for".')
    if batch_size < 1 or (top is not None and top < 1):
        raise UsageError("batch_size and top are at least one.", hint="Leave them out for their defaults.")
    order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
    scores: dict[int, float] = {}
    for start in range(0, len(order), batch_size):
        places = order[start : start + batch_size]
        answers = model([(query, texts[index]) for index in places])
        scores |= {index: answer["score"] for index, answer in zip(places, answers, strict=True)}
    best = sorted(range(len(texts)), key=lambda index: -scores[index])
    return [{"text": texts[index], "score": scores[index], "index": index} for index in best[:top]]
