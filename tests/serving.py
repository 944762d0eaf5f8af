"""The application of `edgelm serve` with bundles of the tests, asked in this process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from edgelm.serve.app import make_app
from edgelm.serve.limits import Limits
from edgelm.serve.metrics import Metrics
from edgelm.serve.served import Served, opened

HOST = "http://127.0.0.1:8000"


@contextmanager
def serving(
    bundles: Mapping[str, Path], *, token: str | None = None, **limits: Any
) -> Iterator[tuple[TestClient, Served]]:
    """A client of a server with these bundles, and its models."""
    metrics = Metrics()
    with opened(bundles, Limits(**limits), metrics, threads=1) as served:
        app = make_app(served, Limits(**limits), metrics, token=token)
        with TestClient(app, base_url=HOST, raise_server_exceptions=False) as client:
            yield client, served


def tensor(name: str, data: Sequence[Any], **changes: Any) -> dict[str, Any]:
    """An input of texts."""
    return {"name": name, "datatype": "BYTES", "shape": [len(data)], "data": list(data)} | changes


def outputs(response: Any) -> dict[str, list[Any]]:
    """A response's data by the names of its tensors."""
    assert response.status_code == 200, response.text
    return {found["name"]: found["data"] for found in response.json()["outputs"]}
