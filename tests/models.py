"""Small random models of every family, each with a real fast tokenizer: what most tests work on."""

from __future__ import annotations

import functools
from pathlib import Path

TEXTS = (
    "turn the kitchen lights on",
    "what a wonderful and moving film this is",
    "the battery died after two days and nobody answers",
    "please set the thermostat to twenty one degrees",
    "a dull, lifeless movie with no story at all",
    "is it going to rain in the afternoon?",
    "play some quiet music in the living room",
    "good value, quick delivery, would buy again",
)


def make_checkpoint(
    folder: Path,
    family: str = "bert",
    *,
    labels: tuple[str, ...] = ("negative", "positive"),
    problem: str = "single-label",
    kind: str = "text-classification",
    layers: int = 2,
    hidden: int = 32,
    heads: int = 4,
    ffn: int = 64,
    seed: int = 0,
) -> Path:
    """Save a random model with its tokenizer as a Hugging Face folder, and return the folder."""
    import torch
    import transformers

    torch.manual_seed(seed)
    tokenizer = make_tokenizer(family)
    sizes = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id, "max_position_embeddings": 130}
    names = {
        "bert": ("Bert", {"hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads, "intermediate_size": ffn}),
        "roberta": (
            "Roberta",
            {"hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads, "intermediate_size": ffn, "type_vocab_size": 1},
        ),
        "xlm-roberta": (
            "XLMRoberta",
            {"hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads, "intermediate_size": ffn, "type_vocab_size": 1},
        ),
        "electra": (
            "Electra",
            {
                "embedding_size": hidden // 2,
                "hidden_size": hidden,
                "num_hidden_layers": layers,
                "num_attention_heads": heads,
                "intermediate_size": ffn,
            },
        ),
        "distilbert": ("DistilBert", {"dim": hidden, "n_layers": layers, "n_heads": heads, "hidden_dim": ffn}),
    }
    prefix, shape = names[family]
    config = getattr(transformers, f"{prefix}Config")(**sizes, **shape)
    config.initializer_range = 0.3  # wide enough for the layers to matter to the output
    if kind == "text-classification":
        config.id2label = dict(enumerate(labels))
        config.label2id = {name: index for index, name in enumerate(labels)}
        config.problem_type = {
            "single-label": "single_label_classification",
            "multi-label": "multi_label_classification",
            "regression": "regression",
        }[problem]
        model = getattr(transformers, f"{prefix}ForSequenceClassification")(config)
    else:
        model = getattr(transformers, f"{prefix}Model")(config)
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return Path(folder)


@functools.cache  # one training for all: equal scores may be merged in another order the next time
def make_tokenizer(family: str = "bert"):
    """A WordPiece (or, for RoBERTa, byte-level BPE) tokenizer trained on `TEXTS`."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    if "roberta" in family:
        special = {
            "bos_token": "<s>",
            "pad_token": "<pad>",
            "eos_token": "</s>",
            "unk_token": "<unk>",
            "mask_token": "<mask>",
            "cls_token": "<s>",
            "sep_token": "</s>",
        }
        tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=500, special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
        )
        tokenizer.train_from_iterator(TEXTS, trainer)
        tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
        names = ["input_ids", "attention_mask"]
    else:
        special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
        tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = decoders.WordPiece()
        trainer = trainers.WordPieceTrainer(vocab_size=400, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
        tokenizer.train_from_iterator(TEXTS, trainer)
        tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", [("[CLS]", 2), ("[SEP]", 3)])
        names = ["input_ids", "attention_mask"] if family == "distilbert" else ["input_ids", "token_type_ids", "attention_mask"]
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_input_names=names, model_max_length=128, **special)
