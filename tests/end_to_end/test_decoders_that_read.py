"""Decoders as encoders of sentences, the whole way: their bundles give the vectors of sentence-transformers, one by one
and in padded batches, in every precision; what is not done with them is said."""

import numpy as np
import pytest
from models import TEXTS, make_generator
from sentence_folders import dense, edit, make_decoder_folder, pooling
from typer.testing import CliRunner

from edgelm.cli.main import app
from edgelm.runtime import load

# As the published ones have it: Gemma 3 that looks both ways, a mean and two layers; Qwen3 and its last token.
FOLDERS = {
    "gemma3_text": (
        (
            pooling("mean", width=64),
            dense(64, 96, "linear.Identity", bias=False),
            dense(96, 64, "linear.Identity", bias=False),
            ("Normalize", {}),
        ),
        {"use_bidirectional_attention": True},
    ),
    "qwen3": ((pooling("lasttoken", width=64), ("Normalize", {})), {}),
    "mistral": ((pooling("lasttoken", width=64), ("Normalize", {})), {"sliding_window": 6}),
    "llama": ((pooling("mean", width=64),), {}),
    "qwen2": (
        (pooling("weightedmean", width=64),),
        {"use_sliding_window": True, "sliding_window": 6, "max_window_layers": 1},
    ),
}
SHAPE = {"hidden": 64, "ffn": 256, "heads": 2, "kv_heads": 1}
# Largest distance of unit vectors: sixteen and eight bits in two layers of random weights.
BOUNDS = {"fp16": 5e-3, "int8": 0.1, "int8-weights": 0.1}
LONG = [*TEXTS, " ".join(TEXTS[:5])]


def edgelm(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def make(folder, family):
    modules, entries = FOLDERS[family]
    return make_decoder_folder(folder, *modules, family=family, **SHAPE, **entries)


def export(model, output, precision="fp32", *more):
    done = edgelm("export", model, "--precision", precision, "--output", output, *more)
    assert done.exit_code == 0, done.output + done.stderr
    return output


def theirs(folder, texts=LONG):
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu").encode(list(texts))


def ours(bundle, texts=LONG):
    model = load(bundle)
    together = np.array([answer["embedding"] for answer in model(list(texts))])
    return together, np.array([model(text)["embedding"] for text in texts])


QUICK = ("qwen3",)  # the others take theirs in the marked run


@pytest.mark.parametrize(
    "family", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in FOLDERS]
)
def test_a_bundle_gives_the_vectors_of_the_library(tmp_path, family):
    folder = make(tmp_path / "model", family)
    wanted = theirs(folder)
    for found in ours(export(folder, tmp_path / "model.edge")):
        np.testing.assert_allclose(found, wanted, atol=1e-5)  # FP32 sums in another order


@pytest.mark.slow
@pytest.mark.parametrize("precision", BOUNDS)
@pytest.mark.parametrize("family", QUICK)
def test_precisions_keep_the_vectors(tmp_path, family, precision):
    folder = make(tmp_path / "model", family)
    bundle = export(folder, tmp_path / "model.edge", precision)
    for found in ours(bundle):
        assert np.linalg.norm(found - theirs(folder), axis=1).max() < BOUNDS[precision]
    assert edgelm("verify", bundle).exit_code == 0


def test_a_language_model_is_asked_for_the_vectors_of_its_last_tokens(tmp_path):
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder = make_generator(tmp_path / "model", "qwen3", **SHAPE)
    bundle = export(folder, tmp_path / "model.edge", "fp32", "--task", "sentence-embedding")
    model, tokenizer = (
        AutoModel.from_pretrained(folder, dtype=torch.float32).eval(),
        AutoTokenizer.from_pretrained(folder),
    )
    with torch.inference_mode():
        last = [model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0, -1] for text in TEXTS]
    wanted = torch.nn.functional.normalize(torch.stack(last), dim=-1).numpy()
    for found in ours(bundle, TEXTS):
        np.testing.assert_allclose(found, wanted, atol=1e-5)  # FP32 sums in another order


def test_a_classifier_answers_as_the_pipeline(tmp_path):
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

    generator = make_generator(tmp_path / "generator", "llama", **SHAPE)
    torch.manual_seed(0)
    names = {0: "bad", 1: "good", 2: "neither"}
    tokenizer = AutoTokenizer.from_pretrained(generator)
    model = AutoModelForSequenceClassification.from_pretrained(generator, id2label=names)
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    wanted = pipeline("text-classification", model=model, tokenizer=tokenizer, device="cpu", top_k=None)(list(TEXTS))
    bundle = load(export(tmp_path / "model", tmp_path / "model.edge"))
    for answers in (bundle(list(TEXTS)), [bundle(text) for text in TEXTS]):
        for answer, scores in zip(answers, wanted, strict=True):
            assert answer["scores"] == pytest.approx({row["label"]: row["score"] for row in scores}, abs=1e-5)
    edit(tmp_path / "model" / "config.json", pad_token_id=None)
    done = edgelm("export", tmp_path / "model", "--output", tmp_path / "other.edge")
    assert (done.exit_code, "pad_token_id" in done.stderr) == (4, True), done.stderr


def test_a_decoder_is_not_cut(tmp_path):
    folder = make(tmp_path / "model", "qwen3")
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(TEXTS))
    done = edgelm(
        "compress", folder, "--data", texts, "--eval", texts, "--recipe", "no-training", "--output", tmp_path / "c"
    )
    assert done.exit_code == 4
    assert "qwen3 models" in done.stderr


def test_what_was_saved_gives_the_same_vectors(tmp_path):
    from edgelm.anatomy import find_checkpoint, load_checkpoint, load_tokenizer, save_checkpoint

    checkpoint = find_checkpoint(make(tmp_path / "model", "gemma3_text"))
    (tmp_path / "saved").mkdir()
    save_checkpoint(tmp_path / "saved", load_checkpoint(checkpoint), load_tokenizer(checkpoint), checkpoint.record)
    np.testing.assert_allclose(theirs(tmp_path / "saved"), theirs(tmp_path / "model"), atol=1e-6)
