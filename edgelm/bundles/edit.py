"""A bundle with other session settings, or with more files: prepared beside it, and taken over only if it still answers
well.

What its maker signed stays as it is: in a signed bundle the changes are listed apart, see `edgelm.runtime.additions`.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgelm.errors import BundleError
from edgelm.files.moving import open_workspace, restore
from edgelm.files.output import disk_errors, staged_output
from edgelm.runtime import Bundle, open_bundle
from edgelm.runtime.additions import Additions
from edgelm.runtime.archive import pack
from edgelm.runtime.graph_spec import OPTIMIZED_FILE
from edgelm.runtime.manifest import (
    DEVICE_FILE,
    DEVICE_SIGNATURE_FILE,
    MANIFEST_FILE,
    SIGNATURE_FILE,
    UNLISTED,
    FileEntry,
    Manifest,
)
from edgelm.runtime.session import make_session
from edgelm.runtime.verify import verify


@contextmanager
def open_draft(bundle: Bundle, *, without: Collection[str] = (OPTIMIZED_FILE,)) -> Iterator[Path]:
    """A folder with the bundle's files but for some, beside it and gone afterwards; those of a folder are shared.

    Raises:
        BundleError: a file is missing, or has another size than the manifest says.
    """
    path = bundle.path.resolve()
    restore(path)  # what a run that was killed left beside the bundle
    with disk_errors(bundle.path), open_workspace(path) as folder:
        folder.mkdir()
        entries = tuple(entry for entry in bundle.manifest.files if entry.path not in without)
        for entry in entries:
            target = folder / entry.path
            target.parent.mkdir(parents=True, exist_ok=True)
            if bundle.is_file:
                target.write_bytes(bundle.read(entry.path))
            else:
                _share(bundle.locate(entry.path), target)
        _write_manifest(folder / MANIFEST_FILE, bundle, replace(bundle.manifest, files=entries))
        yield folder


def add_optimized_graph(draft: Path, settings: dict[str, Any]) -> None:
    """Write the graph into a draft as onnxruntime runs it with these settings, and list it in the draft's manifest."""
    bundle = open_bundle(draft)
    make_session(bundle.with_settings(settings), optimized=draft / OPTIMIZED_FILE)
    entry = FileEntry.of(OPTIMIZED_FILE, (draft / OPTIMIZED_FILE).read_bytes())
    others = (other for other in bundle.manifest.files if other.path != OPTIMIZED_FILE)
    _write_manifest(draft / MANIFEST_FILE, bundle, replace(bundle.manifest, files=(*others, entry)))


def remove_leftover(bundle: Bundle) -> None:
    """Take away the optimized graph of a run that was cut off before it wrote the manifest."""
    if not bundle.is_file and not bundle.has(OPTIMIZED_FILE):
        (bundle.path / OPTIMIZED_FILE).unlink(missing_ok=True)


def check_answers(path: Path) -> None:
    """Verify a bundle, golden samples included.

    Raises:
        BundleError: it fails.
    """
    failed = [check for check in verify(path).checks if not check.ok]
    if failed:
        raise BundleError(
            f"{path} fails its own check: {failed[0].name}: {failed[0].detail}.",
            hint="`edgelm verify` shows every check; export or copy it again.",
        )


def add_files(
    bundle: Bundle, files: Mapping[str, bytes], manifest: Manifest, *, check: Callable[[Path], Manifest] | None = None
) -> Manifest:
    """Put files into a bundle, in the place of those of the same names, with this manifest, which lists them then.

    Args:
        check: looks at a draft that has them and gives the manifest to write; what it raises leaves the bundle as it
            was.

    Raises:
        BundleError: one is part of what the bundle's maker signed.
    """
    if sealed := [name for name in files if bundle.seals(name)]:
        raise BundleError(
            f"{bundle.path}: {sealed[0]} is part of the signed bundle, and may not be replaced.",
            hint="Use it as it is, or have the bundle's maker export and sign it again.",
        )
    entries = [entry for entry in manifest.files if entry.path not in files]
    entries += [FileEntry.of(name, data) for name, data in files.items()]
    manifest = replace(manifest, files=tuple(sorted(entries, key=lambda entry: entry.path)))
    with open_draft(bundle, without=tuple(files)) as draft:
        for name, data in files.items():
            (draft / name).parent.mkdir(parents=True, exist_ok=True)
            (draft / name).write_bytes(data)
        _write_manifest(draft / MANIFEST_FILE, bundle, manifest)
        if check is not None:
            manifest = replace(check(draft), files=manifest.files)
            _write_manifest(draft / MANIFEST_FILE, bundle, manifest)
        _take_over(bundle, draft, tuple(files))
    return manifest


def put_beside(bundle: Bundle, name: str, data: bytes) -> None:
    """Give a bundle a file that no manifest lists, such as a signature; all else stays as it is."""
    with open_draft(bundle, without=()) as draft:
        kept = {other: bundle.read_beside(other) for other in UNLISTED} | {name: data}
        for other, content in kept.items():
            if content is not None:
                (draft / other).write_bytes(content)
        if not bundle.is_file:
            (draft / name).replace(bundle.path / name)
            return
        with staged_output(bundle.path.resolve(), overwrite=True) as aside:
            pack(draft, aside)


def save_settings(bundle: Bundle, draft: Path, settings: dict[str, Any]) -> None:
    """Give a bundle these session settings.

    Raises:
        BundleError: with them it does not give its golden answers; it is left as it was.
    """
    manifest = open_bundle(draft).with_settings(settings).manifest
    if "optimized_by" not in settings:
        (draft / OPTIMIZED_FILE).unlink(missing_ok=True)
        manifest = _without(manifest, (OPTIMIZED_FILE,))
    _write_manifest(draft / MANIFEST_FILE, bundle, manifest)
    check_answers(draft)
    _take_over(bundle, draft, (OPTIMIZED_FILE,))


def _take_over(bundle: Bundle, draft: Path, names: Sequence[str]) -> None:
    """Give the bundle what the draft has under these names, each whole, and take away what it has not; then the lists
    of its files.

    Files that change are taken out of the lists first, so that the bundle works whenever this is cut off; a new file
    that lies there then without being listed is what `edgelm verify` names, and what the next run replaces.
    """
    names = [name for name in names if not bundle.seals(name)]
    manifest = Manifest.from_json((draft / MANIFEST_FILE).read_bytes())
    if bundle.is_file:
        for name, data in _lists(bundle, manifest).items():
            if data is not None:
                (draft / name).write_bytes(data)
        with staged_output(bundle.path.resolve(), overwrite=True) as aside:
            pack(draft, aside)
        return
    if any(bundle.has(name) for name in names):
        _put_lists(bundle, draft, _without(bundle.manifest, names))
    for name in names:
        (bundle.path / name).unlink(missing_ok=True)
        if (draft / name).exists():
            (bundle.path / name).parent.mkdir(parents=True, exist_ok=True)
            (draft / name).replace(bundle.path / name)
    _put_lists(bundle, draft, manifest)


def _lists(bundle: Bundle, manifest: Manifest) -> dict[str, bytes | None]:
    """What lists the files of a bundle with this manifest, by the names of their files; None: there is none.

    A signature of what was added before holds for that alone, and goes.
    """
    signature = bundle.read_beside(SIGNATURE_FILE)
    if signature is None:
        return {MANIFEST_FILE: _manifest_text(bundle, manifest)}
    added = Additions.between(bundle.text, manifest)
    device = added.to_json() if added.graphs or added.files else None
    return {MANIFEST_FILE: bundle.text, SIGNATURE_FILE: signature, DEVICE_SIGNATURE_FILE: None, DEVICE_FILE: device}


def _put_lists(bundle: Bundle, draft: Path, manifest: Manifest) -> None:
    """Give a folder the lists that change, each whole; the draft is where they are made."""
    for name, data in _lists(bundle, manifest).items():
        if data is None:
            (bundle.path / name).unlink(missing_ok=True)
        elif data != bundle.read_beside(name):
            aside = draft / "list.json"
            aside.write_bytes(data)
            aside.replace(bundle.path / name)


def _write_manifest(file: Path, bundle: Bundle, manifest: Manifest) -> None:
    file.write_bytes(_manifest_text(bundle, manifest))


def _manifest_text(bundle: Bundle, manifest: Manifest) -> bytes:
    """The text of a manifest of the same bundle: what was not changed stays as the bundle says it.

    The runtime that a bundle carries may be older than this edgelm, and know no field of a newer schema.
    """
    before, after = (json.loads(each.to_json()) for each in (Manifest.from_json(bundle.text), manifest))
    changed = {name: value for name, value in after.items() if value != before[name]}
    return (json.dumps(json.loads(bundle.text) | changed, indent=2) + "\n").encode()


def _without(manifest: Manifest, names: Sequence[str]) -> Manifest:
    """The manifest of the same bundle without these files: engines and the optimized graph are things that it can be
    without."""
    graphs = []
    for graph in manifest.graphs:
        engines = tuple(record for record in graph.engines if record.path not in names)
        session = {
            key: value for key, value in graph.session.items() if key != "optimized_by" or OPTIMIZED_FILE not in names
        }
        graphs.append(replace(graph, session=session, engines=engines))
    files = tuple(entry for entry in manifest.files if entry.path not in names)
    return replace(manifest, graphs=tuple(graphs), files=files)


def _share(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)
