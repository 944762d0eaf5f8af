"""Whom a bundle is taken from: by which keys it must be signed, and whether what a device added to it is used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgelm.errors import UsageError
from edgelm.runtime.manifest import DEVICE_FILE, DEVICE_SIGNATURE_FILE, MANIFEST_FILE, SIGNATURE_FILE, Manifest

if TYPE_CHECKING:
    from edgelm.runtime.additions import Additions
    from edgelm.runtime.signature import PublicKey

Read = Callable[[str], "bytes | None"]  # a file of a bundle by its name; None where it is not there


@dataclass(frozen=True)
class Trust:
    """What is asked of a bundle's signatures. Nothing of it: they are not looked at, and additions are used.

    Attributes:
        key: that must have signed the manifest; None: signatures are not looked at.
        device_key: that must have signed what the device added.
        unsigned_additions: what the device added is used whoever signed it.
    """

    key: PublicKey | None = None
    device_key: PublicKey | None = None
    unsigned_additions: bool = False

    @classmethod
    def by(
        cls,
        key: str | Path | bytes | None = None,
        *,
        device_key: str | Path | bytes | None = None,
        unsigned_additions: bool = False,
    ) -> Trust:
        """From keys as they are given: the path of a PEM file, or the bytes of one.

        Raises:
            UsageError: without a maker's key nothing can be said of what was added.
            SignatureError, MissingExtraError: as `read_public_key`.
        """
        if key is None and (device_key is not None or unsigned_additions):
            raise UsageError(
                "what a device added is judged together with what it was added to.",
                hint="Give the maker's public key as well (--key).",
            )
        if key is None:
            return NO_TRUST
        from edgelm.runtime.signature import read_public_key  # most bundles are loaded without a key

        maker, device = (None if each is None else read_public_key(each) for each in (key, device_key))
        return cls(maker, device, unsigned_additions)

    def check(self, path: Path, text: bytes, read: Read) -> None:
        """Refuse a manifest with this text that the key has not signed.

        Raises:
            SignatureError: as `PublicKey.check`.
        """
        if self.key is not None:
            self.key.check(text, read(SIGNATURE_FILE), f"{path}: {MANIFEST_FILE}")

    def find_additions(
        self, path: Path, text: bytes, manifest: Manifest, read: Read
    ) -> tuple[Manifest, Additions | None, str]:
        """The manifest that holds, what the device added, and why that is not used; empty where it is.

        Args:
            text: that the manifest was made of.

        Raises:
            SignatureError: the device's key was given, and has not signed it.
            BundleError: it is broken, or was added to another bundle.
        """
        added = read(DEVICE_FILE)
        if added is None:
            return manifest, None, ""
        from edgelm.runtime.additions import Additions

        if self.device_key is not None:
            self.device_key.check(added, read(DEVICE_SIGNATURE_FILE), f"{path}: {DEVICE_FILE}")
        used = self.key is None or self.device_key is not None or self.unsigned_additions
        additions = Additions.from_json(added, text)
        merged = additions.applied(manifest)
        return (merged, additions, "") if used else (manifest, additions, "the maker's signature does not cover it")


NO_TRUST = Trust()  # is asked for: signatures are not looked at
