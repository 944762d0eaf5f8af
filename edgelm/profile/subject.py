"""What can be measured: a bundle, a plain ONNX file, or a checkpoint that PyTorch runs."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgelm.checkpoint import open_checkpoint
from edgelm.errors import InputError
from edgelm.runtime import open_bundle
from edgelm.runtime.manifest import MANIFEST_FILE


@dataclass(frozen=True)
class Subject:
    """What is measured, and how it is run.

    Attributes:
        kind: bundle, onnx or pytorch.
        session: session settings, in place of a bundle's own or of onnxruntime's; None: those.
        provider: that must run a bundle; None: what its device prefers and is there.
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


def find_subject(path: str | Path) -> Subject:
    """What lies at this path.

    Raises:
        InputError: nothing that can be measured.
        BundleError, ModelError: broken.
    """
    path = Path(path)
    if path.suffix == ".onnx" and path.is_file():
        return Subject(path.stem, path, "onnx", "as in the file", path.stat().st_size / 1e6)
    if path.is_dir() and (path / "config.json").is_file():
        checkpoint = open_checkpoint(path)
        return Subject(path.name, path, "pytorch", "fp32", checkpoint.size_mb)
    if path.is_file() or (path / MANIFEST_FILE).is_file():
        bundle = open_bundle(path)
        manifest = json.loads(bundle.manifest.to_json())
        return Subject(bundle.manifest.name, path, "bundle", bundle.manifest.precision, bundle.size_bytes / 1e6, bundle.manifest.device, manifest)
    raise InputError(f"{path}: nothing that can be measured.", hint="Give a bundle, an ONNX file, or a checkpoint folder.")
