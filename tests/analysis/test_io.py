"""Tables of spikes and pynapple's objects, there and back."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from ip2lab.analysis import from_events, from_pynapple, neurons, population, to_pynapple


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([1.0, 7.0, 0.1]))
def test_a_table_is_numpys_histogram(seed, width):
    rng = np.random.default_rng(seed)
    n = rng.integers(1, 200)
    table = pd.DataFrame(
        {"time": rng.uniform(-20, 120, n), "unit": rng.integers(0, 5, n), "trial": rng.integers(0, 3, n)}
    )
    spikes = from_events(table, bin=width, trial="trial", window=(0, 70), neurons=range(5), trials=range(3))
    edges = np.append(spikes.time.values, spikes.time.values[-1] + width)
    for i in range(3):
        for j in range(5):
            own = table.time[(table.trial == i) & (table.unit == j)]
            np.testing.assert_array_equal(spikes[i, :, j], np.histogram(own[own < edges[-1]], edges)[0])


def test_onsets_cut_trials_out_of_a_recording_in_seconds():
    table = {"time": [0.95, 1.0, 1.2, 1.99, 2.0, 5.0], "unit": ["a", "a", "b", "a", "a", "b"]}
    spikes = from_events(table, bin=100, onsets=[1.0, 2.0, 4.0], window=(-100, 500), clock="s")
    assert spikes.sizes == {"trial": 3, "time": 6, "neuron": 2}
    assert spikes.sel(neuron="a", trial=0).values.tolist() == [1, 1, 0, 0, 0, 0]
    assert spikes.sel(neuron="a", trial=1).values.tolist() == [1, 1, 0, 0, 0, 0]
    assert int(spikes.sel(neuron="b").sum()) == 1 and int(spikes.sel(trial=2).sum()) == 0
    assert spikes.time.attrs["units"] == "ms"
    assert neurons.firing_rate(spikes).units == "Hz"


def test_one_stretch():
    spikes = from_events({"t": [0.0, 10.0, 25.0], "cell": [2, 1, 2]}, bin=10, time="t", unit="cell")
    assert spikes.dims == ("time", "neuron") and spikes.values.tolist() == [[0, 1], [1, 0], [0, 1]]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"unit": "cell"}, KeyError, r"no column 'cell'; they have time, unit"),
        ({"clock": "min"}, ValueError, r"clock='min'; times are in 'ms' or in 's'"),
        ({"onsets": [0.0]}, ValueError, r"onsets need a window=..., such as"),
        ({"onsets": [0.0], "trial": "unit"}, ValueError, r"give trial \(a column\) or onsets"),
        ({"bin": 0}, ValueError, r"bin=0, window=.*expected a positive width"),
        ({"window": (0, 5)}, ValueError, r"window=\(0, 5\).*at least one bin"),
        ({"neurons": ["b"]}, ValueError, r"neurons=b lacks a, which have spikes"),
        ({"events": {"time": [np.nan], "unit": ["a"]}}, ValueError, r"1 of the times in 'time' are NaN"),
        ({"events": {"time": [], "unit": []}}, ValueError, r"have lengths 0 and 0; expected spikes"),
        (
            {"onsets": [0.0], "window": (0, 20), "trials": [1, 2]},
            ValueError,
            r"2 trials are named, 1 onsets given; expected a row",
        ),
    ],
)
def test_from_events_says_what_is_wrong(changes, error, message):
    arguments = {"events": {"time": [1.0, 12.0], "unit": ["a", "b"]}, "bin": 10} | changes
    with pytest.raises(error, match=message):
        from_events(arguments.pop("events"), **arguments)


nap = pytest.importorskip("pynapple")


def group():
    rng = np.random.default_rng(0)
    trains = {i: nap.Ts(np.sort(rng.uniform(0, 10, 50 * (i + 1)))) for i in (1, 3, 8)}
    support = nap.IntervalSet(0, 10)
    return nap.TsGroup(trains, time_support=support, metadata={"area": np.array(["v1", "v1", "pfc"])})


def test_spike_trains_go_there_and_back():
    units = group()
    spikes = from_pynapple(units, bin=20)
    assert spikes.sizes == {"time": 500, "neuron": 3} and spikes.area.values.tolist() == ["v1", "v1", "pfc"]
    np.testing.assert_array_equal(spikes.sum("time"), [len(units[i].t) for i in (1, 3, 8)])
    counted = units.count(0.02)
    assert float((spikes.values == counted.d[:500]).mean()) > 0.999  # their bin edges may round the other way
    back = to_pynapple(spikes)
    xr.testing.assert_identical(from_pynapple(back, bin=20).drop_vars("area"), spikes.drop_vars("area"))
    assert list(back["area"]) == ["v1", "v1", "pfc"]


def test_trials_from_a_group_and_signals():
    spikes = from_pynapple(group(), bin=50, onsets=[1.0, 3.0], window=(-200, 800))
    assert spikes.sizes == {"trial": 2, "time": 20, "neuron": 3}
    signal = nap.TsdFrame(
        t=np.arange(100) / 100, d=np.random.default_rng(0).normal(size=(100, 4)), columns=[2, 4, 6, 8]
    )
    data = from_pynapple(signal)
    assert data.time.values[1] == 10.0 and population.pca(data, n_components=2).sizes["component"] == 2
    back = to_pynapple(data)
    np.testing.assert_allclose(back.d, signal.d)
    np.testing.assert_allclose(back.t, signal.t)
    assert list(back.columns) == [2, 4, 6, 8]
    assert from_pynapple(nap.Tsd(t=np.arange(5.0), d=np.arange(5.0))).dims == ("time",)


def test_pynapple_refuses():
    with pytest.raises(TypeError, match="data is a ndarray; expected a pynapple TsGroup, TsdFrame or Tsd"):
        from_pynapple(np.zeros(3))
    with pytest.raises(ValueError, match=r"need bin=\.\.\., the width of a bin in ms"):
        from_pynapple(group())
    pieces = group().restrict(nap.IntervalSet([0, 5], [2, 8]))
    with pytest.raises(ValueError, match=r"the recording is in 2 pieces; give onsets and window"):
        from_pynapple(pieces, bin=10)
    with pytest.raises(ValueError, match=r"bin, onsets and window are for spike trains"):
        from_pynapple(nap.Tsd(t=np.arange(5.0), d=np.arange(5.0)), bin=10)
    spikes = from_pynapple(group(), bin=20)
    with pytest.raises(
        ValueError, match=r"dims trial, time, neuron; pynapple knows time and neuron only: select one trial"
    ):
        to_pynapple(spikes.expand_dims("trial"))
    with pytest.raises(ValueError, match=r"whole numbers as labels of 'neuron'"):
        to_pynapple(spikes.assign_coords(neuron=["a", "b", "c"]))
