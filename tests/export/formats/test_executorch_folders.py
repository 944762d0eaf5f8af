"""`edgelm export --format executorch`: ExecuTorch computes of the folder what transformers computes, by the code that
the folder's card shows; and what is refused. The runs are slow, and skipped where ExecuTorch is not installed."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from models import make_checkpoint
from transformers import AutoTokenizer
from typer.testing import CliRunner

from edgelm.anatomy import load_checkpoint
from edgelm.checkpoint import open_checkpoint
from edgelm.cli.main import app
from edgelm.export.formats import engine_folder


def export(folder, *more):
    words = ("export", folder / "model", "--format", "executorch", "--output", folder / "out", *more)
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.mark.slow
@pytest.mark.parametrize("family", ["bert", "distilbert"])
def test_the_code_of_the_card_gives_the_logits_of_transformers(tmp_path, family):
    pytest.importorskip("executorch", reason="the extra executorch is not installed")
    path = make_checkpoint(tmp_path / "model", family)
    done = export(tmp_path, "--precision", "fp32")
    assert done.exit_code == 0, done.output
    assert "changed answers" in done.output
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", card, re.MULTILINE | re.DOTALL)
    ran = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path / "out",
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path[1:])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    found = [float(number) for number in re.findall(r"-?\d+\.\d*(?:e[+-]\d+)?", ran.stdout.partition("tensor")[2])]
    model, tokenizer = load_checkpoint(open_checkpoint(path)).eval(), AutoTokenizer.from_pretrained(path)
    with torch.inference_mode():
        wanted = model(**tokenizer("This is a text.", return_tensors="pt")).logits[0].numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-3)  # four digits are printed


@pytest.mark.parametrize(
    ("kind", "words", "said"),
    [
        ("text-classification", ("--precision", "int8"), "--precision fp32"),
        ("text-classification", ("--precision", "fp32", "--device", "jetson-orin-nano"), "--device cpu"),
        ("sentence-embedding", ("--precision", "fp32"), "--format openvino"),
    ],
    ids=["precision", "device", "task"],
)
def test_what_executorch_is_not_given_is_refused(tmp_path, kind, words, said):
    make_checkpoint(tmp_path / "model", kind=kind)
    done = export(tmp_path, *words)
    assert done.exit_code == 2
    assert said in done.stderr and not (tmp_path / "out").exists()


def test_without_executorch_the_extra_is_named(tmp_path, monkeypatch):
    make_checkpoint(tmp_path / "model")
    monkeypatch.setattr(engine_folder, "find_spec", lambda name: None)
    done = export(tmp_path, "--precision", "fp32")
    assert done.exit_code == 1
    assert "executorch]" in done.stderr and not (tmp_path / "out").exists()
