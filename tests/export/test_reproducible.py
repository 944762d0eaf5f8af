"""The same checkpoint gives the same bundle, byte for byte; and a bundle says what is in it."""

import hashlib
import json
import os
import runpy
import shutil
import subprocess
import sys
import tempfile
from datetime import datetime, timezone
from pathlib import Path

import pytest
from generators import make_generator
from models import make_checkpoint

import edgelm.runtime
from edgelm.checkpoint import open_checkpoint
from edgelm.errors import UsageError
from edgelm.export.created import created
from edgelm.runtime import open_bundle

REPOSITORY = Path(__file__).resolve().parents[2]
DAY = 1_700_000_000  # when the checkpoints' files were changed: 2023-11-14
CARD = "---\nlicense: apache-2.0\nbase_model:\n- someone/base\n---\n# A model\n"
EXPORT = """
import os, sys
from pathlib import Path
from edgelm.device import load_device
from edgelm.export.pipeline import export
os.umask(int(sys.argv[1], 8))
for source, output in (("encoder", "encoder.edge"), ("generator", "generator.edgelm")):
    export(Path("models", source), output=Path(output), device=load_device("cpu"), precision="int8")
"""


def export_here(folder, *, umask):
    """In this process, with `folder` as the current one; the bundles that it made there."""
    (folder / "tmp").mkdir()
    (folder / "export.py").write_text(EXPORT)
    before = os.umask(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("SOURCE_DATE_EPOCH", raising=False)
        patch.setattr(tempfile, "tempdir", str(folder / "tmp"))
        patch.setattr(sys, "argv", ["export.py", umask])
        try:
            runpy.run_path("export.py")
        finally:
            os.umask(before)
    return folder / "encoder.edge", folder / "generator.edgelm"


def export_in(folder, *, umask, **environment):
    """In a process of its own, with `folder` as the current one; the bundles that it made there."""
    (folder / "tmp").mkdir()
    (folder / "export.py").write_text(EXPORT)
    inherited = {name: value for name, value in os.environ.items() if name != "SOURCE_DATE_EPOCH"}
    variables = {"TMPDIR": str(folder / "tmp"), "PYTHONPATH": str(REPOSITORY), "HF_HUB_OFFLINE": "1", **environment}
    done = subprocess.run(
        [sys.executable, "export.py", umask],
        cwd=folder,
        env=inherited | variables,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder / "encoder.edge", folder / "generator.edgelm"


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Two exports of the same checkpoints: other folders, processes, hashes of texts, rights and threads."""
    first, second = tmp_path_factory.mktemp("first"), tmp_path_factory.mktemp("second") / "deeper" / "still"
    encoder = make_checkpoint(first / "models" / "encoder")
    make_generator(first / "models" / "generator", hidden=64)  # heads of 16 channels, the fewest that kernels take
    (encoder / "README.md").write_text(CARD)
    (encoder / "LICENSE").write_text("You may.")
    for file in (first / "models").rglob("*"):
        os.utime(file, (DAY, DAY))
    shutil.copytree(first / "models", second / "models")
    one = export_here(first, umask="022")  # whose hashes of texts are random
    two = export_in(second, umask="077", PYTHONHASHSEED="77", OMP_NUM_THREADS="2", TZ="Asia/Tokyo")
    return one, two


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_every_byte_of_a_folder_and_of_a_file_is_the_same_from_process_to_process(exported):
    (folder, file), (other_folder, other_file) = exported
    assert contents(folder) == contents(other_folder)
    assert file.read_bytes() == other_file.read_bytes()


def test_the_time_is_that_of_the_checkpoint(exported):
    for bundle in exported[0]:
        assert open_bundle(bundle).manifest.created == "2023-11-14T22:13:20+00:00"


def test_source_date_epoch_is_the_time_where_it_is_set(tmp_path, monkeypatch):
    checkpoint = open_checkpoint(make_checkpoint(tmp_path / "model"))
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    assert created(checkpoint) == "1970-01-02T00:00:00+00:00"
    for wrong in ("yesterday", "-1", "1.5", "9" * 30, "\N{SUPERSCRIPT TWO}"):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", wrong)
        with pytest.raises(UsageError, match="SOURCE_DATE_EPOCH"):
            created(checkpoint)
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    for file in checkpoint.path.iterdir():
        os.utime(file, (DAY, DAY))
    assert datetime.fromisoformat(created(checkpoint)) == datetime.fromtimestamp(DAY, timezone.utc)


def test_a_bundle_lists_its_materials_and_carries_the_licences_that_there_were(exported):
    for path in exported[0]:
        bundle = open_bundle(path)
        assert edgelm.runtime.load(path) is not None
        bom = json.loads(bundle.read("sbom.cdx.json"))
        listed = {each["name"]: each["hashes"] for each in bom["components"] if each["type"] == "file"}
        assert listed == {
            entry.path: [{"alg": "SHA-256", "content": entry.sha256}]
            for entry in bundle.manifest.files
            if entry.path != "sbom.cdx.json"
        }
        assert bundle.read("licenses/edgelm-LICENSE") == (REPOSITORY / "LICENSE").read_bytes()
        assert {each["name"] for each in bom["components"] if each["type"] == "library"} == {
            "edgelm",
            "numpy",
            "onnxruntime",
            "tokenizers",
        }
    bundle = open_bundle(exported[0][0])
    model = json.loads(bundle.read("sbom.cdx.json"))["metadata"]["component"]
    assert model["licenses"] == [{"license": {"id": "Apache-2.0"}}]
    assert [each["name"] for each in model["pedigree"]["ancestors"]] == ["someone/base"]
    assert bundle.read("licenses/model-LICENSE") == b"You may."
