"""The model of a checkpoint as plain transformers builds it, for comparisons that must not trust edgelm's own loading."""

from __future__ import annotations

import torch
from transformers import AutoModel, AutoModelForSequenceClassification, PreTrainedModel

from edgelm.anatomy.loading import quiet, translated
from edgelm.checkpoint import Checkpoint, weight_files


def load_reference(checkpoint: Checkpoint, *, allow_pickle: bool = False) -> PreTrainedModel | None:
    """Load the model of a checkpoint once more, by the auto class of its task alone, in FP32 and eval mode.

    Args:
        allow_pickle: load `pytorch_model.bin` (weights only) where there is no safetensors file.

    Returns:
        The model, or None for a checkpoint whose layers have shapes of their own: transformers cannot build those, and the loading
        of edgelm, which takes every weight by name and shape, is the proof.

    Raises:
        ModelError: transformers cannot load the folder.
    """
    if checkpoint.record.layers:
        return None
    auto = AutoModelForSequenceClassification if checkpoint.task.kind == "text-classification" else AutoModel
    safe = bool(weight_files(checkpoint.path)) or not allow_pickle
    with quiet(), translated(checkpoint.path):
        model: PreTrainedModel = auto.from_pretrained(checkpoint.path, local_files_only=True, use_safetensors=safe, dtype=torch.float32)
    return model.eval()
