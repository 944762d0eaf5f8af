"""`edgelm serve` as a process, and over real sockets: it starts, answers, lets no client hold it, stops when it is told
to, and ends a text whose client has left."""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

pytest.importorskip("uvicorn", reason="needs the extra serve")
pytest.importorskip("httptools", reason="needs the extra serve")
pytest.importorskip("prometheus_client", reason="needs the extra serve")

from bundles import make_bundle
from generator_bundles import make_generator_bundle
from serving import tensor
from typer.testing import CliRunner

import edgelm.serve.connections
from edgelm.bundles.keys import make_keys
from edgelm.cli.main import app
from edgelm.serve.addresses import bind
from edgelm.serve.app import make_app
from edgelm.serve.limits import Limits
from edgelm.serve.metrics import Metrics
from edgelm.serve.served import opened
from edgelm.serve.server import make_server

LONGEST = 120  # seconds to start on a busy machine
GOOD = json.dumps({"inputs": [tensor("text", ["a good film"])]})


@contextlib.contextmanager
def process(*arguments):
    """A server of its own, and its port."""
    command = [sys.executable, "-m", "edgelm", "serve", *map(str, arguments), "--port", "0"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        for line in running.stdout:
            if found := re.search(r"http://127\.0\.0\.1:(\d+)", line):
                break
        else:
            raise AssertionError(running.stderr.read())
        yield running, int(found[1])
    finally:
        running.kill()
        running.communicate()


@contextlib.contextmanager
def here(bundles, **limits):
    """A server in a thread of this process, over real sockets: its port, and its models."""
    metrics, limits = Metrics(), Limits(**limits)
    started = threading.Event()
    with bind("127.0.0.1", 0) as bound, opened(bundles, limits, metrics, threads=1) as served:
        server = make_server(make_app(served, limits, metrics), limits, started=started.set)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        assert started.wait(LONGEST)
        try:
            yield bound.getsockname()[1], served
        finally:
            server.should_exit = True
            thread.join(LONGEST)


def ask(port, path="/v2/models/b/infer", body=GOOD):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LONGEST)
    connection.request("POST" if body else "GET", path, body)
    response = connection.getresponse()
    return response.status, response.read()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("process") / "b.edge")


@pytest.fixture(scope="module")
def writer(tmp_path_factory):
    return make_generator_bundle(tmp_path_factory.mktemp("writer") / "w.edge", "llama", settings={"eos_ids": ()})


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_it_answers_and_when_told_to_stop_finishes_what_has_come(bundle, how):
    with process(bundle, "--max-delay", "1000") as (running, port):
        status, body = ask(port)  # which waits a second for others
        assert status == 200, body
        found = []
        asking = threading.Thread(target=lambda: found.append(ask(port)))
        asking.start()
        time.sleep(0.3)
        running.send_signal(how)
        asking.join(LONGEST)
        assert found[0][0] == 200
        _, errors = running.communicate(timeout=LONGEST)
        assert (running.returncode, errors) == (0, "")
        with pytest.raises(ConnectionError):
            ask(port)


def test_a_text_ends_when_its_client_leaves(writer, monkeypatch):
    with here({"w": writer}) as (port, served):
        decoder = served["w"].writer.generator.reading.decoder
        steps, step = [], decoder.step

        def slowly(ids, **options):
            steps.append(1)
            time.sleep(0.05)
            return step(ids, **options)

        monkeypatch.setattr(decoder, "step", slowly)
        for stream in (True, False):
            body = json.dumps({"model": "w", "prompt": "a", "max_tokens": 100, "stream": stream})
            steps.clear()
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LONGEST)
            connection.request("POST", "/v1/completions", body)
            if stream:
                assert connection.getresponse().readline().startswith(b"data: ")
            else:
                time.sleep(0.5)
            connection.sock.shutdown(socket.SHUT_RDWR)
            connection.close()
            begun = time.monotonic()
            while served["w"].writer.busy:
                assert time.monotonic() - begun < LONGEST
                time.sleep(0.01)
            assert len(steps) < 80


@pytest.mark.parametrize("sent", ["", "POST /v2/models/b/infer HTT", "GET /v2 HTTP/1.1\r\nHost: 127.0.0.1\r\nX: "])
def test_who_does_not_send_headers_is_sent_away(bundle, monkeypatch, sent):
    monkeypatch.setattr(edgelm.serve.connections, "_HEADERS_S", 0.2)
    with here({"b": bundle}) as (port, _), socket.create_connection(("127.0.0.1", port), timeout=LONGEST) as client:
        client.sendall(sent.encode())
        assert client.recv(100) == b""
        assert ask(port)[0] == 200


def test_headers_without_end_are_not_kept(bundle):
    with here({"b": bundle}) as (port, _), socket.create_connection(("127.0.0.1", port), timeout=LONGEST) as client:
        client.sendall(b"GET /v2 HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        with contextlib.suppress(ConnectionError):
            for _ in range(100):
                client.sendall(b"X: " + b"y" * 10_000 + b"\r\n")
            assert client.recv(100) == b""
        assert ask(port)[0] == 200


def test_a_body_that_does_not_come_is_not_waited_for(bundle):
    with here({"b": bundle}, timeout_s=0.3) as (port, _):
        with socket.create_connection(("127.0.0.1", port), timeout=LONGEST) as client:
            client.sendall(b"POST /v2/models/b/infer HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n{")
            assert client.recv(1000).startswith(b"HTTP/1.1 408")
        assert ask(port)[0] == 200


def test_what_all_requests_hold_together_is_bounded(bundle):
    with here({"b": bundle}, max_body_mb=0.001) as (port, _), contextlib.ExitStack() as stack:
        for _ in range(16):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=LONGEST))
            client.sendall(b"POST /v2/models/b/infer HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\n")
            client.sendall(b" " * 999)
        deadline = time.monotonic() + LONGEST
        while ask(port)[0] != 429:
            assert time.monotonic() < deadline
        stack.close()
        while ask(port)[0] != 200:
            assert time.monotonic() < deadline


def test_what_is_no_http_harms_nobody(bundle):
    with here({"b": bundle}) as (port, _):
        for junk in (
            b"\0" * 1000,
            b"\x16\x03\x01" + os.urandom(200),
            b"GET\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ):
            with socket.create_connection(("127.0.0.1", port), timeout=LONGEST) as client:
                client.sendall(junk)
                assert client.recv(1000).startswith((b"HTTP/1.1 4", b""))
        assert ask(port)[0] == 200


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["nowhere.edge"], 4, "nowhere.edge"),
        (["BUNDLE", "BUNDLE"], 2, "NAME=BUNDLE"),
        (["BUNDLE", "--host", "0.0.0.0"], 2, "EDGELM_SERVE_TOKEN"),
        (["BUNDLE", "--token", "short"], 2, "16 characters"),
        (["BUNDLE", "--timeout", "0"], 2, "--timeout is '0'"),
        (["BUNDLE", "--timeout", "20d"], 2, "timeout_s"),
        (["BUNDLE", "--max-delay", "5m"], 2, "--max-delay is '5m'"),
        (["BUNDLE", "--key", "KEY"], 4, "is not signed"),
    ],
)
def test_what_cannot_be_served_is_said_before_anything_listens(bundle, tmp_path, arguments, code, words):
    if "KEY" in arguments:
        pytest.importorskip("cryptography", reason="signatures are checked by the extra `sign`")
        public = make_keys(tmp_path / "maker").public
    else:
        public = ""
    given = [{"BUNDLE": str(bundle), "KEY": str(public)}.get(word, word) for word in arguments]
    result = CliRunner().invoke(app, ["serve", *given, "--port", "0"], env={"EDGELM_SERVE_TOKEN": None})
    assert result.exit_code == code, result.output
    assert words in result.output
