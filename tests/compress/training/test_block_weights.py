"""Weights trained in blocks of few bits: what training computes is what export makes of them, exactly."""

import json

import numpy as np
import pytest
import torch
from decoding import Decoding
from generators import SENTENCES, make_generator

from edgelm import compress
from edgelm.anatomy import load_checkpoint
from edgelm.anatomy.matrices import layer_matrices
from edgelm.compress.training.block_weights import BlockGrid, in_blocks
from edgelm.data.dataset import Dataset
from edgelm.export.generation.decoder import decoder_graph
from edgelm.export.generation.few_bits import dequantized, quantize_generator
from edgelm.quantize.blocks import round_blocks
from edgelm.quantize.exact_grid import exact_grid
from edgelm.quantize.few_bits import DEFAULTS, by_name
from edgelm.recipe import Recipe

PRECISIONS = {4: "int4", 8: "int8-weights"}


@pytest.mark.parametrize("bits", [4, 8])
def test_integers_and_scales_of_a_grid_are_found_again(bits):
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(70, 90)).astype(np.float32)
    weight[:32, 5] = 0
    assert exact_grid(weight, bits, 32) is None
    made = round_blocks(weight, bits)
    again = round_blocks(made.floats(), bits)
    np.testing.assert_array_equal(again.floats(), made.floats())
    # Trained weights need not reach the ends of their grid, and gptq and descent keep what is exact.
    half = 2 ** (bits - 1)
    values = rng.integers(-half // 2, half // 2, size=(70, 90)).astype(np.float32)
    scale = rng.normal(size=(3, 90)).astype(np.float16).astype(np.float32)
    inside = values * scale[np.arange(70) // 32]
    np.testing.assert_array_equal(round_blocks(inside, bits, np.eye(70), act_order=True).floats(), inside)
    inside[40, 3] += 1e-5
    assert exact_grid(inside, bits, 32) is None


def test_rounding_is_export_s_and_gradients_pass_where_nothing_is_clipped():
    weight = torch.randn(9, 45, requires_grad=True)
    grid = BlockGrid.of(weight, 4)
    wanted = round_blocks(weight.detach().numpy().T, 4).floats().T
    np.testing.assert_array_equal(grid(weight).detach().numpy(), wanted)
    moved = (weight.detach() * torch.where(torch.rand(9, 45) < 0.2, 3.0, 1.0)).requires_grad_()
    grid(moved).sum().backward()
    blocks = torch.arange(45) // 32
    steps = (moved.detach() / grid.scale[:, blocks]).round()
    assert torch.equal(moved.grad, ((steps >= -8) & (steps <= 7)).float())


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("family", ["gpt2", "gemma3_text", "t5", "bart"])
def test_export_makes_exactly_what_was_trained(tmp_path, family, bits):
    """Through files: the model of the stage, the integers of its export, and the logits of both."""
    folder = make_generator(tmp_path / "m", family, hidden=64)
    file = folder / "generation_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"max_new_tokens": 6}))
    rows = Dataset("memory", SENTENCES, schema="prompts")
    if family in ("t5", "bart"):
        rows = Dataset("memory", SENTENCES, labels=tuple((text,) for text in SENTENCES[::-1]), schema="targets")
    train = {"max_steps": 2, "batch_size": 4, "learning_rate": 1e-3, "max_length": 24}
    stage = {"stage": "quantize", "bits": bits, "loss": {"hidden": 0.0}, "train": train}
    recipe = Recipe(name="q", stages=(stage,))
    compress(folder, dataset=rows, evaluation=rows, recipe=recipe, output=tmp_path / "q", max_length=24)
    model, before = load_checkpoint(tmp_path / "q"), load_checkpoint(folder)
    batch = {"input_ids": torch.arange(3, 15)[None]} | (
        {"decoder_input_ids": torch.arange(3, 9)[None]} if family in ("t5", "bart") else {}
    )
    made = quantize_generator(model, [batch], DEFAULTS[PRECISIONS[bits]])
    assert {weight.bits for name, weight in made.items() if name in layer_matrices(model)} == {bits}
    same = dequantized(model, made)
    for name, weight in model.named_parameters():
        assert torch.equal(weight, same.get_parameter(name)), name
    name, module = next(iter(layer_matrices(model).items()))
    assert not torch.equal(module.weight, before.get_submodule(name).weight)
    if family in ("gpt2", "gemma3_text"):
        graph = decoder_graph(model, precision=PRECISIONS[bits], quantize=by_name(made), byte_activations=False)
        places = list(range(batch["input_ids"].shape[1]))
        logits = Decoding(graph).add(batch["input_ids"].tolist(), [places])
        with torch.no_grad():
            wanted = model(**batch).logits.numpy()
        # FP32, in other kernels; GPT-2's positions are stored in FP16.
        np.testing.assert_allclose(logits, wanted, rtol=0, atol=2e-2 if family == "gpt2" else 1e-3)


def test_a_table_of_4_bits_is_trained_and_left_on_its_grid(tmp_path):
    model = load_checkpoint(make_generator(tmp_path / "m", "llama", hidden=64, tied=False))
    ids, weights = torch.arange(3, 12)[None], model.lm_head.weight.detach().clone()
    with in_blocks(model, bits=4, table_bits=4):
        with_rounded_head = model.lm_head(weights[:4])
        model(input_ids=ids).logits.sum().backward()
    assert "forward" not in model.lm_head.__dict__
    for weight in (model.lm_head.weight, model.model.embed_tokens.weight):
        assert exact_grid(weight.detach().numpy().T, 4, 32) is not None
    rounded = torch.nn.functional.linear(weights[:4], model.lm_head.weight)
    torch.testing.assert_close(with_rounded_head, rounded)


def test_files_of_another_tool_keep_their_grid():
    """GGUF's Q4_0 and Q8_0 as its own package makes them: FP16 scales of 32 weights, no zero points."""
    quants = pytest.importorskip("gguf.quants")
    from gguf import GGMLQuantizationType as Kind

    weight = np.random.default_rng(0).normal(size=(40, 96)).astype(np.float32)
    for kind, bits in ((Kind.Q4_0, 4), (Kind.Q8_0, 8)):
        floats = quants.dequantize(quants.quantize(weight, kind), kind)
        np.testing.assert_array_equal(round_blocks(floats.T, bits).floats().T, floats)
