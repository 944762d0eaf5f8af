"""A bundle is opened by Hugging Face's tools too, and by edgelm never taken for a checkpoint."""

import json
import os
import subprocess

import numpy as np
import pytest
from models import TEXTS, make_checkpoint
from tokenizers import AddedToken
from transformers import AutoConfig, AutoTokenizer
from typer.testing import CliRunner

import edgelm.runtime
from edgelm.cli.main import app
from edgelm.data.dataset import Dataset
from edgelm.device import load_device
from edgelm.export.pipeline import export
from edgelm.runtime import open_bundle
from edgelm.runtime.inputs.text import load_text_processor

LENGTH = 16
NAMES = ("negative", "positive")
# Short and long, with names of special tokens, other scripts, blanks, and nothing that a word could be made of.
SINGLE = [
    *TEXTS,
    " ".join(TEXTS),
    "a <mask> b",
    "[MASK] film  [SEP] x",
    "GOOD Film",
    "naïve café",
    "東京 tower",
    "  ",
    "?",
]
SINGLE += [
    "turn\tthe\nlights",
    "zzz qqq",
    "a" * 60,
    "good good good good good good good good good good good good good good",
]
PAIRS = list(zip(SINGLE, reversed(SINGLE), strict=True))


def make(folder, family="bert", *, settings=None, name="b", precision="fp32", device="cpu", pairs=False, **options):
    checkpoint = make_checkpoint(folder / "model", family, **options)
    if settings is not None:
        file = checkpoint / "tokenizer_config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | settings))
    rows = Dataset("memory", texts=TEXTS, pairs=TEXTS[::-1] if pairs else None)
    chosen = {"precision": precision, "calibration": rows, "max_length": LENGTH, "pairs": pairs}
    export(checkpoint, output=folder / name, device=load_device(device), **chosen)
    return folder / name


CASES = {
    "bert-pairs": ("bert", {}, True),
    "bert-left": ("bert", {"truncation_side": "left"}, False),
    "roberta-split": ("roberta", {"split_special_tokens": True}, True),
    "distilbert": ("distilbert", {}, False),
}


QUICK = ("bert-pairs", "roberta-split")  # the others take theirs in the marked run


@pytest.mark.parametrize(
    "case", [case if case in QUICK else pytest.param(case, marks=pytest.mark.slow) for case in CASES]
)
def test_transformers_reads_the_tokens_that_the_runtime_reads(tmp_path, case):
    family, settings, pairs = CASES[case]
    bundle = make(tmp_path, family, settings=settings, pairs=pairs)
    processor, tokenizer = load_text_processor(open_bundle(bundle)), AutoTokenizer.from_pretrained(bundle)
    assert tokenizer.model_max_length == LENGTH
    for text in PAIRS if pairs else SINGLE:
        expected = processor([text])
        found = tokenizer(*(text if pairs else [text]), truncation=True)
        assert {name: values[0].tolist() for name, values in expected.items()} == dict(found), text
    batch = (PAIRS if pairs else SINGLE)[:4]
    columns = [list(part) for part in zip(*batch, strict=True)] if pairs else [batch]
    expected, found = processor(batch), tokenizer(*columns, truncation=True, padding=True, return_tensors="np")
    for name, values in expected.items():
        np.testing.assert_array_equal(values, found[name])


def test_a_mask_token_that_takes_the_blank_before_it_still_does(tmp_path):
    folder = make_checkpoint(tmp_path / "model", "roberta")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"mask_token": AddedToken("<mask>", lstrip=True, special=True)})
    tokenizer.save_pretrained(folder)
    rows = Dataset("memory", texts=TEXTS)
    export(folder, output=tmp_path / "b", device=load_device("cpu"), precision="fp32", calibration=rows)
    expected = load_text_processor(open_bundle(tmp_path / "b"))(["good   <mask> film"])
    assert AutoTokenizer.from_pretrained(tmp_path / "b")("good   <mask> film")["input_ids"] == [
        *expected["input_ids"][0].tolist()
    ]


def test_the_configuration_names_class_labels_and_problem(tmp_path):
    bundle = make(tmp_path, labels=("a", "b", "c"), problem="multi-label")
    config = AutoConfig.from_pretrained(bundle)
    assert config.architectures == ["BertForSequenceClassification"]
    assert config.id2label == {0: "a", 1: "b", 2: "c"}
    assert config.problem_type == "multi_label_classification"
    listed = {entry.path: entry.size for entry in open_bundle(bundle).manifest.files}
    assert listed["config.json"] + listed["tokenizer_config.json"] < 4096  # a few KB beside megabytes of weights


def test_the_single_file_form_holds_them_too(tmp_path):
    bundle = open_bundle(make(tmp_path, name="b.edgelm"))
    assert json.loads(bundle.read("config.json"))["model_type"] == "bert"
    assert json.loads(bundle.read("tokenizer_config.json"))["model_max_length"] == LENGTH


# Run by the Python of an environment with optimum-onnx, which needs another transformers than edgelm does.
BY_OPTIMUM = """
import json, sys
import optimum.onnxruntime
from transformers import AutoTokenizer

name, folder, *texts = sys.argv[1:]
model = getattr(optimum.onnxruntime, name).from_pretrained(folder)
given = AutoTokenizer.from_pretrained(folder)(texts, truncation=True, padding=True, return_tensors="pt")
print(json.dumps(model(**given).logits.tolist()))
"""


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("family", ["bert", "distilbert"])
def test_optimum_gives_the_logits_that_the_runtime_gives(tmp_path, family, precision):
    python = os.environ.get("EDGELM_OPTIMUM_PYTHON")
    if python is None:
        pytest.skip("EDGELM_OPTIMUM_PYTHON names no environment with optimum-onnx")
    bundle = make(tmp_path, family, precision=precision)
    arguments = [python, "-c", BY_OPTIMUM, "ORTModelForSequenceClassification", str(bundle), *TEXTS[:3]]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(arguments, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    model = edgelm.runtime.load(bundle)
    found = np.asarray(json.loads(done.stdout.splitlines()[-1]))
    np.testing.assert_allclose(
        found, model.infer(model.tokenize(TEXTS[:3])), atol=1e-5
    )  # the same graph in the same onnxruntime


@pytest.mark.parametrize("name", ["b", "b.edgelm"], ids=["folder", "file"])
def test_a_bundle_in_the_place_of_a_checkpoint_is_named_as_what_it_is(tmp_path, name):
    bundle = make(tmp_path, name=name)
    rows = tmp_path / "rows.jsonl"
    rows.write_text(
        "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in zip(TEXTS, NAMES * 4, strict=True))
    )
    for command in (
        ["compress", bundle, "--recipe", "balanced", "--data", rows, "--eval", rows, "--output", tmp_path / "out"],
        ["export", bundle, "--device", "cpu", "--output", tmp_path / "out"],
    ):
        result = CliRunner().invoke(app, [str(argument) for argument in command])
        assert result.exit_code == 4, result.output
        assert "this is a bundle" in result.stderr
    shown = CliRunner().invoke(app, ["inspect", str(bundle), "--json"])
    assert json.loads(shown.stdout)["kind"] == "bundle"


def test_a_bundle_is_measured_as_a_bundle_and_without_its_graph_refused_as_one(tmp_path):
    from edgelm.errors import BundleError
    from edgelm.profile.subject import find_subject

    bundle = make(tmp_path)
    assert find_subject(bundle).kind == "bundle"
    assert find_subject(tmp_path / "model").kind == "pytorch"
    (bundle / "manifest.json").write_text("{}")
    with pytest.raises(BundleError):
        find_subject(bundle)
