"""What a model that writes takes of a disk and of memory, by the shapes of its layers: bytes of its weights in a
precision, counted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from transformers import PreTrainedModel

from edgelm.anatomy import Sublayer, sublayers
from edgelm.anatomy.matrices import layer_matrices, token_tables
from edgelm.budgeting.carried import carried_mb
from edgelm.budgeting.footprint import PROCESS_MB
from edgelm.bundles.cpp_example import cpp_files, cpp_program
from edgelm.cost.roofline import load_constants
from edgelm.device import Device
from edgelm.errors import UsageError
from edgelm.export.generation.dialect import PLAIN, dialect_of
from edgelm.export.generation.plain.products import PLAIN_BLOCK
from edgelm.export.prepare import meant_precision
from edgelm.precision import Precision, precision_of
from edgelm.profile.generation.estimate import WORST_SHARE
from edgelm.quantize.blocks import BLOCK
from edgelm.runtime.script import vendored_files
from edgelm.tasks.task import Task
from edgelm.token_cost import TokenCost

MEGABYTE = 1e6
_NODES = 2.6e-3  # 10^6 bytes of a graph for each sublayer: nodes, names, and what a cut leaves of a bias
_BESIDE = 0.045  # of each graph what else it has, and what the manifest says of it
_PREPARED = 2.0  # times its weights: those of the file, and onnxruntime's own arrangement of them
TOKENIZER_MEMORY = 16.0  # times tokenizer.json, once it is read
_CACHED = 4.0  # bytes of a key's or value's number


@dataclass(frozen=True)
class StoredBytes:
    """How large matrices and tables are in a bundle.

    Attributes:
        device: whose dialect decides.
        precision: of the matrices.
        positions: tokens of the longest text.
        table_bits: of a number of the tables where matrices are integers: 8 or 4.
    """

    device: Device
    precision: str
    positions: int
    table_bits: int = 8

    @property
    def row(self) -> Precision:
        """The precision of the matrices."""
        return precision_of(meant_precision(self.precision))

    @property
    def small(self) -> float:
        """Bytes of one number that is in no matrix."""
        return 2.0 if self._plain and self.row.integers else _float_bytes(self.row, 4.0)

    @property
    def position(self) -> float:
        """Bytes of one number of a table of positions."""
        return 4.0 if self.row.name == "fp32" else 2.0

    @property
    def _plain(self) -> bool:
        return dialect_of(self.device) is PLAIN

    def matrix(self, inputs: int, outputs: int) -> float:
        """Bytes of (inputs, outputs)."""
        row = self.row
        if not row.integers:
            return inputs * outputs * row.weight_bytes
        if row.conversion == "dynamic":
            return outputs * (inputs + row.column_bytes + 1)
        if not self._plain:
            return outputs * _blocks(inputs, BLOCK, row.bits)
        if row.bits == 8 or inputs % PLAIN_BLOCK:
            return outputs * (inputs + 2.0)
        return outputs * _blocks(inputs, PLAIN_BLOCK, row.bits)

    def table_row(self, width: int) -> float:
        """Bytes of one token in a table or the head."""
        if not self.row.integers or self._plain:
            return width * self.small
        return _blocks(width, BLOCK, self.table_bits)


def size_cost(model: PreTrainedModel, stored: StoredBytes, task: Task, *, tokenizer_mb: float) -> TokenCost:
    """Of a bundle without engines, in 10^6 bytes. Matrices of INT4 that an export finds to cost most of the loss keep 8
    bits: how many those are is not known before, and they are not counted.

    Args:
        tokenizer_mb: of tokenizer.json, as it lies in the bundle.
    """
    program = cpp_program(task)
    files = vendored_files(generates=True) | (cpp_files(program) if program else {})
    graphs = 2 if model.config.is_encoder_decoder else 1
    beside = carried_mb(files.values()) + graphs * _BESIDE + tokenizer_mb
    weights = _weights(model, stored)
    return replace(weights, rest=weights.rest + beside, beside=beside)


def memory_cost(
    model: PreTrainedModel, stored: StoredBytes, *, tokenizer_mb: float, context: int, cache_bytes: float = _CACHED
) -> TokenCost:
    """Of a process that runs the bundle in Python with keys and values of so many tokens, in 10^6 bytes, estimated.

    Args:
        cache_bytes: of one number of the cache.
    """
    weights = _weights(model, stored)
    cached = {
        stack: {kind: context * per_token * cache_bytes / MEGABYTE for kind, per_token in kinds.items()}
        for stack, kinds in cached_numbers(model).items()
    }
    units = {
        stack: {kind: _PREPARED * cost + cached.get(stack, {}).get(kind, 0.0) for kind, cost in kinds.items()}
        for stack, kinds in weights.units.items()
    }
    beside = PROCESS_MB + TOKENIZER_MEMORY * tokenizer_mb
    return replace(weights, units=units, rest=beside + _PREPARED * weights.rest, source="estimated", beside=beside)


def estimate_token(model: PreTrainedModel, stored: StoredBytes, device: Device, *, context: int) -> TokenCost:
    """Milliseconds of one token behind a context on a device that is not here: what it reads of the decoder's weights,
    of the head, of keys and values, over the bandwidth of memory; always *estimated*, with a band from all of it to the
    share that engines reach at least.

    Raises:
        UsageError: a GPU, or a device without a bandwidth.
    """
    if device.kind == "gpu" or not device.bandwidth_gb_s:
        raise UsageError(
            f"nothing says what a token takes on {device.name}.",
            hint="Bound its size (--max-size), or measure where it runs: --device cpu on the device itself.",
        )
    share = min(1.0, load_constants("cpu").memory)
    weights, cached = _weights(model, stored), cached_numbers(model)
    head = model.get_output_embeddings().weight

    def ms(megabytes: float) -> float:
        return megabytes / (float(device.bandwidth_gb_s or 0.0) * share)

    units = {
        stack: {
            kind: ms(cost + context * cached.get(stack, {}).get(kind, 0.0) * _CACHED / MEGABYTE)
            for kind, cost in kinds.items()
        }
        if stack == "decoder"
        else dict.fromkeys(kinds, 0.0)
        for stack, kinds in weights.units.items()
    }
    rest = ms(len(head) * stored.table_row(head.shape[1]) / MEGABYTE)
    return TokenCost("ms", rest, units, weights.vocabulary, source="estimated", band=(share, share / WORST_SHARE))


def cached_numbers(model: PreTrainedModel) -> dict[str, dict[str, int]]:
    """By stack and kind of attention, how many numbers of keys and values one unit keeps for each token."""
    found: dict[str, dict[str, int]] = {}
    for _, sublayer in sublayers(model):
        if sublayer.kind != "ffn" and sublayer.layer.stack == "decoder":
            found.setdefault("decoder", {})[sublayer.kind] = 2 * sublayer.layer.head_size
    return found


def per_token(model: PreTrainedModel, stored: StoredBytes) -> float:
    """What one token of the vocabulary takes in tables and head, in 10^6 bytes."""
    return sum(_rows(model, stored)) / MEGABYTE


def _weights(model: PreTrainedModel, stored: StoredBytes) -> TokenCost:
    """Of all weights, in 10^6 bytes."""
    units: dict[str, dict[str, float]] = {}
    fixed: dict[str, dict[str, float]] = {}
    for _, sublayer in sublayers(model):
        stack, kind = sublayer.layer.stack, sublayer.kind
        units.setdefault(stack, {}).setdefault(kind, _unit_bytes(sublayer, stored) / MEGABYTE)
        vectors = stored.small * 2 * sublayer.output.out_features  # a norm, and a bias
        fixed.setdefault(stack, {}).setdefault(kind, _NODES + vectors / MEGABYTE)
    counted = {id(weight) for weight in _parameters(model)}
    others = (weight for weight in model.parameters() if weight.ndim > 1 and id(weight) not in counted)
    tokens = len(model.get_output_embeddings().weight)
    rest = sum(_rows(model, stored)) * tokens + sum(weight.numel() for weight in others) * stored.position
    rest += 2 * stored.positions * _frequencies(model) * stored.small  # cosines and sines
    return TokenCost("MB", rest / MEGABYTE, units, vocabulary=tokens, fixed=fixed)


def _parameters(model: PreTrainedModel) -> Iterable[object]:
    """Weights of matrices in layers, and of tables of tokens."""
    for module in (*layer_matrices(model).values(), *token_tables(model).values()):
        yield module.get_parameter("weight")


def _frequencies(model: PreTrainedModel) -> int:
    """Of rotary positions; 0 where they are learned or relative."""
    named = [(name.rpartition(".")[2], values) for name, values in model.named_buffers()]
    return sum(values.numel() for name, values in named if name.endswith("inv_freq") and "original" not in name)


def _rows(model: PreTrainedModel, stored: StoredBytes) -> list[float]:
    """Bytes of a token in each table."""
    return [stored.table_row(table.get_parameter("weight").shape[1]) for table in token_tables(model).values()]


def _unit_bytes(sublayer: Sublayer, stored: StoredBytes) -> float:
    """Of one unit, each an equal part of all."""
    inputs = sum(
        stored.matrix(part.in_features, part.out_features)
        + (0.0 if part.bias is None else stored.small * part.out_features)
        for part in sublayer.inputs
    )
    output = sublayer.output
    return (inputs + stored.matrix(output.in_features, output.out_features)) / sublayer.units


def _blocks(inputs: int, block: int, bits: int) -> float:
    """Bytes of one output: whole blocks, each with a scale in FP16."""
    return -(-inputs // block) * (block * bits / 8 + 2.0)


def _float_bytes(row: Precision, beside_integers: float) -> float:
    return beside_integers if row.integers else row.weight_bytes
