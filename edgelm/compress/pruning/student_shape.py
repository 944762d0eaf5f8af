"""The shape of a student: how many layers of the model it is cut from, and how wide each of its parts is."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import PreTrainedModel

from edgelm.anatomy import model_layers
from edgelm.anatomy.layers import require_own_weights
from edgelm.compress.distillation.layer_matching import spread_layers
from edgelm.errors import RecipeError

_THINNEST = 4  # a head may lose three quarters of its width, not more


@dataclass(frozen=True)
class Shape:
    """What a student looks like.

    Attributes:
        layers: which of the model's layers it has, in order.
        hidden: width of its hidden states.
        head_size: width of each head.
        heads, ffn: per layer.
    """

    layers: tuple[int, ...]
    hidden: int
    head_size: int
    heads: tuple[int, ...]
    ffn: tuple[int, ...]


def resolve_shape(
    model: PreTrainedModel,
    *,
    layers: int | None = None,
    hidden: int | None = None,
    heads: int | None = None,
    ffn: int | None = None,
) -> Shape:
    """The shape that was asked for, None standing for the model's own; layers that are narrower already stay as they
    are.

    Raises:
        RecipeError: larger than the model, heads that cannot share the hidden size, or (ELECTRA) a hidden size that
            does away with the projection behind the embeddings, or heads of another width with rotary positions.
        UnsupportedFamily: the layers share their weights.
    """
    require_own_weights(model, "no student can be cut out of some of them")
    every = model_layers(model)
    limits = {
        "hidden": model.config.hidden_size,
        "heads": max(layer.heads for layer in every),
        "ffn": max(layer.ffn for layer in every),
    }
    for name, wanted in (("hidden", hidden), ("heads", heads), ("ffn", ffn)):
        if wanted is not None and wanted > limits[name]:
            raise RecipeError(
                f"distill.shape.{name} is {wanted}, but the teacher has {limits[name]}.",
                hint=f"Use 1 to {limits[name]}: a student is cut out.",
            )
    chosen = spread_layers(len(every), layers or len(every), setting="distill.shape.layers")
    width = hidden or model.config.hidden_size
    if width < model.config.hidden_size and width == getattr(model.config, "embedding_size", None):
        raise RecipeError(
            f"distill.shape.hidden is {width}, just as wide as the embeddings: such a student has no projection "
            "between the two, its teacher has.",
            hint="Use another width.",
        )
    count, head_size = _fit_heads(width, heads, every[0].head_size, max(limits["heads"], 1))
    if every[0].family.rotary and head_size != every[0].head_size:
        raise RecipeError(
            f"distill.shape: the heads would be {head_size} wide, but those of {model.config.model_type} must stay "
            f"{every[0].head_size} wide: rotary positions turn each pair of dimensions by an angle of its own.",
            hint=f"Use a hidden size that is a multiple of {every[0].head_size}, and no more heads than fit into it.",
        )
    return Shape(
        layers=tuple(chosen),
        hidden=width,
        head_size=head_size,
        heads=tuple(min(count, every[layer].heads) for layer in chosen),
        ffn=tuple(min(ffn or every[layer].ffn, every[layer].ffn) for layer in chosen),
    )


def _fit_heads(hidden: int, heads: int | None, size: int, most: int) -> tuple[int, int]:
    """How many heads, and how wide: as wide as the teacher's where that divides `hidden`, else the widest that does and
    leaves room for all."""
    count = heads or (hidden // size if hidden % size == 0 else most)
    room = min(size, hidden // count)
    found = max((width for width in range(1, room + 1) if hidden % width == 0), default=0)
    if found * _THINNEST < size:
        raise RecipeError(
            f"distill.shape: {count} heads do not fit into {hidden} hidden dimensions: they would be {found} wide, "
            f"the teacher's are {size}.",
            hint=f"Use fewer heads, or a hidden size that is a multiple of {size}.",
        )
    return count, found
