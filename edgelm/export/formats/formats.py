"""Exports for other engines than edgelm's own runtime: a GGUF file for llama.cpp, a folder for onnxruntime-genai."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgelm.anatomy import find_checkpoint, load_checkpoint, load_tokenizer
from edgelm.checkpoint import Checkpoint
from edgelm.errors import UsageError
from edgelm.export.formats.genai import write_genai
from edgelm.export.formats.gguf import write_gguf
from edgelm.export.generation.steps import build
from edgelm.export.prepare import prepare
from edgelm.export.settings import ExportSettings
from edgelm.files.claims import claim
from edgelm.files.output import check_output, size_on_disk
from edgelm.files.output_kinds import FILE, GENAI
from edgelm.runtime.generation.decoder import DECODER
from edgelm.tasks.generation import TextGeneration

GGUF, GENAI_FOLDER = "gguf", "genai"
FORMATS = (GGUF, GENAI_FOLDER)


@dataclass(frozen=True)
class FormatResult:
    """What was written.

    Attributes:
        path: a file or a folder.
        format: one of `FORMATS`.
        precision: as it was asked for.
        size_mb: 10^6 bytes.
    """

    path: Path
    format: str
    precision: str
    size_mb: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: what `edgelm export --format ... --json` prints."""
        return {"path": str(self.path), "format": self.format, "precision": self.precision, "size_mb": self.size_mb}


def export_as(form: str, settings: ExportSettings) -> FormatResult:
    """Export a decoder for another engine.

    Args:
        form: gguf (llama.cpp loads it; `precision` may be one of GGUF's own, such as q4_0) or genai (onnxruntime-genai
            opens the folder).
        settings: what of them is of bundles alone is not asked.

    Raises:
        UsageError: no such format, or a model that is no decoder alone.
        ModelError, UnsupportedFamily, MissingExtraError: as `write_gguf` and `write_genai`.
        OutputExistsError: the output is there and is not to be replaced.
    """
    if form not in FORMATS:
        raise UsageError(f"no format {form!r}.", hint=f"There are: bundle, {', '.join(FORMATS)}.")
    check_output(settings.output, overwrite=settings.overwrite, kind=FILE if form == GGUF else GENAI)
    checkpoint = find_checkpoint(settings.checkpoint, allow_pickle=settings.allow_pickle, task=settings.kind)
    _check_decoder(checkpoint, form)
    with claim(settings.output):
        _write(form, settings, checkpoint)
    return FormatResult(settings.output, form, settings.precision, size_on_disk(settings.output) / 1e6)


def _write(form: str, settings: ExportSettings, checkpoint: Checkpoint) -> None:
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


def _check_decoder(checkpoint: Checkpoint, form: str) -> None:
    if not isinstance(checkpoint.task, TextGeneration):
        raise UsageError(
            f"--format {form} is for models that go on from a text, not {checkpoint.task.kind}.",
            hint="Leave --format out: a bundle takes every model.",
        )
