"""What a model folder says of licences and origin: the first lines of its card, and the licence texts beside it."""

from __future__ import annotations

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
_OTHER = "other"  # Hugging Face's word for a licence that it has no name for


@dataclass(frozen=True)
class ModelCard:
    """What is known of a model's licence and origin.

    Attributes:
        licence: as the card names it, such as apache-2.0; empty: it does not say.
        link: where its text is.
        base_models: that it was made from, by their ids.
        texts: licence texts and notices of the folder, by the names of their files.
        unlisted: whether the licence is one that Hugging Face's list lacks.
    """

    licence: str = ""
    link: str = ""
    base_models: tuple[str, ...] = ()
    texts: dict[str, bytes] = field(default_factory=dict)
    unlisted: bool = False


def read_card(folder: Path, *, base: Path | None = None) -> ModelCard:
    """The card of a model folder; empty where it has none that can be read. A card decides nothing that edgelm does.

    Args:
        base: of an adapter, the model below it, whose licence holds where the adapter names none.
    """
    card = _read_own(folder)
    if base is None or card.licence:
        return card
    below = _read_own(base)
    return replace(below, base_models=card.base_models or below.base_models, texts=below.texts | card.texts)


def _read_own(folder: Path) -> ModelCard:
    if not folder.is_dir():
        return ModelCard()
    values = _front_matter(folder / CARD_FILE)
    licence = _text(values.get("license"))
    unlisted = licence == _OTHER
    if unlisted:
        licence = _text(values.get("license_name")) or licence
    base = values.get("base_model")
    bases = base if isinstance(base, list) else [base]
    texts = {
        file.name: file.read_bytes()
        for file in sorted(folder.iterdir())
        if file.stem.upper().split(".")[0] in LICENCES
        and file.suffix.lower() in _ENDINGS
        and file.name.isprintable()
        and file.is_file()
        and file.stat().st_size <= _LONGEST_TEXT
    }
    link = _text(values.get("license_link"))
    return ModelCard(licence, link, tuple(told_place(name) for name in map(_text, bases) if name), texts, unlisted)


def carry_card(source: Path, folder: Path, *, base: Path | None = None) -> None:
    """Say in the card of a model folder what the card of the model that it was made from says of licence and origin,
    and put the licence texts of that model beside it.

    Args:
        source: the folder of that model; a file, such as one of GGUF, has no card.
        folder: whose card, if there is one, has no front matter.
        base: as `read_card`.
    """
    card = read_card(source, base=base)
    said: dict[str, Any] = {}
    if card.licence:
        said["license"] = _OTHER if card.unlisted else card.licence
    if card.unlisted and card.licence != _OTHER:
        said["license_name"] = card.licence
    if card.link:
        said["license_link"] = card.link
    if card.base_models:
        said["base_model"] = list(card.base_models)
    if said:
        file = folder / CARD_FILE
        front = yaml.safe_dump(said, sort_keys=False, allow_unicode=True, width=_LONGEST_CARD)
        text = file.read_text(encoding="utf-8") if file.is_file() else ""
        file.write_text(f"---\n{front}---\n{text}", encoding="utf-8")
    for name, content in card.texts.items():
        (folder / name).write_bytes(content)


def _front_matter(file: Path) -> dict[str, Any]:
    """The YAML between the first two lines of three hyphens."""
    try:
        if not file.is_file() or file.stat().st_size > _LONGEST_CARD:
            return {}
        text = file.read_text(encoding="utf-8")
        head, _, rest = text.partition("\n")
        if head.strip() != "---":
            return {}
        _, values = parse_yaml(rest.partition("\n---")[0])
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def _text(value: Any) -> str:
    """A word or an id that fits into one line; anything else is none."""
    return value if isinstance(value, str) and value.isprintable() and len(value) <= 500 else ""
