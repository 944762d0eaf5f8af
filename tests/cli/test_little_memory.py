"""Too little memory is said as such, whichever library noticed it."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
import typer
from models import TEXTS, make_checkpoint

from edgelm.cli.console import open_screen
from edgelm.errors import EXIT_FAILED, ModelError

# Runs a command that may take so many bytes of addresses more than the libraries have.
LIMITED = """
import resource, sys
from pathlib import Path
from edgelm.cli.main import app
import edgelm.budgeting.compress, edgelm.compress.pipeline, edgelm.export.pipeline, onnxruntime
now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (now + int(sys.argv[1]),) * 2)
app(sys.argv[2:])
"""


def ask_numpy():
    np.empty(1 << 60, np.uint8)


def ask_torch():
    torch.empty(1 << 60, dtype=torch.uint8)


def ask_onnxruntime():
    raise RuntimeError("std::bad_alloc")


def ask_in_vain():
    try:
        ask_torch()
    except RuntimeError as error:
        raise ModelError("the model cannot be loaded.", hint="Check the weights.") from error


@pytest.mark.parametrize("ask", [ask_numpy, ask_torch, ask_onnxruntime, ask_in_vain])
def test_a_lack_of_memory_is_no_defect_and_no_fault_of_the_input(ask, capsys):
    with pytest.raises(typer.Exit) as ended, open_screen():
        ask()
    said = capsys.readouterr().err
    assert ended.value.exit_code == EXIT_FAILED
    assert "Error: not enough memory" in said
    assert "defect" not in said
    assert "Check the weights" not in said


@pytest.mark.skipif(sys.platform != "linux", reason="limits and sizes as Linux has them")
def test_a_command_under_a_memory_limit_ends_in_one_clear_error_and_leaves_nothing(tmp_path):
    make_checkpoint(tmp_path / "model", hidden=128, ffn=2048, layers=4)
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    words = ["export", tmp_path / "model", "--calibration", tmp_path / "texts.jsonl", "--output", tmp_path / "out"]
    command = [sys.executable, "-c", LIMITED, str(3 * 10**6), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == EXIT_FAILED, done.stderr
    assert "Error: not enough memory" in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "texts.jsonl"]
