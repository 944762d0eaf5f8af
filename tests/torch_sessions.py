"""Models of transformers where a bundle's graph would run: what the runtime makes of outputs, without an export."""

from __future__ import annotations

from types import SimpleNamespace

import torch
import transformers
from bundles import model_graph
from models import make_tokenizer

from edgelm.runtime.inputs.text import make_encoder
from edgelm.runtime.manifest import Manifest
from edgelm.runtime.model import Model
from edgelm.runtime.preprocessing import TextProcessing
from edgelm.runtime.provider import Opened


class TorchSession:
    """Runs a model as onnxruntime runs its graph, and counts the calls."""

    def __init__(self, model, names):
        self.model, self.names, self.shapes = model.eval(), names, []

    def get_inputs(self):
        return [SimpleNamespace(name=name) for name in self.names]

    def run(self, outputs, feeds):
        self.shapes.append(feeds["input_ids"].shape)
        with torch.inference_mode():
            found = self.model(**{name: torch.from_numpy(values) for name, values in feeds.items()})
        return [found[name].numpy() for name in outputs]


class EndingsSession(TorchSession):
    """Of a model of multiple choice, which reads (samples, endings, tokens): each ending is a sample of its own."""

    def run(self, outputs, feeds):
        with torch.inference_mode():
            found = self.model(**{name: torch.from_numpy(values)[:, None] for name, values in feeds.items()})
        return [found.logits.numpy()]


def random_model(architecture, family="bert", *, spread=0.3, seed=0, **settings):
    """A small random model with a head, such as `ForMultipleChoice`, and its tokenizer; its weights are wide, so that
    answers differ from text to text."""
    torch.manual_seed(seed)
    tokenizer = make_tokenizer(family)
    prefix = {"bert": "Bert", "distilbert": "DistilBert", "roberta": "Roberta"}[family]
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    if family == "distilbert":
        sizes = {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64}
    config = getattr(transformers, f"{prefix}Config")(
        vocab_size=len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=spread,
        **sizes,
        **settings,
    )
    return getattr(transformers, f"{prefix}{architecture}")(config).eval(), tokenizer


def named(labels):
    """The entries of a configuration that name labels."""
    return {"id2label": dict(enumerate(labels)), "label2id": {label: index for index, label in enumerate(labels)}}


def make_model(model, tokenizer, task, *, max_length=128, side="right", session=TorchSession):
    """A loaded bundle in all but its files."""
    names = tuple(tokenizer.model_input_names)
    manifest = Manifest(
        name="torch",
        created="2026-01-01T00:00:00+00:00",
        task=task,
        family="bert",
        precision="fp32",
        graphs=(model_graph(names, dict.fromkeys(task.output_names, ())),),
        tokenization=TextProcessing(
            max_length=max_length,
            pad_id=tokenizer.pad_token_id,
            pad_token=tokenizer.pad_token,
            truncation_side=side,
        ),
        files=(),
    )
    from tokenizers import Tokenizer

    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())  # one of its own, set up as the bundle says
    return Model(Opened(session(model, names), "cpu", None, ()), make_encoder(manifest, backend))
