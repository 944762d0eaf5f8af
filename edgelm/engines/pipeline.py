"""`edgelm build`: an engine for a bundle, built by its plan, proven where a GPU can run it, and kept in the bundle."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from edgelm.bundles.edit import add_files
from edgelm.engines.builder import build_engine, buildable_capabilities
from edgelm.errors import BundleError, EngineError, UsageError
from edgelm.files.claims import claim
from edgelm.files.moving import restore
from edgelm.files.scratch import open_scratch
from edgelm.progress import Progress, silent
from edgelm.runtime import Bundle, load, open_bundle
from edgelm.runtime.cache import cache_folder
from edgelm.runtime.cuda import Gpu, find_gpu
from edgelm.runtime.engine_plan import EnginePlan, EngineRecord, one_profile
from edgelm.runtime.generation.golden import GenerationGolden
from edgelm.runtime.generation.golden import largest_difference as largest_generated
from edgelm.runtime.golden import Golden
from edgelm.runtime.graph_spec import MODEL, GraphSpec
from edgelm.runtime.manifest import ENGINES_FOLDER, GOLDEN_FILE, Manifest, graph_hash
from edgelm.runtime.provider import wanted_providers
from edgelm.runtime.tensorrt import MODULES, Backend, installed_backends, load_backend
from edgelm.runtime.verify import largest_difference


@dataclass(frozen=True)
class BuildResult:
    """What `build` did.

    Attributes:
        engines: that the bundle now has for this package and GPU, one a graph.
        size_mb: of their files.
        built: False, where they were there already and still fit.
        replayed: whether a GPU here answered the golden samples with them.
    """

    path: Path
    engines: tuple[EngineRecord, ...]
    size_mb: float
    built: bool

    @property
    def engine(self) -> EngineRecord:
        """Of the first graph."""
        return self.engines[0]

    @property
    def replayed(self) -> bool:
        """Whether a GPU has answered the golden samples with them."""
        return all(engine.difference is not None for engine in self.engines)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: what `edgelm build --json` prints."""
        return {
            "path": str(self.path),
            "engine": asdict(self.engine),
            "engines": [asdict(engine) for engine in self.engines],
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
    """Build the engine of each graph of a bundle and put it in.

    With their GPU here, only engines that give the golden answers are kept. `tensorrt-rtx` also builds for a GPU that
    is not here; the device then proves them.

    Args:
        package: tensorrt or tensorrt-rtx; None: the first that the bundle's device prefers and is installed.
        plan: instead of the bundle's; kept in its place.
        workspace_mb: memory of the GPU that one operator may use, 10^6 bytes; None, here and below: as the plan has it.
        portable: whether newer versions of TensorRT run the engine and, where it offers that, other GPUs.
        refit: whether a program can exchange the engine's weights.
        strip: whether weights that the graph has are left out of the engine.
        capability: compute capability to build for; None: that of the GPU here or, without one, of the plan.
        rebuild: also where an engine that fits is there.

    Raises:
        UsageError: the bundle is for a device without TensorRT; no GPU is known to build for, or the package makes no
            portable engines; one plan for several graphs.
        MissingExtraError: no TensorRT package is installed.
        ResourceError: the package cannot be loaded, or does not start here.
        OutputInUseError: another process changes the bundle.
        EngineError: TensorRT refuses the graph, or the engine's answers are wrong. The bundle is left as it was.
    """
    opened = open_bundle(bundle)
    restore(opened.path.resolve())  # what a run that was killed left, also one that was done
    graphs = [graph for graph in opened.manifest.graphs if graph.plan is not None or plan is not None]
    if not graphs:
        raise UsageError(
            f"{opened.path}: no engine plan: it was made for {opened.manifest.device}.",
            hint="Export it with --device of a GPU or a Jetson.",
        )
    if plan is not None and len(graphs) > 1:
        raise UsageError(
            f"{opened.path}: one plan is not for {len(graphs)} graphs.", hint="Leave it out: each graph has its own."
        )
    backend = load_backend(package or _first_installed(opened))
    asked: dict[str, Any] = {"workspace_mb": workspace_mb, "portable": portable, "refit": refit, "strip": strip}
    changes = {name: value for name, value in asked.items() if value is not None}
    plans = {graph.name: replace(_plan_of(graph, plan), **changes) for graph in graphs}
    if backend.rtx and any(each.portable for each in plans.values()):
        raise UsageError(
            f"{backend.name} builds no portable engines: each is for this version of it and for its GPU.",
            hint="Give --no-portable, or --package tensorrt.",
        )
    capability, gpu = _find_target(plans[graphs[0].name], backend, capability)
    wanted = {graph.name: _record(opened, graph, plans[graph.name], backend, capability, gpu) for graph in graphs}
    there = {name: _find_built(opened.manifest.graph(name), record) for name, record in wanted.items()}
    if not rebuild and (found := [record for record in there.values() if record is not None]) == list(there.values()):
        return BuildResult(opened.path, tuple(found), _size(opened, found), built=False)
    with claim(opened.path.resolve()):
        return _build(open_bundle(bundle), plans, wanted, backend, gpu, progress)


def _build(
    opened: Bundle,
    plans: Mapping[str, EnginePlan],
    wanted: Mapping[str, EngineRecord],
    backend: Backend,
    gpu: Gpu | None,
    progress: Progress,
) -> BuildResult:
    """Build an engine for each of these graphs as its record says, and put them in with the plans.

    Raises:
        EngineError: TensorRT refuses the graph, or the engine's answers are wrong. The bundle is left as it was.
    """
    seconds: dict[str, float] = {}
    files: dict[str, bytes] = {}
    manifest = opened.manifest
    for name, record in wanted.items():
        graph = manifest.graph(name)
        start = time.monotonic()
        files[record.path] = _serialize(opened, graph, record, backend, gpu, progress)
        seconds[name] = round(time.monotonic() - start, 2)
        manifest = manifest.with_graph(_with_engine(replace(graph, plan=plans[name]), record))

    def prove(draft: Path) -> Manifest:
        difference, proven = _replay(draft, backend.name), manifest
        for name in seconds:
            proven = proven.with_graph(_with_engine(proven.graph(name), replace(wanted[name], difference=difference)))
        return proven

    manifest = add_files(opened, files, manifest, check=prove if gpu else None)
    engines = tuple(replace(manifest.graph(name).engines[-1], seconds=took) for name, took in seconds.items())
    return BuildResult(opened.path, engines, sum(map(len, files.values())) / 1e6, built=True)


def _plan_of(graph: GraphSpec, given: EnginePlan | None) -> EnginePlan:
    plan = given or graph.plan
    assert plan is not None
    return plan


def _find_built(graph: GraphSpec, record: EngineRecord) -> EngineRecord | None:
    """The engine of a graph that was built as this record says."""
    alike = (entry for entry in graph.engines if replace(record, difference=entry.difference) == entry)
    return next(alike, None)


def _with_engine(graph: GraphSpec, record: EngineRecord) -> GraphSpec:
    others = tuple(entry for entry in graph.engines if entry.path != record.path)
    return replace(graph, engines=(*others, record))


def can_build_for(capability: str | None, packages: Sequence[str]) -> str | None:
    """The first of these installed packages that builds for such a GPU here and now, or None."""
    if capability is None:
        return None
    gpu = find_gpu()
    here = gpu is not None and gpu.compute_capability == capability
    return next((name for name in packages if here or capability in buildable_capabilities(load_backend(name))), None)


def _record(
    bundle: Bundle, graph: GraphSpec, plan: EnginePlan, backend: Backend, capability: str, gpu: Gpu | None
) -> EngineRecord:
    """What an engine that is built here and now is built with."""
    of_graph = "" if graph.name == MODEL else f"-{graph.name}"
    return EngineRecord(
        path=f"{ENGINES_FOLDER}/{_label(backend, capability)}{of_graph}.engine",
        package=backend.name,
        version=backend.version,
        compute_capabilities=(capability,),
        driver=gpu.driver if gpu else None,
        precision=bundle.manifest.precision,
        plan=one_profile(plan) if backend.rtx else plan,
        graph=graph_hash(bundle.manifest, graph),
        seconds=0.0,
    )


def _label(backend: Backend, capability: str) -> str:
    return f"{backend.name}-{backend.version}-sm{capability.replace('.', '')}"


def _serialize(
    bundle: Bundle, graph: GraphSpec, record: EngineRecord, backend: Backend, gpu: Gpu | None, progress: Progress
) -> bytes:
    capability = record.compute_capabilities[0]
    timings = None if gpu is None else cache_folder("tensorrt") / f"{_label(backend, capability)}.timings"
    with open_scratch() as folder:
        return build_engine(
            bundle.extract_graph(folder, graph.file),
            record.plan,
            backend,
            inputs=graph.inputs,
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


def _replay(draft: Path, package: str) -> float:
    """Largest difference from the golden answers.

    Raises:
        EngineError: it is larger than accepted.
    """
    bundle = open_bundle(draft)
    data, generates = bundle.read(GOLDEN_FILE), bundle.manifest.task.generates
    golden: Any = GenerationGolden.from_json(data) if generates else Golden.from_json(data)
    try:
        model = load(bundle, provider=package)
    except (BundleError, UsageError) as error:
        raise EngineError(
            f"the engine was built but does not load: {error.message}", hint="The bundle is left as it was."
        ) from error
    if model.opened.engine is None:
        raise EngineError(
            f"the engine was built but is not used: {model.opened.why}.", hint="The bundle is left as it was."
        )
    try:
        worst = largest_generated(model, golden) if generates else largest_difference(model, golden)
    except BundleError as error:  # it writes other tokens, or fails
        raise EngineError(
            f"the engine does not give the golden answers: {error.message}", hint="The bundle is left as it was."
        ) from error
    if worst > golden.tolerance:
        raise EngineError(
            f"the engine's answers differ from the golden ones by {worst:.2g}; {golden.tolerance:.2g} is accepted.",
            hint="The bundle is left as it was. Export with --precision fp16, or run with --provider cuda.",
        )
    return worst


def _size(bundle: Bundle, records: Sequence[EngineRecord]) -> float:
    paths = {record.path for record in records}
    return sum(entry.size for entry in bundle.manifest.files if entry.path in paths) / 1e6
