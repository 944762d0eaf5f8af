"""Who may come in: what every request passes before a door is asked, and what is written down about it."""

from __future__ import annotations

import secrets
import time
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgelm.serve.addresses import is_loopback
from edgelm.serve.doors import GONE, SERVED
from edgelm.serve.metrics import Metrics
from edgelm.serve.refusals import Refusal, respond

_OPEN = ("/v2/health/live", "/v2/health/ready")  # which probes of orchestrators ask without a token


class Gate:
    """Lets requests through.

    With a token, those that carry it. Without one the server listens on a loopback address alone, where web pages that
    the user has open are what could send requests: they are told by the `Origin` of another site, or by the `Host` that
    their own site's name leads here with.

    Args:
        token: what `Authorization: Bearer` must carry; None: nothing.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics, token: str | None) -> None:
        self._app, self._metrics = app, metrics
        self._token = None if token is None else token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status = GONE

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            refusal = self._refusal(scope["path"], Headers(scope=scope))
            if refusal is None:
                await self._app(scope, receive, watched)
            else:
                await respond(refusal, scope["path"])(scope, receive, watched)
        finally:
            door, model = scope.get(SERVED, ("", ""))
            self._metrics.request(door, model, status, time.perf_counter() - began)

    def _refusal(self, path: str, headers: Headers) -> Refusal | None:
        if self._token is not None:
            if path in _OPEN or self._carries_token(headers.get("authorization", "")):
                return None
            return Refusal(401, "no token, or a wrong one.", hint="Send it as Authorization: Bearer TOKEN.")
        host, origin = headers.get("host", ""), headers.get("origin")
        if not is_loopback(_name(f"//{host}")):
            return Refusal(403, f"this server answers to no host {host!r:.60}.", hint="Use 127.0.0.1 or localhost.")
        if origin is not None and not is_loopback(_name(origin)):
            return Refusal(403, f"a page of {origin!r:.60} may not ask this server.")
        return None

    def _carries_token(self, authorization: str) -> bool:
        scheme, _, given = authorization.partition(" ")
        expected = self._token or b""
        return secrets.compare_digest(given.strip().encode(), expected) and scheme.lower() == "bearer"


def _name(address: str) -> str:
    """The host of an address; empty where it has none."""
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""
