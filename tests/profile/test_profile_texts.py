"""What `edgelm profile --data` shows of models that write: what went, perplexity by file and position, examples."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from generator_bundles import make_generator_bundle, make_model
from generators import SENTENCES, make_generator
from models import make_checkpoint
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner
from warm_workers import warm

from edgelm.anatomy import load_checkpoint
from edgelm.cli.main import app
from edgelm.data.dataset import Dataset
from edgelm.profile.generation.texts import compare_texts
from edgelm.report.cuts import gone_table, kept_table
from edgelm.report.texts import file_table

FEW = ("--threads", 1, "--runs", 2, "--warmup", 1, "--loads", 1, "--context", 8, "--prompt-length", 8)


def run(*arguments):
    done = CliRunner().invoke(app, [*map(str, arguments)])
    assert done.exit_code == 0, done.output
    return done


def losses_of(model, ids):
    """By transformers' own loss, token by token."""
    with torch.inference_mode():
        logits = model(torch.tensor([ids])).logits[0, :-1]
    return torch.nn.functional.cross_entropy(logits, torch.tensor(ids[1:]), reduction="none").numpy()


@pytest.fixture(scope="module")
def cut(tmp_path_factory):
    """A model, what `edgelm compress` made of it, and its bundle."""
    folder = tmp_path_factory.mktemp("cut")
    model = make_generator(folder / "original", "llama", layers=3, heads=2, kv_heads=1)
    (folder / "train.txt").write_text("\n\n".join(SENTENCES * 2))
    few = [
        word
        for name in ("samples=16", "judged=8", "tries=4", "multiple=8", "keep=0.4", "max_length=32")
        for word in ("--set", f"fit.{name}")
    ]
    data = ("--data", folder / "train.txt", "--eval", folder / "train.txt")
    run(
        "compress", model, *data, "--recipe", "generator-one-shot", *few, "--max-length", 32, "--output", folder / "out"
    )
    run("export", folder / "out", "--precision", "fp32", "--output", folder / "small.edge")
    return folder


@pytest.fixture(scope="module")
def profiled(cut):
    (cut / "short.txt").write_text(SENTENCES[0])
    (cut / "long.txt").write_text("\n\n".join(SENTENCES))
    texts = ("--data", cut / "short.txt", "--data", cut / "long.txt")
    files = ("--html", cut / "page.html", "--markdown", cut / "page.md", "--output", cut / "profile.json")
    with warm():
        shown = run("profile", cut / "small.edge", "--compare", cut / "original", *texts, *FEW, *files).output
    return json.loads((cut / "profile.json").read_text())["texts"], shown


def test_perplexity_is_that_of_transformers_by_file_and_position(cut, profiled):
    found, _ = profiled
    assert found["subjects"] == ["small", "original"]
    assert found["same_tokens"]
    ids = AutoTokenizer.from_pretrained(cut / "original")(SENTENCES[0])["input_ids"]
    models = (load_checkpoint(cut / "out"), AutoModelForCausalLM.from_pretrained(cut / "original"))
    losses = [losses_of(model, ids) for model in models]
    short, long = found["files"]
    assert [entry["source"].rpartition("/")[2] for entry in (short, long)] == ["short.txt", "long.txt"]
    assert short["tokens"] == [len(ids) - 1] * 2
    # onnxruntime sums in another order.
    assert short["perplexity"] == pytest.approx([math.exp(loss.mean()) for loss in losses], rel=1e-4)
    size = len(SENTENCES[0].encode())
    bits = [loss.sum() / math.log(2) / size for loss in losses]
    assert short["bits_per_byte"] == pytest.approx(bits, rel=0.1)  # the first token, if none stands before it, is free
    for number in (0, 1):
        counts = [entry["tokens"][number] for entry in found["positions"]]
        assert sum(counts) == short["tokens"][number] + long["tokens"][number]
        total = sum(
            count * math.log(entry["perplexity"][number])
            for count, entry in zip(counts, found["positions"], strict=True)
        )
        expected = sum(entry["tokens"][number] * math.log(entry["perplexity"][number]) for entry in (short, long))
        assert total == pytest.approx(expected)
    assert [(entry["first"], entry["last"]) for entry in found["positions"]][:2] == [(1, 16), (17, 32)]


def test_examples_are_marked_from_where_they_differ(cut, profiled):
    found, shown = profiled
    tokenizer = AutoTokenizer.from_pretrained(cut / "original")
    model = AutoModelForCausalLM.from_pretrained(cut / "original")
    assert len(found["examples"]) == 3
    for example in found["examples"]:
        ours, theirs = example["texts"]
        same, whole = example["same"]
        assert whole == len(theirs)
        assert ours[:same] == theirs[:same]
        ids = tokenizer(example["prompt"], return_tensors="pt")
        made = model.generate(**ids, max_new_tokens=48, do_sample=False)[0, ids["input_ids"].shape[1] :]
        assert theirs == tokenizer.decode(made, skip_special_tokens=True)
    assert any(example["texts"][0] != example["texts"][1] for example in found["examples"])
    assert "<mark>" in (cut / "page.html").read_text()
    assert "▸" in (cut / "page.md").read_text()
    assert "▸" in shown


def test_what_went_is_shown_by_layer(cut, profiled):
    record = json.loads((cut / "out" / "edgelm.json").read_text())
    page = (cut / "page.md").read_text()
    before, left = (sum(layer["ffn"] for layer in record[name]) for name in ("original_layers", "layers"))
    assert f"| decoder: FFN channels | {before} | {left} | {1 - left / before:.1%} |" in page
    gone = len(record["original_layers"]) - len(record["layers"])
    assert f"| decoder layers | 3 | {3 - gone} |" in page
    rows = [line for line in page.splitlines() if line.startswith(("| decoder 0", "| decoder 1", "| decoder 2"))]
    assert len(rows) == 3
    for layer in record["layers"]:
        assert f"| {layer['ffn']}/{record['original_layers'][0]['ffn']} |" in rows[layer["origin"]]
    html = (cut / "page.html").read_text()
    for title in (
        "What went",
        "What is left of each layer",
        "Perplexity by file",
        "Perplexity by position",
        "Examples",
    ):
        assert f"<h2>{title}</h2>" in html


def test_every_kind_of_cut_has_a_row():
    """Layers of two stacks are numbered apart; one that is gone, a sublayer that is, a narrower model, fewer tokens."""

    def layer(stack, heads, cross, ffn, origin=None):
        return {"stack": stack, "heads": heads, "cross": cross, "ffn": ffn, "origin": origin}

    before = [layer("encoder", 4, None, 64)] * 2 + [layer("decoder", 4, 4, 64)] * 2
    left = [layer("encoder", 4, None, 32, 1), layer("decoder", 0, 4, 64, 2), layer("decoder", 4, 1, 0, 3)]
    lineage = {"original_layers": before, "layers": left, "hidden": {"original": 64, "kept": 48}}
    lineage["tokens"] = {"original": 1000, "kept": 250}
    profile = {"manifest": {"lineage": lineage}}
    gone = {row[0]: row[1:4] for row in gone_table(profile)[1]}
    assert gone == {
        "encoder layers": ["2", "1", "50.0%"],
        "encoder: heads of attention, or groups": ["8", "4", "50.0%"],
        "encoder: FFN channels": ["128", "32", "75.0%"],
        "decoder layers": ["2", "2", "0.0%"],
        "decoder: attention in its layers": ["2", "1", "50.0%"],
        "decoder: heads of attention, or groups": ["8", "4", "50.0%"],
        "decoder: heads of attention to the source": ["8", "5", "37.5%"],
        "decoder: FFN in its layers": ["2", "1", "50.0%"],
        "decoder: FFN channels": ["128", "64", "50.0%"],
        "hidden size": ["64", "48", "25.0%"],
        "tokens": ["1,000", "250", "75.0%"],
    }
    _, rows = kept_table(profile)
    assert [(row[0], row[-1]) for row in rows] == [
        ("encoder 0", "the layer"),
        ("encoder 1", ""),
        ("decoder 0", "attention"),
        ("decoder 1", "FFN"),
    ]
    assert rows[3][1:-1:2] == ["4/4", "1/4", "0/64"]


@pytest.mark.slow
def test_targets_are_judged_for_their_sources(tmp_path):
    make_generator_bundle(tmp_path / "bundle", "t5")
    model, folder = make_model("t5")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = list(zip(SENTENCES[:4], SENTENCES[4:8], strict=True))
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps({"source": source, "target": target}) + "\n" for source, target in rows))
    done = run("profile", tmp_path / "bundle", "--compare", folder, "--data", file, *FEW, "--json")
    found = json.loads(done.stdout)["texts"]
    losses = []
    for source, target in rows:
        labels = tokenizer(text_target=target, return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            logits = model(**tokenizer(source, return_tensors="pt"), labels=labels).logits[0]
        losses.append(torch.nn.functional.cross_entropy(logits, labels[0], reduction="none").numpy())
    expected = math.exp(np.concatenate(losses).mean())
    assert found["files"][0]["tokens"] == [sum(map(len, losses))] * 2
    assert found["files"][0]["perplexity"] == pytest.approx([expected] * 2, rel=1e-4)
    for example in found["examples"]:
        assert example["texts"][0] == example["texts"][1]
        assert example["same"] == [len(example["texts"][0])] * 2


def test_models_of_other_tokens_are_compared_by_the_byte(tmp_path):
    bundle = make_generator_bundle(tmp_path / "bundle", "gemma3_text")
    model, folder = make_model("gpt2")
    found = compare_texts([bundle, folder], [Dataset("memory", SENTENCES, schema="prompts")], threads=1)
    assert not found.same_tokens
    (file,) = found.files
    ids = AutoTokenizer.from_pretrained(folder)("\n".join(SENTENCES))["input_ids"]
    losses = np.concatenate([losses_of(model, ids[at : at + found.window]) for at in range(0, len(ids), found.window)])
    assert file.tokens[1] == len(losses)
    size = len("\n".join(SENTENCES).encode())
    # The first token of a window is not judged, nor are its bytes counted.
    assert file.bits_per_byte[1] == pytest.approx(losses.sum() / math.log(2) / size, rel=0.02)
    header, rows = file_table(found.to_dict())
    assert header[-3:] == ["tiny: bits a byte", "gpt2: bits a byte", "tiny vs gpt2"]
    assert rows[0][-1] == f"{file.bits_per_byte[0] / file.bits_per_byte[1]:.3f}x"


def test_what_cannot_be_judged_is_refused(tmp_path):
    bundle = make_generator_bundle(tmp_path / "bundle", "llama")
    talk = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Good day"}]
    (tmp_path / "talks.jsonl").write_text(json.dumps({"messages": talk}) + "\n")
    done = CliRunner().invoke(app, ["profile", str(bundle), "--data", str(tmp_path / "talks.jsonl")])
    assert done.exit_code == 4
    assert "conversations; texts are judged" in " ".join(done.output.split())
    checkpoint = make_checkpoint(tmp_path / "classifier")
    (tmp_path / "a.txt").write_text("good\n")
    twice = ["--data", str(tmp_path / "a.txt")] * 2
    done = CliRunner().invoke(app, ["profile", str(checkpoint), *twice])
    assert done.exit_code == 2
    assert "--data is given more than once" in " ".join(done.output.split())
