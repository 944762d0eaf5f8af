"""Opens a bundle that writes: its graphs, its tokenizer and its chat template."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgelm.errors import BundleError, UsageError
from edgelm.limits import read_json
from edgelm.runtime.bundle import Bundle
from edgelm.runtime.early import behind
from edgelm.runtime.engine import EngineSession
from edgelm.runtime.engine_plan import EngineRecord
from edgelm.runtime.generation.chat import ChatTemplate
from edgelm.runtime.generation.decoder import DECODER, ENCODER, Decoder
from edgelm.runtime.generation.decoder_engine import DecoderEngine
from edgelm.runtime.generation.generator import Generator
from edgelm.runtime.generation.prompts import PromptReader
from edgelm.runtime.generation.reading import Reading
from edgelm.runtime.inputs.text import load_tokenizer
from edgelm.runtime.manifest import WEIGHTS_FILE
from edgelm.runtime.pages import release_pages
from edgelm.runtime.provider import (
    Opened,
    Passed,
    check_provider,
    nothing_runs,
    open_engine,
    open_graph,
    wanted_providers,
    warn_of_unused,
)
from edgelm.runtime.saturation import warn_if_slower
from edgelm.runtime.session import make_session
from edgelm.runtime.tensorrt import MODULES
from edgelm.tasks.generation import Generation, TextGeneration

_TOKENS_FILE = "tokenizer_config.json"


def open_generator(bundle: Bundle, *, threads: int | None = None, provider: str | None = None) -> Generator:
    """Load a bundle of a model that writes text.

    It runs by the engines of its graphs where all of them fit here, by onnxruntime's CUDA provider where its graphs
    are written for a GPU, else on the CPU. None of it has run on a GPU yet: the tests run engines by stand-ins for
    TensorRT and CUDA, and graphs for a GPU with onnxruntime's binding on the CPU.

    Args:
        threads, provider: as `edgelm.runtime.load`.

    Raises:
        BundleError: broken, changed, or without what such a model needs; or it is for another task.
        UsageError: the provider is not there, or runs no model that writes.
    """
    check_provider(provider)
    manifest = bundle.manifest
    task = manifest.task
    if not isinstance(task, Generation):
        raise BundleError(f"{bundle.path}: a model for {task.kind} writes no text.", hint="Call it as it is.")
    names = [graph.name for graph in manifest.graphs]
    manifest.graph(DECODER)  # an error where it is missing
    has_encoder = not isinstance(task, TextGeneration)
    longest = manifest.tokenization.max_length
    context = task.context or longest if isinstance(task, TextGeneration) else longest
    if has_encoder and (ENCODER not in names or task.settings.decoder_start_id is None):
        raise BundleError(
            f"{bundle.path}: {task.kind} needs an encoder's graph and the token that its decoder starts with.",
            hint="Export the bundle again.",
        )
    wanted = (DECODER, ENCODER) if has_encoder else (DECODER,)
    with bundle.hashing_early():
        opened, ran_by, engine, passed = _open_sessions(bundle, wanted, provider, threads)
        if not opened:
            import onnxruntime  # noqa: F401  # not in the block below, whose head start is for the session alone
        with behind(lambda: load_tokenizer(bundle)) as reading_tokenizer:
            sessions = opened or {name: _session(bundle, name, threads) for name in wanted}
    tokenizer = reading_tokenizer.result()
    graphs = {name: (session, manifest.graph(name)) for name, session in sessions.items()}
    if ran_by == "cpu" and not bundle.is_file and bundle.has(WEIGHTS_FILE):
        release_pages(bundle.locate(WEIGHTS_FILE))
    reading = Reading.of(graphs, task.settings, context=context)
    _check_vocabulary(bundle, task, tokenizer, reading.decoder)
    template = task.chat_template if isinstance(task, TextGeneration) else ""
    prompts = PromptReader(
        task,
        tokenizer,
        context=context,
        template=ChatTemplate(template, _special_tokens(bundle)) if template else None,
        split_special=manifest.tokenization.split_special,
        side=manifest.tokenization.truncation_side if has_encoder else "left",
    )
    session = reading.decoder.session
    warn_of_unused(bundle, engine, passed)
    if ran_by == "cpu":
        warn_if_slower(bundle.path, manifest)
    return Generator(manifest, task, Opened(session, ran_by, engine, passed), reading, prompts)


def _open_sessions(
    bundle: Bundle, names: Sequence[str], provider: str | None, threads: int | None
) -> tuple[dict[str, Any], str, EngineRecord | None, tuple[Passed, ...]]:
    """The sessions of the graphs of these names, the provider that runs them, the engine of the first, and what was
    passed over for them; no sessions, where onnxruntime runs the graphs on the CPU.

    Raises:
        UsageError: the provider that was asked for is not there.
    """
    passed: list[Passed] = []
    for package in [provider] if provider else wanted_providers(bundle):
        if package == "cpu":
            return {}, package, None, tuple(passed)
        found: dict[str, tuple[Any, EngineRecord | None]] = {}
        for name in names:
            attempt = _open(bundle, name, package, threads)
            if isinstance(attempt, Passed):
                passed.append(attempt)
                break
            found[name] = attempt
        else:
            sessions = {name: session for name, (session, _) in found.items()}
            return sessions, package, found[names[0]][1], tuple(passed)
    raise nothing_runs(bundle, provider, passed)


def _open(
    bundle: Bundle, name: str, package: str, threads: int | None
) -> tuple[Any, EngineRecord] | tuple[Any, None] | Passed:
    """What runs a graph by a provider other than the CPU, or why nothing does."""
    graph = bundle.manifest.graph(name)
    if package in MODULES:
        return open_engine(bundle, graph, package, DecoderEngine if name == DECODER else EngineSession)
    if package != "cuda":
        return Passed(package, "models that write text run by engines of TensorRT, by cuda or on the CPU")
    if not bundle.manifest.graph(DECODER).grows:
        return Passed(package, "its graphs are written for the CPU (export it for a device with a GPU)")
    return open_graph(bundle, package, graph, threads=threads, growing=name == DECODER)


def _session(bundle: Bundle, name: str, threads: int | None) -> Any:
    return make_session(bundle, name=name, threads=threads, growing=name == DECODER)


def _check_vocabulary(bundle: Bundle, task: Generation, tokenizer: Any, decoder: Decoder) -> None:
    try:
        task.settings.check_vocabulary(decoder.vocabulary)
    except UsageError as error:
        raise BundleError(f"{bundle.path}: {error.message}", hint="Export the model again.") from error
    known = tokenizer.get_vocab_size()
    if known > decoder.vocabulary:
        raise BundleError(
            f"{bundle.path}: the tokenizer has {known:,} tokens and the model {decoder.vocabulary:,}.",
            hint="Export the model again, with its own tokenizer.",
        )


def _special_tokens(bundle: Bundle) -> dict[str, str]:
    """What a chat template may name, such as bos_token.

    Raises:
        BundleError: the file that says it is broken.
    """
    if not bundle.has(_TOKENS_FILE):
        return {}
    try:
        values = read_json(bundle.read(_TOKENS_FILE), _TOKENS_FILE)
        return {name: value for name, value in values.items() if name.endswith("_token") and isinstance(value, str)}
    except (ValueError, AttributeError) as error:
        raise BundleError(
            f"{bundle.path}: {_TOKENS_FILE} cannot be read: {error}", hint="Copy or export the bundle again."
        ) from error
