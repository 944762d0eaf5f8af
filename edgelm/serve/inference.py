"""The door of the Open Inference Protocol, version 2, over HTTP.

Source: https://github.com/kserve/open-inference-protocol, specification/protocol/inference_rest.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from edgelm.serve.doors import Intake, enter, respond_with, while_there
from edgelm.serve.fields import text, whole, wrong
from edgelm.serve.served import Answering, Served, Writing
from edgelm.serve.tensors import BYTES, INT64, Tensor, chosen_outputs, read_inputs
from edgelm.serve.writing import Job
from edgelm.serve.writing_requests import writing_settings
from edgelm.version import __version__

_PROMPT: tuple[Tensor, ...] = (Tensor("text", BYTES),)
_WRITTEN: tuple[Tensor, ...] = (
    Tensor("text", BYTES),
    Tensor("finish", BYTES),
    Tensor("tokens", INT64),
    Tensor("prompt_tokens", INT64),
)


class InferenceDoor:
    """Answers the protocol's requests."""

    def __init__(self, served: Served, intake: Intake) -> None:
        self._served, self._intake, self._limits = served, intake, intake.limits

    def routes(self) -> list[Route]:
        """Of every path of the protocol."""
        return [
            Route("/v2", self._server),
            Route("/v2/health/live", self._live),
            Route("/v2/health/ready", self._ready),
            Route("/v2/models/{name}", self._model),
            Route("/v2/models/{name}/ready", self._model_ready),
            Route("/v2/models/{name}/infer", self._infer, methods=["POST"]),
        ]

    async def _server(self, request: Request) -> Response:
        return respond_with({"name": "edgelm", "version": __version__, "extensions": []})

    async def _live(self, request: Request) -> Response:
        return respond_with({"live": True})

    async def _ready(self, request: Request) -> Response:
        return respond_with({"ready": True, "live": True})  # the protocol's text has "live" here as well

    async def _model_ready(self, request: Request) -> Response:
        return respond_with({"name": self._asked(request, "ready").name, "ready": True})

    async def _model(self, request: Request) -> Response:
        model = self._asked(request, "metadata")
        if isinstance(model, Writing):
            inputs, outputs = _PROMPT, _WRITTEN
        else:
            inputs, outputs = model.signature.inputs, tuple(each.tensor for each in model.signature.outputs)
        task = model.manifest.task
        return respond_with(
            {
                "name": model.name,
                "platform": "tensorrt_plan" if "tensorrt" in model.ran_by else "onnx_onnxv1",
                "inputs": [tensor.to_dict() for tensor in inputs],
                "outputs": [tensor.to_dict() for tensor in outputs],
                "parameters": {"task": task.kind, "labels": list(task.labels)},
            }
        )

    async def _infer(self, request: Request) -> Response:
        model = self._asked(request, "infer")
        with self._intake(request):
            values = await self._intake.read(request)
            number = text(values, "id")
            parameters = values.get("parameters")
            if parameters is not None and not isinstance(parameters, dict):
                raise wrong("parameters", parameters, "an object")
            if isinstance(model, Writing):
                outputs = await while_there(request, self._write(model, values, parameters or {}))
            else:
                outputs = await self._answer(model, values)
        found: dict[str, Any] = {"model_name": model.name, "outputs": outputs}
        return respond_with(found if number is None else {**found, "id": number})

    async def _answer(self, model: Answering, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        signature = model.signature
        names = chosen_outputs(values, [output.tensor.name for output in signature.outputs])
        samples = signature.samples(read_inputs(values, signature.inputs, most=self._limits.most_samples))
        return signature.tensors(await model.batcher(samples), names)

    async def _write(
        self, model: Writing, values: Mapping[str, Any], parameters: Mapping[str, Any]
    ) -> list[dict[str, Any]]:
        names = chosen_outputs(values, [tensor.name for tensor in _WRITTEN])
        texts = read_inputs(values, _PROMPT, most=self._limits.most_samples)["text"]
        settings = writing_settings(parameters, self._limits, whole(parameters, "max_tokens", least=1))
        jobs = [Job(prompt, settings) for prompt in texts]
        answers = await model.writer.answers(jobs)
        wanted = [tensor for tensor in _WRITTEN if tensor.name in names]
        return [
            {**tensor.to_dict(), "shape": [len(answers)], "data": [answer[tensor.name] for answer in answers]}
            for tensor in wanted
        ]

    def _asked(self, request: Request, door: str) -> Answering | Writing:
        enter(request, door)
        model = self._served[request.path_params["name"]]
        enter(request, door, model.name)
        return model
