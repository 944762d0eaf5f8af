"""The stages of a recipe: a model and settings in, a new model out. One table says which function runs which
settings."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from transformers import PreTrainedModel, set_seed

from edgelm.anatomy import (
    cut_tokens,
    find_checkpoint,
    layer_shapes,
    load_backbone,
    load_tokenizer,
    model_layers,
)
from edgelm.anatomy.exits import exit_after, set_thresholds
from edgelm.anatomy.halving import halve_after
from edgelm.anatomy.hidden import hidden_size
from edgelm.anatomy.sentence_head import share_head
from edgelm.checkpoint import Record
from edgelm.compress.distillation.distill import student_from_layers
from edgelm.compress.distillation.layer_matching import spread_layers
from edgelm.compress.distillation.static_student import static_student
from edgelm.compress.distillation.teach import teach
from edgelm.compress.early_exit import choose_thresholds, fit_heads, head_logits
from edgelm.compress.pruning.activation_scores import measure_activity
from edgelm.compress.pruning.constraints import operations_goal
from edgelm.compress.pruning.depth import drop_parts
from edgelm.compress.pruning.fit import Material, cut_to_goal, teacher_loss
from edgelm.compress.pruning.hidden import cut_hidden
from edgelm.compress.pruning.mask_scores import choose_channels, choose_heads, measure_importance
from edgelm.compress.pruning.mask_scores import cut as cut_units
from edgelm.compress.pruning.origins import with_heads, with_layers
from edgelm.compress.pruning.student_shape import resolve_shape
from edgelm.compress.pruning.width import cut_to_sizes
from edgelm.compress.stage import StageContext, StageResult
from edgelm.compress.training.block_weights import in_blocks
from edgelm.compress.training.fake_quantize import calibrate, fake_quantized
from edgelm.compress.vocabulary.choose import tokens_to_keep
from edgelm.compress.vocabulary.tokenizer_json import keep_tokens
from edgelm.compress.vocabulary.writing import renumbered
from edgelm.errors import RecipeError
from edgelm.metrics.judge import Predictions, judge
from edgelm.recipe import (
    DepthSettings,
    DistillSettings,
    EmbeddingsSettings,
    ExitsSettings,
    FitSettings,
    HalveSettings,
    HiddenSettings,
    PruneSettings,
    QuantizeSettings,
    RecoverSettings,
    VocabularySettings,
)
from edgelm.runtime.saturation import EXACT_PAIR
from edgelm.shapes import KeptHidden
from edgelm.static_settings import StaticSettings
from edgelm.tasks.generation import Generation


def distill(model: PreTrainedModel, settings: DistillSettings, context: StageContext) -> StageResult:
    """Make a student of the model's layers or in a shape of its own, or take the one given, and let the teacher teach
    it."""
    record = context.record
    if settings.student is not None:
        student, record = _given_student(settings.student, context)
    elif settings.shape is not None:
        student, record = _carved_student(model, settings, context)
    elif settings.layers is None:
        student = copy.deepcopy(model)
    else:
        total = len(model_layers(model))
        chosen = spread_layers(total, settings.layers) if isinstance(settings.layers, int) else list(settings.layers)
        student = student_from_layers(model, chosen)
        record = with_layers(record, model, sorted(set(chosen)))
    return StageResult(teach(student, settings.loss, settings.train, context, "distill"), record)


def static(model: PreTrainedModel, settings: StaticSettings, context: StageContext) -> StageResult:
    """Make a student without layers of what the model says of each token alone, and let the teacher teach it."""
    asked = context.asked(model, settings.train.max_length)
    set_seed(context.seed)  # its head starts from random numbers
    student = static_student(asked, settings, context.dataset, progress=context.progress)
    student = teach(student, settings.loss, settings.train, context, "static")
    return StageResult(student, replace(context.record, layers=()))


def prune(model: PreTrainedModel, settings: PruneSettings, context: StageContext) -> StageResult:
    """Remove the least important heads and FFN channels."""
    sample = context.dataset.sample(settings.samples, seed=context.seed)
    importance = measure_importance(
        context.asked(model, settings.max_length),
        sample,
        method=settings.importance,
        seed=context.seed,
        progress=context.progress,
    )
    heads = choose_heads(importance.heads, settings.keep_heads)
    ffn = choose_channels(importance.ffn, settings.keep_ffn, multiple=settings.ffn_multiple)
    smaller = cut_units(model, heads, ffn, choose_heads(importance.cross, settings.keep_heads))
    return StageResult(
        smaller, replace(context.record, layers=with_heads(context.record, heads, layer_shapes(smaller)))
    )


def depth(model: PreTrainedModel, settings: DepthSettings, context: StageContext) -> StageResult:
    """Remove the layers or sublayers that are missed least."""
    asked = context.asked(model, settings.max_length)
    material = Material(
        context.asked(context.teacher, settings.max_length), context.dataset, context.seed, context.work
    )
    rows = context.dataset.sample(settings.samples, seed=context.seed)
    loss = teacher_loss(settings.judged, material)
    smaller, layers = drop_parts(asked, settings, rows, loss, progress=context.progress)
    record, now = with_layers(context.record, model, layers), layer_shapes(smaller)
    return StageResult(smaller, replace(record, layers=with_heads(record, [range(shape.heads) for shape in now], now)))


def hidden(model: PreTrainedModel, settings: HiddenSettings, context: StageContext) -> StageResult:
    """Cut the hidden size.

    Raises:
        RecipeError: the model does not write.
    """
    if not context.record.task.generates:
        raise RecipeError(
            f"the stage hidden narrows models that write, and this one is for {context.record.task.kind}.",
            hint="Give the stage distill a shape: --set distill.shape.hidden=256.",
        )
    rows = context.dataset.sample(settings.samples, seed=context.seed)
    smaller = cut_hidden(context.asked(model, settings.max_length), settings, rows, progress=context.progress)
    known = context.record.hidden
    left = KeptHidden(hidden_size(smaller), hidden_size(model) if known is None else known.original)
    return StageResult(smaller, replace(context.record, hidden=left))


def halve(model: PreTrainedModel, settings: HalveSettings, context: StageContext) -> StageResult:
    """Let the layers behind some read half as many tokens."""
    smaller = copy.deepcopy(model)
    halve_after(smaller, [number - 1 for number in settings.after])
    record, now = with_layers(context.record, model, range(len(layer_shapes(model)))), layer_shapes(smaller)
    layers = tuple(replace(old, halves=new.halves) for old, new in zip(record.layers, now, strict=True))
    return StageResult(smaller, replace(context.record, layers=layers))


def exits(model: PreTrainedModel, settings: ExitsSettings, context: StageContext) -> StageResult:
    """Give some layers a head, let the teacher teach all heads at once, and choose who leaves by them.

    Raises:
        RecipeError: rows to judge by without labels.
    """
    if context.evaluation is None or context.evaluation.labels is None:
        raise RecipeError(
            "the stage exits chooses a threshold by labels, and the rows to judge by have none.",
            hint="Give labelled rows with --eval.",
        )
    student, count = copy.deepcopy(model), len(layer_shapes(model))
    chosen = sorted({number - 1 for number in settings.after or range(1, max(count, 2))})  # one layer is refused
    set_thresholds(student, {})  # heads that were there before are another choice
    exit_after(student, chosen)
    asked = context.asked(student, settings.train.max_length)
    rows = context.dataset.sample(settings.samples, seed=context.seed)
    fit_heads(asked, context.asked(context.teacher, settings.train.max_length), rows, progress=context.progress)
    student = teach(student, settings.loss, settings.train, context, "exits")
    judged, task = context.evaluation, context.record.task
    said, encoded = head_logits(context.asked(student, settings.train.max_length), judged, progress=context.progress)

    def metric(logits: np.ndarray) -> float:
        return judge(task, Predictions(logits, encoded), judged)[task.metric]

    found = choose_thresholds(said, judged.labels or (), chosen, metric, max_drop=settings.max_drop)
    set_thresholds(student, found.thresholds)
    record, now = with_layers(context.record, model, range(len(layer_shapes(model)))), layer_shapes(student)
    layers = tuple(
        replace(old, leaves=new.leaves, left=found.shares.get(number))
        for number, (old, new) in enumerate(zip(record.layers, now, strict=True))
    )
    return StageResult(student, replace(context.record, layers=layers))


def fit(model: PreTrainedModel, settings: FitSettings, context: StageContext) -> StageResult:
    """Cut the model to the goal, or to its share of the way there."""
    goal, teacher = context.goal, context.asked(context.teacher, settings.max_length)
    if not goal.bounds:
        goal = operations_goal(teacher, context.dataset, settings.speedup, keep=settings.keep)
    if teacher.task.generates:
        goal = goal.narrowed(hidden_size(model) / hidden_size(teacher.model))
    material = Material(
        teacher,
        context.dataset,
        context.seed,
        context.work,
        seconds=context.seconds,
        allotted=context.allotted,
        progress=context.progress,
    )
    cut = cut_to_goal(
        model, settings, goal.partway(settings.share, layer_shapes(model), model.config.vocab_size), material
    )
    record = with_layers(context.record, model, cut.layers)
    return StageResult(cut.model, replace(record, layers=with_heads(record, cut.heads, layer_shapes(cut.model))))


def recover(model: PreTrainedModel, settings: RecoverSettings, context: StageContext) -> StageResult:
    """Distil the teacher's knowledge back into the cut model."""
    student = teach(copy.deepcopy(model), settings.loss, settings.train, context, "recover")
    return StageResult(student, context.record)


def quantize(model: PreTrainedModel, settings: QuantizeSettings, context: StageContext) -> StageResult:
    """Let the teacher teach the model while it computes as INT8 will; its weights stay floats, for export to
    quantize. Of a model that writes the weights alone are rounded, in blocks, and end where they were rounded to.

    Raises:
        RecipeError: LoRA, whose matrices lie beside the rounded weights.
    """
    student = copy.deepcopy(model)
    if settings.train.lora is not None:
        raise RecipeError(
            "quantize.train.lora: weights that are trained beside the rounded ones would not stay on their grid.",
            hint="Set it to null.",
        )
    if context.record.task.generates:
        with in_blocks(student, bits=settings.bits, table_bits=context.record.embedding_bits):
            return StageResult(teach(student, settings.loss, settings.train, context, "quantize"), context.record)
    rows = context.dataset.sample(settings.samples, seed=context.seed)
    intervals = calibrate(
        context.asked(student, settings.train.max_length),
        rows,
        method=settings.ranges,
        symmetric=settings.symmetric,
        progress=context.progress,
    )
    wide = settings.symmetric or settings.wide_sums
    with fake_quantized(student, intervals, pair=None if wide else EXACT_PAIR):
        return StageResult(teach(student, settings.loss, settings.train, context, "quantize"), context.record)


def vocabulary(model: PreTrainedModel, settings: VocabularySettings, context: StageContext) -> StageResult:
    """Drop the tokens that the texts never use, in model and tokenizer.

    Raises:
        RecipeError: the model names tokens and writes none, each of which its head has a row for.
    """
    task = context.record.task
    if task.own_targets and not task.generates:
        raise RecipeError(
            f"the stage vocabulary drops tokens, which a model for {task.kind} names.",
            hint="Leave the stage out of the recipe.",
        )
    kept = tokens_to_keep(context.asked(model, 0), settings, context.dataset, progress=context.progress)
    number = {old: new for new, old in enumerate(kept)}
    record = context.record
    if isinstance(task, Generation):
        record = replace(record, task=renumbered(task, number.get))
    return StageResult(cut_tokens(model, kept), record, keep_tokens(context.tokenizer, kept))


def embeddings(model: PreTrainedModel, settings: EmbeddingsSettings, context: StageContext) -> StageResult:
    """Note in how many bits export keeps the embedding tables; the weights stay as they are."""
    return StageResult(model, replace(context.record, embedding_bits=settings.bits))


STAGES: dict[type, Callable[[PreTrainedModel, Any, StageContext], StageResult]] = {
    VocabularySettings: vocabulary,
    EmbeddingsSettings: embeddings,
    DistillSettings: distill,
    StaticSettings: static,
    PruneSettings: prune,
    DepthSettings: depth,
    HalveSettings: halve,
    ExitsSettings: exits,
    HiddenSettings: hidden,
    FitSettings: fit,
    RecoverSettings: recover,
    QuantizeSettings: quantize,
}


def _carved_student(
    model: PreTrainedModel, settings: DistillSettings, context: StageContext
) -> tuple[PreTrainedModel, Record]:
    """A student of the shape that was asked for, cut out of the model."""
    assert settings.shape is not None
    sizes = settings.shape.model_dump(exclude={"samples"})
    shape = resolve_shape(model, **sizes)
    activity = measure_activity(
        context.asked(model, settings.train.max_length),
        context.dataset.sample(settings.shape.samples, seed=context.seed),
        progress=context.progress,
    )
    student, cuts = cut_to_sizes(model, shape, activity)
    share_head(student, model)
    record = with_layers(context.record, model, shape.layers)
    heads = [cut.heads.tolist() for cut in cuts]
    return student, replace(record, layers=with_heads(record, heads, layer_shapes(student)))


def _given_student(name: str, context: StageContext) -> tuple[PreTrainedModel, Record]:
    """A student of another make: it must read the same tokens and answer the same task."""
    checkpoint = find_checkpoint(name, any_head=True)
    student = share_head(load_backbone(checkpoint, context.record.task), context.teacher)
    if load_tokenizer(checkpoint).get_vocab() != context.tokenizer.get_vocab():
        raise RecipeError(
            f"distill.student {name} has another vocabulary than the teacher.",
            hint="Choose a student with the teacher's tokenizer (cut the vocabulary after this stage), or leave "
            "student out and give layers.",
        )
    return student, replace(
        context.record, layers=checkpoint.record.layers, original_layers=checkpoint.record.original_layers
    )
