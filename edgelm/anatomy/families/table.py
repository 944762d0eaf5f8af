"""Where the cuttable parts live in each model family: one row a family.

To add a family, add a row here and its name to the tests of `tests/anatomy`; everything else reads this table.
"""

from __future__ import annotations

from edgelm.anatomy.families.family import Family
from edgelm.errors import UnsupportedFamily


def _bert_like(*model_types: str, token_types: bool, positions_from_padding: bool = False) -> Family:
    return Family(
        model_types=model_types,
        layers="encoder.layer",
        query="attention.self.query",
        key="attention.self.key",
        value="attention.self.value",
        attention_output="attention.output.dense",
        ffn_in="intermediate.dense",
        ffn_out="output.dense",
        output_norm="output.LayerNorm",
        attention="attention.self",
        token_types=token_types,
        positions_from_padding=positions_from_padding,
    )


FAMILIES: tuple[Family, ...] = (
    _bert_like("bert", "electra", token_types=True),
    _bert_like("roberta", "xlm-roberta", token_types=False, positions_from_padding=True),
    Family(
        model_types=("distilbert",),
        layers="transformer.layer",
        query="attention.q_lin",
        key="attention.k_lin",
        value="attention.v_lin",
        attention_output="attention.out_lin",
        ffn_in="ffn.lin1",
        ffn_out="ffn.lin2",
        output_norm="output_layer_norm",
        attention="attention",
        token_types=False,
        config_layers="n_layers",
        config_heads="n_heads",
        config_ffn="hidden_dim",
        config_hidden="dim",
    ),
)


def supported_model_types() -> list[str]:
    """Every `model_type` that has an anatomy, sorted."""
    return sorted(name for family in FAMILIES for name in family.model_types)


def family_of(model_type: str) -> Family:
    """The anatomy of an architecture.

    Raises:
        UnsupportedFamily: there is none; the supported ones are listed.
    """
    for family in FAMILIES:
        if model_type in family.model_types:
            return family
    raise UnsupportedFamily(
        f"model family {model_type or '(none in config.json)'!r} is not supported; supported: "
        f"{', '.join(supported_model_types())}.",
        hint="To add it, describe its layers in edgelm/anatomy/families/table.py; CONTRIBUTING.md, 'Add a model "
        "family', says how.",
    )
