"""Run notebooks as Binder would: an ordinary user, one core, 2 GB, a copy of a read-only checkout in a home of its own.

    python tools/run_as_binder.py [notebooks/index.ipynb ...]

Prints one line of JSON a notebook: seconds, those from the start of the kernel to the first picture (also of processor
time), peak of resident memory and of address space in MB, and whether torch was loaded. Linux only. The limit is
on the address space, which is stricter than Binder's on resident memory. As root, it becomes the user 65534, who may
read what root may read and write nothing but the copy.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
LIMIT = 2 * 2**30  # bytes
USER = 65534
PICTURES = ("image/png", "application/vnd.jupyter.widget-view+json")
ASK = "import sys; print('torch' in sys.modules)"


def settings() -> dict[str, str]:
    """Return the environment that binder/start gives to a server."""
    lines = (ROOT / "binder" / "start").read_text().splitlines()
    return dict(line.removeprefix("export ").split("=") for line in lines if line.startswith("export "))


def run(path: Path) -> dict[str, Any]:
    """Execute a notebook, within the limits of this process, and return what it took."""
    started = time.perf_counter()
    first: tuple[float, float] | None = None
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(ASK))
    client = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": path.parent}})
    with client.setup_kernel():
        process = Path(f"/proc/{client.km.provisioner.pid}")  # type: ignore[union-attr]
        for index, cell in enumerate(notebook.cells):
            client.execute_cell(cell, index)
            mimes = [mime for output in cell.get("outputs", ()) for mime in output.get("data", ())]
            if first is None and any(mime in PICTURES for mime in mimes):
                user, system = (process / "stat").read_text().rpartition(")")[2].split()[11:13]
                cpu = (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
                first = round(time.perf_counter() - started, 1), round(cpu, 1)
        status = (process / "status").read_text()
    peaks = {line.split(":")[0]: int(line.split()[1]) // 1024 for line in status.splitlines() if line.endswith("kB")}
    return {
        "notebook": path.stem,
        "seconds": round(time.perf_counter() - started, 1),
        "first_picture": first and first[0],
        "first_picture_cpu": first and first[1],
        "resident_mb": peaks["VmHWM"],
        "address_mb": peaks["VmPeak"],
        "torch": notebook.cells[-1].outputs[0].text.strip() == "True",
    }


def command(path: Path) -> list[str]:
    """Return the command that runs one notebook on one core, as an ordinary user."""
    core = str(min(os.sched_getaffinity(0)))
    plain = ["taskset", "-c", core, sys.executable, __file__, "--here", str(path)]
    if os.getuid():
        return plain
    drop = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search", "--bounding-set=-all,+dac_read_search"]
    return ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", *drop, *plain]


def limited(paths: list[Path]) -> int:
    """Copy the checkout into a new home, and run each notebook there in a process of its own; return how many fail."""
    import resource

    tracked = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        copy = home / "ip2lab"
        for name in filter(None, tracked.split("\0")):
            if (ROOT / name).exists():
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, copy / name)
        if not os.getuid():
            Path(folder).chmod(0o755)
            for one in (home, *home.rglob("*")):
                os.chown(one, USER, USER)
        environment = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": str(copy), **settings()}
        failed = 0
        for path in paths:
            done = subprocess.run(
                command(copy / "notebooks" / path.name),
                env=environment,
                cwd=home,
                check=False,
                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT)),
            )
            failed += done.returncode != 0
    return failed


if __name__ == "__main__":
    if sys.argv[1:2] == ["--here"]:
        print(json.dumps(run(Path(sys.argv[2]))), flush=True)
    else:
        sys.exit(limited([Path(name) for name in sys.argv[1:]] or sorted((ROOT / "notebooks").glob("*.ipynb"))))
