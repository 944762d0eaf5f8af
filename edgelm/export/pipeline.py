"""Checkpoint to Bundle, step by step: graph, precision, parity, quality, golden samples, folder."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import onnx

from edgelm.anatomy import (
    check_token_types,
    family_of,
    find_checkpoint,
    load_checkpoint,
    load_reference,
    load_tokenizer,
)
from edgelm.anatomy.sizes import check_length, usable_positions
from edgelm.bundles.hub_files import bundle_config
from edgelm.bundles.write import bundle_kind, write_bundle
from edgelm.data.dataset import Dataset, load_dataset
from edgelm.data.task_rows import completed
from edgelm.device import Device, check_precision
from edgelm.engines import build
from edgelm.engines.pipeline import can_build_for
from edgelm.engines.plan import make_plan
from edgelm.errors import EdgelmError, UsageError
from edgelm.export.door import check_door, hard_texts
from edgelm.export.expected import expected_answers
from edgelm.export.golden import make_golden
from edgelm.export.pairs import reads_pairs, tells_pairs
from edgelm.export.parity import check_parity
from edgelm.export.precision import Material, to_precision
from edgelm.export.quality import measure_quality
from edgelm.export.samples import encode
from edgelm.export.source import Source, tokenization_of
from edgelm.export.trace import export_graph
from edgelm.files.output import check_output
from edgelm.files.shipped import shipped_folder
from edgelm.graph.names import describe, name_by_places
from edgelm.graph.rewrites import check_opset, operator_counts
from edgelm.graph.session import DISABLED_OPTIMIZERS, make_plain_session
from edgelm.graph.unpadded import for_one_text
from edgelm.precision import precision_of
from edgelm.progress import Progress, silent
from edgelm.quantize.saturation import largest_pair_sum
from edgelm.quantize.settings import Quantization
from edgelm.quantize.target import target_of
from edgelm.runtime import open_bundle
from edgelm.runtime.engine_plan import EnginePlan
from edgelm.runtime.graph_spec import GRAPH_FILE, MODEL, ROLES, GraphSpec, Parity, TensorSpec
from edgelm.runtime.manifest import Manifest
from edgelm.runtime.tensorrt import MODULES, installed_backends
from edgelm.tasks.text import TextClassification
from edgelm.version import __version__

_PARITY_TEXTS = 64
_DEFAULT_LENGTH = 512  # tokens, of a model that takes more
_GOLDEN_TEXTS = 8
_LENGTHS = 2000  # texts whose lengths shape the profiles of an engine


@dataclass(frozen=True)
class ExportResult:
    """What `export` made.

    Attributes:
        size_mb: of the bundle, 10^6 bytes.
        operators: of its graph.
        guessed: what the labels' names decided alone, and the option that decides otherwise; empty where nothing was
            guessed.
        no_engine: why the bundle holds the plan of an engine alone; empty where it holds an engine, or its device has
            no TensorRT.
    """

    path: Path
    manifest: Manifest
    size_mb: float
    operators: dict[str, int]
    no_engine: str = ""
    guessed: str = ""

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


def export(
    checkpoint: str | Path,
    *,
    output: str | Path,
    device: Device,
    precision: str = "int8",
    calibration: Dataset | None = None,
    quantization: Quantization = Quantization(),
    evaluation: Dataset | None = None,
    pairs: bool | None = None,
    max_length: int | None = None,
    opset: int | None = None,
    single: bool = False,
    max_batch: int = 1,
    engine: bool = True,
    seed: int = 0,
    allow_pickle: bool = False,
    overwrite: bool = False,
    kind: str | None = None,
    progress: Progress = silent,
) -> ExportResult:
    """Export a checkpoint as a bundle for a device.

    Args:
        precision: one of `PRECISIONS`: fp32, fp16, bf16, int8 (static ranges from calibration), int8-dynamic (ranges
            taken at run time), int8-weights and int4 (weights alone, in blocks).
        calibration: texts like those that the model will see; None: general English text that edgelm ships.
        quantization: how integers are chosen.
        evaluation: labelled rows; the task's metrics of checkpoint and bundle go into the manifest. With a largest
            drop, one half of them chooses and the other is reported.
        pairs: whether the model reads two texts at once; None: what the checkpoint remembers, else what the data show,
            else what the names of its labels tell (entailment, paraphrase).
        max_length: longest text in tokens; None: what the model can take, at most 512.
        opset: of the standard operators; None: what the exporter prefers.
        max_batch: the most texts that are answered at once: what an engine is built for.
        engine: where the device runs TensorRT and an installed package can build for it here, put an engine into the
            bundle; else it holds the plan alone, and `edgelm build` builds on the device.
        single: the graph reads one text at a time, unpadded: it asks for no mask, nor for token types where texts come
            alone.
        kind: the task that a masked language model is exported for, such as fill-mask; None: as the folder is read.

    Raises:
        UsageError: the device does not run the precision; an opset that is too old or too new; settings that do not go
            together.
        DataError: single texts where the model reads pairs, or the other way round.
        ModelError, CalibrationError, ParityError: see there. Nothing is written then.
        OutputExistsError: `output` is there and `overwrite` is not set.
    """
    output = Path(output)
    check_output(output, overwrite=overwrite, kind=bundle_kind(output))
    check_precision(device, precision)
    opened = find_checkpoint(checkpoint, allow_pickle=allow_pickle, task=kind)
    family = family_of(opened.family)
    quantization = _with_embedding_bits(quantization, opened.record.embedding_bits, precision, device)
    task = opened.task
    if isinstance(task, TextClassification):
        task = replace(task, pair=reads_pairs(task, pairs, calibration, evaluation))
    elif pairs:
        raise UsageError(
            f"--pairs is for classifiers of texts, not {task.kind}.",
            hint="Leave --pairs out; a sentence encoder reads single texts, one by one.",
        )
    elif evaluation is not None:
        task = completed(task, evaluation)
    evaluation = None if evaluation is None else evaluation.for_task(task)
    rows = calibration or load_dataset(
        shipped_folder("calibration_data") / "english.jsonl", need_labels=False, read="texts"
    )
    tokenizer = load_tokenizer(opened)
    task = task.read_by(tokenizer)
    source = Source(load_checkpoint(opened, allow_pickle=allow_pickle), tokenizer, task, 0)
    check_token_types(source.tokenizer, source.model.config, pair=task.pair)
    limit = usable_positions(family, source.model.config)
    check_length(max_length, limit)
    source = replace(
        source, max_length=max_length or int(min(limit, source.tokenizer.model_max_length, _DEFAULT_LENGTH))
    )
    labelled = None
    if quantization.max_drop is not None and evaluation is not None:
        labelled, evaluation = _halves(evaluation, seed)
    material = Material(rows, labelled, source.tokenizer, task, source.max_length, seed)
    longest = max(source.max_length, min(limit, _DEFAULT_LENGTH))
    graph = export_graph(
        source.model, source.tokenizer, task, max_length=longest, fused=target_of(device).fused, opset=opset
    )
    progress("export", 1, 3)
    made = to_precision(graph, precision, material, device, quantization, progress)
    if single:
        for_one_text(made.graph, pair=task.pair)
        if made.runnable is not made.graph:
            for_one_text(made.runnable, pair=task.pair)
    if opset is not None:
        check_opset(made.graph, opset)
    name_by_places(made.graph)
    facts = {"task": task.kind, "labels": list(task.labels), "max_length": source.max_length, "precision": precision}
    describe(made.graph, facts | {"version": __version__})
    progress("export", 2, 3)
    session = make_plain_session(made.runnable, exact=True)
    reference = load_reference(opened, allow_pickle=allow_pickle) or source.model
    sample = material.inputs((evaluation or rows).sample(_PARITY_TEXTS, seed=seed + 1))
    expected, hard = (
        expected_answers(reference, source.tokenizer, task, texts, max_length=source.max_length)
        for texts in (sample, hard_texts(sample, task))
    )
    parity = check_parity(session, expected.rows(expected.outputs), expected.samples, precision=precision)
    parity = replace(parity, hard_texts=len(hard.texts))
    manifest = _manifest(
        made.graph, source, device=device, precision=precision, family=opened.family, name=output.stem, parity=parity
    )
    quality = {} if evaluation is None or evaluation.labels is None else measure_quality(session, source, evaluation)
    spec = replace(manifest.graph(), pair_sum=largest_pair_sum(made.graph))
    if target_of(device).fused:
        spec = replace(spec, session={"disabled_optimizers": list(DISABLED_OPTIMIZERS)})
    manifest = replace(
        manifest,
        calibration=made.calibration,
        quality=quality,
        lineage=opened.record.to_dict(),
    )
    if set(device.runtimes) & MODULES.keys():
        texts = material.inputs((calibration or evaluation or rows).sample(_LENGTHS, seed=seed))
        lengths = encode(source.tokenizer, task, texts, max_length=source.max_length).encoded.lengths
        batch = 1 if single else max_batch
        spec = replace(spec, plan=make_plan(device, lengths, max_length=source.max_length, batch=batch))
    manifest = manifest.with_graph(spec)
    golden = make_golden(session, source, expected.texts[:_GOLDEN_TEXTS], precision)
    here = target_of(device).here and made.runnable is made.graph
    check = partial(check_door, expected=expected, hard=hard, precision=precision, session=None if here else session)
    config = bundle_config(json.loads(source.model.config.to_json_string()), type(source.model).__name__)
    manifest = write_bundle(
        output,
        manifest,
        {GRAPH_FILE: made.graph},
        source.tokenizer,
        golden,
        overwrite=overwrite,
        config=config,
        check=check,
    )
    progress("export", 3, 3)
    no_engine = ""
    if manifest.plan is not None:
        no_engine = _add_engine(output, manifest.plan, manifest.runtimes, progress) if engine else "none was asked for"
        manifest = open_bundle(output).manifest
    size = (
        output.stat().st_size
        if output.is_file()
        else sum(file.stat().st_size for file in output.rglob("*") if file.is_file())
    )
    guessed = (
        pairs is None and not opened.task.pair and task.pair and calibration is evaluation is None and tells_pairs(task)
    )
    said = (
        f"The labels ({', '.join(task.labels)}) tell of two texts: the bundle reads pairs. --no-pairs makes one for "
        "single texts."
    )
    return ExportResult(output, manifest, size / 1e6, operator_counts(made.graph), no_engine, said if guessed else "")


def _with_embedding_bits(quantization: Quantization, meant: int, precision: str, device: Device) -> Quantization:
    """The bits that were asked for, or else those that the checkpoint was compressed for.

    Raises:
        UsageError: they were asked for where no embedding becomes an integer.
    """
    if precision_of(precision).integers and target_of(device).integer_embeddings:
        return replace(quantization, embedding_bits=quantization.embedding_bits or meant)
    if quantization.embedding_bits is not None:
        raise UsageError(
            f"--embedding-bits is for integers on a CPU, not {precision} on {device.name}.", hint="Leave it out."
        )
    return quantization


def _add_engine(output: Path, plan: EnginePlan, runtimes: Sequence[str], progress: Progress) -> str:
    """Build an engine into the bundle; why there is none, if none can be built here."""
    there = [name for name in runtimes if name in installed_backends()]
    if not there:
        return f"none of {', '.join(name for name in runtimes if name in MODULES)} is installed here"
    capability = plan.compute_capability
    try:
        package = can_build_for(capability, there)
        if package is None:
            return f"{', '.join(there)} cannot build here for compute capability {capability}"
        build(output, package=package, capability=capability, progress=progress)
    except EdgelmError as error:  # whatever stands in the way: the bundle is whole without an engine
        return error.message
    return ""


def _halves(rows: Dataset, seed: int) -> tuple[Dataset, Dataset]:
    """Two halves, drawn at random: what chooses must not be what is reported."""
    order = random.Random(seed).sample(range(len(rows)), len(rows))
    return rows.take(sorted(order[::2])), rows.take(sorted(order[1::2]))


def _manifest(
    graph: onnx.ModelProto, source: Source, *, device: Device, precision: str, family: str, name: str, parity: Parity
) -> Manifest:
    tools = {"edgelm": __version__} | {
        package: version(package) for package in ("torch", "transformers", "onnx", "onnxruntime")
    }
    spec = GraphSpec(
        name=MODEL,
        file=GRAPH_FILE,
        inputs=tuple(
            TensorSpec(value.name, "int64", ("batch", "sequence"), ROLES[value.name]) for value in graph.graph.input
        ),
        outputs=tuple(
            TensorSpec(value.name, "float32", _shape(value), ROLES[value.name]) for value in graph.graph.output
        ),
        opset=next(entry.version for entry in graph.opset_import if entry.domain == ""),
        parity=parity,
    )
    return Manifest(
        name=name,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        task=source.task,
        family=family,
        precision=precision,
        tokenization=tokenization_of(source.tokenizer, source.max_length),
        device=device.name,
        runtimes=device.runtimes,
        graphs=(spec,),
        tools=tools,
    )


def _shape(value: onnx.ValueInfoProto) -> tuple[int | str, ...]:
    return tuple(dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim)
