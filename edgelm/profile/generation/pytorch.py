"""A generator's checkpoint in PyTorch, eager, with the cache of transformers: what bundles are compared with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import DynamicCache, EncoderDecoderCache

from edgelm.anatomy import load_checkpoint
from edgelm.checkpoint import open_checkpoint
from edgelm.profile.pytorch import open_torch

_KEPT = "decoder_start_token_id"


class PyTorchEngine:
    """One text that grows in the cache; methods as those of `edgelm.profile.generation.bundle.BundleEngine`.

    Args:
        threads, provider, precision: as `edgelm.profile.pytorch.PyTorchModel` takes them.

    Raises (when made):
        ModelError, UnsupportedFamily: as `load_checkpoint`.
        UsageError: a precision or provider that PyTorch does not have here.
    """

    def __init__(self, path: str | Path, *, threads: int | None, provider: str, precision: str) -> None:
        self._device, dtype = open_torch(threads, provider, precision)
        self._model: Any = load_checkpoint(open_checkpoint(path)).to(self._device, dtype)
        config = self._model.config
        self.vocabulary = int(config.vocab_size)
        self.reads_sources = bool(config.is_encoder_decoder)
        self._start = getattr(config, _KEPT, None) or getattr(self._model.generation_config, _KEPT, None) or 0
        self.chosen = {"runs_on": f"{provider}, by PyTorch", "provider": provider}
        self.forget(0)

    def forget(self, room: int) -> None:
        """Begin with nothing read; the cache grows by itself to the room that is needed."""
        own = DynamicCache()  # of no configuration: layers of sliding windows could not be cut
        self._cache: Any = EncoderDecoderCache(own, DynamicCache()) if self.reads_sources else own
        self._own, self._source = own, None

    def read(self, ids: Sequence[int]) -> None:
        """Read a prompt, or a source, up to the logits of the first token."""
        if self.reads_sources:
            with torch.inference_mode():
                self._source = self._model.get_encoder()(self._tensor(ids))
            ids = [self._start]
        self.step(ids)

    def step(self, ids: Sequence[int]) -> None:
        """Read tokens behind those that are there, up to the logits of the next."""
        with torch.inference_mode():
            given: dict[str, Any]
            if self.reads_sources:
                given = {"encoder_outputs": self._source, "decoder_input_ids": self._tensor(ids)}
            else:
                given = {"input_ids": self._tensor(ids), "logits_to_keep": 1}
            self._model(**given, past_key_values=self._cache, use_cache=True).logits[0, -1].float().cpu()

    def cut(self, length: int) -> None:
        """Forget all but the first tokens."""
        held = self._own.get_seq_length()
        if held > length:
            self._own.crop(length - held)

    def cache_bytes(self, length: int) -> int:
        """What keys and values of what was read take."""
        held = [*self._own.layers, *(self._cache.cross_attention_cache.layers if self.reads_sources else ())]
        # The layers of a cut model that lack an attention have none.
        return sum(int(layer.keys.nbytes + layer.values.nbytes) for layer in held if layer.is_initialized)

    def _tensor(self, ids: Sequence[int]) -> torch.Tensor:
        return torch.tensor([list(ids)], device=self._device)
