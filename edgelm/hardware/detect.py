"""Describes the machine that this runs on as a device: what it is, and what was measured on it, each figure saying
which."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal

import yaml

from edgelm.device import Device
from edgelm.errors import EdgelmError, UsageError
from edgelm.files.output import check_output, staged_output
from edgelm.hardware.busy import look
from edgelm.hardware.gpus import Gpu, find_gpus
from edgelm.hardware.machine import Machine, describe_machine
from edgelm.hardware.peak_rates import SECONDS, SIZE, copy_mb, measure_bandwidth, measure_products
from edgelm.precision import precisions_for
from edgelm.progress import Progress, silent
from edgelm.runtime.cuda import JETSONS

_COMMAND = "`edgelm devices detect`"
_STEPS = 3


@dataclass(frozen=True)
class Detected:
    """A device and the file that it was written to; `notes` say what could not be found out, and why."""

    path: Path
    device: Device
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"path": str(self.path), "device": self.device.to_dict(), "notes": list(self.notes)}


def detect_device(
    output: str | Path,
    *,
    gpu: int | None = None,
    threads: int | None = None,
    overwrite: bool = False,
    progress: Progress = silent,
) -> Detected:
    """Write a device file for this machine.

    Args:
        output: where to; its name without the suffix becomes the device's.
        gpu: describe this NVIDIA GPU (counted from 0) by what its driver says; None: the CPU, which is measured.
        threads: that measure; None: one for each core that this process may use.

    Raises:
        OutputExistsError: `output` exists and `overwrite` is not set.
        UsageError: `output` is a folder, or there is no such GPU.
        MissingExtraError, ResourceError: a GPU was asked for, and nvidia-ml-py or the driver is missing.
    """
    output = Path(output)
    check_output(output, overwrite=overwrite)
    machine = describe_machine()
    try:
        gpus, notes = find_gpus(), []
    except EdgelmError as error:
        if gpu is not None:
            raise
        gpus, notes = (), [f"GPUs: {error.message} {error.hint}"]
    if gpu is None:
        busy = look().others
        device = _describe_cpu(output, machine, gpus, threads or machine.cores, busy, progress)
        if busy:
            notes.append(f"Measured {busy}: on an idle machine the figures may be higher.")
        notes += [
            f"GPU {index}: `edgelm devices detect FILE --gpu {index}` describes it." for index in range(len(gpus))
        ]
    else:
        device = _describe_gpu(output.stem, machine, gpus, gpu)
        notes.append(
            "The GPU's bandwidth and rates are not measured; the shipped devices have those that NVIDIA publishes."
        )
    with staged_output(output, overwrite=overwrite) as aside:
        aside.write_text(_to_yaml(device), encoding="utf-8")
    return Detected(output, device, tuple(notes))


def _describe_cpu(
    output: Path, machine: Machine, gpus: tuple[Gpu, ...], threads: int, busy: str, progress: Progress
) -> Device:
    import onnxruntime

    megabytes = copy_mb(machine.memory_gb)
    progress("measuring", 0, _STEPS)
    bandwidth = measure_bandwidth(threads=threads, megabytes=megabytes)
    progress("measuring", 1, _STEPS)
    fp32 = measure_products("fp32", threads=threads)
    progress("measuring", 2, _STEPS)
    int8 = measure_products("int8", threads=threads)
    progress("measuring", 3, _STEPS)
    version = onnxruntime.__version__
    on = f"{_COMMAND} on {machine.cpu}, {date.today().isoformat()}"
    found, by = f"found by {on}", f"{threads} threads, the best within {SECONDS:g} s" + (f", {busy}" if busy else "")
    values = {
        "name": output.stem,
        "title": machine.cpu,
        "kind": "cpu",
        "arch": _arch(machine),
        "instructions": machine.instructions,
        "cores": machine.cores,
        "memory_gb": machine.memory_gb,
        "bandwidth_gb_s": _three_digits(bandwidth),
        "precisions": precisions_for("onnxruntime"),
        "compute": {"fp32": _three_digits(fp32), "int8": _three_digits(int8)},
        "runtimes": ("onnxruntime-cpu",),
        "storage": _storage(output),
        "gpus": tuple(map(str, gpus)),
        "software": {"system": machine.system, "onnxruntime": version},
    }
    sources = dict.fromkeys(("cores", "memory_gb", "storage", "gpus", "software"), found) | {
        "bandwidth_gb_s": f"measured by {on}: copies of {megabytes} MB, bytes read and bytes written, {by}",
        "compute": f"measured by {on}: products of {SIZE} x {SIZE} matrices in onnxruntime {version}, {by}",
    }
    return _make(values, sources)


def _describe_gpu(name: str, machine: Machine, gpus: tuple[Gpu, ...], index: int) -> Device:
    if not 0 <= index < len(gpus):
        raise UsageError(
            f"there is no GPU {index}.",
            hint=f"There are: {'; '.join(f'{number}: {gpu}' for number, gpu in enumerate(gpus)) or 'none'}.",
        )
    gpu = gpus[index]
    values = {
        "name": name,
        "title": gpu.name,
        "kind": "jetson" if gpu.compute_capability in JETSONS else "gpu",
        "arch": _arch(machine),
        "cores": machine.cores,
        "memory_gb": gpu.memory_gb or machine.memory_gb,
        "precisions": precisions_for("tensorrt", capability=float(gpu.compute_capability or 0)),
        "runtimes": (
            *(["tensorrt-rtx"] if "RTX" in gpu.name else []),
            "tensorrt",
            "onnxruntime-cuda",
            "onnxruntime-cpu",
        ),
        "compute_capability": gpu.compute_capability,
        "software": {
            key: value for key, value in (("driver", gpu.driver), ("cuda", gpu.cuda and f"up to {gpu.cuda}")) if value
        },
    }
    found = f"found by {_COMMAND} through NVML on {machine.cpu}, {date.today().isoformat()}"
    return _make(values, dict.fromkeys(("cores", "memory_gb", "compute_capability", "software"), found))


def _make(values: dict[str, Any], sources: dict[str, str]) -> Device:
    known = {name: value for name, value in values.items() if value}
    return Device.model_validate(
        known | {"sources": {name: source for name, source in sources.items() if name in known}}
    )


def _arch(machine: Machine) -> Literal["x86_64", "aarch64", "any"]:
    arch = machine.arch.lower()
    return "x86_64" if arch in ("x86_64", "amd64") else "aarch64" if arch in ("aarch64", "arm64") else "any"


def _storage(output: Path) -> str:
    folder = next(parent for parent in output.absolute().parents if parent.exists())
    return f"{shutil.disk_usage(folder).total / 1e9:.0f} GB"


def _three_digits(value: float) -> float:
    return float(f"{value:.3g}")


def _to_yaml(device: Device) -> str:
    """Short lists in a line, sources one a line, under a head that says what the file is."""
    values = device.model_dump(mode="json", exclude_defaults=True)
    sources = {"sources": values.pop("sources")}
    head = f"# {device.title}, as {_COMMAND} found it.\n#\n#   edgelm devices show {device.name}.yaml\n"
    body = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=10_000, default_flow_style=None)
    return head + body + yaml.safe_dump(sources, sort_keys=False, allow_unicode=True, width=10_000)
