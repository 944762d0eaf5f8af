"""The documentation site is built whole, without a warning and without a network."""

import re
import subprocess
import sys

import pytest
from documented import REPOSITORY

pytest.importorskip("mkdocs", reason="the extra docs is not installed")


@pytest.mark.slow
def test_the_site_is_built_and_fetches_nothing(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > 40
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert not re.search(r'<(?:script|link|img|iframe)[^>]+(?:src|href)="(?:https?:)?//', text), page.name
    reference = (tmp_path / "site" / "reference" / "python.html").read_text(encoding="utf-8")
    assert 'id="edgelm.budgeting.compress.compress_to_budget"' in reference
