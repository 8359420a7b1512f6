"""How fast pictures follow a hand, in a real JupyterLab in headless Chromium.

    python benchmarks/views.py [--moves 12]            # beside jupyter_bokeh
    python benchmarks/views.py --goals [--moves 12]    # the explorer of populations, on small and on large runs

The first opens three linked plots, drawn by our live figure and by jupyter_bokeh around the same HoloViews plots, and
moves two sliders with the arrow keys, in turn. It prints one JSON line: median (and largest) milliseconds from the key
press to the last thing drawn for each, and their ratio.

The second prints how long the explorer takes to appear (seconds from running its cell to the last thing drawn) on the
largest recorded run, how it follows the slider there, on a run of 1000 problems with 200 stored probe trials and on one
of 800 neurons (moves in turn), by how much the kernel's memory grows over 1000 moves, what was asked from outside this
machine, and what the page said.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

COMMON = """
import holoviews as hv, ipywidgets, numpy as np, xarray as xr
from ip2lab.views import plots
from ip2lab.views.widget.figure import Figure
rng = np.random.default_rng(0)
times = xr.DataArray(4.0 * np.arange(500), dims="time", attrs={"long_name": "time", "units": "ms"})
dims, words = ("problem", "time", "neuron"), {"long_name": "spikes"}
spikes = xr.DataArray(rng.random((32, 500, 256)) < 0.02, dims=dims, coords={"time": times}, attrs=words)
paths = rng.standard_normal((32, 4, 500, 2)).cumsum(2) / 30
coords = {"time": times, "condition": ("probe", [0, 1, 2, 3])}
scores = xr.DataArray(paths, dims=("problem", "probe", "time", "component"), coords=coords)
membrane = (("problem", "time"), rng.standard_normal((32, 500)), {"long_name": "membrane", "units": "1"})
trace = xr.Dataset({"membrane": membrane}, coords={"time": times})
def draw(k):
    moving = plots.trajectories(scores[k]).opts(backend="bokeh", xlim=(-3, 3), ylim=(-3, 3))
    return {"raster": plots.raster(spikes[k]), "trajectories": moving,
            "trace": plots.neuron_trace(trace.isel(problem=k), limits=(-4, 4))}
"""
OURS = """
ours = Figure(draw(0), '"raster trajectories" "raster trace" / minmax(0, 1fr) minmax(0, 1fr)', {"raster": "problem 0"})
slider = ipywidgets.IntSlider(0, 0, 31)
slider.observe(lambda c: ours.update({"raster": f"problem {c['new']}"}, **draw(c["new"])), "value")
ipywidgets.VBox([slider, ours])
"""
THEIRS = """
from bokeh.layouts import gridplot
from holoviews.streams import Pipe
from jupyter_bokeh.widgets import BokehModel
pipes = {name: Pipe(data=element) for name, element in draw(0).items()}
plots = [hv.renderer("bokeh").get_plot(hv.DynamicMap(lambda data: data, streams=[pipe])) for pipe in pipes.values()]
theirs = BokehModel(gridplot([[plots[0].state, plots[1].state], [None, plots[2].state]], sizing_mode="stretch_width"))
other = ipywidgets.IntSlider(0, 0, 31)
other.observe(lambda c: [pipes[name].send(element) for name, element in draw(c["new"]).items()], "value")
ipywidgets.VBox([other, theirs])
"""
HOOK = """
window.__drawn = [];
for (const f of ['fillText', 'drawImage', 'stroke', 'fill', 'fillRect', 'strokeRect', 'putImageData']) {
  const old = CanvasRenderingContext2D.prototype[f];
  CanvasRenderingContext2D.prototype[f] = function () {
    window.__drawn.push(performance.now()); return old.apply(this, arguments) };
}
document.addEventListener('keydown', () => { window.__key = performance.now(); window.__drawn = [] }, true);
"""
READY = """() => { const w = window.jupyterapp.shell.currentWidget; const cells = w.content.model.cells;
  for (let i = 0; i < cells.length; i++) if (cells.get(i).type === 'code' && !cells.get(i).executionCount) return false;
  return w.context.sessionContext.session.kernel.status === 'idle' }"""


SETUP = """
import sys
sys.path.insert(0, {tests!r})
from make_run import make_run
import ip2lab
from ip2lab import views
views.PopulationExplorer
kept = (0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610, 987)
many = make_run({folder!r} + "/many.zarr", problems=1000, neurons=100, steps=100, repeats=100, kept=kept)
wide = make_run({folder!r} + "/wide.zarr", problems=60, neurons=800, steps=100, kept=kept)
few = make_run({folder!r} + "/few.zarr", problems=60, neurons=100, steps=100, kept=kept)
shipped = ip2lab.example({largest!r})
"""
EXPLORERS = {"shipped": "shipped", "few": "few", "many": "many", "wide": "wide"}
RSS = "int(open('/proc/self/statm').read().split()[1]) * 4096"
RUN_CELL = """async index => {
  const w = window.jupyterapp.shell.currentWidget; w.content.activeCellIndex = index; window.__drawn = [];
  window.__key = performance.now(); await window.jupyterapp.commands.execute('notebook:run-cell') }"""
ASK = """async text => {
  const k = window.jupyterapp.shell.currentWidget.context.sessionContext.session.kernel;
  const reply = await k.requestExecute({code: '', user_expressions: {found: text}}).done;
  return reply.content.user_expressions.found.data['text/plain'] }"""


def notebook(*cells: str) -> str:
    """Return a notebook of code cells as JSON."""
    made = [
        {
            "cell_type": "code",
            "id": f"c{i}",
            "execution_count": None,
            "metadata": {},
            "outputs": [],
            "source": c.strip(),
        }
        for i, c in enumerate(cells)
    ]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return json.dumps({"cells": made, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5})


def lab(folder: Path) -> tuple[subprocess.Popen[bytes], str]:
    """Start JupyterLab in a folder; return it and its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    home = folder / ".jupyter"
    places = {
        name: str(home / name.lower())
        for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    }
    settings = home / "settings" / "@jupyterlab" / "notebook-extension"
    settings.mkdir(parents=True)
    (settings / "tracker.jupyterlab-settings").write_text('{"windowingMode": "none"}')  # all cells stay on the page
    places["JUPYTERLAB_SETTINGS_DIR"] = str(home / "settings")
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
    environment = {**os.environ, **places, "JUPYTER_PREFER_ENV_PATH": "1", "PYTHONPATH": str(Path(__file__).parents[1])}
    server = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment, start_new_session=True
    )
    address = f"http://127.0.0.1:{port}"
    for _ in range(240):
        try:
            urllib.request.urlopen(f"{address}/api/status", timeout=2)
            return server, address
        except OSError:
            time.sleep(0.25)
    raise SystemExit("JupyterLab did not start")


def open_notebook(page: Any, address: str, name: str, limit: int = 120_000) -> None:
    """Open a notebook, run all its cells and wait for the end."""
    page.goto(f"{address}/lab/tree/{name}?reset", wait_until="domcontentloaded")
    page.wait_for_selector(".jp-Notebook", timeout=120_000)
    page.wait_for_function(
        "window.jupyterapp?.shell?.currentWidget?.context?.sessionContext?.session?.kernel?.status === 'idle'",
        timeout=120_000,
    )
    page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')")
    page.wait_for_function(READY, timeout=limit)
    page.wait_for_timeout(3000)


def move(page: Any, handle: Any, wait: int = 1200, key: str = "ArrowRight") -> float:
    """Press an arrow on a slider; milliseconds to the last thing drawn."""
    handle.evaluate("node => node.scrollIntoView({block: 'start'})")
    page.wait_for_timeout(400)
    handle.focus()
    page.keyboard.press(key)
    page.wait_for_timeout(wait)
    pressed, drawn = page.evaluate("[window.__key, window.__drawn]")
    return float(drawn[-1] - pressed) if drawn else float("nan")


def paint(page: Any, address: str, folder: Path, moves: int) -> dict[str, Any]:
    """Three linked plots, ours and jupyter_bokeh's."""
    Path(folder, "paint.ipynb").write_text(notebook(COMMON, OURS, THEIRS))
    open_notebook(page, address, "paint.ipynb")
    handles = page.locator(".jp-OutputArea .noUi-handle")
    found: dict[str, list[float]] = {"ours": [], "jupyter_bokeh": []}
    for _ in range(moves):  # in turn, so that both see the same machine
        for i, name in enumerate(found):
            found[name].append(move(page, handles.nth(i)))
    report: dict[str, Any] = {
        name: {"median_ms": round(statistics.median(v)), "max_ms": round(max(v))} for name, v in found.items()
    }
    report["ratio"] = round(statistics.median(found["ours"]) / statistics.median(found["jupyter_bokeh"]), 3)
    return report


def largest() -> str:
    """The name of the recorded run that takes most room."""
    data = Path(__file__).parents[1] / "data"
    sizes = {p.stem: sum(f.stat().st_size for f in p.rglob("*") if f.is_file()) for p in data.glob("*.zarr")}
    return max(sizes, key=lambda name: sizes[name])


def goals(page: Any, address: str, folder: Path, moves: int) -> dict[str, Any]:
    """The explorer of populations on small and on large runs."""
    words = {"tests": str(Path(__file__).parents[1] / "tests"), "folder": str(folder), "largest": largest()}
    cells = [f"e_{name} = views.PopulationExplorer({run})\ne_{name}" for name, run in EXPLORERS.items()]
    Path(folder, "goals.ipynb").write_text(notebook(SETUP.format(**words)))
    open_notebook(page, address, "goals.ipynb", 600_000)
    report: dict[str, Any] = {"largest": words["largest"], "appears_s": {}, "moves_ms": {}}
    for name, cell in zip(EXPLORERS, cells, strict=True):
        page.evaluate("window.jupyterapp.commands.execute('notebook:insert-cell-below')")
        source = "text => window.jupyterapp.shell.currentWidget.content.activeCell.model.sharedModel.setSource(text)"
        page.evaluate(source, cell)
        count = page.locator(".ip2lab-figure").count()
        page.evaluate(RUN_CELL, page.evaluate("window.jupyterapp.shell.currentWidget.content.activeCellIndex"))
        page.wait_for_function(f"document.querySelectorAll('.ip2lab-figure').length > {count}", timeout=120_000)
        page.wait_for_timeout(3000)
        key, drawn = page.evaluate("[window.__key, window.__drawn]")
        report["appears_s"][name] = round((drawn[-1] - key) / 1000, 2)
    found: dict[str, list[float]] = {name: [] for name in EXPLORERS}
    outputs = page.locator(".jp-OutputArea-child", has=page.locator(".ip2lab-figure"))
    for turn in range(moves):
        for i, name in enumerate(EXPLORERS):
            right = turn % 2 == 0 or (turn % 6 < 3 and name != "shipped")  # mostly to problems not seen before
            key = "ArrowRight" if right else "ArrowLeft"
            found[name].append(move(page, outputs.nth(i).locator(".noUi-handle").first, key=key))
    report["moves_ms"] = {name: round(statistics.median(v)) for name, v in found.items()}
    print(json.dumps(report), file=sys.stderr)
    report["grown_mb"] = memory(page, outputs.nth(1).locator(".noUi-handle").first)
    return report


def memory(page: Any, handle: Any, moves: int = 1000) -> float:
    """Megabytes by which the kernel grows over many moves, after the first hundred; the page must answer in the end."""
    handle.focus()
    before = 0
    for n in range(moves + 100):
        page.keyboard.press("ArrowRight" if n // 12 % 2 == 0 else "ArrowLeft")
        if n == 100:
            before = int(page.evaluate(ASK, RSS))
    grown = int(page.evaluate(ASK, RSS)) - before
    page.wait_for_timeout(2000)
    move(page, handle)
    return round(grown / 1e6, 1)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moves", type=int, default=12)
    parser.add_argument("--goals", action="store_true")
    chosen = parser.parse_args()
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        server, address = lab(Path(folder))
        outside: list[str] = []
        said: list[str] = []
        local = (address, address.replace("http", "ws"), "data:", "blob:")
        try:
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
            )
            page = browser.new_page(viewport={"width": 1440, "height": 1000})
            page.on("console", lambda m: said.append(m.text) if m.type == "error" else None)
            page.on("pageerror", lambda e: said.append(str(e)))
            page.on("request", lambda r: None if r.url.startswith(local) else outside.append(r.url))
            page.add_init_script(HOOK)
            report = (goals if chosen.goals else paint)(page, address, Path(folder), chosen.moves)
            report |= {"outside": outside, "errors": said, "load": round(os.getloadavg()[0], 1)}
            print(json.dumps(report))
        finally:
            os.killpg(server.pid, signal.SIGTERM)


if __name__ == "__main__":
    main()
