"""A classifier in the shape of the benchmarks' teacher with random weights, where that cannot be had: speed and memory
depend on the shape alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

_WORDS = 30522
_MARKS = {
    "unk_token": "[UNK]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
}
_DEBERTA_3 = {
    "relative_attention": True,
    "position_buckets": 256,
    "pos_att_type": ["p2c", "c2p"],
    "share_att_key": True,
    "norm_rel_ebd": "layer_norm",
    "position_biased_input": False,
    "type_vocab_size": 0,
}


def make_classifier(
    texts: Sequence[str],
    folder: Path,
    *,
    layers: int = 6,
    channels: int = 1536,
    seed: int = 0,
    family: str = "bert",
    labels: Sequence[str] = ("LABEL_0", "LABEL_1"),
) -> Path:
    """Save an encoder of six layers, 384 wide, with BERT's vocabulary and a class a label, and a WordPiece tokenizer
    of some texts, as a Hugging Face folder; the folder.

    Args:
        family: as transformers names it; DeBERTa with the settings of version 3.
    """
    import torch
    from tokenizers import BertWordPieceTokenizer
    from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedTokenizerFast

    made = BertWordPieceTokenizer()
    made.train_from_iterator(list(texts), vocab_size=4000, show_progress=False, special_tokens=[*_MARKS.values()])
    made = BertWordPieceTokenizer(vocab=made.get_vocab())  # with its marks around each text
    torch.manual_seed(seed)
    config = AutoConfig.for_model(
        family,
        vocab_size=_WORDS,
        hidden_size=384,
        num_hidden_layers=layers,
        num_attention_heads=12,
        intermediate_size=channels,
        id2label=dict(enumerate(labels)),
        label2id={label: index for index, label in enumerate(labels)},
        pad_token_id=made.token_to_id("[PAD]"),
        **(_DEBERTA_3 if family == "deberta-v2" else {}),
    )
    AutoModelForSequenceClassification.from_config(config).eval().save_pretrained(folder)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=made._tokenizer,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        **_MARKS,
    )
    tokenizer.save_pretrained(folder)
    return folder
