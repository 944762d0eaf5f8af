"""Conversations as tokens, through the tokenizer's own template, and which tokens the assistant wrote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgelm.data.prompts import Messages
from edgelm.errors import DataError, MissingExtraError, ModelError, install_extra

_ASSISTANT = "assistant"


def read_talk(messages: Messages, tokenizer: Any, place: str) -> list[tuple[list[int], list[bool]]]:
    """A conversation as sequences of token ids, with those that the assistant wrote, each answer with its end.

    It is one sequence where the template writes the past as it wrote it before. Where it does not (some leave earlier
    thoughts out), each answer has a sequence of its own behind what was said until then: as a device would ask.

    Args:
        messages: role and content of each.
        tokenizer: a fast tokenizer of transformers, with a chat template.
        place: of the row, for messages.

    Raises:
        ModelError: the tokenizer has no template.
        DataError: the template refuses the conversation, or no answer can be found in what it writes.
        MissingExtraError: jinja2 is not installed.
    """
    if not tokenizer.chat_template:
        raise ModelError(
            "the tokenizer has no chat template, so a conversation cannot be written down.",
            hint="Give a model with chat_template.jinja, or rows of prompts and completions.",
        )
    turns = [number for number, (role, _) in enumerate(messages) if role == _ASSISTANT]
    whole = talk_text(messages, tokenizer, place, ask=False)
    answers = [_answer(messages, turn, tokenizer, place) for turn in turns]
    if all(whole.startswith(answer.text) for answer in answers):
        return [_tokens(whole, answers, tokenizer)]
    return [_tokens(answer.text, [answer], tokenizer) for answer in answers]


@dataclass(frozen=True)
class _Answer:
    """What is written until an answer is complete, and the characters in it where the answer begins and ends; behind
    its end the template has marked it."""

    text: str
    start: int
    end: int


def _answer(messages: Messages, turn: int, tokenizer: Any, place: str) -> _Answer:
    asked = talk_text(messages[:turn], tokenizer, place, ask=True)
    text = talk_text(messages[: turn + 1], tokenizer, place, ask=False)
    content = messages[turn][1].strip()
    found = text.rfind(content)
    if not text.startswith(asked) or found < len(asked):
        raise DataError(
            f"{place}: the chat template writes message {turn + 1} so that the answer in it cannot be told.",
            hint="Give rows of prompts and completions instead.",
        )
    return _Answer(text, len(asked), found + len(content))


def talk_text(messages: Messages, tokenizer: Any, place: str, *, ask: bool) -> str:
    """A conversation as the tokenizer's template writes it.

    Args:
        place: of the row, for messages.
        ask: whether the assistant is asked to go on.

    Raises:
        DataError: the template refuses the conversation.
        MissingExtraError: jinja2 is not installed.
    """
    try:
        from jinja2 import TemplateError
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "the package jinja2 is missing; chat templates are written in it.", hint=install_extra("generate")
        ) from error
    given = [{"role": role, "content": content} for role, content in messages]
    try:
        text: str = tokenizer.apply_chat_template(given, tokenize=False, add_generation_prompt=ask)
    except (TemplateError, TypeError, ValueError, KeyError) as error:
        raise DataError(
            f"{place}: the chat template refuses the conversation: {error}.", hint="Correct or remove the row."
        ) from error
    return text


def _tokens(text: str, answers: Sequence[_Answer], tokenizer: Any) -> tuple[list[int], list[bool]]:
    """Token ids, and which of them belong to an answer, the first one behind its end among them: that ends it. What a
    template writes behind that is nothing that the assistant writes."""
    found = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    ids = list(found["input_ids"])
    learned = [False] * len(ids)
    for answer in answers:
        inside = [
            number
            for number, (first, last) in enumerate(found["offset_mapping"])
            if last > answer.start and first < answer.end
        ]
        for number in [*inside, *([inside[-1] + 1] if inside and inside[-1] + 1 < len(ids) else [])]:
            learned[number] = True
    return ids, learned
