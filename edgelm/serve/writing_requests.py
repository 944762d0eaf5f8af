"""Requests for texts, as OpenAI's clients make them: what of them is done, and what is refused because it would change
the answer.

Fields that change nothing here (`user`, `metadata`, `store`, ...) are passed over; those that ask for what is not there
are refused unless they have the value that means nothing (`n`: 1); all others are not known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgelm.runtime.generation.chat import ROLES
from edgelm.runtime.generation.prompts import Prompt
from edgelm.serve.fields import flag, number, text, text_list, unknown, whole, wrong
from edgelm.serve.limits import Limits
from edgelm.serve.refusals import Refusal

_SAMPLING = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "seed", "stop")
_USED = ("model", "max_tokens", "stream", "stream_options", "prompt_cache_key", *_SAMPLING)
_PASSED_OVER = ("user", "metadata", "store", "service_tier", "safety_identifier", "parallel_tool_calls")
# What is not there, with the values that ask for nothing.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (None, 1),
    "best_of": (None, 1),
    "echo": (None, False),
    "suffix": (None, ""),
    "logprobs": (None, False),
    "top_logprobs": (None, 0),
    "logit_bias": (None, {}),
    "frequency_penalty": (None, 0),
    "presence_penalty": (None, 0),
    "response_format": (None, {"type": "text"}),
    "tools": (None, []),
    "tool_choice": (None, "none", "auto"),
    "functions": (None, []),
    "function_call": (None, "none", "auto"),
    "modalities": (None, ["text"]),
}
_MOST_STOPS = 4
_LONGEST_STOP = 256
_COLDEST = 0.01  # below it, the likeliest token is all that is ever drawn
_SEEDS = 2**64


@dataclass(frozen=True)
class Asked:
    """What a request for texts asks.

    Attributes:
        prompts: one an answer.
        settings: in the place of the model's, by the names of `edgelm.tasks.generation.GenerationSettings`.
        stream: whether the answer comes piece by piece, `with_usage` at its end.
        key: of the conversation that the prompt belongs to.
    """

    prompts: tuple[Prompt, ...]
    settings: dict[str, Any]
    stream: bool
    with_usage: bool
    key: str


def read_completion(values: Mapping[str, Any], limits: Limits) -> Asked:
    """The request of a completion.

    Raises:
        Refusal: a field that is not known, not of its type, or asks for what is not there.
    """
    _check_names(values, {"prompt"})
    prompts = text_list(values, "prompt", most=limits.most_samples)
    return _asked(values, prompts, limits, whole(values, "max_tokens", least=1))


def read_chat(values: Mapping[str, Any], limits: Limits) -> Asked:
    """The request of a chat completion.

    Raises:
        Refusal: as `read_completion`.
    """
    _check_names(values, {"messages", "max_completion_tokens"})
    messages = values.get("messages")
    if not isinstance(messages, list) or not messages:
        raise wrong("messages", messages, "an array of messages")
    conversation = [_message(message, f"messages[{place}]") for place, message in enumerate(messages)]
    most = whole(values, "max_completion_tokens", least=1)
    most = whole(values, "max_tokens", least=1) if most is None else most
    return _asked(values, [conversation], limits, most)


def model_name(values: Mapping[str, Any]) -> str:
    """Which model a request is for.

    Raises:
        Refusal: it does not say.
    """
    name = text(values, "model")
    if name is None:
        raise Refusal(400, "model is missing.", hint="GET /v1/models lists them.", param="model")
    return name


def _asked(values: Mapping[str, Any], prompts: list[Any], limits: Limits, most: int | None) -> Asked:
    options = values.get("stream_options")
    if options is not None and not isinstance(options, dict):
        raise wrong("stream_options", options, "an object")
    return Asked(
        tuple(prompts),
        writing_settings(values, limits, most),
        flag(values, "stream"),
        flag(options or {}, "include_usage"),
        text(values, "prompt_cache_key") or "",
    )


def writing_settings(values: Mapping[str, Any], limits: Limits, most: int | None) -> dict[str, Any]:
    """How a text is to be written, by the names of `edgelm.tasks.generation.GenerationSettings`.

    Args:
        most: tokens that are asked for; None: as many as the model writes by itself.

    Raises:
        Refusal: a field that is not of its type, or out of its range.
    """
    temperature = number(values, "temperature", least=0, most=2)
    seed = whole(values, "seed", least=-_SEEDS, most=_SEEDS)
    drawing = {
        "temperature": temperature,
        "top_p": number(values, "top_p", least=1e-6, most=1),
        "top_k": whole(values, "top_k", least=0, most=2**31),
        "min_p": number(values, "min_p", least=0, most=1),
        "seed": None if seed is None else seed % _SEEDS,
    }
    penalty = number(values, "repetition_penalty", least=0.01, most=100)
    settings: dict[str, Any] = {} if penalty is None else {"repetition_penalty": penalty}
    if most is not None:
        settings["max_new_tokens"] = min(most, limits.max_tokens)
    if stops := _stops(values.get("stop")):
        settings["stop"] = stops
    if temperature is not None and temperature < _COLDEST:
        return settings | {"do_sample": False}
    drawing = {name: value for name, value in drawing.items() if value is not None}
    return settings | drawing | ({"do_sample": True, "num_beams": 1} if drawing else {})


def _stops(value: Any) -> tuple[str, ...]:
    stops = [value] if isinstance(value, str) else value
    if stops is None:
        return ()
    if not isinstance(stops, list) or not all(isinstance(stop, str) and stop for stop in stops):
        raise wrong("stop", value, "a string, or an array of strings, none of them empty")
    if len(stops) > _MOST_STOPS or any(len(stop) > _LONGEST_STOP for stop in stops):
        raise Refusal(400, f"stop: at most {_MOST_STOPS} texts of {_LONGEST_STOP} characters.", param="stop")
    return tuple(stops)


def _message(message: Any, where: str) -> dict[str, str]:
    """A message with its text as one.

    Raises:
        Refusal: it is none, or holds what is no text.
    """
    if not isinstance(message, dict) or message.get("role") not in ROLES:
        raise Refusal(400, f"{where} has no role of {', '.join(ROLES)}.", param="messages")
    content = message.get("content")
    if isinstance(content, list) and all(
        isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str) for part in content
    ):
        content = "".join(part["text"] for part in content)
    if not isinstance(content, str):
        raise Refusal(400, f"{where}: content is no text, nor parts that all are.", param="messages")
    return {"role": message["role"], "content": content}


def _check_names(values: Mapping[str, Any], own: set[str]) -> None:
    for name, value in values.items():
        if name in own or name in _USED or name in _PASSED_OVER:
            continue
        if name not in _NEUTRAL:
            raise unknown(name)
        if value not in _NEUTRAL[name]:
            raise Refusal(400, f"{name} is not supported.", hint="Leave it out.", param=name)
