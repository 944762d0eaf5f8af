"""The end of an export, of every kind of model: manifest, folder, engine."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from edgelm.bundles.hub_files import bundle_config
from edgelm.bundles.write import write_bundle
from edgelm.engines import build
from edgelm.engines.pipeline import can_build_for
from edgelm.errors import EdgelmError
from edgelm.export.created import created
from edgelm.export.draft import Draft
from edgelm.export.tokenization import tokenization_of
from edgelm.files.output import size_on_disk
from edgelm.graph.rewrites import operator_counts
from edgelm.model_folder.card import read_card
from edgelm.notebook import bundle_html
from edgelm.runtime import open_bundle
from edgelm.runtime.engine_plan import EnginePlan
from edgelm.runtime.manifest import Manifest
from edgelm.runtime.tensorrt import MODULES, installed_backends
from edgelm.version import __version__


@dataclass(frozen=True)
class ExportResult:
    """What an export made.

    Attributes:
        path: of the bundle.
        manifest: of the bundle, as it was written.
        size_mb: of the bundle, 10^6 bytes.
        operators: how many nodes of each operator its graphs have.
        no_engine: why the bundle holds the plan of an engine alone; empty where it holds an engine, or its device has
            no TensorRT.
        guessed: what the labels' names decided alone, and the option that decides otherwise; empty where nothing was
            guessed.
    """

    path: Path
    manifest: Manifest
    size_mb: float
    operators: dict[str, int]
    no_engine: str = ""
    guessed: str = ""

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return bundle_html(self.path, self.manifest, self.size_mb)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: what `edgelm export --json` prints."""
        said = {
            "path": str(self.path),
            "size_mb": self.size_mb,
            "operators": self.operators,
            "no_engine": self.no_engine,
            "guessed": self.guessed,
        }
        return said | {"manifest": self.manifest.to_dict()}


def finish(draft: Draft) -> ExportResult:
    """Write the bundle of a draft that has been through all steps, and build its engine where that can be done here.

    Raises:
        ParityError: the finished bundle does not answer as it should; nothing is left then.
        OutputExistsError, ResourceError: as `edgelm.bundles.write.write_bundle`.
    """
    settings, model = draft.settings, draft.source.model
    output = settings.output
    manifest = write_bundle(
        output,
        make_manifest(draft),
        draft.stored or {graph.spec.file: graph.model for graph in draft.graphs},
        draft.source.tokenizer,
        draft.golden,
        overwrite=settings.overwrite,
        config=bundle_config(json.loads(model.config.to_json_string()), type(model).__name__),
        card=read_card(draft.checkpoint.path, base=draft.checkpoint.base.path if draft.checkpoint.base else None),
        check=draft.check,
    )
    no_engine = ""
    if plan := next((graph.spec.plan for graph in draft.graphs if graph.spec.plan is not None), None):
        no_engine = _add_engine(draft, plan) if settings.engine else "none was asked for"
        manifest = open_bundle(output).manifest
    return ExportResult(
        output,
        manifest,
        size_on_disk(output) / 1e6,
        operator_counts(*(graph.model for graph in draft.graphs)),
        no_engine=no_engine,
        guessed=draft.guessed,
    )


def make_manifest(draft: Draft) -> Manifest:
    """What the manifest says, but for the files."""
    settings, source = draft.settings, draft.source
    tools = ("torch", "transformers", "onnx", "onnxruntime")
    return Manifest(
        name=settings.output.stem,
        created=created(draft.checkpoint),
        task=source.task,
        family=draft.checkpoint.family,
        precision=settings.precision,
        tokenization=tokenization_of(source.tokenizer, source.max_length),
        device=settings.device.name,
        runtimes=settings.device.runtimes,
        graphs=tuple(graph.spec for graph in draft.graphs),
        quality=draft.quality,
        calibration=draft.calibration,
        lineage=draft.checkpoint.record.to_dict(),
        tools={"edgelm": __version__} | {package: version(package) for package in tools},
    )


def _add_engine(draft: Draft, plan: EnginePlan) -> str:
    """Build an engine into the bundle; why there is none, if none can be built here."""
    runtimes, capability = draft.settings.device.runtimes, plan.compute_capability
    there = [name for name in runtimes if name in installed_backends()]
    if not there:
        return f"none of {', '.join(name for name in runtimes if name in MODULES)} is installed here"
    try:
        package = can_build_for(capability, there)
        if package is None:
            return f"{', '.join(there)} cannot build here for compute capability {capability}"
        build(draft.settings.output, package=package, capability=capability, progress=draft.settings.progress)
    except EdgelmError as error:  # whatever stands in the way: the bundle is whole without an engine
        return error.message
    return ""
