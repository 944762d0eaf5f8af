"""sentence-transformers folders give the library's own vectors, in PyTorch, in a bundle and after a save; what edgelm
cannot compute is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from models import TEXTS, make_checkpoint
from sentence_folders import add_modules, dense, edit, make_sentence_folder, pooling

from edgelm.errors import ModelError
from edgelm.tasks.text import POOLINGS, SentenceEmbedding, TextClassification

EVERYTHING = (
    pooling(*POOLINGS),
    dense(192, 24, use_residual=True),
    ("LayerNorm", {"dimension": 24}),
    ("Dropout", {"dropout": 0.5}),
    ("Normalize", {}),
    dense(24, 24, "activation.GELU", bias=False, use_residual=True),
    ("Normalize", {}),
)
LONG = [*TEXTS, " ".join(TEXTS), "TURN The Kitchen Lights On"]


@pytest.fixture(scope="module")
def everything(tmp_path_factory) -> Path:
    """Every module and every setting that edgelm applies, in one folder."""
    folder = make_sentence_folder(tmp_path_factory.mktemp("everything") / "model", *EVERYTHING)
    edit(folder / "sentence_bert_config.json", max_seq_length=14, do_lower_case=True)
    edit(
        folder / "config_sentence_transformers.json",
        prompts={"query": "please: "},
        default_prompt_name="query",
        truncate_dim=20,
    )
    return folder


def theirs(folder: Path, texts=LONG) -> np.ndarray:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu").encode(list(texts))


def ours(folder: Path, texts=LONG) -> np.ndarray:
    from edgelm.anatomy import TaskModel, find_checkpoint, load_checkpoint, load_tokenizer
    from edgelm.compress.evaluate import predict
    from edgelm.data.dataset import Dataset

    checkpoint = find_checkpoint(folder)
    rows = Dataset(texts=tuple(texts), source="test", label_names=())
    return predict(TaskModel(load_checkpoint(checkpoint), load_tokenizer(checkpoint), checkpoint.task), rows).rows


def export_fp32(folder: Path, output: Path, **options):
    from edgelm.device import load_device
    from edgelm.export.pipeline import export

    export(folder, output=output, device=load_device("cpu"), precision="fp32", **options)
    return output


@pytest.mark.parametrize("single", [False, True], ids=["batches", "single"])
def test_a_bundle_gives_the_vectors_of_the_library(everything, tmp_path, single) -> None:
    import edgelm.runtime

    bundle = export_fp32(everything, tmp_path / "all.edge", single=single)
    model = edgelm.runtime.load(bundle)
    wanted = theirs(everything)
    assert wanted.shape == (len(LONG), 20)
    found = np.array([answer["embedding"] for answer in model(LONG)])
    np.testing.assert_allclose(found, wanted, atol=1e-5)  # FP32 sums in another order
    np.testing.assert_allclose([model(text)["embedding"] for text in LONG], wanted, atol=1e-5)
    assert model.manifest.task.prompt == "please: " and model.manifest.tokenization.max_length == 14


def test_pytorch_and_what_is_saved_give_the_vectors_of_the_library(everything, tmp_path) -> None:
    from edgelm.anatomy import find_checkpoint, load_checkpoint, load_tokenizer, save_checkpoint

    np.testing.assert_allclose(ours(everything), theirs(everything), atol=1e-5)
    checkpoint = find_checkpoint(everything)
    (tmp_path / "saved").mkdir()
    save_checkpoint(tmp_path / "saved", load_checkpoint(checkpoint), load_tokenizer(checkpoint), checkpoint.record)
    np.testing.assert_allclose(theirs(tmp_path / "saved"), theirs(everything), atol=1e-6)
    np.testing.assert_allclose(ours(tmp_path / "saved"), theirs(everything), atol=1e-5)


@pytest.mark.parametrize("mode", POOLINGS)
def test_every_pooling_gives_the_vectors_of_the_library(tmp_path, mode) -> None:
    folder = make_sentence_folder(tmp_path / mode, pooling(mode), family="roberta")
    np.testing.assert_allclose(ours(folder), theirs(folder), atol=1e-5)


@pytest.mark.parametrize("name", ["Identity", "Tanh", "ReLU", "LeakyReLU", "ELU", "GELU", "Sigmoid", "SiLU"])
@pytest.mark.parametrize("masked", [True, False], ids=["mask", "no mask"])
def test_the_graph_behind_the_tokens_computes_what_torch_does(name, masked) -> None:
    import onnx
    import onnxruntime
    import torch
    from onnx import helper

    from edgelm.anatomy.sentence_head import Dense
    from edgelm.anatomy.task_model import pool
    from edgelm.export.pooling import append_pooling
    from edgelm.model_folder.sentence_modules import SentenceLayer

    torch.manual_seed(3)
    task = SentenceEmbedding(pooling="+".join(POOLINGS), normalize=False, head=("Dense",))
    layer = Dense(SentenceLayer("dense", None, 24, 5, True, name))
    integers = [
        helper.make_tensor_value_info(key, 7, ["batch", "sequence"])
        for key in ("input_ids", "attention_mask")[: 1 + masked]
    ]
    tokens = helper.make_tensor_value_info("last_hidden_state", 1, ["batch", "sequence", 4])
    nodes = [helper.make_node("Identity", ["tokens"], ["last_hidden_state"])]
    given = helper.make_tensor_value_info("tokens", 1, ["batch", "sequence", 4])
    graph = helper.make_model(
        helper.make_graph(nodes, "g", [*integers, given], [tokens]),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=9,
    )
    append_pooling(graph, task, [layer])
    onnx.checker.check_model(graph)
    vectors, mask = torch.randn(3, 6, 4) * 2, torch.ones(3, 6, dtype=torch.long)
    if masked:
        mask[1, 2:], mask[2, 5:] = 0, 0
    feeds = {"input_ids": mask.numpy(), "attention_mask": mask.numpy(), "tokens": vectors.numpy()}
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    found = session.run(None, {value.name: feeds[value.name] for value in session.get_inputs()})[0]
    np.testing.assert_allclose(found, layer(pool(vectors, mask, task)).detach().numpy(), atol=1e-5)


def test_a_transformer_in_a_folder_of_its_own_is_found(tmp_path) -> None:
    make_checkpoint(tmp_path / "m" / "0_Transformer", kind="sentence-embedding")
    add_modules(tmp_path / "m", pooling("mean"), dense(32, 8))
    rows = json.loads((tmp_path / "m" / "modules.json").read_text())
    rows[0]["path"] = "0_Transformer"
    (tmp_path / "m" / "modules.json").write_text(json.dumps(rows))
    np.testing.assert_allclose(ours(tmp_path / "m"), theirs(tmp_path / "m"), atol=1e-5)


@pytest.mark.parametrize("modules", [None, "[]"], ids=["no modules.json", "empty"])
def test_pooling_alone_is_read(tmp_path, modules) -> None:
    from edgelm.checkpoint import open_checkpoint

    folder = make_checkpoint(tmp_path / "m", kind="sentence-embedding")
    edit(
        folder / "1_Pooling" / "config.json",
        word_embedding_dimension=32,
        pooling_mode_cls_token=True,
        pooling_mode_mean_tokens=False,
    )
    if modules:
        (folder / "modules.json").write_text(modules)
    task = open_checkpoint(folder).task
    assert (task.pooling, task.normalize) == ("cls", False)


def test_a_module_that_edgelm_does_not_compute_is_refused_by_name(tmp_path) -> None:
    from edgelm.checkpoint import open_checkpoint

    folder = make_sentence_folder(tmp_path / "m", pooling("mean"), ("Normalize", {}))
    good = json.loads((folder / "modules.json").read_text())
    for kind in (
        "sentence_transformers.models.CNN",
        "sentence_transformers.models.Router",
        "custom_st.Pooling",
        "sentence_transformers.models.BoW",
    ):
        (folder / "modules.json").write_text(json.dumps([*good, {"idx": 3, "name": "3", "path": "3", "type": kind}]))
        with pytest.raises(ModelError, match=kind):
            open_checkpoint(folder)
    for broken in (
        "{",
        "{}",
        "[1]",
        '[{"type": 5}]',
        json.dumps(good[1:]),
        json.dumps([*good, good[0]]),
        '[{"type": "sentence_transformers.a.Transformer", "path": "../x"}]',
    ):
        (folder / "modules.json").write_text(broken)
        with pytest.raises(ModelError):
            open_checkpoint(folder)


def test_layers_whose_weights_do_not_fit_are_refused(tmp_path) -> None:
    from edgelm.anatomy import load_checkpoint

    folder = make_sentence_folder(tmp_path / "m", pooling("mean"), dense(32, 8))
    edit(folder / "2_Dense" / "config.json", out_features=9)
    with pytest.raises(ModelError, match="2_Dense"):
        load_checkpoint(folder)
    edit(folder / "2_Dense" / "config.json", in_features=16)
    with pytest.raises(ModelError, match="16"):
        load_checkpoint(folder)
    (folder / "2_Dense" / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="no weights"):
        load_checkpoint(folder)


@pytest.mark.parametrize("where", ["config.json", "older", "folder"])
@pytest.mark.parametrize("name", ["Sigmoid", "Identity"])
def test_a_cross_encoder_scores_as_the_library_does(tmp_path, where, name) -> None:
    import torch
    from sentence_transformers import CrossEncoder

    from edgelm.anatomy import load_checkpoint, load_tokenizer, model_outputs
    from edgelm.checkpoint import open_checkpoint
    from edgelm.runtime.answers.classes import read_answers

    folder = make_checkpoint(tmp_path / "m", labels=("LABEL_0",), problem="regression")
    path = f"torch.nn.modules.{'activation' if name == 'Sigmoid' else 'linear'}.{name}"
    if where == "config.json":
        edit(folder / "config.json", sentence_transformers={"activation_fn": path})
    elif where == "older":
        edit(folder / "config.json", sbert_ce_default_activation_function=path)
    else:
        wanted = CrossEncoder(str(folder), activation_fn=getattr(torch.nn, name)())
        wanted.save(str(tmp_path / "saved"))
        edit(tmp_path / "saved" / "config_sentence_transformers.json", activation_fn=path)
        shutil.rmtree(folder)
        shutil.move(tmp_path / "saved", folder)
    texts = list(zip(TEXTS[:4], TEXTS[4:], strict=True))
    checkpoint = open_checkpoint(folder)
    model, tokenizer = load_checkpoint(checkpoint), load_tokenizer(checkpoint)
    batch = tokenizer([one for one, _ in texts], [two for _, two in texts], padding=True, return_tensors="pt")
    with torch.inference_mode():
        outputs, _ = model_outputs(model, checkpoint.task, dict(batch))
    found = [answer["score"] for answer in read_answers(checkpoint.task, outputs.numpy())]
    reference = CrossEncoder(str(folder))
    np.testing.assert_allclose(found, reference.predict(texts), atol=1e-5)
    edit(folder / "config.json", sentence_transformers={"activation_fn": "torch.nn.modules.activation.Tanh"})
    with pytest.raises(ModelError, match="Tanh"):
        open_checkpoint(folder)


@pytest.mark.parametrize(
    "problem, said, wanted", [(None, None, "sigmoid"), ("regression", None, ""), (None, "linear.Identity", "identity")]
)
def test_what_a_score_goes_through_stays_in_the_folder_that_is_written(tmp_path, problem, said, wanted) -> None:
    """The new folder reads alike without edgelm.json, and to transformers and sentence-transformers."""
    from sentence_transformers import CrossEncoder

    from edgelm.anatomy import load_checkpoint, load_tokenizer, save_checkpoint
    from edgelm.checkpoint import open_checkpoint

    folder = make_checkpoint(tmp_path / "m", labels=("score",), problem="regression")
    edit(folder / "config.json", problem_type=problem)
    if said:
        edit(
            add_modules(folder) / "config_sentence_transformers.json",
            model_type="CrossEncoder",
            activation_fn=f"torch.nn.modules.{said}",
        )
    checkpoint = open_checkpoint(folder)
    assert checkpoint.task.activation == wanted
    save_checkpoint(tmp_path / "saved", load_checkpoint(checkpoint), load_tokenizer(checkpoint), checkpoint.record)
    (tmp_path / "saved" / "edgelm.json").unlink()
    assert open_checkpoint(tmp_path / "saved").task == checkpoint.task
    if said:
        assert type(CrossEncoder(str(tmp_path / "saved"), device="cpu").activation_fn).__name__ == "Identity"


def test_another_head_has_no_activation_of_the_cross_encoder_before(tmp_path) -> None:
    from edgelm.anatomy import load_backbone, load_tokenizer, save_checkpoint
    from edgelm.checkpoint import Record, open_checkpoint

    folder = make_checkpoint(tmp_path / "m", labels=("score",), problem="regression")
    edit(folder / "config.json", sentence_transformers={"activation_fn": "torch.nn.modules.activation.Sigmoid"})
    checkpoint, task = open_checkpoint(folder), TextClassification(labels=("a", "b", "c"))
    model = load_backbone(checkpoint, task, allow_new_head=True)
    save_checkpoint(tmp_path / "saved", model, load_tokenizer(checkpoint), Record(task, source="m"))
    assert open_checkpoint(tmp_path / "saved").task == task
