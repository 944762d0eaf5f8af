"""The user's cache: what can be made again, kept from process to process; where it cannot be written, nothing is
lost."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def cache_folder(kind: str) -> Path:
    """`$XDG_CACHE_HOME/edgelm/KIND`; it need not be there yet."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgelm" / kind


def keep(file: Path, data: bytes) -> None:
    """Write a file of the cache, whole or not at all; a full disk is no reason to fail."""
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        aside = file.with_suffix(f".{os.getpid()}")
        aside.write_bytes(data)
        aside.replace(file)
