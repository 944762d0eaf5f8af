"""The family of models that have a vector for each token and no layers, as the stage `static` makes them."""

from __future__ import annotations

from edgelm.anatomy.families.family import Family
from edgelm.errors import UnsupportedFamily

# Not in the table of families: what that lists has attention, heads and channels to cut.
STATIC = Family(
    model_types=("edgelm-static",),
    layers="layers",
    query="",
    key="",
    value="",
    attention_output="",
    ffn_in="",
    ffn_out="",
    output_norm=None,
    attention="",
    token_types=False,
    word_embeddings="word_embeddings",
    position_table=False,
)


def is_static(model_type: str) -> bool:
    """Whether a model of this `config.json: model_type` is one without layers."""
    return model_type in STATIC.model_types


def require_layers(model_type: str, what: str) -> None:
    """Refuse a model without layers where layers are cut or timed.

    Args:
        what: would be done to them, such as `prune cuts`.

    Raises:
        UnsupportedFamily: the model has none.
    """
    if is_static(model_type):
        raise UnsupportedFamily(
            f"{what} layers, and a static model has none: it is a table of token vectors and a head.",
            hint="Cut its vocabulary (stage vocabulary), or begin with the model that it was distilled from.",
        )
