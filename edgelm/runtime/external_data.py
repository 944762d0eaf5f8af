"""What a bundle's graph may hold: weights in the bundle alone, and the kinds of operators that edgelm writes.

onnxruntime reads whatever file a graph names beside itself or, for a graph in memory, beside the process, and runs
loops of any length. So the protobuf message is looked through before a session is made of it.
"""

from __future__ import annotations

from edgelm.errors import BundleError
from edgelm.limits import ELEMENTS
from edgelm.runtime.onnx_scan import scan

_DOMAINS = {b"", b"ai.onnx", b"com.microsoft"}  # of the operators that edgelm and onnxruntime's optimizer write
_DOMAIN = "operators of the domain {}, which edgelm never writes"
_LOOPS = (b"Loop", b"Scan", b"SequenceMap", b"BeamSearch", b"GreedySearch", b"Sampling", b"WhisperBeamSearch")
_REFUSED = {  # their attributes name a file that an execution provider loads; work without end; other answers each time
    b"EPContext": "a compiled graph",
    **dict.fromkeys(_LOOPS, "a loop"),
    **dict.fromkeys(
        (b"Bernoulli", b"Multinomial", b"RandomNormal", b"RandomNormalLike", b"RandomUniform", b"RandomUniformLike"),
        "random numbers",
    ),
}


def check_graph(data: bytes, weights: str | None, about: str) -> None:
    """Refuse a graph that would have onnxruntime read another file than the bundle's weights, run what edgelm never
    writes, or make tensors that fill the memory.

    Args:
        data: a serialized ONNX model.
        weights: the one file that its tensors may lie in; None: they must all be in the graph.
        about: the bundle and the graph's name in it, for the message.

    Raises:
        BundleError: it names another file, holds operators of an unknown domain, of random numbers, of loops
            or for one compiler, is too large, or is no ONNX model.
    """
    try:
        found = scan(data, about)
    except (IndexError, ValueError) as error:
        raise BundleError(
            f"{about} cannot be read: it is no ONNX model.", hint="Copy or export the bundle again."
        ) from error
    if strange := sorted(found.locations - ({weights.encode()} if weights else set())):
        name = strange[0].decode(errors="replace")[:80]
        raise BundleError(
            f"{about} takes weights from {name!r}, which is not in the bundle.",
            hint="Do not use this bundle; get it from its maker again.",
        )
    for what in (*(_DOMAIN.format(name) for name in _strange(found.domains - _DOMAINS)), *sorted(found.parts)):
        _refuse(about, what)
    if found.branches and b"If" not in found.operators:
        _refuse(about, "a graph inside of an operator")
    for operator, what in _REFUSED.items():
        if operator in found.operators:
            _refuse(about, f"{what} ({operator.decode()})")
    ELEMENTS.check(found.asked, about)


def has_branches(data: bytes, about: str) -> bool:
    """Whether a serialized graph that was looked through has others inside of its nodes."""
    return scan(data, about).branches > 0


def _strange(names: set[bytes]) -> list[str]:
    return [ascii(name.decode(errors="replace")[:80]) for name in sorted(names)]


def _refuse(about: str, what: str) -> None:
    raise BundleError(f"{about} holds {what}.", hint="Do not use this bundle; get it from its maker again.")
