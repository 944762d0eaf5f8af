"""The model of a checkpoint as plain transformers builds it: what edgelm's own loading is compared with."""

from __future__ import annotations

import torch
from transformers import AutoConfig, PreTrainedModel

from edgelm.anatomy.adapters import unmerged_model
from edgelm.anatomy.fill import auto_class, outline
from edgelm.anatomy.loading import quiet, translated
from edgelm.anatomy.model_settings import PLAIN
from edgelm.anatomy.sentence_head import attach_head
from edgelm.anatomy.weights import plain_names, read_weights
from edgelm.checkpoint import Checkpoint
from edgelm.model_folder.adapter import ADAPTER_CONFIG_FILE
from edgelm.model_folder.gguf import gguf_source, is_gguf, quickly_read
from edgelm.model_folder.weight_files import weight_files


def load_reference(checkpoint: Checkpoint, *, allow_pickle: bool = False) -> PreTrainedModel | None:
    """Load the model of a checkpoint once more, by the auto class of its task alone, in FP32 and eval mode.

    Weights that were saved from a wrapped model are renamed first. An adapter's layers stay beside those of its base
    model, where `load_checkpoint` merges them.

    Args:
        allow_pickle: load `pytorch_model.bin` (weights only) where there is no safetensors file.

    Returns:
        The model, or None for a checkpoint whose layers have shapes of their own: transformers cannot build those, and
        that edgelm takes every weight by name and shape is the proof.

    Raises:
        ModelError: transformers cannot load the folder.
        MissingExtraError: an adapter, and peft is not installed.
    """
    path = checkpoint.path
    if checkpoint.record.layers:
        return None
    with quiet(), translated(path):
        if checkpoint.base is not None:
            return attach_head(unmerged_model(checkpoint), checkpoint).eval()
        auto = auto_class(checkpoint.task)
        if is_gguf(path):
            with quickly_read(path) as slim:
                whole = auto.from_pretrained(**gguf_source(slim), local_files_only=True, dtype=torch.float32, **PLAIN)
            return attach_head(whole, checkpoint).eval()
        config = AutoConfig.from_pretrained(path, local_files_only=True, **PLAIN)
        shape, safe = outline(auto, config), bool(weight_files(path)) or not allow_pickle
        state = read_weights(path) if weight_files(path) or allow_pickle else {}
        renamed = {name: state[saved] for saved, name in plain_names(state, shape).items()}
        # Settings of an adapter that was merged would make transformers look for its weights.
        if state.keys() != renamed.keys() or (path / ADAPTER_CONFIG_FILE).is_file():
            model = type(shape).from_pretrained(None, config=config, state_dict=renamed, dtype=torch.float32)
        else:
            model = auto.from_pretrained(
                path, local_files_only=True, use_safetensors=safe, dtype=torch.float32, **PLAIN
            )
    return attach_head(model, checkpoint).eval()
