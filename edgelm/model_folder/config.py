"""What config.json says, with the weights' names beside it: the task of a model, and settings that edgelm cannot
compute."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgelm.errors import ModelError
from edgelm.model_folder.config_sizes import check_sizes
from edgelm.model_folder.generators import READERS, read_generator, refuse_decoder, writes
from edgelm.model_folder.own_code import is_own_code
from edgelm.model_folder.task_names import task_of_class
from edgelm.tasks.table import TASKS, make_task
from edgelm.tasks.task import Activation, Problem, Task
from edgelm.tasks.text import SentenceEmbedding, TextClassification, TokenClassification

Shapes = Mapping[str, Sequence[int]]

# Class names of transformers, without the head, by model_type.
CLASSES = {
    "bert": "Bert",
    "electra": "Electra",
    "roberta": "Roberta",
    "xlm-roberta": "XLMRoberta",
    "camembert": "Camembert",
    "distilbert": "DistilBert",
    "mpnet": "MPNet",
    "modernbert": "ModernBert",
    "deberta-v2": "DebertaV2",
    "albert": "Albert",
    "edgelm-static": "EdgelmStatic",
} | dict(READERS)
# How weights of the base model begin in the names of a model with a head, where that is not "{model_type}.".
_PREFIXES = {"xlm-roberta": "roberta.", "camembert": "roberta.", "modernbert": "model.", "deberta-v2": "deberta."}
_PREFIXES["edgelm-static"] = "static."
_PREFIXES |= dict.fromkeys(READERS, "model.")
_COUNTED = ("roberta", "xlm-roberta", "camembert")  # their positions are counted from the padding's id
_CLASSIFIER, _ENCODERS = "ForSequenceClassification", ("Model", "ForMaskedLM", "ForPreTraining")
# Kinds of task by the ending of the class; what has no head for a task, or only that of pretraining, is an encoder.
_READING = {kind: task.architecture for kind, task in TASKS.items() if not task.generates}
HEADS = {ending: kind for kind, ending in _READING.items() if ending not in _ENCODERS}
_TAKEN = f"edgelm takes *{', *'.join((*HEADS, *_ENCODERS))}."

# The first part of a weight's name, behind the base model's own.
_ENCODER_PARTS = {"embeddings", "embeddings_project", "encoder", "transformer", "pooler", "layers", "final_norm"}
_LANGUAGE_PARTS = {"cls", "lm_head", "vocab_transform", "vocab_layer_norm", "vocab_projector", "generator_predictions"}
_LANGUAGE_PARTS |= {"generator_lm_head", "discriminator_predictions", "predictions", "sop_classifier"}
_LANGUAGE_PARTS |= {"head", "decoder"}  # ModernBERT, whose classifiers have the first of them as well
_WRAPPERS = re.compile(r"^((_orig_mod|module)\.)+")  # of torch.compile and of DataParallel

_PROBLEM_TYPES: dict[str, Problem] = {
    "single_label_classification": "single-label",
    "multi_label_classification": "multi-label",
    "regression": "regression",
}
_FLOATS = ("float32", "float16", "bfloat16", "float64")
_ACTIVATIONS: dict[str, Activation] = {"Sigmoid": "sigmoid", "Identity": "identity"}


def read_task(config: Mapping[str, Any], weights: Shapes | None = None) -> Task:
    """The task of a model folder.

    Args:
        config: the content of config.json.
        weights: the shape of every weight, by name; None: not known. They decide where `architectures` is missing, and
            the rows of a classifier's last matrix must be as many as the labels.

    Raises:
        ModelError: a head that edgelm does not know, several that disagree, none that can be told from the weights, or
            labels, a problem type or an activation that contradict each other or cannot be read.
    """
    if writes(config):
        return read_generator(config)
    kind = _named_kind(config)
    if kind is None:
        kind = _kind_of_weights(config, weights)
    if kind == "encoder":
        return SentenceEmbedding()
    if kind in ("question-answering", "multiple-choice"):
        return make_task(kind)
    labels = _labels(config, weights)
    if kind == "token-classification":
        return TokenClassification(labels)
    problem = _problem(config, len(labels))
    return TextClassification(problem=problem, labels=labels, activation=_activation(config, problem, len(labels)))


def fills_masks(config: Mapping[str, Any]) -> bool:
    """Whether the model of a folder is a masked language model, by its class."""
    return any(str(name).endswith("ForMaskedLM") for name in config.get("architectures") or ())


def check_config(config: Mapping[str, Any], folder: Path | None = None) -> None:
    """Refuse settings that change what a model computes and that edgelm does not compute.

    Args:
        folder: of the model, where edgelm's own module for transformers may lie; None: nowhere.

    Raises:
        ModelError: such a setting, by name.
    """
    refuse_decoder(config)
    check_sizes(config)
    positions = config.get("position_embedding_type")
    if positions not in (None, "absolute"):
        raise ModelError(
            f"config.json: position_embedding_type is {positions!r}, which transformers 5 no longer computes.",
            hint="edgelm takes models with absolute positions.",
        )
    for key in ("pruned_heads", "per_layer_config"):
        if config.get(key):
            raise ModelError(
                f"config.json: {key} is set: layers of unlike shapes.",
                hint="Save the model whole, and prune it with edgelm compress.",
            )
    code = config.get("auto_map") or {}
    foreign = not isinstance(code, dict) or any(name == "AutoConfig" or name.startswith("AutoModel") for name in code)
    if foreign and not is_own_code(code, folder):
        words = "config.json: auto_map names code that comes with the model, which edgelm never runs."
        raise ModelError(words, hint="If the weights are those of transformers' own class, take auto_map out of it.")
    for key in ("attn_implementation", "_attn_implementation"):
        if config.get(key) not in (None, "eager", "sdpa"):
            raise ModelError(
                f"config.json: {key} is {config[key]!r}, which would be fetched or is not there.",
                hint="Take it out of config.json: it changes how fast attention is, not what it computes.",
            )
    for key in ("dtype", "torch_dtype"):
        if config.get(key) not in (None, *_FLOATS):
            raise ModelError(
                f"config.json: {key} is {config[key]!r}.", hint=f"Kinds of weights that are read: {', '.join(_FLOATS)}."
            )
    _check_padding(config)


def _check_padding(config: Mapping[str, Any]) -> None:
    padding, rows = config.get("pad_token_id", 0), config.get("vocab_size")
    if padding is None and config.get("model_type") not in _COUNTED:
        return
    if (
        isinstance(padding, bool)
        or not isinstance(padding, int)
        or padding < 0
        or (isinstance(rows, int) and padding >= rows)
    ):
        raise ModelError(
            f"config.json: pad_token_id is {padding!r}, which is no row of the embeddings.",
            hint="Set it to the id of the tokenizer's padding token.",
        )


def _named_kind(config: Mapping[str, Any]) -> str | None:
    """What `architectures` says: a kind of task, or encoder; None: it says nothing."""
    names = config.get("architectures")
    if names is None or names == []:
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise ModelError(
            f"config.json: architectures is {names!r}.",
            hint='Expected a list of one class name, such as ["BertModel"].',
        )
    kinds = {name: _kind_of_class(name, str(config.get("model_type") or "")) for name in names}
    if len(set(kinds.values())) > 1:
        raise ModelError(
            f"config.json: architectures disagree: {', '.join(names)}.",
            hint="Leave the one that the weights belong to.",
        )
    kind = kinds[names[0]]
    if kind is None:
        what = ", for ".join(filter(None, (names[0], task_of_class(names[0]))))
        raise ModelError(f"config.json: the model is a {what}, a head that edgelm does not take.", hint=_TAKEN)
    return kind


def _kind_of_class(name: str, model_type: str) -> str | None:
    ending = next((ending for ending in (*HEADS, *_ENCODERS) if name.endswith(ending)), None)
    if model_type in CLASSES:
        start = "" if ending is None else name.removeprefix("TF").removesuffix(ending)
        if start not in CLASSES.values():
            return None
    elif ending is None:
        return "encoder"  # of a family that has no anatomy here, which is said where the model is built
    return HEADS.get(ending or "", "encoder")


def _kind_of_weights(config: Mapping[str, Any], weights: Shapes | None) -> str:
    """What the weights' names say where config.json names no architecture.

    Raises:
        ModelError: a head that edgelm does not know, or names that two heads share.
    """
    model_type = str(config.get("model_type") or "")
    if weights is None or model_type not in CLASSES:
        if model_type in CLASSES and (config.get("id2label") or config.get("problem_type") or config.get("num_labels")):
            raise _say_which(model_type, "config.json has labels")
        return "encoder"
    names = _stripped(weights, model_type)
    parts = {name.split(".")[0] for name in names} - _ENCODER_PARTS
    if parts <= _LANGUAGE_PARTS:
        return "encoder"
    if "qa_outputs" in parts:
        return "question-answering"
    strange = sorted(parts - {"classifier", "pre_classifier", *(("head",) if model_type == "modernbert" else ())})
    if strange or "classifier" not in parts:
        raise ModelError(
            f"the weights hold a head that edgelm does not know: {', '.join(strange or sorted(parts))}.", hint=_TAKEN
        )
    pooled = any(name.startswith("pooler.") for name in names)
    whole = {
        "bert": pooled,
        "albert": pooled,
        "deberta-v2": pooled,
        "distilbert": "pre_classifier" in parts,
    }.get(model_type, any(name.startswith("classifier.out_proj.") for name in names))
    rows = _head_rows(weights, model_type)
    labels = config.get("id2label")
    spans = isinstance(labels, dict) and any(re.match(r"(O$|[BI]-)", str(label)) for label in labels.values())
    known = rows is not None and (
        rows > 1 or config.get("problem_type") == "regression" or (isinstance(labels, dict) and len(labels) == 1)
    )
    if not whole or spans or not known:
        raise _say_which(model_type, "the weights hold a classifier that may be one of texts, of tokens or of choices")
    return "text-classification"


def _say_which(model_type: str, why: str) -> ModelError:
    name = CLASSES[model_type]
    return ModelError(
        f"config.json names no architecture, and {why}.",
        hint=f'Add it to config.json: "architectures": ["{name}{_CLASSIFIER}"] for a classifier of texts, '
        f'["{name}ForTokenClassification"] for one of words, ["{name}Model"] for the encoder alone.',
    )


def _stripped(weights: Shapes, model_type: str) -> dict[str, Sequence[int]]:
    """Shapes by names without the marks of wrappers and without the base model's prefix."""
    prefix = _PREFIXES.get(model_type, f"{model_type}.")
    return {_WRAPPERS.sub("", name).removeprefix(prefix): shape for name, shape in weights.items()}


def _head_rows(weights: Shapes, model_type: str) -> int | None:
    """How many outputs a classifier's last matrix has; None: it is not there under its own name."""
    names = _stripped(weights, model_type)
    shape = names.get("classifier.out_proj.weight", names.get("classifier.weight", names.get("score.weight")))
    return int(shape[0]) if shape else None


def _labels(config: Mapping[str, Any], weights: Shapes | None) -> tuple[str, ...]:
    named, count = config.get("id2label"), config.get("num_labels")
    if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 1):
        raise ModelError(
            f"config.json: num_labels is {count!r}.", hint="Expected the number of the classifier's outputs."
        )
    if named is None:
        labels = tuple(f"LABEL_{i}" for i in range(count or 2))  # transformers leaves two nameless labels out
    else:
        labels = _label_names(named)
        if count is not None and count != len(labels):
            raise ModelError(
                f"config.json: num_labels is {count}, but id2label names {len(labels)}.",
                hint="Make them agree; id2label alone is enough.",
            )
    rows = None if weights is None else _head_rows(weights, str(config.get("model_type") or ""))
    if rows is not None and rows != len(labels):
        raise ModelError(
            f"config.json has {len(labels)} labels, but the classifier in the weights has {rows} outputs.",
            hint="Give id2label a name for every output.",
        )
    return labels


def _label_names(named: Any) -> tuple[str, ...]:
    wrong = f"config.json: id2label is {str(named)[:80]}."
    hint = 'Expected a name for each of the numbers 0, 1, 2 and so on, such as {"0": "negative", "1": "positive"}.'
    if not isinstance(named, dict) or not named:
        raise ModelError(wrong, hint=hint)
    try:
        numbered = {int(key): name for key, name in named.items()}
    except (TypeError, ValueError) as error:
        raise ModelError(wrong, hint=hint) from error
    if sorted(numbered) != list(range(len(named))) or any(
        isinstance(name, (dict, list)) or name is None for name in numbered.values()
    ):
        raise ModelError(wrong, hint=hint)
    labels = tuple(str(numbered[index]) for index in range(len(named)))
    if twice := sorted(name for name, count in Counter(labels).items() if count > 1):
        raise ModelError(
            f"config.json: id2label has the name {twice[0]!r} more than once.",
            hint="Give every output a name of its own.",
        )
    return labels


def _problem(config: Mapping[str, Any], count: int) -> Problem:
    named = config.get("problem_type")
    if named is None:
        return "regression" if count == 1 else "single-label"
    if not isinstance(named, str) or named not in _PROBLEM_TYPES:
        raise ModelError(f"config.json: problem_type is {named!r}.", hint=f"Known: {', '.join(_PROBLEM_TYPES)}.")
    problem = _PROBLEM_TYPES[named]
    if problem == "single-label" and count == 1:
        raise ModelError(
            "config.json: problem_type is single_label_classification, with one label.",
            hint="One score alone is a regression.",
        )
    return problem


def _activation(config: Mapping[str, Any], problem: Problem, count: int) -> Activation:
    """What values go through: as sentence-transformers keeps it in config.json, or else as transformers' pipeline has
    it."""
    block, older = config.get("sentence_transformers"), config.get("sbert_ce_default_activation_function")
    if block is None and older is None:
        return "sigmoid" if problem == "regression" and config.get("problem_type") != "regression" else ""
    if block is not None and not isinstance(block, dict):
        raise ModelError(
            f"config.json: sentence_transformers is {block!r}.", hint="Expected an object, with activation_fn in it."
        )
    return cross_encoder_activation((block or {}).get("activation_fn", older), problem, count)


def cross_encoder_activation(name: Any, problem: Problem, count: int) -> Activation:
    """What the scores of a cross-encoder go through; one score, where nothing is said, through a sigmoid. Answers of
    several labels are shares (softmax), whether a cross-encoder gives its logits or not.

    Raises:
        ModelError: another function, or one that does not go with the labels.
    """
    if name is None:
        return "sigmoid" if problem == "regression" and count == 1 else ""
    known = isinstance(name, str) and name.startswith("torch.")
    short = str(name).rpartition(".")[2] if known else ""
    if problem == "regression" and short in _ACTIVATIONS:
        return _ACTIVATIONS[short]
    if (problem == "single-label" and short in ("Identity", "Softmax")) or (
        problem == "multi-label" and short in ("Identity", "Sigmoid")
    ):
        return ""
    raise ModelError(
        f"the cross-encoder's scores go through {name}, which edgelm does not compute for {problem}.",
        hint="Known: Sigmoid, Identity.",
    )
