"""pynapple's objects into labelled arrays and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from ip2lab.analysis import from_events, from_pynapple, neurons, population, to_pynapple

RECORDINGS = Path(__file__).parents[3] / "shared" / "reference" / "recordings"
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


def test_wrong_pynapple_data_and_arguments_are_refused():
    with pytest.raises(TypeError, match="data is a ndarray; expected a pynapple TsGroup, TsdFrame or Tsd"):
        from_pynapple(np.zeros(3))
    with pytest.raises(ValueError, match=r"need bin=\.\.\., the width of a bin in ms"):
        from_pynapple(group())
    with pytest.raises(ValueError, match=r"bin, onsets, window and recorded are for spike trains"):
        from_pynapple(nap.Tsd(t=np.arange(5.0), d=np.arange(5.0)), bin=10)
    spikes = from_pynapple(group(), bin=20)
    with pytest.raises(
        ValueError, match=r"dims trial, time, neuron; pynapple knows time and neuron only: select one trial"
    ):
        to_pynapple(spikes.expand_dims("trial"))
    with pytest.raises(ValueError, match=r"whole numbers as labels of 'neuron'"):
        to_pynapple(spikes.assign_coords(neuron=["a", "b", "c"]))


def trains(seed, spikes=200, end=10.0):
    """Draw three trains of samples at 30 kHz, one of them empty."""
    rng = np.random.default_rng(seed)
    return {n: np.unique(rng.integers(0, end * 30_000, m)) / 30_000 for n, m in ((3, spikes), (8, 0), (21, spikes))}


def as_table(spikes):
    return {
        "time": np.concatenate(list(spikes.values())),
        "unit": np.repeat(list(spikes), [len(train) for train in spikes.values()]),
    }


def as_group(spikes, support=None, **options):
    return nap.TsGroup({n: nap.Ts(t) for n, t in spikes.items()}, time_support=support, **options)


def inside(spikes, spans):
    return {n: t[((t[:, None] >= spans[:, 0]) & (t[:, None] <= spans[:, 1])).any(axis=1)] for n, t in spikes.items()}


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1000),
    cuts=st.lists(st.integers(1, 10 * 30_000 - 1), min_size=3, max_size=7, unique=True),
    bin=st.sampled_from([10, 33.3, 50]),
    way=st.sampled_from(["support", "restricted", "recorded"]),
)
def test_gaps_of_the_time_support_are_not_recorded(seed, cuts, bin, way):
    ends = np.sort([*cuts[: len(cuts) // 2 * 2 - 2], 0, 10 * 30_000]) / 30_000
    spans = ends.reshape(-1, 2)
    spikes = inside(trains(seed), spans)
    support = nap.IntervalSet(spans)
    if way == "support":
        units, more = as_group(spikes, support), {}
    elif way == "restricted":
        units, more = as_group(trains(seed), nap.IntervalSet(0, 10)).restrict(support), {}
    else:
        units, more = as_group(spikes, nap.IntervalSet(0, 10)), {"recorded": support}
    onsets = np.random.default_rng(seed).integers(0, 11 * 30_000, 20) / 30_000
    for call in ({}, {"window": (-100, 5000)}, {"onsets": onsets, "window": (-200, 800)}):
        wanted = from_events(as_table(spikes), bin=bin, recorded=spans, clock="s", neurons=list(spikes), **call)
        xr.testing.assert_identical(from_pynapple(units, bin=bin, **call, **more), wanted)


def test_intervals_that_touch_leave_no_gap():
    with pytest.warns(UserWarning, match="Removing 1 microsecond"):
        support = nap.IntervalSet([0, 5], [5, 10])
    spikes = from_pynapple(as_group(trains(0), support), bin=30)
    assert spikes.sizes["time"] == 333 and spikes.recorded.all()
    assert from_pynapple(as_group(trains(0), nap.IntervalSet(0, 9).split(2.5)), bin=100).recorded.all()


def test_a_time_support_that_was_made_up_from_spikes():
    """Without one, pynapple takes the stretches from the first to the last spike of each unit."""
    units = nap.TsGroup({1: nap.Ts(np.array([0.0, 0.095])), 2: nap.Ts(np.array([0.2, 0.4]))})
    assert len(units.time_support) == 2
    spikes = from_pynapple(units, bin=50)
    assert spikes.sizes["time"] == 8 and spikes.recorded.all()
    with pytest.warns(UserWarning, match=r"first to the last event \(from 0 to 400 ms\), and 1 of 9 bins"):
        assert from_pynapple(units, bin=50, window=(0, 450)).recorded.values.tolist() == [True] * 8 + [False]
    assert from_pynapple(units, bin=50, window=(0, 450), recorded=(0, 1)).recorded.all()


def test_onsets_of_pynapples_own_and_missing_ones():
    units = as_group(trains(1), nap.IntervalSet(0, 10))
    call = {"bin": 50, "window": (-200, 800)}
    cut = from_pynapple(units, onsets=nap.Ts(np.array([1.0, 9.5])), **call)
    assert cut.recorded.all("time").values.tolist() == [True, False]
    with pytest.raises(ValueError, match=r"1 of the 3 onsets are NaN or infinite \(trials 1\)"):
        from_pynapple(units, onsets=[1.0, np.nan, 9.5], **call)
    kept = from_pynapple(units, onsets=[1.0, np.nan, 9.5], missing="drop", **call)
    xr.testing.assert_equal(kept, cut.assign_coords(trial=[0, 2]))
    with pytest.raises(ValueError, match="onsets need a window"):
        from_pynapple(units, onsets=[1.0], bin=50)
    with pytest.raises(ValueError, match="the data hold no unit"):
        from_pynapple(nap.TsGroup({}, time_support=nap.IntervalSet(0, 1)), bin=50)


@pytest.mark.parametrize("name", ["time", "neuron", "trial", "recorded"])
@pytest.mark.parametrize("call", [{}, {"onsets": [2.0], "window": (0, 500)}])
def test_metadata_leave_the_dims_alone(name, call):
    plain = from_pynapple(as_group(trains(2), nap.IntervalSet(0, 10)), bin=50, **call)
    values = np.array([500.0, 1000.0, 3.0])
    units = as_group(trains(2), nap.IntervalSet(0, 10), metadata={name: values, f"unit_{name}": values + 1})
    spikes = from_pynapple(units, bin=50, **call)
    xr.testing.assert_equal(spikes.drop_vars([f"unit_{name}", f"unit_unit_{name}"]), plain)
    assert spikes[f"unit_unit_{name}"].values.tolist() == values.tolist()
    assert spikes[f"unit_{name}"].values.tolist() == (values + 1).tolist()
    np.testing.assert_array_equal(neurons.firing_rate(spikes), neurons.firing_rate(plain))


def test_metadata_of_several_values_are_left_out():
    units = as_group(trains(2), nap.IntervalSet(0, 10), metadata={"shape": np.ones((3, 4)), "area": ["a", "b", None]})
    with pytest.warns(UserWarning, match="metadata 'shape' has several values a unit and is left out"):
        spikes = from_pynapple(units, bin=50)
    assert set(spikes.coords) == {"time", "neuron", "recorded", "area"}


def test_signals_over_several_intervals_keep_their_gaps():
    t = np.arange(600) / 30
    d = np.random.default_rng(0).normal(size=(600, 2))
    whole = nap.TsdFrame(t=t, d=d, columns=["x", "y"], metadata={"time": [1, 2], "depth": [3, 4]})
    full = from_pynapple(whole)
    assert full.recorded.all() and full.unit_time.values.tolist() == [1, 2] and full.depth.values.tolist() == [3, 4]
    cut = from_pynapple(whole.restrict(nap.IntervalSet([0, 8, 15], [5, 12.01, 30])))
    assert 0.5 < float(cut.recorded.mean()) < 1 and np.allclose(np.diff(cut.time), 1000 / 30)
    np.testing.assert_allclose(cut.time, full.time, atol=1e-5)
    xr.testing.assert_equal(
        cut, full.where(cut.recorded.values[:, None]).assign_coords(time=cut.time, recorded=cut.recorded)
    )
    back = to_pynapple(cut)
    np.testing.assert_allclose(back.t, t[cut.recorded.values])
    np.testing.assert_array_equal(back.d, d[cut.recorded.values])
    assert len(back.time_support) == 3 and list(back.metadata["unit_time"]) == [1, 2]
    assert from_pynapple(whole[:, 0].restrict(nap.IntervalSet([0, 8], [5, 9]))).isnull().sum() > 0
    uneven = nap.Tsd(t=np.array([0, 1, 2, 3, 5.5, 6.5, 7.5]), d=np.arange(7.0))  # no common grid
    assert from_pynapple(uneven).time.values.tolist() == [0, 1000, 2000, 3000, 5500, 6500, 7500]
    with pytest.raises(ValueError, match="must rise in equal steps"):
        to_pynapple(from_pynapple(uneven).expand_dims(neuron=[0]))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), mask=st.lists(st.booleans(), min_size=4, max_size=30))
def test_what_was_recorded_goes_there_and_back(seed, mask):
    mask = np.array([True, *mask, True])
    rng = np.random.default_rng(seed)
    counts = xr.DataArray(
        rng.poisson(1, (mask.size, 3)),
        dims=("time", "neuron"),
        coords={"time": 20.0 * np.arange(mask.size) - 100, "neuron": [8, 1, 3], "recorded": ("time", mask)},
        name="spikes",
        attrs={"units": "1"},
    ).assign_coords(depth=("neuron", [8.0, 1.0, 3.0]), rate=("neuron", ["h", "a", "c"]))
    for data in (counts, *([] if mask.all() else [counts.where(counts.recorded)])):
        units = to_pynapple(data)
        assert isinstance(units, nap.TsGroup) and dict(units["unit_rate"]) == {8: "h", 1: "a", 3: "c"}
        assert float(units.time_support.tot_length()) == pytest.approx(0.02 * mask.sum())
        back = from_pynapple(units, bin=20)
        xr.testing.assert_allclose(
            back.drop_vars("unit_rate"), data.where(data.recorded).sel(neuron=[1, 3, 8]).drop_vars("rate")
        )
        np.testing.assert_array_equal(back.recorded, mask)


def test_what_pynapple_cannot_hold():
    spikes = from_pynapple(as_group(trains(3), nap.IntervalSet([0, 3], [2, 5])), bin=50)
    assert spikes.dtype == float and isinstance(to_pynapple(spikes), nap.TsGroup)
    whole = spikes.sel(time=slice(0, 1500))  # real numbers still, since the rest was not recorded everywhere
    assert whole.dtype == float and isinstance(to_pynapple(whole), nap.TsGroup)
    assert isinstance(to_pynapple((spikes / 0.05).assign_attrs(units="Hz")), nap.TsdFrame)
    with pytest.raises(ValueError, match="neuron has the labels 3 more than once; give each its own"):
        to_pynapple(spikes.assign_coords(neuron=[3, 3, 8]))
    with pytest.raises(ValueError, match="nothing of 'spikes' was recorded"):
        to_pynapple(spikes.assign_coords(recorded=False & spikes.recorded))
    with pytest.raises(
        ValueError, match="'recorded' of 'spikes' has dims time, neuron; pynapple knows one time_support"
    ):
        to_pynapple(spikes.assign_coords(recorded=spikes.notnull()))
    with pytest.raises(ValueError, match="'spikes' holds NaN or infinite values"):
        to_pynapple(spikes.drop_vars("recorded"))
    for name in ("count", "index", "rates", "time_support"):
        named = to_pynapple(spikes.assign_coords({name: ("neuron", [1, 2, 3])}))
        assert list(named.metadata[f"unit_{name}"]) == [1, 2, 3]


def test_real_cells_with_gaps():
    if not RECORDINGS.is_dir():
        pytest.skip("no real recordings beside the checkout")
    found = np.load(RECORDINGS / "suite2p_cells.npz")
    frames = nap.TsdFrame(t=np.arange(2000) / 30, d=found["F"].T, columns=found["cell"])
    full = from_pynapple(frames)
    np.testing.assert_array_equal(full, found["F"].T)
    cut = from_pynapple(frames.restrict(nap.IntervalSet([0, 20.5, 50], [10, 40, 66])))
    kept = cut.recorded.values
    assert cut.sizes["time"] == 66 * 30 + 1 and 0.6 < kept.mean() < 0.8
    np.testing.assert_array_equal(cut.values[kept], found["F"].T[: cut.sizes["time"]][kept])
    assert np.isnan(cut.values[~kept]).all()
    assert population.pca(cut, n_components=3).sizes["component"] == 3
    np.testing.assert_allclose(to_pynapple(cut).d, frames.restrict(to_pynapple(cut).time_support).d)


@pytest.mark.filterwarnings("ignore:The 'manufacturer' field is deprecated")  # pynwb's, of this old file
def test_real_units_of_an_nwb_file():
    if not RECORDINGS.is_dir():
        pytest.skip("no real recordings beside the checkout")
    pytest.importorskip("pynwb")
    units = nap.load_file(str(RECORDINGS / "A8604.nwb"))["units"]
    spikes = from_pynapple(units, bin=100)
    assert spikes.recorded.all() and spikes.sizes == {"time": 10873, "neuron": 3}
    gaps = units.restrict(nap.IntervalSet([0.05, 300, 900], [200, 700, 1000]))
    cut = from_pynapple(gaps, bin=100, window=(50, 1_000_050))
    assert int(cut.recorded.sum()) == 1999 + 4000 - 1 + 1000 - 1
    counted = gaps.count(0.1, ep=nap.IntervalSet(300.05, 699.95))
    np.testing.assert_array_equal(cut.sel(time=slice(300_049, 699_900)), counted.d)
