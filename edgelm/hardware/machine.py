"""What this machine is: CPU, instruction sets, memory, GPUs and library versions; only the standard library."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

# Instruction sets that change how fast INT8 and half precision run, by the names that Linux gives them.
INSTRUCTIONS = (
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx_vnni",
    "avx512_bf16",
    "amx_int8",
    "amx_bf16",
    "asimddp",
    "i8mm",
    "bf16",
    "sve",
)
QUIET = 0.15  # share of its cores that others may use, and a machine is still said to be idle
PACKAGES = ("edgelm", "numpy", "onnxruntime", "tokenizers", "torch", "transformers", "onnx")


@dataclass(frozen=True)
class Machine:
    """What this machine is: memory in 10^9 bytes; `cores` are those that this process may use."""

    cpu: str
    arch: str
    cores: int
    instructions: tuple[str, ...]
    memory_gb: float | None
    system: str
    python: str
    gpus: tuple[str, ...]
    versions: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self) | {"instructions": list(self.instructions), "gpus": list(self.gpus)}


def describe_machine() -> Machine:
    """Look at this machine."""
    flags = _cpu_flags()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Machine(
        cpu=_cpu_model(),
        arch=platform.machine(),
        cores=cores,
        instructions=tuple(name for name in INSTRUCTIONS if name in flags),
        memory_gb=_memory_gb(),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        gpus=_gpus(),
        versions={name: found for name in PACKAGES if (found := installed_version(name))},
    )


def installed_version(package: str) -> str | None:
    """The version of an installed package, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpuinfo(*names: str) -> str:
    path = Path("/proc/cpuinfo")
    if path.is_file():
        for line in path.read_text(errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() in names:
                return value.strip()
    return ""


def _cpu_model() -> str:
    return _cpuinfo("model name", "Model", "Hardware") or platform.processor() or platform.machine()


def _cpu_flags() -> set[str]:
    return set(_cpuinfo("flags", "Features").split())


def _memory_gb() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (ValueError, OSError, AttributeError):
        return None


def _gpus() -> tuple[str, ...]:
    """NVIDIA GPUs by the driver's own tool, and the model of a Jetson board."""
    board = Path("/proc/device-tree/model")
    found = [board.read_text(errors="replace").strip("\0 \n")] if board.is_file() else []
    found = [name for name in found if "NVIDIA" in name]
    if shutil.which("nvidia-smi"):
        try:
            answer = subprocess.run(
                ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"],
                capture_output=True,
                text=True,
                timeout=5,
                check=False,
            )
            found += [line.strip() for line in answer.stdout.splitlines() if line.strip() and answer.returncode == 0]
        except (OSError, subprocess.SubprocessError):
            pass
    return tuple(found)
