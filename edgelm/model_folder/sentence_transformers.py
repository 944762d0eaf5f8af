"""A sentence-transformers folder, read whole: what its modules and settings make of token vectors, or of a
cross-encoder's score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgelm.errors import ModelError
from edgelm.model_folder.config import cross_encoder_activation
from edgelm.model_folder.sentence_modules import COMPUTED, SentenceLayer, read_json, read_layers, read_pooling
from edgelm.tasks.task import Task
from edgelm.tasks.text import SentenceEmbedding, TextClassification

MODULES_FILE = "modules.json"
SETTINGS_FILE = "config_sentence_transformers.json"
POOLING_FOLDER = "1_Pooling"
TRANSFORMER_FILES = tuple(
    f"sentence_{name}_config.json"
    for name in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
_HARMLESS = {
    "torch_dtype",
    "dtype",
    "attn_implementation",
    "add_pooling_layer",
    "use_safetensors",
    "low_cpu_mem_usage",
    "trust_remote_code",
}


@dataclass(frozen=True)
class SentenceFolder:
    """What a folder says beyond its config.json.

    Attributes:
        transformer: the folder with config.json, the encoder's weights and the tokenizer.
        pooling: as in `Task`; "" where there is none (a cross-encoder).
        layers: between pooling and the last normalisation.
        normalize, dimensions, prompt: as in `Task`.
        settings: the content of config_sentence_transformers.json.
    """

    transformer: Path
    pooling: str
    layers: tuple[SentenceLayer, ...] = ()
    normalize: bool = False
    dimensions: int | None = None
    prompt: str = ""
    settings: Mapping[str, Any] | None = None

    def task(self, task: Task) -> Task:
        """The task of config.json with what the folder adds to it.

        Raises:
            ModelError: modules that do not go with the task.
        """
        if isinstance(task, TextClassification):
            return self._cross_encoder(task)
        if not self.pooling:
            raise ModelError(
                f"{self.transformer}: {MODULES_FILE} has no Pooling, so there is no sentence vector.", hint=COMPUTED
            )
        head = tuple(str(layer) for layer in self.layers)
        return SentenceEmbedding(
            pooling=self.pooling,
            normalize=self.normalize,
            head=head,
            dimensions=self.dimensions,
            prompt=self.prompt,
        )

    def _cross_encoder(self, task: TextClassification) -> TextClassification:
        if self.pooling:
            raise ModelError(
                f"{self.transformer}: config.json says a classifier, {MODULES_FILE} a sentence encoder.",
                hint=f'Delete {MODULES_FILE} and 1_Pooling for the classifier, or set "architectures" to the bare '
                "model for the encoder.",
            )
        if self.prompt:
            raise ModelError(
                f"{self.transformer}: {SETTINGS_FILE} gives a cross-encoder a default prompt.",
                hint="Set default_prompt_name to null.",
            )
        if self.settings is None or self.settings.get("model_type") != "CrossEncoder":
            return task
        return replace(
            task,
            activation=cross_encoder_activation(self.settings.get("activation_fn"), task.problem, len(task.labels)),
        )


def read_sentence_folder(folder: Path, *, allow_pickle: bool = False) -> SentenceFolder | None:
    """Read the modules and settings of a sentence-transformers folder; None: it is none.

    Raises:
        ModelError: a module or a setting that edgelm does not compute, by name, or one that cannot be read.
    """
    pooling = folder / POOLING_FOLDER / "config.json"
    modules = read_json(folder / MODULES_FILE, list) if (folder / MODULES_FILE).is_file() else []
    settings = _settings(folder)
    if not modules and pooling.is_file():
        _check_transformer(folder)
        return SentenceFolder(folder, read_pooling(pooling.parent, prompt=""), settings=settings)
    if not modules:
        return None
    kinds = [_kind(folder, module) for module in modules]
    if kinds[0] != "Transformer":
        raise ModelError(f"{folder}: the first module is {kinds[0]}, not a Transformer.", hint=COMPUTED)
    places = [_place(folder, module) for module in modules]
    _check_transformer(places[0])
    prompt = _prompt(folder, settings)
    if len(kinds) == 1:
        return SentenceFolder(places[0], "", prompt=prompt, settings=settings)
    if kinds[1] != "Pooling" or set(kinds[2:]) & {"Transformer", "Pooling"}:
        raise ModelError(
            f"{folder}: modules in the order {', '.join(kinds)}.",
            hint="Expected one Transformer, one Pooling, then the others.",
        )
    layers = [
        layer
        for kind, place in zip(kinds[2:], places[2:], strict=True)
        for layer in read_layers(kind, place, allow_pickle)
    ]
    normalize = bool(layers) and layers[-1].kind == "normalize"
    return SentenceFolder(
        places[0],
        read_pooling(places[1], prompt=prompt),
        tuple(layers[:-1] if normalize else layers),
        normalize,
        _dimensions(folder, settings),
        prompt,
        settings,
    )


def transformer_settings(folder: Path) -> dict[str, Any]:
    """What a Transformer's folder says of its texts: `max_seq_length` and `do_lower_case`, with whatever else is there.

    Raises:
        ModelError: it cannot be read.
    """
    file = next((folder / name for name in TRANSFORMER_FILES if (folder / name).is_file()), None)
    return {} if file is None else read_json(file, dict)


def _kind(folder: Path, module: Any) -> str:
    if not isinstance(module, dict) or not isinstance(module.get("type"), str):
        raise ModelError(
            f"{folder / MODULES_FILE}: a module without a type.",
            hint="Save the model again with model.save_pretrained(...).",
        )
    package, _, kind = module["type"].rpartition(".")
    if package.split(".")[0] != "sentence_transformers" or kind not in (
        "Transformer",
        "Pooling",
        "Dense",
        "LayerNorm",
        "Normalize",
        "Dropout",
    ):
        raise ModelError(f"{folder / MODULES_FILE}: the module {module['type']} is not known.", hint=COMPUTED)
    if module.get("kwargs"):
        raise ModelError(
            f"{folder / MODULES_FILE}: {kind} takes arguments ({module['kwargs']}).",
            hint="edgelm computes modules without them.",
        )
    return kind


def _place(folder: Path, module: dict[str, Any]) -> Path:
    path = module.get("path", "")
    if not isinstance(path, str) or Path(path).is_absolute() or ".." in Path(path).parts:
        raise ModelError(
            f"{folder / MODULES_FILE}: path {path!r} leads out of the folder.",
            hint="Give paths inside the model's folder.",
        )
    return folder / path


def _settings(folder: Path) -> dict[str, Any] | None:
    file = folder / SETTINGS_FILE
    if not file.is_file():
        return None
    settings: dict[str, Any] = read_json(file, dict)
    if settings.get("model_type") not in (None, "SentenceTransformer", "CrossEncoder"):
        raise ModelError(
            f"{file}: the model is a {settings['model_type']}.",
            hint="edgelm takes SentenceTransformer and CrossEncoder.",
        )
    return settings


def _prompt(folder: Path, settings: dict[str, Any] | None) -> str:
    values = settings or {}
    name, prompts = values.get("default_prompt_name"), values.get("prompts") or {}
    if name is None:
        return ""
    if (
        not isinstance(prompts, dict)
        or not isinstance(name, str)
        or not isinstance(prompts.get(name), (str, type(None)))
        or name not in prompts
    ):
        raise ModelError(
            f"{folder / SETTINGS_FILE}: prompts has no text named {name!r}, the default.",
            hint="Correct default_prompt_name.",
        )
    return prompts[name] or ""


def _dimensions(folder: Path, settings: dict[str, Any] | None) -> int | None:
    value = (settings or {}).get("truncate_dim")
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise ModelError(
            f"{folder / SETTINGS_FILE}: truncate_dim is {value!r}.",
            hint="Expected the number of values of a vector to keep.",
        )
    return value


def _check_transformer(folder: Path) -> None:
    """Refuse what a Transformer's settings say beyond what edgelm does: the longest text, and lower case.

    Raises:
        ModelError: such a setting, by name.
    """
    values = transformer_settings(folder)
    where = f"{folder}: the Transformer's settings (sentence_bert_config.json):"
    task = values.get("transformer_task", "feature-extraction")
    if task not in ("feature-extraction", "sequence-classification"):
        raise ModelError(
            f"{where} transformer_task is {task!r}.",
            hint="edgelm takes feature-extraction and sequence-classification.",
        )
    for key in (
        "model_args",
        "model_kwargs",
        "tokenizer_args",
        "processor_kwargs",
        "config_args",
        "config_kwargs",
        "processing_kwargs",
    ):
        given = values.get(key) or {}
        if not isinstance(given, dict) or set(given) - (
            _HARMLESS if key.startswith("model") else {"trust_remote_code"}
        ):
            raise ModelError(
                f"{where} {key} is {given!r}.",
                hint="Write it into config.json or the tokenizer's files, or take it out.",
            )
    for key in ("query_length", "document_length", "query_expansion", "tokenizer_name_or_path"):
        if values.get(key) is not None:
            raise ModelError(
                f"{where} {key} is {values[key]!r}.",
                hint="edgelm reads every text alike, by the tokenizer beside the model.",
            )
    if values.get("module_output_name") not in (None, "token_embeddings", "scores"):
        raise ModelError(
            f"{where} module_output_name is {values['module_output_name']!r}.",
            hint="edgelm takes token_embeddings and scores.",
        )
    ways = values.get("modality_config") or {}
    text = ways.get("text") if isinstance(ways, dict) else ways
    if text not in (
        None,
        *({"method": "forward", "method_output_name": name} for name in ("last_hidden_state", "logits")),
    ):
        raise ModelError(
            f"{where} modality_config reads texts by {text!r}.",
            hint="edgelm takes the model's forward, and its last_hidden_state.",
        )
    length = values.get("max_seq_length")
    if length is not None and (isinstance(length, bool) or not isinstance(length, int) or length < 1):
        raise ModelError(f"{where} max_seq_length is {length!r}.", hint="Expected a number of tokens.")
