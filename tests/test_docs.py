"""The documentation: every block of code runs and prints what the page says, the site builds without a warning."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import run_pages

ROOT = Path(__file__).parents[1]
WITH_CODE = [page for page in run_pages.PAGES if run_pages.blocks(page)]


@pytest.mark.slow
@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: page.stem)
def test_code_of_a_page_runs_and_prints_what_it_says(page: Path) -> None:
    for printed, (code, said) in zip(run_pages.run(page), run_pages.blocks(page), strict=True):
        assert said in (None, printed), f"run `python tools/run_pages.py {page.relative_to(ROOT)}` after {code}"


def test_a_page_that_says_something_else_is_told(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\nprint(1)\n```\n\n```text\n2\n```\n\nwords\n\n```python\nprint(3)\n```\n")
    assert run_pages.blocks(page) == [("print(1)\n", "2\n"), ("print(3)\n", None)]
    assert run_pages.run(page) == ["1\n", "3\n"]
    run_pages.write(page)
    assert run_pages.blocks(page)[0] == ("print(1)\n", "1\n")
    page.write_text("```python\nimport nothing_of_this_name\n```\n")
    with pytest.raises(RuntimeError, match="No module named 'nothing_of_this_name'"):
        run_pages.run(page)


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_asks_for_nothing_outside(tmp_path: Path) -> None:
    pytest.importorskip("myst_nb", reason="myst-nb is not installed: pip install '.[docs]'")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-d", str(tmp_path / "doctrees"), "docs"]
    done = subprocess.run([*command, str(tmp_path / "html")], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    pages = [page.read_text() for page in (tmp_path / "html").rglob("*.html")]
    loaded = [
        url for page in pages for url in re.findall(r"<(?:script|img|link)[^>]+(?:src|href)=\"(https?:[^\"]+)", page)
    ]
    assert not loaded
