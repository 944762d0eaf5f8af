"""Lengths of time as people type them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgelm.cli.inputs import read_duration
from edgelm.errors import UsageError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("90s", 90),
        ("45m", 2700),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("2d", 172800),
        (" 1H ", 3600),
        ("0.5", 0.5),
    ],
)
def test_a_length_of_time_is_read(text, seconds):
    assert read_duration(text) == seconds


@given(st.integers(0, 9), st.integers(0, 99), st.integers(0, 99), st.integers(1, 99))
def test_parts_add_up(days, hours, minutes, seconds):
    assert read_duration(f"{days}d{hours}h{minutes}m{seconds}s") == ((days * 24 + hours) * 60 + minutes) * 60 + seconds


@pytest.mark.parametrize("text", ["", "0", "0m", "-5m", "5x", "m", "1m1h", "one hour", "nan", "inf", "1e9"])
def test_anything_else_is_refused_with_an_example(text):
    with pytest.raises(UsageError, match="--time-limit") as refused:
        read_duration(text)
    assert "1h30m" in refused.value.hint
