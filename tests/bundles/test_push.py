"""Bundles on a hub: what lies there afterwards, and what a user is told where it cannot be."""

import json

import huggingface_hub
import pytest
from bundles import make_bundle
from hubs import TOKEN, a_hub
from typer.testing import CliRunner

from edgelm.bundles.edit import add_files
from edgelm.bundles.keys import make_keys
from edgelm.bundles.sign import sign
from edgelm.cli.main import app
from edgelm.runtime import open_bundle
from edgelm.runtime.archive import pack
from edgelm.runtime.verify import verify

CARD = b"---\nlicense: mit\n---\n# tiny\n"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = make_bundle(tmp_path_factory.mktemp("push") / "b.edge")
    add_files(open_bundle(folder), {"README.md": CARD}, open_bundle(folder).manifest)
    return folder


@pytest.fixture
def online(monkeypatch, tmp_path):
    """The library of the hub asks an address that a test names, by no token of this machine."""
    constants = huggingface_hub.constants
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # the storage beside the hub, which needs a server too
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)

    def ask(hub, *words):
        monkeypatch.setattr(constants, "ENDPOINT", hub if isinstance(hub, str) else hub.url)
        return CliRunner().invoke(app, ["push", *map(str, words)])

    return ask


@pytest.fixture
def token(tmp_path):
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    file.chmod(0o600)
    return file


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_bundle_lies_on_the_hub_as_it_lies_here_and_verifies(bundle, online, token, tmp_path):
    with a_hub() as hub:
        done = online(hub, bundle, "me/model", "--token-file", token, "--private", "--json")
    assert done.exit_code == 0, done.output
    assert (hub.private, hub.files["main"]) == (True, contents(bundle))
    assert any(path.startswith("PUT") or "lfs" in path for path in hub.asked)  # one was a large file
    values = json.loads(done.stdout)
    assert {file["path"]: file["size"] for file in values["files"]} == {k: len(v) for k, v in contents(bundle).items()}
    assert TOKEN not in done.output
    for name, data in hub.files["main"].items():
        (tmp_path / "copy" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "copy" / name).write_bytes(data)
    assert verify(tmp_path / "copy").ok


def test_a_signed_bundle_keeps_its_signature_on_a_branch(online, token, tmp_path):
    folder = make_bundle(tmp_path / "b.edge")
    sign(folder, key=make_keys(tmp_path / "maker").private)
    with a_hub(files={"v2": {"old.bin": b"1", ".gitattributes": b""}}) as hub:
        done = online(hub, folder, "me/model", "--token-file", token, "--revision", "v2")
    assert done.exit_code == 0, done.output
    assert hub.files["v2"]["signature.json"] == (folder / "signature.json").read_bytes()
    assert "other files lie in me/model (old.bin)" in done.output
    assert list(hub.files) == ["v2"]


def test_a_bundle_of_one_file_lies_beside_its_card(bundle, online, token, tmp_path):
    pack(bundle, tmp_path / "b.edgelm")
    with a_hub() as hub:
        assert online(hub, tmp_path / "b.edgelm", "me/model", "--token-file", token).exit_code == 0
    assert hub.files["main"] == {"b.edgelm": (tmp_path / "b.edgelm").read_bytes(), "README.md": CARD}


def test_a_dry_run_lists_and_asks_nobody(bundle, online):
    with a_hub() as hub:
        done = online(hub, bundle, "me/model", "--dry-run")
    assert (done.exit_code, hub.asked) == (0, [])
    assert all(name in done.output for name in contents(bundle))
    assert "would be uploaded to me/model" in done.output


def test_what_stands_in_the_way_is_said(bundle, online, token, tmp_path):
    wrong = tmp_path / "wrong"
    wrong.write_text("hf_of_somebody_else")
    (tmp_path / "empty").write_text("\n")
    with a_hub() as hub:
        assert_told(online(hub, bundle, "me/model"), 2, "--token-file")
        assert_told(online(hub, bundle, "me/model", "--token-file", wrong), 1, "does not know the token (401)")
        assert_told(online(hub, bundle, "me/model", "--token-file", tmp_path / "empty"), 2, "holds no token")
        assert_told(online(hub, bundle, "a model", "--token-file", token), 2, "names no repository")
    with a_hub(forbidden=True) as hub:
        assert_told(online(hub, bundle, "me/model", "--token-file", token), 1, "may not write to me/model (403)")
    with a_hub(public=True) as hub:
        assert_told(online(hub, bundle, "me/model", "--private", "--token-file", token), 1, "there already, and public")
        assert hub.files == {}
    assert_told(online("http://127.0.0.1:9", bundle, "me/model", "--token-file", token), 1, "cannot be reached")


def test_a_card_that_the_hub_refuses_is_named(online, token, tmp_path):
    folder = make_bundle(tmp_path / "b.edge")
    add_files(open_bundle(folder), {"README.md": b"# no front matter\n"}, open_bundle(folder).manifest)
    with a_hub() as hub:
        assert_told(online(hub, folder, "me/model", "--token-file", token), 1, "does not take the bundle's card")


def test_a_damaged_bundle_is_not_pushed(online, token, tmp_path):
    folder = make_bundle(tmp_path / "b.edge")
    (folder / "tokenizer.json").write_text("{}")
    with a_hub() as hub:
        assert_told(online(hub, folder, "me/model", "--token-file", token), 4, "it is not pushed")
    assert hub.asked == []


def test_offline_is_said(bundle, online, token, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert_told(online("http://127.0.0.1:9", bundle, "me/model", "--token-file", token), 1, "HF_HUB_OFFLINE is set")


def assert_told(done, code, words):
    assert (done.exit_code, words in " ".join(done.output.split())) == (code, True), done.output
    assert len(done.output.strip().splitlines()) <= 4
    assert TOKEN not in done.output
