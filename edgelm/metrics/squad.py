"""How good answers out of a text are: exact match and F1 of words, as SQuAD's evaluation scripts count them.

Source: Rajpurkar et al. 2016 (arXiv:1606.05250); Rajpurkar, Jia, Liang 2018 (arXiv:1806.03822) for questions without an
answer, and its evaluate-v2.0.py.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize_answer(text: str) -> str:
    """A text in small letters, without ASCII punctuation and English articles, single spaces between its words."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(predicted: str, answers: Sequence[str]) -> float:
    """1.0 if the prediction is one of the answers, both normalised, else 0.0; no answers: if it is empty."""
    return float(any(normalize_answer(predicted) == normalize_answer(answer) for answer in _known(answers)))


def answer_f1(predicted: str, answers: Sequence[str]) -> float:
    """F1 of the words that prediction and answer share, by the answer that suits it best, 0 to 1; no answers: 1.0 if
    the prediction is empty."""
    return max(_f1(predicted, answer) for answer in _known(answers))


def answer_scores(predicted: Sequence[str], answers: Sequence[Sequence[str]]) -> dict[str, float]:
    """Mean F1 and exact match, each 0 to 1.

    Args:
        predicted: an answer a question; "" where the question is said to have none.
        answers: per question its true answers, of which the best counts; () where it has none.

    Raises:
        ValueError: there are no questions, or not as many predictions as questions.
    """
    if not predicted or len(predicted) != len(answers):
        raise ValueError(f"{len(predicted)} predictions for {len(answers)} questions")
    rows = list(zip(predicted, answers, strict=True))
    return {
        "f1": sum(answer_f1(text, known) for text, known in rows) / len(rows),
        "exact_match": sum(exact_match(text, known) for text, known in rows) / len(rows),
    }


def _known(answers: Sequence[str]) -> list[str]:
    """The answers that are more than articles and punctuation; an empty one where none is."""
    return [answer for answer in answers if normalize_answer(answer)] or [""]


def _f1(predicted: str, answer: str) -> float:
    found, right = normalize_answer(predicted).split(), normalize_answer(answer).split()
    if not found or not right:
        return float(found == right)
    shared = sum((Counter(found) & Counter(right)).values())
    return 2 * shared / (len(found) + len(right))
