"""Checkpoint to bundle: a list of steps, each of which takes a draft of the bundle and returns it with more in it.

Another kind of model is another list of steps, between the same beginning and end.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgelm.data.dataset import Dataset
from edgelm.device import Device
from edgelm.export.finish import ExportResult, finish
from edgelm.export.generation.steps import GENERATION_STEPS
from edgelm.export.prepare import prepare
from edgelm.export.settings import ExportSettings
from edgelm.export.text_steps import TEXT_STEPS
from edgelm.files.claims import claim
from edgelm.files.scratch import open_scratch
from edgelm.progress import Progress, during, silent
from edgelm.quantize.settings import Quantization


def export(
    checkpoint: str | Path,
    *,
    output: str | Path,
    device: Device,
    precision: str = "int8",
    calibration: Dataset | None = None,
    quantization: Quantization = Quantization(),
    evaluation: Dataset | None = None,
    pairs: bool | None = None,
    max_length: int | None = None,
    opset: int | None = None,
    single: bool = False,
    max_batch: int = 1,
    engine: bool = True,
    seed: int = 0,
    allow_pickle: bool = False,
    overwrite: bool = False,
    kind: str | None = None,
    progress: Progress = silent,
) -> ExportResult:
    """Export a checkpoint as a bundle for a device.

    Args:
        precision: one of `PRECISIONS`: fp32, fp16, bf16, int8 (static ranges from calibration), int8-dynamic (ranges
            taken at run time), int8-weights and int4 (weights alone, in blocks).
        calibration: texts like those that the model will see; None: general English text that edgelm ships.
        quantization: how integers are chosen.
        evaluation: labelled rows; the task's metrics of checkpoint and bundle go into the manifest. With a largest
            drop, one half of them chooses and the other is reported.
        pairs: whether the model reads two texts at once; None: what the checkpoint remembers, else what the data show,
            else what the names of its labels tell (entailment, paraphrase).
        max_length: longest text in tokens; None: what the model can take, at most 512.
        opset: of the standard operators; None: what the exporter prefers.
        max_batch: the most texts that are answered at once: what an engine is built for.
        engine: where the device runs TensorRT and an installed package can build for it here, put an engine into the
            bundle; else it holds the plan alone, and `edgelm build` builds on the device.
        single: the graph reads one text at a time, unpadded: it asks for no mask, nor for token types where texts come
            alone.
        kind: the task that a masked language model is exported for, such as fill-mask; None: as the folder is read.

    Raises:
        UsageError: the device does not run the precision; an opset that is too old or too new; settings that do not go
            together.
        DataError: single texts where the model reads pairs, or the other way round.
        ModelError, CalibrationError, ParityError: see there. Nothing is written then.
        OutputExistsError: `output` is there and `overwrite` is not set.
        OutputInUseError: another process is making it.
    """
    settings = ExportSettings(
        checkpoint,
        output=Path(output),
        device=device,
        precision=precision,
        calibration=calibration,
        quantization=quantization,
        evaluation=evaluation,
        pairs=pairs,
        max_length=max_length,
        opset=opset,
        single=single,
        max_batch=max_batch,
        engine=engine,
        seed=seed,
        allow_pickle=allow_pickle,
        overwrite=overwrite,
        kind=kind,
        progress=progress,
    )
    with claim(settings.output), open_scratch() as work:
        with during(progress, "export: load"):
            draft = replace(prepare(settings), work=work)
        for step in GENERATION_STEPS if draft.source.task.generates else TEXT_STEPS:
            with during(progress, f"export: {step.__name__.replace('_', ' ')}"):
                draft = step(draft)
        with during(progress, "export: write and check"):
            return finish(draft)
