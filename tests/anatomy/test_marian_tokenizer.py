"""Marian folders as they are published, with SentencePiece models and no tokenizer.json: read without sentencepiece,
with the ids that transformers' slow tokenizer gives."""

import json

import pytest
from generators import make_generator
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


@pytest.mark.slow
def test_a_folder_is_exported_and_writes_what_transformers_writes(tmp_path):
    """The tokenizer goes the whole way into a bundle, and reads back what the model wrote in the other language."""
    import torch
    from transformers import AutoConfig, AutoModelForSeq2SeqLM

    from edgelm.device import load_device
    from edgelm.export.pipeline import export
    from edgelm.runtime import load

    folder = make_generator(tmp_path / "model", "marian")
    for file in (folder / "tokenizer.json", folder / "tokenizer_config.json"):
        file.unlink()
    write_marian_files(folder, SOURCES, TARGETS, CODES)
    rows = json.loads((folder / "vocab.json").read_text())
    ids = {"pad_token_id": rows["<pad>"], "decoder_start_token_id": rows["<pad>"], "bad_words_ids": [[rows["<pad>"]]]}
    ids |= {"eos_token_id": rows["</s>"], "forced_eos_token_id": rows["</s>"]}
    (folder / "generation_config.json").write_text(json.dumps(ids | {"max_new_tokens": 12}))
    torch.manual_seed(0)
    sizes = {"vocab_size": len(rows), "decoder_vocab_size": len(rows)}
    ids.pop("bad_words_ids")
    config = AutoConfig.from_pretrained(folder, **sizes, **ids)
    model = AutoModelForSeq2SeqLM.from_config(config).eval()
    (folder / "model.safetensors").unlink()
    generation = (folder / "generation_config.json").read_text()
    model.save_pretrained(folder)
    (folder / "generation_config.json").write_text(generation)
    export(folder, output=tmp_path / "bundle", device=load_device("cpu"), precision="fp32")
    generator = load(tmp_path / "bundle")
    pieces = count_pieces(SOURCES)
    names = {row: token for token, row in rows.items()}
    for text in SOURCES[:4]:
        given = torch.tensor([marian_ids(text, pieces, rows)])
        written = model.generate(
            given, do_sample=False, num_beams=1, max_new_tokens=12, **ids, bad_words_ids=[[rows["<pad>"]]]
        )
        words = [names[row] for row in written[0].tolist() if names[row] not in ("</s>", "<pad>", "<unk>")]
        assert generator(text)["text"] == "".join(words).replace("\u2581", " ").strip()
