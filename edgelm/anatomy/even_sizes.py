"""A configuration that says what is left of layers that were all cut alike: such a model is a plain one again, which
any tool reads."""

from __future__ import annotations

from transformers import PreTrainedModel

from edgelm.anatomy.families.family import Family
from edgelm.anatomy.families.table import stacks_of
from edgelm.anatomy.layer import Layer
from edgelm.anatomy.layers import model_layers


def settle_sizes(model: PreTrainedModel) -> None:
    """Let the configuration of a model that writes have the heads and channels that every layer has, where all have as
    many, in place; what differs from layer to layer stays for `edgelm_layers`."""
    layers = model_layers(model)
    widths: dict[str, set[int]] = {}
    for stack in stacks_of(model.config):
        own = [layer for layer in layers if layer.stack == stack.stack]
        widths.setdefault(stack.config_ffn, set()).update(layer.ffn for layer in own)
        _settle_heads(model, stack, own)
    for name, found in widths.items():
        if len(found) == 1 and 0 not in found:
            _set(model, name, *found)


def _settle_heads(model: PreTrainedModel, stack: Family, layers: list[Layer]) -> None:
    groups = {layer.heads for layer in layers}
    if stack.config_kv_heads is None or len(groups) != 1 or 0 in groups:
        return
    size = layers[0].head_size
    (queries,) = {layer.projection("query").out_features // size for layer in layers}
    # Some configurations refuse heads that the hidden size is no multiple of, though their size is told.
    if getattr(model.config, stack.config_heads) != queries and model.config.hidden_size % queries == 0:
        model.config.head_dim = size
        setattr(model.config, stack.config_heads, queries)
        setattr(model.config, stack.config_kv_heads, *groups)


def _set(model: PreTrainedModel, name: str, value: int) -> None:
    """In the model's configuration, in those that its stacks have of their own, and in modules that keep it."""
    for module in model.modules():
        if type(vars(module).get(name)) is int:
            setattr(module, name, value)
        config = getattr(module, "config", None)
        if config is not None and getattr(config, name, value) != value:
            setattr(config, name, value)
