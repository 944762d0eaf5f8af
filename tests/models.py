"""Small random models of every family, each with a real fast tokenizer: what most tests work on."""

from __future__ import annotations

import functools
from pathlib import Path

from generators import GENERATORS as GENERATORS
from generators import SENTENCES
from generators import make_generator as make_generator
from small_tokenizers import tokenizer_of

from edgelm.anatomy.families.table import FAMILIES as ROWS
from edgelm.anatomy.families.table import supported_model_types
from edgelm.checkpoint import Record
from edgelm.tasks.table import TASKS

FAMILIES = supported_model_types()  # what every test of families runs on: a new row of the table is tested everywhere
ANATOMIES = [row.model_types[0] for row in ROWS]  # one of each row, where a test takes long
FEW = ANATOMIES[:3]  # where it takes so long that the others are tested in one way alone, and in all when slow ones are

MARKS = {"bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}
TEXTS = SENTENCES


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
    usual = {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": ffn,
    }
    names = {
        "bert": ("Bert", usual),
        "roberta": ("Roberta", usual | {"type_vocab_size": 1}),
        "xlm-roberta": ("XLMRoberta", usual | {"type_vocab_size": 1}),
        "camembert": ("Camembert", usual | {"type_vocab_size": 1}),
        "electra": ("Electra", usual | {"embedding_size": hidden // 2}),
        "distilbert": ("DistilBert", {"dim": hidden, "n_layers": layers, "n_heads": heads, "hidden_dim": ffn}),
        "mpnet": ("MPNet", usual),
        # A group a layer: layers that share their weights have tests of their own.
        "albert": ("Albert", usual | {"embedding_size": hidden // 2, "num_hidden_groups": layers}),
        # Windows of six tokens, so that the texts are longer; every layer of another kind than the one before.
        "modernbert": ("ModernBert", usual | {"local_attention": 6, "global_attn_every_n_layers": 2} | MARKS),
        # As version 3 has them: no positions but relative ones, in buckets, with the keys and queries of the content.
        "deberta-v2": (
            "DebertaV2",
            usual
            | {"relative_attention": True, "position_buckets": 8, "pos_att_type": ["p2c", "c2p"]}
            | {"share_att_key": True, "norm_rel_ebd": "layer_norm", "position_biased_input": False},
        ),
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
        if kind == "fill-mask":  # some tokens are likelier than others, or random answers would be ties
            torch.nn.init.normal_(model.get_output_embeddings().bias, std=16.0)
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if kind == "fill-mask":  # config.json alone would have it an encoder
        Record(TASKS[kind](), source="random").write(Path(folder))
    return Path(folder)


@functools.cache
def make_wide(folder: Path, family: str = "bert", *, cut: bool = False) -> Path:
    """A checkpoint with matrices large enough for integers, in a folder of its own inside; cut: its two layers have
    shapes of their own."""
    from edgelm.anatomy import load_checkpoint, load_tokenizer, model_layers, save_checkpoint
    from edgelm.checkpoint import open_checkpoint

    full = make_checkpoint(folder / "full", family, hidden=128, heads=4, ffn=256, spread=0.1, kind="sentence-embedding")
    if not cut:
        return full
    checkpoint = open_checkpoint(full)
    model, tokenizer = load_checkpoint(checkpoint), load_tokenizer(checkpoint)
    model_layers(model)[0].cut(heads=[0, 2, 3], ffn=range(192))
    model_layers(model)[1].cut(heads=[1, 2], ffn=range(128, 256))
    save_checkpoint(folder / "cut", model, tokenizer, checkpoint.record)
    return folder / "cut"


def make_sharing_checkpoint(folder: Path, *, kind: str = "text-classification", layers: int = 3) -> Path:
    """An ALBERT all of whose layers share one set of weights, as all published ones do."""
    import transformers

    from edgelm.anatomy import load_checkpoint, load_tokenizer

    make_checkpoint(folder, "albert", kind=kind, layers=1)
    model, tokenizer = load_checkpoint(folder), load_tokenizer(folder)
    config = transformers.AlbertConfig.from_dict(model.config.to_dict() | {"num_hidden_layers": layers})
    sharing = type(model)(config)
    sharing.load_state_dict(model.state_dict())
    sharing.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return Path(folder)


def make_tokenizer(family: str = "bert"):
    """A tokenizer of the family's kind that knows the words of `TEXTS`; the same in every run."""
    return tokenizer_of(family, TEXTS)
