"""What really lies in a bundle, of whatever kind: nothing is opened, no link is followed."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from edgelm.errors import BundleError
from edgelm.runtime.manifest import UNLISTED

if TYPE_CHECKING:
    import zipfile

FILE = "file"
_KINDS = {
    stat.S_IFLNK: "a link",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
}


def folder_contents(folder: Path, inside: str = "") -> Iterator[tuple[str, str]]:
    """Path inside the bundle, and `FILE` or in words what else it is; a folder comes up only where it is empty.

    Raises:
        BundleError: a folder in it cannot be looked into.
    """
    try:
        entries = sorted(os.scandir(folder / inside), key=lambda entry: entry.name)
    except OSError as error:
        raise BundleError(
            f"{folder}: {inside or '.'} cannot be looked into ({error.strerror}).", hint="Copy the bundle again."
        ) from error
    if inside and not entries:
        yield inside, "an empty folder"
    for entry in entries:
        name = f"{inside}/{entry.name}" if inside else entry.name
        if entry.is_dir(follow_symlinks=False):
            yield from folder_contents(folder, name)
        else:
            yield name, _KINDS.get(stat.S_IFMT(entry.stat(follow_symlinks=False).st_mode), FILE)


def archive_contents(archive: zipfile.ZipFile) -> Iterator[tuple[str, str]]:
    """As `folder_contents`, of a bundle that is one file; a name that stands in it twice is no plain file."""
    seen: set[str] = set()
    for info in archive.infolist():
        if info.filename.endswith("/"):
            continue
        kind = _KINDS.get(stat.S_IFMT(info.external_attr >> 16), FILE)
        yield info.filename, kind if info.filename not in seen else "there twice"
        seen.add(info.filename)


def find_plain_file(folder: Path, name: str) -> Path:
    """Where a file of a folder lies; neither it nor a folder on the way is a link.

    Raises:
        BundleError: it is missing, a link, or no regular file, or its name is none for this system.
    """
    try:
        return _find_plain_file(folder, name)
    except OSError as error:
        raise BundleError(
            f"{folder}: {name[:80]} cannot be looked up ({error.strerror}).", hint="Copy the bundle again."
        ) from error


def _find_plain_file(folder: Path, name: str) -> Path:
    file = folder
    for part in name.split("/"):
        file = file / part
        if file.is_symlink():
            where = "is a link" if _leads_inside(file, folder) else "leads out of the bundle"
            raise BundleError(
                f"{folder}: {name} {where}; a bundle holds plain files.",
                hint="Copy it again, with `cp -rL` if it came as links.",
            )
    if not file.is_file():
        found = "is no regular file" if file.exists() else "is missing"
        raise BundleError(f"{folder}: {name} {found}.", hint="Copy the bundle again; `edgelm export` makes one.")
    return file


def _leads_inside(link: Path, folder: Path) -> bool:
    try:
        return link.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # it leads to itself
        return False


def check_inside(name: str) -> None:
    """Refuse a file name that could lead out of the bundle, or that is another way to write a name in it.

    Raises:
        BundleError: absolute, with `.` or `..`, with a drive or backslashes, or with characters that cannot be printed.
    """
    parts = PurePosixPath(name).parts
    plain = "/".join(parts) == name and name.isprintable() and not name.startswith("/") and not {".", ".."} & set(parts)
    if not parts or not plain or "\\" in name or ":" in name:
        raise BundleError(
            f"the manifest names a file outside the bundle: {name!r}.",
            hint="Do not use this bundle; get it from its maker again.",
        )
    if name in UNLISTED:
        raise BundleError(
            f"the manifest lists {name}, which no manifest can.",
            hint="Export the bundle again, or get it from its maker.",
        )
