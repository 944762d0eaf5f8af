"""The front of a search: against the definition, and as a page and a table."""

import csv
import io
import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pages import check_page, table_of

from edgelm.report import front, render_front
from edgelm.report.front import price_note
from edgelm.search.prices import Prices
from edgelm.search.result import Original, SearchResult, Trial, front_csv, front_of, pareto_front

FEW = st.sampled_from([0.0, 0.5, 1.0, 2.0])  # few values, so that many are equal
POINTS = st.lists(st.tuples(FEW, FEW, FEW), max_size=12)


def beats(a, b):
    """The definition, in words of its own: nowhere worse, somewhere better."""
    better = (a[0] > b[0], a[1] < b[1], a[2] < b[2])
    worse = (a[0] < b[0], a[1] > b[1], a[2] > b[2])
    return any(better) and not any(worse)


@given(POINTS)
def test_the_front_is_what_nothing_beats(points):
    assert pareto_front(points) == [
        index for index, point in enumerate(points) if not any(beats(other, point) for other in points)
    ]


@settings(deadline=None)  # the first call imports optuna
@given(POINTS)
def test_the_front_agrees_with_optuna(points):
    import optuna

    if not points:
        return
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(directions=("maximize", "minimize", "minimize"))
    study.add_trials([optuna.trial.create_trial(values=list(point)) for point in points])
    assert {trial.number for trial in study.best_trials} == set(pareto_front(points))


@given(POINTS)
def test_everything_off_the_front_is_beaten_by_something_on_it(points):
    best = pareto_front(points)
    assert bool(best) == bool(points)
    assert all(
        any(beats(points[index], point) for index in best) for number, point in enumerate(points) if number not in best
    )


def made(number, quality, latency, size, **more):
    return Trial(
        number, "balanced", ("prune.keep_ffn=0.5",), "finished", quality, latency, size, parameters=1000, **more
    )


def a_result(trials, original=None):
    question = {
        "precision": "int8",
        "device": {"name": "cpu"},
        "machine": "<script>a CPU</script>",
        "threads": 2,
        "train_share": 0.25,
    }
    return SearchResult("build/search", question, "accuracy", tuple(trials), front_of(trials), "trials", 1.0, original)


TRIALS = [
    made(0, 0.9, 4.0, 20.0),
    made(1, 0.895, 1.0, 9.0),
    made(2, 0.8, 0.5, 8.0),
    made(3, 0.79, 4.0, 20.0),
    Trial(4, "fastest", (), "failed", error="no"),
]


def test_the_front_is_told_from_the_best_to_the_fastest_and_one_is_chosen():
    assert front_of(TRIALS) == (0, 1, 2)
    assert a_result(TRIALS).choice == 1  # half a point lost, four times as fast
    assert a_result(TRIALS[4:]).choice is None
    rows = list(csv.DictReader(io.StringIO(front_csv(a_result(TRIALS)))))
    assert [row["trial"] for row in rows] == ["0", "1", "2"]
    assert float(rows[1]["accuracy"]) == 0.895
    assert rows[0]["settings"] == "prune.keep_ffn=0.5"


def test_the_page_is_whole_and_escapes_what_it_is_given():
    page = render_front(json.loads(json.dumps(a_result(TRIALS).to_dict())))
    drawings = check_page(page).findall(".//svg")
    assert len(drawings) == 2  # over latency, over size
    for drawing in drawings:
        assert {"0", "1", "2"} <= {label.text for label in drawing.iter("text")}
    assert "25% of the steps" in page
    render_front(a_result(TRIALS[:1]).to_dict())  # one point has no scale
    render_front(a_result(TRIALS[4:]).to_dict())  # nor has none


def test_the_original_stands_beside_the_trials():
    values = a_result(TRIALS, Original(0.91, 40.0, 90.0, 22_700_000)).to_dict()
    page = check_page(render_front(json.loads(json.dumps(values))))
    for drawing in page.findall(".//svg"):
        assert "original" in {label.text for label in drawing.iter("text")}
    (row,) = table_of(page, "The original")
    assert (row["accuracy"], row["p50 ms"], row["size MB"], row["weights"]) == ("0.9100", "40.000", "90.0", "22.70M")


def test_a_point_without_room_for_its_name_says_it_when_pointed_at():
    crowd = [made(number, 0.9, 4.0, 20.0) for number in range(30)]
    drawing = check_page(render_front(a_result(crowd).to_dict())).find(".//svg")
    assert len([label for label in drawing.iter("text") if (label.text or "") in {str(one) for one in range(30)}]) < 30
    told = [found.text for found in drawing.iter("title")]
    assert told == [f"{one}: p50, ms 4, accuracy 0.9, size in MB 20. balanced prune.keep_ffn=0.5" for one in range(30)]


def test_latencies_are_costs_where_prices_are_told():
    """An hour for 0.36 and 10 W: a millisecond is 0.1 for a million and 10 mJ."""
    result = replace(
        a_result(TRIALS, Original(0.91, 40.0, 90.0, 22_700_000)), prices=Prices(0.36, watts=10.0, calls_per_day=1000.0)
    )
    values = json.loads(json.dumps(result.to_dict()))
    assert values["trials"][0]["cost"] == pytest.approx(
        {"per_million": 0.4, "joules": 0.04, "a_year": 0.146, "kwh_a_year": 0.04 * 365_000 / 3.6e6}
    )
    assert values["original"]["cost"]["per_million"] == pytest.approx(4.0)
    assert values["trials"][4]["cost"] is None  # it failed
    page = check_page(render_front(values))
    (row,) = table_of(page, "The original")
    assert (row["price of a million"], row["joules of a call"]) == ("4", "0.4")
    assert [row["price of a year"] for row in table_of(page, "Pareto front")] == ["0.146", "0.0365", "0.01825"]
    assert "0.36 an hour of the machine, 10 W while it answers, 1,000 calls a day" in price_note(values)
    assert "the front by cost is that by latency" in price_note(values)
    rows = list(csv.DictReader(io.StringIO(front_csv(result))))
    assert [float(row["per_million"]) for row in rows] == pytest.approx([0.4, 0.1, 0.05])


def test_without_a_price_there_is_no_word_of_costs():
    values = a_result(TRIALS).to_dict()
    assert (values["prices"], price_note(values)) == (None, "")
    assert "cost" not in values["trials"][0]
    assert "price" not in front_csv(a_result(TRIALS))
    assert [*Prices(watts=5.0).of(2.0)] == ["joules"]


def test_the_page_says_why_there_is_no_original():
    lost = Original(0.91, None, 90.0, 22_700_000, "no <b>torch</b> here.")
    page = render_front(a_result(TRIALS, lost).to_dict())
    assert "The original was not measured: no &lt;b&gt;torch&lt;/b&gt; here." in page
    assert "PyTorch fp32" not in page


@given(st.sampled_from(TRIALS))
def test_a_trial_survives_json(trial):
    assert Trial.from_dict(json.loads(json.dumps(trial.to_dict()))) == trial


def test_the_line_of_a_chart_never_falls_and_nothing_lies_above_it(monkeypatch):
    drawn = {}
    draw = front.point_chart

    def drawing(title, points, **how):
        drawn[title] = how["path"]
        return draw(title, points, **how)

    monkeypatch.setattr(front, "point_chart", drawing)
    figures = ((0.86, 2, 6), (0.89, 5, 8), (0.88, 3, 9), (0.90, 2.5, 12), (0.85, 4, 20), (0.90, 6, 7))
    trials = tuple(made(number, *each) for number, each in enumerate(figures))
    render_front(a_result(trials).to_dict())
    by_latency, by_size = drawn.values()
    assert by_latency == [(2.0, 0.86), (2.5, 0.90)]
    assert by_size == [(6.0, 0.86), (7.0, 0.90)]
