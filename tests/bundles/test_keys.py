"""Keys are made once, kept from others, and never shown."""

import json
import os
import stat

import pytest
from typer.testing import CliRunner

from edgelm.bundles.keys import make_keys, read_private_key
from edgelm.cli.main import app
from edgelm.errors import OutputExistsError, SignatureError

pytest.importorskip("cryptography", reason="keys are made by the extra `sign`")


def call(*words, **options):
    return CliRunner().invoke(app, [str(word) for word in words], **options)


def test_a_pair_is_made_that_only_its_owner_may_read_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        done = call("keys", "new", tmp_path / "keys" / "release.v1", "--json")
    finally:
        os.umask(before)
    made = json.loads(done.stdout)
    private, public = (tmp_path / "keys" / f"release.v1.{which}.pem" for which in ("private", "public"))
    assert (made["private"], made["public"]) == (str(private), str(public))
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert b"BEGIN PRIVATE KEY" in private.read_bytes()  # PKCS #8
    for file in (private, public):
        shown = json.loads(call("keys", "show", file, "--json").stdout)
        assert (shown["id"], shown["public"]) == (made["id"], public.read_text())
    secret = private.read_text().splitlines()[1]
    for words in (("keys", "show", private), ("keys", "show", private, "--verbose"), ("keys", "new", tmp_path / "n")):
        assert secret not in call(*words).output


def test_keys_are_never_overwritten(tmp_path):
    pair = make_keys(tmp_path / "a")
    before = pair.private.read_bytes(), pair.public.read_bytes()
    with pytest.raises(OutputExistsError, match="exists already"):
        make_keys(tmp_path / "a")
    pair.private.unlink()
    with pytest.raises(OutputExistsError, match="exists already"):
        make_keys(tmp_path / "a")
    assert not pair.private.exists()
    pair.private.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputExistsError, match="exists already"):
        make_keys(tmp_path / "a")
    assert (before[1], (tmp_path / "elsewhere").exists()) == (pair.public.read_bytes(), False)


def test_a_passphrase_keeps_the_private_key(tmp_path):
    (tmp_path / "words").write_text("correct horse\n")
    assert call("keys", "new", tmp_path / "a", "--passphrase-file", tmp_path / "words").exit_code == 0
    private = tmp_path / "a.private.pem"
    assert b"ENCRYPTED PRIVATE KEY" in private.read_bytes()
    assert read_private_key(private, passphrase=b"correct horse")
    with pytest.raises(SignatureError, match="is encrypted"):
        read_private_key(private)
    with pytest.raises(SignatureError, match="passphrase is wrong"):
        read_private_key(private, passphrase=b"wrong")
    done = call("keys", "show", private)  # nobody is there to type it
    assert (done.exit_code, "--passphrase-file" in done.output) == (2, True)
    assert call("keys", "show", private, "--passphrase-file", tmp_path / "words").exit_code == 0


def test_what_is_no_private_ed25519_key_does_not_sign(tmp_path):
    from cryptography.hazmat.primitives import serialization as forms
    from cryptography.hazmat.primitives.asymmetric import ec

    pair = make_keys(tmp_path / "a")
    other = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        forms.Encoding.PEM, forms.PrivateFormat.PKCS8, forms.NoEncryption()
    )
    (tmp_path / "ec.pem").write_bytes(other)
    (tmp_path / "cut.pem").write_bytes(pair.private.read_bytes()[:60])
    for file, words in (
        (pair.public, "holds no private key"),
        (tmp_path / "ec.pem", "a key of another kind"),
        (tmp_path / "cut.pem", "the key is broken"),
        (tmp_path / "none.pem", "no such file"),
    ):
        with pytest.raises(SignatureError, match=words):
            read_private_key(file)
        done = call("sign", tmp_path, "--key", file)
        assert (done.exit_code, words in done.output) == (4, True)
