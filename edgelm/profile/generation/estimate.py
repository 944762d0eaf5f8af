"""What a token would take on a device that is not there: every weight is read once for it, and so are the keys and
values of its context; memory is what bounds that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgelm.device import Device
from edgelm.errors import UsageError
from edgelm.profile.generation.cache import cache_bytes
from edgelm.profile.generation.plan import generation_points
from edgelm.profile.generation.worker import NEXT
from edgelm.profile.subject import Subject
from edgelm.runtime import open_bundle
from edgelm.runtime.generation.decoder import DECODER

PROVENANCE = (
    "the bytes of a token over the device's bandwidth: at best all of it, at worst 40 %, which is what engines reach "
    "with weights of four bits at least; the p50 with the share that encoders reach on CPUs. Fitted to no generator"
)
_WORST = 0.4  # share of the bandwidth
_ROWS_ALONE = {"Gather", "GatherBlockQuantized", "GatherND"}  # which read rows of a table, not all of it


@dataclass(frozen=True)
class EstimatedToken:
    """One token more, behind a context.

    Attributes:
        measure: `token`, as `edgelm.profile.generation.case.GenerationCase` has it.
        tokens: of the context.
        p50_ms, low_ms, high_ms: of one token; low is where all of the bandwidth is reached.
        tokens_per_s: from `p50_ms`.
        bytes_mb: that are read for it, 10^6 bytes.
        cache_mb: keys and values among them.
    """

    tokens: int
    p50_ms: float
    low_ms: float
    high_ms: float
    tokens_per_s: float
    bytes_mb: float
    cache_mb: float
    measure: str = NEXT


def estimate_tokens(subject: Subject, device: Device, contexts: Sequence[int]) -> tuple[EstimatedToken, ...]:
    """A token behind each context.

    Args:
        contexts: in tokens; empty: those that a profile measures.

    Raises:
        UsageError: no bundle, a GPU on a card (generators run on the CPU), a device without a bandwidth, or a context
            that the model does not hold.
    """
    if subject.kind != "bundle":
        raise UsageError(
            f"{subject.path} is no bundle; an estimate is made from a graph.",
            hint="Export it first with `edgelm export`.",
        )
    if device.kind == "gpu":
        raise UsageError(
            f"{subject.path} writes text, which edgelm runs on the CPU; {device.name} is a GPU.",
            hint="Name the machine's CPU, such as --device x86-server.",
        )
    if not device.bandwidth_gb_s:
        raise UsageError(
            f"device {device.name} has no memory bandwidth to estimate a token from.",
            hint="Measure there: `edgelm devices detect FILE`.",
        )
    import onnx

    from edgelm.cost.roofline import load_constants

    bundle = open_bundle(subject.path)
    decoder = bundle.manifest.graph(DECODER)
    model = onnx.ModelProto.FromString(bundle.read(decoder.file))
    constants, weights = load_constants("cpu"), weight_bytes(model)
    launches_ms = (len(model.graph.node) * constants.launch_us + constants.call_us) / 1e3
    found = []
    for point in generation_points([subject], contexts=contexts):
        if point.measure != NEXT:
            continue
        cache = cache_bytes(decoder, point.tokens)
        least = (weights + cache) / (device.bandwidth_gb_s * 1e6)
        usual = least / min(1.0, constants.memory) + launches_ms
        mb = ((weights + cache) / 1e6, cache / 1e6)
        found.append(EstimatedToken(point.tokens, usual, least, least / _WORST + launches_ms, 1000 / usual, *mb))
    return tuple(found)


def weight_bytes(model: Any) -> int:
    """What a step of a graph reads of its weights: each once, tables of which it takes single rows not at all.

    Args:
        model: a `ModelProto`, with or without its external data.
    """
    readers: dict[str, set[str]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, set()).add(node.op_type)
    sizes: dict[Any, int] = {}
    for tensor in model.graph.initializer:
        outside = {entry.key: entry.value for entry in tensor.external_data}
        if readers.get(tensor.name, set()) <= _ROWS_ALONE:
            continue
        place = (outside["location"], outside.get("offset", "0")) if outside else tensor.name
        sizes[place] = int(outside["length"]) if outside else tensor.ByteSize()
    return sum(sizes.values())
