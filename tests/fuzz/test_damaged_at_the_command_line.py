"""The same by the commands: an exit code that is documented, and words in the place of a traceback."""

import json
import shutil

import pytest
from bundles import make_bundle, reseal
from fuzzing import damaged_bytes, damaged_json, inputs
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from edgelm.cli.main import app
from edgelm.files.shipped import find_file

pytestmark = pytest.mark.fuzz


def refused_in_words(*arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code in (0, 4), result.output
    assert "Traceback" not in result.output
    assert "defect" not in result.output
    assert "\x1b" not in result.output


def test_a_bundle(tmp_path, request):
    whole = make_bundle(tmp_path / "whole")
    shutil.rmtree(whole / "runtime")
    values = json.loads((reseal(whole) / "manifest.json").read_text())

    @inputs(request, 0.2)
    @given(
        text=damaged_json(values),
        command=st.sampled_from([["verify"], ["inspect"], ["run", "a film"], ["verify", "--json"]]),
    )
    def hammer(text, command):
        (whole / "manifest.json").write_bytes(text)
        refused_in_words(command[0], whole, *command[1:])

    hammer()


@pytest.mark.parametrize(("kind", "name"), [("recipes", "compact"), ("devices", "jetson-orin-nano")])
def test_a_file_of_settings(tmp_path, request, kind, name):
    text = find_file(name, kind).read_bytes()

    @inputs(request, 0.1)
    @given(damaged=damaged_bytes(text))
    def hammer(damaged):
        (tmp_path / "mine.yaml").write_bytes(damaged)
        refused_in_words(kind, "validate", tmp_path / "mine.yaml")

    hammer()
