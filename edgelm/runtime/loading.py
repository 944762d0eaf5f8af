"""Opens a bundle as what its task makes of it: a model that answers, or one that writes."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from edgelm.errors import UsageError
from edgelm.runtime.bundle import Bundle, open_bundle
from edgelm.runtime.trust import Trust


def load(
    path: str | Path | Bundle,
    *,
    threads: int | None = None,
    provider: str | None = None,
    check_hashes: bool = True,
    key: str | Path | bytes | None = None,
    device_key: str | Path | bytes | None = None,
    unsigned_additions: bool = False,
) -> Any:
    """Load a bundle.

    Args:
        path: the bundle's folder or file, or a bundle that is open.
        threads: for one operator; None: as the bundle says, else one a core.
        provider: what must run it, such as `cpu`; None: what the bundle's device prefers and is there.
        check_hashes: False: sizes alone are compared, for a device where hashing takes too long.
        key: the public key (path of a PEM file, or its bytes) that must have signed the bundle. Every file of it is
            then compared with the manifest, and no other may lie there. None: signatures are not looked at.
        device_key: with `key`, the public key that must have signed what `edgelm tune` and `edgelm build` added to the
            signed bundle on this device.
        unsigned_additions: with `key`, what was added is used whoever signed it. With neither it is not used, and a
            warning says so.

    Returns:
        an `edgelm.runtime.generation.generator.Generator` where the task is to write text, else an
        `edgelm.runtime.model.Model`; both are called with what they answer.

    Raises:
        BundleError: broken, changed, or made by a newer edgelm.
        SignatureError: not signed by these keys, or no keys.
        MissingExtraError: a key was given, and the package that checks signatures is missing.
        UsageError: the provider is not there; keys for a bundle that is open already, or without hashes.
    """
    trust = Trust.by(key, device_key=device_key, unsigned_additions=unsigned_additions)
    if isinstance(path, Bundle) and trust.key is not None:
        raise UsageError(f"{path.path} is open already, without this key.", hint="Give the key to open_bundle.")
    bundle = path if isinstance(path, Bundle) else open_bundle(path, check_hashes=check_hashes, trust=trust)
    with bundle.hashing_early():  # while the libraries are imported
        model = _open(bundle, threads, provider)
    if bundle.trust.key is not None:
        from edgelm.runtime.file_checks import require_files  # only bundles that are signed need it

        require_files(bundle)
    if bundle is not path:
        _warn_of_ignored(bundle)
    return model


def _open(bundle: Bundle, threads: int | None, provider: str | None) -> Any:
    if bundle.manifest.task.generates:
        from edgelm.runtime.generation.loading import open_generator

        return open_generator(bundle, threads=threads, provider=provider)
    from edgelm.runtime.model import load as load_model

    return load_model(bundle, threads=threads, provider=provider)


class UnsignedWarning(UserWarning):
    """What the device added to a signed bundle is not used."""


def _warn_of_ignored(bundle: Bundle) -> None:
    if bundle.additions is not None and bundle.ignored:
        warnings.warn(
            f"{bundle.path}: not used: {', '.join(bundle.additions.names)}; it was added on this device, and "
            f"{bundle.ignored}. `edgelm sign --additions` signs it.",
            UnsignedWarning,
            stacklevel=3,
        )
