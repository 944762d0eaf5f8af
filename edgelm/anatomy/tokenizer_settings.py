"""Every setting of a tokenizer's files that can change token ids, and what edgelm does with it."""

from __future__ import annotations

from edgelm.anatomy.setting import Setting

_CONFIG, _MAP, _ADDED, _FILE = "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "tokenizer.json"
_LOADED = "AutoTokenizer reads it into the tokenizer that the bundle's tokenizer.json holds"
_SPECIAL = (
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
    "additional_special_tokens",
)

TOKENIZER_SETTINGS: tuple[Setting, ...] = (
    Setting(
        _CONFIG, "tokenizer_class", "rules of a Python class, such as special tokens around a text", "applied", _LOADED
    ),
    Setting(_CONFIG, "do_lower_case", "lower case", "applied", _LOADED),
    Setting(_CONFIG, "strip_accents", "accents", "applied", _LOADED),
    Setting(_CONFIG, "tokenize_chinese_chars", "blanks around Chinese characters", "applied", _LOADED),
    Setting(_CONFIG, "add_prefix_space", "a blank before the first word", "applied", _LOADED),
    Setting(_CONFIG, "added_tokens_decoder", "tokens beside the vocabulary", "applied", _LOADED),
    Setting(_CONFIG, "extra_special_tokens", "special tokens beside the named ones", "applied", _LOADED),
    Setting(
        _CONFIG,
        "truncation_side",
        "which end of a long text is lost",
        "applied",
        "the manifest's tokenization.truncation_side",
    ),
    Setting(
        _CONFIG,
        "split_special_tokens",
        "whether special tokens are found in text",
        "applied",
        "the manifest's tokenization.split_special",
    ),
    Setting(
        _CONFIG,
        "model_max_length",
        "how long a text may be",
        "applied",
        "the manifest's tokenization.max_length, unless --max-length is given",
    ),
    Setting(
        _CONFIG,
        "pad_token_type_id",
        "token types of padding",
        "ignored",
        "transformers pads with type 0 whatever it says",
    ),
    Setting(
        _CONFIG,
        "padding_side",
        "places of a text in a batch",
        "ignored",
        "padding is put behind: a text keeps its places",
    ),
    Setting(
        _CONFIG,
        "model_input_names",
        "whether mask and token types are given",
        "applied",
        "the graph's inputs; unknown ones are refused",
    ),
    *(Setting(_CONFIG, key, "special tokens", "applied", _LOADED) for key in _SPECIAL),
    *(Setting(_MAP, key, "special tokens", "applied", _LOADED) for key in _SPECIAL),
    Setting(
        _ADDED, "*", "tokens beside the vocabulary", "applied", f"{_LOADED}; ids beyond the embedding table are refused"
    ),
    Setting(
        _FILE,
        "truncation.direction",
        "which end of a long text is lost",
        "applied",
        "the manifest's tokenization.truncation_side",
    ),
    Setting(
        _FILE,
        "truncation.max_length",
        "how long a text may be",
        "ignored",
        "transformers is asked to cut at the model's length",
    ),
    Setting(_FILE, "truncation.stride", "overlap of a long text's parts", "ignored", "a text is its first part alone"),
    Setting(
        _FILE,
        "truncation.strategy",
        "which text of a pair is cut",
        "ignored",
        "transformers cuts the longer one when it is asked to cut",
    ),
    Setting(
        _FILE,
        "padding",
        "what fills a batch up",
        "ignored",
        "padding is masked; the tokens that transformers pads with are taken",
    ),
    Setting(
        _FILE,
        "added_tokens",
        "tokens beside the vocabulary",
        "applied",
        f"{_LOADED}; ids beyond the embedding table are refused",
    ),
    Setting(_FILE, "normalizer", "what a text is turned into first", "applied", _LOADED),
    Setting(_FILE, "pre_tokenizer", "where words end", "applied", _LOADED),
    Setting(
        _FILE,
        "post_processor",
        "special tokens around a text, and token types",
        "applied",
        f"{_LOADED}; types beyond the model's: refused",
    ),
    Setting(_FILE, "model", "the vocabulary", "applied", f"{_LOADED}; ids beyond the embedding table are refused"),
)
