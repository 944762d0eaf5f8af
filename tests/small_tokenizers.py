"""Small real fast tokenizers that know the words of some texts: one of each kind that the families have."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from typing import Any

BERT_MARKS = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
ROBERTA_MARKS = {
    "bos_token": "<s>",
    "pad_token": "<pad>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "mask_token": "<mask>",
    "cls_token": "<s>",
    "sep_token": "</s>",
}
WITHOUT_TYPES, WITH_TYPES = ["input_ids", "attention_mask"], ["input_ids", "token_type_ids", "attention_mask"]


def tokenizer_of(family: str, texts: Sequence[str]) -> Any:
    """The tokenizer of a family's kind: WordPiece, byte-level BPE or Unigram; the same in every run."""
    from transformers import PreTrainedTokenizerFast

    if "roberta" in family or family == "camembert":
        made, marks, names = _byte_level(texts, ROBERTA_MARKS), ROBERTA_MARKS, WITHOUT_TYPES
    elif family == "modernbert":
        made, marks, names = _byte_level(texts, BERT_MARKS), BERT_MARKS, WITHOUT_TYPES
    elif family in ("deberta-v2", "albert"):
        made, marks, names = _unigram(texts), BERT_MARKS, WITH_TYPES
    elif family == "mpnet":
        marks = ROBERTA_MARKS | {"unk_token": "[UNK]"}
        made, names = _word_piece(texts, marks), WITHOUT_TYPES
    else:
        made, marks = _word_piece(texts, BERT_MARKS), BERT_MARKS
        names = WITHOUT_TYPES if family == "distilbert" else WITH_TYPES
    return PreTrainedTokenizerFast(tokenizer_object=made, model_input_names=names, model_max_length=128, **marks)


def _special(marks: dict[str, str]) -> list[str]:
    """Special tokens in the order of their ids, which begin at 0."""
    first = ("bos_token", "pad_token", "eos_token", "unk_token", "cls_token", "sep_token", "mask_token")
    return list(dict.fromkeys(marks[name] for name in first if name in marks))


def _around(marks: dict[str, str]) -> Any:
    """What stands before, between and behind texts."""
    from tokenizers import processors

    start, end, ids = marks["cls_token"], marks["sep_token"], _special(marks)
    if start == "<s>":
        return processors.RobertaProcessing((end, ids.index(end)), (start, ids.index(start)))
    return processors.TemplateProcessing(
        f"{start} $A {end}",
        f"{start} $A {end} $B:1 {end}:1",
        [(start, ids.index(start)), (end, ids.index(end))],
    )


def _word_piece(texts: Sequence[str], marks: dict[str, str]) -> Any:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    words = sorted({word for text in texts for word in re.findall(r"\w+|[^\w\s]", text)})
    letters = string.ascii_lowercase + string.digits
    rest = [*sorted(set(letters + string.punctuation) - set(words)), *(f"##{letter}" for letter in letters)]
    tokens = [*_special(marks), *words, *rest]
    made = Tokenizer(models.WordPiece({token: index for index, token in enumerate(tokens)}, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    made.post_processor = _around(marks)
    return made


def _byte_level(texts: Sequence[str], marks: dict[str, str]) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    words = sorted({f"\u0120{word}" for text in texts for word in text.split()})
    merges = list(dict.fromkeys((word[:end], word[end]) for word in words for end in range(1, len(word))))
    tokens = [*_special(marks), *sorted(pre_tokenizers.ByteLevel.alphabet()), *(a + b for a, b in merges)]
    made = Tokenizer(
        models.BPE(
            vocab={token: index for index, token in enumerate(tokens)}, merges=merges, unk_token=marks["unk_token"]
        )
    )
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.post_processor = _around(marks)
    return made


def _unigram(texts: Sequence[str]) -> Any:
    """As SentencePiece writes them: words begin with a mark, and each piece has a logarithm of its share."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    words = sorted({f"\u2581{word}" for text in texts for word in re.findall(r"\w+", text)})
    letters = [*"\u2581", *string.ascii_lowercase, *string.digits, *string.punctuation]
    pieces = [(token, 0.0) for token in _special(BERT_MARKS)]
    pieces += [*((word, -4.0) for word in words), *((letter, -9.0) for letter in letters)]
    made = Tokenizer(models.Unigram(pieces, unk_id=_special(BERT_MARKS).index("[UNK]"), byte_fallback=False))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    made.post_processor = _around(BERT_MARKS)
    return made
