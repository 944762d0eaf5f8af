"""What the benchmarks on a GPU have in common: the device that is here, and errors as cells of a table."""

from __future__ import annotations

import torch

from edgelm import load_device
from edgelm.device import Device
from edgelm.errors import EdgelmError, ResourceError, UsageError
from edgelm.files.shipped import shipped_names
from edgelm.runtime.cuda import find_gpu

_LONGEST = 220  # characters of an error in a table


def find_device(on: str, name: str | None) -> Device:
    """The device that bundles are made for: the one named, or that of the GPU here.

    Raises:
        ResourceError: no GPU answers.
        UsageError: edgelm ships no device of its compute capability.
    """
    if on == "cpu":
        return load_device(name or "cpu")
    gpu = find_gpu()
    if gpu is None or not torch.cuda.is_available():
        lacking = "PyTorch" if not torch.cuda.is_available() else "cuda-bindings"
        raise ResourceError(
            f"no GPU to measure on: {lacking} finds none here.",
            hint="It takes a CUDA build of torch and edgelm[tensorrt] where `nvidia-smi` works; --on cpu takes the "
            "table without a GPU.",
        )
    names = [name] if name else shipped_names("devices")
    found = next(
        (device for device in map(load_device, names) if name or device.compute_capability == gpu.compute_capability),
        None,
    )
    if found is None:
        raise UsageError(
            f"no shipped device has this GPU's compute capability {gpu.compute_capability}.",
            hint="Name a like one with --device.",
        )
    return found


def told(error: BaseException) -> str:
    """An error as a cell of a Markdown table, in one line."""
    said = error.message if isinstance(error, EdgelmError) else f"{type(error).__name__}: {error}"
    return as_cell(said)


def as_cell(said: str) -> str:
    """A text of any kind as a cell of a Markdown table."""
    return " ".join(said.split())[:_LONGEST].replace("|", "/")
