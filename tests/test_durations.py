"""Lengths of time as people type them."""

import pytest
from click import unstyle
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from edgelm.cli.main import app
from edgelm.durations import parse_milliseconds, parse_seconds
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
        ("1h 30min", 5400),
        ("250ms", 0.25),
        ("1s500ms", 1.5),
    ],
)
def test_a_length_of_time_is_read(text, seconds):
    assert parse_seconds(text) == seconds


@given(st.integers(0, 9), st.integers(0, 99), st.integers(0, 99), st.integers(1, 99))
def test_parts_add_up(days, hours, minutes, seconds):
    assert parse_seconds(f"{days}d{hours}h{minutes}m{seconds}s") == ((days * 24 + hours) * 60 + minutes) * 60 + seconds


@pytest.mark.parametrize("text", ["", "0", "0m", "-5m", "5x", "m", "1m1h", "one hour", "nan", "inf", "1e9"])
def test_anything_else_is_refused_with_an_example(text):
    with pytest.raises(UsageError, match="--time-limit") as refused:
        parse_seconds(text)
    assert "1h30m" in refused.value.hint


@pytest.mark.parametrize(
    ("text", "wanted"), [("1ms", 1.0), ("800us", 0.8), ("0.5 s", 500.0), ("2", 2.0), ("1s 5ms", 1005.0), (".3", 0.3)]
)
def test_a_latency_is_read(text, wanted):
    assert parse_milliseconds(text) == wanted


@pytest.mark.parametrize("text", ["", "ms", "1m", "1 minute", "1mb", "-1ms", "1ms 1s"])
def test_what_is_no_latency_is_refused_with_an_example(text):
    with pytest.raises(UsageError, match="--max-latency") as caught:
        parse_milliseconds(text)
    assert "1ms" in caught.value.hint


@pytest.mark.parametrize("command", ["compress", "search", "tune"])
def test_time_limits_are_typed_alike(command):
    words = {
        "compress": ["model", "--data", "a.csv", "--eval", "b.csv", "--output", "out"],
        "search": ["model", "--data", "a.csv", "--eval", "b.csv", "--output", "out"],
        "tune": ["bundle.edge"],
    }[command]
    result = CliRunner().invoke(app, [command, *words, "--time-limit", "soon"])
    assert result.exit_code == 2
    assert "--time-limit is 'soon'" in result.stderr
    assert "--time-limit 45m, 1h30m, 90s, or seconds" in result.stderr
    shown = unstyle(CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"}).stdout)
    assert "45m, 1h30m" in shown
