"""Proves a bundle: schema, paths, sizes, hashes, the graph's inputs and outputs, and a replay of the golden samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgelm.errors import BundleError, EdgelmError
from edgelm.runtime.bundle import Bundle, open_bundle
from edgelm.runtime.contents import FILE
from edgelm.runtime.golden import Golden
from edgelm.runtime.graph_spec import MODEL, OPTIMIZED_FILE, GraphSpec
from edgelm.runtime.loading import load
from edgelm.runtime.manifest import GOLDEN_FILE, MANIFEST_FILE
from edgelm.runtime.model import Model
from edgelm.runtime.saturation import describe_sums


@dataclass(frozen=True)
class Check:
    """One thing that was checked, and what was found where it failed."""

    name: str
    ok: bool
    detail: str = ""


@dataclass(frozen=True)
class Verification:
    """The result of all checks."""

    path: str
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether every check passed."""
        return all(check.ok for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: what `edgelm verify --json` prints."""
        return {
            "path": self.path,
            "ok": self.ok,
            "checks": [{"name": check.name, "ok": check.ok, "detail": check.detail} for check in self.checks],
        }


def verify(path: str | Path, *, replay: bool = True, provider: str | None = None) -> Verification:
    """Check a bundle; with `replay`, also run its golden samples on this machine, by what `load` chooses or by
    `provider`.

    Raises:
        BundleError: it has no manifest that can be read (all else is a failed check).
    """
    bundle = open_bundle(path)
    checks = [Check("manifest", ok=True, detail=f"schema {bundle.manifest.schema}"), *_file_checks(bundle)]
    if replay and all(check.ok for check in checks):
        checks.extend(_replay_checks(bundle, provider))
    return Verification(str(path), tuple(checks))


def _file_checks(bundle: Bundle) -> Iterator[Check]:
    bundle = replace(bundle, check_hashes=True)
    for entry in bundle.manifest.files:
        try:
            bundle.read(entry.path)
        except BundleError as error:
            yield Check(
                entry.path, ok=False, detail=error.message.removeprefix(f"{bundle.path}: {entry.path}").lstrip(": ")
            )
        else:
            yield Check(entry.path, ok=True)
    known = {entry.path for entry in bundle.manifest.files} | {MANIFEST_FILE}
    for name, kind in bundle.contents():
        if kind != FILE:
            yield Check(_printable(name), ok=False, detail=f"{kind}; a bundle holds plain files alone")
        elif name not in known:
            yield Check(_printable(name), ok=False, detail=_why_unlisted(name))
    for needed in (*(graph.file for graph in bundle.manifest.graphs), GOLDEN_FILE):
        if needed not in known:
            yield Check(needed, ok=False, detail="the manifest does not list it")


def _why_unlisted(name: str) -> str:
    if "__pycache__/" in name:
        return "not in the manifest; Python wrote it: delete the folder"
    if name == OPTIMIZED_FILE:
        return (
            "not in the manifest, so nothing reads it; an `edgelm tune` that was cut off left it: delete it, or tune "
            "again"
        )
    return "not in the manifest"


def _printable(name: str) -> str:
    """A name that somebody gave a file, with escapes for what would move the cursor or is no UTF-8."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in name)


def _replay_checks(bundle: Bundle, provider: str | None) -> Iterator[Check]:
    generates = bundle.manifest.task.generates
    try:
        model = load(bundle, provider=provider)
        golden, count, difference = _golden(bundle)
    except BundleError as error:
        yield Check("load", ok=False, detail=error.message)
        return
    yield Check("provider", ok=True, detail=model.opened.why)
    if model.opened.provider == "cpu" and (found := describe_sums(bundle.manifest)):
        yield Check("INT8 sums", ok=True, detail=found)
    sessions = model.sessions if generates else {MODEL: model.session}
    yield from (_names_check(bundle.manifest.graph(name), session) for name, session in sessions.items())
    try:
        worst = difference(model, golden)
    except EdgelmError as error:  # also of texts that the model does not take
        yield Check("golden samples", ok=False, detail=error.message)
        return
    yield Check(
        "golden samples",
        ok=worst <= golden.tolerance,
        detail=f"{count} replayed, largest difference {worst:.2g}, accepted {golden.tolerance:.2g}",
    )


def _golden(bundle: Bundle) -> tuple[Any, int, Callable[[Any, Any], float]]:
    """The golden samples, how many they are, and what compares a model with them.

    Raises:
        BundleError: they cannot be read.
    """
    text = bundle.read(GOLDEN_FILE)
    if not bundle.manifest.task.generates:
        golden = Golden.from_json(text)
        return golden, len(golden.texts), largest_difference
    from edgelm.runtime.generation.golden import GenerationGolden  # only bundles of models that write carry it
    from edgelm.runtime.generation.golden import largest_difference as largest_generated

    written = GenerationGolden.from_json(text)
    return written, len(written.samples), largest_generated


def largest_difference(model: Model, golden: Golden) -> float:
    """Of a loaded model's outputs from the golden ones; infinity, where one is not finite.

    Raises:
        BundleError: a text is tokenized differently here, or the graph does not answer it in the shape of the golden
            answer.
    """
    worst = 0.0
    for index in range(len(golden.texts)):
        feeds = model.tokenize([golden.sample(index)])
        wanted = golden.feeds(index)
        if set(feeds) != set(wanted) or any(not np.array_equal(feeds[name], wanted[name]) for name in wanted):
            raise BundleError(
                f"golden sample {index} is tokenized differently here.",
                hint="Install the tokenizers version of the manifest.",
            )
        found, expected = model.infer(wanted), np.asarray(golden.outputs[index], dtype=np.float32)
        if found.shape != expected.shape:
            raise BundleError(
                f"golden sample {index}: the graph gives {found.shape}, expected {expected.shape}.",
                hint="Export the bundle again.",
            )
        difference = np.abs(found - expected).max()
        worst = max(worst, float(difference) if np.isfinite(difference) else float("inf"))
    return worst


def _names_check(graph: GraphSpec, session: Any) -> Check:
    """A graph's inputs and outputs are those of the manifest."""
    wanted = ([spec.name for spec in graph.inputs], [spec.name for spec in graph.outputs])
    found = ([value.name for value in session.get_inputs()], [value.name for value in session.get_outputs()])
    return Check(
        "graph" if graph.name == MODEL else f"graph {graph.name}",
        ok=found == wanted,
        detail="" if found == wanted else f"inputs and outputs {found}; the manifest says {wanted}",
    )
