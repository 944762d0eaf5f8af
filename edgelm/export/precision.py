"""From the float graph to the one that is shipped: fused, halved, or quantized on real texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx

from edgelm.data.dataset import Dataset
from edgelm.device import Device
from edgelm.errors import CalibrationError, DataError, UsageError
from edgelm.export.samples import Samples, encode, with_mask
from edgelm.files.places import told_place
from edgelm.graph.fusion import fuse_attention, split_norms
from edgelm.graph.session import make_plain_session
from edgelm.metrics.judge import Predictions, judge
from edgelm.metrics.scores import agreement
from edgelm.precision import Precision, precision_of
from edgelm.progress import Progress
from edgelm.quantize.calibration_table import CalibrationTable, fingerprint, read_table
from edgelm.quantize.embeddings import quantize_embeddings
from edgelm.quantize.evaluator import Evaluator, run_rows
from edgelm.quantize.half import find_full, keep_precise, needs_emulation, to_half
from edgelm.quantize.integers import QuantizationPlan, quantize_dynamic
from edgelm.quantize.matmuls import find_matmuls
from edgelm.quantize.post_training import quantize_post_training, replay, roundings
from edgelm.quantize.samples import choose_samples
from edgelm.quantize.sensitivity import find_activations
from edgelm.quantize.settings import AUTO, Quantization
from edgelm.quantize.statistics import MIN_SAMPLES, Feeds, collect
from edgelm.quantize.target import Target, target_of
from edgelm.quantize.weight_only import quantize_weights
from edgelm.runtime.saturation import EXACT_PAIR
from edgelm.tasks.task import Task
from edgelm.tasks.text import FillMask, MultipleChoice

_JUDGED = 64  # texts that choices are made on, of those that calibration does not see
_BATCH = 8
_TRIAL = 1000  # labelled rows that a largest drop is measured on


@dataclass(frozen=True)
class Material:
    """Texts to calibrate on, and how the model reads them.

    Attributes:
        rows: texts like those that the model will see.
        labelled: rows that a largest drop of the metric is measured on; None: `rows`, if they have labels.
    """

    rows: Dataset
    labelled: Dataset | None
    tokenizer: Any
    task: Task
    max_length: int
    seed: int

    def feeds(self, texts: Sequence[Any]) -> Iterator[Feeds]:
        """The model's inputs, sequence by sequence."""
        return encode(self.tokenizer, self.task, texts, max_length=self.max_length).feeds()

    def inputs(self, rows: Dataset) -> list[Any]:
        """Samples as the task has them; where rows of texts have no second ones, the next rows' stand in;
        where they have no mask, one stands for a word."""
        after = (*rows.texts[1:], *rows.texts[:1])
        if isinstance(self.task, MultipleChoice) and rows.schema != self.task.schema:
            return [(text, (text, other)) for text, other in zip(rows.texts, after, strict=True)]
        if isinstance(self.task, FillMask):
            return [with_mask(text, self.tokenizer, max_length=self.max_length) for text in rows.texts]
        if not self.task.pair:
            return list(rows.texts)
        return rows.inputs() if rows.pairs else list(zip(rows.texts, after, strict=True))

    def judge(self, graph: onnx.ModelProto, rows: Dataset) -> Evaluator:
        """Rows with the float graph's outputs, and the task's metric where they are labelled (for embeddings: the mean
        cosine)."""
        rows = rows.take(
            sorted(range(len(rows)), key=lambda index: len(rows.texts[index]))
        )  # alike lengths: little padding
        # Texts that are their own labels are masked where they are encoded: it is known then what stood there.
        texts = list(rows.texts) if self.task.own_targets else self.inputs(rows)
        samples = encode(self.tokenizer, self.task, texts, max_length=self.max_length)
        batches = samples.batches(_BATCH)
        feeds = [samples.feed(numbers) for numbers in batches]

        def read(outputs: Sequence[np.ndarray], number: int) -> np.ndarray:
            return samples.read(outputs, batches[number])

        wanted = run_rows(make_plain_session(graph), feeds, read)
        if self.task.output == "vectors":
            return Evaluator(feeds, wanted, lambda outputs: agreement(self.task, outputs, wanted), read)
        labelled = _labelled(rows, self.task)
        if labelled is None:
            return Evaluator(feeds, wanted, None, read)
        return Evaluator(feeds, wanted, lambda outputs: _metric(self.task, outputs, samples, labelled), read)


@dataclass(frozen=True)
class Converted:
    """A graph in its precision.

    Attributes:
        graph: what is shipped.
        runnable: what computes the same on this machine: the graph itself or, for BF16, FP32 rounded to BF16 after
            every step.
        calibration: what the manifest says of it.
    """

    graph: onnx.ModelProto
    runnable: onnx.ModelProto
    calibration: dict[str, Any]


def to_precision(
    graph: onnx.ModelProto,
    precision: str,
    material: Material,
    device: Device,
    settings: Quantization,
    progress: Progress,
    *,
    target: Target | None = None,
) -> Converted:
    """Convert an FP32 graph.

    Args:
        target: the kernels that compute it; None: those of the device's bundles.

    Raises:
        CalibrationError: texts that give no ranges, or a calibration table of another model.
        UsageError: settings that do not go together.
    """
    row = precision_of(precision)
    if settings.max_drop is not None and row.calibration != "ranges":
        raise UsageError(f"--max-drop is for int8, not {precision}.", hint="It chooses which products stay in float.")
    if row.conversion == "half":
        return _half(graph, row, material)
    target = target or target_of(device)
    result, report = _convert(graph, row, material, settings, progress, target, largest_pair(device, target))
    return Converted(result, result, report)


def largest_pair(device: Device, target: Target | None = None) -> int | None:
    """What two neighbouring INT8 weights may sum to on the device; None: anything, its sums have room.

    A CPU that may be an x86 without VNNI (AVX-512's or AVX's own) sums pairs of UINT8 times INT8 in 16 bits. Within
    `EXACT_PAIR` no input overflows them: between seven and eight bits are left to a weight.
    """
    may_saturate = (
        (target or target_of(device)).pair_sums
        and device.arch != "aarch64"
        and not {"avx512_vnni", "avx_vnni"} & set(device.instructions)
    )
    return EXACT_PAIR if may_saturate else None


def _convert(
    graph: onnx.ModelProto,
    precision: Precision,
    material: Material,
    settings: Quantization,
    progress: Progress,
    target: Target,
    pair: int | None,
) -> tuple[onnx.ModelProto, dict[str, Any]]:
    if precision.conversion == "none":
        fuse_attention(graph)
        return graph, {}
    split_norms(graph)
    bits = settings.embedding_bits or 8
    if precision.conversion == "dynamic":
        return quantize_embeddings(
            quantize_dynamic(graph, QuantizationPlan(pair=pair, per_channel=settings.per_channel)), bits=bits
        ), {}
    if precision.conversion == "blocks":
        return _weight_only(graph, precision, material, settings, progress)
    target = replace(target, symmetric=target.symmetric or settings.symmetric)
    base = quantize_embeddings(graph, bits=bits) if target.integer_embeddings else graph
    result, report = _static(graph, base, material, target, settings, pair, progress)
    fuse_attention(result)
    if precision_of(target.floats).conversion == "none":
        return result, report
    return _halve_the_rest(graph, result, material, report, target.floats)


def _half(graph: onnx.ModelProto, precision: Precision, material: Material) -> Converted:
    """A graph, of floats or with Q/DQ nodes, in floats of 16 bits."""
    split_norms(graph)
    judge = material.judge(graph, material.rows.sample(_JUDGED, seed=material.seed))
    full = find_full(graph, judge.feeds) if precision.calibration == "reach" else frozenset()
    full = keep_precise(graph, full, judge, precision.name)
    report = {
        "source": told_place(material.rows.source),
        "samples": min(_JUDGED, len(material.rows)),
        "full_precision": _count_kinds(graph, full),
    }
    result = to_half(graph, precision.name, full=full)
    emulated = needs_emulation(precision.name)
    return Converted(result, to_half(graph, precision.name, full=full, emulate=True) if emulated else result, report)


def _halve_the_rest(
    graph: onnx.ModelProto, integer: onnx.ModelProto, material: Material, report: dict[str, Any], half: str
) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """`half` (fp16) for all of the `integer` graph that is not in integers, embeddings above all: a GPU would else read
    twice the bytes.

    What must stay in FP32 the float `graph` says: in the other, rounding also turns integers into their neighbours, and
    hides it.
    """
    judge = material.judge(graph, material.rows.sample(_JUDGED, seed=material.seed))
    full = keep_precise(graph, find_full(graph, judge.feeds), judge, half) | find_full(integer, judge.feeds)
    return to_half(integer, half, full=full), report | {"full_precision": _count_kinds(integer, full)}


def _count_kinds(graph: onnx.ModelProto, full: frozenset[str]) -> dict[str, int]:
    """Operators in FP32, by kind."""
    return dict(Counter(node.op_type for node in graph.graph.node if node.output[0] in full))


def _static(
    graph: onnx.ModelProto,
    base: onnx.ModelProto,
    material: Material,
    target: Target,
    settings: Quantization,
    pair: int | None,
    progress: Progress,
) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """Quantize `base`; choices are judged by the outputs of the float `graph`."""
    model = fingerprint(graph) if settings.table else ""
    if settings.table and settings.table.is_file():
        return _from_table(base, read_table(settings.table, model=model), target, settings, pair)
    learn, check = _parts(material.rows, settings, material.seed)
    tensors = [site.source for site in find_activations(graph)]
    gram = roundings(settings) != ("nearest",)
    feeds = material.feeds(material.inputs(learn))
    statistics = collect(base, tensors, feeds, count=len(learn), gram=gram, progress=progress)
    trial = None
    if settings.max_drop is not None:
        rows = material.labelled or material.rows.sample(_TRIAL, seed=material.seed + 2)
        trial = material.judge(graph, rows.sample(_TRIAL, seed=material.seed + 2))
    judge = material.judge(graph, check)
    made = quantize_post_training(base, statistics, judge, target, settings, trial=trial, pair=pair, progress=progress)
    source = _source(material.rows, learn, settings)
    if settings.table:
        chosen = {name: {"option": option.kind, "alpha": option.alpha} for name, option in made.chosen.items()}
        CalibrationTable(model, source, target.name, statistics, chosen).save(settings.table)
    return made.graph, source | made.report(target)


def _from_table(
    graph: onnx.ModelProto, table: CalibrationTable, target: Target, settings: Quantization, pair: int | None
) -> tuple[onnx.ModelProto, dict[str, Any]]:
    if settings.max_drop is not None or settings.rounding not in (None, "nearest"):
        raise UsageError(
            f"{settings.table}: a calibration table holds ranges, but --max-drop and --rounding need texts.",
            hint="Leave them out, or give a table that is not there yet.",
        )
    if table.target != target.name:
        raise CalibrationError(
            f"{settings.table}: made for {table.target}; this device reads {target.name}.",
            hint="Give another --calibration-table for it.",
        )
    chosen = table.chosen
    if settings.method != AUTO:
        chosen = {name: {"option": settings.method} for name in chosen}
    report = table.source | {
        "method": settings.method,
        "table": str(settings.table),
        "sites": [{"site": name} | entry for name, entry in chosen.items()],
    }
    return replay(graph, table.statistics, chosen, target, pair=pair), report


def _weight_only(
    graph: onnx.ModelProto, precision: Precision, material: Material, settings: Quantization, progress: Progress
) -> tuple[onnx.ModelProto, dict[str, Any]]:
    bits, embedding_bits = precision.bits, settings.embedding_bits or 8
    rounding = settings.rounding or ("gptq" if precision.calibration == "moments" else "nearest")
    if rounding == "adaptive":
        raise UsageError(
            "adaptive rounding is for int8; weights in blocks are rounded to the nearest or with GPTQ.",
            hint="Give --rounding gptq.",
        )
    if rounding == "nearest":
        return quantize_embeddings(quantize_weights(graph, bits=bits), bits=embedding_bits), {"rounding": rounding}
    learn = choose_samples(material.rows, settings.samples, settings.choice, seed=material.seed)
    tensors = list(dict.fromkeys(product.source for product in find_matmuls(graph)))
    statistics = collect(
        graph, tensors, material.feeds(material.inputs(learn)), count=len(learn), gram=True, progress=progress
    )
    result = quantize_embeddings(quantize_weights(graph, bits=bits, statistics=statistics), bits=embedding_bits)
    return result, {"rounding": rounding} | _source(material.rows, learn, settings)


def _parts(rows: Dataset, settings: Quantization, seed: int) -> tuple[Dataset, Dataset]:
    """Texts to learn ranges from and, disjoint if there are enough, texts to judge choices on."""
    chosen = choose_samples(rows, settings.samples, settings.choice, seed=seed)
    held = min(_JUDGED, len(chosen) // 4)
    if len(chosen) - held < MIN_SAMPLES or held == 0:
        return chosen, chosen
    return chosen.take(range(len(chosen) - held)), chosen.take(range(len(chosen) - held, len(chosen)))


def _source(rows: Dataset, learn: Dataset, settings: Quantization) -> dict[str, Any]:
    return {
        "method": settings.method,
        "samples": len(learn),
        "source": told_place(rows.source),
        "choice": settings.choice,
    }


def _labelled(rows: Dataset, task: Task) -> Dataset | None:
    """Rows with labels as the task has them; None where they have none that it knows."""
    try:
        found = rows.for_task(task)
    except DataError:
        return None
    return None if found.labels is None else found


def _metric(task: Task, outputs: np.ndarray, samples: Samples, rows: Dataset) -> float:
    return judge(task, Predictions(samples.by_choice(outputs), samples.encoded), rows)[task.metric]
