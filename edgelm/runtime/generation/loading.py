"""Opens a bundle that writes: its graphs, its tokenizer and its chat template."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from edgelm.errors import BundleError
from edgelm.runtime.bundle import Bundle
from edgelm.runtime.early import Early
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

    It runs by the engines of its graphs where all of them fit here, else on the CPU. No engine of such a model has run
    on a GPU yet: the tests run them by stand-ins for TensorRT and CUDA.

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
    bundle.hash_early()
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
    engines, chosen, passed = _open_engines(bundle, wanted, provider)
    early = Early(lambda: [] if engines else [_session(bundle, name, threads) for name in wanted])  # it lets others run
    tokenizer = load_tokenizer(bundle)
    sessions = engines or dict(zip(wanted, early.result(), strict=True))
    graphs = {name: (session, manifest.graph(name)) for name, session in sessions.items()}
    bundle.end_early()
    if not engines and not bundle.is_file and bundle.has(WEIGHTS_FILE):
        release_pages(bundle.locate(WEIGHTS_FILE))
    reading = Reading.of(graphs, task.settings, context=context)
    _check_vocabulary(bundle, tokenizer, reading.decoder)
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
    if chosen is None:
        warn_of_unused(bundle, None, passed)
        warn_if_slower(bundle.path, manifest)
        return Generator(manifest, task, Opened(session, "cpu", None, passed), reading, prompts)
    return Generator(manifest, task, Opened(session, chosen.package, chosen, passed), reading, prompts)


def _open_engines(
    bundle: Bundle, names: Sequence[str], provider: str | None
) -> tuple[dict[str, Any], EngineRecord | None, tuple[Passed, ...]]:
    """The engines of the graphs of these names, that of the first, and what was passed over for them; none, where
    onnxruntime runs the graphs on the CPU.

    Raises:
        UsageError: the provider that was asked for is not there.
    """
    passed: list[Passed] = []
    for package in [provider] if provider else wanted_providers(bundle):
        if package == "cpu":
            return {}, None, tuple(passed)
        if package not in MODULES:
            passed.append(Passed(package, "models that write text run by engines of TensorRT, or on the CPU"))
            continue
        found: list[tuple[Any, EngineRecord]] = []
        for name in names:
            kind = DecoderEngine if name == DECODER else EngineSession
            attempt = open_engine(bundle, bundle.manifest.graph(name), package, kind)
            if isinstance(attempt, Passed):
                passed.append(attempt)
                break
            found.append(attempt)
        else:
            engines = {name: engine for name, (engine, _) in zip(names, found, strict=True)}
            return engines, found[0][1], tuple(passed)
    raise nothing_runs(bundle, provider, passed)


def _session(bundle: Bundle, name: str, threads: int | None) -> Any:
    return make_session(bundle, name=name, threads=threads, growing=name == DECODER)


def _check_vocabulary(bundle: Bundle, tokenizer: Any, decoder: Decoder) -> None:
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
        values = json.loads(bundle.read(_TOKENS_FILE))
        return {name: value for name, value in values.items() if name.endswith("_token") and isinstance(value, str)}
    except (ValueError, AttributeError, RecursionError) as error:
        raise BundleError(
            f"{bundle.path}: {_TOKENS_FILE} cannot be read: {error}", hint="Copy or export the bundle again."
        ) from error
