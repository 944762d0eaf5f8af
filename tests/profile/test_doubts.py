"""What stands against figures: slow and fast rounds, and ratios that another measurement might contradict."""

from dataclasses import replace

import numpy as np
import pytest

from edgelm.profile.doubts import doubts_of, unsteady, with_ratios
from edgelm.profile.result import Case, Profile
from edgelm.report.tables import doubt_notes, latency_table
from edgelm.report.write import render_html, render_markdown


def samples(seed, factor=1.0):
    return tuple(np.random.default_rng(seed).gamma(50.0, 0.02, 300) * factor)


def make_profile(name, values, **changes):
    machine = {"cpu": "some CPU", "cores": 2, "instructions": [], "system": "Linux", "python": "3.11", "versions": {}}
    settings = {"warmup": 0, "runs": 300, "threads": 1, "loads": 1, "texts": "golden samples"}
    what = {"path": name, "kind": "bundle", "precision": "fp32", "size_mb": 1.0, "load_ms": 1.0, "peak_memory_mb": 1.0}
    rest = {
        "tokenization_ms": None,
        "operators": (),
        "created": "2026-01-01T00:00:00+00:00",
        "device": None,
        "manifest": {},
    }
    return Profile(
        name=name, cases=(Case(1, None, tuple(values)),), machine=machine, settings=settings, **(what | rest | changes)
    )


def test_two_speeds_of_a_machine_are_said_with_both():
    slow = np.where(np.arange(300) < 150, 1.0, 4.0)
    assert "1 ms in fast rounds and 4 ms in slow ones" in unsteady(Case(1, None, tuple(slow)))
    assert unsteady(Case(1, 16, samples(0))) == ""
    assert unsteady(Case(1, 16, tuple(slow[140:160]))) == ""  # two rounds: too few to tell


def test_long_and_short_texts_in_turn_are_no_two_speeds():
    """Twenty short texts, then twenty long ones, again and again: every round is all short or all long."""
    texts = tuple(np.tile(np.repeat([1.0, 4.0], 20), 8)[:300])
    assert unsteady(Case(1, None, texts, inputs=40)) == ""
    assert unsteady(Case(1, None, texts, inputs=1))


def test_ratios_are_to_the_last_with_their_intervals_in_every_view():
    fast, slow = with_ratios([make_profile("fast", samples(0)), make_profile("slow", samples(1, 2.0))])
    (ratio,) = (case.ratio for case in fast.cases)
    assert (ratio.against, ratio.established) == ("slow", True)
    assert ratio.low < 2 < ratio.high
    assert slow.cases[0].ratio is None
    values = [fast.to_dict(), slow.to_dict()]
    assert values[0]["cases"][0]["ratio"]["p50"] == pytest.approx(
        values[1]["cases"][0]["p50_ms"] / values[0]["cases"][0]["p50_ms"]
    )
    shown = f"{ratio.p50:.2f}x ({ratio.low:.2f}-{ratio.high:.2f})"
    assert latency_table(values)[1][0][-1] == shown
    assert shown in render_html(values)
    assert shown in render_markdown(values)
    low, high = values[0]["cases"][0]["p50_interval_ms"]
    assert f"({low:.3f}-{high:.3f})" in latency_table(values)[1][0][3]
    assert doubt_notes(values) == []


def test_a_ratio_that_may_be_chance_is_marked_and_noted():
    values = [
        entry.to_dict() for entry in with_ratios([make_profile("one", samples(0)), make_profile("two", samples(1))])
    ]
    assert latency_table(values)[1][0][-1].endswith("not established")
    (note,) = doubt_notes(values)
    assert note.startswith("one against two: ")
    assert "includes 1" in note
    assert note in render_markdown(values)


def test_hosts_that_were_measured_apart_are_compared_apart():
    machine = np.repeat(np.exp(np.random.default_rng(0).normal(0, 0.3, 30)), 10)
    near, far = make_profile("b", samples(0) * machine), make_profile("b", samples(1, 3.0) * machine)
    together, apart = with_ratios([near, far])[0], with_ratios([near, replace(far, host="pi")])[0]
    assert apart.cases[0].ratio.against == "b on pi"
    assert apart.cases[0].ratio.high > together.cases[0].ratio.high


def test_a_profile_of_an_earlier_version_is_still_read():
    """Schema 2 had no rounds, intervals, ratios or warnings."""
    (values,) = [entry.to_dict() for entry in with_ratios([make_profile("one", samples(0))])]
    old = {name: value for name, value in values.items() if name != "warnings"} | {"schema": 2}
    old["cases"] = [{name: case[name] for name in ("batch", "sequence", "samples_ms")} for case in values["cases"]]
    read = Profile.from_dict(old)
    assert read.cases[0].ratio is None
    assert read.cases[0].p50_interval_ms == tuple(values["cases"][0]["p50_interval_ms"])
    (full,) = with_ratios([make_profile("one", samples(0))])
    assert Profile.from_dict(full.to_dict()) == full


def test_a_case_is_doubted_for_its_own_rounds_and_for_the_machine():
    wild = np.repeat([1.0, 4.0], 50)
    short, long = (Case(1, tokens, tuple(wild * tokens), block=10) for tokens in (8, 32))
    warnings = ("Measured while others used 1.1 of 2 cores.", unsteady(short), unsteady(long))
    assert doubts_of(short, warnings) == list(warnings[:2])
    assert doubts_of(long, warnings) == [warnings[0], warnings[2]]
