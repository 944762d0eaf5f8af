"""A signed bundle is taken as its maker signed it, or not at all."""

import base64
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from bundles import make_bundle
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from signing import make_signed
from typer.testing import CliRunner

import edgelm.runtime
from edgelm.cli.main import app
from edgelm.errors import BundleError, MissingExtraError, SignatureError, UsageError
from edgelm.runtime import bundle as bundle_module
from edgelm.runtime import open_bundle
from edgelm.runtime.archive import pack
from edgelm.runtime.trust import Trust
from edgelm.runtime.verify import verify

pytest.importorskip("cryptography", reason="signatures are checked by the extra `sign`")
ANSWER = {"positive": pytest.approx(0.912, abs=1e-3), "negative": pytest.approx(0.088, abs=1e-3)}


@pytest.fixture(scope="module")
def signed(tmp_path_factory):
    return make_signed(tmp_path_factory.mktemp("signed"))


def load(path, key, **options):
    return edgelm.runtime.load(path, key=key, **options)


def passes(path, key):
    return verify(path, replay=False, trust=Trust.by(key)).ok


def refuses(path, key):
    """Whether both doors stay shut, each by an error of edgelm."""
    with pytest.raises(BundleError):
        load(path, key)
    try:
        return not passes(path, key)
    except BundleError:  # no manifest that can be read
        return True


def test_what_its_maker_signed_loads_and_answers_as_a_folder_and_as_one_file(signed):
    for path in (signed.folder, signed.file):
        for key in (signed.maker.public, str(signed.maker.public), signed.maker.public.read_bytes()):
            assert load(path, key)("a good film")["scores"] == ANSWER
        assert verify(path, trust=Trust.by(signed.maker.public)).ok
        assert edgelm.runtime.load(path)("a good film")["scores"] == ANSWER  # whoever asks for no key
        assert verify(path).ok


def test_the_signature_is_plain_ed25519_of_the_manifest_and_the_id_is_that_of_the_key(signed):
    """Read by the package cryptography alone, as any other program would."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

    public = load_pem_public_key(signed.maker.public.read_bytes())
    said = json.loads((signed.folder / "signature.json").read_text())
    public.verify(base64.b64decode(said["signature"]), (signed.folder / "manifest.json").read_bytes())
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert said["key"] == signed.maker.id == hashlib.sha256(der).hexdigest()


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(data=st.data())
def test_any_changed_byte_of_any_file_is_refused(signed, data):
    names = sorted(path for path in signed.folder.rglob("*") if path.is_file())
    file = data.draw(st.sampled_from(names), label="file")
    content = file.read_bytes()
    at = data.draw(st.integers(0, len(content) - 1), label="byte")
    change = data.draw(st.integers(1, 255), label="difference")
    try:
        file.write_bytes(content[:at] + bytes([content[at] ^ change]) + content[at + 1 :])
        assert refuses(signed.folder, signed.maker.public)
    finally:
        file.write_bytes(content)


def test_a_byte_of_every_file_is_refused(signed):
    chance = random.Random(0)
    for file in sorted(path for path in signed.folder.rglob("*") if path.is_file()):
        content = bytearray(file.read_bytes())
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        before = file.read_bytes()
        file.write_bytes(content)
        assert refuses(signed.folder, signed.maker.public), file
        file.write_bytes(before)
    assert passes(signed.folder, signed.maker.public)


def test_a_file_that_is_removed_renamed_cut_or_added_is_refused(signed, tmp_path):
    for name in ("golden.json", "runtime/edgelm/lines.py", "run.py", "model.onnx", "manifest.json", "signature.json"):
        changes = {
            "removed": lambda file: file.unlink(),
            "renamed": lambda file: file.rename(file.with_name("other" + file.suffix)),
            "cut": lambda file: file.write_bytes(file.read_bytes()[:-1]),
            "longer": lambda file: file.write_bytes(file.read_bytes() + b"\n"),
        }
        for what, change in changes.items():
            bundle = signed.copy(tmp_path / what / name)
            change(bundle / name)
            assert refuses(bundle, signed.maker.public), (what, name)
    for name in ("numpy.py", "runtime/edgelm/extra.py", "signature2.json", "engines/x.engine", "optimized.onnx"):
        bundle = signed.copy(tmp_path / "added" / name)
        (bundle / name).parent.mkdir(exist_ok=True)
        (bundle / name).write_bytes(b"1")
        assert refuses(bundle, signed.maker.public), name
    bundle = signed.copy(tmp_path / "link")
    (bundle / "beside").symlink_to("run.py")
    assert refuses(bundle, signed.maker.public)


@pytest.mark.parametrize("seed", range(4))
def test_a_changed_byte_of_the_one_file_is_refused_or_changes_nothing_that_is_read(signed, tmp_path, seed):
    """A ZIP file has bytes of its own, such as times, that say nothing of what it holds."""
    chance, content = random.Random(seed), signed.file.read_bytes()
    with zipfile.ZipFile(signed.file) as archive:
        made = {name: archive.read(name) for name in archive.namelist()}
    changed = tmp_path / "b.edgelm"
    for _ in range(15):
        at = chance.randrange(len(content))
        changed.write_bytes(content[:at] + bytes([content[at] ^ 1 << chance.randrange(8)]) + content[at + 1 :])
        try:
            bundle = open_bundle(changed, trust=Trust.by(signed.maker.public))
            load(changed, signed.maker.public)
        except BundleError:
            assert refuses(changed, signed.maker.public)
        else:
            assert {entry.path: bundle.read(entry.path) for entry in bundle.manifest.files} == {
                name: data for name, data in made.items() if name not in ("manifest.json", "signature.json")
            }


def test_a_signature_of_another_bundle_or_key_is_refused_by_its_reason(signed, tmp_path):
    bundle = signed.copy(tmp_path)
    with pytest.raises(SignatureError, match="signed by another key"):
        load(bundle, signed.other.public)
    replayed = make_bundle(tmp_path / "other", name="another")
    shutil.copy(bundle / "signature.json", replayed)
    with pytest.raises(SignatureError, match="changed after it was signed, or its signature is of another bundle"):
        load(replayed, signed.maker.public)
    (replayed / "signature.json").unlink()
    with pytest.raises(SignatureError, match="is not signed"):
        load(replayed, signed.maker.public)
    signature = json.loads((bundle / "signature.json").read_text())
    for forged in (
        b"",
        b"{}",
        b"[]",
        b"[" * 100_000,
        json.dumps(signature).encode(),  # the same, spelled otherwise
        json.dumps(signature | {"algorithm": "none"}, indent=1).encode() + b"\n",
        json.dumps(signature | {"signature": ""}, indent=1).encode() + b"\n",
        json.dumps(signature | {"signature": signature["signature"][:40]}, indent=1).encode() + b"\n",
        json.dumps(signature | {"key": 5}, indent=1).encode() + b"\n",
        json.dumps(signature | {"schema": 2}, indent=1).encode() + b"\n",
        json.dumps(signature | {"more": 1}, indent=1).encode() + b"\n",
        "\ud800".encode("utf-8", "surrogatepass"),
    ):
        (bundle / "signature.json").write_bytes(forged)
        with pytest.raises(SignatureError, match="its signature is broken"):
            load(bundle, signed.maker.public)
        assert not passes(bundle, signed.maker.public)
        assert not verify(bundle, replay=False).ok  # also where nobody asked for a key


def test_the_bytes_of_the_manifest_that_are_checked_are_those_that_are_understood(signed, monkeypatch):
    """Whoever exchanges the file between two readings gains nothing: there is one."""
    read, found = bundle_module._read, []
    monkeypatch.setattr(bundle_module, "_read", lambda path, name, limit: found.append(name) or read(path, name, limit))
    for path in (signed.folder, signed.file):
        load(path, signed.maker.public)
        assert found.count("manifest.json") == 1
        found.clear()


def test_a_key_that_cannot_be_used_is_refused_by_what_it_is(signed, tmp_path):
    from cryptography.hazmat.primitives import serialization as forms
    from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa, x25519

    others = {
        "RSA": rsa.generate_private_key(65537, 2048),
        "EC": ec.generate_private_key(ec.SECP256R1()),
        "Ed448": ed448.Ed448PrivateKey.generate(),
        "X25519": x25519.X25519PrivateKey.generate(),
    }
    for words, key in others.items():
        pem = key.public_key().public_bytes(forms.Encoding.PEM, forms.PublicFormat.SubjectPublicKeyInfo)
        with pytest.raises(SignatureError, match=f"a key of another kind .*{words}"):
            load(signed.folder, pem)
    public = signed.maker.public.read_bytes()
    (tmp_path / "large").write_bytes(b"x" * 100_000)
    os.mkfifo(tmp_path / "pipe")
    for key, words in (
        (signed.maker.private, "holds a private key"),
        (public + public, "more than one key"),
        (b"", "no public key in PEM form"),
        (public[:60], "no public key in PEM form"),
        (public.replace(b"MC", b"MD"), "no public key in PEM form"),
        (signed.folder / "run.py", "no public key in PEM form"),
        (tmp_path / "missing.pem", "no such file"),
        (tmp_path, "no such file"),
        (tmp_path / "pipe", "no such file"),
        ("a\0b", "no such file|cannot be read"),
        (tmp_path / "large", "too large for a key"),
    ):
        with pytest.raises(SignatureError, match=words):
            load(signed.folder, key)


def test_without_the_package_that_checks_signatures_a_key_is_never_passed_over(signed, monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(MissingExtraError, match=r"cryptography is not installed(?s:.*)\[sign\]"):
        load(signed.folder, signed.maker.public)
    assert edgelm.runtime.load(signed.folder)("a good film")["scores"] == ANSWER


def test_calls_that_would_check_nothing_are_refused(signed):
    for options, words in (
        ({"key": signed.maker.public, "check_hashes": False}, "hashes are not compared"),
        ({"device_key": signed.other.public}, "maker's public key"),
        ({"unsigned_additions": True}, "maker's public key"),
    ):
        with pytest.raises(UsageError, match=words):
            edgelm.runtime.load(signed.folder, **options)
    with pytest.raises(UsageError, match="open already"):
        load(open_bundle(signed.folder), signed.maker.public)


def test_a_manifest_cannot_list_a_signature(signed, tmp_path):
    for name in ("signature.json", "device.json", "device-signature.json", "manifest.json"):
        values = json.loads((signed.folder / "manifest.json").read_text())
        values["files"].append({"path": name, "size": 0, "sha256": "0" * 64})
        bundle = tmp_path / name
        bundle.mkdir()
        (bundle / "manifest.json").write_text(json.dumps(values))
        with pytest.raises(BundleError, match="which no manifest can"):
            open_bundle(bundle)


def test_the_commands_say_it_with_exit_code_4(signed, tmp_path):
    def call(*words):
        done = CliRunner().invoke(app, [str(word) for word in words])
        return done.exit_code, done.output

    for path in (signed.folder, signed.file):
        assert call("verify", path, "--key", signed.maker.public)[0] == 0
        assert call("run", path, "a good film", "--key", signed.maker.public)[0] == 0
        for command in (("verify", path), ("run", path, "a good film")):
            code, output = call(*command, "--key", signed.other.public)
            assert code == 4
            assert "another key" in output
    assert call("run", signed.folder, "x", "--key", signed.maker.public, "--no-hashes")[0] == 2
    bundle = signed.copy(tmp_path)
    (bundle / "README.md").write_text("# more")
    code, output = call("verify", bundle, "--key", signed.maker.public)
    assert (code, "README.md: not in the manifest" in output) == (4, True)


def test_run_py_checks_the_signature_before_anything_else_of_the_bundle_runs(signed, tmp_path):
    def run(bundle, *words):
        command = [sys.executable, bundle / "run.py", *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)

    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    bundle = signed.copy(tmp_path)
    done = run(bundle, "a good film", "--key", signed.maker.public)
    assert json.loads(done.stdout)["scores"] == ANSWER, done.stderr
    assert json.loads(run(bundle, "--verify", "--key", signed.maker.public).stdout)["ok"]
    done = run(bundle, "a good film", "--key", signed.other.public)
    assert (done.returncode, "is not signed by" in done.stderr) == (4, True)
    module = bundle / "runtime" / "edgelm" / "errors.py"
    module.write_text(module.read_text() + "\nprint('it runs')\n")
    values = json.loads((bundle / "manifest.json").read_text())
    (entry,) = (each for each in values["files"] if each["path"] == "runtime/edgelm/errors.py")
    entry.update(size=module.stat().st_size, sha256=hashlib.sha256(module.read_bytes()).hexdigest())
    (bundle / "manifest.json").write_text(json.dumps(values))
    assert "it runs" in run(bundle, "a good film").stdout  # a forged bundle that nobody asks for its maker
    done = run(bundle, "a good film", "--key", signed.maker.public)
    assert (done.returncode, done.stdout, "is not signed by" in done.stderr) == (4, "", True)


@pytest.mark.parametrize("schema", [1, 2, 3])
def test_bundles_of_older_schemas_are_signed_and_checked_as_well(signed, tmp_path, schema):
    from edgelm.bundles.sign import sign

    with zipfile.ZipFile(Path(__file__).parent / "old_bundles" / f"schema-{schema}.zip") as archive:
        archive.extractall(tmp_path / "b")
    pack(tmp_path / "b", tmp_path / "b.edgelm")
    for path in (tmp_path / "b", tmp_path / "b.edgelm"):
        assert edgelm.runtime.load(path)("a good film")["label"] == "positive"
        with pytest.raises(SignatureError, match="is not signed"):
            load(path, signed.maker.public)
        sign(path, key=signed.maker.private)
        assert load(path, signed.maker.public)("a good film")["label"] == "positive"
