"""What a model folder says of licences, languages and origin: the first lines of its card, and the licence texts beside
it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from edgelm.files.places import told_place
from edgelm.files.safe_yaml import parse_yaml

CARD_FILE = "README.md"
_LONGEST_CARD = 1 << 20  # bytes
_LONGEST_TEXT = 1 << 20
LICENCES = ("LICENSE", "LICENCE", "COPYING", "NOTICE", "USE_POLICY")  # how their names begin
_ENDINGS = ("", ".txt", ".md")
OTHER = "other"  # Hugging Face's word for a licence that it has no name for
_HUB_ID = re.compile(r"(?=.{1,96}$)(?!.*(--|\.\.))\w[\w.-]*(/\w[\w.-]*)?", re.ASCII)
_FETCHED = re.compile(r"/models--([^/]+)/snapshots/[^/]+$")
_LANGUAGE = re.compile(r"[A-Za-z][A-Za-z0-9-]{1,19}")


@dataclass(frozen=True)
class ModelCard:
    """What is known of a model's licence and origin.

    Attributes:
        licence: as the card names it, such as apache-2.0; empty: it does not say.
        link: where its text is.
        base_models: that it was made from, by their ids; of a model of the hub it itself.
        hub_ids: those of them that name a model of the hub, and no folder of a machine.
        languages: that it knows, by their codes.
        unlisted: whether the licence is one that Hugging Face's list lacks.
        texts: licence texts and notices of the folder, by the names of their files.
    """

    licence: str = ""
    link: str = ""
    base_models: tuple[str, ...] = ()
    hub_ids: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    unlisted: bool = False
    texts: dict[str, bytes] = field(default_factory=dict)


def read_card(folder: Path, *, base: Path | None = None) -> ModelCard:
    """The card of a model folder; empty where it has none that can be read. A card decides nothing that edgelm does.

    Args:
        base: of an adapter, the model below it, whose licence holds where the adapter names none.
    """
    card = _read_own(folder)
    if base is None or card.licence:
        return card
    below = _read_own(base)
    kept = replace(below, languages=card.languages or below.languages, texts=below.texts | card.texts)
    return replace(kept, base_models=card.base_models, hub_ids=card.hub_ids) if card.base_models else kept


def parse_card(text: str) -> ModelCard:
    """What the front matter of a card says, in the same way; empty where it has none that can be read."""
    values = _front_matter(text)
    licence = _text(values.get("license"))
    unlisted = licence == OTHER
    if unlisted:
        licence = _text(values.get("license_name")) or licence
    base = values.get("base_model")
    bases = [name for name in map(_text, base if isinstance(base, list) else [base]) if name]
    return ModelCard(
        licence,
        _text(values.get("license_link")),
        tuple(map(told_place, bases)),
        tuple(name for name in bases if _HUB_ID.fullmatch(name)),
        _languages(values.get("language")),
        unlisted,
    )


def hub_id(folder: Path) -> str | None:
    """The id of a model that lies where the hub's library keeps what it fetched; None of any other folder."""
    found = _FETCHED.search(folder.as_posix())
    return found[1].replace("--", "/", 1) if found else None


def _read_own(folder: Path) -> ModelCard:
    if not folder.is_dir():
        return ModelCard()
    file = folder / CARD_FILE
    try:
        known = file.is_file() and file.stat().st_size <= _LONGEST_CARD
        card = parse_card(file.read_text(encoding="utf-8") if known else "")
    except (OSError, ValueError):
        card = ModelCard()
    if (fetched := hub_id(folder)) is not None:
        card = replace(card, base_models=(fetched,), hub_ids=(fetched,))
    texts = {
        file.name: file.read_bytes()
        for file in sorted(folder.iterdir())
        if file.stem.upper().split(".")[0] in LICENCES
        and file.suffix.lower() in _ENDINGS
        and file.name.isprintable()
        and file.is_file()
        and file.stat().st_size <= _LONGEST_TEXT
    }
    return replace(card, texts=texts)


def _languages(values: Any) -> tuple[str, ...]:
    named = values if isinstance(values, list) else [values]
    codes = ["no" if code is False else _text(code) for code in named]  # Norwegian is a word of YAML
    return tuple(code for code in codes if _LANGUAGE.fullmatch(code))


def _front_matter(text: str) -> dict[str, Any]:
    """The YAML between the first two lines of three hyphens."""
    head, _, rest = text.partition("\n")
    if head.strip() != "---":
        return {}
    try:
        _, values = parse_yaml(rest.partition("\n---")[0])
    except (ValueError, yaml.YAMLError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def _text(value: Any) -> str:
    """A word or an id that fits into one line; anything else is none."""
    return value if isinstance(value, str) and value.isprintable() and len(value) <= 500 else ""
