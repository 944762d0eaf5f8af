"""Hooks on modules: what they see, what they replace, and that none is left behind."""

import pytest
import torch
from torch import nn

from edgelm.anatomy.hooks import watching


def left(network):
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in network.modules())


def test_what_a_module_is_given_and_gives_is_seen_in_the_order_of_the_pairs():
    network = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    rows, said = torch.randn(5, 3), []
    with watching(
        calls=[(network, lambda: said.append("runs"))],
        inputs=[(network[1], lambda given: said.append(given))],
        outputs=[(network[0], lambda made: said.append(made)), (network[0], lambda _: said.append("second"))],
    ):
        network(rows)
    assert said[0] == "runs"
    assert torch.equal(said[1], network[0](rows))
    assert said[2] == "second"
    assert torch.equal(said[3], said[1])
    assert len(said) == 4  # the last call here was not seen
    assert left(network) == 0


def test_a_tensor_that_is_returned_takes_the_place_of_the_one_that_was_seen():
    network = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    rows = torch.randn(5, 3)
    with watching(inputs=[(network[0], lambda given: 2 * given)], outputs=[(network[1], lambda made: made + 1)]):
        found = network(rows)
    assert torch.equal(found, network(2 * rows) + 1)


def test_hooks_go_also_where_one_stops_the_model():
    network = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))

    def stop(_):
        raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"), watching(inputs=[(network[1], stop)]):
        network(torch.randn(5, 3))
    assert left(network) == 0
