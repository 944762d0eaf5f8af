"""What a manifest says of graphs: tensors are found by their roles, and keys and values go in pairs."""

import json
from dataclasses import replace

import pytest
from bundles import make_bundle, set_field

import edgelm.runtime
from edgelm.errors import BundleError
from edgelm.runtime import open_bundle
from edgelm.runtime.engine_plan import EnginePlan, ShapeRange, one_profile
from edgelm.runtime.graph_spec import ROLES, GraphSpec, TensorSpec
from edgelm.runtime.manifest import Manifest
from edgelm.runtime.verify import verify
from edgelm.tasks.table import TASKS

_PAST = ("batch", 2, "past", 4)
_PRESENT = ("batch", 2, "total", 4)


def cached(what, layer):
    """One of the keys or values of a layer, by the names that onnxruntime-genai gives them."""
    side, kind = what.split("-")
    name = f"{side if side == 'present' else 'past_key_values'}.{layer}.{kind}"
    return TensorSpec(name, "float32", _PRESENT if side == "present" else _PAST, what, layer)


@pytest.fixture
def decoder():
    inputs = [
        TensorSpec(name, "int64", ("batch", "sequence"), role)
        for name, role in (("ids", "tokens"), ("at", "positions"))
    ]
    inputs += [cached(what, layer) for layer in range(2) for what in ("past-key", "past-value")]
    outputs = [TensorSpec("scores", "float32", ("batch", "sequence", 9), "logits")]
    outputs += [cached(what, layer) for what in ("present-value", "present-key") for layer in (1, 0)]
    sizes = {"batch": (1, 1, 4), "sequence": (1, 1, 16), "past": (0, 8, 64)}
    return GraphSpec("model", "model.onnx", tuple(inputs), tuple(outputs), 18, plan=EnginePlan((ShapeRange(sizes),)))


@pytest.fixture
def manifest(decoder, tmp_path):
    return replace(open_bundle(make_bundle(tmp_path / "b")).manifest, graphs=(decoder,))


def test_tensors_are_found_by_their_roles_whatever_they_are_called(decoder):
    assert (decoder.find("tokens").name, decoder.find("logits").name) == ("ids", "scores")
    assert decoder.names("past-key") == ("past_key_values.0.key", "past_key_values.1.key")
    assert decoder.names("mask") == ()
    for role, words in (("mask", "no input or output for mask"), ("past-key", "has 2 inputs or outputs for past-key")):
        with pytest.raises(BundleError, match=words):
            decoder.find(role)


@pytest.mark.parametrize("kind", TASKS)
def test_every_output_of_a_task_has_a_role(kind):
    assert len({ROLES[name] for name in TASKS[kind].output_names}) == len(TASKS[kind].output_names)


def test_what_a_step_reads_of_the_cache_goes_with_what_it_gives_for_the_next(decoder):
    assert [(past.name, present.name) for past, present in decoder.cache()] == [
        (f"past_key_values.{layer}.{kind}", f"present.{layer}.{kind}")
        for layer in range(2)
        for kind in ("key", "value")
    ]


def test_a_manifest_keeps_all_that_is_said_of_its_graphs(manifest):
    encoder = replace(manifest.graphs[0], name="encoder", file="encoder.onnx", session={"arena": False})
    both = replace(manifest, graphs=(*manifest.graphs, encoder))
    assert Manifest.from_json(both.to_json()) == both
    assert both.graph("encoder") == encoder
    changed = both.with_graph(replace(encoder, opset=20))
    assert [graph.opset for graph in changed.graphs] == [18, 20]


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("outputs", 1, "layer"), 5, r"past_key_values.1.value: the graph reads it and does not give it again"),
        (("inputs", 2, "layer"), None, r"layer None does not go with past-key"),
        (("inputs", 2, "layer"), -1, r"layer -1 does not go with past-key"),
        (("inputs", 2, "layer"), 1, "a role is there twice"),
        (("inputs", 2, "role"), "present-key", "present-key is not one of tokens"),
        (("plan", "profiles", 0, "axes"), {"batch": [1, 1, 1], "sequence": [1, 1, 1]}, "no sizes of the inputs' past"),
    ],
)
def test_keys_and_values_that_cannot_be_are_refused(manifest, path, value, words):
    values = json.loads(manifest.to_json())
    set_field(path, value)(values["graphs"][0])
    with pytest.raises(BundleError, match=words):
        Manifest.from_json(json.dumps(values))


def test_two_graphs_have_names_and_files_of_their_own(manifest):
    for changed in ({"name": "other"}, {"file": "other.onnx"}):
        two = replace(manifest, graphs=(manifest.graphs[0], replace(manifest.graphs[0], **changed)))
        with pytest.raises(BundleError, match=r"each needs a (name|file) of its own"):
            Manifest.from_json(two.to_json())


def test_a_profile_gives_every_shape_of_an_input(decoder):
    (profile,) = decoder.plan.profiles
    assert profile.shapes(_PAST) == ((1, 2, 0, 4), (1, 2, 8, 4), (4, 2, 64, 4))
    assert profile.holds({"batch": 4, "sequence": 16, "past": 0})
    assert not profile.holds({"batch": 4, "sequence": 16, "past": 65})
    wider = ShapeRange(profile.axes | {"past": (0, 100, 200)})
    assert one_profile(EnginePlan((profile, wider))).profiles[0].axes["past"] == (0, 8, 200)


def test_a_graph_is_read_from_the_file_that_its_manifest_names(tmp_path):
    folder = make_bundle(tmp_path / "b")
    wanted = edgelm.runtime.load(folder)("a good film")
    values = json.loads((folder / "manifest.json").read_text())
    values["graphs"][0]["file"] = "classifier.onnx"
    for entry in values["files"]:
        entry["path"] = entry["path"].replace("model.onnx", "classifier.onnx")
    (folder / "model.onnx").rename(folder / "classifier.onnx")
    (folder / "manifest.json").write_text(json.dumps(values))
    assert edgelm.runtime.load(folder)("a good film") == wanted
    assert verify(folder).ok
