"""Whether a model reads two texts at once: said by an option, remembered, shown by data, or hinted at by its labels'
names."""

from __future__ import annotations

from edgelm.data.dataset import Dataset
from edgelm.errors import DataError
from edgelm.tasks.task import Task
from edgelm.tasks.text import TextClassification

# Of entailment and paraphrase: what holds between two texts, not of one.
_BETWEEN_TWO = {
    "entailment",
    "not_entailment",
    "contradiction",
    "equivalent",
    "not_equivalent",
    "paraphrase",
    "not_paraphrase",
    "duplicate",
}


def reads_pairs(task: Task, pairs: bool | None, *datasets: Dataset | None) -> bool:
    """Whether the bundle reads pairs of texts.

    Args:
        pairs: what the user says; None: what the checkpoint remembers, else what the data show, else what its labels'
            names tell.
        datasets: calibration and evaluation texts, where there are any.

    Raises:
        UsageError: pairs for a sentence encoder.
        DataError: data of the other kind.
    """
    given = [rows for rows in datasets if rows is not None]
    shown = any(rows.pairs is not None for rows in given)
    result = pairs if pairs is not None else task.pair or shown or (not given and tells_pairs(task))
    for rows in given:
        if (rows.pairs is not None) != result:
            kinds = ("pairs of texts", "single texts")
            who = (
                f"--{'' if result else 'no-'}pairs"
                if pairs is not None
                else "the checkpoint"
                if task.pair
                else "other data"
            )
            mend = (
                "Name the second text's column with --pair-column, or add --no-pairs."
                if result
                else "Give single texts, or --pairs."
            )
            raise DataError(
                f"{rows.source} has {kinds[result]}, but {who} says that the model reads {kinds[not result]}.",
                hint=mend,
            )
    return result


def tells_pairs(task: Task) -> bool:
    """Whether the names of a classifier's labels say what holds between two texts."""
    return isinstance(task, TextClassification) and bool(
        {label.lower().replace(" ", "_") for label in task.labels} & _BETWEEN_TWO
    )


def note_guess(before: Task, task: Task, *, said: bool) -> str:
    """A sentence for the user where the labels' names alone decided that the bundle reads pairs; else nothing.

    Args:
        before: the task as the checkpoint has it.
        task: the same task, as the bundle has it.
        said: an option or data decided.
    """
    if said or before.pair or not task.pair or not tells_pairs(task):
        return ""
    return (
        f"The labels ({', '.join(task.labels)}) tell of two texts: the bundle reads pairs. --no-pairs makes one for "
        "single texts."
    )
