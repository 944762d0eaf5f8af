"""The tokenizer of a checkpoint, held against the model that reads its tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from tokenizers import Tokenizer
from transformers import CONFIG_MAPPING, AutoTokenizer

from edgelm.anatomy.marian_tokenizer import is_marian, load_marian
from edgelm.anatomy.sizes import text_limit
from edgelm.anatomy.text_settings import with_text_settings
from edgelm.checkpoint import Checkpoint
from edgelm.errors import ModelError
from edgelm.model_folder.gguf import gguf_source, is_gguf

_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def load_tokenizer(checkpoint: Checkpoint | str | Path, *, single_words: bool = False) -> Any:
    """The fast tokenizer of a checkpoint.

    It names the inputs that the model has, and a token to pad with: padding is masked, so any token of the table serves
    where the folder names none.

    Args:
        checkpoint: an open checkpoint, or a folder, whose tokenizer is not held against a model then.
        single_words: it will be given words one by one. One that tells words by the blank before them puts a blank
            before each then, as it met them in texts.

    Raises:
        ModelError: no tokenizer files, or none that has a fast form; a tokenizer that does not fit the model.
    """
    path = checkpoint.tokenizer_path if isinstance(checkpoint, Checkpoint) else Path(checkpoint)
    try:
        source = gguf_source(path) if is_gguf(path) else {"pretrained_model_name_or_path": path}
        tokenizer = (
            load_marian(path) if is_marian(path) else AutoTokenizer.from_pretrained(**source, local_files_only=True)
        )
        if single_words and tokenizer.is_fast and _lacks_blank(tokenizer):
            tokenizer = _with_blanks(AutoTokenizer.from_pretrained(path, local_files_only=True, add_prefix_space=True))
    except (OSError, ValueError, KeyError, TypeError, StrictDataclassError) as error:
        raise ModelError(
            f"{path}: no tokenizer that can be loaded.",
            hint="Save it beside the model: tokenizer.save_pretrained(folder).",
        ) from error
    if not tokenizer.is_fast:
        raise ModelError(
            f"{path}: the tokenizer has no fast form (tokenizer.json).",
            hint="Convert it with transformers' convert_slow_tokenizer.",
        )
    tokenizer = with_text_settings(tokenizer, path)
    if isinstance(checkpoint, Checkpoint) and is_gguf(path):
        tokenizer.model_max_length = text_limit(checkpoint.config)
    if isinstance(checkpoint, Checkpoint) and checkpoint.family in CONFIG_MAPPING:
        _fit(tokenizer, path, CONFIG_MAPPING[checkpoint.family]().to_dict() | checkpoint.config)
    return tokenizer


def _lacks_blank(tokenizer: Any) -> bool:
    """Whether a byte-level tokenizer reads a word that stands alone as the end of one."""
    return any(not part["add_prefix_space"] for part in _byte_levels(json.loads(tokenizer.backend_tokenizer.to_str())))


def _with_blanks(tokenizer: Any) -> Any:
    """The same tokenizer, which puts a blank before each word also where its class does not know of the setting."""
    values = json.loads(tokenizer.backend_tokenizer.to_str())
    for part in _byte_levels(values):
        part["add_prefix_space"] = True
    tokenizer.backend_tokenizer.pre_tokenizer = Tokenizer.from_str(json.dumps(values)).pre_tokenizer
    return tokenizer


def _byte_levels(values: dict[str, Any]) -> list[dict[str, Any]]:
    """The byte-level parts of tokenizer.json's pre-tokenizer."""
    parts: Any = values["pre_tokenizer"] or {}
    return [part for part in (parts, *parts.get("pretokenizers", ())) if part.get("type") == "ByteLevel"]


def _fit(tokenizer: Any, path: Path, config: dict[str, Any]) -> None:
    """Hold a tokenizer against the model's configuration."""
    names = [name for name in tokenizer.model_input_names if name != "token_type_ids" or config.get("type_vocab_size")]
    unknown = sorted(set(names) - set(_INPUTS))
    if unknown or "input_ids" not in names:
        reason = f"asks for {', '.join(unknown)}" if unknown else "does not ask for input_ids"
        raise ModelError(
            f"{path}: model_input_names of the tokenizer {reason}.",
            hint=f"In tokenizer_config.json it may name {', '.join(_INPUTS)}.",
        )
    # Without a mask the model reads every token, which is what the mask of a text alone says, and that of a batch as
    # well.
    tokenizer.model_input_names = names if "attention_mask" in names else [*names, "attention_mask"]
    last = max(tokenizer.get_vocab().items(), key=lambda item: item[1])
    if last[1] >= config["vocab_size"]:
        raise ModelError(
            f"{path}: the tokenizer has ids up to {last[1]} ({last[0]!r}), the model embeddings for "
            f"{config['vocab_size']} tokens.",
            hint="Call model.resize_token_embeddings(len(tokenizer)), train the new rows and save both; or save the "
            "model's own tokenizer.",
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(config.get("pad_token_id") or 0)


def check_token_types(tokenizer: Any, config: Any, *, pair: bool) -> None:
    """Refuse token types that the model has no embeddings for.

    Args:
        config: the model's configuration.
        pair: texts come in twos.

    Raises:
        ModelError: the tokenizer gives types that the model has no rows for; both numbers are named.
    """
    if "token_type_ids" not in tokenizer.model_input_names:
        return
    types = token_types(tokenizer, pair=pair)
    if max(types) >= config.type_vocab_size:
        kind = "pairs" if pair else "texts"
        raise ModelError(
            f"the tokenizer gives {kind} token types up to {max(types)}, the model has {config.type_vocab_size} of "
            "them.",
            hint="Take token_type_ids out of model_input_names in tokenizer_config.json, if the model was trained "
            "without them.",
        )


def token_types(tokenizer: Any, *, pair: bool) -> set[int]:
    """Which token types a tokenizer gives to texts, or to pairs of them, and to padding; 0 alone, if it gives none."""
    if "token_type_ids" not in tokenizer.model_input_names:
        return {0}
    return {tokenizer.pad_token_type_id, *tokenizer("a", *(["a"] if pair else []))["token_type_ids"]}
