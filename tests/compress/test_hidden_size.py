"""The stage `hidden`: which dimensions stay, what takes over, and that the result is a model like any other."""

import json

import pytest
import torch
from generators import GENERATORS, SENTENCES, make_generator
from test_compress_generators import files_for, opened, rows_for
from typer.testing import CliRunner

import edgelm.runtime
from edgelm.anatomy import layer_shapes, load_checkpoint
from edgelm.anatomy.hidden import hidden_size, narrow, stream_norms
from edgelm.anatomy.hooks import watching
from edgelm.cli.main import app
from edgelm.compress.batches import real_tokens
from edgelm.compress.pruning.hidden import cut_hidden, kept_size, stream_moments
from edgelm.compress.pruning.refit import refit_inputs
from edgelm.compress.pruning.second_moments import token_batches
from edgelm.compress.pruning.token_weights import count_weights
from edgelm.errors import RecipeError
from edgelm.recipe import HiddenSettings

NARROWED = [family for family in GENERATORS if family != "marian"]
QUICK = ("llama", "t5-gated")
EVERY = [family if family in QUICK else pytest.param(family, marks=pytest.mark.slow) for family in NARROWED]


def settings(**more):
    return HiddenSettings(multiple=4, max_length=32, **more)


@pytest.mark.parametrize("family", ["llama", "t5", "bart"])
def test_moments_are_of_what_the_norms_give_for_tokens_that_count(family, tmp_path):
    asked, rows = opened(make_generator(tmp_path / "m", family)), rows_for(family)
    seen = {index: [] for index in range(len(stream_norms(asked.model)))}
    for batch in token_batches(asked, rows, size=1):
        outputs = [
            (norm, lambda values, index=index, mask=real_tokens(batch, stack): seen[index].append(values[mask]))
            for index, (stack, norm) in enumerate(stream_norms(asked.model))
        ]
        with watching(outputs=outputs), torch.no_grad():
            asked.run(batch)
    states = [torch.cat(found).double() for found in seen.values()]
    wanted = sum(found.T @ found / len(found) for found in states) / len(states)
    torch.testing.assert_close(stream_moments(asked, rows), wanted, rtol=1e-4, atol=1e-4)  # sums in FP32


@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt2", "t5", "bart"])
def test_matrices_that_read_the_stream_take_over_what_is_gone(family, tmp_path):
    """The texts that they are solved on become likelier, and where nothing is gone nothing changes."""
    asked, rows = opened(make_generator(tmp_path / "m", family)), rows_for(family)
    kept = torch.arange(32)[4:]
    cut = narrow(asked.model, kept)
    mended = refit_inputs(cut, asked, rows)
    batch = token_batches(asked, rows)[0]

    def error(model):
        with torch.no_grad():
            return float((asked.with_model(model).outputs(batch)[0] - asked.outputs(batch)[0]).square().mean())

    assert error(mended) < 0.8 * error(cut)
    whole = refit_inputs(asked.model, asked, rows)
    assert error(whole) < 1e-6


def test_by_rotation_a_stream_that_fills_fewer_dimensions_goes_without_loss(tmp_path):
    """Where all that is written lies in 28 directions, none of them an axis, those are found."""
    asked = opened(make_generator(tmp_path / "m", "llama"))
    rows, model = rows_for("llama"), asked.model
    directions = torch.linalg.qr(torch.randn(32, 28, generator=torch.Generator().manual_seed(1))).Q
    onto = directions @ directions.T
    with torch.no_grad():
        model.model.embed_tokens.weight.copy_(model.model.embed_tokens.weight @ onto)
        for layer in model.model.layers:
            for projection in (layer.self_attn.o_proj, layer.mlp.down_proj):
                projection.weight.copy_(onto @ projection.weight)
        ids = torch.arange(3, 30)[None]
        before = model(ids).logits
        by_rotation = cut_hidden(asked, settings(method="rotation", reconstruct=False), rows)(ids).logits
        by_axes = cut_hidden(asked, settings(reconstruct=False), rows)(ids).logits
    torch.testing.assert_close(by_rotation, before, rtol=1e-3, atol=1e-3)  # bases in FP32
    assert (by_axes - before).abs().max() > 0.1


@pytest.mark.parametrize(
    ("family", "heads", "hidden", "keep", "multiple", "found"),
    [
        ("mistral", 4, 256, 0.875, 32, 224),
        ("mistral", 4, 256, 0.8, 32, 192),
        ("llama", 9, 576, 0.875, 32, 504),  # no multiple of 9 and 32 is near
        ("llama", 8, 256, 0.75, 64, 192),
    ],
)
def test_sizes_are_multiples_where_the_heads_allow_it(family, heads, hidden, keep, multiple, found, tmp_path):
    model = load_checkpoint(
        make_generator(tmp_path / "m", family, layers=1, hidden=hidden, heads=heads, kv_heads=1, ffn=8)
    )
    assert kept_size(model, keep, multiple) == found


def test_a_share_without_a_size_is_refused(tmp_path):
    model = load_checkpoint(make_generator(tmp_path / "m", "llama", hidden=32, heads=4))
    with pytest.raises(RecipeError, match=r"no size near 32 is a multiple of 4"):
        kept_size(model, 0.99, 4)


@pytest.mark.parametrize("family", EVERY)
def test_a_narrower_model_is_made_and_exported_by_two_commands(family, tmp_path):
    heads = {"heads": 2, "kv_heads": 1}  # the kernel takes heads of 16 channels
    model, rows = make_generator(tmp_path / "m", family, **heads), files_for(family, tmp_path)
    kind = ["--task", "summarization"] if family in ("t5", "t5-gated", "bart") else []
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "name: narrow\nstages:\n"
        "  - {stage: hidden, keep: 0.75, multiple: 4, samples: 16, max_length: 32}\n"
        "  - {stage: fit, keep: 0.6, samples: 16, judged: 8, tries: 3, multiple: 8, max_length: 32}\n"
    )
    asked = ["compress", model, "--data", rows, "--eval", rows, "--recipe", recipe, *kind, "--max-length", "32"]
    done = CliRunner().invoke(app, [*map(str, asked), "--output", str(tmp_path / "out"), "--json"])
    assert done.exit_code == 0, done.output + done.stderr
    record = json.loads(done.stdout)["record"]
    assert record["hidden"] == {"kept": 24, "original": 32}
    before, after = load_checkpoint(model), load_checkpoint(tmp_path / "out")
    assert hidden_size(after) == 24
    # 0.6 of the weights in layers, to which the narrower states brought 0.75 already.
    cost = count_weights(before)
    layers = sum(map(cost.narrowed(0.75).shape_cost, layer_shapes(after)))
    assert layers <= 0.6 * sum(map(cost.shape_cost, layer_shapes(before))) + 0.25 * cost.rest

    shown = CliRunner().invoke(app, ["inspect", str(tmp_path / "out")])
    assert "Hidden size: 24 of 32 dimensions kept" in shown.output
    made = ["export", tmp_path / "out", "--precision", "fp32", "--calibration", rows, "--output", tmp_path / "m.edge"]
    done = CliRunner().invoke(app, [*map(str, made), "--json"])
    assert done.exit_code == 0, done.output + done.stderr
    assert edgelm.runtime.load(tmp_path / "m.edge")(SENTENCES[0][:8], max_new_tokens=3)["tokens"] <= 3


def test_an_encoder_is_not_narrowed_so(tmp_path):
    from models import make_checkpoint

    model, rows = make_checkpoint(tmp_path / "m"), tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"text": text, "label": "0"}) + "\n" for text in SENTENCES))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("name: narrow\nstages: [{stage: hidden}]\n")
    asked = ["compress", model, "--data", rows, "--eval", rows, "--recipe", recipe, "--output", tmp_path / "out"]
    done = CliRunner().invoke(app, [*map(str, asked)])
    assert done.exit_code != 0
    assert "the stage hidden narrows models that write" in done.stderr
