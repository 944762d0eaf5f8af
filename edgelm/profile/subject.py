"""What can be measured: a bundle, a plain ONNX file, a checkpoint that PyTorch runs, a GGUF that llama.cpp runs, or a
folder that onnxruntime-genai runs."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgelm.checkpoint import Checkpoint, open_checkpoint
from edgelm.errors import InputError
from edgelm.model_folder.adapter import is_adapter
from edgelm.model_folder.gguf import gguf_file
from edgelm.model_folder.sentence_transformers import MODULES_FILE
from edgelm.model_folder.weight_files import is_bundle
from edgelm.profile.generation.genai import CONFIG_FILE, read_sizes
from edgelm.runtime import open_bundle
from edgelm.runtime.manifest import MANIFEST_FILE
from edgelm.tasks.generation import Generation, TextGeneration
from edgelm.tasks.task import Task

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
JUDGED = ("bundle", "pytorch")  # kinds whose texts can be had, beside their times
_FILES = (".edge", ".edgelm", ".onnx", ".gguf")


@dataclass(frozen=True)
class Subject:
    """What is measured, and how it is run.

    Attributes:
        kind: bundle, onnx, native (a program of edgelm-native beside its weights), pytorch, gguf or genai.
        precision: of what is in the file; PyTorch computes a checkpoint in it: fp32, fp16 or bf16.
        session: session settings, in place of a bundle's own or of onnxruntime's; None: those.
        provider: that must run it (PyTorch: `cpu` or `cuda`); None: a bundle what its device prefers and is there,
            others the CPU.
        compiled: mode of `torch.compile` for PyTorch, such as `default` or `reduce-overhead`; None: eager.
        longest: tokens of a text that it reads at most; None: not known.
        generates: it writes text, token by token.
        reads_sources: of those that write, whether it is an encoder-decoder.
    """

    name: str
    path: Path
    kind: str
    precision: str
    size_mb: float
    device: str | None = None
    manifest: dict[str, Any] = field(default_factory=dict)
    session: dict[str, Any] | None = None
    provider: str | None = None
    compiled: str | None = None
    longest: int | None = None
    generates: bool = False
    reads_sources: bool = False


def find_subject(path: str | Path) -> Subject:
    """What lies at this path, or the checkpoint that the model hub has under this name, such as `org/name`.

    Raises:
        InputError: nothing that can be measured.
        BundleError, ModelError: broken, or the hub has no such model.
    """
    name, path = str(path), Path(path)
    if _HUB_ID.fullmatch(name) and path.suffix not in _FILES and not (path.exists() or path.parent.exists()):
        from edgelm.anatomy.hub import find_checkpoint  # which needs torch

        return replace(find_subject(find_checkpoint(name).path), name=name)
    if path.suffix == ".onnx" and path.is_file():
        return Subject(path.stem, path, "onnx", "as in the file", path.stat().st_size / 1e6)
    if not is_bundle(path) and (file := gguf_file(path)) is not None:
        return Subject(file.stem, file, "gguf", "as in the file", file.stat().st_size / 1e6, generates=True)
    if (path / CONFIG_FILE).is_file():
        size_mb = sum(file.stat().st_size for file in path.iterdir() if file.is_file()) / 1e6
        positions = read_sizes(path)[1]
        return Subject(path.name, path, "genai", "as in the file", size_mb, longest=positions, generates=True)
    if (
        path.is_dir()
        and not is_bundle(path)
        and (is_adapter(path) or any((path / name).is_file() for name in ("config.json", MODULES_FILE)))
    ):
        checkpoint = open_checkpoint(path)
        longest = None if checkpoint.task.generates else _positions(checkpoint)
        return _of_task(
            Subject(path.name, path, "pytorch", "fp32", checkpoint.size_mb, longest=longest), checkpoint.task
        )
    if path.is_file() or (path / MANIFEST_FILE).is_file():
        bundle = open_bundle(path)
        manifest = bundle.manifest
        longest = manifest.tokenization.max_length
        what = (manifest.name, path, "bundle", manifest.precision, bundle.size_bytes / 1e6, manifest.device)
        return _of_task(Subject(*what, manifest.to_dict(), longest=longest), manifest.task)
    raise InputError(
        f"{path}: nothing that can be measured.",
        hint="Give a bundle, an ONNX file, a checkpoint folder, a GGUF, or a folder of onnxruntime-genai.",
    )


def _of_task(subject: Subject, task: Task) -> Subject:
    if not isinstance(task, Generation):
        return subject
    alone = isinstance(task, TextGeneration)
    longest = (task.context if isinstance(task, TextGeneration) else 0) or subject.longest
    return replace(subject, generates=True, reads_sources=not alone, longest=longest)


def _positions(checkpoint: Checkpoint) -> int:
    from edgelm.anatomy.sizes import text_limit  # which needs torch

    return text_limit(checkpoint.config)
