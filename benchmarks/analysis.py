"""How fast and how large the analysis is: ``python benchmarks/analysis.py [function ...]``, a table in markdown.

Activity of 200 trials x 500 steps x 256 neurons (100 MB in float32), weights of 100 neurons, 1000 problems. Functions
on the same input take turns, round by round; reported is the median over rounds of the CPU time on one thread, and for
a comparison the median of the ratios within a round. Peak memory is that of a process of its own: what it takes at
most while the function runs, beyond what it held before (which includes the input), as a multiple of the input.
"""

from __future__ import annotations

import os

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

import platform
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np
import xarray as xr

from ip2lab.analysis import connectivity, curves, neurons, population

TRIALS, STEPS, CELLS, COMPONENTS = 200, 500, 256, 10
ROUNDS = 5


def activity() -> xr.DataArray:
    """Rates with a few strong directions, a stimulus and a context, in float32."""
    rng = np.random.default_rng(0)
    values = rng.standard_normal((TRIALS, STEPS, CELLS), dtype=np.float32)
    values += rng.standard_normal((TRIALS, STEPS, 8), dtype=np.float32) @ rng.standard_normal(
        (8, CELLS), dtype=np.float32
    )
    values += 5
    coords = {
        "time": 2.0 * np.arange(STEPS),
        "stimulus": ("trial", np.arange(TRIALS) % 2),
        "context": ("trial", np.arange(TRIALS) // 2 % 2),
    }
    values[1::2, STEPS // 2 :, :20] += 1
    return xr.DataArray(values, dims=("trial", "time", "neuron"), coords=coords, name="rates", attrs={"units": "Hz"})


def weights() -> xr.DataArray:
    rng = np.random.default_rng(0)
    return xr.DataArray(rng.normal(size=(100, 100)), dims=("neuron", "presynaptic"))


def series() -> xr.DataArray:
    x = np.arange(1000)
    noise = np.random.default_rng(0).lognormal(0, 0.3, 1000)
    return xr.DataArray(np.append(2900, (200 * np.exp(-x / 40) + 20) * noise), dims="problem")


def scikit_learn(solver: str) -> Callable[[xr.DataArray], Any]:
    def fit(data: xr.DataArray) -> Any:
        from sklearn.decomposition import PCA

        return PCA(COMPONENTS, svd_solver=solver).fit_transform(data.values.reshape(-1, CELLS))

    return fit


def pca(data: xr.DataArray) -> Any:
    return population.pca(data, n_components=COMPONENTS)


INPUTS: dict[str, Callable[[], xr.DataArray]] = {
    "activity": activity,
    "spikes": lambda: activity() > 7,
    "half": lambda: activity().isel(time=slice(None, None, 10)),
    "weights": weights,
    "series": series,
}
SOLVERS = ("covariance_eigh", "randomized", "arpack")
FUNCTIONS: dict[str, tuple[str, Callable[[xr.DataArray], Any]]] = {
    "population.pca": ("activity", pca),
    **{f"scikit-learn {solver}": ("activity", scikit_learn(solver)) for solver in SOLVERS},
    "population.pca, all components": ("activity", population.pca),
    "population.project": (
        "activity",
        lambda d: population.project(d, population.pca(d[:20], n_components=COMPONENTS)),
    ),
    "population.participation_ratio": ("activity", population.participation_ratio),
    "population.speed": ("activity", population.speed),
    "population.demix": ("half", lambda d: population.demix(d, ["stimulus", "context"])),
    "population.decode": ("half", lambda d: population.decode(d, "stimulus")),
    "population.manifold": ("half", lambda d: population.manifold(d.isel(trial=slice(40)))),
    "neurons.firing_rate": ("spikes", neurons.firing_rate),
    "neurons.psth": ("spikes", neurons.psth),
    "neurons.interspike_intervals": ("spikes", lambda d: neurons.interspike_intervals(d, trial="trial")),
    "neurons.selectivity": ("activity", lambda d: neurons.selectivity(d, "stimulus")),
    "neurons.selectivity, information": (
        "half",
        lambda d: neurons.selectivity(d, "stimulus", measure="mutual_information"),
    ),
    "neurons.mixed_selectivity": ("half", lambda d: neurons.mixed_selectivity(d, ["stimulus", "context"])),
    "connectivity.communities": ("weights", connectivity.communities),
    "connectivity.modularity": ("weights", connectivity.modularity),
    "curves.exponential_fit": ("series", curves.exponential_fit),
    "curves.exponential_fit, 200 resamples": ("series", lambda d: curves.exponential_fit(d, resamples=200)),
}


def once(name: str, data: xr.DataArray) -> float:
    began = time.process_time()
    FUNCTIONS[name][1](data)
    return time.process_time() - began


def status(field: str) -> int:
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024


def peak(name: str) -> None:
    """Print the peak memory of one call, in bytes, and the size of its input: run in a process of its own."""
    data = INPUTS[FUNCTIONS[name][0]]()
    small = data.isel({d: slice(40) for d in data.dims if d in ("trial", "time")})
    FUNCTIONS[name][1](small)  # what libraries take when first used is not the function's
    with open("/proc/self/clear_refs", "w") as reset:
        reset.write("5")
    before = status("VmRSS")
    FUNCTIONS[name][1](data)
    print(status("VmHWM") - before, data.nbytes)


def main(wanted: list[str]) -> None:
    names = [name for name in FUNCTIONS if not wanted or name in wanted]
    taken: dict[str, list[float]] = {name: [] for name in names}
    for kind in dict.fromkeys(FUNCTIONS[name][0] for name in names):
        data = INPUTS[kind]()
        for _ in range(ROUNDS + 1):  # the first round warms up
            for name in names:
                if FUNCTIONS[name][0] == kind:
                    taken[name].append(once(name, data))
    medians = {name: float(np.median(rounds[1:])) for name, rounds in taken.items()}
    rivals = [name for name in names if name.startswith("scikit-learn")]
    fastest = min(rivals, key=medians.__getitem__) if rivals else ""
    libraries = ", ".join(f"{name} {version(name)}" for name in ("numpy", "scikit-learn", "xarray"))
    print(
        f"One thread, {platform.processor() or platform.machine()}, Python {platform.python_version()}, {libraries}\n"
    )
    print(
        "| function | input | seconds | ratio to scikit-learn's fastest | peak beyond the input "
        "|\n|---|---|---|---|---|"
    )
    for name in names:
        found = subprocess.run([sys.executable, __file__, "--peak", name], capture_output=True, text=True, check=True)
        extra, size = map(int, found.stdout.split())
        ratio = (
            f"{np.median(np.divide(taken[name], taken[fastest])[1:]):.2f}"
            if fastest and name == "population.pca"
            else ""
        )
        memory = f"{extra / size:.2f} x {size / 1e6:.0f} MB" if size > 1e6 else f"{extra / 1e6:.0f} MB"
        print(f"| {name} | {FUNCTIONS[name][0]} | {medians[name]:.3f} | {ratio} | {memory} |", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--peak"]:
        peak(sys.argv[2])
    else:
        main(sys.argv[1:])
