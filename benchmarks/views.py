"""How fast three linked plots follow a slider: our live figure beside jupyter_bokeh around the same HoloViews plots.

    python benchmarks/views.py [--moves 12]

Opens one notebook in a real JupyterLab in headless Chromium and moves two sliders with the arrow keys, in turn. Prints
one JSON line: median (and largest) milliseconds from the key press to the last thing drawn for each, and their ratio.
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
from ip2lab.views import pictures
from ip2lab.views.figure import Figure
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
    moving = pictures.trajectories(scores[k]).opts(backend="bokeh", xlim=(-3, 3), ylim=(-3, 3))
    return {"raster": pictures.raster(spikes[k]), "trajectories": moving,
            "trace": pictures.neuron_trace(trace.isel(problem=k), limits=(-4, 4))}
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


def open_notebook(page: Any, address: str, name: str) -> None:
    """Open a notebook, run all its cells and wait for the end."""
    page.goto(f"{address}/lab/tree/{name}?reset", wait_until="domcontentloaded")
    page.wait_for_selector(".jp-Notebook", timeout=120_000)
    page.wait_for_function(
        "window.jupyterapp?.shell?.currentWidget?.context?.sessionContext?.session?.kernel?.status === 'idle'",
        timeout=120_000,
    )
    page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')")
    page.wait_for_function(READY, timeout=120_000)
    page.wait_for_timeout(3000)


def move(page: Any, handle: Any, wait: int = 1200) -> float:
    """Press the right arrow on a slider; milliseconds to the last thing drawn."""
    handle.evaluate("node => node.scrollIntoView({block: 'start'})")
    page.wait_for_timeout(400)
    handle.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_timeout(wait)
    key, drawn = page.evaluate("[window.__key, window.__drawn]")
    return float(drawn[-1] - key)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moves", type=int, default=12)
    chosen = parser.parse_args()
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        Path(folder, "paint.ipynb").write_text(notebook(COMMON, OURS, THEIRS))
        server, address = lab(Path(folder))
        try:
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
            )
            page = browser.new_page(viewport={"width": 1440, "height": 1000})
            page.add_init_script(HOOK)
            open_notebook(page, address, "paint.ipynb")
            handles = page.locator(".jp-OutputArea .noUi-handle")
            found: dict[str, list[float]] = {"ours": [], "jupyter_bokeh": []}
            for _ in range(chosen.moves):  # in turn, so that both see the same machine
                for i, name in enumerate(found):
                    found[name].append(move(page, handles.nth(i)))
            report: dict[str, Any] = {
                name: {"median_ms": round(statistics.median(v)), "max_ms": round(max(v))} for name, v in found.items()
            }
            report["ratio"] = round(statistics.median(found["ours"]) / statistics.median(found["jupyter_bokeh"]), 3)
            report["load"] = round(os.getloadavg()[0], 1)
            print(json.dumps(report))
        finally:
            os.killpg(server.pid, signal.SIGTERM)


if __name__ == "__main__":
    main()
