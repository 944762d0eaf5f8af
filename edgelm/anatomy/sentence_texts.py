"""What a sentence-transformers folder says of texts, put into its tokenizer, which every other part reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import normalizers

from edgelm.sentence_folder import transformer_settings


def with_sentence_settings(tokenizer: Any, folder: Path) -> Any:
    """A fast tokenizer that reads texts as the Transformer module of this folder does: no longer, and in lower case where it says so.

    Args:
        folder: of the tokenizer, beside which sentence_bert_config.json may be.
    """
    values = transformer_settings(folder)
    if values.get("max_seq_length") is not None:
        tokenizer.model_max_length = int(values["max_seq_length"])
    if values.get("do_lower_case"):
        own = tokenizer.backend_tokenizer.normalizer
        if not _lowers(own):
            tokenizer.backend_tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), *([] if own is None else [own])])
    return tokenizer


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
