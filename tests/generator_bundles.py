"""Bundles of small random generators, written without the export."""

from __future__ import annotations

import dataclasses
import functools
import json
import tempfile
from pathlib import Path
from typing import Any

from generators import ENCODER_DECODERS, SENTENCES, make_generator

from edgelm.data.dataset import Dataset
from edgelm.graph.external_data import save_graphs
from edgelm.model_folder.generators import read_generator
from edgelm.runtime.generation.generator import Generator
from edgelm.runtime.generation.golden import GenerationGolden
from edgelm.runtime.graph_spec import GraphSpec
from edgelm.runtime.loading import load
from edgelm.runtime.manifest import FileEntry, Manifest
from edgelm.runtime.preprocessing import TextProcessing
from edgelm.runtime.script import SCRIPT, vendored_files

POSITIONS = 128
WIDTH = 64  # heads of 16 channels, the fewest that attention takes with rotary positions


@functools.cache
def make_model(family: str, **entries: Any) -> tuple[Any, Path]:
    """A small random model of transformers, and its folder."""
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    folder = Path(tempfile.mkdtemp()) / family
    make_generator(folder, family, hidden=WIDTH, positions=POSITIONS, **entries)
    auto = AutoModelForSeq2SeqLM if family in ENCODER_DECODERS else AutoModelForCausalLM
    return auto.from_pretrained(folder).eval(), folder


def make_generator_bundle(
    folder: Path, family: str, *, settings: dict[str, Any] | None = None, chat_template: str = "", **entries: Any
) -> Path:
    """Write the bundle of a small random generator.

    Args:
        settings: in the place of the model's own.
        chat_template: in the place of the tokenizer's.
    """
    from transformers import AutoTokenizer

    model, source = make_model(family, **entries)
    tokenizer = AutoTokenizer.from_pretrained(source)
    task = read_generator(json.loads((source / "config.json").read_text()), source)
    task = dataclasses.replace(task, settings=dataclasses.replace(task.settings, **settings or {}))
    if chat_template:
        task = dataclasses.replace(task, chat_template=chat_template)
    graphs = _graphs(model)
    folder.mkdir(parents=True)
    save_graphs({f"{name}.onnx": graph.model for name, graph in graphs.items()}, folder, "weights.bin")
    (folder / "tokenizer.json").write_text(tokenizer.backend_tokenizer.to_str(), encoding="utf-8")
    tokens = {name: str(token) for name, token in tokenizer.special_tokens_map.items() if isinstance(token, str)}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokens), encoding="utf-8")
    (folder / "run.py").write_text(SCRIPT, encoding="utf-8")
    for name, file in vendored_files().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(file.read_bytes())
    manifest = Manifest(
        name="tiny",
        created="2026-01-01T00:00:00+00:00",
        task=task,
        family=family,
        precision="fp32",
        tokenization=TextProcessing(POSITIONS, task.settings.pad_id or 0, "<pad>"),
        graphs=tuple(
            GraphSpec(name, f"{name}.onnx", graph.inputs, graph.outputs, opset=20) for name, graph in graphs.items()
        ),
    )
    _seal(folder, manifest)
    return folder


@functools.cache
def exported(family: str, device: str, precision: str = "fp32") -> Path:
    """The bundle of a small random generator that `export` makes for a device, without an engine; its checkpoint lies
    beside it as `model`."""
    from edgelm.device import load_device
    from edgelm.export.pipeline import export

    folder = Path(tempfile.mkdtemp())
    export(
        make_generator(folder / "model", family, hidden=WIDTH),
        output=folder / "b.edge",
        device=load_device(device),
        precision=precision,
        calibration=Dataset("memory", texts=SENTENCES),
        max_length=64,
        engine=False,
    )
    return folder / "b.edge"


def add_golden(folder: Path, golden: GenerationGolden) -> Path:
    """Put golden samples into a bundle."""
    (folder / "golden.json").write_text(golden.to_json(), encoding="utf-8")
    _seal(folder, Manifest.from_json((folder / "manifest.json").read_bytes()))
    return folder


@functools.cache
def load_generator(family: str) -> Generator:
    """The bundle of a small random generator, loaded once; its settings are the model's, without end tokens."""
    folder = make_generator_bundle(Path(tempfile.mkdtemp()) / family, family, settings={"eos_ids": ()})
    found = load(folder, threads=1)
    assert isinstance(found, Generator)
    return found


def _graphs(model: Any) -> dict[str, Any]:
    if model.config.is_encoder_decoder:
        from edgelm.export.generation.encoder_decoder import encoder_decoder_graphs

        return encoder_decoder_graphs(model)
    from edgelm.export.generation.decoder import decoder_graph

    return {"decoder": decoder_graph(model)}


def _seal(folder: Path, manifest: Manifest) -> None:
    files = tuple(
        FileEntry.of(path.relative_to(folder).as_posix(), path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "manifest.json"
    )
    (folder / "manifest.json").write_text(dataclasses.replace(manifest, files=files).to_json(), encoding="utf-8")
