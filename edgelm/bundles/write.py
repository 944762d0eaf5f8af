"""Writes a bundle: graphs, tokenizer, configuration, golden samples, model card, runtime, C++ example and, last, the
manifest with every hash."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx

from edgelm.bundles.card import LICENCES_FOLDER, card_text
from edgelm.bundles.cpp_example import cpp_files, cpp_program
from edgelm.bundles.hub_files import CONFIG_FILE, TOKENIZER_CONFIG_FILE, bundle_tokenizer_config
from edgelm.bundles.native_tokenizer import UnknownTokenizer, compile_tokenizer
from edgelm.bundles.sbom import sbom_json
from edgelm.bundles.tokenizer_file import tokenizer_json
from edgelm.files.output import size_on_disk, staged_output
from edgelm.files.output_kinds import BUNDLE, FILE, OutputKind
from edgelm.files.shipped import shipped_file
from edgelm.graph.external_data import save_graphs
from edgelm.graph.native import compile_program
from edgelm.model_folder.card import ModelCard
from edgelm.runtime.archive import pack
from edgelm.runtime.bundle import SINGLE_FILE_SUFFIX
from edgelm.runtime.generation.golden import GenerationGolden
from edgelm.runtime.golden import Golden
from edgelm.runtime.hashing import hash_file
from edgelm.runtime.inputs.native_reader import READER_FILE, READER_KINDS
from edgelm.runtime.manifest import (
    CARD_FILE,
    GOLDEN_FILE,
    MANIFEST_FILE,
    SBOM_FILE,
    SCRIPT_FILE,
    TOKENIZER_FILE,
    WEIGHTS_FILE,
    FileEntry,
    Manifest,
)
from edgelm.runtime.native import PROGRAM_FILE
from edgelm.runtime.script import SCRIPT, vendored_files


def write_bundle(
    output: Path,
    manifest: Manifest,
    graphs: Mapping[str, onnx.ModelProto] | Path,
    tokenizer: Any,
    golden: Golden | GenerationGolden,
    *,
    overwrite: bool,
    config: str | None = None,
    card: ModelCard = ModelCard(),
    check: Callable[[Path], None] = lambda path: None,
) -> Manifest:
    """Write a bundle, as a folder or (with a name ending in `.edgelm`) as one file, and return its final manifest.

    Args:
        graphs: by the names of their files, as the manifest has them; or the folder that `save_graphs` wrote them to,
            whose files are moved into the bundle.
        config: the text of config.json, see `edgelm.bundles.hub_files`; None: of a graph that no model of transformers
            stands behind.
        card: what the checkpoint's folder says of licences and origin.
        check: looks at the finished bundle before it takes its place; where it raises, nothing is left.

    Raises:
        OutputExistsError, ResourceError: as `staged_output`.
    """
    with staged_output(output, overwrite=overwrite, kind=bundle_kind(output)) as aside:
        folder = aside.with_name(aside.name + ".folder") if output.suffix == SINGLE_FILE_SUFFIX else aside
        folder.mkdir()
        _write_content(folder, manifest, graphs, tokenizer, golden, config)
        _write_licences(folder, card)
        text = card_text(manifest, card, size_mb=size_on_disk(folder) / 1e6)
        (folder / CARD_FILE).write_text(text, encoding="utf-8")
        entries = _entries(folder)
        listed = sbom_json(manifest, entries, card).encode()
        (folder / SBOM_FILE).write_bytes(listed)
        entries = (*entries, FileEntry.of(SBOM_FILE, listed))
        manifest = replace(manifest, files=tuple(sorted(entries, key=lambda entry: entry.path)))
        (folder / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")
        if folder is not aside:
            pack(folder, aside)
        check(aside)
    return manifest


def bundle_kind(output: Path) -> OutputKind:
    """What a bundle of this name may replace: as one file a file, else a bundle folder."""
    return FILE if output.suffix == SINGLE_FILE_SUFFIX else BUNDLE


def _write_content(
    folder: Path,
    manifest: Manifest,
    graphs: Mapping[str, onnx.ModelProto] | Path,
    tokenizer: Any,
    golden: Golden | GenerationGolden,
    config: str | None,
) -> None:
    if isinstance(graphs, Path):
        for file in graphs.iterdir():
            shutil.move(file, folder / file.name)
    else:
        save_graphs(graphs, folder, WEIGHTS_FILE)
    if manifest.precision == "int8" and not manifest.task.generates:
        _write_program(folder, manifest)
    backend = tokenizer.backend_tokenizer
    backend.no_padding()
    backend.no_truncation()
    (folder / TOKENIZER_FILE).write_text(tokenizer_json(backend), encoding="utf-8")
    if manifest.task.kind in READER_KINDS:
        _write_reader(folder, manifest, backend)
    (folder / TOKENIZER_CONFIG_FILE).write_text(bundle_tokenizer_config(tokenizer, manifest), encoding="utf-8")
    if config is not None:
        (folder / CONFIG_FILE).write_text(config, encoding="utf-8")
    (folder / "labels.json").write_text(
        json.dumps(list(manifest.task.labels), ensure_ascii=False, indent=1) + "\n", encoding="utf-8"
    )
    (folder / GOLDEN_FILE).write_text(golden.to_json(), encoding="utf-8")
    (folder / SCRIPT_FILE).write_text(SCRIPT, encoding="utf-8")
    program = cpp_program(manifest.task)
    carried = vendored_files(generates=manifest.task.generates) | (cpp_files(program) if program else {})
    for name, source in carried.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())


def _write_program(folder: Path, manifest: Manifest) -> None:
    """The graph for edgelm-native, where a program can say all of it."""
    program = compile_program(folder / manifest.graph().file, WEIGHTS_FILE, longest=manifest.tokenization.max_length)
    if program is not None:
        (folder / PROGRAM_FILE).write_bytes(program)


def _write_reader(folder: Path, manifest: Manifest, backend: Any) -> None:
    """The tokenizer for edgelm-native, where it gives the same ids."""
    with contextlib.suppress(UnknownTokenizer):
        (folder / READER_FILE).write_bytes(compile_tokenizer(backend, manifest.tokenization))


def _write_licences(folder: Path, card: ModelCard) -> None:
    """The texts that could be had: of the runtime that the bundle carries, and those beside the checkpoint."""
    (folder / LICENCES_FOLDER).mkdir()
    texts = {"edgelm-LICENSE": shipped_file("LICENSE").read_bytes()}
    for name, text in (texts | {f"model-{name}": text for name, text in card.texts.items()}).items():
        (folder / LICENCES_FOLDER / name).write_bytes(text)


def _entries(folder: Path) -> tuple[FileEntry, ...]:
    """Of every file that is there, by the order of their names."""
    files = ((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*") if path.is_file())
    return tuple(FileEntry(name, path.stat().st_size, hash_file(path)) for name, path in sorted(files))
