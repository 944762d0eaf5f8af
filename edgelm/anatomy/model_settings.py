"""Every setting of config.json, generation_config.json and sentence-transformers' files that can change an output, and
what edgelm does with it."""

from __future__ import annotations

from typing import Any

from edgelm.anatomy.family_settings import FAMILY_SETTINGS, WITHOUT_EFFECT_BY_FAMILY
from edgelm.anatomy.setting import Setting

# Settings that ask for other outputs, for another order of the same work, or for other kernels; never for other
# numbers.
PLAIN: dict[str, Any] = {
    "chunk_size_feed_forward": 0,
    "output_hidden_states": False,
    "output_attentions": False,
    "return_dict": True,
}

_CONFIG, _GENERATION = "config.json", "generation_config.json"
_MODULES, _SETTINGS, _BERT = "modules.json", "config_sentence_transformers.json", "sentence_bert_config.json"
_POOLING, _DENSE, _NORM, _UNIT = (
    "Pooling/config.json",
    "Dense/config.json",
    "LayerNorm/config.json",
    "Normalize/config.json",
)
_SHAPE = "the model is built so; weights of another shape are refused when they are loaded"
_BUILT = "the model is built so by transformers, and exported as it is"
_DECODER = "true is refused for families of encoders; generators are families of their own"

MODEL_SETTINGS: tuple[Setting, ...] = (
    Setting(
        _CONFIG,
        "architectures",
        "which head the model has",
        "applied",
        "sequence classifiers and encoders; another head, or several, is refused",
    ),
    Setting(
        _CONFIG,
        "model_type",
        "the architecture",
        "applied",
        "the families of edgelm.anatomy.families.table; others are refused",
    ),
    Setting(
        _CONFIG, "auto_map", "the model is code of its own", "refused", "code is never run; edgelm knows its own file"
    ),
    Setting(_CONFIG, "vocab_size", "rows of the token embeddings", "applied", _SHAPE),
    Setting(_CONFIG, "hidden_size", "width of the encoder", "applied", _SHAPE),
    Setting(_CONFIG, "dim", "width of the encoder (DistilBERT)", "applied", _SHAPE),
    Setting(_CONFIG, "embedding_size", "width of the embeddings (ELECTRA, ALBERT)", "applied", _SHAPE),
    Setting(_CONFIG, "num_hidden_layers", "layers", "applied", _SHAPE),
    Setting(_CONFIG, "n_layers", "layers (DistilBERT)", "applied", _SHAPE),
    Setting(_CONFIG, "num_attention_heads", "how attention is divided", "applied", _BUILT),
    Setting(_CONFIG, "n_heads", "how attention is divided (DistilBERT)", "applied", _BUILT),
    Setting(_CONFIG, "intermediate_size", "FFN channels", "applied", _SHAPE),
    Setting(_CONFIG, "hidden_dim", "FFN channels (DistilBERT)", "applied", _SHAPE),
    Setting(_CONFIG, "hidden_act", "the FFN's activation", "applied", _BUILT),
    Setting(_CONFIG, "activation", "the FFN's activation (DistilBERT)", "applied", _BUILT),
    Setting(_CONFIG, "layer_norm_eps", "what is added to each variance", "applied", _BUILT),
    Setting(
        _CONFIG,
        "max_position_embeddings",
        "the longest text",
        "applied",
        "edgelm.anatomy.sizes.usable_positions; longer texts are refused",
    ),
    Setting(
        _CONFIG,
        "position_embedding_type",
        "how attention sees places",
        "refused",
        "transformers 5 computes absolute alone, and so does edgelm",
    ),
    Setting(_CONFIG, "type_vocab_size", "rows of the token types", "applied", _SHAPE),
    Setting(
        _CONFIG,
        "pad_token_id",
        "where RoBERTa's positions begin",
        "applied",
        "as transformers; an id outside the embeddings is refused",
    ),
    Setting(_CONFIG, "pruned_heads", "heads that are gone", "refused", "transformers 5 no longer reads it"),
    Setting(
        _CONFIG,
        "per_layer_config",
        "layers of unlike shapes",
        "refused",
        "edgelm.json holds the shapes of layers that edgelm cut",
    ),
    Setting(_CONFIG, "is_decoder", "attention looks back alone", "refused", _DECODER),
    Setting(_CONFIG, "add_cross_attention", "a second attention in each layer", "refused", _DECODER),
    Setting(_CONFIG, "is_encoder_decoder", "a decoder behind the encoder", "refused", _DECODER),
    Setting(
        _CONFIG,
        "chunk_size_feed_forward",
        "the FFN works in pieces",
        "ignored",
        "the same numbers; edgelm computes them in one piece",
    ),
    Setting(
        _CONFIG,
        "dtype",
        "the numbers that weights are kept in",
        "ignored",
        "edgelm computes in FP32; a name that is no float's is refused",
    ),
    Setting(_CONFIG, "torch_dtype", "the older name of dtype", "ignored", "as dtype"),
    Setting(
        _CONFIG,
        "attn_implementation",
        "the kernel of attention",
        "refused",
        "eager and sdpa alone: others would be fetched or are not there",
    ),
    Setting(_CONFIG, "_attn_implementation", "the kernel of attention", "refused", "as attn_implementation"),
    Setting(_CONFIG, "quantization_config", "the weights are integers", "refused", "the float model is asked for"),
    Setting(_CONFIG, "output_hidden_states", "more outputs", "ignored", "the outputs that are read are asked for"),
    Setting(_CONFIG, "output_attentions", "more outputs", "ignored", "the outputs that are read are asked for"),
    Setting(_CONFIG, "return_dict", "outputs without names", "ignored", "outputs are asked for by name"),
    Setting(
        _CONFIG,
        "id2label",
        "label names",
        "applied",
        "numbers from 0 without a gap, each name once; others are refused",
    ),
    Setting(
        _CONFIG,
        "label2id",
        "numbers of labels in training data",
        "ignored",
        "id2label says the same, and answers read that",
    ),
    Setting(
        _CONFIG,
        "num_labels",
        "how many labels",
        "applied",
        "where id2label is missing; a number that contradicts it or the weights is refused",
    ),
    Setting(
        _CONFIG,
        "problem_type",
        "softmax, sigmoid, or a value",
        "applied",
        "as transformers' pipeline; others are refused",
    ),
    Setting(
        _CONFIG,
        "sentence_transformers.activation_fn",
        "a cross-encoder's last function",
        "applied",
        "on one score: Sigmoid and Identity; else refused",
    ),
    Setting(
        _CONFIG,
        "sbert_ce_default_activation_function",
        "the older name of that",
        "applied",
        "as sentence_transformers.activation_fn",
    ),
    Setting(
        _CONFIG, "summary_type", "ELECTRA's summary", "ignored", "of multiple choice alone, a head that is refused"
    ),
    Setting(
        _CONFIG, "summary_use_proj", "ELECTRA's summary", "ignored", "of multiple choice alone, a head that is refused"
    ),
    Setting(
        _CONFIG,
        "summary_activation",
        "ELECTRA's summary",
        "ignored",
        "of multiple choice alone, a head that is refused",
    ),
    Setting(_CONFIG, "use_cache", "decoders keep keys and values", "ignored", "encoders have no cache"),
    Setting(
        _CONFIG,
        "tie_word_embeddings",
        "a language model's last matrix",
        "ignored",
        "such a head is no part of what edgelm exports",
    ),
    Setting(
        _CONFIG,
        "sinusoidal_pos_embds",
        "the first values of the positions",
        "ignored",
        "the weights of the folder take their place",
    ),
    *FAMILY_SETTINGS,
    Setting(_GENERATION, "*", "how text is generated", "applied", "of generators; what is not computed is refused"),
    Setting(
        _MODULES,
        "type",
        "what is computed behind the encoder",
        "applied",
        "Transformer, Pooling, Dense, LayerNorm, Normalize, Dropout; others are refused",
    ),
    Setting(_MODULES, "path", "where a module is", "applied", "inside the folder; a path that leads out is refused"),
    Setting(_MODULES, "kwargs", "arguments of a module", "refused", "modules are computed without arguments"),
    Setting(
        _POOLING,
        "pooling_mode",
        "how token vectors become one",
        "applied",
        "every mode, and several side by side; unknown ones are refused",
    ),
    Setting(_POOLING, "pooling_mode_cls_token", "the first token's vector", "applied", "as pooling_mode"),
    Setting(_POOLING, "pooling_mode_max_tokens", "the largest values", "applied", "as pooling_mode"),
    Setting(_POOLING, "pooling_mode_mean_tokens", "the mean", "applied", "as pooling_mode"),
    Setting(
        _POOLING,
        "pooling_mode_mean_sqrt_len_tokens",
        "the sum over the root of the length",
        "applied",
        "as pooling_mode",
    ),
    Setting(_POOLING, "pooling_mode_weightedmean_tokens", "the mean weighted by place", "applied", "as pooling_mode"),
    Setting(_POOLING, "pooling_mode_lasttoken", "the last token's vector", "applied", "as pooling_mode"),
    Setting(
        _POOLING,
        "include_prompt",
        "whether a prompt's tokens are pooled",
        "refused",
        "false together with a default prompt; alone it changes nothing",
    ),
    Setting(_POOLING, "word_embedding_dimension", "the encoder's width", "ignored", "the encoder itself says it"),
    Setting(_POOLING, "embedding_dimension", "the encoder's width", "ignored", "the encoder itself says it"),
    Setting(_DENSE, "in_features", "width of what goes in", "applied", "another width than what comes is refused"),
    Setting(_DENSE, "out_features", "width of the vectors", "applied", "weights of another shape are refused"),
    Setting(_DENSE, "bias", "whether a constant is added", "applied", "weights that contradict it are refused"),
    Setting(
        _DENSE,
        "activation_function",
        "what the vectors go through",
        "applied",
        "edgelm.model_folder.sentence_transformers.ACTIVATIONS; others are refused",
    ),
    Setting(_DENSE, "use_residual", "the input is added", "applied", "in the model and in the graph"),
    Setting(_DENSE, "module_input_name", "what the layer reads", "refused", "anything but sentence_embedding"),
    Setting(_DENSE, "module_output_name", "what the layer writes", "refused", "anything but sentence_embedding"),
    Setting(_NORM, "dimension", "width of the vectors", "applied", "another width than what comes is refused"),
    Setting(_UNIT, "module_input_name", "what is normalised", "refused", "anything but sentence_embedding"),
    Setting(_UNIT, "module_output_name", "what is written", "refused", "anything but sentence_embedding"),
    Setting(_BERT, "max_seq_length", "the longest text", "applied", "the tokenizer cuts there"),
    Setting(_BERT, "do_lower_case", "texts in lower case", "applied", "in the tokenizer's normalizer, before its own"),
    Setting(
        _BERT,
        "transformer_task",
        "which head the encoder has",
        "refused",
        "anything but feature-extraction and sequence-classification",
    ),
    Setting(_BERT, "model_args", "arguments of the model", "refused", "anything that can change a number"),
    Setting(
        _BERT,
        "tokenizer_args",
        "arguments of the tokenizer",
        "refused",
        "the tokenizer's own files say how texts are read",
    ),
    Setting(_BERT, "config_args", "arguments of the configuration", "refused", "config.json says what is computed"),
    Setting(
        _BERT,
        "processing_kwargs",
        "arguments of each call of the tokenizer",
        "refused",
        "the tokenizer's own files say how texts are read",
    ),
    Setting(
        _BERT,
        "modality_config",
        "which output is read",
        "refused",
        "anything but last_hidden_state and logits of forward",
    ),
    Setting(
        _BERT, "module_output_name", "where the output is kept", "refused", "anything but token_embeddings and scores"
    ),
    Setting(_BERT, "query_length", "the length of queries", "refused", "every text is read alike"),
    Setting(_BERT, "document_length", "the length of documents", "refused", "every text is read alike"),
    Setting(_BERT, "query_expansion", "masks behind queries", "refused", "every text is read alike"),
    Setting(
        _BERT, "tokenizer_name_or_path", "a tokenizer from elsewhere", "refused", "the tokenizer is beside the model"
    ),
    Setting(_BERT, "unpad_inputs", "batches without padding", "ignored", "the same numbers"),
    Setting(
        _SETTINGS,
        "model_type",
        "what the folder is",
        "applied",
        "SentenceTransformer and CrossEncoder; others are refused",
    ),
    Setting(
        _SETTINGS,
        "default_prompt_name",
        "what stands before every text",
        "applied",
        "in the task, so before every text; refused on cross-encoders",
    ),
    Setting(
        _SETTINGS,
        "prompts",
        "texts that can stand before texts",
        "applied",
        "the default one; the others are for callers to give",
    ),
    Setting(
        _SETTINGS,
        "truncate_dim",
        "how many values of a vector are kept",
        "applied",
        "behind the last module, as the library does",
    ),
    Setting(
        _SETTINGS,
        "activation_fn",
        "a cross-encoder's last function",
        "applied",
        "as sentence_transformers.activation_fn of config.json",
    ),
    Setting(
        _SETTINGS,
        "similarity_fn_name",
        "how two vectors are compared",
        "ignored",
        "vectors are what edgelm gives; its own scores are cosines",
    ),
)

# Keys of the families' configuration classes that change nothing in a finished model's outputs: training, names,
# generation, records.
WITHOUT_EFFECT = (
    "transformers_version",
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "classifier_dropout",
    "dropout",
    "attention_dropout",
    "qa_dropout",
    "seq_classif_dropout",
    "summary_last_dropout",
    "initializer_range",
    "bos_token_id",
    "eos_token_id",
    *WITHOUT_EFFECT_BY_FAMILY,
)
