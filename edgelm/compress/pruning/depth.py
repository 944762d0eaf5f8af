"""Which layers, or single attentions and feed-forward networks, a model can do without: by what they change, or by what
the whole model loses."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from edgelm import distributed as processes
from edgelm.anatomy import TaskModel, keep_layers, model_layers, sublayers
from edgelm.compress.batches import real_tokens
from edgelm.compress.pruning.second_moments import token_batches
from edgelm.compress.pruning.stack_walk import StackWalk, stack_ranges
from edgelm.data.dataset import Dataset
from edgelm.errors import RecipeError
from edgelm.progress import Progress, silent
from edgelm.recipe import DepthSettings

Loss = Callable[[PreTrainedModel], float]


@dataclass(frozen=True)
class Part:
    """Something that a model can do without.

    Attributes:
        layer: its number.
        kind: of the sublayer; None: the whole layer.
    """

    layer: int
    kind: str | None = None


def block_influence(model: TaskModel, rows: Dataset) -> list[float]:
    """How much each layer turns the hidden state of a token: 1 - the mean cosine of what it is given and what it gives,
    over real tokens (Men et al. 2024, ShortGPT, arXiv:2403.03853, equation 1)."""
    batches, layers = token_batches(model, rows), model_layers(model.model.eval())
    found: list[float] = []
    for numbers in stack_ranges([layer.stack for layer in layers]):
        own = [layers[number] for number in numbers]
        walk = StackWalk(model, batches, own)
        masks = [real_tokens(batch, own[0].stack) for batch in batches]
        for _ in own:
            before = list(walk.states)
            walk.advance()
            cosines = [
                torch.nn.functional.cosine_similarity(given[mask].double(), made[mask].double(), dim=-1)
                for given, made, mask in zip(before, walk.states, masks, strict=True)
            ]
            found.append(1 - float(torch.cat(cosines).mean()))
    return found


def removable(model: PreTrainedModel, parts: str, stack: str | None = None) -> list[Part]:
    """What can go next: whole layers, of which one stays in each stack, or sublayers that are still there.

    Args:
        parts: layers or sublayers.
        stack: encoder or decoder; None: of both.
    """
    layers = model_layers(model)
    counts = {layer.stack: sum(other.stack == layer.stack for other in layers) for layer in layers}
    if parts == "layers":
        places = [Part(number) for number, layer in enumerate(layers) if counts[layer.stack] > 1]
    else:
        places = [Part(number, sublayer.kind) for number, sublayer in sublayers(model)]
    return [part for part in places if stack in (None, layers[part.layer].stack)]


def without(model: PreTrainedModel, part: Part) -> PreTrainedModel:
    """A copy of the model that lacks a part."""
    smaller = copy.deepcopy(model)
    if part.kind is None:
        keep_layers(smaller, [number for number in range(len(model_layers(model))) if number != part.layer])
    else:
        model_layers(smaller)[part.layer].sublayer(part.kind).cut([])
    return smaller


def losses_without(
    model: PreTrainedModel, parts: Sequence[Part], loss: Loss, *, progress: Progress = silent
) -> list[float]:
    """The loss of the whole model without each part alone (Kim et al. 2024, Shortened LLaMA, arXiv:2402.02834, section
    3.2: the perplexity is its exponential)."""
    found = []
    for number, part in enumerate(parts):
        found.append(processes.same(loss(without(model, part))))
        progress("without each", number + 1, len(parts))
    return found


def drop_parts(
    asked: TaskModel, settings: DepthSettings, rows: Dataset, loss: Loss, *, progress: Progress = silent
) -> tuple[PreTrainedModel, list[int]]:
    """A copy of a model without its least needed parts, and which of its layers it has.

    Args:
        rows: texts, for the influence of layers.
        loss: of a whole model.

    Raises:
        RecipeError: there are fewer parts than are to go.
    """
    model, kept = asked.model, list(range(len(model_layers(asked.model))))
    ranked: list[Part] = []
    for gone in range(settings.drop):
        if settings.again or not ranked:
            parts = removable(model, settings.parts, settings.stack)
            if not parts:
                raise RecipeError(
                    f"depth.drop is {settings.drop}, but after {gone} {settings.parts} none is left that could go.",
                    hint="Drop fewer; one layer of each stack stays.",
                )
            scores = _scores(asked.with_model(model), parts, settings, rows, loss, progress)
            ranked = [part for _, part in sorted(zip(scores, parts, strict=True), key=lambda pair: pair[0])]
        part = ranked.pop(0)
        model = without(model, part)
        if part.kind is None:
            kept.pop(part.layer)
            ranked = [Part(other.layer - (other.layer > part.layer)) for other in ranked]
    return (copy.deepcopy(model) if model is asked.model else model), kept


def _scores(
    asked: TaskModel,
    parts: Sequence[Part],
    settings: DepthSettings,
    rows: Dataset,
    loss: Loss,
    progress: Progress,
) -> list[float]:
    if settings.score == "influence":
        influence = processes.same(block_influence(asked, rows))
        return [influence[part.layer] for part in parts]
    return losses_without(asked.model, parts, loss, progress=progress)
