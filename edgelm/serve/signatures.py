"""For each kind of task, the tensors that a request has and that a response gets.

| task | inputs | outputs |
|---|---|---|
| text classification | text (of pairs also text_pair) | label, score, scores, logits |
| several labels may fit | text | fits, scores, logits |
| regression | text | score (of several values scores), logits |
| sentence embedding | text | embedding |
| token classification | text | entities, as JSON |
| question answering | question, context | answer, score, start, end, best (as JSON) |
| multiple choice | text, choices | choice, index, score, scores |
| fill-mask | text | masks, as JSON |

Every text and everything written as JSON is BYTES; numbers are FP32, places in a text INT64.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgelm.runtime.inputs.samples import check_sample
from edgelm.runtime.manifest import Manifest
from edgelm.serve.batching import Answered
from edgelm.serve.tensors import BOOL, BYTES, FP32, INT64, Tensor
from edgelm.tasks.task import Task, TaskKind

_PAIRS: dict[TaskKind, tuple[str, str]] = {"question-answering": ("question", "context")}


@dataclass(frozen=True)
class Output:
    """An output, and what of an answer stands in it: a value, or a list of them where it has two axes."""

    tensor: Tensor
    value: Callable[[Answered], Any]


@dataclass(frozen=True)
class Signature:
    """What a model of a task reads and gives."""

    task: Task
    inputs: tuple[Tensor, ...]
    outputs: tuple[Output, ...]

    def samples(self, texts: Mapping[str, Sequence[Any]]) -> list[Any]:
        """The samples that inputs of these names make, as `edgelm.runtime.model.Model` reads them.

        Raises:
            UsageError, DataError: as `edgelm.runtime.inputs.samples.check_sample`.
        """
        rows = zip(*(texts[tensor.name] for tensor in self.inputs), strict=True)
        made = [tuple(tuple(part) if isinstance(part, list) else part for part in row) for row in rows]
        return [check_sample(self.task, row if len(row) > 1 else row[0]) for row in made]

    def tensors(self, answers: Sequence[Answered], names: Sequence[str]) -> list[dict[str, Any]]:
        """A response's outputs of these names."""
        found = []
        for output in self.outputs:
            if output.tensor.name in names:
                rows = [output.value(answered) for answered in answers]
                shape, data = [len(rows)], rows
                if len(output.tensor.shape) == 2:
                    widths = {len(row) for row in rows}
                    shape = [len(rows), widths.pop() if len(widths) == 1 else 0]
                    data = [value for row in rows for value in row]
                found.append({**output.tensor.to_dict(), "shape": shape, "data": data})
        return found


def signature_of(manifest: Manifest) -> Signature:
    """The signature of a model that writes no text."""
    return Signature(manifest.task, _inputs(manifest.task), _OUTPUTS[manifest.task.kind](manifest))


def _inputs(task: Task) -> tuple[Tensor, ...]:
    if task.kind == "multiple-choice":
        return Tensor("text", BYTES), Tensor("choices", BYTES, (-1, -1))
    names = _PAIRS.get(task.kind, ("text", "text_pair")) if task.pair else ("text",)
    return tuple(Tensor(name, BYTES) for name in names)


def _class_outputs(manifest: Manifest) -> tuple[Output, ...]:
    task = manifest.task
    count = len(task.labels)
    logits = _output("logits", FP32, lambda found: _listed(found.row), width=max(count, 1))
    scores = _output("scores", FP32, lambda found: [*found.answer["scores"].values()], width=count)
    score = _key("score", FP32)
    if task.output == "values":
        return (scores if count > 1 else score, logits)
    if task.output == "binary":
        return (_output("fits", BOOL, lambda found: _fits(found, task.labels), width=count), scores, logits)
    return (_key("label", BYTES), score, scores, logits)


def _vector_outputs(manifest: Manifest) -> tuple[Output, ...]:
    last = manifest.outputs[0].shape[-1] if manifest.outputs[0].shape else None
    width = last if isinstance(last, int) else -1
    return (_output("embedding", FP32, lambda found: found.answer["embedding"], width=width),)


def _span_outputs(manifest: Manifest) -> tuple[Output, ...]:
    places = (_key("start", INT64), _key("end", INT64))
    return (_key("answer", BYTES), _key("score", FP32), *places, _key("best", BYTES, as_json=True))


def _choice_outputs(manifest: Manifest) -> tuple[Output, ...]:
    scores = _output("scores", FP32, lambda found: found.answer["scores"], width=-1)
    return (_key("choice", BYTES), _key("index", INT64), _key("score", FP32), scores)


_OUTPUTS: dict[TaskKind, Callable[[Manifest], tuple[Output, ...]]] = {
    "text-classification": _class_outputs,
    "sentence-embedding": _vector_outputs,
    "token-classification": lambda manifest: (_key("entities", BYTES, as_json=True),),
    "question-answering": _span_outputs,
    "multiple-choice": _choice_outputs,
    "fill-mask": lambda manifest: (_key("masks", BYTES, as_json=True),),
}


def _output(name: str, datatype: str, value: Callable[[Answered], Any], *, width: int | None = None) -> Output:
    return Output(Tensor(name, datatype, (-1,) if width is None else (-1, width)), value)


def _key(name: str, datatype: str, *, as_json: bool = False) -> Output:
    """What an answer has under this name."""
    if as_json:
        return _output(name, datatype, lambda found: json.dumps(found.answer[name], ensure_ascii=False))
    return _output(name, datatype, lambda found: found.answer[name])


def _fits(found: Answered, labels: Sequence[str]) -> list[bool]:
    fitting = set(found.answer["labels"])
    return [label in fitting for label in labels]


def _listed(row: Any) -> list[float]:
    return [] if row is None else [float(value) for value in row]
