"""The Open Inference Protocol: every task answers as the runtime does, and what is not of the protocol is a 4xx of its
shape."""

import json
import math

import pytest

pytest.importorskip("starlette", reason="needs the extra serve")
pytest.importorskip("prometheus_client", reason="needs the extra serve")

from bundles import SENTIMENT, make_bundle
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serving import outputs, serving, tensor

import edgelm.runtime
from edgelm.tasks.text import (
    FillMask,
    MultipleChoice,
    QuestionAnswering,
    SentenceEmbedding,
    TextClassification,
    TokenClassification,
)

TAGS = ("O", "B-PER", "I-PER")
TASKS = {
    "class": SENTIMENT,
    "labels": TextClassification(problem="multi-label", labels=("a", "b", "c")),
    "value": TextClassification(problem="regression", labels=("score",)),
    "values": TextClassification(problem="regression", labels=("x", "y")),
    "pair": TextClassification(labels=("no", "yes"), pair=True),
    "vector": SentenceEmbedding(),
    "tags": TokenClassification(labels=TAGS),
    "question": QuestionAnswering(),
    "choice": MultipleChoice(),
}
TEXTS = ["a good film", "the very bad film", "film"]


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    return {name: make_bundle(folder / f"{name}.edge", task) for name, task in TASKS.items()}


@pytest.fixture(scope="module")
def client(bundles):
    with serving(bundles) as (found, _):
        yield found


def infer(client, name, *inputs, **more):
    return client.post(f"/v2/models/{name}/infer", content=json.dumps({"inputs": list(inputs)} | more))


def test_the_server_says_what_it_is_and_that_it_lives(client):
    assert client.get("/v2").json()["name"] == "edgelm"
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json()["ready"] is True
    assert client.get("/v2/models/class/ready").json() == {"name": "class", "ready": True}


@pytest.mark.parametrize("name", TASKS)
def test_metadata_name_the_tensors_that_come(client, name):
    said = client.get(f"/v2/models/{name}").json()
    assert (said["name"], said["platform"]) == (name, "onnx_onnxv1")
    given = {
        "pair": [tensor("text", ["a"]), tensor("text_pair", ["film"])],
        "question": [tensor("question", ["a"]), tensor("context", ["film"])],
        "choice": [tensor("text", ["a"]), tensor("choices", [["film", "good"]], shape=[1, 2])],
    }.get(name, [tensor("text", ["a"])])
    assert [entry["name"] for entry in said["inputs"]] == [entry["name"] for entry in given]
    found = infer(client, name, *given).json()["outputs"]
    assert [entry["name"] for entry in found] == [entry["name"] for entry in said["outputs"]]
    for entry, told in zip(found, said["outputs"], strict=True):
        assert entry["datatype"] == told["datatype"]
        assert len(entry["data"]) == math.prod(entry["shape"])
        assert [
            size for size, known in zip(entry["shape"], told["shape"], strict=True) if known not in (-1, size)
        ] == []


def test_a_class_its_score_all_scores_and_logits_are_the_runtimes(client, bundles):
    model = edgelm.runtime.load(bundles["class"], threads=1)
    found = outputs(infer(client, "class", tensor("text", TEXTS)))
    answers = [model(text) for text in TEXTS]
    logits = [model.infer(model.tokenize([text]))[0].tolist() for text in TEXTS]
    assert found["label"] == [answer["label"] for answer in answers]
    assert found["score"] == pytest.approx([answer["score"] for answer in answers])
    assert found["scores"] == pytest.approx([score for answer in answers for score in answer["scores"].values()])
    assert found["logits"] == pytest.approx([value for row in logits for value in row], abs=1e-6)


def test_labels_that_fit_values_vectors_and_entities_are_the_runtimes(client, bundles):
    asked = tensor("text", TEXTS)
    models = {name: edgelm.runtime.load(bundles[name], threads=1) for name in ("labels", "value", "vector", "tags")}
    answers = {name: [model(text) for text in TEXTS] for name, model in models.items()}
    fits = outputs(infer(client, "labels", asked))["fits"]
    assert fits == [label in answer["labels"] for answer in answers["labels"] for label in ("a", "b", "c")]
    assert outputs(infer(client, "value", asked))["score"] == pytest.approx(
        [each["score"] for each in answers["value"]]
    )
    vectors = [value for answer in answers["vector"] for value in answer["embedding"]]
    assert outputs(infer(client, "vector", asked))["embedding"] == pytest.approx(vectors)
    entities = [json.loads(text) for text in outputs(infer(client, "tags", asked))["entities"]]
    assert [[each["text"] for each in row] for row in entities] == [
        [each["text"] for each in answer["entities"]] for answer in answers["tags"]
    ]


def test_a_pair_a_question_and_a_choice_have_inputs_for_their_parts(client, bundles):
    model = edgelm.runtime.load(bundles["question"], threads=1)
    answer = model(("a film", "the very bad film"))
    found = outputs(infer(client, "question", tensor("context", ["the very bad film"]), tensor("question", ["a film"])))
    assert (found["answer"], found["start"], found["end"]) == ([answer["answer"]], [answer["start"]], [answer["end"]])
    assert len(json.loads(found["best"][0])) == len(answer["best"])
    model = edgelm.runtime.load(bundles["choice"], threads=1)
    choices = tensor("choices", [["good", "bad film", "a"], ["film", "very", "the"]], shape=[2, 3])
    found = outputs(infer(client, "choice", tensor("text", ["a good film", "the"]), choices))
    answers = [model(("a good film", ("good", "bad film", "a"))), model(("the", ("film", "very", "the")))]
    assert found["index"] == [each["index"] for each in answers]
    assert found["scores"] == pytest.approx([score for each in answers for score in each["scores"]])
    model = edgelm.runtime.load(bundles["pair"], threads=1)
    found = outputs(infer(client, "pair", tensor("text", ["a"]), tensor("text_pair", ["bad film"])))
    assert found["score"] == pytest.approx([model(("a", "bad film"))["score"]])


def test_masks_are_filled(tmp_path):
    bundle = make_bundle(tmp_path / "b", FillMask())
    expected = edgelm.runtime.load(bundle, threads=1)("a [MASK] film")["masks"]
    with serving({"mask": bundle}) as (client, _):
        (found,) = outputs(infer(client, "mask", tensor("text", ["a [MASK] film"])))["masks"]
        assert [each["token"] for each in json.loads(found)[0]["tokens"]] == [
            each["token"] for each in expected[0]["tokens"]
        ]
        assert infer(client, "mask", tensor("text", ["a film"])).status_code == 422  # nothing to fill in


def test_an_identifier_comes_back_and_outputs_can_be_chosen(client):
    response = infer(client, "class", tensor("text", ["film"]), id="\ud8007", outputs=[{"name": "score"}])
    assert response.json()["id"] == "\ud8007"
    assert [entry["name"] for entry in response.json()["outputs"]] == ["score"]
    assert "id" not in infer(client, "class", tensor("text", ["film"])).json()


@pytest.mark.parametrize("shape", [[2], [2, 1]])
def test_data_may_be_nested_or_flat(client, shape):
    flat = outputs(infer(client, "class", tensor("text", ["film", "a"], shape=shape)))
    nested = outputs(infer(client, "class", tensor("text", [["film"], ["a"]], shape=shape)))
    assert flat["score"] == nested["score"]


def test_no_text_gets_no_answer(client):
    assert outputs(infer(client, "class", tensor("text", [])))["label"] == []


GOOD = tensor("text", ["film"])
MALFORMED = [
    b"",
    b"{",
    b"\xff\xfe",
    b"null",
    b"[]",
    b'"text"',
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b'{"id": NaN}',
    b'{"inputs": [{"shape": [1' + b"0" * 5000 + b"]}]}",
    *(
        json.dumps(body).encode()
        for body in (
            {},
            {"inputs": {}},
            {"inputs": []},
            {"inputs": [1]},
            {"inputs": [GOOD, GOOD]},
            {"inputs": [GOOD], "id": 7},
            {"inputs": [GOOD], "parameters": []},
            {"inputs": [GOOD], "outputs": 1},
            {"inputs": [GOOD], "outputs": [1]},
            {"inputs": [GOOD], "outputs": [{"name": "none"}]},
            {"inputs": [GOOD], "outputs": [{"name": ["label"]}]},
            {"inputs": [GOOD | {"name": ["text"]}]},
            {"inputs": [GOOD | {"name": "texts"}]},
            {"inputs": [GOOD | {"datatype": "INT64", "data": [1]}]},
            {"inputs": [GOOD | {"datatype": None}]},
            {"inputs": [GOOD | {"shape": []}]},
            {"inputs": [GOOD | {"shape": None}]},
            {"inputs": [GOOD | {"shape": [-1]}]},
            {"inputs": [GOOD | {"shape": [1.0]}]},
            {"inputs": [GOOD | {"shape": [True]}]},
            {"inputs": [GOOD | {"shape": [2**70]}]},
            {"inputs": [GOOD | {"shape": [1, 2]}]},
            {"inputs": [GOOD | {"shape": [1, 1, 1]}]},
            {"inputs": [GOOD | {"shape": [2]}]},
            {"inputs": [GOOD | {"data": "film"}]},
            {"inputs": [GOOD | {"data": [None]}]},
            {"inputs": [GOOD | {"data": [[["film"]]]}]},
            {"inputs": [GOOD | {"data": [{"film": 1}]}]},
            {"inputs": [{key: value for key, value in GOOD.items() if key != "data"}]},
        )
    ),
]


@pytest.mark.parametrize("body", MALFORMED, ids=lambda body: body[:40].decode("latin-1"))
def test_what_is_not_of_the_protocol_is_refused_in_its_shape(client, body):
    response = client.post("/v2/models/class/infer", content=body)
    assert response.status_code == 400
    assert list(response.json()) == ["error"]
    assert response.json()["error"]


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["inputs", "id", "outputs", "parameters", "name", "shape", "datatype", "data"]), values)
def test_any_value_in_any_field_is_answered_or_refused(client, field, value):
    body = {"inputs": [GOOD | {field: value}]} if field in GOOD else {"inputs": [GOOD], field: value}
    response = client.post("/v2/models/class/infer", content=json.dumps(body))
    assert response.status_code in (200, 400, 413, 422)
    assert response.status_code == 200 or list(response.json()) == ["error"]


def test_what_cannot_be_answered_is_refused_as_that(client):
    assert infer(client, "class", tensor("text", ["\ud800"])).status_code == 422
    assert infer(client, "question", tensor("question", [" "]), tensor("context", ["film"])).status_code == 422
    assert infer(client, "choice", tensor("text", ["a"]), tensor("choices", [["a"]], shape=[1, 1])).status_code == 400
    assert infer(client, "pair", tensor("text", ["a", "b"]), tensor("text_pair", ["a"])).status_code == 400
    assert infer(client, "pair", tensor("text", ["a"])).status_code == 400


def test_paths_and_methods_that_are_not_there_are_refused_in_its_shape(client):
    for response, status in (
        (infer(client, "none", GOOD), 404),
        (client.get("/v2/models/none"), 404),
        (client.get("/v2/models/none/ready"), 404),
        (client.get("/somewhere"), 404),
        (client.get("/v2/models/class/infer"), 405),
        (client.post("/v2"), 405),
    ):
        assert response.status_code == status
        assert list(response.json()) == ["error"]


def test_requests_are_bounded_in_bytes_and_texts(bundles):
    with serving({"class": bundles["class"]}, max_body_mb=0.001, max_texts=3) as (client, _):
        assert infer(client, "class", tensor("text", ["film " * 300])).status_code == 413
        assert infer(client, "class", tensor("text", ["film"] * 4)).status_code == 413
        assert infer(client, "class", tensor("text", ["film"] * 3)).status_code == 200
        chunked = client.post("/v2/models/class/infer", content=iter([b" " * 600] * 3))
        assert chunked.status_code == 413
        assert client.get("/v2/health/live").status_code == 200
