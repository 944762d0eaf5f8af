"""Opens a bundle that writes: its graphs, its tokenizer and its chat template."""

from __future__ import annotations

import json
from typing import Any

from edgelm.errors import BundleError, UsageError
from edgelm.runtime.bundle import Bundle
from edgelm.runtime.early import Early
from edgelm.runtime.generation.chat import ChatTemplate
from edgelm.runtime.generation.decoder import DECODER, ENCODER, Decoder
from edgelm.runtime.generation.generator import Generator
from edgelm.runtime.generation.prompts import PromptReader
from edgelm.runtime.generation.reading import Reading
from edgelm.runtime.inputs.text import load_tokenizer
from edgelm.runtime.manifest import WEIGHTS_FILE
from edgelm.runtime.pages import release_pages
from edgelm.runtime.provider import Opened, Passed, check_provider, wanted_providers
from edgelm.runtime.saturation import warn_if_slower
from edgelm.runtime.session import make_session
from edgelm.tasks.generation import Generation, TextGeneration

_TOKENS_FILE = "tokenizer_config.json"


def open_generator(bundle: Bundle, *, threads: int | None = None, provider: str | None = None) -> Generator:
    """Load a bundle of a model that writes text; it runs on the CPU.

    Args:
        threads, provider: as `edgelm.runtime.load`.

    Raises:
        BundleError: broken, changed, or without what such a model needs; or it is for another task.
        UsageError: another provider than the CPU.
    """
    check_provider(provider)
    if provider not in (None, "cpu"):
        raise UsageError(
            f"a model that writes text runs on the CPU, not with {provider}.", hint="Leave --provider out."
        )
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
    sessions = Early(lambda: [_session(bundle, name, threads) for name in wanted])  # onnxruntime lets others run
    tokenizer = load_tokenizer(bundle)
    graphs = {name: (session, manifest.graph(name)) for name, session in zip(wanted, sessions.result(), strict=True)}
    bundle.end_early()
    if not bundle.is_file and bundle.has(WEIGHTS_FILE):
        release_pages(bundle.locate(WEIGHTS_FILE))
    reading = Reading.of(graphs, task.settings, context=context)
    _check_vocabulary(bundle, tokenizer, reading.decoder)
    passed = tuple(
        Passed(name, "models that write text run on the CPU") for name in wanted_providers(bundle) if name != "cpu"
    )
    warn_if_slower(bundle.path, manifest)
    template = task.chat_template if isinstance(task, TextGeneration) else ""
    prompts = PromptReader(
        task,
        tokenizer,
        context=context,
        template=ChatTemplate(template, _special_tokens(bundle)) if template else None,
        split_special=manifest.tokenization.split_special,
        side=manifest.tokenization.truncation_side if has_encoder else "left",
    )
    return Generator(manifest, task, Opened(reading.decoder.session, "cpu", None, passed), reading, prompts)


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
