"""Small sentence-transformers folders, written by hand as the library's versions write them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from models import make_checkpoint, make_generator


def edit(file: Path, **values: Any) -> None:
    """Set keys of a JSON file, which need not be there."""
    found = json.loads(file.read_text()) if file.is_file() else {}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(found | values))


def add_modules(
    folder: Path, *modules: tuple[str, dict[str, Any]], package: str = "sentence_transformers.models"
) -> Path:
    """Write modules.json and the modules behind the Transformer, each a kind and its config.json; weights are drawn at
    random."""
    import torch
    from safetensors.torch import save_file

    rows = [{"idx": 0, "name": "0", "path": "", "type": f"{package}.Transformer"}]
    torch.manual_seed(len(modules))
    for number, (kind, config) in enumerate(modules, start=1):
        place = folder / f"{number}_{kind}"
        edit(place / "config.json", **config)
        weights = {}
        if kind == "Dense":
            inputs, outputs = config["in_features"], config["out_features"]
            weights = {"linear.weight": torch.randn(outputs, inputs) / 6}
            if config.get("bias", True):
                weights["linear.bias"] = torch.randn(outputs) / 6
            if config.get("use_residual") and inputs != outputs:
                weights["residual.weight"] = torch.randn(outputs, inputs) / 6
        if kind == "LayerNorm":
            weights = {"norm.weight": torch.rand(config["dimension"]), "norm.bias": torch.randn(config["dimension"])}
        if weights:
            save_file(weights, place / "model.safetensors")
        rows.append({"idx": number, "name": str(number), "path": place.name, "type": f"{package}.{kind}"})
    (folder / "modules.json").write_text(json.dumps(rows))
    return folder


def make_sentence_folder(folder: Path, *modules: tuple[str, dict[str, Any]], family: str = "bert") -> Path:
    """A random encoder with these modules behind it."""
    return add_modules(make_checkpoint(folder, family, kind="sentence-embedding"), *modules)


def pooling(*modes: str, width: int = 32) -> tuple[str, dict[str, Any]]:
    """A Pooling module as version 6 writes it."""
    return "Pooling", {"embedding_dimension": width, "pooling_mode": list(modes)}


def dense(inputs: int, outputs: int, activation: str = "activation.Tanh", **more: Any) -> tuple[str, dict[str, Any]]:
    """A Dense module."""
    return "Dense", {
        "in_features": inputs,
        "out_features": outputs,
        "activation_function": f"torch.nn.modules.{activation}",
    } | more


def make_decoder_folder(
    folder: Path, *modules: tuple[str, dict[str, Any]], family: str = "qwen3", **entries: Any
) -> Path:
    """A random decoder with these modules behind it, saved as an encoder; its tokenizer pads on the left, as those of
    published ones do, and ends every text with a mark that last-token pooling reads."""
    from tokenizers import processors
    from transformers import AutoModel, AutoTokenizer

    make_generator(folder / "whole", family, **entries)
    AutoModel.from_pretrained(folder / "whole").save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder / "whole", padding_side="left")
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    marks = [name for name in (tokenizer.bos_token, tokenizer.eos_token) if name]
    around = " ".join([*marks[:-1], "$A", marks[-1]])
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        around, special_tokens=[(name, tokenizer.convert_tokens_to_ids(name)) for name in marks]
    )
    tokenizer.save_pretrained(folder)
    shutil.rmtree(folder / "whole")
    return add_modules(folder, *modules)
