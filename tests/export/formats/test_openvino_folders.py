"""`edgelm export --format openvino`: OpenVINO computes of the folder what transformers computes, by the code that the
folder's card shows; and what is refused."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from generators import make_generator
from models import TEXTS, make_checkpoint
from transformers import AutoTokenizer
from typer.testing import CliRunner

from edgelm.anatomy import load_checkpoint
from edgelm.checkpoint import open_checkpoint
from edgelm.cli.main import app
from edgelm.export.formats import engine_folder


def export(folder, *more):
    words = ("export", folder / "model", "--format", "openvino", "--output", folder / "out", *more)
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def openvino():
    return pytest.importorskip("openvino", reason="the extra openvino is not installed")


def logits_of(path, texts):
    model, tokenizer = load_checkpoint(open_checkpoint(path)).eval(), AutoTokenizer.from_pretrained(path)
    read = tokenizer(texts, padding=True, truncation=True, max_length=128, return_tensors="pt")
    with torch.inference_mode():
        return model(**read).logits.numpy(), {name: values.numpy() for name, values in read.items()}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "precision"), [("bert", "fp32"), ("bert", "fp16"), ("roberta", "fp32"), ("modernbert", "fp16")]
)
def test_openvino_computes_what_transformers_does(openvino, tmp_path, family, precision):
    make_checkpoint(tmp_path / "model", family)
    done = export(tmp_path, "--precision", precision)
    assert done.exit_code == 0, done.output
    wanted, batch = logits_of(tmp_path / "model", list(TEXTS[:4]))
    model = openvino.Core().compile_model(
        str(tmp_path / "out" / "openvino_model.xml"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    found = model({given.any_name: batch[given.any_name] for given in model.inputs})["logits"]
    scale = max(1.0, np.abs(wanted).max())
    np.testing.assert_allclose(found, wanted, atol=scale * (1e-4 if precision == "fp32" else 1e-2))  # half: 11 bits


@pytest.mark.slow
def test_in_int8_weights_are_bytes_and_answers_stay(openvino, tmp_path):
    make_checkpoint(tmp_path / "model", hidden=128, heads=4, ffn=256, spread=0.1)  # as large as integers ask for
    rows = "".join(json.dumps({"text": text, "label": number % 2}) + "\n" for number, text in enumerate(TEXTS))
    (tmp_path / "rows.jsonl").write_text(rows)
    asked = (
        "--precision",
        "int8",
        "--calibration",
        tmp_path / "rows.jsonl",
        "--eval",
        tmp_path / "rows.jsonl",
        "--json",
    )
    done = export(tmp_path, *asked)
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert said["parity"]["changed"] <= 0.05
    assert set(said["quality"]["bundle"]) == set(said["quality"]["checkpoint"])
    ops = openvino.Core().read_model(str(tmp_path / "out" / "openvino_model.xml")).get_ordered_ops()
    constants = [op for op in ops if op.get_type_name() == "Constant"]
    integers = sum(op.data.size for op in constants if op.get_element_type() == openvino.Type.i8)
    model = load_checkpoint(open_checkpoint(tmp_path / "model"))
    linear = [layer for layer in model.bert.encoder.modules() if isinstance(layer, torch.nn.Linear)]
    assert integers >= sum(layer.weight.numel() for layer in linear)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "output"), [("text-classification", "logits"), ("sentence-embedding", "embedding")])
def test_the_code_of_the_card_runs_as_it_stands(openvino, tmp_path, kind, output):
    make_checkpoint(tmp_path / "model", kind=kind)
    done = export(tmp_path, "--precision", "fp32")
    assert done.exit_code == 0, done.output
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", card, re.MULTILINE | re.DOTALL)
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "out", capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    found = [float(number) for number in re.findall(r"-?\d+\.\d*(?:e[+-]\d+)?", ran.stdout)]
    assert ran.stdout.startswith(output)
    if kind == "text-classification":
        np.testing.assert_allclose(
            found, logits_of(tmp_path / "model", ["This is a text."])[0][0], atol=1e-3
        )  # as printed
    else:
        assert np.linalg.norm(found) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--precision", "int4"), "fp32, fp16, int8"),
        (("--precision", "fp16", "--device", "jetson-orin-nano"), "--device cpu"),
        (("--precision", "fp16", "--single"), "--single"),
    ],
    ids=["precision", "device", "option"],
)
def test_what_openvino_is_not_given_is_refused(tmp_path, words, said):
    make_checkpoint(tmp_path / "model")
    done = export(tmp_path, *words)
    assert done.exit_code == 2
    assert said in done.stderr and not (tmp_path / "out").exists()


def test_a_model_that_writes_is_refused(tmp_path):
    make_generator(tmp_path / "model", "llama")
    done = export(tmp_path, "--precision", "fp16")
    assert done.exit_code == 2
    assert "not text-generation" in done.stderr


def test_without_openvino_the_extra_is_named(tmp_path, monkeypatch):
    make_checkpoint(tmp_path / "model")
    monkeypatch.setattr(engine_folder, "find_spec", lambda name: None)
    done = export(tmp_path, "--precision", "fp16")
    assert done.exit_code == 1
    assert "openvino]" in done.stderr and not (tmp_path / "out").exists()
