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
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
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
        for i, c in enumerate(request.module.CELLS)
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
    settings = folder / ".settings" / "@jupyterlab" / "notebook-extension"
    settings.mkdir(parents=True)
    (settings / "tracker.jupyterlab-settings").write_text('{"windowingMode": "none"}')  # all cells stay on the page
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JUPYTERLAB_SETTINGS_DIR": str(folder / ".settings")}
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
def page(request: pytest.FixtureRequest, browser: Any, lab: str) -> Iterator[Any]:
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
    drawn = f"document.querySelectorAll('.ip2lab-figure').length === {len(request.module.CELLS)}"
    page.wait_for_function(drawn, timeout=60_000)
    yield page
    page.close()


def figure(page: Any, index: int) -> Any:
    return page.locator(".ip2lab-figure").nth(index)


def caption(page: Any, index: int, panel: int, text: str) -> None:
    """Wait until a caption says `text`."""
    found = f"document.querySelectorAll('.ip2lab-figure')[{index}].querySelectorAll('.ip2lab-caption')[{panel}]"
    selector = f"{found}.textContent.includes({text!r})"
    page.wait_for_function(selector, timeout=20_000)


def ask(page: Any, code: str) -> str:
    """Evaluate an expression in the kernel; its repr."""
    return page.evaluate(
        """async text => {
          const kernel = window.jupyterapp.shell.currentWidget.context.sessionContext.session.kernel;
          const reply = await kernel.requestExecute({code: '', user_expressions: {found: text}}).done;
          return reply.content.user_expressions.found.data['text/plain'] }""",
        code,
    )


def test_everything_is_drawn_and_nothing_is_asked_for(page: Any) -> None:
    for index in range(4):
        shown = figure(page, index).locator(".ip2lab-panel:visible")
        assert shown.count() >= 3
        for i in range(shown.count()):
            assert shown.nth(i).locator(".bk-Figure").count() == 1
    assert page.outside == []
    assert page.said == []


def test_the_page_loads_bokeh_once(page: Any) -> None:
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


def test_a_lasso_selects_neurons_in_all_pictures(page: Any) -> None:
    plot = figure(page, 2).locator(".ip2lab-panel").nth(2).locator(".ip2lab-plot")
    plot.evaluate("node => node.scrollIntoView({block: 'center'})")
    page.wait_for_timeout(1000)
    box = plot.bounding_box()
    across, down = box["width"], box["height"]
    page.mouse.move(box["x"] + 0.5 * across, box["y"] + 0.97 * down)
    page.mouse.down()  # beside the axes: no lasso, and nothing is broken by it
    page.mouse.move(box["x"] + 0.5 * across, box["y"] + 0.5 * down, steps=4)
    page.mouse.up()
    page.mouse.move(box["x"] + 0.2 * across, box["y"] + 0.2 * down, steps=4)
    page.mouse.down()
    for x, y in ((0.95, 0.2), (0.95, 0.8), (0.2, 0.8)):
        page.mouse.move(box["x"] + x * across, box["y"] + y * down, steps=6)
        page.wait_for_timeout(100)
    page.mouse.up()
    for index in (2, 3):
        caption(page, index, 1, "neurons selected")
        caption(page, index, 4, "selected neurons")
    assert len(ask(page, "population.state['selected']")) > len("[]")


def test_a_name_in_the_legend_hides_its_condition(page: Any) -> None:
    figure(page, 2).locator(".ip2lab-keys button").first.click()
    page.wait_for_function(
        "document.querySelectorAll('.ip2lab-figure')[3].querySelector('.ip2lab-off') !== null", timeout=20_000
    )
    assert ask(page, "population.state['hidden']") == "[0]"


def test_arrows_and_escape_on_the_figure(page: Any) -> None:
    before = int(ask(page, "population.state['problem']"))
    figure(page, 2).focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Escape")
    caption(page, 2, 0, f"in problem {before + 1}")
    caption(page, 3, 4, "all neurons")


def test_a_state_that_is_set_is_shown_and_panels_come_and_go(page: Any) -> None:
    word = ask(page, "population.state_text").strip("'")
    ask(page, "setattr(population, 'state', {'problem': 5, 'panels': ['raster', 'angles'], 'hidden': []})")
    caption(page, 2, 1, "in problem 5")
    assert figure(page, 2).locator(".ip2lab-panel:visible").count() == 2
    page.get_by_role("button", name="dimensions", exact=True).first.click()
    caption(page, 3, 6, "Participation ratio")
    ask(page, f"setattr(population, 'state', {word!r})")
    assert ask(page, "population.state_text").strip("'") == word


def test_the_same_notebook_opened_twice(page: Any, browser: Any, lab: str) -> None:
    page.evaluate("window.jupyterapp.commands.execute('docmanager:save')")
    page.wait_for_function("!window.jupyterapp.shell.currentWidget.context.model.dirty", timeout=20_000)
    other = browser.new_page(viewport={"width": 1440, "height": 3600})
    other.goto(f"{lab}/lab/workspaces/other/tree/explore.ipynb", wait_until="domcontentloaded")
    other.locator(".ip2lab-figure .bk-Figure").nth(8).wait_for(timeout=60_000)
    ask(page, "setattr(population, 'state', {'problem': 8})")
    for each in (page, other):
        caption(each, 2, 0, "in problem 8")
    other.close()


def test_the_page_has_logged_no_error_and_requested_nothing_outside(page: Any) -> None:
    assert page.said == []
    assert page.outside == []


def test_a_lost_kernel_shows_a_message(page: Any) -> None:
    page.evaluate("window.jupyterapp.shell.currentWidget.context.sessionContext.session.kernel.restart()")
    page.wait_for_function(
        """[...document.querySelectorAll('.ip2lab-figure')].every(
             f => getComputedStyle(f, '::before').content.includes('run the cell again'))""",
        timeout=60_000,
    )
