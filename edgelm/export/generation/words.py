"""Token tables and the head of an encoder-decoder's graph: rounded where the whole of them is multiplied, exact where
single rows are read."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgelm.export.generation.candidates import FullRows
from edgelm.export.generation.products import Product, Products, Table
from edgelm.quantize.blocks import BlockWeight


class Words:
    """Adds look-ups of tokens, and logits, to a graph."""

    def __init__(
        self,
        products: Products,
        *,
        candidates: int,
        made: Mapping[str, BlockWeight],
    ) -> None:
        """Take what adds products to a graph.

        Args:
            candidates: how many tokens have exact logits where the head is in blocks; 0: none, and look-ups are
                rounded.
            made: the integers of tables, by their names.
        """
        self._products = products
        # A table of which single rows are read alone saves nothing with 4 bits.
        self._look_ups = products.with_head("int8-weights") if self._in_blocks else products
        self._candidates, self._made = candidates, made
        self._tables: dict[str, Table] = {}
        self._full: dict[str, FullRows] = {}

    @property
    def _in_blocks(self) -> bool:
        return self._products.head.conversion == "blocks"

    def look_up(self, name: str, weight: np.ndarray, ids: str, *, tied: bool) -> str:
        """Rows of a table (vocabulary, hidden): (batch, sequence, hidden).

        Args:
            tied: the head is the same table, in this graph or the other.
        """
        products = self._products if tied else self._look_ups
        table = self._table(products, name, weight)
        return self._full[name].look_up(ids) if name in self._full else products.look_up(table, ids)

    def logits(self, states: str, head: Product, *, tied: bool) -> str:
        """Logits (batch, rows, vocabulary) of states (batch, rows, hidden)."""
        products, graph = self._products, self._products.graph
        if not tied and not self._in_blocks:
            return products.linear(states, head, precision=products.head)
        table = self._table(products, head.name, head.weight.T)
        logits = products.project(states, table, "lm_head")
        if head.name in self._full:
            logits = self._full[head.name].correct(states, logits, min(self._candidates, table.rows))
        if head.bias is None:
            return logits
        return graph.node("Add", [logits, graph.constant("lm_head.bias", head.bias)], "lm_head")

    def _table(self, products: Products, name: str, weight: np.ndarray) -> Table:
        """A table, with what rounding left of it."""
        if name not in self._tables:
            self._tables[name] = table = products.table(name, weight)
            if table.bits and self._candidates:
                self._full[name] = FullRows(products, table, weight, self._made[name])
        return self._tables[name]
