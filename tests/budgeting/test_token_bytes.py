"""What a model that writes weighs: counted by its shapes, against bundles of it."""

import json

import pytest
from generators import make_generator

from edgelm import load_device
from edgelm.anatomy import layer_shapes, load_checkpoint, load_tokenizer
from edgelm.budgeting.footprint import tokenizer_mb
from edgelm.budgeting.token_bytes import StoredBytes, estimate_token, memory_cost, per_token, size_cost
from edgelm.budgeting.token_probe import longest_text, shaped, write_probe
from edgelm.checkpoint import open_checkpoint
from edgelm.errors import UsageError
from edgelm.files.output import size_on_disk
from edgelm.shapes import LayerShape

NAMES_OF_NODES = 0.04  # of so small a bundle: its files beside the weights are not counted letter by letter


@pytest.mark.parametrize(
    ("family", "precision"), [("llama", "int8"), ("gpt2", "int4"), ("t5-gated", "int8"), ("bart", "fp32")]
)
def test_a_bundle_weighs_what_its_shapes_say(family, precision, tmp_path):
    checkpoint = open_checkpoint(make_generator(tmp_path / "m", family, hidden=128, heads=4, ffn=512))
    model, device = load_checkpoint(checkpoint), load_device("cpu")
    stored = StoredBytes(device, precision, longest_text(checkpoint))
    letters = tokenizer_mb(checkpoint)
    cost = size_cost(model, stored, checkpoint.task, tokenizer_mb=letters)
    whole = layer_shapes(model)
    narrow = [LayerShape(1, 256, cross=shape.cross and 1, stack=shape.stack) for shape in whole[::2]]
    for shapes in (whole, narrow):
        bundle = write_probe(
            shaped(model, shapes),
            tmp_path / "b",
            checkpoint=checkpoint,
            device=device,
            precision=precision,
            tokenizer=load_tokenizer(checkpoint),
        )
        assert cost.predict(shapes) == pytest.approx(size_on_disk(bundle) / 1e6, rel=NAMES_OF_NODES)


def test_a_token_of_the_vocabulary_weighs_its_rows(tmp_path):
    checkpoint = open_checkpoint(make_generator(tmp_path / "m", "llama", hidden=128, heads=4, tied=False))
    model, device = load_checkpoint(checkpoint), load_device("cpu")
    stored = StoredBytes(device, "int4", longest_text(checkpoint))
    tables, whole = [], layer_shapes(model)
    known = int(model.config.vocab_size)
    for tokens in (known, known // 2):
        bundle = write_probe(
            shaped(model, whole, tokens), tmp_path / "b", checkpoint=checkpoint, device=device, precision="int4"
        )
        tables.append((bundle / "weights.bin").stat().st_size / 1e6)
    # Constants are aligned to 64 bytes in the file.
    assert tables[0] - tables[1] == pytest.approx(per_token(model, stored) * (known - known // 2), abs=1e-3)


def test_memory_grows_by_keys_and_values(tmp_path):
    checkpoint = open_checkpoint(make_generator(tmp_path / "m", "llama", hidden=128, heads=4, kv_heads=2))
    model, device = load_checkpoint(checkpoint), load_device("cpu")
    stored = StoredBytes(device, "int8", longest_text(checkpoint))
    long, short = (memory_cost(model, stored, tokenizer_mb=0.0, context=context) for context in (120, 20))
    layers, groups, width = 2, 2, 32
    shapes = layer_shapes(model)
    assert long.predict(shapes) - short.predict(shapes) == pytest.approx(100 * layers * groups * 2 * width * 4 / 1e6)


def test_a_token_elsewhere_is_bytes_over_bandwidth(tmp_path):
    checkpoint = open_checkpoint(make_generator(tmp_path / "m", "llama", hidden=128, heads=4))
    model, pi = load_checkpoint(checkpoint), load_device("raspberry-pi-5")
    stored = StoredBytes(pi, "fp32", longest_text(checkpoint))
    cost, shapes = estimate_token(model, stored, pi, context=1), layer_shapes(model)
    assert cost.band is not None
    head = model.get_output_embeddings().weight.numel()
    body = sum(p.numel() for name, p in model.named_parameters() if p.ndim == 2 and "layers" in name)
    cached = 2 * 2 * 2 * 32
    least = 4 * (head + body + cached) / 1e6 / pi.bandwidth_gb_s
    assert cost.band[0] * cost.predict(shapes) == pytest.approx(least, rel=0.01)  # biases are read too
    assert json.loads(json.dumps(cost.to_dict()))["source"] == "estimated"
    with pytest.raises(UsageError, match="nothing says what a token takes on"):
        estimate_token(model, stored, load_device("rtx-4090"), context=1)
