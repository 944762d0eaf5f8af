"""How many weights a model that writes reads for a token: what decides its speed where memory does, and its size."""

from __future__ import annotations

from transformers import PreTrainedModel

from edgelm.anatomy import Sublayer, sublayers
from edgelm.token_cost import TokenCost


def count_weights(model: PreTrainedModel) -> TokenCost:
    """Weights of the matrices that one token is multiplied with, in 10^6: those of both stacks of an encoder-decoder,
    and of the head."""
    units: dict[str, dict[str, float]] = {}
    for _, sublayer in sublayers(model):
        units.setdefault(sublayer.layer.stack, {}).setdefault(sublayer.kind, _weights(sublayer) / sublayer.units / 1e6)
    head = model.get_output_embeddings().weight
    return TokenCost("10^6 weights", head.numel() / 1e6, units, vocabulary=len(head))


def _weights(sublayer: Sublayer) -> int:
    return sum(part.out_features * part.in_features for part in (*sublayer.inputs, sublayer.output))
