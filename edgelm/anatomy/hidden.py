"""A narrower residual stream: the same dimensions are cut out of everything that reads or writes it, in a copy."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from edgelm.anatomy.families.family import Family
from edgelm.anatomy.families.table import stacks_of
from edgelm.anatomy.layer import Sublayer
from edgelm.anatomy.layers import base_model, model_layers
from edgelm.anatomy.matrices import own_head
from edgelm.anatomy.projection import Projection
from edgelm.errors import UnsupportedFamily

_HEAD_NORMS = ("q_norm", "k_norm")  # of single heads, which never see the stream
_WIDTHS = ("hidden_size", "embed_dim", "d_model", "model_dim", "n_embd")  # attributes in which modules keep it


def hidden_size(model: PreTrainedModel) -> int:
    """Width of a model's residual stream."""
    return int(getattr(model.config, stacks_of(model.config)[0].config_hidden))


def hidden_step(model: PreTrainedModel) -> int:
    """What a hidden size must be a multiple of, for the configuration of the family to say it.

    Raises:
        UnsupportedFamily: no other hidden size can be said.
    """
    family = stacks_of(model.config)[0]
    if not family.tables:
        raise UnsupportedFamily(
            f"the hidden size of {model.config.model_type} cannot be cut: its positions are computed from that size.",
            hint="Leave the stage hidden out of the recipe; depth and fit cut its layers.",
        )
    if not family.hidden_of_heads:
        return 1
    return math.lcm(*(int(getattr(model.config, stack.config_heads)) for stack in stacks_of(model.config)))


def narrow(model: PreTrainedModel, dims: torch.Tensor) -> PreTrainedModel:
    """A copy of a model that writes whose residual stream has these dimensions alone; heads and channels stay.

    Dimensions that are zero in every state count for nothing: what a norm gives for the others stays the same, though
    it divides by the root of a mean over fewer; what a LayerNorm gives does where the mean of every state is zero.
    For that the stream of a model whose norms stand before the sublayers is made √(kept / all) as long, and norms make
    up for it; where norms stand behind the sums, their weights do. What the head reads stays as long as it was.

    Args:
        dims: indices, sorted.

    Raises:
        UnsupportedFamily: as `hidden_step`.
    """
    hidden_step(model)
    smaller = copy.deepcopy(model)
    cut = _Cut(smaller, dims, math.sqrt(len(dims) / hidden_size(model)))
    with torch.no_grad():
        cut.layers()
        cut.norms()
        cut.tables()
    cut.settings()
    return smaller


def last_norm(model: PreTrainedModel) -> nn.Module:
    """The norm whose output the head reads."""
    family = stacks_of(model.config)[-1]
    if family.last_norm is not None:
        return base_model(model).get_submodule(family.last_norm)
    norm = model_layers(model)[-1].output_norm
    assert norm is not None  # one of the two has it
    return norm


def stream_norms(model: PreTrainedModel) -> list[tuple[str, nn.Module]]:
    """The norms whose outputs layers and the head read, each with the name of its stack; not those that only a
    sublayer's output goes through."""
    stacks, after = stacks_of(model.config), _norms_after(model)
    return [
        ("encoder" if len(stacks) > 1 and name.startswith("encoder.") else "decoder", norm)
        for name, norm in _named_norms(base_model(model))
        if id(norm) not in after
    ]


def _norms_after(model: PreTrainedModel) -> set[int]:
    """Which norms, by identity, stand between a sublayer and the sum."""
    return {
        id(layer.root.get_submodule(sublayer.norm_after))
        for layer in model_layers(model)
        for sublayer in layer.sublayers
        if sublayer.norm_after is not None
    }


@dataclass(frozen=True)
class _Cut:
    """One cut of a model, in place; the parts each do theirs.

    Attributes:
        share: √(kept / all).
    """

    model: PreTrainedModel
    dims: torch.Tensor
    share: float

    @property
    def family(self) -> Family:
        return stacks_of(self.model.config)[0]

    @property
    def length(self) -> float:
        """What the stream is made as long as."""
        return 1.0 if self.family.output_norm is not None else self.share

    def layers(self) -> None:
        """Matrices and biases of every layer."""
        for layer in model_layers(self.model):
            for sublayer in layer.sublayers:
                constant = self._constant(sublayer)
                for projection in sublayer.readers:
                    if constant is not None and projection.bias is not None:
                        projection.bias.add_(projection.weight[:, self._gone] @ constant)
                    projection.keep_inputs(self.dims)
                output = sublayer.output
                bias = None if output.bias is None else output.bias[self.dims] * self.length
                output.replace(output.weight[self.dims] * self.length, bias)

    @property
    def _gone(self) -> torch.Tensor:
        kept = torch.ones(hidden_size(self.model), dtype=torch.bool)
        kept[self.dims] = False
        return kept.nonzero().flatten()

    def _constant(self, sublayer: Sublayer) -> torch.Tensor | None:
        """What the norm before a sublayer adds to the dimensions that go, which biases take over; None: nothing."""
        if sublayer.norm_before is None:
            return None
        bias = getattr(sublayer.layer.root.get_submodule(sublayer.norm_before), "bias", None)
        return None if bias is None else bias[self._gone]

    def norms(self) -> None:
        """Weights of all norms of the stream, so that what they give keeps its length."""
        after = _norms_after(self.model)
        last, offset = last_norm(self.model), self.family.norm_offset
        for _, module in _named_norms(base_model(self.model)):
            norm: Any = module
            # What a norm behind a sublayer gives is added to the stream, and so is as much shorter as that is.
            factor = 1.0 if id(norm) in after else 1 / self.share
            tail = self._before_head() if norm is last else 1.0
            weight = (norm.weight[self.dims] + offset) * factor * tail - offset
            norm.weight = nn.Parameter(weight)
            if getattr(norm, "bias", None) is not None:
                norm.bias = nn.Parameter(norm.bias[self.dims] * tail)
            if isinstance(norm, nn.LayerNorm):
                norm.normalized_shape = (len(self.dims),)

    def _before_head(self) -> float:
        """What makes up for a head that is the table of tokens, and for logits that the model divides by √hidden."""
        tied = self.model.get_output_embeddings() is not None and own_head(self.model) is None
        table = self._table_length(self.model.get_input_embeddings()) if tied else 1.0
        return (self.share if getattr(self.model.config, "scale_decoder_outputs", False) else 1.0) / table

    def _table_length(self, table: Any) -> float:
        """What a table's rows are made as long as: some families multiply them by √hidden."""
        scaled = abs(float(getattr(table, "embed_scale", 1.0)) - 1) > 0
        return self.length / self.share if scaled else self.length

    def tables(self) -> None:
        """Embeddings, each once, and a head of its own."""
        base, done = base_model(self.model), dict[int, nn.Parameter]()
        head = own_head(self.model)
        if head is not None:
            Projection.of(head).keep_inputs(self.dims)
        weights = {id(base.get_submodule(path).weight) for path in self.family.tables}
        for module in self.model.modules():
            table: Any = module
            old = getattr(table, "weight", None)
            if old is None or id(old) not in weights:
                continue
            if id(old) not in done:
                length = self._table_length(base.get_submodule(self._path_of(old)))
                done[id(old)] = nn.Parameter((old[:, self.dims] * length).contiguous())
            table.weight = done[id(old)]
            if isinstance(table, nn.Embedding):
                table.embedding_dim = len(self.dims)
            else:
                table.in_features = len(self.dims)

    def _path_of(self, weight: torch.Tensor) -> str:
        base = base_model(self.model)
        return next(path for path in self.family.tables if base.get_submodule(path).weight is weight)

    def settings(self) -> None:
        """Sizes in configurations and modules, and the roots of them that some embeddings are multiplied by."""
        old, new = hidden_size(self.model), len(self.dims)
        layer = model_layers(self.model)[0]
        for module in self.model.modules():
            held: Any = module
            for name in _WIDTHS:
                if type(vars(held).get(name)) is int and vars(held)[name] == old:
                    setattr(held, name, new)
            for name in ("embed_scale", "scalar_embed_scale"):
                value = getattr(held, name, None)
                if value is None or float(value) == 1:
                    continue
                scaled = float(value) * self.share
                setattr(held, name, torch.full_like(value, scaled) if torch.is_tensor(value) else scaled)
        for config in _configurations(self.model):
            setattr(config, self.family.config_hidden, new)
            if self.family.rotary:
                config.head_dim = layer.head_size


def _named_norms(base: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The norms of whole states: not those of single heads, nor what a cut left of some."""
    for name, module in base.named_modules():
        if type(module).__name__.endswith("Norm") and name.rpartition(".")[2] not in _HEAD_NORMS:
            yield name, module


def _configurations(model: PreTrainedModel) -> list[Any]:
    """The configuration of a model, and copies that its stacks have of it."""
    found: dict[int, Any] = {}
    for module in model.modules():
        config = getattr(module, "config", None)
        if config is not None:
            found[id(config)] = config
    return list(found.values())
