"""The beginning of an export: the checkpoint as a living model, and the rows that it is calibrated and measured on."""

from __future__ import annotations

import random
from dataclasses import replace

from edgelm.anatomy import (
    TaskModel,
    check_token_types,
    find_checkpoint,
    load_checkpoint,
    load_tokenizer,
)
from edgelm.anatomy.sizes import check_length, text_limit
from edgelm.bundles.write import bundle_kind
from edgelm.checkpoint import Checkpoint
from edgelm.data.dataset import Dataset, load_dataset
from edgelm.data.task_rows import completed
from edgelm.device import Device, check_precision
from edgelm.errors import UsageError
from edgelm.export.created import created
from edgelm.export.draft import Draft
from edgelm.export.generation.dialect import PLAIN
from edgelm.export.pairs import note_guess, reads_pairs
from edgelm.export.settings import ExportSettings
from edgelm.files.output import check_output
from edgelm.files.output_kinds import OutputKind
from edgelm.files.shipped import shipped_folder
from edgelm.lengths import LONGEST_READ
from edgelm.precision import precision_of
from edgelm.quantize.settings import Quantization
from edgelm.quantize.target import target_of
from edgelm.tasks.task import Task
from edgelm.tasks.text import TextClassification

DEFAULT_CONTEXT = 8192  # tokens, of a model that writes: its cache grows with the text, not with what it could hold
_MEANT = {"int8": "int8-weights"}  # of models that write
# By schema: the sequences that one sample may have, of unlike lengths, which are padded to be read together.
_SEVERAL = {"answers": "windows of a long text", "choices": "one for each choice"}


def prepare(settings: ExportSettings, *, output_kind: OutputKind | None = None) -> Draft:
    """Load what is exported, and refuse what cannot be before anything takes long.

    Args:
        output_kind: what the output may replace; None: a bundle.

    Returns:
        a draft without graphs, whose settings have the bits of embeddings that hold for this device.

    Raises:
        UsageError, DataError, ModelError, OutputExistsError: as `edgelm.export.pipeline.export`.
    """
    check_output(settings.output, overwrite=settings.overwrite, kind=output_kind or bundle_kind(settings.output))
    checkpoint = find_checkpoint(settings.checkpoint, allow_pickle=settings.allow_pickle, task=settings.kind)
    created(checkpoint)  # an error of the environment comes first
    limit = text_limit(checkpoint.config)
    check_length(settings.max_length, limit)
    check_task_precision(checkpoint.task, settings.device, settings.precision)
    settings = replace(settings, precision=_precision_for(checkpoint.task, settings))
    settings = replace(settings, quantization=_with_embedding_bits(settings, checkpoint.record.embedding_bits))
    task = _task_of(checkpoint, settings)
    if settings.quantization.cache_bits is not None and not task.generates:
        raise UsageError(f"--cache-bits is for models that write, not {task.kind}.", hint="Leave it out.")
    if settings.single and task.schema in _SEVERAL:
        raise UsageError(
            f"--single makes a graph for one sequence at a time, but {task.kind} reads several for one sample: "
            f"{_SEVERAL[task.schema]}.",
            hint="Leave --single out.",
        )
    evaluation = None if settings.evaluation is None else settings.evaluation.for_task(task)
    rows = settings.calibration or load_dataset(
        shipped_folder("calibration_data") / "english.jsonl", need_labels=False, read="texts"
    )
    tokenizer = load_tokenizer(checkpoint)
    task = task.read_by(tokenizer)
    model = load_checkpoint(checkpoint, allow_pickle=settings.allow_pickle)
    check_token_types(tokenizer, model.config, pair=task.pair)
    usual = DEFAULT_CONTEXT if task.generates else LONGEST_READ
    max_length = settings.max_length or int(min(limit, tokenizer.model_max_length, usual))
    tokenizer.model_max_length = max_length  # a length that was asked for holds, also beyond the tokenizer's own
    labelled = None
    if settings.quantization.max_drop is not None and evaluation is not None:
        labelled, evaluation = _halves(evaluation, settings.seed)
    given = (settings.pairs, settings.calibration, settings.evaluation)
    return Draft(
        settings,
        checkpoint,
        TaskModel(model, tokenizer, task, max_length),
        rows,
        labelled=labelled,
        evaluation=evaluation,
        guessed=note_guess(checkpoint.task, task, said=any(each is not None for each in given)),
    )


def _precision_for(task: Task, settings: ExportSettings) -> str:
    """The precision that was asked for; for a model that writes int8 means its weights, since ranges that calibration
    finds for activations ruin what many of them write.

    Raises:
        UsageError: an option that is of models with one graph.
    """
    if not task.generates:
        return settings.precision
    given = {"--single": settings.single, "--opset": settings.opset is not None, "--max-batch": settings.max_batch > 1}
    given |= {"--max-drop": settings.quantization.max_drop is not None}
    if named := [option for option, there in given.items() if there]:
        raise UsageError(f"{' and '.join(named)}: not for models that write texts.", hint="Leave it out.")
    wanted = meant_precision(settings.precision)
    check_task_precision(task, settings.device, wanted)
    return wanted


def meant_precision(precision: str) -> str:
    """What a precision means for a model that writes."""
    return _MEANT.get(precision, precision)


def check_task_precision(task: Task, device: Device, precision: str) -> None:
    """Refuse a precision that a device does not run such a model in.

    A GPU that computes in INT8 also reads weights in 8 and 4 bits, which models that write have there.

    Raises:
        UsageError: no such precision, or one that is not for it.
    """
    row = precision_of(precision)
    if not task.generates or target_of(device).fused:
        check_precision(device, precision)
        return
    known = PLAIN.products.precisions
    if meant_precision(precision) not in known:
        raise UsageError(
            f"models that write are not exported in {precision} for TensorRT.", hint=f"Use {', '.join(known)}."
        )
    check_precision(device, "int8" if row.integers else precision)


def _task_of(checkpoint: Checkpoint, settings: ExportSettings) -> Task:
    """The checkpoint's task, with what options and data say of it."""
    task = checkpoint.task
    if isinstance(task, TextClassification):
        pair = reads_pairs(task, settings.pairs, settings.calibration, settings.evaluation)
        return replace(task, pair=pair)
    if settings.pairs:
        raise UsageError(
            f"--pairs is for classifiers of texts, not {task.kind}.",
            hint="Leave --pairs out; a sentence encoder reads single texts, one by one.",
        )
    return task if settings.evaluation is None else completed(task, settings.evaluation)


def _with_embedding_bits(settings: ExportSettings, meant: int) -> Quantization:
    """The bits that were asked for, or else those that the checkpoint was compressed for.

    Raises:
        UsageError: they were asked for where no embedding becomes an integer.
    """
    quantization, precision, device = settings.quantization, settings.precision, settings.device
    if precision_of(precision).integers and target_of(device).integer_embeddings:
        return replace(quantization, embedding_bits=quantization.embedding_bits or meant)
    if quantization.embedding_bits is not None:
        raise UsageError(
            f"--embedding-bits is for integers on a CPU, not {precision} on {device.name}.", hint="Leave it out."
        )
    return quantization


def _halves(rows: Dataset, seed: int) -> tuple[Dataset, Dataset]:
    """Two halves, drawn at random: what chooses must not be what is reported."""
    order = random.Random(seed).sample(range(len(rows)), len(rows))
    return rows.take(sorted(order[::2])), rows.take(sorted(order[1::2]))
