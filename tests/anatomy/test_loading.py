"""Weights come from the folder by name and shape, whatever wrapped the model when it was saved, or the folder is
refused by name."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from models import TEXTS, make_checkpoint
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForMaskedLM, AutoModelForSequenceClassification, BertForMaskedLM

from edgelm.anatomy import (
    load_backbone,
    load_checkpoint,
    load_masked_lm,
    load_reference,
    load_tokenizer,
    model_layers,
    save_checkpoint,
)
from edgelm.anatomy.weights import WeightsWarning
from edgelm.checkpoint import open_checkpoint
from edgelm.errors import ModelError
from edgelm.tasks.text import TextClassification

SENTIMENT = TextClassification(labels=("negative", "positive"))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A classifier, a bare encoder and a masked language model, as transformers saves them."""
    root = tmp_path_factory.mktemp("models")
    make_checkpoint(root / "classifier")
    make_checkpoint(root / "encoder", kind="sentence-embedding")
    make_checkpoint(root / "masked", kind="sentence-embedding")
    config = AutoModel.from_pretrained(root / "masked").config
    torch.manual_seed(1)
    BertForMaskedLM(config).save_pretrained(root / "masked")
    return root


@pytest.fixture
def change(folders, tmp_path):
    """Copy a model folder with changed weights."""

    def copy(name, weights, **config):
        target = tmp_path / "changed"
        shutil.copytree(folders / name, target)
        saved = {key: tensor.contiguous() for key, tensor in weights(load_file(target / "model.safetensors")).items()}
        save_file(saved, target / "model.safetensors", metadata={"format": "pt"})
        values = json.loads((target / "config.json").read_text()) | config
        (target / "config.json").write_text(json.dumps(values))
        return target

    return copy


def outputs(model, folder):
    """What a model answers to the texts: logits or token vectors."""
    with torch.inference_mode():
        return model(**load_tokenizer(folder)(list(TEXTS), padding=True, return_tensors="pt"))[0]


def renamed(rule):
    return lambda state: {rule(name): tensor for name, tensor in state.items()}


WRAPPERS = {
    "torch.compile": ("_orig_mod.", lambda name: f"_orig_mod.{name}"),
    "data parallel": ("module.", lambda name: f"module.{name}"),
    "parallel, compiled": ("module._orig_mod.", lambda name: f"module._orig_mod.{name}"),
    "compiled, parallel": ("_orig_mod.module.", lambda name: f"_orig_mod.module.{name}"),
    "twice parallel": ("module.module.", lambda name: f"module.module.{name}"),
    "fully sharded": ("_fsdp_wrapped_module.", lambda name: f"_fsdp_wrapped_module.{name}"),
    "encoder compiled alone": ("_orig_mod.", lambda name: name.replace("bert.", "bert._orig_mod.")),
    "layers compiled": ("_orig_mod.", lambda name: name.replace("attention.", "_orig_mod.attention.")),
    "attribute of a training module": ("model.", lambda name: f"model.{name}"),
    "that, compiled": ("model._orig_mod.", lambda name: f"model._orig_mod.{name}"),
}


@pytest.mark.parametrize(("prefix", "rule"), WRAPPERS.values(), ids=WRAPPERS)
def test_weights_of_a_wrapped_model_are_loaded_and_the_prefix_is_said(folders, change, prefix, rule):
    folder = change("classifier", renamed(rule))
    want = outputs(AutoModelForSequenceClassification.from_pretrained(folders / "classifier"), folders / "classifier")
    with pytest.warns(WeightsWarning, match=rf"{prefix} was taken off \d+ names"):
        model = load_checkpoint(folder)
    assert torch.equal(outputs(model, folder), want)
    assert torch.equal(outputs(load_reference(open_checkpoint(folder)), folder), want)


def test_a_bare_encoder_out_of_a_sentence_transformers_state_is_loaded(folders, change):
    folder = change("encoder", renamed(lambda name: f"0.auto_model.{name}"))
    with pytest.warns(WeightsWarning, match="auto_model"):
        model = load_checkpoint(folder)
    assert torch.equal(outputs(model, folder), outputs(AutoModel.from_pretrained(folders / "encoder"), folder))


def same(state):
    return state


def without(*names):
    return lambda state: {name: tensor for name, tensor in state.items() if not any(part in name for part in names)}


def with_more(**more):
    return lambda state: state | {name.replace("__", "."): tensor for name, tensor in more.items()}


def set_values(name, value):
    def change_state(state):
        state[name][0] = value
        return state

    return change_state


def extra_layer(state):
    return state | {
        name.replace(".layer.1.", ".layer.2."): tensor.clone() for name, tensor in state.items() if ".layer.1." in name
    }


def with_lora(state):
    made = {}
    for name, tensor in state.items():
        adapted = "attention.self.query" in name
        made[name.replace("query.", "query.base_layer.") if adapted else name] = tensor
        if adapted and name.endswith("weight"):
            made[name.replace("weight", "lora_A.default.weight")] = torch.randn(4, tensor.shape[1])
            made[name.replace("weight", "lora_B.default.weight")] = torch.randn(tensor.shape[0], 4)
    return made


MISFITS = {
    "no head": ("classifier", without("classifier."), "missing: classifier.bias, classifier.weight"),
    "half a head": ("classifier", without("classifier.bias"), "missing: classifier.bias"),
    "no pooler before a head": ("classifier", without("pooler."), "missing: bert.pooler.dense.bias"),
    "no layer": ("classifier", without("layer.1."), "missing: bert.encoder.layer.1.attention.*and 12 more"),
    "one more layer": ("classifier", extra_layer, "unexpected: bert.encoder.layer.2.attention.*and 12 more"),
    "another shape": (
        "classifier",
        with_more(bert__pooler__dense__bias=torch.zeros(9)),
        r"pooler.dense.bias is \(9,\) where",
    ),
    "another vocabulary": (
        "classifier",
        with_more(bert__embeddings__word_embeddings__weight=torch.zeros(9, 32)),
        r"word_embeddings.weight is \(9, 32\)",
    ),
    "another name": (
        "classifier",
        renamed(lambda name: name.replace("bert.", "encoder_q.")),
        "unexpected: encoder_q.embeddings",
    ),
    "a foreign weight": ("classifier", with_more(criterion__weight=torch.ones(2)), "unexpected: criterion.weight"),
    "adapter layers": ("classifier", with_lora, "not merged.*query.base_layer.bias.*and 4 more"),
    "not a number": (
        "classifier",
        set_values("bert.pooler.dense.weight", float("nan")),
        "NaN or infinity in bert.pooler.dense.weight",
    ),
    "infinity": ("classifier", set_values("classifier.bias", float("inf")), "NaN or infinity in classifier.bias"),
    "integers": (
        "classifier",
        with_more(classifier__weight=torch.ones(2, 32, dtype=torch.int8)),
        "classifier.weight holds int8; expected floats",
    ),
    "the same weight twice": (
        "classifier",
        with_more(pooler__dense__bias=torch.zeros(32)),
        "bert.pooler.dense.bias and pooler.dense.bias are",
    ),
    "the same weight, wrapped": (
        "classifier",
        with_more(module__classifier__bias=torch.zeros(2)),
        "classifier.bias and module.classifier.bias",
    ),
    "a head on an encoder": (
        "encoder",
        with_more(classifier__weight=torch.zeros(2, 32)),
        "unexpected: classifier.weight",
    ),
    "half a pooler": ("encoder", without("pooler.dense.bias"), "missing: pooler.dense.bias"),
    "an encoder without a layer": ("encoder", without("layer.0."), "missing: encoder.layer.0."),
}


@pytest.mark.parametrize(("model", "weights", "reason"), MISFITS.values(), ids=MISFITS)
def test_weights_that_do_not_fit_are_refused_by_name(change, model, weights, reason):
    folder = change(model, weights)
    with pytest.raises(ModelError, match=reason) as refused:
        load_checkpoint(folder)
    assert str(folder) in str(refused.value)
    assert refused.value.hint


KNOWN = {
    "names of older versions": (
        "classifier",
        renamed(lambda name: name.replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta")),
    ),
    "a buffer of positions": ("classifier", with_more(bert__embeddings__position_ids=torch.arange(130)[None])),
    "heads of pretraining left over": (
        "classifier",
        with_more(cls__predictions__bias=torch.ones(9), cls__seq_relationship__bias=torch.ones(2)),
    ),
    "16-bit floats": ("classifier", lambda state: {name: tensor.to(torch.bfloat16) for name, tensor in state.items()}),
    "an encoder with its prefix": ("encoder", renamed(lambda name: f"bert.{name}")),
    "a masked language model as encoder": ("masked", same),
}


@pytest.mark.parametrize(("model", "weights"), KNOWN.values(), ids=KNOWN)
def test_what_transformers_rightly_loads_is_loaded(change, model, weights, recwarn):
    folder = change(model, weights)
    auto = AutoModelForSequenceClassification if model == "classifier" else AutoModel
    assert torch.equal(
        outputs(load_checkpoint(folder), folder), outputs(auto.from_pretrained(folder, dtype=torch.float32), folder)
    )
    assert torch.equal(
        outputs(load_reference(open_checkpoint(folder)), folder), outputs(load_checkpoint(folder), folder)
    )
    assert not [warning for warning in recwarn if warning.category is WeightsWarning]


def test_a_roberta_classifier_may_keep_the_pooler_that_it_does_not_read(tmp_path):
    folder = make_checkpoint(tmp_path / "m", "roberta")
    state = load_file(folder / "model.safetensors")
    want = outputs(load_checkpoint(folder), folder)
    save_file(
        state | {"roberta.pooler.dense.weight": torch.ones(32, 32)},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    assert torch.equal(outputs(load_checkpoint(folder), folder), want)


def shard(folder, weights=same):
    """Split the weights of a folder in two files with an index."""
    state = weights(load_file(folder / "model.safetensors"))
    names = sorted(state)
    files = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, some in files.items():
        save_file({name: state[name].contiguous() for name in some}, folder / file, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": {name: file for file, some in files.items() for name in some}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "model.safetensors").unlink()
    return state


def test_shards_are_loaded_also_from_a_wrapped_model(folders, change):
    want = outputs(load_checkpoint(folders / "classifier"), folders / "classifier")
    folder = change("classifier", renamed(lambda name: f"module.{name}"))
    shard(folder)
    with pytest.warns(WeightsWarning, match="module"):
        assert torch.equal(outputs(load_checkpoint(folder), folder), want)
    assert torch.equal(outputs(load_reference(open_checkpoint(folder)), folder), want)


def test_a_weight_that_two_shards_hold_is_refused(change):
    folder = change("classifier", same)
    state = shard(folder)
    again = load_file(folder / "b.safetensors") | {
        "bert.embeddings.LayerNorm.bias": state["bert.embeddings.LayerNorm.bias"]
    }
    save_file(again, folder / "b.safetensors")
    with pytest.raises(ModelError, match=r"bert.embeddings.LayerNorm.bias, which another shard holds too"):
        load_checkpoint(folder)


def test_an_index_that_names_no_files_is_refused(change):
    folder = change("classifier", same)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text('{"weight_map": ["model.safetensors"]}')
    with pytest.raises(ModelError, match="no weight_map"):
        load_checkpoint(folder)


@pytest.mark.parametrize("content", [{"state_dict": {"a": torch.ones(1)}}, [torch.ones(1)]], ids=["nested", "list"])
def test_a_pickle_that_is_no_table_of_tensors_is_refused(change, content):
    folder = change("classifier", same)
    (folder / "model.safetensors").unlink()
    torch.save(content, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="no table of names and tensors"):
        load_checkpoint(folder, allow_pickle=True)


def test_bytes_that_are_no_pickle_are_refused(change):
    folder = change("classifier", same)
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"junk")
    with pytest.raises(ModelError, match="no pickle that holds weights alone"):
        load_checkpoint(folder, allow_pickle=True)


def test_a_pickle_is_held_to_the_same_rule(folders, change):
    folder = change("classifier", same)
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save({f"_orig_mod.{name}": tensor for name, tensor in state.items()}, folder / "pytorch_model.bin")
    with pytest.warns(WeightsWarning, match="_orig_mod"):
        model = load_checkpoint(folder, allow_pickle=True)
    assert torch.equal(outputs(model, folder), outputs(load_checkpoint(folders / "classifier"), folder))
    torch.save(without("classifier.")(state), folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"missing: classifier.bias, classifier.weight"):
        load_checkpoint(folder, allow_pickle=True)


def cut(folder, target):
    """Save a checkpoint whose layers have shapes of their own."""
    checkpoint = open_checkpoint(folder)
    model = load_checkpoint(checkpoint)
    model_layers(model)[0].cut(heads=[0, 2], ffn=range(16))
    save_checkpoint(target, model, load_tokenizer(checkpoint), checkpoint.record)
    return model


CUT_MISFITS = {
    "no head": (without("classifier."), "missing: classifier.bias, classifier.weight"),
    "one more layer": (extra_layer, "unexpected: bert.encoder.layer.2."),
    "the full shape": (
        with_more(bert__encoder__layer__0__intermediate__dense__bias=torch.zeros(64)),
        r"layer.0.intermediate.dense.bias is \(64,\) where the model has \(16,\)",
    ),
    "not a number": (set_values("classifier.bias", float("nan")), "NaN or infinity in classifier.bias"),
}


@pytest.mark.parametrize(("weights", "reason"), CUT_MISFITS.values(), ids=CUT_MISFITS)
def test_a_cut_checkpoint_is_held_to_the_same_rule(folders, tmp_path, weights, reason):
    cut(folders / "classifier", tmp_path / "cut")
    file = tmp_path / "cut" / "model.safetensors"
    save_file(weights(load_file(file)), file, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=reason):
        load_checkpoint(tmp_path / "cut")
    assert load_reference(open_checkpoint(tmp_path / "cut")) is None


def test_a_record_of_other_layers_than_the_model_has_is_refused(folders, tmp_path):
    cut(folders / "classifier", tmp_path / "cut")
    record = json.loads((tmp_path / "cut" / "edgelm.json").read_text())
    (tmp_path / "cut" / "edgelm.json").write_text(json.dumps(record | {"layers": record["layers"][:1]}))
    with pytest.raises(ModelError, match=r"edgelm.json has 1 layers, config.json 2"):
        load_checkpoint(tmp_path / "cut")


def test_labels_are_those_of_config_json_whatever_edgelm_json_remembers(folders, tmp_path):
    """They were given other names, or another tool trained the model further and saved it over the old one."""
    folder = tmp_path / "m"
    checkpoint = open_checkpoint(folders / "classifier")
    record = replace(checkpoint.record, task=replace(checkpoint.task, pair=True))
    save_checkpoint(folder, load_checkpoint(checkpoint), load_tokenizer(checkpoint), record)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps(config | {"id2label": {"0": "schlecht", "1": "gut"}, "label2id": {"schlecht": 0, "gut": 1}})
    )
    assert open_checkpoint(folder).task == TextClassification(labels=("schlecht", "gut"), pair=True)


def test_a_cut_of_a_model_with_older_names_can_be_loaded_again(change, tmp_path):
    folder = change(*KNOWN["names of older versions"])
    model = cut(folder, tmp_path / "cut")
    assert torch.equal(outputs(load_checkpoint(tmp_path / "cut"), folder), outputs(model, folder))


def test_a_masked_language_model_is_held_to_the_same_rule(folders, change):
    model = load_masked_lm(open_checkpoint(folders / "masked"))
    assert torch.equal(
        outputs(model, folders / "masked"),
        outputs(AutoModelForMaskedLM.from_pretrained(folders / "masked"), folders / "masked"),
    )
    with pytest.raises(ModelError, match=r"unexpected: bert.encoder.layer.2."):
        load_masked_lm(open_checkpoint(change("masked", extra_layer)))


def test_a_pretrained_encoder_gets_a_head_and_that_is_said(folders):
    for name in ("encoder", "masked"):
        checkpoint = open_checkpoint(folders / name)
        with pytest.warns(WeightsWarning, match="a head is made anew, from random numbers.*classifier.weight"):
            model = load_backbone(checkpoint, SENTIMENT)
        encoder = AutoModel.from_pretrained(folders / name)
        assert torch.equal(outputs(model.base_model, folders / name), outputs(encoder, folders / name))


def test_a_backbone_and_a_masked_language_model_may_be_wrapped_too(folders, change):
    folder = change("masked", renamed(lambda name: f"module._orig_mod.{name}"))
    with pytest.warns(WeightsWarning, match=r"module._orig_mod. was taken off"):
        model = load_backbone(open_checkpoint(folder), SENTIMENT)
    assert torch.equal(
        outputs(model.base_model, folder), outputs(AutoModel.from_pretrained(folders / "masked"), folder)
    )
    with pytest.warns(WeightsWarning, match=r"module._orig_mod. was taken off"):
        model = load_masked_lm(open_checkpoint(folder))
    assert torch.equal(
        outputs(model, folder), outputs(AutoModelForMaskedLM.from_pretrained(folders / "masked"), folder)
    )


def test_a_head_for_the_same_labels_goes_on(folders, recwarn):
    model = load_backbone(open_checkpoint(folders / "classifier"), SENTIMENT)
    assert torch.equal(
        outputs(model, folders / "classifier"), outputs(load_checkpoint(folders / "classifier"), folders / "classifier")
    )
    assert not [warning for warning in recwarn if warning.category is WeightsWarning]


def task(*labels):
    return TextClassification(labels=labels)


OTHER_HEADS = {
    "it is missing": ("classifier", without("classifier."), SENTIMENT, "missing: classifier.bias, classifier.weight"),
    "its pooler is missing": ("classifier", without("pooler."), SENTIMENT, "missing: bert.pooler.dense.bias"),
    "more labels": ("classifier", same, task("a", "b", "c"), "has 2 labels .*, the data 3"),
    "other labels": (
        "classifier",
        same,
        TextClassification(labels=("no", "yes")),
        r"\(negative, positive\), .*\(no, yes\)",
    ),
    "labels in another order": ("classifier", same, task("positive", "negative"), "the data 2 labels"),
    "a head for another task": (
        "encoder",
        with_more(qa_outputs__weight=torch.ones(2, 32)),
        SENTIMENT,
        r"another head \(qa_outputs.weight\)",
    ),
    "half of it is there": (
        "encoder",
        with_more(classifier__weight=torch.ones(2, 32)),
        SENTIMENT,
        "missing: classifier.bias",
    ),
}


@pytest.mark.parametrize(("model", "weights", "wanted", "reason"), OTHER_HEADS.values(), ids=OTHER_HEADS)
def test_a_head_that_is_not_the_tasks_is_replaced_only_when_that_is_allowed(change, model, weights, wanted, reason):
    folder = change(model, weights)
    with pytest.raises(ModelError, match=reason) as refused:
        load_backbone(open_checkpoint(folder), wanted)
    assert "--allow-new-head" in refused.value.hint
    with pytest.warns(WeightsWarning, match="made anew.*classifier.weight"):
        made = load_backbone(open_checkpoint(folder), wanted, allow_new_head=True)
    saved = load_file(folder / "model.safetensors").get("classifier.weight")
    assert made.classifier.weight.shape == (len(wanted.labels), 32)
    assert (
        saved is None or saved.shape != made.classifier.weight.shape or not torch.equal(saved, made.classifier.weight)
    )


def test_an_encoder_that_lacks_a_layer_is_refused_whatever_head_is_allowed(change):
    folder = change("classifier", without("layer.1."))
    with pytest.raises(ModelError, match=r"missing: bert.encoder.layer.1."):
        load_backbone(open_checkpoint(folder), SENTIMENT, allow_new_head=True)
