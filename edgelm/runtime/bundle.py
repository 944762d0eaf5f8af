"""Opens a bundle, folder or single file, and reads nothing that lies outside it or was changed."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgelm.errors import BundleError, UsageError
from edgelm.limits import FILES, MANIFEST_BYTES, Limit
from edgelm.notebook import bundle_html
from edgelm.runtime.archive import open_archive, read_member, refuse_longer
from edgelm.runtime.contents import FILE, archive_contents, check_inside, find_plain_file, folder_contents
from edgelm.runtime.early import Early
from edgelm.runtime.external_data import check_graph
from edgelm.runtime.hashing import hash_file
from edgelm.runtime.manifest import MANIFEST_FILE, SIGNATURE_FILE, WEIGHTS_FILE, FileEntry, Manifest
from edgelm.runtime.trust import NO_TRUST, Trust

if TYPE_CHECKING:
    import zipfile

    from edgelm.runtime.additions import Additions

SINGLE_FILE_SUFFIX = ".edgelm"


@dataclass(frozen=True)
class Bundle:
    """A bundle whose manifest was read. Every file is compared with the manifest when it is read: its size, and its
    hash.

    A file that is mapped into memory is hashed while it is mapped: who can write to the bundle at that very moment can
    still change it.

    Attributes:
        manifest: what holds: as it lies there, with what the device added to it, if that is used.
        check_hashes: False: sizes alone are compared.
        text: of `manifest.json`, as it was read, checked and signed.
        additions: what the device added to a signed bundle; None: nothing.
        ignored: why that is not used; empty: it is.
        trust: by which it was opened.
    """

    path: Path
    manifest: Manifest
    check_hashes: bool = True
    text: bytes = field(default=b"", repr=False, compare=False)
    additions: Additions | None = None
    ignored: str = ""
    trust: Trust = NO_TRUST
    _early: dict[str, Early[str]] = field(default_factory=dict, repr=False, compare=False)
    _open: list[zipfile.ZipFile] = field(default_factory=list, repr=False, compare=False)
    _checked: set[str] = field(default_factory=set, repr=False, compare=False)  # whose content was found as listed

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return bundle_html(self.path, self.manifest, self.size_bytes / 1e6)

    @property
    def is_signed(self) -> bool:
        """Whether a signature lies beside the manifest, whatever it is worth."""
        return self.read_beside(SIGNATURE_FILE) is not None

    def read_beside(self, name: str) -> bytes | None:
        """A file that no manifest lists, such as a signature; None: there is none.

        Raises:
            BundleError: it is a link or no regular file.
        """
        return _read_if_there(self.path, name)

    def all_files(self) -> tuple[FileEntry, ...]:
        """Those of the manifest, and those that the device added, whether they are used or not."""
        added = self.additions.files if self.additions and self.ignored else ()
        return (*self.manifest.files, *added)

    def seals(self, name: str) -> bool:
        """Whether a file is part of what the maker signed, and may not be replaced here."""
        return self.is_signed and any(entry.path == name for entry in Manifest.from_json(self.text).files)

    @property
    def is_file(self) -> bool:
        """Whether the bundle is one file."""
        return self.path.is_file()

    @property
    def size_bytes(self) -> int:
        """Size on disk."""
        if self.is_file:
            return self.path.stat().st_size
        return sum((self.path / name).stat().st_size for name in self.names())

    def names(self) -> list[str]:
        """Every plain file that is really there, by its path inside the bundle, sorted."""
        return [name for name, kind in self.contents() if kind == FILE]

    def contents(self) -> list[tuple[str, str]]:
        """Everything that is really there, by its path inside the bundle, sorted; and what it is, see
        `edgelm.runtime.contents`."""
        if self.is_file:
            with self._archive() as archive:
                return sorted(archive_contents(archive))
        found: list[tuple[str, str]] = []
        for entry in folder_contents(self.path):
            found.append(entry)
            FILES.check(len(found), str(self.path))
        return sorted(found)

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Open a bundle that is one file once for all that is read in this block, in one thread.

        Raises:
            BundleError: it is damaged.
        """
        if not self.is_file:
            yield
            return
        with open_archive(self.path) as archive:
            self._open.append(archive)
            try:
                yield
            finally:
                self._open.clear()

    @contextlib.contextmanager
    def _archive(self) -> Iterator[zipfile.ZipFile]:
        if self._open:
            yield self._open[0]
        else:
            with open_archive(self.path) as archive:
                yield archive

    def _content(self, name: str, most: int) -> bytes:
        if self._open:
            return read_member(self._open[0], self.path, name, most)
        return _read(self.path, name, most)

    def read(self, name: str) -> bytes:
        """The bytes of one file.

        Raises:
            BundleError: it is missing, a link, not in the manifest, or has another size or hash than the manifest says.
        """
        entry = self._entry(name)
        data = self._content(name, entry.size)
        self._compare_sizes(entry, len(data))
        if self.check_hashes:
            self._compare_hashes(entry, hashlib.sha256(data).hexdigest())
        return data

    def check(self, name: str) -> Path:
        """Where a file of a folder bundle lies; size and hash are compared.

        Raises:
            BundleError: as `read`.
        """
        file = self.locate(name)
        if self.check_hashes:
            with _readable(self.path, name):
                early = self._early.get(name)
                found = hash_file(file) if early is None else early.result()
            self._compare_hashes(self._entry(name), found)
        return file

    @contextlib.contextmanager
    def hashing_early(self) -> Iterator[None]:
        """Hash the weights of a folder in a thread, if a session will map them: in this block `check` waits for the
        result, however many sessions map them. A block inside another one takes what that one has begun.

        Raises:
            BundleError: as `locate`.
        """
        graphs = self.manifest.graphs
        mapped = not self.is_file and any(graph.session.get("mapped", True) and not graph.engines for graph in graphs)
        if self._early or not (self.check_hashes and mapped and self.has(WEIGHTS_FILE)):
            yield
            return
        file = self.locate(WEIGHTS_FILE)
        self._early[WEIGHTS_FILE] = Early(lambda: hash_file(file))
        try:
            yield
        finally:
            self._early.clear()  # what is checked later is hashed again

    def locate(self, name: str) -> Path:
        """Where a file of a folder bundle lies; its size is compared.

        Raises:
            BundleError: as `read`.
        """
        entry = self._entry(name)
        file = find_plain_file(self.path, name)
        self._compare_sizes(entry, file.stat().st_size)
        return file

    def check_sizes(self) -> None:
        """Look whether every file is there, in the size that the manifest says; nothing is read.

        Raises:
            BundleError: as `read`.
        """
        if not self.is_file:
            for entry in self.manifest.files:
                self.locate(entry.path)
            return
        with self._archive() as archive:
            sizes = {info.filename: info.file_size for info in archive.infolist()}
        for entry in self.manifest.files:
            if entry.path not in sizes:
                raise BundleError(f"{self.path}: {entry.path} is missing.", hint="Copy the bundle again.")
            self._compare_sizes(entry, sizes[entry.path])

    def read_graph(self, name: str) -> bytes:
        """The graph under this name, serialized: it takes weights from the bundle's own file alone.

        Raises:
            BundleError: as `read`; or it names another file.
        """
        data = self.read(name)
        check_graph(data, WEIGHTS_FILE if self.has(WEIGHTS_FILE) else None, f"{self.path}: {name}")
        return data

    def extract_graph(self, folder: Path, name: str) -> Path:
        """Write a graph into a folder, with its weights beside it, for those who read files alone; where it then
        lies.

        Raises:
            BundleError: as `read_graph`.
        """
        (folder / name).write_bytes(self.read_graph(name))
        if self.has(WEIGHTS_FILE):
            (folder / WEIGHTS_FILE).write_bytes(self.read(WEIGHTS_FILE))
        return folder / name

    def check_file(self, name: str, *, again: bool = True) -> None:
        """Compare the size and hash of a file, of a folder or of one file.

        Args:
            again: also where that was done since the bundle was opened.

        Raises:
            BundleError: as `read`.
        """
        if again or name not in self._checked:
            (self.read if self.is_file else self.check)(name)

    def with_settings(self, session: dict[str, Any]) -> Bundle:
        """The same bundle, each of its graphs to be run with these session settings."""
        graphs = tuple(replace(graph, session=session) for graph in self.manifest.graphs)
        return replace(self, manifest=replace(self.manifest, graphs=graphs))

    def has(self, name: str) -> bool:
        """Whether the manifest lists a file of this name."""
        return name in self.manifest.listed

    def _entry(self, name: str) -> FileEntry:
        entry = self.manifest.listed.get(name)
        if entry is not None:
            return entry
        raise BundleError(
            f"{self.path}: the manifest does not list {name}.", hint="Copy the bundle again; `edgelm export` makes one."
        )

    def _compare_sizes(self, entry: FileEntry, found: int) -> None:
        if found != entry.size:
            raise BundleError(
                f"{self.path}: {entry.path} has {found:,} bytes; the manifest says {entry.size:,}.",
                hint="Copy the bundle again.",
            )

    def _compare_hashes(self, entry: FileEntry, found: str) -> None:
        if found != entry.sha256:
            raise BundleError(
                f"{self.path}: {entry.path}: its content was changed: SHA-256 {found[:12]}..., the manifest says "
                f"{entry.sha256[:12]}....",
                hint="Copy the bundle again, or get it from its maker; `edgelm verify` checks every file.",
            )
        self._checked.add(entry.path)


def open_bundle(path: str | Path, *, check_hashes: bool = True, trust: Trust = NO_TRUST) -> Bundle:
    """Open a bundle and read its manifest.

    Args:
        check_hashes: compare the SHA-256 of every file that is read later with the manifest's.
        trust: who must have signed it. The manifest is read once: the bytes that are checked are those that are
            understood.

    Raises:
        BundleError: no bundle, a broken or newer manifest, or a path in it that leaves the bundle.
        SignatureError: not signed as it must be.
        UsageError: a signature is to be checked, but no hashes.
    """
    path = Path(path)
    if trust.key is not None and not check_hashes:
        raise UsageError(
            "a signature says nothing of files whose hashes are not compared.", hint="Leave --no-hashes or --key out."
        )
    try:
        there = path.is_dir() or path.is_file()  # a pipe would be waited for
    except (OSError, ValueError):  # a name that the system does not take
        there = False
    if not there:
        raise BundleError(f"{path}: no such bundle.", hint="`edgelm export` makes one.")
    text, read = _read(path, MANIFEST_FILE, MANIFEST_BYTES), partial(_read_if_there, path)
    trust.check(path, text, read)
    made = Manifest.from_json(text)
    for entry in made.files:
        check_inside(entry.path)
    manifest, additions, ignored = trust.find_additions(path, text, made, read)
    return Bundle(path, manifest, check_hashes, text, additions, ignored, trust)


def _read_if_there(path: Path, name: str) -> bytes | None:
    """The bytes of a file beside the manifest; None where nothing has that name."""
    if path.is_dir():
        there = os.path.lexists(path / name)
    else:
        with open_archive(path) as archive:
            there = name in archive.NameToInfo
    return _read(path, name, MANIFEST_BYTES) if there else None


def _read(path: Path, name: str, limit: int | Limit) -> bytes:
    """The bytes of a file that is no longer than this."""
    if not path.is_dir():
        with open_archive(path) as archive:
            return read_member(archive, path, name, limit)
    file = find_plain_file(path, name)
    refuse_longer(path, name, file.stat().st_size, limit)
    with _readable(path, name):
        return file.read_bytes()


@contextlib.contextmanager
def _readable(path: Path, name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BundleError(
            f"{path}: {name} cannot be read ({error.strerror or error}).", hint="Look at its rights and at the disk."
        ) from error
