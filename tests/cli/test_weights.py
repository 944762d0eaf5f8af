"""Weights that do not fit the model, at the command line: loaded and said, or refused by name with nothing written."""

import json

import numpy as np
import pytest
import torch
from models import TEXTS, make_checkpoint
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification
from typer.testing import CliRunner

import edgelm.runtime
from edgelm.anatomy import load_tokenizer
from edgelm.cli.main import app

# FP32 graphs add in another order than PyTorch.
ORDER = 1e-4


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def rewrite(folder, change):
    """Change the weights of a model folder."""
    file = folder / "model.safetensors"
    save_file(
        {name: tensor.contiguous() for name, tensor in change(load_file(file)).items()}, file, metadata={"format": "pt"}
    )
    return folder


def headless(state):
    return {name: tensor for name, tensor in state.items() if not name.startswith("classifier")}


def logits(model, folder):
    with torch.inference_mode():
        return model(**load_tokenizer(folder)(list(TEXTS), padding=True, return_tensors="pt")).logits.numpy()


def bundle_logits(path):
    model = edgelm.runtime.load(path)
    return np.concatenate([model.infer(model.tokenize([text])) for text in TEXTS])


@pytest.fixture
def files(tmp_path):
    make_checkpoint(tmp_path / "model")
    rows = [{"text": text, "label": ("negative", "positive")[index % 2]} for index, text in enumerate(TEXTS * 2)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def on_rows(files, command, model, *more):
    return run(
        command, model, "--data", files / "rows.jsonl", "--eval", files / "rows.jsonl", "--output", files / "out", *more
    )


@pytest.mark.parametrize("command", ["export", "compress", "finetune"])
def test_a_classifier_without_its_head_is_refused_by_name(files, command):
    folder = rewrite(files / "model", headless)
    result = run(command, folder, "--output", files / "out") if command == "export" else on_rows(files, command, folder)
    assert result.exit_code == 4, result.output
    assert "missing: classifier.bias, classifier.weight" in result.stderr
    assert "--allow-new-head" in result.stderr
    assert not (files / "out").exists()


def test_finetune_makes_a_new_head_where_that_is_allowed_and_says_so(files):
    folder = rewrite(files / "model", headless)
    result = on_rows(files, "finetune", folder, "--allow-new-head", "--max-steps", 1)
    assert result.exit_code == 0, result.output
    assert (
        f"Warning: {folder}: a head is made anew, from random numbers: classifier.bias, classifier.weight."
        in result.stderr
    )


def test_finetune_on_a_pretrained_encoder_says_what_it_made_anew(files):
    result = on_rows(files, "finetune", make_checkpoint(files / "encoder", kind="sentence-embedding"), "--max-steps", 1)
    assert result.exit_code == 0, result.output
    assert "a head is made anew, from random numbers: classifier.bias, classifier.weight." in result.stderr


def test_finetune_for_other_labels_asks_before_it_replaces_the_head(files):
    folder = make_checkpoint(files / "other", labels=("anger", "fear", "joy"))
    refused = on_rows(files, "finetune", folder)
    assert refused.exit_code == 4
    assert "its head has 3 labels (anger, fear, joy), the data 2 labels (negative, positive)" in refused.stderr
    assert on_rows(files, "finetune", folder, "--allow-new-head", "--max-steps", 1).exit_code == 0


def test_a_student_is_held_to_the_same_rule(files):
    distill = "name: taught\nstages: [{{stage: distill, layers: null, student: {}, train: {{max_steps: 1}}}}]\n"
    encoder = make_checkpoint(files / "encoder", kind="sentence-embedding", layers=1)
    for student, code, words in (
        (
            rewrite(make_checkpoint(files / "broken", layers=1), headless),
            4,
            "missing: classifier.bias, classifier.weight",
        ),
        (encoder, 0, f"{encoder}: a head is made anew, from random numbers"),
    ):
        (files / "recipe.yaml").write_text(distill.format(student))
        result = on_rows(files, "compress", files / "model", "--recipe", files / "recipe.yaml")
        assert result.exit_code == code, result.output
        assert words in result.stderr
        assert (files / "out").exists() == (code == 0)


def test_the_bundle_of_a_wrapped_model_answers_as_the_trained_model(files):
    want = logits(AutoModelForSequenceClassification.from_pretrained(files / "model"), files / "model")
    folder = rewrite(
        files / "model", lambda state: {f"module._orig_mod.{name}": tensor for name, tensor in state.items()}
    )
    result = run("export", folder, "--precision", "fp32", "--output", files / "out")
    assert result.exit_code == 0, result.output
    assert f"Warning: {folder}: module._orig_mod. was taken off 41 names of weights" in result.stderr
    assert np.abs(bundle_logits(files / "out") - want).max() < ORDER


def test_the_bundle_of_an_adapter_answers_as_the_adapted_model(files):
    torch.manual_seed(3)
    base = AutoModelForSequenceClassification.from_pretrained(files / "model")
    adapted = get_peft_model(
        base, LoraConfig(task_type="SEQ_CLS", r=4, lora_alpha=16, target_modules=["query", "value"])
    )
    for tensor in adapted.parameters():
        if tensor.requires_grad:
            torch.nn.init.normal_(tensor, 0.0, 0.3)
    adapted.save_pretrained(files / "adapter")
    result = run("export", files / "adapter", "--precision", "fp32", "--output", files / "out")
    assert result.exit_code == 0, result.output
    assert np.abs(bundle_logits(files / "out") - logits(adapted.eval(), files / "model")).max() < ORDER
    assert json.loads((files / "out" / "manifest.json").read_text())["lineage"]["source"] == f"{files.name}/adapter"
    shown = run("inspect", files / "adapter", "--json")
    assert json.loads(shown.stdout)["record"]["source"] == f"{files.name}/adapter"
