"""`edgelm run`: text in, answer out."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from edgelm.cli.console import open_screen
from edgelm.cli.options import Provider, Quiet, Verbose
from edgelm.errors import UsageError
from edgelm.lines import read_texts


def run(
    bundle: Annotated[Path, typer.Argument(help="A bundle, folder or file.")],
    texts: Annotated[list[str] | None, typer.Argument(help="Texts to answer.")] = None,
    pair: Annotated[str | None, typer.Option("--pair", help="The second text, for models that read two.")] = None,
    file: Annotated[
        str | None,
        typer.Option(
            "--file", help="One text a line (with a tab between the two, for models of pairs); - reads stdin."
        ),
    ] = None,
    top: Annotated[int, typer.Option("--top", min=1, help="How many labels to show.")] = 1,
    threads: Annotated[
        int | None,
        typer.Option("--threads", min=1, help="Threads of one operator. Default: as the bundle says, else one a core."),
    ] = None,
    provider: Provider = None,
    hashes: Annotated[
        bool,
        typer.Option(
            "--hashes/--no-hashes",
            help="Compare the SHA-256 of graph, weights and tokenizer with the manifest's before use.",
        ),
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON lines, one object a text.")] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Answer texts with a bundle.

    Example: edgelm run build/my-model.edge "This is a great movie!"
    """
    with open_screen(as_json=as_json, quiet=quiet, verbose=verbose) as screen:
        from edgelm.runtime import load

        if pair is not None and len(texts or ()) != 1:
            raise UsageError(
                "--pair goes with exactly one text.", hint='edgelm run BUNDLE "first text" --pair "second text"'
            )
        if not texts and file is None:
            raise UsageError("no text was given.", hint='edgelm run BUNDLE "some text", or --file texts.txt')
        model = load(bundle, threads=threads, provider=provider, check_hashes=hashes)
        if verbose or model.opened.passed:
            screen.aside(f"Runs on {model.opened.why}.")
        for text in _inputs(texts or [], pair, file, pairs=model.manifest.task.pair):
            answer = model(text)
            line = {"text": text if isinstance(text, str) else list(text)} | answer
            if as_json:
                sys.stdout.write(json.dumps(line, ensure_ascii=False) + "\n")
            else:
                screen.console.print(_say(answer, top))


def _inputs(texts: list[str], pair: str | None, file: str | None, *, pairs: bool) -> Iterator[Any]:
    if pair is not None:
        yield (texts[0], pair)
        return
    yield from texts
    if file is not None:
        yield from read_texts(file, pairs=pairs)


def _say(answer: dict[str, Any], top: int) -> str:
    if "embedding" in answer:
        return " ".join(f"{value:.5f}" for value in answer["embedding"])
    if "scores" not in answer:
        return f"{answer['score']:.4f}"
    if "label" not in answer and "labels" not in answer:  # values, of which none is better than another
        return "  ".join(f"{label} {value:.4f}" for label, value in answer["scores"].items())
    best = sorted(answer["scores"].items(), key=lambda item: -item[1])
    if "labels" in answer:
        return (
            ", ".join(f"{label} {answer['scores'][label]:.3f}" for label in answer["labels"])
            or f"(none; {best[0][0]} {best[0][1]:.3f})"
        )
    return "  ".join(f"{label} {score:.3f}" for label, score in best[:top])
