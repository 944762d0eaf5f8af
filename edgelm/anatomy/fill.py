"""A model of a class and configuration, filled with saved weights, and the report of what fitted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from transformers import PreTrainedModel

from edgelm.anatomy import modeling_edgelm
from edgelm.anatomy.additions import has_additions, make_room
from edgelm.anatomy.exits import exit_paths
from edgelm.anatomy.layers import model_layers
from edgelm.anatomy.weights import State, some
from edgelm.model_folder.generators import READERS
from edgelm.model_folder.own_code import LAYERS_ENTRY
from edgelm.shapes import LayerShape
from edgelm.tasks.task import Task


@dataclass(frozen=True)
class LoadingReport:
    """What did not fit when a model was filled with weights.

    Attributes:
        missing: names of the model without a saved weight; they hold random numbers.
        unexpected: saved names that the model does not have; they were left out.
        mismatched: names whose saved shape is another, with that shape and the model's; they hold random numbers.
    """

    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    mismatched: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...] = ()

    @property
    def random(self) -> tuple[str, ...]:
        """Names of the model that hold random numbers."""
        return tuple(sorted({*self.missing, *(name for name, _, _ in self.mismatched)}))

    def __str__(self) -> str:
        shapes = [f"{name} is {saved} where the model has {own}" for name, saved, own in self.mismatched]
        parts = [f"missing: {some(self.missing)}"] if self.missing else []
        parts += [f"unexpected: {some(self.unexpected)}"] if self.unexpected else []
        parts += [f"of another shape: {some(shapes)}"] if shapes else []
        return "; ".join(parts)


def auto_class(task: Task) -> Any:
    """The class of transformers that builds the models of a task."""
    return getattr(transformers, "AutoModel" + task.architecture.removeprefix("Model"))


def outline(auto: Any, config: Any) -> PreTrainedModel:
    """The model that an auto class makes of a configuration, without memory for weights: class, names and shapes."""
    with torch.device("meta"):
        model: PreTrainedModel = auto.from_config(config)
    return model


def outline_of(model_class: type[PreTrainedModel], config: Any) -> PreTrainedModel:
    """As `outline`, for a class of models."""
    with torch.device("meta"):
        model: PreTrainedModel = model_class._from_config(config)
    return model


def fill(
    model_class: type[PreTrainedModel], config: Any, state: State, layers: Sequence[LayerShape] = ()
) -> tuple[PreTrainedModel, LoadingReport]:
    """Build a model in FP32 and fill it.

    Args:
        state: weights by the model's names, older ones of transformers, or with or without the base model's prefix.
        layers: shapes of the encoder layers; empty where all are as the configuration says.

    Returns:
        The model, and what did not fit.
    """
    if config.model_type in READERS:  # whose layers are not cut
        return fill_whole(model_class, config, state)
    if layers or has_additions(outline_of(model_class, config), state):
        return _fill_cut(model_class._from_config(config, dtype=torch.float32), state, layers)
    return fill_whole(model_class, config, state)


def fill_whole(model_class: type[PreTrainedModel], config: Any, state: State) -> tuple[PreTrainedModel, LoadingReport]:
    """Build an uncut model in FP32 and fill it, as transformers does: a head that is the embedding table stays so, if
    the folder does not hold another for it.

    Returns:
        The model, and what did not fit.
    """
    options = {"dtype": torch.float32, "ignore_mismatched_sizes": True, "output_loading_info": True}
    model, info = model_class.from_pretrained(None, config=config, state_dict=state, **options)
    if info["error_msgs"]:
        raise RuntimeError("; ".join(info["error_msgs"]))
    mismatched = sorted((name, tuple(saved), tuple(own)) for name, saved, own in info["mismatched_keys"])
    return model, LoadingReport(
        tuple(sorted(info["missing_keys"])), tuple(sorted(info["unexpected_keys"])), tuple(mismatched)
    )


def fill_resized(
    model_class: type[PreTrainedModel], config: Any, state: State, shapes: dict[str, Any]
) -> tuple[PreTrainedModel, LoadingReport]:
    """Build a model whose layers have shapes of their own in FP32, as `modeling_edgelm` does, and fill it.

    Args:
        shapes: as `modeling_edgelm.resize` reads them.

    Returns:
        The model, of the class of transformers, and what did not fit.
    """
    setattr(config, LAYERS_ENTRY, shapes)
    model, report = fill_whole(getattr(modeling_edgelm, model_class.__name__), config, state)
    model.__class__ = model_class
    delattr(model.config, LAYERS_ENTRY)
    return model, report


def _fill_cut(model: Any, state: State, layers: Sequence[LayerShape]) -> tuple[PreTrainedModel, LoadingReport]:
    """Cut each layer of a full model to its shape, then fill it; transformers knows one width for all layers."""
    full = model_layers(model)
    if layers and len(full) != len(layers):
        raise ValueError(f"edgelm.json has {len(layers)} layers, config.json {len(full)}")
    for layer, shape in zip(full, layers, strict=False):
        layer.cut(heads=range(shape.heads), ffn=range(shape.ffn))
    modeling_edgelm.set_halving([layer.root for layer in full], {n for n, shape in enumerate(layers) if shape.halves})
    if model.base_model is not model:
        modeling_edgelm.add_exits(model, exit_paths(model, layers))
    make_room(model, state)
    own, prefix = model.state_dict(), f"{model.base_model_prefix}."
    named = {_own_name(name, own, prefix): tensor for name, tensor in state.items()}
    fitting = {name: tensor for name, tensor in named.items() if name in own and own[name].shape == tensor.shape}
    model.load_state_dict(own | fitting)
    mismatched = [
        (name, tuple(named[name].shape), tuple(own[name].shape))
        for name in sorted(named.keys() & own.keys() - fitting.keys())
    ]
    # A weight that is shared, as a decoder of masks with the embeddings, is saved under one of its names.
    given = {own[name].data_ptr() for name in fitting if own[name].numel()}
    missing = sorted(name for name in own.keys() - named.keys() if own[name].data_ptr() not in given)
    return model, LoadingReport(tuple(missing), tuple(sorted(named.keys() - own.keys())), tuple(mismatched))


def _own_name(name: str, own: State, prefix: str) -> str:
    """With or without the prefix of the base model, as the model has it."""
    return next((known for known in (name, prefix + name, name.removeprefix(prefix)) if known in own), name)
