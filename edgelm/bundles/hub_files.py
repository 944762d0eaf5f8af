"""The files by which Hugging Face's tools open a bundle: config.json and tokenizer_config.json.

With them `AutoTokenizer` and `AutoConfig` of transformers and the `ORTModel` classes of optimum read the folder.
edgelm's own runtime needs neither: what it goes by is in the manifest.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from edgelm.runtime.manifest import Manifest

CONFIG_FILE, TOKENIZER_CONFIG_FILE = "config.json", "tokenizer_config.json"
# Entries that tell of the maker's machine, or of code and layers that build a PyTorch model, which a bundle has not.
_LEFT_OUT = ("_name_or_path", "name_or_path", "auto_map", "edgelm_layers", "_attn_implementation")


def bundle_config(config: Mapping[str, Any], architecture: str) -> str:
    """The text of config.json.

    Args:
        config: of the model that the graph was made of, as JSON-ready values.
        architecture: the model's class in transformers, such as BertForSequenceClassification.
    """
    kept = {name: value for name, value in config.items() if name not in _LEFT_OUT}
    return _text(kept | {"architectures": [architecture]})


def bundle_tokenizer_config(tokenizer: Any, manifest: Manifest) -> str:
    """The text of tokenizer_config.json.

    It names the class that takes tokenizer.json as it stands; those of single models build their rules anew, and some
    of what a checkpoint says (such as lower case of sentence-transformers) would be lost.

    Args:
        tokenizer: a fast tokenizer of transformers.
        manifest: of the bundle; what it says of length, padding and the graph's inputs is what is written.
    """
    settings = manifest.tokenization
    values: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": settings.max_length,
        "model_input_names": [
            spec.name for spec in manifest.graphs[0].inputs if spec.role in ("tokens", "mask", "types")
        ],
        "padding_side": "right",
        "truncation_side": settings.truncation_side,
        "split_special_tokens": settings.split_special,
        "clean_up_tokenization_spaces": False,
    }
    named = {name: _token(token) for name, token in tokenizer.special_tokens_map.items()}
    return _text(values | named | {"pad_token": settings.pad_token})


def _token(token: Any) -> Any:
    """A special token, or a list of them, as text."""
    return [str(each) for each in token] if isinstance(token, (list, tuple)) else str(token)


def _text(values: Mapping[str, Any]) -> str:
    return json.dumps(values, indent=2, ensure_ascii=False, sort_keys=True) + "\n"
