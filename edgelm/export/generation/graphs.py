"""The graphs of a model that writes: of a decoder alone, or of an encoder and a decoder."""

from __future__ import annotations

from transformers import PreTrainedModel

from edgelm.export.generation.builder import GeneratorGraph
from edgelm.export.generation.decoder import decoder_graph
from edgelm.export.generation.encoder_decoder import encoder_decoder_graphs
from edgelm.export.generation.products import Quantize, to_nearest
from edgelm.runtime.generation.decoder import DECODER


def generator_graphs(
    model: PreTrainedModel, *, precision: str, positions: int, quantize: Quantize = to_nearest
) -> dict[str, GeneratorGraph]:
    """Build the graphs, by the names that the runtime asks for.

    Args:
        precision: see `edgelm.export.generation.products.Products`.
        positions: the longest text, prompt and answer together; an encoder-decoder reads as far as its model.
        quantize: makes the integers of a matrix.

    Raises:
        UnsupportedFamily, ModelError, UsageError: as `decoder_graph` and `encoder_decoder_graphs`.
    """
    if model.config.is_encoder_decoder:
        return encoder_decoder_graphs(model, precision=precision, quantize=quantize)
    return {DECODER: decoder_graph(model, precision=precision, positions=positions, quantize=quantize)}
