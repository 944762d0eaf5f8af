"""Where the cuttable parts live in each model family: one row a family.

To add a family, add a row here and its name to the tests of `tests/anatomy`; everything else reads this table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgelm.errors import UnsupportedFamily


@dataclass(frozen=True)
class Family:
    """Paths of the modules of an encoder, from its base model (the model without a head).

    Attributes:
        model_types: values of `config.json: model_type` that have this anatomy.
        layers: the list of encoder layers.
        query, key, value, attention_output: the projections of one layer's attention.
        ffn_in, ffn_out: the two matrices of one layer's feed-forward network.
        output_norm: what comes last in a layer.
        attention: the module that holds `head_size`.
        head_size: attribute with the width of one head; it never changes.
        token_types: whether the model reads `token_type_ids`.
        word_embeddings: the table with one row a token.
        positions_from_padding: whether positions are counted from the id of the padding token, which must then never
            change.
        config_layers, config_heads, config_ffn, config_hidden: names in config.json.
    """

    model_types: tuple[str, ...]
    layers: str
    query: str
    key: str
    value: str
    attention_output: str
    ffn_in: str
    ffn_out: str
    output_norm: str
    attention: str
    head_size: str = "attention_head_size"
    token_types: bool = True
    word_embeddings: str = "embeddings.word_embeddings"
    positions_from_padding: bool = False
    config_layers: str = "num_hidden_layers"
    config_heads: str = "num_attention_heads"
    config_ffn: str = "intermediate_size"
    config_hidden: str = "hidden_size"

    def sizes(self, config: Mapping[str, Any]) -> dict[str, int]:
        """Layers, hidden size, heads and FFN channels of an uncut model, by those names, from its configuration."""
        names = {
            "layers": self.config_layers,
            "hidden": self.config_hidden,
            "heads": self.config_heads,
            "ffn": self.config_ffn,
        }
        return {size: int(config[name]) for size, name in names.items()}


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
