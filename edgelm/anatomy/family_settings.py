"""Settings of config.json that one family alone has, and what edgelm does with them; with those of `model_settings`
they are all."""

from __future__ import annotations

from typing import Literal

from edgelm.anatomy.setting import Setting

_CONFIG = "config.json"
_SHAPE = "the model is built so; weights of another shape are refused when they are loaded"
_BUILT = "the model is built so by transformers, and exported as it is"
_WEIGHTS = "the model is built so; weights that contradict it are refused"
_HEAD = "of language models, whose head is no part of an encoder; generators are built as it says"
_MASKED = "of masked language models alone, a head that is no part of what edgelm exports"


def _setting(key: str, what: str, handling: Literal["applied", "ignored"], how: str) -> Setting:
    return Setting(_CONFIG, key, what, handling, how)


FAMILY_SETTINGS: tuple[Setting, ...] = (
    # MPNet
    _setting("relative_attention_num_buckets", "rows of the table of relative positions", "applied", _SHAPE),
    # ModernBERT
    _setting("hidden_activation", "the FFN's activation (ModernBERT)", "applied", _BUILT),
    _setting("norm_eps", "what is added to each variance (ModernBERT)", "applied", _BUILT),
    _setting("norm_bias", "whether norms add a constant", "applied", _WEIGHTS),
    _setting("attention_bias", "whether projections of attention add a constant", "applied", _WEIGHTS),
    _setting("mlp_bias", "whether matrices of the FFN add a constant", "applied", _WEIGHTS),
    _setting("layer_types", "which layers look at neighbours alone", "applied", "as transformers; a cut keeps it true"),
    _setting("global_attn_every_n_layers", "the older form of layer_types", "applied", _BUILT),
    _setting("local_attention", "how many neighbours those layers see", "applied", _BUILT),
    _setting("rope_parameters", "angles of rotary positions", "applied", _BUILT),
    _setting("global_rope_theta", "the older form of rope_parameters", "applied", _BUILT),
    _setting("local_rope_theta", "the older form of rope_parameters", "applied", _BUILT),
    _setting("classifier_pooling", "what a classifier reads: the first token or the mean", "applied", _BUILT),
    _setting("classifier_bias", "whether a classifier's first matrix adds a constant", "applied", _WEIGHTS),
    _setting("classifier_activation", "the classifier's activation", "applied", _BUILT),
    _setting("decoder_bias", "a masked language model's last constant", "ignored", _MASKED),
    _setting("sparse_prediction", "words that a masked language model skips", "ignored", _MASKED),
    _setting("sparse_pred_ignore_index", "words that a masked language model skips", "ignored", _MASKED),
    _setting("deterministic_flash_attn", "how a GPU kernel adds up", "ignored", "that kernel is not used"),
    # DeBERTa
    _setting("relative_attention", "whether attention sees relative positions", "applied", _WEIGHTS),
    _setting("pos_att_type", "what of relative positions attention sees", "applied", _BUILT),
    _setting("max_relative_positions", "how far relative positions reach", "applied", _BUILT),
    _setting("position_buckets", "how many relative positions there are", "applied", _SHAPE),
    _setting("share_att_key", "whether content and positions share matrices", "applied", _WEIGHTS),
    _setting("norm_rel_ebd", "whether relative positions are normalised", "applied", _WEIGHTS),
    _setting("position_biased_input", "whether there are absolute positions besides", "applied", _WEIGHTS),
    _setting("conv_kernel_size", "a convolution beside the first layer", "applied", _WEIGHTS),
    _setting("conv_act", "that convolution's activation", "applied", _BUILT),
    _setting("attention_head_size", "width of one head", "applied", _SHAPE),
    _setting("pooler_hidden_size", "width of what a classifier reads", "applied", _SHAPE),
    _setting("pooler_hidden_act", "the activation before a classifier", "applied", _BUILT),
    _setting("legacy", "which head fills in masked words", "ignored", _MASKED),
    # ALBERT
    _setting("num_hidden_groups", "how many layers have weights of their own", "applied", _WEIGHTS),
    _setting("inner_group_num", "how many layers a group has", "applied", _WEIGHTS),
    # Decoders that read alone
    _setting("num_key_value_heads", "how many heads of keys and values queries share", "applied", _SHAPE),
    _setting("head_dim", "width of one head", "applied", _SHAPE),
    _setting("rms_norm_eps", "what is added to each mean square", "applied", _BUILT),
    _setting("sliding_window", "how many tokens before a layer sees", "applied", _BUILT),
    _setting("use_sliding_window", "whether layers look at neighbours alone", "applied", _BUILT),
    _setting("max_window_layers", "which layers look at neighbours alone", "applied", _BUILT),
    _setting("query_pre_attn_scalar", "what scores of attention are divided by", "applied", _BUILT),
    _setting("attn_logit_softcapping", "how far scores of attention reach", "applied", _BUILT),
    _setting("use_bidirectional_attention", "whether attention looks both ways", "applied", _BUILT),
    _setting("final_logit_softcapping", "how far logits of words reach", "ignored", _HEAD),
    _setting("pretraining_tp", "in how many pieces products were trained", "ignored", "the same numbers"),
)

# Keys that change nothing in a finished model's outputs.
WITHOUT_EFFECT_BY_FAMILY = (
    "initializer_cutoff_factor",
    "cls_token_id",
    "sep_token_id",
    "embedding_dropout",
    "mlp_dropout",
    "pooler_dropout",
    "classifier_dropout_prob",
)
