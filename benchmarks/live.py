"""What looking costs: the same training with and without LiveTraining's pictures, in turn, in a Jupyter kernel.

    python benchmarks/live.py [--rounds 5] [--family dms] [--problems 60] [--neurons 100]

Prints one JSON line: seconds of both (medians over rounds), what drawing costs in percent (median of the rounds'
ratios, and all of them), on the clock and in the processor's time of the training thread, and updates a second.
Messages go to a client that reads them, as a page would.
"""

from __future__ import annotations

import argparse

import nbformat
from nbclient import NotebookClient

CELL = """
import json, os, statistics, time
import ip2lab
from ip2lab.views import LiveTraining

asked = {{"problems": {problems}, "neurons": {neurons}, "seed": 3}}
ip2lab.train({family!r}, progress=lambda series: None, **(asked | {{"problems": 1, "max_trials": 60}}))  # compiles
live = LiveTraining({family!r}, **asked)
updates, update = [], live.figure.update


def counted(*args, **elements):
    updates.append(time.perf_counter())
    update(*args, **elements)


live.figure.update = counted


def plain():
    began, worked = time.perf_counter(), time.thread_time()
    ip2lab.train({family!r}, progress=lambda series: None, **asked)
    return time.perf_counter() - began, time.thread_time() - worked


begin = live._begin


def timed(learning):
    began, worked = time.perf_counter(), time.thread_time()
    run = begin(learning)
    took.append((time.perf_counter() - began, time.thread_time() - worked))
    return run


live._begin, took = timed, []


def watched():
    updates.clear()
    live.start()
    live.wait()
    live.runs.clear()  # the curves of earlier rounds are not part of the question
    seconds, processor = took.pop()
    return seconds, processor, (len(updates) - 1) / seconds  # the last one is drawn after the end


plain(), watched()
rounds = [(*plain(), *watched()) for _ in range({rounds})]
clock = [100 * (r[2] / r[0] - 1) for r in rounds]
processor = [100 * (r[3] / r[1] - 1) for r in rounds]
found = {{
    "family": {family!r},
    "plain_s": round(statistics.median(r[0] for r in rounds), 2),
    "drawn_s": round(statistics.median(r[2] for r in rounds), 2),
    "cost_percent": round(statistics.median(clock), 1),
    "cost_percent_of_processor": round(statistics.median(processor), 1),
    "each_percent": [[round(a, 1), round(b, 1)] for a, b in zip(clock, processor)],
    "updates_a_second": round(statistics.median(r[4] for r in rounds), 2),
    "load": round(os.getloadavg()[0], 1),
    "processors": len(os.sched_getaffinity(0)),
}}
print(json.dumps(found))
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--family", default="dms")
    parser.add_argument("--problems", type=int, default=60)
    parser.add_argument("--neurons", type=int, default=100)
    cell = nbformat.v4.new_code_cell(CELL.format(**vars(parser.parse_args())))
    notebook = nbformat.v4.new_notebook(cells=[cell])
    NotebookClient(notebook, timeout=3600, kernel_name="python3").execute()
    print("".join(o.get("text", "") for o in cell.outputs if o.get("name") == "stdout"), end="")


if __name__ == "__main__":
    main()
