"""Options of commands that let a model write, and the settings that they make."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgelm.cli.panels import WRITING
from edgelm.errors import UsageError

if TYPE_CHECKING:
    from edgelm.runtime.generation.generator import Generator


def _option(*names: str, **settings: Any) -> Any:
    return typer.Option(*names, rich_help_panel=WRITING, **settings)


MaxNewTokens = Annotated[
    int | None, _option("--max-new-tokens", min=1, help="Most tokens to write. Default: as the model says, or 128.")
]
Beams = Annotated[
    int | None, _option("--beams", min=1, help="Texts that beam search follows at once. Default: as the model says.")
]
Temperature = Annotated[
    float | None,
    _option("--temperature", min=0.0, help="Draw tokens at random; above 1 more freely. 0: always the likeliest."),
]
TopK = Annotated[int | None, _option("--top-k", min=0, help="Draw among so many tokens, the likeliest.")]
TopP = Annotated[float | None, _option("--top-p", help="Draw among the likeliest tokens that make up this share.")]
MinP = Annotated[float | None, _option("--min-p", help="Draw tokens at least so likely, as a share of the likeliest.")]
RepetitionPenalty = Annotated[
    float | None, _option("--repetition-penalty", help="Above 1: tokens that are there already become less likely.")
]
NoRepeat = Annotated[
    int | None, _option("--no-repeat-ngram", min=0, help="So many tokens never follow each other twice alike.")
]
Seed = Annotated[int | None, _option("--seed", help="Of the random numbers: the same seed writes the same text.")]
Stop = Annotated[list[str] | None, _option("--stop", help="A text that ends the answer; may be given several times.")]
Draft = Annotated[
    str | None,
    _option(
        "--draft",
        help="Guess tokens ahead and check several in one step: lookup (by what stands in the prompt), or a smaller "
        "bundle with the same vocabulary. The text is the same as without, where tokens are not drawn.",
    ),
]
Truncate = Annotated[
    bool, _option("--truncate", help="Cut a prompt that is too long, on the left; else it is refused.")
]


def writing_settings(
    *,
    max_new_tokens: int | None = None,
    beams: int | None = None,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    repetition_penalty: float | None = None,
    no_repeat_ngram: int | None = None,
    seed: int | None = None,
    stop: list[str] | None = None,
) -> dict[str, Any]:
    """What was asked for, by the names of `GenerationSettings`. Any option of drawing asks for it; a temperature of 0
    asks for the likeliest tokens."""
    drawing = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p, "seed": seed}
    drawing = {name: value for name, value in drawing.items() if value is not None}
    other = {
        "max_new_tokens": max_new_tokens,
        "num_beams": beams,
        "repetition_penalty": repetition_penalty,
        "no_repeat_ngram_size": no_repeat_ngram,
        "stop": tuple(stop) if stop else None,
    }
    chosen: dict[str, Any] = {name: value for name, value in other.items() if value is not None}
    if temperature == 0:
        return chosen | {"do_sample": False}
    return chosen | (drawing | {"do_sample": True} if drawing else {})


def open_draft(draft: str | None, *, threads: int | None, keys: Mapping[str, Any]) -> Generator | str | None:
    """What guesses ahead: `lookup`, or a bundle, of which the same signatures are asked as of the model's.

    Args:
        keys: `key`, `device_key` and `unsigned_additions` of `edgelm.runtime.load`.

    Raises:
        UsageError: no bundle of a model that writes.
        BundleError: as `edgelm.runtime.load`.
    """
    if draft is None or draft == "lookup":
        return draft
    if not Path(draft).exists():
        raise UsageError(f"--draft {draft}: there is no such bundle.", hint="Give lookup, or the path of a bundle.")
    from edgelm.runtime import load

    model = load(Path(draft), threads=threads, **keys)
    if not model.manifest.task.generates:
        raise UsageError(
            f"--draft {draft}: a bundle for {model.manifest.task.kind} writes no text.",
            hint="Give one that does, or lookup.",
        )
    return model
