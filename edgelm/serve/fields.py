"""Single fields of a request: of the type and in the range that is wanted, or refused by their names."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from edgelm.serve.refusals import Refusal


def as_object(value: Any) -> dict[str, Any]:
    """A request's body.

    Raises:
        Refusal: it is no object.
    """
    if not isinstance(value, dict):
        raise Refusal(400, f"the request is a JSON {_name(value)}, not an object.")
    return value


def text(values: Mapping[str, Any], name: str) -> str | None:
    """A text; None where it is left out.

    Raises:
        Refusal: it is of another type.
    """
    value = values.get(name)
    if value is not None and not isinstance(value, str):
        raise wrong(name, value, "a string")
    return value


def flag(values: Mapping[str, Any], name: str) -> bool:
    """True or false; false where it is left out.

    Raises:
        Refusal: it is of another type.
    """
    value = values.get(name)
    if value is not None and not isinstance(value, bool):
        raise wrong(name, value, "true or false")
    return bool(value)


def whole(values: Mapping[str, Any], name: str, *, least: int, most: int | None = None) -> int | None:
    """A whole number; None where it is left out.

    Raises:
        Refusal: it is of another type, or out of its range.
    """
    value = values.get(name)
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < least or (most is not None and value > most):
        wanted = f"of at least {least}" if most is None else f"between {least} and {most}"
        raise wrong(name, value, f"a whole number {wanted}")
    return int(value)


def number(values: Mapping[str, Any], name: str, *, least: float, most: float) -> float | None:
    """A number; None where it is left out.

    Raises:
        Refusal: it is of another type, or out of its range.
    """
    value = values.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
        raise wrong(name, value, f"a number between {least:g} and {most:g}")
    return float(value)


def text_list(values: Mapping[str, Any], name: str, *, most: int) -> list[str]:
    """One text or an array of them, as a list that is not empty.

    Raises:
        Refusal: it is of another type, is missing, or has more than `most` texts.
    """
    value = values.get(name)
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts or not all(isinstance(entry, str) for entry in texts):
        raise wrong(name, value, "a string, or an array of strings")
    if len(texts) > most:
        raise Refusal(413, f"{name}: {len(texts)} texts; a request has at most {most}.", param=name)
    return texts


def unknown(name: str) -> Refusal:
    """A field that the protocol does not have."""
    return Refusal(400, f"{name!r:.60} is not known.", param=f"{name:.60}")


def wrong(name: str, value: Any, wanted: str) -> Refusal:
    """A field that is not what it must be."""
    shown = _shown(value)
    return Refusal(400, f"{name} is {shown}; it must be {wanted}.", param=name)


def _shown(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 10**15:
        return "a very large number"  # whose digits Python may refuse to write
    if isinstance(value, float) and not math.isfinite(value):
        return "a very large number"
    return f"{value!r:.40}" if isinstance(value, (bool, int, float, str)) else f"a JSON {_name(value)}"


def _name(value: Any) -> str:
    names = {dict: "object", list: "array", str: "string", bool: "boolean", int: "number", float: "number"}
    return names.get(type(value), "null")
