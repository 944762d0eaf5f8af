"""`edgelm build`: an engine for a bundle, built by its plan, proven where a GPU can run it, and kept in the bundle."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from edgelm.bundles.edit import add_files
from edgelm.engines.builder import build_engine, buildable_capabilities
from edgelm.errors import BundleError, EngineError, UsageError
from edgelm.progress import Progress, silent
from edgelm.runtime import Bundle, load, open_bundle
from edgelm.runtime.cache import cache_folder
from edgelm.runtime.cuda import Gpu, find_gpu
from edgelm.runtime.engine_plan import EnginePlan, EngineRecord, one_profile
from edgelm.runtime.golden import Golden
from edgelm.runtime.manifest import ENGINES_FOLDER, GOLDEN_FILE, Manifest, graph_hash
from edgelm.runtime.provider import wanted_providers
from edgelm.runtime.tensorrt import MODULES, Backend, installed_backends, load_backend
from edgelm.runtime.verify import largest_difference


@dataclass(frozen=True)
class BuildResult:
    """What `build` did.

    Attributes:
        engine: that the bundle now has for this package and GPU.
        size_mb: of its file.
        built: False, where it was there already and still fits.
        replayed: whether a GPU here answered the golden samples with it.
    """

    path: Path
    engine: EngineRecord
    size_mb: float
    built: bool

    @property
    def replayed(self) -> bool:
        """Whether a GPU has answered the golden samples with it."""
        return self.engine.difference is not None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: what `edgelm build --json` prints."""
        return {
            "path": str(self.path),
            "engine": asdict(self.engine),
            "size_mb": self.size_mb,
            "built": self.built,
            "replayed": self.replayed,
        }


def build(
    bundle: str | Path,
    *,
    package: str | None = None,
    plan: EnginePlan | None = None,
    workspace_mb: int | None = None,
    portable: bool | None = None,
    refit: bool | None = None,
    strip: bool | None = None,
    capability: str | None = None,
    rebuild: bool = False,
    progress: Progress = silent,
) -> BuildResult:
    """Build the engine of a bundle and put it in.

    With its GPU here, only an engine that gives the golden answers is kept. `tensorrt-rtx` also builds for a GPU that
    is not here; the device then proves it.

    Args:
        package: tensorrt or tensorrt-rtx; None: the first that the bundle's device prefers and is installed.
        plan: instead of the bundle's; kept in its place.
        workspace_mb, portable, refit, strip: changes to that plan, as `EnginePlan` says; None: as it has it.
        capability: compute capability to build for; None: that of the GPU here or, without one, of the plan.
        rebuild: also where an engine that fits is there.

    Raises:
        UsageError: the bundle is of a model that writes, or for a device without TensorRT; no GPU is known to build
            for, or the package makes no portable engines.
        MissingExtraError: no TensorRT package is installed.
        ResourceError: the package cannot be loaded, or does not start here.
        EngineError: TensorRT refuses the graph, or the engine's answers are wrong. The bundle is left as it was.
    """
    opened = open_bundle(bundle)
    if opened.manifest.task.generates:
        raise UsageError(
            f"{opened.path}: no engine is built of a model that writes; it runs on the CPU.",
            hint="`edgelm run` and `edgelm profile` take the bundle as it is.",
        )
    plan = plan or opened.manifest.plan
    if plan is None:
        raise UsageError(
            f"{opened.path}: no engine plan: it was made for {opened.manifest.device}.",
            hint="Export it with --device of a GPU or a Jetson.",
        )
    asked: dict[str, Any] = {"workspace_mb": workspace_mb, "portable": portable, "refit": refit, "strip": strip}
    plan = replace(plan, **{name: value for name, value in asked.items() if value is not None})
    backend = load_backend(package or _first_installed(opened))
    if plan.portable and backend.rtx:
        raise UsageError(
            f"{backend.name} builds no portable engines: each is for this version of it and for its GPU.",
            hint="Give --no-portable, or --package tensorrt.",
        )
    capability, gpu = _find_target(plan, backend, capability)
    record = _record(opened, one_profile(plan) if backend.rtx else plan, backend, capability, gpu)
    there = next(
        (
            entry
            for entry in opened.manifest.engines
            if replace(record, seconds=entry.seconds, difference=entry.difference) == entry
        ),
        None,
    )
    if there is not None and not rebuild:
        return BuildResult(opened.path, there, _size(opened, there), built=False)
    start = time.monotonic()
    data = _serialize(opened, record, backend, gpu, progress)
    record = replace(record, seconds=round(time.monotonic() - start, 2))
    others = tuple(entry for entry in opened.manifest.engines if entry.path != record.path)
    graph = replace(opened.manifest.graph(), plan=plan, engines=(*others, record))
    manifest = opened.manifest.with_graph(graph)

    def prove(draft: Path) -> Manifest:
        proven = replace(record, difference=_replay(draft, record))
        return manifest.with_graph(replace(graph, engines=(*others, proven)))

    made = add_files(opened, {record.path: data}, manifest, check=prove if gpu else None)
    return BuildResult(opened.path, made.engines[-1], len(data) / 1e6, built=True)


def can_build_for(capability: str | None, packages: Sequence[str]) -> str | None:
    """The first of these installed packages that builds for such a GPU here and now, or None."""
    if capability is None:
        return None
    gpu = find_gpu()
    here = gpu is not None and gpu.compute_capability == capability
    return next((name for name in packages if here or capability in buildable_capabilities(load_backend(name))), None)


def _record(bundle: Bundle, plan: EnginePlan, backend: Backend, capability: str, gpu: Gpu | None) -> EngineRecord:
    """What an engine that is built here and now is built with."""
    return EngineRecord(
        path=f"{ENGINES_FOLDER}/{_label(backend, capability)}.engine",
        package=backend.name,
        version=backend.version,
        compute_capabilities=(capability,),
        driver=gpu.driver if gpu else None,
        precision=bundle.manifest.precision,
        plan=plan,
        graph=graph_hash(bundle.manifest, bundle.manifest.graph()),
        seconds=0.0,
    )


def _label(backend: Backend, capability: str) -> str:
    return f"{backend.name}-{backend.version}-sm{capability.replace('.', '')}"


def _serialize(bundle: Bundle, record: EngineRecord, backend: Backend, gpu: Gpu | None, progress: Progress) -> bytes:
    capability = record.compute_capabilities[0]
    timings = None if gpu is None else cache_folder("tensorrt") / f"{_label(backend, capability)}.timings"
    with tempfile.TemporaryDirectory() as folder:
        return build_engine(
            bundle.extract_graph(Path(folder), bundle.manifest.graph().file),
            record.plan,
            backend,
            inputs=bundle.manifest.inputs,
            capability=capability,
            timings=timings,
            progress=progress,
        )


def _first_installed(bundle: Bundle) -> str:
    wanted = [name for name in wanted_providers(bundle) if name in MODULES]
    there = [name for name in wanted if name in installed_backends()]
    return (there or wanted or ["tensorrt"])[0]  # an import says what to install


def _find_target(plan: EnginePlan, backend: Backend, capability: str | None) -> tuple[str, Gpu | None]:
    """The compute capability to build for, and the GPU here that has it, if one does."""
    gpu = find_gpu()
    if capability is None:
        capability = gpu.compute_capability if gpu is not None else plan.compute_capability
    here = gpu if gpu is not None and gpu.compute_capability == capability else None
    if capability is not None and (here is not None or backend.rtx):
        return capability, here
    raise UsageError(
        "the plan names no GPU to build for, and there is none here."
        if backend.rtx
        else f"{backend.name} builds engines on the GPU that runs them, and "
        + ("there is none here." if gpu is None else f"the one here has compute capability {gpu.compute_capability}."),
        hint="Run `edgelm build` on the device; the bundle holds the plan.",
    )


def _replay(draft: Path, record: EngineRecord) -> float:
    """Largest difference from the golden answers.

    Raises:
        EngineError: it is larger than accepted.
    """
    bundle = open_bundle(draft)
    golden = Golden.from_json(bundle.read(GOLDEN_FILE))
    try:
        model = load(bundle, provider=record.package)
    except (BundleError, UsageError) as error:
        raise EngineError(
            f"the engine was built but does not load: {error.message}", hint="The bundle is left as it was."
        ) from error
    if model.opened.engine is None:
        raise EngineError(
            f"the engine was built but is not used: {model.opened.why}.", hint="The bundle is left as it was."
        )
    worst = largest_difference(model, golden)
    if worst > golden.tolerance:
        raise EngineError(
            f"the engine's answers differ from the golden ones by {worst:.2g}; {golden.tolerance:.2g} is accepted.",
            hint="The bundle is left as it was. Export with --precision fp16, or run with --provider cuda.",
        )
    return worst


def _size(bundle: Bundle, record: EngineRecord) -> float:
    return next(entry.size for entry in bundle.manifest.files if entry.path == record.path) / 1e6
