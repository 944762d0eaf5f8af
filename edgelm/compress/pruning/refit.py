"""After a cut of the hidden size, without training: what reads the residual stream is solved anew, so that it gives
what the original's gave.

The least squares of Kwon et al. (2022, arXiv:2204.09656), section 4.4, on inputs instead of outputs: dimensions that
are gone are told from those that stayed, layer by layer from the input on, each seeing what those before it now give.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from edgelm.anatomy import Sublayer, TaskModel, model_layers
from edgelm.anatomy.hidden import last_norm
from edgelm.anatomy.hooks import Watch, watching
from edgelm.anatomy.layer import CROSS
from edgelm.anatomy.matrices import own_head
from edgelm.anatomy.projection import Projection
from edgelm.compress.batches import real_tokens
from edgelm.compress.pruning.second_moments import token_batches
from edgelm.compress.pruning.stack_walk import Reached, StackWalk, stack_ranges
from edgelm.data.dataset import Dataset
from edgelm.progress import Progress, silent

_DAMPING = 0.01


def refit_inputs(
    student: PreTrainedModel, original: TaskModel, rows: Dataset, *, progress: Progress = silent
) -> PreTrainedModel:
    """A copy of the student whose matrices that read the stream are solved anew; a head too, where it is no table.

    Args:
        original: the model that the student was cut from; it has the same layers.
        rows: texts; more of them cost time, and memory for the states between two layers of both models.
    """
    student = copy.deepcopy(student).eval()
    original.model.eval()
    asked, batches = original.with_model(student), token_batches(original, rows)
    layers, wanted = model_layers(student), model_layers(original.model)
    for numbers in stack_ranges([layer.stack for layer in layers]):
        walks = [
            StackWalk(model, batches, [of[number] for number in numbers])
            for model, of in ((original, wanted), (asked, layers))
        ]
        for number in numbers:
            for theirs, mine in zip(wanted[number].sublayers, layers[number].sublayers, strict=True):
                for before, after in zip(_readers(theirs), _readers(mine), strict=True):
                    of_source = mine.kind == CROSS and after[0].module is not mine.inputs[0].module
                    masks = [real_tokens(batch, "encoder" if of_source else mine.layer.stack) for batch in batches]
                    given, left = (
                        _given(walk, group[0].module, masks) for walk, group in zip(walks, (before, after), strict=True)
                    )
                    _solve(given, left, before, after)
            for walk in walks:
                walk.advance()
            progress("refit", number + 1, len(layers))
    _refit_head(asked, original, batches)
    return student


def _readers(sublayer: Sublayer) -> list[list[Projection]]:
    """The matrices that read the stream for a sublayer, those together that read the same."""
    if not sublayer.units:
        return []
    found = sublayer.readers
    return [found[:1], found[1:]] if sublayer.kind == CROSS else [found]


def _given(walk: StackWalk, module: nn.Module, masks: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """What a module of the next layer is given, of each batch (real tokens, width)."""
    found: list[torch.Tensor] = []

    def take(batch: int) -> Watch:
        def keep(values: torch.Tensor) -> None:
            found.append(values[masks[batch]])
            raise Reached

        return keep

    walk.look(lambda batch: [(module, take(batch))])
    return found


def _solve(
    given: Sequence[torch.Tensor],
    left: Sequence[torch.Tensor],
    before: Sequence[Projection],
    after: Sequence[Projection],
) -> None:
    """min ‖X W' − Z W‖² + damping · ‖W' − W'₀‖² for each matrix W that reads Z in the original and W' that reads X now,
    with a column of ones for biases."""
    wide, narrow = given[0].shape[1] + 1, left[0].shape[1] + 1
    gram = torch.zeros(narrow, narrow, dtype=torch.float64)
    cross = torch.zeros(narrow, wide, dtype=torch.float64)
    for whole, part in zip(given, left, strict=True):
        now = torch.cat([part, part.new_ones(len(part), 1)], dim=1)
        gram += (now.T @ now).double()
        cross += (now.T @ torch.cat([whole, whole.new_ones(len(whole), 1)], dim=1)).double()
    for theirs, mine in zip(before, after, strict=True):
        size = narrow if mine.bias is not None else narrow - 1
        was, now = (_with_bias(each) for each in (theirs, mine))
        error = cross[:size] @ was.T - gram[:size] @ now.T
        damping = _DAMPING * float(gram.diagonal()[:-1].mean())
        change = torch.linalg.solve(gram[:size, :size] + damping * torch.eye(size, dtype=gram.dtype), error).T.float()
        with torch.no_grad():
            mine.weight.add_(change[:, : narrow - 1])
            if mine.bias is not None:
                mine.bias.add_(change[:, -1])


def _with_bias(projection: Projection) -> torch.Tensor:
    """(out, in + 1) float64: the weight with the bias, or zeros, behind it."""
    weight = projection.weight.detach().double()
    bias = weight.new_zeros(len(weight)) if projection.bias is None else projection.bias.detach().double()
    return torch.cat([weight, bias[:, None]], dim=1)


def _keeper(found: list[torch.Tensor], mask: torch.Tensor) -> Watch:
    def keep(values: torch.Tensor) -> None:
        found.append(values[mask])

    return keep


def _refit_head(asked: TaskModel, original: TaskModel, batches: Sequence[Any]) -> None:
    """The head too, where it is no table of tokens."""
    head = own_head(asked.model)
    if head is None:
        return
    states: list[list[torch.Tensor]] = []
    for model in (original, asked):
        found: list[torch.Tensor] = []
        for batch in batches:
            mask = real_tokens(batch, "decoder")
            with watching(outputs=[(last_norm(model.model), _keeper(found, mask))]), torch.inference_mode():
                model.run(batch)
        states.append(found)
    _solve(states[0], states[1], [Projection.of(original.model.get_output_embeddings())], [Projection.of(head)])
