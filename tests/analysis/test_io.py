"""Tables of spikes into labelled arrays."""

from __future__ import annotations

import datetime
import itertools
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from ip2lab.analysis import from_events, neurons

RECORDINGS = Path(__file__).parents[3] / "shared" / "reference" / "recordings"
TABLE = {"time": [3.0, 12.0, 14.0, 27.0], "unit": ["a", "a", "b", "b"]}


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
    spikes = from_events(table, bin=100, onsets=[1.0, 2.0, 4.0], window=(-100, 500), clock="s", recorded=(0, 10))
    assert spikes.sizes == {"trial": 3, "time": 6, "neuron": 2}
    assert spikes.sel(neuron="a", trial=0).values.tolist() == [1, 1, 0, 0, 0, 0]
    assert spikes.sel(neuron="a", trial=1).values.tolist() == [1, 1, 0, 0, 0, 0]
    assert int(spikes.sel(neuron="b").sum()) == 1 and int(spikes.sel(trial=2).sum()) == 0
    assert spikes.time.attrs["units"] == "ms"
    assert neurons.firing_rate(spikes).units == "Hz"


def test_a_recording_without_trials_is_counted_in_one_stretch():
    table = {"t": [0.0, 10.0, 25.0], "cell": [2, 1, 2]}
    spikes = from_events(table, bin=10, time="t", unit="cell", recorded=(0, 30))
    assert spikes.dims == ("time", "neuron") and spikes.values.tolist() == [[0, 1], [1, 0], [0, 1]]
    assert spikes.dtype == np.int32 and spikes.recorded.dims == ("time",) and spikes.recorded.values.all()


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
        ({"clock": 0}, ValueError, r"clock=0; times are in 'ms' or in 's', or counts of samples: give their rate"),
        ({"clock": True}, TypeError, r"clock: True is not valid; give 'ms', 's' or a sampling rate"),
        ({"bin": np.timedelta64(10, "ms")}, ValueError, r"bin: .*timedelta64.* is not valid; give a finite number"),
        ({"bin": 1e-9}, ValueError, r"bin=1e-09, window=None: from 0 to 20 ms there are 2e\+10 bins; .* at most 100,0"),
        ({"trials": [1]}, ValueError, r"trials=\.\.\. names trials, but there are none"),
        ({"missing": "keep"}, ValueError, r"missing: 'keep' is not valid; give 'raise' or 'drop'"),
        ({"neurons": ["a", "b", "a"]}, ValueError, r"neurons has the labels a more than once; name each once"),
        ({"neurons": []}, ValueError, r"neurons holds no label; name one or more"),
        ({"neurons": "ab"}, ValueError, r"the labels neurons have 0 dims; expected a row"),
        (
            {"onsets": [0, 1], "window": (0, 10), "trials": ["go", "go"]},
            ValueError,
            r"trials has the labels go more than once; conditions go into a coord",
        ),
        ({"trial": "time", "trials": [1.0, 1.0, 12.0]}, ValueError, r"trials has the labels 1.0 more than once"),
        ({"onsets": [[0.0]], "window": (0, 20)}, TypeError, r"onsets: \[\[0.0\]\] is not valid; give a row of numbers"),
        (
            {"onsets": [0.0], "window": (0, 20), "trials": [1, 2]},
            ValueError,
            r"2 trials are named, 1 onsets given; expected a row",
        ),
    ],
)
def test_wrong_arguments_of_from_events_are_refused_by_name(changes, error, message):
    arguments = {"events": {"time": [1.0, 12.0], "unit": ["a", "b"]}, "bin": 10, "recorded": (0, 20)} | changes
    with pytest.raises(error, match=message):
        from_events(arguments.pop("events"), **arguments)


def pieces(seed, rate, size):
    """Draw intervals on a sample grid, some of them touching or overlapping, as (interval, 2) of samples."""
    rng = np.random.default_rng(seed)
    starts = rng.integers(0, 3 * rate, size)
    ends = starts + rng.integers(1, rate, size)
    return rng.permutation(np.concatenate([np.stack([starts, ends], -1), np.stack([ends, ends + rate // 4], -1)[::2]]))


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    rate=st.sampled_from([1000, 24000, 30000, 44100]),
    bin=st.sampled_from(["10", "33.3", "50"]),
    first=st.sampled_from(["-100", "-33.3", "0"]),
    clock=st.sampled_from(["ticks", "s", "ms"]),
)
def test_a_bin_counts_where_all_of_it_was_recorded(seed, rate, bin, first, clock):
    rng = np.random.default_rng(seed)
    spans, onsets = pieces(seed, rate, rng.integers(1, 5)), rng.integers(-rate, 5 * rate, 6)
    onsets[:3] = spans[0, 0] + np.array([0, 1, rate // 10])  # on edges, too
    samples, unit = rng.integers(0, 4 * rate, 300), rng.integers(0, 3, 300)
    to = {"ticks": lambda k: k, "s": lambda k: k / rate, "ms": lambda k: k * 1000 / rate}[clock]
    width, lead, window = Fraction(bin), Fraction(first), (float(first), float(first) + 20.25 * float(bin))
    call = {
        "bin": float(bin),
        "onsets": to(onsets),
        "window": window,
        "clock": float(rate) if clock == "ticks" else clock,
    }
    table = {"time": to(samples), "unit": unit}
    marked = from_events(table, recorded=to(spans), **call)
    merged = []  # in fractions of ms
    for span in sorted(spans.tolist()):
        low, high = (Fraction(1000 * end, rate) for end in span)
        if merged and low <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], high)
        else:
            merged.append([low, high])
    edges = [[Fraction(1000 * int(k), rate) + lead + j * width for j in range(21)] for k in onsets]
    wanted = [
        [any(low <= here and there <= high for low, high in merged) for here, there in itertools.pairwise(row)]
        for row in edges
    ]
    assert marked.recorded.dims == ("trial", "time") and marked.recorded.values.tolist() == wanted
    whole = from_events(table, recorded=to(np.array([-9 * rate, 9 * rate])), **call)
    assert whole.dtype == np.int32 and whole.recorded.all()
    xr.testing.assert_equal(marked, whole.where(marked.recorded).assign_coords(recorded=marked.recorded))


def test_recorded_intervals_in_any_form_give_the_same_counts():
    ends = np.array([[0, 11], [20, 40]])
    told = [
        from_events(TABLE, bin=10, recorded=recorded)
        for recorded in (
            ends,
            ends.tolist(),
            ends[::-1] * 1.0,
            pd.DataFrame(ends, columns=["start", "end"]),
            {"start": ends[:, 0], "end": ends[:, 1]},
            ends * np.timedelta64(1, "ms"),
            [[pd.Timedelta(end, "ms") for end in pair] for pair in ends],
        )
    ]
    for one in told:
        xr.testing.assert_identical(one, told[0])
    assert told[0].recorded.values.tolist() == [True, False, True, True] and np.isnan(told[0][1]).all()
    assert told[0].dtype == float and float(told[0].sum()) == 2


def test_recorded_intervals_per_trial_are_respected():
    table = {**TABLE, "trial": ["x", "x", "y", "y"]}
    call = {"bin": 10, "trial": "trial", "trials": ["y", "x"]}
    told = [
        from_events(table, recorded=recorded, **call)
        for recorded in (
            {"x": (0, 20), "y": (0, 40)},
            {"x": [(0, 5), (5, 20)], "y": (0, 40)},
            [(0, 40), (0, 20)],
            pd.DataFrame({"trial": ["x", "y", "x"], "start": [10, 0, 0], "end": [20, 40, 10]}),
        )
    ]
    for one in told:
        xr.testing.assert_identical(one, told[0])
    assert told[0].recorded.sel(trial="x").values.tolist() == [True, True, False, False]
    assert told[0].recorded.sel(trial="y").values.all()
    assert from_events(table, recorded=(0, 30), **call).recorded.all()
    assert from_events(table, window=(0, 50), **call).dtype == np.int32  # the window says what a trial is


@pytest.mark.parametrize(
    ("recorded", "error", "message"),
    [
        ((30, 0), ValueError, "recorded has an interval from 30 to 0; expected an end after each start"),
        ([(0, 5), (np.nan, 9)], ValueError, "recorded has an interval from nan to 9.0"),
        ((1, 2, 3), ValueError, r"recorded has the shape \(1, 3\); expected start and end, or intervals"),
        ("all", TypeError, r"recorded holds string \(str\); expected times as numbers"),
        ({"start": [0]}, KeyError, "have no column 'end'; they have start"),
        ({0: (0, 20), 2: (0, 40)}, ValueError, "recorded lacks the trials 1, and has 2 which are none"),
        (
            [(0, 20), (0, 40)],
            ValueError,
            r"recorded has 2 intervals for 2 trials; .* the order of trials=\.\.\., or a map",
        ),
    ],
)
def test_invalid_recorded_intervals_are_refused(recorded, error, message):
    with pytest.raises(error, match=message):
        from_events({**TABLE, "trial": [0, 0, 1, 1]}, bin=10, trial="trial", recorded=recorded)


@pytest.mark.parametrize(
    ("call", "words", "recorded"),
    [
        (
            {},
            r"the first to the last event \(from 3 to 27 ms\), and 2 of 3 bins .* recorded=\(start, end\)",
            [[0, 1, 0]],
        ),
        ({"window": (-20, 20)}, "and 3 of 4 bins", [[0, 0, 0, 1]]),
        ({"onsets": [5, 20, 1e6], "window": (0, 10)}, "and 2 of 3 bins", [[1], [0], [0]]),
        ({"onsets": [5], "window": (-10, 10)}, "and 1 of 2 bins", [[0, 1]]),
        ({"trial": "unit"}, r"0 to the last spike \(from 0 to 27 ms\), and 2 of 6 bins", [[1, 1, 0], [1, 1, 0]]),
        ({"events": {"time": [], "unit": []}, "neurons": [1], "window": (0, 20)}, "there is no event", [[1, 1]]),
    ],
)
def test_without_a_word_what_was_recorded_is_guessed_with_a_warning(call, words, recorded):
    with pytest.warns(UserWarning, match=f"what was recorded is not said.*{words}") as caught:
        spikes = from_events(**{"events": TABLE, "bin": 10} | call)
    assert caught[0].filename == __file__
    np.testing.assert_array_equal(np.atleast_2d(spikes.recorded), np.array(recorded, dtype=bool))
    np.testing.assert_array_equal(spikes.notnull().all("neuron"), spikes.recorded)


def test_missing_onsets_are_refused_or_dropped():
    call = {"bin": 10, "window": (0, 20), "recorded": (0, 30)}
    for onsets in ([0, np.nan, 15], [0, np.inf, 15], [0, None, 15], pd.to_timedelta([0, None, 15], unit="ms")):
        with pytest.raises(ValueError, match=r"1 of the 3 onsets are NaN or infinite \(trials y\); missing='drop'"):
            from_events(TABLE, onsets=onsets, trials=["x", "y", "z"], **call)
        cut = from_events(TABLE, onsets=onsets, trials=["x", "y", "z"], missing="drop", **call)
        assert cut.trial.values.tolist() == ["x", "z"]
        xr.testing.assert_equal(cut, from_events(TABLE, onsets=[0, 15], trials=["x", "z"], **call))
        assert from_events(TABLE, onsets=onsets, missing="drop", **call).trial.values.tolist() == [0, 2]
    with pytest.raises(ValueError, match=r"2 of the 2 onsets .* but none is left"):
        from_events(TABLE, onsets=[np.nan, np.nan], missing="drop", **call)


def durations(times):
    """Write times in ms as durations."""
    return {
        "pandas": pd.Series(pd.to_timedelta(times, unit="ms")),
        "numpy": np.array(times).astype("m8[ms]"),
        "numpy, of 250 us": np.array(times).astype("m8[ms]").astype("m8[250us]"),
        "list of pandas": list(pd.to_timedelta(times, unit="ms")),
        "list of Python": [datetime.timedelta(milliseconds=float(t)) for t in times],
    }


@pytest.mark.parametrize("clock", ["ms", "s", 30000])
@pytest.mark.parametrize("kind", durations([0]))
def test_durations_give_the_same_bins_as_numbers_in_ms(kind, clock):
    wanted = from_events(TABLE, bin=10, onsets=[0, 7], window=(-5, 15), recorded=(0, 30))
    as_durations = from_events(
        {**TABLE, "time": durations(TABLE["time"])[kind]},
        bin=10,
        onsets=durations([0, 7])[kind],
        window=tuple(durations([-5, 15])[kind]),
        recorded=durations([0, 30])[kind],
        clock=clock,
    )
    xr.testing.assert_identical(as_durations, wanted)


DATES = pd.to_datetime(TABLE["time"], unit="ms")


@pytest.mark.parametrize(
    ("times", "error", "message"),
    [
        (DATES, TypeError, r"'time' of the events holds dates.*subtract when the recording began: differences \(timed"),
        (pd.Series(DATES).dt.tz_localize("UTC"), TypeError, "holds dates"),
        ([datetime.date(2020, 1, 1)] * 4, TypeError, "holds dates"),
        (["3", "12", "14", "27"], TypeError, r"'time' of the events holds string \(list\); expected times as numbers"),
        ([3, "12", 14, 27], TypeError, "holds string"),
        (np.array([3, "12", 14, 27], dtype=object), TypeError, "holds mixed-integer"),
        ([True] * 4, TypeError, "holds boolean"),
        (np.array([3, 12, 14, 27], dtype="m8"), TypeError, "holds timedelta64"),
        (np.array([3, 12, 14, 27], dtype="m8[M]"), TypeError, "holds timedelta64"),
        ([3, None, 14, 27], ValueError, "1 of the times in 'time' are NaN or infinite; drop those rows"),
        (pd.array([3, None, 14, 27], dtype="Int64"), ValueError, "1 of the times in 'time' are NaN"),
        (pd.to_timedelta([3, None, 14, 27]), ValueError, "1 of the times in 'time' are NaN"),
        ([3, 12, 14, 1e308], ValueError, r"'time' of the events reaches 1e\+308; expected times"),
        (np.ones((4, 2)), ValueError, "'time' of the events has 2 dims; expected a row of times"),
        ([3.0], ValueError, "'time' and 'unit' have lengths 1 and 4"),
    ],
)
def test_invalid_times_are_refused_as_events_and_as_onsets(times, error, message):
    with pytest.raises(error, match=message):
        from_events({**TABLE, "time": times}, bin=10, recorded=(0, 30))
    if len(np.shape(times)) == 1 and len(times) == 4:  # the same as onsets
        with pytest.raises((error, ValueError), match="onsets"):
            from_events(TABLE, bin=10, onsets=times, window=(0, 10), recorded=(0, 30))


@pytest.mark.parametrize("times", [np.array([3, 12, 14, 27], dtype=object), pd.array([3, 12, 14, 27], dtype="Int64")])
def test_numbers_as_objects_are_numbers(times):
    xr.testing.assert_equal(
        from_events({**TABLE, "time": times}, bin=10, recorded=(0, 30)), from_events(TABLE, bin=10, recorded=(0, 30))
    )


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ([2, "b", 10, "a"], [2, 10, "a", "b"]),
        (pd.Categorical(["b", "a", "a", "b"], categories=["c", "b", "a"]), ["b", "a"]),
        (pd.Series(["b", "a", "a", "b"], index=[7, 7, 8, 9]), ["a", "b"]),
        ([1.0, 1.5, 1.0, 1.0], [1.0, 1.5]),
    ],
)
def test_neurons_and_trials_keep_labels_of_any_kind_in_order(labels, names):
    spikes = from_events({**TABLE, "unit": labels}, bin=10, recorded=(0, 30))
    assert spikes.neuron.values.tolist() == names
    assert spikes.sum("time").values.tolist() == [list(labels).count(name) for name in names]
    trials = from_events({**TABLE, "trial": labels}, bin=10, window=(0, 30), trial="trial")
    assert trials.trial.values.tolist() == names


@pytest.mark.parametrize(
    "labels",
    [
        ["a", None, "b", "b"],
        [1, np.nan, 2, 2],
        [1, np.nan, "b", "b"],
        pd.Categorical(["a", None, "b", "b"]),
        pd.array([1, None, 2, 2], dtype="Int64"),
    ],
)
def test_missing_labels_of_units_and_trials_are_refused(labels):
    with pytest.raises(ValueError, match=r"1 of the 4 labels 'unit' are missing \(None or NaN\); drop those rows, or"):
        from_events({**TABLE, "unit": labels}, bin=10, recorded=(0, 30))
    with pytest.raises(ValueError, match="1 of the 4 labels 'trial' are missing"):
        from_events({**TABLE, "trial": labels}, bin=10, trial="trial", window=(0, 30))
    with pytest.raises(ValueError, match="1 of the 4 labels neurons are missing"):
        from_events(TABLE, bin=10, neurons=labels, recorded=(0, 30))


def test_neurons_named_by_text_do_not_match_numbers():
    with pytest.raises(ValueError, match="neurons='1', '2' lacks 1, 2, which have spikes"):
        from_events({**TABLE, "unit": [1, 1, 2, 2]}, bin=10, neurons=["1", "2"], recorded=(0, 30))


def test_a_table_without_events_gives_zeros():
    none = pd.DataFrame({"time": [], "unit": [], "trial": []})
    for call in ({"recorded": (0, 20)}, {"recorded": (0, 30), "window": (0, 20)}):
        spikes = from_events(none, bin=10, neurons=["a", "b"], **call)
        assert spikes.dtype == np.int32 and spikes.values.tolist() == [[0, 0], [0, 0]]
    trials = from_events(none, bin=10, neurons=["a"], trial="trial", trials=[1, 2], window=(0, 20))
    assert trials.values.tolist() == [[[0], [0]]] * 2 and trials.dtype == np.int32
    cut = from_events(none, bin=10, neurons=["a"], onsets=[5], recorded=(0, 20), window=(0, 20))
    assert cut.recorded.values.tolist() == [[True, False]]
    with pytest.raises(ValueError, match=r"window=None: without spikes, say what was recorded=\(start, end\)"):
        from_events(none, bin=10, neurons=["a"])
    with pytest.raises(ValueError, match=r"column 'trial' of the events is empty; name the labels: trials=\[\.\.\.\]"):
        from_events(none, bin=10, neurons=["a"], trial="trial", window=(0, 20))


def test_arguments_are_left_as_they_were():
    table, onsets, spans = pd.DataFrame(TABLE), np.array([0.0, np.nan]), np.array([[20.0, 30.0], [0.0, 20.0]])
    before = table.copy(), onsets.copy(), spans.copy()
    from_events(table, bin=10, onsets=onsets, window=(0, 30), recorded=spans, missing="drop")
    pd.testing.assert_frame_equal(table, before[0])
    np.testing.assert_array_equal(onsets, before[1])
    np.testing.assert_array_equal(spans, before[2])


def test_a_recording_on_a_grid_of_30_khz_with_gaps():
    if not RECORDINGS.is_dir():
        pytest.skip("no real recordings beside the checkout")
    h5py = pytest.importorskip("h5py")
    with h5py.File(RECORDINGS / "A8604.nwb") as file:
        seconds, index, ids = (file[f"units/{name}"][:] for name in ("spike_times", "spike_times_index", "id"))
    unit = np.repeat(ids, np.diff(index.astype(int), prepend=0))
    samples = np.rint(seconds * 30_000).astype(int)  # the file rounds them to 1 us
    spans = np.array([[0, 200], [300, 450], [450, 700], [900, 1087]]) * 30_000
    onsets = np.random.default_rng(0).integers(0, 1100 * 30_000, 200)
    call = {"bin": 10, "window": (-500, 1000)}
    ticks = from_events({"time": samples, "unit": unit}, onsets=onsets, recorded=spans, clock=30_000, **call)
    for scale, clock in ((30_000, "s"), (30, "ms")):
        real = from_events(
            {"time": samples / scale, "unit": unit}, onsets=onsets / scale, recorded=spans / scale, clock=clock, **call
        )
        xr.testing.assert_identical(real, ticks)
    kept = ticks.recorded.mean("time")
    assert 0.5 < float((kept == 1).mean()) < 0.8 and (kept == 0).any() and ((kept > 0) & (kept < 1)).any()
    for i in np.flatnonzero(kept == 1)[:20]:
        edges = onsets[i] - 15_000 + 300 * np.arange(151)
        for j, one in enumerate(ids):
            found = np.searchsorted(np.sort(samples[unit == one]), edges)
            np.testing.assert_array_equal(ticks[i, :, j], np.diff(found))


def test_labels_of_onsets_become_those_of_the_trials():
    table = {"time": [3.0, 12.0, 14.0, 7.0], "unit": ["a", "a", "b", "b"]}
    coords = {"event": ["x", "y", "z"], "cue": ("event", [1, 2, 3], {"units": "1"})}
    onsets = xr.DataArray([0.0, np.nan, 15.0], dims="event", coords=coords)
    spikes = from_events(table, bin=10, onsets=onsets, window=(0, 20), recorded=(0, 40), missing="drop")
    assert spikes.trial.values.tolist() == ["x", "z"]
    assert spikes.cue.dims == ("trial",)
    assert spikes.cue.values.tolist() == [1, 3]
    with pytest.raises(ValueError, match="the data have a dim or a coord 'time'"):
        from_events(table, bin=10, onsets=onsets.dropna("event").rename(cue="time"), window=(0, 20))
