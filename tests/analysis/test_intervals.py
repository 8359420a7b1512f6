"""Intervals between spikes against elephant's values, closed forms and laws."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from ip2lab.analysis import neurons

ELEPHANT = json.loads((Path(__file__).parents[1] / "data" / "elephant" / "intervals.json").read_text())


def trains(*spike_times, duration=3000, **extra):
    values = np.zeros((len(spike_times), duration), bool)
    for row, when in zip(values, spike_times, strict=True):
        row[list(when)] = True
    return xr.DataArray(
        values, dims=("neuron", "time"), coords={"time": np.arange(float(duration)), **extra}, name="spikes"
    )


def test_intervals_and_their_statistics_equal_those_of_elephant():
    data = trains(*(train["times_ms"] for train in ELEPHANT["trains"]))
    found = neurons.interspike_intervals(data)
    for name in ("mean_interval", "cv", "lv"):
        np.testing.assert_allclose(found[name], [train[name] for train in ELEPHANT["trains"]])
    np.testing.assert_allclose(neurons.firing_rate(data), [train["rate"] for train in ELEPHANT["trains"]])
    assert found.mean_interval.units == "ms"


def test_poisson_has_cv_and_lv_of_one_and_a_clock_of_zero():
    rng = np.random.default_rng(0)
    poisson = rng.random((20, 100_000)) < 0.01
    data = xr.DataArray(poisson, dims=("trial", "time"), coords={"time": 0.1 * np.arange(100_000)})
    found = neurons.interspike_intervals(data, trial="trial")
    n = int(found.intervals)
    # bins make a geometric distribution: its CV is the root of 1 - p
    assert float(found.cv) == pytest.approx(np.sqrt(0.99), abs=6 / np.sqrt(n))
    assert float(found.lv) == pytest.approx(1, abs=0.05)
    clock = neurons.interspike_intervals(trains(range(0, 3000, 50)))
    assert (float(clock.mean_interval[0]), float(clock.cv[0]), float(clock.lv[0])) == (50, 0, 0)


def test_trials_are_pooled_and_never_bridged():
    both = xr.concat([trains([10, 30]), trains([100, 140, 190])], "trial")
    found = neurons.interspike_intervals(both, trial="trial")
    assert (int(found.intervals[0]), float(found.mean_interval[0])) == (3, pytest.approx(110 / 3))
    index = neurons.adaptation_index(both, trial="trial")
    assert float(index[0]) == pytest.approx(10 / 90)
    apart = neurons.interspike_intervals(both)
    assert apart.mean_interval.dims == ("trial", "neuron")


def test_too_few_spikes_are_undefined_beside_their_number():
    found = neurons.interspike_intervals(trains([], [5], [5, 10], [5, 10, 30]))
    assert found.intervals.values.tolist() == [0, 0, 1, 2]
    assert np.isnan(found.mean_interval.values).tolist() == [True, True, False, False]
    assert np.isnan(found.cv.values).tolist() == [True, True, True, False]
    assert np.isnan(neurons.adaptation_index(trains([], [5, 10], [5, 10, 30])).values).tolist() == [True, True, False]


def test_adaptation_index_of_a_geometric_slowing():
    when = np.cumsum([0, 10, 20, 40, 80, 160])
    assert float(neurons.adaptation_index(trains(when))[0]) == pytest.approx(1 / 3)
    assert float(neurons.adaptation_index(trains(when[-1] - when))[0]) == pytest.approx(-1 / 3)


def test_several_spikes_in_a_bin_are_refused():
    with pytest.raises(
        ValueError, match=r"'spikes' holds values other than 0 and 1; intervals need bins of at most one"
    ):
        neurons.interspike_intervals(2 * trains([1, 5]).astype(int))
    with pytest.raises(ValueError, match=r"no dim 'trial'; it has neuron, time"):
        neurons.adaptation_index(trains([1, 5]), trial="trial")
