"""What the graphs of a manifest must be like beyond the types of their fields."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from edgelm.errors import BundleError
from edgelm.runtime.engine_plan import EnginePlan
from edgelm.runtime.graph_spec import OPTIMIZED_FILE, GraphSpec, Role, TensorSpec
from edgelm.runtime.session_settings import check_settings

_LONGEST_AXIS = 1 << 24
_LARGEST_SIZE = 1 << 31  # of a tensor's axis
_NEWEST_OPSET = 1000  # far beyond what there is
_MOST_LAYERS = 1 << 16
_OUTPUTS = ("logits", "start", "end", "embedding", "present-key", "present-value")
_EITHER = ("cross-key", "cross-value")  # which an encoder gives and a decoder reads
_INPUTS = tuple(role for role in get_args(Role) if role not in _OUTPUTS)


def check_graphs(graphs: Sequence[GraphSpec]) -> None:
    """Refuse graphs that no manifest of edgelm lists.

    Raises:
        BundleError: no graph, or two of one name or file; a file that does not lie beside the manifest; names that
            cannot be printed; tensors of one name, or of a role that they cannot have; keys and values without a layer,
            or that are read and not given again; a plan whose profiles do not say the sizes of the inputs; an unknown
            session setting.
    """
    if not graphs:
        _refuse("graphs: there is none")
    for what in ("name", "file"):
        found = [getattr(graph, what) for graph in graphs]
        if len(set(found)) < len(found) or not all(each and each.isprintable() for each in found):
            _refuse(f"graphs: each needs a {what} of its own that can be printed")
    for index, graph in enumerate(graphs):
        _check_graph(graph, f"graphs[{index}]")


def _check_graph(graph: GraphSpec, place: str) -> None:
    if not graph.file.endswith(".onnx") or "/" in graph.file or graph.file == OPTIMIZED_FILE:
        _refuse(f"{place}: file: {graph.file!r} is no .onnx file beside the manifest")
    if not 1 <= graph.opset <= _NEWEST_OPSET:
        _refuse(f"{place}: opset: {graph.opset} is not an opset")
    if graph.pair_sum is not None and graph.pair_sum < 0:
        _refuse(f"{place}: pair_sum: {graph.pair_sum} is no sum of absolute weights")
    _check_tensors(graph.inputs, f"{place}: inputs", (*_INPUTS, *_EITHER))
    _check_tensors(graph.outputs, f"{place}: outputs", (*_OUTPUTS, *_EITHER))
    given = {(spec.role, spec.layer) for spec in graph.outputs}
    for spec in graph.inputs:
        if spec.role.startswith("past-") and (spec.role.replace("past", "present"), spec.layer) not in given:
            _refuse(f"{place}: {spec.name}: the graph reads it and does not give it again")
    if graph.plan is not None:
        _check_plan(graph.plan, graph.inputs, f"{place}: plan")
    for number, record in enumerate(graph.engines):
        _check_plan(record.plan, graph.inputs, f"{place}: engines[{number}]: plan")
    check_settings(graph.session)


def _check_tensors(specs: Sequence[TensorSpec], place: str, roles: Sequence[str]) -> None:
    if not specs:
        _refuse(f"{place}: there is none")
    for spec in specs:
        if not spec.name or not spec.name.isprintable():
            _refuse(f"{place}: {spec.name!r} is not a name")
        if any(isinstance(size, int) and not 0 <= size < _LARGEST_SIZE for size in spec.shape):
            _refuse(f"{place}: {spec.name}: {list(spec.shape)} is not a shape")
        if spec.role not in roles:
            _refuse(f"{place}: {spec.name}: {spec.role} is not one of {', '.join(roles)}")
        if (
            spec.role.endswith(("-key", "-value")) != (spec.layer is not None)
            or not 0 <= (spec.layer or 0) < _MOST_LAYERS
        ):
            _refuse(f"{place}: {spec.name}: layer {spec.layer} does not go with {spec.role}")
    if len({spec.name for spec in specs}) < len(specs):
        _refuse(f"{place}: a name is there twice")
    if len({(spec.role, spec.layer) for spec in specs}) < len(specs):
        _refuse(f"{place}: a role is there twice")


def _check_plan(plan: EnginePlan, inputs: Sequence[TensorSpec], place: str) -> None:
    if not plan.profiles:
        _refuse(f"{place}: profiles: there is none")
    axes = {axis for spec in inputs for axis in spec.shape if isinstance(axis, str)}
    for index, profile in enumerate(plan.profiles):
        if missing := sorted(axes - profile.axes.keys()):
            _refuse(f"{place}: profiles[{index}]: no sizes of the inputs' {' and '.join(missing)}")
        for name, (least, usual, most) in profile.axes.items():
            if not 0 <= least <= usual <= most <= _LONGEST_AXIS:
                _refuse(f"{place}: profiles[{index}]: {name}: {least}, {usual}, {most} are not sizes in order")


def _refuse(what: str) -> None:
    raise BundleError(f"manifest.json: {what}.", hint="Copy or export the bundle again.")
