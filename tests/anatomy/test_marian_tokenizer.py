"""Marian folders as they are published, with SentencePiece models and no tokenizer.json: read without sentencepiece,
with the ids that transformers' slow tokenizer gives."""

import json

import pytest
from marian_folders import count_pieces, marian_ids, write_marian_files, write_spm
from models import SENTENCES

from edgelm.anatomy import load_tokenizer
from edgelm.errors import ModelError

SOURCES = [
    *SENTENCES,
    "Der Zug nach München fährt um halb zwölf ab.",
    "Le café est fermé; où est-ce qu'on va dîner?",
    "Поезд на Москву отправляется через час",
    "今天天气很好 我们去公园",
    "القطار يغادر بعد ساعة",
    "ρώτησε τον δάσκαλο",
    "기차는 한 시간 뒤에 떠난다",
]
TARGETS = ["schalte das Licht in der Küche an", "der Akku war nach zwei Tagen leer", "läuft heute leise Musik?"]
CODES = (">>fr<<", ">>deu_Latn<<")
HARD = [
    "",
    " ",
    "  two   blanks  ",
    ">>fr<< turn the lights on",
    ">>fr<<turn the lights on",
    ">>deu_Latn<<  play music",
    ">>xx<< turn the lights on",
    " >>fr<< turn the lights on",
    "turn >>fr<< the lights on",
    ">>fr<<",
    ">>fr turn",
    "unknown \N{GRINNING FACE}\N{GRINNING FACE} marks",
    "Küche",
    "\u2581already marked",
    "private \uf8f1 \uf8f2 \uf8f3 characters",
    "a line\nand a tab\t",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("marian")
    write_marian_files(made, SOURCES, TARGETS, CODES)
    return made


def texts():
    """A few hundred, of all scripts: every run of words of the sources, and the hard ones."""
    runs = [" ".join(text.split()[a:b]) for text in SOURCES for a in range(8) for b in range(a + 1, a + 7)]
    return [*dict.fromkeys(runs), *HARD, *TARGETS]


def test_ids_are_those_of_sentencepiece_by_the_vocabulary(folder):
    tokenizer, rows = load_tokenizer(folder), json.loads((folder / "vocab.json").read_text())
    assert len(texts()) > 250
    for given, pieces in (("text", count_pieces(SOURCES)), ("text_target", count_pieces(TARGETS))):
        for text in texts():
            assert tokenizer(**{given: text})["input_ids"] == marian_ids(text, pieces, rows), (given, text)
    assert tokenizer("turn")["input_ids"] == marian_ids("turn", count_pieces(SOURCES), rows)  # back to sources


def test_targets_are_read_back(folder):
    tokenizer = load_tokenizer(folder)
    for text in TARGETS:
        assert tokenizer.decode(tokenizer(text_target=text)["input_ids"], skip_special_tokens=True) == text


def test_what_was_saved_is_the_same_folder(folder, tmp_path):
    load_tokenizer(folder).save_pretrained(tmp_path / "again")
    for name in ("source.spm", "target.spm", "vocab.json", "tokenizer_config.json"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()
    assert load_tokenizer(tmp_path / "again")(text_target=TARGETS) == load_tokenizer(folder)(text_target=TARGETS)


def separate(folder):
    (folder / "tokenizer_config.json").write_text(json.dumps({"separate_vocabs": True}))


BROKEN = {
    "two vocabularies": (separate, "vocabularies of their own"),
    "no vocabulary": (lambda folder: (folder / "vocab.json").unlink(), "vocab.json"),
    "rows that are missing": (lambda folder: (folder / "vocab.json").write_text('{"<unk>": 5}'), "not a row"),
    "no second model": (lambda folder: (folder / "target.spm").unlink(), "cannot be read"),
    "another file": (lambda folder: (folder / "source.spm").write_bytes(b"\xff" * 9), "not a SentencePiece model"),
    "BPE": (lambda folder: write_spm(folder / "source.spm", {"a": 0.0}, kind=2), "another kind"),
}


@pytest.mark.parametrize(("change", "said"), BROKEN.values(), ids=BROKEN)
def test_what_is_not_read_is_said(tmp_path, change, said):
    write_marian_files(tmp_path, SOURCES, TARGETS)
    change(tmp_path)
    with pytest.raises(ModelError, match=said):
        load_tokenizer(tmp_path)
