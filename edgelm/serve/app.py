"""The whole server as an ASGI application: the gate, the doors behind it, and the metrics."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from edgelm.errors import EdgelmError
from edgelm.serve.doors import Intake, enter
from edgelm.serve.gate import Gate
from edgelm.serve.inference import InferenceDoor
from edgelm.serve.limits import Limits
from edgelm.serve.metrics import CONTENT_TYPE, Metrics
from edgelm.serve.openai import OpenAiDoor
from edgelm.serve.refusals import Refusal, as_refusal, respond
from edgelm.serve.served import Served


def make_app(served: Served, limits: Limits, metrics: Metrics, *, token: str | None = None) -> Starlette:
    """An application that answers by these models.

    Args:
        token: that requests must carry; None: anyone who reaches it may ask.
    """

    async def tell(request: Request) -> Response:
        enter(request, "metrics")
        return Response(metrics.text(), media_type=CONTENT_TYPE)

    intake = Intake(limits)
    return Starlette(
        routes=[
            *InferenceDoor(served, intake).routes(),
            *OpenAiDoor(served, intake).routes(),
            Route("/metrics", tell),
        ],
        middleware=[Middleware(Gate, metrics=metrics, token=token)],
        exception_handlers={HTTPException: _refuse_path, EdgelmError: _refuse, Exception: _refuse},
    )


async def _refuse(request: Request, error: Exception) -> Response:
    return respond(as_refusal(error), request.url.path)


async def _refuse_path(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    words = {404: "there is nothing at this path.", 405: f"not by {request.method}."}
    return respond(Refusal(error.status_code, words.get(error.status_code, str(error.detail))), request.url.path)
