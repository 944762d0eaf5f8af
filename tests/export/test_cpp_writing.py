"""A bundle of a model that writes carries a C++ example; built on this machine, it writes what Python writes."""

import json
import os
import subprocess
import sys
from dataclasses import asdict

import numpy as np
import onnx
import pytest
from cpp_programs import build_program
from cpp_programs import run as run_program
from generator_bundles import POSITIONS, make_generator_bundle
from generators import SENTENCES, make_generator
from onnx import helper, numpy_helper
from typer.testing import CliRunner

import edgelm.runtime
from edgelm.bundles.cpp_example import cpp_files
from edgelm.cli.main import app
from edgelm.runtime import open_bundle
from edgelm.runtime.manifest import FileEntry
from edgelm.runtime.manifest_schemas import SCHEMA_VERSION
from edgelm.runtime.verify import verify

# Of several lengths, one longer than half of what the models read; scripts whose characters are several tokens each.
PROMPTS = (SENTENCES[0], "a", SENTENCES[5] + " " + " ".join(SENTENCES[:2]), "Ünïcode, 电影 and 🎬 on")
CHARACTERS = "🎬电é"  # whose bytes are tokens, no two of them alike


def run(write, bundle, *words, **given):
    """By one thread: several wait for each other where others use the machine."""
    return run_program(write, bundle, "--threads", 1, *words, **given)


def exported(folder, precision="int8-weights", *more, positions=1024):
    """The bundle of a decoder that reads long texts, by the command line."""
    model = make_generator(folder / "model", "llama", heads=2, kv_heads=1, positions=positions)
    words = ["export", str(model), "--precision", precision, "--output", str(folder / "model.edge"), *more]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output + done.stderr
    return folder / "model.edge"


@pytest.fixture(scope="module")
def long_bundle(tmp_path_factory):
    return exported(tmp_path_factory.mktemp("long"))


def test_a_bundle_that_writes_carries_what_it_needs_and_works_alone(long_bundle):
    listed = {entry.path for entry in open_bundle(long_bundle).manifest.files}
    assert {name for name in listed if name.startswith("cpp/")} == set(cpp_files("write"))
    assert "runtime/edgelm/runtime/generation/generator.py" in listed
    assert "cpp/write.cpp" in (long_bundle / "README.md").read_text()
    for words in (["--verify"], ["--set", "max_new_tokens=3", "turn the"]):
        command = [sys.executable, "-I", long_bundle / "run.py", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def write(long_bundle):
    """The example's executable, built from what the bundle carries."""
    return build_program(long_bundle, "write")


def check_writes(write, bundle, *prompts, **settings):
    """Token by token what Python writes, and the same text, at once and as it comes."""
    model = edgelm.runtime.load(bundle, threads=1)
    words = [word for name, value in settings.items() for word in ("--set", f"{name}={json.dumps(value)}")]
    answers = []
    for prompt in prompts:
        done = run(write, bundle, "--json", *words, prompt)
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout)
        wanted = model(prompt, **settings)
        (row,) = model.write([model.reader(prompt)], model.settings_with(settings))
        ids = said["answer"].pop("ids")
        assert said == {"text": prompt, "answer": wanted}
        assert ids == row.written[: len(ids)]  # which no stop string ended
        streamed = run(write, bundle, *words, prompt)
        assert (streamed.returncode, streamed.stdout) == (0, wanted["text"] + "\n")
        answers.append(wanted)
    return answers


@pytest.mark.cpp
@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma3_text", "t5", "bart", "marian"])
def test_the_example_writes_what_python_writes(write, tmp_path, family):
    bundle = make_generator_bundle(tmp_path / "bundle", family)
    answers = check_writes(write, bundle, *PROMPTS, max_new_tokens=40)
    assert len({answer["text"] for answer in answers}) > 1


@pytest.mark.cpp
def test_long_prompts_are_read_in_pieces_and_the_cache_grows(write, long_bundle, tmp_path):
    prompt = " ".join(SENTENCES * 9)
    answers = check_writes(write, long_bundle, "turn the", prompt, max_new_tokens=300, eos_ids=[])
    assert answers[0]["tokens"] == 300
    assert answers[1]["prompt_tokens"] > 2 * 256  # tokens of a piece
    # Without a table of positions a translation may be as long as it is let, longer than a source.
    (answer,) = check_writes(
        write, make_generator_bundle(tmp_path / "t5", "t5"), SENTENCES[0], max_new_tokens=300, eos_ids=[]
    )
    assert answer["tokens"] == 300 > POSITIONS


@pytest.mark.cpp
@pytest.mark.parametrize(("dtype", "words"), [("float16", ["fp16"]), ("int8", ["int8-weights", "--cache-bits", "8"])])
def test_a_cache_of_fewer_bits_is_kept(write, tmp_path, dtype, words):
    bundle = exported(tmp_path, *words, positions=128)
    specs = open_bundle(bundle).manifest.graph("decoder").inputs
    assert {spec.dtype for spec in specs if spec.role == "past-key"} == {dtype}
    check_writes(write, bundle, *PROMPTS[:2], max_new_tokens=20)


@pytest.mark.cpp
def test_a_graph_for_engines_is_refused(write, tmp_path):
    bundle = exported(tmp_path, "fp16", "--device", "jetson-orin-nano", positions=128)
    done = run(write, bundle, "turn the")
    assert done.returncode == 1 and "--device cpu" in done.stderr and not done.stdout


@pytest.mark.cpp
def test_the_text_ends_where_the_model_has_no_room(write, tmp_path):
    bundle = make_generator_bundle(tmp_path / "bundle", "gpt2", settings={"eos_ids": ()})
    (answer,) = check_writes(write, bundle, SENTENCES[0], max_new_tokens=4 * POSITIONS)
    assert answer["finish"] == "length"
    assert answer["prompt_tokens"] + answer["tokens"] == POSITIONS + 1  # the last one need not be read


@pytest.mark.cpp
@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("llama", {"repetition_penalty": 1.5, "no_repeat_ngram_size": 2}),
        ("gpt2", {"repetition_penalty": 0.7, "bad_ids": [300, 301, 200], "min_new_tokens": 5}),
        ("marian", {"forced_bos_id": 7, "forced_eos_id": 0, "no_repeat_ngram_size": 2}),
        ("bart", {"forced_bos_id": 5, "eos_ids": [2, 3], "min_new_tokens": 10}),
    ],
)
def test_settings_do_what_they_do_in_python(write, tmp_path, family, settings):
    bundle = make_generator_bundle(tmp_path / "bundle", family, settings=settings)  # of the manifest
    for more in ({}, {"bad_ids": [10, 11]}):  # and of the call
        check_writes(write, bundle, *PROMPTS[:2], max_new_tokens=24, **more)


@pytest.mark.cpp
def test_a_stop_string_ends_the_text_before_it(write, tmp_path):
    bundle = make_generator_bundle(tmp_path / "bundle", "llama", settings={"eos_ids": ()})
    whole = edgelm.runtime.load(bundle, threads=1)(SENTENCES[0], max_new_tokens=30)["text"]
    stops = [whole[8:13], whole[-3:], "nowhere"]  # across the borders of tokens; what is met first counts
    (answer,) = check_writes(write, bundle, SENTENCES[0], max_new_tokens=30, stop=stops)
    assert answer["text"] == whole[: whole.index(stops[0])]
    assert answer["finish"] == "stop"
    (answer,) = check_writes(write, bundle, SENTENCES[0], max_new_tokens=30, stop=[whole[-3:] + "!"])
    assert answer["text"] == whole  # what was held back is said in the end


def make_writer_of(folder, prompt, text):
    """A bundle that writes one text behind a prompt: each of its tokens, by a table, after the one before. The graph
    asks for tokens and a cache alone, and gives logits of every token."""
    bundle = make_generator_bundle(folder, "gpt2")
    tokenizer = edgelm.runtime.load(bundle, threads=1).tokenizer
    manifest = json.loads((bundle / "manifest.json").read_text())
    (spec,) = manifest["graphs"]
    spec["inputs"] = [one for one in spec["inputs"] if one["role"] == "tokens" or one["layer"] == 0]
    spec["outputs"] = [one for one in spec["outputs"] if one["role"] == "logits" or one["layer"] == 0]
    chain = [tokenizer.encode(prompt).ids[-1], *tokenizer.encode(text).ids, 0]  # the end
    assert len(set(chain)) == len(chain)
    size = tokenizer.get_vocab_size()
    table = np.zeros((size, size), dtype=np.float32)
    table[chain[:-1], chain[1:]] = 1
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["logits"])]
    nodes += [helper.make_node("Identity", [f"past_key_values.0.{of}"], [f"present.0.{of}"]) for of in ("key", "value")]
    types = {"int64": onnx.TensorProto.INT64, "float32": onnx.TensorProto.FLOAT}
    tensors = [
        [helper.make_tensor_value_info(one["name"], types[one["dtype"]], one["shape"]) for one in spec[side]]
        for side in ("inputs", "outputs")
    ]
    graph = helper.make_graph(nodes, "chain", *tensors, [numpy_helper.from_array(table, "table")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    (bundle / "decoder.onnx").write_bytes(model.SerializeToString())
    entry = FileEntry.of("decoder.onnx", model.SerializeToString())
    manifest["files"] = [asdict(entry) if file["path"] == entry.path else file for file in manifest["files"]]
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    return bundle


@pytest.mark.cpp
def test_characters_of_several_tokens_come_whole(write, tmp_path):
    bundle = make_writer_of(tmp_path / "bundle", "a", CHARACTERS)
    with subprocess.Popen([write, bundle, "--threads", "1", "a"], stdout=subprocess.PIPE) as process:
        pieces = list(iter(lambda: os.read(process.stdout.fileno(), 1000), b""))
    assert "".join(piece.decode() for piece in pieces) == CHARACTERS + "\n"
    model = edgelm.runtime.load(bundle, threads=1)
    for most in range(1, len(CHARACTERS.encode()) + 2):
        done = run(write, bundle, "--set", f"max_new_tokens={most}", "a")
        assert done.stdout == model("a", max_new_tokens=most)["text"] + "\n"
        whole = CHARACTERS.encode()[:most].decode(errors="ignore")
        assert done.stdout.rstrip("\ufffd\n") == whole  # and what is no whole character, in the end


@pytest.mark.cpp
def test_a_prefix_stands_before_every_source(write, tmp_path):
    bundle = make_generator_bundle(tmp_path / "bundle", "t5")
    without = edgelm.runtime.load(bundle, threads=1)(SENTENCES[0])
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["task"]["prefix"] = "please set: "
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    (answer,) = check_writes(write, bundle, SENTENCES[0])
    assert answer["prompt_tokens"] > without["prompt_tokens"]


@pytest.mark.cpp
def test_a_prompt_can_be_what_a_chat_template_makes(write, tmp_path):
    pytest.importorskip("jinja2")
    bundle = make_generator_bundle(tmp_path / "bundle", "llama")
    model = edgelm.runtime.load(bundle, threads=1)
    messages = [{"role": "user", "content": SENTENCES[0]}]
    prompt = model.reader.template(messages)
    assert prompt.endswith("\n")  # which the standard input keeps
    done = run(write, bundle, "--templated", "--set", "max_new_tokens=10", "--json", "-", given=prompt)
    answer = json.loads(done.stdout)["answer"]
    answer.pop("ids")
    assert answer == model.chat(messages, max_new_tokens=10)


@pytest.mark.cpp
def test_tokens_are_drawn_as_the_settings_let_them(write, tmp_path):
    bundle = make_generator_bundle(tmp_path / "bundle", "llama", settings={"eos_ids": (), "do_sample": True})

    def drawn(**settings):
        words = [word for name, value in settings.items() for word in ("--set", f"{name}={json.dumps(value)}")]
        done = run(write, bundle, "--json", *words, SENTENCES[0])
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)["answer"]["ids"]

    model = edgelm.runtime.load(bundle, threads=1)
    (row,) = model.write([model.reader(SENTENCES[0])], model.settings_with({"do_sample": False, "max_new_tokens": 12}))
    for narrow in ({"top_k": 1}, {"top_p": 1e-6}, {"min_p": 1.0}, {"temperature": 1e-4}):
        assert drawn(max_new_tokens=12, seed=1, **narrow) == row.written
    logits = model.first_logits(model.reader(SENTENCES[0]))
    likeliest = set(logits.argsort()[-3:].tolist())
    firsts = [drawn(max_new_tokens=1, seed=seed, top_k=3, temperature=5.0)[0] for seed in range(12)]
    assert set(firsts) <= likeliest
    assert len(set(firsts)) > 1
    assert drawn(max_new_tokens=12, seed=3) == drawn(max_new_tokens=12, seed=3) != drawn(max_new_tokens=12, seed=4)


@pytest.mark.cpp
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--set", "num_beams=4", "a"], "num_beams is 4; this example follows no beams. num_beams=1 takes"),
        (["--set", "beams=4", "a"], "there is no setting beams=4; write NAME=VALUE, with one of: max_new_tokens"),
        (["--set", "temperature=hot", "a"], 'temperature is "hot"; it must be above 0'),
        (["--set", "top_k=1.5", "a"], "top_k is 1.5; it must be a whole number, at least 0"),
        (["--set", "eos_ids=[100000]", "a"], "the settings name the token 100000; the model has"),
        (["--set", "max_new_tokens=2", "--set", "min_new_tokens=3", "a"], "min_new_tokens is 3; it must be at most"),
        ([" ".join(SENTENCES * 9)], f"tokens; the model reads {POSITIONS}"),
        ([""], "an empty prompt, and the model has no token to begin with"),
    ],
    ids=["beams", "unknown", "text", "fraction", "token", "least", "long", "empty"],
)
def test_what_cannot_be_written_is_said(write, gpt2, words, said):
    done = run(write, gpt2, *words)
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    return make_generator_bundle(tmp_path_factory.mktemp("gpt2") / "bundle", "gpt2")


@pytest.mark.cpp
def test_what_the_manifest_says_beyond_this_example_is_refused(write, gpt2, tmp_path):
    def changed(**entries):
        manifest = json.loads((gpt2 / "manifest.json").read_text())
        (tmp_path / "manifest.json").write_text(json.dumps(manifest | entries))
        return run(write, tmp_path, "a").stderr

    task = json.loads((gpt2 / "manifest.json").read_text())["task"]
    more = task | {"settings": task["settings"] | {"typical_p": 0.9}}
    assert "does not know the setting typical_p" in changed(task=more)
    beams = task | {"settings": task["settings"] | {"num_beams": 2}}
    assert "num_beams is 2" in changed(task=beams)
    assert "the model is for fill-mask" in changed(task=task | {"kind": "fill-mask"})
    assert f"this example reads up to {SCHEMA_VERSION}" in changed(schema=SCHEMA_VERSION + 1)
    for words in ([], [gpt2], [gpt2, "a", "b"], [gpt2, "--threads", "no", "a"], [gpt2, "--beams", "a"]):
        assert run_program(write, *words).returncode == 2


@pytest.mark.cpp
def test_building_leaves_the_bundle_as_it_was_made(write, long_bundle):
    assert verify(long_bundle, replay=False).ok
