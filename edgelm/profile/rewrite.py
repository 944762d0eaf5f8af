"""A bundle with other session settings, or with more files: prepared beside it, and put in its place only if it still answers well."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgelm.errors import BundleError
from edgelm.output import disk_errors, staged_output
from edgelm.runtime import Bundle, open_bundle
from edgelm.runtime.archive import pack
from edgelm.runtime.manifest import MANIFEST_FILE, OPTIMIZED_FILE, FileEntry, Manifest
from edgelm.runtime.session import make_session
from edgelm.runtime.verify import verify


@contextmanager
def open_draft(bundle: Bundle, *, without: Collection[str] = (OPTIMIZED_FILE,)) -> Iterator[Path]:
    """A folder with the bundle's files but for some, beside it and gone afterwards; those of a folder are shared."""
    with disk_errors(bundle.path):
        folder = Path(tempfile.mkdtemp(prefix=f".{bundle.path.name}.", dir=bundle.path.absolute().parent))
        try:
            for name in set(bundle.names()) - {MANIFEST_FILE, *without}:
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                if bundle.is_file:
                    target.write_bytes(bundle.read(name))
                else:
                    _share(bundle.path / name, target)
            entries = tuple(entry for entry in bundle.manifest.files if entry.path not in without)
            (folder / MANIFEST_FILE).write_text(replace(bundle.manifest, files=entries).to_json(), encoding="utf-8")
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def add_optimized_graph(draft: Path, settings: dict[str, Any]) -> None:
    """Write the graph into a draft as onnxruntime runs it with these settings."""
    bundle = open_bundle(draft)
    make_session(replace(bundle, manifest=replace(bundle.manifest, session=settings)), optimized=draft / OPTIMIZED_FILE)


def check_answers(path: Path) -> None:
    """Verify a bundle, golden samples included.

    Raises:
        BundleError: it fails.
    """
    failed = [check for check in verify(path).checks if not check.ok]
    if failed:
        raise BundleError(
            f"{path} fails its own check: {failed[0].name}: {failed[0].detail}.", hint="`edgelm verify` shows every check; export or copy it again."
        )


def add_files(bundle: Bundle, files: Mapping[str, bytes], manifest: Manifest, *, check: Callable[[Path], Manifest] | None = None) -> Manifest:
    """Put files into a bundle, in the place of those of the same names, with this manifest, which lists them then.

    Args:
        check: looks at a draft that has them and gives the manifest to write; what it raises leaves the bundle as it was.
    """
    entries = [entry for entry in manifest.files if entry.path not in files]
    entries += [FileEntry.of(name, data) for name, data in files.items()]
    manifest = replace(manifest, files=tuple(sorted(entries, key=lambda entry: entry.path)))
    with open_draft(bundle, without=tuple(files)) as draft:
        for name, data in files.items():
            (draft / name).parent.mkdir(parents=True, exist_ok=True)
            (draft / name).write_bytes(data)
        (draft / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")
        if check is not None:
            manifest = replace(check(draft), files=manifest.files)
            (draft / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")
        _take_over(bundle, draft, (*files, MANIFEST_FILE))
    return manifest


def save_settings(bundle: Bundle, draft: Path, settings: dict[str, Any]) -> None:
    """Give a bundle these session settings.

    Raises:
        BundleError: with them it does not give its golden answers; it is left as it was.
    """
    manifest = open_bundle(draft).manifest
    entries = list(manifest.files)
    if "optimized_by" in settings:
        entries.append(FileEntry.of(OPTIMIZED_FILE, (draft / OPTIMIZED_FILE).read_bytes()))
    else:
        (draft / OPTIMIZED_FILE).unlink(missing_ok=True)
    manifest = replace(manifest, session=settings, files=tuple(entries))
    (draft / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")
    check_answers(draft)
    _take_over(bundle, draft, (OPTIMIZED_FILE, MANIFEST_FILE))
    if bundle.is_file:
        return
    if "optimized_by" not in settings:
        (bundle.path / OPTIMIZED_FILE).unlink(missing_ok=True)


def _take_over(bundle: Bundle, draft: Path, names: Sequence[str]) -> None:
    """Give the bundle what the draft has under these names, each whole; the manifest comes last."""
    if bundle.is_file:
        with staged_output(bundle.path, overwrite=True) as aside:
            pack(draft, aside)
        return
    for name in names:
        if (draft / name).exists():
            (bundle.path / name).parent.mkdir(parents=True, exist_ok=True)
            (draft / name).replace(bundle.path / name)


def _share(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)
