"""What a model folder says of texts beside its tokenizer, put into the tokenizer, which every other part reads."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tokenizers import normalizers

from edgelm.anatomy.families.table import supported_model_types
from edgelm.anatomy.sizes import text_limit
from edgelm.errors import ModelError
from edgelm.model_folder.generators import generator_types
from edgelm.model_folder.sentence_transformers import transformer_settings


def with_text_settings(tokenizer: Any, folder: Path) -> Any:
    """A fast tokenizer that cuts texts where the model's positions end, or where a sentence-transformers folder says,
    and reads them in lower case where that says so.

    Args:
        folder: of the tokenizer, beside which config.json and sentence_bert_config.json may be.

    Raises:
        ModelError: one of the files cannot be read, or the longest text is no number, or leaves no room for a token.
    """
    values = transformer_settings(folder)
    if values.get("max_seq_length") is not None:
        tokenizer.model_max_length = int(values["max_seq_length"])
    tokenizer.model_max_length = min(_length(tokenizer, folder), _positions(folder))
    if values.get("do_lower_case"):
        own = tokenizer.backend_tokenizer.normalizer
        if not _lowers(own):
            tokenizer.backend_tokenizer.normalizer = normalizers.Sequence(
                [normalizers.Lowercase(), *([] if own is None else [own])]
            )
    return tokenizer


def _length(tokenizer: Any, folder: Path) -> int:
    """The longest text of a tokenizer, in tokens, which must leave room for one beside the special ones."""
    value, special = tokenizer.model_max_length, tokenizer.num_special_tokens_to_add()
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value or value <= special:
        raise ModelError(
            f"{folder}: the longest text of the tokenizer (model_max_length, max_seq_length) is {value!r}.",
            hint=f"Expected a number of tokens above {special}, the special tokens of each text; mend "
            "tokenizer_config.json.",
        )
    return int(min(value, sys.maxsize))


def _positions(folder: Path) -> int:
    """The longest text of the model beside a tokenizer; without end where there is none, or one without an anatomy."""
    file = folder / "config.json"
    config = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    known = config.get("model_type") in (*supported_model_types(), *generator_types())
    return text_limit(config) if known else sys.maxsize


def _lowers(normalizer: Any) -> bool:
    """Whether a normalizer, or one inside it, makes lower case."""
    if normalizer is None:
        return False
    found: Any = json.loads(normalizer.__getstate__())
    waiting = [found]
    while waiting:
        step = waiting.pop()
        if step.get("type") == "Lowercase" or step.get("lowercase") is True:
            return True
        waiting += step.get("normalizers", [])
    return False
