"""Graphs of cut generators: layers of different sizes, sublayers that are gone; as transformers writes and as loaded
again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from generators import DECODERS, GENERATORS, SENTENCES, make_generator

from edgelm.anatomy import keep_layers, load_checkpoint, load_tokenizer, model_layers, save_checkpoint, sublayers
from edgelm.anatomy.layer import ATTENTION, CROSS, FFN
from edgelm.checkpoint import open_checkpoint
from edgelm.data.dataset import Dataset
from edgelm.device import load_device
from edgelm.errors import ModelError
from edgelm.export.formats.genai import write_genai
from edgelm.export.formats.gguf import write_gguf
from edgelm.export.generation.decoder import decoder_graph
from edgelm.export.generation.graphs import generator_graphs
from edgelm.export.pipeline import export
from edgelm.runtime import load


def cut_checkpoint(folder: Path, family: str, removed: tuple[tuple[int, str], ...] = ()) -> Path:
    """A small generator with a layer of the decoder gone, uneven widths, and sublayers gone that leave biases."""
    sizes: dict[str, Any] = {"hidden": 128, "heads": 8, "kv_heads": 4} if family in DECODERS[1:] else {"hidden": 64}
    if family.startswith("t5"):
        sizes["spread"] = 0.15  # scores are not scaled: with wider weights rounding alone changes what is written
    source = open_checkpoint(make_generator(folder / "whole", family, layers=4, **sizes))
    model = load_checkpoint(source)
    for number, (_, sublayer) in enumerate(sublayers(model)):
        kept = range(number % 2, sublayer.units, 1 + number % 3)
        sublayer.cut(kept)
    layers = model_layers(model)
    draw = torch.Generator().manual_seed(3)
    for index, kind in removed:
        sublayer = layers[index].sublayer(kind)
        sublayer.cut([])
        with torch.no_grad():
            sublayer.output.bias.add_(0.1 * torch.randn(sublayer.output.bias.shape, generator=draw))
    keep_layers(model, [index for index in range(len(layers)) if index != len(layers) - 2])
    save_checkpoint(folder / "cut", model, load_tokenizer(source), source.record)
    return folder / "cut"


def removed_of(family: str) -> tuple[tuple[int, str], ...]:
    """The first of all, two behind each other, and the last."""
    if family in DECODERS:
        return (0, ATTENTION), (0, FFN), (3, FFN)
    return (0, ATTENTION), (1, FFN), (3, FFN), (4, ATTENTION), (5, CROSS), (5, FFN), (7, FFN)


@pytest.mark.parametrize("family", GENERATORS)
def test_a_cut_model_is_exported_as_it_writes(family: str, tmp_path: Path) -> None:
    folder = cut_checkpoint(tmp_path, family, removed_of(family))
    model = load_checkpoint(folder)
    tokenizer = load_tokenizer(open_checkpoint(folder))

    bundle = export(folder, output=tmp_path / "m.edge", device=load_device("cpu"), precision="fp32").path

    generator = load(bundle)
    encoded = [tokenizer(text, return_tensors="pt").input_ids for text in SENTENCES[:3]]
    settings = generator.settings_with({"max_new_tokens": 12, "num_beams": 1})
    rows = generator.write([generator.reader(text) for text in SENTENCES[:3]], settings)
    for ids, row in zip(encoded, rows, strict=True):
        wanted = model.generate(ids, max_new_tokens=12, do_sample=False, num_beams=1)[0]
        wanted = wanted[ids.shape[1] if family in DECODERS else 1 :]
        special = tokenizer.all_special_ids
        assert [token for token in row.written if token not in special] == [
            token for token in wanted.tolist() if token not in special
        ]


@pytest.mark.parametrize("family", [pytest.param(name, marks=pytest.mark.slow) for name in ("llama", "t5")])
def test_a_cut_model_is_quantized_by_its_own_texts(family: str, tmp_path: Path) -> None:
    folder = cut_checkpoint(tmp_path, family, removed_of(family))
    rows = Dataset("memory", SENTENCES * 2, schema="prompts")
    if family == "t5":
        rows = Dataset("memory", SENTENCES, labels=tuple((text,) for text in SENTENCES), schema="targets")
    made = export(folder, output=tmp_path / "m.edge", device=load_device("cpu"), precision="int4", calibration=rows)
    parity = load(made.path).manifest.graphs[-1].parity
    assert parity is not None
    assert parity.changed <= parity.tolerance


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_the_cache_has_what_each_layer_needs(family: str, tmp_path: Path) -> None:
    model = load_checkpoint(cut_checkpoint(tmp_path, family, removed_of(family)))
    decoder = generator_graphs(model, precision="fp32", positions=64)["decoder"]
    wanted = [
        (index, layer.heads)
        for index, layer in enumerate(layer for layer in model_layers(model) if layer.stack == "decoder")
        if layer.heads
    ]
    for role in ("past-key", "past-value"):
        assert [(spec.layer, spec.shape[1]) for spec in decoder.inputs if spec.role == role] == wanted
    assert any(heads < 4 for _, heads in wanted)


def test_a_decoder_that_never_looks_at_its_source_is_refused(tmp_path: Path) -> None:
    model = load_checkpoint(make_generator(tmp_path / "m", "bart"))
    for layer in model_layers(model):
        if layer.stack == "decoder":
            layer.sublayer(CROSS).cut([])
    with pytest.raises(ModelError, match="does not depend on the source"):
        generator_graphs(model, precision="fp32", positions=64)


def test_formats_that_have_layers_of_one_size_say_so(tmp_path: Path) -> None:
    folder = cut_checkpoint(tmp_path, "llama")
    model: Any = load_checkpoint(folder)
    tokenizer = load_tokenizer(open_checkpoint(folder))
    with pytest.raises(ModelError, match=r"llama\.cpp has layers of one size"):
        write_gguf(model, tokenizer, tmp_path / "m.gguf", precision="f32")
    with pytest.raises(ModelError, match="one size of keys and values"):
        write_genai(decoder_graph(model).model, model, tokenizer, tmp_path / "genai")


def test_genai_is_refused_where_an_attention_is_gone(tmp_path: Path) -> None:
    model: Any = load_checkpoint(make_generator(tmp_path / "m", "llama", hidden=64))
    model_layers(model)[0].attention.cut([])
    tokenizer = load_tokenizer(open_checkpoint(tmp_path / "m"))
    with pytest.raises(ModelError, match="a layer here has no attention"):
        write_genai(decoder_graph(model).model, model, tokenizer, tmp_path / "genai")
