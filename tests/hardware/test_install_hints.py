"""What to install where a package is missing: it fits the command, the call and the way edgelm itself was installed."""

import sys
from pathlib import Path

import pytest
from graphs import make_graph
from typer.testing import CliRunner

import edgelm
from edgelm import errors
from edgelm.cli.main import app
from edgelm.errors import MissingExtraError, install_extra
from edgelm.hardware.doctor import explain_missing


@pytest.fixture
def wheel(monkeypatch, tmp_path):
    """An edgelm that lies in no clone."""
    monkeypatch.setattr(errors, "_HOME", tmp_path)


def lacking(name):
    return ModuleNotFoundError(f"No module named {name!r}", name=name)


def test_a_clone_is_installed_again_and_a_wheel_by_its_name(monkeypatch, tmp_path):
    clone = tmp_path / "my clone"
    clone.mkdir()
    (clone / "pyproject.toml").touch()
    monkeypatch.setattr(errors, "_HOME", clone)
    assert install_extra("compress", "gguf") == f"pip install -e '{clone}[compress,gguf]'"
    monkeypatch.setattr(errors, "_HOME", tmp_path)
    assert install_extra("compress") == "pip install 'edgelm[compress]'"
    assert install_extra("peft", upgrade=True) == "pip install --upgrade 'edgelm[peft]'"


def test_this_clone_is_told_from_a_wheel():
    assert install_extra("demo") == f"pip install -e '{Path(edgelm.__file__).parents[1]}[demo]'"


def test_the_hint_fits_the_command(wheel):
    found = explain_missing(lacking("onnx"), command="estimate")
    assert str(found) == "the package onnx is missing; `edgelm estimate` needs it.\npip install 'edgelm[compress]'"
    assert explain_missing(lacking("torch"), command="demo").hint == "pip install 'edgelm[demo]'"
    assert explain_missing(lacking("torch"), command="search").hint == "pip install 'edgelm[search]'"


def test_a_call_of_python_is_told_the_extra(wheel, monkeypatch):
    def fail(name):
        raise lacking("torch")

    monkeypatch.setattr(edgelm, "import_module", fail)
    with pytest.raises(MissingExtraError, match=r"torch is missing; edgelm\.finetune needs it") as refused:
        edgelm.finetune  # noqa: B018
    assert refused.value.hint == "pip install 'edgelm[compress]'"


def test_an_estimate_says_that_it_reads_the_graph_by_onnx(wheel, monkeypatch, tmp_path):
    import onnx

    path = tmp_path / "model.onnx"
    onnx.save(make_graph(), path)
    monkeypatch.setitem(sys.modules, "onnx", None)
    result = CliRunner().invoke(app, ["estimate", str(path), "--device", "jetson-orin-nano"])
    assert result.exit_code == 1
    assert "the package onnx is missing" in result.stderr
    assert "pip install 'edgelm[compress]'" in result.stderr


def test_the_command_line_names_the_command_that_runs(wheel, monkeypatch):
    import edgelm.hardware.doctor as doctor

    def fail():
        raise lacking("torch")

    monkeypatch.setattr(doctor, "examine", fail)
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 1
    assert "the package torch is missing; `edgelm doctor` needs it." in result.stderr
