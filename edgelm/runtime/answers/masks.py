"""Answers of fill-mask: the tokens that may stand where a text has a mask."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgelm.errors import BundleError, DataError
from edgelm.runtime.answers.numbers import softmax
from edgelm.runtime.inputs.batch import Context
from edgelm.runtime.inputs.tokenizer_guard import tokenizer_errors
from edgelm.tasks.text import FillMask

Answer = dict[str, Any]


def read_masks(task: FillMask, outputs: np.ndarray, context: Context) -> list[Answer]:
    """One answer a sample, with the tokens and scores of transformers' fill-mask pipeline.

    Args:
        outputs: (sequences, tokens, vocabulary), logits.

    Returns:
        masks, in order, each with the characters from `start` to `end` where it stands, and `tokens`: the likeliest
        first, each with its `token` in words, its `id` and its `score`, its share of the whole vocabulary.

    Raises:
        DataError: a text without a mask among the tokens that the model reads.
        BundleError: the tokenizer does not know the mask.
    """
    mask = None if context.tokenizer is None else context.tokenizer.token_to_id(task.mask_token)
    if mask is None:
        raise BundleError(
            f"the tokenizer does not know the mask {task.mask_token}.", hint="Copy or export the bundle again."
        )
    answers = []
    for sample, sequence, logits in zip(context.samples, context.sequences, outputs, strict=True):
        places = [place for place, token in enumerate(sequence.ids) if token == mask]
        if not places:
            raise DataError(
                f"{sample!r:.60} has no mask to fill in, among the tokens that the model reads.",
                hint=f"Put {task.mask_token} where a token is asked for.",
            )
        masks = []
        for place in places:
            scores = softmax(logits[place].astype(np.float64))
            best = np.argsort(-scores, kind="stable")[: task.top].tolist()
            start, end = sequence.offsets[place]
            masks.append({"start": start, "end": end, "tokens": [_named(token, scores, context) for token in best]})
        answers.append({"masks": masks})
    return answers


def _named(token: int, scores: np.ndarray, context: Context) -> Answer:
    with tokenizer_errors("cannot name a token"):
        name = context.tokenizer.decode([token], skip_special_tokens=False)
    return {"token": name, "id": token, "score": float(scores[token])}
