"""What a bundle would take on a device that is not there, by the cost model: never measured, and marked so."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgelm.data.dataset import Dataset
from edgelm.device import Device
from edgelm.errors import MissingExtraError, UsageError, install_extra
from edgelm.profile.generation.estimate import PROVENANCE, EstimatedStep, estimate_generation
from edgelm.profile.inputs import find_texts, make_feeds
from edgelm.profile.plan import refuse
from edgelm.profile.subject import Subject, find_subject
from edgelm.runtime import open_bundle
from edgelm.runtime.golden import Golden
from edgelm.runtime.manifest import GOLDEN_FILE

if TYPE_CHECKING:
    from edgelm.cost.roofline import Constants, Cost

ESTIMATE_SCHEMA = 1
_TOKENS = 32  # of a graph without a bundle


@dataclass(frozen=True)
class OperatorShare:
    """All nodes of one operator type.

    Attributes:
        nodes: in the graph.
        launches: kernels: fewer where the runtime does a node inside another's.
        ms: of one call.
        share: of the whole call.
        compute_ms, memory_ms, launch_ms: what operations, bytes and launches alone take; `ms` has the longer of the
            first two, node by node.
        bound: compute, memory or launch: which took most of `ms`.
    """

    name: str
    nodes: int
    launches: int
    ms: float
    share: float
    compute_ms: float
    memory_ms: float
    launch_ms: float
    bound: str


@dataclass(frozen=True)
class EstimatedCase:
    """One batch size and sequence length.

    Attributes:
        p50_ms: of one call.
        low_ms, high_ms: eight of ten measurements are expected between them, as on the pairs that the model was checked
            on.
        operations: 10^9, a multiplication and an addition being two.
        bytes_mb: read and written, 10^6 bytes.
        bounds: ms by what bounds them: compute, memory, launch, and the call itself.
        operators: the slowest first.
    """

    batch: int
    sequence: int
    p50_ms: float
    low_ms: float
    high_ms: float
    operations: float
    bytes_mb: float
    bounds: dict[str, float]
    operators: tuple[OperatorShare, ...]


@dataclass(frozen=True)
class Estimate:
    """A subject on a device.

    Attributes:
        name, path, precision, size_mb: of the subject.
        device, title: of the device.
        cases: per batch size and sequence length; of a model that writes per context, then per prompt.
        provenance: what the model's constants were fitted to and checked on.
        source: "estimated".
    """

    name: str
    path: str
    precision: str
    size_mb: float
    device: str
    title: str
    cases: tuple[EstimatedCase, ...] | tuple[EstimatedStep, ...]
    provenance: str
    source: str = "estimated"
    schema: int = ESTIMATE_SCHEMA

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def estimate_all(
    subject: str | Path,
    devices: Sequence[Device],
    *,
    compare: Sequence[str | Path] = (),
    batch_sizes: Sequence[int] = (1,),
    sequence_lengths: Sequence[int] = (),
    contexts: Sequence[int] = (),
    prompt_lengths: Sequence[int] = (),
    data: Dataset | None = None,
) -> list[Estimate]:
    """Estimate a subject, and others beside it, on each device: first by device, then by subject.

    Args:
        sequence_lengths: tokens of each text; empty: one length for all, the median of the first subject's texts, see
            `estimate`.
        contexts: of models that write: tokens behind which one more is written; empty: 16, 256 and 1,024, as far as the
            model holds them.
        prompt_lengths: of models that write: tokens of prompts up to the first one written; empty: 16, 128 and 512,
            likewise, where the device has a rate for the bundle's precision.

    Raises:
        EdgelmError: as `estimate`, or texts that the first subject does not read.
    """
    subjects = [find_subject(path) for path in (subject, *compare)]
    if subjects[0].generates:
        refuse(subjects[0], "writes text", batch=tuple(batch_sizes) != (1,), sequence=bool(sequence_lengths), data=data)
        return [
            _estimate_generation(found, device, contexts, prompt_lengths) for device in devices for found in subjects
        ]
    refuse(subjects[0], "writes no text", context=bool(contexts), prompt_length=bool(prompt_lengths))
    lengths = sequence_lengths or (_usual_length(subjects[0], data),)
    graphs = [_read_graph(found) for found in subjects]
    return [
        _estimate(found, graph, device, batch_sizes, lengths)
        for device in devices
        for found, graph in zip(subjects, graphs, strict=True)
    ]


def _estimate_generation(
    found: Subject, device: Device, contexts: Sequence[int], prompt_lengths: Sequence[int]
) -> Estimate:
    what = (found.name, str(found.path), found.precision, found.size_mb)
    cases = estimate_generation(found, device, contexts=contexts, prompt_lengths=prompt_lengths)
    return Estimate(*what, device.name, device.title, cases, PROVENANCE)


def estimate(
    subject: str | Path, device: Device, *, batch_sizes: Sequence[int] = (1,), sequence_lengths: Sequence[int] = ()
) -> Estimate:
    """Estimate a bundle or an ONNX file on a device, from the graph and the device's figures.

    Args:
        batch_sizes: texts in one call.
        sequence_lengths: tokens of each text; empty: the median of the bundle's golden samples, 32 for an ONNX file.

    Raises:
        InputError: nothing that has a graph, or a graph that cannot be read.
        UsageError: the device's file lacks a figure that this takes.
        MissingExtraError: the package onnx is not installed.
    """
    found = find_subject(subject)
    if found.generates:
        return estimate_all(subject, [device], batch_sizes=batch_sizes, sequence_lengths=sequence_lengths)[0]
    return _estimate(found, _read_graph(found), device, batch_sizes, sequence_lengths or (_usual_length(found),))


def _estimate(
    found: Subject, graph: Any, device: Device, batch_sizes: Sequence[int], sequence_lengths: Sequence[int]
) -> Estimate:
    from edgelm.cost.roofline import is_compiled, load_constants, price
    from edgelm.cost.work import graph_work
    from edgelm.graph.rewrites import operator_counts

    constants, nodes = load_constants(device.kind), operator_counts(graph)
    cases = []
    for sequence in sequence_lengths:
        for batch in batch_sizes:
            costs = price(
                graph_work(graph, batch=batch, sequence=sequence, fused=is_compiled(device)), device, constants
            )
            cases.append(_case(costs, constants, batch, sequence, nodes))
    what = (found.name, str(found.path), found.precision, found.size_mb)
    return Estimate(*what, device.name, device.title, tuple(cases), constants.provenance)


def _read_graph(subject: Subject) -> Any:
    try:
        import onnx
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "the package onnx is missing; it reads the graph that an estimate is made of.",
            hint=install_extra("compress"),
        ) from error
    from edgelm.graph.branches import unbranch

    if subject.kind == "bundle":
        bundle = open_bundle(subject.path)
        graph = onnx.ModelProto.FromString(bundle.read(bundle.manifest.graph().file))
        unbranch(graph)  # a text that goes to the end
        return graph
    if subject.kind == "onnx":
        return onnx.load(subject.path, load_external_data=False)
    raise UsageError(
        f"{subject.path} is a checkpoint; an estimate is made from a graph.",
        hint="Export it first with `edgelm export`.",
    )


def _usual_length(subject: Subject, data: Dataset | None = None) -> int:
    """Tokens of a text: of the data, if there are any, else of the golden samples."""
    if subject.kind != "bundle":
        return _TOKENS
    if data is not None:
        calls = make_feeds([subject], find_texts([subject], data), [(1, None)])[0][0]
    else:
        calls = Golden.from_json(open_bundle(subject.path).read(GOLDEN_FILE)).inputs
    return round(statistics.median(len(next(iter(call.values()))[0]) for call in calls)) if calls else _TOKENS


def _case(
    costs: Sequence[Cost], constants: Constants, batch: int, sequence: int, nodes: dict[str, int]
) -> EstimatedCase:
    from edgelm.cost.roofline import total_ms

    call, total = constants.call_us / 1e3, total_ms(costs, constants)
    groups: dict[str, list[Cost]] = {}
    for cost in costs:
        groups.setdefault(cost.work.operator, []).append(cost)
    rows = sorted(
        (_operator(name, nodes[name], group, total) for name, group in groups.items()), key=lambda row: -row.ms
    )
    low, high = constants.band
    operations = sum(cost.work.operations for cost in costs) / 1e9
    moved = sum(cost.work.weights + cost.work.activations for cost in costs) / 1e6
    return EstimatedCase(
        batch,
        sequence,
        total,
        low * total,
        high * total,
        operations,
        moved,
        _bounds(costs) | {"call": call},
        tuple(rows),
    )


def _operator(name: str, nodes: int, costs: Sequence[Cost], total: float) -> OperatorShare:
    bounds = _bounds(costs)
    ms = sum(cost.ms for cost in costs)
    compute, memory = sum(cost.compute for cost in costs), sum(cost.memory for cost in costs)
    launches = sum(cost.work.launches for cost in costs)
    bound = max(bounds, key=lambda part: bounds[part])
    return OperatorShare(name, nodes, launches, ms, ms / total, compute, memory, bounds["launch"], bound)


def _bounds(costs: Sequence[Cost]) -> dict[str, float]:
    """Ms by what bounds them."""
    found = {"compute": 0.0, "memory": 0.0, "launch": sum(cost.launch for cost in costs)}
    for cost in costs:
        found["compute" if cost.compute >= cost.memory else "memory"] += max(cost.compute, cost.memory)
    return found
