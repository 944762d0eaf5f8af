"""For every attention and every feed-forward network of a model: what is left of it at fewer and fewer units, and what
that costs.

A module's levels are made by optimal brain surgeon, which changes the weights that stay (`obs`), or by the Fisher
information of masks, which only says what goes (`fisher`). Costs of one module can be compared with those of another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from transformers import PreTrainedModel

from edgelm.anatomy import Sublayer, TaskModel, model_layers, sublayers
from edgelm.anatomy.layer import ATTENTION, FFN
from edgelm.compress.pruning.mask_scores import Importance
from edgelm.compress.pruning.obs import remove_units
from edgelm.compress.pruning.second_moments import collect_moments
from edgelm.data.dataset import Dataset
from edgelm.progress import Progress

__all__ = ["ATTENTION", "FFN", "Level", "ModuleLevels", "channel_counts", "fisher_levels", "obs_levels"]

_STEP = 0.9  # of the channels from one level to the next


@dataclass(frozen=True)
class Level:
    """One state of a module.

    Attributes:
        units: heads, groups of them, or channels that are left.
        error: what the model loses by it, from 0 for all units on.
        weight, bias: of the output projection, (out, inputs left) and (out,); None: as they were.
    """

    units: tuple[int, ...]
    error: float
    weight: torch.Tensor | None = None
    bias: torch.Tensor | None = None


@dataclass(frozen=True)
class ModuleLevels:
    """The levels of one module, all units first, none last."""

    layer: int
    kind: str
    levels: tuple[Level, ...]
    stack: str = "encoder"


def take_level(model: PreTrainedModel, module: ModuleLevels, level: Level) -> None:
    """Leave of a module what a level says, in place."""
    sublayer = model_layers(model)[module.layer].sublayer(module.kind)
    sublayer.cut(level.units)
    if level.weight is not None:
        sublayer.output.replace(level.weight, level.bias)


def channel_counts(total: int, multiple: int) -> list[int]:
    """FFN widths worth having: each 0.9 of the one before, in multiples that fill vectors, down to none."""
    counts, width = [total], float(total)
    while width > multiple:
        width *= _STEP
        rounded = max(multiple, round(width / multiple) * multiple)
        if rounded < counts[-1]:
            counts.append(rounded)
    return [*counts, 0]


def obs_levels(
    model: TaskModel, rows: Dataset, *, multiple: int, new_biases: bool = True, progress: Progress
) -> list[ModuleLevels]:
    """Levels by optimal brain surgeon on the outputs of each module (ZipLM, Kurtic et al. 2023).

    Args:
        new_biases: give output projections that have no bias one, which takes over the means of what goes.
    """
    moments = collect_moments(model, rows, progress=progress)
    module_levels = []
    for number, (layer, sublayer) in enumerate(modules := sublayers(model.model)):
        output = sublayer.output
        weight, bias = output.weight.detach(), output.bias
        if bias is None and new_biases:
            bias = weight.new_zeros(len(weight))
        bias = None if bias is None else bias.detach()
        counts = _counts(sublayer, multiple)
        levels = [
            Level(level.units, level.error, level.weight, level.bias)
            for level in remove_units(weight, bias, moments[number], width=sublayer.unit_size, counts=counts)
        ]
        # A norm behind it goes with the last unit: what was normed cannot be left behind; nor can what has no bias.
        if sublayer.norm_after is not None or bias is None:
            levels[-1] = replace(levels[-1], weight=None, bias=None)
        module_levels.append(ModuleLevels(layer, sublayer.kind, tuple(levels), sublayer.layer.stack))
        progress("prune", number + 1, len(modules))
    return module_levels


def fisher_levels(model: PreTrainedModel, importance: Importance, *, multiple: int) -> list[ModuleLevels]:
    """Levels by the diagonal of the Fisher information of masks: a level costs the sum over the units that are gone
    (Kwon et al. 2022, equation 8)."""
    module_levels = []
    for layer, sublayer in sublayers(model):
        scores = importance.of(layer, sublayer.kind)
        order = scores.argsort(stable=True)
        spent = torch.cat([torch.zeros(1, dtype=scores.dtype), scores[order].cumsum(0)])
        counts = _counts(sublayer, multiple)
        levels = [
            Level(tuple(sorted(order[len(order) - count :].tolist())), float(spent[len(order) - count]))
            for count in counts
        ]
        module_levels.append(ModuleLevels(layer, sublayer.kind, tuple(levels), sublayer.layer.stack))
    return module_levels


def _counts(sublayer: Sublayer, multiple: int) -> Sequence[int]:
    units = sublayer.units
    return channel_counts(units, multiple) if sublayer.kind == FFN else range(units, -1, -1)
