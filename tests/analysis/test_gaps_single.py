"""Gaps, clocks and units in what single neurons do, against numpy on the recorded part, laws and real recordings."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ip2lab.analysis import from_events, neurons

RECORDINGS = Path(__file__).parents[3] / "shared" / "reference" / "recordings"


def recording(name):
    if not (RECORDINGS / name).exists():
        pytest.skip(f"no {name} in {RECORDINGS}")
    return RECORDINGS / name


def poisson(rate=20.0, trials=60, times=500, cells=3, dt=2.0, seed=0):
    values = np.random.default_rng(seed).random((trials, times, cells)) < rate * dt / 1000
    coords = {"time": ("time", dt * np.arange(times), {"units": "ms"}), "cue": ("trial", np.arange(trials) % 2)}
    return xr.DataArray(values, dims=("trial", "time", "neuron"), coords=coords, name="spikes")


def with_gaps(data, seed=0, lost=True):
    """Trials of different lengths, holes, and neurons lost in some trials; NaN there."""
    rng = np.random.default_rng(seed)
    trials, times, cells = data.shape
    mask = np.arange(times) < rng.integers(times // 4, times, trials)[:, None]
    for row in mask[::3]:
        start = rng.integers(times // 4)
        row[start : start + times // 10] = False
    mask = np.repeat(mask[..., None], cells, 2)
    if lost:
        mask &= rng.random((trials, 1, cells)) < 0.8
    return data.astype(float).where(mask).assign_coords(recorded=(data.dims, mask))


def test_rate_is_spikes_over_the_time_that_was_recorded():
    data = with_gaps(poisson())
    found = neurons.firing_rate(data)
    values, mask = data.values, data.recorded.values
    for trial, neuron in np.ndindex(60, 3):
        own = values[trial, mask[trial, :, neuron], neuron]
        expected = own.sum() / (own.size * 0.002) if own.size else np.nan
        np.testing.assert_allclose(found[trial, neuron], expected)
    assert (found.recorded.values == mask.any(1)).all() and not found.recorded.all()  # so that it can be gone on with
    assert neurons.selectivity(found, "cue").notnull().all()
    mean = float((found * mask.sum(1)).sum() / mask.sum())
    assert mean == pytest.approx(20, abs=4 * np.sqrt(20 / (mask.sum() * 0.002)))
    smooth = neurons.firing_rate(data, width=30.0)
    assert (np.isnan(smooth.values) == ~mask).all()
    flat = xr.ones_like(poisson(dt=5.0), dtype=int).assign_coords(recorded=(data.dims, mask))
    flat = neurons.firing_rate(flat, width=30.0)
    np.testing.assert_allclose(flat.values[mask], 200)
    lazy = neurons.firing_rate(data.chunk(trial=7), width=30.0)
    np.testing.assert_allclose(lazy, smooth)


def test_band_is_over_the_trials_that_were_recorded_at_each_time():
    data = with_gaps(poisson(trials=12, times=120))
    found = neurons.psth(data, width=10.0)
    smooth = neurons.firing_rate(data, width=10.0).values
    n = data.recorded.values.sum(0)
    assert found.trials.dims == ("time", "neuron") and (found.trials.values == n).all()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # means of nothing
        mean, sd = np.nanmean(smooth, 0), np.nanstd(smooth, 0, ddof=1)
    np.testing.assert_allclose(found.rate, mean)
    half = stats.t.ppf(0.975, np.maximum(n - 1, 1)) * sd / np.sqrt(np.maximum(n, 1))
    np.testing.assert_allclose(found.upper, np.where(n > 1, mean + half, np.nan))
    assert np.isnan(found.lower.values[n < 2]).all() and (n == 1).any()
    together = data.assign_coords(recorded=data.recorded.any("neuron"))
    assert neurons.psth(together.fillna(0), width=10.0).trials.dims == ("time",)
    assert neurons.psth(poisson(), width=10.0).trials.dims == ()


def test_no_interval_spans_what_was_not_recorded():
    data = with_gaps(poisson(rate=60.0, trials=9))
    found = neurons.interspike_intervals(data, trial="trial")
    index = neurons.adaptation_index(data, trial="trial")
    for neuron in range(3):
        pieces = []
        for trial in range(9):
            mask, train = data.recorded.values[trial, :, neuron], data.values[trial, :, neuron]
            edges = np.flatnonzero(np.diff(np.r_[0, mask.astype(int), 0]))
            pieces += [np.diff(2.0 * np.flatnonzero(train[a:b] == 1)) for a, b in edges.reshape(-1, 2)]
        check_intervals(found.isel(neuron=neuron), float(index[neuron]), pieces)


def check_intervals(found, index, pieces):
    """Compare with the intervals of each stretch."""
    every = np.concatenate([np.zeros(0), *pieces])
    pairs = np.concatenate([np.zeros((0, 2)), *(np.stack([p[:-1], p[1:]], 1) for p in pieces if len(p) > 1)])
    assert int(found.intervals) == every.size
    np.testing.assert_allclose(found.mean_interval, every.mean() if every.size else np.nan)
    np.testing.assert_allclose(found.cv, every.std() / every.mean() if every.size > 1 else np.nan)
    change = (pairs[:, 1] - pairs[:, 0]) / pairs.sum(1)
    np.testing.assert_allclose(found.lv, 3 * (change**2).mean() if len(pairs) else np.nan)
    np.testing.assert_allclose(index, change.mean() if len(pairs) else np.nan, atol=1e-12)


@pytest.mark.parametrize("clock", ["ms", "s", 30_000, "timedelta"])
def test_intervals_of_events_are_exact_in_any_order_and_on_any_clock(clock):
    rng = np.random.default_rng(0)
    per_ms = {"ms": 1.0, "s": 1000.0, 30_000: 1000 / 30_000, "timedelta": 1e-6}[clock]
    ticks = rng.choice(60_000_000, 600, replace=False) + 10**12 * (clock != "s")
    when = ticks / 30_000 if clock == "s" else ticks
    when = pd.to_timedelta(when, unit="ns") if clock == "timedelta" else when
    table = pd.DataFrame({"at": when, "cell": rng.choice(["b", "a", "c"], 600), "block": rng.integers(0, 3, 600)})
    settings = {"time": "at", "unit": "cell", "trial": "block", "clock": "ms" if clock == "timedelta" else clock}
    found, index = (f(table, **settings) for f in (neurons.interspike_intervals, neurons.adaptation_index))
    assert found.neuron.values.tolist() == ["a", "b", "c"] and found.mean_interval.units == "ms"
    number = ticks / 30_000 * 1000 if clock == "s" else ticks * per_ms
    for name in "abc":
        rows = [number[(table.cell == name) & (table.block == block)] for block in range(3)]
        check_intervals(found.sel(neuron=name), float(index.sel(neuron=name)), [np.diff(np.sort(r)) for r in rows])


def test_events_and_bins_agree_and_spans_are_not_bridged():
    data = poisson(trials=1, times=5000, cells=2).isel(trial=0, drop=True)
    column, row = np.nonzero(data.values)
    table = {"time": 2.0 * column + 0.0, "unit": row}
    xr.testing.assert_allclose(
        neurons.interspike_intervals(table).drop_vars("neuron"), neurons.interspike_intervals(data)
    )
    spans = [(0.0, 3000.0), (4000.0, 9000.0), (9500.0, 1e4)]
    inside = sum((data.time >= a) & (data.time <= b) for a, b in spans) > 0
    kept = inside.values[column]
    found = neurons.interspike_intervals({k: v[kept] for k, v in table.items()}, recorded=spans)
    gaps = neurons.interspike_intervals(data.assign_coords(recorded=inside))
    xr.testing.assert_allclose(found.drop_vars("neuron"), gaps)
    with pytest.raises(ValueError, match=r"of the 'time' lie outside what was recorded \(the first 30"):
        neurons.interspike_intervals(table, recorded=spans)
    with pytest.raises(KeyError, match=r"the events have no column 'cell'; they have time, unit"):
        neurons.adaptation_index(table, unit="cell")
    with pytest.raises(
        ValueError, match=r"clock=0; times are in 'ms' or in 's', or counts of samples: give their rate"
    ):
        neurons.interspike_intervals(table, clock=0)
    with pytest.raises(ValueError, match=r"clock='s': that is for a table of events"):
        neurons.interspike_intervals(data, clock="s")


def test_pynapples_group_knows_what_was_recorded():
    nap = pytest.importorskip("pynapple")
    support = nap.IntervalSet([0.0, 5.0], [2.0, 9.0])
    rng = np.random.default_rng(0)
    trains = {7: nap.Ts(np.sort(rng.uniform(0, 9, 300))), 3: nap.Ts(np.sort(rng.uniform(0, 9, 40)))}
    group = nap.TsGroup(trains, time_support=support)
    found, index = neurons.interspike_intervals(group), neurons.adaptation_index(group)
    for name in (3, 7):
        when = 1000 * np.asarray(group[name].t)
        pieces = [np.diff(when[(when >= a) & (when <= b)]) for a, b in ((0, 2000), (5000, 9000))]
        check_intervals(found.sel(neuron=name), float(index.sel(neuron=name)), pieces)
    with pytest.raises(ValueError, match=r"trial=\['trial'\], clock='ms'; pynapple's groups have no trials"):
        neurons.interspike_intervals(group, trial="trial")


def test_selectivity_is_judged_by_the_recorded_trials():
    rng = np.random.default_rng(0)
    data = poisson(trials=40, times=60, cells=2)
    data = data.copy(data=rng.normal(size=data.shape) + data.cue.values[:, None, None]).rename("rates")
    data = data.assign_coords(rule=("trial", np.arange(40) // 2 % 2))
    gaps = with_gaps(data, seed=3)
    omega = neurons.selectivity(gaps, "cue")
    information = neurons.selectivity(gaps, "cue", measure="mutual_information", shuffles=20)
    mixed = neurons.mixed_selectivity(gaps, ["cue", "rule"])
    some = {"enough": 0, "few": 0}
    for time, neuron in np.ndindex(60, 2):
        own = gaps.isel(trial=gaps.recorded.values[:, time, neuron], time=[time], neuron=[neuron]).drop_vars("recorded")
        here = {"time": time, "neuron": neuron}
        few = np.unique(own.cue, return_counts=True)[1].min(initial=9) < 2 or np.unique(own.cue).size < 2
        some["few" if few else "enough"] += 1
        if few:
            assert np.isnan(omega.isel(here)) and np.isnan(information.isel(here))
            continue
        np.testing.assert_allclose(omega.isel(here), neurons.selectivity(own, "cue").squeeze(), atol=1e-12)
        alone = neurons.selectivity(own, "cue", measure="mutual_information", shuffles=20).squeeze()
        np.testing.assert_allclose(information.isel(here), alone)
        cells = {(c, r) for c, r in zip(own.cue.values, own.rule.values, strict=True)}
        if len(cells) == 4 and own.sizes["trial"] > 4:
            np.testing.assert_allclose(
                mixed.p_value.isel(here), neurons.mixed_selectivity(own, ["cue", "rule"]).p_value.squeeze(), atol=1e-9
            )
        else:
            assert mixed.p_value.isel(here).isnull().all()
    assert min(some.values()) > 3
    xr.testing.assert_allclose(neurons.selectivity(gaps.chunk(trial=9), "cue"), omega)


def test_what_a_neuron_tells_does_not_depend_on_its_neighbours():
    counts = np.random.default_rng(0).poisson(3, (60, 3)).astype(float)
    counts[:, 2] = np.random.default_rng(1).normal(size=60)
    data = xr.DataArray(counts, dims=("trial", "neuron"), coords={"cue": ("trial", np.arange(60) % 2)})
    settings = {"label": "cue", "measure": "mutual_information"}
    together = neurons.selectivity(data, **settings)
    for neuron in range(3):
        np.testing.assert_allclose(together[neuron], neurons.selectivity(data[:, neuron], **settings))


@pytest.mark.parametrize("silent", [bool, int, float, np.float32])
def test_a_silent_recording_is_a_recording(silent):
    data = xr.zeros_like(poisson(trials=8, times=50), dtype=silent).assign_coords(rule=("trial", np.arange(8) // 2 % 2))
    assert (neurons.firing_rate(data) == 0).all() and (neurons.firing_rate(data, width=9.0) == 0).all()
    for found in (neurons.psth(data), neurons.psth(data, by="cue")):
        assert (found.rate == 0).all() and (found.lower == 0).all() and (found.upper == 0).all()
    found = neurons.interspike_intervals(data, trial="trial")
    assert (found.intervals == 0).all() and found.cv.isnull().all() and found.mean_interval.isnull().all()
    for measure in ("omega_squared", "mutual_information"):
        assert (neurons.selectivity(data, "cue", measure=measure) == 0).all()
    assert (neurons.mixed_selectivity(data, ["cue", "rule"]).omega_squared == 0).all()
    one = data.isel(neuron=[0], time=slice(2), trial=slice(4))
    assert neurons.psth(one, by="cue").rate.shape == (2, 1, 2)


# ---------------------------------------------------------------- clocks and units

STEPS = [1, 1 / 1.25, 5, 16, 20, 100 / 3, 45]  # ms


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(STEPS),
    st.integers(0, 10**5),
    st.sampled_from(["f8 s", "f4 s", "f8 ms", "f4 ms", "timedelta", "i8"]),
)
def test_a_rate_is_the_same_on_every_clock(step, seconds, clock):
    data = poisson(trials=2, times=60, dt=1.0)
    exact = 1000.0 * seconds + step * np.arange(60)
    kind, _, unit = clock.partition(" ")
    if clock == "timedelta":
        times = ("time", np.round(exact * 1e6).astype("timedelta64[ns]"))
    elif clock == "i8":
        times = ("time", np.round(exact).astype(int))
    else:
        times = ("time", (exact / (1000 if unit == "s" else 1)).astype(kind), {"units": unit})
    given = data.assign_coords(time=times)
    resolution = {"f4": float(np.spacing(np.float32(exact.max()))), "i8": 1.0}.get(kind, 0.0)
    even = clock != "i8" or step == round(step)
    if 10 * resolution > step and not (even and clock == "i8"):
        try:
            found = neurons.firing_rate(given)
        except ValueError as error:
            assert "equal steps" in str(error) and str(given.time.dtype) in str(error)  # noqa: PT017
            return
    else:
        found = neurons.firing_rate(given)
    assert found.units == "Hz"
    np.testing.assert_allclose(found, data.sum("time") / (60 * step / 1000), rtol=1e-3 + 2 * resolution / (59 * step))


@pytest.mark.parametrize(
    ("time", "words"),
    [
        (("time", 0.033 * np.arange(60)), r"'time' of 'spikes' has steps of 0.033 and no units; .*units'\] = 's'"),
        (("time", 1.0 * np.arange(60), {"units": "us"}), r"is in 'us'; expected 'ms' or 's'"),
        (("time", 1.0 * np.arange(60), {"units": "Hz"}), r"is in 'Hz'; expected 'ms' or 's'"),
        (
            ("time", pd.date_range("2024", periods=60, freq="10ms")),
            r"holds dates; .*\.assign_coords\(time=data.time - ",
        ),
        (("time", np.r_[0:30, 31:61] * 10.0), r"must rise in equal steps; its steps go from 10 to 20 ms"),
        (("time", np.r_[0:30, 31:61] * 10), r"must rise in equal steps; its steps go from 10 to 20 ms"),
        (("time", np.arange(60)[::-1] * 10), r"must rise in equal steps; .* sort or interpolate"),
        (("time", (1e6 + 0.01 * np.arange(60)).astype("f4"), {"units": "s"}), r"as float32\)"),
        (("time", np.r_[np.nan, 1:60]), r"holds times that are NaN, NaT or infinite"),
    ],
)
@pytest.mark.parametrize("function", [neurons.firing_rate, neurons.psth, neurons.interspike_intervals])
def test_clocks_that_cannot_be_are_refused_with_what_to_write(function, time, words):
    with pytest.raises(ValueError, match=words):
        function(poisson(times=60).assign_coords(time=time))


def test_simulations_in_fine_steps_are_believed():
    data = poisson(times=60).assign_coords(time=("time", 0.05 * np.arange(60), {"units": "ms"}))
    np.testing.assert_allclose(neurons.firing_rate(data), data.sum("time") / 0.003)


def test_a_signal_is_never_spikes_per_second():
    rng = np.random.default_rng(0)
    data = poisson(times=40, dt=33.0).astype(float) * 0 + rng.normal(5, 2, (60, 40, 3))
    for unit in ("dF/F", "a.u.", "mV"):
        named = data.assign_attrs(units=unit)
        for function in (neurons.firing_rate, neurons.interspike_intervals, neurons.adaptation_index):
            with pytest.raises(ValueError, match=rf"'spikes' is in '{unit}', so it is a signal .*neurons.psth"):
                function(named)
        found = neurons.psth(named, width=40.0)
        assert {found[v].units for v in ("rate", "lower", "upper")} == {unit}
        np.testing.assert_allclose(found.rate.mean(), 5, atol=0.2)
    for function in (neurons.firing_rate, neurons.interspike_intervals):
        with pytest.raises(ValueError, match=r"'spikes' holds (-|\d).*; spikes are bool or"):
            function(data)
    assert neurons.psth(data).rate.units == "1"
    lazy = neurons.firing_rate(abs(data).chunk(trial=20))
    with pytest.raises(ValueError, match="whole counts per bin"):
        lazy.compute()
    mean = poisson().mean("trial").assign_attrs(units="1")  # said to be counts, on average
    np.testing.assert_allclose(neurons.firing_rate(mean), neurons.firing_rate(poisson()).mean("trial"))


def test_lazy_data_are_answered_or_told_how_to_chunk():
    data = poisson(trials=12, times=40).assign_coords(rule=("trial", np.arange(12) // 2 % 2))
    parts = data.chunk(time=7, trial=5, neuron=2)
    xr.testing.assert_allclose(neurons.firing_rate(parts).compute(), neurons.firing_rate(data))
    xr.testing.assert_allclose(neurons.psth(parts), neurons.psth(data))
    xr.testing.assert_allclose(neurons.selectivity(parts, "cue").compute(), neurons.selectivity(data, "cue"))
    with pytest.raises(ValueError, match=r"'spikes' is in 6 chunks along 'time'; join them: .chunk\(time=-1\)"):
        neurons.firing_rate(parts, width=9.0)
    with pytest.raises(ValueError, match=r"'spikes' is in 3 chunks along 'trial'; join them: .chunk\(trial=-1\)"):
        neurons.mixed_selectivity(parts, ["cue", "rule"])
    one = neurons.mixed_selectivity(parts.chunk(trial=-1), ["cue", "rule"])
    xr.testing.assert_allclose(one.compute(), neurons.mixed_selectivity(data, ["cue", "rule"]))
    lazy = data.drop_vars(["cue", "rule"]).chunk(trial=5)
    unknown = xr.DataArray(lazy.data[lazy.data.sum((1, 2)) > 0], dims=data.dims, name="spikes")
    with pytest.raises(ValueError, match=r"'spikes' has chunks of unknown sizes.*compute_chunk_sizes"):
        neurons.firing_rate(unknown)


# ---------------------------------------------------------------- labels of many kinds

LABELS = {
    "mixed": np.array([1, "a", 2.5] * 8, object),
    "tuples": pd.MultiIndex.from_tuples([("a", 1), ("b", 2), ("a", 2)] * 8).to_numpy(),
    "dates": pd.to_datetime(["2024-01-03", "2024-01-01", "2024-01-02"] * 8).to_numpy(),
    "numbers": np.array([10, 9, 100] * 8),
    "categories": pd.Categorical(["b", "a", "c"] * 8, categories=["z", "c", "b", "a"]),
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_of_any_kind_in_their_order(kind):
    data = poisson(trials=24, times=30).assign_coords(kind=("trial", LABELS[kind]))
    found = neurons.psth(data, by="kind")
    for place, value in enumerate(found.kind.values):
        rows = [i for i, label in enumerate(np.asarray(LABELS[kind])) if label == value]
        assert len(rows) == 8
        xr.testing.assert_allclose(found.rate[..., place].drop_vars("kind"), neurons.psth(data.isel(trial=rows)).rate)
    order = np.random.default_rng(0).permutation(24)
    assert neurons.psth(data.isel(trial=order), by="kind").kind.values.tolist() == found.kind.values.tolist()
    if kind == "numbers":
        assert found.kind.values.tolist() == [9, 10, 100]
    assert neurons.selectivity(data, "kind").shape == (30, 3)
    missing = data.assign_coords(kind=("trial", np.array([None, *list(LABELS[kind])[1:]], object)))
    for call in (lambda d: neurons.psth(d, by="kind"), lambda d: neurons.selectivity(d, "kind")):
        with pytest.raises(ValueError, match="1 of the labels 'kind' are missing"):
            call(missing)


def test_an_index_of_several_levels_along_the_trials():
    index = pd.MultiIndex.from_product([["a", "b"], [0, 1], range(6)], names=["cue", "rate", "repeat"])
    data = poisson(trials=24, times=30).drop_vars("cue")
    data = data.assign_coords(xr.Coordinates.from_pandas_multiindex(index, "trial"))
    plain = data.drop_vars(["trial", "cue", "rate", "repeat"]).assign_coords(cue=("trial", ["a"] * 12 + ["b"] * 12))
    for call in (
        lambda d: neurons.psth(d, by="cue").rate,
        lambda d: neurons.selectivity(d, "cue"),
        lambda d: neurons.selectivity(d, "cue", measure="mutual_information"),
        lambda d: neurons.interspike_intervals(d, trial="trial").cv,
    ):
        xr.testing.assert_allclose(call(data), call(plain))
    both = neurons.mixed_selectivity(data, ["cue", "rate"])
    assert both.effect.values.tolist() == ["cue", "rate", "cue:rate"]
    assert neurons.firing_rate(data).indexes["trial"].equals(index)
    with pytest.raises(ValueError, match="the data have a dim or a coord 'rate', and the result one of its own"):
        neurons.psth(data, by="rate")


# ---------------------------------------------------------------- real recordings


def test_one_subthalamic_neuron_before_and_during_movement():
    """Case studies of Kramer and Eden: 50 trials of 2 s at 1 ms."""
    with np.load(recording("stn_one_neuron.npz")) as found:
        arrays = {name: found[name] for name in found.files}
    train = next(v for v in arrays.values() if v.ndim == 2)
    train = train if train.shape[0] < train.shape[1] else train.T
    side = next(v for v in arrays.values() if v.size == train.shape[0] and v.ndim < 3).ravel()
    data = xr.DataArray(
        train.astype(int), dims=("trial", "time"), coords={"time": 1.0 * np.arange(train.shape[1])}, name="spikes"
    ).assign_coords(side=("trial", side))
    np.testing.assert_allclose(neurons.firing_rate(data), train.sum(1) / (train.shape[1] / 1000))
    found = neurons.psth(data, by="side", width=20.0)
    for value in np.unique(side):
        mean = neurons.firing_rate(data.isel(trial=side == value), width=20.0).mean("trial")
        np.testing.assert_allclose(found.rate.sel(side=value), mean)
    halves = [train[:, : train.shape[1] // 2].sum(1), train[:, train.shape[1] // 2 :].sum(1)]
    counts = xr.DataArray(np.stack(halves, 1), dims=("trial", "half"), coords={"side": ("trial", side)})
    omega = neurons.selectivity(counts, "side")
    for half in range(2):
        groups = [halves[half][side == value] for value in np.unique(side)]
        f, n, k = stats.f_oneway(*groups).statistic, len(side), len(groups)
        np.testing.assert_allclose(omega[half], (k - 1) * (f - 1) / ((k - 1) * (f - 1) + n))
    order = np.random.default_rng(0).permutation(len(side))
    own = xr.DataArray(side, dims="trial", coords={"trial": np.arange(len(side))}, name="side")
    named = data.drop_vars("side").assign_coords(trial=np.arange(len(side)))
    xr.testing.assert_allclose(neurons.psth(named, by=own[order], width=20.0), found)
    with_end = data.assign_coords(recorded=("time", np.arange(train.shape[1]) < 1500))
    np.testing.assert_allclose(neurons.firing_rate(with_end), train[:, :1500].sum(1) / 1.5)


def test_deconvolved_fluorescence_is_not_spikes():
    with np.load(recording("suite2p_cells.npz")) as found:
        spks = found["spks"]
    data = xr.DataArray(spks, dims=("neuron", "time"), coords={"time": np.arange(spks.shape[1]) / 30}, name="spks")
    with pytest.raises(ValueError, match=r"steps of 0.0333333 and no units; .* = 's'"):
        neurons.firing_rate(data)
    data.time.attrs["units"] = "s"
    with pytest.raises(ValueError, match=r"'spks' holds .*; spikes are bool or whole counts per bin"):
        neurons.firing_rate(data)
    parts = data.isel(time=slice(0, 2000)).values.reshape(len(spks), 20, 100)
    trials = xr.DataArray(parts, dims=("neuron", "trial", "time"), coords={"time": np.arange(100) / 30}, name="spks")
    trials.time.attrs["units"] = "s"
    found = neurons.psth(trials.assign_attrs(units="a.u."), width=1.0)
    assert found.rate.units == "a.u."
    np.testing.assert_allclose(found.rate, parts.mean(1), rtol=1e-5, atol=1e-3)


def test_three_sorted_units_with_a_gap():
    h5py = pytest.importorskip("h5py")
    with h5py.File(recording("A8604.nwb")) as file:
        when, ends = file["units/spike_times"][:], file["units/spike_times_index"][:]
    trains = np.split(when, ends[:-1])
    table = pd.DataFrame({"time": when, "unit": np.repeat(range(len(trains)), list(map(len, trains)))})
    spans = np.array([[when.min(), 300.0], [420.0, when.max()]])
    inside = table[((table.time >= 300) & (table.time <= 420)) == 0]
    found = neurons.interspike_intervals(inside.sample(frac=1, random_state=0), clock="s", recorded=spans)
    index = neurons.adaptation_index(inside, clock="s", recorded=spans)
    for unit, train in enumerate(trains):
        pieces = [np.diff(1000 * np.sort(train[(train >= a) & (train <= b)])) for a, b in spans]
        check_intervals(found.sel(neuron=unit), float(index.sel(neuron=unit)), pieces)


SPANS = np.array([[0, 100], [1000, 1100]])
STRETCHES = {
    "rows": SPANS,
    "durations": pd.to_timedelta(SPANS.ravel(), unit="ms").to_numpy().reshape(2, 2),
    "columns": {"start": [1000, 0], "end": [1100, 100]},
    "columns of durations": pd.DataFrame(
        {n: pd.to_timedelta(SPANS[:, i], unit="ms") for i, n in enumerate(("start", "end"))}
    ),
    "touching": [[0, 15], [15, 100], [1000, 1100]],
}


@pytest.mark.parametrize("recorded", STRETCHES)
@pytest.mark.parametrize("durations", [False, True])
def test_what_was_recorded_may_count_on_another_clock_than_the_events(recorded, durations):
    when = np.array([10.0, 20.0, 35.0, 1010.0, 1020.0])
    table = {"time": pd.to_timedelta(when, unit="ms") if durations else when, "unit": ["a"] * 5}
    found = neurons.interspike_intervals(table, recorded=STRETCHES[recorded])
    assert (found.intervals.item(), found.mean_interval.item()) == (3, pytest.approx(35 / 3))
    spikes = from_events(table, bin=1, recorded=STRETCHES[recorded])
    xr.testing.assert_allclose(neurons.interspike_intervals(spikes), found)


def test_pynapples_intervals_are_in_seconds_whatever_the_clock():
    nap = pytest.importorskip("pynapple")
    table = {"time": [10.0, 20.0, 1010.0, 1020.0], "unit": [1, 1, 1, 1]}
    found = neurons.interspike_intervals(table, recorded=nap.IntervalSet([0, 1], [0.1, 1.1]))
    assert (found.intervals.item(), found.mean_interval.item()) == (2, 10)


def test_events_as_tables_hold_them_keep_their_labels():
    table = {"time": np.array([10, 20, 40, 50], object), "unit": [1, "a", 1, "a"]}
    found = neurons.interspike_intervals(table)
    assert found.neuron.values.tolist() == [1, "a"] and found.mean_interval.values.tolist() == [30, 30]
    dates = pd.to_datetime("2020-01-01", utc=True) + pd.to_timedelta([10, 20, 40, 50], unit="ms")
    for column in (dates, dates.tz_localize(None), list(dates)):
        again = neurons.interspike_intervals({**table, "time": column})
        assert again.mean_interval.values.tolist() == [30, 30]
    assert neurons.interspike_intervals({"time": [], "unit": []}).sizes["neuron"] == 0


def test_times_that_cannot_be_intervals_are_refused():
    seconds = {"time": np.random.default_rng(0).uniform(0, 100, 3000), "unit": np.arange(3000) % 3}
    for function in (neurons.interspike_intervals, lambda table: from_events(table, bin=10, recorded=(0, 100))):
        with pytest.raises(ValueError, match=r"more than neurons fire; .* clock='s' or a sampling rate"):
            function(seconds)
    assert neurons.interspike_intervals(seconds, clock="s").mean_interval.values == pytest.approx(100, rel=0.1)
    days = {"time": (3 * 86400 + np.array([0.001, 0.002, 0.0045])).astype("float32"), "unit": [1, 1, 1]}
    with pytest.raises(ValueError, match=r"'time' are float32, which tells them apart to 15.6\d* ms only"):
        neurons.interspike_intervals(days, clock="s")
    with pytest.raises(
        KeyError, match="the intervals recorded have no column 'start'; they have start_time, stop_time"
    ):
        neurons.interspike_intervals(seconds, clock="s", recorded={"start_time": [0], "stop_time": [100]})


def test_what_a_mask_hides_is_missing():
    for times in ([1.0, 2.0, 3.0], [1, 2, 3]):
        table = {"time": np.ma.array(times, mask=[0, 1, 0]), "unit": [1, 1, 1]}
        for function in (neurons.interspike_intervals, lambda t: from_events(t, bin=1, recorded=(0, 5))):
            with pytest.raises(ValueError, match="1 of the times in 'time' are NaN"):
                function(table)
    table = {"time": [1.0, 2.0, 3.0], "unit": [1, 1, 1]}
    onsets = np.ma.array([0, 1, 2], mask=[0, 1, 0])
    cut = from_events(table, bin=1, onsets=onsets, window=(0, 2), recorded=(0, 5), missing="drop")
    assert cut.trial.values.tolist() == [0, 2]
    with pytest.raises(ValueError, match="1 of the 3 labels 'unit' are missing"):
        from_events({**table, "unit": np.ma.array([1, 1, 1], mask=[0, 1, 0])}, bin=1)


@pytest.mark.filterwarnings("ignore:recorded=None")
def test_events_before_the_first_bin_are_spoken_of():
    table = {"time": [-5.0, -1.0, 3.0, 6.0], "unit": [1, 1, 1, 1], "trial": [0, 0, 0, 1]}
    with pytest.warns(UserWarning, match="bins start at 0, and 2 events before it are left out; .* window="):
        from_events(table, bin=2, trial="trial")
