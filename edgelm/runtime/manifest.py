"""The bundle's format: what `manifest.json` says. `export` writes it, the device reads it.

Plain dataclasses: the device needs no validation library.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from edgelm.errors import BundleError
from edgelm.runtime.manifest_check import check_manifest
from edgelm.tasks.table import task_from_dict
from edgelm.tasks.task import Task

SCHEMA_VERSION = 3  # 2: engines; 3: how long texts are cut
MANIFEST_FILE = "manifest.json"
GRAPH_FILE = "model.onnx"
WEIGHTS_FILE = "weights.bin"
OPTIMIZED_FILE = "optimized.onnx"
TOKENIZER_FILE = "tokenizer.json"
GOLDEN_FILE = "golden.json"
CARD_FILE = "README.md"
SCRIPT_FILE = "run.py"
RUNTIME_FOLDER = "runtime"
ENGINES_FOLDER = "engines"


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of the graph; a dynamic axis is given by its name."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class FileEntry:
    """One file of the bundle (all but the manifest itself)."""

    path: str
    size: int
    sha256: str

    @classmethod
    def of(cls, path: str, data: bytes) -> FileEntry:
        """The entry of a file with this content."""
        return cls(path, len(data), hashlib.sha256(data).hexdigest())


@dataclass(frozen=True)
class Tokenization:
    """How text becomes input, beside what tokenizer.json says.

    Attributes:
        max_length: longest sequence in tokens.
        pad_id, pad_token, pad_type_id: what fills a batch up, behind each text: a text then has the places that it has
            alone.
        truncation_side: where a text that is too long loses tokens, right or left.
        split_special: the names of special tokens, where a text holds them, are text like any other.
    """

    max_length: int
    pad_id: int
    pad_token: str
    pad_type_id: int = 0
    truncation_side: str = "right"
    split_special: bool = False

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Tokenization:
        """The inverse of `asdict`; of older schemas too, which had a field that nothing read."""
        return cls(**{name: value for name, value in values.items() if name != "lowercase"})


@dataclass(frozen=True)
class Parity:
    """How far the graph's outputs are from PyTorch's, on real samples.

    Attributes:
        samples: how many texts were compared.
        max_error: largest absolute difference of any output value.
        mean_error: mean absolute difference.
        changed: share of samples with another answer (class, or nearest neighbour for embeddings).
        tolerance: the largest `max_error` (float graphs) or `changed` (integer graphs) that export accepts.
        hard_texts: how many texts of unusual kinds (empty, other scripts, very long) the bundle answered as well; 0
            before schema 3.
    """

    samples: int
    max_error: float
    mean_error: float
    changed: float
    tolerance: float
    hard_texts: int = 0


@dataclass(frozen=True)
class ShapeRange:
    """One optimization profile of an engine: (texts, tokens) that it takes at least and at most, and what it is made
    fastest for."""

    least: tuple[int, int]
    usual: tuple[int, int]
    most: tuple[int, int]

    def holds(self, shape: tuple[int, int]) -> bool:
        """Whether inputs of this shape may be given."""
        return all(low <= size <= high for low, size, high in zip(self.least, shape, self.most, strict=True))


@dataclass(frozen=True)
class EnginePlan:
    """How TensorRT is to make an engine of the bundle's graph, here or on the device. Precisions are what the graph
    says.

    Attributes:
        profiles: each input's (texts, tokens); the first that holds a call is taken.
        workspace_mb: memory of the GPU that an operator may use beside weights and activations, 10^6 bytes.
        compute_capability: of the device's GPU, such as 8.9; None: of whichever it is built on.
        portable: for newer versions of TensorRT too and, where TensorRT offers it, for other GPUs from Ampere on, at
            some speed.
        refit: a program can exchange the weights without building again.
        strip: the engine is kept without the weights that the graph has; they are put in when it is loaded.
    """

    profiles: tuple[ShapeRange, ...]
    workspace_mb: int = 1024
    compute_capability: str | None = None
    portable: bool = False
    refit: bool = False
    strip: bool = False


@dataclass(frozen=True)
class EngineRecord:
    """An engine in the bundle, and what it was built with: it runs where all of that is alike.

    Attributes:
        path: of its file, inside the bundle.
        package, version: that built it, tensorrt or tensorrt-rtx; another does not load it.
        compute_capabilities: of the GPUs that it is for.
        driver: of the GPU that it was built on; None: built without one.
        precision: of the graph.
        plan: that it was built by.
        graph: hash of graph and weights, see `graph_hash`.
        seconds: that the build took.
        difference: largest difference from the golden answers when a GPU replayed them; None: none has.
    """

    path: str
    package: str
    version: str
    compute_capabilities: tuple[str, ...]
    driver: str | None
    precision: str
    plan: EnginePlan
    graph: str
    seconds: float
    difference: float | None = None


@dataclass(frozen=True)
class Manifest:
    """What a bundle is.

    Attributes:
        name: of the model, for people.
        created: ISO 8601, UTC.
        task: what the model is for.
        family: architecture, as in `config.json: model_type`.
        precision: fp32, fp16, bf16, int8, int8-dynamic, int8-weights or int4.
        opset: of the ONNX graph.
        inputs, outputs: of the graph.
        tokenization: how text becomes input.
        device: name of the device that it was made for.
        runtimes: what the device prefers to run it with, such as tensorrt or onnxruntime-cpu, first choice first; see
            `edgelm.runtime.provider`.
        session: session settings, chosen at export and by `edgelm tune`; see `edgelm.runtime.session`. Empty: the
            defaults.
        parity: against PyTorch.
        quality: metrics on the evaluation set: {"samples": n, "source": ..., "checkpoint": {...}, "bundle": {...}};
            empty without one.
        calibration: method, number, source and choice of the samples, and what was chosen for each site; empty without
            calibration.
        lineage: the checkpoint's record, as in edgelm.json.
        pair_sum: what two neighbouring INT8 weights of the graph sum to at most; see `edgelm.runtime.saturation`. None:
            not known.
        tools: versions that made the bundle.
        plan: how engines of the graph are built; None where the device has no TensorRT.
        engines: that were built, by that plan.
        files: every other file, with size and hash.
    """

    name: str
    created: str
    task: Task
    family: str
    precision: str
    opset: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    tokenization: Tokenization
    device: str | None = None
    runtimes: tuple[str, ...] = ("onnxruntime-cpu",)
    session: dict[str, Any] = field(default_factory=dict)
    parity: Parity | None = None
    quality: dict[str, Any] = field(default_factory=dict)
    calibration: dict[str, Any] = field(default_factory=dict)
    lineage: dict[str, Any] = field(default_factory=dict)
    pair_sum: int | None = None
    tools: dict[str, str] = field(default_factory=dict)
    plan: EnginePlan | None = None
    engines: tuple[EngineRecord, ...] = ()
    files: tuple[FileEntry, ...] = ()
    schema: int = SCHEMA_VERSION

    def to_json(self) -> str:
        """The text of `manifest.json`."""
        return json.dumps(asdict(self) | {"task": self.task.to_dict()}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Manifest:
        """The inverse of `to_json`.

        Raises:
            BundleError: no JSON, fields missing or of a wrong kind, or a schema that this edgelm cannot read.
        """
        try:
            values = json.loads(text)
            schema = values["schema"]
            json.dumps(
                values, ensure_ascii=False
            ).encode()  # half of a surrogate pair is no text, and cannot be printed
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise BundleError(f"{MANIFEST_FILE}: not a manifest ({error}).", hint="Export the bundle again.") from error
        if not isinstance(schema, int) or schema > SCHEMA_VERSION:
            raise BundleError(
                f"{MANIFEST_FILE}: schema {schema}; this edgelm reads up to {SCHEMA_VERSION}.",
                hint="Install a newer edgelm on this device.",
            )
        check_manifest(cls, values)
        try:
            return cls(
                **values
                | {
                    "task": task_from_dict(values["task"]),
                    "inputs": _tensors(values["inputs"]),
                    "outputs": _tensors(values["outputs"]),
                    "tokenization": Tokenization.from_dict(values["tokenization"]),
                    "parity": Parity(**values["parity"]) if values.get("parity") else None,
                    "runtimes": tuple(values.get("runtimes", ("onnxruntime-cpu",))),
                    "plan": _plan(values["plan"]) if values.get("plan") else None,
                    "engines": tuple(_engine(entry) for entry in values.get("engines", ())),
                    "files": tuple(FileEntry(**entry) for entry in values["files"]),
                }
            )
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(
                f"{MANIFEST_FILE}: not a manifest of schema {schema} ({error}).", hint="Export the bundle again."
            ) from error


def one_profile(plan: EnginePlan) -> EnginePlan:
    """All shapes in one profile: TensorRT-RTX makes kernels for the shapes that it meets when it runs, and each profile
    takes megabytes."""
    usual, most = plan.profiles[0].usual, plan.profiles[-1].most
    return replace(plan, profiles=(ShapeRange(plan.profiles[0].least, usual, most),))


def graph_hash(manifest: Manifest) -> str:
    """Of graph and weights together, by their hashes in the manifest: an engine is of these alone."""
    parts = [entry.sha256 for entry in manifest.files if entry.path in (GRAPH_FILE, WEIGHTS_FILE)]
    return hashlib.sha256("".join(parts).encode()).hexdigest()


def _plan(values: dict[str, Any]) -> EnginePlan:
    profiles = (
        ShapeRange(*(tuple(entry[name]) for name in ("least", "usual", "most"))) for entry in values["profiles"]
    )
    return EnginePlan(**values | {"profiles": tuple(profiles)})


def _engine(values: dict[str, Any]) -> EngineRecord:
    return EngineRecord(
        **values | {"plan": _plan(values["plan"]), "compute_capabilities": tuple(values["compute_capabilities"])}
    )


def _tensors(entries: list[dict[str, Any]]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(entry["name"], entry["dtype"], tuple(entry["shape"])) for entry in entries)
