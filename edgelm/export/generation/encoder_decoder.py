"""The two graphs of an encoder-decoder.

`encoder` reads the source and gives the keys and values to which the decoder's layers attend, projected once.
`decoder` reads them, new tokens and its own cache, and gives logits: the same for first calls and later ones.
"""

from __future__ import annotations

import numpy as np
from transformers import PreTrainedModel

from edgelm.errors import ModelError
from edgelm.export.generation.builder import GeneratorGraph, Norm
from edgelm.export.generation.candidates import CANDIDATES
from edgelm.export.generation.dialect import ONNXRUNTIME, Dialect
from edgelm.export.generation.encoder_decoder_families import parts_of
from edgelm.export.generation.heads import IDS, LOGITS, MASK, PLACES, ROWS
from edgelm.export.generation.products import Quantize, to_nearest
from edgelm.export.generation.stacks import AttentionParts, EncoderDecoderParts, LayerParts, RemovedParts, StackParts
from edgelm.export.generation.sublayers import SEQUENCE, SOURCES, Stream, Sublayers
from edgelm.export.generation.words import Words
from edgelm.graph.rewrites import rename_value
from edgelm.quantize.blocks import BlockWeight

MEMORY_MASK = "encoder_attention_mask"


def encoder_decoder_graphs(
    model: PreTrainedModel,
    *,
    precision: str = "fp32",
    head: str | None = None,
    candidates: int = CANDIDATES,
    quantize: Quantize = to_nearest,
    dialect: Dialect = ONNXRUNTIME,
) -> dict[str, GeneratorGraph]:
    """Build the graphs of an encoder-decoder, by their names: encoder and decoder. What both read, such as a shared
    table, has one name and equal bytes in both.

    The encoder reads `input_ids` and `attention_mask` (batch, encoder_sequence) and gives `cross.N.key` and `.value`
    (batch, heads, encoder_sequence, head size) for each layer of the decoder.

    The decoder reads `input_ids` (batch, sequence); `attention_mask` (batch, total), 1 for each token that a row has
    after this call, then 0; `position_ids` (batch, sequence), where positions have a table; `logit_positions` (batch,
    rows), the places among the new tokens whose logits are wanted; `encoder_attention_mask` (sources,
    encoder_sequence); the encoder's `cross.N.key` and `.value` of as many sources; and `past_key_values.N.key` and
    `.value` (batch, heads, past, head size). The batch is a multiple of the sources: rows of one source, such as
    beams, stand behind each other. It gives `logits` (batch, rows, vocabulary), FP32, and `present.N.key` and
    `.value`, in the same buffer where past and present are bound to one. First calls may hold rows of any lengths,
    their tokens on the left; later calls one token a row, or several for a batch of one.

    Args:
        precision: of the matrices: fp32, fp16, int8-dynamic, int8-weights or int4.
        head: precision of the tables and the head; None: the products' own or, beside integers, int8-weights.
        candidates: how many of the likeliest tokens have exact logits where the head is in blocks, see
            `edgelm.export.generation.candidates`; 0: none have, and look-ups are rounded.
        quantize: makes the integers of a matrix, by the name of its PyTorch module; asked once for each.
        dialect: the operators that they are written in.

    Raises:
        UnsupportedFamily: the model's type has no row in `encoder_decoder_families`.
        ModelError: the model has an activation that onnxruntime's kernels do not compute, or its decoder was cut so far
            that it never looks at the source.
        UsageError: the precision is none for generators.
    """
    parts = parts_of(model)
    if not any(isinstance(layer.cross, AttentionParts) for layer in parts.decoder.layers):
        raise ModelError(
            "no layer of the decoder attends to the encoder's output any more: what is written does not depend on the "
            "source.",
            hint="Compress the model less: keep one such attention.",
        )
    made: dict[str, BlockWeight] = {}

    def remember(name: str, weight: np.ndarray, bits: int) -> BlockWeight:
        if name not in made:
            made[name] = quantize(name, weight, bits)
        return made[name]

    def writer(name: str) -> Sublayers:
        graph = dialect.builder(name, precision)
        products = dialect.products(graph, precision, head=head, quantize=remember)
        words = Words(products, candidates=candidates, made=made)
        return Sublayers(graph, products, words, dialect.heads(graph))

    return {"encoder": _encoder(parts, writer("encoder")), "decoder": _decoder(parts, writer("decoder"))}


def _encoder(parts: EncoderDecoderParts, write: Sublayers) -> GeneratorGraph:
    graph, stack = write.graph, parts.encoder
    graph.input(IDS, np.int64, ("batch", SEQUENCE), "tokens")
    graph.input(MASK, np.int64, ("batch", SEQUENCE), "mask")
    length = graph.node("Squeeze", [graph.node("Shape", [IDS], "positions", start=1, end=2)], "positions")
    positions = graph.range(length, "positions")
    bias = ""
    if stack.distances is not None:
        of_batch = write.distance_bias(stack.distances, positions, positions, "encoder.position_bias")
        bias = graph.node("Unsqueeze", [of_batch, graph.constant("axis_0", [0])], "encoder.position_bias")
    # Not flat: onnxruntime 1.32 makes a broken Slice of a Gather at a Range.
    tied = stack.table[0] == parts.head.name
    total = write.embed(
        stack, graph.node("Unsqueeze", [positions, graph.constant("axis_0", [0])], "positions"), tied=tied
    )
    stream = Stream(graph, stack.pre_norm, total)
    for layer in stack.layers:
        before_attention, before_feed_forward = layer.norms
        if isinstance(layer.attention, RemovedParts):
            stream.add_removed(layer.attention, before_attention)
        else:
            stream.add(write.attend(layer.attention, stream.read(before_attention), MASK, bias), before_attention)
        _feed_forward(layer, write, stream, before_feed_forward)
    memory = stream.end(stack.last_norm)
    for index, layer in enumerate(parts.decoder.layers):
        if isinstance(layer.cross, AttentionParts):
            write.project_memory(layer.cross, memory, index)
    return graph.finish()


def _feed_forward(layer: LayerParts, write: Sublayers, stream: Stream, norm: Norm | None) -> None:
    if isinstance(layer.feed_forward, RemovedParts):
        stream.add_removed(layer.feed_forward, norm)
    else:
        stream.add(write.feed_forward(layer.feed_forward, stream.read(norm)), norm)


def _decoder(parts: EncoderDecoderParts, write: Sublayers) -> GeneratorGraph:
    graph, stack = write.graph, parts.decoder
    graph.input(IDS, np.int64, ("batch", "sequence"), "tokens")
    graph.input(MASK, np.int64, ("batch", "total"), "mask")
    if stack.places:
        graph.input(PLACES, np.int64, ("batch", "sequence"), "positions")
    graph.input(ROWS, np.int64, ("batch", "rows"), "rows")
    graph.input(MEMORY_MASK, np.int64, (SOURCES, SEQUENCE), "memory-mask")
    graph.output(LOGITS, np.float32, ("batch", "rows", parts.head.weight.shape[1]), "logits")
    rows = graph.node("Concat", [graph.node("Shape", [IDS], "rows"), graph.constant("rest", [-1])], "rows", axis=0)
    write.heads.open_cache()
    bias = _cached_bias(stack, write) if stack.distances is not None else ""
    stream = Stream(graph, stack.pre_norm, write.embed(stack, PLACES, tied=parts.tied))
    for index, layer in enumerate(stack.layers):
        norms = list(layer.norms)
        norm = norms.pop(0)
        if isinstance(layer.attention, RemovedParts):
            stream.add_removed(layer.attention, norm)
        else:
            stream.add(write.attend_cached(layer.attention, stream.read(norm), index, bias), norm)
        if layer.cross is not None:
            norm = norms.pop(0)
            if isinstance(layer.cross, RemovedParts):
                stream.add_removed(layer.cross, norm)
            else:
                stream.add(write.attend_memory(layer.cross, stream.read(norm), index, MEMORY_MASK, rows), norm)
        _feed_forward(layer, write, stream, norms[0])
    wanted = graph.node("Unsqueeze", [ROWS, graph.constant("last_axis", [-1])], "rows")
    states = graph.node("GatherND", [stream.end(stack.last_norm), wanted], "rows", batch_dims=1)
    logits = write.words.logits(states, parts.head, tied=parts.tied)
    if graph.float_type != np.float32:
        logits = graph.cast(logits, np.float32, "lm_head")
    rename_value(graph.model, logits, LOGITS)
    return graph.finish()


def _cached_bias(stack: StackParts, write: Sublayers) -> str:
    """(batch or 1, heads, sequence, total): the bias by distance between the new tokens and all."""
    place = "decoder.position_bias"
    assert stack.distances is not None
    of_heads = write.distance_bias(stack.distances, *write.heads.slots(), place)
    return write.graph.node("Transpose", [of_heads], place, perm=[1, 0, 2, 3])
