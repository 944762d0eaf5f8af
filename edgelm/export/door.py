"""The bundle as its user meets it: opened by `edgelm.runtime`, text in, answer out, compared with transformers' own
answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgelm.errors import DataError, ParityError
from edgelm.export.expected import Expected
from edgelm.export.parity import TOLERANCES
from edgelm.metrics.scores import agreement
from edgelm.runtime import Model, load, open_bundle
from edgelm.runtime.inputs.text import load_text_processor
from edgelm.runtime.provider import Opened

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


def hard_texts(texts: Sequence[Any], *, pair: bool) -> list[Any]:
    """Texts that are easy to get wrong: empty, blank, an emoji, Chinese, Arabic, NUL, unknown letters, and 100,000
    characters of `texts`."""
    words = " ".join(" ".join(text) if isinstance(text, tuple) else text for text in texts).strip() or "long"
    found = [*_KINDS, (f"{words} " * (_LONG // len(words) + 1))[:_LONG]]
    return list(zip(found, [*found[1:], found[0]], strict=True)) if pair else found


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
    task, integers = model.manifest.task, precision.startswith("int")
    alone = [_infer(model, some) for some in (expected, hard)]
    batches = [_infer_batches(model, some) for some in (expected, hard)]
    tolerance = TOLERANCES[precision]
    if integers:
        changed = 1 - agreement(task, alone[0], expected.outputs)
        if not changed <= tolerance:
            raise _refusal(f"{changed:.1%} of the answers differ from transformers', accepted {tolerance:.2g}")
    else:
        for some, outputs in zip((expected, hard) * 2, (*alone, *batches), strict=True):
            _check_outputs(some, outputs, tolerance)
    for some in (expected, hard):
        _check_scores(model, some)


def _infer(model: Model, some: Expected) -> np.ndarray:
    """(texts, width), one by one; the ids are checked."""
    rows = []
    for text, wanted in zip(some.texts, some.feeds, strict=True):
        feed = _tokenize(model, [text])
        for name, values in feed.items():
            if not np.array_equal(values, wanted[name]):
                raise _refusal(f"{name} of {_short(text)} are not those of the Hugging Face tokenizer")
        rows.append(_finite(model.infer(feed), [text]))
    return np.concatenate(rows)


def _infer_batches(model: Model, some: Expected) -> np.ndarray:
    """The same in padded batches; one by one again where the graph reads no mask."""
    size = _BATCH if any(spec.name == "attention_mask" for spec in model.manifest.inputs) else 1
    rows = []
    for start in range(0, len(some.texts), size):
        texts, wanted = some.texts[start : start + size], some.feeds[start : start + size]
        feed = _tokenize(model, texts)
        for name, values in feed.items():
            if any(
                not np.array_equal(row[: alone[name].shape[1]], alone[name][0])
                for row, alone in zip(values, wanted, strict=True)
            ):
                raise _refusal(f"{name} of a batch are not those of its texts alone")
        rows.append(_finite(model.infer(feed), texts))
    return np.concatenate(rows)


def _tokenize(model: Model, texts: list[Any]) -> dict[str, np.ndarray]:
    try:
        return model.tokenize(texts)
    except DataError as error:
        raise _refusal(error.message) from error


def _finite(outputs: np.ndarray, texts: list[Any]) -> np.ndarray:
    for text, row in zip(texts, outputs, strict=True):
        if not np.isfinite(row).all():
            raise _refusal(f"the output for {_short(text)} is not a number")
    return outputs


def _check_outputs(some: Expected, outputs: np.ndarray, tolerance: float) -> None:
    errors = np.abs(outputs - some.outputs).max(axis=1)
    worst = int(errors.argmax())
    bound = tolerance * max(1.0, float(np.abs(some.outputs).max()))
    if not errors[worst] <= bound:
        raise _refusal(
            f"the output for {_short(some.texts[worst])} is off by {errors[worst]:.2g}, accepted {bound:.2g}"
        )


def _check_scores(model: Model, some: Expected) -> None:
    """Read transformers' outputs as the bundle reads its own: the scores must be the pipeline's."""
    for text, answer, wanted in zip(some.texts, model.read(some.outputs), some.scores, strict=False):
        found: dict[str, Any] = answer["scores"] if "scores" in answer else dict.fromkeys(wanted, answer["score"])
        if found.keys() != wanted.keys() or any(
            not np.isclose(found[label], wanted[label], rtol=_SCORES, atol=_SCORES) for label in wanted
        ):
            raise _refusal(f"labels and scores for {_short(text)} are not those of transformers' pipeline")


def _refusal(what: str) -> ParityError:
    return ParityError(
        f"the bundle does not answer as transformers does: {what}.",
        hint="Nothing was written. Try --precision fp32; if it stays, report it.",
    )


def _short(text: Any) -> str:
    return f"{text!r:.60}"
