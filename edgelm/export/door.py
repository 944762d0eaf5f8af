"""The bundle as its user meets it: opened by `edgelm.runtime`, text in, answer out, compared with transformers' own
answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgelm.data.dataset import as_text
from edgelm.errors import DataError, ParityError
from edgelm.export.expected import Expected
from edgelm.metrics.scores import agreement
from edgelm.precision import precision_of
from edgelm.runtime import Model, load, open_bundle
from edgelm.runtime.inputs.batch import Batch
from edgelm.runtime.inputs.text import load_text_processor
from edgelm.runtime.provider import Opened
from edgelm.tasks.task import Task
from edgelm.tasks.text import FillMask

_BATCH = 8
_LONG = 100_000  # characters
_SCORES = 1e-5  # the pipeline's scores are FP32, the runtime's FP64
_KINDS = (
    "",
    " \t ",
    "\N{GRINNING FACE}",
    "今天天气很好，我们去公园。",
    "مرحبا بالعالم",
    "zero\0byte",
    "ᚠᛇᚻ ꙮ \U0001f9ff",
)


def hard_texts(texts: Sequence[Any], task: Task) -> list[Any]:
    """Texts that are easy to get wrong: empty, blank, an emoji, Chinese, Arabic, NUL, unknown letters, and 100,000
    characters of `texts`; as second texts of pairs too, both of them long in one, and as choices and contexts of a
    question, none of which may be empty."""
    words = as_text(texts).strip() or "long"
    found = [*_KINDS, (f"{words} " * (_LONG // len(words) + 1))[:_LONG]]
    if task.schema in ("choices", "answers"):
        found = [text for text in found if text.strip()]
    if isinstance(task, FillMask):  # at both ends: a long text is cut at one of them
        return [f"{task.mask_token} {text} {task.mask_token}" for text in found]
    after = [*found[1:], found[0]]
    if task.schema == "choices":
        return [(text, ("yes", other)) for text, other in zip(found, [*after[:-1], found[-1]], strict=True)]
    if task.schema == "answers":
        return [("what?", text) for text in found]
    return [*zip(found, after, strict=True), (found[-1], found[-1])] if task.pair else found


def check_door(path: Path, expected: Expected, hard: Expected, *, precision: str, session: Any = None) -> None:
    """Answer texts with a bundle, one by one and in padded batches, and compare.

    Token ids must be equal everywhere. Outputs of floats are compared everywhere, those of integers on `expected`
    alone, by the share of answers that change: what they do outside their ranges is their own.

    Args:
        expected: of the user's texts.
        hard: of `hard_texts`.
        session: what computes the graph, where this machine cannot run the bundle as its device does.

    Raises:
        ParityError: the bundle answers otherwise, or with no number.
    """
    model = (
        load(path, provider="cpu")
        if session is None
        else Model(Opened(session, "cpu", None, ()), load_text_processor(open_bundle(path)))
    )
    task, judged = model.manifest.task, precision_of(precision)
    alone = [_infer(model, some) for some in (expected, hard)]
    batches = [_infer_batches(model, some) for some in (expected, hard)]
    tolerance = judged.tolerance
    if judged.judged_by == "answers":
        changed = 1 - agreement(task, expected.rows(alone[0]), expected.rows(expected.outputs))
        if not changed <= tolerance:
            raise _refusal(f"{changed:.1%} of the answers differ from transformers', accepted {tolerance:.2g}")
    else:
        for some, outputs in zip((expected, hard) * 2, (*alone, *batches), strict=True):
            _check_outputs(some, outputs, tolerance)
    for some in (expected, hard):
        _check_answers(model, some)


def _infer(model: Model, some: Expected) -> list[np.ndarray]:
    """The outputs of every sample alone; the ids are checked."""
    found = []
    for text, wanted in zip(some.texts, some.feeds(), strict=True):
        feed = _tokenize(model, [text])
        for name, values in feed.items():
            if not np.array_equal(values, wanted[name]):
                raise _refusal(f"{name} of {_short(text)} are not those of the Hugging Face tokenizer")
        found.append(_finite(model.infer(feed), text))
    return found


def _infer_batches(model: Model, some: Expected) -> list[np.ndarray]:
    """The same in padded batches; one by one again where the graph reads no mask."""
    size = _BATCH if model.manifest.graph().names("mask") else 1
    found, feeds = [], some.feeds()
    for start in range(0, len(some.texts), size):
        texts, wanted = some.texts[start : start + size], feeds[start : start + size]
        feed = _tokenize(model, texts)
        shapes = [alone["input_ids"].shape for alone in wanted]
        ends = np.cumsum([sequences for sequences, _ in shapes])
        for name, values in feed.items():
            parts = np.split(values, ends[:-1])
            if any(
                not np.array_equal(part[:, : shape[1]], alone[name])
                for part, alone, shape in zip(parts, wanted, shapes, strict=True)
            ):
                raise _refusal(f"{name} of a batch are not those of its texts alone")
        outputs = np.split(model.infer(feed), ends[:-1])
        for text, part, (_, tokens) in zip(texts, outputs, shapes, strict=True):
            found.append(_finite(part[:, :tokens] if part.ndim == 3 else part, text))
    return found


def _tokenize(model: Model, texts: Sequence[Any]) -> Batch:
    try:
        return model.tokenize(texts)
    except DataError as error:
        raise _refusal(error.message) from error


def _finite(outputs: np.ndarray, text: Any) -> np.ndarray:
    if not np.isfinite(outputs).all():
        raise _refusal(f"the output for {_short(text)} is not a number")
    return outputs


def _check_outputs(some: Expected, outputs: Sequence[np.ndarray], tolerance: float) -> None:
    errors = [float(np.abs(found - wanted).max()) for found, wanted in zip(outputs, some.outputs, strict=True)]
    worst = int(np.argmax(errors))
    bound = tolerance * max(1.0, max(float(np.abs(wanted).max()) for wanted in some.outputs))
    if not errors[worst] <= bound:
        raise _refusal(
            f"the output for {_short(some.texts[worst])} is off by {errors[worst]:.2g}, accepted {bound:.2g}"
        )


def _check_answers(model: Model, some: Expected) -> None:
    """Read transformers' outputs as the bundle reads its own: the answers must be the pipeline's."""
    for text, outputs, wanted in zip(some.texts, some.outputs, some.answers, strict=False):
        if wanted is None:
            continue
        (answer,) = model.read(outputs, _tokenize(model, [text]))
        same = _same_scores(answer, wanted) if isinstance(wanted, dict) else _same_entities(answer, wanted)
        if not same:
            raise _refusal(f"labels and scores for {_short(text)} are not those of transformers' pipeline")


def _same_scores(answer: Any, wanted: dict[str, float]) -> bool:
    found: dict[str, Any] = answer["scores"] if "scores" in answer else dict.fromkeys(wanted, answer["score"])
    return found.keys() == wanted.keys() and all(_close(found[label], wanted[label]) for label in wanted)


def _same_entities(answer: Any, wanted: list[dict[str, Any]]) -> bool:
    found = answer["entities"]
    return len(found) == len(wanted) and all(
        (own["entity"], own["start"], own["end"]) == (other["entity_group"], other["start"], other["end"])
        and _close(own["score"], other["score"])
        for own, other in zip(found, wanted, strict=True)
    )


def _close(one: float, other: float) -> bool:
    return bool(np.isclose(one, other, rtol=_SCORES, atol=_SCORES))


def _refusal(what: str) -> ParityError:
    return ParityError(
        f"the bundle does not answer as transformers does: {what}.",
        hint="Nothing was written. Try --precision fp32; if it stays, report it.",
    )


def _short(text: Any) -> str:
    return f"{text!r:.60}"
