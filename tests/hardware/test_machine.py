"""What is found out about a machine, and what doctor makes of it."""

import json
import sys

import pytest
from typer.testing import CliRunner

from edgelm.cli.main import app
from edgelm.errors import install_extra
from edgelm.hardware import doctor, machine


def test_the_machine_is_described_in_json() -> None:
    found = json.loads(json.dumps(machine.describe_machine().to_dict()))
    assert found["cpu"]
    assert found["cores"] >= 1
    assert found["memory_gb"] is None or found["memory_gb"] > 0.1
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["versions"]["onnxruntime"]
    assert set(found["instructions"]) <= set(machine.INSTRUCTIONS)


def test_a_machine_without_an_nvidia_driver_has_no_gpus(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert [name for name in machine.describe_machine().gpus if "Jetson" not in name] == []


def test_gpus_are_those_that_the_driver_names(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA GeForce RTX 3060'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert "NVIDIA GeForce RTX 3060" in machine.describe_machine().gpus


def test_a_driver_that_does_not_answer_is_no_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed'\nexit 9\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert "NVIDIA-SMI has failed" not in machine.describe_machine().gpus


def test_a_package_that_is_not_installed_has_no_version() -> None:
    assert machine.installed_version("edgelm-of-another-world") is None
    assert machine.installed_version("numpy")


@pytest.mark.parametrize(
    ("arch", "instructions", "expected"),
    [
        ("x86_64", {"avx2", "avx512_vnni"}, "--precision int8"),
        ("x86_64", {"avx2"}, "--device x86-avx2"),
        ("aarch64", {"asimddp"}, "--device arm64"),
    ],
)
def test_doctor_says_what_the_cpu_means_for_int8(
    monkeypatch: pytest.MonkeyPatch, arch: str, instructions: set, expected: str
) -> None:
    monkeypatch.setattr(machine.platform, "machine", lambda: arch)
    monkeypatch.setattr(machine, "_cpu_flags", lambda: instructions)
    notes = " ".join(doctor.examine()["cpu"])
    assert "INT8" in notes
    assert expected in notes


def test_doctor_names_the_extra_that_brings_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    real = doctor.find_spec
    monkeypatch.setattr(doctor, "find_spec", lambda name: None if name == "torch" else real(name))
    shown = CliRunner().invoke(app, ["doctor", "--json"])
    assert shown.exit_code == 0
    (extra,) = [row for row in json.loads(shown.stdout)["extras"] if row["extra"] == "compress"]
    assert extra["missing"] == ["torch"]
    assert extra["install"] == install_extra("compress")
    assert not extra["ready"]
    assert install_extra("compress") in CliRunner().invoke(app, ["doctor"]).stdout


@pytest.mark.parametrize(
    ("there", "missing"),
    [
        ({"tensorrt", "cuda"}, []),
        ({"tensorrt_rtx", "cuda"}, []),
        ({"tensorrt"}, ["cuda"]),
        (set(), ["tensorrt_rtx", "cuda"]),
    ],
    ids=["jetson", "desktop", "no-bindings", "nothing"],
)
def test_doctor_takes_either_tensorrt(monkeypatch: pytest.MonkeyPatch, there: set[str], missing: list[str]) -> None:
    real, about = doctor.find_spec, {"tensorrt", "tensorrt_rtx", "cuda"}
    monkeypatch.setattr(
        doctor, "find_spec", lambda name: (real("json") if name in there else None) if name in about else real(name)
    )
    (row,) = (row for row in doctor.examine()["extras"] if row["extra"] == "tensorrt")
    assert row["missing"] == missing


def test_a_missing_package_is_explained_by_its_extra() -> None:
    explained = doctor.explain_missing(ModuleNotFoundError("No module named 'torch'", name="torch"))
    assert explained is not None
    assert explained.exit_code == 1
    assert "torch is missing" in explained.message
    assert explained.hint == install_extra("compress")
    assert (
        doctor.explain_missing(ModuleNotFoundError("No module named 'of_another_world'", name="of_another_world"))
        is None
    )


def test_an_old_release_of_a_package_is_told_from_a_missing_one() -> None:
    lacking = "transformers.exporters.of_tomorrow"
    explained = doctor.explain_missing(ModuleNotFoundError(f"No module named {lacking!r}", name=lacking))
    assert explained is not None
    assert f"transformers here has no {lacking}" in explained.message
    assert explained.hint == install_extra("compress", upgrade=True)


def test_doctor_shows_the_runtimes_with_their_providers() -> None:
    values = json.loads(CliRunner().invoke(app, ["doctor", "--json"]).stdout)
    (runtime,) = [row for row in values["runtimes"] if row["name"].startswith("onnxruntime")]
    assert "CPUExecutionProvider" in runtime["providers"]


def test_every_extra_that_doctor_knows_is_one_that_pip_knows() -> None:
    from importlib.metadata import metadata

    assert set(doctor.EXTRAS) <= set(metadata("edgelm").get_all("Provides-Extra") or ())
