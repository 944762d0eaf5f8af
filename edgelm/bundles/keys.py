"""Pairs of keys that bundles are signed by: made, read, and never shown."""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgelm.errors import OutputExistsError, SignatureError
from edgelm.files.output import check_name, disk_errors
from edgelm.runtime.signature import PublicKey, need_cryptography, public_key_of, read_key_file, read_public_key

_PRIVATE, _PUBLIC = ".private.pem", ".public.pem"
_ENCRYPTED = b"ENCRYPTED"  # in the first line of a private key that asks for a passphrase


@dataclass(frozen=True)
class KeyPair:
    """A pair of keys on disk.

    Attributes:
        private: file of the private key: PKCS #8 in PEM, which its owner alone may read.
        public: file of the public key.
        id: of the public key.
    """

    private: Path
    public: Path
    id: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: what `edgelm keys new --json` prints."""
        return {"private": str(self.private), "public": str(self.public), "id": self.id}


def make_keys(name: Path, *, passphrase: bytes | None = None) -> KeyPair:
    """Make a pair of keys as `NAME.private.pem` and `NAME.public.pem`.

    Args:
        passphrase: that the private key is encrypted with; None: its file holds it in plain.

    Raises:
        OutputExistsError: one of the files is there; keys are never overwritten.
        ResourceError: the folder cannot be written.
        MissingExtraError: the package `cryptography` is missing.
    """
    need_cryptography()
    from cryptography.hazmat.primitives import serialization as forms
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private, public = (name.with_name(name.name + ending) for ending in (_PRIVATE, _PUBLIC))
    check_name(private)
    for file in (private, public):
        if os.path.lexists(file):
            raise OutputExistsError(f"{file} exists already.", hint="Keys are never overwritten: choose another name.")
    key = Ed25519PrivateKey.generate()
    encryption = forms.BestAvailableEncryption(passphrase) if passphrase else forms.NoEncryption()
    secret = key.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.PKCS8, encryption)
    shown = public_key_of(key.public_key(), str(public))
    with disk_errors(private):
        private.parent.mkdir(parents=True, exist_ok=True)
        _write_new(private, secret, 0o600)
        try:
            _write_new(public, shown.pem, 0o644)
        except BaseException:  # half of a pair is of no use, and would stand in the way
            private.unlink()
            raise
    return KeyPair(private, public, shown.id)


def read_private_key(file: Path, *, passphrase: bytes | None = None) -> Any:
    """A private Ed25519 key as the package `cryptography` has it.

    Raises:
        SignatureError: no such file, no private key, one of another kind, or a passphrase that is missing or wrong.
        MissingExtraError: the package is missing.
    """
    need_cryptography()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    data = read_key_file(file)
    if b"PRIVATE KEY" not in data:
        raise SignatureError(
            f"{file} holds no private key in PEM form.",
            hint="Give NAME.private.pem, as `edgelm keys new NAME` makes it.",
        )
    encrypted = _ENCRYPTED in data
    if encrypted and not passphrase:
        raise SignatureError(f"{file} is encrypted.", hint="Give its passphrase: --passphrase-file FILE.")
    try:
        key = load_pem_private_key(data, passphrase if encrypted else None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        what = "the passphrase is wrong, or the key is broken" if encrypted else "the key is broken"
        raise SignatureError(f"{file}: {what}.", hint="`edgelm keys new` makes a pair of keys.") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise SignatureError(
            f"{file} is a key of another kind; bundles are signed by Ed25519.",
            hint="`edgelm keys new` makes such a pair.",
        )
    return key


def is_encrypted(file: Path) -> bool:
    """Whether a private key's file asks for a passphrase."""
    return _ENCRYPTED in read_key_file(file)


def is_private(file: Path) -> bool:
    """Whether a file holds a private key."""
    return b"PRIVATE KEY" in read_key_file(file)


def others_can_read(file: Path) -> bool:
    """Whether other users than its owner may read a file, where the system knows of users."""
    with contextlib.suppress(OSError):
        return os.name == "posix" and bool(file.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))
    return False


def find_public_key(file: Path, *, passphrase: bytes | None = None) -> PublicKey:
    """The public key of a file that holds it, or the private one that it belongs to.

    Raises:
        SignatureError, MissingExtraError: as `read_private_key` and `read_public_key`.
    """
    if not is_private(file):
        return read_public_key(file)
    return public_key_of(read_private_key(file, passphrase=passphrase).public_key(), str(file))


def _write_new(file: Path, data: bytes, mode: int) -> None:
    """Write a file that must not be there, with these rights from its first moment on."""
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError as error:
        raise OutputExistsError(f"{file} exists already.", hint="Keys are never overwritten.") from error
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
