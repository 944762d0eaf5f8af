"""Reports in Chinese: every word of a page has one, places stay what they are, and all else is as in English."""

import ast
import re
from collections import Counter
from pathlib import Path
from string import Formatter

import pytest
from bundles import make_bundle
from pages import check_page
from report_material import a_profile, rows_file, write_profiles
from typer.testing import CliRunner

import edgelm
from edgelm.cli.main import app
from edgelm.device import load_device
from edgelm.hardware.busy import Busy
from edgelm.profile.doubts import with_ratios
from edgelm.profile.estimate import estimate_all
from edgelm.profile.generation.estimate import PROVENANCE
from edgelm.report import render_front, render_html
from edgelm.report.estimates import estimates_html
from edgelm.report.glossary import GLOSSARY
from edgelm.report.headline import case_words
from edgelm.report.language import catalogue, speaking, told, tr
from edgelm.runtime import open_bundle

PACKAGE = Path(edgelm.__file__).parent
CHINESE = re.compile("[\u4e00-\u9fff]")
SENTENCE = re.compile(r"[a-z]{3,} [a-z]{2,} [a-z]{2,}")  # three English words in a row
# names, and what stays in every language: metrics, units, kinds, what the machine is
KEPT = frozenset(
    re.findall(
        r"\S+",
        """small teacher front accuracy edgelm search report profile json jsonl PyTorch FFN ECE CPU Linux Python MatMul
        kWh UTC INT data test tiny text classification int cpu avx layer price per hour balanced Raspberry
        raspberry csv""",
    )
)
ELSEWHERE = {"encoder", "decoder", "Measured", "Estimated"}  # what stacks of layers are called; sources, capitalized


def said_by(path: Path) -> set[str]:
    """What a file gives to `tr` and `tr_all` as it stands there."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".html":
        return set(re.findall(r'tr\("([^"]*)"', text))
    calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    given = [word for call in calls if getattr(call.func, "id", "") in ("tr", "tr_all") for word in call.args]
    given += [side for word in given if isinstance(word, ast.IfExp) for side in (word.body, word.orelse)]
    return {word.value for word in given if isinstance(word, ast.Constant)}


def strings(path: Path) -> set[str]:
    """Every string of a file."""
    found = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return {node.value for node in found if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def places(text: str) -> Counter:
    return Counter((name, form) for _, name, form, _ in Formatter().parse(text) if name is not None)


def test_every_text_of_a_page_has_chinese_and_no_other_text_has():
    words = catalogue("zh")["words"]
    files = [*PACKAGE.joinpath("report").rglob("*.py"), *PACKAGE.joinpath("report/templates").glob("*.html")]
    said = set().union(*map(said_by, files), GLOSSARY, GLOSSARY.values())
    assert len(said) > 250
    assert not said - set(words)
    given = [file for room in ("report", "cards") for file in PACKAGE.joinpath(room).glob("*.py")]
    assert set(words) - said.union(*map(strings, given)) == ELSEWHERE


@pytest.mark.parametrize("part", ["words", "told"])
def test_the_places_of_a_text_are_those_of_its_chinese(part):
    for english, chinese in catalogue("zh")[part].items():
        assert places(english) == places(chinese), english


def test_sentences_that_files_hold_are_found_again_by_their_form():
    quiet, slowed = {"cores": 4, "load": 0.0, "before": 0.0, "during": 0.0}, {"slowed": 1, "mhz": (1000.0, 3000.0)}
    doubts = Busy(**quiet | {"before": 2.0, "stolen": 1.0} | slowed).warnings()
    doubts += Busy(cores=4, load=3.0, before=None).warnings()
    shapes = [{"batch": 1, "sequence": None}, {"batch": 1, "sequence": 8}, {"batch": 4, "sequence": 8}]
    shapes += [{"measure": "token", "tokens": 16}, {"measure": "first-token", "tokens": 16}]
    close = with_ratios(
        [a_profile("a", "bundle", 1.0, {}, size_mb=1.0), a_profile("b", "bundle", 1.0, {}, size_mb=1.0)]
    )
    reasons = [case.ratio.reason for case in close[0].cases]
    assert len(doubts) == 5
    assert all(reasons)
    with speaking("zh"):
        for sentence in (*doubts, *map(case_words, shapes), *reasons, PROVENANCE, "cpu, by onnxruntime"):
            assert CHINESE.search(told(sentence)), sentence
            assert not SENTENCE.search(told(sentence)), sentence
        assert told("dev: data/a, b.csv, 1,000 rows") == "开发集：data/a, b.csv，1,000 行"
        assert told("what nobody wrote here") == "what nobody wrote here"


def test_a_language_is_spoken_inside_its_block_alone():
    with pytest.raises(KeyError), speaking("zh"):
        assert tr("Speed") == "速度"
        raise KeyError
    assert tr("Speed") == "Speed"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """What `edgelm report` writes in both languages, of a bundle that was measured and of its rows."""
    folder = tmp_path_factory.mktemp("data")
    bundle = make_bundle(folder / "small.edge", precision="int8", device="cpu", name="small")
    original = make_bundle(folder / "teacher.edge", name="teacher")
    manifest = open_bundle(bundle).manifest.to_dict()
    measured = [
        a_profile("small", "bundle", 1.0, manifest, size_mb=2.0),
        a_profile("teacher", "pytorch", 5.0, {}, size_mb=8.0, seed=1),
    ]
    profiles = write_profiles(folder / "profile.json", *with_ratios(measured))
    words = [bundle, "--profile", profiles, "--data", rows_file(folder), "--original", original, "--price-per-hour", 2]
    words += ["--calls-per-day", 1_000_000, "--watts", 30, "--grid-intensity", 300]
    found = {}
    for language in ("zh", "en"):
        files = {name: folder / f"{language}.{name}" for name in ("html", "md", "json")}
        outputs = ["--html", files["html"], "--markdown", files["md"], "--output", files["json"]]
        done = CliRunner().invoke(app, ["report", *map(str, [*words, *outputs, "--language", language])])
        assert done.exit_code == 0, done.output
        found[language] = {name: file.read_text(encoding="utf-8") for name, file in files.items()}
    return found | {"profiles": [profile.to_dict() for profile in with_ratios(measured)], "bundle": bundle}


def english_left(text: str) -> list[str]:
    """What a page says in English, outside of code, of cells that hold data and of names."""
    page = check_page(text)
    for found in page.xpath("//pre | //style | //tbody | //*[@class='words']//td"):
        found.clear()
    said = [one for one in page.xpath("//text() | //@aria-label") if "system-ui" not in one]
    return [one for one in said if set(re.findall("[A-Za-z]{3,}", one)) - KEPT]


def test_a_report_is_chinese_but_for_names_and_figures(made):
    page = made["zh"]["html"]
    assert '<html lang="zh">' in page
    drawn = [label.get("style") for label in check_page(page).xpath("//*[local-name()='svg']//*[local-name()='text']")]
    assert drawn
    assert all("Noto Sans CJK SC" in style and "DejaVu" not in style for style in drawn)
    assert "DejaVu" not in made["en"]["html"]
    assert not english_left(page)
    first = page[page.index("<main>") : page.index("<h2")]
    for said in ("5.0 倍", "95 % 置信区间", "体积缩小为 teacher (PyTorch fp32) 的 1/", "测试集：", "个百分点"):
        assert said in first
    for said in ("## 压缩前后对比", "## 置信度校准", "模型包与原始模型相比", "拼写错误", "**ECE**：预期校准误差"):
        assert said in made["zh"]["md"].replace("**: ", "**：")


def test_the_figures_and_the_json_are_those_of_the_english_report(made):
    figures = re.compile(r"\d[\d.,]*\d")
    tables = {language: re.findall(r"<td[^>]*>([^<]*)</td>", made[language]["html"]) for language in ("zh", "en")}
    assert len(tables["zh"]) == len(tables["en"])
    for chinese, english in zip(tables["zh"], tables["en"], strict=True):
        assert Counter(figures.findall(chinese)) == Counter(figures.findall(english))
    told_at = re.compile(r'"created": "[^"]*"')
    assert told_at.sub("", made["zh"]["json"]) == told_at.sub("", made["en"]["json"])
    assert not CHINESE.search(made["en"]["html"])


def test_pages_of_profiles_estimates_and_searches_are_chinese(made):
    trial = {"number": 0, "state": "finished", "recipe": "balanced", "overrides": [], "quality": 0.9}
    trial |= {"latency_ms": 1.0, "size_mb": 2.0, "parameters": 1000}
    question = {"precision": "int8", "device": {"name": "cpu"}, "machine": "A CPU", "threads": 2, "train_share": 0.5}
    original = {"quality": 0.95, "latency_ms": 9.0, "size_mb": 9.0, "parameters": 2000, "error": ""}
    values = {"trials": [trial], "front": [0], "question": question, "metric": "accuracy", "original": original}
    estimates = [found.to_dict() for found in estimate_all(made["bundle"], [load_device("raspberry-pi-5")])]
    for page in (
        render_html(made["profiles"], language="zh"),
        render_front(values, language="zh"),
        estimates_html([entry | {"provenance": "8 graphs"} for entry in estimates], language="zh"),
    ):
        assert '<html lang="zh">' in page
        assert not english_left(page.replace("8 graphs", ""))


def test_another_language_is_refused_with_those_that_there_are(tmp_path):
    done = CliRunner().invoke(app, ["report", str(tmp_path), "--language", "fr"])
    assert done.exit_code == 2
    assert "zh" in done.output
