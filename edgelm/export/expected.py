"""What transformers itself answers: AutoTokenizer, the model as plain transformers loads it, and its text
classification pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel, pipeline

from edgelm.anatomy import model_outputs
from edgelm.export.parity import encode
from edgelm.tasks.task import Task
from edgelm.tasks.text import SentenceEmbedding, TextClassification


@dataclass(frozen=True)
class Expected:
    """Texts, one by one, through transformers' own door.

    Attributes:
        texts: those that become tokens.
        feeds: the inputs of each, (1, tokens) each.
        outputs: (texts, labels) logits or (texts, width) sentence vectors.
        scores: by label and text, as the pipeline says them; empty for sentence encoders.
    """

    texts: list[Any]
    feeds: list[dict[str, np.ndarray]]
    outputs: np.ndarray
    scores: list[dict[str, float]]


def expected_answers(
    model: PreTrainedModel, tokenizer: Any, task: Task, texts: Sequence[Any], *, max_length: int
) -> Expected:
    """Ask transformers; texts that become no token are left out, since a model cannot read nothing."""
    feeds = [encode(tokenizer, task, [text], max_length=max_length) for text in texts]
    kept = [index for index, feed in enumerate(feeds) if feed["input_ids"].shape[1]]
    texts, feeds = [texts[index] for index in kept], [feeds[index] for index in kept]
    if isinstance(task, SentenceEmbedding):
        return Expected(texts, feeds, np.stack([_vector(model, task, feed) for feed in feeds]), [])
    pipe: Any = pipeline("text-classification", model=model, tokenizer=tokenizer, device="cpu")
    function = _activation(task) if isinstance(task, TextClassification) else {}
    outputs, scores = [], []
    for feed in feeds:
        made = pipe.forward({name: torch.from_numpy(values) for name, values in feed.items()})
        outputs.append(made["logits"][0].float().numpy())
        said = pipe.postprocess(made, top_k=None, _legacy=False, **function)
        scores.append({str(entry["label"]): entry["score"] for entry in said})
    return Expected(texts, feeds, np.stack(outputs), scores)


def _activation(task: TextClassification) -> dict[str, Any]:
    """What a regression's values go through, where a cross-encoder says so: the pipeline does not know of that."""
    if task.problem != "regression":
        return {}
    from transformers.pipelines.text_classification import ClassificationFunction

    squashed = task.activation == "sigmoid"
    return {"function_to_apply": ClassificationFunction.SIGMOID if squashed else ClassificationFunction.NONE}


def _vector(model: PreTrainedModel, task: SentenceEmbedding, feed: dict[str, np.ndarray]) -> np.ndarray:
    """The sentence vector of one text: pooled in NumPy, unless layers of the model's own follow."""
    inputs = {name: torch.from_numpy(values) for name, values in feed.items()}
    with torch.inference_mode():
        if task.head:
            return np.asarray(model_outputs(model, task, inputs)[0][0].numpy())
        tokens = np.asarray(model(**inputs).last_hidden_state[0].numpy(), dtype=np.float64)
    vector = np.concatenate([_pool(tokens, way) for way in task.pooling.split("+")])
    if task.normalize:
        vector = vector / np.linalg.norm(vector)
    return vector[: task.dimensions].astype(np.float32)


def _pool(tokens: np.ndarray, way: str) -> np.ndarray:
    """(tokens, hidden) of one text to (hidden,)."""
    places = np.arange(1, len(tokens) + 1)
    ways: dict[str, Any] = {
        "cls": lambda: tokens[0],
        "lasttoken": lambda: tokens[-1],
        "max": lambda: tokens.max(axis=0),
        "mean": lambda: tokens.mean(axis=0),
        "mean_sqrt_len_tokens": lambda: tokens.sum(axis=0) / np.sqrt(len(tokens)),
        "weightedmean": lambda: (places @ tokens) / places.sum(),
    }
    vector: np.ndarray = ways[way]()
    return vector
