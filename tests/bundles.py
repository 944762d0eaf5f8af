"""A small bundle of any task that needs no export: embeddings, their sum where a text has one row, a matrix; words as
tokens."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgelm.graph.external_data import save_graph
from edgelm.runtime.golden import Golden
from edgelm.runtime.graph_spec import ROLES, GraphSpec, TensorSpec
from edgelm.runtime.manifest import FileEntry, Manifest
from edgelm.runtime.preprocessing import TextProcessing
from edgelm.runtime.script import SCRIPT, vendored_files
from edgelm.tasks.task import Task
from edgelm.tasks.text import TextClassification

WORDS = ["[PAD]", "[UNK]", "good", "bad", "film", "a", "very", "the"]
SENTIMENT = TextClassification(labels=("negative", "positive"))
_SAMPLES = {
    "question-answering": [["a good film", "the very bad film"], ["film", "a bad bad film"]],
    "multiple-choice": [["a good film", ["the film", "very bad"]], ["film", ["good", "bad", "a film"]]],
}


def make_bundle(folder: Path, task: Task = SENTIMENT, **changes) -> Path:
    """Write a bundle for `task`; `changes` replace fields of the manifest or of its graph."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    folder.mkdir(parents=True)
    width = {"question-answering": 2, "multiple-choice": 1, "sentence-embedding": 4}.get(
        task.kind, max(1, len(task.labels))
    )
    rng = np.random.default_rng(0)
    weights = {
        "table": rng.normal(size=(len(WORDS), 4)),
        "matrix": rng.normal(size=(4, width)),
        "bias": rng.normal(size=width),
    }
    axes = ["batch", width] if task.per == "sample" else ["batch", "sequence"] + [width] * (task.per == "token")
    if task.per == "sample":
        nodes = [
            helper.make_node("Gather", ["table", "input_ids"], ["words"]),
            helper.make_node("Cast", ["attention_mask"], ["mask"], to=onnx.TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["mask", "two"], ["mask3"]),
            helper.make_node("Mul", ["words", "mask3"], ["masked"]),
            helper.make_node("ReduceSum", ["masked", "one"], ["sum"], keepdims=0),
            helper.make_node("Gemm", ["sum", "matrix", "bias"], [task.output_names[0]]),
        ]
    else:
        rows = task.output_names[0] if task.per == "token" else "rows"
        nodes = [
            helper.make_node("Gather", ["table", "input_ids"], ["words"]),
            helper.make_node("MatMul", ["words", "matrix"], ["products"]),
            helper.make_node("Add", ["products", "bias"], [rows]),
        ]
        if task.per == "position":
            nodes += [
                helper.make_node("Split", ["rows"], ["starts", "ends"], axis=2, num_outputs=2),
                helper.make_node("Squeeze", ["starts", "two"], ["start_logits"]),
                helper.make_node("Squeeze", ["ends", "two"], ["end_logits"]),
            ]
    constants = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    constants += [numpy_helper.from_array(np.array([value]), name) for name, value in (("one", 1), ("two", 2))]
    names = ("input_ids", "attention_mask")
    inputs = [helper.make_tensor_value_info(name, onnx.TensorProto.INT64, ["batch", "sequence"]) for name in names]
    outputs = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, axes) for name in task.output_names]
    graph = helper.make_model(
        helper.make_graph(nodes, "tiny", inputs, outputs, constants),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=9,
    )
    (folder / "model.onnx").write_bytes(graph.SerializeToString())
    masked = task.kind == "fill-mask"
    words = [*WORDS[:-1], "[MASK]"] if masked else WORDS
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    if masked:
        tokenizer.add_special_tokens(["[MASK]"])
    (folder / "tokenizer.json").write_text(tokenizer.to_str())
    (folder / "run.py").write_text(SCRIPT)
    for name, source in vendored_files(generates=False).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(source.read_bytes())
    _write_golden(folder, weights, task)
    files = tuple(_entry(folder, path) for path in sorted(folder.rglob("*")) if path.is_file())
    values = {
        "name": "tiny",
        "created": "2026-01-01T00:00:00+00:00",
        "task": task,
        "family": "tiny",
        "precision": "fp32",
        "tokenization": TextProcessing(max_length=32, pad_id=0, pad_token="[PAD]"),
        "files": files,
    }
    own = {name: changes.pop(name) for name in ("plan", "session", "parity", "pair_sum") if name in changes}
    graph = model_graph(names, {name: tuple(axes) for name in task.output_names}, **own)
    values["graphs"] = (graph,)
    (folder / "manifest.json").write_text(Manifest(**values | changes).to_json())
    return folder


def model_graph(names: Iterable[str], outputs: Mapping[str, tuple[int | str, ...]], **changes) -> GraphSpec:
    """What a manifest says of a graph of tokens with these inputs, and these outputs and their shapes."""
    inputs = tuple(TensorSpec(name, "int64", ("batch", "sequence"), ROLES[name]) for name in names)
    given = tuple(TensorSpec(name, "float32", shape, ROLES[name]) for name, shape in outputs.items())
    return GraphSpec("model", "model.onnx", inputs, given, opset=18, **changes)


def _write_golden(folder: Path, weights: dict, task: Task) -> None:
    texts = _SAMPLES.get(task.kind, ["a good film", "the very bad film"])
    if task.kind == "text-classification" and task.pair:
        texts = [text.split(" ", 1) for text in texts]
    inputs, outputs = [], []
    for text in texts:
        rows = _ids(text) if task.kind == "multiple-choice" else [[token for row in _ids(text) for token in row]]
        longest = max(map(len, rows))
        mask = [[1] * len(row) + [0] * (longest - len(row)) for row in rows]
        rows = [row + [0] * (longest - len(row)) for row in rows]
        inputs.append({"input_ids": rows, "attention_mask": mask})
        found = weights["table"][rows] * np.array(mask)[..., None]
        found = found.sum(axis=1) if task.per == "sample" else found
        outputs.append((found @ weights["matrix"] + weights["bias"]).tolist())
    (folder / "golden.json").write_text(Golden(texts, inputs, outputs, tolerance=1e-4).to_json())


def _ids(text: str | list) -> list[list[int]]:
    """The tokens of a text, of each text of a list, or of a text with each of its endings."""
    if isinstance(text, str):
        return [[WORDS.index(word) for word in text.split()]]
    first, second = text
    if isinstance(second, list):
        return [_ids(first)[0] + _ids(ending)[0] for ending in second]
    return _ids(first) + _ids(second)


def _entry(folder: Path, path: Path) -> FileEntry:
    data = path.read_bytes()
    return FileEntry(path.relative_to(folder).as_posix(), len(data), hashlib.sha256(data).hexdigest())


def reseal(folder: Path, change: Callable[[dict], None] = lambda values: None) -> Path:
    """Give the manifest the sizes and hashes of the files that lie there now, as somebody would who forges a bundle;
    then `change` it."""
    values = json.loads((folder / "manifest.json").read_text())
    there = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "manifest.json"]
    values["files"] = [asdict(_entry(folder, path)) for path in there]
    change(values)
    (folder / "manifest.json").write_text(json.dumps(values))
    return folder


def move_weights_out(folder: Path) -> Path:
    """Put the large constants of a bundle's graph into weights.bin, as an export does; the table of words is made large
    enough."""
    graph = onnx.load(folder / "model.onnx")
    for tensor in graph.graph.initializer:
        if tensor.name == "table":
            tensor.CopyFrom(numpy_helper.from_array(np.vstack([numpy_helper.to_array(tensor)] * 40), "table"))
    save_graph(graph, folder / "model.onnx", "weights.bin")
    return reseal(folder)


def set_field(path, value):
    """A change of a manifest: the field at this path gets this value."""

    def change(values):
        for name in path[:-1]:
            values = values[name]
        values[path[-1]] = value

    return change
