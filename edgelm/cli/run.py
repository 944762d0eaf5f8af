"""`edgelm run`: text in, answer out."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgelm.cli.answers import say, say_ranked
from edgelm.cli.console import Screen, open_screen
from edgelm.cli.options import (
    BundleThreads,
    DeviceKeyFile,
    Provider,
    PublicKeyFile,
    Quiet,
    UnsignedAdditions,
    Verbose,
)
from edgelm.cli.writing import (
    Beams,
    Draft,
    MaxNewTokens,
    MinP,
    NoRepeat,
    RepetitionPenalty,
    Seed,
    Stop,
    Temperature,
    TopK,
    TopP,
    Truncate,
    open_draft,
    writing_settings,
)
from edgelm.errors import UsageError
from edgelm.lines import json_line, read_texts

if TYPE_CHECKING:
    from edgelm.runtime import Model
    from edgelm.runtime.generation.generator import Generator
    from edgelm.tasks.task import Task


def run(
    bundle: Annotated[Path, typer.Argument(help="A bundle, folder or file.")],
    texts: Annotated[
        list[str] | None, typer.Argument(help="Texts to answer; for multiple choice a text and its endings.")
    ] = None,
    pair: Annotated[
        str | None,
        typer.Option("--pair", help="The second text, for models that read two; the text that answers a question."),
    ] = None,
    file: Annotated[
        str | None,
        typer.Option(
            "--file",
            help="One text a line (with a tab between the two, for models of pairs; questions and choices also as JSON "
            "lines); - reads stdin.",
        ),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            "--labels",
            help="Labels to choose among, with commas between, for models of entailment (zero-shot classification).",
        ),
    ] = None,
    template: Annotated[
        str | None,
        typer.Option(
            "--template", help='The sentence that a label of --labels becomes. Default: "This example is {}."'
        ),
    ] = None,
    multi_label: Annotated[
        bool, typer.Option("--multi-label", help="Several of --labels may fit: each is judged for itself.")
    ] = False,
    query: Annotated[
        str | None,
        typer.Option(
            "--query", help="Sort the texts by how they fit this one, for models that score pairs (rerankers)."
        ),
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(
            "--top", min=1, help="How many labels, answers or ranked texts to show. Default: one; ranked texts: all."
        ),
    ] = None,
    max_new_tokens: MaxNewTokens = None,
    beams: Beams = None,
    temperature: Temperature = None,
    top_k: TopK = None,
    top_p: TopP = None,
    min_p: MinP = None,
    repetition_penalty: RepetitionPenalty = None,
    no_repeat_ngram: NoRepeat = None,
    seed: Seed = None,
    stop: Stop = None,
    draft: Draft = None,
    truncate: Truncate = False,
    threads: BundleThreads = None,
    provider: Provider = None,
    hashes: Annotated[
        bool,
        typer.Option(
            "--hashes/--no-hashes",
            help="Compare the SHA-256 of graph, weights and tokenizer with the manifest's before use.",
        ),
    ] = True,
    key: PublicKeyFile = None,
    device_key: DeviceKeyFile = None,
    unsigned_additions: UnsignedAdditions = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON lines, one object a text.")] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Answer texts with a bundle; a model that writes goes on from them, and shows what it writes as it comes.

    Example: edgelm run build/my-model.edge "This is a great movie!"
    """
    with open_screen(as_json=as_json, quiet=quiet, verbose=verbose) as screen:
        from edgelm.runtime import load

        _check_options(texts or [], pair, file, labels, query, choosing=template is not None or multi_label)
        keys: dict[str, Any] = {"key": key, "device_key": device_key, "unsigned_additions": unsigned_additions}
        model = load(bundle, threads=threads, provider=provider, check_hashes=hashes, **keys)
        if verbose or model.opened.passed:
            screen.aside(f"Runs on {model.opened.why}.")
        if verbose and not model.manifest.task.generates:
            screen.aside(f"Reads texts by {model.reads_by}.")
        settings = writing_settings(
            max_new_tokens=max_new_tokens,
            beams=beams,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            repetition_penalty=repetition_penalty,
            no_repeat_ngram=no_repeat_ngram,
            seed=seed,
            stop=stop,
        )
        if model.manifest.task.generates:
            _refuse_choosing(model.manifest.task, pair, labels, query, top)
            asked = {"truncate": truncate, "draft": open_draft(draft, threads=threads, keys=keys)} | settings
            _write(screen, model, _plain(texts or [], file), asked)
            return
        if settings or draft is not None or truncate:
            raise UsageError(
                f"a model for {model.manifest.task.kind} writes no text.",
                hint="Leave out the options of models that write, such as --max-new-tokens.",
            )
        if query is not None:
            lines = _rank(model, query, _plain(texts or [], file), top)
        elif labels is not None:
            lines = _choose(model, _plain(texts or [], file), labels, template, multi_label=multi_label)
        else:
            lines = _answer(model, _samples(model.manifest.task, texts or [], pair, file))
        for line in lines:
            if as_json:
                sys.stdout.write(json_line(line) + "\n")
            else:
                screen.console.print(say_ranked(line) if query is not None else say(line, top or 1))


def _check_options(
    texts: list[str], pair: str | None, file: str | None, labels: str | None, query: str | None, *, choosing: bool
) -> None:
    if pair is not None and len(texts) != 1:
        raise UsageError(
            "--pair goes with exactly one text.", hint='edgelm run BUNDLE "first text" --pair "second text"'
        )
    if sum(option is not None for option in (pair, labels, query)) > 1:
        raise UsageError("--pair, --labels and --query exclude each other.", hint="Give one of them.")
    if choosing and labels is None:
        raise UsageError("--template and --multi-label go with --labels.", hint='--labels "sports,politics"')
    if not texts and file is None:
        raise UsageError("no text was given.", hint='edgelm run BUNDLE "some text", or --file texts.txt')


def _refuse_choosing(task: Task, pair: str | None, labels: str | None, query: str | None, top: int | None) -> None:
    given = {"--pair": pair, "--labels": labels, "--query": query, "--top": top}
    if named := [option for option, value in given.items() if value is not None]:
        raise UsageError(
            f"{' and '.join(named)}: not for {task.kind}, whose answers are texts.", hint="Give the prompt alone."
        )


def _write(screen: Screen, model: Generator, texts: Iterator[str], asked: dict[str, Any]) -> None:
    """Write behind each text: for people piece by piece, where beams do not keep it back to the end."""
    streams = (
        not screen.as_json
        and model.settings_with(
            {name: value for name, value in asked.items() if name not in ("truncate", "draft")}
        ).num_beams
        == 1
    )
    for text in texts:
        if screen.as_json:
            sys.stdout.write(json_line({"text": text, "answer": model(text, **asked)}) + "\n")
        elif not screen.quiet:
            for piece in model.stream(text, **asked) if streams else [model(text, **asked)["text"]]:
                screen.piece(piece)
            sys.stdout.write("\n")


def _answer(model: Model, samples: Iterator[Any]) -> Iterator[dict[str, Any]]:
    for sample in samples:
        yield {"text": _kept(sample)} | model(sample)


def _choose(
    model: Model, texts: Iterator[str], labels: str, template: str | None, *, multi_label: bool
) -> Iterator[dict[str, Any]]:
    from edgelm.runtime.zero_shot import TEMPLATE, classify

    names = [label.strip() for label in labels.split(",")]
    for text in texts:
        yield {"text": text} | classify(model, text, names, template=template or TEMPLATE, multi_label=multi_label)


def _rank(model: Model, query: str, texts: Iterator[str], top: int | None) -> Iterator[dict[str, Any]]:
    from edgelm.runtime.rerank import rank

    yield from rank(model, query, list(texts), top=top)


def _plain(texts: list[str], file: str | None) -> Iterator[str]:
    """Single texts, whatever the model reads."""
    yield from texts
    if file is not None:
        for text in read_texts(file, pairs=False):
            yield str(text)


def _samples(task: Task, texts: list[str], pair: str | None, file: str | None) -> Iterator[Any]:
    from edgelm.runtime.inputs.files import read_samples

    if pair is not None:
        if not task.pair:
            raise UsageError(
                "this bundle was exported for single texts; --pair gives two.",
                hint="Export it again with --pairs, if it was trained on pairs of texts.",
            )
        yield (texts[0], pair)
        return
    if task.kind == "multiple-choice" and texts:
        yield (texts[0], tuple(texts[1:]))
    else:
        yield from texts
    if file is not None:
        yield from read_samples(task, file)


def _kept(sample: Any) -> Any:
    """A sample as JSON keeps it: lists for tuples."""
    return [_kept(part) for part in sample] if isinstance(sample, tuple) else sample
