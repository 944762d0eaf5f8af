"""The steps of an export that are of models that write: graphs from the weights, comparison with transformers,
metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel

from edgelm.anatomy.generators import empty_cache, generation_config, prompt_batch, until_end
from edgelm.compress.write import write
from edgelm.data.written import encode_written
from edgelm.engines.generation_plan import TextSizes, plan_decoder, plan_encoder
from edgelm.errors import ParityError
from edgelm.export.draft import Draft, DraftGraph, Step
from edgelm.export.generation.agreement import Agreement
from edgelm.export.generation.builder import GeneratorGraph
from edgelm.export.generation.calibrate import calibrate
from edgelm.export.generation.dialect import PLAIN, dialect_of
from edgelm.export.generation.graphs import generator_graphs
from edgelm.export.generation.memory import by_transformers, open_graphs, release, store
from edgelm.export.generation.sequences import (
    TargetSequence,
    continuation,
    graph_logits,
    graph_scores,
    sequences_of,
    torch_logits,
    torch_scores,
)
from edgelm.export.generation.writing import generation_of, read_with, write_texts
from edgelm.export.tokenization import tokenization_of
from edgelm.files.places import told_place
from edgelm.graph.external_data import stored_bytes
from edgelm.graph.names import describe
from edgelm.metrics.judge import Predictions, judge
from edgelm.metrics.pieces import pieces_of
from edgelm.metrics.texts import judge_texts
from edgelm.precision import precision_of
from edgelm.runtime.engine_plan import EnginePlan
from edgelm.runtime.generation.decoder import DECODER
from edgelm.runtime.generation.golden import GenerationGolden, GoldenText, largest_difference
from edgelm.runtime.generation.reading import Reading
from edgelm.runtime.graph_spec import GraphSpec, Parity
from edgelm.runtime.loading import load
from edgelm.runtime.tensorrt import MODULES
from edgelm.tasks.generation import GenerationSettings
from edgelm.version import __version__

_PROMPTS = 24  # that are written behind, to be compared
_PROMPT_TOKENS = 48  # of each at most, of a decoder alone: what it writes is compared, not what it reads
_WRITTEN = 24  # tokens behind each
_FOUR_BITS = "int4"  # of tables and head, where they are asked for
_GOLDEN = 8  # of them are replayed on the device
_LENGTHS = 500  # texts whose lengths shape the profiles of an engine
# Prompts that are easy to cut into other tokens than the Hugging Face tokenizer does.
_HARD = (
    "\N{GRINNING FACE}",
    "今天天气很好，我们去公园。",
    "مرحبا بالعالم",
    "zero\0byte",
    "ᚠᛇᚻ ꙮ \U0001f9ff",
    "a  b\tc\n\nd ",
)


def build(draft: Draft) -> Draft:
    """The model's graphs, in their precision."""
    settings, source = draft.settings, draft.source
    chosen = calibrate(draft)
    made = generator_graphs(
        source.model,
        precision=settings.precision,
        positions=source.max_length,
        head=_FOUR_BITS if settings.quantization.embedding_bits == 4 else None,
        quantize=chosen.quantize,
        cache=chosen.cache,
        dialect=dialect_of(settings.device),
    )
    facts = {"task": source.task.kind, "max_length": source.max_length, "precision": settings.precision}
    for graph in made.values():
        describe(graph.model, facts | {"version": __version__})
    graphs = tuple(_draft_graph(name, graph) for name, graph in made.items())
    return replace(draft, graphs=graphs, calibration=chosen.said)


def _draft_graph(name: str, graph: GeneratorGraph) -> DraftGraph:
    opset = next(entry.version for entry in graph.model.opset_import if entry.domain == "")
    return DraftGraph(GraphSpec(name, f"{name}.onnx", graph.inputs, graph.outputs, opset), graph.model)


def plan_engines(draft: Draft) -> Draft:
    """How engines are built of the graphs, where the device runs TensorRT.

    Raises:
        UsageError: the device's memory does not hold a cache of so many positions.
    """
    settings, source = draft.settings, draft.source
    if not set(settings.device.runtimes) & MODULES.keys() or dialect_of(settings.device) is not PLAIN:
        return draft
    rows = (settings.calibration or draft.evaluation or draft.rows).sample(_LENGTHS, seed=settings.seed)
    lengths = [len(_ids(draft, text if isinstance(text, str) else str(text[0][1]))) for text in rows.texts]
    sizes = TextSizes(
        source.max_length,
        lengths,
        source=source.max_length if source.model.config.is_encoder_decoder else 0,
        rows=generation_of(draft).settings.num_beams,
    )
    weights = sum(stored_bytes(graph.model) for graph in draft.graphs)

    def plan(spec: GraphSpec) -> EnginePlan:
        if spec.name == DECODER:
            return plan_decoder(settings.device, spec, sizes, weights=weights)
        return plan_encoder(settings.device, sizes)

    return replace(
        draft,
        graphs=tuple(replace(graph, spec=replace(graph.spec, plan=plan(graph.spec))) for graph in draft.graphs),
    )


def compare(draft: Draft) -> Draft:
    """The graphs against transformers: what each would write next, at every place of what transformers writes.

    A token that changes counts where the checkpoint finds what the graphs would write less than half as likely as its
    own: which of two that are as good is written, rounding decides.

    Raises:
        ParityError: they are too far off: by the largest error for FP32, else by the share of tokens that change.
    """
    draft = open_graphs(by_transformers(draft))
    settings = draft.settings
    judged = precision_of(settings.precision)
    texts = _prompts(draft)
    sequences = _written_by(draft.reference, draft, texts)
    reading, agreement = read_with(draft), Agreement()
    first: list[np.ndarray] = []
    for sequence in sequences:
        wanted = torch_logits(draft.reference, sequence)
        agreement.add(graph_logits(reading, sequence), wanted)
        if len(first) < _GOLDEN:
            first.append(wanted)
    parity = agreement.parity(judged.tolerance, hard_texts=len(_HARD))
    scale = agreement.scale
    _check(parity, settings.precision, scale)
    if judged.judged_by == "answers":  # integers write what is their own
        sequences = _written_with(reading, draft, texts[:_GOLDEN])
        first = [graph_logits(reading, sequence) for sequence in sequences]
    tolerance = judged.golden_tolerance * scale
    golden = tuple(
        GoldenText.of(text, _prompt_of(sequence), logits, tolerance=tolerance)
        for text, sequence, logits in zip(texts, sequences, first, strict=False)
    )
    specs = [replace(graph.spec, parity=parity) for graph in draft.graphs]
    graphs = tuple(replace(graph, spec=spec) for graph, spec in zip(draft.graphs, specs, strict=True))
    ids = {text: _ids(draft, text) for text in (*texts, *_HARD)}
    kept = GenerationGolden(golden, tolerance)
    return replace(draft, graphs=graphs, golden=kept, check=partial(_check_bundle, golden=kept, ids=ids))


def measure(draft: Draft) -> Draft:
    """The task's metrics of checkpoint and graphs, where there are rows to judge on."""
    rows, source, task = draft.evaluation, draft.source, generation_of(draft)
    if rows is None or (rows.labels is None and not task.own_targets):
        return draft
    encoded = encode_written(rows, source.tokenizer, task, max_length=source.max_length)
    sequences, reading, pieces = sequences_of(encoded), read_with(draft), pieces_of(source.tokenizer)

    def metrics(scores_of: Callable[[TargetSequence], np.ndarray], texts: Sequence[str]) -> dict[str, float]:
        scores = np.concatenate([scores_of(sequence) for sequence in sequences])
        found = judge(task, Predictions(scores, encoded, pieces), rows)
        return judge_texts(task, texts, rows.labels or ()) | found if texts else found

    own: list[str] = []
    given: list[str] = []
    if task.schema == "targets":
        own = write(source.model, source.tokenizer, task, rows.texts, max_length=source.max_length)
        given = write_texts(reading, source.tokenizer, [_ids(draft, text) for text in rows.texts], task.settings)
    quality = {
        "samples": len(rows),
        "source": told_place(rows.source),
        "checkpoint": metrics(partial(torch_scores, source.model), own),
        "bundle": metrics(partial(graph_scores, reading), given),
    }
    return replace(draft, quality=quality)


GENERATION_STEPS: tuple[Step, ...] = (build, store, plan_engines, compare, measure, release)


def _prompts(draft: Draft) -> list[str]:
    """Texts that the graphs are compared on; of conversations their first messages."""
    rows = (draft.evaluation or draft.rows).sample(4 * _PROMPTS, seed=draft.settings.seed + 1)
    texts = [text if isinstance(text, str) else str(text[0][1]) for text in rows.texts]
    if not draft.source.model.config.is_encoder_decoder:
        texts = [_shortened(draft, text) for text in texts]
    longest = draft.source.max_length
    return [text for text in dict.fromkeys(texts) if 0 < len(_ids(draft, text)) < longest - _WRITTEN][:_PROMPTS]


def _shortened(draft: Draft, text: str) -> str:
    """A text's beginning, of at most `_PROMPT_TOKENS` tokens."""
    words = text.split(" ")
    while len(words) > 1 and len(_ids(draft, " ".join(words))) > _PROMPT_TOKENS:
        words = words[: max(1, len(words) * 2 // 3)]
    return " ".join(words)


def _ids(draft: Draft, text: str) -> list[int]:
    """The tokens of a prompt by the Hugging Face tokenizer, cut as a bundle of its length reads it."""
    tokenizer = draft.source.tokenizer
    (given,) = draft.source.task.prompted([text])
    found: list[int] = tokenizer(given, truncation=True, max_length=draft.source.max_length)["input_ids"]
    return found


def _greedy(draft: Draft) -> GenerationSettings:
    """The settings of the comparison: the likeliest token each time, whatever the model's own rules are."""
    own = generation_of(draft).settings
    return GenerationSettings(
        max_new_tokens=_WRITTEN, eos_ids=own.eos_ids, pad_id=own.pad_id, decoder_start_id=own.decoder_start_id
    )


def _start(draft: Draft) -> int | None:
    """What the decoder of an encoder-decoder begins with; None for a decoder alone."""
    return generation_of(draft).settings.decoder_start_id if draft.source.model.config.is_encoder_decoder else None


def _written_by(model: PreTrainedModel, draft: Draft, texts: Sequence[str]) -> list[TargetSequence]:
    """What transformers writes behind each text, all of them in one batch."""
    task, tokenizer = replace(generation_of(draft), settings=_greedy(draft)), draft.source.tokenizer
    start, filling = _start(draft), tokenization_of(tokenizer, draft.source.max_length).pad_id
    prompts = [_ids(draft, text) for text in texts]
    ids, mask = prompt_batch(prompts, filling, behind=start is None)
    own = model.generation_config
    # What a call leaves open, transformers takes from the model's own.
    model.generation_config = generation_config(task, pad_token_id=filling)
    with torch.inference_mode():
        found = model.generate(ids, attention_mask=mask, **empty_cache(model))
    written = found[:, ids.shape[1] if start is None else 1 :].tolist()
    model.generation_config = own
    ends = task.settings.eos_ids
    return [
        continuation(prompt, until_end(row, ends), start=start) for prompt, row in zip(prompts, written, strict=True)
    ]


def _written_with(reading: Reading, draft: Draft, texts: Sequence[str]) -> list[TargetSequence]:
    """What the graphs write behind each text."""
    settings, found = _greedy(draft), []
    for text in texts:
        prompt = _ids(draft, text)
        (row,) = reading.write([prompt], settings)
        found.append(continuation(prompt, row.written, start=_start(draft)))
    return found


def _prompt_of(sequence: TargetSequence) -> list[int]:
    """The prompt, or the source, of what was written."""
    found: list[int] = sequence.source or sequence.tokens[: int(sequence.places[0]) + 1].tolist()
    return found


def _check(parity: Parity, precision: str, scale: float) -> None:
    """Refuse graphs that are too far off.

    Raises:
        ParityError: they are.
    """
    exact = precision_of(precision).conversion == "none"
    measured, bound = (parity.max_error, parity.tolerance * scale) if exact else (parity.changed, parity.tolerance)
    if np.isfinite(parity.max_error) and measured <= bound:
        return
    said = f"a logit is off by {measured:.2g}" if exact else f"{measured:.1%} of the tokens change for the worse"
    if not np.isfinite(parity.max_error):
        said = "their logits are no numbers"
    better = {"int4": "int8-weights", "int8-dynamic": "int8-weights"}.get(precision, "fp32")
    raise ParityError(
        f"the {precision} graphs do not agree with the checkpoint behind {parity.samples} prompts: {said}, accepted "
        f"{bound:.2g}.",
        hint=f"Export with --precision {better}.",
    )


def _check_bundle(path: Path, *, golden: GenerationGolden, ids: dict[str, list[int]]) -> None:
    """The finished bundle cuts prompts as the Hugging Face tokenizer does, and writes what it should.

    Raises:
        ParityError: it does not.
        BundleError: it cannot be run.
    """
    generator = load(path, provider="cpu")
    for text, wanted in ids.items():
        if wanted and generator.reader(text) != wanted:
            raise _refusal(f"the tokens of {text!r:.60} are not those of the Hugging Face tokenizer")
    worst = largest_difference(generator, golden)
    if not worst <= golden.tolerance:
        raise _refusal(f"a logit is off by {worst:.2g}, accepted {golden.tolerance:.2g}")


def _refusal(what: str) -> ParityError:
    return ParityError(
        f"the bundle does not write as its graphs do: {what}.",
        hint="Nothing was written. Try --precision fp32; if it stays, report it.",
    )
