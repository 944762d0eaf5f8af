"""ExecuTorch: a model as a program of its runtime for phones and small devices, with what reads texts for it.

transformers' own exporter lowers it to XNNPACK, in FP32, for one text of any length. What ExecuTorch computes is held
against transformers before the folder takes its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from edgelm.cards.engine import Engine
from edgelm.errors import ModelError, UsageError
from edgelm.export.draft import Draft
from edgelm.export.formats.engine_folder import check_engine, finish_folder
from edgelm.export.settings import ExportSettings
from edgelm.export.trace import quiet, sample_inputs
from edgelm.files.output import staged_output
from edgelm.files.output_kinds import EXECUTORCH
from edgelm.runtime.graph_spec import Parity
from edgelm.tasks.task import Task

_CODE = """
import torch
from executorch.runtime import Runtime
from tokenizers import Tokenizer

tokenizer = Tokenizer.from_file("tokenizer.json")
tokenizer.no_padding()
tokenizer.enable_truncation(LENGTH)
method = Runtime.get().load_program("model.pte").load_method("forward")
read = tokenizer.encode(TEXTS)
values = {"input_ids": read.ids, "attention_mask": read.attention_mask, "token_type_ids": read.type_ids}
print(method.execute([torch.tensor([values[name]]) for name in INPUTS]))
"""


def check_executorch(settings: ExportSettings, task: Task) -> None:
    """Look whether such a folder can be made here, before anything takes long.

    Raises:
        UsageError: a task, a precision, a device or an option that is not for it.
        MissingExtraError: ExecuTorch is not installed.
    """
    if task.output == "vectors" or task.schema == "choices":
        raise UsageError(
            f"--format executorch has no graph for {task.kind}: a program is what the model's own class computes.",
            hint="Leave --format out, or give --format openvino.",
        )
    if settings.precision != "fp32":
        raise UsageError(
            f"--format executorch is written in fp32, not {settings.precision}.", hint="Give --precision fp32."
        )
    given = {"--single": settings.single, "--opset": settings.opset is not None, "--max-batch": settings.max_batch > 1}
    check_engine("executorch", settings, given)


def write_executorch(draft: Draft) -> tuple[Parity, dict[str, Any]]:
    """Write the folder: program, configuration, tokenizer and card.

    Returns:
        as `finish_folder`.

    Raises:
        ModelError: the exporter cannot lower the model.
        ParityError: the program does not compute what transformers does.
        UsageError: nothing can be written there.
    """
    settings, source = draft.settings, draft.source
    sample = {name: values[1:] for name, values in sample_inputs(source.tokenizer, source.max_length).items()}
    exported = _lower(source.model, sample, source.max_length)
    settings.progress("export", 1, 3)
    order = ", ".join(f"`{name}`" for name in sample)
    engine = Engine(
        "ExecuTorch",
        "executorch",
        "executorch tokenizers torch",
        _CODE.replace("INPUTS", repr(tuple(sample))),
        f"The program takes one text at a time, as {order} in this order, and gives a "
        "list of outputs. Programs in C++, Java and Swift load `model.pte` by ExecuTorch's own libraries, "
        "with the backend XNNPACK.",
    )
    with staged_output(settings.output, overwrite=settings.overwrite, kind=EXECUTORCH) as folder:
        exported.save_pretrained(folder)
        settings.progress("export", 2, 3)
        parity, quality = finish_folder(draft, folder, Program(exported, tuple(sample), source.task), engine)
    settings.progress("export", 3, 3)
    return parity, quality


class Program:
    """A program in ExecuTorch's runtime that is asked as a session of onnxruntime is; texts go through it one by one,
    padded as they come."""

    def __init__(self, exported: Any, inputs: tuple[str, ...], task: Task) -> None:
        self._exported, self._inputs, self._task = exported, inputs, task

    def get_inputs(self) -> list[SimpleNamespace]:
        """The inputs, by their names."""
        return [SimpleNamespace(name=name) for name in self._inputs]

    def run(self, _: Any, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Every output."""
        found = []
        for row in range(len(feeds[self._inputs[0]])):
            given = {name: torch.from_numpy(feeds[name][row : row + 1]) for name in self._inputs}
            answer = self._exported(**given)
            found.append([getattr(answer, name).numpy().copy() for name in self._task.output_names])
        return [np.concatenate(parts) for parts in zip(*found, strict=True)]


def _lower(model: Any, sample: dict[str, torch.Tensor], length: int) -> Any:
    shapes = {name: {1: torch.export.Dim("sequence", min=2, max=length)} for name in sample}
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        with quiet():
            from transformers.exporters.exporter_executorch import ExecutorchConfig, ExecutorchExporter

            config = ExecutorchConfig(backend="xnnpack", dynamic=True, dynamic_shapes=shapes)
            return ExecutorchExporter().export(model, sample, config=config)
    except Exception as error:  # torch.export and ExecuTorch raise errors of many classes
        reason = (str(error).strip().splitlines() or [""])[0][:200]
        raise ModelError(
            f"ExecuTorch cannot lower the model: {type(error).__name__}: {reason}", hint="Leave --format out."
        ) from error
    finally:
        model.set_attn_implementation(before)
