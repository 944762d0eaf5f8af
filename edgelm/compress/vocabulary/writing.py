"""What a vocabulary is to a model that writes: the texts that it reads and writes, what stands around them, and the
tokens that its settings name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, TypeVar

from edgelm.data.conversations import talk_text
from edgelm.data.dataset import Dataset
from edgelm.data.prompts import Messages
from edgelm.errors import DataError
from edgelm.tasks.generation import Generation, TextGeneration

_Writer = TypeVar("_Writer", bound=Generation)
_SINGLE = ("pad_id", "decoder_start_id", "forced_bos_id", "forced_eos_id")
_LISTS = ("eos_ids", "bad_ids")
_TALKS: tuple[Messages, ...] = (
    (("user", "a"),),
    (("system", "a"), ("user", "a")),
    (("user", "a"), ("assistant", "a"), ("user", "a")),
)


def written_texts(rows: Dataset, tokenizer: Any, task: Generation) -> Iterator[str]:
    """Every text of the rows as a generator reads or writes it: prompts, alone and with their completions, which are
    read alone too; conversations as the template has them; sources behind the prefix, and all their targets.

    Raises:
        DataError, MissingExtraError: as `talk_text`.
    """
    for number, text in enumerate(rows.texts, start=1):
        if isinstance(text, str):
            yield task.prompted([text])[0]
        else:
            yield talk_text(text, tokenizer, f"{rows.source}, row {number}", ask=False)
    for text, label in zip(rows.texts, rows.labels or (), strict=False):
        if isinstance(label, str):
            yield from (label, text + label)
        else:
            yield from label or ()


def framing_texts(tokenizer: Any, task: Generation) -> Iterator[str]:
    """What stands around the texts whatever they are: the prefix, texts that stop what is written, and what a chat
    template puts around messages."""
    yield from (*task.prompted([""]), *task.settings.stop)
    if not (isinstance(task, TextGeneration) and tokenizer.chat_template):
        return
    for talk in _TALKS:
        try:
            yield talk_text(talk, tokenizer, "the chat template", ask=True)
        except DataError:  # some take no system message
            continue


def settings_tokens(task: Generation) -> set[int]:
    """Every token that a task's settings name."""
    own = task.settings
    singles = {getattr(own, name) for name in _SINGLE} - {None}
    return singles.union(*(getattr(own, name) for name in _LISTS))


def renumbered(task: _Writer, number: Callable[[int], int | None]) -> _Writer:
    """A task whose settings name tokens by other ids.

    Args:
        number: the new id; None for a token that is gone.
    """
    own = task.settings
    changed: dict[str, Any] = {
        name: None if (token := getattr(own, name)) is None else number(token) for name in _SINGLE
    }
    for name in _LISTS:
        changed[name] = tuple(new for token in getattr(own, name) if (new := number(token)) is not None)
    return replace(task, settings=replace(own, **changed))
