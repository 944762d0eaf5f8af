"""Where a model's settings name tokens, and how those ids change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_LISTS = ("bad_words_ids", "suppress_tokens", "begin_suppress_tokens")  # of models that write
_USES = "task_specific_params"  # settings that hold for one use of several, each as the others are

Number = Callable[[int], int | None]


def renumber(settings: Any, number: Number) -> None:
    """Pass every id in a configuration, or in settings of generation, through `number`, in place: pad_token_id,
    eos_token_id, bad_words_ids and so on.

    Args:
        number: the new id; None for a token that is gone: single ids become None, lists lose it.
    """
    for name, value in vars(settings).items():
        if name == _USES and isinstance(value, dict):
            setattr(settings, name, {use: _entries(entries, number) for use, entries in value.items()})
        elif _names_tokens(name):
            setattr(settings, name, _mapped(value, number))


def named_tokens(settings: Any) -> set[int]:
    """Every id that a configuration, or settings of generation, name."""
    found: set[int] = set()

    def note(token: int) -> int:
        found.add(token)
        return token

    renumber(settings, note)
    return found


def _names_tokens(name: str) -> bool:
    return name.endswith("_token_id") or name in _LISTS


def _entries(entries: Any, number: Number) -> Any:
    if not isinstance(entries, dict):
        return entries
    return {name: _mapped(value, number) if _names_tokens(name) else value for name, value in entries.items()}


def _mapped(value: Any, number: Number) -> Any:
    """One id, or lists of them at any depth; what is neither stays."""
    if isinstance(value, (list, tuple)):
        found = [_mapped(entry, number) for entry in value]
        return [entry for entry in found if entry is not None and entry != []]
    return number(value) if isinstance(value, int) and not isinstance(value, bool) else value
