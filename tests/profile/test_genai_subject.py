"""A folder of onnxruntime-genai beside a bundle: the engine in its own interpreter, or a clear word of what lacks.

The test of the real engine is slow, and skipped where EDGELM_GENAI_PYTHON names no interpreter that has it.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from generator_bundles import make_generator_bundle, make_model
from transformers import AutoTokenizer
from typer.testing import CliRunner

from edgelm.export.formats.genai import write_genai
from edgelm.export.generation.decoder import decoder_graph

VARIABLE = "EDGELM_GENAI_PYTHON"
LENGTHS = ("--context", 16, "--context", 127, "--prompt-length", 8, "--prompt-length", 128)
FEW = ("--threads", 1, "--runs", 4, "--warmup", 1, "--loads", 1)

# The engine's interface, as far as profiles use it, with rules of its own that are broken aloud.
ENGINE = """
__version__ = "stand-in"

class Config:
    def __init__(self, folder): self.overlays = []
    def overlay(self, text): self.overlays.append(text)

class Model:
    def __init__(self, config): assert '"intra_op_num_threads": 1' in config.overlays[0]

class GeneratorParams:
    def __init__(self, model): pass
    def set_search_options(self, **options): self.room = options["max_length"]

class Generator:
    def __init__(self, model, params): self.room, self.count = params.room, 0
    def append_tokens(self, ids):
        self.count += len(ids)
        assert ids and self.count <= self.room <= 128, (self.count, self.room)
    def rewind_to(self, length):
        assert length < self.count
        self.count = length
    def token_count(self): return self.count
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return make_generator_bundle(tmp_path_factory.mktemp("writer") / "llama", "llama")


@pytest.fixture(scope="module")
def genai(tmp_path_factory):
    model, folder = make_model("llama")
    place = tmp_path_factory.mktemp("genai") / "theirs"
    return write_genai(decoder_graph(model).model, model, AutoTokenizer.from_pretrained(folder), place)


def run(*arguments):
    from edgelm.cli.main import app

    return CliRunner().invoke(app, ["profile", *map(str, arguments)])


def interpreter(folder: Path, **modules: str) -> Path:
    """A Python that has these modules beside what this one has, and none of what its caller brings along."""
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text)
    script = folder / "python"
    script.write_text(
        f'#!/bin/sh\n[ -z "$PYTHONPATH" ] || exit 3\nPYTHONPATH={folder} exec {sys.executable} "$@"\n', encoding="utf-8"
    )
    script.chmod(0o755)
    return script


def test_an_engine_in_its_own_interpreter_takes_turns_with_a_bundle(bundle, genai, tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(interpreter(tmp_path, onnxruntime_genai=ENGINE)))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "of this interpreter"))
    files = ("--output", tmp_path / "profile.json", "--markdown", tmp_path / "profile.md")
    done = run(bundle, "--compare", genai, *LENGTHS, *FEW, *files)
    assert done.exit_code == 0, done.output
    _, theirs = json.loads((tmp_path / "profile.json").read_text())["profiles"]
    assert (theirs["kind"], theirs["runs_on"]) == ("genai", "cpu, by onnxruntime-genai stand-in")
    assert [(case["measure"], case["tokens"]) for case in theirs["cases"]] == [
        ("token", 16),
        ("token", 127),
        ("first-token", 8),
        ("first-token", 128),
    ]
    assert theirs["size_mb"] == sum(file.stat().st_size for file in genai.iterdir()) / 1e6
    assert "vs theirs" in (tmp_path / "profile.md").read_text()


def test_what_lacks_is_said(bundle, genai, tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(interpreter(tmp_path, onnxruntime_genai="raise ImportError('none here')")))
    done = run(bundle, "--compare", genai, *LENGTHS, *FEW)
    assert done.exit_code == 2
    said = " ".join(done.output.split())
    assert "onnxruntime-genai is needed: none here" in said
    assert VARIABLE in said
    monkeypatch.setenv(VARIABLE, str(tmp_path / "missing"))
    done = run(bundle, "--compare", genai, *LENGTHS, *FEW)
    assert done.exit_code == 2
    assert "this interpreter does not start" in " ".join(done.output.split())
    monkeypatch.setenv(VARIABLE, str(interpreter(tmp_path, numpy="raise ImportError('no numpy')")))
    done = run(bundle, "--compare", genai, *LENGTHS, *FEW)
    assert done.exit_code == 4
    assert "-c 'import onnxruntime_genai'` says" in " ".join(done.output.split())


def test_a_folder_that_is_no_decoders_is_refused(bundle, tmp_path):
    (tmp_path / "genai_config.json").write_text('{"model": {"decoder": {}, "encoder": {}, "vocab_size": 9}}')
    done = run(bundle, "--compare", tmp_path, *FEW)
    assert done.exit_code == 4
    assert "genai_config.json: not the settings of a decoder" in " ".join(done.output.split())


def test_lengths_beyond_what_it_holds_are_refused(bundle, genai, tmp_path):
    settings = json.loads((genai / "genai_config.json").read_text())
    settings["model"]["context_length"] = 64
    (tmp_path / "genai_config.json").write_text(json.dumps(settings))
    done = run(bundle, "--compare", tmp_path, "--context", 64)
    assert done.exit_code == 2
    assert "1 to 63 tokens can be held" in " ".join(done.output.split())


@pytest.mark.slow
def test_the_engine_itself(bundle, genai, tmp_path):
    if not os.environ.get(VARIABLE):
        pytest.skip(f"{VARIABLE} names no interpreter that has onnxruntime-genai")
    done = run(bundle, "--compare", genai, *LENGTHS, *FEW, "--output", tmp_path / "profile.json")
    assert done.exit_code == 0, done.output
    ours, theirs = json.loads((tmp_path / "profile.json").read_text())["profiles"]
    assert theirs["runs_on"].startswith("cpu, by onnxruntime-genai 0.")
    for case in theirs["cases"]:
        assert len(case["samples_ms"]) == 4
        assert all(value > 0 for value in case["samples_ms"])
    assert 20 < theirs["peak_memory_mb"] < 1000
    assert np.isfinite(ours["cases"][0]["ratio"]["p50"])
