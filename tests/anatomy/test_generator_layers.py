"""Sublayers of models that write: what can be cut of them, and that a cut model is what a dense one says."""

import copy

import pytest
import torch
from generators import DECODERS, ENCODER_DECODERS, GENERATORS, make_generator
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from edgelm.anatomy import keep_layers, layer_shapes, load_checkpoint, model_layers, save_checkpoint, sublayers
from edgelm.anatomy.layer import ATTENTION, CROSS, FFN
from edgelm.checkpoint import open_checkpoint
from edgelm.errors import UsageError

# Sums of fewer or of other zeros are rounded in another order: some units of the last place of logits around 10.
CLOSE = {"rtol": 1e-4, "atol": 1e-4}


@pytest.fixture(params=GENERATORS)
def family(request):
    return request.param


@pytest.fixture
def folder(family, tmp_path):
    return make_generator(tmp_path / "model", family, layers=3)


def logits_of(model, *, seed=0):
    """Of random tokens, a whole text at once, with padding behind the second."""
    draw = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, model.config.vocab_size - 1, (2, 9), generator=draw)
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0
    given = {"input_ids": ids, "attention_mask": mask}
    if model.config.is_encoder_decoder:
        given["decoder_input_ids"] = torch.randint(3, model.config.vocab_size - 1, (2, 7), generator=draw)
    with torch.no_grad():
        logits = model(**given, use_cache=False).logits
    return logits if model.config.is_encoder_decoder else torch.cat([logits[0], logits[1, :6]])


def written(model, *, use_cache=True):
    """Tokens of a greedy search for two sources or prompts."""
    ids = torch.randint(3, model.config.vocab_size - 1, (2, 6), generator=torch.Generator().manual_seed(1))
    options = {"max_new_tokens": 10, "min_new_tokens": 10, "do_sample": False, "num_beams": 1}
    return model.generate(ids, attention_mask=torch.ones_like(ids), use_cache=use_cache, **options)


def zero(sublayer, units):
    """Take what the output projection reads of some units to nothing, which makes them count for nothing."""
    width = sublayer.unit_size
    with torch.no_grad():
        for unit in units:
            sublayer.output.weight[:, unit * width : (unit + 1) * width] = 0
        if len(units) == sublayer.units and sublayer.output.bias is not None:
            sublayer.output.bias.zero_()


def test_every_attention_and_feed_forward_network_is_there(folder, family):
    model = load_checkpoint(folder)
    found = [(index, sublayer.kind) for index, sublayer in sublayers(model)]
    if family in DECODERS:
        assert found == [(layer, kind) for layer in range(3) for kind in (ATTENTION, FFN)]
    else:
        encoder = [(layer, kind) for layer in range(3) for kind in (ATTENTION, FFN)]
        assert found == encoder + [(layer, kind) for layer in range(3, 6) for kind in (ATTENTION, CROSS, FFN)]
    inside = {
        id(weight)
        for _, each in sublayers(model)
        for part in (*each.inputs, each.output)
        for weight in [part.module.weight]
    }
    matrices = {
        id(weight)
        for layer in model_layers(model)
        for name, weight in layer.root.named_parameters()
        if weight.ndim == 2 and "relative" not in name
    }
    assert inside == matrices
    groups = 2 if family in ("llama", "mistral", "qwen2", "qwen3", "gemma3_text") else 4
    assert {each.units for _, each in sublayers(model) if each.kind != FFN} == {groups}
    assert {each.units for _, each in sublayers(model) if each.kind == FFN} == {64}


def test_units_that_count_for_nothing_can_go(folder):
    model = load_checkpoint(folder)
    for number, (_, sublayer) in enumerate(sublayers(model)):
        zero(sublayer, [number % sublayer.units])
    before, text = logits_of(model), written(model)
    for number, (_, sublayer) in enumerate(sublayers(model)):
        sublayer.cut([unit for unit in range(sublayer.units) if unit != number % sublayer.units])
    torch.testing.assert_close(logits_of(model), before, **CLOSE)
    assert torch.equal(written(model), text)


def test_whole_sublayers_that_count_for_nothing_can_go(folder):
    """The first layer's attention too, which T5's bias by distance and the length of the cache hang on."""
    model = load_checkpoint(folder)
    gone = [(index, each.kind) for index, each in sublayers(model)][::2]
    for index, kind in gone:
        sublayer = model_layers(model)[index].sublayer(kind)
        zero(sublayer, range(sublayer.units))
    before, text = logits_of(model), written(model)
    for index, kind in gone:
        model_layers(model)[index].sublayer(kind).cut([])
    torch.testing.assert_close(logits_of(model), before, **CLOSE)
    assert torch.equal(written(model), text)
    assert torch.equal(written(model), written(model, use_cache=False))
    assert [(index, each.kind) for index, each in sublayers(model)] == [
        (index, each.kind) for index, each in sublayers(load_checkpoint(folder)) if (index, each.kind) not in gone
    ]


def test_layers_that_count_for_nothing_can_go(folder, family):
    if family in ("bart", "marian"):
        pytest.skip("a norm stands behind every sum of theirs, so no layer of theirs can count for nothing")
    model = load_checkpoint(folder)
    shapes = layer_shapes(model)
    gone = [0] if family in DECODERS else [0, 4]
    for index in gone:
        for sublayer in model_layers(model)[index].sublayers:
            zero(sublayer, range(sublayer.units))
    before, text = logits_of(model), written(model)
    keep_layers(model, [index for index in range(len(shapes)) if index not in gone])
    torch.testing.assert_close(logits_of(model), before, **CLOSE)
    assert torch.equal(written(model), text)


@pytest.mark.parametrize("name", ["llama", "qwen3", "gemma3_text"])
def test_a_cut_group_is_what_a_dense_attention_computes_without_it(name, tmp_path):
    """The reference has a key and a value for every query, and those of the group's queries are taken away."""
    model = load_checkpoint(make_generator(tmp_path / "model", name, heads=8, kv_heads=4, hidden=64))
    attention = model.model.layers[0].self_attn
    size, shared = attention.head_dim, 2
    dense = copy.deepcopy(attention)
    kept = [0, 3]
    rows = [row for group in kept for row in range(group * shared * size, (group + 1) * shared * size)]
    spread = [row for group in kept for _ in range(shared) for row in range(group * size, (group + 1) * size)]
    with torch.no_grad():
        for part, chosen in (("q_proj", rows), ("k_proj", spread), ("v_proj", spread)):
            projection = getattr(dense, part)
            projection.weight = torch.nn.Parameter(projection.weight[chosen])
            if projection.bias is not None:
                projection.bias = torch.nn.Parameter(projection.bias[chosen])
        dense.o_proj.weight = torch.nn.Parameter(dense.o_proj.weight[:, rows])
    dense.num_key_value_groups = 1
    model_layers(model)[0].attention.cut(kept)
    cut = model.model.layers[0].self_attn
    assert (cut.q_proj.out_features, cut.k_proj.out_features) == (4 * size, 2 * size)
    states = torch.randn(1, 5, 64, generator=torch.Generator().manual_seed(0))
    kinds = {} if name != "gemma3_text" else {"layer_type": cut.layer_type}
    angles = model.model.rotary_emb(states, torch.arange(5)[None], **kinds)
    mask = torch.full((5, 5), float("-inf")).triu(1)[None, None]
    with torch.no_grad():
        found, wanted = (part(states, angles, mask)[0] for part in (cut, dense))
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def unevenly_cut(model, *, cut_whole=True):
    """Another shape for each layer; a sublayer without units, and a whole layer gone."""
    layers = model_layers(model)
    for number, (_, sublayer) in enumerate(sublayers(model)):
        if sublayer.kind == FFN:
            sublayer.cut(range(0, sublayer.units, 2 + number % 3))
        elif number % 2:
            sublayer.cut(range(1, sublayer.units))
    layers[1].attention.cut([])
    layers[-1].feed_forward.cut([])
    if layers[-1].family.cross:
        layers[-2].sublayer(CROSS).cut([])
        layers[-1].sublayer(CROSS).cut([0, 2])
    if cut_whole:
        keep_layers(model, [index for index in range(len(layers)) if index not in (0, len(layers) - 2)])
    return model


def test_a_cut_checkpoint_is_saved_and_loaded(folder, family, tmp_path):
    checkpoint = open_checkpoint(folder)
    model = unevenly_cut(load_checkpoint(folder))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    out = tmp_path / "cut"
    save_checkpoint(out, model, tokenizer, checkpoint.record)
    again = load_checkpoint(out)
    assert type(again) is type(model)
    assert layer_shapes(again) == layer_shapes(model) == open_checkpoint(out).record.layers
    assert torch.equal(logits_of(again), logits_of(model))
    assert torch.equal(written(again), written(model))
    auto = AutoModelForSeq2SeqLM if family in ENCODER_DECODERS else AutoModelForCausalLM
    plain = auto.from_pretrained(out, trust_remote_code=True).eval()
    assert torch.equal(logits_of(plain), logits_of(model))
    assert torch.equal(written(plain), written(model))
    saved_again = tmp_path / "again"
    save_checkpoint(saved_again, again, tokenizer, open_checkpoint(out).record)
    assert torch.equal(logits_of(load_checkpoint(saved_again)), logits_of(model))


def test_a_model_that_was_cut_alike_everywhere_is_a_plain_one(tmp_path):
    model = load_checkpoint(make_generator(tmp_path / "m", "llama", heads=8, kv_heads=4, layers=3))
    for layer in model_layers(model):
        layer.cut(heads=[0, 2], ffn=range(8, 40))
    keep_layers(model, [0, 2])
    checkpoint = open_checkpoint(tmp_path / "m")
    save_checkpoint(tmp_path / "cut", model, AutoTokenizer.from_pretrained(tmp_path / "m"), checkpoint.record)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "cut").eval()
    assert (plain.config.num_attention_heads, plain.config.num_key_value_heads) == (4, 2)
    assert (plain.config.intermediate_size, plain.config.num_hidden_layers) == (32, 2)
    assert torch.equal(logits_of(plain), logits_of(model))
    assert not (tmp_path / "cut" / "modeling_edgelm.py").exists()
    assert torch.equal(logits_of(load_checkpoint(tmp_path / "cut")), logits_of(model))


@pytest.mark.parametrize("name", ["gpt2", "t5-gated", "bart"])
def test_channels_that_were_cut_alike_everywhere_are_in_the_configuration(name, tmp_path):
    model = load_checkpoint(make_generator(tmp_path / "m", name))
    for layer in model_layers(model):
        layer.cut(ffn=range(40))
    checkpoint = open_checkpoint(tmp_path / "m")
    save_checkpoint(tmp_path / "cut", model, AutoTokenizer.from_pretrained(tmp_path / "m"), checkpoint.record)
    assert not (tmp_path / "cut" / "modeling_edgelm.py").exists()
    assert torch.equal(logits_of(load_checkpoint(tmp_path / "cut")), logits_of(model))


def test_texts_go_on_from_the_cache_as_without_it(folder):
    model = unevenly_cut(load_checkpoint(folder))
    assert torch.equal(written(model), written(model, use_cache=False))


def test_a_stack_keeps_a_layer(folder):
    model = load_checkpoint(folder)
    with pytest.raises(UsageError, match="no layer of the"):
        keep_layers(model, [0] if model.config.is_encoder_decoder else [])


def test_scores_that_are_divided_by_the_number_of_the_layer_stay_what_they_were(tmp_path):
    model = load_checkpoint(make_generator(tmp_path / "m", "gpt2", layers=3, scale_attn_by_inverse_layer_idx=True))
    states = torch.randn(1, 5, 32, generator=torch.Generator().manual_seed(0))
    last = model.transformer.h[2]
    with torch.no_grad():
        before = last(states)
        keep_layers(model, [0, 2])
        torch.testing.assert_close(last(states), before, rtol=1e-5, atol=1e-5)
    save_checkpoint(
        tmp_path / "cut", model, AutoTokenizer.from_pretrained(tmp_path / "m"), open_checkpoint(tmp_path / "m").record
    )
    assert torch.equal(logits_of(load_checkpoint(tmp_path / "cut")), logits_of(model))


@pytest.mark.parametrize("name", ["t5", "bart"])
def test_a_decoder_with_more_layers_than_the_encoder_writes_without_a_cache_of_the_users_own(name, tmp_path):
    """transformers makes T5's cache for the encoder's layers; the module beside the checkpoint makes one that fits."""
    model = load_checkpoint(make_generator(tmp_path / "m", name, layers=3))
    keep_layers(model, [1, 3, 4, 5])
    checkpoint = open_checkpoint(tmp_path / "m")
    save_checkpoint(tmp_path / "cut", model, AutoTokenizer.from_pretrained(tmp_path / "m"), checkpoint.record)
    assert (tmp_path / "cut" / "modeling_edgelm.py").exists() == (name == "t5")
    plain = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "cut", trust_remote_code=True).eval()
    assert torch.equal(written(plain), written(plain, use_cache=False))
    assert torch.equal(logits_of(load_checkpoint(tmp_path / "cut")), logits_of(model))
