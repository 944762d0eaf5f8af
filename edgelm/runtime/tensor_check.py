"""Whether a session's graph has the tensors that the manifest says: what is made room for, and read, goes by those."""

from __future__ import annotations

from typing import Any

from edgelm.errors import BundleError
from edgelm.runtime.graph_spec import GraphSpec

# By onnxruntime's names.
_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(bfloat16)": "bfloat16",
    "tensor(double)": "float64",
    "tensor(bool)": "bool",
    **{f"tensor({kind}{bits})": f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)},
}


def check_tensors(graph: GraphSpec, session: Any) -> None:
    """Refuse a graph whose inputs and outputs are of another name, type or size than the manifest says; an axis that
    either leaves open may have any size.

    Args:
        session: of onnxruntime.

    Raises:
        BundleError: by the tensor's name.
    """
    found = (
        {value.name: value for value in session.get_inputs()},
        {value.name: value for value in session.get_outputs()},
    )
    said = [("input", found[0], spec) for spec in graph.inputs] + [("output", found[1], spec) for spec in graph.outputs]
    for side, there, spec in said:
        value = there.get(spec.name)
        if value is None:
            raise BundleError(
                f"manifest.json: graph {graph.name}: the graph has no {side} called {spec.name}.",
                hint="Copy or export the bundle again.",
            )
        shape = value.shape
        same = _DTYPES.get(value.type, value.type) == spec.dtype and (
            not isinstance(shape, list) or len(shape) == len(spec.shape)
        )
        if same and isinstance(shape, list):
            pairs = zip(shape, spec.shape, strict=True)
            same = all(has == said for has, said in pairs if isinstance(has, int) and isinstance(said, int))
        if not same:
            raise BundleError(
                f"manifest.json: graph {graph.name}: {spec.name} is said to be {spec.dtype} {list(spec.shape)}; the "
                f"graph has {_DTYPES.get(value.type, value.type)} {shape}.",
                hint="Copy or export the bundle again.",
            )
