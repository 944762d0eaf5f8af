"""What the documentation says can be typed, is where it says, and is what was measured."""

import ast
import re
import sys
from pathlib import Path

import pytest
import yaml
from documented import PAGES, REPOSITORY, commands, parse

from edgelm.cli.main import COMMANDS
from edgelm.files.shipped import shipped_names

sys.path.insert(0, str(REPOSITORY / "scripts"))
import site_pages

DOCS = REPOSITORY / "docs"
# Programs other than edgelm that a reader is told to call.
OTHERS = (
    "bash scripts/",
    "python ",
    "python3 ",
    "pip ",
    "cmake ",
    "scp ",
    "ssh ",
    "build/",
    "venv/bin/",
    "docker ",
    "EDGELM_",
)
MESSAGE = re.compile(r"^### `(.+)`$", re.MULTILINE)


def name_of(page: Path) -> str:
    return page.relative_to(REPOSITORY).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_can_be_typed(page):
    for line in commands(page):
        if parse(line) is None:
            assert line.startswith(OTHERS), line
            assert all((REPOSITORY / script).is_file() for script in re.findall(r"\bscripts/\S+", line)), line


def test_there_are_commands_to_look_at():
    assert sum(len(commands(page)) for page in PAGES) > 80


def anchors(page: Path) -> set[str]:
    """The places in a page that links may name: its headings, as GitHub and the site write them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\s-]", "", title).strip().lower().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_somewhere(page):
    for _, target in re.findall(r"(?<!!)\[([^\]]*)\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        place = (page.parent / path).resolve() if path else page
        made = place.is_relative_to(DOCS) and place.relative_to(DOCS).as_posix() in site_pages.MADE
        assert made or place.exists(), target
        assert made or not anchor or anchor in anchors(place), target


def test_every_page_is_in_the_navigation_once():
    found = re.findall(r"^\s+- (?:[^:\n]+: )?(\S+\.md)$|^  - (\S+\.md)$", (REPOSITORY / "mkdocs.yml").read_text(), re.M)
    listed = sorted(first or second for first, second in found)
    written = [page.relative_to(DOCS).as_posix() for page in PAGES if page.is_relative_to(DOCS)]
    elsewhere = [path for path in site_pages.ELSEWHERE.values() if path != "index.md"]
    assert listed == sorted([*written, *elsewhere, *site_pages.MADE])


def literals(file: Path) -> list[str]:
    """The strings of a module, `{}` where a value stands, the ends of lines and of pieces ignored."""
    found = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            found.append("".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(node.value)
    return found


def test_every_message_that_is_explained_is_one_that_edgelm_gives():
    sources = [text for file in sorted((REPOSITORY / "edgelm").rglob("*.py")) for text in literals(file)]
    messages = MESSAGE.findall((DOCS / "troubleshooting.md").read_text(encoding="utf-8"))
    assert len(messages) >= 30
    for message in messages:
        pieces = [re.escape(piece) for piece in message.split("...")]
        pattern = re.compile(".*".join(pieces), re.DOTALL)
        assert any(pattern.search(text) for text in sources), message


@pytest.mark.parametrize("page", [page for page in PAGES if "explanation" in page.parts], ids=name_of)
def test_every_figure_stands_in_the_benchmarks(page):
    """Figures with a decimal point, of the paragraphs that say what was measured, and of their tables."""
    benchmarks = (REPOSITORY / "benchmarks" / "README.md").read_text(encoding="utf-8")
    _, _, measured = page.read_text(encoding="utf-8").partition("**Measured.**")
    for figure in re.findall(r"(?<![\w.:/])\d+\.\d+(?![\w.]*\d)", measured):
        assert re.search(rf"(?<![\d.]){re.escape(figure)}(?!\d)", benchmarks), figure


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_benchmark_takes_what_is_given_to_it(page):
    for line in re.findall(r"`[^`]*python (benchmarks/[^`]*)`", page.read_text(encoding="utf-8")):
        script, *words = line.split()
        text = (REPOSITORY / script).read_text(encoding="utf-8")
        names = re.findall(r"^(?:from|import) (\w+)", text, re.MULTILINE)
        brought = [file for name in names if (file := REPOSITORY / "benchmarks" / f"{name}.py").is_file()]
        source = text + "".join(file.read_text(encoding="utf-8") for file in brought)
        assert [word for word in words if word.startswith("--") and f'"{word}"' not in source] == [], line


def test_the_reference_has_every_command_recipe_and_device():
    shown = site_pages.command_line()
    assert [name for name in COMMANDS if f"## edgelm {name}\n" not in shown] == []
    assert "| `--schedule` | one of `linear` `cosine` `constant`, `linear` |" in shown
    assert "| `--task` | one of `text-classification` `sentence-embedding` " in shown
    assert "| `--seed` | integer, `0` |" in shown
    listed = site_pages.recipes_and_devices()
    names = [*shipped_names("recipes"), *shipped_names("devices")]
    assert [name for name in names if f"| `{name}` |" not in listed] == []


def test_links_between_repository_and_site_stay_links():
    text = "[a](../benchmarks/README.md#budgets), [b](how-to/run.md), [c](../edgelm/errors.py), [d](https://x.org)"
    expected = "[a](reference/benchmarks.md#budgets), [b](how-to/run.md), c, [d](https://x.org)"
    assert site_pages.relinked(text, "docs/tutorial.md", "tutorial.md") == expected


def test_the_site_fetches_nothing_by_its_settings():
    settings = yaml.safe_load((REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8"))
    assert settings["theme"]["font"] is False
    assert not {"extra_javascript", "extra_css"} & set(settings)
