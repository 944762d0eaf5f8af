"""Writes the sublayers of encoders and decoders into a graph, around what their heads do."""

from __future__ import annotations

import numpy as np

from edgelm.export.generation.builder import GraphBuilder, Norm
from edgelm.export.generation.heads import IDS, Heads, HeadsShape
from edgelm.export.generation.products import Products
from edgelm.export.generation.stacks import AttentionParts, FeedForwardParts, RemovedParts, StackParts
from edgelm.export.generation.words import Words

SEQUENCE, SOURCES = "encoder_sequence", "sources"


class Stream:
    """What flows from sublayer to sublayer: the sum of all so far, normed before a sublayer reads it or after it was
    added to."""

    def __init__(self, graph: GraphBuilder, pre_norm: bool, total: str) -> None:
        self._graph, self._pre_norm, self._total = graph, pre_norm, total
        self._new = ""  # what the next norm adds to the sum

    def read(self, norm: Norm | None) -> str:
        """What a sublayer with this norm reads."""
        return self._normed(norm) if self._pre_norm and norm is not None else self._total

    def add(self, output: str, norm: Norm | None) -> None:
        """Add what the sublayer gives."""
        self._new = output
        if not self._pre_norm and norm is not None:
            self._total = self._normed(norm)

    def add_removed(self, parts: RemovedParts, norm: Norm | None) -> None:
        """Add what a sublayer left that was removed."""
        graph = self._graph
        if parts.constant.size:
            constant = graph.constant(f"{parts.name}.removed", parts.constant)
            total = graph.node("Add", [self._new or self._total, constant], parts.name)
            self._new, self._total = (total, self._total) if self._new else ("", total)
        if not self._pre_norm and norm is not None:
            self._total = self._normed(norm)

    def end(self, norm: Norm | None) -> str:
        """What comes out of the last layer."""
        return self._total if norm is None else self._normed(norm)

    def _normed(self, norm: Norm) -> str:
        if not self._new:
            return self._graph.norm(self._total, norm)
        normed, self._total = self._graph.add_norm(self._new, self._total, norm)
        self._new = ""
        return normed


class Sublayers:
    """Adds sublayers to a graph."""

    def __init__(self, graph: GraphBuilder, products: Products, words: Words, heads: Heads) -> None:
        self.graph, self.products, self.words, self.heads = graph, products, words, heads

    def embed(self, stack: StackParts, positions: str, *, tied: bool) -> str:
        """Embeddings of the tokens, with all that is added to them.

        Args:
            positions: (batch or 1, sequence), for a table of places.
            tied: the head is the table of the tokens.
        """
        graph = self.graph
        name, weight = stack.table
        total = self.words.look_up(name, weight, IDS, tied=tied)
        if stack.scale != 1:
            total = graph.node("Mul", [total, graph.constant(f"{name}.scale", np.float32(stack.scale))], name)
        if stack.places:
            name, rows = stack.places
            full = self.products.precision.name == "fp32"
            stored = graph.raw_constant(f"{name}.weight", rows if full else rows.astype(np.float16))
            found = graph.node("Gather", [stored, positions], name, axis=0)
            if not full and graph.float_type == np.float32:
                found = graph.cast(found, np.float32, name)
            total = graph.node("Add", [total, found], name)
        return total if stack.embedding_norm is None else graph.norm(total, stack.embedding_norm)

    def distance_bias(self, table: np.ndarray, queries: str, keys: str, place: str) -> str:
        """(heads, ..., keys) of positions (...,) and (keys,): what is added to scores by distance.

        Args:
            table: (heads, 2 * reach + 1), see `StackParts.distances`.
        """
        graph, reach = self.graph, table.shape[1] // 2
        column = graph.node("Unsqueeze", [queries, graph.constant("last_axis", [-1])], place)
        distance = graph.node("Sub", [column, keys], place)
        limits = [graph.constant(f"{place}.{name}", value) for name, value in (("least", -reach), ("most", reach))]
        near = graph.node("Add", [graph.node("Clip", [distance, *limits], place), limits[1]], place)
        return graph.node("Gather", [graph.constant(f"{place}.by_distance", table), near], place, axis=1)

    def attend(self, parts: AttentionParts, source: str, mask: str, bias: str) -> str:
        """Attention of all places to all.

        Args:
            mask: (batch, sequence) int64, 0 where padding is.
            bias: (1, heads of the uncut model, sequence, sequence), added to the scores; empty: none.
        """
        packed = self._query_key_value(parts, source)
        mixed = self.heads.attend_all(_shape(parts), packed, mask, self._own_heads(parts, bias))
        return self.products.linear(mixed, parts.output)

    def attend_cached(self, parts: AttentionParts, source: str, index: int, bias: str) -> str:
        """Attention of new tokens to those before them and to themselves, whose keys and values go into the cache.

        Args:
            index: of the layer.
            bias: (batch or 1, heads of the uncut model, sequence, total), added to the scores; empty: none.
        """
        packed = self._query_key_value(parts, source)
        bias = self._own_heads(parts, bias)
        return self.products.linear(self.heads.attend_cached(_shape(parts), [packed], index, bias=bias), parts.output)

    def project_memory(self, parts: AttentionParts, source: str, index: int) -> None:
        """Give the keys and values of a decoder layer's attention to the encoder's output, (batch, heads, sequence,
        head size) each."""
        graph = self.graph
        packed = self.products.linear(source, parts.key, parts.value, place=f"{parts.name}.key_value")
        both = graph.split(packed, [parts.heads * parts.head_size] * 2, f"{parts.name}.key_value")
        shape = ("batch", parts.heads, SEQUENCE, parts.head_size)
        names = [
            graph.output(f"cross.{index}.key", graph.float_type, shape, "cross-key", index),
            graph.output(f"cross.{index}.value", graph.float_type, shape, "cross-value", index),
        ]
        for name, values in zip(names, both, strict=True):
            apart = graph.reshape(values, [0, 0, parts.heads, parts.head_size], parts.name)
            graph.node_giving([name], "Transpose", [apart], parts.name, perm=[0, 2, 1, 3])

    def attend_memory(self, parts: AttentionParts, source: str, index: int, mask: str, rows: str) -> str:
        """Attention to what `project_memory` gave. Rows that write about one source, such as beams, stand behind each
        other and read its keys and values together: a batch of them is one longer sequence of queries.

        Args:
            mask: (sources, encoder sequence) int64.
            rows: shape of what is given, (batch, sequence, -1).
        """
        graph, width = self.graph, parts.heads * parts.head_size
        shape = (SOURCES, parts.heads, SEQUENCE, parts.head_size)
        key = graph.input(f"cross.{index}.key", graph.float_type, shape, "cross-key", index)
        value = graph.input(f"cross.{index}.value", graph.float_type, shape, "cross-value", index)
        query = self.products.linear(source, parts.query)
        sources = graph.node("Shape", [mask], parts.name, start=0, end=1)
        rest = graph.constant(f"rest.{width}", [-1, width])  # one for all layers: onnxruntime makes one shape of them
        by_source = graph.node("Concat", [sources, rest], parts.name, axis=0)
        query = graph.node("Reshape", [query, by_source], parts.name)
        mixed = self.heads.attend_memory(_shape(parts), query, key, value, mask)
        return self.products.linear(graph.node("Reshape", [mixed, rows], parts.name), parts.output)

    def feed_forward(self, parts: FeedForwardParts, source: str) -> str:
        """The feed-forward network."""
        graph = self.graph
        if len(parts.inputs) == 1:
            active = graph.activation(self.products.linear(source, *parts.inputs), parts.activation, parts.name)
            return self.products.linear(active, parts.output)
        # Two products: one with a Split behind it is slower.
        gate, up = (self.products.linear(source, part) for part in parts.inputs)
        active = graph.node("Mul", [graph.activation(gate, parts.activation, parts.name), up], parts.name)
        return self.products.linear(active, parts.output)

    def _own_heads(self, parts: AttentionParts, bias: str) -> str:
        """Of a bias of all heads, the part of those that an attention has."""
        if not bias or not parts.columns:
            return bias
        columns = self.graph.constant(f"{parts.name}.head_columns", list(parts.columns))
        return self.graph.node("Gather", [bias, columns], parts.name, axis=1)

    def _query_key_value(self, parts: AttentionParts, source: str) -> str:
        place = f"{parts.name}.query_key_value"
        return self.products.linear(source, parts.query, parts.key, parts.value, place=place)


def _shape(parts: AttentionParts) -> HeadsShape:
    return HeadsShape(parts.name, parts.heads, parts.heads, parts.head_size, parts.scale)
