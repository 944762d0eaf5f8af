"""Opens a bundle, folder or single file, and reads nothing that lies outside it."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from edgelm.errors import BundleError
from edgelm.runtime.manifest import GRAPH_FILE, MANIFEST_FILE, WEIGHTS_FILE, Manifest

SINGLE_FILE_SUFFIX = ".edgelm"


@dataclass(frozen=True)
class Bundle:
    """A bundle whose manifest was read; its files are checked when they are read (size) or verified (hash)."""

    path: Path
    manifest: Manifest

    @property
    def is_file(self) -> bool:
        """Whether the bundle is one file."""
        return self.path.is_file()

    @property
    def size_bytes(self) -> int:
        """Size on disk."""
        if self.is_file:
            return self.path.stat().st_size
        return sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file())

    def names(self) -> list[str]:
        """Every file that is really there, by its path inside the bundle, sorted."""
        if self.is_file:
            with _open_archive(self.path) as archive:
                return sorted(name for name in archive.namelist() if not name.endswith("/"))
        return sorted(file.relative_to(self.path).as_posix() for file in self.path.rglob("*") if file.is_file())

    def read(self, name: str) -> bytes:
        """The bytes of one file.

        Raises:
            BundleError: it is missing, leaves the bundle, or has another size than the manifest says.
        """
        check_inside(name)
        wanted = {entry.path: entry.size for entry in self.manifest.files}.get(name)
        data = _read(self.path, name, limit=wanted)
        if wanted is not None and len(data) != wanted:
            raise BundleError(f"{self.path}: {name} has {len(data):,} bytes; the manifest says {wanted:,}.", hint="Copy the bundle again.")
        return data

    def check(self, name: str) -> Path:
        """Where a file of a folder bundle lies; its size is checked.

        Raises:
            BundleError: as `read`.
        """
        file = _inside(self.path, name)
        wanted = {entry.path: entry.size for entry in self.manifest.files}.get(name)
        if not file.is_file():
            raise BundleError(f"{self.path}: {name} is missing.", hint="Copy the bundle again; `edgelm export` makes one.")
        size = file.stat().st_size
        if wanted is not None and size != wanted:
            raise BundleError(f"{self.path}: {name} has {size:,} bytes; the manifest says {wanted:,}.", hint="Copy the bundle again.")
        return file

    def check_sizes(self) -> None:
        """Look whether every file is there, in the size that the manifest says; nothing is read.

        Raises:
            BundleError: as `read`.
        """
        if not self.is_file:
            for entry in self.manifest.files:
                self.check(entry.path)
            return
        with _open_archive(self.path) as archive:
            sizes = {info.filename: info.file_size for info in archive.infolist()}
        for entry in self.manifest.files:
            if sizes.get(entry.path) != entry.size:
                found = f"has {sizes[entry.path]:,} bytes; the manifest says {entry.size:,}" if entry.path in sizes else "is missing"
                raise BundleError(f"{self.path}: {entry.path} {found}.", hint="Copy the bundle again.")

    def extract_graph(self, folder: Path, name: str = GRAPH_FILE) -> Path:
        """Write the graph into a folder, with its weights beside it, for those who read files alone; where it then lies.

        Raises:
            BundleError: as `read`.
        """
        for file in [name, *(entry.path for entry in self.manifest.files if entry.path == WEIGHTS_FILE)]:
            (folder / file).write_bytes(self.read(file))
        return folder / name


def open_bundle(path: str | Path) -> Bundle:
    """Open a bundle and read its manifest.

    Raises:
        BundleError: no bundle, a broken or newer manifest, or a path in it that leaves the bundle.
    """
    path = Path(path)
    if not path.exists():
        raise BundleError(f"{path}: no such bundle.", hint="`edgelm export` makes one.")
    manifest = Manifest.from_json(_read(path, MANIFEST_FILE, limit=None))
    for entry in manifest.files:
        check_inside(entry.path)
    return Bundle(path, manifest)


def check_inside(name: str) -> None:
    """Refuse a file name that could lead out of the bundle.

    Raises:
        BundleError: absolute, with `..`, with a drive or backslashes.
    """
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\\" in name or ":" in name or "\0" in name:
        raise BundleError(f"the manifest names a file outside the bundle: {name!r}.", hint="Do not use this bundle; get it from its maker again.")


def _read(path: Path, name: str, *, limit: int | None) -> bytes:
    missing = BundleError(f"{path}: {name} is missing.", hint="Copy the bundle again; `edgelm export` makes one.")
    if path.is_dir():
        file = _inside(path, name)
        if not file.is_file():
            raise missing
        return file.read_bytes()
    with _open_archive(path) as archive:
        try:
            info = archive.getinfo(name)
            if limit is not None and info.file_size != limit:
                raise BundleError(f"{path}: {name} has {info.file_size:,} bytes; the manifest says {limit:,}.", hint="Copy the bundle again.")
            return archive.read(info)
        except KeyError as error:
            raise missing from error
        except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError) as error:
            raise BundleError(f"{path}: {name} is damaged ({error}).", hint="Copy the bundle again.") from error


def _inside(folder: Path, name: str) -> Path:
    file = (folder / name).resolve()
    if not file.is_relative_to(folder.resolve()):
        raise BundleError(f"{folder}: {name} leads out of the bundle.", hint="Do not use this bundle; get it from its maker again.")
    return file


def _open_archive(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise BundleError(f"{path}: not a bundle, or damaged ({error}).", hint="Copy the bundle again.") from error
