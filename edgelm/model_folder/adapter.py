"""A peft adapter folder: its settings, its base model, and the task that both stand for; without torch or peft."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgelm.errors import ModelError
from edgelm.model_folder.weight_files import check_safetensors, read_json, weight_files

ADAPTER_CONFIG_FILE = "adapter_config.json"
ADAPTER_WEIGHTS_FILE = "adapter_model.safetensors"
ADAPTER_PICKLE_FILE = "adapter_model.bin"

# What peft puts before every name of the adapted model.
ADAPTED_PREFIX = "base_model.model."

_HEADS = {"SEQ_CLS": "SequenceClassification", "FEATURE_EXTRACTION": ""}
_CLASSIFIER_ROWS = re.compile(rf"^{re.escape(ADAPTED_PREFIX)}classifier\.(?:out_proj\.)?weight$")


def is_adapter(path: Path) -> bool:
    """Whether a folder holds a peft adapter: settings beside their weights, or without any model's configuration."""
    settings, weights = path / ADAPTER_CONFIG_FILE, (ADAPTER_WEIGHTS_FILE, ADAPTER_PICKLE_FILE)
    return settings.is_file() and (
        any((path / name).is_file() for name in weights) or not (path / "config.json").is_file()
    )


def read_adapter(path: Path) -> dict[str, Any]:
    """The settings of an adapter folder whose weights are there and whole.

    Raises:
        ModelError: weights missing, pickled or truncated; a task that edgelm does not read.
    """
    settings = read_json(path / ADAPTER_CONFIG_FILE)
    if not (path / ADAPTER_WEIGHTS_FILE).is_file():
        pickled = (path / ADAPTER_PICKLE_FILE).is_file()
        raise ModelError(
            f"{path}: the adapter's weights are a pickle ({ADAPTER_PICKLE_FILE}), which can run code when it is loaded."
            if pickled
            else f"{path}: no weights of an adapter; expected {ADAPTER_WEIGHTS_FILE}.",
            hint="Save it where you trust it: PeftModel.from_pretrained(model, folder).save_pretrained(folder) writes "
            "safetensors.",
        )
    check_safetensors(path / ADAPTER_WEIGHTS_FILE)
    task = settings.get("task_type")
    if task is not None and str(task) not in _HEADS:
        raise ModelError(
            f"{path / ADAPTER_CONFIG_FILE}: task_type is {task}; edgelm reads {' and '.join(_HEADS)}.",
            hint="Give an adapter of a text classifier or of a sentence encoder.",
        )
    return settings


def base_folder(path: Path, settings: dict[str, Any], fetch: Callable[[str], Path] | None = None) -> Path:
    """The folder of an adapter's base model: as the settings name it, here or beside the adapter, else from `fetch`.

    Raises:
        ModelError: the settings name no base model, it is not there, or it is an adapter itself; a model lies beside
            the adapter that is not its base model.
    """
    name = settings.get("base_model_name_or_path")
    if not isinstance(name, str) or not name:
        hint = "Write the base model's folder or hub id into base_model_name_or_path."
        raise ModelError(f"{path / ADAPTER_CONFIG_FILE}: it names no base model.", hint=hint)
    folder = next((folder for folder in (Path(name), path / name, path.parent / name) if folder.is_dir()), None)
    own = folder is not None and folder.samefile(path)
    if weight_files(path) and not own:
        raise ModelError(
            f"{path}: a whole model and an adapter of another, {name}: the adapter may be merged into the model "
            "already, or not.",
            hint="Give each a folder of its own, or delete the adapter's files; base_model_name_or_path may also be "
            f"{path}.",
        )
    if folder is None and fetch is not None:
        folder = fetch(name)
    if folder is None:
        raise ModelError(
            f"{path}: the adapter's base model {name} is no folder, here or beside the adapter.",
            hint=f"Download it, and write its folder into base_model_name_or_path of {ADAPTER_CONFIG_FILE}.",
        )
    if is_adapter(folder) and not (own and weight_files(path)):
        hint = "Merge that one first: model.merge_and_unload()."
        raise ModelError(f"{path}: the adapter's base model {folder} is an adapter itself.", hint=hint)
    return folder


def adapted_config(path: Path, settings: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    """The configuration of the adapted model: the base model's, with the head and the labels that the adapter brings.

    Where the adapter's head counts other labels than `config` names, they are called LABEL_0, LABEL_1 and so on.
    """
    own = path / "config.json"
    config = config | (read_json(own) if own.is_file() else {})
    architecture = str((config.get("architectures") or [""])[0])
    table = check_safetensors(path / ADAPTER_WEIGHTS_FILE)
    rows = next((entry["shape"][0] for name, entry in table.items() if _CLASSIFIER_ROWS.match(name)), None)
    head = _HEADS.get(settings.get("task_type") or ("" if rows is None else "SEQ_CLS"))
    if head is None:
        return config
    stem = re.sub(r"(For\w+|Model)$", "", architecture) or str(config.get("model_type", "")).title()
    named = {"architectures": [f"{stem}For{head}" if head else f"{stem}Model"]}
    if rows is None or ("SequenceClassification" in architecture and rows == _label_count(config)):
        return config | named
    labels = {str(index): f"LABEL_{index}" for index in range(rows)}
    return config | named | {"id2label": labels, "label2id": {label: int(index) for index, label in labels.items()}}


def _label_count(config: dict[str, Any]) -> int:
    return int(config.get("num_labels") or len(config.get("id2label") or {}) or 2)
