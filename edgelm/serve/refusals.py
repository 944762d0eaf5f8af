"""Why a request is not answered, as a status of HTTP and in the words of the protocol that it came by.

| status | what it says |
|---|---|
| 400 | no JSON, or not what the protocol has: a field that is missing, of another type or not known |
| 401 | no token, or a wrong one |
| 403 | sent by a web page of another site, or to another name than the loopback address has |
| 404, 405 | no such path or model; not this way |
| 408 | the request itself did not arrive in time |
| 413 | larger than requests may be, or with more texts |
| 422 | understood, but nothing that the model can answer: an empty question, a prompt that is too long |
| 429 | too many wait already; `Retry-After` says when to come again |
| 500 | the model failed; the server's own output says why |
| 503 | not answered in time, or the server is stopping; `Retry-After` as above |
"""

from __future__ import annotations

import sys
from http import HTTPStatus
from typing import Any

from starlette.responses import Response

from edgelm.errors import DataError, EdgelmError, MissingExtraError, ResourceError, UsageError
from edgelm.lines import plain_text
from edgelm.serve.encoding import JSON_TYPE, dump

_RETRY_S = 1  # a queue that is full has room again as soon as one answer is out


class Refusal(EdgelmError):
    """A request that is not answered.

    Args:
        status: of HTTP, see above.
        param: which field of the request is meant.

    `text` is message and hint in one line.
    """

    def __init__(self, status: int, message: str, *, hint: str = "", param: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status, self.param = status, param
        self.text = f"{message} {hint}".strip()


def as_refusal(error: Exception) -> Refusal:
    """What an error of any kind says to a client. What is the server's own fault is told to its owner alone: messages
    of such errors name files."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, (UsageError, DataError)):
        return Refusal(422 if isinstance(error, DataError) else 400, error.message)
    if isinstance(error, (MissingExtraError, ResourceError)):
        return Refusal(503, error.message, hint=error.hint)
    told = f"Error: {error if isinstance(error, EdgelmError) else repr(error)}"
    print(plain_text(told), file=sys.stderr, flush=True)
    return Refusal(500, "the model failed; what the server itself has written says why.")


def respond(refusal: Refusal, path: str) -> Response:
    """The response: as OpenAI's below /v1, else as the Open Inference Protocol has it."""
    body = openai_error(refusal) if path.startswith("/v1/") else {"error": refusal.text}
    headers = {}
    if refusal.status in (429, 503):
        headers["Retry-After"] = str(_RETRY_S)
    if refusal.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if refusal.status in (408, 413):  # what is still to come is not read
        headers["Connection"] = "close"
    return Response(dump(body), status_code=refusal.status, headers=headers, media_type=JSON_TYPE)


def openai_error(refusal: Refusal) -> dict[str, Any]:
    """As OpenAI's clients read it."""
    kinds = {401: ("authentication_error", "invalid_api_key"), 429: ("rate_limit_error", "rate_limit_exceeded")}
    kind, code = kinds.get(
        refusal.status,
        ("server_error" if refusal.status >= 500 else "invalid_request_error", _code(refusal.status)),
    )
    return {"error": {"message": refusal.text, "type": kind, "param": refusal.param, "code": code}}


def _code(status: int) -> str:
    return HTTPStatus(status).phrase.lower().replace(" ", "_")
