"""What a model gives when one of its activations alone is computed in integers: what comes before it is computed once
for all, its own products in a session of their own, and what follows it anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx

from edgelm.graph.pieces import Pieces, Place
from edgelm.graph.session import make_plain_session
from edgelm.metrics.rows import stack_rows
from edgelm.quantize.evaluator import Evaluator
from edgelm.quantize.matmuls import MatMul

_KEPT = 2**28  # bytes of outputs that are kept at a time: those of models that name tokens are large

Convert = Callable[[onnx.ModelProto], onnx.ModelProto]


class Alone:
    """A float graph whose groups of products can be exchanged, each group alone.

    Args:
        products: the groups; those of a group read the same activation.
        judge: the inputs.
    """

    def __init__(self, graph: onnx.ModelProto, products: Sequence[Sequence[MatMul]], judge: Evaluator) -> None:
        places = [_place_of(group) for group in products]
        self._pieces = Pieces(graph, places)
        self._numbers = [self._pieces.places.index(place) for place in places]
        self._judge = judge

    def outputs(self, changes: Sequence[tuple[int, Convert]], told: Callable[[int], None]) -> list[np.ndarray]:
        """The model's rows, (rows, width), after each of these changes alone.

        Args:
            changes: the number of a group, and what makes of its graph another from and to the same values.
            told: how many changes are done.
        """
        size = max(1, _KEPT // max(1, self._judge.wanted.nbytes))
        found: list[np.ndarray] = []
        for start in range(0, len(changes), size):
            found += self._outputs(changes[start : start + size])
            told(len(found))
        return found

    def _outputs(self, changes: Sequence[tuple[int, Convert]]) -> list[np.ndarray]:
        at: dict[int, list[tuple[int, Any]]] = {}
        for index, (group, convert) in enumerate(changes):
            number = self._numbers[group]
            changed = convert(self._pieces.part(self._pieces.places[number]))
            at.setdefault(number, []).append((index, make_plain_session(changed, exact=True)))
        rows: list[list[np.ndarray]] = [[] for _ in changes]
        for batch, feed in enumerate(self._judge.feeds):
            values: dict[str, np.ndarray] = dict(feed)
            for number in range(max(at, default=-1) + 1):
                values = self._pieces.advance(number, values)
                place = self._pieces.places[number]
                for index, session in at.get(number, ()):
                    ends = session.run(list(place.ends), {place.source: values[place.source]})
                    outputs = self._pieces.finish(number, values | dict(zip(place.ends, ends, strict=True)))
                    rows[index].append(self._judge.read(outputs, batch))
        return [stack_rows(found) for found in rows]


def _place_of(products: Sequence[MatMul]) -> Place:
    return Place(
        products[0].source,
        tuple(name for product in products for name in product.replaces),
        tuple(product.then or product.output for product in products),
    )
