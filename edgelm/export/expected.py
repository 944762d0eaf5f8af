"""What transformers itself answers: AutoTokenizer, the model as plain transformers loads it, and its pipelines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel, pipeline

from edgelm.anatomy import TaskModel
from edgelm.export.samples import Feeds, Samples, encode, join_outputs
from edgelm.metrics.rows import stack_rows
from edgelm.tasks.task import Task
from edgelm.tasks.text import SentenceEmbedding, TextClassification, TokenClassification


@dataclass(frozen=True)
class Expected:
    """Samples, one by one, through transformers' own door.

    Attributes:
        samples: those that become tokens, encoded.
        outputs: of each sample what the model gives, (sequences, labels), (sequences, width), (sequences, tokens,
            labels), or (sequences, tokens, 2) for an answer's start and end.
        answers: of each sample what the pipeline says; empty where transformers has none for the task.
    """

    samples: Samples
    outputs: list[np.ndarray]
    answers: list[Any]

    @property
    def texts(self) -> Sequence[Any]:
        """The samples as they were given."""
        return self.samples.texts

    def feeds(self) -> list[Feeds]:
        """The inputs of each sample alone, (sequences, tokens)."""
        return [self.samples.feed(part) for part in self.samples.encoded.parts]

    def rows(self, outputs: Sequence[np.ndarray]) -> np.ndarray:
        """(rows, width): what counts in outputs for these samples; of several choices one row a sample."""
        parts = zip(outputs, self.samples.encoded.parts, strict=True)
        return self.samples.by_choice(stack_rows([self.samples.read([found], part) for found, part in parts]))


def expected_answers(source: TaskModel, texts: Sequence[Any]) -> Expected:
    """Ask transformers; texts that become no token are left out, since a model cannot read nothing."""
    model, task = source.model, source.task
    samples = encode(source.tokenizer, task, texts, max_length=source.max_length)
    empty = {owner for owner, length in zip(samples.encoded.owner, samples.encoded.lengths, strict=True) if not length}
    if empty:
        texts = [text for number, text in enumerate(texts) if number not in empty]
        samples = encode(source.tokenizer, task, texts, max_length=source.max_length)
    feeds = Expected(samples, [], []).feeds()
    if isinstance(task, SentenceEmbedding):
        return Expected(samples, [_vector(source, task, feed)[None] for feed in feeds], [])
    if isinstance(task, TextClassification):
        return Expected(samples, *_scores(source, task, feeds))
    outputs = [_outputs(model, task, feed) for feed in feeds]
    return Expected(samples, outputs, _entities(source, texts))


def _outputs(model: PreTrainedModel, task: Task, feed: Feeds) -> np.ndarray:
    """What the model's own class gives for a sample's sequences."""
    shape = (1, *feed["input_ids"].shape) if task.schema == "choices" else feed["input_ids"].shape
    with torch.inference_mode():
        out: Any = model(**{name: torch.from_numpy(values).view(shape) for name, values in feed.items()})
    found = [getattr(out, name).float().numpy() for name in task.output_names]
    return found[0].T if task.schema == "choices" else join_outputs(found)


def _entities(source: TaskModel, texts: Sequence[Any]) -> list[Any]:
    """The spans that transformers' pipeline finds in each text; None for words that stand alone, which it does not
    read, and for texts that are longer than the model."""
    task, tokenizer = source.task, source.tokenizer
    if not isinstance(task, TokenClassification):
        return []
    pipe: Any = pipeline(
        "token-classification",
        model=source.model,
        tokenizer=tokenizer,
        device="cpu",
        aggregation_strategy=task.aggregation,
    )
    return [
        pipe(text)
        if isinstance(text, str) and text and len(tokenizer(text, verbose=False)["input_ids"]) <= source.max_length
        else None
        for text in texts
    ]


def _scores(source: TaskModel, task: TextClassification, feeds: Sequence[Feeds]) -> tuple[list[np.ndarray], list[Any]]:
    """Logits of each text, and the pipeline's scores by label."""
    pipe: Any = pipeline("text-classification", model=source.model, tokenizer=source.tokenizer, device="cpu")
    function = _activation(task)
    outputs, scores = [], []
    for feed in feeds:
        made = pipe.forward({name: torch.from_numpy(values) for name, values in feed.items()})
        outputs.append(made["logits"].float().numpy())
        said = pipe.postprocess(made, top_k=None, _legacy=False, **function)
        scores.append({str(entry["label"]): entry["score"] for entry in said})
    return outputs, scores


def _activation(task: TextClassification) -> dict[str, Any]:
    """What a regression's values go through, where a cross-encoder says so: the pipeline does not know of that."""
    if task.problem != "regression":
        return {}
    from transformers.pipelines.text_classification import ClassificationFunction

    squashed = task.activation == "sigmoid"
    return {"function_to_apply": ClassificationFunction.SIGMOID if squashed else ClassificationFunction.NONE}


def _vector(source: TaskModel, task: SentenceEmbedding, feed: dict[str, np.ndarray]) -> np.ndarray:
    """The sentence vector of one text: pooled in NumPy, unless layers of the model's own follow."""
    inputs = {name: torch.from_numpy(values) for name, values in feed.items()}
    with torch.inference_mode():
        if task.head:
            return np.asarray(source.outputs(inputs)[0][0].numpy())
        tokens = np.asarray(source.model(**inputs).last_hidden_state[0].numpy(), dtype=np.float64)
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
