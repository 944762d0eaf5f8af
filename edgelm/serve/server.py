"""Listens, until it is told to stop; then answers what has come, and ends."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn

from edgelm.serve.connections import Connection
from edgelm.serve.limits import Limits

_CONNECTIONS = 1024  # at once; one more is sent away with 503
_IDLE_S = 30  # how long a connection may be silent between two requests


class Server(uvicorn.Server):
    """uvicorn, which ends well where it was told to by SIGTERM or Ctrl+C: with no signal at the end.

    Args:
        started: called when it listens.
    """

    def __init__(self, config: uvicorn.Config, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._tell = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        await super().startup(sockets)
        if self.started:
            self._tell()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop at the first signal, and drop what is not done at the second."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _stop(self, number: int, frame: Any) -> None:
        self.force_exit = self.should_exit
        self.should_exit = True


def make_server(app: Any, limits: Limits, *, started: Callable[[], None], log: bool = False) -> Server:
    """What answers requests until SIGTERM or Ctrl+C, then those that are under way: `run(sockets=[...])`.

    Args:
        app: an ASGI application.
        started: called when it listens.
        log: write a line for each request on stderr.
    """
    config = uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        lifespan="off",
        log_level="info" if log else "warning",
        access_log=log,
        limit_concurrency=_CONNECTIONS,
        timeout_keep_alive=_IDLE_S,
        timeout_graceful_shutdown=max(1, round(limits.timeout_s)),
        server_header=False,
        proxy_headers=False,  # nobody is trusted to say who the client is
    )
    return Server(config, started)
