"""Learning to learn `association`: the default network, what it is worth without learnable properties, and controls.

    python benchmarks/association.py [--seeds 401 402 403 404 405]

Prints a markdown table, one row a configuration, one figure a seed (medians of rate and time). The
settings were chosen on seeds below 400.
"""

from __future__ import annotations

import argparse
import warnings
from typing import Any

import numpy as np

import ip2lab

ROWS: dict[str, tuple[int, dict[str, Any]]] = {
    "default: homogeneous start, filtered spikes, three properties": (60, {}),
    "only the bias learnable": (60, {"learnable": "bias"}),
    "heterogeneous start": (100, {"start": "heterogeneous"}),
    "heterogeneous start, membrane readout": (100, {"start": "heterogeneous", "readout": "membrane"}),
    "the same without spikes": (100, {"start": "heterogeneous", "readout": "membrane", "spiking": False}),
}


def measure(problems: int, seeds: list[int], options: dict[str, Any]) -> np.ndarray:
    """Return (seed, 5): first problem, mean of the last ones (31-60 or 51-100), failures, rate, ms a trial."""
    found = []
    for seed in seeds:
        series = ip2lab.train("association", problems=problems, seed=seed, progress=False, **options)["series"]
        to_criterion = series.trials_to_criterion.fillna(series.censored_trials).values
        late = to_criterion[30:60] if problems == 60 else to_criterion[50:100]
        speed = 1000 * float(series.duration.sum()) / int(series.trials.sum())
        found.append([to_criterion[0], late.mean(), int(series.failed.sum()), float(series.firing_rate[-1]), speed])
    return np.array(found)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[401, 402, 403, 404, 405])
    seeds = parser.parse_args().seeds
    warnings.filterwarnings("ignore", message="tau_soma")  # the heterogeneous start has somata faster than a step
    print("| `association` | problems | first problem | late problems | failures | firing rate (Hz) | ms a trial |")
    print("|---|---|---|---|---|---|---|")
    for name, (problems, options) in ROWS.items():
        found = measure(problems, seeds, options)
        first, late, failed = (
            ", ".join(f"{value:.{digits}f}" for value in found[:, i]) for i, digits in enumerate((0, 1, 0))
        )
        rate, speed = np.median(found[:, 3:], axis=0)
        span = "31-60" if problems == 60 else "51-100"
        print(f"| {name} | {problems} | {first} | {late} ({span}) | {failed} | {rate:.1f} | {speed:.2f} |", flush=True)


if __name__ == "__main__":
    main()
