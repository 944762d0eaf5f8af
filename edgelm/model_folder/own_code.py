"""The code that edgelm puts beside a checkpoint, and how it is told from anybody else's: by its content."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MODULE_FILE = "modeling_edgelm.py"
STATIC_FILE = "modeling_edgelm_static.py"
LAYERS_ENTRY = "edgelm_layers"  # in config.json: the shapes that the module reads
# SHA-256 of the module as each version of edgelm wrote it, the present one last.
OWN_MODULES = (
    "e03014f35fc0c240970d178c06d175a2fadfeef5e683d98deaa774fd4e9f9d67",
    "7723398f4382c949fca56d00ff217b8bcf2f39d7b8feb159ca6c5342ae46cbf1",
    "bc52ebf8e1ab37c77c1d8951bd5cd79b255c1e85d9372d3b1758ca3431fb5cd3",
    "583a6fc8a2a0690ff7f895d57f0bb7f97ec4658d4500d186bf0c9c857f95f61f",
    "7b792ff683166c12b736d00f672cdbb57de6b17b152f08be5243b30cf30af7dc",
)
STATIC_MODULES = (  # the same of the module for models without layers
    "0b536b1b090c161027b214e7a73bd697a01739751a31b2fa878fef671f16d362",
)
_KNOWN = {MODULE_FILE: OWN_MODULES, STATIC_FILE: STATIC_MODULES}


def is_own_code(auto_map: Any, folder: Path | None) -> bool:
    """Whether `auto_map` of config.json names nothing but one of edgelm's own modules, and that lies in the folder
    unchanged.

    edgelm reads its bytes and never runs it: what it does is what edgelm's own loading does.
    """
    if folder is None or not isinstance(auto_map, Mapping) or not auto_map:
        return False
    stems = {value.split(".")[0] if isinstance(value, str) else "" for value in auto_map.values()}
    name = f"{stems.pop()}.py"
    file = folder / name
    if stems or name not in _KNOWN or not file.is_file():
        return False
    return hashlib.sha256(file.read_bytes()).hexdigest() in _KNOWN[name]
