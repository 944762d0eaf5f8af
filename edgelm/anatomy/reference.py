"""The model of a checkpoint as plain transformers builds it: what edgelm's own loading is compared with."""

from __future__ import annotations

import torch
from transformers import AutoModel, AutoModelForSequenceClassification, PreTrainedModel

from edgelm.checkpoint import Checkpoint, weight_files


def load_reference(checkpoint: Checkpoint, *, allow_pickle: bool = False) -> PreTrainedModel | None:
    """Load the model of a checkpoint once more, by the auto class of its task alone, in FP32 and eval mode; None where layers are cut."""
    if checkpoint.record.layers:
        return None
    auto = AutoModelForSequenceClassification if checkpoint.task.kind == "text-classification" else AutoModel
    safe = bool(weight_files(checkpoint.path)) or not allow_pickle
    model = auto.from_pretrained(checkpoint.path, local_files_only=True, use_safetensors=safe, dtype=torch.float32)
    result: PreTrainedModel = model.eval()
    return result
