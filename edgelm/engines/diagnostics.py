"""What TensorRT's parser and builder say, as errors that name the ONNX node and what to do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from edgelm.errors import EngineError
from edgelm.runtime.tensorrt import Backend

_ELSEWHERE = "or run the graph with onnxruntime: --provider cuda"
# By what the message says; the first that is found. The rest: see _ELSEWHERE.
_ADVICE: tuple[tuple[str, str], ...] = (
    (
        r"UINT8|zero.?point|asymmetric",
        "TensorRT reads signed, symmetric integers: export with --device of a GPU or a Jetson",
    ),
    (
        r"type mismatch|same type|data ?types?",
        "all inputs of the node must have one type: export again with --precision fp16 or fp32",
    ),
    (
        r"no importer|unsupported|not supported|plugin",
        "export with --device of a GPU or a Jetson, which writes standard operators alone",
    ),
    (r"opset", "export with a lower --opset"),
    (
        r"CUDA",
        "without a GPU here only plain engines are built: leave --strip and --refit out of `edgelm build`, or build "
        "on the device",
    ),
    (r"memory|workspace|alloc", "give `edgelm build` more --workspace, or export with a shorter --max-length"),
    (r"shape|dimension|broadcast|profile", "export for shapes that the model takes: --max-length, --max-batch"),
)


def parser_error(path: str, backend: Backend, parser: Any) -> EngineError:
    """From the first of the parser's errors, with the number of the others."""
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    if not errors:
        return EngineError(
            f"{path}: {backend.name} {backend.version} cannot read the graph.", hint=f"Export it again, {_ELSEWHERE}."
        )
    first = errors[0]
    name = first.node_name() or f"number {first.node()}"
    where = f"node {name} ({first.node_operator()})" if first.node_operator() else "the graph"
    more = f", and {len(errors) - 1} more errors" if len(errors) > 1 else ""
    return EngineError(
        f"{path}: {backend.name} {backend.version} cannot take {where}: {_line(first.desc())}{more}.",
        hint=_advice(first.desc()),
    )


def builder_error(path: str, backend: Backend, messages: Sequence[str]) -> EngineError:
    """From the builder's log; it names the layers, which are named like the nodes that they come from."""
    text = _line(messages[0]) if messages else "it gives no reason"
    return EngineError(f"{path}: {backend.name} {backend.version} cannot build an engine: {text}.", hint=_advice(text))


def _advice(text: str) -> str:
    found = next((advice for pattern, advice in _ADVICE if re.search(pattern, text, re.IGNORECASE)), None)
    return (
        f"{found[0].upper()}{found[1:]}, {_ELSEWHERE}." if found else f"Export with another --precision, {_ELSEWHERE}."
    )


def _line(text: str) -> str:
    """Its first line, without the function of TensorRT that it came from."""
    line = text.strip().splitlines()[0] if text.strip() else "no reason given"
    return re.sub(r"^(In function \w+:|\[\w+\.cpp::\w+::\d+\])\s*", "", line)[:240].rstrip(".")
