"""Checkpoint to Bundle, step by step: graph, precision, parity, quality, golden samples, folder."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from transformers import PreTrainedModel

from edgelm.anatomy import find_checkpoint, load_checkpoint, load_tokenizer
from edgelm.dataset import Dataset, load_dataset
from edgelm.device import Device, check_precision
from edgelm.errors import CalibrationError, UsageError
from edgelm.export.bundle import write_bundle
from edgelm.export.calibrate import METHODS, MIN_SAMPLES, collect, default_method, make_plain_session, range_of
from edgelm.export.fusion import fuse_attention, split_norms
from edgelm.export.graph import export_graph
from edgelm.export.half import to_half
from edgelm.export.parity import check_parity, encode, graph_outputs, torch_outputs
from edgelm.export.quantize import find_products, quantize_dynamic, quantize_embeddings, quantize_qdq, quantize_static
from edgelm.export.rewrite import operator_counts
from edgelm.metrics import pair_similarity, score
from edgelm.output import check_output
from edgelm.progress import Progress, silent
from edgelm.runtime.golden import Golden
from edgelm.runtime.manifest import Manifest, Parity, TensorSpec, Tokenization
from edgelm.shipped import shipped_folder
from edgelm.task import Task
from edgelm.version import __version__

PRECISIONS = ("fp32", "fp16", "int8", "int8-dynamic")
_PARITY_TEXTS = 64
_GOLDEN_TEXTS = 8


@dataclass(frozen=True)
class ExportResult:
    """What `export` made: where the bundle is, what it says of itself, its size, and the operators of its graph."""

    path: Path
    manifest: Manifest
    size_mb: float
    operators: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: what `edgelm export --json` prints."""
        import json

        return {"path": str(self.path), "size_mb": self.size_mb, "operators": self.operators, "manifest": json.loads(self.manifest.to_json())}


@dataclass(frozen=True)
class _Source:
    """The checkpoint, alive."""

    model: PreTrainedModel
    tokenizer: Any
    task: Task
    max_length: int


def export(
    checkpoint: str | Path,
    *,
    output: str | Path,
    device: Device,
    precision: str = "int8",
    calibration: Dataset | None = None,
    calibration_method: str | None = None,
    calibration_samples: int = 256,
    evaluation: Dataset | None = None,
    max_length: int | None = None,
    seed: int = 0,
    allow_pickle: bool = False,
    overwrite: bool = False,
    progress: Progress = silent,
) -> ExportResult:
    """Export a checkpoint as a bundle for a device.

    Args:
        precision: fp32, fp16, int8 (static ranges from calibration) or int8-dynamic.
        calibration: texts like those that the model will see; None: general English text that edgelm ships.
        calibration_method: minmax, entropy or percentile; None: percentile for a classifier with
            texts of its own, else minmax.
        evaluation: labelled rows; the task's metrics of checkpoint and bundle go into the manifest.
        max_length: longest text in tokens; None: what the model can take, at most 512.

    Raises:
        UsageError: the device does not run the precision; unknown method.
        ModelError, CalibrationError, ParityError: see there. Nothing is written then.
        OutputExistsError: `output` is there and `overwrite` is not set.
    """
    output = Path(output)
    check_output(output, overwrite=overwrite)
    if precision not in PRECISIONS:
        raise UsageError(f"unknown precision {precision!r}.", hint=f"Precisions: {', '.join(PRECISIONS)}.")
    check_precision(device, precision)
    if calibration_method not in (None, *METHODS):
        raise UsageError(f"unknown calibration method {calibration_method!r}.", hint=f"Methods: {', '.join(METHODS)}.")
    opened = find_checkpoint(checkpoint, allow_pickle=allow_pickle)
    evaluation = None if evaluation is None else evaluation.for_task(opened.task)
    rows = calibration or load_dataset(shipped_folder("calibration_data") / "english.jsonl", need_labels=False)
    task = replace(opened.task, pair=_reads_pairs(opened.task, calibration, evaluation))
    source = _Source(load_checkpoint(opened, allow_pickle=allow_pickle), load_tokenizer(opened), task, 0)
    source = replace(source, max_length=max_length or _longest(source))
    texts = _texts(rows, task, calibration_samples, seed)
    graph = export_graph(source.model, source.tokenizer, task, max_length=_longest(source), fused=device.kind == "cpu")
    progress("export", 1, 3)
    method = calibration_method or default_method(task, own_texts=calibration is not None)
    graph = _to_precision(graph, precision, source, texts, device, method, progress)
    progress("export", 2, 3)
    session = make_plain_session(graph)
    sample = _texts(evaluation or rows, task, _PARITY_TEXTS, seed + 1)
    parity = check_parity(session, source.model, source.tokenizer, task, sample, precision=precision, max_length=source.max_length)
    manifest = _manifest(graph, source, device=device, precision=precision, family=opened.family, name=output.stem, parity=parity)
    used = {"method": method, "samples": len(texts), "source": rows.source} if precision == "int8" else {}
    quality = {} if evaluation is None or evaluation.labels is None else _quality(session, source, evaluation)
    manifest = replace(manifest, calibration=used, quality=quality, lineage=opened.record.to_dict())
    golden = _golden(session, source, sample[:_GOLDEN_TEXTS], precision)
    manifest = write_bundle(output, manifest, graph, source.tokenizer, golden, overwrite=overwrite)
    progress("export", 3, 3)
    size = output.stat().st_size if output.is_file() else sum(file.stat().st_size for file in output.rglob("*") if file.is_file())
    return ExportResult(output, manifest, size / 1e6, operator_counts(graph))


def _to_precision(
    graph: onnx.ModelProto, precision: str, source: _Source, texts: list[Any], device: Device, method: str, progress: Progress
) -> onnx.ModelProto:
    if precision == "fp32":
        fuse_attention(graph)
        return graph
    split_norms(graph)
    if precision == "fp16":
        return to_half(graph)
    # Without VNNI, x86 sums pairs of UINT8 times INT8 in 16 bits: seven-bit weights cannot overflow them.
    largest = 63 if device.arch == "x86_64" and device.instructions and "avx512_vnni" not in device.instructions else 127
    if precision == "int8-dynamic":
        return quantize_embeddings(quantize_dynamic(graph, largest=largest))
    tensors = list(dict.fromkeys(product.source for product in find_products(graph)))
    feeds = [encode(source.tokenizer, [text], max_length=source.max_length) for text in texts]
    ranges = {name: range_of(histogram, method) for name, histogram in collect(graph, tensors, feeds, progress=progress).items()}
    if device.kind != "cpu":
        return quantize_qdq(graph, ranges)
    graph = quantize_embeddings(quantize_static(graph, ranges, largest=largest))
    fuse_attention(graph)
    return graph


def _reads_pairs(task: Task, *datasets: Dataset | None) -> bool:
    if task.kind != "text-classification":
        return False
    return task.pair or any(dataset is not None and dataset.pairs is not None for dataset in datasets)


def _texts(rows: Dataset, task: Task, count: int, seed: int) -> list[Any]:
    """Texts to calibrate or compare on: pairs where the model reads pairs (neighbours, where the data has none).

    Raises:
        CalibrationError: too few.
    """
    if len(rows) < MIN_SAMPLES:
        raise CalibrationError(
            f"{rows.source}: {len(rows)} texts; at least {MIN_SAMPLES} are needed.", hint="Give more rows with --calibration (or --eval)."
        )
    sample = rows.sample(count, seed=seed)
    if task.pair:
        return sample.inputs() if sample.pairs else list(zip(sample.texts, (*sample.texts[1:], sample.texts[0]), strict=True))
    return list(sample.texts)


def _longest(source: _Source) -> int:
    """The longest sequence in tokens: what the position embeddings and the tokenizer allow, at most 512."""
    config = source.model.config
    positions = int(config.max_position_embeddings)
    if "roberta" in config.model_type:  # its positions begin after the padding index
        positions -= int(config.pad_token_id) + 1
    return min(positions, int(min(source.tokenizer.model_max_length, 10**6)), 512)


def _manifest(graph: onnx.ModelProto, source: _Source, *, device: Device, precision: str, family: str, name: str, parity: Parity) -> Manifest:
    tools = {"edgelm": __version__} | {package: version(package) for package in ("torch", "transformers", "onnx", "onnxruntime")}
    opset = next(entry.version for entry in graph.opset_import if entry.domain == "")
    return Manifest(
        name=name,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        task=source.task,
        family=family,
        precision=precision,
        opset=opset,
        inputs=tuple(TensorSpec(value.name, "int64", ("batch", "sequence")) for value in graph.graph.input),
        outputs=tuple(TensorSpec(value.name, "float32", ("batch", value.type.tensor_type.shape.dim[-1].dim_value)) for value in graph.graph.output),
        tokenization=Tokenization(max_length=source.max_length, pad_id=int(source.tokenizer.pad_token_id), pad_token=str(source.tokenizer.pad_token)),
        device=device.name,
        parity=parity,
        tools=tools,
    )


def _quality(session: Any, source: _Source, evaluation: Dataset) -> dict[str, Any]:
    """The task's metrics of the checkpoint and of the graph, on the same rows."""

    def judge(outputs_of: Any) -> dict[str, float]:
        if source.task.kind == "sentence-embedding" and evaluation.pairs is not None:
            outputs = pair_similarity(outputs_of(evaluation.texts), outputs_of(evaluation.pairs))
        else:
            outputs = outputs_of(evaluation.inputs())
        return score(source.task, outputs, evaluation.labels or ())

    length = source.max_length
    return {
        "samples": len(evaluation),
        "source": evaluation.source,
        "checkpoint": judge(lambda texts: torch_outputs(source.model, source.tokenizer, source.task, texts, max_length=length)),
        "bundle": judge(lambda texts: graph_outputs(session, source.tokenizer, texts, max_length=length)),
    }


def _golden(session: Any, source: _Source, texts: list[Any], precision: str) -> Golden:
    """Samples for the device to replay.

    Other CPUs sum floats in another order (FP32, FP16), and an activation that falls on a rounding edge may take the
    neighbouring integer: the tolerances leave room for that, relative to the size of the outputs.
    """
    feeds = [encode(source.tokenizer, [text], max_length=source.max_length) for text in texts]
    outputs = [session.run(None, feed)[0] for feed in feeds]
    scale = float(max(1.0, max(np.abs(output).max() for output in outputs)))
    relative = {"fp32": 1e-4, "fp16": 1e-2}.get(precision, 1e-1)
    inputs = [{name: values.tolist() for name, values in feed.items()} for feed in feeds]
    return Golden(
        texts=[list(text) if isinstance(text, tuple) else text for text in texts],
        inputs=inputs,
        outputs=[output.tolist() for output in outputs],
        tolerance=relative * scale,
    )
