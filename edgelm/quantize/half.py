"""FP16 and BF16: weights and arithmetic in half the bits; what real texts show to overflow stays in FP32."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgelm.errors import UsageError
from edgelm.graph.external_data import copy_graph
from edgelm.graph.rewrites import add_weight, remove_unused, rename_value, weights_of
from edgelm.graph.session import make_plain_session, make_watching_session
from edgelm.metrics.rows import is_real
from edgelm.precision import precision_of
from edgelm.quantize.evaluator import Evaluator
from edgelm.quantize.statistics import Feeds

_FLOAT = onnx.TensorProto.FLOAT
_NO_BF16 = ("LpNormalization",)  # TensorRT has it in FP32 and FP16 alone
_OWN_TYPE = frozenset(("Cast", "Constant", "ConstantOfShape", "EyeLike"))
_LARGEST = 65504.0  # the largest finite FP16 number
_MARGIN = 4.0  # other texts may reach further than those that were seen
_MASKED = -1e4  # in place of the most negative float: its exponential is zero in every precision, and it fits FP16


def to_half(
    graph: onnx.ModelProto, precision: str, *, full: Collection[str] = (), emulate: bool = False
) -> onnx.ModelProto:
    """Convert a graph to `fp16` or `bf16`, with FP32 inputs and outputs.

    Casts stand where the two precisions meet, one for each value and precision.

    Args:
        full: first outputs of the nodes that stay in FP32.
        emulate: keep FP32 and round every value through the smaller precision: what the graph computes, for a machine
            whose kernels do not know the precision.
    """
    result = _with_soft_masks(graph)
    writer = _Writer(result, _onnx_type(precision), frozenset(full), emulate)
    nodes = list(result.graph.node)
    del result.graph.node[:]
    for node in nodes:
        writer.add(node)
    for output in result.graph.output:
        writer.finish(output.name)
    remove_unused(result)
    return result


def needs_emulation(precision: str) -> bool:
    """Whether onnxruntime's CPU kernels, by which this machine judges graphs, do not compute the precision."""
    return "onnxruntime" not in precision_of(precision).targets


def find_full(graph: onnx.ModelProto, feeds: Iterable[Feeds]) -> frozenset[str]:
    """First outputs of the nodes that FP16 cannot hold: on these inputs something that they read, write or sum comes
    near its end."""
    graph = _with_soft_masks(graph)
    floats = _float_values(graph)
    names = sorted(floats)
    session = make_watching_session(graph, names)
    largest = dict.fromkeys(names, 0.0)
    squares = dict.fromkeys(names, 0.0)
    for feed in feeds:
        for name, values in zip(names, session.run(names, feed), strict=True):
            largest[name] = max(largest[name], _magnitude(values))
            if values.ndim:
                squares[name] = max(squares[name], _magnitude((values.astype(np.float64) ** 2).sum(axis=-1)))
    constants = {
        name: _magnitude(numpy_helper.to_array(tensor))
        for name, tensor in weights_of(graph).items()
        if tensor.data_type == _FLOAT
    }
    limit = _LARGEST / _MARGIN
    found = set()
    for node in graph.graph.node:
        inner = squares.get(node.input[0], 0.0) if "Normalization" in node.op_type and node.input else 0.0
        reached = [largest.get(name, 0.0) for name in (*node.input, *node.output)]
        fixed = [constants.get(name, 0.0) for name in node.input]
        if max([inner, *reached, 0.0]) > limit or max([*fixed, 0.0]) > _LARGEST:
            found.add(node.output[0])
    return frozenset(found)


def keep_precise(graph: onnx.ModelProto, full: frozenset[str], judge: Evaluator, precision: str) -> frozenset[str]:
    """Add kinds of operators to those that stay in FP32 until every output is within the precision's tolerance,
    relative to the largest of its text, the most helpful first.

    Args:
        judge: inputs with the outputs of the float graph.
    """
    tolerance, emulated = precision_of(precision).tolerance, needs_emulation(precision)

    def error(names: frozenset[str]) -> float:
        session = make_plain_session(to_half(graph, precision, full=names, emulate=emulated))
        return relative_error(judge.run(session), judge.wanted)

    floats = _float_values(graph)
    kinds: dict[str, set[str]] = {}
    for node in graph.graph.node:
        if node.output[0] in floats and node.output[0] not in full:
            kinds.setdefault(node.op_type, set()).add(node.output[0])
    while kinds and error(full) > tolerance:
        best = min(kinds, key=lambda kind: error(full | frozenset(kinds[kind])))
        full |= frozenset(kinds.pop(best))
    return full


def relative_error(outputs: np.ndarray, wanted: np.ndarray) -> float:
    """The largest difference of an output, relative to the largest magnitude among its text's outputs.

    Where a text's outputs are all near zero (a tie of two classes), the median text's magnitude stands in for its own.

    Returns:
        infinity, if an output is not finite.
    """
    if not np.isfinite(outputs).all():
        return float("inf")
    real = is_real(wanted)
    outputs, wanted = np.where(real, outputs, 0), np.where(real, wanted, 0)
    scale = np.abs(wanted).max(axis=-1, keepdims=True)
    return float((np.abs(outputs - wanted) / np.maximum(scale, np.median(scale))).max())


class _Writer:
    """Writes the nodes again, each in its precision; knows in which precision every float value is."""

    def __init__(self, graph: onnx.ModelProto, half: int, full: frozenset[str], emulate: bool) -> None:
        self._nodes = graph.graph.node
        self._graph = graph
        self._half, self._full, self._emulate = half, full, emulate
        self._weights = {
            name: numpy_helper.to_array(tensor)
            for name, tensor in weights_of(graph).items()
            if tensor.data_type == _FLOAT
        }
        self._kinds = _float_values(graph)
        self._precision = dict.fromkeys(self._kinds, _FLOAT)
        self._made: dict[tuple[str, int], str] = {}

    def add(self, node: onnx.NodeProto) -> None:
        """Write a node in its precision, with the casts that it needs."""
        if not any(name in self._kinds or name in self._weights for name in (*node.input, *node.output)):
            self._nodes.append(node)
            return
        # A cast to float makes what comes after it half by itself, and must not be asked to do both; nor what says the
        # type of its result in an attribute.
        lacking = self._half == onnx.TensorProto.BFLOAT16 and node.op_type in _NO_BF16
        precision = _FLOAT if node.output[0] in self._full or node.op_type in _OWN_TYPE or lacking else self._half
        inputs = [self._read(name, precision) for name in node.input]
        del node.input[:]
        node.input.extend(inputs)
        results = [name for name in node.output if name in self._kinds]
        self._precision.update(dict.fromkeys(results, precision))
        rounded = results if self._emulate and precision != _FLOAT else []
        outputs = [f"{name}_exact" if name in rounded else name for name in node.output]
        del node.output[:]
        node.output.extend(outputs)
        self._nodes.append(node)
        for name in rounded:
            self._nodes.append(helper.make_node("Cast", [f"{name}_exact"], [f"{name}_small"], to=self._half))
            self._nodes.append(helper.make_node("Cast", [f"{name}_small"], [name], to=_FLOAT))

    def finish(self, name: str) -> None:
        """Give a graph's output in FP32."""
        if self._emulate or self._precision.get(name, _FLOAT) == _FLOAT:
            return
        inner = f"{name}_half"
        rename_value(self._graph, name, inner)
        self._nodes.append(helper.make_node("Cast", [inner], [name], to=_FLOAT))

    def _read(self, name: str, precision: int) -> str:
        """The name of a value in a precision."""
        if name in self._weights:
            if precision == _FLOAT:
                return name
            if (name, precision) not in self._made:
                self._made[name, precision] = self._add_weight(name)
        elif self._emulate or name not in self._kinds or self._precision[name] == precision:
            return name
        elif (name, precision) not in self._made:
            self._made[name, precision] = f"{name}_as_{'float' if precision == _FLOAT else 'half'}"
            self._nodes.append(helper.make_node("Cast", [name], [self._made[name, precision]], to=precision))
        return self._made[name, precision]

    def _add_weight(self, name: str) -> str:
        """A constant in the smaller precision (emulated: rounded to it)."""
        import ml_dtypes

        small = self._weights[name].astype(np.float16 if self._half == onnx.TensorProto.FLOAT16 else ml_dtypes.bfloat16)
        return add_weight(self._graph, f"{name}_half", small.astype(np.float32) if self._emulate else small)


def _onnx_type(precision: str) -> int:
    name = precision_of(precision).onnx_type
    if name is None:
        raise UsageError(f"{precision} is not made of floats.", hint="Convert to fp16 or bf16.")
    return int(onnx.TensorProto.DataType.Value(name))


def _with_soft_masks(graph: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which masks add -1e4 where they added the most negative float or minus infinity."""
    result = copy_graph(graph)
    for tensor in result.graph.initializer:
        if tensor.data_type == _FLOAT and np.prod(tensor.dims) <= 1:
            values = numpy_helper.to_array(tensor)
            if (values <= np.finfo(np.float32).min).any():
                tensor.CopyFrom(numpy_helper.from_array(np.full_like(values, _MASKED), tensor.name))
    return result


def _magnitude(values: np.ndarray) -> float:
    largest = float(np.abs(values).max(initial=0))
    return largest if np.isfinite(largest) else np.inf


def _float_values(graph: onnx.ModelProto) -> frozenset[str]:
    """The computed values that are FP32, by onnxruntime's type inference: it knows its own operators too."""
    watched = copy_graph(graph)
    names = [name for node in graph.graph.node for name in node.output if name]
    del watched.graph.output[:]
    watched.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    session = make_plain_session(watched, optimize=False)
    return frozenset(value.name for value in session.get_outputs() if value.type == "tensor(float)")
