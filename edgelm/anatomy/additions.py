"""What cut models have that a model built from their configuration lacks: found by the names of their saved weights."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import nn
from transformers import PreTrainedModel

from edgelm.anatomy.families.table import family_of
from edgelm.anatomy.head_table import COLUMNS, set_columns
from edgelm.anatomy.layers import base_model, model_layers

State = Mapping[str, torch.Tensor]


def has_additions(model: PreTrainedModel, state: State) -> bool:
    """Whether saved weights, by the model's names with or without its prefix, hold more than the model has room
    for."""
    names, own = _bare_names(model, state), base_model(model).state_dict()
    return _wider_table(model, names) is not None or bool(_possible(model) & names.keys() - own.keys())


def make_room(model: PreTrainedModel, state: State) -> None:
    """Make what saved weights hold besides, in place: biases of output projections, the norm of a layer that was not
    the first, and the columns of a table of heads that a layer reads. The values are not filled in."""
    names, family = _bare_names(model, state), family_of(model.config.model_type)
    for index, layer in enumerate(model_layers(model)):
        start = f"{family.layers}.{index}"
        for path, sublayer in zip((family.attention_output, family.ffn_out), layer.sublayers, strict=True):
            if f"{start}.{path}.bias" in names:
                sublayer.output.ensure_bias()
        columns = names.get(f"{start}.{family.attention}.{COLUMNS}")
        if family.head_table is not None and columns is not None:
            set_columns(layer.root.get_submodule(family.attention), columns)
    if f"{family.layers}.0.{family.first_norm}.weight" in names:
        add_first_norm(model)
    table = _wider_table(model, names)
    if table is not None:
        set_head_table(model, table)


def add_first_norm(model: PreTrainedModel) -> None:
    """Give the first layer the norm that the first layers of its family lack: it was not the first of the model that
    it comes from."""
    family, layer = family_of(model.config.model_type), model_layers(model)[0].root
    if family.first_norm is not None and isinstance(layer.get_submodule(family.first_norm), nn.Identity):
        alike = next(module for module in base_model(model).modules() if isinstance(module, nn.LayerNorm))
        layer.set_submodule(family.first_norm, copy.deepcopy(alike))


def set_head_table(model: PreTrainedModel, weight: torch.Tensor) -> None:
    """Put in a table (rows, heads) of another number of heads than the configuration's."""
    table = family_of(model.config.model_type).head_table
    if table is not None:
        base_model(model).set_submodule(table, nn.Embedding.from_pretrained(weight.detach().clone(), freeze=False))


def _bare_names(model: PreTrainedModel, state: State) -> dict[str, torch.Tensor]:
    """Weights by names without the base model's prefix."""
    return {name.removeprefix(f"{model.base_model_prefix}."): tensor for name, tensor in state.items()}


def _possible(model: PreTrainedModel) -> set[str]:
    """Names that a model may have besides those of its family, without the base model's prefix."""
    family = family_of(model.config.model_type)
    found = {f"{family.layers}.0.{family.first_norm}.weight"} if family.first_norm is not None else set()
    for index in range(len(model_layers(model))):
        start = f"{family.layers}.{index}"
        found |= {f"{start}.{path}.bias" for path in (family.attention_output, family.ffn_out)}
        if family.head_table is not None:
            found.add(f"{start}.{family.attention}.{COLUMNS}")
    return found


def _wider_table(model: PreTrainedModel, names: State) -> torch.Tensor | None:
    """A saved table of heads that has another number of them than the model's, where layers say which they read."""
    table = family_of(model.config.model_type).head_table
    if table is None or f"{table}.weight" not in names or not any(name.endswith(f".{COLUMNS}") for name in names):
        return None
    saved, own = names[f"{table}.weight"], base_model(model).get_parameter(f"{table}.weight")
    return saved if saved.shape[0] == own.shape[0] and saved.shape != own.shape else None
