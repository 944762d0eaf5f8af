"""The front matter of a card: licence, origin, language, task and metrics, as Hugging Face's hub reads them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from edgelm.cards.judged_rows import role_of
from edgelm.lines import plain_text
from edgelm.markdown import escaped
from edgelm.model_folder.card import OTHER
from edgelm.model_folder.card import ModelCard as Origin
from edgelm.tasks.task import Task

_PIPELINES = {"sentence-embedding": "sentence-similarity"}  # tasks that the hub calls otherwise
_SPLITS = {"dev": "validation"}


def render_card(
    lines: Sequence[str],
    *,
    name: str,
    origin: Origin,
    task: Task,
    library: str,
    tags: Sequence[str],
    results: Sequence[EvalResult] = (),
) -> str:
    """The text of a card.

    Args:
        lines: what stands below the front matter, in Markdown; words of strangers among them are `escaped`.
        name: of the model.
        origin: what the card of the model that it was made from says.
        library: that loads it.
        tags: that it is found by on the hub, beside those of every card.
        results: metrics and the rows that they are of.
    """
    unlisted = origin.unlisted and origin.licence != OTHER
    data = ModelCardData(
        license=(OTHER if origin.unlisted else origin.licence) or None,
        license_name=origin.licence if unlisted else None,
        license_link=origin.link or None,
        language=list(origin.languages) or None,
        base_model=list(origin.hub_ids) or None,
        library_name=library,
        pipeline_tag=_pipeline(task),
        tags=["edgelm", *tags],
        metrics=list(dict.fromkeys(result.metric_type for result in results)) or None,
        model_name=name if results else None,
        eval_results=list(results) or None,
    )
    text = plain_text("\n".join(lines))
    return str(ModelCard(f"---\n{data.to_yaml()}\n---\n\n{text}"))


def eval_results(
    task: Task, lineage: Mapping[str, Any], metrics: Mapping[str, float], source: str, sha256: str | None = None
) -> list[EvalResult]:
    """Metrics on one set of rows, for a card's index; those that are no number are left out.

    Args:
        lineage: of the model, which says what the rows were to it.
        source: of the rows.
    """
    role = role_of(lineage, source, sha256)
    return [
        EvalResult(
            task_type=_pipeline(task),
            dataset_type=source,
            dataset_name=source,
            dataset_split=_SPLITS.get(role, role),
            metric_type=name,
            metric_value=round(value, 6),
        )
        for name, value in metrics.items()
        if math.isfinite(value)
    ]


def licence_words(origin: Origin) -> str:
    """Where the model comes from and under which licence, as a sentence."""
    named = origin.licence if origin.licence != OTHER else ""
    licence = f"The original's licence: {named}." if named else "The original's card names no licence."
    link = f" Its text: {origin.link}." if origin.link else ""
    bases = f" Its base model: {', '.join(origin.base_models)}." if origin.base_models else ""
    return escaped(licence + link + bases)


def _pipeline(task: Task) -> str:
    return _PIPELINES.get(task.kind, task.kind)
