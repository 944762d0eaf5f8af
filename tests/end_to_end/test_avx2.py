"""INT8 bundles on x86 without VNNI: a Haswell under emulation, whose real kernels sum pairs of products in 16 bits."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from models import TEXTS, make_checkpoint

import edgelm.runtime
from edgelm.data.dataset import Dataset
from edgelm.device import load_device
from edgelm.export.pipeline import export
from edgelm.runtime.saturation import sums_exactly

pytestmark = pytest.mark.avx2

_ANSWER = """
import json, sys, warnings
import edgelm.runtime
from edgelm.runtime.saturation import sums_exactly
from edgelm.runtime.verify import verify
found = {"exact": sums_exactly()}
for path in sys.argv[2:]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = edgelm.runtime.load(path)
    outputs = [model.infer(model.tokenize([text])).tolist()[0] for text in json.loads(sys.argv[1])]
    warned = [entry.category.__name__ for entry in caught]
    found[path] = {"outputs": outputs, "warnings": warned, "verified": verify(path).ok}
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles")
    checkpoint = make_checkpoint(
        folder / "checkpoint", labels=("a", "b", "c"), hidden=128, heads=4, ffn=256, layers=4, spread=0.1
    )
    for device in ("cpu", "x86-vnni"):
        export(
            checkpoint,
            device=load_device(device),
            precision="int8-dynamic",
            calibration=Dataset("texts", TEXTS * 4),
            output=folder / device,
        )
    return {device: folder / device for device in ("cpu", "x86-vnni")}


@pytest.fixture(scope="module")
def haswell(bundles):
    """What is found there: whether sums are exact and, by bundle, its outputs, warnings and verification."""
    emulator = shutil.which("qemu-x86_64-static") or shutil.which("qemu-x86_64")
    if emulator is None:
        pytest.skip("apt-get install qemu-user-static")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    command = [
        emulator,
        "-cpu",
        "Haswell",
        str(Path(sys.executable).resolve()),
        "-c",
        _ANSWER,
        json.dumps(TEXTS),
        *map(str, bundles.values()),
    ]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    return json.loads(result.stdout)


def test_its_kernels_saturate(haswell):
    assert haswell["exact"] is False
    if not sums_exactly():
        pytest.skip("this machine has no VNNI either")


@pytest.mark.parametrize(("device", "warned"), [("cpu", []), ("x86-vnni", ["SaturationWarning"])])
def test_bundles_answer_there_as_here(haswell, bundles, device, warned):
    found = haswell[str(bundles[device])]
    model = edgelm.runtime.load(bundles[device])
    wanted = np.concatenate([model.infer(model.tokenize([text])) for text in TEXTS])
    # Float operators round otherwise there, which moves activations over rounding edges; as TOLERANCES of test_arm64.py
    assert np.abs(np.asarray(found["outputs"]) - wanted).max() <= 2e-2 * np.abs(wanted).max()
    assert found["warnings"] == warned
    assert found["verified"]
