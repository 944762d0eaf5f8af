"""Cut off in the middle of a step that writes no state of its own: nothing is half written, and the second run ends
well."""

import json
import os
import signal
import subprocess
import sys

import pytest
import torch
from models import TEXTS, make_checkpoint
from safetensors.torch import load_file
from typer.testing import CliRunner

from edgelm.cli.main import app
from edgelm.runtime.verify import verify

RECIPE = """
name: r
stages:
  - {stage: prune, keep_heads: 0.5, keep_ffn: 0.5, ffn_multiple: 8}
  - {stage: recover, train: {max_steps: 2, batch_size: 4}}
"""
# Runs the command in sys.argv[4:], and sends itself a signal where it comes to a function.
CUT_OFF = """
import importlib, os, sys
module, name, how = importlib.import_module(sys.argv[1]), sys.argv[2], int(sys.argv[3])
def cut_off(*values, **options):
    os.kill(os.getpid(), how)
setattr(module, name, cut_off)
from edgelm.cli.main import app
app(sys.argv[4:])
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("interruptions")
    make_checkpoint(folder / "model")
    rows = [{"text": text, "label": ["negative", "positive"][index % 2]} for index, text in enumerate(TEXTS * 2)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "recipe.yaml").write_text(RECIPE)
    return folder


@pytest.mark.parametrize(
    "how",
    [pytest.param(signal.SIGINT, id="ctrl-c", marks=pytest.mark.slow), pytest.param(signal.SIGKILL, id="kill-9")],
)
@pytest.mark.parametrize(
    ("module", "function"),
    [
        # Scores are measured, nothing is cut.
        pytest.param("edgelm.compress.pruning.mask_scores", "cut", marks=pytest.mark.slow),
        ("edgelm.compress.pipeline", "save_checkpoint"),  # a stage is done, its result is being written
        # The graph is quantized.
        pytest.param("edgelm.export.text_steps", "check_parity", marks=pytest.mark.slow),
        ("edgelm.bundles.write", "_entries"),  # the bundle is on the disk but for its manifest
    ],
)
def test_the_same_command_ends_with_the_same_result(files, tmp_path, module, function, how):
    rows = files / "rows.jsonl"
    if "compress" in module:
        command = ["compress", files / "model", "--data", rows, "--eval", rows, "--recipe", files / "recipe.yaml"]
    else:
        command = ["export", files / "model", "--precision", "fp32", "--eval", rows, "--calibration", rows]
    broken, whole = ([*map(str, command), "--output", str(tmp_path / name)] for name in ("broken", "whole"))
    process = subprocess.run(
        [sys.executable, "-c", CUT_OFF, module, function, str(int(how)), *broken],
        capture_output=True,
        text=True,
        env=os.environ,
    )
    assert process.returncode == (130 if how == signal.SIGINT else -9), process.stderr
    assert not (tmp_path / "broken").exists()
    for arguments in (broken, whole):
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.output
    if command[0] == "compress":
        first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("broken", "whole"))
        assert all(torch.equal(first[name], second[name]) for name in first)
    else:
        assert verify(tmp_path / "broken").ok
        assert (tmp_path / "broken" / "model.onnx").read_bytes() == (tmp_path / "whole" / "model.onnx").read_bytes()
