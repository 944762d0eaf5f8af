"""Fewer layers: whole ones are dropped from their stack, in place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from edgelm.anatomy.families.family import Family
from edgelm.anatomy.families.table import stacks_of
from edgelm.anatomy.layer import Layer
from edgelm.anatomy.layers import base_model, model_layers, require_own_weights
from edgelm.errors import UsageError


def keep_layers(model: PreTrainedModel, layers: Sequence[int]) -> None:
    """Drop all layers but these, in place.

    Args:
        layers: by their numbers in `model_layers`, which counts an encoder-decoder's encoder first.

    Raises:
        UnsupportedFamily: the layers share their weights.
        UsageError: none is left of a stack.
    """
    kept = sorted(set(layers))
    if kept == list(range(len(model_layers(model)))):
        return
    require_own_weights(model, "none of them can be dropped")
    settings = layer_settings(model, kept)
    for entry, value in settings.items():
        setattr(model.config, entry, value)
    base, begin = base_model(model), 0
    for stack in stacks_of(model.config):
        parent, _, name = stack.layers.rpartition(".")
        holder = base.get_submodule(parent)
        old = list(base.get_submodule(stack.layers).children())
        own = [index - begin for index in kept if begin <= index < begin + len(old)]
        begin += len(old)
        if not own:
            raise UsageError(
                f"no layer of the {stack.stack} is to be kept.", hint=f"Keep at least one of its {len(old)}."
            )
        setattr(holder, name, nn.ModuleList(_kept(stack, old, own)))
        config = getattr(holder, "config", None)
        if config is not None and config is not model.config:  # T5's stacks have copies, each with its own depth
            for entry, value in (settings | {"num_hidden_layers": len(own)}).items():
                setattr(config, entry, value)


def _kept(stack: Family, old: Sequence[nn.Module], own: Sequence[int]) -> list[nn.Module]:
    """The layers of a stack that stay, by their numbers in it, ready for their new places."""
    for path in stack.first_only:
        _hand_on(old[0], old[own[0]], path)
    for number, index in enumerate(own):
        _renumber(Layer(old[index], stack), number)
    return [old[index] for index in own]


def _hand_on(first: nn.Module, new: nn.Module, path: str) -> None:
    """Give what the first layer has for all of them to the layer that comes first from now on."""
    if first is new:
        return
    holder, _, name = path.rpartition(".")
    new.get_submodule(holder).add_module(name, first.get_submodule(path))
    setattr(new.get_submodule(holder), f"has_{name}", True)
    setattr(first.get_submodule(holder), f"has_{name}", False)
    delattr(first.get_submodule(holder), name)


def _renumber(layer: Layer, number: int) -> None:
    """Tell the modules of a layer its new number, by which they find their place in the cache.

    Where scores are divided by the number too (GPT-2 can), the queries take over the difference.
    """
    module: Any
    for module in layer.root.modules():
        old = getattr(module, "layer_idx", None)
        if not isinstance(old, int):
            continue
        module.layer_idx = number
        if getattr(module, "scale_attn_by_inverse_layer_idx", False):
            ratio = (number + 1) / (old + 1)
            query = layer.projection("query")
            for values in (query.weight, query.bias):
                if values is not None:
                    values.data.mul_(ratio)
            module.scaling /= ratio


def layer_settings(model: PreTrainedModel, layers: Sequence[int]) -> dict[str, object]:
    """The entries of a configuration that speak of layers, for a model that has only these."""
    settings: dict[str, object] = {}
    begin = 0
    for stack in stacks_of(model.config):
        count = len(list(base_model(model).get_submodule(stack.layers).children()))
        kept = sorted(index - begin for index in layers if begin <= index < begin + count)
        begin += count
        settings[stack.config_layers] = len(kept)
        if stack.config_groups is not None:
            settings[stack.config_groups] = len(kept)
        for name in stack.config_by_layer:
            values = getattr(model.config, name, None)
            if values is not None:
                settings[name] = [values[index] for index in kept]
    return settings
