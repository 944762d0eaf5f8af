"""After a cut, without training: every output projection is solved anew, so that its sublayer gives what the original's
gave.

Source: the layer-wise reconstruction of Kwon et al., "A Fast Post-Training Pruning Framework for Transformers" (2022,
arXiv:2204.09656), section 4.4, which scales the units that stay. Here the whole matrix and bias are solved for, held
near what they were by the damping: that is the same least-squares problem with more unknowns, and the normal equations
are as cheap.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from edgelm.anatomy import Sublayer, TaskModel, model_layers
from edgelm.anatomy.hooks import Watch
from edgelm.anatomy.layer import FFN
from edgelm.compress.batches import real_tokens
from edgelm.compress.pruning.second_moments import token_batches
from edgelm.compress.pruning.stack_walk import Reached, StackWalk, stack_ranges
from edgelm.data.dataset import Dataset
from edgelm.progress import Progress, silent
from edgelm.tasks.text import SentenceEmbedding

_DAMPING = 0.02

Sums = dict[str, list[torch.Tensor]]  # by the kind of a sublayer, of each batch (batch, tokens, hidden)


def reconstruct(
    student: PreTrainedModel,
    original: TaskModel,
    rows: Dataset,
    *,
    sources: Sequence[tuple[int, int]],
    new_biases: bool = True,
    progress: Progress = silent,
) -> PreTrainedModel:
    """A copy of the student with new output projections, from the input on: each sees what those before it now give.

    Args:
        original: the model that the student was cut from.
        rows: texts; more of them cost time, and memory for the states between two layers of both models.
        sources: for each layer of the student the original's layers that it stands for, first and last.
        new_biases: give projections that have no bias one.
    """
    student = copy.deepcopy(student).eval()
    original.model.eval()
    asked, batches = original.with_model(student), token_batches(original, rows)
    layers, wanted = model_layers(student), model_layers(original.model)
    own = list(stack_ranges([layer.stack for layer in layers]))
    theirs = list(stack_ranges([layer.stack for layer in wanted]))
    for mine, there in zip(own, theirs, strict=True):
        target = StackWalk(original, batches, [wanted[index] for index in there])
        walk = StackWalk(asked, batches, [layers[index] for index in mine])
        masks = [real_tokens(batch, layers[mine[0]].stack) for batch in batches]
        for number in mine:
            first, last = sources[number]
            sums = _sums_of(target, wanted[first].sublayers, first - there.start)
            if last > first:
                sums[FFN] = _sums_of(target, wanted[last].sublayers, last - there.start)[FFN]
            for sublayer in layers[number].sublayers:
                if sublayer.units:
                    kept = masks
                    if number == len(layers) - 1 and sublayer.kind == FFN and _reads_first(asked):
                        kept = [_first_alone(mask) for mask in masks]
                    if new_biases:
                        sublayer.output.ensure_bias()
                    _solve(walk, sublayer, sums[sublayer.kind], kept)
            walk.advance()
            progress("reconstruct", number + 1, len(layers))
    return student


def _reads_first(model: TaskModel) -> bool:
    """Whether the last layer's first token is all that the head reads."""
    task = model.task
    if task.per != "sample" or getattr(model.model.config, "classifier_pooling", "cls") != "cls":
        return False
    return not isinstance(task, SentenceEmbedding) or task.pooling == "cls"


def _first_alone(mask: torch.Tensor) -> torch.Tensor:
    """(batch, tokens) bool: the first tokens, where nothing reads the others' last state."""
    first = torch.zeros_like(mask)
    first[:, 0] = True
    return first


def _sums_of(walk: StackWalk, parts: Sequence[Sublayer], number: int) -> Sums:
    """What each sublayer of a layer should give: the residual with its output or, where a norm stands between the two,
    the output alone. The walk goes past that layer."""
    while walk.number < number:
        walk.advance()
    found: Sums = {sublayer.kind: [] for sublayer in parts}

    def remember(sublayer: Sublayer) -> Watch:
        def keep(residual: torch.Tensor) -> None:
            found[sublayer.kind].append(torch.zeros_like(residual) if sublayer.norm_after else residual)

        return keep

    def add(sublayer: Sublayer) -> Watch:
        def keep(output: torch.Tensor) -> None:
            found[sublayer.kind][-1] = found[sublayer.kind][-1] + output

        return keep

    there = [sublayer for sublayer in parts if sublayer.units or sublayer.kind == FFN]  # else nothing reads it there
    walk.advance(
        inputs=lambda _: [(sublayer.residual, remember(sublayer)) for sublayer in there],
        outputs=lambda _: [(sublayer.output.module, add(sublayer)) for sublayer in there],
    )
    return found


def _solve(walk: StackWalk, sublayer: Sublayer, wanted: Sequence[torch.Tensor], masks: Sequence[torch.Tensor]) -> None:
    """min ‖X W − (original's sum − residual)‖² + damping · ‖W − W₀‖², with a column of ones for a bias."""
    output = sublayer.output
    width = output.in_features + 1
    gram, cross = (
        torch.zeros(width, width, dtype=torch.float64),
        torch.zeros(width, output.out_features, dtype=torch.float64),
    )
    residuals: dict[int, torch.Tensor] = {}

    def remember(batch: int) -> Watch:
        def keep(residual: torch.Tensor) -> None:
            residuals[batch] = torch.zeros_like(residual) if sublayer.norm_after else residual

        return keep

    def add(batch: int) -> Watch:
        def collect(given: torch.Tensor) -> None:
            keep = masks[batch]
            values, residual = given[keep], residuals.pop(batch)[keep]
            ones = torch.cat([values, values.new_full((len(values), 1), float(output.bias is not None))], dim=1)
            error = wanted[batch][keep] - residual - torch.nn.functional.linear(values, output.weight, output.bias)
            gram.add_((ones.T @ ones).double())
            cross.add_((ones.T @ error).double())
            raise Reached

        return collect

    walk.look(lambda batch: [(sublayer.residual, remember(batch)), (sublayer.output.module, add(batch))])
    diagonal = gram.diagonal()
    damped = gram + torch.diag(torch.full_like(diagonal, _DAMPING * float(diagonal[:-1].mean())))
    change = torch.linalg.solve(damped, cross).float().T
    with torch.no_grad():
        output.weight.add_(change[:, :-1])
        if output.bias is not None:
            output.bias.add_(change[:, -1])
