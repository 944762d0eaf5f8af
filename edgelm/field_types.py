"""Looks whether JSON has the types that a dataclass declares, before a value is made of it: a wrong one is refused by
its place."""

from __future__ import annotations

import functools
import types
from dataclasses import fields, is_dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from edgelm.errors import BundleError, InputError

_NAMES = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dict: "an object",
    tuple: "a list",
    list: "a list",
}


_BEYOND_FLOATS = 1 << 1023  # JSON has whole numbers of any size


def check_types(kind: Any, value: Any, place: str, *, error: type[InputError] = BundleError) -> None:
    """Refuse a value of another type than `kind`, at any depth.

    Args:
        kind: a dataclass, or a type that its fields declare: plain types, unions, literals, tuples, lists and
            dictionaries.
        value: what JSON gave; objects stand for dataclasses, lists for tuples. Fields that are missing are not looked
            at.
        place: of the value, for the message.

    Raises:
        InputError: a value of another type, by its place; of the class `error`.
    """
    if not _fits(kind, value):
        raise error(f"{place}: {short(value)} is not {_describe(kind)}.", hint="Copy or make the file again.")
    if get_origin(kind) in (Union, types.UnionType):
        kind = next(option for option in get_args(kind) if _fits(option, value))
    arguments = get_args(kind)
    if isinstance(kind, type) and is_dataclass(kind):
        for name, hint in _fields(kind).items():
            if name in value:
                check_types(hint, value[name], f"{place}: {name}", error=error)
    elif isinstance(value, list | tuple) and arguments:
        kinds = arguments[:1] * len(value) if get_origin(kind) is list or arguments[-1] is Ellipsis else arguments
        for index, (hint, entry) in enumerate(zip(kinds, value, strict=True)):
            check_types(hint, entry, f"{place}[{index}]", error=error)
    elif isinstance(value, dict) and arguments:
        for name, entry in value.items():
            check_types(arguments[1], entry, f"{place}: {name}", error=error)


def short(value: Any) -> str:
    """A value in few characters, for a message; of an integer of thousands of digits, how many there are."""
    try:
        return repr(value)[:80]
    except ValueError:  # Python writes no more than 4,300 digits
        return "a number of thousands of digits"


def _fits(kind: Any, value: Any) -> bool:
    """Whether a value is of this type, seen from outside: what it holds is not looked at."""
    origin = get_origin(kind) or kind
    if origin is Any:
        return True
    if origin in (Union, types.UnionType):
        return any(_fits(option, value) for option in get_args(kind))
    if origin is Literal:
        return isinstance(value, str | int) and value in get_args(kind)
    if is_dataclass(origin) or origin is dict:
        return isinstance(value, dict)
    if origin in (tuple, list):
        fixed = origin is tuple and get_args(kind) and get_args(kind)[-1] is not Ellipsis
        return isinstance(value, list | tuple) and (not fixed or len(value) == len(get_args(kind)))
    if origin in (int, float):
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return isinstance(value, int) if origin is int else isinstance(value, float) or abs(value) < _BEYOND_FLOATS
    return isinstance(value, origin)


def _describe(kind: Any) -> str:
    origin, arguments = get_origin(kind) or kind, get_args(kind)
    if origin in (Union, types.UnionType):
        return " or ".join(_describe(option) for option in arguments)
    if origin is Literal:
        return f"one of {', '.join(map(str, arguments))}"
    if origin is tuple and arguments and arguments[-1] is not Ellipsis:
        return f"a list of {len(arguments)}"
    if kind is type(None):
        return "null"
    return "an object" if is_dataclass(origin) else _NAMES.get(origin, str(origin))


@functools.cache
def _fields(kind: Any) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind)}
