"""The door of OpenAI's clients: models, completions, chat completions and embeddings.

Source: https://platform.openai.com/docs/api-reference (completions, chat, embeddings, models), as of 2026.
"""

from __future__ import annotations

import base64
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from edgelm.runtime.answers.table import Answer
from edgelm.serve.doors import Intake, enter, respond_with, while_there, within
from edgelm.serve.encoding import dump
from edgelm.serve.fields import text, text_list, unknown, whole, wrong
from edgelm.serve.refusals import Refusal, as_refusal, openai_error
from edgelm.serve.served import Answering, Served, Writing
from edgelm.serve.writing import Job
from edgelm.serve.writing_requests import Asked, model_name, read_chat, read_completion

_VECTOR_FIELDS = ("model", "input", "encoding_format", "dimensions", "user")


class Shape:
    """How texts stand in responses: of completions, or of chats."""

    def __init__(self, model: str, *, chat: bool) -> None:
        self._chat = chat
        self._head = {
            "id": f"{'chatcmpl' if chat else 'cmpl'}-{uuid.uuid4().hex}",
            "created": int(time.time()),
            "model": model,
        }

    def whole(self, answers: Sequence[Answer]) -> dict[str, Any]:
        """A response with whole texts."""
        choices = [
            {
                "index": index,
                **(
                    {"message": {"role": "assistant", "content": answer["text"]}}
                    if self._chat
                    else {"text": answer["text"]}
                ),
                "logprobs": None,
                "finish_reason": answer["finish"],
            }
            for index, answer in enumerate(answers)
        ]
        kind = "chat.completion" if self._chat else "text_completion"
        return {**self._head, "object": kind, "choices": choices, "usage": _usage(answers)}

    def piece(self, said: str, *, index: int = 0, finish: str | None = None, first: bool = False) -> dict[str, Any]:
        """A part of a streamed response."""
        delta: dict[str, Any] = {"role": "assistant"} if first else {}
        delta |= {} if finish is not None else {"content": said}
        content = {"delta": delta} if self._chat else {"text": said}
        choice = {"index": index, **content, "logprobs": None, "finish_reason": finish}
        return {**self._kind(), "choices": [choice]}

    def usage(self, answers: Sequence[Answer]) -> dict[str, Any]:
        """The part at the end of a streamed response that says how many tokens there were."""
        return {**self._kind(), "choices": [], "usage": _usage(answers)}

    def _kind(self) -> dict[str, Any]:
        return {**self._head, "object": "chat.completion.chunk" if self._chat else "text_completion"}


class OpenAiDoor:
    """Answers the requests of OpenAI's clients."""

    def __init__(self, served: Served, intake: Intake) -> None:
        self._served, self._intake, self._limits = served, intake, intake.limits

    def routes(self) -> list[Route]:
        """Of every path that is answered."""
        return [
            Route("/v1/models", self._models),
            Route("/v1/models/{name}", self._model),
            Route("/v1/completions", self._completions, methods=["POST"]),
            Route("/v1/chat/completions", self._chat, methods=["POST"]),
            Route("/v1/embeddings", self._embeddings, methods=["POST"]),
        ]

    async def _models(self, request: Request) -> Response:
        enter(request, "models")
        there = [one for one in self._served.models.values() if isinstance(one, Writing) or _gives_vectors(one)]
        return respond_with({"object": "list", "data": [_described(one) for one in there]})

    async def _model(self, request: Request) -> Response:
        enter(request, "models")
        return respond_with(_described(self._served[request.path_params["name"]]))

    async def _completions(self, request: Request) -> Response:
        enter(request, "completions")
        with self._intake(request):
            values = await self._intake.read(request)
            return await self._texts(request, self._writing(request, values, "completions"), values, chat=False)

    async def _chat(self, request: Request) -> Response:
        enter(request, "chat")
        with self._intake(request):
            values = await self._intake.read(request)
            model = self._writing(request, values, "chat")
            if model.writer.generator.reader.template is None:
                raise Refusal(400, f"{model.name} has no chat template.", hint="Use /v1/completions.", param="model")
            return await self._texts(request, model, values, chat=True)

    def _writing(self, request: Request, values: dict[str, Any], door: str) -> Writing:
        model = self._served[model_name(values)]
        enter(request, door, model.name)
        if not isinstance(model, Writing):
            hint = f"It answers at /v2/models/{model.name}/infer."
            raise Refusal(400, f"{model.name} is for {model.manifest.task.kind} and writes no text.", hint=hint)
        return model

    async def _texts(self, request: Request, model: Writing, values: dict[str, Any], *, chat: bool) -> Response:
        asked = (read_chat if chat else read_completion)(values, self._limits)
        jobs = [Job(prompt, asked.settings, asked.key) for prompt in asked.prompts]
        shape = Shape(model.name, chat=chat)
        if not asked.stream:
            return respond_with(shape.whole(await while_there(request, model.writer.answers(jobs))))
        model.writer.submit(jobs)
        stream = self._stream(request, model, jobs, asked, shape)
        try:  # what the first prompt is refused for is said by the status
            first = await while_there(request, anext(stream))
        except BaseException:
            model.writer.cancel(jobs)
            raise
        headers = {"Cache-Control": "no-store"}
        return StreamingResponse(_from(first, stream), media_type="text/event-stream", headers=headers)

    async def _stream(
        self, request: Request, model: Writing, jobs: Sequence[Job], asked: Asked, shape: Shape
    ) -> AsyncIterator[bytes]:
        deadline = time.monotonic() + self._limits.timeout_s
        answers: list[Answer] = []
        said = False
        try:
            for index, job in enumerate(jobs):
                begins = True
                events = job.events()
                while True:
                    with within(deadline - time.monotonic(), request):
                        event = await anext(events)
                    said = True
                    if not isinstance(event, str):
                        answers.append(event)
                        if begins:
                            yield _event(shape.piece("", index=index, first=True))
                        yield _event(shape.piece("", index=index, finish=event["finish"]))
                        break
                    yield _event(shape.piece(event, index=index, first=begins))
                    begins = False
            if asked.with_usage:
                yield _event(shape.usage(answers))
            yield b"data: [DONE]\n\n"
        except Exception as error:
            if not said:
                raise
            yield _event(openai_error(as_refusal(error)))
        finally:
            model.writer.cancel(jobs)

    async def _embeddings(self, request: Request) -> Response:
        enter(request, "embeddings")
        with self._intake(request):
            values = await self._intake.read(request)
            model = self._served[model_name(values)]
            enter(request, "embeddings", model.name)
            if not isinstance(model, Answering) or not _gives_vectors(model):
                kind = model.manifest.task.kind
                raise Refusal(400, f"{model.name} is for {kind} and gives no vectors.", param="model")
            texts, form = self._vector_request(values)
            found = await model.batcher(model.signature.samples({"text": texts}))
        vectors = [answered.answer["embedding"] for answered in found]
        _check_dimensions(values, len(vectors[0]))
        data = [
            {"object": "embedding", "index": index, "embedding": _packed(vector) if form == "base64" else vector}
            for index, vector in enumerate(vectors)
        ]
        tokens = sum(answered.tokens for answered in found)
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return respond_with({"object": "list", "data": data, "model": model.name, "usage": usage})

    def _vector_request(self, values: dict[str, Any]) -> tuple[list[str], str]:
        if others := [name for name in values if name not in _VECTOR_FIELDS]:
            raise unknown(others[0])
        texts = text_list(values, "input", most=self._limits.most_samples)
        form = text(values, "encoding_format") or "float"
        if form not in ("float", "base64"):
            raise wrong("encoding_format", form, "float or base64")
        whole(values, "dimensions", least=1)
        return texts, form


def _check_dimensions(values: dict[str, Any], there: int) -> None:
    if values.get("dimensions") not in (None, there):
        raise wrong("dimensions", values["dimensions"], f"{there}, as the model's vectors have, or left out")


def _gives_vectors(model: Answering) -> bool:
    return model.manifest.task.kind == "sentence-embedding"


def _packed(vector: Sequence[float]) -> str:
    return base64.b64encode(np.array(vector, dtype="<f4").tobytes()).decode("ascii")


def _described(model: Answering | Writing) -> dict[str, Any]:
    try:
        created = int(datetime.fromisoformat(model.manifest.created).timestamp())
    except ValueError:
        created = 0
    return {"id": model.name, "object": "model", "created": created, "owned_by": "edgelm"}


def _usage(answers: Sequence[Answer]) -> dict[str, int]:
    read, written = (sum(answer[name] for answer in answers) for name in ("prompt_tokens", "tokens"))
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def _event(value: Any) -> bytes:
    return b"data: " + dump(value) + b"\n\n"


async def _from(first: bytes, others: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    try:
        yield first
        async for other in others:
            yield other
    finally:
        await others.aclose()  # type: ignore[attr-defined]  # which stops the writing, where the client has left
