"""An adapter folder of peft is the model that peft runs: its base model from disk, the adapter merged into it, its own
head."""

import builtins
import json
import shutil

import pytest
import torch
from models import TEXTS, make_checkpoint
from peft import IA3Config, LoraConfig, PrefixTuningConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForSequenceClassification

from edgelm.anatomy import find_checkpoint, load_backbone, load_checkpoint, load_reference, load_tokenizer
from edgelm.anatomy.weights import WeightsWarning
from edgelm.compress.lineage import model_fingerprint
from edgelm.errors import MissingExtraError, ModelError, install_extra
from edgelm.tasks.text import TextClassification

# Merged weights and separate layers add the same numbers in another order.
ORDER = 5e-5

LAYERS = {"bert": ["query", "value"], "roberta": ["query", "intermediate.dense"], "distilbert": ["q_lin", "lin2"]}


def adapt(base, folder, family="bert", *, task="SEQ_CLS", config=LoraConfig, labels=None, **settings):
    """Save a random adapter of a base model to a folder, and return the model as peft runs it."""
    torch.manual_seed(7)
    auto = AutoModel if task == "FEATURE_EXTRACTION" else AutoModelForSequenceClassification
    model = auto.from_pretrained(base, **({"num_labels": labels} if labels else {}))
    if config is LoraConfig:
        settings = {"r": 4, "lora_alpha": 16} | settings
    adapted = get_peft_model(model, config(task_type=task, target_modules=LAYERS[family], **settings))
    for name, tensor in adapted.named_parameters():
        if tensor.requires_grad:
            torch.nn.init.normal_(tensor, 1.0 if "ia3" in name else 0.0, 0.3)
    adapted.save_pretrained(folder)
    return adapted.eval()


def outputs(model, checkpoint):
    """Logits or token vectors of the texts."""
    with torch.inference_mode():
        return model(**load_tokenizer(checkpoint)(list(TEXTS), padding=True, return_tensors="pt"))[0]


def settings_of(folder, **changes):
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A base model, and an adapter of it with peft's own answers."""
    root = tmp_path_factory.mktemp("adapters")
    make_checkpoint(root / "base")
    adapted = adapt(root / "base", root / "adapter")
    return root, outputs(adapted, find_checkpoint(root / "adapter"))


@pytest.fixture
def adapter(made, tmp_path):
    """A copy of the adapter that a test may change; its base model lies elsewhere."""
    shutil.copytree(made[0] / "adapter", tmp_path / "adapter")
    return tmp_path / "adapter"


def assert_merged(folder, want):
    checkpoint = find_checkpoint(folder)
    assert (outputs(load_checkpoint(checkpoint), checkpoint) - want).abs().max() < ORDER
    assert torch.equal(outputs(load_reference(checkpoint), checkpoint), want)
    return checkpoint


def test_an_adapter_with_a_head_answers_as_in_peft(made):
    root, want = made
    assert any("classifier" in name for name in load_file(root / "adapter" / "adapter_model.safetensors"))
    base = AutoModelForSequenceClassification.from_pretrained(root / "base")
    assert (outputs(base, root / "base") - want).abs().max() > 0.1  # the adapter matters
    checkpoint = assert_merged(root / "adapter", want)
    assert checkpoint.task.labels == ("negative", "positive")
    assert checkpoint.record.source == str(root / "adapter")


@pytest.mark.parametrize("family", ["roberta", "distilbert"])
def test_an_adapter_may_bring_the_whole_head_of_a_pretrained_encoder(tmp_path, family):
    base = make_checkpoint(tmp_path / "base", family, kind="sentence-embedding")
    adapted = adapt(base, tmp_path / "adapter", family, labels=3)
    checkpoint = assert_merged(tmp_path / "adapter", outputs(adapted, find_checkpoint(tmp_path / "adapter")))
    assert checkpoint.task == TextClassification(labels=("LABEL_0", "LABEL_1", "LABEL_2"))


def test_a_part_of_the_head_that_neither_folder_holds_is_refused(tmp_path):
    base = make_checkpoint(tmp_path / "base", kind="sentence-embedding")
    weights = load_file(base / "model.safetensors")
    save_file(
        {name: tensor for name, tensor in weights.items() if "pooler" not in name},
        base / "model.safetensors",
        metadata={"format": "pt"},
    )
    adapt(base, tmp_path / "adapter")
    with pytest.raises(ModelError, match=r"missing: bert.pooler.dense.bias, bert.pooler.dense.weight\."):
        load_checkpoint(tmp_path / "adapter")


@pytest.mark.parametrize(
    "options",
    [{"use_rslora": True}, {"use_dora": True}, {"bias": "lora_only"}],
    ids=lambda options: next(iter(options)),
)
def test_variants_of_lora_answer_as_in_peft(made, tmp_path, options):
    adapted = adapt(made[0] / "base", tmp_path / "adapter", **options)
    assert_merged(tmp_path / "adapter", outputs(adapted, find_checkpoint(tmp_path / "adapter")))


def test_another_adapter_that_merges_answers_as_in_peft(made, tmp_path):
    adapted = adapt(made[0] / "base", tmp_path / "adapter", config=IA3Config, feedforward_modules=[])
    assert_merged(tmp_path / "adapter", outputs(adapted, find_checkpoint(tmp_path / "adapter")))


def test_an_adapter_of_a_sentence_encoder_gives_token_vectors_as_in_peft(tmp_path):
    base = make_checkpoint(tmp_path / "base", kind="sentence-embedding")
    adapted = adapt(base, tmp_path / "adapter", task="FEATURE_EXTRACTION")
    assert assert_merged(tmp_path / "adapter", outputs(adapted, base)).task.kind == "sentence-embedding"


def test_a_model_with_its_own_adapter_in_one_folder_is_adapted(made, adapter):
    shutil.copytree(made[0] / "base", adapter, dirs_exist_ok=True)
    settings_of(adapter, base_model_name_or_path=str(adapter))
    assert_merged(adapter, made[1])


def test_a_model_beside_an_adapter_of_another_is_refused_since_it_may_be_merged(made, adapter):
    shutil.copytree(made[0] / "base", adapter, dirs_exist_ok=True)
    refused(adapter, "may be merged into the model already, or not")


def test_settings_that_were_left_beside_a_merged_model_change_nothing(made, adapter):
    shutil.copytree(made[0] / "base", adapter, dirs_exist_ok=True)
    (adapter / "adapter_model.safetensors").unlink()
    want = outputs(AutoModelForSequenceClassification.from_pretrained(made[0] / "base"), made[0] / "base")
    checkpoint = find_checkpoint(adapter)
    assert checkpoint.base is None
    assert torch.equal(outputs(load_checkpoint(checkpoint), checkpoint), want)
    assert torch.equal(outputs(load_reference(checkpoint), checkpoint), want)


def sentence_transformers_files(folder, *, pooling):
    """Make a sentence-transformers folder of a model or adapter folder."""
    kinds = ("Transformer", "Pooling", "Normalize")
    parts = [(kind, f"{index}_{kind}" if index else "") for index, kind in enumerate(kinds)]
    modules = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for index, (kind, path) in enumerate(parts)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    modes = {"pooling_mode_cls_token": pooling == "cls", "pooling_mode_mean_tokens": pooling == "mean"}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 32} | modes))


def test_vectors_are_pooled_as_the_adapter_says_or_else_as_its_base_model(tmp_path):
    base = make_checkpoint(tmp_path / "base", kind="sentence-embedding")
    sentence_transformers_files(base, pooling="cls")
    adapt(base, tmp_path / "adapter", task="FEATURE_EXTRACTION")
    assert find_checkpoint(tmp_path / "adapter").task.pooling == "cls"
    sentence_transformers_files(tmp_path / "adapter", pooling="mean")
    assert find_checkpoint(tmp_path / "adapter").task.pooling == "mean"


def test_a_base_of_a_wrapped_model_is_adapted(made, adapter):
    base = adapter.parent / "wrapped"
    shutil.copytree(made[0] / "base", base)
    weights = load_file(base / "model.safetensors")
    save_file(
        {f"_orig_mod.{name}": tensor for name, tensor in weights.items()},
        base / "model.safetensors",
        metadata={"format": "pt"},
    )
    settings_of(adapter, base_model_name_or_path=str(base))
    with pytest.warns(WeightsWarning, match=r"_orig_mod. was taken off"):
        assert_merged(adapter, made[1])


@pytest.mark.parametrize("place", ["inside", "beside"])
def test_the_base_model_is_found_from_the_adapter(made, adapter, place):
    base = (adapter if place == "inside" else adapter.parent) / "base"
    shutil.copytree(made[0] / "base", base)
    settings_of(adapter, base_model_name_or_path="base")
    assert find_checkpoint(adapter).base.path == base
    assert_merged(adapter, made[1])


def test_the_tokenizer_is_the_adapters_own_or_else_the_base_models(made, adapter):
    assert find_checkpoint(adapter).tokenizer_path == made[0] / "base"
    load_tokenizer(made[0] / "base").save_pretrained(adapter)
    assert find_checkpoint(adapter).tokenizer_path == adapter


def test_another_base_model_or_strength_is_another_model(made, adapter):
    known = model_fingerprint(find_checkpoint(adapter))
    settings_of(adapter, lora_alpha=8)
    assert model_fingerprint(find_checkpoint(adapter)) != known
    settings_of(adapter, lora_alpha=16, base_model_name_or_path=str(make_checkpoint(adapter.parent / "other", seed=5)))
    assert model_fingerprint(find_checkpoint(adapter)) != known


def refused(folder, reason):
    with pytest.raises(ModelError, match=reason) as error:
        load_checkpoint(find_checkpoint(folder))
    assert error.value.hint


def test_an_adapter_of_another_model_is_refused_by_name(adapter):
    settings_of(adapter, base_model_name_or_path=str(make_checkpoint(adapter.parent / "narrow", hidden=16)))
    refused(adapter, r"query.lora_A.weight is \(4, 32\)")
    settings_of(adapter, base_model_name_or_path=str(make_checkpoint(adapter.parent / "deep", layers=3)))
    refused(adapter, "missing: .*layer.2.attention.self.query.lora_A.weight")
    settings_of(adapter, base_model_name_or_path=str(make_checkpoint(adapter.parent / "flat", layers=1)))
    refused(adapter, "unexpected: .*layer.1.attention.self.query.lora_A.weight")


def test_an_adapter_that_lost_its_head_is_refused_by_name(adapter):
    weights = load_file(adapter / "adapter_model.safetensors")
    kept = {name: tensor for name, tensor in weights.items() if "classifier" not in name}
    save_file(kept, adapter / "adapter_model.safetensors", metadata={"format": "pt"})
    refused(adapter, "missing: base_model.model.classifier.bias, base_model.model.classifier.weight")


def test_an_adapter_with_a_number_that_is_none_is_refused(adapter):
    weights = load_file(adapter / "adapter_model.safetensors")
    next(tensor for name, tensor in weights.items() if "lora_A" in name)[0] = float("nan")
    save_file(weights, adapter / "adapter_model.safetensors", metadata={"format": "pt"})
    refused(adapter, "NaN or infinity in bert.encoder.layer.0")


def test_a_base_model_that_is_not_there_is_refused(adapter):
    settings_of(adapter, base_model_name_or_path="../gone")
    refused(adapter, r"\.\./gone")
    settings_of(adapter, base_model_name_or_path=None)
    refused(adapter, "names no base model")
    settings_of(adapter, base_model_name_or_path=str(adapter))
    refused(adapter, "is an adapter itself")


SETTINGS = {
    "no type": ({"peft_type": None}, "adapter"),
    "an unknown type": ({"peft_type": "FOO"}, "FOO"),
    "a rank in words": ({"r": "four"}, "adapter"),
    "layers that are not there": ({"target_modules": ["nothing"]}, "No modules were targeted"),
    "settings of a newer peft": ({"rotation": 0.5}, "does not know: rotation"),
}


@pytest.mark.parametrize(("changes", "reason"), SETTINGS.values(), ids=SETTINGS)
def test_settings_that_peft_cannot_follow_are_refused(adapter, changes, reason):
    settings_of(adapter, **changes)
    refused(adapter, reason)


def test_empty_settings_of_a_newer_peft_change_nothing(made, adapter):
    settings_of(adapter, rotation=None, mirrored=False)
    assert_merged(adapter, made[1])


@pytest.mark.parametrize("task", ["TOKEN_CLS", "CAUSAL_LM"])
def test_an_adapter_of_another_task_is_refused(adapter, task):
    settings_of(adapter, task_type=task)
    refused(adapter, f"task_type is {task}")


def test_a_pickled_adapter_is_never_loaded(adapter):
    torch.save(load_file(adapter / "adapter_model.safetensors"), adapter / "adapter_model.bin")
    (adapter / "adapter_model.safetensors").unlink()
    refused(adapter, "pickle")
    with pytest.raises(ModelError, match="pickle"):
        find_checkpoint(adapter, allow_pickle=True)


def test_learned_prompts_are_refused(made, tmp_path):
    model = AutoModelForSequenceClassification.from_pretrained(made[0] / "base")
    get_peft_model(model, PrefixTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=4)).save_pretrained(
        tmp_path / "prefix"
    )
    refused(tmp_path / "prefix", "PREFIX_TUNING cannot be merged")


def test_without_peft_the_extra_is_named(adapter, monkeypatch):
    find = builtins.__import__

    def lacking(name, *rest):
        if name == "peft":
            raise ModuleNotFoundError("No module named 'peft'", name="peft")
        return find(name, *rest)

    monkeypatch.setattr(builtins, "__import__", lacking)
    with pytest.raises(MissingExtraError, match="peft") as error:
        load_checkpoint(find_checkpoint(adapter))
    assert error.value.hint == install_extra("peft")


def test_an_adapter_is_a_backbone(made, adapter):
    checkpoint = find_checkpoint(adapter)
    model = load_backbone(checkpoint, TextClassification(labels=("negative", "positive")))
    assert (outputs(model, checkpoint) - made[1]).abs().max() < ORDER
    with pytest.raises(ModelError, match="the data 3 labels"):
        load_backbone(checkpoint, TextClassification(labels=("a", "b", "c")))
