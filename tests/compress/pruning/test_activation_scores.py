"""Scores by what flows, against a direct computation text by text."""

import torch
from models import TEXTS, make_checkpoint

from edgelm.anatomy import TaskModel, load_checkpoint, load_tokenizer, model_layers
from edgelm.compress.pruning.activation_scores import measure_activity
from edgelm.data.dataset import Dataset
from edgelm.tasks.text import TextClassification


def test_scores_are_mean_squares_at_real_tokens_times_outgoing_weights(tmp_path):
    folder = make_checkpoint(tmp_path / "m")
    model, tokenizer = load_checkpoint(folder).double(), load_tokenizer(folder)
    found = measure_activity(
        TaskModel(model, tokenizer, TextClassification(labels=("a", "b"))), Dataset("memory", texts=TEXTS)
    )
    layer = model_layers(model)[1]
    hidden, channels, values, queries, keys = [], [], [], [], []
    layer.module("ffn_out").register_forward_pre_hook(lambda _, inputs: channels.append(inputs[0][0]))
    layer.module("attention_output").register_forward_pre_hook(lambda _, inputs: values.append(inputs[0][0]))
    layer.module("query").register_forward_hook(lambda _, inputs, output: queries.append(output[0]))
    layer.module("key").register_forward_hook(lambda _, inputs, output: keys.append(output[0]))
    with torch.no_grad():
        for text in TEXTS:  # alone: without padding
            states = model(**tokenizer(text, return_tensors="pt"), output_hidden_states=True).hidden_states
            hidden.append(torch.stack([state[0].square() for state in states]).sum(dim=0))

        def mean_square(rows):
            return torch.cat(rows).square().mean(dim=0)

        torch.testing.assert_close(found.hidden, torch.cat(hidden).mean(dim=0))
        torch.testing.assert_close(
            found.channels[1], mean_square(channels) * layer.module("ffn_out").weight.square().sum(dim=0)
        )
        torch.testing.assert_close(
            found.values[1], mean_square(values) * layer.module("attention_output").weight.square().sum(dim=0)
        )
        torch.testing.assert_close(found.scores[1], mean_square(queries) * mean_square(keys))
