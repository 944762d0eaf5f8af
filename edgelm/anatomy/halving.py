"""Models that go on with half of the tokens after some of their layers."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator

import torch
from transformers import PreTrainedModel

from edgelm.anatomy.families.table import family_of
from edgelm.anatomy.layers import model_layers, require_others_behind
from edgelm.anatomy.modeling_edgelm import halve, halves, left_tokens, set_halving
from edgelm.errors import UnsupportedFamily


def halve_after(model: PreTrainedModel, layers: Collection[int]) -> None:
    """Let a classifier's layers behind these read half as many tokens, in place: the first one, which its head reads,
    and of each two others their mean.

    Args:
        layers: by their numbers from 0; halved twice, a quarter of the tokens is left.

    Raises:
        UnsupportedFamily: a family whose attention asks how far tokens are from each other, or whose layers share their
            weights.
        UsageError: a layer that is not there, or the last one.
    """
    require_places_in_states(model.config.model_type)
    own = model_layers(model)
    require_others_behind(layers, len(own), "tokens are to be halved")
    set_halving([layer.root for layer in own], layers)


def require_places_in_states(model_type: str) -> None:
    """Refuse an encoder whose tokens cannot be halved.

    Raises:
        UnsupportedFamily: as `halve_after`.
    """
    family = family_of(model_type)
    by_distance = family.rotary or family.head_table is not None or family.head_inputs
    if family.position_table is True and not by_distance and family.config_groups is None:
        return
    reason = "its layers share their weights" if family.config_groups else "its attention goes by distances of tokens"
    raise UnsupportedFamily(
        f"the tokens of a {model_type} cannot be halved on the way: {reason}.",
        hint="It works for bert, distilbert, electra, roberta, xlm-roberta and camembert.",
    )


def halving_norms(model: PreTrainedModel) -> list[str]:
    """The names of the norms that end those layers, by which a traced graph knows their outputs."""
    names = {id(module): name for name, module in model.named_modules()}
    return [names[id(layer.output_norm)] for layer in model_layers(model) if halves(layer.root)]


@contextlib.contextmanager
def whole_length(model: PreTrainedModel) -> Iterator[None]:
    """Inside, all layers read all tokens."""
    roots = [layer.root for layer in model_layers(model)]
    chosen = [number for number, root in enumerate(roots) if halves(root)]
    set_halving(roots, ())
    try:
        yield
    finally:
        set_halving(roots, chosen)


def halved_to(states: torch.Tensor, mask: torch.Tensor, tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Hidden states as a model that halves them more often would have them, and which of them are no padding.

    Args:
        states: (batch, tokens, width), perhaps halved already.
        mask: (batch, tokens), 1 for tokens, as the model was given it.
        tokens: that are to be left.
    """
    while mask.shape[1] > states.shape[1]:
        mask = left_tokens(mask)
    while states.shape[1] > tokens:
        states, mask = halve(states, mask), left_tokens(mask)
    return states, mask
