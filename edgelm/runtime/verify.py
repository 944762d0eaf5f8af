"""Proves a bundle: schema, paths, sizes, hashes, the graph's inputs and outputs, and a replay of the golden samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgelm.errors import BundleError, EdgelmError, SignatureError
from edgelm.runtime.bundle import Bundle, open_bundle
from edgelm.runtime.file_checks import Check, check_files
from edgelm.runtime.golden import Golden
from edgelm.runtime.graph_spec import MODEL, GraphSpec
from edgelm.runtime.loading import load
from edgelm.runtime.manifest import DEVICE_FILE, GOLDEN_FILE, SIGNATURE_FILE
from edgelm.runtime.model import Model
from edgelm.runtime.native import NATIVE
from edgelm.runtime.saturation import describe_sums
from edgelm.runtime.signature import Signature
from edgelm.runtime.trust import NO_TRUST, Trust


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


def verify(
    path: str | Path, *, replay: bool = True, provider: str | None = None, trust: Trust = NO_TRUST
) -> Verification:
    """Check a bundle; with `replay`, also run its golden samples on this machine, by what `load` chooses or by
    `provider`.

    Args:
        trust: who must have signed it.

    Raises:
        BundleError: it has no manifest that can be read (all else is a failed check).
    """
    try:
        bundle = open_bundle(path, trust=trust)
        signatures = list(_signature_checks(bundle))
    except SignatureError as error:
        return Verification(str(path), (Check("signature", ok=False, detail=error.message.rstrip(".")),))
    checks = [Check("manifest", ok=True, detail=f"schema {bundle.manifest.schema}"), *signatures]
    with bundle.opened():
        checks.extend(check_files(bundle))
    if replay and all(check.ok for check in checks):
        checks.extend(_replay_checks(bundle, provider))
    return Verification(str(path), tuple(checks))


def _signature_checks(bundle: Bundle) -> Iterator[Check]:
    """Whose signatures hold, and what was added on the device that no signature covers."""
    trust = bundle.trust
    signature = bundle.read_beside(SIGNATURE_FILE)
    if trust.key is not None:
        yield Check("signature", ok=True, detail=f"by the key {trust.key.id[:16]}, over the manifest")
    elif signature is not None:
        key = Signature.from_json(signature, f"{bundle.path}: {SIGNATURE_FILE}").key
        yield Check("signature", ok=True, detail=f"not checked; it names the key {key[:16]} (give --key to check it)")
    if bundle.additions is None:
        return
    added = ", ".join(bundle.additions.names)
    if trust.device_key is not None:
        detail = f"added on this device, signed by the key {trust.device_key.id[:16]}: {added}"
    else:
        detail = f"added on this device, not signed by the maker{', not used' * bool(bundle.ignored)}: {added}"
    yield Check(DEVICE_FILE, ok=True, detail=detail)


def _replay_checks(bundle: Bundle, provider: str | None) -> Iterator[Check]:
    generates = bundle.manifest.task.generates
    try:
        model = load(bundle, provider=provider)
        golden, count, difference = _golden(bundle)
    except BundleError as error:
        yield Check("load", ok=False, detail=error.message)
        return
    yield Check("provider", ok=True, detail=model.opened.why)
    if not generates:
        yield Check("tokenizer", ok=True, detail=model.reads_by)
    if model.opened.provider == "cpu" and (found := describe_sums(bundle.manifest)):
        yield Check("INT8 sums", ok=True, detail=found)
    sessions = model.sessions if generates else {MODEL: model.session}
    yield from (_names_check(bundle.manifest.graph(name), session) for name, session in sessions.items())
    yield _replay("golden samples", model, golden, count, difference)
    native = not generates and (model.opened.provider == NATIVE or model.reads_natively)
    if native and provider is None:  # these answer where the library is not installed
        try:
            graph = load(bundle, provider="cpu")
        except ImportError:
            yield Check("golden samples by the graph", ok=True, detail="not replayed: onnxruntime is not installed")
            return
        yield _replay("golden samples by the graph", graph, golden, count, difference)


def _replay(name: str, model: Any, golden: Any, count: int, difference: Callable[[Any, Any], float]) -> Check:
    try:
        worst = difference(model, golden)
    except EdgelmError as error:  # also of texts that the model does not take
        return Check(name, ok=False, detail=error.message)
    return Check(
        name,
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
