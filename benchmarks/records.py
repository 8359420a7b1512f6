"""What recording costs: time of a commit, bytes of spikes, opening and reading a run.

    python benchmarks/records.py

Made-up runs of 100 neurons with 100 time steps and two probe trials; no torch. Prints one line per figure, beside
what was asked of it.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from make_run import make_run, make_template, random_rows

from ip2lab.records import Recorder, open_run

ATTRS = {"family": "association", "model": "spiking", "learnable": [], "seed": 0, "config": {}}


def median_ms(call: Callable[[], Any], repeats: int = 15) -> float:
    """Return the median time of a call (ms), after one call to warm up."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - start))
    return float(np.median(times[1:]))


def commits(folder: Path) -> None:
    rng, datasets = np.random.default_rng(0), make_template(neurons=100, steps=100)
    weights = {f"weights_{i}": rng.normal(size=(100, 100)).astype("float32") for i in range(9)}
    vectors = {f"vector_{i}": rng.normal(size=100).astype("float32") for i in range(21)}
    times, first = [], 0
    with Recorder(folder / "commits", datasets, ATTRS) as recorder:
        for problem in range(1000):
            rows = random_rows(datasets, problem, rng, first=first)
            first += rows["series"]["trials"][0]
            for group, columns in rows.items():
                recorder.append(group, **columns)
            if problem % 50 == 49:
                start = time.perf_counter()
                recorder.commit(weights | vectors)
                times.append(1000 * (time.perf_counter() - start))
    low, middle, high = np.percentile(times, [5, 50, 95])
    print(
        f"commit of 50 problems with a checkpoint of 30 arrays: {middle:.1f} ms ({low:.1f}-{high:.1f}), "
        f"{middle / 50:.2f} ms a problem (asked: 1-1.5)"
    )


def spikes(folder: Path) -> None:
    print("spikes of one kept problem, 2 x 100 steps x 100 neurons at dt 20 ms, bytes with checksum:")
    for rate in (2, 5, 8, 15, 25):
        run = make_run(
            folder / f"spikes{rate}", problems=8, neurons=100, steps=100, stimuli=4, kept=range(8), rate=rate, seed=rate
        )
        data = run["activity"]["spikes"]
        measured = data.values.mean() / 0.02
        stored = sum(file.stat().st_size for file in (folder / f"spikes{rate}/activity/spikes").glob("c.*")) / 8
        packed = data[0].size / 8
        print(
            f"  {measured:4.1f} Hz: {stored:6.0f}, packed bits {packed:.0f}, ratio {stored / packed:.2f} (asked: <= 1)"
        )


def reading(folder: Path) -> None:
    path = folder / "long"
    make_run(path, problems=1000, neurons=100, steps=100)
    print(f"store of 1000 problems: {sum(f.stat().st_size for f in path.rglob('*') if f.is_file()) / 1e6:.1f} MB")
    plain = median_ms(lambda: xr.open_datatree(path, engine="zarr"))
    ours = median_ms(lambda: open_run(path))
    print(f"opening 1000 problems: open_run {ours:.1f} ms, plain xarray {plain:.1f} ms (asked: about 10)")
    print(f"opening with verify=True: {median_ms(lambda: open_run(path, verify=True), 5):.0f} ms")
    run = open_run(path)
    for name in ("spikes", "membrane"):
        data = run["activity"].dataset[name]
        print(f"reading {name} of one problem: {median_ms(lambda: data[7].copy(deep=False).values):.1f} ms (asked: 4)")  # noqa: B023
    activity = run["activity"].dataset
    print(f"reading all activity of one problem: {median_ms(lambda: activity.isel(problem=7).load()):.1f} ms")


if __name__ == "__main__":
    scratch = Path(tempfile.mkdtemp(prefix="ip2lab-records-"))
    try:
        commits(scratch)
        spikes(scratch)
        reading(scratch)
    finally:
        shutil.rmtree(scratch)
