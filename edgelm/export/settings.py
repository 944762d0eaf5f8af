"""What is asked of an export."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgelm.data.dataset import Dataset
from edgelm.device import Device
from edgelm.progress import Progress
from edgelm.quantize.settings import Quantization


@dataclass(frozen=True)
class ExportSettings:
    """The arguments of `edgelm.export.pipeline.export`, which says what each is."""

    checkpoint: str | Path
    output: Path
    device: Device
    precision: str
    calibration: Dataset | None
    quantization: Quantization
    evaluation: Dataset | None
    pairs: bool | None
    max_length: int | None
    opset: int | None
    single: bool
    max_batch: int
    engine: bool
    seed: int
    allow_pickle: bool
    overwrite: bool
    kind: str | None
    progress: Progress
