"""`edgelm chat`: a conversation with a bundle."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgelm.cli.console import Screen, open_screen
from edgelm.cli.options import BundleThreads, DeviceKeyFile, PublicKeyFile, Quiet, UnsignedAdditions, Verbose
from edgelm.cli.writing import (
    Draft,
    MaxNewTokens,
    MinP,
    RepetitionPenalty,
    Seed,
    Stop,
    Temperature,
    TopK,
    TopP,
    open_draft,
    writing_settings,
)
from edgelm.errors import UsageError

if TYPE_CHECKING:
    from edgelm.runtime.generation.generator import Generator

_PROMPT = "> "
_RESET, _LEAVE = "/reset", ("/exit", "/quit")


def chat(
    bundle: Annotated[Path, typer.Argument(help="A bundle of a model with a chat template, folder or file.")],
    system: Annotated[str | None, typer.Option("--system", help="What the model is told before all else.")] = None,
    max_new_tokens: MaxNewTokens = None,
    temperature: Temperature = None,
    top_k: TopK = None,
    top_p: TopP = None,
    min_p: MinP = None,
    repetition_penalty: RepetitionPenalty = None,
    seed: Seed = None,
    stop: Stop = None,
    draft: Draft = None,
    threads: BundleThreads = None,
    key: PublicKeyFile = None,
    device_key: DeviceKeyFile = None,
    unsigned_additions: UnsignedAdditions = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Talk with a bundle: a line is a message. /reset begins anew, /exit or the end of the input ends it; Ctrl+C ends
    an answer.

    Example: edgelm chat build/my-model.edge --system "Answer in one sentence."
    """
    with open_screen(quiet=quiet, verbose=verbose) as screen:
        from edgelm.runtime import load

        keys: dict[str, Any] = {"key": key, "device_key": device_key, "unsigned_additions": unsigned_additions}
        model = load(bundle, threads=threads, **keys)
        task = model.manifest.task
        if not task.generates or model.reader.template is None:
            raise UsageError(
                f"{bundle}: a model for {task.kind} without a chat template.",
                hint='`edgelm run BUNDLE "some text"` answers one text.',
            )
        settings = writing_settings(
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            repetition_penalty=repetition_penalty,
            seed=seed,
            stop=stop,
        )
        beginning = [] if system is None else [{"role": "system", "content": system}]
        _talk(model, screen, beginning, {"draft": open_draft(draft, threads=threads, keys=keys)} | settings)


def _talk(model: Generator, screen: Screen, beginning: list[dict[str, str]], asked: dict[str, Any]) -> None:
    messages = [*beginning]
    while (line := _read_line(screen)) is not None:
        if line in _LEAVE:
            return
        if line == _RESET:
            messages = [*beginning]
        elif line:
            messages.append({"role": "user", "content": line})
            messages = _answer(model, screen, messages, kept=len(beginning), asked=asked)


def _read_line(screen: Screen) -> str | None:
    """What the user says next; None at the end of the input."""
    if sys.stdin.isatty() and not screen.quiet:
        screen.stderr.print(_PROMPT, end="")
    line = sys.stdin.readline()
    return line.strip() if line else None


def _answer(
    model: Generator, screen: Screen, messages: list[dict[str, str]], *, kept: int, asked: dict[str, Any]
) -> list[dict[str, str]]:
    """Answer, and return the conversation with the answer; what the context cannot hold any more, the oldest exchanges,
    is left out."""
    from edgelm.runtime.generation.prompts import PromptTooLong

    while True:
        try:
            stream = model.stream(messages, **asked)
            break
        except PromptTooLong:
            if len(messages) < kept + 3:  # the last message alone is too long
                raise
            del messages[kept : kept + 2]
            screen.aside("The conversation is longer than the model reads: its oldest exchange is left out.")
    said = []
    try:
        for piece in stream:
            screen.piece(piece)
            said.append(piece)
    except KeyboardInterrupt:  # ends the answer, not the conversation
        pass
    sys.stdout.write("\n")
    sys.stdout.flush()
    return [*messages, {"role": "assistant", "content": "".join(said)}]
