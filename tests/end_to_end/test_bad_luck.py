"""Places that cannot be written, disks that are others or full, clocks that were moved: a clear error or success, and
the same command goes on afterwards."""

import json
import os
import shutil
import subprocess
import tempfile
import time

import pytest
import torch
from models import TEXTS, make_checkpoint
from safetensors.torch import load_file
from typer.testing import CliRunner

from edgelm.cli.main import app
from edgelm.compress.pipeline import compress
from edgelm.data.dataset import load_dataset
from edgelm.recipe import load_recipe
from edgelm.runtime.verify import verify

RECIPE = """
name: r
stages:
  - {stage: prune, keep_heads: 0.5, keep_ffn: 0.5, ffn_multiple: 8}
  - {stage: recover, train: {max_steps: 6, batch_size: 4}}
"""


@pytest.fixture
def disk(tmp_path):
    """Makes a file system of its own, of so many kB; True in place of a size: none that can be written."""
    made = []

    def mount(size):
        folder = tmp_path / f"disk-{len(made)}"
        folder.mkdir()
        options = "ro" if size is True else f"size={size}k"
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        if not shutil.which("mount") or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("mounting a disk needs the rights of root")
        made.append(folder)
        return folder

    yield mount
    for folder in made:
        subprocess.run(["umount", folder], check=True)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    make_checkpoint(folder / "model")
    make_checkpoint(folder / "encoder", kind="sentence-embedding")
    rows = [{"text": text, "label": ["negative", "positive"][index % 2]} for index, text in enumerate(TEXTS * 2)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "recipe.yaml").write_text(RECIPE)
    return folder


def run(files, command, output):
    rows = ["--data", files / "rows.jsonl", "--eval", files / "rows.jsonl"]
    words = {
        "finetune": [files / "encoder", *rows, "--max-steps", 2],
        "compress": [files / "model", *rows, "--recipe", files / "recipe.yaml"],
        "search": [files / "model", *rows, "--trials", 1],
        "export": [files / "model", "--calibration", files / "rows.jsonl"],
    }[command]
    return CliRunner().invoke(app, [command, *map(str, words), "--output", str(output)])


@pytest.mark.parametrize("command", ["finetune", "compress", "search", "export"])
def test_a_place_that_may_not_be_written_is_said_before_any_work(files, disk, command):
    output = disk(True) / "out"
    result = run(files, command, output)
    assert result.exit_code == 1, result.output
    assert f"Error: {output} may not be written." in result.stderr


def test_an_output_on_another_file_system_is_as_any_other(files, disk):
    folder = disk(20000)
    result = run(files, "export", folder / "out")
    assert result.exit_code == 0, result.output
    assert verify(folder / "out").ok
    assert [path.name for path in folder.iterdir()] == ["out"]


def test_a_full_disk_of_temporary_files_is_said_and_the_same_command_goes_on(files, disk, tmp_path, monkeypatch):
    full = disk(4)
    (full / "filling").write_bytes(b"x" * 4096)
    monkeypatch.setattr(tempfile, "tempdir", str(full))
    result = run(files, "export", tmp_path / "out")
    assert result.exit_code == 0 or (result.exit_code == 1 and "TMPDIR" in result.stderr), result.output
    assert [path.name for path in full.iterdir()] == ["filling"]
    if result.exit_code:
        assert not (tmp_path / "out").exists()
        monkeypatch.setattr(tempfile, "tempdir", None)
        assert run(files, "export", tmp_path / "out").exit_code == 0


def test_files_from_the_future_are_gone_on_from(files, tmp_path):
    """The clock was moved back between an interrupted run and the next one."""
    rows = load_dataset(files / "rows.jsonl")
    settings = {"dataset": rows, "evaluation": rows, "recipe": load_recipe(files / "recipe.yaml")}
    compress(files / "model", output=tmp_path / "whole", **settings)

    def interrupt(description, done, total):
        if description == "recover" and done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compress(files / "model", output=tmp_path / "broken", progress=interrupt, **settings)
    later = time.time() + 10 * 365 * 86400
    kept = list((tmp_path / "broken.work").rglob("*"))
    assert kept
    for path in kept:
        os.utime(path, (later, later))
    compress(files / "model", output=tmp_path / "broken", **settings)
    whole, broken = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "broken"))
    assert all(torch.equal(whole[name], broken[name]) for name in whole)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken", "whole"]
