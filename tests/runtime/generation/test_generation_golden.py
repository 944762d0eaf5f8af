"""A bundle that writes proves itself by prompts, the tokens behind them and the logits of the first."""

import json

import numpy as np
import pytest
import torch
from bundles import reseal, set_field
from generator_bundles import add_golden, make_generator_bundle, make_model
from generators import SENTENCES

from edgelm.errors import BundleError
from edgelm.runtime import load
from edgelm.runtime.generation.golden import GenerationGolden, GoldenText
from edgelm.runtime.verify import verify

TOLERANCE = 1e-3  # logits are below 30, and float32 sums of other orders differ in the sixth digit
NEW = 8


def golden_of(family, generator, tolerance=TOLERANCE):
    """What PyTorch computes."""
    model, _ = make_model(family)
    samples = []
    for text in SENTENCES[:3]:
        prompt = generator.reader(text)
        tokens = [generator.settings.decoder_start_id] if model.config.is_encoder_decoder else prompt
        logits = []
        for _ in range(NEW):
            fed = {"input_ids": torch.tensor([tokens])}
            if model.config.is_encoder_decoder:
                fed = {"input_ids": torch.tensor([prompt]), "decoder_input_ids": torch.tensor([tokens])}
            with torch.no_grad():
                logits.append(model(**fed).logits[0, -1].numpy())
            tokens = [*tokens, int(logits[-1].argmax())]
        samples.append(GoldenText.of(text, prompt, np.stack(logits), tolerance=tolerance))
    return GenerationGolden(tuple(samples), tolerance)


@pytest.fixture(params=["llama", "t5"])
def bundle(request, tmp_path):
    folder = make_generator_bundle(tmp_path / "bundle", request.param)
    return add_golden(folder, golden_of(request.param, load(folder)))


def failed(folder):
    return {check.name: check.detail for check in verify(folder).checks if not check.ok}


def test_a_bundle_is_proven(bundle):
    assert failed(bundle) == {}
    names = [check.name for check in verify(bundle).checks]
    assert "graph decoder" in names
    golden = GenerationGolden.from_json((bundle / "golden.json").read_text())
    assert all(sample.tokens for sample in golden.samples)
    assert GenerationGolden.from_json(golden.to_json()) == golden


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda sample: sample["prompt"].append(9), "tokenized differently"),
        (lambda sample: sample["tokens"].__setitem__(0, 9), "the model writes"),
        (lambda sample: sample["likeliest"].update({next(iter(sample["likeliest"])): 0.0}), "largest difference"),
        (lambda sample: sample.update(total=0.0), "largest difference"),
        (lambda sample: sample.update(total=float("nan")), "largest difference inf"),
        (lambda sample: sample["likeliest"].update({"99999": 0.0}), "too few"),
    ],
)
def test_another_answer_is_found(bundle, change, words):
    values = json.loads((bundle / "golden.json").read_text())
    change(values["samples"][1])
    (bundle / "golden.json").write_text(json.dumps(values))
    assert words in failed(reseal(bundle))["golden samples"]


GOOD = {"text": "a", "prompt": [1], "tokens": [], "likeliest": {"1": 1.0}, "total": 0.0}


@pytest.mark.parametrize(
    "values",
    [
        {},
        [],
        {"samples": [], "tolerance": 1.0},
        {"samples": [{"text": "a"}], "tolerance": 1.0},
        {"samples": [GOOD | {"total": 10**400}], "tolerance": 1.0},
        {"samples": [GOOD | {"likeliest": {"1": 10**400}}], "tolerance": 1.0},
        {"samples": [GOOD], "tolerance": float("inf")},
        *(
            {"samples": [GOOD | {name: value}], "tolerance": 1.0}
            for name, value in (
                ("likeliest", {"x": 1.0}),
                ("likeliest", {}),
                ("prompt", [-1]),
                ("prompt", []),
                ("tokens", ["a"]),
            )
        ),
    ],
)
def test_what_proves_nothing_is_refused(values):
    with pytest.raises(BundleError, match=r"golden\.json"):
        GenerationGolden.from_json(json.dumps(values))


def test_tokens_end_before_one_that_other_sums_could_turn_round():
    logits = np.array([[0, 5, 1], [3, 0, 0], [1, 1.0005, 0], [0, 0, 9]], dtype=np.float32)
    assert GoldenText.of("a", [1], logits, tolerance=1e-3).tokens == [1, 0]
    assert GoldenText.of("a", [1], logits, tolerance=1e-4).tokens == [1, 0, 1, 2]


def test_tensors_without_a_place_are_refused(bundle):
    with pytest.raises(BundleError, match="logits is not one of"):
        load(reseal(bundle, set_field(("graphs", -1, "inputs", 0, "role"), "logits")))


def test_keys_and_values_of_unknown_size_are_refused(bundle):
    def change(values):
        for spec in values["graphs"][-1]["inputs"]:
            if spec["role"] == "past-key":
                spec["shape"][1] = "heads"

    with pytest.raises(BundleError, match="keys and values"):
        load(reseal(bundle, change))


def test_a_bundle_runs_itself(bundle):
    import subprocess
    import sys

    found = subprocess.run(
        [sys.executable, bundle / "run.py", "--verify"], capture_output=True, text=True, timeout=120, env={}
    )
    assert json.loads(found.stdout)["ok"], found.stdout + found.stderr
