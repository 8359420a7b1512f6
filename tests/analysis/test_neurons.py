"""Firing, selectivity and properties of single neurons against closed forms, planted effects and other packages."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ip2lab.analysis import neurons


def spikes(shape=(40, 200, 3), share=0.1, dt=5.0, seed=0):
    values = np.random.default_rng(seed).random(shape) < share
    coords = {"time": ("time", dt * np.arange(shape[1]), {"units": "ms"})}
    return xr.DataArray(values, dims=("trial", "time", "neuron"), coords=coords, name="spikes", attrs={"rig": "left"})


@settings(max_examples=25, deadline=None)
@given(st.permutations(["trial", "time", "neuron"]), st.sampled_from([bool, np.int16, float]), st.booleans())
def test_firing_rate_without_width_is_spikes_per_second(order, dtype, lazy):
    data = spikes()
    moved = data.astype(dtype).transpose(*order)
    rate = neurons.firing_rate(moved.chunk(trial=10) if lazy else moved)
    np.testing.assert_allclose(rate.transpose("trial", "neuron"), data.values.sum(1) / 1.0)  # 200 bins of 5 ms
    assert (rate.units, rate.attrs["rig"], rate.name) == ("Hz", "left", "firing_rate")


def test_firing_rate_in_seconds_is_the_same():
    data = spikes()
    seconds = data.assign_coords(time=("time", data.time.values / 1000, {"units": "s"}))
    np.testing.assert_allclose(neurons.firing_rate(seconds), neurons.firing_rate(data))


def test_smoothed_rate_keeps_a_constant_rate_up_to_the_ends():
    data = xr.ones_like(spikes(), dtype=int)
    np.testing.assert_allclose(neurons.firing_rate(data, width=30.0), 200.0)
    assert neurons.firing_rate(data, width=30.0).dims == data.dims


def test_psth_band_covers_the_rate():
    found = neurons.psth(spikes((400, 100, 4)), width=10.0)
    inside = ((found.lower < 20) & (found.upper > 20)).mean()  # 0.1 spikes in 5 ms
    assert 0.9 < float(inside) <= 1
    data = spikes()
    rates = neurons.firing_rate(data, width=20.0)
    half = stats.t.ppf(0.975, 39) * rates.std("trial", ddof=1) / np.sqrt(40)
    found = neurons.psth(data, width=20.0)
    np.testing.assert_allclose(found.upper - found.rate, half)


def test_psth_by_condition():
    data = spikes().assign_coords(cue=("trial", np.where(np.arange(40) % 2, "go", "stop")))
    found = neurons.psth(data, by="cue")
    assert found.rate.dims == ("time", "neuron", "cue")
    one = neurons.psth(data.isel(trial=data.cue.values == "go"))
    np.testing.assert_allclose(found.rate.sel(cue="go"), one.rate)
    with pytest.raises(ValueError, match=r"no coord 'odour'; its coords are time, cue. Add it along trial"):
        neurons.psth(data, by="odour")


def test_psth_refuses_identical_trials():
    alike = spikes().isel(trial=[0, 0, 0])
    with pytest.raises(ValueError, match=r"all 3 trials along 'trial' of 'spikes' are identical.*noisy repeats"):
        neurons.psth(alike)
    with pytest.raises(ValueError, match=r"has 1 along 'trial'; a band over trials \(of a kind\) needs two"):
        neurons.psth(alike.isel(trial=[0]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.drop_vars("time"), r"no coord on dim 'time'.*\.assign_coords\(time=dt"),
        (lambda d: d.rename(time="t"), r"no dim 'time'; it has trial, t, neuron. Name the right one with time="),
        (lambda d: d.assign_coords(time=d.time.values**2), r"must rise in equal steps; its steps go from"),
        (
            lambda d: d.assign_coords(time=("time", d.time.values, {"units": "min"})),
            r"is in 'min'; expected 'ms' or 's'",
        ),
        (
            lambda d: d.astype(float).where(d.time > 0),
            r"NaN or infinite values \(the first at trial=0, time=0.0, neuron=0\)",
        ),
        (lambda d: -d.astype(int), r"holds -1; spikes are bool or counts per bin"),
        (lambda d: d.isel(time=[0]), r"has 1 along 'time'; a duration needs two or more"),
        (lambda d: d.isel(neuron=[]), r"dim 'neuron' has length 0"),
    ],
)
def test_wrong_arguments_of_firing_rate_are_refused_by_name(change, message):
    with pytest.raises(ValueError, match=message):
        neurons.firing_rate(change(spikes()))


def properties(problems=6, cells=30, seed=0):
    rng = np.random.default_rng(seed)
    tau = 100 * np.exp(np.cumsum(rng.normal(0, 0.1, (problems, cells)), 0))
    return xr.Dataset(
        {
            "tau_dendrite": (("problem", "neuron"), tau, {"units": "ms", "long_name": "dendritic time constant"}),
            "threshold": (("problem", "neuron"), np.ones((problems, cells)), {"units": "1", "long_name": "threshold"}),
        },
        coords={"problem": np.arange(-1, problems - 1)},
        attrs={"run": "a"},
    )


def test_drift_is_the_logarithm_relative_to_the_first_problem():
    data = properties()
    moved = neurons.drift(data)
    logs = np.log(data.tau_dendrite.values)
    tau = moved.sel(property="tau_dendrite")
    np.testing.assert_allclose(tau.drift, logs - logs[0])
    np.testing.assert_allclose(tau.change[1:], np.diff(logs, axis=0))
    np.testing.assert_allclose(tau["size"][1:], np.sqrt((np.diff(logs, axis=0) ** 2).mean(1)))
    np.testing.assert_allclose(tau.spread, logs.std(1))
    np.testing.assert_allclose(tau.directedness, np.abs(logs[-1] - logs[0]) / np.abs(np.diff(logs, axis=0)).sum(0))
    assert float(moved.sel(property="threshold").directedness.max()) == 0
    assert moved.unit.values.tolist() == ["ms", "1"] and moved.attrs["run"] == "a"
    np.testing.assert_array_equal(moved.problem, data.problem)


def test_drift_within_problems_starts_again_at_each():
    steps = properties(problems=6).rename(problem="step").drop_vars("step")
    steps = steps.assign_coords(problem=("step", [0, 0, 0, 1, 1, 1]), trial=("step", [0, 10, 20] * 2))
    moved = neurons.drift(steps, along="step", within="problem").sel(property="tau_dendrite")
    logs = np.log(steps.tau_dendrite.values)
    np.testing.assert_allclose(moved.drift, logs - logs[[0, 0, 0, 3, 3, 3]])
    assert (moved.change[[0, 3]] == 0).all()
    assert moved.trial.values.tolist() == [0, 10, 20] * 2
    with pytest.raises(ValueError, match=r"within='family' is not a coord along 'step'"):
        neurons.drift(steps, along="step", within="family")


def test_density_integrates_to_one_and_follows_a_known_one():
    rng = np.random.default_rng(0)
    data = xr.DataArray(
        rng.lognormal(np.log(50), 0.4, (2, 4000)), dims=("problem", "neuron"), name="tau", attrs={"units": "ms"}
    )
    found = neurons.density(data).sel(property="tau")
    area = np.trapezoid(found.density, np.log(found.value.values), axis=-1)
    np.testing.assert_allclose(area, 1, atol=2e-3)
    truth = stats.norm.pdf(np.log(found.value.values), np.log(50), 0.4)
    assert float(np.abs(found.density - truth).max()) < 0.1
    assert str(found.unit.values) == "ms"


def test_density_of_neurons_that_are_all_alike_is_a_narrow_peak():
    found = neurons.density(properties()).sel(property="threshold")
    area = np.trapezoid(found.density, np.log(found.value.values), axis=-1)
    np.testing.assert_allclose(area, 1, atol=2e-3)
    assert abs(float(found.value[int(found.density[0].argmax("point"))]) - 1) < 0.02


@pytest.mark.parametrize("function", [neurons.drift, neurons.density])
def test_wrong_properties_are_refused_by_name(function):
    data = properties()
    with pytest.raises(
        ValueError,
        match=r"no variable has the dims 'problem', 'cell'; there are: tau_dendrite \(problem, neuron\), threshold",
    ):
        function(data, feature="cell")
    with pytest.raises(ValueError, match=r"Name the right ones: along='step'$"):
        function(data.rename(problem="step"))
    with pytest.raises(ValueError, match=r"Name the right ones: along=\.\.\., feature=\.\.\.$"):
        function(data.rename(problem="step", neuron="unit"))
    with pytest.raises(ValueError, match=r"'threshold' holds 0; properties are compared by their logarithm"):
        function(data.assign(threshold=data.threshold * 0))
    with pytest.raises(
        TypeError, match=r"expected an xarray.Dataset, a group of a run, or one variable of it, got ndarray"
    ):
        function(data.threshold.values)
    with pytest.raises(ValueError, match=r"points: 3 is not valid; give a whole number from 16"):
        neurons.density(data, points=3)


def test_rates_that_no_neuron_has_speak_of_seconds():
    spikes = xr.DataArray(np.ones((40, 3), bool), dims=("time", "neuron"), coords={"time": 0.02 * np.arange(40)})
    with pytest.raises(ValueError, match=r"'time' .* steps of 0.02 and no units; .*attrs\['units'\] = 's'"):
        neurons.firing_rate(spikes)
    with pytest.raises(ValueError, match=r"5000 Hz in one neuron is more .* 'time' does not seem to be in ms"):
        neurons.firing_rate(spikes.assign_coords(time=0.2 * np.arange(40)))
    spikes.time.attrs["units"] = "s"
    assert (neurons.firing_rate(spikes) == 50).all()


def test_numbers_among_objects_are_numbers_and_must_rise():
    values = xr.DataArray(np.ones((3, 2)), dims=("problem", "neuron"), name="tau")
    for labels in ([3, 1, 2], ["b", "a", "c"]):
        series = values.assign_coords(problem=np.array(labels, object))
        if labels[0] == "b":
            assert neurons.drift(series).problem.values.tolist() == labels
            continue
        with pytest.raises(ValueError, match="the labels along 'problem' do not rise"):
            neurons.drift(series)


def test_a_signed_property_is_compared_on_a_linear_scale():
    values = {"bias": [[0.5, -1.0], [0.75, -2.0]], "tau_soma": [[10.0, 10.0], [20.0, 10.0]]}
    properties = xr.Dataset({name: (("problem", "neuron"), v) for name, v in values.items()})
    found = neurons.drift(properties)
    assert found.scale.values.tolist() == ["linear", "log"]
    np.testing.assert_allclose(found.drift.sel(property="bias")[1], [0.25, -1.0])
    np.testing.assert_allclose(found.drift.sel(property="tau_soma")[1], [np.log(2), 0.0])
    curve = neurons.density(properties).isel(problem=1)
    for name, at in (
        ("bias", curve.value.sel(property="bias")),
        ("tau_soma", np.log(curve.value.sel(property="tau_soma"))),
    ):
        assert np.trapezoid(curve.density.sel(property=name), at) == pytest.approx(1, abs=0.01)
    assert curve.value.sel(property="bias").min() < -2 < 0.75 < curve.value.sel(property="bias").max()
