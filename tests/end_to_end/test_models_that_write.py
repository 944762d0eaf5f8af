"""Models that write, the whole way by the command line: exported, run, talked with and proven; what they write is what
transformers writes."""

import json
import subprocess
import sys

import onnx
import pytest
import torch
from generators import DECODERS, GENERATORS, SENTENCES, make_generator
from models import make_checkpoint
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer
from typer.testing import CliRunner

from edgelm.cli.main import app
from edgelm.runtime import load, open_bundle

QUICK = ("llama", "t5-gated")  # the others take their time in the marked run
EVERY = [family if family in QUICK else pytest.param(family, marks=pytest.mark.slow) for family in GENERATORS]
TASKS = {"t5": "summarization", "t5-gated": "summarization", "bart": "summarization"}


def make(folder, family):
    """A small random model; rotary kernels take heads of 16 channels and more."""
    return make_generator(folder, family, **({"heads": 2, "kv_heads": 1} if family in DECODERS[1:] else {}))


def edgelm(*words, given=None):
    return CliRunner().invoke(app, [str(word) for word in words], input=given)


def export(model, output, family, precision="fp32", *more):
    kind = ["--task", TASKS[family]] if family in TASKS else []
    done = edgelm("export", model, "--precision", precision, "--output", output, *kind, *more)
    assert done.exit_code == 0, done.output + done.stderr
    return output


@pytest.fixture(scope="module", params=EVERY)
def exported(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    model = make(folder / "model", request.param)
    return request.param, model, export(model, folder / "model.edge", request.param)


def reference(family, model, text, **settings):
    """What transformers writes."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    auto = AutoModelForCausalLM if family in DECODERS else AutoModelForSeq2SeqLM
    ids = tokenizer(text, return_tensors="pt").input_ids
    found = auto.from_pretrained(model, dtype=torch.float32).eval().generate(ids, do_sample=False, **settings)[0]
    written = found[ids.shape[1] if family in DECODERS else 1 :]
    return [token for token in written.tolist() if token not in tokenizer.all_special_ids]


@pytest.mark.parametrize("beams", [1, 3])
def test_a_bundle_writes_what_transformers_writes(exported, beams):
    family, model, bundle = exported
    tokenizer = AutoTokenizer.from_pretrained(model)
    generator = load(bundle)
    for text in SENTENCES[:4]:
        wanted = reference(family, model, text, max_new_tokens=12, num_beams=beams)
        (row,) = generator.write(
            [generator.reader(text)], generator.settings_with({"max_new_tokens": 12, "num_beams": beams})
        )
        assert [token for token in row.written if token not in tokenizer.all_special_ids] == wanted


def test_a_bundle_answers_and_proves_itself(exported):
    _, _, bundle = exported
    asked = ["run", bundle, SENTENCES[0], "--max-new-tokens", 6]
    shown, told = edgelm(*asked), edgelm(*asked, "--json")
    assert shown.exit_code == told.exit_code == 0
    answer = json.loads(told.stdout)["answer"]
    assert shown.stdout == answer["text"] + "\n"
    assert 1 <= answer["tokens"] <= 6
    assert edgelm("verify", bundle).exit_code == 0


def test_the_script_of_a_bundle_writes_the_same(exported):
    _, _, bundle = exported
    command = [sys.executable, "run.py", "--set", "max_new_tokens=6", SENTENCES[0]]
    done = subprocess.run(command, cwd=bundle, capture_output=True, text=True, check=True)
    answer = load(bundle)(SENTENCES[0], max_new_tokens=6)
    assert json.loads(done.stdout) == {"text": SENTENCES[0], "answer": answer}


def test_a_checkpoint_can_be_looked_at(exported):
    _, model, _ = exported
    done = edgelm("inspect", model, "--json")
    assert json.loads(done.stdout)["weights_by_part"].keys() >= {"embeddings", "layers"}


@pytest.mark.parametrize("family", QUICK)
@pytest.mark.parametrize("precision", ["fp16", "int8", "int4"])
def test_precisions_keep_what_is_written(tmp_path, family, precision):
    model = make(tmp_path / "model", family)
    bundle = export(model, tmp_path / "model.edge", family, precision)
    parity = load(bundle).manifest.graphs[-1].parity
    assert parity.changed <= parity.tolerance
    assert edgelm("verify", bundle).exit_code == 0


def test_metrics_of_checkpoint_and_bundle_are_in_the_manifest(tmp_path):
    model = make(tmp_path / "model", "llama")
    texts = tmp_path / "texts.txt"
    texts.write_text("\n\n".join(SENTENCES))
    bundle = export(model, tmp_path / "model.edge", "llama", "fp32", "--eval", texts)
    quality = load(bundle).manifest.quality
    assert quality["bundle"]["perplexity"] == pytest.approx(quality["checkpoint"]["perplexity"], rel=1e-4)


def test_translations_are_judged_by_what_is_written(tmp_path):
    model = make(tmp_path / "model", "marian")
    rows = tmp_path / "rows.jsonl"
    rows.write_text("\n".join(json.dumps({"source": text, "target": text}) for text in SENTENCES))
    bundle = export(model, tmp_path / "model.edge", "marian", "fp32", "--eval", rows)
    quality = load(bundle).manifest.quality
    assert quality["bundle"] == pytest.approx(quality["checkpoint"], rel=1e-4)
    assert {"bleu", "chrf"} <= quality["bundle"].keys()


def test_a_conversation_goes_on(tmp_path):
    bundle = export(make(tmp_path / "model", "qwen2"), tmp_path / "model.edge", "qwen2")
    given = "play some quiet music\nand now?\n/exit\n"
    done = edgelm("chat", bundle, "--max-new-tokens", 4, given=given)
    assert done.exit_code == 0, done.stderr
    generator = load(bundle)
    first = [{"role": "user", "content": "play some quiet music"}]
    said = generator.chat(first, max_new_tokens=4)["text"]
    second = [*first, {"role": "assistant", "content": said}, {"role": "user", "content": "and now?"}]
    assert done.stdout == f"{said}\n{generator.chat(second, max_new_tokens=4)['text']}\n"


def test_a_seed_draws_the_same_again(tmp_path):
    bundle = export(make(tmp_path / "model", "llama"), tmp_path / "model.edge", "llama")
    asked = ["run", bundle, SENTENCES[0], "--temperature", 1.5, "--max-new-tokens", 12]
    once, again, other = (edgelm(*asked, "--seed", seed).stdout for seed in (1, 1, 2))
    assert once == again != other


def test_drafts_change_nothing_that_is_written(tmp_path):
    bundle = export(make(tmp_path / "model", "llama"), tmp_path / "model.edge", "llama")
    asked = ["run", bundle, " ".join(SENTENCES[:2] * 2), "--max-new-tokens", 16]
    assert edgelm(*asked).stdout == edgelm(*asked, "--draft", "lookup").stdout


REFUSALS = {
    "a prompt that is too long": (["run", "{llama}", "word " * 400], 4, "the model reads 128"),
    "an option of classifiers": (["run", "{llama}", "text", "--labels", "a,b"], 2, "--labels"),
    "a conversation without a template": (["chat", "{gpt2}"], 2, "without a chat template"),
    "a draft that is none": (["run", "{llama}", "text", "--draft", "nothing-here"], 2, "no such bundle"),
    "an impossible setting": (["run", "{llama}", "text", "--top-p", "1.5"], 2, "top_p"),
    "a graph for one text": (["export", "{model}", "--single", "--output", "{new}"], 2, "--single"),
    "another format for an encoder-decoder": (
        ["export", "{t5}", "--format", "gguf", "--output", "{new}"],
        2,
        "go on from a text",
    ),
    "no such format": (["export", "{model}", "--format", "tflite", "--output", "{new}"], 2, "tflite"),
    "a generator as a classifier": (
        ["export", "{model}", "--task", "fill-mask", "--output", "{new}"],
        4,
        "for text-generation",
    ),
}


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    folder = tmp_path_factory.mktemp("refusals")
    model, small = make(folder / "llama", "llama"), make(folder / "gpt2", "gpt2")
    return {
        "model": model,
        "t5": make(folder / "t5", "t5"),
        "llama": export(model, folder / "llama.edge", "llama"),
        "gpt2": export(small, folder / "gpt2.edge", "gpt2"),
        "new": folder / "new.edge",
    }


@pytest.mark.parametrize(("words", "code", "said"), REFUSALS.values(), ids=REFUSALS.keys())
def test_what_cannot_be_done_is_said(places, words, code, said):
    done = edgelm(*[word.format(**places) for word in words])
    assert (done.exit_code, said in done.stderr) == (code, True), done.stderr
    assert not places["new"].exists()


def test_a_long_conversation_loses_its_oldest_exchanges(tmp_path):
    bundle = export(make(tmp_path / "model", "qwen2"), tmp_path / "model.edge", "qwen2")
    lines = "".join(f"{text}\n" for text in SENTENCES * 2)
    done = edgelm("chat", bundle, "--max-new-tokens", 4, given=lines)
    assert done.exit_code == 0, done.stderr
    assert "its oldest exchange is left out" in done.stderr
    refused = edgelm("chat", bundle, given="word " * 400)
    assert refused.exit_code == 4
    assert "the model reads 128" in refused.stderr


def test_a_table_in_four_bits_and_a_cache_in_bytes_are_had_where_they_are_asked_for(tmp_path):
    model = make_generator(tmp_path / "model", "llama", heads=2, kv_heads=1, spread=0.1)
    asked = export(model, tmp_path / "asked", "llama", "int8-weights", "--embedding-bits", 4, "--cache-bits", 8)
    usual = export(model, tmp_path / "usual", "llama", "int8-weights")
    for bundle, bits, kept in ((asked, 4, "int8"), (usual, 8, "float32")):
        tables = [node for node in onnx.load(bundle / "decoder.onnx").graph.node if node.op_type.startswith("Gather")]
        found = [attribute.i for node in tables for attribute in node.attribute if attribute.name == "bits"]
        assert found == [bits]
        decoder = open_bundle(bundle).manifest.graph("decoder")
        assert {past.dtype for past, _ in decoder.cache()} == {kept}
    text = load(asked)(SENTENCES[0], max_new_tokens=8)
    assert load(asked)(SENTENCES[0], max_new_tokens=8, draft="lookup")["text"] == text["text"]


@pytest.mark.parametrize("family", ["t5", "bert"])
def test_a_cache_in_bytes_is_for_decoders(tmp_path, family):
    if family == "t5":
        model = make(tmp_path / "model", family)
        words = ["--precision", "int8-weights", "--task", "summarization"]
    else:
        model, words = make_checkpoint(tmp_path / "model"), ["--precision", "fp32"]
    done = edgelm("export", model, "--output", tmp_path / "out", "--cache-bits", 8, *words)
    assert done.exit_code == 2
    assert "--cache-bits is for" in " ".join(done.stderr.split())


def test_a_gguf_file_is_exported_as_the_folder_that_it_was_made_of(tmp_path):
    pytest.importorskip("gguf")
    model = make_generator(tmp_path / "model", "qwen2", hidden=64, ffn=128, heads=2, kv_heads=1)
    done = edgelm("export", model, "--format", "gguf", "--precision", "f32", "--output", tmp_path / "model.gguf")
    assert done.exit_code == 0, done.output + done.stderr
    text = SENTENCES[0]
    written = [
        load(export(source, tmp_path / f"{name}.edge", "qwen2"))(text, max_new_tokens=8)["text"]
        for name, source in (("folder", model), ("file", tmp_path / "model.gguf"))
    ]
    assert written[0] == written[1]
