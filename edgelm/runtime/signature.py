"""Who made a bundle: Ed25519 signatures (RFC 8032) of the exact bytes of `manifest.json`, which has the hash of every
other file.

The signature lies beside the manifest, in a file that the manifest cannot list. What a device adds to a signed bundle
has a list and a signature of its own, see `edgelm.runtime.additions`. Signatures are checked by the package
`cryptography`, which is imported where one is asked for.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgelm.errors import MissingExtraError, SignatureError, install_extra
from edgelm.limits import read_json

ALGORITHM = "ed25519"
_SCHEMA = 1
_LARGEST_KEY = 1 << 16  # bytes of a file with a key
_SIZE = 64  # bytes of a signature


@dataclass(frozen=True)
class Signature:
    """The content of a signature's file.

    Attributes:
        key: id of the key that made it, see `key_id`.
        signature: 64 bytes in base64.
    """

    key: str
    signature: str
    algorithm: str = ALGORITHM
    schema: int = _SCHEMA

    def to_json(self) -> bytes:
        """The file's only form: it is read in no other."""
        return (json.dumps(asdict(self), indent=1) + "\n").encode()

    @classmethod
    def from_json(cls, data: bytes, about: str) -> Signature:
        """The inverse of `to_json`.

        Args:
            about: the file, for messages.

        Raises:
            SignatureError: anything but what `to_json` writes.
        """
        try:
            values = read_json(data, about, error=SignatureError)
            found = cls(**values)
            size = len(base64.b64decode(found.signature, validate=True))
        except (ValueError, TypeError, RecursionError, binascii.Error) as error:
            raise _broken(about) from error
        known = (ALGORITHM, _SCHEMA, _SIZE)
        if (found.algorithm, found.schema, size) != known or found.to_json() != data or not isinstance(found.key, str):
            raise _broken(about)
        return found


@dataclass(frozen=True)
class PublicKey:
    """A key that signatures are checked by.

    Attributes:
        id: of it, see `key_id`.
        pem: as files have it.
    """

    id: str
    pem: bytes

    def check(self, data: bytes, signature: bytes | None, about: str) -> None:
        """Refuse data that this key has not signed.

        Args:
            signature: the content of the signature's file; None: there is none.
            about: the file that is signed, for messages.

        Raises:
            SignatureError: no signature, one of another key or of other data, or a broken one.
        """
        if signature is None:
            raise SignatureError(
                f"{about} is not signed.", hint="`edgelm sign` signs a bundle; do not use this one if it should be."
            )
        found = Signature.from_json(signature, about)
        if found.key != self.id:
            raise SignatureError(
                f"{about} is signed by another key: {found.key[:16]}, not {self.id[:16]}.",
                hint="Give the public key of who signed it (`edgelm keys show` names a key), if you trust them.",
            )
        from cryptography.exceptions import InvalidSignature

        try:
            load_public(self.pem).verify(base64.b64decode(found.signature), data)
        except InvalidSignature as error:
            raise SignatureError(
                f"{about} was changed after it was signed, or its signature is of another bundle.",
                hint="Do not use it; get the bundle from its maker again.",
            ) from error


def read_public_key(key: str | Path | bytes) -> PublicKey:
    """A public key from a PEM file (SubjectPublicKeyInfo), or from the bytes of one.

    Raises:
        SignatureError: no such file, no public key, a private one, several, or one that is not of Ed25519.
        MissingExtraError: the package `cryptography` is missing.
    """
    data = key if isinstance(key, bytes) else read_key_file(Path(key))
    name = "the key" if isinstance(key, bytes) else str(key)
    if b"PRIVATE KEY" in data:
        raise SignatureError(
            f"{name} holds a private key; signatures are checked by the public one.",
            hint="Give the public key's file, and keep the private one where bundles are signed.",
        )
    if data.count(b"-----BEGIN") > 1:
        raise SignatureError(f"{name} holds more than one key.", hint="Give a file with one public key.")
    try:
        public = load_public(data)
    except ValueError as error:
        raise SignatureError(
            f"{name} holds no public key in PEM form.", hint="`edgelm keys new` makes a pair of keys."
        ) from error
    return public_key_of(public, name)


def public_key_of(public: Any, name: str) -> PublicKey:
    """A public key of the package `cryptography` as a value.

    Raises:
        SignatureError: it is not of Ed25519.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    if not isinstance(public, Ed25519PublicKey):
        raise SignatureError(
            f"{name} is a key of another kind ({type(public).__name__.strip('_')}); bundles are signed by Ed25519.",
            hint="`edgelm keys new` makes such a pair.",
        )
    form = PublicFormat.SubjectPublicKeyInfo
    return PublicKey(key_id(public.public_bytes(Encoding.DER, form)), public.public_bytes(Encoding.PEM, form))


def key_id(der: bytes) -> str:
    """What names a key: SHA-256 of its SubjectPublicKeyInfo in DER, in hexadecimal."""
    return hashlib.sha256(der).hexdigest()


def load_public(pem: bytes) -> Any:
    """A public key as the package `cryptography` has it.

    Raises:
        ValueError: none, or of a kind that the package does not know.
        MissingExtraError: the package is missing.
    """
    need_cryptography()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        return load_pem_public_key(pem)
    except UnsupportedAlgorithm as error:
        raise ValueError(str(error)) from error


def need_cryptography() -> None:
    """Ask for the package that checks signatures.

    Raises:
        MissingExtraError: it is missing.
    """
    try:
        import cryptography  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            "the package cryptography is not installed; no signature can be checked or made without it.",
            hint=f"{install_extra('sign')}, or cryptography alone where edgelm is not installed.",
        ) from error


def read_key_file(file: Path) -> bytes:
    """The bytes of a file with a key.

    Raises:
        SignatureError: it is missing, no regular file, too large for a key, or may not be read.
    """
    try:
        if not file.is_file():
            raise SignatureError(f"{file}: no such file.", hint="`edgelm keys new` makes a pair of keys.")
        with file.open("rb") as stream:
            data = stream.read(_LARGEST_KEY + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SignatureError(f"{file}: the key cannot be read ({reason}).", hint="Look at its rights.") from error
    if len(data) > _LARGEST_KEY:
        raise SignatureError(f"{file} is too large for a key.", hint="Give a PEM file with one key.")
    return data


def _broken(about: str) -> SignatureError:
    return SignatureError(
        f"{about}: its signature is broken, or of a kind that this edgelm does not know.",
        hint="Get the bundle from its maker again, or install a newer edgelm.",
    )
