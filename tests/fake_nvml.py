"""A stand-in for the module pynvml: the answers of a driver, and the questions that it leaves open."""

from types import ModuleType, SimpleNamespace
from typing import Any


class NVMLError(Exception):
    """Named as pynvml names it."""


def make_pynvml(*gpus: dict[str, Any], works: bool = True) -> ModuleType:
    """A module with as many GPUs; one that lacks a key answers that question with an error, as a Jetson's driver
    does."""
    module = ModuleType("pynvml")
    module.opened = 0  # type: ignore[attr-defined]

    def start() -> None:
        if not works:
            raise NVMLError("NVML Shared Library Not Found")
        module.opened += 1  # type: ignore[attr-defined]

    def stop() -> None:
        module.opened -= 1  # type: ignore[attr-defined]

    def answer(key: str) -> Any:
        def ask(handle: int = 0) -> Any:
            if key not in gpus[handle]:
                raise NVMLError("Not Supported")
            return gpus[handle][key]

        return ask

    vars(module).update(
        NVMLError=NVMLError,
        nvmlInit=start,
        nvmlShutdown=stop,
        nvmlDeviceGetCount=lambda: len(gpus),
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetName=answer("name"),
        nvmlDeviceGetMemoryInfo=answer("memory"),
        nvmlDeviceGetCudaComputeCapability=answer("capability"),
        nvmlSystemGetDriverVersion=answer("driver"),
        nvmlSystemGetCudaDriverVersion=answer("cuda"),
    )
    return module


RTX = {
    "name": "NVIDIA GeForce RTX 3060",
    "memory": SimpleNamespace(total=12 * 1024**3, used=512 * 1024**2),
    "capability": (8, 6),
    "driver": "580.95.05",
    "cuda": 13000,
}
T4 = RTX | {
    "name": b"Tesla T4",
    "memory": SimpleNamespace(total=15 * 1024**3),
    "capability": (7, 5),
    "driver": b"535.1",
    "cuda": 12020,
}
ORIN = {"name": "Orin (nvgpu)", "capability": (8, 7), "driver": "540.4.0", "cuda": 12060}
