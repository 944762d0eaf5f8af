"""What OpenAI's clients ask: answers are the generator's, streams are the answers in pieces, and what is not there is
refused by name."""

import base64
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

pytest.importorskip("starlette", reason="needs the extra serve")
pytest.importorskip("prometheus_client", reason="needs the extra serve")

from bundles import make_bundle
from generator_bundles import make_generator_bundle
from generators import SENTENCES
from serving import outputs, serving, tensor

import edgelm.runtime
from edgelm.tasks.text import SentenceEmbedding

TEXT = SENTENCES[1]
TALK = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    made = {
        name: make_generator_bundle(folder / f"{name}.edge", name, settings={"eos_ids": ()})
        for name in ("llama", "gpt2", "marian")
    }
    return made | {"vectors": make_bundle(folder / "v.edge", SentenceEmbedding()), "class": make_bundle(folder / "c")}


@pytest.fixture(scope="module")
def client(bundles):
    with serving(bundles, max_tokens=40, max_texts=4) as (found, _):
        yield found


@pytest.fixture(scope="module")
def llama(bundles):
    return edgelm.runtime.load(bundles["llama"], threads=1)


def complete(client, **body):
    return client.post("/v1/completions", json={"model": "llama", "prompt": TEXT, "max_tokens": 6} | body)


def talk(client, **body):
    return client.post("/v1/chat/completions", json={"model": "llama", "messages": TALK, "max_tokens": 6} | body)


def events(response):
    """What a stream has sent, as JSON, up to its end."""
    assert response.headers["content-type"].startswith("text/event-stream")
    *sent, end = [part.removeprefix("data: ") for part in response.text.strip().split("\n\n")]
    assert end == "[DONE]"
    return [json.loads(part) for part in sent]


def refused(response, status=400):
    """The message of an error in OpenAI's shape."""
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error["message"]


def test_a_completion_is_what_the_generator_writes(client, llama):
    answer = llama(TEXT, max_new_tokens=6)
    found = complete(client).json()
    assert found["object"] == "text_completion"
    assert found["choices"] == [{"index": 0, "text": answer["text"], "logprobs": None, "finish_reason": "length"}]
    read, written = answer["prompt_tokens"], answer["tokens"]
    assert found["usage"] == {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def test_several_prompts_have_a_choice_each(client, llama):
    found = complete(client, prompt=[TEXT, SENTENCES[0]]).json()["choices"]
    assert [choice["text"] for choice in found] == [
        llama(text, max_new_tokens=6)["text"] for text in (TEXT, SENTENCES[0])
    ]


def test_a_chat_is_answered_by_the_template(client, llama):
    answer = llama.chat(TALK, max_new_tokens=6)
    found = talk(client).json()
    assert found["object"] == "chat.completion"
    assert found["choices"][0]["message"] == {"role": "assistant", "content": answer["text"]}
    parts = [TALK[0], {"role": "user", "content": [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]}]
    assert talk(client, messages=parts).json()["choices"][0]["message"]["content"] == answer["text"]
    assert talk(client, max_tokens=None, max_completion_tokens=6).json()["usage"]["completion_tokens"] == 6


def test_a_stream_is_the_answer_in_pieces(client):
    whole = complete(client, max_tokens=20).json()
    *pieces, end, usage = events(complete(client, max_tokens=20, stream=True, stream_options={"include_usage": True}))
    assert len(pieces) > 1
    assert "".join(piece["choices"][0]["text"] for piece in pieces) == whole["choices"][0]["text"]
    assert end["choices"][0]["finish_reason"] == "length"
    assert (usage["choices"], usage["usage"]) == ([], whole["usage"])
    assert len({piece["id"] for piece in pieces}) == 1


def test_a_streamed_chat_begins_with_its_role(client):
    first, *others = events(talk(client, stream=True))
    assert first["object"] == "chat.completion.chunk"
    assert first["choices"][0]["delta"]["role"] == "assistant"
    said = "".join(piece["choices"][0]["delta"].get("content", "") for piece in [first, *others])
    assert said == talk(client).json()["choices"][0]["message"]["content"]


def test_seeds_stops_and_temperatures_do_what_they_do_in_the_runtime(client, llama):
    drawn = llama(TEXT, max_new_tokens=12, do_sample=True, temperature=1.5, top_p=0.9, seed=3)["text"]
    asked = {"temperature": 1.5, "top_p": 0.9, "seed": 3, "max_tokens": 12}
    assert complete(client, **asked).json()["choices"][0]["text"] == drawn
    likeliest = llama(TEXT, max_new_tokens=12)["text"]
    assert complete(client, temperature=0, seed=3, max_tokens=12).json()["choices"][0]["text"] == likeliest
    stop = likeliest[4:6]
    found = complete(client, max_tokens=12, stop=[stop]).json()["choices"][0]
    assert (found["text"], found["finish_reason"]) == (likeliest[: likeliest.find(stop)], "stop")
    assert complete(client, max_tokens=12, seed=-1, temperature=1).status_code == 200


def test_a_text_is_no_longer_than_the_server_lets_it_be(client):
    assert complete(client, max_tokens=10**9).json()["usage"]["completion_tokens"] == 40
    assert complete(client, model="marian", max_tokens=10**9).json()["usage"]["completion_tokens"] <= 40


def test_beams_and_encoder_decoders_write_and_stream(client, bundles):
    answer = edgelm.runtime.load(bundles["marian"], threads=1)(TEXT, max_new_tokens=6)
    assert complete(client, model="marian").json()["choices"][0]["text"] == answer["text"]
    pieces = events(complete(client, model="marian", stream=True))
    assert "".join(piece["choices"][0]["text"] for piece in pieces) == answer["text"]


def test_the_other_protocol_writes_too(client, llama):
    response = client.post(
        "/v2/models/llama/infer", json={"inputs": [tensor("text", [TEXT])], "parameters": {"max_tokens": 6}}
    )
    answer = llama(TEXT, max_new_tokens=6)
    assert outputs(response) == {
        "text": [answer["text"]],
        "finish": ["length"],
        "tokens": [6],
        "prompt_tokens": [answer["prompt_tokens"]],
    }


def test_models_are_those_that_can_be_asked_here(client):
    listed = client.get("/v1/models").json()["data"]
    assert {model["id"] for model in listed} == {"llama", "gpt2", "marian", "vectors"}
    assert client.get("/v1/models/llama").json() == next(model for model in listed if model["id"] == "llama")
    refused(client.get("/v1/models/none"), 404)


@pytest.mark.parametrize("form", ["float", "base64"])
def test_vectors_are_the_runtimes(client, bundles, form):
    model = edgelm.runtime.load(bundles["vectors"], threads=1)
    texts = ["a good film", "film"]
    found = client.post("/v1/embeddings", json={"model": "vectors", "input": texts, "encoding_format": form}).json()
    vectors = [entry["embedding"] for entry in found["data"]]
    if form == "base64":
        vectors = [np.frombuffer(base64.b64decode(vector), dtype="<f4") for vector in vectors]
    assert np.allclose(vectors, [model(text)["embedding"] for text in texts], atol=1e-6)
    assert found["usage"] == {"prompt_tokens": 4, "total_tokens": 4}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n", 2),
        ("best_of", 3),
        ("echo", True),
        ("logprobs", 5),
        ("suffix", "end"),
        ("frequency_penalty", 0.5),
        ("presence_penalty", -1),
        ("logit_bias", {"5": 1}),
        ("nonsense", 1),
        ("prompt", None),
        ("prompt", []),
        ("prompt", [1, 2]),
        ("prompt", [[1, 2]]),
        ("max_tokens", 0),
        ("max_tokens", "7"),
        ("max_tokens", True),
        ("max_tokens", 1.5),
        ("temperature", -1),
        ("temperature", "hot"),
        ("temperature", 1e300),
        ("top_p", 0),
        ("top_p", 2),
        ("top_k", -1),
        ("seed", "x"),
        ("seed", 10**40),
        ("stop", 7),
        ("stop", [""]),
        ("stop", ["a"] * 5),
        ("stop", "a" * 1000),
        ("stream", "yes"),
        ("stream_options", []),
        ("prompt_cache_key", 7),
        ("model", None),
        ("model", 7),
        ("repetition_penalty", 0),
    ],
)
def test_a_field_that_cannot_be_followed_is_refused_by_its_name(client, field, value):
    assert field in refused(complete(client, **{field: value}))


@pytest.mark.parametrize(
    "messages",
    [
        None,
        [],
        "hi",
        [1],
        [{"content": "x"}],
        [{"role": "user"}],
        [{"role": "king", "content": "x"}],
        [{"role": ["user"], "content": "x"}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}],
        [{"role": "user", "content": 7}],
    ],
)
def test_what_is_no_conversation_is_refused(client, messages):
    assert "messages" in refused(talk(client, messages=messages))


def test_what_a_model_is_not_for_is_refused(client):
    assert "class" in refused(complete(client, model="class"))
    assert "template" in refused(talk(client, model="gpt2"))
    assert "vectors" in refused(client.post("/v1/embeddings", json={"model": "llama", "input": "x"}))
    refused(complete(client, model="none"), 404)
    refused(client.get("/v1/completions"), 405)
    refused(client.post("/v1/nothing"), 404)
    refused(client.post("/v1/completions", content=b"{"))
    refused(client.post("/v1/embeddings", json={"model": "vectors", "input": [1]}))
    refused(client.post("/v1/embeddings", json={"model": "vectors", "input": "x", "dimensions": 3}))


def test_prompts_that_are_too_long_too_many_or_no_unicode_are_refused(client):
    refused(complete(client, prompt="word " * 500), 422)
    refused(complete(client, prompt="word " * 500, stream=True), 422)  # by the status, not in the stream
    refused(complete(client, prompt=[TEXT] * 5), 413)
    body = json.dumps({"model": "llama", "prompt": "\ud800"})
    refused(client.post("/v1/completions", content=body), 422)
    refused(client.post("/v1/embeddings", json={"model": "vectors", "input": ["x"] * 5}), 413)


def test_no_client_learns_what_another_asked(bundles, monkeypatch):
    """Of a prompt that begins as the one before nothing is left over, unless both carry the same key; the answer is the
    same either way."""
    with serving({"llama": bundles["llama"]}) as (client, served):
        decoder = served["llama"].writer.generator.reading.decoder
        counts, step = [], decoder.step

        def counting(ids, **options):
            counts.append(ids.shape[1])
            return step(ids, **options)

        monkeypatch.setattr(decoder, "step", counting)
        alone = complete(client, max_tokens=1).json()
        answers, read = [], []
        for key in ("", "", "mine", "mine", "yours"):
            counts.clear()
            body = {"prompt_cache_key": key} if key else {}
            answers.append(complete(client, max_tokens=1, **body).json())
            read.append(sum(counts))
        whole = alone["usage"]["prompt_tokens"]
        assert read == [whole, whole, whole, 2, whole]
        assert {answer["choices"][0]["text"] for answer in answers} == {alone["choices"][0]["text"]}


def test_a_text_that_takes_too_long_is_given_up(bundles, monkeypatch):
    with serving({"llama": bundles["llama"]}, timeout_s=0.5) as (client, served):
        decoder = served["llama"].writer.generator.reading.decoder
        step = decoder.step

        def slowly(ids, **options):
            time.sleep(0.1)
            return step(ids, **options)

        monkeypatch.setattr(decoder, "step", slowly)
        response = complete(client, max_tokens=100)
        assert response.headers["retry-after"] == "1"
        refused(response, 503)
        *pieces, last = [
            json.loads(part[6:]) for part in complete(client, max_tokens=100, stream=True).text.split("\n\n")[:-1]
        ]
        assert pieces
        assert "no answer" in last["error"]["message"]  # in the stream, whose status has been sent; and no [DONE]
        until = time.monotonic() + 30
        while served["llama"].writer.busy:
            assert time.monotonic() < until
            time.sleep(0.01)


def test_texts_that_find_no_place_are_told_to_come_again(bundles, monkeypatch):
    with serving({"llama": bundles["llama"]}, queue=2, max_texts=3) as (client, served):
        refused(complete(client, prompt=[TEXT] * 3), 413)  # would never find room
        writer, go = served["llama"].writer, threading.Event()
        decoder = writer.generator.reading.decoder
        step = decoder.step

        def held(ids, **options):
            assert go.wait(30)
            return step(ids, **options)

        monkeypatch.setattr(decoder, "step", held)
        with ThreadPoolExecutor(3) as pool:
            asked = [pool.submit(complete, client) for _ in range(3)]  # one is written, two wait
            until = time.monotonic() + 30
            while len(writer._jobs) < 2:
                assert time.monotonic() < until
                time.sleep(0.01)
            response = complete(client)
            go.set()
            assert response.headers["retry-after"] == "1"
            refused(response, 429)
            assert [each.result().status_code for each in asked] == [200] * 3
