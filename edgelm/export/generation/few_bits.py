"""The matrices of a PyTorch generator in few bits, and the same model with what they stand for: to judge them by."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from edgelm.anatomy.matrices import layer_matrices, token_tables
from edgelm.errors import CalibrationError
from edgelm.export.generation.loss_increase import loss_increases
from edgelm.export.generation.modules import to_array
from edgelm.export.generation.statistics import collect_moments
from edgelm.quantize.blocks import BlockWeight, round_blocks
from edgelm.quantize.few_bits import FewBits, most_harmful, quantize_matrices

_MEMORY = 2**31  # bytes of moments that are held at a time
_JUDGED = 4096  # tokens that estimates of the loss are made on
Model = TypeVar("Model", bound=PreTrainedModel)


def quantize_generator(
    model: PreTrainedModel, batches: Sequence[Mapping[str, Tensor]], settings: FewBits
) -> dict[str, BlockWeight]:
    """All linear modules of a generator in blocks, with its table of tokens and its head, by their modules' names.

    Args:
        model: in evaluation mode, in FP32.
        batches: arguments of the model, of real texts without padding: 16,000 tokens are enough for 135 million
            weights. Empty where all is rounded to the nearest and nothing is asked of the loss.
        settings: see `edgelm.quantize.few_bits.DEFAULTS`.

    Raises:
        CalibrationError: there are no batches, and the settings need them.
    """
    tables = token_tables(model)
    body = {name: to_array(_stored(module)) for name, module in layer_matrices(model).items()}
    looks = settings.bits == 4 and settings.method != "nearest"
    if not batches and (looks or settings.largest_rise is not None):
        raise CalibrationError(f"no texts to quantize by {settings.method} on.", hint="Give batches of texts.")
    made: dict[str, BlockWeight] = {}
    for names in _groups({name: len(weight) for name, weight in body.items()}):
        moments = collect_moments(model, batches, names) if looks else {}
        made |= quantize_matrices({name: body[name] for name in names}, settings, moments=moments)
    if settings.largest_rise is not None:
        wrong = {name: made[name].floats() - weight for name, weight in body.items() if made[name].bits == 4}
        rises = loss_increases(model, _first(batches, _JUDGED), wrong)
        for name in most_harmful(rises, {name: body[name].size for name in rises}, settings.largest_rise):
            made[name] = round_blocks(body[name], 8, block=settings.block, zeros=settings.zeros)
    return made | {name: round_blocks(to_array(_stored(module)), settings.head_bits) for name, module in tables.items()}


def dequantized(model: Model, made: Mapping[str, BlockWeight]) -> Model:
    """A copy of a model whose matrices are what the integers stand for; what is not named stays as it is."""
    result = copy.deepcopy(model)
    for name, weight in made.items():
        _stored(result.get_submodule(name)).data.copy_(torch.from_numpy(weight.floats()))
    return result


def _stored(module: nn.Module) -> Tensor:
    """A module's weight as (in, out): of nn.Linear and tables, which keep it the other way round, a view."""
    weight = module.get_parameter("weight").detach()
    return weight if isinstance(module, Conv1D) else weight.T


def _first(batches: Sequence[Mapping[str, Tensor]], tokens: int) -> list[Mapping[str, Tensor]]:
    """The first batches, until they have that many tokens."""
    chosen: list[Mapping[str, Tensor]] = []
    for batch in batches:
        if tokens <= 0:
            break
        chosen.append(batch)
        tokens -= next(iter(batch.values())).numel()
    return chosen


def _groups(shapes: Mapping[str, int], memory: int = _MEMORY) -> list[list[str]]:
    """Modules whose moments are collected in one pass, in order; `shapes` has their widths."""
    groups: list[list[str]] = []
    held = memory
    for name, width in shapes.items():
        needed = 4 * width * width
        if held + needed > memory or not groups:
            groups.append([])
            held = 0
        groups[-1].append(name)
        held += needed
    return groups
