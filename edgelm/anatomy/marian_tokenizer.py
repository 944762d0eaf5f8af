"""The fast tokenizer of a Marian folder, as OPUS-MT publishes them: two SentencePiece models, and a vocabulary that
says which row of the embeddings each piece has."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import import_protobuf

from edgelm.errors import ModelError
from edgelm.model_folder.weight_files import read_json

SOURCE_FILE, TARGET_FILE, VOCABULARY_FILE = "source.spm", "target.spm", "vocab.json"
_CONFIG_FILE = "tokenizer_config.json"
_FILES = (SOURCE_FILE, TARGET_FILE, VOCABULARY_FILE, _CONFIG_FILE, "special_tokens_map.json")
_SPACE = "\u2581"  # what SentencePiece has for a blank
# Characters for private use, which no text means. OTHER stands before pieces of the other language, LANGUAGE before the
# mark of a language that begins a text; NOTHING is a mark that the model has no row for.
_OTHER, _LANGUAGE, _NOTHING = "\uf8f1", "\uf8f2", "\uf8f3"
_UNIGRAM, _NORMAL, _USER_DEFINED, _BYTE = 1, 1, 4, 6  # numbers of SentencePiece's own format
_LONGEST = 512


class MarianFast(PreTrainedTokenizerFast):
    """Reads sources by one model and targets (`text_target=`) by the other, with the same rows for both."""

    def __init__(self, source: Tokenizer, target: Tokenizer, folder: Path, **settings: Any) -> None:
        names = ["input_ids", "attention_mask"]
        super().__init__(tokenizer_object=source, model_input_names=names, **settings)
        self._tokenizer: Tokenizer
        self._source, self._target, self._folder = self._tokenizer, target, folder

    def _switch_to_target_mode(self) -> None:
        self._tokenizer = self._target

    def _switch_to_input_mode(self) -> None:
        self._tokenizer = self._source

    def save_pretrained(self, save_directory: str | Path, **_: Any) -> tuple[str, ...]:
        """Copy the files that it was made of: tokenizer.json has no place for a second model."""
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        files = [name for name in _FILES if (self._folder / name).is_file()]
        for name in files:
            if not (folder / name).exists() or not (folder / name).samefile(self._folder / name):
                shutil.copyfile(self._folder / name, folder / name)
        return tuple(str(folder / name) for name in files)


def is_marian(folder: Path) -> bool:
    """Whether a folder has SentencePiece models of two languages, and no tokenizer.json."""
    return (folder / SOURCE_FILE).is_file() and not (folder / "tokenizer.json").is_file()


def load_marian(folder: Path) -> MarianFast:
    """Make the tokenizer of a Marian folder: ids are those of transformers' `MarianTokenizer` without sacremoses.

    Pieces that vocab.json has no row for are left out, so that others take their place.

    Raises:
        ModelError: files that are missing or broken, a vocabulary for each language, or SentencePiece models of another
            kind than Unigram.
    """
    config = read_json(folder / _CONFIG_FILE) if (folder / _CONFIG_FILE).is_file() else {}
    if config.get("separate_vocabs"):
        raise ModelError(
            f"{folder}: source and target have vocabularies of their own (separate_vocabs).",
            hint="edgelm takes Marian models whose languages share vocab.json.",
        )
    rows = read_json(folder / VOCABULARY_FILE, missing_hint=f"A Marian model needs it beside {SOURCE_FILE}.")
    marks = {name: _text(config.get(name), usual) for name, usual in _MARKS.items()}
    if sorted(rows.values()) != list(range(len(rows))) or not {marks["unk_token"], marks["eos_token"]} <= rows.keys():
        raise ModelError(
            f"{folder / VOCABULARY_FILE}: not a row from 0 on for every piece, with {' and '.join(marks.values())}.",
            hint="Copy or download the model again.",
        )
    source, target = (
        _tokenizer(_read(folder / name), rows, marks, folder / name) for name in (SOURCE_FILE, TARGET_FILE)
    )
    longest = config.get("model_max_length") or _LONGEST
    languages = {name: config.get(name) for name in ("source_lang", "target_lang") if config.get(name)}
    return MarianFast(source, target, folder, model_max_length=longest, **marks, **languages)


_MARKS = {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}


def _text(token: Any, usual: str) -> str:
    """A special token, which newer files have as an object."""
    found = token.get("content") if isinstance(token, dict) else token
    return found if isinstance(found, str) else usual


def _read(file: Path) -> Any:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ModelError(f"{file}: it cannot be read.", hint="Copy or download the model again.") from error
    made = import_protobuf().ModelProto()
    try:
        made.ParseFromString(data)
    except Exception as error:  # google.protobuf's DecodeError, whose place differs by version
        raise ModelError(f"{file}: not a SentencePiece model.", hint="Copy or download the model again.") from error
    kinds = {piece.type for piece in made.pieces}
    if made.trainer_spec.model_type != _UNIGRAM or not made.pieces or kinds & {_USER_DEFINED, _BYTE}:
        raise ModelError(
            f"{file}: a SentencePiece model of another kind than OPUS-MT has.",
            hint="edgelm reads Unigram models without bytes and without pieces of users.",
        )
    return made


def _tokenizer(spm: Any, rows: dict[str, int], marks: dict[str, str], file: Path) -> Tokenizer:
    """A SentencePiece model whose pieces have the rows of a vocabulary."""
    scores = {piece.piece: piece.score for piece in spm.pieces if piece.type == _NORMAL}
    lowest = min(scores.values(), default=0.0)  # unknown characters cost ten more
    codes = [token for token in rows if re.fullmatch(r">>[^<]*<<", token)]
    special = [mark for mark in marks.values() if mark in rows]
    names = {token: token if token in scores or token in special else f"{_OTHER}{token}" for token in rows}
    names |= {code: f"{_LANGUAGE}{code}" for code in codes}
    order = sorted(rows, key=rows.__getitem__)
    pieces = [(names[token], 0.0 if token in codes else scores.get(token, lowest)) for token in order]
    made = Tokenizer(models.Unigram(pieces, unk_id=rows[marks["unk_token"]], byte_fallback=False))
    made.normalizer = normalizers.Sequence(_normalizers(spm.normalizer_spec, codes, file))
    begins = pre_tokenizers.Metaspace(replacement=_SPACE, prepend_scheme="always", split=False)
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(rf"\A(?:{_LANGUAGE}>>.*?<<|{_NOTHING})"), "isolated"),
            *([begins] if spm.normalizer_spec.add_dummy_prefix else []),
            pre_tokenizers.Split(Regex(rf"{_SPACE}(?=[{_LANGUAGE}{_NOTHING}])"), "removed"),
        ]
    )
    marked = [decoders.Replace(mark, "") for mark in (_OTHER, _LANGUAGE)]
    made.decoder = decoders.Sequence(
        [*marked, decoders.Replace(_SPACE, " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    eos = marks["eos_token"]
    made.post_processor = processors.TemplateProcessing(f"$A {eos}", f"$A $B {eos}", [(eos, rows[eos])])
    made.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in special])
    return made


def _normalizers(spec: Any, codes: list[str], file: Path) -> list[Any]:
    """What SentencePiece does to a text before it is cut, in its order; the mark of a language that begins a text is
    set aside first."""
    known = "|".join(re.escape(code.removeprefix(">>")) for code in codes) or r"(?!)"
    found: list[Any] = [
        normalizers.Replace(Regex(f"[{_OTHER}{_LANGUAGE}{_NOTHING}]"), "\uf8f4"),
        normalizers.Replace(Regex(rf"\A>>(?!{known})[\s\S]*?<<"), _NOTHING),
        normalizers.Replace(Regex(rf"\A>>(?={known})"), f"{_LANGUAGE}>>"),
    ]
    if spec.precompiled_charsmap:
        try:
            found.append(normalizers.Precompiled(spec.precompiled_charsmap))
        except Exception as error:  # tokenizers raises a bare one
            raise ModelError(f"{file}: its table of characters is broken.", hint="Copy the model again.") from error
    if spec.remove_extra_whitespaces:
        found += [normalizers.Replace(Regex(r"\A +| +\z"), ""), normalizers.Replace(Regex(" {2,}"), " ")]
    found.append(normalizers.Replace(" ", _SPACE))
    if spec.add_dummy_prefix:
        found.append(normalizers.Replace(Regex(rf"\A{_SPACE}"), _SPACE * 2))
    return found
