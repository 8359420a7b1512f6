"""Stores larger than memory: analysed in a process that may not hold them."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import xarray as xr

SCRIPT = """
import resource, sys
import numpy as np, xarray as xr
import dask, zarr, sklearn
from ip2lab.analysis import neurons, population
dask.config.set(scheduler="synchronous")
small = xr.open_zarr(sys.argv[1], consolidated=False).isel(trial=slice(0, 4))
population.pca(small.rates, n_components=2)  # warm up: what libraries take for themselves is not counted
neurons.selectivity(small.rates, "cue")
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[2]), used + int(sys.argv[2])))
data = xr.open_zarr(sys.argv[1], consolidated=False)
fit = population.pca(data.rates, n_components=3)
print(fit.explained_variance_ratio.values.tolist())
population.project(data.rates, fit).to_dataset(name="scores").isel(component=0).mean("time").compute()
print(neurons.firing_rate(data.spikes).mean("trial").values.tolist()[:2])
print(neurons.selectivity(data.rates, "cue").max().item())
try:
    data.rates.load()
except MemoryError:
    print("too large")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space as Linux does")
def test_a_store_larger_than_the_limit_goes_through(tmp_path):
    trials, times, cells = 240, 400, 200
    rng = np.random.default_rng(0)
    directions = np.linalg.qr(rng.normal(size=(cells, 3)))[0].T
    for start in range(0, trials, 20):
        cue = np.arange(start, start + 20) % 2
        latent = rng.normal(size=(20, times, 3)) * [9, 6, 3]
        values = (latent @ directions + rng.normal(size=(20, times, cells))).astype(np.float32)
        values[:, 50, 7] += 5 * cue
        part = xr.Dataset(
            {"rates": (("trial", "time", "neuron"), values), "spikes": (("trial", "time", "neuron"), values > 2)},
            coords={"cue": ("trial", cue), "time": 2.0 * np.arange(times)},
        ).chunk(trial=20)
        part.to_zarr(tmp_path / "data.zarr", consolidated=False, **({"append_dim": "trial"} if start else {}))
    size = trials * times * cells * 4  # 77 MB of rates
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "data.zarr"), str(int(0.7 * size))],
        capture_output=True,
        text=True,
        check=False,
        env={"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"},
    )
    lines = done.stdout.splitlines()
    assert lines[-1:] == ["too large"], done.stderr[-2000:]
    ratio = np.array(eval(lines[0]))
    np.testing.assert_allclose(ratio, (np.array([81, 36, 9]) + 1) / (81 + 36 + 9 + cells), rtol=0.03)
    assert float(lines[2]) > 0.2
