"""What models answer to the same rows: which answers changed, which of them are right, by label and beside each other.

An answer stands here in words, so that every kind of task is compared in the same way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgelm.data.dataset import Dataset
from edgelm.errors import ModelError, UsageError
from edgelm.tasks.task import Task

Answerer = Callable[[Sequence[Any]], list[dict[str, Any]]]  # samples to answers, as `edgelm.runtime` gives them
NONE = "(none)"
MOVED = 0.1  # of the standard deviation of the original's numbers: what moves by more has changed
_EQUAL = 1e-6  # between numbers that are all the same
_RESAMPLES = 10_000


@dataclass(frozen=True)
class Answers:
    """The answers of one model to the rows of a data set.

    Attributes:
        name: of the model.
        words: of each row the answer in words.
        scores: of each row the model's confidence in it, from 0 to 1; empty where the task has none.
        right: of each row whether the answer is that of the data; empty without labels, or where an answer may be
            right in part.
        numbers: of each row the numbers that the words say, where answers are numbers; else empty.
        figure: the task's metric on these rows by its name, where an answer may be right in part; None: not known.
    """

    name: str
    words: tuple[str, ...]
    scores: tuple[float, ...] = ()
    right: tuple[bool, ...] = ()
    numbers: tuple[tuple[float, ...], ...] = ()
    figure: tuple[str, float] | None = None

    @property
    def accuracy(self) -> float | None:
        """The share of right answers; None where that is not known."""
        return float(np.mean(self.right)) if self.right else None


def check_comparable(task: Task, *, original: bool) -> None:
    """Refuse rows that would say nothing.

    Args:
        original: whether there is a model to compare with.

    Raises:
        UsageError: a model that goes on with texts, and nothing beside it: what it writes is right or wrong for nobody.
    """
    if goes_on(task) and not original:
        raise UsageError(
            f"--data: what a model for {task.kind} writes says something beside its original's texts alone.",
            hint="Add --original CHECKPOINT; `edgelm profile BUNDLE --data FILE` judges it by itself.",
        )


def goes_on(task: Task) -> bool:
    """Whether a model goes on with texts, where others have an answer to each row."""
    return task.generates and task.schema != "targets"


def check_same_task(path: str | Path, task: Task, found: Task) -> None:
    """Refuse an original that is for another task than the bundle.

    Raises:
        ModelError: it is.
    """
    if (found.kind, found.output, set(found.labels)) != (task.kind, task.output, set(task.labels)):
        labels = f" with the labels {', '.join(found.labels)[:80]}" if found.labels else ""
        raise ModelError(
            f"{path}: a model for {found.kind}{labels}; the bundle is for something else.",
            hint="Give the model that the bundle was made from.",
        )


def say(answer: dict[str, Any]) -> str:
    """An answer in words, equal exactly where two answers are."""
    if "finish" in answer:
        return str(answer["text"]) or NONE
    if "entities" in answer:
        found = [f"{entity['text']} ({entity['entity']})" for entity in answer["entities"]]
        return ", ".join(found) or NONE
    if "masks" in answer:
        return " | ".join(mask["tokens"][0]["token"] for mask in answer["masks"]) or NONE
    if "best" in answer:
        return str(answer["answer"]) or NONE
    if "choice" in answer:
        return str(answer["choice"])
    if "labels" in answer:
        return ", ".join(answer["labels"]) or NONE
    return str(answer["label"])


def truths(task: Task, rows: Dataset) -> tuple[str, ...]:
    """The right answer of each row in words, as `say` gives it; empty where rows have none that is one answer."""
    if rows.labels is None or task.output == "values" or task.kind not in ("text-classification", "multiple-choice"):
        return ()
    if task.kind == "multiple-choice":
        return tuple(str(endings[right]) for endings, right in zip(rows.pairs or (), rows.labels, strict=True))
    if task.output == "binary":
        sets = ([name for name, given in zip(task.labels, row, strict=True) if given] for row in rows.labels)
        return tuple(", ".join(names) or NONE for names in sets)
    return tuple(task.labels[index] for index in rows.labels)


def changed_rows(before: Answers, after: Answers, rows: Dataset, truth: Sequence[str]) -> list[dict[str, Any]]:
    """JSON-ready, of each row whose answer changed: its number, text, label, both answers and their scores.

    Args:
        truth: of each row what is right, in words; empty where that is not known.
    """
    found = []
    texts = rows.inputs()
    for number in _differing(before, after):
        entry: dict[str, Any] = {"row": number, "text": _text(texts[number])}
        entry |= {"before": before.words[number], "after": after.words[number]}
        entry["label"] = truth[number] if truth else None
        entry["before_score"] = before.scores[number] if before.scores else None
        entry["after_score"] = after.scores[number] if after.scores else None
        found.append(entry)
    return found


def _differing(before: Answers, after: Answers) -> list[int]:
    """The rows whose answers are not the same; of numbers, those that moved by more than a tenth of the standard
    deviation of what they were."""
    if not before.numbers:
        return [row for row, (old, new) in enumerate(zip(before.words, after.words, strict=True)) if old != new]
    old, new = np.array(before.numbers), np.array(after.numbers)
    moved = np.abs(new - old) > np.maximum(MOVED * old.std(axis=0), _EQUAL)
    return [int(row) for row in np.flatnonzero(moved.any(axis=1))]


def compare(
    before: Answers,
    after: Answers,
    rows: Dataset,
    truth: Sequence[str],
    *,
    shown: Sequence[str] = (),
    written: bool = False,
) -> dict[str, Any]:
    """JSON-ready: how many answers changed, for better, worse or neither, which, and what that is in points.

    Args:
        truth: of each row its one right answer; empty where answers may be right in part.
        shown: in that case, of each row what would be right, in words; empty where that is not known.
        written: whether answers are texts that were written, which may begin alike.
    """
    changed = changed_rows(before, after, rows, truth or shown)
    values: dict[str, Any] = {"name": after.name, "against": before.name, "rows": len(rows), "changed": len(changed)}
    values["numbers"] = bool(before.numbers)
    if written:
        pairs = zip(before.words, after.words, strict=True)
        values["alike"] = float(np.mean([_alike(old, new) for old, new in pairs]))
    if truth:
        kinds = Counter(_kind(entry) for entry in changed)
        values |= {kind: kinds[kind] for kind in ("mended", "broken", "wrong_either_way")}
        low, high = difference_interval(before.right, after.right)
        points = 100 * (np.mean(after.right) - np.mean(before.right))
        values["points"] = {"value": float(points), "low": low, "high": high}
    return values | {"answers": changed}


def _alike(before: str, after: str) -> float:
    """The share of the longer text that stands before the first letter in which the two differ."""
    pairs = zip(before, after, strict=False)
    first = next((place for place, (old, new) in enumerate(pairs) if old != new), min(len(before), len(after)))
    return first / max(len(before), len(after))


def _kind(entry: dict[str, Any]) -> str:
    if entry["after"] == entry["label"]:
        return "mended"
    return "broken" if entry["before"] == entry["label"] else "wrong_either_way"


def difference_interval(before: Sequence[bool], after: Sequence[bool]) -> tuple[float, float]:
    """95 % interval, in points, of what accuracy gains on rows like these: rows drawn again, each with both answers.

    Source: Efron 1981, percentile interval of a paired bootstrap. A resample is drawn by how many of its rows gained
    and lost, which is all that its mean depends on.
    """
    total = len(before)
    gain = sum(new and not old for old, new in zip(before, after, strict=True))
    loss = sum(old and not new for old, new in zip(before, after, strict=True))
    drawn = np.random.default_rng(0).multinomial(
        total, [gain / total, loss / total, (total - gain - loss) / total], size=_RESAMPLES
    )
    low, high = np.percentile(100 * (drawn[:, 0] - drawn[:, 1]) / total, [2.5, 97.5])
    return float(low), float(high)


def by_label(answers: Answers, truth: Sequence[str]) -> list[dict[str, Any]]:
    """JSON-ready, of each label how many rows have it and how many of these are answered right; the most frequent
    first."""
    rows = Counter(truth)
    right = Counter(label for label, good in zip(truth, answers.right, strict=True) if good)
    return [{"label": label, "rows": count, "right": right[label]} for label, count in rows.most_common()]


def confusion(answers: Answers, truth: Sequence[str]) -> list[dict[str, Any]]:
    """JSON-ready, of each label and answer that are not the same how often they met; the most frequent first."""
    pairs = Counter((true, word) for true, word in zip(truth, answers.words, strict=True) if true != word)
    return [{"label": true, "answer": word, "rows": count} for (true, word), count in pairs.most_common()]


def _text(sample: Any) -> str:
    """A sample in words: the parts of a pair, and endings, with bars between them."""
    if isinstance(sample, str):
        return sample
    parts = [part if isinstance(part, str) else " / ".join(map(str, part)) for part in sample]
    return (" | " if len(parts) == 2 and isinstance(sample[0], str) else " ").join(parts)
