"""Every notebook runs from top to bottom; the first one works in a real JupyterLab without the outside world."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
IDLE = "window.jupyterapp?.shell?.currentWidget?.context?.sessionContext?.session?.kernel?.status === 'idle'"
RAN = """() => { const w = window.jupyterapp.shell.currentWidget, cells = w.content.model.cells;
  for (let i = 0; i < cells.length; i++) { const c = cells.get(i);
    if (c.type === 'code' && c.sharedModel.source.trim() && !c.executionCount) return false }
  return w.context.sessionContext.session.kernel.status === 'idle' }"""
FAILED = """() => { const cells = window.jupyterapp.shell.currentWidget.content.model.cells, out = [];
  for (let i = 0; i < cells.length; i++) { const c = cells.get(i); if (c.type !== 'code') continue;
    for (let k = 0; k < c.outputs.length; k++) { const o = c.outputs.get(k).toJSON();
      if (o.output_type === 'error') out.push(o.ename + ': ' + o.evalue) } }
  return out }"""
PIXELS = "canvases => canvases.map(canvas => canvas.toDataURL()).join()"  # also those in shadow roots


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_top_to_bottom_without_a_warning(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / path.name
    shutil.copy(path, copy)
    notebook = nbformat.read(copy, as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    said = [o for cell in notebook.cells for o in cell.get("outputs", ()) if o.get("name") == "stderr"]
    # tqdm writes its bar there
    assert not [o.text for o in said if "Warning" in o.text]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_committed_outputs_need_no_kernel(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    mimes = {mime for cell in notebook.cells for o in cell.get("outputs", ()) for mime in o.get("data", {})}
    assert "image/png" in mimes, f"run `make notebooks NB=notebooks/{path.name}`"
    assert not [mime for mime in mimes if mime.startswith(("application/vnd", "application/javascript"))]
    assert path.stat().st_size < 4_000_000


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a JupyterLab on a copy of the notebooks, with the settings of `make lab`, and give its address."""
    folder = tmp_path_factory.mktemp("lab")
    shutil.copytree(ROOT / "notebooks", folder / "notebooks")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={port}",
        f"--ServerApp.root_dir={folder}", "--IdentityProvider.token=", "--expose-app-in-browser",
        f"--LabApp.app_settings_dir={ROOT / 'tools/jupyterlab'}", "--LanguageServerManager.autodetect=False",
        *(["--allow-root"] if os.getuid() == 0 else []),
    ]  # fmt: skip
    log = (folder / "lab.log").open("w")
    server = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    address = f"http://127.0.0.1:{port}"
    for _ in range(240):
        try:
            urllib.request.urlopen(f"{address}/api/status", timeout=2).close()
            break
        except OSError:
            assert server.poll() is None, (folder / "lab.log").read_text()
            time.sleep(0.25)
    yield address
    server.terminate()
    server.wait(30)
    log.close()


@pytest.mark.slow
@pytest.mark.browser
def test_the_first_notebook_runs_in_jupyterlab_without_errors_or_outside_requests(lab: str, browser: Any) -> None:
    page = browser.new_page(viewport={"width": 1440, "height": 1000})
    outside, errors = set(), []
    own = (lab, lab.replace("http", "ws"), "data:", "blob:")
    page.on("request", lambda request: outside.add(request.url) if not request.url.startswith(own) else None)
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"{lab}/lab/tree/notebooks/00_start_here.ipynb?reset", wait_until="domcontentloaded")
    page.wait_for_selector(".jp-Notebook", timeout=120_000)
    page.wait_for_function(IDLE, timeout=120_000)
    page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')")
    page.wait_for_function(RAN, timeout=300_000)
    assert page.evaluate(FAILED) == []
    handle = page.locator(".jp-OutputArea .noUi-handle").first
    handle.scroll_into_view_if_needed()
    page.wait_for_timeout(1500)
    before = page.locator("canvas").evaluate_all(PIXELS)
    handle.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_timeout(1500)
    assert page.locator("canvas").evaluate_all(PIXELS) != before, "the slider was moved and no picture changed"
    assert not outside, f"asked for outside this machine: {sorted(outside)}"
    assert not errors, json.dumps(errors[:5])
    page.evaluate("window.jupyterapp.serviceManager.sessions.shutdownAll()")
    page.close()
