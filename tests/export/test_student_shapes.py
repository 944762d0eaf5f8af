"""Students that are narrower than their teacher, in every family: their bundles answer as PyTorch does."""

import numpy as np
import pytest
import torch
from models import ANATOMIES, TEXTS, make_checkpoint

import edgelm.runtime
from edgelm.anatomy import TaskModel, load_checkpoint, load_tokenizer, model_outputs, save_checkpoint
from edgelm.checkpoint import open_checkpoint
from edgelm.compress.pruning.activation_scores import measure_activity
from edgelm.compress.pruning.student_shape import resolve_shape
from edgelm.compress.pruning.width import cut_to_sizes
from edgelm.data.dataset import Dataset
from edgelm.device import load_device
from edgelm.export.pipeline import export

ROWS = Dataset("memory", texts=TEXTS)


@pytest.mark.parametrize("family", ANATOMIES)
def test_bundles_of_carved_students_compute_what_pytorch_computes(tmp_path, family):
    checkpoint = open_checkpoint(make_checkpoint(tmp_path / "teacher", family, hidden=48, heads=6, ffn=96))
    teacher, tokenizer, task = load_checkpoint(checkpoint), load_tokenizer(checkpoint), checkpoint.task
    # Heads of six, and room for five; those with rotary positions stay eight wide.
    width = {"hidden": 32, "heads": 3} if family == "modernbert" else {"hidden": 30, "heads": 4}
    shape = resolve_shape(teacher, layers=1, ffn=40, **width)
    student, _ = cut_to_sizes(teacher, shape, measure_activity(TaskModel(teacher, tokenizer, task), ROWS))
    save_checkpoint(tmp_path / "student", student, tokenizer, checkpoint.record)
    export(tmp_path / "student", output=tmp_path / "b", device=load_device("cpu"), precision="fp32", calibration=ROWS)
    with torch.inference_mode():
        wanted = np.concatenate(
            [model_outputs(student, task, dict(tokenizer(text, return_tensors="pt")))[0].numpy() for text in TEXTS]
        )
    bundle = edgelm.runtime.load(tmp_path / "b")
    np.testing.assert_allclose(
        bundle.infer(bundle.tokenize(list(TEXTS))), wanted, atol=1e-4, rtol=1e-4
    )  # float32, other kernels
