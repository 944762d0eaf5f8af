"""What several commands read before their work begins: data sets and settings."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from edgelm.dataset import Columns, Dataset, load_dataset
from edgelm.errors import UsageError

S = TypeVar("S", bound=BaseModel)


def read_train_and_eval(
    data: str,
    evaluation: str,
    *,
    text: str | None = None,
    pair: str | None = None,
    label: str | None = None,
    labels: tuple[str, ...] | None = None,
    problem: Any = None,
    need_labels: bool = True,
) -> tuple[Dataset, Dataset]:
    """Training and evaluation rows; the evaluation rows must use the labels of the training rows (or of the model).

    Raises:
        DataError: as `load_dataset`.
    """
    columns = Columns(text=text, text_pair=pair, label=label)
    dataset = load_dataset(data, columns=columns, labels=labels, problem=problem, need_labels=need_labels)
    known = labels if labels is not None else (dataset.label_names or None)
    judged = load_dataset(evaluation, columns=columns, labels=known, problem=problem or dataset.problem, need_labels=need_labels, split="validation")
    return dataset, judged


def read_unlabelled(source: str | None, *, text: str | None = None, pair: str | None = None) -> Dataset | None:
    """Texts without labels; a column of labels is left unread.

    Raises:
        DataError: as `load_dataset`.
    """
    return None if source is None else load_dataset(source, columns=Columns(text=text, text_pair=pair), need_labels=False, read="texts")


def read_settings(model: type[S], **values: Any) -> S:
    """Settings from command-line options.

    Raises:
        UsageError: an impossible value, named by its option.
    """
    try:
        return model(**values)
    except ValidationError as error:
        first = error.errors()[0]
        option = "--" + str(first["loc"][0]).replace("_", "-")
        raise UsageError(f"{option} is {first['input']!r}; {first['msg'][0].lower()}{first['msg'][1:]}.", hint="--help lists the options.") from error
