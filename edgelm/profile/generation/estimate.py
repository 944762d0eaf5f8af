"""What a model that writes would take on a device that is not there.

A token reads every weight once, and the keys and values of its context: memory is what bounds it. A prompt's first
token takes all operations of the prompt, with every weight read once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from edgelm.device import Device
from edgelm.errors import UsageError
from edgelm.profile.generation.cache import cache_bytes
from edgelm.profile.generation.plan import generation_points
from edgelm.profile.generation.prompt_work import PromptWork, prompt_works
from edgelm.profile.generation.worker import FIRST, NEXT
from edgelm.profile.subject import Subject
from edgelm.runtime import open_bundle
from edgelm.runtime.generation.decoder import DECODER

PROVENANCE = (
    "the bytes of a token over the device's bandwidth: at best all of it, at worst 40 %, which is what engines reach "
    "with weights of four bits at least; a prompt's operations over the device's rate, its weights over the bandwidth, "
    "whichever takes longer: at best all of the rate, at worst half of what encoders reach; the p50 with the shares "
    "that encoders reach. Fitted to no generator"
)
WORST_SHARE = 0.4  # share of the bandwidth
_WORST_RATE = 0.5  # of the share of the rate that encoders reach


@dataclass(frozen=True)
class EstimatedToken:
    """One token more, behind a context.

    Attributes:
        measure: `token`, as `edgelm.profile.generation.case.GenerationCase` has it.
        tokens: of the context.
        p50_ms, low_ms, high_ms: of one token; low is where all of the bandwidth is reached.
        tokens_per_s: from `p50_ms`.
        bytes_mb: that are read for it, 10^6 bytes.
        cache_mb: keys and values among them; what the cache takes in memory.
        held_mb: that and the bundle's files: the least that the memory has to hold.
        memory_mb: the device's; None: not known.
    """

    tokens: int
    p50_ms: float
    low_ms: float
    high_ms: float
    tokens_per_s: float
    bytes_mb: float
    cache_mb: float
    held_mb: float
    memory_mb: float | None
    measure: str = NEXT


@dataclass(frozen=True)
class EstimatedPrompt:
    """A prompt, or an encoder-decoder's source, up to the first token.

    Attributes:
        measure: `first-token`, as `edgelm.profile.generation.case.GenerationCase` has it.
        tokens: of the prompt.
        p50_ms, low_ms, high_ms: up to the first token; low is where all of the rate, or of the bandwidth, is reached.
        tokens_per_s: that are read, from `p50_ms`.
        operations: 10^9, a multiplication and an addition being two.
        bytes_mb: of weights, each read once, 10^6 bytes.
        bound: compute or memory: what takes longer.
    """

    tokens: int
    p50_ms: float
    low_ms: float
    high_ms: float
    tokens_per_s: float
    operations: float
    bytes_mb: float
    bound: str
    measure: str = FIRST


EstimatedStep = EstimatedToken | EstimatedPrompt


def estimate_generation(
    subject: Subject, device: Device, *, contexts: Sequence[int], prompt_lengths: Sequence[int]
) -> tuple[EstimatedStep, ...]:
    """A token behind each context, then the first token of each prompt; in the order in which a profile has them.

    Args:
        contexts, prompt_lengths: in tokens; empty: those that a profile measures. Without prompt lengths, prompts are
            left out for a device that has no rate for the bundle's precision.

    Raises:
        UsageError: no bundle, a GPU on a card (generators run on the CPU), a device without a bandwidth or, where
            prompts are asked for, a rate, or lengths that the model does not hold.
    """
    _check(subject, device)
    bundle = open_bundle(subject.path)
    decoder, works = bundle.manifest.graph(DECODER), prompt_works(bundle)
    names = [graph.name for graph in bundle.manifest.graphs]
    step, held_mb = works[names.index(DECODER)], bundle.size_bytes / 1e6
    found: list[EstimatedStep] = []
    for point in generation_points([subject], contexts=contexts, prompt_lengths=prompt_lengths):
        if point.measure == NEXT:
            found.append(_token(step, cache_bytes(decoder, point.tokens), point.tokens, device, held_mb))
            continue
        try:
            found.append(_prompt(works, point.tokens, device))
        except UsageError:
            if prompt_lengths:
                raise
    return tuple(found)


def _check(subject: Subject, device: Device) -> None:
    if subject.kind != "bundle":
        raise UsageError(
            f"{subject.path} is no bundle; an estimate is made from a graph.",
            hint="Export it first with `edgelm export`.",
        )
    if device.kind == "gpu":
        raise UsageError(
            f"{subject.path} writes text, estimated for CPUs and Jetsons alone; {device.name} is a GPU on a card.",
            hint="Name the machine's CPU, such as --device x86-server, or measure there.",
        )
    if not device.bandwidth_gb_s:
        raise UsageError(
            f"device {device.name} has no memory bandwidth to estimate a token from.",
            hint="Measure there: `edgelm devices detect FILE`.",
        )


def _token(step: PromptWork, cache: int, tokens: int, device: Device, bundle_mb: float) -> EstimatedToken:
    from edgelm.cost.roofline import load_constants

    read, constants = step.weights + cache, load_constants("cpu")
    least, launches = read / _bandwidth(device), _launches_ms([step])
    usual = least / min(1.0, constants.memory) + launches
    memory_mb = None if device.memory_gb is None else device.memory_gb * 1e3
    times = (usual, least, least / WORST_SHARE + launches)
    return EstimatedToken(tokens, *times, 1000 / usual, read / 1e6, cache / 1e6, bundle_mb + cache / 1e6, memory_mb)


def _prompt(works: Sequence[PromptWork], tokens: int, device: Device) -> EstimatedPrompt:
    from edgelm.cost.roofline import load_constants, peak_rate

    constants = load_constants("cpu")
    operations: Counter[str] = Counter()
    for work in works:
        operations.update(work.operations(tokens))
    # Rates are in 10^12 operations a second: 10^9 a ms.
    full = {name: count / (peak_rate(device, name) * 1e9) for name, count in operations.items()}
    compute, reached = sum(full.values()), sum(ms / constants.shares.get(name, 1.0) for name, ms in full.items())
    weights, launches = sum(work.weights for work in works), _launches_ms(works)
    memory = weights / _bandwidth(device)
    streamed = memory / min(1.0, constants.memory)
    usual, worst = max(reached, streamed) + launches, max(reached / _WORST_RATE, memory / WORST_SHARE) + launches
    times, bound = (usual, max(compute, memory), worst), "compute" if reached > streamed else "memory"
    return EstimatedPrompt(tokens, *times, 1000 * tokens / usual, operations.total() / 1e9, weights / 1e6, bound)


def _bandwidth(device: Device) -> float:
    """Bytes a ms."""
    return (device.bandwidth_gb_s or 0.0) * 1e6


def _launches_ms(works: Sequence[PromptWork]) -> float:
    from edgelm.cost.roofline import load_constants

    constants = load_constants("cpu")
    return sum(work.nodes * constants.launch_us + constants.call_us for work in works) / 1e3
