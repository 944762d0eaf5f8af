"""Optimal-brain-surgeon pruning against least squares, and on layers whose solution is known."""

import itertools

import pytest
import torch

from edgelm.compress.pruning.obs import moments_of, remove_units


def layer(inputs, *, out=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(out, inputs.shape[1], generator=generator), torch.randn(out, generator=generator)


def correlated(tokens=400, size=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(tokens, size, generator=generator) @ torch.randn(size, size, generator=generator) + torch.randn(
        size, generator=generator
    )


@pytest.mark.parametrize("width", [1, 3])
def test_the_weights_that_stay_are_the_least_squares_solution(width):
    """Whatever the order in which units went, the update is exact: it solves the regression of the outputs on what is
    left."""
    inputs = correlated()
    weight, bias = layer(inputs)
    wanted = (inputs @ weight.T + bias).double()
    for level in remove_units(weight, bias, moments_of(inputs), width=width, counts=range(1, 12 // width)):
        columns = [unit * width + offset for unit in level.units for offset in range(width)]
        left = torch.cat([inputs[:, columns], torch.ones(len(inputs), 1)], dim=1).double()
        solution = torch.linalg.lstsq(left, wanted).solution
        found = torch.cat([level.weight, level.bias[:, None]], dim=1).double()
        best, ours = (float((left @ matrix - wanted).square().sum()) for matrix in (solution, found.T))
        assert ours <= 1.05 * best + 1e-6  # the damping of 1 % is all that differs


def test_a_unit_that_copies_another_goes_for_nothing_and_its_weight_moves_there():
    inputs = correlated(size=6)
    inputs[:, 3] = inputs[:, 1]
    weight, bias = layer(inputs)
    (level,) = remove_units(weight, bias, moments_of(inputs), width=1, counts=[5])
    assert level.error < 1e-2
    gone = ({1, 3} - set(level.units)).pop()
    stays = level.units.index(4 - gone)
    torch.testing.assert_close(level.weight[:, stays], weight[:, 1] + weight[:, 3], rtol=0.05, atol=0.05)  # damped


def test_a_unit_that_never_changes_goes_into_the_bias():
    inputs = correlated(size=6)
    inputs[:, 2] = 3.0
    weight, bias = layer(inputs)
    (level,) = remove_units(weight, bias, moments_of(inputs), width=1, counts=[5])
    assert 2 not in level.units
    left = inputs[:, list(level.units)]
    torch.testing.assert_close(
        left @ level.weight.T + level.bias, inputs @ weight.T + bias, rtol=0.02, atol=0.1
    )  # damped


def test_a_layer_without_a_bias_stays_without_and_takes_over_what_it_can():
    inputs = correlated()
    weight, _ = layer(inputs)
    wanted = (inputs @ weight.T).double()
    (level,) = remove_units(weight, None, moments_of(inputs), width=1, counts=[7])
    left = inputs[:, list(level.units)].double()
    solution = torch.linalg.lstsq(left, wanted).solution
    best, ours = (float((left @ matrix - wanted).square().sum()) for matrix in (solution, level.weight.T.double()))
    assert level.bias is None
    assert ours <= 1.05 * best + 1e-6  # the damping of 1 % is all that differs


def test_independent_inputs_go_in_the_order_of_their_power():
    """With a diagonal H nothing can be taken over: the cheapest is the smallest of ‖w‖² Var(x), an analytic answer."""
    generator = torch.Generator().manual_seed(1)
    inputs = torch.linalg.qr(torch.randn(500, 8, generator=generator) - 0.0).Q * 500**0.5
    inputs = inputs - inputs.mean(dim=0)
    weight, bias = layer(inputs)
    order = torch.argsort(weight.square().sum(dim=0)).tolist()
    levels = remove_units(weight, bias, moments_of(inputs), width=1, counts=range(9))
    assert [sorted(level.units) for level in levels] == [sorted(order[gone:]) for gone in range(9)]
    assert levels[0].error == 0.0
    assert levels[-1].error == pytest.approx(1.0)


def test_two_units_go_as_well_as_brute_force_says():
    inputs = correlated(size=5, seed=3)
    weight, bias = layer(inputs, seed=3)
    wanted = (inputs @ weight.T + bias).double()

    def error(units):
        left = torch.cat([inputs[:, list(units)], torch.ones(len(inputs), 1)], dim=1).double()
        return float((left @ torch.linalg.lstsq(left, wanted).solution - wanted).square().sum())

    best = min(itertools.combinations(range(5), 4), key=error)
    (level,) = remove_units(weight, bias, moments_of(inputs), width=1, counts=[4])
    assert level.units == best


def test_many_removals_give_the_same_as_few(monkeypatch):
    """Making the matrices smaller on the way changes nothing."""
    inputs = correlated(tokens=900, size=40)
    weight, bias = layer(inputs)
    moments = moments_of(inputs)
    wanted = remove_units(weight, bias, moments, width=1, counts=[30, 10, 0])
    monkeypatch.setattr("edgelm.compress.pruning.obs._SHRINK", 4)
    for one, other in zip(wanted, remove_units(weight, bias, moments, width=1, counts=[30, 10, 0]), strict=True):
        assert one.units == other.units
        torch.testing.assert_close(one.weight, other.weight)
