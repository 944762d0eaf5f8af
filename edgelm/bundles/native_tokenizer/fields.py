"""Parts of tokenizer.json, read so that nothing in them is passed over."""

from __future__ import annotations

from typing import Any


class UnknownTokenizer(Exception):
    """Why edgelm-native cannot give the ids of a tokenizer: in words."""


def need(holds: bool, reason: str) -> None:
    """Refuse the tokenizer.

    Raises:
        UnknownTokenizer: it does not hold.
    """
    if not holds:
        raise UnknownTokenizer(reason)


def take(part: Any, what: str, *names: str, **defaults: Any) -> tuple[Any, ...]:
    """The fields of a part in the order of their names, then those that may be missing.

    Args:
        what: the part, for the message.

    Raises:
        UnknownTokenizer: one is missing, or there is another, of a newer version of the tokenizers library.
    """
    found = {name: value for name, value in part.items() if name != "type"}
    need(all(name in found for name in names), f"{what} has no {', '.join(names)}")
    others = found.keys() - {*names, *defaults}
    need(not others, f"{what} has {', '.join(sorted(others))}")
    return (*(found[name] for name in names), *(found.get(name, value) for name, value in defaults.items()))


def steps(part: Any, field: str) -> list[Any]:
    """The steps of a part that may be none, one, or a sequence of them, whatever is in which."""
    if part is None:
        return []
    if part.get("type") == "Sequence":
        (inner,) = take(part, "a sequence", field)
        return [step for each in inner for step in steps(each, field)]
    return [part]
