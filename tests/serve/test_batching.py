"""Samples of many clients are read together and answered as alone; what is too much is told to come again."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

pytest.importorskip("starlette", reason="needs the extra serve")
pytest.importorskip("prometheus_client", reason="needs the extra serve")

from bundles import WORDS, make_bundle
from generator_bundles import make_generator_bundle
from generators import SENTENCES
from serving import outputs, serving, tensor

import edgelm.runtime
from edgelm.serve.batching import alike, reads_together

WAIT_S = 30  # for what happens at once on a machine that has nothing else to do


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("batches") / "b.edge")


@pytest.fixture(scope="module")
def writer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("writes") / "w.edge"
    return make_generator_bundle(folder, "llama", settings={"eos_ids": ()})


def infer(client, *texts):
    return client.post("/v2/models/b/infer", json={"inputs": [tensor("text", texts)]})


def until(condition):
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.005)


def held(monkeypatch, model):
    """Keep a model from computing until the event is set; and the sizes of the calls that it makes."""
    go, sizes, infer = threading.Event(), [], model.infer

    def wait(batch):
        sizes.append(batch.samples)
        assert go.wait(WAIT_S)
        return infer(batch)

    monkeypatch.setattr(model, "infer", wait)
    return go, sizes


def occupy(pool, client, served, sizes):
    """Ask so that every call that may be under way is; one after the other, since two would be read together."""
    asked = []
    for _ in served["b"].batcher._threads:
        asked.append(pool.submit(infer, client, "film"))
        until(lambda: len(sizes) == len(asked))
    return asked


def waiting(served, name="b"):
    return len(served[name].batcher._waiting)


def test_sixteen_clients_are_answered_as_alone(bundle):
    texts = [" ".join(WORDS[2:][(place + step) % 6] for step in range(1 + place % 9)) for place in range(160)]
    model = edgelm.runtime.load(bundle, threads=1)
    alone = {text: model(text)["score"] for text in texts}
    with serving({"b": bundle}) as (client, _), ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda text: outputs(infer(client, text))["score"][0], texts))
        metrics = client.get("/metrics").text
    assert found == pytest.approx([alone[text] for text in texts], abs=1e-6)  # sums of FP32, in another order
    assert 'edgelm_requests_total{door="infer",model="b",status="200"} 160.0' in metrics


def test_sixteen_clients_of_a_writer_get_what_they_would_alone(writer):
    model = edgelm.runtime.load(writer, threads=1)
    prompts = [f"{SENTENCES[place % len(SENTENCES)]} {place}" for place in range(16)]
    alone = [model(prompt, max_new_tokens=8)["text"] for prompt in prompts]

    def ask(place):
        body = {"model": "w", "prompt": prompts[place], "max_tokens": 8, "stream": place % 2 == 1}
        response = client.post("/v1/completions", json=body)
        if place % 2 == 0:
            return response.json()["choices"][0]["text"]
        sent = [part.removeprefix("data: ") for part in response.text.strip().split("\n\n")][:-1]
        return "".join(json.loads(part)["choices"][0]["text"] for part in sent)

    with serving({"w": writer}) as (client, _), ThreadPoolExecutor(16) as pool:
        assert list(pool.map(ask, range(16))) == alone


def test_what_waits_is_read_in_one_call(bundle, monkeypatch):
    with serving({"b": bundle}, max_batch=4) as (client, served), ThreadPoolExecutor(8) as pool:
        go, sizes = held(monkeypatch, served["b"].batcher.model)
        first = occupy(pool, client, served, sizes)
        workers = len(first)
        others = [pool.submit(infer, client, "a good film") for _ in range(5)]
        until(lambda: waiting(served) == 5)
        go.set()
        assert {each.result().status_code for each in [*first, *others]} == {200}
        assert sorted(sizes[workers:]) == [1, 4]
        metrics = client.get("/metrics").text
    assert f'edgelm_batch_size_count{{model="b"}} {workers + 2}.0' in metrics
    assert f'edgelm_batch_size_sum{{model="b"}} {workers + 5}.0' in metrics


def test_a_full_queue_says_when_to_come_again(bundle, monkeypatch):
    with serving({"b": bundle}, queue=3, max_batch=1) as (client, served), ThreadPoolExecutor(8) as pool:
        go, sizes = held(monkeypatch, served["b"].batcher.model)
        first = occupy(pool, client, served, sizes)
        others = [pool.submit(infer, client, "film") for _ in range(3)]
        until(lambda: waiting(served) == 3)
        full = infer(client, "film")
        assert (full.status_code, full.headers["retry-after"]) == (429, "1")
        assert infer(client, *["film"] * 4).status_code == 413  # would never find room
        assert 'edgelm_queue_length{model="b"} 3.0' in client.get("/metrics").text
        assert client.get("/v2/health/live").status_code == 200  # nothing else waits behind it
        go.set()
        assert {each.result().status_code for each in [*first, *others]} == {200}
        assert infer(client, "film").status_code == 200


def test_a_request_that_takes_too_long_is_given_up_and_leaves_the_queue(bundle, monkeypatch):
    with serving({"b": bundle}, timeout_s=0.3) as (client, served):
        go, _ = held(monkeypatch, served["b"].batcher.model)
        response = infer(client, *["film"] * 40)
        assert (response.status_code, response.headers["retry-after"]) == (503, "1")
        until(lambda: waiting(served) == 0)
        go.set()
        until(lambda: infer(client, "film").status_code == 200)


def test_one_text_that_cannot_be_read_takes_no_others_with_it(bundle, monkeypatch):
    with serving({"b": bundle}) as (client, served), ThreadPoolExecutor(8) as pool:
        go, sizes = held(monkeypatch, served["b"].batcher.model)
        first = occupy(pool, client, served, sizes)
        good, bad = (
            pool.submit(infer, client, "a good film"),
            pool.submit(
                client.post,
                "/v2/models/b/infer",
                content=json.dumps({"inputs": [tensor("text", ["a", "\ud800"])]}),
            ),
        )
        until(lambda: waiting(served) == 3)
        go.set()
        assert good.result().status_code == 200
        assert bad.result().status_code == 422
        assert [each.result().status_code for each in first] == [200] * len(first)


def test_a_model_that_fails_says_so_to_its_owner_alone(bundle, monkeypatch, capfd):
    with serving({"b": bundle}) as (client, served):

        def fail(batch):
            raise RuntimeError("/secret/place is gone")

        monkeypatch.setattr(served["b"].batcher.model, "infer", fail)
        response = infer(client, "film")
        assert response.status_code == 500
        assert "secret" not in response.text
        assert "/secret/place" in capfd.readouterr().err


def test_a_delay_gathers_what_comes_within_it(bundle):
    with serving({"b": bundle}, max_delay_ms=1000, max_batch=2) as (client, _), ThreadPoolExecutor(2) as pool:
        began = time.monotonic()
        asked = [pool.submit(infer, client, "film") for _ in range(2)]
        assert [each.result().status_code for each in asked] == [200, 200]
        assert time.monotonic() - began < 1  # it is full, and waits no more
        assert 'edgelm_batch_size_count{model="b"} 1.0' in client.get("/metrics").text


def test_a_batch_has_the_oldest_and_those_of_its_length():
    sizes = [100, 900, 110, 120, 95, 1000, 5]
    items = [SimpleNamespace(size=size) for size in sizes]
    assert [item.size for item in alike(items, 8)] == [100, 95, 110, 120]
    assert [item.size for item in alike(items, 3)] == [100, 95, 110]
    assert [item.size for item in alike(items[1:], 8)] == [900, 1000]
    assert [item.size for item in alike(items[-1:], 8)] == [5]


def test_where_a_text_would_change_anothers_answer_each_is_read_alone(tmp_path, bundle, monkeypatch):
    dynamic = make_bundle(tmp_path / "d", precision="int8-dynamic")  # takes its ranges from the whole batch
    assert reads_together(edgelm.runtime.load(bundle, threads=1))
    assert not reads_together(edgelm.runtime.load(dynamic, threads=1))
    with serving({"b": dynamic}) as (client, served):
        go, sizes = held(monkeypatch, served["b"].batcher.model)
        go.set()
        assert infer(client, *["film"] * 5).status_code == 200
        assert sizes == [1] * 5


def test_a_server_that_stops_answers_what_it_has_and_takes_no_more(bundle, monkeypatch):
    with serving({"b": bundle}) as (client, served), ThreadPoolExecutor(4) as pool:
        go, sizes = held(monkeypatch, served["b"].batcher.model)
        asked = pool.submit(infer, client, "a good film", "film")
        until(lambda: sizes)
        closing = pool.submit(served.close)
        until(lambda: served["b"].batcher._closed)
        late = infer(client, "film")
        assert late.status_code == 503
        go.set()
        closing.result(WAIT_S)
        assert asked.result().status_code == 200
