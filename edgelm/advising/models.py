"""Encoders that can be begun with: the table of published ones (`models.json`), and folders."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgelm.errors import UsageError
from edgelm.shapes import ModelSizes

FILE = Path(__file__).parent / "models.json"
# Bytes a token of tokenizer.json without spaces, of BERT's, RoBERTa's and XLM-R's: characters, ids and merges.
_TOKENIZER_BYTES = {"wordpiece": 15.3, "bpe": 27.0, "unigram": 36.3}


@dataclass(frozen=True)
class KnownModel:
    """An encoder of known shape.

    Attributes:
        name: hub id, or folder.
        family: model type.
        languages: `English`, `many`, or empty where it is not known.
        sizes: of the uncut model, with a head for two classes where it is a published one.
        tokenizer_mb: of its tokenizer in a bundle, 10^6 bytes; of published ones by their kind.
        path: of a folder; None: a published one.
    """

    name: str
    family: str
    languages: str
    sizes: ModelSizes
    tokenizer_mb: float
    path: Path | None = None


def published_models() -> tuple[KnownModel, ...]:
    """Those of the table."""
    rows: list[dict[str, Any]] = json.loads(FILE.read_text(encoding="utf-8"))["models"]
    found = []
    for row in rows:
        sizes = ModelSizes(**row["sizes"])
        tokenizer_mb = sizes.vocabulary * _TOKENIZER_BYTES[row["tokenizer"]] / 1e6
        found.append(KnownModel(row["name"], row["family"], row["languages"], sizes, tokenizer_mb))
    return tuple(found)


def known_model(name: str | Path) -> KnownModel:
    """A model by its folder or hub id, as it is.

    Raises:
        ModelError, UnsupportedFamily: none there, or one whose anatomy is not known.
        UsageError: it writes text.
    """
    from edgelm.anatomy.hub import find_checkpoint  # which needs torch
    from edgelm.anatomy.sizes import sizes_of
    from edgelm.budgeting.footprint import tokenizer_mb

    checkpoint = find_checkpoint(name)
    if checkpoint.task.generates:
        raise UsageError(
            f"{name} writes text; encoders alone are compared.", hint="See what it takes with `edgelm profile`."
        )
    sizes = sizes_of(checkpoint.config, task=checkpoint.task)
    return KnownModel(str(name), checkpoint.family, "", sizes, tokenizer_mb(checkpoint), checkpoint.path)


def layer_weights(sizes: ModelSizes) -> int:
    """Of the matrices of one layer."""
    return 4 * sizes.hidden**2 + sizes.ffn_matrices * sizes.hidden * sizes.ffn
