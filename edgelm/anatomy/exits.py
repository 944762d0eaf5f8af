"""Classifiers that texts may leave behind some of their layers, where a head there is sure of its answer."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence

import torch
from torch import nn
from transformers import PreTrainedModel

from edgelm.anatomy.families.table import family_of
from edgelm.anatomy.hooks import Watch, watching
from edgelm.anatomy.layers import model_layers, require_others_behind
from edgelm.anatomy.modeling_edgelm import EXIT, LEAVES, add_exits
from edgelm.errors import UnsupportedFamily
from edgelm.shapes import LayerShape

NEVER = 1e9  # a threshold that no logit is above another by


def exit_after(model: PreTrainedModel, layers: Collection[int]) -> None:
    """Give these layers of a classifier a head each, in place, which no text leaves by before thresholds are set.

    Args:
        layers: by their numbers from 0.

    Raises:
        UnsupportedFamily: a family whose layers share their weights, or that has none.
        UsageError: a layer that is not there, or the last one.
    """
    require_exits(model.config.model_type)
    require_others_behind(layers, len(model_layers(model)), "texts are to leave")
    add_exits(model, _by_path(model, dict.fromkeys(sorted(layers), NEVER)))


def require_exits(model_type: str) -> None:
    """Refuse an encoder that texts cannot leave on the way.

    Raises:
        UnsupportedFamily: as `exit_after`.
    """
    if family_of(model_type).config_groups is not None:
        raise UnsupportedFamily(
            f"texts cannot leave a {model_type} on the way: its layers share their weights, and a head would too.",
            hint="Use another recipe, such as balanced.",
        )


def set_thresholds(model: PreTrainedModel, thresholds: Mapping[int, float]) -> None:
    """Say how sure the head behind a layer must be, and take off every head that is not named, in place."""
    for number, layer in enumerate(model_layers(model)):
        if number in thresholds:
            vars(layer.root)[LEAVES] = thresholds[number]
        elif hasattr(layer.root, EXIT):
            delattr(layer.root, EXIT)
            delattr(layer.root, LEAVES)


def exit_heads(model: nn.Module) -> list[nn.Module]:
    """The heads behind layers, from the input on."""
    return [layer.get_submodule(EXIT) for layer in model.modules() if hasattr(layer, EXIT)]


@contextlib.contextmanager
def exits_heard(model: nn.Module) -> Iterator[list[torch.Tensor]]:
    """Inside, what the heads behind layers say is kept, (batch, labels) each, from the input on; of the last batch that
    the model read."""
    heads = exit_heads(model)
    found: list[torch.Tensor] = []

    def hear(number: int) -> Watch:
        def heard(said: torch.Tensor) -> None:
            found[number:] = [said]

        return heard

    with watching(outputs=[(head, hear(number)) for number, head in enumerate(heads)]):
        yield found


def exit_paths(model: PreTrainedModel, shapes: Sequence[LayerShape]) -> dict[str, float]:
    """The thresholds of layers with these shapes, by the layers' paths in the base model."""
    return _by_path(model, {n: shape.leaves for n, shape in enumerate(shapes) if shape.leaves is not None})


def _by_path(model: PreTrainedModel, thresholds: Mapping[int, float]) -> dict[str, float]:
    family = family_of(model.config.model_type)
    return {f"{family.layers}.{number}": threshold for number, threshold in thresholds.items()}
