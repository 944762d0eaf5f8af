"""Turns texts and conversations into the tokens that a generator reads, and refuses those that it cannot."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from edgelm.errors import DataError, DataWarning, UsageError
from edgelm.runtime.generation.chat import ChatTemplate, Messages
from edgelm.runtime.inputs.tokenizer_guard import tokenizer_errors
from edgelm.tasks.task import Task

Prompt: TypeAlias = "str | Messages"


class PromptTooLong(DataError):
    """A prompt of more tokens than the model reads."""


class PromptReader:
    """Makes tokens of prompts.

    Args:
        tokenizer: of the tokenizers library; set here to cut and to pad nothing.
        context: the longest prompt in tokens; 0: no limit.
        template: of conversations; None: the model has none.
        split_special: names of special tokens in a text are text like any other.
        side: where a text that is too long loses tokens, left or right.
    """

    def __init__(
        self,
        task: Task,
        tokenizer: Any,
        *,
        context: int,
        template: ChatTemplate | None = None,
        split_special: bool = False,
        side: str = "left",
    ) -> None:
        self.task, self.tokenizer, self.context, self.template = task, tokenizer, context, template
        self._split_special, self._side = split_special, side
        tokenizer.no_padding()
        tokenizer.no_truncation()

    def __call__(self, prompt: Prompt, *, room: int = 0, truncate: bool = False) -> list[int]:
        """The tokens of one prompt.

        Args:
            room: tokens that a cut prompt leaves for what is written.
            truncate: cut a prompt that is too long, and warn; else it is refused.

        Raises:
            UsageError: neither a text nor a conversation, or a conversation for a model without a template.
            DataError: no tokens, too many, or what is no Unicode; a role that is not known.
        """
        if isinstance(prompt, str):
            text, special = self.task.prompted([prompt])[0], True
        else:
            text, special = self._render(prompt), False  # the template names them itself
        ids = self._encode(text, special=special)
        if not ids:
            raise DataError("an empty prompt, and the model has no token to begin with.", hint="Give some text.")
        if self.context and len(ids) > self.context:
            if not truncate:
                raise PromptTooLong(
                    f"the prompt has {len(ids):,} tokens; the model reads {self.context:,}.",
                    hint="Shorten it, or have it cut: --truncate, or truncate=True.",
                )
            kept = max(self.context - room, self.context // 2, 1)
            warnings.warn(
                f"the prompt has {len(ids):,} tokens; {'the last' if self._side == 'left' else 'the first'} {kept:,} "
                "are read.",
                DataWarning,
                stacklevel=2,
            )
            ids = self._encode(text, special=special, longest=kept)
        return ids

    def _render(self, messages: Messages) -> str:
        if not isinstance(messages, Sequence) or not all(isinstance(message, Mapping) for message in messages):
            raise UsageError(
                f"this model reads texts or conversations; got {messages!r:.60}.",
                hint='Give a text, or [{"role": "user", "content": "..."}].',
            )
        if self.template is None:
            raise UsageError("this model has no chat template.", hint="Give the prompt as one text.")
        return self.template(messages)

    def _encode(self, text: str, *, special: bool, longest: int = 0) -> list[int]:
        tokenizer = self.tokenizer
        tokenizer.encode_special_tokens = special and self._split_special
        try:
            text.encode()
            if longest:
                with tokenizer_errors("cannot be set up"):
                    tokenizer.enable_truncation(longest, direction=self._side)
            with tokenizer_errors("cannot cut this prompt into tokens"):
                ids: list[int] = tokenizer.encode(text, add_special_tokens=special).ids
        except UnicodeEncodeError as error:
            raise DataError(f"a text is no Unicode ({error.reason}).", hint="Give whole characters.") from error
        finally:
            if longest:
                tokenizer.no_truncation()
        return ids
