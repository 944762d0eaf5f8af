"""The GPU of this machine and its memory, through NVIDIA's own bindings (package cuda-python); imported only to run
engines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgelm.errors import MissingExtraError, ResourceError, install_extra

JETSONS = (
    "7.2",
    "8.7",
    "11.0",
)  # compute capabilities of Xavier, Orin and Thor, which no other GPU has (developer.nvidia.com/cuda-gpus)


@dataclass(frozen=True)
class Gpu:
    """The first GPU that CUDA shows: compute capability such as 8.9, and the CUDA version that its driver runs."""

    compute_capability: str
    driver: str


def find_gpu() -> Gpu | None:
    """The GPU, or None where there is no driver or no GPU, or the bindings are not installed."""
    try:
        runtime = _bindings()
        attributes = runtime.cudaDeviceAttr
        major = _call(runtime.cudaDeviceGetAttribute, attributes.cudaDevAttrComputeCapabilityMajor, 0)
        minor = _call(runtime.cudaDeviceGetAttribute, attributes.cudaDevAttrComputeCapabilityMinor, 0)
        driver = _call(runtime.cudaDriverGetVersion)
    except (MissingExtraError, ResourceError):
        return None
    return Gpu(f"{major}.{minor}", f"{driver // 1000}.{driver % 1000 // 10}")


class Stream:
    """A queue of work on the GPU, and buffers that are kept from call to call."""

    def __init__(self) -> None:
        self._runtime = _bindings()
        self.handle: Any = _call(self._runtime.cudaStreamCreate)
        self._buffers: dict[str, tuple[int, int]] = {}

    def buffer(self, name: str, size: int) -> int:
        """The address of at least so many bytes on the GPU, under this name."""
        address, room = self._buffers.get(name, (0, 0))
        if room < size:
            if address:
                _call(self._runtime.cudaFree, address)
            address = int(_call(self._runtime.cudaMalloc, size))
            self._buffers[name] = (address, size)
        return address

    def upload(self, name: str, values: np.ndarray) -> int:
        """Copy an array to the buffer of this name; its address."""
        address = self.buffer(name, values.nbytes)
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        _call(self._runtime.cudaMemcpyAsync, address, values.ctypes.data, values.nbytes, kind, self.handle)
        return address

    def download(self, name: str, into: np.ndarray) -> None:
        """Copy the buffer of this name to an array, which holds it after `wait`."""
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        _call(self._runtime.cudaMemcpyAsync, into.ctypes.data, self._buffers[name][0], into.nbytes, kind, self.handle)

    def copy_rows(self, target: tuple[int, int], source: tuple[int, int], *, width: int, rows: int) -> None:
        """Copy rows of bytes from one place on the GPU to another.

        Args:
            target, source: the address of the first row, and how many bytes behind each row the next one begins.
            width: bytes of a row that are copied.
        """
        if width:
            kind = self._runtime.cudaMemcpyKind.cudaMemcpyDeviceToDevice
            _call(self._runtime.cudaMemcpy2DAsync, *target, *source, width, rows, kind, self.handle)

    def wait(self) -> None:
        """Until all that was queued is done."""
        _call(self._runtime.cudaStreamSynchronize, self.handle)


def _bindings() -> Any:
    try:
        from cuda.bindings import runtime
    except ImportError as error:
        raise MissingExtraError(
            "the package cuda-python is missing; it moves data to the GPU.", hint=install_extra("tensorrt")
        ) from error
    return runtime


def _call(function: Callable[..., Any], *values: Any) -> Any:
    """What a function of CUDA returns beside its status.

    Raises:
        ResourceError: the status is an error.
    """
    try:
        status, *results = function(*values)
    except RuntimeError as error:  # the bindings do not find CUDA's own library
        raise ResourceError(f"CUDA cannot be used: {error}.", hint="Look whether `nvidia-smi` works.") from error
    if int(status) != 0:
        raise ResourceError(
            f"CUDA says {getattr(status, 'name', status)} in {function.__name__}.",
            hint="Look whether `nvidia-smi` works.",
        )
    return results[0] if results else None
