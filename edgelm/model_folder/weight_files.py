"""The files of a model folder, without torch: which hold its weights, and whether each is whole."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

from edgelm.errors import ModelError
from edgelm.limits import read_json as parse_json

WEIGHTS_FILE = "model.safetensors"
WEIGHTS_INDEX_FILE = "model.safetensors.index.json"
PICKLE_FILE = "pytorch_model.bin"
_BUNDLE_FILE, _BUNDLE_SUFFIX = "manifest.json", ".edgelm"


def is_bundle(path: Path) -> bool:
    """Whether a path is that of a bundle, whole or broken: a file by its name, a folder by a manifest without weights
    beside it. The config.json that a bundle has makes it no model folder."""
    if path.is_file():
        return path.suffix == _BUNDLE_SUFFIX
    return (path / _BUNDLE_FILE).is_file() and not any([*path.glob("*.safetensors"), *path.glob(PICKLE_FILE)])


def weight_files(path: Path) -> list[Path]:
    """The safetensors files of a model folder: one, or the shards that its index names; empty where there are none.

    Raises:
        ModelError: an index that names no files.
    """
    if (path / WEIGHTS_FILE).is_file():
        return [path / WEIGHTS_FILE]
    if (path / WEIGHTS_INDEX_FILE).is_file():
        shards = read_json(path / WEIGHTS_INDEX_FILE).get("weight_map")
        if not isinstance(shards, dict) or not all(isinstance(name, str) for name in shards.values()):
            raise ModelError(
                f"{path / WEIGHTS_INDEX_FILE}: no weight_map of names to files.",
                hint="Copy or download the model again.",
            )
        if strange := sorted(
            name for name in set(shards.values()) if "/" in name or "\\" in name or name in ("", "..")
        ):
            raise ModelError(
                f"{path / WEIGHTS_INDEX_FILE}: {strange[0]!r:.80} is no file beside it.",
                hint="Copy or download the model again.",
            )
        return [path / name for name in sorted(set(shards.values()))]
    return []


def require_weights(path: Path, *, allow_pickle: bool) -> list[Path]:
    """The safetensors files of a model folder; empty where only a pickle is there, and that is allowed.

    Raises:
        ModelError: there are no weights, or pickled ones alone that are not allowed.
    """
    files = weight_files(path)
    if files or (allow_pickle and (path / PICKLE_FILE).is_file()):
        return files
    if not (path / PICKLE_FILE).is_file():
        raise ModelError(
            f"{path}: no weights; expected {WEIGHTS_FILE}.", hint="Save the model with model.save_pretrained(...)."
        )
    raise ModelError(
        f"{path}: the weights are a pickle ({PICKLE_FILE}), which can run code when it is loaded.",
        hint="Convert it where you trust it: AutoModel.from_pretrained(...).save_pretrained(...), or add "
        "--allow-pickle (weights only).",
    )


def check_safetensors(file: Path) -> dict[str, Any]:
    """Check that a safetensors file is whole, by its own table of contents, and return that table.

    Raises:
        ModelError: missing, truncated or not a safetensors file.
    """
    if not file.is_file():
        raise ModelError(
            f"{file}: missing, though the model's index names it.", hint="Copy or download the model again."
        )
    size = file.stat().st_size
    broken = ModelError(
        f"{file}: truncated or not a safetensors file ({size:,} bytes).", hint="Copy or download the model again."
    )
    with file.open("rb") as stream:
        head = stream.read(8)
        if len(head) < 8:
            raise broken
        (length,) = struct.unpack("<Q", head)
        if length > size - 8:
            raise broken
        try:
            table: dict[str, Any] = parse_json(stream.read(length), str(file), error=ModelError)
            tensors = {name: entry for name, entry in table.items() if name != "__metadata__"}
            end = max((entry["data_offsets"][1] for entry in tensors.values()), default=0)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise broken from error
    if 8 + length + end != size:
        raise broken
    return tensors


def read_json(file: Path, *, missing_hint: str = "") -> dict[str, Any]:
    """The JSON object in a file of a model folder.

    Raises:
        ModelError: no such file, or no JSON object in it.
    """
    try:
        values = parse_json(file.read_bytes(), str(file), error=ModelError)
    except FileNotFoundError as error:
        raise ModelError(f"{file}: missing.", hint=missing_hint) from error
    except (ValueError, OSError) as error:
        raise ModelError(
            f"{file}: cannot be read as JSON ({error}).", hint="Copy or download the model again."
        ) from error
    if not isinstance(values, dict):
        raise ModelError(f"{file}: expected a JSON object.", hint="Copy or download the model again.")
    return values
