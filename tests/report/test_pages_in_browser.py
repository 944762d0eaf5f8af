"""Pages in a real browser: axe-core finds nothing, nothing is wider than the page, nothing fails meanwhile."""

from __future__ import annotations

import html
import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from bundles import make_bundle
from report_material import a_profile, rows_file
from typer.testing import CliRunner

from edgelm.cli.main import app
from edgelm.report import render_front, render_html
from edgelm.report.gather import describe_bundle
from edgelm.search.result import SearchResult, Trial, front_of

pytestmark = pytest.mark.browser
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
RUN = """
addEventListener("error", event => { window.failed = String(event.message) });
addEventListener("load", async () => {
  const found = await axe.run(document, {runOnly: RULES});
  const ends = [...document.querySelectorAll("body *:not(.scroll *):not(svg *)")].map(each => [
    Math.ceil(each.getBoundingClientRect().right), each.tagName]);
  const said = {
    violations: found.violations.map(each => [each.id, each.nodes[0].html]),
    wide: ends.filter(([end]) => end > WIDTH),
    failed: window.failed || "",
  };
  document.title = "FOUND" + JSON.stringify(said);
});
"""
TRIALS = (
    Trial(0, "balanced", (), "finished", 0.9, 4.0, 20.0, parameters=1000),
    Trial(1, "fastest", ("prune.keep_ffn=0.5",), "finished", 0.89, 1.0, 9.0, parameters=1000),
    Trial(2, "fastest", (), "finished", 0.88, 4.0, 21.0, parameters=1000),
)
QUESTION = {"precision": "int8", "device": {"name": "cpu"}, "machine": "A CPU", "threads": 2, "train_share": 1.0}


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """One of each kind."""
    folder = tmp_path_factory.mktemp("pages")
    bundle = make_bundle(folder / "b")
    page = folder / "report.html"
    done = CliRunner().invoke(app, ["report", str(bundle), "--data", str(rows_file(folder)), "--html", str(page)])
    assert done.exit_code == 0, done.output
    profile = a_profile("b", "bundle", 1.0, describe_bundle(bundle, replay=False), size_mb=1.0).to_dict()
    search = SearchResult("build/search", QUESTION, "accuracy", TRIALS, front_of(TRIALS), "trials", 1.0)
    return {
        "report": page.read_text(),
        "front": render_front(search.to_dict()),
        "profile": render_html([profile]),
        "chinese": render_html([profile], language="zh"),
    }


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("kind", ["report", "front", "profile", "chinese"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(pages, kind, width, scheme, tmp_path):
    axe = Path(os.environ["EDGELM_AXE"]).read_text(encoding="utf-8")
    text = pages[kind]
    if scheme == "dark":
        text = text.replace("(prefers-color-scheme: dark)", "all")
    run = RUN.replace("RULES", json.dumps(RULES)).replace("WIDTH", str(width))
    script = "<script>" + (axe + run).replace("</script", "<\\/script") + "</script></body>"
    frame = tmp_path / "page.html"
    # a window without a screen has a least width, so a narrow page is a narrow element
    narrow = f"<style>html {{ width: {width}px; }}</style></head>"
    frame.write_text(text.replace("</head>", narrow).replace("</body>", script), encoding="utf-8")
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--virtual-time-budget=60000",
        f"--window-size={width},900",
    ]
    made = subprocess.run(
        [os.environ["EDGELM_CHROMIUM"], *options, "--dump-dom", frame.as_uri()],
        capture_output=True,
        text=True,
        timeout=240,
    )
    found = re.search(r"<title>FOUND(.*?)</title>", made.stdout, flags=re.DOTALL)
    assert found is not None, made.stderr[-500:]
    said = json.loads(html.unescape(found[1]))
    assert said == {"violations": [], "wide": [], "failed": ""}
