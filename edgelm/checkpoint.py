"""A Checkpoint: a Hugging Face model folder, plus `edgelm.json` with where it came from and what it became.

This file reads and checks the folder without torch; `edgelm.anatomy` builds the model.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from edgelm.errors import ModelError
from edgelm.files.places import told_places
from edgelm.limits import door
from edgelm.model_folder.adapter import ADAPTER_WEIGHTS_FILE, adapted_config, base_folder, is_adapter, read_adapter
from edgelm.model_folder.config import check_config, fills_masks, read_task
from edgelm.model_folder.generators import READERS, as_reader, as_recorded, generator_types, read_generator, writes
from edgelm.model_folder.gguf import gguf_file, is_gguf, read_gguf
from edgelm.model_folder.sentence_transformers import SentenceFolder, read_sentence_folder
from edgelm.model_folder.weight_files import check_safetensors, is_bundle, read_json, require_weights, weight_files
from edgelm.notebook import checkpoint_html
from edgelm.shapes import KeptHidden, LayerShape
from edgelm.tasks.table import TASKS, task_from_dict
from edgelm.tasks.task import Task
from edgelm.tasks.text import FillMask, SentenceEmbedding, TextClassification

RECORD_FILE = "edgelm.json"
RECORD_SCHEMA = 1
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json", "sentencepiece.bpe.model")


@dataclass(frozen=True)
class KeptTokens:
    """Which part of the vocabulary is left.

    Attributes:
        kept: number of tokens now.
        original: number of tokens of the model that it all began with.
        saved_mb: what the others took in the embeddings, 10^6 bytes in FP32.
        covered_texts: share of the evaluation rows in which no token was lost: the model answers them as it would have.
        covered_tokens: share of the tokens in the evaluation rows that are still there.
        same_characters: of a model that writes, share of the rows' characters that stand in the same tokens as before;
            None: not measured.
        more_tokens: of a model that writes, how many more tokens a text of the rows takes on average.
    """

    kept: int
    original: int
    saved_mb: float
    covered_texts: float
    covered_tokens: float
    same_characters: float | None = None
    more_tokens: float | None = None


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
        seconds, left_out: wall-clock time, and what was left out to end within a limit.
    """

    stage: str
    settings: dict[str, Any]
    seed: int
    before: dict[str, float]
    after: dict[str, float]
    parameters: int
    seconds: float
    left_out: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Record:
    """The content of `edgelm.json`.

    Attributes:
        task: what the model is for.
        source: the model that it all began with.
        layers: the shape of each encoder layer, in order; empty where all are as config.json says.
        original_layers: those of the model that it all began with; empty where nothing was cut, or where that model is
            not known.
        tokens: what is left of the vocabulary; None where it was not cut.
        hidden: what is left of the hidden size; None where it was not cut.
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
    hidden: KeptHidden | None = None
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
        return {"schema": RECORD_SCHEMA} | told_places(asdict(self)) | {"task": self.task.to_dict()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Record:
        """The inverse of `to_dict`."""
        layers, original = (
            tuple(
                LayerShape(**(shape | {"kept_heads": _tuple(shape.get("kept_heads"))}))
                for shape in values.get(name, ())
            )
            for name in ("layers", "original_layers")
        )
        return cls(
            task=task_from_dict(values["task"]),
            source=values["source"],
            layers=layers,
            original_layers=original,
            tokens=KeptTokens(**values["tokens"]) if values.get("tokens") else None,
            hidden=KeptHidden(**values["hidden"]) if values.get("hidden") else None,
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
        path: of config.json, weights and tokenizer; of an adapter, where one was given; of a GGUF file.
        config: content of config.json; for an adapter, of the adapted model.
        record: where it came from, what it is for, and the shapes of its layers.
        sentence: what a sentence-transformers folder says besides; None: it is none.
        base: the model under a peft adapter; None for a folder that holds a whole model.
    """

    path: Path
    config: dict[str, Any]
    record: Record
    sentence: SentenceFolder | None = None
    base: Checkpoint | None = None

    @property
    def family(self) -> str:
        """The architecture's name, as in `config.json: model_type`."""
        return str(self.config.get("model_type", ""))

    @property
    def task(self) -> Task:
        """What the model is for."""
        return self.record.task

    def for_task(self, kind: str | None) -> Checkpoint:
        """The same folder for another task that its head can do: that of a masked language model, which is read as a
        sentence encoder, fills in masks; an encoder-decoder translates or writes summaries.

        Args:
            kind: of the task; None: as the folder is read.

        Raises:
            ModelError: its head is for something else.
        """
        if kind is None or kind == self.task.kind:
            return self
        if writes(self.config) and kind == SentenceEmbedding.kind and self.family in READERS:
            task = SentenceEmbedding(pooling="lasttoken")  # as sentence-transformers reads a language model
            return replace(self, config=as_reader(self.config), record=replace(self.record, task=task))
        if writes(self.config):
            return replace(self, record=replace(self.record, task=read_generator(self.config, self.path, kind=kind)))
        if kind in TASKS and TASKS[kind].generates:
            raise ModelError(
                f"{self.path}: {self.family or 'the model'} is an encoder, which reads texts and writes none.",
                hint=f"For {kind} give a generator: {', '.join(generator_types())}.",
            )
        if kind != FillMask.kind or not fills_masks(self.config):
            found = ", ".join(map(str, self.config.get("architectures") or ())) or "a class that it does not name"
            raise ModelError(
                f"{self.path}: the model is {found}, for {self.task.kind}, and has no head for {kind}.",
                hint=f"Train one with `edgelm finetune {self.path} --task {kind} ...`."
                if kind in TASKS
                else f"Tasks: {', '.join(TASKS)}.",
            )
        return replace(self, record=replace(self.record, task=FillMask()), sentence=None)

    @property
    def size_mb(self) -> float:
        """Size of the weights on disk, in 10^6 bytes."""
        return sum(file.stat().st_size for file in self.files) / 1e6

    @property
    def files(self) -> tuple[Path, ...]:
        """The safetensors files that hold its weights: an adapter's with those of its base model."""
        if self.base is not None:
            return (self.path / ADAPTER_WEIGHTS_FILE, *self.base.files)
        return (self.path,) if is_gguf(self.path) else tuple(weight_files(self.path))

    @property
    def tokenizer_path(self) -> Path:
        """The folder of its tokenizer: an adapter's own, if it has one, or else its base model's."""
        if self.base is None or any((self.path / name).is_file() for name in _TOKENIZER_FILES):
            return self.path
        return self.base.tokenizer_path

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return checkpoint_html(self)


@door(ModelError, "Copy or download the model again; `edgelm inspect` shows what is read of one.")
def open_checkpoint(
    path: str | Path, *, allow_pickle: bool = False, any_head: bool = False, fetch: Callable[[str], Path] | None = None
) -> Checkpoint:
    """Read and check a model folder, or the folder of a peft adapter with its base model.

    Args:
        path: a Hugging Face folder, with or without `edgelm.json`, or a GGUF file or its folder.
        allow_pickle: accept a folder that has only `pytorch_model.bin` (it is then loaded with `weights_only`).
        any_head: the encoder alone is wanted, so whatever head is on it does not matter.
        fetch: gives the folder of an adapter's base model that is named by a hub id; None: it must be a folder.

    Raises:
        ModelError: no folder, a bundle, no config.json, weights that another tool quantized, no weights, only pickled
            ones, truncated ones, a record of a newer edgelm, a head, a module or a setting that edgelm does not
            compute, an adapter without its base model.
    """
    path = Path(path)
    if is_bundle(path):
        raise ModelError(
            f"{path}: this is a bundle, which holds a finished graph and no weights to work on.",
            hint="Give the checkpoint that it was exported from.",
        )
    if (gguf := gguf_file(path)) is not None:
        config, task = read_gguf(gguf)
        return Checkpoint(gguf, config, Record(task, source=str(path)))
    if not path.is_dir():
        raise ModelError(f"{path}: no such model folder.", hint="Give a folder with config.json and model.safetensors.")
    if not is_adapter(path):
        return _open_model(path, allow_pickle, any_head)
    settings = read_adapter(path)
    base = _open_model(base_folder(path, settings, fetch), allow_pickle, any_head=True)
    config = adapted_config(path, settings, base.config)
    sentence = read_sentence_folder(path, allow_pickle=allow_pickle) or base.sentence
    return Checkpoint(path, config, _adapted_record(path, config, base.record, sentence), sentence, base)


def _open_model(path: Path, allow_pickle: bool, any_head: bool) -> Checkpoint:
    sentence = read_sentence_folder(path, allow_pickle=allow_pickle)
    folder, path = path, path if sentence is None else sentence.transformer
    config = read_json(
        path / "config.json",
        missing_hint="A model folder needs config.json; save yours with model.save_pretrained(...).",
    )
    if quantized := config.get("quantization_config"):
        raise ModelError(
            f"{path}: the weights are quantized already ({quantized.get('quant_method', 'no method named')}).",
            hint="Give the float model that they were made from.",
        )
    files = require_weights(path, allow_pickle=allow_pickle)
    check_config(config, path)
    config = as_reader(config) if sentence is not None and sentence.pooling else config
    shapes = {name: entry["shape"] for file in files for name, entry in check_safetensors(file).items()}
    if writes(config):
        found = read_generator(config, path)
        record = _read_record(folder, found, None)
        return Checkpoint(path, config, replace(record, task=as_recorded(record.task, found)))
    if any_head:
        return Checkpoint(path, config, _read_record(folder, SentenceEmbedding(), sentence), sentence)
    task = read_task(config, shapes or None)
    task = task if sentence is None else sentence.task(task)
    record = _read_record(folder, task, sentence)
    if isinstance(record.task, FillMask) and fills_masks(config):  # else an encoder, as config.json alone has it
        return Checkpoint(path, config, record)
    if (record.task.kind, record.task.output, record.task.labels) != (task.kind, task.output, task.labels):
        # The folder was written again by another tool, or its labels were given other names: config.json is what the
        # model is built of.
        record = replace(record, task=_with_pair(task, record.task))
    return Checkpoint(path, config, record, sentence)


def _read_record(path: Path, task: Task, sentence: SentenceFolder | None) -> Record:
    file = path / RECORD_FILE
    if not file.is_file():
        return Record(task=task, source=str(path))
    values = read_json(file)
    if values.get("schema") != RECORD_SCHEMA:
        raise ModelError(
            f"{file}: schema {values.get('schema')!r}; this edgelm reads {RECORD_SCHEMA}.",
            hint="Install a newer edgelm.",
        )
    try:
        record = Record.from_dict(values)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"{file}: not a record that edgelm wrote ({error}).",
            hint="Delete it to use the folder as a plain Hugging Face model.",
        ) from error
    whole = sentence is not None and isinstance(record.task, SentenceEmbedding)  # then the modules say what is computed
    return replace(record, task=sentence.task(record.task)) if whole and sentence is not None else record


def _adapted_record(path: Path, config: dict[str, Any], base: Record, sentence: SentenceFolder | None) -> Record:
    """The history of an adapted model begins with the adapter; what its base model read goes on."""
    task = read_task(config)
    if sentence is not None:
        task = sentence.task(task)
    elif isinstance(task, SentenceEmbedding) and isinstance(base.task, SentenceEmbedding):
        task = base.task
    task = _with_pair(task, base.task)
    original, bits = base.original_layers, base.embedding_bits
    return Record(task, source=str(path), layers=base.layers, original_layers=original, embedding_bits=bits)


def _with_pair(task: Task, before: Task) -> Task:
    """A classifier reads pairs of texts if it did before: config.json cannot say it."""
    return replace(task, pair=task.pair or before.pair) if isinstance(task, TextClassification) else task


def _tuple(values: list[int] | None) -> tuple[int, ...] | None:
    return None if values is None else tuple(values)
