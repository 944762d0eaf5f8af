"""Signatures are asked of every bundle that a command opens: of one that talks, and of a draft that guesses for it."""

import shutil

import pytest
from generator_bundles import add_golden, make_generator_bundle
from typer.testing import CliRunner

from edgelm.bundles.keys import make_keys
from edgelm.bundles.sign import sign
from edgelm.cli.main import app
from edgelm.runtime.generation.golden import GenerationGolden

pytest.importorskip("cryptography", reason="signatures are checked by the extra `sign`")
TEMPLATE = "{% for message in messages %}{{ message['content'] }} {% endfor %}"


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    """A signed bundle, the same without a signature, and keys."""
    folder = tmp_path_factory.mktemp("writers")
    plain = make_generator_bundle(folder / "plain", "llama", chat_template=TEMPLATE)
    add_golden(plain, GenerationGolden([], tolerance=0.0))  # which nobody replays here
    keys = make_keys(folder / "maker")
    signed = shutil.copytree(plain, folder / "signed")
    sign(signed, key=keys.private)
    return signed, plain, keys


def call(*words):
    done = CliRunner().invoke(app, [str(word) for word in words], input="a word\n")
    return done.exit_code, done.output


def test_a_bundle_that_writes_is_checked_with_its_draft(bundles):
    signed, plain, keys = bundles
    asked = ("--max-new-tokens", 2, "--key", keys.public)
    for command in (("run", "a word"), ("chat",)):
        words = (command[0], signed, *command[1:], *asked)
        assert call(*words)[0] == 0
        assert call(*words, "--draft", signed)[0] == 0
        for refused in ((command[0], plain, *command[1:], *asked), (*words, "--draft", plain)):
            code, output = call(*refused)
            assert (code, "is not signed" in output) == (4, True), output
