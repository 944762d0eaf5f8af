"""Labels as a data set writes them, found among the labels that a model has."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from edgelm.errors import DataError

_WHOLE = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
_GENERATED = re.compile(r"LABEL_\d+|label_\d+")


def is_whole(text: str) -> bool:
    """Whether a text is a whole number as people write one: no sign but a minus, no leading zero."""
    return _WHOLE.fullmatch(text) is not None


def shorten(names: Sequence[str]) -> str:
    """Some names, for a message."""
    return ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")


def match_labels(used: Iterable[str], known: Sequence[str], *, first: int | None, source: str) -> dict[str, int]:
    """The place among `known` of each label that is used and can be found there.

    A label is found by its name, then by its name in other capitals where only one is so called, then, if no label is
    found by its name, by its number: the number that stands in a name (`4 stars`), else counted from `first`.

    Args:
        used: the labels of a data set.
        known: the labels of a model, in the order of its logits.
        first: the number of the first label; None: it is told from the labels.
        source: the data set, for a message.

    Raises:
        DataError: numbers that can be counted from 0 and from 1.
    """
    used = list(dict.fromkeys(used))
    exact = {name: place for place, name in enumerate(known)}
    lower: dict[str, list[int]] = {}
    for place, name in enumerate(known):
        lower.setdefault(name.strip().casefold(), []).append(place)
    found = {name: exact[name] for name in used if name in exact}
    for name in used:
        places = lower.get(name.casefold(), [])
        if name not in found and len(places) == 1:
            found[name] = places[0]
    if found or not used:
        return found
    if len(known) == 2 and set(used) <= {"false", "true"}:
        return {name: int(name == "true") for name in used}
    if not all(is_whole(name) for name in used):
        return {}
    return _by_number({name: int(name) for name in used}, known, first=first, source=source)


def _by_number(numbers: dict[str, int], known: Sequence[str], *, first: int | None, source: str) -> dict[str, int]:
    values = set(numbers.values())
    if first is None:
        own = _own_numbers(known)
        if own and values <= own.keys():
            return {name: own[value] for name, value in numbers.items()}
        lowest, highest = min(values), max(values)
        if lowest >= 1 and highest < len(known):
            raise DataError(
                f"{source}: the labels are numbers without a 0: "
                f"{lowest} can be {known[lowest]!r} (counted from 0) or {known[lowest - 1]!r} (counted from 1).",
                hint="Say which with --first-label 0 or --first-label 1.",
            )
        first = 1 if lowest >= 1 and highest == len(known) else 0
    return {name: value - first for name, value in numbers.items() if 0 <= value - first < len(known)}


def _own_numbers(known: Sequence[str]) -> dict[int, int]:
    """The place of each label by the one number in its name; empty unless every name has one of its own, and a name not
    made up."""
    if any(_GENERATED.fullmatch(name) for name in known):
        return {}
    numbers = [re.findall(r"[0-9]+", name) for name in known]
    found = {int(found[0]): place for place, found in enumerate(numbers) if len(found) == 1 and len(found[0]) < 10}
    return found if len(found) == len(known) else {}
