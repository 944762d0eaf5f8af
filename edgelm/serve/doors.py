"""What the doors of a server have in common: how a request is read, how long it may take, and whether its client is
still there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import anyio
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from edgelm.serve.encoding import JSON_TYPE, dump, parse
from edgelm.serve.fields import as_object
from edgelm.serve.limits import Limits
from edgelm.serve.refusals import Refusal

GONE = 499  # what servers write down where a client did not wait for its answer
SERVED = "edgelm.served"  # where in a request's scope its door and its model stand,
READ = "edgelm.read"  # and that its body is there
_HELD = "edgelm.held"  # how many bytes that has
_BODIES = 16
_LARGE = 65_536  # bytes of JSON that take long enough to be worth a thread

Found = TypeVar("Found")


class Intake:
    """Lets requests in, one time limit and one measure of memory for all.

    Args:
        limits: a request's size and time; of all that are under way together, sixteen of the largest.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._most = int(limits.max_body_mb * 1e6)
        self._free = _BODIES * self._most

    @contextmanager
    def __call__(self, request: Request) -> Iterator[None]:
        """Answer a request in time, and then let go of what it holds.

        Raises:
            Refusal: there is no answer in time, or no request.
        """
        try:
            with within(self.limits.timeout_s, request):
                yield
        finally:
            self._free += request.scope.get(_HELD, 0)

    async def read(self, request: Request) -> dict[str, Any]:
        """A request's JSON object.

        Raises:
            Refusal: it is too large, or no JSON; others hold too much; or its client has left.
        """
        body, scope = bytearray(), request.scope
        try:
            async for chunk in request.stream():
                body += chunk
                if len(body) > self._most:
                    size = f"{self.limits.max_body_mb:g} MB"
                    raise Refusal(413, f"the request is larger than {size}.", hint="Send less at once.")
                self._free -= len(chunk)
                scope[_HELD] = scope.get(_HELD, 0) + len(chunk)
                if self._free < 0:
                    raise Refusal(429, "other requests hold too much.", hint="Try again in a moment.")
        except ClientDisconnect as error:
            raise Refusal(GONE, "the client has left.") from error
        scope[READ] = True
        try:
            data = bytes(body)
            return as_object(parse(data) if len(data) < _LARGE else await asyncio.to_thread(parse, data))
        except ValueError as error:
            raise Refusal(400, f"the request is no JSON: {error}.") from error


def respond_with(value: Any) -> Response:
    """A response of JSON."""
    return Response(dump(value), media_type=JSON_TYPE)


def enter(request: Request, door: str, model: str = "") -> None:
    """Say by which door a request came, and for which model, for the metrics."""
    request.scope[SERVED] = (door, model)


@contextmanager
def within(timeout_s: float, request: Request) -> Iterator[None]:
    """Give up what is not done in time.

    Raises:
        Refusal: it is not; 408 where the request itself had not come.
    """
    try:
        with anyio.fail_after(timeout_s):
            yield
    except TimeoutError as error:
        status, missing = (503, "no answer") if READ in request.scope else (408, "no whole request")
        raise Refusal(status, f"there was {missing} within {timeout_s:g} s.") from error


async def while_there(request: Request, work: Awaitable[Found]) -> Found:
    """What some work gives, which ends when the client leaves.

    Raises:
        Refusal: it has left.
    """
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise Refusal(GONE, "the client has left.")
        return task.result()
    finally:
        task.cancel()
        gone.cancel()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
