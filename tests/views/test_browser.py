"""Explorers in a real JupyterLab: they draw, follow the keys and the mouse, and ask nothing of any other machine."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.slow]
ROOT = Path(__file__).parents[2]
CELLS = [
    """
import sys
sys.path.insert(0, "tests")
from make_run import make_run
from ip2lab.views import LearningExplorer, NeuronExplorer, PopulationExplorer
run, other = (make_run(problems=14, neurons=12, steps=25, seed=seed) for seed in (0, 5))
learning = LearningExplorer({"one": run, "two": other})
learning""",
    "neurons = NeuronExplorer(run)\nneurons",
    "population = PopulationExplorer(run)\npopulation",
    "population",
]
READY = """() => { const w = window.jupyterapp.shell.currentWidget, cells = w.content.model.cells;
  for (let i = 0; i < cells.length; i++) if (!cells.get(i).executionCount) return false;
  return w.context.sessionContext.session.kernel.status === 'idle' }"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("lab")
    cells = [
        {
            "cell_type": "code",
            "id": f"c{i}",
            "execution_count": None,
            "metadata": {},
            "outputs": [],
            "source": c.strip(),
        }
        for i, c in enumerate(CELLS)
    ]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    (folder / "explore.ipynb").write_text(
        json.dumps({"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5})
    )
    (folder / "tests").symlink_to(ROOT / "tests")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--no-browser",
        "--ip=127.0.0.1",
        f"--port={port}",
        f"--ServerApp.root_dir={folder}",
        "--IdentityProvider.token=",
        "--allow-root",
        "--expose-app-in-browser",
        "--ServerApp.disable_check_xsrf=True",
        "--LabApp.news_url=",
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    server = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment, start_new_session=True
    )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(480):
            try:
                urllib.request.urlopen(f"{address}/api/status", timeout=2)
                break
            except OSError:
                time.sleep(0.25)
        yield address
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(20)


@pytest.fixture(scope="module")
def page(browser: Any, lab: str) -> Iterator[Any]:
    page = browser.new_page(viewport={"width": 1440, "height": 3600})
    page.said, page.outside = [], []
    page.on("console", lambda m: page.said.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda e: page.said.append(str(e)))
    local = (lab, lab.replace("http", "ws"), "data:", "blob:")
    page.on("request", lambda r: page.outside.append(r.url) if not r.url.startswith(local) else None)
    page.goto(f"{lab}/lab/tree/explore.ipynb?reset", wait_until="domcontentloaded")
    page.wait_for_function(
        "window.jupyterapp?.shell?.currentWidget?.context?.sessionContext?.session?.kernel?.status === 'idle'",
        timeout=120_000,
    )
    page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')")
    page.wait_for_function(READY, timeout=180_000)
    page.wait_for_function("document.querySelectorAll('.ip2lab-figure').length === 4", timeout=60_000)
    yield page
    page.close()


def figure(page: Any, index: int) -> Any:
    return page.locator(".ip2lab-figure").nth(index)


def caption(page: Any, index: int, panel: int, text: str) -> None:
    """Wait until a caption says `text`."""
    found = f"document.querySelectorAll('.ip2lab-figure')[{index}].querySelectorAll('.ip2lab-caption')[{panel}]"
    selector = f"{found}.textContent.includes({text!r})"
    page.wait_for_function(selector, timeout=20_000)


def test_everything_is_drawn_and_nothing_is_asked_for(page: Any) -> None:
    for index, panels in enumerate((3, 6, 4, 4)):
        assert figure(page, index).locator(".bk-Figure").count() == panels
    assert page.outside == []
    assert page.said == []


def test_bokeh_came_once(page: Any) -> None:
    assert page.evaluate("Object.keys(window.ip2labBokeh).length") == 1


def test_arrow_keys_move_the_slider_and_all_views(page: Any) -> None:
    cell = page.locator(".jp-OutputArea-child", has=page.locator(".ip2lab-figure")).nth(2)
    cell.locator(".noUi-handle").first.focus()
    page.keyboard.press("ArrowRight")
    for index in (2, 3):  # the same explorer shown twice
        caption(page, index, 0, "in problem 1")
        caption(page, index, 1, "in problem 1")


def test_a_click_into_the_curve_chooses_the_problem(page: Any) -> None:
    box = figure(page, 0).locator(".ip2lab-plot").first.bounding_box()
    page.mouse.click(box["x"] + 0.55 * box["width"], box["y"] + 0.5 * box["height"])
    page.wait_for_function(
        "!document.querySelectorAll('.ip2lab-caption')[1].textContent.includes('problem 0')", timeout=20_000
    )


def test_a_click_on_a_line_picks_a_neuron(page: Any) -> None:
    box = figure(page, 1).locator(".ip2lab-plot").first.bounding_box()
    page.mouse.click(box["x"] + 0.9 * box["width"], box["y"] + 0.15 * box["height"])
    page.wait_for_function(
        "!document.querySelectorAll('.ip2lab-figure')[1].textContent.includes('neuron 0:')", timeout=20_000
    )


def test_a_run_is_switched_off(page: Any) -> None:
    page.get_by_role("button", name="one", exact=True).first.click()
    page.wait_for_function(
        "!document.querySelectorAll('.ip2lab-caption')[1].textContent.includes(', ')", timeout=20_000
    )


def test_a_dropdown_changes_the_signal(page: Any) -> None:
    page.locator("select", has_text="membrane potential").first.select_option(label="membrane potential")
    caption(page, 2, 1, "Membrane potential")


def test_no_errors_in_the_end(page: Any) -> None:
    assert page.said == []
    assert page.outside == []


def test_a_lost_kernel_is_told(page: Any) -> None:
    page.evaluate("window.jupyterapp.shell.currentWidget.context.sessionContext.session.kernel.restart()")
    page.wait_for_function(
        """[...document.querySelectorAll('.ip2lab-figure')].every(
             f => getComputedStyle(f, '::before').content.includes('run the cell again'))""",
        timeout=60_000,
    )
