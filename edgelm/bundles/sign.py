"""Signs a bundle: its manifest, which has every file's hash, or the list of what a device added to it."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgelm.bundles.edit import put_beside
from edgelm.bundles.keys import read_private_key
from edgelm.errors import BundleError, OutputExistsError, UsageError
from edgelm.files.claims import claim
from edgelm.runtime import Bundle, open_bundle
from edgelm.runtime.file_checks import check_files
from edgelm.runtime.manifest import DEVICE_FILE, DEVICE_SIGNATURE_FILE, MANIFEST_FILE, SIGNATURE_FILE
from edgelm.runtime.signature import Signature, public_key_of


@dataclass(frozen=True)
class Signed:
    """What was signed.

    Attributes:
        path: of the bundle.
        file: of the signature, inside the bundle.
        signed: the file that it is of.
        key: id of the key.
    """

    path: str
    file: str
    signed: str
    key: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: what `edgelm sign --json` prints."""
        return {"path": self.path, "file": self.file, "signed": self.signed, "key": self.key}


def sign(
    bundle: str | Path,
    *,
    key: Path,
    passphrase: bytes | None = None,
    device: bool = False,
    overwrite: bool = False,
) -> Signed:
    """Sign a bundle, a folder or one file. A bundle has one signature; the same key signs the same bundle by the same
    bytes.

    Args:
        key: file of the private key.
        device: sign what this device added to a signed bundle, instead of what its maker put into it.
        overwrite: in the place of another signature.

    Raises:
        BundleError: a file is not as the bundle lists it: what is signed is checked first.
        UsageError: nothing was added on this device.
        OutputExistsError: another signature is there.
        OutputInUseError: another process changes the bundle.
        SignatureError, MissingExtraError: as `read_private_key`.
    """
    private = read_private_key(key, passphrase=passphrase)
    public = public_key_of(private.public_key(), str(key))
    signed, file = (DEVICE_FILE, DEVICE_SIGNATURE_FILE) if device else (MANIFEST_FILE, SIGNATURE_FILE)
    with claim(open_bundle(bundle).path.resolve()):
        opened = open_bundle(bundle)  # as it is now that nobody else changes it
        _check_content(opened)
        data = opened.read_beside(DEVICE_FILE) if device else opened.text
        if data is None:
            raise UsageError(
                f"{opened.path}: nothing was added to it on this device.",
                hint="Leave --additions out to sign what its maker put into it.",
            )
        made = Signature(public.id, base64.b64encode(private.sign(data)).decode()).to_json()
        there = opened.read_beside(file)
        if there is not None and there != made and not overwrite:
            raise OutputExistsError(
                f"{opened.path} has another signature already ({file}).",
                hint="Add --overwrite to put this in its place.",
            )
        if there != made:
            put_beside(opened, file, made)
    return Signed(str(bundle), file, signed, public.id)


def _check_content(bundle: Bundle) -> None:
    failed = [check for check in check_files(bundle) if not check.ok]
    if failed:
        raise BundleError(
            f"{bundle.path} is not signed: {failed[0].name}: {failed[0].detail}.",
            hint="`edgelm verify` shows every check; export or copy it again.",
        )
