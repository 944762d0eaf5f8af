"""The bundle's format: what `manifest.json` says. `export` writes it, the device reads it.

Plain dataclasses: the device needs no validation library.
"""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from edgelm.errors import BundleError, UsageError
from edgelm.limits import read_json
from edgelm.runtime.engine_plan import EnginePlan, EngineRecord
from edgelm.runtime.graph_check import check_graphs
from edgelm.runtime.graph_spec import MODEL, GraphSpec, TensorSpec
from edgelm.runtime.manifest_check import check_manifest
from edgelm.runtime.manifest_schemas import SCHEMA_VERSION, downgrade, upgrade
from edgelm.runtime.preprocessing import TextProcessing
from edgelm.tasks.table import task_from_dict
from edgelm.tasks.task import Task

MANIFEST_FILE = "manifest.json"
SIGNATURE_FILE = "signature.json"
DEVICE_FILE = "device.json"  # what the device added to a signed bundle
DEVICE_SIGNATURE_FILE = "device-signature.json"
UNLISTED = frozenset((MANIFEST_FILE, SIGNATURE_FILE, DEVICE_FILE, DEVICE_SIGNATURE_FILE))  # by any manifest
WEIGHTS_FILE = "weights.bin"
TOKENIZER_FILE = "tokenizer.json"
GOLDEN_FILE = "golden.json"
CARD_FILE = "README.md"
SBOM_FILE = "sbom.cdx.json"
SCRIPT_FILE = "run.py"
RUNTIME_FOLDER = "runtime"
ENGINES_FOLDER = "engines"


@dataclass(frozen=True)
class FileEntry:
    """One file of the bundle (all but the manifest itself and what is signed or added after it)."""

    path: str
    size: int
    sha256: str

    @classmethod
    def of(cls, path: str, data: bytes) -> FileEntry:
        """The entry of a file with this content."""
        return cls(path, len(data), hashlib.sha256(data).hexdigest())


@dataclass(frozen=True)
class Manifest:
    """What a bundle is.

    Attributes:
        name: of the model, for people.
        created: ISO 8601, UTC.
        task: what the model is for.
        family: architecture, as in `config.json: model_type`.
        precision: fp32, fp16, bf16, int8, int8-dynamic, int8-weights or int4.
        tokenization: how text becomes input.
        device: name of the device that it was made for.
        runtimes: what the device prefers to run it with, such as tensorrt or onnxruntime-cpu, first choice first; see
            `edgelm.runtime.provider`.
        graphs: one for each step that the device runs; a bundle of one has it by the name `model`.
        quality: metrics on the evaluation set: {"samples": n, "source": ..., "checkpoint": {...}, "bundle": {...}};
            empty without one.
        calibration: method, number, source and choice of the samples, and what was chosen for each site; empty without
            calibration.
        lineage: the checkpoint's record, as in edgelm.json.
        tools: versions that made the bundle.
        files: every other file, with size and hash.
        schema: of the manifest's file: what it is written in again.
    """

    name: str
    created: str
    task: Task
    family: str
    precision: str
    tokenization: TextProcessing
    graphs: tuple[GraphSpec, ...]
    device: str | None = None
    runtimes: tuple[str, ...] = ("onnxruntime-cpu",)
    quality: dict[str, Any] = field(default_factory=dict)
    calibration: dict[str, Any] = field(default_factory=dict)
    lineage: dict[str, Any] = field(default_factory=dict)
    tools: dict[str, str] = field(default_factory=dict)
    files: tuple[FileEntry, ...] = ()
    schema: int = SCHEMA_VERSION

    def graph(self, name: str = MODEL) -> GraphSpec:
        """The graph of this name.

        Raises:
            BundleError: there is none.
        """
        for graph in self.graphs:
            if graph.name == name:
                return graph
        raise BundleError(
            f"{MANIFEST_FILE}: no graph is called {name}; there are {', '.join(graph.name for graph in self.graphs)}.",
            hint="Install a newer edgelm, or get the bundle from its maker again.",
        )

    @functools.cached_property
    def listed(self) -> dict[str, FileEntry]:
        """The files by their paths."""
        return {entry.path: entry for entry in self.files}

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Of the graph `model`."""
        return self.graph().inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Of the graph `model`."""
        return self.graph().outputs

    @property
    def session(self) -> dict[str, Any]:
        """Of the graph `model`."""
        return self.graph().session

    @property
    def plan(self) -> EnginePlan | None:
        """Of the graph `model`."""
        return self.graph().plan

    @property
    def engines(self) -> tuple[EngineRecord, ...]:
        """Of the graph `model`."""
        return self.graph().engines

    def with_graph(self, graph: GraphSpec) -> Manifest:
        """The manifest with this graph in the place of that of its name."""
        return replace(self, graphs=tuple(graph if each.name == graph.name else each for each in self.graphs))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: the fields of the newest schema, whichever the manifest's file has."""
        values: dict[str, Any] = json.loads(json.dumps(asdict(self) | {"task": self.task.to_dict()}))
        return values

    def to_json(self) -> str:
        """The text of `manifest.json`, in its schema: the runtime that an older bundle carries reads no newer one."""
        return json.dumps(downgrade(self.to_dict()), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Manifest:
        """The inverse of `to_json`.

        Raises:
            BundleError: no JSON, fields missing or of a wrong kind, or a schema that this edgelm cannot read.
        """
        try:
            values = read_json(text, MANIFEST_FILE)
            schema = values["schema"]
        except (ValueError, KeyError, TypeError) as error:
            raise BundleError(f"{MANIFEST_FILE}: not a manifest ({error}).", hint="Export the bundle again.") from error
        if not isinstance(schema, int) or schema > SCHEMA_VERSION:
            raise BundleError(
                f"{MANIFEST_FILE}: schema {schema}; this edgelm reads up to {SCHEMA_VERSION}.",
                hint="Install a newer edgelm on this device.",
            )
        try:
            values = upgrade(values)
            check_manifest(cls, values)
            manifest = cls(
                **values
                | {
                    "task": task_from_dict(values["task"]),
                    "tokenization": TextProcessing.from_dict(values["tokenization"]),
                    "graphs": tuple(map(GraphSpec.from_dict, values["graphs"])),
                    "runtimes": tuple(values.get("runtimes", ("onnxruntime-cpu",))),
                    "files": tuple(FileEntry(**entry) for entry in values["files"]),
                }
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BundleError(
                f"{MANIFEST_FILE}: not a manifest of schema {schema} ({error}).", hint="Export the bundle again."
            ) from error
        except UsageError as error:  # settings of writing that are out of their range
            raise BundleError(
                f"{MANIFEST_FILE}: {error.message} {error.hint}", hint="Export the bundle again."
            ) from error
        check_graphs(manifest.graphs)
        return manifest


def graph_hash(manifest: Manifest, graph: GraphSpec) -> str:
    """Of a graph and the weights together, by their hashes in the manifest: an engine is of these alone."""
    parts = [entry.sha256 for entry in manifest.files if entry.path in (graph.file, WEIGHTS_FILE)]
    return hashlib.sha256("".join(parts).encode()).hexdigest()
