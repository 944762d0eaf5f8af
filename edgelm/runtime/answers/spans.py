"""Answers of question answering: the part of a text that answers a question.

The published algorithm of transformers' question answering pipeline: in each window the scores of a beginning and of an
end are shares of one over the tokens of the text and the first token, and an answer's score is their product.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from edgelm.runtime.answers.numbers import softmax
from edgelm.runtime.inputs.batch import Context, Tokens
from edgelm.tasks.text import QuestionAnswering

Answer = dict[str, Any]

BEST = 20  # how many answers are kept, as in SQuAD's own scripts


def read_spans(task: QuestionAnswering, outputs: np.ndarray, context: Context) -> list[Answer]:
    """One answer a sample.

    Args:
        outputs: (windows, tokens, 2), logits of the answer's first and of its last token.

    Returns:
        the best `answer`, its `score`, the characters of the text from `start` to `end`, and the `best` answers in
        order, each with these four. An answer is made of whole words. The empty answer, from 0 to 0, is among them
        where the task knows questions without one; its score is the smallest that a window's first token has.
    """
    answers = []
    for (_, text), rows in zip(context.samples, context.by_sample(), strict=True):
        found: dict[tuple[int, int], float] = {}
        nothing = 1.0
        for row in rows:
            sequence = context.sequences[row]
            logits = outputs[row, : len(sequence.ids)].astype(np.float64)
            starts, ends = _shares(logits, sequence)
            nothing = min(nothing, float(starts[0] * ends[0]))
            places = _word_places(sequence)
            for first, last, score in _spans(starts, ends, sequence, task.max_answer_tokens):
                place = _characters(sequence, places, first, last)
                found[place] = max(score, found.get(place, 0.0))
        if task.null_answers:
            found[0, 0] = nothing
        best = sorted(found.items(), key=lambda item: -item[1])[:BEST]
        named = [
            {"answer": text[start:end], "score": score, "start": start, "end": end} for (start, end), score in best
        ]
        answers.append(named[0] | {"best": named})
    return answers


def _shares(logits: np.ndarray, sequence: Tokens) -> tuple[np.ndarray, np.ndarray]:
    """How likely the answer begins, and ends, at each token: at those of the text, or at the first, which stands for
    no answer."""
    allowed = _of_text(sequence)
    allowed[0] |= sequence.sequence_ids[0] is None
    starts, ends = softmax(np.where(allowed[:, None], logits, -np.inf).T)
    return starts, ends


def _spans(starts: np.ndarray, ends: np.ndarray, sequence: Tokens, longest: int) -> Iterator[tuple[int, int, float]]:
    """The best spans of a window: first and last token, and score."""
    inside = np.flatnonzero(_of_text(sequence))
    count = len(inside)
    products = np.full((count, min(longest, count)), -1.0)  # (first token, tokens after it)
    for after in range(products.shape[1]):
        products[: count - after, after] = starts[inside[: count - after]] * ends[inside[after:]]
    flat = products.ravel()
    kept = np.argpartition(-flat, BEST)[:BEST] if len(flat) > BEST else np.arange(len(flat))
    for place in kept[np.argsort(-flat[kept], kind="stable")]:
        if flat[place] >= 0:
            first, after = divmod(int(place), products.shape[1])
            yield int(inside[first]), int(inside[first + after]), float(flat[place])


def _of_text(sequence: Tokens) -> np.ndarray:
    """Which tokens belong to the text."""
    return np.array([number == 1 for number in sequence.sequence_ids])


def _word_places(sequence: Tokens) -> dict[int, tuple[int, int]]:
    """Where each word of the text begins and ends, in characters, as far as the window has it."""
    places: dict[int, tuple[int, int]] = {}
    for word, (start, end), number in zip(sequence.word_ids, sequence.offsets, sequence.sequence_ids, strict=True):
        if number == 1 and word is not None:
            first, last = places.get(word, (start, end))
            places[word] = min(first, start), max(last, end)
    return places


def _characters(sequence: Tokens, places: dict[int, tuple[int, int]], first: int, last: int) -> tuple[int, int]:
    """Where the words begin and end that two tokens belong to; the tokens themselves, where these are no words."""
    begin, end = sequence.word_ids[first], sequence.word_ids[last]
    if begin is None or end is None:
        return sequence.offsets[first][0], sequence.offsets[last][1]
    return places[begin][0], places[end][1]
