"""A stranger's run and search in a real JupyterLab, then as files and as a notebook that is only read: nothing runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from views.hostile import TEXTS
from views.test_browser import ask, figure, lab, page  # noqa: F401
from views.test_hostile import squeezed

pytestmark = [pytest.mark.browser, pytest.mark.slow]
TEXT = " ".join(text for name, text in TEXTS.items() if name not in ("control", "lines"))
CELLS = [
    f"""
import os, sys
sys.path.insert(0, "tests")
import ip2lab
from ip2lab import records, views
from views.hostile import drawn, hostile_run, hostile_search
text = {TEXT!r}
hostile_run(text, "stored.zarr")
records.searches.write_search(hostile_search(text), "stored.json")
run, search = ip2lab.open_run("stored.zarr"), records.open_search("stored.json")
learning = views.LearningExplorer({{text: run, text + " 2": run}})
learning.state = {{"fit": True, "beside": "model"}}
learning""",
    'neurons = views.NeuronExplorer(run)\nneurons.state = {"colour": "selectivity stimulus"}\nneurons',
    """
population = views.PopulationExplorer(run)
population.state = {"panels": [panel.title for panel in population.PANELS], "by": "stimulus"}
population""",
    "plasticity = views.PlasticityExplorer({text: search, text + ' 2': search})\nplasticity",
    """
from ip2lab import training
def train(*_, **__):
    raise ValueError(text)
training.train = train
live = views.LiveTraining("association")
live.runs[text] = run
live.start()
live""",
    """
from IPython.display import display
from types import SimpleNamespace
from ip2lab.training import runtime
display(run, search, run["activity"]["stimulus"])
with runtime.reporter(SimpleNamespace(model=text, parameters=1, problems=2, problem=1), True):
    pass
import xarray as xr
series = xr.Dataset({"trials_to_criterion": ("problem", [5.0] * 200)}, {"problem": range(200)})
everything = {text: views.plots.learning_curves({text: series, text + " 2": series})}
everything |= {f"{name} {text}": one for name, one in drawn(text).items() if name in ("bars", "matrix", "over_time")}
show = views.show(everything)
pages = [one.export(f"{i}.html") for i, one in enumerate((show, learning, plasticity))]
views.show(views.plots.bars({text: 1.0, text[:60]: 2.0}, text), text).export("print.svg")
show""",
]
OURS = 'img[src="x"], [onerror], [onload], iframe[srcdoc], a[href^="javascript"], .jupyter-widgets mjx-container'


def check(page: Any) -> None:  # noqa: F811
    assert page.evaluate("window.__ran ?? null") is None
    assert page.locator(OURS).count() == 0
    assert page.outside == []


def test_nothing_runs_and_labels_are_words(page: Any) -> None:  # noqa: F811
    page.wait_for_timeout(1500)  # panels that are drawn later, pictures that would fail to load
    check(page)
    for index in range(len(CELLS)):
        assert squeezed(TEXT) in squeezed(page.locator(".jp-Cell-outputWrapper").nth(index).text_content())
    captions = " ".join(page.locator(".ip2lab-caption").all_text_contents()).replace(TEXTS["entities"], "")
    assert not [sign for sign in ("&lt;", "&amp;", "&#", "&nbsp;", "<b>") if sign in captions]
    assert page.said == []


def test_nothing_runs_in_what_appears_under_the_pointer(page: Any) -> None:  # noqa: F811
    plot = figure(page, len(CELLS) - 1).locator(".ip2lab-plot").first
    plot.evaluate("node => node.scrollIntoView({block: 'center'})")
    box = plot.bounding_box()
    for step in range(int(box["height"]) // 2):
        page.mouse.move(box["x"] + 0.55 * box["width"], box["y"] + 2 * step)
        if page.locator(".bk-Tooltip:visible").count():
            break
    page.wait_for_timeout(200)
    found = page.locator(".bk-Tooltip").evaluate_all(
        "nodes => nodes.map(n => (n.shadowRoot ?? n).textContent).join(' ')"
    )
    assert squeezed(TEXT) in squeezed(found)
    check(page)


def test_nothing_runs_in_files(page: Any, browser: Any) -> None:  # noqa: F811
    folder = Path(ask(page, "os.getcwd()").strip("'"))
    for name in (*(f"{i}.html" for i in range(3)), "print.svg"):
        other = browser.new_page(viewport={"width": 1200, "height": 1600})
        other.outside, said = [], []
        other.on(
            "request",
            lambda r, to=other.outside: None if r.url.startswith(("file:", "data:", "blob:")) else to.append(r.url),
        )
        other.on("pageerror", lambda error, to=said: to.append(str(error)))
        other.goto((folder / name).as_uri())
        if name.endswith("html"):
            other.locator(".bk-Figure").first.wait_for(timeout=60_000)
        other.wait_for_timeout(300)
        check(other)
        assert said == []
        other.close()


def test_nothing_runs_in_a_notebook_that_is_only_read(page: Any, browser: Any, lab: str) -> None:  # noqa: F811
    page.evaluate("window.jupyterapp.commands.execute('docmanager:save')")
    page.wait_for_function("!window.jupyterapp.shell.currentWidget.context.model.dirty", timeout=20_000)
    page.evaluate("window.jupyterapp.serviceManager.sessions.shutdownAll()")
    other = browser.new_page(viewport={"width": 1440, "height": 3600})
    other.outside = []
    local = (lab, lab.replace("http", "ws"), "data:", "blob:")
    other.on("request", lambda r: None if r.url.startswith(local) else other.outside.append(r.url))
    other.goto(f"{lab}/lab/workspaces/read/tree/explore.ipynb", wait_until="domcontentloaded")
    other.locator(".xr-wrap").first.wait_for(state="attached", timeout=60_000)
    other.wait_for_timeout(1500)
    check(other)
    other.close()
