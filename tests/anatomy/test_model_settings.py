"""Every setting that can change an output has a row in the table, and every row does what it says."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from models import FAMILIES, TEXTS, make_checkpoint
from sentence_folders import dense, edit, make_sentence_folder, pooling
from transformers import CONFIG_MAPPING

from edgelm.anatomy.model_settings import MODEL_SETTINGS, WITHOUT_EFFECT
from edgelm.errors import EdgelmError, ModelError
from edgelm.model_folder.config import CLASSES

# A value of each setting of config.json that must give transformers' own logits. "!" before it: refused instead.
CLASSIFIERS: dict[str, tuple[str, Any]] = {
    "hidden_act": ("bert", "relu"),
    "activation": ("distilbert", "relu"),
    "num_attention_heads": ("bert", 2),
    "n_heads": ("distilbert", 2),
    "layer_norm_eps": ("bert", 0.3),
    "pad_token_id": ("roberta", 3),
    "chunk_size_feed_forward": ("bert", 2),
    "dtype": ("bert", "bfloat16"),
    "torch_dtype": ("bert", "float16"),
    "output_hidden_states": ("bert", True),
    "output_attentions": ("bert", True),
    "return_dict": ("bert", False),
    "label2id": ("bert", {"positive": 0, "negative": 1}),
    "summary_type": ("electra", "mean"),
    "summary_use_proj": ("electra", False),
    "summary_activation": ("electra", "relu"),
    "use_cache": ("bert", True),
    "tie_word_embeddings": ("bert", False),
    "sinusoidal_pos_embds": ("distilbert", True),
    "hidden_activation": ("modernbert", "relu"),
    "norm_eps": ("modernbert", 0.3),
    "layer_types": ("modernbert", ["sliding_attention", "sliding_attention"]),
    "global_attn_every_n_layers": ("modernbert", 1),
    "local_attention": ("modernbert", 2),
    "rope_parameters": (
        "modernbert",
        {kind: {"rope_type": "default", "rope_theta": 50.0} for kind in ("full_attention", "sliding_attention")},
    ),
    "global_rope_theta": ("modernbert", 50.0),
    "local_rope_theta": ("modernbert", 50.0),
    "classifier_pooling": ("modernbert", "mean"),
    "classifier_activation": ("modernbert", "relu"),
    "decoder_bias": ("modernbert", False),
    "sparse_prediction": ("modernbert", True),
    "sparse_pred_ignore_index": ("modernbert", 0),
    "deterministic_flash_attn": ("modernbert", True),
    "pos_att_type": ("deberta-v2", ["c2p"]),
    "max_relative_positions": ("deberta-v2", 9),
    "conv_act": ("deberta-v2", "relu"),
    "pooler_hidden_act": ("deberta-v2", "relu"),
    "legacy": ("deberta-v2", False),
}
REFUSED: dict[str, tuple[str, Any]] = {
    "architectures": ("bert", ["BertForNextSentencePrediction"]),
    "model_type": ("bert", "t5"),
    "auto_map": ("bert", {"AutoModel": "modeling_own.OwnModel"}),
    "vocab_size": ("bert", 99),
    "hidden_size": ("bert", 64),
    "dim": ("distilbert", 64),
    "embedding_size": ("electra", 8),
    "intermediate_size": ("bert", 32),
    "hidden_dim": ("distilbert", 32),
    "num_hidden_layers": ("bert", 1),
    "n_layers": ("distilbert", 1),
    "max_position_embeddings": ("bert", 64),
    "position_embedding_type": ("bert", "relative_key"),
    "type_vocab_size": ("bert", 5),
    "relative_attention_num_buckets": ("mpnet", 16),
    "norm_bias": ("modernbert", True),
    "attention_bias": ("modernbert", True),
    "mlp_bias": ("modernbert", True),
    "classifier_bias": ("modernbert", True),
    "relative_attention": ("deberta-v2", False),
    "position_buckets": ("deberta-v2", 4),
    "share_att_key": ("deberta-v2", False),
    "norm_rel_ebd": ("deberta-v2", "none"),
    "position_biased_input": ("deberta-v2", True),
    "conv_kernel_size": ("deberta-v2", 3),
    "attention_head_size": ("deberta-v2", 4),
    "pooler_hidden_size": ("deberta-v2", 16),
    "num_hidden_groups": ("albert", 1),
    "inner_group_num": ("albert", 2),
    "pruned_heads": ("bert", {"0": [1]}),
    "per_layer_config": ("bert", {"0": {"intermediate_size": 8}}),
    "is_decoder": ("bert", True),
    "add_cross_attention": ("bert", True),
    "is_encoder_decoder": ("bert", True),
    "attn_implementation": ("bert", "org/kernel"),
    "_attn_implementation": ("bert", "flash_attention_2"),
    "quantization_config": ("bert", {"quant_method": "bitsandbytes"}),
    "id2label": ("bert", {"0": "a", "2": "b"}),
    "num_labels": ("bert", 3),
    "problem_type": ("bert", "ranking"),
    "sentence_transformers.activation_fn": ("bert", "torch.nn.modules.activation.Tanh"),
    "sbert_ce_default_activation_function": ("bert", "torch.nn.modules.activation.Tanh"),
}
MODES = ("cls_token", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken")
SENTENCES = {
    f"Pooling/config.json:pooling_mode_{mode}": {"pooling_mode_mean_tokens": False, f"pooling_mode_{mode}": True}
    for mode in MODES
} | {
    "Pooling/config.json:pooling_mode_mean_tokens": {"pooling_mode_mean_tokens": True},
    "Pooling/config.json:pooling_mode": {"pooling_mode": ["max", "cls"], "pooling_mode_mean_tokens": False},
    "Pooling/config.json:include_prompt": {"include_prompt": False},
    "Pooling/config.json:word_embedding_dimension": {"word_embedding_dimension": 32},
    "Pooling/config.json:embedding_dimension": {"embedding_dimension": 32},
    "Dense/config.json:activation_function": {"activation_function": "torch.nn.modules.activation.GELU"},
    "Dense/config.json:use_residual": {"use_residual": True},
    "sentence_bert_config.json:max_seq_length": {"max_seq_length": 6},
    "sentence_bert_config.json:do_lower_case": {"do_lower_case": True},
    "sentence_bert_config.json:unpad_inputs": {"unpad_inputs": False},
    "config_sentence_transformers.json:default_prompt_name": {"prompts": {"q": "is it "}, "default_prompt_name": "q"},
    "config_sentence_transformers.json:prompts": {"prompts": {"q": "is it ", "d": "play "}, "default_prompt_name": "d"},
    "config_sentence_transformers.json:truncate_dim": {"truncate_dim": 5},
    "config_sentence_transformers.json:similarity_fn_name": {"similarity_fn_name": "dot"},
    "config_sentence_transformers.json:model_type": {"model_type": "SentenceTransformer"},
}  # fmt: skip
SENTENCES_REFUSED = {
    "Dense/config.json:in_features": {"in_features": 31},
    "Dense/config.json:out_features": {"out_features": 31},
    "Dense/config.json:bias": {"bias": False},
    "Dense/config.json:module_input_name": {"module_input_name": "token_embeddings"},
    "Dense/config.json:module_output_name": {"module_output_name": "scores"},
    "LayerNorm/config.json:dimension": {"dimension": 31},
    "Normalize/config.json:module_input_name": {"module_input_name": "token_embeddings"},
    "Normalize/config.json:module_output_name": {"module_output_name": "other"},
    "sentence_bert_config.json:transformer_task": {"transformer_task": "fill-mask"},
    "sentence_bert_config.json:model_args": {"model_args": {"variant": "fp16"}},
    "sentence_bert_config.json:tokenizer_args": {"tokenizer_args": {"padding_side": "left"}},
    "sentence_bert_config.json:config_args": {"config_args": {"hidden_act": "relu"}},
    "sentence_bert_config.json:processing_kwargs": {"processing_kwargs": {"text": {"max_length": 4}}},
    "sentence_bert_config.json:modality_config": {
        "modality_config": {"text": {"method": "forward", "method_output_name": "pooler_output"}}
    },
    "sentence_bert_config.json:module_output_name": {"module_output_name": "sentence_embedding"},
    "sentence_bert_config.json:query_length": {"query_length": 8},
    "sentence_bert_config.json:document_length": {"document_length": 8},
    "sentence_bert_config.json:query_expansion": {"query_expansion": {"length": 8}},
    "sentence_bert_config.json:tokenizer_name_or_path": {"tokenizer_name_or_path": "elsewhere"},
}
# Their values are checked in tests of their own, as a whole.
DECODERS = ("num_key_value_heads", "head_dim", "rms_norm_eps", "sliding_window", "use_sliding_window")
DECODERS += ("max_window_layers", "query_pre_attn_scalar", "attn_logit_softcapping", "use_bidirectional_attention")
DECODERS += ("final_logit_softcapping", "pretraining_tp")
ELSEWHERE = {f"config.json:{key}": "test_decoders_that_read" for key in DECODERS} | {
    "modules.json:type": "test_sentence_folder: test_a_module_that_edgelm_does_not_compute_is_refused_by_name",
    "modules.json:path": "test_sentence_folder: test_a_transformer_in_a_folder_of_its_own_is_found",
    "config_sentence_transformers.json:activation_fn": "test_sentence_folder: "
    "test_a_cross_encoder_scores_as_the_library_does",
}


def row(setting: Any) -> str:
    return f"{setting.file}:{setting.key}"


ROWS = [row(setting) for setting in MODEL_SETTINGS]


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> Callable[[str], Path]:
    """A fresh copy of a classifier of this family, or of a sentence encoder ("sentence")."""
    made: dict[str, Path] = {}
    base, count = tmp_path_factory.mktemp("settings"), iter(range(10**6))

    def copy(kind: str) -> Path:
        if kind == "sentence":
            made.setdefault(kind, make_sentence_folder(base / kind, *_modules()))
        elif kind not in made:
            made[kind] = make_checkpoint(base / kind, kind)
        target = base / f"copy-{next(count)}"
        shutil.copytree(made[kind], target)
        return target

    return copy


def _modules() -> tuple[tuple[str, dict[str, Any]], ...]:
    old = ("Pooling", {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True})
    return old, ("LayerNorm", {"dimension": 32}), dense(32, 32), ("Normalize", {})


def _logits(folder: Path) -> np.ndarray:
    from edgelm.anatomy import find_checkpoint, load_checkpoint, load_tokenizer, model_outputs

    checkpoint = find_checkpoint(folder)
    batch = load_tokenizer(checkpoint)(list(TEXTS), padding=True, return_tensors="pt")
    with torch.inference_mode():
        return model_outputs(load_checkpoint(checkpoint), checkpoint.task, dict(batch))[0].numpy()


def _transformers_logits(folder: Path) -> np.ndarray:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    batch = AutoTokenizer.from_pretrained(folder)(list(TEXTS), padding=True, return_tensors="pt")
    with torch.inference_mode():
        return model(**batch, return_dict=True).logits.numpy()


def _set(file: Path, key: str, value: Any) -> None:
    head, _, rest = key.partition(".")
    edit(file, **{head: {rest: value} if rest else value})


@pytest.mark.parametrize("key", sorted(CLASSIFIERS))
def test_a_setting_of_config_json_gives_the_logits_of_transformers(folders, key) -> None:
    family, value = CLASSIFIERS[key]
    folder = folders(family)
    _set(folder / "config.json", key, value)
    np.testing.assert_allclose(_logits(folder), _transformers_logits(folder), atol=1e-6)


@pytest.mark.parametrize("key", sorted(REFUSED))
def test_a_setting_of_config_json_is_refused_by_name(folders, key) -> None:
    family, value = REFUSED[key]
    folder = folders(family)
    _set(folder / "config.json", key, value)
    with pytest.raises(ModelError) as error:
        _logits(folder)
    assert error.value.hint and error.value.exit_code == 4


@pytest.mark.parametrize("name", sorted(SENTENCES))
def test_a_setting_of_a_sentence_folder_gives_the_vectors_of_the_library(folders, name) -> None:
    from sentence_transformers import SentenceTransformer

    from edgelm.anatomy import find_checkpoint, load_checkpoint, load_tokenizer, model_outputs

    folder = folders("sentence")
    if name.endswith(":pooling_mode"):
        folder = make_sentence_folder(folder / "two", pooling("max", "cls"))
    else:
        _change(folder, name, SENTENCES[name])
    checkpoint = find_checkpoint(folder)
    tokenizer = load_tokenizer(checkpoint)
    texts = [*TEXTS, TEXTS[0].upper()]
    batch = tokenizer(checkpoint.task.prompted(texts), padding=True, truncation=True, return_tensors="pt")
    with torch.inference_mode():
        found = model_outputs(load_checkpoint(checkpoint), checkpoint.task, dict(batch))[0].numpy()
    np.testing.assert_allclose(found, SentenceTransformer(str(folder), device="cpu").encode(texts), atol=1e-5)


@pytest.mark.parametrize("name", sorted(SENTENCES_REFUSED))
def test_a_setting_of_a_sentence_folder_is_refused_by_name(folders, name) -> None:
    from edgelm.anatomy import load_checkpoint

    folder = folders("sentence")
    _change(folder, name, SENTENCES_REFUSED[name])
    with pytest.raises(ModelError) as error:
        load_checkpoint(folder)
    assert error.value.hint


def test_include_prompt_with_a_prompt_and_arguments_of_modules_are_refused(folders) -> None:
    from edgelm.checkpoint import open_checkpoint

    folder = folders("sentence")
    edit(folder / "1_Pooling" / "config.json", include_prompt=False)
    edit(folder / "config_sentence_transformers.json", prompts={"q": "is it "}, default_prompt_name="q")
    with pytest.raises(ModelError, match="include_prompt"):
        open_checkpoint(folder)
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["kwargs"] = ["task"]
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ModelError, match="arguments"):
        open_checkpoint(folder)


def test_generation_config_json_is_not_read(folders) -> None:
    folder = folders("bert")
    before = _logits(folder)
    (folder / "generation_config.json").write_text('{"max_length": "none", "eos_token_id": -5')
    np.testing.assert_array_equal(_logits(folder), before)


def _change(folder: Path, name: str, values: dict[str, Any]) -> None:
    file = name.split(":")[0]
    kind = re.match(r"(Pooling|LayerNorm|Dense|Normalize)/", file)
    place = next(folder.glob(f"?_{kind[1]}/config.json")) if kind else folder / file
    edit(place, **values)


def test_every_row_has_a_test() -> None:
    tested = (
        {f"config.json:{key}" for key in (*CLASSIFIERS, *REFUSED)}
        | set(SENTENCES)
        | set(SENTENCES_REFUSED)
        | set(ELSEWHERE)
    )
    tested |= {"generation_config.json:*", "modules.json:kwargs"}
    assert sorted(ROWS) == sorted(tested) and len(set(ROWS)) == len(ROWS)


def test_every_key_of_the_families_has_a_row() -> None:
    known = {setting.key for setting in MODEL_SETTINGS if setting.file == "config.json"} | set(WITHOUT_EFFECT)
    for name in CLASSES:
        found = CONFIG_MAPPING[name]
        keys = {field.name for field in dataclasses.fields(found)}
        keys |= inspect.signature(found).parameters.keys() - {"others", "kwargs"}  # of a class that is no dataclass
        assert keys <= known, (
            f"{name}: {sorted(keys - known)} can change an output: add a row to edgelm.anatomy.model_settings"
        )


@pytest.mark.parametrize(
    "key, value",
    [
        ("id2label", []),
        ("id2label", {}),
        ("id2label", {"0": "a", "1": "a"}),
        ("id2label", {"0": ["a"], "1": "b"}),
        ("id2label", {"x": "a"}),
        ("id2label", {"0": "a", "1": "b", "2": "c"}),
        ("num_labels", "two"),
        ("num_labels", 0),
        ("architectures", 5),
        ("architectures", "BertModel"),
        ("architectures", [None]),
        ("architectures", ["BertModel", "BertForSequenceClassification"]),
        ("architectures", ["OwnBertForSequenceClassification"]),
        ("architectures", ["BertLMHeadModel"]),
        ("problem_type", 7),
        ("dtype", "float9"),
        ("pad_token_id", 10**6),
        ("pad_token_id", "0"),
        ("max_position_embeddings", "many"),
        ("auto_map", []),
        ("sentence_transformers", 3),
    ],
)
def test_odd_values_are_refused_with_a_hint(folders, key, value) -> None:
    from edgelm.anatomy import load_checkpoint, load_tokenizer

    folder = folders("bert")
    edit(folder / "config.json", **{key: value})
    if key == "auto_map":  # says nothing
        load_checkpoint(folder)
        return
    with pytest.raises(EdgelmError) as error:
        load_checkpoint(folder)
        load_tokenizer(folder)
    assert error.value.exit_code == 4 and error.value.hint


KINDS = {
    "SequenceClassification": "text-classification",
    "TokenClassification": "token-classification",
    "QuestionAnswering": "question-answering",
    "MultipleChoice": "multiple-choice",
    "MaskedLM": "sentence-embedding",
    "": "sentence-embedding",
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("head", KINDS)
def test_a_folder_without_architectures_is_read_by_its_weights(tmp_path, family, head) -> None:
    import transformers

    from edgelm.checkpoint import open_checkpoint

    prefix = CLASSES[family]
    small = {"dim": 8, "n_layers": 1, "n_heads": 2, "hidden_dim": 8} if family == "distilbert" else {
        "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8
    }  # fmt: skip
    small |= {"modernbert": {"pad_token_id": 0}, "albert": {"embedding_size": 8}}.get(family, {})
    model = getattr(transformers, f"{prefix}For{head}" if head else f"{prefix}Model")
    model(getattr(transformers, f"{prefix}Config")(vocab_size=20, max_position_embeddings=20, **small)).save_pretrained(
        tmp_path
    )
    for nothing in (None, []):
        edit(tmp_path / "config.json", architectures=nothing)
        told = family != "modernbert" or head in ("MaskedLM", "")  # its heads for tasks all have the same names
        if head not in ("TokenClassification", "MultipleChoice") and told:
            assert open_checkpoint(tmp_path).task.kind == KINDS[head]
        else:
            with pytest.raises(ModelError):
                open_checkpoint(tmp_path)
    assert open_checkpoint(tmp_path, any_head=True).task.kind == "sentence-embedding"
    edit(tmp_path / "config.json", architectures=[f"{prefix}For{head}" if head else f"{prefix}Model"])
    assert open_checkpoint(tmp_path).task.kind == KINDS[head]


def test_usable_positions_follow_the_family() -> None:
    from edgelm.anatomy import family_of
    from edgelm.anatomy.sizes import usable_positions

    assert usable_positions(family_of("bert"), {"max_position_embeddings": 24}) == 24
    assert usable_positions(family_of("roberta"), {"max_position_embeddings": 514, "pad_token_id": 1}) == 512
    assert usable_positions(family_of("xlm-roberta"), {"max_position_embeddings": 514}) == 512
    assert usable_positions(family_of("roberta"), {"max_position_embeddings": 20, "pad_token_id": 0}) == 19
    assert usable_positions(family_of("distilbert"), {}) == 512
    with pytest.raises(ModelError, match="pad_token_id"):
        usable_positions(family_of("roberta"), {"max_position_embeddings": 514, "pad_token_id": None})
