"""The tensors of the Open Inference Protocol: those of requests as texts, and those of responses."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgelm.serve.fields import wrong
from edgelm.serve.refusals import Refusal

BYTES, FP32, INT64, BOOL = "BYTES", "FP32", "INT64", "BOOL"
_LARGEST = 2**63


@dataclass(frozen=True)
class Tensor:
    """What a model's metadata say of an input or output.

    Attributes:
        shape: -1 where any number may stand.
    """

    name: str
    datatype: str
    shape: tuple[int, ...] = (-1,)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}


def read_inputs(values: Mapping[str, Any], wanted: Sequence[Tensor], *, most: int) -> dict[str, list[Any]]:
    """The texts of a request's inputs by name: one a sample, or a list of them where the input has two axes.

    Args:
        values: the request.
        wanted: inputs of BYTES; each sample has a row in every one.
        most: samples.

    Raises:
        Refusal: an input that is missing, twice there or not known; another datatype; a shape that is none, or that the
            data do not have; data that are no texts; more samples than a request may have.
    """
    given = values.get("inputs")
    if not isinstance(given, list) or not all(isinstance(entry, dict) for entry in given):
        raise wrong("inputs", given, "an array of tensors")
    found: dict[str, list[Any]] = {}
    known = {tensor.name: tensor for tensor in wanted}
    for entry in given:
        name = entry.get("name")
        if not isinstance(name, str) or name not in known or name in found:
            twice = isinstance(name, str) and name in found
            words = "stands there twice" if twice else "is none of this model's"
            raise Refusal(400, f"inputs: {name!r:.60} {words}.", hint=f"It reads {', '.join(known)}.", param="inputs")
        found[name] = _texts(entry, known[name], most)
    if missing := [name for name in known if name not in found]:
        raise Refusal(400, f"inputs: {' and '.join(missing)} missing.", hint=f"It reads {', '.join(known)}.")
    if len({len(rows) for rows in found.values()}) > 1:
        counts = ", ".join(f"{name} has {len(rows)}" for name, rows in found.items())
        raise Refusal(400, f"inputs: not as many texts in each: {counts}.", param="inputs")
    return found


def chosen_outputs(values: Mapping[str, Any], known: Sequence[str]) -> tuple[str, ...]:
    """The outputs that a request asks for: all, where it does not say.

    Raises:
        Refusal: one that the model does not have.
    """
    asked = values.get("outputs")
    if asked is None or asked == []:
        return tuple(known)
    if not isinstance(asked, list) or not all(isinstance(entry, dict) for entry in asked):
        raise wrong("outputs", asked, "an array of outputs")
    names = [entry.get("name") for entry in asked]
    for name in names:
        if name not in known:
            hint = f"It gives {', '.join(known)}."
            raise Refusal(400, f"outputs: {name!r:.60} is none of this model's.", hint=hint, param="outputs")
    return tuple(name for name in known if name in names)


def _texts(entry: Mapping[str, Any], tensor: Tensor, most: int) -> list[Any]:
    name = f"inputs: {tensor.name}"
    if entry.get("datatype") != BYTES:
        raise Refusal(400, f"{name}: datatype is {entry.get('datatype')!r:.40}; it must be {BYTES}.", param="inputs")
    shape = _shape(entry.get("shape"), name)
    if len(tensor.shape) == 1 and len(shape) == 2 and shape[1] == 1:  # a row of one, as some clients have it
        shape = shape[:1]
    if len(shape) != len(tensor.shape):
        axes = "two axes" if len(tensor.shape) == 2 else "one axis"
        raise Refusal(400, f"{name}: shape is {list(shape)}; it has {axes}.", param="inputs")
    if shape[0] > most:
        raise Refusal(413, f"{name}: {shape[0]} texts; a request has at most {most}.", param="inputs")
    data = entry.get("data")
    if not isinstance(data, list):
        raise Refusal(400, f"{name}: data is no array of texts.", param="inputs")
    flat = list(_flat(data, depth=len(shape) + 1))
    if not all(isinstance(text, str) for text in flat):
        raise Refusal(400, f"{name}: data holds what is no text.", param="inputs")
    if len(flat) != math.prod(shape):
        raise Refusal(400, f"{name}: {len(flat)} texts for a shape of {list(shape)}.", param="inputs")
    if len(shape) == 1:
        return flat
    return [flat[at : at + shape[1]] for at in range(0, len(flat), max(1, shape[1]))]


def _shape(value: Any, name: str) -> tuple[int, ...]:
    if not (
        isinstance(value, list)
        and 1 <= len(value) <= 2
        and all(isinstance(size, int) and not isinstance(size, bool) and 0 <= size < _LARGEST for size in value)
    ):
        raise Refusal(400, f"{name}: shape must be one or two whole numbers.", param="inputs")
    return tuple(value)


def _flat(data: list[Any], *, depth: int) -> Iterator[Any]:
    """The elements of data, which may be nested as their axes are."""
    for entry in data:
        if isinstance(entry, list) and depth > 1:
            yield from _flat(entry, depth=depth - 1)
        else:
            yield entry
