"""`edgelm compress` on models that write: cut without training, judged by perplexity, loaded and exported again."""

import json

import pytest
import torch
from generators import DECODERS, GENERATORS, SENTENCES, make_generator
from typer.testing import CliRunner

import edgelm.runtime
from edgelm.anatomy import TaskModel, layer_shapes, load_checkpoint, load_tokenizer, model_layers, sublayers
from edgelm.anatomy.layer import CROSS, FFN
from edgelm.checkpoint import open_checkpoint
from edgelm.cli.main import app
from edgelm.compress.pruning.levels import obs_levels
from edgelm.compress.pruning.reconstruct import reconstruct
from edgelm.compress.pruning.second_moments import collect_moments
from edgelm.compress.pruning.spdy import assemble, segments
from edgelm.compress.pruning.token_weights import count_weights
from edgelm.data.dataset import Dataset
from edgelm.progress import silent

QUICK = ("llama", "t5-gated")
EVERY = [family if family in QUICK else pytest.param(family, marks=pytest.mark.slow) for family in GENERATORS]
FEW = ["--set", "fit.samples=16", "--set", "fit.judged=8", "--set", "fit.tries=4", "--set", "fit.multiple=8"]
FEW += ["--set", "fit.max_length=32", "--max-length", "32"]


def rows_for(family):
    if family in DECODERS:
        return Dataset("memory", SENTENCES * 3, schema="prompts")
    targets = tuple((text,) for text in SENTENCES[::-1])
    return Dataset("memory", SENTENCES * 2, labels=targets * 2, schema="targets")


def files_for(family, folder):
    """Plain text, or sources with their targets, as files."""
    if family in DECODERS:
        file = folder / "texts.txt"
        file.write_text("\n\n".join(SENTENCES * 2))
        return file
    file = folder / "rows.jsonl"
    rows = zip(SENTENCES, SENTENCES[::-1], strict=True)
    file.write_text("".join(json.dumps({"source": source, "target": target}) + "\n" for source, target in rows))
    return file


def opened(folder, **options):
    checkpoint = open_checkpoint(folder)
    task = checkpoint.task
    return TaskModel(load_checkpoint(checkpoint), load_tokenizer(checkpoint), task, 32)


@pytest.mark.parametrize("family", EVERY)
def test_half_of_the_layers_weights_go_by_one_command(family, tmp_path):
    model, rows = make_generator(tmp_path / "m", family, layers=3), files_for(family, tmp_path)
    kind = [] if family in ("marian", *DECODERS) else ["--task", "summarization"]
    asked = ["compress", model, "--data", rows, "--eval", rows, "--recipe", "generator-one-shot", *kind, *FEW]

    done = CliRunner().invoke(
        app, [*map(str, asked), "--set", "fit.keep=0.5", "--output", str(tmp_path / "out"), "--json"]
    )

    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert result["record"]["stages"][0]["after"]["perplexity"] > 1
    before, after = load_checkpoint(model), load_checkpoint(tmp_path / "out")
    cost = count_weights(before)
    whole = sum(map(cost.shape_cost, layer_shapes(before)))
    # Levels are steps: of a small model's two groups and some multiples of 8 channels not every sum can be had.
    assert 0.3 * whole < sum(map(cost.shape_cost, layer_shapes(after))) <= 0.5 * whole
    assert {layer.stack for layer in model_layers(after)} == {layer.stack for layer in model_layers(before)}
    wanted = [row["heads"] for row in result["layers"] if row["heads"] or row["ffn"] or row.get("cross")]
    assert wanted == [shape.heads for shape in layer_shapes(after)]


@pytest.mark.parametrize(
    ("recipe", "family", "precision", "made"),
    [
        ("generator-balanced", "gpt2", "int8-weights", ["fit", "recover"]),
        ("generator-smallest", "llama", "int4", ["vocabulary", "embeddings", "fit", "recover", "quantize"]),
        ("seq2seq-balanced", "t5-gated", "fp32", ["fit", "recover"]),
    ],
)
def test_recipes_that_train_end_in_a_bundle(recipe, family, precision, made, tmp_path):
    heads = {"heads": 2, "kv_heads": 1} if family == "llama" else {}  # the kernel takes heads of 16 channels
    model, rows = make_generator(tmp_path / "m", family, layers=3, **heads), files_for(family, tmp_path)
    few = [*FEW, "--set", "recover.train.max_steps=2", "--set", "recover.train.max_length=32"]
    if "quantize" in made:
        few += ["--set", "quantize.train.max_steps=2", "--set", "quantize.train.max_length=32"]
    if recipe == "seq2seq-balanced":
        few += ["--task", "summarization", "--set", "recover.loss.written.max_new_tokens=4"]
    asked = ["compress", model, "--data", rows, "--eval", rows, "--recipe", recipe, *few, "--output", tmp_path / "out"]
    done = CliRunner().invoke(app, [*map(str, asked), "--json"])
    assert done.exit_code == 0, done.output + done.stderr
    stages = json.loads(done.stdout)["record"]["stages"]
    assert [stage["stage"] for stage in stages] == made
    assert ("rougeL" in stages[-1]["after"]) == (family == "t5-gated")

    asked = ["export", tmp_path / "out", "--precision", precision, "--calibration", rows]
    done = CliRunner().invoke(app, [*map(str, asked), "--output", str(tmp_path / "made.edge"), "--json"])
    assert done.exit_code == 0, done.output + done.stderr
    assert edgelm.runtime.load(tmp_path / "made.edge")("turn the", max_new_tokens=3)["tokens"] <= 3


def test_what_sources_lack_the_original_writes_once_for_every_stage(tmp_path):
    """Sources alone lead to the model that sources with transformers' own outputs as targets lead to."""
    model = make_generator(tmp_path / "m", "t5-gated", layers=3)
    t5, tokenizer = load_checkpoint(model), load_tokenizer(open_checkpoint(model))
    rows = []
    for source in SENTENCES:
        ids = t5.generate(**tokenizer(source, return_tensors="pt"), max_new_tokens=4, num_beams=1, do_sample=False)
        rows.append({"source": source, "target": tokenizer.decode(ids[0], skip_special_tokens=True)})
    made = {}
    for name, columns in {"alone": ("source",), "written": ("source", "target")}.items():
        file = tmp_path / f"{name}.jsonl"
        file.write_text("".join(json.dumps({key: row[key] for key in columns}) + "\n" for row in rows))
        few = [*FEW, "--set", "recover.train.max_steps=2", "--set", "recover.train.max_length=32"]
        few += ["--set", "recover.loss.written.max_new_tokens=4"]
        few += ["--set", "recover.loss.written=null"] if name == "written" else []
        asked = ["compress", model, "--data", file, "--eval", file, "--recipe", "seq2seq-balanced", *few]
        asked += ["--task", "summarization", "--output", tmp_path / name, "--json"]
        done = CliRunner().invoke(app, list(map(str, asked)))
        assert done.exit_code == 0, done.output + done.stderr
        result = json.loads(done.stdout)
        assert (result["original"]["metrics"]["rougeL"] == 1) == (name == "alone")  # judged by what it writes itself
        made[name] = load_checkpoint(tmp_path / name).state_dict()
        assert not (tmp_path / f"{name}.work").exists()
    assert all(torch.equal(value, made["written"][name]) for name, value in made["alone"].items())


@pytest.mark.parametrize(("asked", "made"), [(None, False), (True, True)])
def test_a_llama_that_was_cut_has_biases_only_where_they_are_asked_for(asked, made, tmp_path):
    model, rows = make_generator(tmp_path / "m", "llama", layers=3), files_for("llama", tmp_path)
    command = ["compress", model, "--data", rows, "--eval", rows, "--recipe", "generator-one-shot", *FEW]
    command += [] if asked is None else ["--set", "fit.new_biases=true"]
    done = CliRunner().invoke(app, [*map(str, command), "--output", str(tmp_path / "out"), "--json"])
    assert done.exit_code == 0, done.output
    cut = load_checkpoint(tmp_path / "out")
    assert layer_shapes(cut) != layer_shapes(load_checkpoint(model))
    assert any(part.output.bias is not None for _, part in sublayers(cut)) == made


@pytest.mark.parametrize(("bits", "precision"), [(4, "int4"), (8, "int8-weights")])
def test_the_precision_that_was_trained_is_proposed(bits, precision, tmp_path):
    model, rows = make_generator(tmp_path / "m", "llama"), files_for("llama", tmp_path)
    recipe = tmp_path / "recipe.yaml"
    train = "train: {max_steps: 1, max_length: 32}"
    recipe.write_text(f"name: quantize\nstages: [{{stage: quantize, bits: {bits}, {train}}}]\n")
    command = ["compress", model, "--data", rows, "--eval", rows, "--recipe", recipe, "--output", tmp_path / "out"]
    done = CliRunner().invoke(app, [*map(str, command), "--max-length", "32"])
    assert done.exit_code == 0, done.output
    assert f"--precision {precision} " in " ".join((done.output + done.stderr).split())


@pytest.mark.parametrize("family", GENERATORS)
def test_weights_are_counted_as_they_are(family, tmp_path):
    model = load_checkpoint(make_generator(tmp_path / "m", family))
    matrices = {
        id(weight): weight.numel()
        for layer in model_layers(model)
        for name, weight in layer.root.named_parameters()
        if weight.ndim == 2 and "relative" not in name
    }
    cost = count_weights(model)
    head = model.get_output_embeddings().weight.numel()
    assert cost.predict(layer_shapes(model)) == pytest.approx((sum(matrices.values()) + head) / 1e6)


@pytest.mark.parametrize("family", GENERATORS)
def test_moments_are_those_of_the_tokens_that_count(family, tmp_path):
    """Against the inputs of every output projection, of one unpadded row at a time."""
    asked, rows = opened(make_generator(tmp_path / "m", family)), rows_for(family)
    found = collect_moments(asked, rows)
    seen = [[] for _ in found]
    hooks = [
        sublayer.output.module.register_forward_pre_hook(lambda _, given, index=index: seen[index].append(given[0][0]))
        for index, (_, sublayer) in enumerate(sublayers(asked.model))
    ]
    from edgelm.compress.batches import EncodedDataset

    data = EncodedDataset(rows, asked)
    with torch.no_grad():
        for number in range(len(data)):
            asked.run(data.batch([number]))
    for hook in hooks:
        hook.remove()
    for moments, given in zip(found, seen, strict=True):
        states = torch.cat(given).double()
        torch.testing.assert_close(moments[:-1, :-1], states.T @ states, rtol=1e-3, atol=1e-3)
        assert float(moments[-1, -1]) == len(states)


@pytest.mark.parametrize("family", GENERATORS)
def test_least_squares_bring_sums_nearer_to_the_originals(family, tmp_path):
    asked, rows = opened(make_generator(tmp_path / "m", family, layers=3)), rows_for(family)
    levels = obs_levels(asked, rows, multiple=8, progress=silent)
    picks = [(module, module.levels[len(module.levels) // 2]) for module in levels]
    cut = assemble(asked.model, picks)
    layers = model_layers(asked.model)
    stacks = [layer.stack for layer in layers]
    mended = reconstruct(cut, asked, rows, sources=segments(range(len(layers)), stacks))
    lost = [distance(asked, model, rows) for model in (cut, mended)]
    assert lost[1] < 0.9 * lost[0]
    same = reconstruct(asked.model, asked, rows, sources=segments(range(len(layers)), stacks))
    assert distance(asked, same, rows) < 0.02 * lost[0]


def distance(asked, model, rows):
    """Mean squared difference of the logits that count."""
    from edgelm.compress.batches import EncodedDataset

    data = EncodedDataset(rows, asked)
    batch = data.batch(range(min(8, len(data))))
    with torch.no_grad():
        wanted, found = asked.rows(batch).values, asked.with_model(model).rows(batch).values
    return float((wanted - found).square().mean())


def test_a_layer_of_each_stack_stays(tmp_path):
    asked, rows = opened(make_generator(tmp_path / "m", "t5")), rows_for("t5")
    from edgelm.compress.pruning.spdy import cheapest, least_error, pick_levels

    levels = obs_levels(asked, rows, multiple=8, progress=silent)
    cost = count_weights(asked.model)
    least = cheapest(levels, cost.shape_cost)
    allowed = sum(
        cost.shape_cost(layer.shape) for layer in model_layers(assemble(asked.model, pick_levels(levels, least)))
    )
    for picks in (least, least_error(levels, cost.shape_cost, 1.2 * allowed)):
        shapes = layer_shapes(assemble(asked.model, pick_levels(levels, picks)))
        assert {shape.stack for shape in shapes} == {"encoder", "decoder"}
    assert {kind for _, kind in ((each.layer, each.kind) for each in levels)} == {"attention", CROSS, FFN}
