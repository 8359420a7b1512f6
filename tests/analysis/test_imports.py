"""`ip2lab.analysis` works where torch, numba and holoviews cannot be imported, and imports nothing else of ip2lab."""

from __future__ import annotations

import subprocess
import sys

BLOCKED = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "numba", "holoviews", "sklearn", "sknetwork", "pynapple"}:
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Blocked())
"""


def run(code):
    return subprocess.run([sys.executable, "-c", BLOCKED + code], capture_output=True, text=True, check=False)


def test_import_needs_no_torch_and_of_the_package_only_what_lies_below():
    done = run(
        "import ip2lab.analysis\nprint(sorted(m for m in sys.modules if m.startswith('ip2lab.') and "
        "'analysis' not in m and m not in ('ip2lab.checks', 'ip2lab.neuron', 'ip2lab.properties')))"
    )
    assert done.stderr == "" and done.stdout.strip() == "[]"


def test_a_whole_analysis_without_torch():
    code = """
import numpy as np, xarray as xr
from ip2lab.analysis import curves, neurons, population
rng = np.random.default_rng(0)
data = xr.DataArray(rng.normal(size=(30, 20, 6)), dims=("trial", "time", "unit"))
data = data.assign_coords(cue=("trial", np.arange(30) % 2))
population.pca(data, feature="unit", n_components=2)
population.decode(data, "cue", feature="unit", permutations=5)
neurons.selectivity(data, "cue")
curves.exponential_fit(xr.DataArray(100 * np.exp(-np.arange(50) / 9) + 3, dims="problem"))
print("done")
"""
    done = run(code)
    assert done.stdout.strip() == "done", done.stderr
