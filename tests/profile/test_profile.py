"""What a user of `edgelm profile` sees: figures from raw samples, subjects side by side, and clear refusals."""

from __future__ import annotations

import json
import statistics
import sys

import numpy as np
import pytest
from models import TEXTS, make_checkpoint
from pages import check_page
from typer.testing import CliRunner

from edgelm.data.dataset import Dataset
from edgelm.errors import InputError, UsageError, install_extra
from edgelm.profile.inputs import make_feeds
from edgelm.profile.interleave import WorkerClient, take_turns
from edgelm.profile.pipeline import profile
from edgelm.profile.result import Case, Profile
from edgelm.profile.subject import Subject, find_subject
from edgelm.progress import silent
from edgelm.report import render_html
from edgelm.report.tables import quality_table


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return make_checkpoint(tmp_path_factory.mktemp("profile") / "checkpoint")


@pytest.fixture(scope="module")
def bundle(checkpoint):
    from edgelm.device import load_device
    from edgelm.export.pipeline import export

    path = checkpoint.parent / "bundle"
    texts = Dataset("texts", TEXTS * 10)
    export(checkpoint, device=load_device("cpu"), precision="fp32", calibration=texts, output=path)
    return path


@pytest.fixture(scope="module")
def pair(bundle):
    return profile(bundle, compare=[bundle], threads=1, runs=300, loads=1)


def run(*arguments):
    from edgelm.cli.main import app

    return CliRunner().invoke(app, ["profile", *map(str, arguments)])


def test_statistics_are_those_of_the_raw_samples():
    samples = tuple(np.random.default_rng(0).gamma(2.0, 1.5, 101))
    values = Case(4, None, samples).to_dict()
    assert values["p50_ms"] == pytest.approx(statistics.median(samples))
    assert values["p90_ms"] == pytest.approx(statistics.quantiles(samples, n=10, method="inclusive")[8])
    assert values["p99_ms"] == pytest.approx(statistics.quantiles(samples, n=100, method="inclusive")[98])
    assert values["throughput_per_s"] == pytest.approx(4000 / statistics.fmean(samples))


class Recorder:
    """Stands for a worker process; writes down when it was asked to run."""

    def __init__(self, name, log):
        self.name, self.log = name, log

    def ask(self, what, *, count, skip):
        self.log.append((self.name, count, skip))
        return {"samples_ms": [1.0] * count}


def test_subjects_take_turns_in_rounds_and_run_equally_often():
    log: list[tuple[str, int, int]] = []
    samples = take_turns([Recorder(name, log) for name in "abc"], 5, 94, "", silent)
    assert [len(found) for found in samples] == [94, 94, 94]
    assert log[:3] == [(name, 1, 5) for name in "abc"]  # warm-up
    rounds = [log[start : start + 3] for start in range(3, len(log), 3)]
    assert [sorted(name for name, _, _ in turn) for turn in rounds] == [["a", "b", "c"]] * 10
    assert [{count for _, count, _ in turn} for turn in rounds] == [{10}] * 9 + [{4}]
    assert len({tuple(name for name, _, _ in turn) for turn in rounds}) > 1  # nobody is always first


def test_a_profile_survives_json(pair):
    values = json.loads(json.dumps(pair[0].to_dict()))
    assert Profile.from_dict(values).to_dict() == values
    with pytest.raises(InputError, match="schema 99"):
        Profile.from_dict(values | {"schema": 99})


def test_memory_load_and_operators_are_measured(pair):
    measured = pair[0]
    assert len(measured.cases[0].samples_ms) == 300
    assert 20 < measured.peak_memory_mb < 150  # numpy, tokenizers, onnxruntime and a tiny graph; no torch
    assert measured.load_ms > 0
    assert measured.tokenization_ms is not None
    assert sum(row["share"] for row in measured.operators) == pytest.approx(1)


def test_batches_lengths_and_pytorch(bundle, checkpoint, warm_workers):
    eager = profile(
        bundle, compare=[checkpoint], batch_sizes=(1, 3), sequence_lengths=(8, 16), threads=1, runs=20, loads=1
    )[1]
    assert [(case.batch, case.sequence) for case in eager.cases] == [(1, 8), (3, 8), (1, 16), (3, 16)]
    assert eager.kind == "pytorch"
    assert eager.operators == ()


def test_a_checkpoint_that_lost_tokens_is_given_its_own(bundle, checkpoint, tmp_path):
    """A bundle of the whole vocabulary has ids that the smaller model knows nothing of."""
    from edgelm.anatomy import cut_tokens, load_checkpoint, load_tokenizer, save_checkpoint
    from edgelm.checkpoint import open_checkpoint
    from edgelm.compress.vocabulary.tokenizer_json import keep_tokens, read_vocabulary

    kept = sorted(read_vocabulary(load_tokenizer(checkpoint)).fixed)
    smaller = keep_tokens(load_tokenizer(checkpoint), kept)
    save_checkpoint(
        tmp_path / "small", cut_tokens(load_checkpoint(checkpoint), kept), smaller, open_checkpoint(checkpoint).record
    )
    subjects = [find_subject(bundle), find_subject(tmp_path / "small")]
    (own,) = make_feeds(subjects, list(TEXTS[:2]), [(2, None)])[1]
    assert own[0]["input_ids"] == smaller(list(TEXTS[:2]), padding=True)["input_ids"]


def test_pytorch_answers_what_the_bundle_answers(bundle, checkpoint):
    """In BF16 within its seven bits."""
    from edgelm.profile.pytorch import PyTorchModel
    from edgelm.runtime import load

    model = load(bundle)
    feeds = model.tokenize(list(TEXTS[:3]))
    wanted = model.infer(feeds)
    feeds = {"token_type_ids": np.zeros_like(feeds["input_ids"])} | dict(
        feeds
    )  # single texts: the bundle asks for none
    for precision, tolerance in (("fp32", 1e-4), ("bf16", 5e-2)):
        eager = PyTorchModel(checkpoint, threads=1, provider="cpu", precision=precision, compiled=None)
        found = eager({name: feeds[name] for name in eager.inputs})
        assert found.dtype == np.float32
        assert np.abs(found - wanted).max() <= tolerance * np.abs(wanted).max()


@pytest.mark.slow
def test_a_subject_says_how_it_is_run(bundle, checkpoint, warm_workers):
    half = Subject("half", checkpoint, "pytorch", "bf16", 0.0)
    _, found = profile(bundle, compare=[half], threads=1, runs=10, loads=1)
    assert (found.name, found.precision, found.runs_on) == ("half", "bf16", "cpu, by PyTorch")


@pytest.mark.slow  # TorchInductor compiles C++
def test_pytorch_can_be_compiled(bundle, checkpoint):
    compiled = Subject("compiled", checkpoint, "pytorch", "fp32", 0.0, compiled="default")
    _, found = profile(bundle, compare=[compiled], threads=1, runs=10, loads=1)
    assert found.runs_on == "cpu, by PyTorch, compiled (default)"
    assert found.load_ms > 0


@pytest.mark.parametrize(
    ("kind", "precision", "provider", "words"),
    [
        ("pytorch", "int8", None, "no checkpoint in int8"),
        ("pytorch", "fp32", "tensorrt", "finds no tensorrt"),
        ("onnx", "fp32", "no-such", "no no-such"),
    ],
)
def test_what_cannot_be_run_so_is_refused(bundle, checkpoint, kind, precision, provider, words, warm_workers):
    path = checkpoint if kind == "pytorch" else bundle / "model.onnx"
    with pytest.raises(UsageError, match=words):
        WorkerClient(Subject("odd", path, kind, precision, 0.0, provider=provider), threads=1)


def test_the_page_is_whole_needs_no_network_and_escapes_names(pair):
    hostile = [item.to_dict() | {"name": "<script>alert('x')</script> $x_1$"} for item in pair]
    page = render_html(hostile)
    check_page(page)
    assert "&lt;script&gt;" in page
    assert page.count("<svg") == 2  # latency of every call, and the operators


def test_the_command_writes_what_it_prints(bundle, tmp_path):
    output, html, markdown = (tmp_path / name for name in ("p.json", "p.html", "p.md"))
    options = (
        "--runs",
        20,
        "--loads",
        1,
        "--threads",
        1,
        "--output",
        output,
        "--html",
        html,
        "--markdown",
        markdown,
        "--json",
    )
    result = run(bundle, *options)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == json.loads(output.read_text())
    assert "p50 ms" in markdown.read_text()
    before = html.read_bytes()
    assert run(bundle, *options).exit_code == 2
    assert html.read_bytes() == before


def test_a_page_that_cannot_be_made_is_refused_before_anything_is_measured(bundle, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    monkeypatch.setattr("edgelm.profile.pipeline.measure", None)
    result = run(bundle, "--html", tmp_path / "p.html")
    assert result.exit_code == 1
    assert install_extra("report") in result.stderr


def test_missing_subject_is_refused(tmp_path):
    result = run(tmp_path / "nothing")
    assert result.exit_code == 4
    assert "nothing" in result.stderr


def test_broken_bundle_is_refused(tmp_path):
    (tmp_path / "manifest.json").write_text("{")
    assert run(tmp_path).exit_code == 4


def test_first_subject_must_have_texts_or_a_tokenizer(bundle):
    result = run(bundle / "model.onnx")
    assert result.exit_code == 2
    assert "is no bundle or checkpoint" in result.stderr


def test_sequence_beyond_the_model_is_refused(bundle):
    with pytest.raises(UsageError, match="100000"):
        profile(bundle, sequence_lengths=(100000,))


def test_settings_that_cannot_be_are_refused_before_anything_is_started(bundle, monkeypatch):
    monkeypatch.setattr("edgelm.profile.pipeline.measure", None)
    for settings in (
        {"provider": "gpu"},
        {"warmup": -1},
        {"runs": 0},
        {"batch_sizes": (0,)},
        {"sequence_lengths": (1,)},
    ):
        with pytest.raises(UsageError):
            profile(bundle, **settings)


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_a_checkpoint_says_how_many_tokens_it_reads(tmp_path, family):
    """By its position embeddings, of which some families keep the first rows for padding: one token more is one too
    many."""
    import torch

    from edgelm.anatomy import load_checkpoint

    path = make_checkpoint(tmp_path / family, family)
    longest, model = find_subject(path).longest, load_checkpoint(path)
    ids = torch.full((1, longest + 1), 7)
    model(input_ids=ids[:, :-1])
    with pytest.raises((IndexError, RuntimeError)):
        model(input_ids=ids)


def test_onnx_file_with_unknown_inputs_names_them(bundle, tmp_path):
    import onnx
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info("pixels", TensorProto.INT64, ["b", "s"])
    out = helper.make_tensor_value_info("out", TensorProto.INT64, ["b", "s"])
    graph = helper.make_graph([helper.make_node("Identity", ["pixels"], ["out"])], "g", [value], [out])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "other.onnx"
    )
    with pytest.raises(InputError, match="pixels"):
        profile(bundle, compare=[tmp_path / "other.onnx"], threads=1, runs=1, loads=1)


def test_plain_onnx_file_runs_beside_the_bundle(bundle):
    found = profile(bundle, compare=[bundle / "model.onnx"], threads=1, runs=10, loads=1)
    assert found[1].kind == "onnx"
    assert found[1].cases[0].percentile_ms(50) > 0


@pytest.mark.parametrize("older", [False, True], ids=["graphs", "one-graph"])
def test_a_report_says_how_far_a_bundle_is_from_pytorch_whatever_the_age_of_the_profile(older):
    said = {"parity": {"samples": 64, "changed": 0.03125, "max_error": 0.012}}
    _, rows = quality_table({"manifest": said if older else {"graphs": [said]}})
    assert rows == [["changed answers on 64 texts", "", "3.12%"], ["largest error of an output", "", "0.012"]]
    assert quality_table({"manifest": {}})[1] == []  # of a checkpoint
