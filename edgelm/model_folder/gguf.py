"""GGUF files, as llama.cpp keeps models: which file, and what it says of the model; transformers reads it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgelm.errors import MissingExtraError, ModelError, install_extra
from edgelm.model_folder.generators import generator_family, generator_types, read_generator
from edgelm.model_folder.gguf_vocabulary import without_vocabulary
from edgelm.tasks.generation import TextGeneration
from edgelm.tasks.task import Task

# Entries of the file that transformers leaves out, by the names of config.json.
_LEFT_OUT = {
    "gpt2": {"context_length": "n_positions", "feed_forward_length": "n_inner"},
    "llama": {"attention.key_length": "head_dim"},
    "qwen2": {"attention.key_length": "head_dim"},
    "qwen3": {"attention.key_length": "head_dim"},
    "gemma3_text": {"attention.key_length": "query_pre_attn_scalar"},
}
_SUFFIX, _MAGIC = ".gguf", b"GGUF"


def is_gguf(path: Path) -> bool:
    """Whether a path is that of a GGUF file, by its name."""
    return path.suffix.lower() == _SUFFIX and path.is_file()


def gguf_file(path: Path) -> Path | None:
    """The GGUF file that a path names: itself, or the only one in a folder without a config.json; None where it names
    none.

    Raises:
        ModelError: a folder with several of them.
    """
    if is_gguf(path):
        return path
    if not path.is_dir() or (path / "config.json").is_file():
        return None
    found = sorted(file for file in path.iterdir() if is_gguf(file))
    if len(found) > 1:
        raise ModelError(
            f"{path}: several GGUF files: {', '.join(file.name for file in found)}.", hint="Name one of them."
        )
    return found[0] if found else None


def gguf_source(file: Path) -> dict[str, Any]:
    """A file as transformers' `from_pretrained` takes it."""
    return {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}


@contextmanager
def quickly_read(file: Path, *, weights: bool = True) -> Iterator[Path]:
    """A file that transformers reads the same configuration and weights from, without the vocabulary that takes it most
    of the time; it is there as long as the context lasts.

    Args:
        weights: they are wanted too.
    """
    from transformers.modeling_gguf_pytorch_utils import GGUF_TO_TRANSFORMERS_MAPPING

    # Of others the number of tokens is that of the list alone.
    sized = {name for name, entries in GGUF_TO_TRANSFORMERS_MAPPING["config"].items() if entries.get("vocab_size")}
    with without_vocabulary(file, frozenset(sized), weights=weights) as slim:
        yield slim


def read_gguf(file: Path) -> tuple[dict[str, Any], Task]:
    """The configuration of a model in a GGUF file, as config.json would have it, and its task.

    Raises:
        ModelError: it is no whole GGUF file, or holds an architecture that edgelm or transformers does not take.
        MissingExtraError: transformers or the package gguf is not installed.
    """
    with file.open("rb") as stream:
        if stream.read(len(_MAGIC)) != _MAGIC:
            raise ModelError(f"{file}: not a GGUF file.", hint="Copy or download the file again.")
    try:
        import gguf  # noqa: F401
        from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"{file}: reading a GGUF needs transformers and gguf.", hint=install_extra("compress", "gguf")
        ) from error
    try:
        with quickly_read(file, weights=False) as slim:
            found = load_gguf_checkpoint(str(slim), return_tensors=False)
            left_out = _left_out(slim, str(found["config"].get("model_type")))
    except (ValueError, KeyError, IndexError, TypeError, OSError, NotImplementedError) as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise ModelError(
            f"{file}: the file cannot be read: {reason}", hint="Copy it again, or give the model's Hugging Face folder."
        ) from error
    config = dict(found["config"]) | left_out
    if generator_family(config) is None:
        raise ModelError(
            f"{file}: a GGUF of the architecture {config.get('model_type')!r}, which edgelm does not take.",
            hint=f"Architectures that it takes: {', '.join(generator_types())}.",
        )
    task = read_generator(config)
    template = found.get("tokenizer_config", {}).get("chat_template")
    if isinstance(task, TextGeneration) and isinstance(template, str):
        task = replace(task, chat_template=template)
    return config, task


def _left_out(file: Path, model_type: str) -> dict[str, int]:
    """Entries of config.json that transformers does not take from the file."""
    import gguf

    fields = gguf.GGUFReader(file).fields
    architecture = fields["general.architecture"].contents()
    entries = {f"{architecture}.{own}": name for own, name in _LEFT_OUT.get(model_type, {}).items()}
    return {name: int(fields[own].contents()) for own, name in entries.items() if own in fields}
