"""A graph's inputs and outputs bound to arrays, which it reads and writes in place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgelm.errors import BundleError


class Binding:
    """The arrays that a session reads and writes. One that is there already is not bound again."""

    def __init__(self, session: Any) -> None:
        self._session, self._bound = session, session.io_binding()
        self._run = session.run_with_iobinding
        self._arrays: dict[str, np.ndarray] = {}  # they must live as long as the binding does

    def read(self, name: str, array: np.ndarray) -> None:
        """Have an input read this array, C-contiguous; its content may change until the next run."""
        if self._arrays.get(name) is not array:
            self._arrays[name] = array
            self._bound.bind_cpu_input(name, array)

    def write(self, name: str, array: np.ndarray) -> None:
        """Have an output write into this array, C-contiguous."""
        if self._arrays.get(name) is not array:
            self._arrays[name] = array
            self._bound.bind_output(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)

    def clear(self) -> None:
        """Hold no array any longer; all are to be bound again."""
        self._arrays.clear()
        self._bound = self._session.io_binding()  # its own method to clear leaves the arrays of inputs alive

    def run(self) -> None:
        """Run the graph.

        Raises:
            BundleError: it fails.
        """
        try:
            self._run(self._bound)
        except Exception as error:  # onnxruntime's exceptions have no common base but Exception
            raise refusal(error, self._arrays) from error


def refusal(error: Exception, arrays: Mapping[str, np.ndarray]) -> BundleError:
    """What a graph says of its inputs, as an error that names their shapes."""
    reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
    shapes = ", ".join(
        f"{name} {' x '.join(map(str, array.shape))}"
        for name, array in arrays.items()
        if array.ndim < 4  # keys and values are many, and alike
    )
    return BundleError(
        f"the graph cannot take {shapes}: {reason[:200]}",
        hint="`edgelm verify` checks the bundle; export it again if it passes.",
    )
