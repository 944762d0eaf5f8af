"""Models that write: which architectures, and what their folders say of how they write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgelm.errors import ModelError, UsageError
from edgelm.model_folder.weight_files import read_json
from edgelm.tasks.generation import Generation, GenerationSettings, Summarization, TextGeneration, Translation
from edgelm.tasks.table import TASKS
from edgelm.tasks.task import Task

GENERATION_FILE = "generation_config.json"
_TOKENIZER_FILE, _TEMPLATE_FILE = "tokenizer_config.json", "chat_template.jinja"
_DECODER_CLASSES = ("ForCausalLM", "LMHeadModel")
_READER_CLASSES = ("Model", "ForSequenceClassification")
# Decoders that read alone as well, as encoders of sentences or classifiers: their classes' names without the head.
READERS: Mapping[str, str] = {
    "llama": "Llama",
    "mistral": "Mistral",
    "qwen2": "Qwen2",
    "qwen3": "Qwen3",
    "gemma3_text": "Gemma3Text",
}
_REWRITER_CLASSES = ("ForConditionalGeneration", "MTModel", "WithLMHeadModel")
_DRAWN = 50  # tokens that may be drawn where a folder asks for sampling alone: transformers' usual number
_MANY = 1 << 20  # no text has more tokens

# What edgelm does not compute, and the value that means nothing.
_NOT_COMPUTED: Mapping[str, tuple[Any, ...]] = {
    "penalty_alpha": (None, 0, 0.0),
    "num_beam_groups": (None, 1),
    "diversity_penalty": (None, 0, 0.0),
    "typical_p": (None, 1, 1.0),
    "epsilon_cutoff": (None, 0, 0.0),
    "eta_cutoff": (None, 0, 0.0),
    "encoder_repetition_penalty": (None, 1, 1.0),
    "encoder_no_repeat_ngram_size": (None, 0),
    "exponential_decay_length_penalty": (None,),
    "begin_suppress_tokens": (None, []),
    "sequence_bias": (None, {}, []),
    "guidance_scale": (None, 1, 1.0),
    "force_words_ids": (None, []),
    "constraints": (None, []),
    "watermarking_config": (None,),
}


@dataclass(frozen=True)
class GeneratorFamily:
    """What is written down of an architecture that writes.

    Attributes:
        model_types: values of `config.json: model_type`.
        rewrites: whether an encoder reads a source and a decoder writes; if not, a decoder goes on with a text.
        positions: name in config.json of the longest text; None: there is no limit, since attention sees distances.
        translates: whether all published models of it are translators.
    """

    model_types: tuple[str, ...]
    rewrites: bool = False
    positions: str | None = "max_position_embeddings"
    translates: bool = False


GENERATOR_FAMILIES: tuple[GeneratorFamily, ...] = (
    GeneratorFamily(("gpt2",), positions="n_positions"),
    GeneratorFamily(tuple(READERS)),
    GeneratorFamily(("t5",), rewrites=True, positions=None),
    GeneratorFamily(("bart",), rewrites=True),
    GeneratorFamily(("marian",), rewrites=True, translates=True),
)


def generator_types() -> list[str]:
    """Every `model_type` that writes, sorted."""
    return sorted(name for family in GENERATOR_FAMILIES for name in family.model_types)


def generator_family(config: Mapping[str, Any]) -> GeneratorFamily | None:
    """The family of a model that writes; None for others."""
    name = config.get("model_type")
    return next((family for family in GENERATOR_FAMILIES if name in family.model_types), None)


def writes(config: Mapping[str, Any]) -> bool:
    """Whether a folder holds a model that writes: of such a family, and not of a class that reads alone, such as
    `Gemma3TextModel` and `LlamaForSequenceClassification`."""
    if config.get("model_type") not in READERS:
        return generator_family(config) is not None
    names = config.get("architectures")
    return not (isinstance(names, list) and names and all(str(name).endswith(_READER_CLASSES) for name in names))


def as_reader(config: Mapping[str, Any]) -> dict[str, Any]:
    """The content of config.json for the encoder in a model: of a language model among `READERS` without its head;
    others are encoders as they are."""
    name = READERS.get(str(config.get("model_type")))
    return dict(config) if name is None else {**config, "architectures": [f"{name}Model"]}


def refuse_decoder(config: Mapping[str, Any]) -> None:
    """Refuse settings that make a decoder of a model whose family edgelm takes as encoders.

    Raises:
        ModelError: such a setting, by name.
    """
    if generator_family(config) is not None:
        return
    for key in ("is_decoder", "add_cross_attention", "is_encoder_decoder"):
        if config.get(key):
            raise ModelError(
                f"config.json: {key} is {config[key]!r}: this is a decoder of a family that edgelm takes as encoders.",
                hint=f"Generators that edgelm takes: {', '.join(generator_types())}.",
            )


def longest_text(config: Mapping[str, Any]) -> int:
    """The longest text, in tokens, that a generator takes; 0 where there is no limit.

    Raises:
        ModelError: the entry of config.json that says it is no such number.
    """
    family = generator_family(config)
    if family is None or family.positions is None:
        return 0
    value = config.get(family.positions, config.get("max_position_embeddings"))
    if isinstance(value, bool) or not isinstance(value, int) or value < 2:
        raise ModelError(
            f"config.json: {family.positions} is {value!r}, which leaves no room for a text.",
            hint="Copy or download the model again.",
        )
    return value


def read_generator(config: Mapping[str, Any], folder: Path | None = None, *, kind: str | None = None) -> Task:
    """The task of a model that writes, with all that its folder says of how.

    Args:
        config: the content of config.json, of a family in `GENERATOR_FAMILIES`.
        folder: where generation_config.json and the tokenizer's files are; None: config.json alone says it.
        kind: of the task, where an encoder-decoder can be meant for several; None: as the folder says.

    Raises:
        ModelError: another head than that of a language model, a kind of task that the model cannot do, or settings
            that edgelm does not compute, or that contradict each other.
    """
    family = generator_family(config)
    if family is None:
        raise ValueError(f"{config.get('model_type')!r} is no family of generators")
    _check_class(config, family)
    known = _kinds(family)
    chosen = kind or _kind(config, family)
    if chosen not in known:
        kinds = " or ".join(known)
        raise ModelError(
            f"config.json: a {config['model_type']} model, which is for {kinds}, not for {chosen}.",
            hint=f"Tasks that it can do: {kinds}.",
        )
    specific = _specific(config, chosen)
    settings = _settings(config, specific, folder, rewrites=family.rewrites)
    if chosen == TextGeneration.kind:
        return TextGeneration(settings, _chat_template(folder), longest_text(config))
    prefix = str(specific.get("prefix", config.get("prefix")) or "")
    if chosen == Summarization.kind:
        return Summarization(settings, prefix)
    tokenizer = _optional(folder, _TOKENIZER_FILE)
    languages = [str(tokenizer.get(name) or "") for name in ("source_lang", "target_lang")]
    return Translation(settings, prefix, *languages)


def as_recorded(recorded: Task, found: Task) -> Task:
    """The task that a record has, with what the folder's own files say now: settings, template and context.

    Args:
        recorded: of edgelm.json.
        found: of the other files, see `read_generator`.
    """
    if not isinstance(recorded, Generation) or not isinstance(found, Generation):
        return found
    if recorded.architecture != found.architecture:
        return found
    settings = replace(found.settings, stop=found.settings.stop or recorded.settings.stop, seed=recorded.settings.seed)
    if isinstance(found, TextGeneration):
        return replace(found, settings=settings)
    return replace(recorded, settings=settings)


def _kinds(family: GeneratorFamily) -> list[str]:
    architecture = Translation.architecture if family.rewrites else TextGeneration.architecture
    return [name for name, task in TASKS.items() if task.generates and task.architecture == architecture]


def _check_class(config: Mapping[str, Any], family: GeneratorFamily) -> None:
    names = config.get("architectures") or []
    if not isinstance(names, list):
        raise ModelError(
            f"config.json: architectures is {names!r}.",
            hint='Expected a list of one class name, such as ["GPT2LMHeadModel"].',
        )
    endings = _REWRITER_CLASSES if family.rewrites else _DECODER_CLASSES
    wrong = [str(name) for name in names if not str(name).endswith(endings)]
    if wrong:
        raise ModelError(
            f"config.json: the model is a {wrong[0]}; edgelm takes {config['model_type']} models as generators.",
            hint=f"Give one whose class is named *{' or *'.join(endings)}.",
        )


def _kind(config: Mapping[str, Any], family: GeneratorFamily) -> str:
    """What a model is for where nobody says it. An encoder-decoder that names no use is taken for one of summaries:
    what it computes is the same."""
    if not family.rewrites:
        return TextGeneration.kind
    uses = [str(name) for name in config.get("task_specific_params") or {}]
    translates = bool(uses) and all(name.startswith("translation") for name in uses)
    return Translation.kind if family.translates or translates else Summarization.kind


def _specific(config: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """What config.json says for one use of several: of translations, if it has one pair of languages."""
    uses = config.get("task_specific_params")
    if not isinstance(uses, dict):
        return {}
    found = [values for name, values in uses.items() if str(name).startswith(kind) and isinstance(values, dict)]
    return found[0] if len(found) == 1 else {}


def _settings(
    config: Mapping[str, Any], specific: Mapping[str, Any], folder: Path | None, *, rewrites: bool
) -> GenerationSettings:
    """The settings of generation_config.json, or of config.json, where older models have them."""
    file = _optional(folder, GENERATION_FILE)
    values = {name: value for name, value in ({**config, **file, **specific}).items() if value is not None}
    if values.get("early_stopping") == "never":
        raise _not_computed("early_stopping", "never")
    for name, nothing in _NOT_COMPUTED.items():
        if values.get(name) not in nothing:
            raise _not_computed(name, values[name])
    names = ("num_beams", "length_penalty", "repetition_penalty", "no_repeat_ngram_size", "early_stopping", "do_sample")
    made: dict[str, Any] = {name: values[name] for name in names if name in values}
    if made.get("do_sample"):
        drawn = ("temperature", "top_k", "top_p", "min_p")
        made |= {"top_k": _DRAWN} | {name: values[name] for name in drawn if name in values}
    made |= _lengths(values, rewrites=rewrites)
    stop = values.get("stop_strings", ())
    made["stop"] = (stop,) if isinstance(stop, str) else tuple(stop)
    made["eos_ids"] = _ids(values, "eos_token_id")
    made["bad_ids"] = _bad_ids(values)
    singles = {"pad_id": "pad_token_id", "forced_bos_id": "forced_bos_token_id", "forced_eos_id": "forced_eos_token_id"}
    if rewrites:
        start = next((name for name in ("decoder_start_token_id", "bos_token_id") if name in values), None)
        if start is None:
            raise ModelError(
                "config.json: no decoder_start_token_id: nothing says which token the decoder begins with.",
                hint=f"Add it to config.json or {GENERATION_FILE}; for T5 it is the id of the padding token.",
            )
        singles["decoder_start_id"] = start
    made |= {own: ids[0] for own, name in singles.items() if (ids := _ids(values, name))}
    _check_ids(made, config)
    try:
        return GenerationSettings(**made)
    except (UsageError, TypeError) as error:
        raise ModelError(
            f"{GENERATION_FILE}: {getattr(error, 'message', error)}", hint="Correct it, or delete the file."
        ) from error


def _lengths(values: Mapping[str, Any], *, rewrites: bool) -> dict[str, int]:
    """How many tokens are written. Older settings count the decoder's first token, or a decoder's prompt, which no
    number of new tokens follows from."""
    found = {}
    for own, old in (("max_new_tokens", "max_length"), ("min_new_tokens", "min_length")):
        value = values.get(own)
        if value is None and rewrites and values.get(old):
            value = values[old] - 1
        if value is not None:
            found[own] = max(int(own == "max_new_tokens"), min(int(value), _MANY))
    if found.get("min_new_tokens", 0) > found.get("max_new_tokens", GenerationSettings.max_new_tokens):
        found["max_new_tokens"] = found["min_new_tokens"]
    return found


def _ids(values: Mapping[str, Any], name: str) -> tuple[int, ...]:
    """The token or tokens of an entry."""
    value = values.get(name)
    found = [] if value is None else list(value) if isinstance(value, (list, tuple)) else [value]
    if not all(isinstance(entry, int) and not isinstance(entry, bool) for entry in found):
        raise ModelError(
            f"{name} of the model is {value!r}.",
            hint="Expected the id of a token, or a list of them; mend config.json.",
        )
    return tuple(found)


def _bad_ids(values: Mapping[str, Any]) -> tuple[int, ...]:
    """Tokens that are never written."""
    words: Sequence[Any] = values.get("bad_words_ids") or ()
    if not all(isinstance(word, list) and len(word) == 1 for word in words):
        raise _not_computed("bad_words_ids", "of several tokens")
    return tuple(dict.fromkeys([*(word[0] for word in words), *_ids(values, "suppress_tokens")]))


def _check_ids(made: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    rows = config.get("vocab_size")
    for name in ("eos_ids", "pad_id", "decoder_start_id", "forced_bos_id", "forced_eos_id", "bad_ids"):
        value = made.get(name, ())
        wrong = [entry for entry in (value if isinstance(value, tuple) else (value,)) if not _is_row(entry, rows)]
        if wrong:
            raise ModelError(
                f"the model's settings name token {wrong[0]} ({name}), but it has {rows} tokens.",
                hint=f"Correct config.json or {GENERATION_FILE}: their ids are those of the tokenizer.",
            )


def _is_row(value: Any, rows: Any) -> bool:
    return isinstance(value, int) and value >= 0 and (not isinstance(rows, int) or value < rows)


def _not_computed(name: str, value: Any) -> ModelError:
    return ModelError(
        f"{GENERATION_FILE}: {name} is {value!r}, which edgelm does not compute.", hint=f"Take {name} out of the file."
    )


def _chat_template(folder: Path | None) -> str:
    """The template of conversations, of the two places that tokenizers keep it in; empty without."""
    if folder is not None and (folder / _TEMPLATE_FILE).is_file():
        return (folder / _TEMPLATE_FILE).read_text(encoding="utf-8")
    found = _optional(folder, _TOKENIZER_FILE).get("chat_template")
    if isinstance(found, list):  # several by name
        named = {entry.get("name"): entry.get("template") for entry in found if isinstance(entry, dict)}
        found = named.get("default")
    return found if isinstance(found, str) else ""


def _optional(folder: Path | None, name: str) -> dict[str, Any]:
    return read_json(folder / name) if folder is not None and (folder / name).is_file() else {}
