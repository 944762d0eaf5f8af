"""INT8 sums on this CPU: whether onnxruntime's kernels cut them off, and what is done about a bundle that could suffer
from it.

On x86 without VNNI, products of UINT8 and INT8 are summed by pairs in 16 bits, and what does not fit is cut off,
without a word. The weights of a bundle for such CPUs leave no pair that could; those of others are computed exactly
there too, in a slower way.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from edgelm.runtime.manifest import Manifest

# 255 * 128 < 2**15: weights whose pairs sum to no more cannot overflow 16 bits, whatever they are multiplied with
EXACT_PAIR = 128
INTEGERS = (
    "int8",
    "int8-dynamic",
)  # precisions that multiply UINT8 with INT8; weights of 4 or 8 bits in blocks meet no such kernel
# onnxruntime's own way out, named in its onnxruntime_session_options_config_keys.h: weights become UINT8, which AVX2
# sums in 32 bits.
EXACT_ENTRY = "session.x64quantprecision"

# An ONNX model, MatMulInteger of a (1, 4) UINT8 with four weights of 127: fields in hexadecimal, as protobuf writes
# them.
_PROBE = bytes.fromhex(
    "0805 3a58 0a18 0a0161 0a0162 120179 220d4d61744d756c496e7465676572 120167 2a0f 0804 0801 1003 420162 4a047f7f7f7f"
    "5a13 0a0161 120e 0a0c 0802 1208 0a020801 0a020804 6213 0a0179 120e 0a0c 0806 1208 0a020801 0a020801 4204 0a00100a"
)
_LARGEST = np.full((1, 4), 255, dtype=np.uint8)


class SaturationWarning(UserWarning):
    """A bundle for CPUs with wider sums runs slower here than one made for this CPU would."""


def sums_exactly() -> bool:
    """Whether onnxruntime's INT8 kernels sum exactly here: four products of the largest bytes, by the kernel that this
    CPU gets."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(_PROBE, options, providers=["CPUExecutionProvider"])
    return int(session.run(None, {"a": _LARGEST})[0][0, 0]) == 4 * 255 * 127


def is_proven(manifest: Manifest) -> bool:
    """Whether the bundle's products are exact on every CPU: it has none in integers, or its weights leave no pair that
    could overflow."""
    pair_sum = _pair_sum(manifest)
    return manifest.precision not in INTEGERS or (pair_sum is not None and pair_sum <= EXACT_PAIR)


def _pair_sum(manifest: Manifest) -> int | None:
    """What two neighbouring INT8 weights of any graph sum to at most; None: not known."""
    sums = [graph.pair_sum for graph in manifest.graphs]
    return max(found) if len(found := [each for each in sums if each is not None]) == len(sums) else None


def needs_exact_kernels(manifest: Manifest) -> bool:
    """Whether this CPU would answer otherwise than that which the bundle was made for, if onnxruntime did as it does by
    itself."""
    return not is_proven(manifest) and not sums_exactly()


def warn_if_slower(path: Any, manifest: Manifest) -> None:
    """Say so where the bundle runs by the exact kernels, which are slower."""
    if needs_exact_kernels(manifest):
        warnings.warn(
            f"{path}: its INT8 weights are for CPUs with VNNI or the like, which this one has not. Its sums are kept "
            "exact, which takes longer; "
            "`edgelm export --device cpu` makes weights that need no such care.",
            SaturationWarning,
            stacklevel=4,
        )


def describe_sums(manifest: Manifest) -> str:
    """What `verify` says of the bundle's INT8 sums on this CPU; "" where it has none."""
    if manifest.precision not in INTEGERS:
        return ""
    room = f"16-bit sums hold {EXACT_PAIR}"
    if is_proven(manifest):
        return f"exact on every CPU: neighbouring weights sum to {_pair_sum(manifest)} at most, {room}"
    here = (
        "exact here: this CPU sums in 32 bits"
        if sums_exactly()
        else "exact here, but slower: this CPU sums in 16 bits, other kernels are used"
    )
    known = "what neighbouring weights sum to is not known"
    if (pair_sum := _pair_sum(manifest)) is not None:
        known = f"neighbouring weights sum to {pair_sum}"
    return f"{here}; {known}, {room}"
