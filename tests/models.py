"""Small random models of every family, each with a real fast tokenizer: what most tests work on."""

from __future__ import annotations

import functools
import re
import string
from pathlib import Path

from edgelm.anatomy.families.table import FAMILIES as ROWS
from edgelm.anatomy.families.table import supported_model_types
from edgelm.tasks.table import TASKS

FAMILIES = supported_model_types()  # what every test of families runs on: a new row of the table is tested everywhere
ANATOMIES = [row.model_types[0] for row in ROWS]  # one of each row, where a test takes long

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
    spread: float = 0.3,
    seed: int = 0,
) -> Path:
    """Save a random model with its tokenizer as a Hugging Face folder, and return the folder.

    `spread` is the standard deviation of the weights: wide enough for the layers to matter to the output.
    """
    import torch
    import transformers

    torch.manual_seed(seed)
    tokenizer = make_tokenizer(family)
    sizes = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id, "max_position_embeddings": 130}
    names = {
        "bert": (
            "Bert",
            {
                "hidden_size": hidden,
                "num_hidden_layers": layers,
                "num_attention_heads": heads,
                "intermediate_size": ffn,
            },
        ),
        "roberta": (
            "Roberta",
            {
                "hidden_size": hidden,
                "num_hidden_layers": layers,
                "num_attention_heads": heads,
                "intermediate_size": ffn,
                "type_vocab_size": 1,
            },
        ),
        "xlm-roberta": (
            "XLMRoberta",
            {
                "hidden_size": hidden,
                "num_hidden_layers": layers,
                "num_attention_heads": heads,
                "intermediate_size": ffn,
                "type_vocab_size": 1,
            },
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
    config.initializer_range = spread
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
        task = TASKS[kind]
        if kind == "token-classification":
            config.id2label = dict(enumerate(labels))
            config.label2id = {name: index for index, name in enumerate(labels)}
        model = getattr(transformers, f"{prefix}{task.architecture}")(config)
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return Path(folder)


@functools.cache
def make_wide(folder: Path, family: str = "bert", *, cut: bool = False) -> Path:
    """A checkpoint with matrices large enough for integers, in a folder of its own inside; cut: its two layers have
    shapes of their own."""
    from edgelm.anatomy import blocks, load_checkpoint, load_tokenizer, save_checkpoint
    from edgelm.checkpoint import open_checkpoint

    full = make_checkpoint(folder / "full", family, hidden=128, heads=4, ffn=256, spread=0.1, kind="sentence-embedding")
    if not cut:
        return full
    checkpoint = open_checkpoint(full)
    model, tokenizer = load_checkpoint(checkpoint), load_tokenizer(checkpoint)
    blocks(model)[0].cut(heads=[0, 2, 3], ffn=range(192))
    blocks(model)[1].cut(heads=[1, 2], ffn=range(128, 256))
    save_checkpoint(folder / "cut", model, tokenizer, checkpoint.record)
    return folder / "cut"


def make_tokenizer(family: str = "bert"):
    """A WordPiece (or, for RoBERTa, byte-level BPE) tokenizer that knows the words of `TEXTS`; the same in every
    run."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
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
        words = sorted({f"\u0120{word}" for text in TEXTS for word in text.split()})
        merges = list(dict.fromkeys((word[:end], word[end]) for word in words for end in range(1, len(word))))
        tokens = [
            "<s>",
            "<pad>",
            "</s>",
            "<unk>",
            "<mask>",
            *sorted(pre_tokenizers.ByteLevel.alphabet()),
            *(a + b for a, b in merges),
        ]
        tokenizer = Tokenizer(
            models.BPE(vocab={token: index for index, token in enumerate(tokens)}, merges=merges, unk_token="<unk>")
        )
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
        names = ["input_ids", "attention_mask"]
    else:
        special = {
            "pad_token": "[PAD]",
            "unk_token": "[UNK]",
            "cls_token": "[CLS]",
            "sep_token": "[SEP]",
            "mask_token": "[MASK]",
        }
        words = sorted({word for text in TEXTS for word in re.findall(r"\w+|[^\w\s]", text)})
        letters = string.ascii_lowercase + string.digits
        rest = [*sorted(set(letters + string.punctuation) - set(words)), *(f"##{letter}" for letter in letters)]
        tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words, *rest]
        tokenizer = Tokenizer(models.WordPiece({token: index for index, token in enumerate(tokens)}, unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = decoders.WordPiece()
        tokenizer.post_processor = processors.TemplateProcessing(
            "[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", [("[CLS]", 2), ("[SEP]", 3)]
        )
        names = (
            ["input_ids", "attention_mask"]
            if family == "distilbert"
            else ["input_ids", "token_type_ids", "attention_mask"]
        )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_input_names=names, model_max_length=128, **special)
