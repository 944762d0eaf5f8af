"""What a model is for: the kind of task, its labels, and how quality is measured.

Plain values only: the device reads them out of the bundle, without torch or pydantic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

TaskKind = Literal["text-classification", "sentence-embedding"]
Problem = Literal["single-label", "multi-label", "regression"]
Activation = Literal["", "identity", "sigmoid"]


# How token vectors become one: the first, the last, the largest, the mean, the sum over the root of the length, the
# mean weighted by place.
POOLINGS = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")


@dataclass(frozen=True)
class Task:
    """What a model is for.

    Attributes:
        kind: the task's name, as on the command line.
        problem: how labels exclude each other; only for text classification.
        labels: label names in the order of the logits; for regression mostly one name.
        pair: whether the model reads two texts at once (paraphrase, entailment, reranking).
        pooling: how token vectors become one sentence vector: one of `POOLINGS`, or several joined by `+`, whose
            vectors stand side by side; only for embeddings, like all that follow but the last.
        normalize: whether sentence vectors are scaled to length one.
        head: the layers between pooling and that, in words, such as `Dense 64 to 16, Tanh`; their weights are the
            model's.
        dimensions: how many of a vector's values are kept, from the first on (Matryoshka); None: all.
        prompt: what stands before every text.
        activation: what a regression's values go through at the end: "sigmoid", or nothing ("identity" where the model
            says so, else "").
    """

    kind: TaskKind
    problem: Problem = "single-label"
    labels: tuple[str, ...] = ()
    pair: bool = False
    pooling: str = "mean"
    normalize: bool = True
    head: tuple[str, ...] = ()
    dimensions: int | None = None
    prompt: str = ""
    activation: Activation = ""

    @property
    def poolings(self) -> tuple[str, ...]:
        """The single ways of pooling, in the order of their vectors."""
        return tuple(self.pooling.split("+"))

    @property
    def output_name(self) -> str:
        """The name of the graph's one output."""
        return "embedding" if self.kind == "sentence-embedding" else "logits"

    @property
    def metric(self) -> str:
        """The one number by which two models of this task are compared; higher is better."""
        if self.kind == "sentence-embedding" or self.problem == "regression":
            return "spearman"
        return "micro_f1" if self.problem == "multi-label" else "accuracy"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self) | {"labels": list(self.labels), "head": list(self.head)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Task:
        """The inverse of `to_dict`."""
        known = {name: values[name] for name in cls.__dataclass_fields__ if name in values}
        return cls(**(known | {name: tuple(values.get(name, ())) for name in ("labels", "head")}))

    def prompted(self, texts: Sequence[Any]) -> list[Any]:
        """Texts as the model reads them: each behind the prompt."""
        return [self.prompt + text for text in texts] if self.prompt else list(texts)

    @classmethod
    def from_config(cls, config: dict[str, Any], *, pair: bool = False) -> Task:
        """The task that a Hugging Face config.json stands for: a classifier's labels, or an encoder without a head.

        `pair` cannot be read from a configuration: the data says it.

        Raises:
            ModelError: a head that edgelm does not know, or labels that contradict each other.
        """
        from edgelm.model_folder.config import read_task  # a device reads no configurations

        return replace(read_task(config), pair=pair)
