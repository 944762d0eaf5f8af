"""Structured pruning: score attention heads and FFN channels on real data, then remove the least important.

Masks of ones stand before the output projection of each attention and before the second FFN matrix; the gradient of the
loss with respect to a mask entry says what removing that head or channel would cost (Michel et al. 2019; Kwon et al.
2022).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from edgelm.anatomy import Sublayer, TaskModel, model_layers
from edgelm.anatomy.hooks import Watch, watching
from edgelm.anatomy.layer import ATTENTION, CROSS, FFN, Kind
from edgelm.compress.batches import Batch, EncodedDataset
from edgelm.compress.distillation.losses import hard_loss
from edgelm.data.dataset import Dataset
from edgelm.progress import Progress, silent


@dataclass(frozen=True)
class Importance:
    """What removing a unit costs, per layer; of a part that was cut away whole there is nothing to score.

    Attributes:
        heads: per layer (heads,), float64, >= 0.
        ffn: per layer (channels,), float64, >= 0.
        cross: per layer (heads,) of the attention to an encoder's output; empty of models that have none.
    """

    heads: tuple[torch.Tensor, ...]
    ffn: tuple[torch.Tensor, ...]
    cross: tuple[torch.Tensor, ...] = ()

    def of(self, layer: int, kind: str) -> torch.Tensor:
        """(units,) of one sublayer."""
        return {ATTENTION: self.heads, CROSS: self.cross, FFN: self.ffn}[kind][layer]


def measure_importance(
    model: TaskModel,
    dataset: Dataset,
    *,
    method: str = "fisher",
    batch_size: int = 16,
    seed: int = 0,
    progress: Progress = silent,
) -> Importance:
    """Score every head and FFN channel.

    Args:
        method: `fisher` sums squared gradients of the masks, the diagonal of the empirical Fisher information (Kwon et
            al. 2022, arXiv:2204.09656, eq. 8); `taylor` sums absolute gradients (Michel et al. 2019, arXiv:1905.10650).

    Returns:
        scores that can be compared across layers, for heads and channels each.
    """
    masked = model.with_model(copy.deepcopy(model.model).eval().requires_grad_(False))
    encoded = EncodedDataset(dataset, model)
    generator = torch.Generator().manual_seed(seed)
    with _masks(masked.model) as masks:
        totals = [torch.zeros(mask.shape, dtype=torch.float64) for mask in masks]
        there = [(total, mask) for total, mask in zip(totals, masks, strict=True) if len(mask)]
        for part in encoded.by_length(batch_size):
            grads = torch.autograd.grad(_loss(masked, part.tensors, generator), [mask for _, mask in there])
            for (total, _), grad in zip(there, grads, strict=True):
                total += grad.double().square() if method == "fisher" else grad.double().abs()
            progress("importance", part.done, len(encoded))
    layers = model_layers(model.model)
    places = [(number, sublayer.kind) for number, layer in enumerate(layers) for sublayer in layer.sublayers]
    found = dict(zip(places, totals, strict=True))

    def of(kind: Kind) -> tuple[torch.Tensor, ...]:
        none = torch.zeros(0, dtype=torch.float64)
        return tuple(found.get((number, kind), none) for number in range(len(layers)))

    return Importance(heads=of(ATTENTION), ffn=of(FFN), cross=of(CROSS))


def choose_heads(scores: Sequence[torch.Tensor], keep: float) -> list[list[int]]:
    """The share `keep` of all heads with the highest scores, at least one in each layer that has any.

    Returns:
        per layer the sorted indices of the heads to keep.
    """
    kept = [[int(layer.argmax())] if len(layer) else [] for layer in scores]
    have = sum(map(len, kept))
    wanted = max(have, round(keep * sum(len(layer) for layer in scores)))
    ranked = sorted(
        (
            (float(value), layer, unit)
            for layer, values in enumerate(scores)
            for unit, value in enumerate(values)
            if unit != kept[layer][0]
        ),
        reverse=True,
    )
    for _, layer, unit in ranked[: wanted - have]:
        kept[layer].append(unit)
    return [sorted(units) for units in kept]


def choose_channels(scores: Sequence[torch.Tensor], keep: float, *, multiple: int = 32) -> list[list[int]]:
    """The share `keep` of all FFN channels with the highest scores, in groups of `multiple`, at least one group in each
    layer that has any.

    Kernels work in vectors: a width that is no multiple of the vector's costs time and brings nothing. Each layer's
    channels are sorted and cut into groups; groups compete across layers by their mean score.

    Returns:
        per layer the sorted indices of the channels to keep.
    """
    groups: list[tuple[float, int, list[int]]] = []
    kept: list[list[int]] = []
    for layer, values in enumerate(scores):
        order = values.argsort(descending=True, stable=True).tolist()
        parts = [order[start : start + multiple] for start in range(0, len(order), multiple)]
        kept.append(list(parts[0]) if parts else [])
        groups.extend((float(values[part].mean()), layer, part) for part in parts[1:])
    wanted = round(keep * sum(len(layer) for layer in scores))
    have = sum(len(units) for units in kept)
    for _, layer, part in sorted(groups, key=lambda group: -group[0]):
        if have + len(part) > wanted:
            break
        kept[layer].extend(part)
        have += len(part)
    return [sorted(units) for units in kept]


def cut(
    model: PreTrainedModel,
    heads: Sequence[Sequence[int]],
    ffn: Sequence[Sequence[int]],
    cross: Sequence[Sequence[int]] | None = None,
) -> PreTrainedModel:
    """A copy of the model that has only these heads and FFN channels in each layer; its matrices are smaller."""
    model = copy.deepcopy(model)
    for number, (layer, kept_heads, kept_ffn) in enumerate(zip(model_layers(model), heads, ffn, strict=True)):
        crossing = None if cross is None or layer.shape.cross is None else cross[number]
        layer.cut(heads=kept_heads, ffn=kept_ffn, cross=crossing)
    return model


@contextmanager
def _masks(model: PreTrainedModel) -> Iterator[list[torch.Tensor]]:
    """Put masks of ones before the output projections; yields those of all sublayers, in their order."""
    parts = [sublayer for layer in model_layers(model) for sublayer in layer.sublayers]
    masks = [torch.ones(sublayer.units, requires_grad=True) for sublayer in parts]
    there = [(mask, sublayer) for mask, sublayer in zip(masks, parts, strict=True) if sublayer.units]
    with watching(inputs=[(sublayer.output.module, _scale(mask, sublayer)) for mask, sublayer in there]):
        yield masks


def _scale(mask: torch.Tensor, sublayer: Sublayer) -> Watch:
    width = sublayer.unit_size
    return lambda inputs: inputs * mask.repeat_interleave(width)


def _loss(model: TaskModel, batch: Batch, generator: torch.Generator) -> torch.Tensor:
    """The loss whose gradients are scored.

    Classes: cross-entropy on the labels; without labels, on classes drawn from the model's own distribution, which
    gives the true Fisher information. Values and vectors: a random projection of the outputs, whose squared gradients
    estimate the diagonal of the Gauss-Newton matrix (the Fisher information of a Gaussian around them).
    """
    rows, output = model.rows(batch), model.task.output
    if output in ("values", "vectors"):
        return (rows.values * torch.randn(rows.values.shape, generator=generator)).sum() / len(rows.values)
    said = rows.values.detach()
    if "labels" in batch:
        targets = model.targets(batch)
    elif output == "binary":
        targets = torch.bernoulli(said.sigmoid(), generator=generator)
    else:
        targets = torch.multinomial(said.softmax(dim=-1), 1, generator=generator).squeeze(-1)
    return hard_loss(rows, targets, output)
