"""docs/returns.md says what every function of the analysis returns; here they are held to it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from ip2lab.analysis import connectivity, curves, from_events, neurons, population

TABLE = Path(__file__).parents[2] / "docs" / "returns.md"
MODULES = {"population": population, "neurons": neurons, "connectivity": connectivity, "curves": curves}


def samples():
    """The data that the table is written for."""
    rng = np.random.default_rng(0)
    stimulus, context = np.arange(24) % 2, np.arange(24) // 2 % 2
    coords = {
        "time": ("time", 20.0 * np.arange(12), {"units": "ms"}),
        "stimulus": ("trial", stimulus),
        "context": ("trial", context),
    }
    rates = xr.DataArray(
        rng.normal(size=(24, 12, 6)), dims=("trial", "time", "neuron"), coords=coords, attrs={"units": "Hz"}
    )
    return {
        "rates": rates,
        "spikes": (rates > 0).drop_attrs(),
        "block": xr.DataArray(
            rng.normal(size=(50, 2, 12, 8)),
            dims=("problem", "probe", "time", "neuron"),
            coords={"problem": np.arange(450, 500), "response": ("probe", ["left", "right"])},
        ),
        "repeats": xr.DataArray(rng.normal(size=(3, 6, 12, 8)), dims=("problem", "trial", "time", "neuron")),
        "means": xr.DataArray(rng.normal(size=(4, 12, 6)), dims=("condition", "time", "neuron")),
        "properties": xr.Dataset(
            {
                "tau_soma": (("problem", "neuron"), rng.uniform(10, 40, (3, 6)), {"units": "ms"}),
                "threshold": (("problem", "neuron"), rng.uniform(0.5, 2, (3, 6)), {"units": "1"}),
            }
        ),
        "drive": xr.DataArray(rng.normal(size=(3, 12, 6)), dims=("problem", "time", "neuron")),
        "weights": xr.DataArray(rng.normal(size=(3, 8, 8)), dims=("problem", "neuron", "presynaptic")),
        "trials": xr.DataArray(rng.uniform(5, 50, (4, 60)), dims=("seed", "problem"), name="trials_to_criterion"),
        "search": xr.Dataset(
            {
                "trials": (("configuration", "seed", "round"), rng.uniform(5, 50, (2, 3, 1))),
                **{
                    name: (("configuration", "seed", "round"), np.zeros((2, 3, 1)))
                    for name in ("stopped", "late_trials", "problems_done", "failed")
                },
                "problems": ("round", [60]),
                "log_ratio": ("configuration", [0.0, 0.3]),
                "learns": (("configuration", "property"), [[False], [True]]),
            }
        ),
    }


CALLS = {
    "population.pad_trials": lambda s: population.pad_trials([s["rates"][0], s["rates"][1, :8]]),
    "population.pca": lambda s: population.pca(s["rates"]),
    "population.project": lambda s: population.project(s["rates"], population.pca(s["rates"])),
    "population.participation_ratio": lambda s: population.participation_ratio(s["rates"], split="trial"),
    "population.principal_angles": lambda s: population.principal_angles(
        *(population.pca(s["rates"][i::2], n_components=2).components for i in (0, 1))
    ),
    "population.subspaces": lambda s: population.subspaces(s["block"]),
    "population.subspace_rotation": lambda s: population.subspace_rotation(s["repeats"], n_splits=2),
    "population.manifold": lambda s: population.manifold(s["rates"]),
    "population.decode": lambda s: population.decode(s["rates"], "stimulus", permutations=3),
    "population.align": lambda s: population.align(s["means"], s["means"], permutations=3),
    "population.condition_means": lambda s: population.condition_means(s["rates"], "stimulus"),
    "population.procrustes": lambda s: population.procrustes(
        *(population.pca(s["rates"], n_components=2).scores[i::2] for i in (0, 1))
    ),
    "population.dimensionality": lambda s: population.dimensionality(s["block"]),
    "population.speed": lambda s: population.speed(s["rates"]),
    "population.demix": lambda s: population.demix(s["rates"], ["stimulus", "context"], splits=1),
    "neurons.firing_rate": lambda s: neurons.firing_rate(s["spikes"]),
    "neurons.psth": lambda s: neurons.psth(s["spikes"], by="stimulus"),
    "neurons.interspike_intervals": lambda s: neurons.interspike_intervals(s["spikes"], trial="trial"),
    "neurons.adaptation_index": lambda s: neurons.adaptation_index(s["spikes"], trial="trial"),
    "neurons.fi_curve": lambda s: neurons.fi_curve(s["properties"], [0.5, 2.0], duration=100),
    "neurons.selectivity": lambda s: neurons.selectivity(s["rates"], "stimulus"),
    "neurons.mixed_selectivity": lambda s: neurons.mixed_selectivity(s["rates"], ["stimulus", "context"]),
    "neurons.drift": lambda s: neurons.drift(s["properties"]),
    "neurons.density": lambda s: neurons.density(s["properties"]),
    "neurons.relative_threshold": lambda s: neurons.relative_threshold(s["properties"].threshold, s["drive"]),
    "connectivity.communities": lambda s: connectivity.communities(s["weights"], runs=3),
    "connectivity.modularity": lambda s: connectivity.modularity(
        s["weights"], untrained=s["weights"][0], runs=2, nulls=3
    ),
    "connectivity.stationarity": lambda s: connectivity.stationarity(s["weights"], runs=2),
    "connectivity.spectral_radius": lambda s: connectivity.spectral_radius(s["weights"]),
    "connectivity.change_size": lambda s: connectivity.change_size(s["weights"]),
    "connectivity.gradient_alignment": lambda s: connectivity.gradient_alignment(s["weights"]),
    "curves.exponential_fit": lambda s: curves.exponential_fit(s["trials"], resamples=3),
    "curves.power_law_fit": lambda s: curves.power_law_fit(s["trials"], resamples=3),
    "curves.mean_fit": lambda s: curves.mean_fit(
        curves.exponential_fit(s["trials"] + xr.DataArray(900 * np.exp(-np.arange(60) / 8), dims="problem"))
    ),
    "curves.area": lambda s: curves.area(s["trials"]),
    "curves.problems_to_asymptote": lambda s: curves.problems_to_asymptote(s["trials"]),
    "curves.failures": lambda s: curves.failures(s["trials"]),
    "curves.final_efficiency": lambda s: curves.final_efficiency(s["trials"]),
    "curves.survival": lambda s: curves.survival(s["trials"]),
    "curves.bootstrap": lambda s: curves.bootstrap(curves.final_efficiency(s["trials"])),
    "curves.compare": lambda s: curves.compare(
        *(curves.final_efficiency(s["trials"], last=n) for n in (30, 40)), smallest_effect=1.2
    ),
    "curves.partial_association": lambda s: curves.partial_association(s["trials"], s["trials"] ** 2, permutations=3),
    "curves.configurations": lambda s: curves.configurations(s["search"]),
    "curves.marginal_effect": lambda s: curves.marginal_effect(s["search"]),
    "from_events": lambda s: from_events(
        {"time": [1.0, 2.0], "unit": [0, 1], "trial": [0, 1]}, bin=1, trial="trial", window=(0, 3)
    ),
}


def table():
    """Function -> {variable: (dims, units)} as docs/returns.md has it."""
    rows: dict[str, dict[str, tuple[str, str]]] = {}
    function = ""
    for line in TABLE.read_text().splitlines():
        match = re.fullmatch(r"\| (?:`([\w.]+)`)? *\| `(\w+)` \| \(([\w, ]*)\) \| (.+?) \| .+ \|", line)
        if match:
            function = match[1] or function
            rows.setdefault(function, {})[match[2]] = (match[3], match[4])
    return rows


def returned(result):
    arrays = [result] if isinstance(result, xr.DataArray) else result.data_vars.values()
    return {str(a.name): (", ".join(map(str, a.dims)), a.attrs["units"]) for a in arrays}


@pytest.mark.parametrize("function", sorted(CALLS))
def test_what_a_function_returns_is_in_the_table(function):
    result = CALLS[function](samples())
    assert returned(result) == table()[function]
    for array in [result] if isinstance(result, xr.DataArray) else result.data_vars.values():
        assert array.attrs["long_name"], array.name


def test_the_table_has_every_public_function_and_no_other():
    public = {f"{name}.{function}" for name, module in MODULES.items() for function in module.__all__}
    assert public | {"from_events"} == set(table()) == set(CALLS)
