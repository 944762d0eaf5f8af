"""Builds the C++ example of a bundle, where what it takes is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

# Where cargo reaches no crates: build with what has the tokenizers library's functions and asks its Python package.
_STAND_IN = "EDGELM_STAND_IN_TOKENIZERS"
_CARGO_SETTINGS = """[patch.crates-io]
tokenizers = {{ path = "{folder}" }}
[net]
offline = true
"""
_libraries: list[Path] = []  # the tokenizer, once it is built: the slowest part by far


def build_program(bundle: Path, program: str) -> Path:
    """The executable that a bundle's example gives; skips the test where it cannot be built here."""
    missing = [tool for tool in ("cmake", "c++", "cargo") if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    if "ONNXRUNTIME_ROOT" not in os.environ:
        pytest.skip("ONNXRUNTIME_ROOT is not set: the folder with ONNX Runtime's include/ and lib/")
    build = Path(tempfile.mkdtemp()) / program
    if os.environ.get(_STAND_IN):
        (build / ".cargo").mkdir(parents=True)
        folder = Path(__file__).parent / "export" / "stand_in_tokenizers"
        (build / ".cargo" / "config.toml").write_text(_CARGO_SETTINGS.format(folder=folder))
    known = [f"-DTOKENIZER_LIBRARY={library}" for library in _libraries]
    for command in (["cmake", "-S", bundle / "cpp", "-B", build, *known], ["cmake", "--build", build]):
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=os.environ | {"STAND_IN_PYTHON": sys.executable}
        )
        assert done.returncode == 0, done.stdout + done.stderr
    if not known:
        _libraries.extend(build.glob("tokenizer/target/release/libedgelm_tokenizer.a"))
    return build / program


def run(executable: Path, *words: object, given: str = "") -> subprocess.CompletedProcess[str]:
    """What a program prints, with its line endings as they are."""
    done = subprocess.run([executable, *map(str, words)], input=given.encode(), capture_output=True, check=False)
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())
