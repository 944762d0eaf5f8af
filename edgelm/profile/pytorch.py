"""A checkpoint in PyTorch, eager or compiled, on the CPU or a GPU: what bundles are compared with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgelm.anatomy import load_checkpoint, load_tokenizer, model_outputs
from edgelm.checkpoint import open_checkpoint
from edgelm.errors import UsageError
from edgelm.tasks.task import Task
from edgelm.tasks.text import MultipleChoice

_PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class PyTorchModel:
    """Arrays in, array out, as a bundle's `infer`; on a GPU the copies there and back are part of a call.

    Args:
        threads: within one operator, on the CPU; None: PyTorch's choice.
        provider: `cpu` or `cuda`.
        precision: of weights and arithmetic: fp32, fp16 or bf16.
        compiled: mode of `torch.compile`; None: eager.

    Attributes:
        inputs: names of the arrays that it takes, each (texts, tokens), int64.
        runs_on: what runs it, in words.

    Raises (when made):
        ModelError, UnsupportedFamily: as `load_checkpoint`.
        UsageError: a precision or provider that PyTorch does not have here.
    """

    def __init__(
        self, path: str | Path, *, threads: int | None, provider: str, precision: str, compiled: str | None
    ) -> None:
        self._device, dtype = open_torch(threads, provider, precision)
        checkpoint = open_checkpoint(path)
        self._task = checkpoint.task
        model = load_checkpoint(checkpoint).to(self._device, dtype)
        known = load_tokenizer(checkpoint).model_input_names
        self.inputs = tuple(name for name in _INPUTS if name in known)
        self.runs_on = f"{provider}, by PyTorch" + (f", compiled ({compiled})" if compiled else "")
        self._model: Any = torch.compile(model, mode=compiled) if compiled else model

    def __call__(self, feeds: dict[str, np.ndarray]) -> np.ndarray:
        """(texts, labels) logits or (texts, hidden) sentence vectors, float32."""
        with torch.inference_mode():
            inputs = {name: torch.from_numpy(values).to(self._device) for name, values in feeds.items()}
            outputs, _ = model_outputs(self._model, _task_of_rows(self._task, feeds), inputs)
            result: np.ndarray = outputs.float().cpu().numpy()
        return result


def _task_of_rows(task: Task, feeds: dict[str, np.ndarray]) -> Task:
    """Rows of endings are told from each other by none but their reader: all are taken as those of one text."""
    return replace(task, choices=len(feeds["input_ids"])) if isinstance(task, MultipleChoice) else task


def open_torch(threads: int | None, provider: str, precision: str) -> tuple[torch.device, torch.dtype]:
    """Where PyTorch runs a checkpoint, and in what; sets the threads of this process.

    Raises:
        UsageError: a precision or provider that PyTorch does not have here.
    """
    if precision not in _PRECISIONS:
        raise UsageError(
            f"PyTorch runs no checkpoint in {precision}.", hint=f"Choose one of: {', '.join(_PRECISIONS)}."
        )
    if provider not in ("cpu", "cuda") or (provider == "cuda" and not torch.cuda.is_available()):
        raise UsageError(
            f"PyTorch {torch.__version__} finds no {provider} here.",
            hint="Look whether `nvidia-smi` works, or run it on the CPU.",
        )
    if threads:
        torch.set_num_threads(threads)
    return torch.device(provider), _PRECISIONS[precision]
