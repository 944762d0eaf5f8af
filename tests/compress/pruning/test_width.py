"""Students cut out of a teacher: they keep what matters, load back from disk, and leave the teacher alone."""

import copy
import json

import pytest
import torch
from models import ANATOMIES, TEXTS, make_checkpoint

from edgelm.anatomy import TaskModel, load_checkpoint, load_tokenizer, model_layers, model_outputs, save_checkpoint
from edgelm.checkpoint import open_checkpoint
from edgelm.compress.pruning.activation_scores import measure_activity
from edgelm.compress.pruning.student_shape import resolve_shape
from edgelm.compress.pruning.width import cut_to_sizes
from edgelm.data.dataset import Dataset

SIZES = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 64}
ROWS = Dataset("memory", texts=TEXTS)


def teacher_of(folder, family="bert", **options):
    make_checkpoint(folder, family, **({"layers": 3, "hidden": 48, "heads": 6, "ffn": 96} | options))
    return load_checkpoint(folder), load_tokenizer(folder), open_checkpoint(folder)


def outputs_of(model, tokenizer, task):
    with torch.no_grad():
        return model_outputs(model, task, dict(tokenizer(list(TEXTS), padding=True, return_tensors="pt")))[0]


@pytest.mark.parametrize("kind", ["text-classification", "sentence-embedding"])
@pytest.mark.parametrize("family", ANATOMIES)
def test_students_of_every_family_load_back_as_the_same_function(tmp_path, family, kind):
    teacher, tokenizer, checkpoint = teacher_of(tmp_path / "teacher", family, kind=kind)
    before = copy.deepcopy(teacher.state_dict())
    shape = resolve_shape(teacher, layers=2, hidden=32, heads=3, ffn=40)
    student, _ = cut_to_sizes(teacher, shape, measure_activity(TaskModel(teacher, tokenizer, checkpoint.task), ROWS))
    save_checkpoint(tmp_path / "student", student, tokenizer, checkpoint.record)
    again = load_checkpoint(tmp_path / "student")
    assert torch.equal(outputs_of(student, tokenizer, checkpoint.task), outputs_of(again, tokenizer, checkpoint.task))
    assert [(own.heads, own.head_size, own.ffn) for own in model_layers(again)] == [(3, 8, 40)] * 2
    assert again.config.hidden_size == 32
    config = json.loads((tmp_path / "student" / "config.json").read_text())
    assert config[{"distilbert": "dim"}.get(family, "hidden_size")] == 32
    assert config[{"distilbert": "n_layers"}.get(family, "num_hidden_layers")] == 2
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())


@pytest.mark.parametrize("family", ANATOMIES)
def test_a_student_of_the_teachers_shape_is_the_teacher(tmp_path, family):
    teacher, tokenizer, checkpoint = teacher_of(tmp_path / "teacher", family)
    student, _ = cut_to_sizes(
        teacher, resolve_shape(teacher), measure_activity(TaskModel(teacher, tokenizer, checkpoint.task), ROWS)
    )
    assert torch.equal(outputs_of(student, tokenizer, checkpoint.task), outputs_of(teacher, tokenizer, checkpoint.task))


@pytest.mark.parametrize("family", ANATOMIES)
def test_a_part_that_the_model_has_lost_whole_is_none_of_the_students_either(tmp_path, family):
    teacher, tokenizer, checkpoint = teacher_of(tmp_path / "teacher", family)
    model_layers(teacher)[0].cut(heads=[])
    model_layers(teacher)[1].cut(ffn=[])
    activity = measure_activity(TaskModel(teacher, tokenizer, checkpoint.task), ROWS)
    same, cuts = cut_to_sizes(teacher, resolve_shape(teacher), activity)
    assert torch.equal(outputs_of(same, tokenizer, checkpoint.task), outputs_of(teacher, tokenizer, checkpoint.task))
    assert (len(cuts[0].heads), len(cuts[1].channels)) == (0, 0)
    narrow, _ = cut_to_sizes(teacher, resolve_shape(teacher, hidden=32, heads=3, ffn=40), activity)
    assert [(own.heads, own.ffn) for own in model_layers(narrow)] == [(0, 40), (3, 0), (3, 40)]
    save_checkpoint(tmp_path / "student", narrow, tokenizer, checkpoint.record)
    again = load_checkpoint(tmp_path / "student")
    assert torch.equal(outputs_of(narrow, tokenizer, checkpoint.task), outputs_of(again, tokenizer, checkpoint.task))


@pytest.mark.parametrize("family", ANATOMIES)
def test_cutting_away_what_does_nothing_changes_nothing(tmp_path, family):
    """Hidden dimensions that are zero everywhere, heads and channels that write nothing: what is left computes the
    same."""
    teacher, tokenizer, checkpoint = teacher_of(tmp_path / "teacher", family)
    sizes = {"dim": 32, "n_heads": 4, "hidden_dim": 64} if family == "distilbert" else SIZES
    sizes = sizes | ({"pooler_hidden_size": 32} if family == "deberta-v2" else {})
    narrow = type(teacher)(type(teacher.config).from_dict(teacher.config.to_dict() | sizes))
    dims = torch.arange(48)[torch.randperm(48, generator=torch.Generator().manual_seed(0))[:32].sort().values]
    heads, channels = [0, 2, 3, 5], torch.arange(16, 80)
    with torch.no_grad():
        grow(teacher, narrow, dims, heads, channels)
    activity = measure_activity(TaskModel(teacher, tokenizer, checkpoint.task), ROWS)
    found, cuts = cut_to_sizes(teacher, resolve_shape(teacher, hidden=32, heads=4, ffn=64), activity)
    for cut in cuts:
        assert cut.heads.tolist() == heads
        assert cut.channels.tolist() == channels.tolist()
    weights = found.state_dict()
    for name, wanted in narrow.state_dict().items():
        # MPNet's table of relative positions stays whole, and each layer reads the columns of its heads.
        kept = weights[name][:, heads] if name.endswith("relative_attention_bias.weight") else weights[name]
        assert torch.equal(kept, wanted), name
    assert torch.equal(
        outputs_of(found, tokenizer, checkpoint.task), outputs_of(narrow.eval(), tokenizer, checkpoint.task)
    )


def grow(teacher, narrow, dims, heads, channels):
    """Write the narrow model into these dimensions of a wider one, zeros everywhere else."""
    for parameter in teacher.parameters():
        parameter.zero_()
    rows = torch.cat([torch.arange(head * 8, head * 8 + 8) for head in heads])
    done = []
    for wide, thin in zip(model_layers(teacher), model_layers(narrow), strict=True):
        for part, out, into in [
            ("query", rows, dims),
            ("key", rows, dims),
            ("value", rows, dims),
            ("attention_output", dims, rows),
            ("ffn_in", channels, dims),
            *([("ffn_gate", channels, dims)] if wide.family.ffn_gate else []),
            ("ffn_out", dims, channels),
        ]:
            large, small = wide.projection(part), thin.projection(part)
            large.weight[torch.meshgrid(out, into, indexing="ij")] = small.weight
            if small.bias is not None:
                large.bias[out] = small.bias
            done += list(large.module.parameters())
    for (name, wide), thin in zip(teacher.named_parameters(), narrow.parameters(), strict=True):
        if not any(wide is other for other in done):
            axes = [torch.tensor(heads) if "relative_attention_bias" in name else dims] * thin.dim()
            whole = [
                torch.arange(size) if size == wide.shape[axis] else axes[axis] for axis, size in enumerate(thin.shape)
            ]
            wide[torch.meshgrid(*whole, indexing="ij")] = thin


def test_narrower_heads_keep_the_scale_of_their_scores(tmp_path):
    """Dimensions of queries and keys that are zero go; attention is as it was, though it divides by a smaller root."""
    teacher, tokenizer, checkpoint = teacher_of(tmp_path / "teacher")
    with torch.no_grad():
        for own in model_layers(teacher):
            for part in ("query", "key", "value"):
                for tensor in (own.module(part).weight, own.module(part).bias):
                    tensor.view(6, 8, -1)[:, ::2] = 0  # every other dimension of each head
        for tensor in teacher.parameters():
            for axis in range(tensor.dim()):
                if tensor.shape[axis] == 48 and not any(
                    tensor is own.module(part).weight for own in model_layers(teacher) for part in PARTS
                ):
                    tensor.index_fill_(axis, torch.arange(24), 0.0)
        for own in model_layers(teacher):
            for part in PARTS:
                own.module(part).weight[:, :24] = 0
    shape = resolve_shape(teacher, hidden=24, heads=6)
    assert shape.head_size == 4
    activity = measure_activity(TaskModel(teacher, tokenizer, checkpoint.task), ROWS)
    student, cuts = cut_to_sizes(teacher, shape, activity)
    assert cuts[0].scores.tolist() == list(range(1, 48, 2))
    own, source = model_layers(student)[0], model_layers(teacher)[0]
    states = torch.randn(1, 5, 24)
    wide = torch.cat([torch.zeros(1, 5, 24), states], dim=-1)

    def scores(layer, inputs):
        query, key = (layer.module(part)(inputs).view(5, 6, -1).transpose(0, 1) for part in ("query", "key"))
        return query @ key.transpose(1, 2) / layer.head_size**0.5

    torch.testing.assert_close(scores(own, states), scores(source, wide))


PARTS = ("query", "key", "value")


def test_the_dimensions_before_a_classifier_are_chosen_by_the_weights_around_them(tmp_path):
    teacher, tokenizer, checkpoint = teacher_of(tmp_path / "teacher")
    with torch.no_grad():
        teacher.classifier.weight[:, :16] = 0  # of the pooler's outputs these are not read
    student, _ = cut_to_sizes(
        teacher,
        resolve_shape(teacher, hidden=32),
        measure_activity(TaskModel(teacher, tokenizer, checkpoint.task), ROWS),
    )
    assert torch.equal(student.classifier.weight, teacher.classifier.weight[:, 16:])
    assert torch.equal(student.classifier.bias, teacher.classifier.bias)


def test_making_a_student_leaves_the_random_numbers_alone(tmp_path):
    teacher, tokenizer, checkpoint = teacher_of(tmp_path / "teacher")
    activity = measure_activity(TaskModel(teacher, tokenizer, checkpoint.task), ROWS)
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    cut_to_sizes(teacher, resolve_shape(teacher, hidden=24), activity)
    assert torch.equal(torch.rand(3), wanted)
