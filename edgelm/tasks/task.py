"""What a model is for: one class a kind of task, each saying what a model reads, what it gives and how that is judged.

Plain values only: the device reads them out of the bundle, without torch or pydantic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

TaskKind = Literal[
    "text-classification",
    "sentence-embedding",
    "token-classification",
    "question-answering",
    "multiple-choice",
    "fill-mask",
    "text-generation",
    "translation",
    "summarization",
]
Problem = Literal["single-label", "multi-label", "regression"]
Activation = Literal["", "identity", "sigmoid"]
Output = Literal["classes", "binary", "values", "vectors"]
Per = Literal["sample", "token", "position"]


@dataclass(frozen=True)
class Task:
    """What a model is for; the kinds are in `edgelm.tasks.text` and `edgelm.tasks.generation`, and `edgelm.tasks.table`
    lists them.

    A task is described by the rows that count in a model's output. A classifier of texts gives one row of logits a
    sample; one of tokens gives one for each first sub-token of a word; a question answerer two a sequence, over the
    positions where an answer may begin and end; a generator one for each token of its target. Losses, distillation,
    pruning and quantization read those rows alone.

    Attributes:
        kind: the task's name, as on the command line: Hugging Face's, where it has one.
        per: what gives a row: the sample, a token, or all positions of a sequence.
        architecture: the ending of the class in transformers that computes it, such as `ForSequenceClassification`;
            `Model` for an encoder without a head.
        output_names: the outputs of the graph, as transformers names them.
        schema: which columns its data has, see `edgelm.data.schemas`.
        own_targets: whether the targets are tokens of the texts themselves, so that rows need no labels.
        generates: whether the model writes texts, see `edgelm.tasks.generation.Generation`.
    """

    kind: ClassVar[TaskKind]
    per: ClassVar[Per] = "sample"
    architecture: ClassVar[str] = "Model"
    output_names: ClassVar[tuple[str, ...]] = ("logits",)
    schema: ClassVar[str] = "text"
    own_targets: ClassVar[bool] = False
    generates: ClassVar[bool] = False

    @property
    def output(self) -> Output:
        """What a row is: logits of classes that exclude each other, logits of labels that do not, values, or a
        vector."""
        return "classes"

    @property
    def metric(self) -> str:
        """The one number by which two models of this task are compared; higher is better."""
        return "accuracy"

    @property
    def selection(self) -> str:
        """The metric by which training keeps its best state; higher is better."""
        return self.metric

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of a row's values, in order; empty where they have none."""
        return ()

    @property
    def pair(self) -> bool:
        """Whether the model reads two texts in one sequence."""
        return False

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; the inverse is `edgelm.tasks.table.task_from_dict`."""
        return {"kind": self.kind} | _listed(asdict(self))

    def read_by(self, tokenizer: Any) -> Task:
        """The task with what only the model's tokenizer can say of it."""
        return self

    def prompted(self, texts: Sequence[Any]) -> list[Any]:
        """Texts as the model reads them: each behind the prompt, where there is one."""
        return list(texts)


def _listed(values: dict[str, Any]) -> dict[str, Any]:
    """Tuples as lists, at any depth of dictionaries."""
    lists = {name: list(value) for name, value in values.items() if isinstance(value, tuple)}
    return values | lists | {name: _listed(value) for name, value in values.items() if isinstance(value, dict)}
