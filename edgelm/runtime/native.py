"""Runs the program of a bundle by edgelm-native, a library of its own package: an INT8 encoder without onnxruntime.

The export writes the program beside the graph, from the graph, so that either answers for the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np

from edgelm.errors import BundleError
from edgelm.runtime.bundle import Bundle
from edgelm.runtime.graph_spec import GraphSpec
from edgelm.runtime.manifest import WEIGHTS_FILE

NATIVE = "native"
PROGRAM_FILE = "native.program"
PACKAGE = "edgelm_native"
_FASTER = ("avx512-vnni", "avx2")  # sets of instructions


@dataclass(frozen=True)
class _Value:
    """An input or output, as onnxruntime's sessions describe theirs."""

    name: str


class NativeSession:
    """A program as an inference session: the same calls as onnxruntime's.

    Args:
        threads: that compute one call.

    Raises:
        BundleError: the program is damaged, or has other outputs than the manifest says.
    """

    def __init__(self, bundle: Bundle, graph: GraphSpec, *, threads: int) -> None:
        from edgelm_native import Encoder, NativeError

        self._graph, self._threads, self._error = graph, threads, NativeError
        try:
            self._encoder = Encoder(bundle.read(PROGRAM_FILE), _weights(bundle))
        except NativeError as error:
            raise BundleError(f"{bundle.path}: {PROGRAM_FILE}: {error}.", hint="Export it again.") from error
        self._shapes = {spec.name: len(spec.shape) for spec in graph.outputs}
        if not set(self._encoder.outputs) >= set(self._shapes):
            raise BundleError(
                f"{bundle.path}: {PROGRAM_FILE} has other outputs than the graph.", hint="Export it again."
            )

    @property
    def instruction_set(self) -> str:
        """That the library runs by here."""
        return str(self._encoder.instruction_set)

    def run(self, names: Sequence[str] | None, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Outputs by name (None: all), float32.

        Raises:
            ValueError: inputs that the program cannot take, such as ids that no table has.
        """
        results = self._encoder(feeds, threads=self._threads)
        return [self._shaped(name, results[name]) for name in names or self._shapes]

    def _shaped(self, name: str, values: np.ndarray) -> np.ndarray:
        """Without the last axis where the graph's output has none."""
        return values[..., 0] if values.ndim > self._shapes[name] else values

    def get_inputs(self) -> list[_Value]:
        """In the graph's order."""
        return [_Value(spec.name) for spec in self._graph.inputs]

    def get_outputs(self) -> list[_Value]:
        """In the graph's order."""
        return [_Value(spec.name) for spec in self._graph.outputs]

    def get_providers(self) -> list[str]:
        """What runs it."""
        return [NATIVE]


def is_wanted(bundle: Bundle) -> bool:
    """Whether the bundle holds a program, and the library is installed and faster than onnxruntime here."""
    return not misfit(bundle) and is_faster()


def is_preferred() -> bool:
    """Whether a bundle with a program would run by the library here."""
    return not library_misfit() and is_faster()


def is_faster() -> bool:
    """Whether the library, which is installed and loads, is faster than onnxruntime on this CPU: where it was measured
    to be (benchmarks/native.py), which is with AVX-512 VNNI and with AVX2 without any VNNI."""
    from edgelm_native import instruction_sets

    return instruction_sets()[0] in _FASTER


def misfit(bundle: Bundle) -> str:
    """Why the library cannot run the bundle here, in words; empty: it can."""
    if not (bundle.has(PROGRAM_FILE) and bundle.has(WEIGHTS_FILE)):
        return "the bundle has no program"
    return library_misfit()


def library_misfit() -> str:
    """Why there is no library here, in words; empty: there is."""
    if find_spec(PACKAGE) is None:
        return "edgelm-native is not installed"
    try:
        from edgelm_native import instruction_sets

        instruction_sets()
    except OSError as error:
        return f"edgelm-native does not load ({error})"
    return ""


def _weights(bundle: Bundle) -> Any:
    """The weights, compared with the manifest: mapped from a folder, read from one file."""
    if bundle.is_file or not bundle.manifest.graph().session.get("mapped", True):
        return bundle.read(WEIGHTS_FILE)
    return np.memmap(bundle.check(WEIGHTS_FILE), dtype=np.uint8, mode="r")
