"""Quantization-aware training: what it rounds is what the integer graph computes, and training brings the two
together."""

import numpy as np
import pytest
import torch
from models import ANATOMIES, TEXTS, make_checkpoint

from edgelm import compress
from edgelm.anatomy import TaskModel, load_checkpoint, load_tokenizer, model_outputs
from edgelm.checkpoint import open_checkpoint
from edgelm.compress.training.fake_quantize import calibrate, fake_quantized, fake_weight, integer_modules
from edgelm.data.dataset import Dataset
from edgelm.quantize.grid import quantize_columns, rounded
from edgelm.recipe import Recipe
from edgelm.tasks.text import SentenceEmbedding

ROWS = Dataset("memory", texts=tuple(f"{text} {index}" for index in range(6) for text in TEXTS))
WIDE = {"hidden": 128, "heads": 4, "ffn": 256, "spread": 0.1}


def outputs_of(model, folder, rows=TEXTS):
    tokenizer, task = load_tokenizer(folder), open_checkpoint(folder).task
    with torch.inference_mode():
        return np.concatenate(
            [model_outputs(model, task, dict(tokenizer(text, return_tensors="pt")))[0].numpy() for text in rows]
        )


def calibrated(model, folder, method="minmax"):
    task = SentenceEmbedding()
    return calibrate(TaskModel(model, load_tokenizer(folder), task, 32), ROWS, method=method, symmetric=False)


@pytest.mark.parametrize("pair", [None, 128])
def test_weights_are_rounded_as_the_integer_graph_rounds_them(pair):
    weight = np.random.default_rng(0).normal(size=(9, 17)).astype(np.float32)
    found = fake_weight(torch.from_numpy(weight), pair).numpy()
    np.testing.assert_allclose(found, quantize_columns(weight.T, pair=pair).floats().T, atol=1e-6)


def test_a_module_computes_on_the_grid_and_lets_gradients_through(tmp_path):
    folder = make_checkpoint(tmp_path / "m", kind="sentence-embedding", **WIDE)
    model = load_checkpoint(folder)
    module = integer_modules(model)["encoder.layer.0.intermediate.dense"]
    inputs = torch.linspace(-3, 3, 2 * 128).reshape(2, 128).requires_grad_()
    interval = (-1.0, 2.0)
    with fake_quantized(model, {"encoder.layer.0.intermediate.dense": interval}):
        found = module(inputs)
        found.sum().backward()
    matrix = quantize_columns(module.weight.detach().numpy().T).floats()
    wanted = rounded(inputs.detach().numpy(), interval) @ matrix + module.bias.detach().numpy()
    np.testing.assert_allclose(found.detach().numpy(), wanted, atol=1e-4)
    inside = (inputs > -1.0) & (inputs < 2.0)
    assert (inputs.grad[inside] != 0).all()
    assert (inputs.grad[(inputs < -1.02) | (inputs > 2.02)] == 0).all()  # clipped
    assert (module.weight.grad != 0).any()
    assert module(inputs).shape == found.shape
    assert "forward" not in module.__dict__


@pytest.mark.parametrize(
    "family", [name if name == "bert" else pytest.param(name, marks=pytest.mark.slow) for name in ANATOMIES]
)
def test_training_brings_what_int8_computes_closer_to_the_original(tmp_path, family):
    """In integers the trained model answers more like the teacher than the teacher itself does."""
    folder = make_checkpoint(tmp_path / "m", family, kind="sentence-embedding", **WIDE)
    stage = {
        "stage": "quantize",
        "ranges": "entropy",
        "loss": {"hidden": 0.0},
        "train": {"max_steps": 60, "batch_size": 16, "learning_rate": 1e-4, "max_length": 32},
    }
    compress(folder, dataset=ROWS, evaluation=ROWS, recipe=Recipe(name="q", stages=(stage,)), output=tmp_path / "q")
    teacher, student = load_checkpoint(folder), load_checkpoint(tmp_path / "q")
    wanted = outputs_of(teacher, folder)
    intervals = calibrated(teacher, folder, "entropy")
    errors = []
    for model in (teacher, student):
        with fake_quantized(model, intervals, pair=128):  # the grid of the device that the recipe trains for
            errors.append(float(np.square(outputs_of(model, folder) - wanted).mean()))
    assert errors[1] < 0.7 * errors[0]
    assert [stage.stage for stage in open_checkpoint(tmp_path / "q").record.stages] == ["quantize"]
