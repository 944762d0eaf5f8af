"""A student cut out of a model: the dimensions, heads and channels through which most passes, in every matrix that they
run through."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedModel

from edgelm.anatomy import Layer, Projection, family_of, model_layers
from edgelm.anatomy.additions import add_first_norm, set_head_table
from edgelm.anatomy.depth import layer_settings
from edgelm.anatomy.head_table import columns_of, set_columns
from edgelm.anatomy.layers import base_model
from edgelm.compress.pruning.activation_scores import Activity
from edgelm.compress.pruning.student_shape import Shape

_PROJECTIONS = ("query", "key", "value", "attention_output", "ffn_in", "ffn_gate", "ffn_out")


@dataclass(frozen=True)
class LayerCut:
    """What of one layer stays, as sorted indices; `scores` and `values` are dimensions of the heads, the first read by
    query and key."""

    heads: torch.Tensor
    scores: torch.Tensor
    values: torch.Tensor
    channels: torch.Tensor


def cut_to_sizes(model: PreTrainedModel, shape: Shape, activity: Activity) -> tuple[PreTrainedModel, list[LayerCut]]:
    """A student of this shape with the model's own weights (the model stays as it is), and what was kept of each of its
    layers.

    One set of hidden dimensions is kept everywhere, since the residual stream joins all layers. Where heads get
    narrower, queries grow by √(new size / old size), because attention divides by the root of the head's size.
    """
    dims = _top(activity.hidden, shape.hidden)
    sources = [model_layers(model)[layer] for layer in shape.layers]
    cuts = [
        _choose(source, layer, index, shape, activity)
        for index, (source, layer) in enumerate(zip(sources, shape.layers, strict=True))
    ]
    with torch.random.fork_rng(devices=[]):  # the random weights that a new model begins with leave no trace
        student = type(model)(_config_of(model, shape))
    for own, heads, ffn in zip(model_layers(student), shape.heads, shape.ffn, strict=True):
        own.cut(heads=range(heads), ffn=range(ffn))
    _make_room(student, model, sources, cuts)
    with torch.no_grad():
        for own, source, kept in zip(model_layers(student), sources, cuts, strict=True):
            _copy_layer(own, source, kept, dims)
        _copy_rest(student, model, dims)
    return student.eval(), cuts


def _make_room(
    student: PreTrainedModel, model: PreTrainedModel, sources: Sequence[Layer], cuts: Sequence[LayerCut]
) -> None:
    """Give a student what its layers have that the family's lack: a norm before the first, and columns of their own in
    a table of all heads, which stays whole."""
    family = family_of(model.config.model_type)
    first = sources[0].root
    if family.first_norm is not None and list(first.get_submodule(family.first_norm).parameters()):
        add_first_norm(student)
    if family.head_table is None:
        return
    table = base_model(model).get_parameter(f"{family.head_table}.weight")
    set_head_table(student, table)
    for own, source, cut in zip(model_layers(student), sources, cuts, strict=True):
        columns = columns_of(source.root.get_submodule(family.attention), source.heads)[cut.heads]
        if len(columns) and columns.tolist() != list(range(table.shape[1])):
            set_columns(own.root.get_submodule(family.attention), columns)


def _top(scores: torch.Tensor, count: int) -> torch.Tensor:
    """Sorted indices of the highest scores."""
    return scores.argsort(descending=True, stable=True)[:count].sort().values


def _choose(source: Layer, layer: int, index: int, shape: Shape, activity: Activity) -> LayerCut:
    """The heads that write most, in each of them the dimensions that score and write most, and the channels that write
    most."""
    by_head = activity.values[layer].view(source.heads, source.head_size)
    heads = _top(by_head.sum(dim=1), shape.heads[index])

    def inside(values: torch.Tensor) -> torch.Tensor:
        table = values.view(source.heads, source.head_size)
        rows = [head * source.head_size + _top(table[head], shape.head_size) for head in heads.tolist()]
        return torch.cat(rows) if rows else heads

    return LayerCut(
        heads=heads,
        scores=inside(activity.scores[layer]),
        values=inside(activity.values[layer]),
        channels=_top(activity.channels[layer], shape.ffn[index]),
    )


def _config_of(model: PreTrainedModel, shape: Shape) -> object:
    """The model's configuration with the student's sizes. Layers that have fewer heads or channels are recorded beside
    it."""
    family = family_of(model.config.model_type)
    sizes: dict[str, object] = {
        family.config_hidden: shape.hidden,
        family.config_heads: shape.hidden // shape.head_size,
        family.config_ffn: max(*shape.ffn, 1),
    }
    sizes |= layer_settings(model, shape.layers)
    values = model.config.to_dict()
    # Widths that follow the hidden size: ELECTRA's embeddings without a projection between the two, DeBERTa's pooler.
    for name in ("embedding_size", "pooler_hidden_size"):
        if values.get(name) == model.config.hidden_size:
            sizes[name] = shape.hidden
    return type(model.config).from_dict(values | sizes)


def _copy_layer(own: Layer, source: Layer, kept: LayerCut, dims: torch.Tensor) -> None:
    rows = {
        "query": kept.scores,
        "key": kept.scores,
        "value": kept.values,
        "attention_output": dims,
        "ffn_in": kept.channels,
        "ffn_gate": kept.channels,
        "ffn_out": dims,
    }
    columns = {"attention_output": kept.values, "ffn_out": kept.channels}
    done = set()
    for path in own.head_inputs:
        target, origin = (Projection.of(each.root.get_submodule(path)) for each in (own, source))
        _copy(target, origin, kept.scores, dims, 1.0)
        done |= {id(parameter) for parameter in target.module.parameters()}
    for part in _PROJECTIONS:
        if part == "ffn_gate" and own.family.ffn_gate is None:
            continue
        target, origin = own.projection(part), source.projection(part)
        scale = math.sqrt(own.head_size / source.head_size) if part == "query" else 1.0
        _copy(target, origin, rows[part], columns.get(part, dims), scale)
        done |= {id(parameter) for parameter in target.module.parameters()}
    for name, parameter in own.root.named_parameters():  # LayerNorms
        if id(parameter) not in done:
            parameter.copy_(_slice(source.root.get_parameter(name), parameter.shape, [dims]))


def _copy(target: Projection, origin: Projection, rows: torch.Tensor, columns: torch.Tensor, scale: float) -> None:
    if origin.bias is not None:
        target.ensure_bias()  # a cut may have made one that the family lacks
    target.weight.copy_(origin.weight[rows][:, columns] * scale)
    if target.bias is not None and origin.bias is not None:
        target.bias.copy_(origin.bias[rows] * scale)


def _copy_rest(student: PreTrainedModel, model: PreTrainedModel, dims: torch.Tensor) -> None:
    """Embeddings, their norm and projection, and the head: wherever a size differs from the model's, it is the hidden
    size.

    A head with a matrix of its own before the classifier has a space of its own between the two: there the dimensions
    stay that the two matrices weigh most.
    """
    inside = {id(parameter) for own in model_layers(student) for parameter in own.root.parameters()}
    linear = {
        name: module
        for name, module in student.named_modules()
        if isinstance(module, nn.Linear) and id(module.weight) not in inside
    }
    changed = {
        name: [a != b for a, b in zip(module.weight.shape, _linear(model, name).weight.shape, strict=True)]
        for name, module in linear.items()
    }
    dense = [name for name, axes in changed.items() if axes == [True, True]]
    readout = [name for name, axes in changed.items() if axes == [False, True]]
    inner = dims
    if dense and readout:
        norms = _linear(model, dense[0]).weight.norm(dim=1) * _linear(model, readout[0]).weight.norm(dim=0)
        inner = _top(norms, len(dims))
    for name, parameter in student.named_parameters():
        if id(parameter) in inside:
            continue
        module = name.rpartition(".")[0]
        axes = [inner if module in dense else dims, inner if dense and module in readout else dims]
        parameter.copy_(_slice(model.get_parameter(name), parameter.shape, axes))


def _linear(model: PreTrainedModel, name: str) -> nn.Linear:
    module = model.get_submodule(name)
    assert isinstance(module, nn.Linear)
    return module


def _slice(tensor: torch.Tensor, shape: torch.Size, axes: list[torch.Tensor]) -> torch.Tensor:
    """A tensor with these indices of every axis that is longer than `shape` says."""
    for axis, (indices, size) in enumerate(zip(axes, shape, strict=False)):
        if tensor.shape[axis] != size:
            tensor = tensor.index_select(axis, indices)
    return tensor
