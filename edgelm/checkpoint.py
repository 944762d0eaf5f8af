"""A Checkpoint: a Hugging Face model folder, plus `edgelm.json` with where it came from and what it became.

This file reads and checks the folder without torch; `edgelm.anatomy` builds the model.
"""

from __future__ import annotations

import json
import struct
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from edgelm.errors import ModelError
from edgelm.model_config import check_config, read_task
from edgelm.sentence_folder import SentenceFolder, read_sentence_folder
from edgelm.task import Task

RECORD_FILE = "edgelm.json"
RECORD_SCHEMA = 1
WEIGHTS_FILE = "model.safetensors"
WEIGHTS_INDEX_FILE = "model.safetensors.index.json"


@dataclass(frozen=True)
class LayerShape:
    """How wide one encoder layer is, which of the original heads are left, and which of the original layers it is."""

    heads: int
    ffn: int
    kept_heads: tuple[int, ...] | None = None
    origin: int | None = None


@dataclass(frozen=True)
class KeptTokens:
    """Which part of the vocabulary is left.

    Attributes:
        kept: number of tokens now.
        original: number of tokens of the model that it all began with.
        saved_mb: what the others took in the embeddings, 10^6 bytes in FP32.
        covered_texts: share of the evaluation rows in which no token was lost: the model answers them as it would have.
        covered_tokens: share of the tokens in the evaluation rows that are still there.
    """

    kept: int
    original: int
    saved_mb: float
    covered_texts: float
    covered_tokens: float


@dataclass(frozen=True)
class StageRecord:
    """What one stage did.

    Attributes:
        stage: the stage's name, such as `prune`.
        settings: every value it ran with.
        seed: of its random numbers.
        before: metrics of the checkpoint that went in.
        after: metrics of the checkpoint that came out.
        parameters: number of weights afterwards.
        seconds: wall-clock time.
    """

    stage: str
    settings: dict[str, Any]
    seed: int
    before: dict[str, float]
    after: dict[str, float]
    parameters: int
    seconds: float


@dataclass(frozen=True)
class Record:
    """The content of `edgelm.json`.

    Attributes:
        task: what the model is for.
        source: the model that it all began with.
        layers: the shape of each encoder layer, in order; empty where all are as config.json says.
        original_layers: those of the model that it all began with; empty where nothing was cut, or where that model is not known.
        tokens: what is left of the vocabulary; None where it was not cut.
        embedding_bits: in which an integer bundle for a CPU keeps the embedding tables: 8 or 4.
        stages: what was done, in order.
        data: source and fingerprint of each data set that was used, by role (train, eval).
        costs: what each layer's attention and FFN cost in `unit`, where a latency table was there.
        recipe: name of the recipe, if one was run.
        device: name of the target device, if one was given.
        tools: versions of the libraries that did it.
    """

    task: Task
    source: str
    layers: tuple[LayerShape, ...] = ()
    original_layers: tuple[LayerShape, ...] = ()
    tokens: KeptTokens | None = None
    embedding_bits: int = 8
    stages: tuple[StageRecord, ...] = ()
    data: dict[str, dict[str, Any]] = field(default_factory=dict)
    costs: dict[str, Any] = field(default_factory=dict)
    recipe: str | None = None
    device: str | None = None
    tools: dict[str, str] = field(default_factory=dict)

    def with_stage(self, stage: StageRecord) -> Record:
        """The record after one more stage."""
        return replace(self, stages=(*self.stages, stage))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"schema": RECORD_SCHEMA} | asdict(self) | {"task": self.task.to_dict()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Record:
        """The inverse of `to_dict`."""
        layers, original = (
            tuple(LayerShape(**(shape | {"kept_heads": _tuple(shape.get("kept_heads"))})) for shape in values.get(name, ()))
            for name in ("layers", "original_layers")
        )
        return cls(
            task=Task.from_dict(values["task"]),
            source=values["source"],
            layers=layers,
            original_layers=original,
            tokens=KeptTokens(**values["tokens"]) if values.get("tokens") else None,
            embedding_bits=values.get("embedding_bits", 8),
            stages=tuple(StageRecord(**stage) for stage in values.get("stages", ())),
            data=values.get("data", {}),
            costs=values.get("costs", {}),
            recipe=values.get("recipe"),
            device=values.get("device"),
            tools=values.get("tools", {}),
        )

    def write(self, folder: Path) -> None:
        """Write `edgelm.json` into a checkpoint folder."""
        (folder / RECORD_FILE).write_text(json.dumps(self.to_dict(), indent=2) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class Checkpoint:
    """A model folder that was checked: config and weights are there and whole.

    Attributes:
        path: of config.json, weights and tokenizer.
        sentence: what a sentence-transformers folder says besides; None: it is none.
    """

    path: Path
    config: dict[str, Any]
    record: Record
    sentence: SentenceFolder | None = None

    @property
    def family(self) -> str:
        """The architecture's name, as in `config.json: model_type`."""
        return str(self.config.get("model_type", ""))

    @property
    def task(self) -> Task:
        """What the model is for."""
        return self.record.task

    @property
    def size_mb(self) -> float:
        """Size of the weights on disk, in 10^6 bytes."""
        return sum(file.stat().st_size for file in weight_files(self.path)) / 1e6


def open_checkpoint(path: str | Path, *, allow_pickle: bool = False, any_head: bool = False) -> Checkpoint:
    """Read and check a model folder.

    Args:
        path: a Hugging Face folder, with or without `edgelm.json`.
        allow_pickle: accept a folder that has only `pytorch_model.bin` (it is then loaded with `weights_only`).
        any_head: the encoder alone is wanted, so whatever head is on it does not matter.

    Raises:
        ModelError: no folder, no config.json, weights that another tool quantized, no weights, only pickled ones, truncated ones, a
            record of a newer edgelm, a head, a module or a setting that edgelm does not compute.
    """
    path = Path(path)
    if not path.is_dir():
        raise ModelError(f"{path}: no such model folder.", hint="Give a folder with config.json and model.safetensors.")
    sentence = read_sentence_folder(path, allow_pickle=allow_pickle)
    folder, path = path, path if sentence is None else sentence.transformer
    config = _read_json(path / "config.json", missing_hint="A model folder needs config.json; save yours with model.save_pretrained(...).")
    quantized = config.get("quantization_config")
    if quantized:
        raise ModelError(
            f"{path}: the weights are quantized already ({quantized.get('quant_method', 'no method named')}).",
            hint="Give the float model that they were made from.",
        )
    files = weight_files(path)
    if not files:
        if not (path / "pytorch_model.bin").is_file():
            raise ModelError(f"{path}: no weights; expected {WEIGHTS_FILE}.", hint="Save the model with model.save_pretrained(...).")
        if not allow_pickle:
            raise ModelError(
                f"{path}: the weights are a pickle (pytorch_model.bin), which can run code when it is loaded.",
                hint="Convert it where you trust it: AutoModel.from_pretrained(...).save_pretrained(...), or add --allow-pickle (weights only).",
            )
    check_config(config)
    shapes = {name: entry["shape"] for file in files for name, entry in check_safetensors(file).items()}
    if any_head:
        return Checkpoint(path, config, _read_record(folder, Task(kind="sentence-embedding"), sentence), sentence)
    task = read_task(config, shapes or None)
    return Checkpoint(path, config, _read_record(folder, task if sentence is None else sentence.task(task), sentence), sentence)


def weight_files(path: Path) -> list[Path]:
    """The safetensors files of a model folder: one, or the shards that its index names."""
    if (path / WEIGHTS_FILE).is_file():
        return [path / WEIGHTS_FILE]
    if (path / WEIGHTS_INDEX_FILE).is_file():
        index = _read_json(path / WEIGHTS_INDEX_FILE)
        return [path / name for name in sorted(set(index.get("weight_map", {}).values()))]
    return []


def check_safetensors(file: Path) -> dict[str, Any]:
    """Check that a safetensors file is whole, by its own table of contents, and return that table.

    Raises:
        ModelError: missing, truncated or not a safetensors file.
    """
    if not file.is_file():
        raise ModelError(f"{file}: missing, though the model's index names it.", hint="Copy or download the model again.")
    size = file.stat().st_size
    broken = ModelError(f"{file}: truncated or not a safetensors file ({size:,} bytes).", hint="Copy or download the model again.")
    with file.open("rb") as stream:
        head = stream.read(8)
        if len(head) < 8:
            raise broken
        (length,) = struct.unpack("<Q", head)
        if length > size - 8:
            raise broken
        try:
            table: dict[str, Any] = json.loads(stream.read(length))
            tensors = {name: entry for name, entry in table.items() if name != "__metadata__"}
            end = max((entry["data_offsets"][1] for entry in tensors.values()), default=0)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise broken from error
    if 8 + length + end != size:
        raise broken
    return tensors


def _read_record(path: Path, task: Task, sentence: SentenceFolder | None) -> Record:
    file = path / RECORD_FILE
    if not file.is_file():
        return Record(task=task, source=str(path))
    values = _read_json(file)
    if values.get("schema") != RECORD_SCHEMA:
        raise ModelError(f"{file}: schema {values.get('schema')!r}; this edgelm reads {RECORD_SCHEMA}.", hint="Install a newer edgelm.")
    try:
        record = Record.from_dict(values)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"{file}: not a record that edgelm wrote ({error}).", hint="Delete it to use the folder as a plain Hugging Face model."
        ) from error
    whole = sentence is not None and record.task.kind == "sentence-embedding"  # then the modules say what is computed
    return replace(record, task=sentence.task(record.task)) if whole and sentence is not None else record


def _read_json(file: Path, *, missing_hint: str = "") -> dict[str, Any]:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(f"{file}: missing.", hint=missing_hint) from error
    except (ValueError, OSError) as error:
        raise ModelError(f"{file}: cannot be read as JSON ({error}).", hint="Copy or download the model again.") from error
    if not isinstance(values, dict):
        raise ModelError(f"{file}: expected a JSON object.", hint="Copy or download the model again.")
    return values


def _tuple(values: list[int] | None) -> tuple[int, ...] | None:
    return None if values is None else tuple(values)
