"""The steps of an export that are of models with one graph, from texts to rows of numbers: trace, precision, comparison
with transformers, metrics, engine plan."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import onnx

from edgelm.anatomy import TaskModel, load_reference, token_types
from edgelm.anatomy.sizes import text_limit
from edgelm.engines.plan import make_plan
from edgelm.export.door import check_door, hard_texts
from edgelm.export.draft import Draft, DraftGraph, Step
from edgelm.export.early_texts import that_leave_clearly
from edgelm.export.expected import expected_answers
from edgelm.export.golden import make_golden
from edgelm.export.parity import check_parity
from edgelm.export.precision import Material, to_precision
from edgelm.export.quality import measure_quality
from edgelm.export.samples import encode
from edgelm.export.trace import export_graph
from edgelm.graph.names import describe, name_by_places
from edgelm.graph.rewrites import check_opset
from edgelm.graph.session import DISABLED_OPTIMIZERS, make_plain_session
from edgelm.graph.token_types import drop_token_types, fold_token_types
from edgelm.graph.unpadded import for_one_text
from edgelm.lengths import LONGEST_READ
from edgelm.quantize.saturation import largest_pair_sum
from edgelm.quantize.target import target_of
from edgelm.runtime.graph_spec import GRAPH_FILE, MODEL, ROLES, GraphSpec, TensorSpec
from edgelm.runtime.tensorrt import MODULES
from edgelm.version import __version__

_PARITY_TEXTS = 64
_GOLDEN_TEXTS = 8
_LENGTHS = 2000  # texts whose lengths shape the profiles of an engine


def trace(draft: Draft) -> Draft:
    """The model as a graph in FP32."""
    settings, source = draft.settings, draft.source
    limit = text_limit(draft.checkpoint.config)
    model = export_graph(
        source.with_length(max(source.max_length, min(limit, LONGEST_READ))),
        fused=target_of(settings.device).fused,
        opset=settings.opset,
    )
    fold_token_types(model, given=_types_differ(source))
    return replace(draft, graphs=(DraftGraph(_spec(model), model),))


def convert(draft: Draft) -> Draft:
    """The graph in its precision, with the inputs and the names that it is shipped with."""
    settings, source = draft.settings, draft.source
    (graph,) = draft.graphs
    made = to_precision(
        graph.model, settings.precision, material_of(draft), settings.device, settings.quantization, settings.progress
    )
    emulated = made.runnable is not made.graph
    types_differ = _types_differ(source)
    for each in (made.graph, made.runnable) if emulated else (made.graph,):
        if not types_differ:
            drop_token_types(each)
        if settings.single:
            for_one_text(each)
    if settings.opset is not None:
        check_opset(made.graph, settings.opset)
    name_by_places(made.graph)
    facts = {"task": source.task.kind, "labels": list(source.task.labels), "max_length": source.max_length}
    describe(made.graph, facts | {"precision": settings.precision, "version": __version__})
    session = make_plain_session(made.runnable, exact=True)
    spec = replace(_spec(made.graph), pair_sum=largest_pair_sum(made.graph))
    if target_of(settings.device).fused:
        spec = replace(spec, session={"disabled_optimizers": list(DISABLED_OPTIMIZERS)})
    return replace(
        draft, graphs=(DraftGraph(spec, made.graph, session, emulated=emulated),), calibration=made.calibration
    )


def compare(draft: Draft) -> Draft:
    """The graph against transformers: how far its outputs are, what a device will replay, and how the finished bundle
    is looked at."""
    settings, source = draft.settings, draft.source
    (graph,) = draft.graphs
    reference = load_reference(draft.checkpoint, allow_pickle=settings.allow_pickle) or source.model
    texts = parity_texts(draft)
    expected, hard = (
        expected_answers(source.with_model(reference), that_leave_clearly(source, some))
        for some in (texts, hard_texts(texts, source.task))
    )
    parity = check_parity(
        graph.session, expected.rows(expected.outputs), expected.samples, precision=settings.precision
    )
    spec = replace(graph.spec, parity=replace(parity, hard_texts=len(hard.texts)))
    here = target_of(settings.device).here and not graph.emulated
    return replace(
        draft,
        graphs=(replace(graph, spec=spec),),
        golden=make_golden(graph.session, source, expected.texts[:_GOLDEN_TEXTS], settings.precision),
        check=partial(
            check_door,
            expected=expected,
            hard=hard,
            precision=settings.precision,
            session=None if here else graph.session,
        ),
    )


def measure(draft: Draft) -> Draft:
    """The task's metrics of checkpoint and graph, where there are labelled rows."""
    if draft.evaluation is None or draft.evaluation.labels is None:
        return draft
    (graph,) = draft.graphs
    return replace(draft, quality=measure_quality(graph.session, draft.source, draft.evaluation))


def plan_engine(draft: Draft) -> Draft:
    """How engines are built of the graph, where the device runs TensorRT: for texts as long as those of the data."""
    settings, source = draft.settings, draft.source
    if not set(settings.device.runtimes) & MODULES.keys():
        return draft
    (graph,) = draft.graphs
    rows = (settings.calibration or draft.evaluation or draft.rows).sample(_LENGTHS, seed=settings.seed)
    texts = material_of(draft).inputs(rows)
    lengths = encode(source.tokenizer, source.task, texts, max_length=source.max_length).encoded.lengths
    batch = 1 if settings.single else settings.max_batch
    plan = make_plan(settings.device, lengths, max_length=source.max_length, batch=batch)
    return replace(draft, graphs=(replace(graph, spec=replace(graph.spec, plan=plan)),))


TEXT_STEPS: tuple[Step, ...] = (trace, convert, compare, measure, plan_engine)


def _types_differ(source: TaskModel) -> bool:
    """Whether a tokenizer gives any token another type than 0: to the second texts of pairs, for most."""
    return token_types(source.tokenizer, pair=source.task.pair) != {0}


def material_of(draft: Draft) -> Material:
    """What a draft's model is calibrated and judged on."""
    source = draft.source
    return Material(draft.rows, draft.labelled, source.tokenizer, source.task, source.max_length, draft.settings.seed)


def parity_texts(draft: Draft) -> list[Any]:
    """Samples on which a graph is compared with transformers: of the rows to judge on, if there are such."""
    rows = (draft.evaluation or draft.rows).sample(_PARITY_TEXTS, seed=draft.settings.seed + 1)
    return material_of(draft).inputs(rows)


def _spec(model: onnx.ModelProto) -> GraphSpec:
    """What the manifest says of a graph as `export_graph` makes it, its precision aside."""
    return GraphSpec(
        name=MODEL,
        file=GRAPH_FILE,
        inputs=tuple(
            TensorSpec(value.name, "int64", ("batch", "sequence"), ROLES[value.name]) for value in model.graph.input
        ),
        outputs=tuple(
            TensorSpec(value.name, "float32", _shape(value), ROLES[value.name]) for value in model.graph.output
        ),
        opset=next(entry.version for entry in model.opset_import if entry.domain == ""),
    )


def _shape(value: onnx.ValueInfoProto) -> tuple[int | str, ...]:
    return tuple(dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim)
