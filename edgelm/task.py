"""What a model is for: the kind of task, its labels, and how quality is measured.

Plain values only: the device reads them out of the bundle, without torch or pydantic.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from edgelm.errors import UsageError

TaskKind = Literal["text-classification", "sentence-embedding"]
Problem = Literal["single-label", "multi-label", "regression"]
Pooling = Literal["mean", "cls"]

KINDS: tuple[TaskKind, ...] = ("text-classification", "sentence-embedding")

# The names that Hugging Face configurations use for the same three problems.
_PROBLEM_TYPES: dict[str, Problem] = {
    "single_label_classification": "single-label",
    "multi_label_classification": "multi-label",
    "regression": "regression",
}


@dataclass(frozen=True)
class Task:
    """What a model is for.

    Attributes:
        kind: the task's name, as on the command line.
        problem: how labels exclude each other; only for text classification.
        labels: label names in the order of the logits; for regression one name.
        pair: whether the model reads two texts at once (paraphrase, entailment, reranking).
        pooling: how token vectors become one sentence vector; only for embeddings.
        normalize: whether sentence vectors are scaled to length one; only for embeddings.
    """

    kind: TaskKind
    problem: Problem = "single-label"
    labels: tuple[str, ...] = ()
    pair: bool = False
    pooling: Pooling = "mean"
    normalize: bool = True

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
        return asdict(self) | {"labels": list(self.labels)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Task:
        """The inverse of `to_dict`."""
        known = {name: values[name] for name in cls.__dataclass_fields__ if name in values}
        return cls(**(known | {"labels": tuple(values.get("labels", ()))}))

    @classmethod
    def from_config(cls, config: dict[str, Any], *, pair: bool = False) -> Task:
        """The task that a Hugging Face config.json stands for: a classifier's labels, or an encoder without a head.

        `pair` cannot be read from a configuration: the data says it.
        """
        architecture = (config.get("architectures") or [""])[0]
        if "SequenceClassification" not in architecture:
            return cls(kind="sentence-embedding")
        names = config.get("id2label") or {}
        count = int(config.get("num_labels") or len(names) or 2)
        labels = tuple(str(names.get(str(i), names.get(i, f"LABEL_{i}"))) for i in range(count))
        problem = _PROBLEM_TYPES.get(config.get("problem_type") or "", "regression" if count == 1 else "single-label")
        return cls(kind="text-classification", problem=problem, labels=labels, pair=pair)


def parse_kind(name: str) -> TaskKind:
    """The task kind of this name.

    Raises:
        UsageError: no such task; the known ones are listed.
    """
    for kind in KINDS:
        if kind == name:
            return kind
    raise UsageError(f"unknown task {name!r}.", hint=f"Tasks: {', '.join(KINDS)}.")
