"""Marian folders with SentencePiece models made by hand, and SentencePiece's own rules written out once more."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

SPACE = "\u2581"


def count_pieces(texts: Iterable[str], *, most: int = 300) -> dict[str, float]:
    """Every character of some texts and their commonest longer pieces, with the logarithms of their shares."""
    counts: Counter[str] = Counter()
    for text in texts:
        for word in re.sub(" +", " ", text.strip()).split(" "):
            marked = SPACE + word
            counts.update(marked[a:b] for a in range(len(marked)) for b in range(a + 1, min(a + 7, len(marked)) + 1))
    single = [piece for piece in counts if len(piece) == 1]
    longer = [piece for piece, _ in counts.most_common() if len(piece) > 1][:most]
    total = sum(counts[piece] for piece in (*single, *longer))
    # As SentencePiece has them: FP32.
    return {piece: _single(math.log(counts[piece] / total)) for piece in (*single, *longer)}


def _single(value: float) -> float:
    import numpy as np

    return float(np.float32(value))


def write_spm(file: Path, pieces: dict[str, float], *, kind: int = 1) -> None:
    """A Unigram model with these pieces that changes no character."""
    from transformers.convert_slow_tokenizer import import_protobuf

    model = import_protobuf().ModelProto()
    for name, number in (("<unk>", 2), ("<s>", 3), ("</s>", 3)):
        model.pieces.add(piece=name, score=0.0, type=number)
    for name, score in pieces.items():
        model.pieces.add(piece=name, score=score, type=1)
    model.trainer_spec.model_type = kind
    model.normalizer_spec.name = "identity"
    model.normalizer_spec.add_dummy_prefix = True
    model.normalizer_spec.remove_extra_whitespaces = True
    model.normalizer_spec.escape_whitespaces = True
    file.write_bytes(model.SerializeToString())


def write_marian_files(folder: Path, sources: Sequence[str], targets: Sequence[str], codes: Sequence[str] = ()) -> None:
    """source.spm, target.spm, vocab.json and tokenizer_config.json, as a published folder has them."""
    read, written = count_pieces(sources), count_pieces(targets)
    write_spm(folder / "source.spm", read)
    write_spm(folder / "target.spm", written)
    tokens = ["</s>", "<unk>", *sorted({*read, *written}), *codes, "<pad>"]
    (folder / "vocab.json").write_text(json.dumps({token: row for row, token in enumerate(tokens)}))
    settings = {"tokenizer_class": "MarianTokenizer", "source_lang": "en", "target_lang": "de", "model_max_length": 512}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def marian_ids(text: str, pieces: dict[str, float], rows: dict[str, int]) -> list[int]:
    """What transformers' MarianTokenizer gives: the mark of a language, SentencePiece's likeliest pieces, the end."""
    found: list[int] = []
    if text.startswith(">>") and (end := text.find("<<")) != -1:
        found, text = [rows.get(text[: end + 2], rows["<unk>"])], text[end + 2 :]
    text = re.sub(" +", " ", text.strip(" ")).replace(" ", SPACE)
    return [*found, *(_likeliest(SPACE + text, pieces, rows) if text else []), rows["</s>"]]


def _likeliest(text: str, pieces: dict[str, float], rows: dict[str, int]) -> list[int]:
    """Viterbi's path; a character that no piece is costs ten more than the rarest piece, and neighbours of that kind
    are one unknown."""
    lowest, longest = min(pieces.values()), max(map(len, pieces))
    best: list[tuple[float, int, bool]] = [(0.0, 0, False)]
    for end in range(1, len(text) + 1):
        ways = [
            (best[start][0] + pieces[text[start:end]], start, False)
            for start in range(max(0, end - longest), end)
            if text[start:end] in pieces
        ]
        if text[end - 1] not in pieces:
            ways.append((best[end - 1][0] + lowest - 10, end - 1, True))
        best.append(max(ways, key=lambda way: way[0]))
    path, end = [], len(text)
    while end:
        _, start, unknown = best[end]
        path.append((text[start:end], unknown))
        end = start
    path.reverse()
    kept = [part for number, part in enumerate(path) if not (part[1] and number and path[number - 1][1])]
    return [rows["<unk>"] if unknown else rows[piece] for piece, unknown in kept]
