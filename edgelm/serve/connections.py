"""A connection of HTTP/1.1 that no client keeps for nothing: its headers come in time, and are not without end."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_HEADERS_S = 15
_HEADERS_BYTES = 65_536


class Connection(HttpToolsProtocol):
    """uvicorn's, which waits for headers as long as it takes and holds as many as come."""

    _due: asyncio.TimerHandle | None = None  # when headers must be there; None: none are awaited
    _size = 0  # bytes that came meanwhile

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request's headers."""
        super().connection_made(transport)
        self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on, unless there is no end of headers."""
        if self._due is not None:
            if self._size > _HEADERS_BYTES:
                self.transport.close()
                return
            self._size += len(data)
        super().data_received(data)

    def on_message_begin(self) -> None:
        """A request has begun."""
        self._await_headers()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Its headers are there."""
        self._stop_waiting()
        super().on_headers_complete()

    def _await_headers(self) -> None:
        self._stop_waiting()
        self._due = self.loop.call_later(_HEADERS_S, self._close)

    def _stop_waiting(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None
        self._size = 0

    def _close(self) -> None:
        self.transport.close()
