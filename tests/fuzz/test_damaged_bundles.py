"""Bundles that are damaged in any place: manifests, golden samples, tokenizers, graphs, archives."""

import json
import shutil
from dataclasses import asdict

import pytest
from bundles import make_bundle, move_weights_out, reseal
from fuzzing import damaged_bytes, damaged_json, hold, inputs
from generator_bundles import add_golden, make_generator_bundle
from hypothesis import given

from edgelm.errors import EdgelmError
from edgelm.runtime import load, open_bundle
from edgelm.runtime.archive import pack
from edgelm.runtime.external_data import check_graph
from edgelm.runtime.generation.golden import GenerationGolden, GoldenText
from edgelm.runtime.generation.golden import largest_difference as largest_written
from edgelm.runtime.golden import Golden
from edgelm.runtime.verify import largest_difference, verify

pytestmark = pytest.mark.fuzz
TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("bundles") / "b")


@pytest.fixture(scope="module")
def writer(tmp_path_factory):
    """A bundle that writes, with a golden sample."""
    made = make_generator_bundle(tmp_path_factory.mktemp("bundles") / "w", "llama", chat_template=TEMPLATE)
    generator = load(made)
    prompt = generator.reader("the cat")
    (row,) = generator.write([prompt], generator.settings_with({"max_new_tokens": 4}))
    first = {str(token): float(value) for token, value in enumerate(generator.first_logits(prompt)[:9])}
    return add_golden(made, GenerationGolden((GoldenText("the cat", prompt, row.written, first, 1.0),), 1e-2))


def slim(values):
    """A manifest without the files that no model reads, which are most of it."""
    return values | {"files": [entry for entry in values["files"] if "runtime/" not in entry["path"]]}


def try_manifest(folder, text, sample, **options):
    (folder / "manifest.json").write_bytes(text)
    return hold(lambda: load(open_bundle(folder))(sample, **options))


def test_a_manifest(folder, tmp_path, request):
    shutil.copytree(folder, tmp_path / "b")
    values = slim(json.loads((folder / "manifest.json").read_text()))

    @inputs(request, 2)
    @given(text=damaged_json(values))
    def hammer(text):
        try_manifest(tmp_path / "b", text, "a good film")

    hammer()


def test_a_manifest_of_a_model_that_writes(writer, tmp_path, request):
    shutil.copytree(writer, tmp_path / "b")
    values = slim(json.loads((writer / "manifest.json").read_text()))

    @inputs(request, 1.5)
    @given(text=damaged_json(values))
    def hammer(text):
        try_manifest(tmp_path / "b", text, "the cat", max_new_tokens=3)

    hammer()


def test_settings_of_writing_in_a_manifest(writer, tmp_path, request):
    """The task alone is damaged, and the model writes by its own settings."""
    shutil.copytree(writer, tmp_path / "b")
    values = slim(json.loads((writer / "manifest.json").read_text()))
    values["task"]["settings"]["max_new_tokens"] = 3

    @inputs(request)
    @given(task=damaged_json(values["task"]))
    def hammer(task):
        text = json.dumps(values | {"task": "@@"}).encode().replace(b'"@@"', task)
        try_manifest(tmp_path / "b", text, [{"role": "user", "content": "the cat"}])

    hammer()


def test_golden_samples(folder, request):
    model = load(folder)
    values = json.loads((folder / "golden.json").read_text())

    @inputs(request)
    @given(text=damaged_json(values))
    def hammer(text):
        hold(lambda: largest_difference(model, Golden.from_json(text)))

    hammer()


def test_golden_samples_of_a_model_that_writes(writer, request):
    generator = load(writer)
    values = asdict(GenerationGolden.from_json((writer / "golden.json").read_bytes()))

    @inputs(request)
    @given(text=damaged_json(values))
    def hammer(text):
        hold(lambda: largest_written(generator, GenerationGolden.from_json(text)))

    hammer()


def test_an_archive(folder, tmp_path, request):
    """What is read from it is what was packed, or nothing is."""
    shutil.copytree(folder, tmp_path / "b", ignore=shutil.ignore_patterns("runtime"))
    pack(reseal(tmp_path / "b"), tmp_path / "b.edgelm")
    whole = (tmp_path / "b.edgelm").read_bytes()
    content = {path.name: path.read_bytes() for path in (tmp_path / "b").iterdir() if path.name != "manifest.json"}

    def read():
        bundle = open_bundle(tmp_path / "damaged.edgelm")
        bundle.contents()
        bundle.check_sizes()
        return {name: bundle.read(name) for name in content}

    @inputs(request)
    @given(data=damaged_bytes(whole))
    def hammer(data):
        (tmp_path / "damaged.edgelm").write_bytes(data)
        found = hold(read)
        assert isinstance(found, EdgelmError) or found == content

    hammer()


def test_a_graph(folder, request):
    data = (folder / "model.onnx").read_bytes()

    @inputs(request, 1.5)
    @given(data=damaged_bytes(data))
    def hammer(data):
        hold(lambda: check_graph(data, None, "a graph"))

    hammer()


def test_a_graph_in_a_bundle_that_was_made_for_it(folder, tmp_path, request):
    """Sizes and hashes fit: what the graph itself says is all that can be wrong."""
    shutil.copytree(folder, tmp_path / "b", ignore=shutil.ignore_patterns("runtime"))
    move_weights_out(tmp_path / "b")
    data = (tmp_path / "b" / "model.onnx").read_bytes()

    @inputs(request)
    @given(data=damaged_bytes(data))
    def hammer(data):
        (tmp_path / "b" / "model.onnx").write_bytes(data)
        reseal(tmp_path / "b")
        hold(lambda: load(tmp_path / "b")("a good film"))

    hammer()


@pytest.mark.parametrize("kind", ["reader", "writer"])
def test_a_tokenizer(folder, writer, tmp_path, request, kind):
    whole = folder if kind == "reader" else writer
    shutil.copytree(whole, tmp_path / "b", ignore=shutil.ignore_patterns("runtime"))
    values = json.loads((whole / "tokenizer.json").read_text())
    options = {"max_new_tokens": 3} if kind == "writer" else {}

    @inputs(request, 0.5)
    @given(text=damaged_json(values))
    def hammer(text):
        (tmp_path / "b" / "tokenizer.json").write_bytes(text)
        reseal(tmp_path / "b")
        hold(lambda: load(tmp_path / "b")("a good film, the cat", **options))

    hammer()


def test_verify_finds_whatever_is_damaged(folder, tmp_path, request):
    """Any file of the bundle, with the manifest as it was: verify finds it, or nothing was changed."""
    shutil.copytree(folder, tmp_path / "b", ignore=shutil.ignore_patterns("runtime"))
    reseal(tmp_path / "b")
    for name in ("model.onnx", "golden.json", "tokenizer.json", "run.py"):
        _damage(tmp_path / "b", name, request)


def _damage(folder, name, request):
    data = (folder / name).read_bytes()

    @inputs(request, 0.25)
    @given(damaged=damaged_bytes(data))
    def hammer(damaged):
        (folder / name).write_bytes(damaged)
        assert hold(lambda: verify(folder, replay=False).ok) is (damaged == data)

    hammer()
    (folder / name).write_bytes(data)
