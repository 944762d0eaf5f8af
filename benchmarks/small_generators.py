"""Generators of our own for the other benchmarks: `EDGELM_DATA=FOLDER python benchmarks/small_generators.py
[--work build/small-generators] [decoder] [translator]`.

decoder: Llama-like, 6 layers of 256, 4,096 tokens of byte-level BPE; learns the train parts of wikitext2 and
shakespeare from nothing, the state that does best on dev of shakespeare and a tenth of wikitext2's train is kept.

translator: T5-like, 6 + 6 layers of 512 (T5-small's sizes), 8,192 tokens of Unigram; learns multi30k_en_de from
nothing, the state with the best BLEU on 200 rows of dev is kept.

Both take some minutes on a GPU. What lies in the work folder is not made again.
"""

from __future__ import annotations

import edgelm  # isort: skip  # before onnxruntime: it turns its telemetry off

import argparse
import json
import os
import tempfile
from pathlib import Path

import torch
from byte_level import train_byte_level
from ending import run
from machine import print_machine
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

from edgelm.data.dataset import Dataset, load_dataset
from edgelm.training_settings import TrainSettings

HELD_OUT = 10  # every tenth paragraph of wikitext2's train is dev
NAMES = ("decoder", "translator")
SETTINGS = {
    "decoder": TrainSettings(
        epochs=24,
        learning_rate=1e-3,
        weight_decay=0.1,
        batch_size=16,
        max_length=256,
        dropout=0.1,
        early_stopping=3,
        evaluations=24,
        precision="auto",
    ),
    "translator": TrainSettings(
        epochs=16,
        learning_rate=5e-4,
        weight_decay=0.01,
        batch_size=128,
        max_length=64,
        dropout=0.2,
        evaluations=4,
        precision="auto",
    ),
}


def texts(part: str) -> dict[str, Dataset]:
    """Texts by their source, wikitext2 and shakespeare; part is train, dev or test."""
    folder = Path(os.environ["EDGELM_DATA"])
    name = "test" if part == "test" else "train"
    paragraphs = load_dataset(folder / "wikitext2" / f"{name}.jsonl", schema="prompts", need_labels=False)
    if part != "test":
        kept = [row for row in range(len(paragraphs)) if (row % HELD_OUT == 0) == (part == "dev")]
        paragraphs = paragraphs.take(kept)
    return {
        "wikitext2": paragraphs,
        "shakespeare": load_dataset(folder / "shakespeare" / f"{part}.jsonl", schema="prompts", need_labels=False),
    }


def joined(part: str) -> Dataset:
    """The texts of both sources in one."""
    first, second = texts(part).values()
    return first.join(second)


def pairs(part: str) -> Dataset:
    """Sentences and their translations; part is train, dev or test."""
    return load_dataset(Path(os.environ["EDGELM_DATA"], "multi30k_en_de", f"{part}.jsonl"), schema="targets")


def make_decoder(folder: Path) -> None:
    """A random decoder and its tokenizer."""
    tokenizer = train_byte_level(joined("train").texts, 4096, ["<|end|>"])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|end|>",
        bos_token="<|end|>",
        pad_token="<|end|>",
        model_max_length=1024,
    ).save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=4096,
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(folder)


def make_translator(folder: Path) -> None:
    """A random encoder-decoder and its tokenizer."""
    rows = pairs("train")
    sentences = [*rows.texts, *(references[0] for references in rows.labels or ())]
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=8192, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(sentences, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=128
    ).save_pretrained(folder)
    config = T5Config(
        vocab_size=tokenizer.get_vocab_size(),
        d_model=512,
        d_kv=64,
        d_ff=2048,
        num_layers=6,
        num_heads=8,
        dropout_rate=0.1,
        decoder_start_token_id=0,
        pad_token_id=0,
        eos_token_id=1,
    )
    T5ForConditionalGeneration(config).save_pretrained(folder)


def make_generator(name: str, work: Path, *, epochs: float | None = None) -> Path:
    """The checkpoint of a generator; trained where it is missing."""
    output = work / name
    if output.is_dir():
        return output
    settings = SETTINGS[name]
    if epochs is not None:
        settings = settings.model_copy(update={"epochs": epochs})
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        {"decoder": make_decoder, "translator": make_translator}[name](Path(folder))
        made = edgelm.finetune(
            folder,
            dataset=joined("train") if name == "decoder" else pairs("train"),
            evaluation=joined("dev") if name == "decoder" else pairs("dev").sample(200, seed=0),
            output=output,
            kind="text-generation" if name == "decoder" else "translation",
            settings=settings,
        )
    print(f"{name}: trained in {made.seconds:.0f} s; dev: {json.dumps(made.metrics)}", flush=True)
    return output


def main() -> None:
    """Make the generators that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(NAMES), help=", ".join(NAMES))
    parser.add_argument("--work", type=Path, default=Path("build/small-generators"))
    parser.add_argument("--epochs", type=float)
    options = parser.parse_args()
    print_machine()
    for name in options.names:
        make_generator(name, options.work, epochs=options.epochs)


if __name__ == "__main__":
    run(main)
