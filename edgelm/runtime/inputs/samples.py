"""What a sample of each task is, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from edgelm.errors import DataError, UsageError
from edgelm.tasks.task import Task, TaskKind

# A text; a pair of texts, or a question and its text; words of one text; a text and its endings.
Sample: TypeAlias = "str | tuple[str, ...] | tuple[str, tuple[str, ...]]"


def check_sample(task: Task, sample: Any) -> Sample:
    """A sample in the form that its task has.

    | task | sample |
    |---|---|
    | text classification | a text, or a tuple of two for models of pairs |
    | sentence embedding | a text |
    | token classification | a text, or a tuple of words |
    | question answering | (question, text), or {"question": ..., "context": ...} |
    | multiple choice | (text, (ending, ending, ...)), or {"text": ..., "choices": [...]} |

    Raises:
        UsageError: it is of another kind.
        DataError: a question, a text to search, or an ending is empty.
    """
    return _CHECKS.get(task.kind, _check_text)(task, sample)


def as_sample(value: Any) -> Any:
    """A sample that JSON has kept: its lists are tuples again."""
    return tuple(as_sample(entry) for entry in value) if isinstance(value, list) else value


def is_kept_sample(value: Any) -> bool:
    """Whether JSON could have kept a sample so: a text, texts, or a text and texts."""
    return isinstance(value, str) or (
        isinstance(value, list)
        and bool(value)
        and (_all_texts(value) or (len(value) == 2 and isinstance(value[0], str) and _all_texts(value[1])))
    )


def _all_texts(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(entry, str) for entry in value)


def _check_text(task: Task, sample: Any) -> Sample:
    if task.pair:
        if isinstance(sample, tuple) and len(sample) == 2 and _all_texts(sample):
            return sample
        raise UsageError(
            "this model reads two texts at once.",
            hint='Give pairs: model(("first", "second")), or `edgelm run BUNDLE "first" --pair "second"`; '
            "`edgelm export --no-pairs` makes a bundle for single texts.",
        )
    if isinstance(sample, str):
        return sample
    if isinstance(sample, tuple):
        hint = "Export it again with --pairs, if it was trained on pairs of texts."
        raise UsageError("this bundle was exported for single texts; got a pair.", hint=hint)
    raise UsageError(f"this model reads single texts; got {type(sample).__name__}.", hint='Give a text: model("...").')


def _check_words(task: Task, sample: Any) -> Sample:
    if isinstance(sample, str) or (isinstance(sample, tuple) and _all_texts(sample)):
        return sample
    raise UsageError(
        f"this model reads a text or a tuple of words; got {sample!r:.60}.",
        hint='Give model("some text"), or model(("some", "words")); a list is several samples.',
    )


def _check_question(task: Task, sample: Any) -> Sample:
    if isinstance(sample, dict) and sample.keys() >= {"question", "context"}:
        sample = (sample["question"], sample["context"])
    if not (isinstance(sample, tuple) and len(sample) == 2 and _all_texts(sample)):
        raise UsageError(
            f"this model reads a question and a text that answers it; got {sample!r:.60}.",
            hint='Give model(("question", "text")), or `edgelm run BUNDLE "question" --pair "text"`.',
        )
    for name, text in zip(("question", "text to search"), sample, strict=True):
        if not text.strip():
            raise DataError(f"the {name} is empty.", hint="Leave such samples out: there is nothing to find.")
    return sample


def _check_choices(task: Task, sample: Any) -> Sample:
    if isinstance(sample, dict) and sample.keys() >= {"text", "choices"}:
        sample = (sample["text"], as_sample(sample["choices"]))
    if not (
        isinstance(sample, tuple)
        and len(sample) == 2
        and isinstance(sample[0], str)
        and _all_texts(sample[1])
        and len(sample[1]) > 1
    ):
        raise UsageError(
            f"this model chooses one of at least two endings of a text; got {sample!r:.60}.",
            hint='Give model(("text", ("ending", "other ending"))), or `edgelm run BUNDLE "text" "ending" "other"`.',
        )
    text, endings = sample
    if not all(ending.strip() for ending in endings):
        raise DataError(f"an ending of {text!r:.40} is empty.", hint="Leave such endings out.")
    return (text, tuple(endings))


_CHECKS: dict[TaskKind, Callable[[Task, Any], Sample]] = {
    "token-classification": _check_words,
    "question-answering": _check_question,
    "multiple-choice": _check_choices,
}
