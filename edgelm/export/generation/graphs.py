"""The graphs of a model that writes: of a decoder alone, or of an encoder and a decoder."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedModel

from edgelm.export.generation.builder import GeneratorGraph
from edgelm.export.generation.cache_scales import CacheScale
from edgelm.export.generation.decoder import decoder_graph
from edgelm.export.generation.dialect import ONNXRUNTIME, Dialect
from edgelm.export.generation.encoder_decoder import encoder_decoder_graphs
from edgelm.export.generation.products import Quantize, to_nearest
from edgelm.runtime.generation.decoder import DECODER


def generator_graphs(
    model: PreTrainedModel,
    *,
    precision: str,
    positions: int,
    head: str | None = None,
    quantize: Quantize = to_nearest,
    cache: Sequence[CacheScale] = (),
    dialect: Dialect = ONNXRUNTIME,
) -> dict[str, GeneratorGraph]:
    """Build the graphs, by the names that the runtime asks for.

    Args:
        precision, head: of the dialect's, see its `Products`.
        positions: the longest text, prompt and answer together; an encoder-decoder reads as far as its model.
        quantize: makes the integers of a matrix.
        cache: of a decoder alone, see `decoder_graph`.
        dialect: the operators that they are written in.

    Raises:
        UnsupportedFamily, ModelError, UsageError: as `decoder_graph` and `encoder_decoder_graphs`.
    """
    if model.config.is_encoder_decoder:
        return encoder_decoder_graphs(model, precision=precision, head=head, quantize=quantize, dialect=dialect)
    graph = decoder_graph(
        model, precision=precision, head=head, positions=positions, quantize=quantize, cache=cache, dialect=dialect
    )
    return {DECODER: graph}
