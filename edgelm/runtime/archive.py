"""The single-file form of a bundle: a ZIP file, always the same bytes for the same content."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING

from edgelm.errors import BundleError
from edgelm.limits import FILES, Limit, check_ratio, memory_errors

if TYPE_CHECKING:
    import zipfile

_MANIFEST = "manifest.json"
_LONGEST_ENTRY = 1024  # bytes of a member in the directory: its name, and what else a packer says of it
_END = struct.Struct("<4s4H2LH")  # of an archive: signature, disks, members twice, size and place of the directory
_LONG_END = struct.Struct("<4sQ2H2L4Q")  # the same for archives beyond 4 GB
_PLACE = struct.Struct("<4sLQL")  # of the latter
_LONGEST_NOTE = 1 << 16


def pack(folder: Path, file: Path) -> None:
    """Write a bundle folder as one file, the manifest first."""
    import zipfile  # of use for bundles of one file alone; with what it imports it takes 10 ms

    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    names.sort(key=lambda name: name != _MANIFEST)
    with zipfile.ZipFile(file, "w", compression=zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name in names:
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, (folder / name).read_bytes())


def open_archive(path: Path) -> zipfile.ZipFile:
    """Open a bundle that is one file; its directory is read, and nothing else.

    Raises:
        BundleError: it is damaged, none, or has too many members.
    """
    import zipfile  # see `pack`

    try:
        FILES.check(_directory_size(path) // _LONGEST_ENTRY, str(path))
        archive = zipfile.ZipFile(path)
    except BundleError:
        raise
    except Exception as error:  # zipfile and its decompressors raise classes of their own, ValueError, RuntimeError...
        raise BundleError(
            f"{path}: not a bundle, or damaged ({error or type(error).__name__}).", hint="Copy the bundle again."
        ) from error
    try:
        FILES.check(len(archive.filelist), str(path))
    except BundleError:
        archive.close()
        raise
    return archive


def read_member(archive: zipfile.ZipFile, path: Path, name: str, limit: int | Limit) -> bytes:
    """The bytes of a member.

    Args:
        path: of the archive, for messages.
        limit: bytes that it has at most: as the manifest says, or a limit of ours.

    Raises:
        BundleError: it is missing, damaged, longer, or grows to many times what the archive has of it.
    """
    try:
        info = archive.getinfo(name)
    except KeyError as error:
        raise BundleError(
            f"{path}: {name} is missing.", hint="Copy the bundle again; `edgelm export` makes one."
        ) from error
    refuse_longer(path, name, info.file_size, limit)
    check_ratio(info.file_size, info.compress_size, f"{path}: {name}")
    try:
        with memory_errors(f"{path}: {name}"):
            return archive.read(info)
    except BundleError:
        raise
    except Exception as error:  # as in `open_archive`
        raise BundleError(
            f"{path}: {name} is damaged ({error or type(error).__name__}).", hint="Copy the bundle again."
        ) from error


def refuse_longer(path: Path, name: str, size: int, limit: int | Limit) -> None:
    """Refuse a file that is longer than the manifest says, or than a limit of ours.

    Raises:
        BundleError: it is.
    """
    if isinstance(limit, Limit):
        limit.check(size, f"{path}: {name}")
    elif size > limit:
        raise BundleError(
            f"{path}: {name} has {size:,} bytes; the manifest says {limit:,}.", hint="Copy the bundle again."
        )


def _directory_size(path: Path) -> int:
    """Bytes of an archive's directory, as its end says it; 0 where there is no end."""
    with path.open("rb") as stream:
        length = stream.seek(0, 2)
        stream.seek(max(0, length - _LONGEST_NOTE - _END.size))
        tail = stream.read()
        at = tail.rfind(b"PK\5\6")
        if at < 0 or at + _END.size > len(tail):
            return 0
        size = int(_END.unpack_from(tail, at)[5])
        before = at - _PLACE.size
        if before >= 0 and tail.startswith(b"PK\6\7", before):
            stream.seek(_PLACE.unpack_from(tail, before)[2])
            found = stream.read(_LONG_END.size)
            if len(found) == _LONG_END.size:
                size = max(size if size < 0xFFFFFFFF else 0, int(_LONG_END.unpack(found)[8]))
    return min(size, length)
