"""How much of what flows through a model passes through each dimension, head and channel, measured on texts, forward
only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from edgelm.anatomy import Projection, Sublayer, TaskModel, model_layers
from edgelm.anatomy.hooks import Watch, watching
from edgelm.compress.pruning.second_moments import token_batches
from edgelm.data.dataset import Dataset
from edgelm.progress import Progress, silent


@dataclass(frozen=True)
class Activity:
    """Scores of what can be cut, float64, >= 0; higher means that more passes through. A part that was cut away whole
    has none.

    Attributes:
        hidden: (hidden,), mean square of the embeddings' and every layer's output, which LayerNorm has scaled
            (Muralidharan et al. 2024, Minitron, arXiv:2407.14679, section 2.2, with squares as aggregation).
        scores: per layer (heads · head size,), mean square of the query's dimension times that of the key's: its part
            in q·k.
        values: per layer (heads · head size,), mean square of what attention gives, times the squared norm of the
            column of the output projection that reads it: the energy that the dimension writes into the residual
            stream.
        channels: per layer (channels,), the same for the FFN's channels and its second matrix.
    """

    hidden: torch.Tensor
    scores: tuple[torch.Tensor, ...]
    values: tuple[torch.Tensor, ...]
    channels: tuple[torch.Tensor, ...]


def measure_activity(
    model: TaskModel, dataset: Dataset, *, batch_size: int = 16, progress: Progress = silent
) -> Activity:
    """Run texts through a model and score its dimensions, heads and channels by their energy at real tokens.

    Norms of activations times outgoing weights are the forward-only counterpart of gradient scores: they need no labels
    and no loss, and say the same of a dimension for every layer that shares it.
    """
    batches = token_batches(model, dataset.without_labels(), size=batch_size)
    done = 0
    sums: dict[tuple[int, str], torch.Tensor] = {}
    seen: set[tuple[int, str]] = set()
    hidden, tokens = torch.zeros(model.model.config.hidden_size, dtype=torch.float64), 0
    mask = torch.ones(0)

    def add(layer: int, part: str, projection: Projection | None = None) -> Watch:
        def add_squares(vectors: torch.Tensor) -> None:
            if (layer, part) in seen:
                return
            seen.add((layer, part))
            squares = _square_sum(vectors if projection is None else projection.split(vectors), mask)
            sums[layer, part] = squares + sums.get((layer, part), 0)

        return add_squares

    def begin(layer: int) -> Callable[[], None]:
        """Each call of a layer counts each part once: DeBERTa's queries and keys then go on to read relative
        positions."""
        return lambda: seen.difference_update([key for key in seen if key[0] == layer])

    layers = list(enumerate(model_layers(model.model.eval())))
    scored = [(index, part, each.projection(part)) for index, each in layers if each.heads for part in ("query", "key")]
    read = [(index, part) for index, each in layers for part in each.sublayers if part.units]
    with (
        watching(
            calls=[(each.root, begin(index)) for index, each in layers],
            inputs=[(sublayer.output.module, add(index, sublayer.kind)) for index, sublayer in read],
            outputs=[(projection.module, add(index, part, projection)) for index, part, projection in scored],
        ),
        torch.no_grad(),
    ):
        for batch in batches:
            mask = batch["attention_mask"]
            _, states = model.outputs(batch, hidden_states=True)
            hidden += sum(_square_sum(state, mask) for state in states)
            tokens += int(mask.sum())
            done += len(mask)
            progress("activity", done, len(dataset))
    return _scores(model.model, hidden, sums, max(tokens, 1))


def _square_sum(vectors: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """(batch, tokens, width) to (width,): squares summed over real tokens."""
    return vectors[mask.bool()].double().square().sum(dim=0)


def _scores(
    model: PreTrainedModel, hidden: torch.Tensor, sums: dict[tuple[int, str], torch.Tensor], tokens: int
) -> Activity:
    layers = list(enumerate(model_layers(model)))

    def mean(layer: int, part: str) -> torch.Tensor:
        return sums.get((layer, part), torch.zeros(0, dtype=torch.float64)) / tokens

    def written(layer: int, sublayer: Sublayer) -> torch.Tensor:
        return mean(layer, sublayer.kind) * sublayer.output.weight.detach().double().square().sum(dim=0)

    return Activity(
        hidden=hidden / tokens,
        scores=tuple(mean(layer, "query") * mean(layer, "key") for layer, _ in layers),
        values=tuple(written(index, layer.attention) for index, layer in layers),
        channels=tuple(written(index, layer.feed_forward) for index, layer in layers),
    )
