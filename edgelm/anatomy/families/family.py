"""What is written down of a model family: where in its modules every part is that compression cuts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Slice:
    """One of several equal shares of a fused matrix's outputs, such as the queries in ModernBERT's Wqkv."""

    path: str
    part: int
    of: int


@dataclass(frozen=True)
class Family:
    """Paths of the modules of one stack of layers, an encoder or a decoder, from the base model (the model without a
    head).

    Attributes:
        model_types: values of `config.json: model_type` that have this anatomy.
        layers: the list of layers.
        query, key, value, attention_output: the projections of one layer's attention.
        ffn_in, ffn_out: the two matrices of one layer's feed-forward network.
        output_norm: what a layer's last sum goes through; None: nothing (norms stand before the sublayers).
        attention: the module that holds `head_size`.
        ffn_gate: the matrix whose outputs multiply the channels, where the feed-forward network has gates.
        head_inputs: further projections that give every head a share, where a model has them.
        attention_residual, ffn_residual: modules whose input the sublayer's output is added to; None: what `query`, or
            `ffn_in`, reads.
        attention_norm: name inside `attention` of the norm that its sum goes through, where that lies inside.
        first_norm: the norm that the model's first layer lacks, since the embeddings' own stands before it.
        head_table: a table (rows, heads) that is added to the scores of every layer.
        head_size: attribute with the width of one head; it never changes.
        rotary: whether queries and keys are turned by angles that a head's width decides, so that it must stay.
        token_types: whether the model reads `token_type_ids`.
        word_embeddings: the table with one row a token.
        position_table: whether there is an embedding for each position; or the name in config.json that says so.
        positions_from_padding: whether positions are counted from the id of the padding token, which must then never
            change.
        padding: that id, where the class does not read it from the configuration.
        stack: name of the stack: encoder or decoder.
        cross: the module of a decoder's attention to the encoder's output; what lies in it has the names of what lies
            in `attention`. None: there is none.
        cross_residual: as `attention_residual`, of the attention to the encoder's output.
        attention_after, ffn_after: norms that the sublayer's output goes through before it is added.
        first_only: modules of a layer that the first layer of the stack alone has, for all of them.
        config_layers, config_heads, config_ffn, config_hidden: names in config.json.
        config_kv_heads: name in config.json of the number of keys and values, where a configuration can say any number
            of heads; None: heads that were cut are not said there.
        config_groups: name in config.json of how many layers have weights of their own, where several can share them.
        config_by_layer: names in config.json of lists with one entry a layer.
        tables: embeddings whose rows are added to the residual stream; () where no narrower stream is known.
        last_norm: what the stack's last state goes through; None: the last layer's own norm is the last.
        norm_offset: what is added to the weights of norms.
        hidden_of_heads: whether the hidden size must be a multiple of the heads that config.json says.
    """

    model_types: tuple[str, ...]
    layers: str
    query: str | Slice
    key: str | Slice
    value: str | Slice
    attention_output: str
    ffn_in: str | Slice
    ffn_out: str
    output_norm: str | None
    attention: str
    ffn_gate: str | Slice | None = None
    head_inputs: tuple[str, ...] = ()
    attention_residual: str | None = None
    ffn_residual: str | None = None
    attention_norm: str | None = None
    first_norm: str | None = None
    head_table: str | None = None
    head_size: str = "attention_head_size"
    rotary: bool = False
    token_types: bool = True
    word_embeddings: str = "embeddings.word_embeddings"
    position_table: bool | str = True
    positions_from_padding: bool = False
    padding: int | None = None
    config_layers: str = "num_hidden_layers"
    config_heads: str = "num_attention_heads"
    config_ffn: str = "intermediate_size"
    config_hidden: str = "hidden_size"
    config_kv_heads: str | None = None
    config_groups: str | None = None
    config_by_layer: tuple[str, ...] = ()
    stack: str = "encoder"
    cross: str | None = None
    cross_residual: str | None = None
    attention_after: str | None = None
    ffn_after: str | None = None
    first_only: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    last_norm: str | None = None
    norm_offset: float = 0.0
    hidden_of_heads: bool = False

    def crossing(self, path: str) -> str:
        """The path in the attention to the encoder's output that `path` has in the one to the own sequence."""
        return f"{self.cross}{path.removeprefix(self.attention)}"

    def sizes(self, config: Mapping[str, Any]) -> dict[str, int]:
        """Layers, hidden size, heads and FFN channels of an uncut model, by those names, from its configuration."""
        names = {
            "layers": self.config_layers,
            "hidden": self.config_hidden,
            "heads": self.config_heads,
            "ffn": self.config_ffn,
        }
        return {size: int(config[name]) for size, name in names.items()}

    def has_position_table(self, config: Mapping[str, Any]) -> bool:
        """Whether a model of this configuration has an embedding for each position."""
        if isinstance(self.position_table, str):
            return bool(config.get(self.position_table, True))
        return self.position_table

    def padding_of(self, config: Any) -> int | None:
        """The id of the padding token that positions are counted from, or that the configuration names."""
        return self.padding if self.padding is not None else config.pad_token_id
