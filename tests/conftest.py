"""What all tests share: how hypothesis draws, where Jupyter writes, and a browser."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import settings

# No deadlines: a loaded machine is no failure. The same examples at every run; `make nightly` draws fresh ones.
settings.register_profile("default", deadline=None, derandomize=True)
settings.register_profile("nightly", deadline=None, max_examples=1000)
settings.load_profile("default")


@pytest.fixture
def note(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Return a function that keeps a figure for the end of the tests: what a promise was measured to be."""
    return lambda figure: request.node.user_properties.append(("figure", f"{request.node.name}: {figure}"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures, those of other processes too."""
    ended = [report for reports in terminalreporter.stats.values() for report in reports]
    figures = [
        value
        for report in ended
        if getattr(report, "when", "") == "call"
        for name, value in report.user_properties
        if name == "figure"
    ]
    if figures:
        terminalreporter.section("figures")
    for figure in figures:
        terminalreporter.write_line(figure)


@pytest.fixture(scope="session", autouse=True)
def _jupyter_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Jupyter and IPython read no settings of the user's and write none."""
    home = tmp_path_factory.mktemp("jupyter")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
            patch.setenv(name, str(home / name.lower()))
        patch.setenv("JUPYTER_PREFER_ENV_PATH", "1")
        yield


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Return Playwright's handle on the Chromium that is installed; skip, saying so, where there is none."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("no Chromium found: install chromium (Debian: apt-get install chromium) or Google Chrome")
    from playwright.sync_api import sync_playwright

    quiet = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    with sync_playwright() as playwright:
        handle = playwright.chromium.launch(executable_path=chromium, args=quiet)
        yield handle
        handle.close()
