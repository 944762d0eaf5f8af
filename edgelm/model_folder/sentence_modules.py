"""The modules of a sentence-transformers folder behind its Transformer: Pooling, Dense, LayerNorm and Normalize, each
with its settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edgelm.errors import ModelError
from edgelm.limits import read_json as parse_json
from edgelm.tasks.text import POOLINGS

# The activations of a Dense layer, each as torch makes it without arguments.
ACTIVATIONS = ("Identity", "Tanh", "ReLU", "LeakyReLU", "ELU", "GELU", "Sigmoid", "SiLU")


COMPUTED = "edgelm computes Transformer, Pooling, Dense, LayerNorm, Normalize and Dropout."
# The modes in the order of their vectors, as older folders switch them on.
_SWITCHES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}


@dataclass(frozen=True)
class SentenceLayer:
    """One layer between pooling and the end.

    Attributes:
        folder: where its weights are; None: it has none.
        inputs, outputs: widths of the vectors; 0 for `normalize`, which takes any.
        activation: one of `ACTIVATIONS`.
        residual: whether the input is added to the output.
    """

    kind: Literal["dense", "layer-norm", "normalize"]
    folder: Path | None = None
    inputs: int = 0
    outputs: int = 0
    bias: bool = True
    activation: str = "Identity"
    residual: bool = False

    def __str__(self) -> str:
        if self.kind == "dense":
            return f"Dense {self.inputs} to {self.outputs}, {self.activation}" + (", residual" if self.residual else "")
        return "Normalize" if self.kind == "normalize" else f"LayerNorm {self.inputs}"


def read_json(file: Path, expected: type[Any]) -> Any:
    try:
        values = parse_json(file.read_bytes(), str(file), error=ModelError)
    except (ValueError, OSError) as error:
        raise ModelError(
            f"{file}: cannot be read as JSON ({error}).", hint="Copy or download the model again."
        ) from error
    if not isinstance(values, expected):
        raise ModelError(
            f"{file}: expected a JSON {'array' if expected is list else 'object'}.",
            hint="Copy or download the model again.",
        )
    return values


def read_pooling(folder: Path, *, prompt: str) -> str:
    """The pooling of a module's folder, as in `Task`."""
    values = read_json(folder / "config.json", dict)
    where = f"{folder / 'config.json'}:"
    strange = sorted(
        set(values)
        - set(_SWITCHES)
        - {"word_embedding_dimension", "embedding_dimension", "pooling_mode", "include_prompt"}
    )
    if strange:
        raise ModelError(
            f"{where} {strange[0]} is not a setting of Pooling that edgelm knows.",
            hint="Take it out if it changes nothing.",
        )
    modes = values.get("pooling_mode", [mode for switch, mode in _SWITCHES.items() if values.get(switch)] or ["mean"])
    modes = [modes] if isinstance(modes, str) else modes
    if not isinstance(modes, list) or not modes or any(mode not in POOLINGS for mode in modes):
        raise ModelError(f"{where} pooling_mode is {modes!r}.", hint=f"Known: {', '.join(POOLINGS)}.")
    if values.get("include_prompt", True) is not True and prompt:
        raise ModelError(
            f"{where} include_prompt is false and there is a default prompt, whose tokens would have to be left out "
            "of the pooling.",
            hint="Set default_prompt_name to null in config_sentence_transformers.json, and give texts without the "
            "prompt.",
        )
    return "+".join(modes)


def read_layers(kind: str, folder: Path, allow_pickle: bool) -> list[SentenceLayer]:
    values = read_json(folder / "config.json", dict) if (folder / "config.json").is_file() else {}
    for key in ("module_input_name", "module_output_name"):
        if values.get(key) not in (None, "sentence_embedding"):
            raise ModelError(
                f"{folder / 'config.json'}: {key} is {values[key]!r}.",
                hint=f"edgelm's {kind} reads and writes sentence_embedding.",
            )
    if kind == "Dropout":  # changes nothing but in training
        return []
    if kind == "Normalize":
        return [SentenceLayer("normalize")]
    _check_weights(folder, allow_pickle)
    if kind == "LayerNorm":
        width = _size(folder, values, "dimension")
        return [SentenceLayer("layer-norm", folder, width, width)]
    activation = values.get("activation_function", "torch.nn.modules.activation.Tanh")
    short = activation.rpartition(".")[2] if isinstance(activation, str) and activation.startswith("torch.") else ""
    if short not in ACTIVATIONS:
        raise ModelError(
            f"{folder / 'config.json'}: activation_function is {activation!r}.",
            hint=f"Known, of torch: {', '.join(ACTIVATIONS)}.",
        )
    inputs, outputs = (_size(folder, values, name) for name in ("in_features", "out_features"))
    return [
        SentenceLayer(
            "dense",
            folder,
            inputs,
            outputs,
            bool(values.get("bias", True)),
            short,
            bool(values.get("use_residual", False)),
        )
    ]


def _size(folder: Path, values: dict[str, Any], key: str) -> int:
    value = values.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ModelError(f"{folder / 'config.json'}: {key} is {value!r}.", hint="Expected the width of a vector.")
    return value


def _check_weights(folder: Path, allow_pickle: bool) -> None:
    if (folder / "model.safetensors").is_file():
        return
    if not (folder / "pytorch_model.bin").is_file():
        raise ModelError(
            f"{folder}: no weights; expected model.safetensors.",
            hint="Save the model again with model.save_pretrained(...).",
        )
    if not allow_pickle:
        raise ModelError(
            f"{folder}: the weights are a pickle (pytorch_model.bin), which can run code when it is loaded.",
            hint="Convert it where you trust it, with SentenceTransformer(...).save_pretrained(...), or add "
            "--allow-pickle (weights only).",
        )
