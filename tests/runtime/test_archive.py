"""A damaged bundle of one file is refused, wherever the damage is."""

import zipfile

import numpy as np
import pytest
from bundles import make_bundle
from typer.testing import CliRunner

import edgelm.runtime
from edgelm.cli.main import app
from edgelm.errors import BundleError
from edgelm.runtime.archive import pack


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def folder(tmp_path):
    return make_bundle(tmp_path / "b")


def test_a_flipped_bit_of_a_one_file_bundle_is_refused_or_harmless(folder, tmp_path):
    """One bit in each of some hundred places, all over the archive: its headers, its content, its directory."""
    pack(folder, tmp_path / "b.edgelm")
    whole, broken = (tmp_path / "b.edgelm").read_bytes(), tmp_path / "flipped.edgelm"
    content = {
        name: edgelm.runtime.open_bundle(folder).read(name)
        for name in ("model.onnx", "golden.json", "tokenizer.json", "run.py")
    }
    places = [int(place) for place in np.linspace(0, len(whole) - 1, 350)] + list(
        range(len(whole) - 22 - 60, len(whole))
    )
    refused = 0
    for number, place in enumerate(places):
        data = bytearray(whole)
        data[place] ^= 1 << number % 8
        broken.write_bytes(bytes(data))
        try:
            bundle = edgelm.runtime.open_bundle(broken)
            bundle.contents()
            assert {name: bundle.read(name) for name in content} == content
            assert bundle.manifest == edgelm.runtime.open_bundle(folder).manifest
        except BundleError:
            refused += 1
    assert refused > len(places) / 10


def test_an_archive_cut_anywhere_encrypted_or_of_another_method_is_refused(folder, tmp_path):
    pack(folder, tmp_path / "b.edgelm")
    whole, broken = (tmp_path / "b.edgelm").read_bytes(), tmp_path / "broken.edgelm"
    for length in (0, 1, 30, *(int(place) for place in np.linspace(31, len(whole) - 1, 60))):
        broken.write_bytes(whole[:length])
        with pytest.raises(BundleError):
            edgelm.runtime.load(broken)
    for name, offset, value in (
        ("flags", 8, 1),
        ("version", 6, 99),
        ("method", 10, 14),
        ("method", 10, 12),
        ("method", 10, 97),
    ):
        data = bytearray(whole)
        data[whole.index(b"PK\x01\x02") + offset] = value
        data[offset - 2] = value if name != "version" else data[offset - 2]
        broken.write_bytes(bytes(data))
        assert run("run", broken, "a").exit_code == 4, name
    with zipfile.ZipFile(tmp_path / "b.edgelm", "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("run.py", "print('another')")
    assert "run.py: there twice" in run("verify", tmp_path / "b.edgelm").stdout
