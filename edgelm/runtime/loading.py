"""Opens a bundle as what its task makes of it: a model that answers, or one that writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgelm.runtime.bundle import Bundle, open_bundle


def load(
    path: str | Path | Bundle, *, threads: int | None = None, provider: str | None = None, check_hashes: bool = True
) -> Any:
    """Load a bundle.

    Args:
        path, threads, provider, check_hashes: as `edgelm.runtime.model.load` has them.

    Returns:
        an `edgelm.runtime.generation.generator.Generator` where the task is to write text, else an
        `edgelm.runtime.model.Model`; both are called with what they answer.

    Raises:
        BundleError: broken, changed, or made by a newer edgelm.
        UsageError: the provider is not there.
    """
    bundle = path if isinstance(path, Bundle) else open_bundle(path, check_hashes=check_hashes)
    with bundle.hashing_early():  # while the libraries are imported
        if bundle.manifest.task.generates:
            from edgelm.runtime.generation.loading import open_generator

            return open_generator(bundle, threads=threads, provider=provider)
        from edgelm.runtime.model import load as load_model

        return load_model(bundle, threads=threads, provider=provider)
