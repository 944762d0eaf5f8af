"""The saved weights of a model folder, under the model's own names: prefixes of wrappers are taken off, and that is
said."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import PreTrainedModel

from edgelm.errors import ModelError
from edgelm.model_folder.weight_files import PICKLE_FILE, weight_files

State = dict[str, torch.Tensor]

# Parts of a name that wrappers put in, wherever the wrapped module was: torch.compile, (Distributed)DataParallel, FSDP
# and activation checkpoints.
_WRAPPERS = frozenset({"_orig_mod", "module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
# Attributes under which training frameworks hold the whole model; taken off only where every name begins with one.
_HOLDERS = ("model", "0", "auto_model")

_SHOWN = 4  # names in one message
_FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


class WeightsWarning(UserWarning):
    """Weights were loaded in another way than as they lie in the folder; the message says how."""


def read_weights(path: Path) -> State:
    """Every tensor of a model folder, by its saved name.

    They come from `pytorch_model.bin` (weights only) where there is no safetensors file.

    Raises:
        ModelError: two shards hold the same name, or the pickle is no table of tensors.
    """
    state: State = {}
    files = weight_files(path)
    for file in files:
        tensors = load_file(file)
        if twice := sorted(state.keys() & tensors.keys()):
            hint = "Save the model again: model.save_pretrained(folder)."
            raise ModelError(f"{file}: it holds {some(twice)}, which another shard holds too.", hint=hint)
        # Copies: the file may be written anew while the model lives.
        state |= {name: tensor.clone() for name, tensor in tensors.items()}
    return state if files else _read_pickle(path / PICKLE_FILE)


def fit_names(state: State, model: PreTrainedModel, path: Path) -> State:
    """Saved weights under the names of a model: without the prefixes of wrappers such as torch.compile and
    DataParallel.

    Args:
        model: of the class that the weights are for; its values are not read.

    Raises:
        ModelError: adapter layers that were not merged; two saved weights that mean the same one of the model;
            integers.
    """
    _refuse_adapter_layers(state, path)
    names = plain_names(state, model)
    fitted = {name: state[saved] for saved, name in names.items()}
    _refuse_doubles(names, model, path)
    own = model.state_dict()
    for saved, name in names.items():
        expected = next((own[key] for key in _own_names(name, model) if key in own), None)
        if expected is not None and expected.is_floating_point() and state[saved].dtype not in _FLOATS:
            kind = str(state[saved].dtype).removeprefix("torch.")
            raise ModelError(
                f"{path}: {saved} holds {kind}; expected floats.",
                hint="Give the float model that it was quantized from.",
            )
    prefixes = sorted({_removed(saved, name) for saved, name in names.items() if saved != name})
    if prefixes:
        count = sum(saved != name for saved, name in names.items())
        text = (
            f"{path}: {', '.join(prefixes)} was taken off {count} names of weights: they were saved from a wrapped "
            "model."
        )
        warnings.warn(text, WeightsWarning, stacklevel=2)
    return fitted


def plain_names(saved: Iterable[str], model: PreTrainedModel) -> dict[str, str]:
    """The model's name for each saved name, as far as wrappers changed it."""
    own = {part for name in model.state_dict() for part in name.split(".")}
    names = {name: [part for part in name.split(".") if part not in _WRAPPERS - own] for name in saved}
    roots = {name.split(".")[0] for name in model.state_dict()} | {model.base_model_prefix}
    for holder in (*_HOLDERS, *_HOLDERS):
        if holder not in roots and names and all(len(parts) > 1 and parts[0] == holder for parts in names.values()):
            names = {name: parts[1:] for name, parts in names.items()}
    return {name: ".".join(parts) for name, parts in names.items()}


def refuse_not_finite(model: PreTrainedModel, path: Path) -> None:
    """Refuse a model whose weights are not all finite.

    Raises:
        ModelError: NaN or infinity in a weight.
    """
    broken = [
        name
        for name, tensor in model.state_dict().items()
        if tensor.is_floating_point() and not torch.isfinite(tensor).all()
    ]
    if broken:
        raise ModelError(
            f"{path}: NaN or infinity in {some(broken)}.",
            hint="The training diverged: give a checkpoint from before that.",
        )


def some(names: Iterable[str]) -> str:
    """The first few of these names, and how many there are if there are more."""
    known = sorted(names)
    return ", ".join(known[:_SHOWN]) + (f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else "")


def _read_pickle(file: Path) -> State:
    try:
        values = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # bytes that are no pickle fail in every way that there is
        hint = "Convert it where you trust it: AutoModel.from_pretrained(...).save_pretrained(...)."
        raise ModelError(f"{file}: no pickle that holds weights alone ({type(error).__name__}).", hint=hint) from error
    if not isinstance(values, Mapping) or not all(isinstance(tensor, torch.Tensor) for tensor in values.values()):
        raise ModelError(
            f"{file}: no table of names and tensors.", hint="Save the model with model.save_pretrained(folder)."
        )
    return {str(name): tensor for name, tensor in values.items()}


def _refuse_adapter_layers(state: State, path: Path) -> None:
    parts = ("base_layer", "modules_to_save")
    adapted = [name for name in state if any(part in parts or part.startswith("lora_") for part in name.split("."))]
    if adapted:
        raise ModelError(
            f"{path}: adapter layers that were not merged into the model: {some(adapted)}.",
            hint="Save the merged model: model.merge_and_unload().save_pretrained(folder); or give the adapter's own "
            "folder.",
        )


def _own_names(name: str, model: PreTrainedModel) -> tuple[str, ...]:
    """The names under which transformers looks for a saved one: as it is, with the base model's prefix, or without
    it."""
    prefix = f"{model.base_model_prefix}."
    modern = name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
    return modern, prefix + modern, modern.removeprefix(prefix)


def _refuse_doubles(names: dict[str, str], model: PreTrainedModel, path: Path) -> None:
    """Two saved weights for one of the model's would leave it to chance which is taken."""
    own, first = model.state_dict().keys(), dict[str, str]()
    for saved, name in names.items():
        meant = next((key for key in _own_names(name, model) if key in own), name)
        other = first.setdefault(meant, saved)
        if other != saved:
            raise ModelError(
                f"{path}: {other} and {saved} are the same weight of the model.",
                hint="Keep one of them, or save the model anew.",
            )


def _removed(saved: str, name: str) -> str:
    """The parts that were taken off a name, as a prefix."""
    left, gone = name.split("."), []
    for part in reversed(saved.split(".")):
        if left and left[-1] == part:
            left.pop()
        else:
            gone.append(part)
    return ".".join(reversed(gone)) + "."
