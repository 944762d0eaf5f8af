"""What answers take of energy and carbon dioxide: by a sensor or estimated, and by the table of countries."""

import json

import jsonschema
import pytest
from bundles import make_bundle
from report_material import a_profile, write_profiles
from typer.testing import CliRunner

from edgelm.cli.main import app
from edgelm.errors import install_extra
from edgelm.profile.power import Power
from edgelm.report.bundle_report import report_schema
from edgelm.report.energy import estimate_energy
from edgelm.report.gather import describe_bundle
from edgelm.runtime import open_bundle

TABLE = {
    "DEU": {"country_name": "Germany", "carbon_intensity": 380.95, "year": 2023},
    "DNK": {"country_name": "Denmark", "carbon_intensity": 150.0, "year": 2023},
    "XXX": {"country_name": "Nowhere", "carbon_intensity": None, "year": 2023},
}


def sensor(watts, mj_per_call):
    return Power("RAPL", 5.0, watts, mj_per_call, calls=100, seconds=1.0, samples=10, rails={"package-0": watts})


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    stage = {"stage": "distill", "settings": {}, "seed": 0, "before": {"accuracy": 0.9}, "after": {"accuracy": 0.9}}
    lineage = {"source": "teacher", "stages": [stage | {"parameters": 1, "seconds": 7200.0}]}
    return make_bundle(tmp_path_factory.mktemp("energy") / "small.edge", name="small", lineage=lineage)


def profiles_of(bundle, **changes):
    manifest = open_bundle(bundle).manifest.to_dict()
    small = a_profile("small", "bundle", 1.0, manifest, size_mb=2.0, **changes)
    return small, a_profile("teacher", "pytorch", 5.0, {}, size_mb=8.0, seed=1, **changes)


@pytest.fixture
def codecarbon(tmp_path, monkeypatch):
    """A package as codecarbon lays its table down; no code of it is run."""
    folder = tmp_path / "codecarbon" / "data" / "private_infra"
    folder.mkdir(parents=True)
    (tmp_path / "codecarbon" / "__init__.py").write_text("raise RuntimeError('imported')")
    (folder / "global_energy_mix.json").write_text(json.dumps(TABLE))
    monkeypatch.syspath_prepend(tmp_path)


def report(bundle, folder, *words, profiles=None):
    file = write_profiles(folder / "profile.json", *(profiles or profiles_of(bundle)))
    words = [str(word) for word in (bundle, "--profile", file, "--no-replay", *words)]
    return CliRunner().invoke(app, ["report", *words])


def test_an_estimate_is_marked_and_adds_up(bundle, tmp_path, codecarbon):
    done = report(
        bundle, tmp_path, "--watts", 36, "--country", "germany", "--calls-per-day", 1_000_000,
        "--markdown", tmp_path / "r.md", "--json",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    values = json.loads(done.stdout)
    jsonschema.validate(values, report_schema())
    energy = values["energy"]
    small, teacher = energy["subjects"]
    assert small["joules"] == pytest.approx(0.036, rel=0.01)  # 36 W for a millisecond
    assert small["kwh_per_million"] == pytest.approx(0.01, rel=0.01)
    assert small["grams_per_million"] == pytest.approx(3.81, rel=0.01)
    assert (small["source"], small["from"]) == ("estimated", "given")
    (saved,) = energy["savings"]
    assert saved["training_kwh"] == pytest.approx(0.072)  # two hours
    a_day = teacher["kwh_per_million"] - small["kwh_per_million"]
    assert saved["kwh_a_year"] == pytest.approx(365 * a_day - 0.072)
    assert saved["kg_a_year"] == pytest.approx(saved["kwh_a_year"] * 0.38095)
    assert saved["days_to_repay"] == pytest.approx(0.072 / a_day)
    text = (tmp_path / "r.md").read_text()
    for said in (
        f"calls take {small['kwh_per_million']:.3g} kWh instead of {teacher['kwh_per_million']:.3g} kWh (estimated)",
        f"{small['grams_per_million']:.3g} g instead of {teacher['grams_per_million']:.3g} g CO2e (estimated)",
        f"the first year saves {saved['kwh_a_year']:.3g} kWh, training taken off",
    ):
        assert said in text
    assert "Estimated, not measured: the power of the machine" in text
    assert "380.9 g CO2e (Germany, 2023, by codecarbon" in text or "381 g CO2e (Germany, 2023" in text


def test_a_sensor_goes_before_an_estimate(bundle, tmp_path):
    small, teacher = profiles_of(bundle)
    measured = [
        a_profile("small", "bundle", 1.0, small.manifest, size_mb=2.0, power=sensor(20.0, 20.0)),
        a_profile("teacher", "pytorch", 5.0, {}, size_mb=8.0, seed=1, power=sensor(40.0, 200.0)),
    ]
    done = report(bundle, tmp_path, "--watts", 36, "--calls-per-day", 1000, "--json", profiles=measured)
    energy = json.loads(done.stdout)["energy"]
    assert [(entry["joules"], entry["source"], entry["from"]) for entry in energy["subjects"]] == [
        (0.02, "measured", "RAPL"), (0.2, "measured", "RAPL"),
    ]  # fmt: skip
    assert energy["savings"][0]["training_kwh"] == pytest.approx(2 * 0.04)
    assert energy["grid"] is None
    mixed = report(
        bundle, tmp_path / "..", "--watts", 36, "--calls-per-day", 1000, "--json", profiles=[measured[0], teacher]
    )
    values = json.loads(mixed.stdout)
    assert values["energy"]["savings"] == []  # a sensor's figure and an estimate are not compared
    assert values["headlines"][0]["words"][-1] == "A million calls take 0.00556 kWh (measured)."


def test_a_jetson_without_a_sensor_is_estimated_by_its_largest_power_mode(bundle):
    profiles = [
        profile.to_dict() | {"id": None, "file": "p"} for profile in profiles_of(bundle, device="jetson-orin-nano")
    ]
    energy = estimate_energy([describe_bundle(bundle, replay=False)], profiles)
    assert {entry["watts"] for entry in energy["subjects"]} == {25}
    assert energy["subjects"][0]["from"] == "the largest power mode of jetson-orin-nano"


def test_where_nothing_is_known_of_the_power_nothing_is_said(bundle, tmp_path):
    done = report(bundle, tmp_path, "--json")
    values = json.loads(done.stdout)
    assert values["energy"] is None
    assert "give --price-per-hour, or --watts" in values["headlines"][0]["words"][-1]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--watts", 5, "--country", "Danmark"), 2, "DNK (Denmark)"),
        (("--country", "DEU", "--grid-intensity", 5), 2, "say the same"),
        (("--grid-intensity", 5), 2, "need a power"),
        (("--calls-per-day", 5), 2, "--price-per-hour"),
    ],
)
def test_what_says_nothing_is_refused(bundle, tmp_path, codecarbon, words, code, said):
    done = report(bundle, tmp_path, *words)
    assert (done.exit_code, said in done.output) == (code, True), done.output


def test_without_the_table_the_extra_is_named(bundle, tmp_path, monkeypatch):
    monkeypatch.setattr("edgelm.report.grid.find_spec", lambda name: None)
    done = report(bundle, tmp_path, "--watts", 5, "--country", "DEU")
    assert (done.exit_code, install_extra("carbon") in done.output) == (1, True)
