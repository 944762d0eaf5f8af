"""Whatever lies in a bundle and is not listed is reported, and what was changed is refused when it is loaded."""

import json
import os
import socket

import numpy as np
import pytest
from bundles import make_bundle, move_weights_out
from typer.testing import CliRunner

import edgelm.runtime
from edgelm.cli.main import app
from edgelm.errors import BundleError, UsageError
from edgelm.runtime.archive import pack


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def folder(tmp_path):
    return make_bundle(tmp_path / "b")


@pytest.fixture
def with_weights(folder):
    """A bundle whose weights lie beside the graph."""
    return move_weights_out(folder)


@pytest.mark.parametrize("name", ["weights.bin", "model.onnx", "tokenizer.json"])
@pytest.mark.parametrize("single", [False, True], ids=["folder", "file"])
def test_a_changed_byte_is_refused_when_the_bundle_is_loaded(with_weights, tmp_path, name, single):
    expected = edgelm.runtime.load(with_weights)("a good film")
    data = bytearray((with_weights / name).read_bytes())
    data[len(data) // 2] ^= 1
    (with_weights / name).write_bytes(bytes(data))
    path = with_weights
    if single:
        path = tmp_path / "b.edgelm"
        pack(with_weights, path)
    result = run("run", path, "a good film")
    assert result.exit_code == 4
    assert f"{name}: its content was changed" in result.stderr
    if name == "weights.bin":  # who must can still load it
        result = run("run", path, "a good film", "--no-hashes", "--json")
        assert result.exit_code == 0
        assert json.loads(result.stdout)["label"] in expected["scores"]


def test_a_byte_that_changes_between_two_loads_of_an_open_bundle_is_refused(with_weights):
    bundle = edgelm.runtime.open_bundle(with_weights)
    edgelm.runtime.load(bundle)
    with pytest.raises(UsageError):  # it fails while the weights are hashed
        edgelm.runtime.load(bundle, provider="none")
    file = with_weights / "weights.bin"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(bytes(data))

    with pytest.raises(BundleError, match="content was changed"):
        edgelm.runtime.load(bundle)


@pytest.mark.parametrize("check_hashes", [True, False])
@pytest.mark.parametrize(
    "become", [os.mkfifo, lambda path: path.symlink_to("../weights.bin"), lambda path: path.write_bytes(b"short")]
)
def test_weights_that_are_no_file_of_the_bundle_are_refused_before_they_are_mapped(with_weights, become, check_hashes):
    (with_weights / "weights.bin").rename(with_weights.parent / "weights.bin")
    become(with_weights / "weights.bin")
    with pytest.raises(BundleError, match=r"weights\.bin (is|leads|has)"):  # a pipe would be waited for
        edgelm.runtime.load(with_weights, check_hashes=check_hashes)


def test_a_token_that_the_embeddings_do_not_have_is_an_error_in_words(folder):
    model = edgelm.runtime.load(folder)
    with pytest.raises(BundleError, match="cannot take inputs of shape"):
        model.infer({"input_ids": np.array([[10**6]]), "attention_mask": np.array([[1]])})


def plant(folder, name, make):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    make(folder / name)


def listen(path):
    socket.socket(socket.AF_UNIX).bind(str(path))


STRANGE = {
    "bytecode": (
        "runtime/edgelm/__pycache__/errors.cpython-311.pyc",
        lambda path: path.write_bytes(b"x"),
        "not in the manifest",
    ),
    "file beside the script": ("numpy.py", lambda path: path.write_text("raise SystemExit(1)"), "not in the manifest"),
    "hidden file": (".hidden", lambda path: path.write_text("x"), "not in the manifest"),
    "folder with pycache in its name": ("my__pycache__/x.py", lambda path: path.write_text("x"), "not in the manifest"),
    "name with control characters": ("\x1b[2Jx", lambda path: path.write_text("x"), "not in the manifest"),
    "name that is no UTF-8": ("\udcff", lambda path: path.write_text("x"), "not in the manifest"),
    "link to a folder": ("more", lambda path: path.symlink_to("/etc"), "a link"),
    "dangling link": ("gone", lambda path: path.symlink_to("/nowhere"), "a link"),
    "looping link": ("loop", lambda path: path.symlink_to("loop"), "a link"),
    "pipe": ("pipe", os.mkfifo, "a pipe"),
    "socket": ("s", listen, "a socket"),
    "empty folder": ("empty", lambda path: path.mkdir(), "an empty folder"),
}


@pytest.mark.parametrize("case", STRANGE)
def test_verify_reports_whatever_is_not_listed_and_opens_none_of_it(folder, case, monkeypatch):
    name, make, words = STRANGE[case]
    monkeypatch.chdir(folder)  # a socket's path must be short
    plant(folder, name, lambda path: make(path.relative_to(folder)))
    result = run("verify", folder)
    assert result.exit_code == 4
    shown = "".join(char if char.isprintable() else repr(char)[1:-1] for char in name)
    assert f"FAILED  {shown}: {words}" in result.stdout


@pytest.mark.parametrize(
    "make",
    [os.mkfifo, lambda path: path.symlink_to("tokenizer.json"), lambda path: path.mkdir()],
    ids=["pipe", "link", "folder"],
)
@pytest.mark.parametrize("name", ["golden.json", "manifest.json"])
def test_a_listed_file_that_is_no_plain_file_is_refused_and_not_waited_for(folder, name, make):
    (folder / name).unlink()
    make(folder / name)
    result = run("verify", folder)
    assert result.exit_code == 4
    assert name in result.stdout + result.stderr


def test_a_pipe_is_no_bundle(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path / ("x" * 300)):
        assert run("run", path, "a").exit_code == 4
