"""The bundles of a server: each loaded once, with what answers by it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgelm.errors import UsageError
from edgelm.runtime.bundle import open_bundle
from edgelm.runtime.loading import load
from edgelm.runtime.manifest import Manifest
from edgelm.runtime.model import Model
from edgelm.runtime.session import available_cores
from edgelm.serve.batching import Batcher
from edgelm.serve.limits import Limits
from edgelm.serve.metrics import Metrics
from edgelm.serve.refusals import Refusal
from edgelm.serve.signatures import Signature, signature_of
from edgelm.serve.writing import Writer

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_SUFFIXES = (".edge", ".edgelm")


@dataclass(frozen=True)
class Answering:
    """A model that answers.

    Attributes:
        ran_by: what runs it, such as `cpu`.
    """

    name: str
    manifest: Manifest
    ran_by: str
    batcher: Batcher
    signature: Signature


@dataclass(frozen=True)
class Writing:
    """A model that writes."""

    name: str
    manifest: Manifest
    ran_by: str
    writer: Writer


class Served:
    """All models of a server, by their names."""

    def __init__(self, models: Mapping[str, Answering | Writing]) -> None:
        self.models = dict(models)

    def __getitem__(self, name: str) -> Answering | Writing:
        """The model of a name.

        Raises:
            Refusal: there is none.
        """
        if name not in self.models:
            raise Refusal(404, f"there is no model {name!r:.60}.", hint=f"Served: {', '.join(self.models)}.")
        return self.models[name]

    def close(self) -> None:
        """Finish what is under way."""
        for model in self.models.values():
            (model.writer if isinstance(model, Writing) else model.batcher).close()


def named(bundles: Sequence[str]) -> dict[str, Path]:
    """Bundles by the names that they are served under: PATH, whose last part without its ending is the name, or
    NAME=PATH.

    Raises:
        UsageError: a name that an address cannot have, or that two bundles have.
    """
    found: dict[str, Path] = {}
    for given in bundles:
        name, equals, path = given.partition("=")
        if not equals or Path(given).exists():
            name, path = _name_of(Path(given)), given
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"{given}: {name!r:.60} is no name for a model.",
                hint="Give it one of letters, digits, dots, hyphens and underscores: NAME=BUNDLE.",
            )
        if name in found:
            raise UsageError(f"two bundles are named {name}.", hint="Give one another name: NAME=BUNDLE.")
        found[name] = Path(path)
    return found


def _name_of(path: Path) -> str:
    last = path.resolve().name
    return next((last.removesuffix(ending) for ending in _SUFFIXES if last.endswith(ending)), last)


@contextmanager
def opened(
    bundles: Mapping[str, Path],
    limits: Limits,
    metrics: Metrics,
    *,
    threads: int | None = None,
    provider: str | None = None,
    **keys: Any,
) -> Iterator[Served]:
    """Load bundles; what is under way when the block ends is finished.

    Args:
        threads: of one operator; None: one for a model that answers, of which as many calls run at once as there are
            cores for, and what the bundle says for one that writes.
        provider: as `edgelm.runtime.load` has it.
        keys: key, device_key and unsigned_additions, by which each bundle is checked, as there.

    Raises:
        BundleError, SignatureError, UsageError: as `edgelm.runtime.load`.
    """
    loaded = {}
    for name, path in bundles.items():
        writes = open_bundle(path).manifest.task.generates
        loaded[name] = load(path, threads=threads if writes else threads or 1, provider=provider, **keys)
    at_once = max(1, available_cores() // (threads or 1))
    served = Served({name: _serve(name, model, limits, metrics, at_once) for name, model in loaded.items()})
    try:
        yield served
    finally:
        served.close()


def _serve(name: str, model: object, limits: Limits, metrics: Metrics, at_once: int) -> Answering | Writing:
    if isinstance(model, Model):
        # An engine has one stream to its GPU, which one call has for itself.
        workers = at_once if model.opened.provider == "cpu" else 1
        batcher = Batcher(name, model, limits, metrics, workers=workers)
        return Answering(name, model.manifest, model.opened.provider, batcher, signature_of(model.manifest))
    from edgelm.runtime.generation.generator import Generator

    assert isinstance(model, Generator)
    return Writing(name, model.manifest, model.opened.provider, Writer(name, model, limits, metrics))
