"""Where the cuttable parts live in each model family: one row a family.

To add a family, add a row here and its name to the tests of `tests/anatomy`; everything else reads this table.
"""

from __future__ import annotations

from typing import Any

from edgelm.anatomy.families.family import Family, Slice
from edgelm.anatomy.families.generators import generator_stacks
from edgelm.anatomy.families.static import STATIC
from edgelm.errors import UnsupportedFamily
from edgelm.model_folder.generators import generator_types


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
    _bert_like("roberta", "xlm-roberta", "camembert", token_types=False, positions_from_padding=True),
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
    Family(
        model_types=("mpnet",),
        layers="encoder.layer",
        query="attention.attn.q",
        key="attention.attn.k",
        value="attention.attn.v",
        attention_output="attention.attn.o",
        ffn_in="intermediate.dense",
        ffn_out="output.dense",
        output_norm="output.LayerNorm",
        attention="attention.attn",
        head_table="encoder.relative_attention_bias",
        token_types=False,
        positions_from_padding=True,
        padding=1,
    ),
    Family(
        model_types=("albert",),
        layers="encoder.albert_layer_groups",
        query="albert_layers.0.attention.query",
        key="albert_layers.0.attention.key",
        value="albert_layers.0.attention.value",
        attention_output="albert_layers.0.attention.dense",
        ffn_in="albert_layers.0.ffn",
        ffn_out="albert_layers.0.ffn_output",
        output_norm="albert_layers.0.full_layer_layer_norm",
        attention="albert_layers.0.attention",
        attention_norm="LayerNorm",
        config_groups="num_hidden_groups",
    ),
    Family(
        model_types=("modernbert",),
        layers="layers",
        query=Slice("attn.Wqkv", 0, 3),
        key=Slice("attn.Wqkv", 1, 3),
        value=Slice("attn.Wqkv", 2, 3),
        attention_output="attn.Wo",
        ffn_in=Slice("mlp.Wi", 0, 2),
        ffn_gate=Slice("mlp.Wi", 1, 2),
        ffn_out="mlp.Wo",
        output_norm=None,
        attention="attn",
        attention_residual="attn_norm",
        ffn_residual="mlp_norm",
        first_norm="attn_norm",
        head_size="head_dim",
        rotary=True,
        position_table=False,
        token_types=False,
        word_embeddings="embeddings.tok_embeddings",
        config_by_layer=("layer_types",),
    ),
    Family(
        model_types=("deberta-v2",),
        layers="encoder.layer",
        query="attention.self.query_proj",
        key="attention.self.key_proj",
        value="attention.self.value_proj",
        head_inputs=("attention.self.pos_query_proj", "attention.self.pos_key_proj"),
        attention_output="attention.output.dense",
        ffn_in="intermediate.dense",
        ffn_out="output.dense",
        output_norm="output.LayerNorm",
        attention="attention.self",
        attention_residual="attention.self",
        token_types=True,
        position_table="position_biased_input",
    ),
)


def stacks_of(config: Any) -> tuple[Family, ...]:
    """The stacks of layers of an architecture: one, or of an encoder-decoder both, the encoder first.

    Args:
        config: of transformers.

    Raises:
        UnsupportedFamily: it has no anatomy; the supported ones are listed.
    """
    return generator_stacks(config) or (family_of(config.model_type),)


def supported_model_types() -> list[str]:
    """Every `model_type` of an encoder that has an anatomy, sorted."""
    return sorted(name for family in FAMILIES for name in family.model_types)


def family_of(model_type: str) -> Family:
    """The anatomy of an encoder.

    Raises:
        UnsupportedFamily: there is none; the supported ones are listed. Generators have stacks (`stacks_of`).
    """
    for family in (*FAMILIES, STATIC):
        if model_type in family.model_types:
            return family
    if model_type in generator_types():
        raise UnsupportedFamily(
            f"{model_type} models write texts: this works on encoders alone.",
            hint=f"Encoders: {', '.join(supported_model_types())}.",
        )
    raise UnsupportedFamily(
        f"model family {model_type or '(none in config.json)'!r} is not supported; supported: "
        f"{', '.join(supported_model_types())}.",
        hint="To add it, describe its layers in edgelm/anatomy/families/table.py; CONTRIBUTING.md, 'Add a model "
        "family', says how.",
    )
