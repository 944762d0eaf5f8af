"""Generators in few bits: which matrices are made, from what inputs, and what each costs."""

from __future__ import annotations

import copy
import functools
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from decoding import Decoding
from generators import ENCODER_DECODERS, GENERATORS, make_generator
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

from edgelm.anatomy.matrices import linear_modules
from edgelm.errors import CalibrationError, UsageError
from edgelm.export.generation.decoder import decoder_graph
from edgelm.export.generation.encoder_decoder import encoder_decoder_graphs
from edgelm.export.generation.few_bits import dequantized, quantize_generator
from edgelm.export.generation.loss_increase import loss_increases
from edgelm.export.generation.statistics import collect_moments
from edgelm.quantize.blocks import BlockWeight, round_blocks
from edgelm.quantize.few_bits import DEFAULTS, FewBits, by_name, most_harmful, quantize_matrices

NEAREST = FewBits(method="nearest")


@functools.cache
def make_model(family: str) -> Any:
    kind = AutoModelForSeq2SeqLM if family in ENCODER_DECODERS else AutoModelForCausalLM
    with tempfile.TemporaryDirectory() as folder:
        make_generator(Path(folder), family, hidden=64, ffn=96)
        return kind.from_pretrained(folder).eval()


def batches_of(family: str, count: int = 4, length: int = 48) -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    size = make_model(family).config.vocab_size
    made = [{"input_ids": torch.randint(5, size, (2, length), generator=generator)} for _ in range(count)]
    if family in ENCODER_DECODERS:
        return [batch | {"decoder_input_ids": batch["input_ids"][:, :20]} for batch in made]
    return made


@torch.no_grad()
def log_chances(model: Any, batches: list[dict[str, torch.Tensor]]) -> torch.Tensor:
    return torch.cat([model(**batch).logits.log_softmax(dim=-1).flatten(0, 1) for batch in batches])


def divergence(model: Any, other: Any, batches: list[dict[str, torch.Tensor]]) -> float:
    """Kullback-Leibler divergence, in nats a token."""
    first, second = log_chances(model, batches), log_chances(other, batches)
    return float((first.exp() * (first - second)).sum(dim=-1).mean())


@pytest.mark.parametrize("family", GENERATORS)
def test_a_graph_finds_every_matrix_that_it_asks_for(family: str) -> None:
    model = make_model(family)
    made = quantize_generator(model, (), NEAREST)
    asked: dict[str, tuple[int, ...]] = {}

    def quantize(name: str, weight: np.ndarray, bits: int) -> BlockWeight:
        asked[name] = weight.shape
        assert np.corrcoef(made[name].floats().ravel(), weight.ravel())[0, 1] > 0.98  # that very matrix
        return made[name]

    build = encoder_decoder_graphs if family in ENCODER_DECODERS else decoder_graph
    build(model, precision="int4", quantize=quantize)
    assert set(asked) == set(made)
    table = model.get_input_embeddings().weight
    assert [made[name].bits for name in asked if model.get_submodule(name).weight is table] == [8]


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_graph_computes_what_the_dequantized_model_does(family: str) -> None:
    model, batches = make_model(family), batches_of(family)
    made = quantize_generator(model, batches, FewBits(largest_rise=0.02))
    assert {weight.bits for weight in made.values()} == {4, 8}
    # Activations in FP32, as PyTorch has them; the kernels' default takes them as bytes.
    graph = decoder_graph(model, precision="int4", quantize=by_name(made))
    for node in graph.model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "accuracy_level":
                attribute.i = 1
    text = [5, 9, 11, 8, 7, 6, 10]

    found = Decoding(graph).add([text], [range(len(text))])[0]

    with torch.no_grad():
        wanted = dequantized(model, made)(torch.tensor([text])).logits[0].numpy()
    # GPT-2's positions are stored in FP16; else sums of another order
    assert np.abs(found - wanted).max() < (2e-2 if family == "gpt2" else 1e-4)


def test_the_model_that_is_judged_is_a_copy() -> None:
    model = make_model("gpt2")  # its head is tied to the table
    before = copy.deepcopy(model.state_dict())
    changed = dequantized(model, quantize_generator(model, (), NEAREST))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert changed.lm_head.weight is changed.get_input_embeddings().weight
    assert not torch.equal(changed.lm_head.weight, model.lm_head.weight)


@pytest.mark.parametrize("family", ["llama", "gpt2", "t5"])
def test_moments_are_the_mean_of_what_modules_were_given(family: str) -> None:
    model, batches = make_model(family), batches_of(family)
    names = list(linear_modules(model))[:3]
    seen: dict[str, list[torch.Tensor]] = {name: [] for name in names}
    handles = [
        model.get_submodule(name).register_forward_pre_hook(
            lambda _, inputs, name=name: seen[name].append(inputs[0].flatten(0, -2))
        )
        for name in names
    ]
    moments = collect_moments(model, batches, names)
    for handle in handles:
        handle.remove()
    for name in names:
        rows = torch.cat(seen[name]).numpy().astype(np.float64)
        np.testing.assert_allclose(moments[name], rows.T @ rows / len(rows), atol=1e-5)
    assert family == "gpt2" or moments[names[0]] is moments[names[1]]  # of query and key


def test_gptq_and_weighted_scales_keep_more_of_a_model_than_the_nearest() -> None:
    model, batches = make_model("llama"), batches_of("llama", 8)
    lost = [
        divergence(
            model,
            dequantized(model, quantize_generator(model, batches[:6], FewBits(method=method))),
            batches[6:],
        )
        for method in ("nearest", "weighted", "gptq", "descent")
    ]
    assert lost[3] < lost[2] < lost[1] < lost[0]


def test_the_rise_of_the_loss_is_told_without_measuring_each_matrix() -> None:
    model, batches = make_model("llama"), batches_of("llama", 12)
    modules = linear_modules(model)
    names = [name for name in modules if name != "lm_head"]
    floats = {name: modules[name].weight.detach().numpy().T for name in names}
    made = {name: round_blocks(floats[name], 4) for name in names}
    told = loss_increases(model, batches, {name: made[name].floats() - floats[name] for name in names})
    measured = {name: divergence(model, dequantized(model, {name: made[name]}), batches) for name in names}
    ratios = np.array([told[name] / measured[name] for name in names])
    # Labels are drawn once a token, and errors of tokens count as independent.
    assert 0.6 < np.exp(np.log(ratios).mean()) < 1.6
    assert np.corrcoef(*np.log([list(told.values()), list(measured.values())]))[0, 1] > 0.8
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_matrices_keep_more_bits_until_the_rise_is_small_enough() -> None:
    rises, sizes = {"a": 0.4, "b": 0.3, "c": 0.2, "d": 0.1}, {"a": 100, "b": 10, "c": 100, "d": 1}
    assert most_harmful(rises, sizes, 1.0) == []
    assert most_harmful(rises, sizes, 0.6) == ["d", "b"]
    assert most_harmful(rises, sizes, 0.0) == ["d", "b", "a", "c"]

    model, batches = make_model("llama"), batches_of("llama", 8)
    made = [quantize_generator(model, batches, FewBits(largest_rise=rise)) for rise in (None, 0.03, 0.003)]
    lost = [divergence(model, dequantized(model, weights), batches) for weights in made]
    assert lost[2] < lost[1] < lost[0]
    assert sum(weight.nbytes for weight in made[1].values()) < sum(weight.nbytes for weight in made[2].values())


def test_eight_bits_need_no_texts_and_four_bits_say_that_they_do() -> None:
    model = make_model("llama")
    made = quantize_generator(model, (), DEFAULTS["int8-weights"])
    assert {weight.bits for weight in made.values()} == {8}
    with pytest.raises(CalibrationError, match="no texts"):
        quantize_generator(model, (), DEFAULTS["int4"])
    with pytest.raises(CalibrationError, match="second moments"):
        quantize_matrices({"a": np.ones((32, 4), np.float32)})


@pytest.mark.parametrize(
    "wrong", [{"bits": 3}, {"method": "guess"}, {"block": 24}, {"raised": {"a": 6}}, {"head_bits": 2}]
)
def test_settings_that_no_kernel_has_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        FewBits(**wrong)
