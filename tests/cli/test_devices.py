"""`edgelm devices` and `edgelm recipes`: list, show, validate, copy; detect."""

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from edgelm.cli.main import app
from edgelm.errors import install_extra
from edgelm.files.shipped import shipped_folder, shipped_names

GROUPS = [("devices", "cpu"), ("recipes", "balanced")]


def edgelm(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


@pytest.mark.parametrize(("kind", "name"), GROUPS)
def test_list_shows_every_shipped_file(kind, name) -> None:
    rows = json.loads(edgelm(kind, "list", "--json").stdout)[kind]
    assert [row["name"] for row in rows] == shipped_names(kind)
    shown = edgelm(kind, "list").stdout
    assert all(each in shown for each in shipped_names(kind))


@pytest.mark.parametrize(("kind", "name"), GROUPS)
def test_show_prints_the_file_as_it_is(kind, name) -> None:
    text = (shipped_folder(kind) / f"{name}.yaml").read_text(encoding="utf-8")
    assert edgelm(kind, "show", name).stdout == text
    assert json.loads(edgelm(kind, "show", name, "--json").stdout)["name"] == name


@pytest.mark.parametrize(("kind", "name"), GROUPS)
def test_a_copy_is_the_same_file_and_valid(kind, name, tmp_path: Path) -> None:
    target = tmp_path / "mine.yaml"
    assert edgelm(kind, "copy", name, str(target)).exit_code == 0
    assert target.read_bytes() == (shipped_folder(kind) / f"{name}.yaml").read_bytes()
    checked = edgelm(kind, "validate", str(target), "--json")
    assert checked.exit_code == 0
    assert json.loads(checked.stdout)["ok"] is True


@pytest.mark.parametrize(("kind", "name"), GROUPS)
def test_copy_replaces_a_file_only_when_asked(kind, name, tmp_path: Path) -> None:
    target = tmp_path / "mine.yaml"
    target.write_text("my work")
    refused = edgelm(kind, "copy", name, str(target))
    assert refused.exit_code == 2
    assert "--overwrite" in refused.stderr
    assert target.read_text() == "my work"
    assert edgelm(kind, "copy", name, str(target), "--overwrite").exit_code == 0
    assert target.read_text() != "my work"


@pytest.mark.parametrize(("kind", "name"), GROUPS)
def test_validate_refuses_an_unknown_key_with_its_line(kind, name, tmp_path: Path) -> None:
    target = tmp_path / "mine.yaml"
    text = (shipped_folder(kind) / f"{name}.yaml").read_text(encoding="utf-8")
    target.write_text(text.rstrip("\n") + "\nspeed_up: yes\n")
    refused = edgelm(kind, "validate", str(target))
    assert refused.exit_code == 4
    assert f"mine.yaml:{len(target.read_text().splitlines())}: unknown key 'speed_up'" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_validate_names_a_value_deep_in_a_recipe(tmp_path: Path) -> None:
    target = tmp_path / "mine.yaml"
    lines = (shipped_folder("recipes") / "balanced.yaml").read_text(encoding="utf-8").splitlines()
    where = next(index for index, line in enumerate(lines) if "keep_heads:" in line)
    lines[where] = "    keep_heads: 1.5"
    target.write_text("\n".join(lines))
    refused = edgelm("recipes", "validate", str(target))
    assert refused.exit_code == 4
    assert f"mine.yaml:{where + 1}: stages[0].keep_heads is 1.5" in refused.stderr


@pytest.mark.parametrize(("kind", "name"), GROUPS)
@pytest.mark.parametrize("verb", ["show", "copy", "validate"])
def test_an_unknown_name_is_answered_with_the_known_ones(kind, name, verb, tmp_path: Path) -> None:
    target = [str(tmp_path / "mine.yaml")] if verb == "copy" else []
    refused = edgelm(kind, verb, "abacus", *target)
    assert refused.exit_code == 2
    assert "abacus" in refused.stderr
    assert name in refused.stderr
    assert not (tmp_path / "mine.yaml").exists()


def test_detect_writes_a_valid_device_and_says_what_it_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgelm.hardware.peak_rates.SECONDS", 0.0)
    monkeypatch.setattr("edgelm.hardware.peak_rates.SIZE", 64)
    monkeypatch.setattr("edgelm.hardware.detect.copy_mb", lambda memory_gb: 4)
    target = tmp_path / "mine.yaml"
    shown = edgelm("devices", "detect", str(target))
    assert shown.exit_code == 0, shown.output
    assert "GB/s, measured" in shown.stdout
    assert f"edgelm devices show {target}" in shown.stdout
    assert edgelm("devices", "validate", str(target)).exit_code == 0
    refused = edgelm("devices", "detect", str(target))
    assert refused.exit_code == 2
    assert "--overwrite" in refused.stderr
    again = edgelm("devices", "detect", str(target), "--overwrite", "--json")
    values = json.loads(again.stdout)
    assert values["path"] == str(target)
    assert values["device"]["name"] == "mine"
    assert values["device"]["sources"]["compute"].startswith("measured by")


def test_detect_of_a_gpu_needs_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    refused = edgelm("devices", "detect", str(tmp_path / "card.yaml"), "--gpu", "0")
    assert refused.exit_code == 1
    assert install_extra("gpu") in refused.stderr
    assert "Traceback" not in refused.stderr
