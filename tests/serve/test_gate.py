"""Who may ask: anyone on this machine, others with the token; no web page of another site."""

import pytest

pytest.importorskip("starlette", reason="needs the extra serve")
pytest.importorskip("prometheus_client", reason="needs the extra serve")

from bundles import make_bundle
from serving import serving

from edgelm.errors import ResourceError, UsageError
from edgelm.serve.addresses import bind, check_token, is_loopback, url_of
from edgelm.serve.limits import Limits
from edgelm.serve.served import named

TOKEN = "a-long-enough-secret"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("gate") / "b.edge")


def test_a_token_is_asked_for_everywhere_but_by_probes(bundle):
    with serving({"b": bundle}, token=TOKEN) as (client, _):
        for path, shape in (("/v2/models/b", ["error"]), ("/v1/models", ["error"]), ("/metrics", ["error"])):
            for headers in (
                {},
                {"Authorization": TOKEN},
                {"Authorization": "Bearer wrong"},
                {"Authorization": f"Basic {TOKEN}"},
                {"Authorization": f"Bearer {TOKEN}x"},
                {"Authorization": "Bearer \u00e9"},
            ):
                refused = client.get(path, headers={name: value.encode() for name, value in headers.items()})
                assert refused.status_code == 401
                assert refused.headers["www-authenticate"] == "Bearer"
                assert list(refused.json()) == shape
            assert client.get(path, headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
        assert client.get("/v2/health/live").status_code == client.get("/v2/health/ready").status_code == 200
        assert client.get("/v1/models").json()["error"]["code"] == "invalid_api_key"
        elsewhere = {"Host": "models.example.com", "Authorization": f"bearer {TOKEN}"}
        assert client.get("/v1/models", headers=elsewhere).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "127.0.0.1:8000"}, 200),
        ({"Host": "localhost"}, 200),
        ({"Host": "[::1]:8000"}, 200),
        ({"Host": "127.0.0.1", "Origin": "http://localhost:3000"}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"Host": "127.0.0.1@evil.example"}, 403),
        ({"Host": "["}, 403),
        ({"Host": ""}, 403),
        ({"Host": "127.0.0.1", "Origin": "https://evil.example"}, 403),
        ({"Host": "127.0.0.1", "Origin": "null"}, 403),
    ],
)
def test_without_a_token_no_page_of_another_site_may_ask(bundle, headers, status):
    with serving({"b": bundle}) as (client, _):
        assert client.get("/v2/models/b", headers=headers).status_code == status


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost", "LOCALHOST"])
def test_this_machine_needs_no_token(host):
    assert is_loopback(host)
    assert check_token(host, None) is None
    assert check_token(host, TOKEN) == TOKEN


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.com", "127.1", ""])
def test_any_other_address_does(host):
    assert not is_loopback(host)
    for token in (None, ""):
        with pytest.raises(UsageError, match="EDGELM_SERVE_TOKEN"):
            check_token(host, token)
    assert check_token(host, TOKEN) == TOKEN


@pytest.mark.parametrize("token", ["short", "with a blank in it, long", "\u00e9" * 20, "line\n" * 5])
def test_a_token_that_is_guessed_or_cannot_be_sent_is_refused(token):
    with pytest.raises(UsageError, match="16"):
        check_token("127.0.0.1", token)


def test_a_port_that_is_taken_is_said_before_anything_is_loaded():
    with bind("127.0.0.1", 0) as first:
        first.listen()
        assert url_of(first).startswith("http://127.0.0.1:")
        with pytest.raises(ResourceError, match="--port"):
            bind("127.0.0.1", first.getsockname()[1])
    with pytest.raises(UsageError, match="--host"):
        bind("no.such.host.invalid", 0)


def test_names_are_given_or_those_of_the_files(tmp_path):
    (tmp_path / "a=b.edge").mkdir()
    assert list(named(["build/first.edge", "second.edgelm", "mine=build/first.edge"])) == ["first", "second", "mine"]
    for wrong in (["a.edge", "b/a.edgelm"], ["a b.edge"], ["=x.edge"], ["no/pe=x.edge"], [str(tmp_path / "a=b.edge")]):
        with pytest.raises(UsageError, match="NAME=BUNDLE"):
            named(wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_batch": 0},
        {"queue": 0},
        {"timeout_s": 0},
        {"timeout_s": float("nan")},
        {"max_body_mb": -1},
        {"max_delay_ms": -1},
    ],
)
def test_limits_that_are_none_are_refused_by_their_names(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        Limits(**wrong)
