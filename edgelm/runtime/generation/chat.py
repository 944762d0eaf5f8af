"""Turns a conversation into a prompt by the model's own template, which is a program that somebody else wrote.

It runs in Jinja's sandbox, reaches nothing outside, makes nothing that is longer than a prompt could be, and is stopped
after a second. This and `sandbox` need jinja2 (extra `chat`).
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from edgelm.errors import BundleError, DataError, EdgelmError, MissingExtraError, UsageError, install_extra
from edgelm.runtime.generation.sandbox import compile_template

Messages: TypeAlias = "Sequence[Mapping[str, Any]]"

ROLES = ("system", "developer", "user", "assistant", "tool")
LIMIT_S = 1.0


class ChatTemplate:
    """A model's template, as tokenizers of transformers have it.

    Args:
        source: in Jinja.
        tokens: what it may name: bos_token, eos_token and others.
        limit_s: how long it may run.
    """

    def __init__(self, source: str, tokens: Mapping[str, str] = {}, *, limit_s: float = LIMIT_S) -> None:
        self._source, self._tokens, self._limit_s = source, dict(tokens), limit_s
        self._template: Any = None

    def __call__(self, messages: Messages, *, answer: bool = True) -> str:
        """The prompt of a conversation.

        Args:
            messages: each with a role of `ROLES` and a content; whatever else is in it, the template may read.
            answer: end with what the model's answer begins with.

        Raises:
            UsageError: no messages, or such as have no role or no text.
            DataError: an unknown role, or what the template itself refuses.
            BundleError: the template is none, reaches outside, or does not end.
            MissingExtraError: jinja2 is missing.
        """
        check_messages(messages)
        values = {"messages": [dict(message) for message in messages], "tools": None, "documents": None}
        found: list[str] = []

        def render() -> None:
            if self._template is None:
                self._template = compile_template(self._source, refuse=_refuse)
            found.append(self._template.render(**values, add_generation_prompt=answer, **self._tokens))

        try:
            _limited(render, self._limit_s)
        except EdgelmError:
            raise
        except ImportError as error:
            raise MissingExtraError("jinja2 is not installed.", hint=install_extra("chat")) from error
        except MemoryError as error:
            raise BundleError("the chat template makes what is too long.", hint=_HINT) from error
        except Exception as error:  # what a template does may raise anything
            raise _translated(error) from error
        return found[0]


_HINT = "Use a bundle whose template is right, or write the prompt yourself and give it as text."


def check_messages(messages: Messages) -> None:
    """Refuse what is no conversation.

    Raises:
        UsageError: no messages, or such as have no role or no text.
        DataError: an unknown role.
    """
    if not messages:
        raise UsageError("a conversation needs a message.", hint='Give [{"role": "user", "content": "..."}].')
    for number, message in enumerate(messages):
        role, content = message.get("role"), message.get("content")
        if not isinstance(role, str) or not isinstance(content, str):
            raise UsageError(
                f"message {number} has no role or no content that is text.",
                hint='A message is {"role": "user", "content": "..."}.',
            )
        if role not in ROLES:
            raise DataError(f"message {number}: the role {role!r} is not known.", hint=f"Roles: {', '.join(ROLES)}.")


def _translated(error: Exception) -> EdgelmError:
    from jinja2.exceptions import SecurityError, TemplateSyntaxError

    if isinstance(error, SecurityError):
        return BundleError(f"the chat template reaches outside: {error}.", hint=_HINT)
    if isinstance(error, TemplateSyntaxError):
        return BundleError(f"the chat template cannot be read: {error}.", hint=_HINT)
    if isinstance(error, _Refused):
        return DataError(f"the chat template refuses the conversation: {error}", hint="Change the messages.")
    return BundleError(f"the chat template fails: {type(error).__name__}: {error}.", hint=_HINT)


class _Refused(Exception):
    """What a template calls `raise_exception` with."""


def _refuse(message: str) -> None:
    raise _Refused(message)


class _TooLong(BaseException):
    """Thrown into the thread of a template that does not end."""


def _limited(call: Callable[[], None], limit_s: float) -> None:
    """Make a call in a thread of its own, and stop it when its time is over.

    Raises:
        BundleError: it did not end.
    """
    raised: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except _TooLong:
            pass
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(limit_s)
    if thread.is_alive():
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(_TooLong))
        raise BundleError(f"the chat template did not end within {limit_s:g} s.", hint=_HINT)
    if raised:
        raise raised[0]
