"""Rows of tokens that change shape again and again on their way to attention, as they are: one split for queries, keys
and values, and no reshape that a later one undoes. ModernBERT's attention is written like this."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgelm.graph.names import module_of
from edgelm.graph.rewrites import add_weight, remove_unused, replace_nodes, weights_of

_PARTS = -3  # the axis of (batch, sequence, parts, heads, numbers) along which queries, keys and values lie


def plain_rows(graph: onnx.ModelProto) -> None:
    """Write rows as (batch, sequence, width) wherever nothing needs them in another shape."""
    layout = _Layout(graph)
    for node in list(graph.graph.node):
        if node.op_type == "Reshape":
            layout.split_parts(node)
    for node in layout.nodes:
        if node.op_type == "Reshape":
            layout.skip_reshapes(node)
        elif node.op_type == "RotaryEmbedding" and node.input[0] in layout.rows:
            layout.rows.add(node.output[0])
    replace_nodes(graph, layout.nodes)
    remove_unused(graph)


class _Layout:
    """A graph's nodes, and what is known of the shapes of their values.

    Attributes:
        rows: values of (batch, sequence, width).
    """

    def __init__(self, graph: onnx.ModelProto) -> None:
        self.nodes = list(graph.graph.node)
        self.rows = set[str]()
        self._graph = graph
        self._weights = weights_of(graph)
        self._makers = {name: node for node in graph.graph.node for name in node.output}
        self._outputs = {value.name for value in graph.graph.output}
        self._inputs = {value.name for value in graph.graph.input}
        self._readers: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.graph.node:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)

    def split_parts(self, node: onnx.NodeProto) -> None:
        """Put a Split of (batch, sequence, width) in the place of a reshape whose parts are taken one by one, if each
        part is rows of that shape in the end."""
        sizes, width = self._sizes(node.input[1]) or [], self._width(node.input[0])
        count = sizes[2] if len(sizes) == 5 else 0
        if not self._says_rows(node.input[1]) or count < 1 or not width or width % count:
            return
        rows = [self._part(reader) for reader in self._readers.get(node.output[0], [])]
        found = dict(each for each in rows if each is not None)
        if len(found) != len(rows) or sorted(found) != list(range(count)) or node.output[0] in self._outputs:
            return
        own = f"{module_of(node)}.parts"
        widths = add_weight(self._graph, own, np.full(count, width // count, dtype=np.int64))
        ends = [found[part] for part in range(count)]
        split = helper.make_node(
            "Split", [node.input[0], widths], [each.output[0] for each in ends], name=f"{own}/Split", axis=-1
        )
        self.nodes = [each for each in self.nodes if not any(each is end for end in ends)] + [split]
        self._makers |= dict.fromkeys(split.output, split)
        self.rows |= set(split.output)

    def _width(self, name: str) -> int:
        """The width of rows that are a product, with or without a bias; 0: they are something else."""
        maker = self._makers.get(name)
        if maker is None or maker.op_type not in ("MatMul", "Add"):
            return 0
        return next((int(self._weights[each].dims[-1]) for each in maker.input if each in self._weights), 0)

    def _part(self, node: onnx.NodeProto) -> tuple[int, onnx.NodeProto] | None:
        """Which part a node takes, and the node that gives it as (batch, sequence, width)."""
        if node.op_type != "Slice" or len(node.input) != 4:
            return None
        start, end, axis = (self._sizes(name) for name in node.input[1:])
        squeezed = self._only_reader(node, "Squeeze")
        if start is None or end is None or axis != [_PARTS] or end != [start[0] + 1] or squeezed is None:
            return None
        last = self._only_reader(squeezed, "Reshape")
        plain = self._sizes(squeezed.input[1]) == [_PARTS] if len(squeezed.input) > 1 else False
        return (start[0], last) if last is not None and plain and self._joins(last) else None

    def skip_reshapes(self, node: onnx.NodeProto) -> None:
        """Let a reshape of rows read what the reshapes before it were made of; and what reads rows in their usual shape
        the rows themselves."""
        while True:
            before = self._makers.get(node.input[0])
            if before is None or before.op_type != "Reshape":
                break
            # Sizes that are copied from what is read must be the same in what is read instead.
            if not self._says_rows(node.input[1]) and not (
                self._copies_rows(node.input[1]) and self._copies_rows(before.input[1])
            ):
                break
            node.input[0] = before.input[0]
        if node.input[0] not in self.rows or not self._joins(node) or node.output[0] in self._outputs:
            return
        for reader in self._readers.get(node.output[0], []):
            for place, name in enumerate(reader.input):
                if name == node.output[0]:
                    reader.input[place] = node.input[0]

    def _only_reader(self, node: onnx.NodeProto, kind: str) -> onnx.NodeProto | None:
        readers = self._readers.get(node.output[0], [])
        alone = len(readers) == 1 and node.output[0] not in self._outputs
        return readers[0] if alone and readers[0].op_type == kind else None

    def _joins(self, node: onnx.NodeProto) -> bool:
        """Whether a reshape gives (batch, sequence, width)."""
        sizes = self._sizes(node.input[1])
        kept = self._copies_rows(node.input[1]) or self._says_rows(node.input[1])
        return sizes is not None and len(sizes) == 3 and sizes[-1] == -1 and kept

    def _copies_rows(self, shape: str) -> bool:
        """Whether a shape begins with the first two sizes of what is reshaped."""
        sizes = self._sizes(shape) if shape in self._weights else None
        return sizes is not None and len(sizes) > 2 and sizes[:2] == [0, 0]

    def _says_rows(self, shape: str) -> bool:
        """Whether a shape begins with the numbers of texts and of tokens."""
        maker = self._makers.get(shape)
        if maker is None or maker.op_type != "Concat":
            return False
        return all(self._is_size(name, axis) for axis, name in enumerate(maker.input[:2]))

    def _is_size(self, name: str, axis: int) -> bool:
        maker = self._makers.get(name)
        if maker is None or maker.op_type != "Shape" or maker.input[0] not in self._inputs:
            return False
        found = {each.name: each.i for each in maker.attribute}
        return (found.get("start", 0), found.get("end")) == (axis, axis + 1)

    def _sizes(self, shape: str) -> list[int] | None:
        """The numbers of a shape, 0 for those that are computed; None: it is computed as a whole."""
        maker = self._makers.get(shape)
        if maker is not None and maker.op_type == "Concat":
            parts = [self._sizes(name) if name in self._weights else [0] for name in maker.input]
            return [number for part in parts for number in part or [0]]
        if shape not in self._weights:
            return None
        return [int(number) for number in numpy_helper.to_array(self._weights[shape]).reshape(-1)]
