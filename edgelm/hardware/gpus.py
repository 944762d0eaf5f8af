"""The NVIDIA GPUs of this machine, by the driver's own library (NVML); the package nvidia-ml-py speaks to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edgelm.errors import MissingExtraError, ResourceError, install_extra


@dataclass(frozen=True)
class Gpu:
    """An NVIDIA GPU: memory in 10^9 bytes, None where the GPU has none of its own (Jetson); `cuda`: the newest that the
    driver runs."""

    name: str
    memory_gb: float | None
    compute_capability: str | None
    driver: str | None
    cuda: str | None

    def __str__(self) -> str:
        """In one line, what is not known left out."""
        figures = (
            ("", self.memory_gb, " GB"),
            ("compute capability ", self.compute_capability, ""),
            ("driver ", self.driver, ""),
        )
        return ", ".join(
            [self.name, *(f"{before}{value}{after}" for before, value, after in figures if value is not None)]
        )


def find_gpus() -> tuple[Gpu, ...]:
    """Every GPU that the driver shows to this process, in its order.

    Raises:
        MissingExtraError: nvidia-ml-py is not installed.
        ResourceError: no driver answers.
    """
    try:
        import pynvml
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "the package nvidia-ml-py is missing; it asks NVIDIA's driver about GPUs.", hint=install_extra("gpu")
        ) from error
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise ResourceError(
            f"no NVIDIA driver answers: {error}.", hint="Install the driver, or look whether `nvidia-smi` works."
        ) from error
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        return tuple(_describe(pynvml, handle) for handle in handles)
    except pynvml.NVMLError as error:
        raise ResourceError(
            f"the NVIDIA driver does not show its GPUs: {error}.", hint="Look whether `nvidia-smi` works."
        ) from error
    finally:
        pynvml.nvmlShutdown()


def _describe(pynvml: Any, handle: Any) -> Gpu:
    def ask(question: Callable[..., Any], *about: Any) -> Any:
        try:
            return question(*about)
        except pynvml.NVMLError:  # a Jetson's driver leaves some questions open
            return None

    memory = ask(pynvml.nvmlDeviceGetMemoryInfo, handle)
    capability = ask(pynvml.nvmlDeviceGetCudaComputeCapability, handle)
    cuda = ask(pynvml.nvmlSystemGetCudaDriverVersion)
    return Gpu(
        name=_text(pynvml.nvmlDeviceGetName(handle)),
        memory_gb=round(memory.total / 1e9, 1) if memory is not None and memory.total else None,
        compute_capability=None if capability is None else f"{capability[0]}.{capability[1]}",
        driver=_text(ask(pynvml.nvmlSystemGetDriverVersion)),
        cuda=None if cuda is None else f"{cuda // 1000}.{cuda % 1000 // 10}",
    )


def _text(value: Any) -> Any:
    """Older versions of the package answer in bytes."""
    return value.decode() if isinstance(value, bytes) else value
