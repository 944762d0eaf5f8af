"""Adapter folders: their weights merged into those of the base model, by peft, the library that wrote them."""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import AutoConfig, PreTrainedModel

from edgelm.anatomy.fill import LoadingReport, auto_class, fill, outline
from edgelm.anatomy.heads import require_encoder
from edgelm.anatomy.model_settings import PLAIN
from edgelm.anatomy.weights import State, fit_names, read_weights, some
from edgelm.checkpoint import Checkpoint
from edgelm.errors import MissingExtraError, ModelError, install_extra
from edgelm.model_folder.adapter import ADAPTED_PREFIX, ADAPTER_CONFIG_FILE, ADAPTER_WEIGHTS_FILE
from edgelm.model_folder.weight_files import read_json


def adapted_model_config(checkpoint: Checkpoint, **entries: Any) -> Any:
    """The base model's configuration with the labels of the adapted model, and with further entries."""
    names = {int(index): name for index, name in (checkpoint.config.get("id2label") or {}).items()}
    labels = {"id2label": names, "label2id": {name: index for index, name in names.items()}} if names else {}
    return AutoConfig.from_pretrained(_base(checkpoint).path, local_files_only=True, **(labels | entries | PLAIN))


def merged_weights(checkpoint: Checkpoint) -> State:
    """The weights of the adapted model, by its own names; what neither the base model nor the adapter holds is left
    out.

    Raises:
        ModelError: an adapter that does not fit its base model, or that cannot be merged.
        MissingExtraError: peft is not installed.
    """
    peft, path = _peft(), checkpoint.path
    model, lacking = _base_model(checkpoint)
    settings = _settings(checkpoint)
    with _unwarned():
        adapted = peft.get_peft_model(model, settings)
    if not hasattr(adapted.base_model, "merge_and_unload"):
        kind = getattr(settings.peft_type, "value", settings.peft_type)
        raise ModelError(
            f"{path}: an adapter of type {kind} cannot be merged.", hint="Give a LoRA adapter, or a whole model."
        )
    saved = load_file(path / ADAPTER_WEIGHTS_FILE)
    _refuse_misfit(saved, peft.get_peft_model_state_dict(adapted, save_embedding_layers=False), checkpoint)
    adapted.load_adapter(str(path), "default", torch_device="cpu")
    brought = {name.removeprefix(ADAPTED_PREFIX) for name in saved}
    state = adapted.merge_and_unload().state_dict()
    return {name: tensor for name, tensor in state.items() if name not in lacking or name in brought}


def unmerged_model(checkpoint: Checkpoint) -> PreTrainedModel:
    """The base model with the adapter's layers beside its own, as peft loads and runs it.

    Raises:
        ModelError: the base model's encoder does not fit its configuration.
        MissingExtraError: peft is not installed.
    """
    with _unwarned():
        adapted = _peft().PeftModel.from_pretrained(
            _base_model(checkpoint)[0], str(checkpoint.path), torch_device="cpu"
        )
    model: PreTrainedModel = adapted.get_base_model()
    return model


def _base_model(checkpoint: Checkpoint) -> tuple[PreTrainedModel, tuple[str, ...]]:
    """The model under an adapter, and names of a head that it lacks and the adapter may bring."""
    base, config = _base(checkpoint), adapted_model_config(checkpoint)
    shape = outline(auto_class(checkpoint.task), config)
    model, report = fill(type(shape), config, fit_names(read_weights(base.path), shape, base.path), base.record.layers)
    require_encoder(report, model, base.path)
    return model, report.random


@contextlib.contextmanager
def _unwarned() -> Iterator[None]:
    """Without the warnings of peft: what is missing is refused by our own errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _settings(checkpoint: Checkpoint) -> Any:
    """The adapter's settings as peft reads them.

    Raises:
        ModelError: settings that this peft does not know, and would leave out in silence.
    """
    peft, file = _peft(), checkpoint.path / ADAPTER_CONFIG_FILE
    with _unwarned():
        settings = peft.PeftConfig.from_pretrained(str(checkpoint.path))
    known = {field.name for field in dataclasses.fields(settings)}
    unknown = [name for name, value in read_json(file).items() if name not in known and value]
    if unknown:
        raise ModelError(
            f"{file}: settings that peft {peft.__version__} does not know: {some(unknown)}.",
            hint="pip install --upgrade peft",
        )
    settings.inference_mode = True
    return settings


def _base(checkpoint: Checkpoint) -> Checkpoint:
    if checkpoint.base is None:
        raise ValueError(f"{checkpoint.path} holds a whole model, no adapter")
    return checkpoint.base


def _refuse_misfit(saved: State, own: dict[str, torch.Tensor], checkpoint: Checkpoint) -> None:
    mismatched = [
        (name, tuple(saved[name].shape), tuple(own[name].shape)) for name in sorted(saved.keys() & own.keys())
    ]
    wrong = LoadingReport(
        tuple(sorted(own.keys() - saved.keys())),
        tuple(sorted(saved.keys() - own.keys())),
        tuple(entry for entry in mismatched if entry[1] != entry[2]),
    )
    integers = [name for name, tensor in saved.items() if not tensor.is_floating_point()]
    if wrong != LoadingReport() or integers:
        what = f"{some(integers)} hold no floats" if integers else str(wrong)
        raise ModelError(
            f"{checkpoint.path}: the adapter does not fit its base model {_base(checkpoint).path}; {what}.",
            hint="Give the base model that it was trained on: base_model_name_or_path in adapter_config.json names it.",
        )


def _peft() -> ModuleType:
    try:
        import peft
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "the package peft is missing; it merges adapters into their base models.", hint=install_extra("peft")
        ) from error
    return peft
