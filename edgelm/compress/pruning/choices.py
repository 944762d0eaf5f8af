"""A choice of a pruning level for every module: what it leaves of the layers, without making the model."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from transformers import PreTrainedModel

from edgelm.anatomy import layer_shapes
from edgelm.anatomy.layer import ATTENTION, CROSS, FFN
from edgelm.compress.pruning.levels import ModuleLevels
from edgelm.compress.pruning.spdy import pick_levels
from edgelm.shapes import LayerShape, Shapes

_SMALLEST, _FINER = 0.02, 0.95  # share of the units that a layer keeps at least; from one share to the next


def shapes_of(model: PreTrainedModel, module_levels: Sequence[ModuleLevels], picks: Sequence[int]) -> Shapes:
    """The layers in which something is left."""
    return tuple(shape for shape in _all_shapes(model, module_levels, picks) if not shape.empty)


def kept_layers(model: PreTrainedModel, module_levels: Sequence[ModuleLevels], picks: Sequence[int]) -> list[int]:
    """The numbers of the layers in which something is left."""
    return [layer for layer, shape in enumerate(_all_shapes(model, module_levels, picks)) if not shape.empty]


def even_choice(
    module_levels: Sequence[ModuleLevels], layers: Collection[int], fits: Callable[[list[int]], bool]
) -> list[int] | None:
    """The choice of these layers that all keep about the same share of their units, as much as fits; the others go.
    None: not even the smallest share fits."""

    def nearest(module: ModuleLevels, share: float) -> int:
        wanted = share * len(module.levels[0].units)
        return min(range(len(module.levels) - 1), key=lambda level: abs(len(module.levels[level].units) - wanted))

    share = 1.0
    while share > _SMALLEST:
        picks = [
            nearest(module, share) if module.layer in layers else len(module.levels) - 1 for module in module_levels
        ]
        if fits(picks):
            return picks
        share *= _FINER
    return None


def _all_shapes(
    model: PreTrainedModel, module_levels: Sequence[ModuleLevels], picks: Sequence[int]
) -> list[LayerShape]:
    units = {(module.layer, module.kind): len(level.units) for module, level in pick_levels(module_levels, picks)}
    return [
        replace(
            shape,
            heads=units.get((layer, ATTENTION), shape.heads),
            cross=units.get((layer, CROSS), shape.cross),
            ffn=units.get((layer, FFN), shape.ffn),
        )
        for layer, shape in enumerate(layer_shapes(model))
    ]
