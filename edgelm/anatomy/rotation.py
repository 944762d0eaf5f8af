"""The residual stream in another basis: exact where norms only divide by a length, since lengths do not change.

Source: Ashkboos et al., "SliceGPT: Compress Large Language Models by Deleting Rows and Columns" (2024,
arXiv:2401.15024), section 3. One basis serves all layers here, so nothing has to turn the stream between two of them.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from edgelm.anatomy.families.table import stacks_of
from edgelm.anatomy.hidden import last_norm, stream_norms
from edgelm.anatomy.layer import Sublayer
from edgelm.anatomy.layers import base_model, model_layers, sublayers
from edgelm.anatomy.projection import Projection
from edgelm.errors import UnsupportedFamily


def with_plain_norms(model: PreTrainedModel) -> PreTrainedModel:
    """A copy of a decoder whose norms have no weights to speak of: the matrices that read them have them, and a head
    that was the table of tokens becomes one of its own. It gives the same logits.

    Raises:
        UnsupportedFamily: a norm that also takes away a mean, or that stands where its weights cannot be moved, or an
            encoder-decoder.
    """
    stack = stacks_of(model.config)[0]
    plain = copy.deepcopy(model)
    norms = [norm for _, norm in stream_norms(plain)]
    if model.config.is_encoder_decoder or stack.ffn_after is not None or any(map(_is_centred, norms)):
        raise UnsupportedFamily(
            f"the residual stream of {model.config.model_type} cannot be turned: its norms do more than divide by a "
            "length, or both stacks share its table.",
            hint="Set hidden.method to activations.",
        )
    with torch.no_grad():
        for sublayer, norm in _read_norms(plain):
            for projection in sublayer.readers:
                projection.replace(projection.weight * norm.weight, projection.bias)
            norm.weight.fill_(1.0)
        _own_head(plain, last_norm(plain))
    return plain


def turned(model: PreTrainedModel, basis: torch.Tensor) -> PreTrainedModel:
    """A copy of a model as `with_plain_norms` gives it, whose stream has other coordinates. It gives the same logits.

    Args:
        basis: (hidden, hidden), orthonormal rows, the new dimensions.
    """
    other = copy.deepcopy(model)
    basis = basis.to(next(model.parameters()))
    base = base_model(other)
    head: Any = other.get_output_embeddings()
    with torch.no_grad():
        for path in stacks_of(model.config)[0].tables:
            table = base.get_parameter(f"{path}.weight")
            table.copy_(table @ basis.T)
        head.weight.copy_(head.weight @ basis.T)
        for _, sublayer in sublayers(other):
            for projection in sublayer.readers:
                projection.replace(projection.weight @ basis.T, projection.bias)
        for layer_output in _outputs(other):
            bias = layer_output.bias
            layer_output.replace(basis @ layer_output.weight, None if bias is None else basis @ bias)
    return other


def _is_centred(norm: nn.Module) -> bool:
    return isinstance(norm, nn.LayerNorm) or getattr(norm, "bias", None) is not None


def _read_norms(model: PreTrainedModel) -> Iterator[tuple[Sublayer, Any]]:
    """Every sublayer that has units, and the norm that it reads."""
    for _, sublayer in sublayers(model):
        assert sublayer.norm_before is not None  # of these families all have one
        yield sublayer, sublayer.layer.root.get_submodule(sublayer.norm_before)


def _outputs(model: PreTrainedModel) -> Iterator[Projection]:
    """All output projections, also those that are left of a sublayer that is gone."""
    for layer in model_layers(model):
        for sublayer in layer.sublayers:
            yield sublayer.output


def _own_head(model: PreTrainedModel, norm: Any) -> None:
    """A head with the last norm's weights in it."""
    head: Any = model.get_output_embeddings()
    head.weight = nn.Parameter(head.weight * norm.weight)
    norm.weight.fill_(1.0)
    model.config.tie_word_embeddings = False
    tied: Any = getattr(model, "all_tied_weights_keys", {})
    for name in [name for name in tied if name.endswith("lm_head.weight")]:
        tied.pop(name)
