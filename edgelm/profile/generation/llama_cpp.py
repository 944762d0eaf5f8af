"""llama.cpp through its C interface: load a GGUF, read a prompt, decode token by token, take logits and texts.

The library is that of npm's `@node-llama-cpp/linux-x64` 3.22.1 (llama.cpp v0.5.0, prebuilt for every x86-64 CPU):
unpack it and let EDGELM_LLAMA_CPP name the folder with its `libllama*.so`. llama.cpp passes its settings by value and
changes their layout from version to version, so a library whose defaults do not read as v0.5.0's is refused. Needs
numpy and ctypes alone, so that a process which measures memory holds nothing else.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from ctypes import POINTER, c_bool, c_char_p, c_float, c_int8, c_int32, c_size_t, c_uint32, c_void_p
from pathlib import Path
from typing import Any

import numpy as np

VARIABLE = "EDGELM_LLAMA_CPP"
CACHES = {"f32": 0, "f16": 1, "q8_0": 8}  # numbers of ggml_type
_BATCH = 2048  # tokens that one call of llama_decode takes, as llama.cpp has it by default
_LOG = ctypes.CFUNCTYPE(None, c_int32, c_char_p, c_void_p)
_ERROR = 4  # ggml_log_level


class ModelParams(ctypes.Structure):
    """llama_model_params of v0.5.0."""

    _fields_ = [
        ("devices", c_void_p),
        ("tensor_buft_overrides", c_void_p),
        ("n_gpu_layers", c_int32),
        ("split_mode", c_int32),
        ("load_mode", c_int32),
        ("lazy_mode", c_int32),
        ("main_gpu", c_int32),
        ("tensor_split", c_void_p),
        ("progress_callback", c_void_p),
        ("progress_callback_user_data", c_void_p),
        ("kv_overrides", c_void_p),
        *((name, c_bool) for name in ("vocab_only", "check_tensors", "use_extra_bufts")),
        *((name, c_bool) for name in ("no_host", "no_alloc", "load_mtp")),
    ]


class ContextParams(ctypes.Structure):
    """llama_context_params of v0.5.0."""

    _fields_ = [
        *((name, c_uint32) for name in ("n_ctx", "n_batch", "n_ubatch", "n_seq_max", "n_rs_seq")),
        ("n_outputs_max", c_uint32),
        ("n_outputs_max_per_seq", c_uint32),
        ("n_threads", c_int32),
        ("n_threads_batch", c_int32),
        *((name, c_int32) for name in ("ctx_type", "rope_scaling_type", "pooling_type", "attention_type")),
        ("flash_attn_type", c_int32),
        *((name, c_float) for name in ("rope_freq_base", "rope_freq_scale", "yarn_ext_factor", "yarn_attn_factor")),
        *((name, c_float) for name in ("yarn_beta_fast", "yarn_beta_slow")),
        ("yarn_orig_ctx", c_uint32),
        ("defrag_thold", c_float),
        ("cb_eval", c_void_p),
        ("cb_eval_user_data", c_void_p),
        ("type_k", c_int32),
        ("type_v", c_int32),
        ("abort_callback", c_void_p),
        ("abort_callback_data", c_void_p),
        *((name, c_bool) for name in ("embeddings", "offload_kqv", "no_perf", "op_offload", "swa_full", "kv_unified")),
        ("samplers", c_void_p),
        ("n_samplers", c_size_t),
        ("ctx_other", c_void_p),
    ]


class Batch(ctypes.Structure):
    """llama_batch: tokens to read; without positions each comes after the last one read."""

    _fields_ = [
        ("n_tokens", c_int32),
        ("token", POINTER(c_int32)),
        ("embd", POINTER(c_float)),
        ("pos", POINTER(c_int32)),
        ("n_seq_id", POINTER(c_int32)),
        ("seq_id", c_void_p),
        ("logits", POINTER(c_int8)),
    ]


_SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "llama_backend_init": (None, ()),
    "llama_model_default_params": (ModelParams, ()),
    "llama_context_default_params": (ContextParams, ()),
    "llama_model_load_from_file": (c_void_p, (c_char_p, ModelParams)),
    "llama_model_free": (None, (c_void_p,)),
    "llama_model_desc": (c_int32, (c_void_p, c_char_p, c_size_t)),
    "llama_model_get_vocab": (c_void_p, (c_void_p,)),
    "llama_model_n_ctx_train": (c_int32, (c_void_p,)),
    "llama_init_from_model": (c_void_p, (c_void_p, ContextParams)),
    "llama_free": (None, (c_void_p,)),
    "llama_get_memory": (c_void_p, (c_void_p,)),
    "llama_memory_seq_rm": (c_bool, (c_void_p, c_int32, c_int32, c_int32)),
    "llama_decode": (c_int32, (c_void_p, Batch)),
    "llama_get_logits": (POINTER(c_float), (c_void_p,)),
    "llama_log_set": (None, (_LOG, c_void_p)),
    "llama_vocab_n_tokens": (c_int32, (c_void_p,)),
    "llama_vocab_is_eog": (c_bool, (c_void_p, c_int32)),
    "llama_model_chat_template": (c_char_p, (c_void_p, c_char_p)),
    "llama_tokenize": (c_int32, (c_void_p, c_char_p, c_int32, POINTER(c_int32), c_int32, c_bool, c_bool)),
    "llama_detokenize": (c_int32, (c_void_p, POINTER(c_int32), c_int32, c_char_p, c_int32, c_bool, c_bool)),
}


class Library:
    """llama.cpp's shared libraries of one folder, with the backend that is fastest on this CPU.

    Args:
        folder: where `libllama*.so` lies; default: what EDGELM_LLAMA_CPP names.

    Raises:
        FileNotFoundError: no library there.
        OSError: a library of another version, whose structures have another layout.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        folder = Path(folder or os.environ.get(VARIABLE, ""))
        ggml, llama = sorted(folder.glob("libggml.*so*")), sorted(folder.glob("libllama.*so*"))
        if not (os.fspath(folder) != "." and ggml and llama):
            raise FileNotFoundError(f"no libllama*.so in {str(folder)!r}; {VARIABLE} names the folder of llama.cpp.")
        self.errors: list[str] = []
        self._log = _LOG(self._keep)  # the library holds no reference to it
        backends = ctypes.CDLL(os.fspath(ggml[0]), mode=ctypes.RTLD_GLOBAL)
        self.call = ctypes.CDLL(os.fspath(llama[0]), mode=ctypes.RTLD_GLOBAL)
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(self.call, name)
            function.restype, function.argtypes = result, arguments
        self._check(llama[0])
        self.call.llama_log_set(self._log, None)
        backends.ggml_backend_load_all_from_path.argtypes = (c_char_p,)
        backends.ggml_backend_load_all_from_path.restype = None
        backends.ggml_backend_load_all_from_path(os.fsencode(folder))
        self.call.llama_backend_init()

    def _keep(self, level: int, text: bytes, _: object) -> None:
        if level == _ERROR:
            self.errors.append(text.decode(errors="replace").strip())

    def _check(self, path: Path) -> None:
        model, context = self.call.llama_model_default_params(), self.call.llama_context_default_params()
        read: tuple[Any, ...] = (
            model.n_gpu_layers,
            model.split_mode,
            model.load_mode,
            model.lazy_mode,
            model.use_extra_bufts,
        )
        read += (context.n_ctx, context.n_batch, context.n_outputs_max_per_seq, context.flash_attn_type)
        read += (context.defrag_thold, context.type_k, context.type_v, context.swa_full, context.ctx_other)
        if read != (-1, 1, -1, 1, True, 512, 2048, 1, -1, -1.0, 1, 1, True, None):
            raise OSError(f"{path}: its structures are not those of llama.cpp v0.5.0.")


class LlamaCpp:
    """A GGUF in llama.cpp, with one sequence of tokens that grows and can be cut.

    Args:
        path: the GGUF.
        context: positions that its cache holds.
        threads: of prompts and of single tokens alike. They wait for each other without sleeping, so more
            than there are free cores make it slower by far.
        cache: precision of keys and values: f16 (llama.cpp's default), f32 or q8_0.
        flash: flash attention, which rounds to F16 on the way; None: llama.cpp's choice, which is to take it.
        every_row: logits of each token can be asked for, not of the last alone; takes memory.
        library: default: that of EDGELM_LLAMA_CPP.

    Raises:
        FileNotFoundError, OSError: as `Library`.
        ValueError: llama.cpp does not take the file; its own words.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        context: int = 2048,
        threads: int = 2,
        cache: str = "f16",
        flash: bool | None = None,
        every_row: bool = False,
        library: Library | None = None,
    ) -> None:
        self._library = library or Library()
        self._call = self._library.call
        self._library.errors.clear()
        self._model = self._context = None
        self._model = self._call.llama_model_load_from_file(os.fsencode(path), self._call.llama_model_default_params())
        if not self._model:
            raise ValueError(f"{path}: {self._complaint()}")
        settings = self._call.llama_context_default_params()
        settings.n_ctx = context
        settings.n_batch = min(_BATCH, context)
        settings.n_outputs_max = 0 if every_row else 1
        settings.n_outputs_max_per_seq = 0 if every_row else 1
        settings.n_threads = settings.n_threads_batch = threads
        if flash is not None:
            settings.flash_attn_type = int(flash)
        settings.type_k = settings.type_v = CACHES[cache]
        self._context = self._call.llama_init_from_model(self._model, settings)
        if not self._context:
            complaint = self._complaint()
            self.close()
            raise ValueError(f"{path}: {complaint}")
        self._batch = settings.n_batch
        self._vocabulary = self._call.llama_model_get_vocab(self._model)
        self.size = int(self._call.llama_vocab_n_tokens(self._vocabulary))
        self.context = context
        self.length = 0

    def _complaint(self) -> str:
        return "; ".join(self._library.errors) or "llama.cpp does not take it."

    def __enter__(self) -> LlamaCpp:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the model and its cache."""
        if self._context:
            self._call.llama_free(self._context)
        if self._model:
            self._call.llama_model_free(self._model)
        self._model = self._context = None

    def describe(self) -> str:
        """Architecture, size and precision, in llama.cpp's words."""
        text = ctypes.create_string_buffer(256)
        self._call.llama_model_desc(self._model, text, len(text))
        return text.value.decode()

    def step(self, ids: Sequence[int], *, every: bool = False) -> np.ndarray:
        """Read tokens after those that were read before.

        Args:
            ids: one token or a whole prompt.
            every: logits of all of `ids`; the model was opened with `every_row`.

        Returns:
            float32 logits (vocabulary), a view that the next call overwrites; (len(ids), vocabulary) with `every`.

        Raises:
            ValueError: no token, or more than the context has room for.
        """
        if not ids or self.length + len(ids) > self.context:
            raise ValueError(f"{len(ids)} tokens after {self.length}; the context has {self.context} positions.")
        rows = []
        for start in range(0, len(ids), self._batch):
            part = ids[start : start + self._batch]
            tokens = (c_int32 * len(part))(*part)
            wanted = (c_int8 * len(part))(*([1] * len(part))) if every else None
            batch = Batch(n_tokens=len(part), token=tokens, logits=wanted)
            status = self._call.llama_decode(self._context, batch)
            if status:
                raise ValueError(f"llama_decode failed with {status}: {self._complaint()}")
            self.length += len(part)
            if every:
                rows.append(self._logits(len(part)).copy())
        return np.concatenate(rows) if every else self._logits(1)[0]

    def _logits(self, rows: int) -> np.ndarray:
        return np.ctypeslib.as_array(self._call.llama_get_logits(self._context), shape=(rows, self.size))

    def cut(self, length: int) -> None:
        """Forget all tokens but the first `length`."""
        if not self._call.llama_memory_seq_rm(self._call.llama_get_memory(self._context), 0, length, -1):
            raise ValueError(f"llama.cpp cannot cut {self.length} tokens to {length}.")
        self.length = length

    def greedy(self, ids: Sequence[int], count: int) -> list[int]:
        """The `count` tokens of the highest logits after a prompt, from an empty cache; no token ends it."""
        self.cut(0)
        written, logits = [], self.step(ids)
        for number in range(count):
            written.append(int(logits.argmax()))
            if number + 1 < count:
                logits = self.step(written[-1:])
        return written

    def tokens(self, text: str, *, special: bool = True) -> list[int]:
        """Ids of a text; `special`: names of special tokens in it are read as such, and the model's own are added."""
        data = text.encode()
        found = (c_int32 * (len(data) + 16))()
        count = self._call.llama_tokenize(self._vocabulary, data, len(data), found, len(found), special, special)
        return list(found[:count])

    def text(self, ids: Sequence[int]) -> str:
        """The text of tokens, with the names of special ones."""
        data = ctypes.create_string_buffer(64 * len(ids) + 256)
        given = (c_int32 * len(ids))(*ids)
        count = self._call.llama_detokenize(self._vocabulary, given, len(ids), data, len(data), False, True)
        return data.raw[:count].decode(errors="replace")

    def ends(self, token: int) -> bool:
        """Whether a token ends a text."""
        return bool(self._call.llama_vocab_is_eog(self._vocabulary, token))

    def chat_template(self) -> str:
        """The Jinja template of the file; empty: none."""
        return (self._call.llama_model_chat_template(self._model, None) or b"").decode()
