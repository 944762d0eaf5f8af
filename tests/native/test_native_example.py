"""A bundle's C++ example, built with the library alone: no ONNX Runtime, no cargo, no Python."""

import json
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest
from models import TEXTS, make_checkpoint
from native_library import SOURCE, require_tools

from edgelm.data.dataset import Dataset
from edgelm.device import load_device
from edgelm.export.pipeline import export
from edgelm.quantize.settings import Quantization
from edgelm.runtime import load


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("example")
    export(
        make_checkpoint(folder / "model", hidden=128, heads=4, ffn=256, spread=0.1),
        output=folder / "bundle",
        device=load_device("cpu"),
        precision="int8",
        calibration=Dataset("memory", texts=TEXTS),
        quantization=Quantization(method="minmax"),
    )
    return folder / "bundle"


@pytest.fixture(scope="module")
def answer(bundle, tmp_path_factory) -> Path:
    """The program."""
    require_tools()
    headers = find_spec("nlohmann_json")
    if headers is None:
        pytest.skip("pip's nlohmann-json is not installed")
    build = tmp_path_factory.mktemp("build")
    json_folder = Path(headers.submodule_search_locations[0]) / "include"
    options = [f"-DEDGELM_NATIVE={SOURCE}", f"-DNLOHMANN_JSON_INCLUDE={json_folder}"]
    for command in (["cmake", "-S", bundle / "cpp", "-B", build, *options], ["cmake", "--build", build, "-j2"]):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    return build / "answer"


def test_it_answers_as_the_runtime_does(bundle, answer):
    model = load(bundle, provider="cpu")
    for text in [*TEXTS[:4], " ".join(TEXTS * 8), "Ünïcode, 电影 and 🎬"]:
        done = subprocess.run([answer, bundle, text], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        found, expected = json.loads(done.stdout), model(text)
        assert found["label"] == expected["label"]
        assert found["scores"] == pytest.approx(expected["scores"], abs=1e-3)  # a byte rounded the other way


def test_it_needs_neither_onnxruntime_nor_rust(answer):
    linked = subprocess.run(["ldd", answer], capture_output=True, text=True).stdout
    assert "onnxruntime" not in linked
    assert "tokenizer" not in linked


def test_a_bundle_without_a_program_is_refused(bundle, answer, tmp_path):
    for name in ("manifest.json", "weights.bin", "native.tokenizer"):
        (tmp_path / name).write_bytes((bundle / name).read_bytes())
    done = subprocess.run([answer, tmp_path, TEXTS[0]], capture_output=True, text=True)
    assert done.returncode == 1
    assert "native.program: cannot be read" in done.stderr
