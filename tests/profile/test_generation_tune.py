"""`edgelm tune` of a bundle that writes: threads and spinning, by the time of a token."""

from __future__ import annotations

import pytest
import torch
from generator_bundles import add_golden, make_generator_bundle, make_model

from edgelm.data.dataset import Dataset
from edgelm.errors import UsageError
from edgelm.profile.tune import tune
from edgelm.runtime import load, open_bundle
from edgelm.runtime.generation.golden import GenerationGolden, GoldenText

TOLERANCE = 1e-3  # logits are below 30, and float32 sums of other orders differ in the sixth digit
TEXT = "turn the kitchen lights on"


@pytest.fixture
def bundle(tmp_path):
    folder = make_generator_bundle(tmp_path / "bundle", "llama")
    model, _ = make_model("llama")
    prompt = load(folder).reader(TEXT)
    with torch.no_grad():
        logits = model(torch.tensor([prompt])).logits[0, -1:].numpy()
    sample = GoldenText.of(TEXT, prompt, logits, tolerance=TOLERANCE)
    return add_golden(folder, GenerationGolden((sample,), TOLERANCE))


def test_what_is_kept_is_that_of_every_graph_and_the_bundle_still_passes(bundle):
    written = load(bundle)(TEXT, max_new_tokens=6)
    found = tune(bundle)
    assert {trial.knob for trial in found.trials} <= {"threads", "spinning"}
    assert found.after.p50_ms > 0
    graphs = open_bundle(bundle).manifest.graphs
    assert all("tuned" in graph.session for graph in graphs)
    assert load(bundle)(TEXT, max_new_tokens=6) == written


def test_texts_are_refused(bundle):
    with pytest.raises(UsageError, match="tuned by the time of a token"):
        tune(bundle, data=Dataset("texts", ("a", "b")), time_limit=5)
