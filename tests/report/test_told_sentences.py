"""On a page in another language also the sentences of other parts are in it: what ran a model and why, and what
`edgelm verify` found."""

import ast
import re
from pathlib import Path

import pytest
from bundles import make_bundle
from pages import check_page
from typer.testing import CliRunner

import edgelm
from edgelm.cli.main import app
from edgelm.report.language import speaking, told
from edgelm.runtime.provider import Opened, Passed

RUNTIME = Path(edgelm.__file__).parent / "runtime"
# Whose sentences become a check's detail, or the reason why a provider was passed over.
HEARD = (
    "archive", "bundle", "contents", "cuda", "engine", "external_data", "file_checks", "golden", "model", "native",
    "plugin", "provider", "session", "tensor_check", "tensorrt", "verify", "answers/numbers", "answers/table",
    "generation/golden", "generation/loading", "inputs/text", "inputs/tokenizer_guard",
)  # fmt: skip
REASONS = ("misfit", "library_misfit", "_why_unlisted")  # functions that give one
CHINESE = re.compile("[\u4e00-\u9fff]")
SENTENCE = re.compile(r"[a-z]{3,} [a-z]{2,} [a-z]{2,}")  # three English words in a row


def example(node):
    """A string of the code with something in each of its places; None: it is not written there."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        parts = (
            part.value if isinstance(part, ast.Constant) else f"X{place}" for place, part in enumerate(node.values)
        )
        return "".join(map(str, parts))
    return None


def said(call):
    """What a call says, where it makes an error, a check or a reason."""
    name, named = getattr(call.func, "id", ""), {word.arg: word.value for word in call.keywords}
    if name in ("BundleError", "ResourceError"):
        return call.args[0]
    if name == "Passed":
        return call.args[1]
    return named.get("detail") if name == "Check" else None


def sentences(path):
    tree = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    for node in tree:
        found = said(node) if isinstance(node, ast.Call) else None
        if isinstance(node, ast.FunctionDef) and node.name in REASONS:
            yield from (example(part.value) for part in ast.walk(node) if isinstance(part, ast.Return))
        yield example(found)


def test_every_sentence_of_verify_and_of_providers_has_chinese():
    found = {text for name in HEARD for text in sentences(RUNTIME / f"{name}.py") if text}
    found = {text for text in found if re.search("[a-z]{3,}", text)}
    assert len(found) > 60
    with speaking("zh"):
        left = {text for text in found if not CHINESE.search(told(text)) or SENTENCE.search(told(text))}
    assert not left


def test_reasons_stand_in_the_language_of_the_sentence_around_them():
    passed = (
        Passed("tensorrt", "no engine fits: it was built by tensorrt 10.3, and 10.9 is installed"),
        Passed("native", "edgelm-native does not load (libx.so: no such file)"),
    )
    why = Opened(None, "cpu", None, passed).why
    assert told(why) == why
    with speaking("zh"):
        assert told(why) == (
            "cpu（由 onnxruntime 运行；未用 tensorrt：没有合适的引擎：它由 tensorrt 10.3 构建，而已安装的是 10.9；"
            "未用 native：edgelm-native 无法加载（libx.so: no such file））"
        )
        assert told("model.onnx: nobody wrote this.") == "model.onnx: nobody wrote this."


@pytest.mark.parametrize("spoil", ["golden.json", "model.onnx", "more.txt"])
def test_a_page_of_a_broken_bundle_says_what_is_wrong_in_its_language(tmp_path, spoil):
    bundle = make_bundle(tmp_path / "b.edge")
    (bundle / spoil).write_text("{}")
    page = tmp_path / "page.html"
    done = CliRunner().invoke(app, ["report", str(bundle), "--html", str(page), "--language", "zh"])
    assert done.exit_code == 0, done.output
    cells = [cell.text_content() for cell in check_page(page.read_text(encoding="utf-8")).iter("td")]
    assert any(words in cell for cell in cells for words in ("字节；清单中为", "清单中没有"))
    assert not [cell for cell in cells if SENTENCE.search(cell) and "edgelm " not in cell]
