"""Models that write as comparisons of texts need them: tokens, what each of them loses, and greedy texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from edgelm.profile.subject import Subject
from edgelm.runtime import load
from edgelm.tasks.generation import Generation

if TYPE_CHECKING:
    from edgelm.runtime.generation.generator import Generator


class TextModel(Protocol):
    """A bundle or a checkpoint that writes.

    Attributes:
        task: what it is for.
        reads_sources: an encoder-decoder.
    """

    task: Generation
    reads_sources: bool

    def encode(self, text: str, *, special: bool = True) -> list[int]:
        """Ids of a text, with the tokens that begin and end it, or without."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, without special tokens."""
        ...

    def losses(self, ids: Sequence[int], source: Sequence[int] | None = None) -> np.ndarray:
        """What each token but the first loses, given those before it: the negative natural logarithm of its
        probability, (tokens - 1,); of an encoder-decoder each one of a target for a source, (tokens,)."""
        ...

    def write(self, ids: Sequence[int], count: int) -> list[int]:
        """At most so many greedy tokens behind a prompt, or for a source."""
        ...


def open_text_model(subject: Subject, *, threads: int | None) -> TextModel:
    """Load a subject of kind bundle or pytorch.

    Raises:
        EdgelmError: it cannot be loaded.
    """
    if subject.kind == "bundle":
        return BundleTexts(subject.path, threads=threads, provider=subject.provider)
    return CheckpointTexts(subject.path)


class BundleTexts:
    """A bundle by its runtime; see `TextModel`."""

    def __init__(self, path: Path, *, threads: int | None, provider: str | None) -> None:
        self._generator: Generator = load(path, threads=threads, provider=provider)
        self.task = self._generator.task
        self.reads_sources = self._generator.reading.encoder is not None

    def encode(self, text: str, *, special: bool = True) -> list[int]:
        """As in `TextModel`."""
        return list(self._generator.tokenizer.encode(text, add_special_tokens=special).ids)

    def decode(self, ids: Sequence[int]) -> str:
        """As in `TextModel`."""
        return str(self._generator.tokenizer.decode(list(ids)))

    def losses(self, ids: Sequence[int], source: Sequence[int] | None = None) -> np.ndarray:
        """As in `TextModel`."""
        reading = self._generator.reading
        if source is None:
            return -reading.score(ids)
        return -reading.score([reading.start_id, *ids], source=source)

    def write(self, ids: Sequence[int], count: int) -> list[int]:
        """As in `TextModel`."""
        settings = replace(self._generator.settings, **_greedy(count))
        return self._generator.write([ids], settings)[0].written


class CheckpointTexts:
    """A checkpoint by PyTorch; see `TextModel`."""

    def __init__(self, path: Path) -> None:
        from edgelm.anatomy import load_checkpoint, load_tokenizer
        from edgelm.checkpoint import open_checkpoint

        checkpoint = open_checkpoint(path)
        assert isinstance(checkpoint.task, Generation)
        self.task = checkpoint.task
        self._model: Any = load_checkpoint(checkpoint)
        self._tokenizer: Any = load_tokenizer(checkpoint)
        self.reads_sources = bool(self._model.config.is_encoder_decoder)

    def encode(self, text: str, *, special: bool = True) -> list[int]:
        """As in `TextModel`."""
        return list(self._tokenizer(text, add_special_tokens=special, verbose=False)["input_ids"])

    def decode(self, ids: Sequence[int]) -> str:
        """As in `TextModel`."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def losses(self, ids: Sequence[int], source: Sequence[int] | None = None) -> np.ndarray:
        """As in `TextModel`."""
        import torch

        with torch.inference_mode():
            if source is None:
                logits, targets = self._model(torch.tensor([ids])).logits[0, :-1], ids[1:]
            else:
                start = [self.task.settings.decoder_start_id or 0, *ids[:-1]]
                given = {"input_ids": torch.tensor([source]), "decoder_input_ids": torch.tensor([start])}
                logits, targets = self._model(**given, use_cache=False).logits[0], ids
            found = torch.nn.functional.cross_entropy(logits.float(), torch.tensor(targets), reduction="none")
        return np.asarray(found.numpy(), dtype=np.float64)

    def write(self, ids: Sequence[int], count: int) -> list[int]:
        """As in `TextModel`."""
        import torch

        from edgelm.anatomy.generators import empty_cache, generation_config

        task = replace(self.task, settings=replace(self.task.settings, **_greedy(count)))
        pad = self._tokenizer.pad_token_id
        settings = generation_config(task, **({} if pad is None else {"pad_token_id": pad}))
        prompt = torch.tensor([list(ids)])
        with torch.inference_mode():
            made = self._model.generate(
                prompt,
                attention_mask=torch.ones_like(prompt),
                generation_config=settings,
                **empty_cache(self._model),
            )[0].tolist()
        return list(made[1:] if self.reads_sources else made[len(ids) :])


def _greedy(count: int) -> dict[str, Any]:
    return {"max_new_tokens": count, "min_new_tokens": 0, "num_beams": 1, "do_sample": False, "stop": ()}
