"""The single-file form of a bundle: a ZIP file, always the same bytes for the same content."""

from __future__ import annotations

import zipfile
from pathlib import Path

from edgelm.runtime.manifest import MANIFEST_FILE


def pack(folder: Path, file: Path) -> None:
    """Write a bundle folder as one file, the manifest first."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    names.sort(key=lambda name: name != MANIFEST_FILE)
    with zipfile.ZipFile(file, "w", compression=zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name in names:
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, (folder / name).read_bytes())
