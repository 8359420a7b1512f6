"""f-I curves against the closed form of the leaky neuron and a plain simulation; thresholds relative to the drive."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from ip2lab.analysis import neurons


def properties(**more):
    return xr.Dataset(
        {"tau_soma": ("neuron", [10.0, 20.0, 40.0], {"units": "ms"}), "threshold": ("neuron", [1.0, 0.5, 2.0])}
        | {name: ("neuron", values) for name, values in more.items()},
        coords={"neuron": ["a", "b", "c"]},
    )


def test_rate_is_the_closed_form_for_small_steps():
    currents = np.array([0.4, 0.9, 2.5, 4.0])
    found = neurons.fi_curve(properties(gain=[1.0, 1.0, 2.0]), currents, dt=0.02, duration=1000)
    tau, limit, gain = np.array([[10.0, 20, 40], [1, 0.5, 2], [1, 1, 2]])[..., None]
    drive = gain * currents
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = np.where(drive > limit, 1000 / (tau * np.log(drive / (drive - limit))), 0.0)
    np.testing.assert_allclose(found.firing_rate, expected, rtol=0.01)
    np.testing.assert_allclose(found.rheobase, [1.0, 0.5, 1.0])
    assert found.firing_rate.dims == ("neuron", "current") and found.firing_rate.units == "Hz"
    assert found.neuron.values.tolist() == ["a", "b", "c"]


def test_adaptation_follows_a_plain_simulation_and_lowers_the_rate():
    data = properties(adaptation_strength=[0.5, 1.0, 0.2], tau_adaptation=[100.0, 200.0, 50.0])
    found = neurons.fi_curve(data, [3.0], dt=1.0, duration=2000)
    for i in range(3):
        u = a = spike = 0.0
        limit = float(data.threshold[i])
        now, when = limit, []
        for step in range(2000):
            u = (
                np.exp(-1 / data.tau_soma.values[i]) * u
                + (1 - np.exp(-1 / data.tau_soma.values[i])) * 3.0
                - now * spike
            )
            decay = np.exp(-1 / data.tau_adaptation.values[i])
            a = decay * a + (1 - decay) * 20.0 * spike
            now = limit + float(data.adaptation_strength[i]) * a
            spike = float(u > now)
            when += [step] if spike and step >= 1000 else []
        assert float(found.firing_rate[i, 0]) == pytest.approx(1000 * (len(when) - 1) / (when[-1] - when[0]))
    assert (found.firing_rate < neurons.fi_curve(properties(), [3.0], dt=1.0).firing_rate).all()


def test_fi_curve_keeps_the_problem_dim_of_a_run():
    run = xr.concat([properties(), properties()], dim="problem")
    assert neurons.fi_curve(run, [2.0, 3.0], duration=200).firing_rate.dims == ("problem", "neuron", "current")


def test_wrong_properties_and_currents_of_fi_curve_are_refused():
    with pytest.raises(ValueError, match=r"the properties lack threshold; they have tau_soma"):
        neurons.fi_curve(properties().drop_vars("threshold"), [1.0])
    with pytest.raises(ValueError, match=r"'tau_soma' holds -10; expected positive"):
        neurons.fi_curve(properties().assign(tau_soma=-properties().tau_soma).isel(neuron=[0]), [1.0])
    with pytest.raises(ValueError, match=r"currents has shape \(0,\)"):
        neurons.fi_curve(properties(), [])
    with pytest.raises(ValueError, match=r"dt: 0, duration: 2000.0 are not valid; give a positive step"):
        neurons.fi_curve(properties(), [1.0], dt=0)
    with pytest.raises(TypeError, match=r"expected a run's properties \(xarray.Dataset\), got DataArray"):
        neurons.fi_curve(properties().threshold, [1.0])


def test_relative_threshold_is_the_threshold_over_the_spread_of_the_drive():
    rng = np.random.default_rng(0)
    drive = xr.DataArray(
        rng.normal([1.0, 2.0], [0.5, 3.0], size=(3, 2, 4000, 2)),
        dims=("problem", "probe", "time", "neuron"),
        coords={"problem": [0, 3, 8]},
    )
    threshold = xr.DataArray(
        [[1.0, 1.0], [2.0, 2.0], [2.0, 4.0]], dims=("problem", "neuron"), coords={"problem": [-1, 0, 3]}
    )
    with pytest.raises(ValueError, match=r"the data lacks 8 along 'problem', which the data has. Leave them out"):
        neurons.relative_threshold(threshold, drive)
    found = neurons.relative_threshold(threshold, drive.isel(problem=[0, 1]))
    assert found.problem.values.tolist() == [0, 3]
    np.testing.assert_allclose(found.relative_threshold, [[4, 2 / 3], [4, 4 / 3]], rtol=0.05)
    np.testing.assert_allclose(found.distance, [[2, 0], [2, 2 / 3]], atol=0.1)
    with pytest.raises(ValueError, match=r"the data lacks 0, 3, 8 along 'problem'"):
        neurons.relative_threshold(threshold.assign_coords(problem=[50, 51, 52]), drive)
    with pytest.raises(ValueError, match=r"2 neurons of the data have a constant drive"):
        neurons.relative_threshold(threshold.isel(problem=0, drop=True), xr.zeros_like(drive))
    with pytest.raises(ValueError, match=r"has no dim besides problem, neuron; give it over time"):
        neurons.relative_threshold(threshold, threshold)


def test_time_constants_in_seconds_give_the_same_fi_curve():
    tau = xr.DataArray([20.0, 40.0], dims="neuron", attrs={"units": "ms"})
    properties = xr.Dataset({"tau_soma": tau, "threshold": ("neuron", [1.0, 1.0])})
    expected = neurons.fi_curve(properties, [2.0])
    seconds = (tau / 1000).assign_attrs(units="s")
    xr.testing.assert_allclose(neurons.fi_curve(properties.assign(tau_soma=seconds), [2.0]), expected)
    with pytest.raises(ValueError, match="'tau_soma' is in 'min'; expected 'ms' or 's'"):
        neurons.fi_curve(properties.assign(tau_soma=tau.assign_attrs(units="min")), [2.0])


def test_a_bias_shifts_the_curve_by_its_own_size():
    tuned = xr.Dataset({"tau_soma": ("neuron", [20.0, 20.0]), "threshold": ("neuron", [1.0, 1.0])})
    shifted = neurons.fi_curve(tuned.assign(bias=("neuron", [0.5, -1.0])), [1.0, 2.0, 3.0], dt=0.1)
    plain = neurons.fi_curve(tuned, [1.5, 2.5, 3.5], dt=0.1)
    np.testing.assert_allclose(shifted.firing_rate[0], plain.firing_rate[0])
    assert shifted.rheobase.values.tolist() == [0.5, 2.0]
