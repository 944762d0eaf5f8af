"""The layers of a model, all of them or by number, from the input on."""

from __future__ import annotations

from collections.abc import Collection

from torch import nn
from transformers import PreTrainedModel

from edgelm.anatomy.families.table import stacks_of
from edgelm.anatomy.layer import Layer, Sublayer
from edgelm.errors import UnsupportedFamily, UsageError
from edgelm.shapes import LayerShape


def base_model(model: PreTrainedModel) -> nn.Module:
    """The model under the head.

    Raises:
        UnsupportedFamily: the model has none.
    """
    base = model.base_model
    if not isinstance(base, nn.Module):
        raise UnsupportedFamily(f"a {type(model).__name__} has no base model.", hint="Give a model of transformers.")
    return base


def model_layers(model: PreTrainedModel) -> list[Layer]:
    """The layers that have weights of their own, from the input on, of an encoder-decoder the encoder's first. Where
    several share theirs (ALBERT), they are one here, and what is cut of it is cut of all.

    Raises:
        UnsupportedFamily: the architecture has no anatomy.
    """
    stacks = stacks_of(model.config)
    if getattr(model.config, "inner_group_num", 1) != 1:
        raise UnsupportedFamily(
            f"config.json: inner_group_num is {model.config.inner_group_num}, groups of several layers each.",
            hint="edgelm takes ALBERT models with inner_group_num 1, which all published ones have.",
        )
    base = base_model(model)
    return [Layer(layer, stack) for stack in stacks for layer in base.get_submodule(stack.layers).children()]


def require_own_weights(model: PreTrainedModel, what: str) -> None:
    """Refuse a model whose layers share their weights (ALBERT), of which `what` would need some alone.

    Raises:
        UnsupportedFamily: its layers share their weights.
    """
    family = stacks_of(model.config)[0]
    layers = int(getattr(model.config, family.config_layers))
    own = layers if family.config_groups is None else int(getattr(model.config, family.config_groups))
    if own != layers:
        raise UnsupportedFamily(
            f"the {layers} layers of this {model.config.model_type} share {own} set{'s' * (own > 1)} of weights, so "
            f"{what}.",
            hint="Cut its heads and channels in all layers at once (stage prune), its vocabulary, or quantize it; or "
            "teach a student of another family.",
        )


def require_others_behind(layers: Collection[int], count: int, what: str) -> None:
    """Refuse numbers of layers, from 0, that are not there, or of the last one, behind which no other reads.

    Args:
        count: of all layers.
        what: is to be done after them.

    Raises:
        UsageError: there is such a number.
    """
    for number in layers:
        if not 0 <= number < count - 1:
            raise UsageError(
                f"{what} after layer {number + 1} of {count}, behind which no other reads them.",
                hint=f"Give numbers from 1 to {count - 1}." if count > 1 else "The model has one layer alone.",
            )


def sublayers(model: PreTrainedModel) -> list[tuple[int, Sublayer]]:
    """The number of its layer and every sublayer that has units, from the input on.

    Raises:
        UnsupportedFamily: the architecture has no anatomy.
    """
    return [(index, part) for index, layer in enumerate(model_layers(model)) for part in layer.sublayers if part.units]


def layer_shapes(model: PreTrainedModel) -> tuple[LayerShape, ...]:
    """How wide each layer is now."""
    return tuple(layer.shape for layer in model_layers(model))


def parameter_count(model: PreTrainedModel) -> int:
    """Number of weights; shared ones count once."""
    return sum(parameter.numel() for parameter in model.parameters())
