"""A model's outputs against the labels of a data set, and against another model's: the metrics of each kind of task."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgelm.data.dataset import Dataset
from edgelm.data.encoding import NO_CLASS, Encoded
from edgelm.metrics.pieces import Pieces, same_choices, target_places
from edgelm.metrics.scores import agreement, pair_similarity, score
from edgelm.metrics.spans import span_scores
from edgelm.metrics.squad import answer_scores
from edgelm.runtime.answers.entities import OUTSIDE
from edgelm.runtime.answers.spans import read_spans
from edgelm.runtime.inputs.batch import Context
from edgelm.tasks.task import Task
from edgelm.tasks.text import FillMask, QuestionAnswering


@dataclass(frozen=True)
class Predictions:
    """A model's outputs for a data set.

    Attributes:
        rows: (rows, width) float32, the rows that count: one a sample in the order of the data, or those of the first
            sequence, of the second, and so on; of sentence vectors of pairs, those of the first texts and then those of
            the second; of a generator two values, the likeliest token and the loss on the right one.
        encoded: the sequences that they are of.
        pieces: what the tokens stand for, of a generator; None: not known.
    """

    rows: np.ndarray
    encoded: Encoded
    pieces: Pieces | None = None


def judge(task: Task, made: Predictions, dataset: Dataset) -> dict[str, float]:
    """Metrics by name; `task.metric` is always among them.

    Args:
        dataset: the samples, with labels as the task has them.
    """
    labels = dataset.labels or ()
    if task.schema == "words":
        found = [row[: len(tags or ())] for row, tags in zip(_tags(task, made, dataset), labels, strict=True)]
        return span_scores([[task.labels[tag] for tag in tags or ()] for tags in labels], found)
    if task.schema == "answers":
        wanted = [[text for text, _ in answers or ()] for answers in labels]
        return answer_scores(_answers(task, made, dataset), wanted)
    if isinstance(task, FillMask):
        return _masked_accuracy(made)
    if task.generates:
        return _likelihoods(made)
    if task.output == "vectors":
        return score(task, pair_similarity(*np.split(made.rows, 2)), labels)
    return score(task, made.rows, labels)


def _masked_accuracy(made: Predictions) -> dict[str, float]:
    """The share of masks whose likeliest token is the one that stood there; 0 where it is not known of any."""
    wanted = _wanted(made)
    known = wanted != NO_CLASS
    right = made.rows.argmax(axis=1)[known] == wanted[known]
    return {"accuracy": float(right.mean()) if right.size else 0.0}


def _wanted(made: Predictions) -> np.ndarray:
    """(rows,) the token that each row should name."""
    pairs = zip(made.encoded.counted, made.encoded.originals, strict=True)
    return np.asarray([token for row, own in pairs for counts, token in zip(row, own, strict=True) if counts])


def _likelihoods(made: Predictions) -> dict[str, float]:
    """Of all tokens of the targets alike, each given those before it: the mean logarithm of their probability, its
    negative's exponential, and the share of them that were the likeliest. And the exponential of the loss of a byte of
    their text, which is comparable between models with other tokens."""
    likeliest, losses = made.rows.astype(np.float64).T
    loss = float(losses.mean()) if losses.size else 0.0
    right = float((likeliest == _wanted(made)).mean()) if losses.size else 0.0
    found = {"log_likelihood": -loss, "perplexity": float(np.exp(loss)), "token_accuracy": right}
    if made.pieces is not None and losses.size:
        size = int(made.pieces.sizes[_wanted(made)].sum())
        found["byte_perplexity"] = float(np.exp(losses.sum() / max(size, 1)))
    return found


def agree(task: Task, made: Predictions, reference: Predictions, dataset: Dataset) -> float:
    """How often, or how closely, outputs agree with those of another model for the same samples; 1 for always.

    Of words the share of equal tags, of questions that of equal answers: two models may cut a text into other tokens.
    Those of generators are compared where both have one that begins there.
    """
    if made.pieces is not None and reference.pieces is not None and made.pieces.names != reference.pieces.names:
        packed = task.own_targets and dataset.labels is None and all(isinstance(text, str) for text in dataset.texts)
        return same_choices(_choices(made, made.pieces, packed), _choices(reference, reference.pieces, packed))
    reader = _READERS.get(task.schema)
    if reader is None:
        return agreement(task, made.rows, reference.rows)
    pairs = zip(reader(task, made, dataset), reader(task, reference, dataset), strict=True)
    same = [
        one == other
        for own, others in pairs
        for one, other in (zip(own, others, strict=True) if isinstance(own, list) else ((own, others),))
    ]
    return float(np.mean(same)) if same else 1.0


def _tags(task: Task, made: Predictions, dataset: Dataset) -> list[list[str]]:
    """The tag of every word."""
    encoded = made.encoded
    best = iter(made.rows.argmax(axis=1).tolist())
    found: list[list[str]] = []
    for text, words in zip(dataset.texts, encoded.words, strict=True):
        places = {word: task.labels[next(best)] for word in words if word >= 0}
        count = max(places, default=-1) + 1 if isinstance(text, str) else len(text)
        found.append([places.get(word, OUTSIDE) for word in range(count)])  # behind the cut: none
    return found


def _answers(task: Task, made: Predictions, dataset: Dataset) -> list[str]:
    """The best answer to every question; an empty one where there is none."""
    assert isinstance(task, QuestionAnswering)
    encoded = made.encoded
    context = Context(tuple(dataset.inputs()), tuple(encoded.owner), tuple(encoded.windows))
    logits = made.rows.reshape(len(encoded), 2, -1).transpose(0, 2, 1)
    return [answer["answer"] for answer in read_spans(task, logits, context)]


def _likeliest(task: Task, made: Predictions, dataset: Dataset) -> list[float]:
    """The token that a generator would write at each place of the targets."""
    found: list[float] = made.rows[:, 0].tolist()
    return found


def _choices(made: Predictions, pieces: Pieces, packed: bool) -> tuple[list[tuple[int, int, str]], list[str]]:
    """Where the targets stand, and the likeliest token at each."""
    names = [pieces.names[int(token)] if token < len(pieces.names) else "" for token in made.rows[:, 0]]
    return target_places(made.encoded, pieces, packed=packed), names


_READERS: dict[str, Callable[[Task, Predictions, Dataset], list[Any]]] = {
    "words": _tags,
    "answers": _answers,
    "prompts": _likeliest,
    "targets": _likeliest,
}


def token_nats(metrics: Mapping[str, float], original: Mapping[str, float]) -> float:
    """What a token of the original model loses, in nats, by the metrics of a model whose tokens may be others: by what
    a byte loses, where that is known of both."""
    if "byte_perplexity" not in metrics or "byte_perplexity" not in original:
        return math.log(metrics["perplexity"])
    return (
        math.log(metrics["byte_perplexity"]) * math.log(original["perplexity"]) / math.log(original["byte_perplexity"])
    )
