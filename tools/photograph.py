"""Photograph or film what notebook cells show in a real JupyterLab, with the controls that only a browser draws."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import nbformat
from playwright.sync_api import Locator, Page, sync_playwright

ROOT = Path(__file__).parents[1]
BUSY = "window.jupyterapp?.shell?.currentWidget?.context?.sessionContext?.session?.kernel?.status !== 'idle'"
CELL = "window.jupyterapp?.shell?.currentWidget?.content?.model?.cells?.get(0)"
DONE = f"() => !!{CELL}?.executionCount"


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """Run a JupyterLab on a folder, with the settings of `make lab`, and give its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={port}", "--allow-root"),
        *(f"--ServerApp.root_dir={folder}", "--IdentityProvider.token=", "--expose-app-in-browser"),
        *(f"--LabApp.app_settings_dir={ROOT / 'tools/jupyterlab'}", "--LanguageServerManager.autodetect=False"),
    ]
    own = {name: str(folder / ".jupyter") for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR")}
    environment = os.environ | own | {"JUPYTER_PREFER_ENV_PATH": "1", "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"{address}/api/status", timeout=2).close()
                break
            except OSError:
                time.sleep(0.25)
        yield address
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def pages(cells: Mapping[str, str], width: int) -> Iterator[tuple[Page, str]]:
    """Give a page, and the address of a JupyterLab with each cell in a notebook of its own."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        raise FileNotFoundError(
            "no Chromium found: install chromium (Debian: apt-get install chromium) or Google Chrome"
        )
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        for name, code in cells.items():
            kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
            notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)], metadata=kernel)
            nbformat.write(notebook, Path(folder) / f"{name}.ipynb")
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": width + 420, "height": 2400}, color_scheme="light")
        page.set_default_timeout(400_000)
        with server(Path(folder)) as address:
            yield page, address
        browser.close()


def shown(page: Page, address: str) -> Locator:
    """Run the notebook at an address, and return what its cell shows once it is drawn."""
    page.goto(address, wait_until="domcontentloaded")
    page.wait_for_function(f"!({BUSY})")
    page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')")
    page.wait_for_function(DONE)
    output = page.locator(".jp-OutputArea-output:has(.widget-vbox)").last
    output.wait_for()
    start = output.get_by_role("button", name="Start")
    if start.count():
        start.click()
        page.wait_for_timeout(30_000)
    output.locator("canvas:visible").first.wait_for()
    page.wait_for_timeout(8000)  # panels that are drawn later
    return output


def photograph(cells: Mapping[str, str], width: int = 1180) -> dict[str, bytes]:
    """Run each cell in a notebook of its own and return a PNG of what it shows, by name.

    A button labelled "Start" is pressed first, and given some seconds.
    """
    taken = {}
    with pages(cells, width) as (page, address):
        for name in cells:
            taken[name] = shown(page, f"{address}/lab/tree/{name}.ipynb?reset").screenshot()
            page.evaluate("window.jupyterapp.serviceManager.sessions.shutdownAll()")
    return taken


def film(cell: str, act: Callable[[Page, Locator], Iterator[None]], width: int = 1180) -> list[bytes]:
    """Run a cell, use what it shows as `act` does, and return a PNG of the start and of each time that it yields."""
    with pages({"film": cell}, width) as (page, address):
        output = shown(page, f"{address}/lab/tree/film.ipynb?reset")
        frames = [output.screenshot()]
        for _ in act(page, output):
            page.wait_for_function(f"!({BUSY})")
            page.wait_for_timeout(700)
            frames.append(output.screenshot())
    return frames
