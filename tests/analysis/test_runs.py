"""The groups of a run as they come: with problem -1, in a data tree, lazily opened."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from ip2lab.analysis import connectivity, curves, neurons, population


@pytest.fixture
def run(tmp_path):
    """A small run in the layout of the records, written to disk and opened lazily."""
    rng = np.random.default_rng(0)
    time = ("time", 20.0 * np.arange(30), {"units": "ms"})
    kept = ("problem", [0, 1, 2, 5])
    groups = {
        "series": xr.Dataset(
            {
                "trials_to_criterion": ("problem", np.append(400.0, rng.uniform(5, 30, 19)), {"units": "trials"}),
                "censored_trials": ("problem", np.full(20, np.nan)),
            },
            coords={"problem": np.arange(20)},
        ),
        "properties": xr.Dataset(
            {
                "tau_soma": (("problem", "neuron"), rng.uniform(10, 40, (21, 8)), {"units": "ms"}),
                "threshold": (("problem", "neuron"), np.ones((21, 8)), {"units": "1"}),
            },
            coords={"problem": np.arange(-1, 20)},
        ),
        "weights": xr.Dataset(
            {"recurrent_weights": (("problem", "neuron", "presynaptic"), rng.normal(size=(4, 8, 8)))}, {"problem": kept}
        ),
        "activity": xr.Dataset(
            {
                "spikes": (("problem", "probe", "time", "neuron"), rng.random((4, 2, 30, 8)) < 0.2),
                "dendrite": (("problem", "probe", "time", "neuron"), rng.normal(size=(4, 2, 30, 8))),
            },
            coords={
                "problem": kept,
                "time": time,
                "response": ("probe", np.array(["left", "right"], object)),
                "epoch": ("time", np.array(["stimulus"] * 30, object)),
            },
        ),
    }
    xr.DataTree.from_dict(groups).to_zarr(tmp_path / "run.zarr", consolidated=False)
    with xr.open_datatree(tmp_path / "run.zarr", engine="zarr", consolidated=False, chunks={}) as tree:
        yield tree


def test_every_group_of_a_run_is_accepted_by_its_analyses(run):
    fit = curves.exponential_fit(run["series"])
    assert float(fit.first_problem) == 400
    moved = neurons.drift(run["properties"])
    assert moved.problem.values[0] == -1 and set(moved.property.values.tolist()) == {"tau_soma", "threshold"}
    assert str(neurons.density(run["properties"]).unit.sel(property="tau_soma").values) == "ms"
    assert neurons.fi_curve(run["properties"], [1.5], duration=100).sizes["problem"] == 21
    assert connectivity.change_size(run["weights"]).problem.values.tolist() == [1, 2, 5]
    assert connectivity.communities(run["weights"].recurrent_weights, runs=2).community.dims == ("problem", "neuron")
    activity = run["activity"]
    basis = population.pca(activity.spikes.sel(problem=[0, 1]), n_components=2)
    assert population.project(activity.spikes, basis).sizes["problem"] == 4
    assert neurons.firing_rate(activity.spikes).dims == ("problem", "probe", "neuron")
    relative = neurons.relative_threshold(run["properties"].threshold, activity.dendrite)
    assert relative.problem.values.tolist() == [0, 1, 2, 5]
    found = population.decode(
        activity.dendrite, "response", trial=("problem", "probe"), hold_out="problem", permutations=3
    )
    assert found.score.sizes == {"time": 30}
