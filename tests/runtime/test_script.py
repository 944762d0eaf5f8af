"""A bundle's own script runs nothing from its folder but what the manifest lists."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from bundles import make_bundle


@pytest.fixture
def folder(tmp_path):
    return make_bundle(tmp_path / "b")


def start(folder, *words, **options):
    return subprocess.run(
        [sys.executable, folder / "run.py", *words], capture_output=True, text=True, timeout=120, check=False, **options
    )


def test_the_bundles_script_runs_nothing_but_what_is_listed_and_hashed(folder, tmp_path):
    """Modules that would be found first, and bytecode that would be taken for the source: each leaves a mark if it
    runs."""
    mark = tmp_path / "ran"
    evil = f"import pathlib; pathlib.Path({str(mark)!r}).write_text(__name__)\n"
    for name in (
        "numpy",
        "json",
        "argparse",
        "hashlib",
        "os",
        "onnxruntime",
        "pathlib",
        "encodings",
        "sitecustomize",
        "edgelm",
    ):
        (folder / f"{name}.py").write_text(evil)
        (folder / "runtime" / f"{name}.py").write_text(evil)
    (folder / "runtime" / "edgelm" / "tokenizers.py").write_text(evil)
    for module in (folder / "runtime" / "edgelm" / "errors.py", folder / "runtime" / "edgelm" / "runtime" / "model.py"):
        forge_bytecode(module, evil)
    before = set(folder.rglob("*"))
    for cwd in (folder, tmp_path):
        done = start(folder, "a good film", cwd=cwd)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["label"]
        assert not mark.exists()
    assert set(folder.rglob("*")) == before
    assert start(folder, "--verify").returncode == 4
    assert not mark.exists()


def test_a_bundle_that_does_not_write_works_without_what_writes(folder):
    assert not (folder / "runtime" / "edgelm" / "runtime" / "generation").exists()
    for words in (["a good film"], ["--verify"]):
        done = start(folder, *words)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)
    done = start(folder, "--chat")
    assert (done.returncode, "--chat and --set are for models that write" in done.stderr) == (2, True)


def forge_bytecode(module, source):
    """Bytecode of another source, which Python takes for that of the module: size and time of the module stand in
    it."""
    import importlib.util
    import marshal

    cached = Path(importlib.util.cache_from_source(str(module)))
    stat = module.stat()
    head = (
        importlib.util.MAGIC_NUMBER
        + b"\0\0\0\0"
        + int(stat.st_mtime).to_bytes(4, "little")
        + stat.st_size.to_bytes(4, "little")
    )
    cached.parent.mkdir(exist_ok=True)
    cached.write_bytes(head + marshal.dumps(compile(source, str(module), "exec")))


def test_the_bundles_script_does_not_run_a_changed_runtime(folder):
    module = folder / "runtime" / "edgelm" / "runtime" / "answers" / "classes.py"
    module.write_text("raise SystemExit(77)\n" + module.read_text())
    done = start(folder, "a good film")
    assert done.returncode == 4
    assert "classes.py: its content was changed" in done.stderr
    (folder / "manifest.json").write_text("[]")
    done = start(folder, "a good film")
    assert done.returncode == 4
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["manifest.json", "runtime/edgelm/errors.py"])
@pytest.mark.parametrize("become", [lambda file: None, os.mkfifo, Path.mkdir], ids=["missing", "a-pipe", "a-folder"])
def test_the_bundles_script_says_which_file_it_misses(folder, name, become):
    (folder / name).unlink()
    become(folder / name)
    done = start(folder, "a good film")
    assert done.returncode == 4
    assert f"{name} is missing" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_bundles_script_says_what_must_be_installed(folder, tmp_path):
    for name in ("numpy", "onnxruntime"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.py").write_text(f"raise ImportError('No module named {name}')\n")
        done = start(folder, "a good film", env=os.environ | {"PYTHONPATH": str(tmp_path / name)})
        assert done.returncode == 1
        assert f"Error: No module named {name}" in done.stderr
        assert "Install numpy, tokenizers and onnxruntime" in done.stderr
        assert "Traceback" not in done.stderr
