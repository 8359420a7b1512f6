"""Intervals between spikes, counted in bins or between the times of events."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from ip2lab.analysis._arrays import apply, dataset, describe, labelled, names_of
from ip2lab.analysis._bins import Ticks, array, unit_of, within
from ip2lab.analysis._events import check_clock, column, intervals, labels_in, spikes_of
from ip2lab.analysis._labels import called, levels, listed
from ip2lab.analysis._rates import spike_counts
from ip2lab.checks import checked


class _Pairs(NamedTuple):
    owner: np.ndarray  # the neuron of each interval
    length: np.ndarray
    next_length: np.ndarray  # the interval after it in the same train, -1 where there is none


def _pairs(owner: np.ndarray, when: np.ndarray, same: np.ndarray) -> _Pairs:
    """Intervals between spikes in order of their trains; `same` says of each but the last if the next is of its train.

    What lies on two sides of something that was not recorded is of two trains.
    """
    at = np.flatnonzero(same)
    length = np.diff(when)[at]
    following = np.full(len(at), -1.0)
    chained = np.flatnonzero(np.diff(at) == 1)
    following[chained] = length[chained + 1]
    return _Pairs(owner[1:][at], length.astype(float), following)


Measures = Callable[[_Pairs, int], tuple[np.ndarray, ...]]  # of each of n neurons


def _regularity(found: _Pairs, n: int) -> tuple[np.ndarray, ...]:
    """Mean, CV, LV and number of the intervals of each of n neurons."""
    count = np.bincount(found.owner, minlength=n)
    mean = _over(np.bincount(found.owner, found.length, n), count)
    deviation = (found.length - mean[found.owner]) ** 2
    cv = _over(np.sqrt(_over(np.bincount(found.owner, deviation, n), count)), mean)
    cv[count < 2] = np.nan
    return mean, cv, 3 * _contrast(found, n, 2), count.astype(float)


def _adaptation(found: _Pairs, n: int) -> tuple[np.ndarray, ...]:
    return (_contrast(found, n, 1),)


def _contrast(found: _Pairs, n: int, power: int) -> np.ndarray:
    """Mean over neighbouring intervals of each neuron of their difference over their sum, to a power."""
    own, one, other = (part[found.next_length >= 0] for part in found)
    both = one + other
    change = np.divide(other - one, both, out=np.zeros(both.shape), where=both > 0) ** power
    return _over(np.bincount(own, change, n), np.bincount(own, minlength=n))


def _over(total: np.ndarray, count: np.ndarray) -> np.ndarray:
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


class _Measured(NamedTuple):
    name: str
    units: str
    long_name: str


def _measured(
    measures: Measures,
    into: Sequence[_Measured],
    spikes: Any,
    time: str,
    trial: str | Sequence[str] | None,
    unit: str,
    clock: str | float,
    recorded: Any,
) -> list[xr.DataArray]:
    """What `measures` finds from the intervals of each neuron, whose spikes are in bins or events."""
    trials = names_of(trial)
    if _is_events(spikes):
        owners, found = _of_events(spikes, time, trials, unit, clock, recorded)
        parts = measures(found, len(owners))
        return [labelled(part, ("neuron",), *what, {"neuron": owners}) for part, what in zip(parts, into, strict=True)]
    _only_events(unit=unit, clock=clock, recorded=recorded)
    heard, lost, dt = _in_bins(spikes, time, trials)
    given = [heard] if lost is None else [heard, lost]
    dims = (*trials, time)
    found = apply(_binned, *given, over=[dims] * len(given), into=[()] * len(into), last=len(dims), measures=measures)
    parts = found if len(into) > 1 else (found,)
    return [describe(part * dt if what.units == "ms" else part, *what) for part, what in zip(parts, into, strict=True)]


# ---------------------------------------------------------------- spikes in bins


def _in_bins(spikes: xr.DataArray, time: str, trials: Sequence[str]) -> tuple[xr.DataArray, xr.DataArray | None, float]:
    """Spikes, None or the number of gaps before each bin, and the width of a bin (ms)."""
    heard, mask, dt = spike_counts(spikes, time, *trials)
    if spikes.dtype.kind != "b" and bool(((heard != 0) & (heard != 1)).any()):
        raise ValueError(
            f"{called(spikes)} holds values other than 0 and 1; intervals need bins of at most one spike: "
            "bin finer, so that no two spikes fall into one"
        )
    if mask is None or time not in mask.dims:
        return heard, None, dt
    lost = (~mask).cumsum(time)  # a spike and the next have the same number where nothing was lost between them
    return heard, lost.broadcast_like(heard), dt


def _binned(values: np.ndarray, *lost: np.ndarray, last: int, measures: Measures) -> Any:
    """What `measures` finds from `values` (..., trials..., time), `last` of its axes pooled."""
    shape = values.shape[: values.ndim - last]
    n = int(np.prod(shape))
    trains = values.reshape(-1, values.shape[-1])
    row, column = np.nonzero(trains)
    same = np.diff(row) == 0
    for stretch in lost:
        same &= np.diff(stretch.reshape(trains.shape)[row, column]) == 0
    found = measures(_pairs(row // (len(trains) // n), column, same), n)
    parts = tuple(part.reshape(shape) for part in found)
    return parts if len(parts) > 1 else parts[0]


# ---------------------------------------------------------------- times of events


class _Events(NamedTuple):
    names: np.ndarray  # of the neurons
    pairs: _Pairs  # in ms


def _is_events(spikes: Any) -> bool:
    """Whether `spikes` are times, in a table or in pynapple's TsGroup."""
    return isinstance(spikes, (Mapping, pd.DataFrame)) and not isinstance(spikes, xr.Dataset)


def _of_events(spikes: Any, time: str, trials: Sequence[str], unit: str, clock: str | float, recorded: Any) -> _Events:
    """The intervals of each unit in a table of events."""
    if not hasattr(spikes, "time_support"):
        return _of_table(spikes, time, trials, unit, clock, recorded)
    if trials or clock not in ("ms", "s"):  # pynapple's: seconds, and it knows what was recorded
        raise ValueError(f"trial={trials!r}, clock={clock!r}; pynapple's groups have no trials, and count in seconds")
    names = list(spikes.keys())
    trains = [np.asarray(spikes[name].t) for name in names]
    table = {time: np.concatenate([*trains, []]), unit: np.repeat(names, list(map(len, trains)))}
    return _of_table(table, time, [], unit, "s", spikes.time_support if recorded is None else recorded, names)


def _of_table(
    table: Any,
    time: str,
    trials: Sequence[str],
    unit: str,
    clock: str | float,
    recorded: Any,
    neurons: Sequence[Any] | None = None,
) -> _Events:
    tick = unit_of(clock)
    table = _since_1970(table, time)
    if not len(column(table, time)) and not len(column(table, unit)) and neurons is None:
        none = np.zeros(0, int)
        return _Events(none, _pairs(none, none, none > 0))
    when, owner, names = spikes_of(table, time, unit, tick, neurons)
    pieces = [levels(_labels_in(table, name, len(owner)))[1] for name in trials]
    check_clock(time, when, clock, owner, *pieces)
    if recorded is not None:
        spans = _since_1970(recorded, "start", "end") if _is_events(recorded) else _durations(recorded)
        pieces.append(_span_of(when, intervals(spans, tick), time))
    order = np.lexsort((when.values, *pieces, owner))
    same = np.ones(max(len(order) - 1, 0), bool)
    for codes in (owner, *pieces):
        same &= np.diff(codes[order]) == 0
    found = _pairs(owner[order], when.values[order], same)
    _check_digits(time, when, found.length)
    known = found.next_length >= 0
    tick_ms = float(when.unit)
    return _Events(names, _Pairs(found.owner, found.length * tick_ms, np.where(known, found.next_length * tick_ms, -1)))


def _since_1970(table: Any, *names: str) -> dict[str, Any]:
    """`table` with dates in the columns `names` as durations."""
    return {name: _durations(table[name]) if name in names else table[name] for name in table}


def _durations(given: Any) -> Any:
    """Dates as durations since 1970, from which differences may be taken; all else as it is."""
    if hasattr(given, "start") and hasattr(given, "end"):  # pynapple's, which has no dates
        return given
    values = array("times", given)
    if pd.api.types.infer_dtype(values.ravel(), skipna=True) not in ("datetime", "datetime64"):
        return given
    since = pd.to_datetime(values.ravel(), utc=True) - pd.Timestamp(0, tz="UTC")
    return since.to_numpy().reshape(values.shape)


def _labels_in(table: Any, name: str, n: int) -> np.ndarray:
    """The labels in a column, which must be there for each of n events."""
    found = labels_in(column(table, name), repr(name))
    if found.shape != (n,):
        raise ValueError(f"the events have {n} times, and {len(found)} {name!r}; expected one for each")
    return found


def _check_digits(name: str, when: Ticks, lengths: np.ndarray) -> None:
    """Raise ValueError where numbers shorter than a float64 cannot tell the ends of intervals apart."""
    if when.values.dtype.kind != "f" or when.values.dtype.itemsize >= 8 or not lengths.size:
        return
    apart, mean = 2 * float(when.error().max()), float(lengths.mean() * float(when.unit))
    if 10 * apart > mean:
        raise ValueError(
            f"{name!r} are {when.values.dtype}, which tells them apart to {apart:g} ms only, too little for intervals "
            f"of {mean:g} ms: take times of more digits"
        )


def _span_of(when: Ticks, spans: Ticks, name: str) -> np.ndarray:
    """In which of the spans that were recorded each time lies."""
    place = within(when, spans)
    if (place < 0).any():
        raise ValueError(
            f"{int((place < 0).sum())} of the {name!r} lie outside what was recorded (the first "
            f"{when.values[place < 0][0]}): correct recorded, or leave these events out"
        )
    return place


def _only_events(**given: Any) -> None:
    wrong = [f"{name}={value!r}" for name, value in given.items() if value not in (None, "ms", "unit")]
    if wrong:
        raise ValueError(
            f"{listed(wrong)}: that is for a table of events; an array has its clock in the units of its times, and a "
            "coord 'recorded' that is False where nothing was"
        )


@checked
def interspike_intervals(
    spikes: xr.DataArray | Mapping[str, Any] | pd.DataFrame,
    *,
    time: str = "time",
    trial: str | Sequence[str] | None = None,
    unit: str = "unit",
    clock: str | float = "ms",
    recorded: Any = None,
) -> xr.Dataset:
    r"""Measure the intervals between a neuron's spikes: their mean, and how regular they are.

    .. math:: \mathrm{CV} = \frac{\mathrm{SD}(I)}{\langle I\rangle},\qquad
              \mathrm{LV} = \frac{3}{n-1}\sum_i\Bigl(\frac{I_i-I_{i+1}}{I_i+I_{i+1}}\Bigr)^2

    Both are 1 for a Poisson process and 0 for a clock; LV compares neighbours only, so that a slowly changing rate
    does not pass for irregularity.

    Parameters
    ----------
    spikes : xarray.DataArray, mapping, pandas.DataFrame or pynapple.TsGroup
        (..., time): bool, or 0 and 1, with a coord on `time` in ms; or the times themselves, in any order: a table with
        a row for each spike, as for `from_events`, or pynapple's group (in s, with its ``time_support``).
    time : str
        The dim, or the column, of time.
    trial : str or sequence of str, optional
        Dims whose trains are pooled, such as ``"trial"``. No interval spans two trials, or something
        that was not recorded; of a table, columns.
    unit : str
        Of a table, the column that tells the neurons apart.
    clock : {"ms", "s"} or float
        Of a table, the unit of its times, or the sampling rate (Hz) whose ticks they count.
    recorded : array_like, optional
        Of a table, start and end of what was recorded, or a row of both (or columns ``start`` and ``end``) for each
        stretch, as the table's clock counts (a pynapple.IntervalSet in s, as always).

    Returns
    -------
    xarray.Dataset
        Of each neuron, for times along a dim ``neuron``: ``mean_interval`` (...) in ms, ``cv`` and ``lv`` (...), and
        ``intervals`` (...), their number. What too few spikes leave undefined is NaN: without an interval the mean,
        with fewer than two the CV, without two in a row the LV.

    Raises
    ------
    ValueError
        A missing dim or coord, several spikes in one bin, a signal, NaN; times outside `recorded`.
    KeyError
        A column that is not there.

    References
    ----------
    Shinomoto, Shima and Tanji, Neural Comput 15:2823-2842 (2003), doi 10.1162/089976603322518759.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from ip2lab.analysis import neurons
    >>> spikes = xr.DataArray(np.zeros((100, 1), int), dims=("time", "neuron"), coords={"time": np.arange(100.0)})
    >>> spikes[[10, 20, 40, 50, 70]] = 1
    >>> found = neurons.interspike_intervals(spikes)
    >>> float(found.mean_interval[0]), float(found.cv[0].round(3)), int(found.intervals[0])
    (15.0, 0.333, 4)
    >>> table = {"time": [20.0, 10.0, 70.0, 40.0, 50.0], "unit": ["a"] * 5}
    >>> float(neurons.interspike_intervals(table).mean_interval.sel(neuron="a"))
    15.0
    """
    into = (
        _Measured("mean_interval", "ms", "mean interval between spikes"),
        _Measured("cv", "1", "coefficient of variation"),
        _Measured("lv", "1", "local variation"),
        _Measured("intervals", "1", "number of intervals"),
    )
    made = _measured(_regularity, into, spikes, time, trial, unit, clock, recorded)
    return dataset(spikes if isinstance(spikes, xr.DataArray) else xr.Dataset(), *made)


@checked
def adaptation_index(
    spikes: xr.DataArray | Mapping[str, Any] | pd.DataFrame,
    *,
    time: str = "time",
    trial: str | Sequence[str] | None = None,
    unit: str = "unit",
    clock: str | float = "ms",
    recorded: Any = None,
) -> xr.DataArray:
    r"""Spike-frequency adaptation: how much each interval is longer than the one before.

    .. math:: A = \Bigl\langle\frac{I_{i+1}-I_i}{I_{i+1}+I_i}\Bigr\rangle_i

    positive where firing slows down, 0 for a steady rate.

    Parameters
    ----------
    spikes : xarray.DataArray, mapping, pandas.DataFrame or pynapple.TsGroup
        Spikes during a constant input, in bins or as times: see `interspike_intervals`.
    time : str
        The dim, or the column, of time.
    trial : str or sequence of str, optional
        Dims whose trains are pooled, such as ``"trial"``. No pair of intervals spans two of them, or
        something that was not recorded; of a table, columns.
    unit : str
        Of a table, the column that tells the neurons apart.
    clock : {"ms", "s"} or float
        Of a table, the unit of its times, or the sampling rate (Hz) whose ticks they count.
    recorded : array_like, optional
        Of a table, start and end of what was recorded, or a row of both (or columns ``start`` and ``end``) for each
        stretch, as the table's clock counts (a pynapple.IntervalSet in s, as always).

    Returns
    -------
    xarray.DataArray
        ``adaptation_index`` (...), between -1 and 1; NaN where no train has three spikes.

    Raises
    ------
    ValueError
        A missing dim or coord, several spikes in one bin, a signal, NaN; times outside `recorded`.
    KeyError
        A column that is not there.

    References
    ----------
    Gouwens et al., Nat Neurosci 22:1182-1195 (2019), doi 10.1038/s41593-019-0417-0.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from ip2lab.analysis import neurons
    >>> spikes = xr.DataArray(np.zeros((100, 1), bool), dims=("time", "neuron"), coords={"time": np.arange(100.0)})
    >>> spikes[[0, 10, 40]] = True
    >>> neurons.adaptation_index(spikes).values.tolist()
    [0.5]
    """
    into = [_Measured("adaptation_index", "1", "adaptation index")]
    (index,) = _measured(_adaptation, into, spikes, time, trial, unit, clock, recorded)
    return index.assign_attrs({**getattr(spikes, "attrs", {}), **index.attrs})
