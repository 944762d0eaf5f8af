"""Exports for other engines than edgelm's own runtime: a GGUF file for llama.cpp, a folder for onnxruntime-genai,
folders for OpenVINO and ExecuTorch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edgelm.anatomy import find_checkpoint, load_checkpoint, load_tokenizer
from edgelm.checkpoint import Checkpoint
from edgelm.errors import UsageError
from edgelm.export.formats.executorch import check_executorch, write_executorch
from edgelm.export.formats.genai import write_genai
from edgelm.export.formats.gguf import write_gguf
from edgelm.export.formats.openvino import check_openvino, write_openvino
from edgelm.export.generation.steps import build
from edgelm.export.prepare import prepare
from edgelm.export.settings import ExportSettings
from edgelm.files.claims import claim
from edgelm.files.output import check_output, size_on_disk
from edgelm.files.output_kinds import EXECUTORCH, FILE, GENAI, OPENVINO
from edgelm.runtime.generation.decoder import DECODER
from edgelm.runtime.graph_spec import Parity
from edgelm.tasks.generation import TextGeneration

GGUF, GENAI_FOLDER, OPENVINO_FOLDER, EXECUTORCH_FOLDER = "gguf", "genai", "openvino", "executorch"
FORMATS = (GGUF, GENAI_FOLDER, OPENVINO_FOLDER, EXECUTORCH_FOLDER)
ANSWERING = (OPENVINO_FOLDER, EXECUTORCH_FOLDER)  # for encoders; the others are for decoders
_KINDS = {GGUF: FILE, GENAI_FOLDER: GENAI, OPENVINO_FOLDER: OPENVINO, EXECUTORCH_FOLDER: EXECUTORCH}


@dataclass(frozen=True)
class FormatResult:
    """What was written.

    Attributes:
        path: a file or a folder.
        format: one of `FORMATS`.
        precision: as it was asked for.
        size_mb: 10^6 bytes.
        parity: how far it is from transformers as its own engine runs it; None: it was not run.
        quality: metrics of the checkpoint and of what was written (`bundle`); empty where none were measured.
    """

    path: Path
    format: str
    precision: str
    size_mb: float
    parity: Parity | None = None
    quality: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: what `edgelm export --format ... --json` prints."""
        said = {"path": str(self.path), "format": self.format, "precision": self.precision, "size_mb": self.size_mb}
        return said | {"parity": asdict(self.parity) if self.parity else None, "quality": self.quality}


def export_as(form: str, settings: ExportSettings) -> FormatResult:
    """Export a model for another engine.

    Args:
        form: of decoders gguf (llama.cpp loads it; `precision` may be one of GGUF's own, such as q4_0) or genai
            (onnxruntime-genai opens the folder); of models that answer openvino or executorch (a folder that
            OpenVINO or ExecuTorch opens).
        settings: what of them is of bundles alone is not asked.

    Raises:
        UsageError: no such format, or a model or settings that it is not for.
        ModelError, UnsupportedFamily, MissingExtraError: as `write_gguf`, `write_genai`, `write_openvino` and
            `write_executorch`.
        ParityError, CalibrationError: as `write_openvino`.
        OutputExistsError: the output is there and is not to be replaced.
    """
    if form not in FORMATS:
        raise UsageError(f"no format {form!r}.", hint=f"There are: bundle, {', '.join(FORMATS)}.")
    check_output(settings.output, overwrite=settings.overwrite, kind=_KINDS[form])
    checkpoint = find_checkpoint(settings.checkpoint, allow_pickle=settings.allow_pickle, task=settings.kind)
    _check_task(checkpoint, form)
    parity: Parity | None = None
    quality: dict[str, Any] = {}
    if form == OPENVINO_FOLDER:
        check_openvino(settings)
    elif form == EXECUTORCH_FOLDER:
        check_executorch(settings, checkpoint.task)
    with claim(settings.output):
        if form == OPENVINO_FOLDER:
            parity, quality = write_openvino(prepare(settings, output_kind=OPENVINO))
        elif form == EXECUTORCH_FOLDER:
            parity, quality = write_executorch(prepare(settings, output_kind=EXECUTORCH))
        else:
            _write_decoder(form, settings, checkpoint)
    size_mb = size_on_disk(settings.output) / 1e6
    return FormatResult(settings.output, form, settings.precision, size_mb, parity, quality)


def _write_decoder(form: str, settings: ExportSettings, checkpoint: Checkpoint) -> None:
    if form == GGUF:
        model, tokenizer = load_checkpoint(checkpoint), load_tokenizer(checkpoint)
        write_gguf(
            model, tokenizer, settings.output, precision=settings.precision.lower(), overwrite=settings.overwrite
        )
    else:
        draft = build(prepare(settings, output_kind=GENAI))
        (graph,) = (graph for graph in draft.graphs if graph.spec.name == DECODER)
        source = draft.source
        write_genai(
            graph.model,
            source.model,
            source.tokenizer,
            settings.output,
            length=min(source.max_length, 2048),
            overwrite=settings.overwrite,
        )


def _check_task(checkpoint: Checkpoint, form: str) -> None:
    if form in ANSWERING:
        if checkpoint.task.generates:
            raise UsageError(
                f"--format {form} is for models that answer, not {checkpoint.task.kind}.",
                hint="Leave --format out: a bundle takes every model.",
            )
    elif not isinstance(checkpoint.task, TextGeneration):
        raise UsageError(
            f"--format {form} is for models that go on from a text, not {checkpoint.task.kind}.",
            hint="Leave --format out: a bundle takes every model.",
        )
