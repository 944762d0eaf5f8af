"""A Device: where a bundle will run, as data; each figure with its source."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from edgelm.errors import DeviceError, UsageError
from edgelm.files.shipped import find_file
from edgelm.files.yaml_model import load_yaml_model
from edgelm.precision import PRECISIONS, precision_of


def _known_precision(name: str) -> str:
    if name not in PRECISIONS:
        raise ValueError(f"expected one of {', '.join(PRECISIONS)}")
    return name


PrecisionName = Annotated[str, AfterValidator(_known_precision)]
Positive = Annotated[float, Field(gt=0)]

# What may run a bundle; `onnxruntime-` may stand before it.
RUNTIMES = ("tensorrt", "tensorrt-rtx", "cuda", "openvino", "coreml", "qnn", "xnnpack", "native", "cpu")

# Figures that mean nothing without saying where they come from.
_SOURCED = (
    "memory_gb",
    "bandwidth_gb_s",
    "compute",
    "power_modes_w",
    "compute_capability",
    "cores",
    "storage",
    "gpus",
    "software",
)


class Device(BaseModel):
    """What is known of a device.

    Attributes:
        kind: cpu, gpu (desktop or data centre) or jetson.
        instructions: that matter to kernels, such as avx2, avx512_vnni, asimddp.
        memory_gb, bandwidth_gb_s: main memory (of the GPU, where it has its own), in 10^9 bytes.
        precisions: that `export` makes for it.
        compute: rate by precision, in 10^12 operations a second, dense: the published peak, or what was measured.
        runtimes: in the order in which they are preferred, such as tensorrt or onnxruntime-cpu.
        power_modes_w: power budgets that can be chosen, in watts.
        storage: what models can be kept on, in words.
        gpus: NVIDIA GPUs beside a CPU, in words; each is a device of its own.
        software: versions by name, such as jetpack, cuda, tensorrt.
        sources: for each figure above, where it is published, what it is calculated from, or how it was measured.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(min_length=1)]
    title: str
    kind: Literal["cpu", "gpu", "jetson"]
    arch: Literal["x86_64", "aarch64", "any"]
    description: str = ""
    instructions: tuple[str, ...] = ()
    cores: Annotated[int, Field(gt=0)] | None = None
    memory_gb: Positive | None = None
    bandwidth_gb_s: Positive | None = None
    precisions: Annotated[tuple[PrecisionName, ...], Field(min_length=1)]
    compute: dict[PrecisionName, Positive] = Field(default_factory=dict)
    runtimes: Annotated[tuple[str, ...], Field(min_length=1)]
    power_modes_w: tuple[Positive, ...] = ()
    compute_capability: str | None = None
    storage: str = ""
    gpus: tuple[str, ...] = ()
    software: dict[str, str] = Field(default_factory=dict)
    sources: dict[str, str] = Field(default_factory=dict)

    @field_validator("runtimes")
    @classmethod
    def _every_runtime_is_known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in names if name.removeprefix("onnxruntime-") not in RUNTIMES]
        if unknown:
            raise ValueError(f"unknown: {', '.join(unknown)}; known are {', '.join(RUNTIMES)}")
        return names

    @model_validator(mode="after")
    def _every_figure_has_a_source(self) -> Device:
        missing = [name for name in _SOURCED if getattr(self, name) and name not in self.sources]
        if missing:
            raise ValueError(f"no source is given for {', '.join(missing)}; add each under sources")
        return self

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return self.model_dump(mode="json")


def load_device(name_or_path: str | Path) -> Device:
    """Read a device by shipped name or path.

    Raises:
        UsageError: no such device.
        DeviceError: an unknown key, an impossible value, or a figure without a source, with its line.
    """
    return load_yaml_model(find_file(name_or_path, "devices"), Device, DeviceError)


def check_precision(device: Device, precision: str) -> None:
    """Refuse a precision that the device does not run.

    Raises:
        UsageError: no such precision, or one that the device does not run, with those that it does.
    """
    if precision_of(precision).name not in device.precisions:
        raise UsageError(
            f"device {device.name} does not run {precision}.", hint=f"It runs: {', '.join(device.precisions)}."
        )
