"""Which dimensions of the residual stream a model that writes keeps: those that most passes through, or the directions
in which it varies most.

Sources: Muralidharan et al., "Compact Language Models via Pruning and Knowledge Distillation" (2024, Minitron,
arXiv:2407.14679), section 2.2: the activations that norms give, here with squares as aggregation; Ashkboos et al.,
"SliceGPT" (2024, arXiv:2401.15024), section 3.3: principal components, here of all layers together.
"""

from __future__ import annotations

import math

import torch
from transformers import PreTrainedModel

from edgelm import distributed as processes
from edgelm.anatomy import TaskModel
from edgelm.anatomy.hidden import hidden_size, hidden_step, narrow, stream_norms
from edgelm.anatomy.hooks import Watch, watching
from edgelm.anatomy.rotation import turned, with_plain_norms
from edgelm.compress.batches import Batch, real_tokens
from edgelm.compress.pruning.refit import refit_inputs
from edgelm.compress.pruning.second_moments import token_batches
from edgelm.data.dataset import Dataset
from edgelm.errors import RecipeError
from edgelm.progress import Progress, silent
from edgelm.recipe import HiddenSettings

_NEAR = 1 / 16  # of the hidden size: what a size may be off the share that was asked for


def kept_size(model: PreTrainedModel, keep: float, multiple: int) -> int:
    """The hidden size nearest to a share of a model's own that its family takes: a multiple of `multiple` where there
    is one near, else of the half of that, and so on.

    Raises:
        UnsupportedFamily: it takes no other size.
        RecipeError: none is near.
    """
    width, step = hidden_size(model), hidden_step(model)
    wanted = keep * width
    while multiple:
        unit = math.lcm(step, multiple)
        size = round(wanted / unit) * unit
        if 0 < size < width and abs(size - wanted) <= _NEAR * width:
            return size
        multiple //= 2
    raise RecipeError(
        f"hidden.keep is {keep:g}: no size near {wanted:.0f} is a multiple of {step}, which {model.config.model_type} "
        "asks for.",
        hint=f"Keep another share of the {width} dimensions.",
    )


def cut_hidden(
    asked: TaskModel, settings: HiddenSettings, rows: Dataset, *, progress: Progress = silent
) -> PreTrainedModel:
    """A copy of a model that writes with a smaller hidden size.

    Args:
        rows: texts, to measure the stream on.

    Raises:
        UnsupportedFamily: the family has no narrower stream or, by rotation, none that can be turned.
        RecipeError: no size is near the share that is to stay.
    """
    size = kept_size(asked.model, settings.keep, settings.multiple)
    if settings.method == "rotation":
        whole = with_plain_norms(asked.model)
        moments = stream_moments(asked.with_model(whole), rows, progress=progress)
        basis = torch.linalg.eigh(processes.same(moments)).eigenvectors.flip(1).T  # the greatest first
        smaller = narrow(turned(whole, basis), torch.arange(size))
    else:
        whole = asked.model
        scores = processes.same(stream_moments(asked, rows, progress=progress)).diagonal()
        smaller = narrow(whole, scores.argsort(descending=True, stable=True)[:size].sort().values)
    if settings.reconstruct:
        smaller = refit_inputs(smaller, asked.with_model(whole), rows, progress=progress)
    return smaller.eval()


def stream_moments(model: TaskModel, rows: Dataset, *, progress: Progress = silent) -> torch.Tensor:
    """(hidden, hidden) float64: the mean of x xᵀ over the real tokens of texts, of what each norm of the stream gives,
    all norms alike."""
    norms = stream_norms(model.model.eval())
    width = hidden_size(model.model)
    total = torch.zeros(width, width, dtype=torch.float64)
    batches = token_batches(model, rows)
    counts = {stack: sum(int(real_tokens(batch, stack).sum()) for batch in batches) for stack, _ in norms}

    def add(stack: str, batch: Batch) -> Watch:
        mask = real_tokens(batch, stack)

        def add_moments(values: torch.Tensor) -> None:
            found = values[mask]
            total.add_((found.T @ found).double().cpu() / counts[stack])

        return add_moments

    for number, batch in enumerate(batches):
        watched = [(norm, add(stack, batch)) for stack, norm in norms]
        with watching(outputs=watched), torch.inference_mode():
            model.run(batch)
        progress("stream", number + 1, len(batches))
    return total / len(norms)
