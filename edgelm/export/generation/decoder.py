"""The graph of a decoder-only model: tokens in, logits out, keys and values in a cache; the same for prompts and steps.

Rows of a batch may differ in length: their tokens stand on the left, and the mask says how many each has. New keys and
values are written behind those that are there: into the same buffer, where past and present are bound to one, else
into new tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from transformers import PreTrainedModel

from edgelm.errors import ModelError
from edgelm.export.generation.attention import Attention
from edgelm.export.generation.builder import GeneratorGraph, GraphBuilder
from edgelm.export.generation.cache_scales import CacheScale
from edgelm.export.generation.candidates import FullRows
from edgelm.export.generation.dialect import ONNXRUNTIME, Dialect
from edgelm.export.generation.families import DecoderFamily, decoder_family
from edgelm.export.generation.heads import IDS, LOGITS, MASK, PLACES, ROWS, Heads
from edgelm.export.generation.modules import constant_of, norm_of, product_of, to_array
from edgelm.export.generation.products import Products, Quantize, Table, to_nearest
from edgelm.graph.rewrites import rename_value


def decoder_graph(
    model: PreTrainedModel,
    *,
    precision: str = "fp32",
    head: str | None = None,
    positions: int | None = None,
    ragged_steps: bool = False,
    candidates: int = 0,
    quantize: Quantize = to_nearest,
    pair: int | None = None,
    byte_activations: bool = True,
    cache: Sequence[CacheScale] = (),
    dialect: Dialect = ONNXRUNTIME,
) -> GeneratorGraph:
    """Build the graph of a decoder-only model.

    Inputs: `input_ids` (batch, sequence); `attention_mask` (batch, total), 1 for each token that a row has after this
    call, then 0; `position_ids` (batch, sequence), where positions are learned; `logit_positions` (batch, rows), the
    places among the new tokens whose logits are wanted; for each layer `past_key_values.N.key` and `.value` (batch, kv
    heads, past, head size). Outputs: `logits` (batch, rows, vocabulary), FP32; for each layer `present.N.key` and
    `.value`. The first call may hold prompts of any lengths; later calls hold one token a row, or several for a batch
    of one.

    Args:
        precision: of the matrices: fp32, fp16 (with the cache and all arithmetic), int8-dynamic, int8-weights or int4.
        head: precision of the embedding table and the head; None: the products' own or, beside integers, int8-weights.
        positions: how many the graph reaches at most; None: as many as the model.
        ragged_steps: later calls may hold several tokens for several rows, as many in each as it needs: what stands
            behind the last place that is asked for is padding. onnxruntime before 1.32 refuses such a graph.
        candidates: how many of the likeliest tokens have exact logits, and all tokens exact embeddings, where a tied
            table is in blocks; see `edgelm.export.generation.candidates`. 0: none have.
        quantize: makes the integers of a matrix, by the name of its PyTorch module.
        pair, byte_activations: see `Products`.
        cache: what a unit of keys and values stands for in each layer, to keep them in bytes: a quarter of the memory,
            single tokens read long contexts faster and prompts slower. Needs an onnxruntime that has this kernel for
            CPUs, as 1.32.
        dialect: the operators that it is written in; `ragged_steps`, `pair` and `byte_activations` are onnxruntime's.

    Raises:
        UnsupportedFamily: the model's type has no row in `families`.
        ModelError: the model has something that onnxruntime's kernels do not compute.
        UsageError: the precision is none for generators.
    """
    config: Any = model.config
    family = decoder_family(config.model_type)
    if getattr(config, "use_bidirectional_attention", False):
        raise ModelError("the model attends to later tokens too.", hint="Export it as a sentence encoder.")
    if getattr(config, "add_cross_attention", False):
        raise ModelError("the decoder attends to an encoder that is not here.", hint="Export the whole model.")
    graph = dialect.builder("decoder", precision)
    products = dialect.products(
        graph, precision, head=head, quantize=quantize, pair=pair, byte_activations=byte_activations
    )
    reach = min(positions or config.max_position_embeddings, config.max_position_embeddings)
    heads = dialect.heads(graph)
    heads.open_cache(ragged_steps=ragged_steps, scales=cache)
    decoder = _Decoder(model, family, graph, products, heads, positions=reach)
    return decoder.build(candidates)


@dataclass(frozen=True)
class _Stream:
    """What flows from sublayer to sublayer: names of the sum of all so far, and of its norm that the next one reads."""

    total: str
    normed: str


@dataclass(frozen=True)
class _Step:
    """A sublayer of the model.

    Attributes:
        name: of the layer.
        layer: number of the layer whose attention it is; None: it is a feed-forward network.
        norm: before it.
        after: the norm of what it gives; empty: there is none.
        constant: (hidden,) what sublayers add that stood behind it and were removed; empty: nothing.
    """

    name: str
    layer: int | None
    norm: str
    after: str
    constant: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))


class _Decoder:
    def __init__(
        self,
        model: PreTrainedModel,
        family: DecoderFamily,
        graph: GraphBuilder,
        products: Products,
        heads: Heads,
        *,
        positions: int,
    ) -> None:
        self.model, self.family, self.graph, self.products = model, family, graph, products
        self.config: Any = model.config
        self.positions = positions
        graph.input(IDS, np.int64, ("batch", "sequence"), "tokens")
        graph.input(MASK, np.int64, ("batch", "total"), "mask")
        if family.places:
            graph.input(PLACES, np.int64, ("batch", "sequence"), "positions")
        graph.input(ROWS, np.int64, ("batch", "rows"), "rows")
        vocabulary = self._weight_of_head().shape[0]
        graph.output(LOGITS, np.float32, ("batch", "rows", vocabulary), "logits")
        self.wanted = graph.node("Unsqueeze", [ROWS, graph.constant("last_axis", [-1])], "rows")
        self.attention = Attention(model, family, graph, products, heads, positions=positions)

    def build(self, candidates: int) -> GeneratorGraph:
        """All of it."""
        family = self.family
        table, full = self._table(candidates)
        total = self._embed(table, full)
        steps, first = self._steps()
        attending = [number for number, step in enumerate(steps) if step.layer is not None]
        last = attending[-1] if attending else -1
        total = self._add_constant(total, first, f"{family.body}.{family.words}")
        if last < 0:  # what comes after the last attention is wanted at some places alone
            total = self._at_rows(total)
        norms = [step.norm for step in steps] + [f"{family.body}.{family.last_norm}"]
        stream = _Stream(total, self._norm(total, norms[0]))
        for number, step in enumerate(steps):
            total = stream.total
            if step.layer is None:
                output = self._feed_forward(step.name, stream.normed)
            else:
                mixed = self.attention.attend(step.layer, step.name, stream.normed)
                if number == last:
                    mixed, total = self._at_rows(mixed), self._at_rows(total)
                output = self._product(mixed, f"{step.name}.{family.attention_output}")
            stream = self._add(output, total, step, norms[number + 1])
        self._head(stream.normed, table, full, candidates)
        return self.graph.finish()

    def _steps(self) -> tuple[list[_Step], np.ndarray]:
        """The sublayers that are there, in order, and what those before the first that were removed add, (hidden,)."""
        family = self.family
        steps: list[_Step] = []
        first = np.zeros(0, np.float32)
        for index in range(self.config.num_hidden_layers):
            name = f"{family.body}.{family.layers}.{index}"
            for layer, output, norm, after in (
                (index, family.attention_output, family.attention_norm, family.after_attention),
                (None, family.down, family.feed_forward_norm, family.after_feed_forward),
            ):
                constant = constant_of(self.model.get_submodule(f"{name}.{output}"))
                if constant is None:
                    steps.append(_Step(name, layer, f"{name}.{norm}", f"{name}.{after}" if after else ""))
                elif not steps:
                    first = _sum(first, constant)
                else:
                    steps[-1] = replace(steps[-1], constant=_sum(steps[-1].constant, constant))
        return steps, first

    def _table(self, candidates: int) -> tuple[Table, FullRows | None]:
        """The table of tokens and, for candidates, what rounding left of it."""
        name = f"{self.family.body}.{self.family.words}"
        rows = to_array(self._words().weight)
        table = self.products.table(name, rows)
        if table.made is None or not candidates or not self._is_tied():
            return table, None
        return table, FullRows(self.products, table, rows, table.made)

    def _embed(self, table: Table, full: FullRows | None) -> str:
        graph, family = self.graph, self.family
        words = self._words()
        total = full.look_up(IDS) if full else self.products.look_up(table, IDS)
        scale = getattr(words, "scalar_embed_scale", None)
        if scale is not None:
            total = graph.node("Mul", [total, graph.constant(f"{table.name}.scale", np.float32(scale))], table.name)
        if family.places:
            place = f"{family.body}.{family.places}"
            rows = to_array(self.model.get_submodule(place).get_parameter("weight"))[: self.positions]
            small = self.products.precision.name != "fp32"
            stored = graph.raw_constant(f"{place}.weight", rows.astype(np.float16) if small else rows)
            found = graph.node("Gather", [stored, PLACES], place, axis=0)
            if small and graph.float_type == np.float32:
                found = graph.cast(found, np.float32, place)
            total = graph.node("Add", [total, found], place)
        return total

    def _feed_forward(self, name: str, source: str) -> str:
        graph, family = self.graph, self.family
        place = f"{name}.mlp"
        kinds = (getattr(self.config, key, None) for key in ("hidden_activation", "hidden_act", "activation_function"))
        kind = next(filter(None, kinds))
        active = self._product(source, f"{name}.{family.gate or family.up}")
        active = graph.activation(active, kind, place)
        if family.gate:  # two products: the Split after one of both would cost more
            active = graph.node("Mul", [active, self._product(source, f"{name}.{family.up}")], place)
        return self._product(active, f"{name}.{family.down}")

    def _product(self, source: str, name: str) -> str:
        return self.products.linear(source, product_of(name, self.model.get_submodule(name)))

    def _norm(self, source: str, name: str) -> str:
        return self.graph.norm(source, norm_of(name, self.model.get_submodule(name), self.family.norm_offset))

    def _add(self, output: str, total: str, step: _Step, following: str) -> _Stream:
        """Add a sublayer's output, normed where the family does so, and norm the sum for what follows."""
        if step.after:
            output = self._norm(output, step.after)
        output = self._add_constant(output, step.constant, step.name)
        norm = norm_of(following, self.model.get_submodule(following), self.family.norm_offset)
        normed, total = self.graph.add_norm(output, total, norm)
        return _Stream(total, normed)

    def _add_constant(self, source: str, constant: np.ndarray, name: str) -> str:
        """A value with what removed sublayers add behind it."""
        if not constant.size:
            return source
        return self.graph.node("Add", [source, self.graph.constant(f"{name}.removed", constant)], name)

    def _at_rows(self, source: str) -> str:
        """(batch, rows, width) of (batch, sequence, width)."""
        return self.graph.node("GatherND", [source, self.wanted], "rows", batch_dims=1)

    def _weight_of_head(self) -> Any:
        head: Any = self.model.get_output_embeddings()
        return head.weight

    def _words(self) -> Any:
        return self.model.get_submodule(f"{self.family.body}.{self.family.words}")

    def _is_tied(self) -> bool:
        return self._weight_of_head() is self._words().weight

    def _head(self, source: str, table: Table, full: FullRows | None, candidates: int) -> None:
        graph = self.graph
        if self._is_tied():
            logits = self.products.project(source, table, "lm_head")
            logits = full.correct(source, logits, min(candidates, table.rows)) if full else logits
        else:
            head = product_of("lm_head", self.model.get_submodule("lm_head"))
            logits = self.products.linear(source, head, precision=self.products.head)
        cap = getattr(self.config, "final_logit_softcapping", None)
        if cap:
            limit = graph.constant("lm_head.softcap", np.float32(cap))
            capped = graph.node("Tanh", [graph.node("Div", [logits, limit], "lm_head")], "lm_head")
            logits = graph.node("Mul", [capped, limit], "lm_head")
        if graph.float_type != np.float32:
            logits = graph.cast(logits, np.float32, "lm_head")
        rename_value(graph.model, logits, LOGITS)


def _sum(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Of two constants, of which an empty one is nothing."""
    return left + right if left.size and right.size else left if left.size else right
