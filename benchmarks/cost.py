"""Seconds and megabytes that a series costs, as in docs/results.md: ``python benchmarks/cost.py``."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import ip2lab

SEEDS = range(5)
PROBLEMS = 60


def main() -> None:
    """Train each family with its defaults, stored, and print the median and the extremes over seeds."""
    ip2lab.train("association", problems=1, max_trials=60, progress=False)  # what is compiled or loaded once
    for family in ip2lab.families():
        took, size, trials = [], [], []
        for seed in SEEDS:
            with tempfile.TemporaryDirectory() as folder:
                path, began = Path(folder) / "run.zarr", time.perf_counter()
                run = ip2lab.train(family, problems=PROBLEMS, seed=seed, path=path, progress=False)
                took.append(time.perf_counter() - began)
                size.append(sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) / 1e6)
                trials.append(int(run["series"].trials.sum()))
        print(
            f"{family:12s} {PROBLEMS} problems: {statistics.median(took):.1f} s ({min(took):.1f} to {max(took):.1f}), "
            f"{statistics.median(size):.1f} MB, {statistics.median(trials):.0f} trials",
            flush=True,
        )


if __name__ == "__main__":
    main()
