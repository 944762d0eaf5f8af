"""What may be replaced: an output of the same kind, by what it holds, and nothing that edgelm never wrote."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Beside what a manifest lists: the manifest, signatures and the list of what a device added, a file that an interrupted
# `tune` leaves, and what systems drop into folders.
_LISTS = {"manifest.json", "signature.json", "device.json", "device-signature.json"}
_OF_NO_MATTER = {*_LISTS, "optimized.onnx", ".DS_Store", "Thumbs.db", "desktop.ini"}


@dataclass(frozen=True)
class OutputKind:
    """One kind of output.

    Attributes:
        noun: what it is, with an article.
        folder: whether it is a folder; else it is a file, and any regular file may be replaced.
        objection: why a folder that is not empty may not be replaced, in words that follow its path; empty: it may.
    """

    noun: str
    folder: bool = False
    objection: Callable[[Path], str] = lambda path: ""


def _no_bundle(path: Path) -> str:
    manifest = _read_json(path / "manifest.json")
    files = manifest.get("files")
    if not isinstance(manifest.get("schema"), int) or "task" not in manifest or not isinstance(files, list):
        return "is a folder that is no bundle"
    added = _read_json(path / "device.json").get("files")
    entries = [*files, *(added if isinstance(added, list) else [])]
    listed = {str(entry.get("path")) for entry in entries if isinstance(entry, dict)} | _OF_NO_MATTER
    there = (file.relative_to(path) for file in path.rglob("*") if not file.is_dir() or file.is_symlink())
    others = [
        file.as_posix()
        for file in there
        if file.as_posix() not in listed and file.name not in _OF_NO_MATTER and "__pycache__" not in file.parts
    ]
    return f"holds a file that is no part of the bundle: {min(others)}" if others else ""


def _no_checkpoint(path: Path) -> str:
    record = _read_json(path / "edgelm.json")
    return "" if "schema" in record and "task" in record else "is a folder that is no checkpoint of edgelm"


def _no_genai(path: Path) -> str:
    decoder = _read_json(path / "genai_config.json").get("model")
    return "" if isinstance(decoder, dict) else "is a folder without a genai_config.json"


def _no_openvino(path: Path) -> str:
    return "" if (path / "openvino_model.xml").is_file() else "is a folder without an openvino_model.xml"


def _no_executorch(path: Path) -> str:
    return "" if (path / "model.pte").is_file() else "is a folder without a model.pte"


def _read_json(file: Path) -> dict[str, Any]:
    """A JSON object, or an empty one where there is none."""
    try:
        values = json.loads(file.read_bytes()) if file.is_file() else None
    except (OSError, ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


FILE = OutputKind("a file")
BUNDLE = OutputKind("a bundle", folder=True, objection=_no_bundle)
CHECKPOINT = OutputKind("a checkpoint", folder=True, objection=_no_checkpoint)
GENAI = OutputKind("a folder of onnxruntime-genai", folder=True, objection=_no_genai)
OPENVINO = OutputKind("a folder of OpenVINO", folder=True, objection=_no_openvino)
EXECUTORCH = OutputKind("a folder of ExecuTorch", folder=True, objection=_no_executorch)
SHARED_FOLDER = OutputKind("a folder of outputs", folder=True)  # stays; each output in it is one of its own kind
