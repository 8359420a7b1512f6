"""Tables of spike times, as sorters leave them, into labelled arrays."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from fractions import Fraction
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from ip2lab.analysis._bins import (
    MOST_BINS,
    Bins,
    Ticks,
    array,
    counts,
    covered,
    fraction,
    missing_times,
    numbers,
    ticks,
    unit_of,
)
from ip2lab.analysis._checks import check_free
from ip2lab.analysis._labels import RECORDED, listed
from ip2lab.analysis._rates import POSSIBLE, TOGETHER
from ip2lab.checks import checked

LEAST = 10  # intervals of a neuron that tell how fast it fires
SECOND = unit_of("s")
MICROSECOND = 1.0001e-3  # ms: what pynapple leaves between intervals that touch


class Trials(NamedTuple):
    """When trials start, their labels (None: there is one stretch, and no trials), and of which trial each spike is."""

    starts: Ticks
    labels: np.ndarray | None = None
    row: np.ndarray | None = None
    coords: Mapping[str, Any] = MappingProxyType({})  # other labels of the trials


@checked
def from_events(
    events: Mapping[str, npt.ArrayLike] | Any,
    *,
    bin: float,
    time: str = "time",
    unit: str = "unit",
    trial: str | None = None,
    onsets: npt.ArrayLike | None = None,
    window: tuple[float, float] | None = None,
    clock: str | float = "ms",
    neurons: Sequence[Any] | None = None,
    trials: Sequence[Any] | None = None,
    recorded: Any = None,
    missing: Literal["raise", "drop"] = "raise",
) -> xr.DataArray:
    """Bin a table of spikes, one row a spike, into a labelled array.

    A time on an edge belongs to the bin that it starts, as in exact arithmetic: whole numbers are compared as such,
    floating-point times up to their own rounding. A bin that does not lie wholly within what was recorded is NaN, and
    the coord ``recorded`` is False there. Where `recorded` is not given, a trial of a table with `trial` was recorded
    over its `window` (without one: from 0 to the last spike), anything else from the first to the last event; a
    warning says so where that leaves bins out.

    Parameters
    ----------
    events : pandas.DataFrame or mapping
        Columns of equal length: when (`time`), which neuron (`unit`), and, with `trial`, in which trial.
    bin : float
        Width of a bin (ms).
    time, unit : str
        The columns. Times are numbers on `clock`, or timedelta, which brings its own unit; dates are refused.
    trial : str, optional
        The column of trials; times then count from the start of each trial.
    onsets : array_like, optional
        (trial,): instead, the times on the same clock around which trials are cut out of a continuous recording. Labels
        and coords of an xarray.DataArray become those of the trials.
    window : (float, float), optional
        First and last time (ms) that are kept, counted from the start of the trial, its onset, or the recording. Needed
        with `onsets`; otherwise the whole of `recorded`, or from 0 to the last spike. A last bin that would not be full
        is left out.
    clock : {"ms", "s"} or float
        The unit of times in `events`, `onsets` and `recorded`; a number is a sampling rate (Hz), times count samples.
    neurons, trials : sequence, optional
        All labels in the order wanted: a table does not know of neurons that were silent, or of trials without a spike.
        Otherwise those that occur, sorted (a pandas categorical: in the order of its categories).
    recorded : (float, float), array_like, table or mapping, optional
        What was recorded, on `clock`: start and end, or intervals: (interval, 2), a table with columns ``start`` and
        ``end``, or a pynapple.IntervalSet (in s, as always). With `trial`: for all trials; or for each, as a mapping
        from its label, as a table that has the column `trial` too, or as (trial, 2) in the order of `trials`.
    missing : {"raise", "drop"}
        What to do with onsets that are NaN or infinite; the labels of those dropped go with them.

    Returns
    -------
    xarray.DataArray
        ``spikes`` ([trial,] time, neuron), counts per bin; ``time`` is the start of each bin in ms, ``recorded``
        ([trial,] time) whether all of it was recorded.

    Raises
    ------
    KeyError
        A column that is not there.
    TypeError
        Times that are neither numbers nor timedelta.
    ValueError
        No spikes and no `neurons`, columns of different lengths, times that are NaN, missing labels, a window that
        holds no bin, labels that are not among `neurons` or `trials` or stand there twice, onsets that are NaN,
        intervals that end before they start, bins finer than the times, `trial` and `onsets` together.

    Examples
    --------
    >>> from ip2lab.analysis import from_events
    >>> table = {"time": [3.0, 12.0, 14.0, 7.0], "unit": ["a", "a", "b", "b"], "trial": [0, 0, 0, 1]}
    >>> spikes = from_events(table, bin=10, trial="trial", window=(0, 20))
    >>> spikes.sel(neuron="a").values.tolist(), spikes.time.values.tolist()
    ([[1, 1], [0, 0]], [0.0, 10.0])

    The last trial reaches beyond the end of a recording of 30 ms:

    >>> cut = from_events(table, bin=10, onsets=[0, 15], window=(0, 20), recorded=(0, 30))
    >>> cut.sel(neuron="a").values.tolist(), cut.recorded.values.tolist()
    ([[1.0, 1.0], [0.0, nan]], [[True, True], [True, False]])
    """
    tick = unit_of(clock)
    check_choices(trial, onsets, window, trials)
    when, neuron, names = spikes_of(events, time, unit, tick, neurons)
    if trial is None:
        check_clock(time, when, clock, neuron)
    if onsets is not None:
        cut = around(onsets, tick, trials, missing)
    elif trial is not None:
        labels, row = _codes(column(events, trial), trials, "trials", trial)
        _check_lengths({time: len(neuron), trial: len(row)})
        check_clock(time, when, clock, neuron, row)
        cut = Trials(Ticks(np.zeros(len(labels), dtype=np.int64), tick), labels, row)
    else:
        cut = Trials(Ticks(np.zeros(1, dtype=np.int64), tick), None, np.zeros(len(neuron), dtype=np.int64))
    return binned(when, neuron, names, cut, _spans(recorded, tick, cut, trial, trials), bin, window)


def check_choices(trial: str | None, onsets: Any, window: Any, trials: Any) -> None:
    """Raise ValueError where arguments do not go together."""
    if onsets is not None:
        if trial is not None:
            raise ValueError("give trial (a column) or onsets (times), not both")
        if window is None:
            raise ValueError("onsets need a window=..., such as (-500, 1500) ms around each of them")
    elif trials is not None and trial is None:
        raise ValueError("trials=... names trials, but there are none without trial (a column) or onsets (times)")


def column(events: Any, name: str, who: str = "the events") -> Any:
    """Return a column of a table, or raise KeyError that says which there are."""
    try:
        return events[name]
    except (KeyError, TypeError, IndexError, ValueError):
        columns = listed(events) if hasattr(events, "keys") else type(events).__name__
        raise KeyError(f"{who} have no column {name!r}; they have {columns}") from None


def _check_lengths(lengths: Mapping[str, int]) -> None:
    if len(set(lengths.values())) > 1:
        columns, numbers = (" and ".join(map(str, part)) for part in (map(repr, lengths), lengths.values()))
        raise ValueError(f"the columns {columns} have lengths {numbers}; expected spikes, a row each")


def spikes_of(
    events: Any, time: str, unit: str, tick: Fraction, neurons: Sequence[Any] | None
) -> tuple[Ticks, np.ndarray, np.ndarray]:
    """When, and by which neuron, one of each a spike; and the labels of neurons."""
    when, who = numbers(f"the column {time!r} of the events", column(events, time)), column(events, unit)
    if when.ndim != 1:
        raise ValueError(f"the column {time!r} of the events has {when.ndim} dims; expected a row of times")
    _check_lengths({time: when.size, unit: len(who) if hasattr(who, "__len__") else 1})
    if not when.size and neurons is None:
        raise ValueError(
            f"the columns {time!r} and {unit!r} have lengths 0 and 0; expected spikes, a row each, or the names of "
            "neurons that were all silent: neurons=[...]"
        )
    if missing_times(when).any():
        raise ValueError(
            f"{int(missing_times(when).sum())} of the times in {time!r} are NaN or infinite; drop those rows"
        )
    names, neuron = _codes(who, neurons, "neurons", unit)
    return ticks(f"the column {time!r} of the events", when, tick), neuron, names


def check_clock(name: str, when: Ticks, clock: str | float, neuron: np.ndarray, *trials: np.ndarray) -> None:
    """Raise ValueError for times on the clock that is taken unless another is named, and that cannot be in ms."""
    if clock != "ms" or when.unit != 1:  # durations say what they are in
        return
    order = np.lexsort((when.values, *trials, neuron))
    same = np.logical_and.reduce([np.diff(codes[order]) == 0 for codes in (neuron, *trials)])
    owner, length = neuron[order][1:][same], np.diff(when.ms()[order])[same]
    number, total = np.bincount(owner), np.bincount(owner, length)
    many = number >= LEAST
    rate = 1000 * number[many] / np.maximum(total[many], 1e-9)
    if rate.size and (rate.max() > POSSIBLE or rate.mean() > TOGETHER):
        raise ValueError(
            f"the column {name!r} of the events: {rate.max():.0f} Hz in one neuron, {rate.mean():.0f} Hz on average, "
            "is more than neurons fire; the times do not seem to be in ms: say what they are in, clock='s' or a "
            "sampling rate in Hz (clock=1000, if they are in ms)"
        )


def labels_in(given: Any, what: str) -> np.ndarray:
    """A row of labels, none of them missing."""
    values = array(what, given)
    if values.ndim != 1:
        raise ValueError(f"the labels {what} have {values.ndim} dims; expected a row of them")
    if values.dtype.kind in "US" and not hasattr(given, "dtype"):  # numpy turns what stands beside text into text
        values = np.fromiter(given, dtype=object, count=len(values))
        values = values if any(not isinstance(label, str) for label in values) else values.astype(str)
    none = pd.isna(values)
    if none.any():
        raise ValueError(
            f"{int(none.sum())} of the {len(values)} labels {what} are missing (None or NaN); drop those rows, or give "
            "them a label"
        )
    return values


def named(given: Any, argument: str, hint: str) -> np.ndarray:
    """Return labels that an argument lists, each once."""
    names = labels_in(given, argument)
    twice = pd.Index(names)[pd.Index(names).duplicated()].unique()
    if not names.size:
        raise ValueError(f"{argument} holds no label; name one or more")
    if len(twice):
        raise ValueError(f"{argument} has the labels {listed(twice)} more than once; {hint}")
    return names


def _codes(given: Any, known: Sequence[Any] | None, argument: str, name: str) -> tuple[np.ndarray, np.ndarray]:
    """All labels, and the position among them of each label in a column."""
    labels = labels_in(given, repr(name))
    if known is None:
        if not labels.size:
            raise ValueError(f"the column {name!r} of the events is empty; name the labels: {argument}=[...]")
        return (names := _in_order(given, labels, argument)), pd.Index(names).get_indexer(labels)
    names = named(known, argument, "name each once")
    place = pd.Index(names).get_indexer(labels)
    if (place < 0).any():
        strange = pd.unique(labels[place < 0])
        alike = set(map(str, strange)) & set(map(str, names))  # 1 and "1"
        shown = [listed(map(repr, part.tolist())) if alike else listed(part) for part in (names, strange)]
        raise ValueError(
            f"{argument}={shown[0]} lacks {shown[1]}, which have spikes; name them all, or drop those rows"
        )
    return names, place


def _in_order(column: Any, labels: np.ndarray, argument: str) -> np.ndarray:
    """Return the labels that occur: categories as they are ordered, others sorted, numbers before text."""
    if isinstance(getattr(column, "dtype", None), pd.CategoricalDtype):
        return np.asarray(pd.Categorical(column).remove_unused_categories().categories)
    try:
        return np.unique(labels)
    except TypeError:
        pass
    try:
        return np.asarray(pd.factorize(labels, sort=True)[1])
    except TypeError:
        raise ValueError(f"the labels {listed(pd.unique(labels))} have no order; give one: {argument}=[...]") from None


def around(onsets: Any, tick: Fraction, trials: Sequence[Any] | None, missing: str, rounding: float = 0.0) -> Trials:
    """Trials around `onsets`, without those that are missing where these are to be dropped."""
    values = numbers("onsets", onsets)
    if values.ndim != 1:
        raise TypeError(f"onsets: {onsets!r} is not valid; give a row of numbers")
    labels, coords = _labels_of(onsets, values.size)
    if trials is not None:
        labels = named(trials, "trials", "conditions go into a coord: .assign_coords(condition=('trial', labels))")
    if not values.size or len(labels) != values.size:
        raise ValueError(
            f"{len(labels)} trials are named, {values.size} onsets given; expected a row of onsets, a label each"
        )
    none = missing_times(values)
    if none.any() and (missing == "raise" or none.all()):
        raise ValueError(
            f"{int(none.sum())} of the {none.size} onsets are NaN or infinite (trials {listed(labels[none])}); "
            "missing='drop' leaves such trials out" + ", but none is left" * bool(none.all())
        )
    kept = {name: ("trial", coord.values[~none], coord.attrs) for name, coord in coords.items()}
    return Trials(ticks("onsets", values[~none], tick, rounding), labels[~none], coords=kept)


def _labels_of(onsets: Any, n: int) -> tuple[np.ndarray, dict[str, xr.DataArray]]:
    """The labels of n onsets, numbers from 0 where they have none, and their other coords."""
    if not isinstance(onsets, xr.DataArray):
        return np.arange(n), {}
    (dim,) = onsets.dims
    coords = {str(name): coord for name, coord in onsets.coords.items() if name != dim and coord.dims == (dim,)}
    check_free(coords, "trial", "time", "neuron", RECORDED)
    labels = named(onsets[dim].values, "onsets", "give each its own") if dim in onsets.coords else np.arange(n)
    return labels, coords


def _is_table(given: Any) -> bool:
    return isinstance(given, (Mapping, pd.DataFrame)) or type(given).__name__ == "IntervalSet"


def _spans(
    recorded: Any, tick: Fraction, cut: Trials, trial: str | None, trials: Sequence[Any] | None
) -> list[Ticks] | None:
    """What was recorded: intervals for all trials, or for each."""
    if recorded is None:
        return None
    labels = cut.labels
    if labels is None or trial is None:
        return [intervals(recorded, tick)]
    each = _by_trial(recorded, trial)
    if each is not None:
        return _spans_of(each, labels, tick)
    spans = intervals(recorded, tick)
    if _is_table(recorded) or np.ndim(recorded) == 1:
        return [spans]
    if trials is None or len(spans.values) != len(labels):
        raise ValueError(
            f"recorded has {len(spans.values)} intervals for {len(labels)} trials; expected one for each in the order "
            "of trials=..., or a mapping from the label of a trial to what was recorded of it"
        )
    return [spans._replace(values=pair[None]) for pair in spans.values]


def _by_trial(recorded: Any, trial: str) -> Mapping[Any, Any] | None:
    """What was recorded of each trial, by its label, where `recorded` says it so."""
    if isinstance(recorded, (Mapping, pd.DataFrame)) and trial in recorded:
        own = labels_in(column(recorded, trial), repr(trial))
        pairs = _pairs(recorded)
        return {label: pairs[own == label] for label in pd.unique(own)}
    return recorded if isinstance(recorded, Mapping) and "start" not in recorded else None


def _spans_of(recorded: Mapping[Any, Any], labels: np.ndarray, tick: Fraction) -> list[Ticks]:
    lacking, foreign = [x for x in labels if x not in recorded], [x for x in recorded if x not in list(labels)]
    if lacking or foreign:
        raise ValueError(
            f"recorded lacks the trials {listed(lacking)}, and has {listed(foreign)} which are none; expected each "
            "trial once: name also those without a spike (trials=...)"
        )
    return [intervals(recorded[label], tick) for label in labels]


def _pairs(table: Any) -> np.ndarray:
    """Return the columns ``start`` and ``end`` side by side."""
    ends = [numbers("recorded", column(table, name, "the intervals recorded")) for name in ("start", "end")]
    if ends[0].shape != ends[1].shape or (ends[0].dtype.kind == "m") != (ends[1].dtype.kind == "m"):
        raise ValueError("recorded: start and end differ in length or kind; expected one of each for an interval")
    return np.stack(ends, axis=-1)


def intervals(recorded: Any, tick: Fraction) -> Ticks:
    """Intervals (interval, 2) that were recorded, on the clock, or in seconds where they are pynapple's."""
    foreign = type(recorded).__name__ == "IntervalSet"
    pairs = np.atleast_2d(_pairs(recorded) if _is_table(recorded) else numbers("recorded", recorded))
    if pairs.ndim != 2 or pairs.shape[1] != 2 or not pairs.size:
        raise ValueError(f"recorded has the shape {pairs.shape}; expected start and end, or intervals (interval, 2)")
    wrong = missing_times(pairs).any(axis=1) | ~(pairs[:, 0] < pairs[:, 1])
    if wrong.any():
        first, last = pairs[wrong][0]
        raise ValueError(f"recorded has an interval from {first} to {last}; expected an end after each start")
    return ticks("recorded", pairs, *((SECOND, MICROSECOND) if foreign else (tick, 0.0)))


def binned(
    when: Ticks,
    neuron: np.ndarray,
    names: np.ndarray,
    cut: Trials,
    spans: list[Ticks] | None,
    bin: float,
    window: tuple[float, float] | None,
) -> xr.DataArray:
    """Counts per bin ([trial,] time, neuron) with their labels, NaN where a bin was not wholly recorded."""
    bins = _bins(bin, window, when, spans)
    found = counts(bins, when, neuron, len(names), cut.starts, cut.row)
    inside = _recorded(bins, when, cut, spans, window is not None)
    coords = {
        "time": ("time", bins.edges()[:-1], {"units": "ms", "long_name": "start of the bin"}),
        "neuron": names,
        RECORDED: (("trial", "time"), inside, {"long_name": "whether the whole bin was recorded"}),
    }
    result = xr.DataArray(
        found if inside.all() else np.where(inside[..., None], found, np.nan),
        dims=("trial", "time", "neuron"),
        coords=coords,
        name="spikes",
        attrs={"units": "1", "long_name": "spikes per bin"},
    )
    return result.isel(trial=0) if cut.labels is None else result.assign_coords({**cut.coords, "trial": cut.labels})


def _bins(bin: float, window: tuple[float, float] | None, when: Ticks, spans: list[Ticks] | None) -> Bins:
    if not bin > 0:
        raise ValueError(f"bin={bin}, window={window}: expected a positive width in ms")
    width = fraction(bin)
    if window is not None:
        first, last = _window(window, bin)
    elif spans is not None:
        first = min(fraction(span.values[:, 0].min()) * span.unit for span in spans)
        last = max(fraction(span.values[:, 1].max()) * span.unit + Fraction(span.rounding) for span in spans)
    elif when.values.size:
        end = Ticks(when.values.max(keepdims=True), when.unit, when.rounding)
        last = fraction(end.values[0]) * end.unit + Fraction(float(end.error()[0]))
        first, last = Fraction(0), (last // width + 1) * width
        _warn_early(int((when.ms() + when.error() < 0).sum()))
    else:
        raise ValueError("window=None: without spikes, say what was recorded=(start, end), or give a window")
    count = (last - first) // width
    if not 1 <= count <= MOST_BINS:
        raise ValueError(
            f"bin={bin}, window={window}: from {float(first):g} to {float(last):g} ms there are {float(count):g} bins; "
            f"expected a positive width in ms and a window with at least one bin, at most {MOST_BINS:,}"
        )
    return Bins(first, width, count)


def _window(window: tuple[float, float], bin: float) -> tuple[Fraction, Fraction]:
    ends = numbers("window", window)
    if ends.shape != (2,):
        raise ValueError(f"window: {window!r} is not valid; give its first and last time in ms")
    if missing_times(ends).any():
        raise ValueError(f"bin={bin}, window={window}: expected a window from one time to another, in ms")
    given = ticks("window", ends, unit_of("ms"))
    return fraction(given.values[0]) * given.unit, fraction(given.values[1]) * given.unit


def _recorded(bins: Bins, when: Ticks, cut: Trials, spans: list[Ticks] | None, asked: bool) -> np.ndarray:
    """Which bins ([trial,] time) were wholly recorded."""
    if spans is None:
        return _recorded_by_events(bins, when, cut, asked)
    if len(spans) == 1:
        return covered(bins, cut.starts, spans[0])
    starts = [cut.starts._replace(values=start[None]) for start in cut.starts.values]
    return np.concatenate([covered(bins, start, span) for start, span in zip(starts, spans, strict=True)])


def _recorded_by_events(bins: Bins, when: Ticks, cut: Trials, asked: bool) -> np.ndarray:
    """What is taken to be recorded where nobody says it: all that was `asked` for, or as far as there are events."""
    everything = np.ones((cut.starts.values.size, bins.number), dtype=bool)
    table = cut.labels is not None and cut.row is not None
    if table and asked:
        return everything
    if not when.values.size:
        _warn("there is no event, and all is taken to be recorded and silent")
        return everything
    first = when.values.dtype.type(0) if table else when.values.min()
    known = when._replace(values=np.array([[first, when.values.max()]]))
    inside = covered(bins, cut.starts, known)
    if not inside.all():
        span = "from {:g} to {:g} ms".format(*known.ms()[0])
        what = "0 to the last spike" if table else "the first to the last event"
        _warn(
            f"it is taken to be from {what} ({span}), and {int((~inside).sum())} of {inside.size} bins that do not lie "
            f"wholly within are NaN (coord {RECORDED!r})"
        )
    return inside


def _warn_early(number: int) -> None:
    words = (
        f"window=None: bins start at 0, and {number} events before it are left out; say from when to when: window=..."
    )
    if number:
        warnings.warn(words, UserWarning, stacklevel=6)


def _warn(what: str) -> None:
    words = f"recorded=None: what was recorded is not said; {what}. Say it: recorded=(start, end)"
    warnings.warn(words, UserWarning, stacklevel=7)
