"""Intervals between spikes, counted in bins or between the times of events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from ip2lab.analysis._arguments import checked
from ip2lab.analysis._labelled import MS, apply, dataset, describe, labelled
from ip2lab.analysis._labels import called, levels, listed
from ip2lab.analysis._spikes import spike_counts


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


def _moments(found: _Pairs, n: int) -> tuple[np.ndarray, ...]:
    """Mean, CV, LV and number of the intervals of each of n neurons."""
    count = np.bincount(found.owner, minlength=n)
    mean = _over(np.bincount(found.owner, found.length, n), count)
    deviation = (found.length - mean[found.owner]) ** 2
    cv = _over(np.sqrt(_over(np.bincount(found.owner, deviation, n), count)), mean)
    cv[count < 2] = np.nan
    return mean, cv, 3 * _contrast(found, n, 2), count.astype(float)


def _contrast(found: _Pairs, n: int, power: int) -> np.ndarray:
    """Mean over neighbouring intervals of each neuron of their difference over their sum, to a power."""
    own, one, other = (part[found.next_length >= 0] for part in found)
    both = one + other
    change = np.divide(other - one, both, out=np.zeros(both.shape), where=both > 0) ** power
    return _over(np.bincount(own, change, n), np.bincount(own, minlength=n))


def _over(total: np.ndarray, count: np.ndarray) -> np.ndarray:
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


# ---------------------------------------------------------------- spikes in bins


def _of_bins(
    spikes: xr.DataArray, time: str, trial: str | Sequence[str] | None, power: int | None
) -> tuple[xr.DataArray, ...]:
    """What `_summed` finds for each neuron of `spikes`."""
    pooled = [] if trial is None else [trial] if isinstance(trial, str) else list(trial)
    heard, mask, dt = spike_counts(spikes, time, *pooled)
    if spikes.dtype.kind != "b" and bool(((heard != 0) & (heard != 1)).any()):
        raise ValueError(
            f"{called(spikes)} holds values other than 0 and 1; intervals need bins of at most one spike: "
            "bin finer, so that no two spikes fall into one"
        )
    given = [heard]
    if mask is not None and time in mask.dims:
        lost = (~mask).cumsum(time)  # a spike and the next have the same number where nothing was lost between them
        given.append(lost.broadcast_like(heard))
    dims = (*pooled, time)
    n = 4 if power is None else 1
    found = apply(_binned, *given, over=[dims] * len(given), into=[()] * n, last=len(dims), power=power)
    parts = found if n > 1 else (found,)
    return (parts[0] * dt, *parts[1:]) if power is None else parts


def _binned(values: np.ndarray, *lost: np.ndarray, last: int, power: int | None) -> Any:
    """Moments, or the contrast to a power, of `values` (..., trials..., time), `last` of its axes pooled."""
    shape = values.shape[: values.ndim - last]
    n = int(np.prod(shape))
    trains = values.reshape(-1, values.shape[-1])
    row, column = np.nonzero(trains)
    same = np.diff(row) == 0
    for stretch in lost:
        same &= np.diff(stretch.reshape(trains.shape)[row, column]) == 0
    found = _pairs(row // (len(trains) // n), column, same)
    if power is not None:
        return _contrast(found, n, power).reshape(shape)
    return tuple(part.reshape(shape) for part in _moments(found, n))


# ---------------------------------------------------------------- times of events


class _Events(NamedTuple):
    names: np.ndarray  # of the neurons
    pairs: _Pairs  # in ms


def _is_events(spikes: Any) -> bool:
    """Whether `spikes` are times, in a table or in pynapple's TsGroup."""
    return isinstance(spikes, (Mapping, pd.DataFrame)) and not isinstance(spikes, xr.Dataset)


def _of_events(
    spikes: Any, time: str, trial: str | Sequence[str] | None, unit: str, clock: str | float, recorded: Any
) -> _Events:
    """The intervals of each unit in a table of events."""
    if hasattr(spikes, "time_support"):  # pynapple's: seconds, and it knows what was recorded
        if trial is not None or clock not in ("ms", "s"):
            raise ValueError(
                f"trial={trial!r}, clock={clock!r}; pynapple's groups have no trials, and count in seconds"
            )
        names = list(spikes.keys())
        trains = [np.asarray(spikes[name].t) for name in names]
        table = {time: np.concatenate([*trains, []]), unit: np.repeat(np.arange(len(names)), list(map(len, trains)))}
        spans = spikes.time_support if recorded is None else recorded
        found = _of_events_table(table, time, None, unit, "s", spans)
        rows = np.asarray(found.names, int)[found.pairs.owner] if len(found.names) else found.pairs.owner
        return _Events(np.asarray(names), found.pairs._replace(owner=rows))
    return _of_events_table(spikes, time, trial, unit, clock, recorded)


def _of_events_table(
    table: Any, time: str, trial: str | Sequence[str] | None, unit: str, clock: str | float, recorded: Any
) -> _Events:
    trials = [] if trial is None else [trial] if isinstance(trial, str) else list(trial)
    when, tick = _ticks(_column(table, time), time, clock)
    names, owner = levels(_labels_in(table, unit, len(when)))
    pieces = [levels(_labels_in(table, name, len(when)))[1] for name in trials]
    pieces += [] if recorded is None else [_span_of(when, recorded, time, clock)]
    order = np.lexsort((when, *pieces, owner))
    same = np.ones(max(len(order) - 1, 0), bool)
    for codes in (owner, *pieces):
        same &= np.diff(codes[order]) == 0
    found = _pairs(owner[order], when[order], same)
    known = found.next_length >= 0
    scaled = np.where(known, found.next_length * tick, -1.0)
    return _Events(names, _Pairs(found.owner, found.length * tick, scaled))


def _column(table: Any, name: str) -> Any:
    if name not in table:
        raise KeyError(f"the events have no column {name!r}; they have {listed(table)}")
    return table[name]


def _labels_in(table: Any, name: str, n: int) -> np.ndarray:
    """The labels in a column, which must be there for each of n events."""
    found = np.asarray(_column(table, name))
    if found.shape != (n,) or pd.isna(found).any():
        raise ValueError(f"the events have {n} times, and {found.shape} or missing {name!r}; expected one for each")
    return found


def _ticks(times: Any, name: str, clock: str | float) -> tuple[np.ndarray, float]:
    """Times as they are counted, whole numbers where they are such, and how many ms one of them is."""
    values = np.asarray(times)
    if values.ndim == 1 and values.dtype.kind in "mM" and not np.isnat(values).any():
        return values.astype(f"{values.dtype.kind}8[ns]").astype(np.int64), 1e-6
    tick = MS.get(clock, 0.0) if isinstance(clock, str) else 0.0
    if isinstance(clock, Real) and clock > 0:
        tick = 1000.0 / float(clock)
    if not 0 < tick < np.inf:
        raise ValueError(f"clock={clock!r}; expected 'ms', 's', or a sampling rate in Hz")
    if values.ndim != 1 or values.dtype.kind not in "iuf":
        raise ValueError(f"the events hold {values.dtype} of shape {values.shape} as {name!r}; expected a row of times")
    if not np.isfinite(values).all():
        raise ValueError(f"the events hold NaN or infinite {name!r}; drop them first")
    return values.astype(np.int64 if values.dtype.kind in "iu" else float), tick


def _span_of(when: np.ndarray, recorded: Any, name: str, clock: str | float) -> np.ndarray:
    """In which of the spans `recorded` each time lies."""
    table = hasattr(recorded, "start") and hasattr(recorded, "end")  # pandas, or pynapple's intervals
    rows = np.stack([np.asarray(recorded.start), np.asarray(recorded.end)], -1) if table else np.asarray(recorded)
    if rows.size % 2 or not rows.size or rows.shape[-1] != 2:
        raise ValueError(f"recorded has shape {rows.shape}; expected (start, end), or a row for each span")
    edges = _ticks(rows.reshape(-1), "recorded", clock)[0].reshape(-1, 2)
    edges = edges[np.argsort(edges[:, 0])]
    if not (edges[:, 0] < edges[:, 1]).all() or not (edges[1:, 0] >= edges[:-1, 1]).all():
        raise ValueError("recorded has spans that end before they start, or overlap")
    place = np.searchsorted(edges[:, 0], when, side="right") - 1
    outside = (place < 0) | (when > edges[np.maximum(place, 0), 1])
    if outside.any():
        raise ValueError(
            f"{int(outside.sum())} of the {name!r} lie outside what was recorded (the first {when[outside][0]}): "
            "correct recorded, or leave these events out"
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
        stretch, as the table's clock counts.

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
    names = ("mean_interval", "cv", "lv", "intervals")
    units = ("ms", "1", "1", "1")
    words = ("mean interval between spikes", "coefficient of variation", "local variation", "number of intervals")
    if _is_events(spikes):
        owners, found = _of_events(spikes, time, trial, unit, clock, recorded)
        parts = _moments(found, len(owners))
        made = [
            labelled(p, ("neuron",), n, u, w, {"neuron": owners})
            for p, n, u, w in zip(parts, names, units, words, strict=True)
        ]
        return dataset(xr.Dataset(), *made)
    _only_events(unit=unit, clock=clock, recorded=recorded)
    bins: Any = spikes
    binned = _of_bins(bins, time, trial, None)
    return dataset(bins, *(describe(p, n, u, w) for p, n, u, w in zip(binned, names, units, words, strict=True)))


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
        stretch, as the table's clock counts.

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
    what = ("adaptation_index", "1", "adaptation index")
    if _is_events(spikes):
        owners, found = _of_events(spikes, time, trial, unit, clock, recorded)
        return labelled(_contrast(found, len(owners), 1), ("neuron",), *what, {"neuron": owners})
    _only_events(unit=unit, clock=clock, recorded=recorded)
    bins: Any = spikes
    return describe(_of_bins(bins, time, trial, 1)[0], *what, bins)
