"""What follows the pooling of a sentence encoder, as a part of the PyTorch model; and the folder that keeps it for
sentence-transformers."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import PreTrainedModel

from edgelm.checkpoint import Checkpoint
from edgelm.errors import ModelError
from edgelm.model_folder.sentence_modules import SentenceLayer
from edgelm.model_folder.sentence_transformers import MODULES_FILE, POOLING_FOLDER, SETTINGS_FILE
from edgelm.tasks.text import SentenceEmbedding

HEAD = "sentence_head"  # the name of the part
_MODULES = "sentence_transformers.models."


class Dense(nn.Module):
    """A linear layer with an activation; its parameters are named as sentence-transformers names them."""

    def __init__(self, layer: SentenceLayer) -> None:
        super().__init__()
        self.layer = layer
        self.linear = nn.Linear(layer.inputs, layer.outputs, bias=layer.bias)
        self.activation: nn.Module = getattr(nn, layer.activation)()
        if layer.residual and layer.inputs != layer.outputs:
            self.residual = nn.Linear(layer.inputs, layer.outputs, bias=False)

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """(batch, inputs) to (batch, outputs)."""
        out: torch.Tensor = self.activation(self.linear(vectors))
        if not self.layer.residual:
            return out
        return out + (self.residual(vectors) if self.layer.inputs != self.layer.outputs else vectors)


class LayerNorm(nn.Module):
    """A layer norm; its parameters are named as sentence-transformers names them."""

    def __init__(self, layer: SentenceLayer) -> None:
        super().__init__()
        self.layer = layer
        self.norm = nn.LayerNorm(layer.inputs)

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """(batch, width), each row with mean 0 and variance 1, then scaled and shifted."""
        result: torch.Tensor = self.norm(vectors)
        return result


class Normalize(nn.Module):
    """Vectors of length one."""

    def __init__(self, layer: SentenceLayer) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """(batch, width), each row divided by its length."""
        return nn.functional.normalize(vectors, dim=-1)


_KINDS: dict[str, Any] = {"dense": Dense, "layer-norm": LayerNorm, "normalize": Normalize}


def head_layers(model: PreTrainedModel) -> list[Any]:
    """The layers that follow the pooling, in order: `Dense`, `LayerNorm` and `Normalize`; empty for most models."""
    return list(getattr(model, HEAD, ()))


def attach_head(model: PreTrainedModel, checkpoint: Checkpoint) -> PreTrainedModel:
    """Give a sentence encoder the layers that its folder has behind the pooling, in FP32; the same model.

    Raises:
        ModelError: weights missing, of another shape, or layers whose widths do not fit together.
    """
    if not isinstance(checkpoint.task, SentenceEmbedding) or checkpoint.sentence is None or not checkpoint.task.head:
        return model
    width = model.config.hidden_size * len(checkpoint.task.poolings)
    parts = []
    for layer in checkpoint.sentence.layers:
        if layer.inputs and layer.inputs != width:
            raise ModelError(
                f"{layer.folder}: the layer takes vectors of {layer.inputs}, but they are of {width}.",
                hint="Save the model again.",
            )
        width = layer.outputs or width
        part = _KINDS[layer.kind](layer)
        if layer.folder is not None:
            _fill(part, layer.folder)
        parts.append(part)
    model.add_module(HEAD, nn.Sequential(*parts))
    return model


def share_head(student: PreTrainedModel, teacher: PreTrainedModel) -> PreTrainedModel:
    """Give a student a copy of the teacher's layers behind the pooling, in place of its own; the same student.

    Raises:
        ModelError: the layers do not take the student's vectors, which have another width.
    """
    if hasattr(student, HEAD):
        delattr(student, HEAD)
    if hasattr(teacher, HEAD):
        if student.config.hidden_size != teacher.config.hidden_size:
            raise ModelError(
                f"the student's vectors have {student.config.hidden_size} values, but the layers behind the teacher's "
                "pooling take those of "
                f"{teacher.config.hidden_size}.",
                hint="Choose a student with the teacher's hidden size.",
            )
        student.add_module(HEAD, copy.deepcopy(getattr(teacher, HEAD)))
    return student


def save_sentence_folder(folder: Path, model: PreTrainedModel, task: SentenceEmbedding) -> None:
    """Write modules.json and the modules of a sentence encoder beside its config.json, as sentence-transformers reads
    them."""
    width = model.config.hidden_size
    modules: list[tuple[str, str, dict[str, Any] | None, nn.Module | None]] = [
        ("Transformer", "", None, None),
        ("Pooling", POOLING_FOLDER, {"word_embedding_dimension": width, "pooling_mode": list(task.poolings)}, None),
    ]
    if len(task.poolings) == 1:  # as every version reads it
        modules[1] = ("Pooling", POOLING_FOLDER, _switches(width, task.pooling), None)
    for part in head_layers(model):
        name = type(part).__name__
        modules.append((name, f"{len(modules)}_{name}", _layer_config(part), part))
    if task.normalize:
        modules.append(("Normalize", f"{len(modules)}_Normalize", {}, None))
    for _, path, config, part in modules[1:]:
        (folder / path).mkdir(exist_ok=True)
        _write(folder / path / "config.json", config)
        if part is not None and list(part.parameters()):
            save_file(
                {key: tensor.detach().contiguous() for key, tensor in part.state_dict().items()},
                folder / path / "model.safetensors",
            )
    rows = [
        {"idx": index, "name": str(index), "path": path, "type": _MODULES + kind}
        for index, (kind, path, _, _) in enumerate(modules)
    ]
    _write(folder / MODULES_FILE, rows)
    prompts = {"prompts": {"default": task.prompt}, "default_prompt_name": "default"} if task.prompt else {}
    settings = prompts | ({"truncate_dim": task.dimensions} if task.dimensions else {})
    if settings:
        _write(folder / SETTINGS_FILE, settings)


def _switches(width: int, pooling: str) -> dict[str, Any]:
    names = {
        "cls": "cls_token",
        "max": "max_tokens",
        "mean": "mean_tokens",
        "mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    }
    names |= {"weightedmean": "weightedmean_tokens", "lasttoken": "lasttoken"}
    return {"word_embedding_dimension": width} | {
        f"pooling_mode_{name}": mode == pooling for mode, name in names.items()
    }


def _layer_config(part: Any) -> dict[str, Any]:
    layer: SentenceLayer = part.layer
    if layer.kind == "normalize":
        return {}
    if layer.kind == "layer-norm":
        return {"dimension": layer.inputs}
    kind = type(part.activation)
    return {
        "in_features": layer.inputs,
        "out_features": layer.outputs,
        "bias": layer.bias,
        "activation_function": f"{kind.__module__}.{kind.__name__}",
    } | ({"use_residual": True} if layer.residual else {})


def _write(file: Path, values: Any) -> None:
    file.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _fill(part: nn.Module, folder: Path) -> None:
    file = folder / "model.safetensors"
    try:
        if file.is_file():
            weights: dict[str, torch.Tensor] = load_file(file)
        else:  # the folder was opened with pickles allowed
            weights = torch.load(folder / "pytorch_model.bin", map_location="cpu", weights_only=True)
        part.load_state_dict({name: tensor.float() for name, tensor in weights.items()}, strict=True)
    except (OSError, RuntimeError, ValueError, AttributeError, EOFError, SafetensorError, UnpicklingError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ModelError(
            f"{folder}: the layer's weights do not fit its config.json: {reason}",
            hint="Copy or download the model again.",
        ) from error


def without_head(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights of the encoder alone, as `model.safetensors` keeps them."""
    return {name: tensor for name, tensor in weights.items() if not name.startswith(f"{HEAD}.")}
