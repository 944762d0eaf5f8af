"""The noun Precision: how a graph keeps and computes its numbers, with every figure that follows from it.

Manifests, records, JSON and the command line hold the name alone; `precision_of` finds the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgelm.errors import UsageError

TargetName = Literal["onnxruntime", "tensorrt", "openvino"]
Rates = tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Precision:
    """One way to keep and compute the numbers of a graph.

    Attributes:
        name: in manifests, device files and options.
        conversion: from an FP32 graph. none: as it is; half: floats of 16 bits; static: integers, activations in
            ranges that calibration found; dynamic: integers, ranges taken at run time; blocks: weights alone in
            integers, in blocks of 32 with an FP16 scale each.
        bits: of a weight.
        calibration: what an export learns from texts by default. nothing; outputs: which operators have to stay in
            FP32 for the outputs' sake; reach: that, and which values FP16 cannot hold; ranges: of activations;
            moments: second moments of activations, for GPTQ (Frantar et al., 2022).
        tolerance: what parity allows, see `judged_by`.
        golden_tolerance: what another machine may compute otherwise, relative to the largest golden output.
        targets: names of those that compute it (`edgelm.quantize.target`); elsewhere it can only be emulated.
        cpu_rates, gpu_rates: where a device has no rate of its own: the rate of another precision, and what share of
            it, the best guide first.
        onnx_type: name of the ONNX element type of floats; None: weights are integers.
        least_capability: compute capability that a GPU of NVIDIA needs for it; 0: any.
    """

    name: str
    conversion: Literal["none", "half", "static", "dynamic", "blocks"]
    bits: int
    calibration: Literal["nothing", "outputs", "reach", "ranges", "moments"]
    tolerance: float
    golden_tolerance: float
    targets: tuple[TargetName, ...]
    cpu_rates: Rates
    gpu_rates: Rates
    onnx_type: str | None = None
    least_capability: float = 0.0

    @property
    def integers(self) -> bool:
        """Whether weights are integers."""
        return self.conversion in ("static", "dynamic", "blocks")

    @property
    def floats(self) -> str | None:
        """The precision of what is no integer; None: the target's own beside integers (`Target.floats`)."""
        return None if self.integers else self.name

    @property
    def judged_by(self) -> Literal["outputs", "answers"]:
        """What parity compares with `tolerance`: the largest error of an output, relative to the largest output (at
        least 1), or the share of answers that change. What integers do outside their ranges is their own."""
        return "answers" if self.integers else "outputs"

    @property
    def weight_bytes(self) -> float:
        """Bytes of one weight, with its share of a block's scale."""
        return self.bits / 8 + (2 / 32 if self.conversion == "blocks" else 0.0)

    @property
    def column_bytes(self) -> float:
        """Bytes that a matrix of integers takes beside its weights, for each of its columns: an FP32 scale."""
        return 4.0 if self.conversion in ("static", "dynamic") else 0.0


_ALL: tuple[TargetName, ...] = ("onnxruntime", "tensorrt", "openvino")
_CPU: tuple[TargetName, ...] = ("onnxruntime",)
_INT8: Rates = (("int8", 1.0),)
# Weights in blocks become FP16 on a GPU, and every GPU that runs INT8 does so at twice FP16's rate.
_AS_HALF: Rates = (("fp16", 1.0), ("int8", 1 / 2))

PRECISIONS: dict[str, Precision] = {
    row.name: row
    for row in (
        Precision(
            "fp32",
            conversion="none",
            bits=32,
            onnx_type="FLOAT",
            calibration="nothing",
            tolerance=1e-3,  # another order of sums
            golden_tolerance=1e-4,  # the same, of the same graph
            targets=_ALL,
            cpu_rates=(("fp32", 1.0),),
            gpu_rates=(("fp32", 1.0), ("fp16", 1 / 8), ("int8", 1 / 16)),  # outside the tensor cores of NVIDIA's GPUs
        ),
        Precision(
            "fp16",
            conversion="half",
            bits=16,
            onnx_type="FLOAT16",
            calibration="reach",
            tolerance=1e-2,  # ten bits
            golden_tolerance=1e-2,
            targets=_ALL,
            cpu_rates=(("fp32", 1.0),),  # onnxruntime's kernels for x86 compute it in FP32
            gpu_rates=(*_AS_HALF, ("fp32", 1.0)),
        ),
        Precision(
            "bf16",
            conversion="half",
            bits=16,
            onnx_type="BFLOAT16",
            calibration="outputs",  # it reaches as far as FP32
            tolerance=5e-2,  # seven bits
            golden_tolerance=5e-2,
            targets=("tensorrt",),
            cpu_rates=(("fp32", 1.0),),
            gpu_rates=(("bf16", 1.0), *_AS_HALF, ("fp32", 1.0)),
            least_capability=8.0,  # since Ampere
        ),
        Precision(
            "int8",
            conversion="static",
            bits=8,
            calibration="ranges",
            tolerance=0.05,
            golden_tolerance=1e-1,  # an activation on a rounding edge may take the neighbouring integer
            targets=_ALL,
            cpu_rates=_INT8,
            gpu_rates=_INT8,
        ),
        Precision(
            "int8-dynamic",
            conversion="dynamic",
            bits=8,
            calibration="nothing",
            tolerance=0.05,
            golden_tolerance=1e-1,
            targets=_CPU,
            cpu_rates=_INT8,
            gpu_rates=_INT8,
        ),
        Precision(
            "int8-weights",
            conversion="blocks",
            bits=8,
            calibration="nothing",
            tolerance=0.05,
            golden_tolerance=1e-1,
            targets=_CPU,
            cpu_rates=_INT8,  # `accuracy_level` 4: activations become bytes, block by block
            gpu_rates=_AS_HALF,
        ),
        Precision(
            "int4",
            conversion="blocks",
            bits=4,
            calibration="moments",
            tolerance=0.1,
            golden_tolerance=1e-1,
            targets=_CPU,
            cpu_rates=_INT8,
            gpu_rates=_AS_HALF,
        ),
    )
}


def precision_of(name: str) -> Precision:
    """The precision of a name.

    Raises:
        UsageError: no precision has that name.
    """
    if name not in PRECISIONS:
        raise UsageError(f"unknown precision {name!r}.", hint=f"Precisions: {', '.join(PRECISIONS)}.")
    return PRECISIONS[name]


def precisions_for(target: TargetName, *, capability: float | None = None) -> tuple[str, ...]:
    """Names of the precisions that a target computes.

    Args:
        target: name of the target: onnxruntime, tensorrt or openvino.
        capability: compute capability of the GPU; None: not known, or no GPU.
    """
    there = capability or 0.0
    return tuple(name for name, row in PRECISIONS.items() if target in row.targets and row.least_capability <= there)
