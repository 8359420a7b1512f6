"""Data of other programs in and out: tables of spike times, and pynapple's objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from ip2lab.analysis._arguments import checked
from ip2lab.analysis._labelled import check, times
from ip2lab.analysis._labels import called, listed

MS = {"ms": 1.0, "s": 1000.0}


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
    clock: str = "ms",
    neurons: Sequence[Any] | None = None,
    trials: Sequence[Any] | None = None,
) -> xr.DataArray:
    """Bin a table of spikes, one row a spike, into a labelled array.

    Parameters
    ----------
    events : pandas.DataFrame or mapping
        Columns of equal length: when (`time`), which neuron (`unit`), and, with `trial`, in which trial.
    bin : float
        Width of a bin (ms).
    time, unit : str
        The columns.
    trial : str, optional
        The column of trials; times then count from the start of each trial.
    onsets : array_like, optional
        (trial,): instead, the times on the same clock around which trials are cut out of a continuous recording.
    window : (float, float), optional
        First and last time (ms) that are kept, counted from the start of the trial, its onset, or the recording. Needed
        with `onsets`; otherwise from 0 to the last spike. A last bin that would not be full is left out.
    clock : {"ms", "s"}
        The unit of times in `events` and `onsets`.
    neurons, trials : sequence, optional
        All labels in the order wanted: a table does not know of neurons that were silent, or of trials without a spike.

    Returns
    -------
    xarray.DataArray
        ``spikes`` ([trial,] time, neuron), counts per bin; ``time`` is the start of each bin in ms.

    Raises
    ------
    KeyError
        A column that is not there.
    ValueError
        No spikes, columns of different lengths, times that are NaN, a window that holds no bin, labels that are
        not among `neurons` or `trials`, `trial` and `onsets` together.

    Examples
    --------
    >>> from ip2lab.analysis import from_events
    >>> table = {"time": [3.0, 12.0, 14.0, 7.0], "unit": ["a", "a", "b", "b"], "trial": [0, 0, 0, 1]}
    >>> spikes = from_events(table, bin=10, trial="trial", window=(0, 20))
    >>> spikes.sel(neuron="a").values.tolist(), spikes.time.values.tolist()
    ([[1, 1], [0, 0]], [0.0, 10.0])
    """
    if clock not in MS:
        raise ValueError(f"clock={clock!r}; times are in 'ms' or in 's'")
    if trial is not None and onsets is not None:
        raise ValueError("give trial (a column) or onsets (times), not both")
    when, who = _spikes(events, time, unit)
    when = when * MS[clock]
    names, neuron = _codes(who, neurons, "neurons")
    if onsets is not None:
        starts = _row("onsets", onsets) * MS[clock]
        if window is None:
            raise ValueError("onsets need a window=..., such as (-500, 1500) ms around each of them")
        return _around(when, neuron, names, starts, _edges(window, bin), trials)
    edges = _edges(window or (0.0, float(when.max()) + bin), bin)
    if trial is None:
        return _labelled(_counts(when, neuron, None, (len(names),), edges), edges, names)
    labels, row = _codes(np.asarray(_column(events, trial)), trials, "trials")
    return _labelled(_counts(when, neuron, row, (len(labels), len(names)), edges), edges, names, labels)


def _column(events: Any, name: str) -> Any:
    try:
        return events[name]
    except (KeyError, TypeError, IndexError, ValueError):
        columns = listed(events) if hasattr(events, "__iter__") else type(events).__name__
        raise KeyError(f"the events have no column {name!r}; they have {columns}") from None


def _spikes(events: Any, time: str, unit: str) -> tuple[np.ndarray, np.ndarray]:
    """When (as the clock says) and by which neuron, one of each a spike."""
    when, who = np.asarray(_column(events, time), dtype=float), np.asarray(_column(events, unit))
    if not (len(when) == len(who) and len(when)):
        raise ValueError(
            f"the columns {time!r} and {unit!r} have lengths {len(when)} and {len(who)}; expected spikes, a row each"
        )
    if not np.isfinite(when).all():
        raise ValueError(
            f"{int((~np.isfinite(when)).sum())} of the times in {time!r} are NaN or infinite; drop those rows"
        )
    return when, who


def _codes(labels: np.ndarray, known: Sequence[Any] | None, argument: str) -> tuple[np.ndarray, np.ndarray]:
    """All labels, and the position of each among them."""
    found = np.unique(labels)
    names = found if known is None else np.asarray(known)
    strange = np.setdiff1d(found, names)
    if strange.size:
        raise ValueError(
            f"{argument}={listed(names)} lacks {listed(strange)}, which have spikes; name them all, or drop those rows"
        )
    order = np.argsort(names, kind="stable")
    return names, order[np.searchsorted(names, labels, sorter=order)]


def _row(argument: str, given: Any) -> np.ndarray:
    """Return times as a row of numbers, or raise TypeError that names the argument."""
    try:
        row = np.asarray(given)
    except ValueError:  # rows of different lengths
        row = np.empty((0, 0))
    if row.ndim != 1 or row.dtype.kind not in "iuf":
        raise TypeError(f"{argument}={given!r}; expected a row of numbers")
    return row.astype(float)


def _edges(window: tuple[float, float], bin: float) -> np.ndarray:
    ends = _row("window", window)
    if ends.shape != (2,):
        raise ValueError(f"window={window!r}; expected its first and last time in ms")
    if not (bin > 0 and np.isfinite(ends).all() and ends[1] - ends[0] >= bin):
        raise ValueError(
            f"bin={bin}, window={window}: expected a positive width in ms and a window with at least one bin"
        )
    count = int(np.floor((window[1] - window[0]) / bin + 1e-9))
    return window[0] + bin * np.arange(count + 1.0)


def _counts(
    when: np.ndarray, neuron: np.ndarray, row: np.ndarray | None, sizes: tuple[int, ...], edges: np.ndarray
) -> np.ndarray:
    """Counts ([trial,] time, neuron) of spikes within `edges`."""
    width = edges[1] - edges[0]
    # a time on an edge belongs to the bin that it starts, also where it is not a round number in binary
    place = np.floor((when - edges[0]) / width + 1e-9).astype(int)
    inside = (place >= 0) & (place < len(edges) - 1)
    shape = (*sizes[:-1], len(edges) - 1, sizes[-1])
    index = (place[inside], neuron[inside]) if row is None else (row[inside], place[inside], neuron[inside])
    return (
        np.bincount(np.ravel_multi_index(index, shape), minlength=int(np.prod(shape))).reshape(shape).astype(np.int32)
    )


def _around(
    when: np.ndarray,
    neuron: np.ndarray,
    names: np.ndarray,
    starts: np.ndarray,
    edges: np.ndarray,
    trials: Sequence[Any] | None,
) -> xr.DataArray:
    """Trials cut out around `starts`; a spike may belong to several of them."""
    labels = np.arange(starts.size) if trials is None else np.asarray(trials)
    if starts.ndim != 1 or not starts.size or len(labels) != starts.size:
        raise ValueError(
            f"{len(labels)} trials are named, {starts.size} onsets given; expected a row of onsets, a label each"
        )
    order = np.argsort(when, kind="stable")
    when, neuron = when[order], neuron[order]
    first, last = (np.searchsorted(when, starts + edge) for edge in (edges[0] - 1e-6, edges[-1] + 1e-6))
    counts = [
        _counts(when[a:b] - start, neuron[a:b], None, (len(names),), edges)
        for start, a, b in zip(starts, first, last, strict=True)
    ]
    return _labelled(np.stack(counts), edges, names, labels)


def _labelled(
    counts: np.ndarray, edges: np.ndarray, names: np.ndarray, trials: np.ndarray | None = None
) -> xr.DataArray:
    dims = ("time", "neuron") if trials is None else ("trial", "time", "neuron")
    coords: dict[str, Any] = {
        "time": ("time", edges[:-1], {"units": "ms", "long_name": "start of the bin"}),
        "neuron": names,
    }
    coords |= {} if trials is None else {"trial": trials}
    return xr.DataArray(
        counts, dims=dims, coords=coords, name="spikes", attrs={"units": "1", "long_name": "spikes per bin"}
    )


@checked
def from_pynapple(
    data: Any,
    *,
    bin: float | None = None,
    onsets: npt.ArrayLike | None = None,
    window: tuple[float, float] | None = None,
) -> xr.DataArray:
    """Turn a pynapple object into a labelled array.

    Parameters
    ----------
    data : pynapple.TsGroup, TsdFrame or Tsd
        Spike trains of several units, or signals.
    bin : float, optional
        Width of a bin (ms); spike trains need it.
    onsets : array_like, optional
        (trial,): times in seconds, as pynapple has them, around which spike trains are cut into trials.
    window : (float, float), optional
        First and last time (ms) around each onset; without onsets, of the recording.

    Returns
    -------
    xarray.DataArray
        From a TsGroup ``spikes`` ([trial,] time, neuron), counts per bin, and the metadata of its units as coords; from
        a TsdFrame (time, neuron), from a Tsd (time). Times are in ms.

    Raises
    ------
    TypeError
        Another object.
    ValueError
        A TsGroup without `bin`, or with a recording in pieces and neither `onsets` nor `window`.

    Examples
    --------
    >>> import numpy as np, pynapple
    >>> from ip2lab.analysis import from_pynapple
    >>> units = pynapple.TsGroup({3: pynapple.Ts(np.array([0.001, 0.004])), 8: pynapple.Ts(np.array([0.012, 0.3]))})
    >>> from_pynapple(units, bin=10, window=(0, 20)).values.tolist()
    [[2, 0], [0, 1]]
    """
    import pynapple as nap

    if isinstance(data, nap.TsGroup):
        return _from_group(data, bin, onsets, window)
    if not isinstance(data, (nap.TsdFrame, nap.Tsd)):
        raise TypeError(f"data is a {type(data).__name__}; expected a pynapple TsGroup, TsdFrame or Tsd")
    if not (bin is None and onsets is None and window is None):
        raise ValueError("bin, onsets and window are for spike trains (TsGroup); cut signals out with .restrict()")
    coords: dict[str, Any] = {"time": ("time", np.asarray(data.t) * 1000.0, {"units": "ms", "long_name": "time"})}
    if isinstance(data, nap.Tsd):
        return xr.DataArray(np.asarray(data.d), dims=("time",), coords=coords)
    return xr.DataArray(
        np.asarray(data.d), dims=("time", "neuron"), coords={**coords, "neuron": np.asarray(data.columns)}
    )


def _from_group(
    group: Any, bin: float | None, onsets: npt.ArrayLike | None, window: tuple[float, float] | None
) -> xr.DataArray:
    if bin is None:
        raise ValueError("spike trains (TsGroup) need bin=..., the width of a bin in ms")
    if onsets is None and window is None:
        support = group.time_support
        if len(support) != 1:
            raise ValueError(
                f"the recording is in {len(support)} pieces; give onsets and window, or a window, or "
                ".restrict() it to one piece"
            )
        window = (float(support.start[0]) * 1000.0, float(support.end[0]) * 1000.0)
    names = list(group.keys())
    trains = [np.asarray(group[name].t) for name in names]
    table = {"time": np.concatenate(trains), "unit": np.repeat(names, [len(train) for train in trains])}
    spikes = from_events(table, bin=bin, onsets=onsets, window=window, clock="s", neurons=names)
    extra = {column: ("neuron", np.asarray(group[column])) for column in group.metadata_columns if column != "rate"}
    return spikes.assign_coords(extra)


@checked
def to_pynapple(data: xr.DataArray, *, feature: str = "neuron", time: str = "time") -> Any:
    """Turn a labelled array into a pynapple object.

    Parameters
    ----------
    data : xarray.DataArray
        (time, feature), with a coord on `time` in ms. Bool and whole numbers are spikes per bin, other numbers signals.
    feature, time : str
        The dims of neurons and of time.

    Returns
    -------
    pynapple.TsGroup or pynapple.TsdFrame
        Spike trains, each spike in the middle of its bin, or signals. Times are in seconds, as pynapple has them;
        coords along `feature` go with spike trains as metadata.

    Raises
    ------
    ValueError
        Other dims (pynapple has no trials: select one), NaN, negative counts, no or uneven times, labels of neurons
        that are not whole numbers for spike trains.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from ip2lab.analysis import to_pynapple
    >>> spikes = xr.DataArray([[1, 0], [0, 1]], dims=("time", "neuron"), coords={"time": [0.0, 10.0]})
    >>> to_pynapple(spikes)[1].t.tolist()
    [0.015]
    """
    import pynapple as nap

    check(data, feature=feature, time=time, finite=True)
    if set(data.dims) != {feature, time}:
        raise ValueError(
            f"{called(data)} has dims {listed(data.dims)}; pynapple knows {time} and {feature} only: select one trial"
        )
    moved = data.transpose(time, feature)
    starts, dt = times(moved, time)
    names = moved[feature].values
    if data.dtype.kind == "f":
        return nap.TsdFrame(t=starts / 1000.0, d=moved.values, columns=names)
    if (moved < 0).any() or names.dtype.kind not in "iu":
        raise ValueError(
            f"{called(data)}: spike trains need counts that are not negative and whole numbers as labels of "
            f"{feature!r}; relabel it: .assign_coords({feature}=range({len(names)}))"
        )
    middle = (starts + dt / 2) / 1000.0
    support = nap.IntervalSet(starts[0] / 1000.0, (starts[-1] + dt) / 1000.0)
    trains = {
        int(n): nap.Ts(np.repeat(middle, c), time_support=support)
        for n, c in zip(names, moved.values.astype(int).T, strict=True)
    }
    extra = {str(c): moved[c].values for c in moved.coords if moved[c].dims == (feature,) and c != feature}
    return nap.TsGroup(trains, time_support=support, metadata=extra)
