"""A small signed bundle, and the keys that signed it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from bundles import make_bundle

from edgelm.bundles.keys import KeyPair, make_keys
from edgelm.bundles.sign import sign
from edgelm.runtime.archive import pack


@dataclass(frozen=True)
class SignedBundle:
    """A folder, the same as one file, the pair of keys that signed both, and another pair."""

    folder: Path
    file: Path
    maker: KeyPair
    other: KeyPair

    def copy(self, to: Path) -> Path:
        """A copy of the folder to be changed."""
        return Path(shutil.copytree(self.folder, to / "b"))


def make_signed(folder: Path) -> SignedBundle:
    maker, other = (make_keys(folder / name) for name in ("maker", "other"))
    bundle = make_bundle(folder / "signed")
    file = folder / "signed.edgelm"
    pack(bundle, file)
    for path in (bundle, file):
        sign(path, key=maker.private)
    return SignedBundle(bundle, file, maker, other)
