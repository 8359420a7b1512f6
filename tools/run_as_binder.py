"""Run notebooks as Binder would: an ordinary user, one core, 2 GB, a copy of a read-only checkout in a home of its own.

    python tools/run_as_binder.py [--first 5] [notebooks/index.ipynb ...]

Prints one line of JSON a notebook: seconds, those from the start of the kernel to the first picture (also of processor
time), peak of resident memory and of address space in MB, whether torch was loaded, and the load of the machine.
``--first 5`` stops at the first picture, five times, and prints medians. Linux only. The limit is on the address space,
which is stricter than Binder's on resident memory. As root, it becomes the user 65534, who may read what root may read
and write nothing but the copy.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
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


def run(path: Path, whole: bool) -> dict[str, Any]:
    """Execute a notebook, or what comes before its first picture, within this process's limits; return what it took."""
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
                first = round(time.perf_counter() - started, 2), round(cpu, 2)
            if first and not whole:
                return {"notebook": path.stem, "first_picture": first[0], "first_picture_cpu": first[1]}
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


def command(path: Path, whole: bool) -> list[str]:
    """Return the command that runs one notebook on one core, as an ordinary user."""
    core = str(min(os.sched_getaffinity(0)))
    plain = ["taskset", "-c", core, sys.executable, __file__, "--here", "whole" if whole else "first", str(path)]
    if os.getuid():
        return plain
    drop = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search", "--bounding-set=-all,+dac_read_search"]
    return ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", *drop, *plain]


@contextmanager
def home() -> Iterator[Path]:
    """Copy what git knows of the checkout into a new home, which belongs to an ordinary user."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    tracked = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "home" / "ip2lab"
        for name in filter(None, tracked.split("\0")):
            if (ROOT / name).exists():
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, copy / name)
        if not os.getuid():
            Path(folder).chmod(0o755)
            for one in (copy.parent, *copy.parent.rglob("*")):
                os.chown(one, USER, USER)
        yield copy


def limited(path: Path, copy: Path, whole: bool) -> dict[str, Any] | None:
    """Run a notebook of the copy in a process of its own, and return what it took, or None where it failed."""
    import resource

    environment = {"PATH": os.environ["PATH"], "HOME": str(copy.parent), "PYTHONPATH": str(copy), **settings()}
    done = subprocess.run(
        command(copy / "notebooks" / path.name, whole),
        env=environment,
        cwd=copy.parent,
        check=False,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT)),
    )
    return None if done.returncode else json.loads(done.stdout) | {"load": round(os.getloadavg()[0], 1)}


def main(paths: list[Path], times: int) -> int:
    """Print a line for each notebook, and return how many failed."""
    failed = 0
    with home() as copy:
        for path in paths:
            rows = [limited(path, copy, whole=not times) for _ in range(times or 1)]
            good = [row for row in rows if row]
            failed += len(good) < len(rows)
            if good:
                middle = {
                    key: statistics.median(row[key] for row in good) for key in good[0] if times and key != "notebook"
                }
                print(json.dumps(good[0] | middle), flush=True)
    return failed


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("notebooks", nargs="*", type=Path)
    parser.add_argument("--first", type=int, default=0, metavar="TIMES")
    parser.add_argument("--here", choices=["whole", "first"], help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.here:
        print(json.dumps(run(asked.notebooks[0], asked.here == "whole")), flush=True)
    else:
        sys.exit(main(asked.notebooks or sorted((ROOT / "notebooks").glob("*.ipynb")), asked.first))
