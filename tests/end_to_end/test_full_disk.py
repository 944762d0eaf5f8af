"""A full disk ends every command that writes with one clear error, and with nothing at the output."""

import json
import shutil
import subprocess

import pytest
from bundles import make_bundle
from models import TEXTS, make_checkpoint
from typer.testing import CliRunner

from edgelm.cli.main import app

RECIPE = """
name: r
stages:
  - {stage: prune, keep_heads: 0.5, keep_ffn: 0.5, ffn_multiple: 8}
  - {stage: recover, train: {max_steps: 2, batch_size: 4}}
"""


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 32 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if (
        not shutil.which("mount")
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", folder], capture_output=True).returncode
    ):
        pytest.skip("mounting a small disk needs the rights of root")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.fixture
def files(tmp_path):
    make_checkpoint(tmp_path / "encoder", kind="sentence-embedding")
    make_checkpoint(tmp_path / "model")
    make_bundle(tmp_path / "bundle")
    rows = [{"text": text, "label": ["no", "yes"][index % 2]} for index, text in enumerate(TEXTS * 2)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "text.jsonl").write_text("".join(json.dumps({"text": row["text"]}) + "\n" for row in rows))
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return tmp_path


@pytest.mark.parametrize("command", ["finetune", "compress", "export", "profile"])
def test_a_full_disk_is_one_clear_error_and_leaves_no_output(files, small_disk, command):
    rows, text, output = files / "rows.jsonl", files / "text.jsonl", small_disk / "out"
    arguments = {
        "finetune": [files / "encoder", "--data", rows, "--eval", rows, "--max-steps", 2],
        "compress": [files / "encoder", "--data", text, "--eval", text, "--recipe", files / "recipe.yaml"],
        "export": [files / "model", "--calibration", text, "--precision", "fp32"],
        "profile": [files / "bundle", "--runs", 3000, "--loads", 1],
    }[command]
    result = CliRunner().invoke(app, [command, *map(str, arguments), "--output", str(output)])
    assert result.exit_code == 1, result.output
    assert f"no space left on the disk of {output}" in result.stderr
    assert not output.exists()
    assert [path.name for path in small_disk.iterdir() if path.name != "out.work"] == []
