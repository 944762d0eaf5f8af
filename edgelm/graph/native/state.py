"""What is known while a graph is compiled: the value of every tensor that was reached, and the program so far."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx

from edgelm.graph.native.values import Bytes, FloatColumns, Lookups, Masked, Product, Rows, Value
from edgelm.graph.native.view import GraphView, Unsupported, need
from edgelm.graph.native.writer import ProgramWriter, Quantizer


class State:
    """The tensors by name, and how their values become steps."""

    def __init__(self, view: GraphView, writer: ProgramWriter) -> None:
        self.view = view
        self.writer = writer
        self.values: dict[str, Value] = {}
        self.flat = False  # whether rows of sequences have no axis of tokens any more
        self.done: set[str] = set()  # outputs of nodes that an earlier step computes
        self.kept: list[tuple[str, str, str]] = []  # queries, keys and values of attention, a layer each
        self.widths: dict[str, tuple[int, int]] = {}  # of those buffers, and of which tokens they are
        self.angles: dict[tuple[str, ...], tuple[str, str]] = {}  # where cosines and sines lie, by their names
        self.columns: dict[str, np.ndarray] = {}  # of tables of positions for each distance, by the index in the graph
        self.answers: Rows | None = None  # of texts that leave early, and then of the others
        self.padding_stays = False  # whether rows of padding, which the graph has at 0, are as any other row
        # Where what attention adds by distance lies, by its name in the graph, its reach and the heads.
        self.biases: dict[tuple[str, int, int], str] = {}

    def value(self, name: str) -> Value:
        """What a tensor stands for.

        Raises:
            Unsupported: no program can say it.
        """
        if name not in self.values:
            raise Unsupported(f"{name} has no words")
        return self.values[name]

    def rows(self, name: str) -> Rows:
        """A tensor as rows in a buffer; what was not yet a step becomes one.

        Raises:
            Unsupported: it is nothing of the kind.
        """
        value = self.value(name)
        if isinstance(value, Product):
            value = self.values[name] = self.emit(value)
        if isinstance(value, Lookups):
            value = self.values[name] = self.embed(value)
        if isinstance(value, Masked) and not value.summed:  # of use to what reads other rows, which then has its mask
            self.padding_stays, value = True, value.rows
        if not isinstance(value, Rows):
            raise Unsupported(f"{name} is no rows of floats")
        return value

    def new_rows(self, width: int, *, per_token: int) -> Rows:
        """A buffer of floats."""
        return Rows(self.writer.buffer("floats", width, per_token=per_token), width, per_token)

    def new_bytes(self, width: int, quantizer: Quantizer, *, per_token: int) -> Bytes:
        """A buffer of bytes."""
        return Bytes(self.writer.buffer("bytes", width, per_token=per_token), width, per_token, quantizer)

    def emit(self, product: Product) -> Rows:
        """A product whose results are floats."""
        rows = self.new_rows(product.width, per_token=product.per_token)
        self.finish(product, f"rows {rows.buffer}")
        return rows

    def finish(self, product: Product, target: str) -> None:
        """Make a step of a product and of what follows it.

        Args:
            target: words that say where its results go.
        """
        head = product.head
        if product.columns is not None:
            columns: FloatColumns = product.columns
            head = (*head, self.writer.place(columns.name or columns.weights))
        added = f"from 1 {product.added.buffer}" if product.added else "from 0"
        self.writer.step(*head, self.writer.place(product.bias), product.activation, added, target)

    def embed(self, lookups: Lookups) -> Rows:
        """The step that adds up rows of tables."""
        words: list[object] = []
        width = 0
        for part in lookups.parts:
            if part.table is None:
                raise Unsupported("scales without a table")
            table = self.view.constant(part.table)
            width = table.shape[1] if table.dtype != np.uint8 else 2 * table.shape[1]
            index = part.index
            words += [index.source, table.shape[0], index.offset, index.skipped]
            if part.scale is None:
                need(table.dtype == np.float32, f"{part.table} is a table of {table.dtype}")
                words += ["floats", self.writer.place(part.table)]
            elif table.dtype == np.uint8:
                words += ["nibbles", self.writer.place(part.table, np.uint8), self.writer.place(part.scale, np.float16)]
            else:
                need(table.dtype == np.int8, f"{part.table} is a table of {table.dtype}")
                words += ["bytes", self.writer.place(part.table, np.int8), self.writer.place(part.scale)]
            if index.source in ("positions", "counted"):
                rows = table.shape[0] - index.offset - (index.source == "counted")
                self.writer.longest = min(self.writer.longest, rows)
        rows_made = self.new_rows(width, per_token=True)
        self.writer.step("embed", width, rows_made.buffer, len(lookups.parts), *words)
        return rows_made

    def repeat(self, constant: str, like: Rows) -> Rows:
        """As many rows as others are, all of them this constant one.

        Raises:
            Unsupported: it is of another width.
        """
        need(self.view.constant(constant).shape == (like.width,), f"{constant} is no row of {like.width}")
        made = self.new_rows(like.width, per_token=like.per_token)
        self.writer.step("embed", like.width, made.buffer, 1, f"zero 1 0 -1 floats {self.writer.place(constant)}")
        return made

    def quantizer_of(self, node: onnx.NodeProto) -> Quantizer:
        """What a QuantizeLinear does.

        Raises:
            Unsupported: it has a scale for each channel, or makes no UINT8.
        """
        scale, zero = self.view.constant(node.input[1]), self.view.constant(node.input[2])
        need(scale.size == 1 and zero.dtype == np.uint8, f"{node.name} quantizes in another way")
        return Quantizer(float(scale.reshape(-1)[0]), int(zero.reshape(-1)[0]))

    def bytes_wanted(self, name: str) -> tuple[str, Quantizer] | None:
        """The first QuantizeLinear that reads a tensor, by itself or times a constant row: what it makes, and how.
        None: there is none."""
        for node in self.view.readers[name]:
            if node.op_type == "QuantizeLinear":
                return node.output[0], self.quantizer_of(node)
            if node.op_type == "Mul" and self.view.is_constant(node.input[1]):
                reader = self.view.only_reader(node.output[0], "QuantizeLinear")
                if reader is not None:
                    self.done.add(node.output[0])
                    return reader.output[0], replace(self.quantizer_of(reader), factors=node.input[1])
        return None

    def needs_floats(self, name: str, bytes_name: str) -> bool:
        """Whether anything but the step that quantizes a tensor reads it."""
        readers = [node for node in self.view.readers[name] if bytes_name not in node.output]
        readers = [node for node in readers if node.output[0] not in self.done]
        return bool(readers) or name in self.view.outputs
