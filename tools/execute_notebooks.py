"""Execute notebooks and write back the outputs that a reader on the web should see, the same at every run.

    python tools/execute_notebooks.py [notebooks/00_start_here.ipynb ...]

Without a name: all of notebooks/. ``IP2LAB_STATIC=1`` makes the explorers add a PNG to what they show; what only a live
kernel can show (widget views, scripts) and what differs from run to run (timings, the interpreter's version, progress
bars) is then removed. A cell that raises stops everything, and its notebook stays as it was.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
LIVE = ("application/javascript", "application/vnd.")  # widgets, Bokeh, HoloViews: dead without a kernel


def static_output(output: NotebookNode) -> NotebookNode | None:
    """Return what is left of one output for a reader without a kernel, or None when nothing is."""
    if output.output_type == "stream":
        return output if output.name == "stdout" else None
    if "data" not in output:
        return output
    data = {mime: content for mime, content in output.data.items() if not mime.startswith(LIVE)}
    html = data.get("text/html", "")
    if "<script" in html or "xr-wrap" in html:  # xarray's tables have new random ids at every run; its text has none
        del data["text/html"]
    if "text/plain" in data:
        data["text/plain"] = re.sub(r" at 0x[0-9a-f]+", "", data["text/plain"])  # an address of this run
    if not data or (set(data) == {"text/plain"} and any(mime.startswith(LIVE) for mime in output.data)):
        return None  # only the name of a widget is left
    return NotebookNode({**output, "data": NotebookNode(data), "metadata": NotebookNode()})


def clean(notebook: NotebookNode) -> NotebookNode:
    """Strip, in place, everything that needs a kernel or that another run would write differently."""
    notebook.metadata = NotebookNode(
        kernelspec={"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
        language_info={"name": "python"},
    )
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [kept for output in cell.outputs if (kept := static_output(output)) is not None]
    return notebook


def main(paths: list[Path]) -> None:
    """Execute each notebook in its own folder, clean it and write it back."""
    os.environ["IP2LAB_STATIC"] = "1"
    for path in paths:
        notebook = nbformat.read(path, as_version=4)
        how: dict[str, Any] = {"kernel_name": "python3", "record_timing": False, "coalesce_streams": True}
        NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(path.parent)}}, **how).execute()
        for cell in notebook.cells:
            sys.stderr.writelines(o.text for o in cell.get("outputs", ()) if o.get("name") == "stderr")
        nbformat.write(clean(notebook), path)
        print(path)


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]] or sorted(NOTEBOOKS.glob("*.ipynb")))
