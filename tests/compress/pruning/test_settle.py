"""The goal of a cost table, moved until the measured cost is what is allowed."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from edgelm.compress.pruning.constraints import Constraint, Constraints
from edgelm.compress.pruning.settle import settle
from edgelm.latency_table import count_operations
from edgelm.shapes import LayerShape, ModelSizes

SIZES = ModelSizes(layers=1, hidden=32, heads=4, ffn=1000, vocabulary=100)
# A channel costs 1, and nothing else costs anything.
TABLE = replace(count_operations(SIZES, 8), rest=0.0, layer=0.0, attention={4: 0.0}, ffn={0: 0.0, 1000: 1000.0})


def channels(goal, tries):
    """As many as the table allows."""
    return [max(1, min(1000, int(goal.bounds[0].allowed)))]


def shapes(picks):
    return (LayerShape(4, picks[0]),)


@given(fixed=st.floats(0, 0.4), bend=st.floats(0.7, 1.4), share=st.floats(0.65, 0.95))
def test_a_table_that_knows_nothing_of_fixed_costs_is_followed_to_the_allowance(fixed, bend, share):
    """What is measured has a part that no channel takes away, and does not grow in proportion."""

    def measure(made):
        return 1000 * (fixed + (1 - fixed) * (made[0].ffn / 1000) ** bend)

    allowed = 1000 * share
    picks = settle(Constraints((Constraint("latency", TABLE, allowed, measure),)), channels, shapes, 1)
    assert 0.95 * allowed <= measure(shapes(picks)) <= 1.02 * allowed


def test_a_bound_that_is_not_measured_is_believed():
    picks = settle(Constraints((Constraint("size", TABLE, 400.0),)), channels, shapes, 1)
    assert picks == [400]


def test_where_no_choice_holds_the_one_that_misses_least_is_taken():
    def measure(made):
        return 900 + made[0].ffn / 100

    picks = settle(Constraints((Constraint("latency", TABLE, 500.0, measure),)), channels, shapes, 1)
    assert picks[0] < 500
