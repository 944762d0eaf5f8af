"""GGUF: one file with a generator's weights, its settings and its tokenizer, as llama.cpp and its relatives load it.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. `PRECISIONS` are those that the package `gguf`
quantizes to; its ternary kinds and MXFP4 are left out, since models have to be trained for them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgelm.errors import MissingExtraError, install_extra
from edgelm.export.formats.gguf.precisions import PRECISIONS, choose_precision
from edgelm.files.output import check_output

__all__ = ["PRECISIONS", "write_gguf"]


def write_gguf(
    model: Any,
    tokenizer: Any,
    path: str | Path,
    *,
    precision: str = "q8_0",
    head: str = "",
    name: str = "",
    overwrite: bool = False,
) -> Path:
    """Write a decoder as a GGUF file.

    Args:
        model: a causal language model of transformers: GPT-2, Llama, Mistral, Qwen2, Qwen3 or Gemma 3 (text).
        tokenizer: its fast tokenizer: byte-level BPE, or BPE that falls back to bytes as SentencePiece has it.
        path: the file, by convention `NAME-PRECISION.gguf`.
        precision: of the matrices, one of `PRECISIONS`; edgelm's own names stand for f32, f16, q8_0 and q4_0. Rows
            that do not come out even in blocks of 32 are F16, as llama.cpp has them; vectors are F32.
        head: of the head and of the embedding table that it may be; "": `precision`, but at least q8_0, since a head
            of few bits costs the most.
        name: of the model, for those who list it; "": the file's.
        overwrite: replace a file that is there.

    Returns:
        The path.

    Raises:
        MissingExtraError: the package gguf is not installed.
        UsageError: no such precision, or nothing can be written to `path`.
        UnsupportedFamily: an architecture that is not written here.
        ModelError: settings or a tokenizer that llama.cpp would compute otherwise, or a tokenizer that knows more
            tokens than the model.
    """
    path = Path(path)
    check_output(path, overwrite=overwrite)
    body, top = choose_precision(precision, head)
    try:
        from edgelm.export.formats.gguf.write import write
    except ModuleNotFoundError as error:
        if error.name != "gguf":
            raise
        raise MissingExtraError("GGUF files need the package gguf.", hint=install_extra("gguf")) from error
    write(model, tokenizer, path, body=body, head=top, name=name or path.stem, overwrite=overwrite)
    return path
