"""What `edgelm profile` shows of models that write: prompts up to their first token, tokens by context."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from generator_bundles import make_generator_bundle, make_model
from models import make_checkpoint
from typer.testing import CliRunner

from edgelm.data.dataset import Dataset
from edgelm.device import load_device
from edgelm.errors import UsageError
from edgelm.profile.generation.worker import GenerationWorker
from edgelm.profile.pipeline import profile
from edgelm.profile.plan import plan_profile
from edgelm.profile.result import Profile


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return make_generator_bundle(tmp_path_factory.mktemp("writer") / "llama", "llama")


def run(command, *arguments):
    from edgelm.cli.main import app

    return CliRunner().invoke(app, [command, *map(str, arguments)])


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_a_token_is_timed_behind_its_context_and_a_prompt_from_nothing(family, tmp_path):
    make_generator_bundle(tmp_path / "bundle", family)
    worker = GenerationWorker(kind="bundle", path=str(tmp_path / "bundle"), threads=1, session=None)
    decoder = worker.engine._decoder
    steps, step = [], decoder.step

    def watched(ids, **options):
        steps.append((int(decoder.lengths[0]), ids.shape[1]))
        return step(ids, **options)

    decoder.step = watched
    worker.prepare(feeds=[{"measure": "token", "tokens": 20}])
    steps.clear()
    assert len(worker.block(count=3, skip=2)["samples_ms"]) == 3
    assert steps == [(20, 1)] * 5
    worker.prepare(feeds=[{"measure": "first-token", "tokens": 30}])
    steps.clear()
    worker.block(count=2, skip=0)
    assert steps == [(0, 30 if family == "llama" else 1)] * 2  # an encoder reads the source, the decoder its start


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3_text", "t5", "marian"])
def test_the_cache_takes_what_that_of_transformers_takes(family, tmp_path):
    make_generator_bundle(tmp_path / "bundle", family)
    _, folder = make_model(family)
    places = {"bundle": tmp_path / "bundle", "pytorch": folder}
    workers = [GenerationWorker(kind=kind, path=str(path), threads=1, session=None) for kind, path in places.items()]
    for tokens in (16, 40):
        ours, theirs = (worker.prepare(feeds=[{"measure": "token", "tokens": tokens}]) for worker in workers)
        assert ours == theirs
    for worker in workers:
        worker.block(count=2, skip=1)  # and both go back to the context and on


def test_a_profile_of_a_bundle_in_tables_page_and_file(bundle, tmp_path):
    files = ("--html", tmp_path / "report.html", "--output", tmp_path / "profile.json")
    lengths = ("--context", 8, "--context", 64, "--prompt-length", 32)
    done = run("profile", bundle, "--compare", bundle, *lengths, "--threads", 1, "--runs", 8, "--loads", 1, *files)
    assert done.exit_code == 0, done.output
    assert "8 tokens and 8 prompts each" in " ".join(done.output.split())
    values = json.loads((tmp_path / "profile.json").read_text())["profiles"]
    found = Profile.from_dict(values[0])
    assert found.to_dict() == values[0]
    assert [(case.measure, case.tokens) for case in found.cases] == [("token", 8), ("token", 64), ("first-token", 32)]
    assert [case.ratio.against for case in found.cases] == ["tiny"] * 3
    # Keys and values of two layers with two heads of 16 channels in FP32.
    assert [case.cache_mb for case in found.cases] == [2 * 2 * 2 * 16 * 4 * length / 1e6 for length in (8, 64, 32)]
    grown = [case.peak_memory_mb for case in found.cases[:2]]
    assert 20 < grown[0] <= grown[1] < 200  # without torch
    assert found.cases[2].peak_memory_mb is None
    assert "GroupQueryAttention" in {row["name"] for row in found.operators}
    page = (tmp_path / "report.html").read_text()
    for said in ("Tokens by context", "First token by prompt", "Time of a token by context", "cache MB"):
        assert said in page


def test_a_folder_of_transformers_runs_beside_it(tmp_path):
    make_generator_bundle(tmp_path / "bundle", "t5")
    _, folder = make_model("t5")
    ours, theirs = profile(
        tmp_path / "bundle", compare=[folder], contexts=[16], prompt_lengths=[16, 64], threads=1, runs=5, loads=1
    )
    assert (theirs.kind, theirs.runs_on, theirs.operators) == ("pytorch", "cpu, by PyTorch", ())
    assert [case.ratio.p50 > 1 for case in ours.cases] == [True] * 3  # of a tiny model PyTorch's calls are the most
    assert theirs.peak_memory_mb > ours.peak_memory_mb


def test_what_is_measured_by_itself_fits_the_model(bundle):
    plan = plan_profile(bundle)
    labels = ["context of 16 tokens", "prompt of 16 tokens", "prompt of 128 tokens"]  # of 128 positions
    assert [point.label for point in plan.grid] == labels
    assert [point.pace.runs for point in plan.grid] == [100, 20, 20]
    assert all(point.pace.runs >= 5 * point.pace.block for point in plan.grid)  # enough rounds for an interval


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"batch_sizes": (1, 4)}, "--batch says nothing"),
        ({"sequence_lengths": (16,)}, "--sequence says nothing"),
        ({"data": Dataset("texts", ("a", "b"))}, "--data says nothing"),
        ({"contexts": (128,)}, "1 to 127 tokens can be held"),
        ({"prompt_lengths": (129,)}, "1 to 128 tokens can be held"),
        ({"provider": "cuda", "threads": 0, "loads": 0}, "loads is 0"),
    ],
)
def test_what_makes_no_sense_is_refused(bundle, options, said):
    with pytest.raises(UsageError, match=said):
        plan_profile(bundle, **options)


def test_models_of_two_kinds_are_not_compared(bundle, tmp_path):
    checkpoint = make_checkpoint(tmp_path / "classifier")
    with pytest.raises(UsageError, match="writes no text"):
        plan_profile(bundle, compare=[checkpoint])


def test_longer_contexts_take_more_cache(bundle):
    worker = GenerationWorker(kind="bundle", path=str(bundle), threads=1, session=None)
    taken = [worker.prepare(feeds=[{"measure": "token", "tokens": length}])["cache_mb"] for length in (1, 50, 100)]
    assert all(less < more for less, more in pairwise(taken))


def test_inspect_lists_graphs_cache_and_settings(bundle):
    done = run("inspect", bundle, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert list(found["graphs"]) == ["decoder"]
    about = found["generation"]
    assert (about["context"], about["cache_bytes_per_token"]) == (128, 2 * 2 * 2 * 16 * 4)
    assert about["settings"]["max_new_tokens"] == 128
    assert "GroupQueryAttention" in {row["name"] for row in found["run"]["operators"]}
    shown = run("inspect", bundle, "--no-run").output
    for said in ("graph decoder", "keys and values", "and 2 of the layers behind", "chat template"):
        assert said in shown


def test_a_cpus_bundle_has_no_plan_of_an_engine(bundle):
    done = run("build", bundle)
    assert done.exit_code == 2
    assert "no engine plan" in done.output


def test_a_token_is_estimated_by_its_bytes(bundle, tmp_path):
    done = run("estimate", bundle, "--device", "raspberry-pi-5", "--context", 16, "--context", 100, "--json")
    assert done.exit_code == 0, done.output
    (found,) = json.loads(done.stdout)["estimates"]
    assert found["source"] == "estimated"
    short, far = (case for case in found["cases"] if case["measure"] == "token")
    assert far["bytes_mb"] - short["bytes_mb"] == pytest.approx(84 * 2 * 2 * 2 * 16 * 4 / 1e6)
    # Every weight is read once but for the table of tokens, of which it is a row; the head is a table of its own. The
    # graph's tables of rotary positions, which the model computes instead, are 3 % beside so small a model.
    model, _ = make_model("llama")
    read = [weight for weight in model.parameters() if weight is not model.get_input_embeddings().weight]
    assert short["bytes_mb"] - short["cache_mb"] == pytest.approx(sum(4 * one.numel() for one in read) / 1e6, rel=0.05)
    bandwidth = load_device("raspberry-pi-5").bandwidth_gb_s
    assert short["low_ms"] == pytest.approx(short["bytes_mb"] / bandwidth)
    assert short["low_ms"] < short["p50_ms"] < short["high_ms"]
    page = tmp_path / "estimate.md"
    shown = run("estimate", bundle, "--device", "raspberry-pi-5", "--markdown", page)
    assert "not measured" in " ".join(shown.output.split())
    assert "Tokens by context, estimated" in page.read_text()


def test_a_first_token_is_estimated_by_its_operations_and_what_is_held_by_the_memory(bundle, tmp_path):
    lengths = ("--context", 100, "--prompt-length", 4, "--prompt-length", 128)
    done = run("estimate", bundle, "--device", "raspberry-pi-5", *lengths, "--json")
    assert done.exit_code == 0, done.output
    (found,) = json.loads(done.stdout)["estimates"]
    token, short, long = found["cases"]
    assert [case["measure"] for case in (token, short, long)] == ["token", "first-token", "first-token"]
    # Every matrix of the layers for every token, the head once, and attention's scores and sums of causal pairs.
    model, _ = make_model("llama")
    layers = sum(one.numel() for one in model.model.layers.parameters() if one.ndim == 2)
    pairs = 4 * 2 * 64 * 128 * 128 / 2  # two layers, 64 channels of queries
    expected = 2 * 128 * layers + 2 * model.lm_head.weight.numel() + pairs
    assert long["operations"] == pytest.approx(expected / 1e9)
    device = load_device("raspberry-pi-5")
    assert long["low_ms"] == pytest.approx(expected / device.compute["fp32"] / 1e9)
    assert short["low_ms"] == pytest.approx(short["bytes_mb"] / device.bandwidth_gb_s)
    assert (short["bound"], long["bound"]) == ("memory", "compute")
    assert all(case["low_ms"] < case["p50_ms"] < case["high_ms"] for case in (short, long))
    size = sum(file.stat().st_size for file in bundle.rglob("*") if file.is_file()) / 1e6
    assert token["held_mb"] == pytest.approx(size + token["cache_mb"], rel=0.01)
    assert token["memory_mb"] == 8000
    page = tmp_path / "estimate.md"
    assert run("estimate", bundle, "--device", "raspberry-pi-5", *lengths, "--markdown", page).exit_code == 0
    assert "First token by prompt, estimated" in page.read_text()
    assert f"{token['held_mb']:,.1f} of 8,000" in page.read_text()


def test_an_encoder_reads_the_source_before_the_first_token(tmp_path):
    make_generator_bundle(tmp_path / "bundle", "t5")
    lengths = ("--prompt-length", 16, "--prompt-length", 32)
    done = run("estimate", tmp_path / "bundle", "--device", "raspberry-pi-5", *lengths, "--json")
    cases = json.loads(done.stdout)["estimates"][0]["cases"]
    short, long = (case for case in cases if case["measure"] == "first-token")
    model, _ = make_model("t5")
    cross = [layer.layer[1].EncDecAttention for layer in model.decoder.block]
    read = [*model.encoder.block.parameters(), *(one.k.weight for one in cross), *(one.v.weight for one in cross)]
    bias = model.encoder.block[0].layer[0].SelfAttention.relative_attention_bias.weight
    matrices = sum(one.numel() for one in read if one.ndim == 2 and one is not bias)
    attention = 4 * 2 * 128 * (32**2 - 16**2) + 4 * 2 * 2 * 128 * (32 - 16)  # the encoder's, then the decoder's one row
    assert 1e9 * (long["operations"] - short["operations"]) == pytest.approx(2 * 16 * matrices + attention)


def test_estimates_of_first_tokens_stand_beside_what_is_measured(bundle, tmp_path):
    page, lengths = tmp_path / "profile.html", ("--context", 8, "--prompt-length", 16, "--prompt-length", 32)
    few = ("--threads", 1, "--runs", 4, "--loads", 1)
    done = run("profile", bundle, "--with-estimate", "raspberry-pi-5", *lengths, *few, "--html", page, "--json")
    assert done.exit_code == 0, done.output
    (estimate,) = json.loads(done.stdout)["estimates"]
    assert [(case["measure"], case["tokens"]) for case in estimate["cases"]] == [
        ("token", 8),
        ("first-token", 16),
        ("first-token", 32),
    ]
    text = page.read_text()
    assert text.count('<th scope="row">tiny on raspberry-pi-5</th>') == 3
    assert text.count('<td class="text">estimated</td>') == 3


def test_a_device_without_a_rate_has_tokens_alone(bundle, tmp_path):
    file = tmp_path / "device.yaml"
    file.write_text(
        "name: slow\ntitle: Slow\nkind: cpu\narch: any\nprecisions: [fp32]\nruntimes: [cpu]\nbandwidth_gb_s: 1\n"
        "memory_gb: 0.0001\nsources: {bandwidth_gb_s: a guess, memory_gb: a guess}\n"
    )
    done = run("estimate", bundle, "--device", file, "--json")
    assert done.exit_code == 0, done.output
    assert {case["measure"] for case in json.loads(done.stdout)["estimates"][0]["cases"]} == {"token"}
    assert "does not fit" in " ".join(run("estimate", bundle, "--device", file).output.split())
    refused = run("estimate", bundle, "--device", file, "--prompt-length", 16)
    assert refused.exit_code == 2
    assert "has no fp32 rate" in " ".join(refused.output.split())


@pytest.mark.parametrize(
    ("options", "said"),
    [(("--device", "t4"), "estimated for CPUs and Jetsons alone"), (("--batch", 4), "--batch says nothing")],
)
def test_an_estimate_that_makes_no_sense_is_refused(bundle, options, said):
    done = run("estimate", bundle, "--device", "raspberry-pi-5", *options)
    assert done.exit_code == 2
    assert said in " ".join(done.output.split())


def test_a_gguf_needs_llama_cpp(bundle, tmp_path, monkeypatch):
    monkeypatch.delenv("EDGELM_LLAMA_CPP", raising=False)
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    assert plan_profile(bundle, compare=[tmp_path / "model.gguf"]).subjects[1].kind == "gguf"
    assert plan_profile(bundle, compare=[tmp_path]).subjects[1].path == tmp_path / "model.gguf"
    with pytest.raises(UsageError, match="is needed") as refused:
        GenerationWorker(kind="gguf", path=str(tmp_path / "model.gguf"), threads=1, session=None)
    assert "EDGELM_LLAMA_CPP" in refused.value.hint
