"""A compressed checkpoint that transformers loads without edgelm: the shapes of its layers in config.json, and the
module that reads them."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from edgelm.anatomy.families.static import is_static
from edgelm.anatomy.layers import base_model
from edgelm.anatomy.modeling_edgelm import COLUMNS, HALVES, LEAVES, AbsentAttention, halves, has_columns, leaves
from edgelm.model_folder.own_code import LAYERS_ENTRY, MODULE_FILE, STATIC_FILE
from edgelm.model_folder.weight_files import read_json
from edgelm.tasks.table import TASKS

_CARD_FILE = "README.md"
_OWN_SHAPES = (
    f"Its layers have shapes of their own. `{MODULE_FILE}`, which needs torch and transformers, builds them as",
    f"`{LAYERS_ENTRY}` of config.json says; edgelm itself never runs it.",
)
_CACHE = (
    "Its encoder has fewer layers than its decoder, and transformers makes the cache for as many as the encoder has.",
    f"`{MODULE_FILE}`, which needs torch and transformers, makes one that fits; without it give `use_cache=False`.",
)
_STATIC = (
    f"It has no layers, which no class of transformers is without: `{STATIC_FILE}`, which needs torch and",
    "transformers, builds it; edgelm itself never runs that file.",
)
_NUMBERS = (int, float)
_KINDS = ("linear", "counts", "columns", "norms", "tables", "absent", "halves", "exits")
_ROUNDED = 1e-9  # a factor that was computed in another order is the same


def save_remote_code(folder: Path, model: PreTrainedModel) -> None:
    """Put shapes, module and card into a checkpoint's folder; where every layer is as config.json says and transformers
    needs no help, the card alone.

    Args:
        folder: with the config.json of the model, as transformers wrote it.
    """
    config = read_json(folder / "config.json")
    shapes = differing_shapes(model)
    auto = auto_class_name(model)
    static = is_static(model.config.model_type)
    if shapes is not None or static or _lacks_cache(model):
        file = STATIC_FILE if static else MODULE_FILE
        module = file.removesuffix(".py")
        base = type(base_model(model)).__name__
        classes = {"AutoModel": f"{module}.{base}", auto: f"{module}.{type(model).__name__}"}
        if static:
            classes["AutoConfig"] = f"{module}.{type(model.config).__name__}"
        config |= {"auto_map": classes} | ({} if shapes is None else {LAYERS_ENTRY: shapes})
        (folder / file).write_bytes(Path(__file__).with_name(file).read_bytes())
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    reason = _STATIC if static else _OWN_SHAPES if shapes is not None else _CACHE if _lacks_cache(model) else ()
    (folder / _CARD_FILE).write_text(_card(auto, reason), encoding="utf-8")


def _lacks_cache(model: PreTrainedModel) -> bool:
    """Whether transformers makes a cache for fewer layers than write to it: as many as T5's encoder has."""
    config = model.config
    return config.model_type == "t5" and model.can_generate() and config.num_layers < config.num_decoder_layers


def differing_shapes(model: PreTrainedModel) -> dict[str, Any] | None:
    """How the layers of a model differ from what its configuration says, as `modeling_edgelm.resize` reads it; None:
    not at all."""
    with torch.device("meta"):
        full = dict(base_model(type(model)._from_config(model.config)).named_modules())
    found: dict[str, Any] = {name: {} for name in _KINDS}
    found |= {"gone": [], "biases": []}
    for path, module in base_model(model).named_modules():
        if isinstance(module, AbsentAttention):
            found["absent"][path] = {"projections": module.projections, "options": module.options}
        elif has_columns(module):
            found["columns"][path] = len(module.get_buffer(COLUMNS))
        if hasattr(module, HALVES):
            found["halves"][path] = halves(module)
        if hasattr(module, LEAVES):
            found["exits"][path] = leaves(module)
        if path in full and not isinstance(module, AbsentAttention):
            _note_module(found, path, module, full[path])
    if not any(found["halves"].values()):
        found["halves"] = {}
    return found if any(found.values()) else None


def _note_module(found: dict[str, Any], path: str, module: nn.Module, full: nn.Module) -> None:
    """Add what a module differs in from that of the uncut model."""
    if isinstance(module, (nn.Linear, Conv1D)) and isinstance(full, (nn.Linear, Conv1D)):
        if _sizes(module) != _sizes(full):
            found["linear"][path] = list(_sizes(module))
        if full.bias is None and module.bias is not None:
            found["biases"].append(path)
    elif isinstance(module, nn.Embedding) and isinstance(full, nn.Embedding):
        if module.weight.shape != full.weight.shape:
            found["tables"][path] = list(module.weight.shape)
    elif isinstance(full, nn.Identity) and isinstance(module, nn.LayerNorm):
        found["norms"][path] = [module.normalized_shape[0], module.eps, module.bias is not None]
    elif isinstance(module, nn.Identity) and not isinstance(full, nn.Identity):
        found["gone"].append(path)
    elif own := _differing_counts(module, full):
        found["counts"][path] = own


def _sizes(linear: nn.Linear | Conv1D) -> tuple[int, int]:
    """Inputs and outputs."""
    return (linear.nx, linear.nf) if isinstance(linear, Conv1D) else (linear.in_features, linear.out_features)


def auto_class_name(model: PreTrainedModel) -> str:
    """The auto class of transformers that loads a model of this class."""
    if model.can_generate():
        return "AutoModelForSeq2SeqLM" if model.config.is_encoder_decoder else "AutoModelForCausalLM"
    heads = (task.architecture for task in TASKS.values() if task.architecture != "Model")
    return next((f"AutoModel{head}" for head in heads if type(model).__name__.endswith(head)), "AutoModel")


def _differing_counts(module: nn.Module, full: nn.Module) -> dict[str, float]:
    """The numbers that a module keeps, such as that of its heads and the factor of its scores, where the uncut module
    has others. Not the size of the vocabulary, which transformers leaves as it was where it changes the tables."""
    kept = {name: value for name, value in vars(module).items() if type(value) in _NUMBERS and not name.startswith("_")}
    kept.pop("vocab_size", None)
    other = vars(full)
    return {
        name: value
        for name, value in kept.items()
        if type(other.get(name)) in _NUMBERS and not math.isclose(other[name], value, rel_tol=_ROUNDED)
    }


def _card(auto: str, reason: Sequence[str]) -> str:
    """How the folder is loaded, in Markdown.

    Args:
        reason: lines that say what the module beside it does; empty: there is none.
    """
    options = ", trust_remote_code=True" if reason else ""
    lines = [
        "# A checkpoint of edgelm",
        "",
        "`edgelm.json` says what it is for, what it was made from and how. `edgelm inspect` shows it.",
        "",
        "With edgelm:",
        "",
        "    from edgelm.anatomy import load_checkpoint",
        '    model = load_checkpoint("this folder")',
        "",
        "With transformers alone:",
        "",
        f"    from transformers import {auto}",
        f'    model = {auto}.from_pretrained("this folder"{options})',
        "",
    ]
    return "\n".join([*lines, *reason, ""] if reason else lines)
