"""pynapple's objects into labelled arrays and back."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import xarray as xr

from ip2lab.analysis._arrays import times
from ip2lab.analysis._bins import MOST_BINS, Ticks
from ip2lab.analysis._checks import check, check_finite
from ip2lab.analysis._events import SECOND, Trials, around, binned, check_choices, intervals, named
from ip2lab.analysis._labels import RECORDED, called, listed
from ip2lab.analysis._rates import COUNTS
from ip2lab.checks import checked

NANOSECOND = 0.5e-6  # ms: to which pynapple rounds times


@checked
def from_pynapple(
    data: Any,
    *,
    bin: float | None = None,
    onsets: npt.ArrayLike | None = None,
    window: tuple[float, float] | None = None,
    recorded: Any = None,
    missing: Literal["raise", "drop"] = "raise",
) -> xr.DataArray:
    """Turn a pynapple object into a labelled array.

    Of spike trains, bins that do not lie wholly within the intervals of ``time_support`` are NaN, and the coord
    ``recorded`` is False there. A ``time_support`` that pynapple made up from the spikes themselves tells no more than
    the first and the last of them: then what was recorded is as in `from_events`. Of signals that were sampled
    regularly, samples missing between intervals are filled with NaN and marked in the same way; others keep their own
    times.

    Parameters
    ----------
    data : pynapple.TsGroup, TsdFrame or Tsd
        Spike trains of several units, or signals.
    bin : float, optional
        Width of a bin (ms); spike trains need it.
    onsets : array_like or pynapple.Ts, optional
        (trial,): times in seconds, as pynapple has them, around which spike trains are cut into trials.
    window : (float, float), optional
        First and last time (ms) around each onset; without onsets, of the recording, by default from the first start to
        the last end.
    recorded : (float, float), array_like, table or pynapple.IntervalSet, optional
        What of spike trains was recorded, in seconds, where ``time_support`` does not say it; as in `from_events`.
    missing : {"raise", "drop"}
        What to do with onsets that are NaN or infinite; the labels of those dropped go with them.

    Returns
    -------
    xarray.DataArray
        From a TsGroup ``spikes`` ([trial,] time, neuron), counts per bin; from a TsdFrame (time, neuron), from a Tsd
        (time). Times are in ms, ``recorded`` is ([trial,] time). Metadata of units are coords, called ``unit_time``
        where they would be called as a dim (``time``) is; those with several values a unit are left out.

    Raises
    ------
    TypeError
        Another object.
    ValueError
        A TsGroup without `bin` or without units, and what `from_events` refuses.

    Examples
    --------
    >>> import numpy as np, pynapple
    >>> from ip2lab.analysis import from_pynapple
    >>> trains = {3: pynapple.Ts(np.array([0.001, 0.004])), 8: pynapple.Ts(np.array([0.012, 0.3]))}
    >>> units = pynapple.TsGroup(trains, time_support=pynapple.IntervalSet([0, 0.03], [0.02, 1]))
    >>> spikes = from_pynapple(units, bin=10, window=(0, 40))
    >>> spikes.values.tolist(), spikes.recorded.values.tolist()
    ([[2.0, 0.0], [0.0, 1.0], [nan, nan], [0.0, 0.0]], [True, True, False, True])
    """
    import pynapple as nap

    if isinstance(data, nap.TsGroup):
        times = onsets.t if isinstance(onsets, (nap.Ts, nap.Tsd)) else onsets
        return _from_group(data, bin, times, window, recorded, missing)
    if not isinstance(data, (nap.TsdFrame, nap.Tsd)):
        raise TypeError(f"data is a {type(data).__name__}; expected a pynapple TsGroup, TsdFrame or Tsd")
    if not (bin is None and onsets is None and window is None and recorded is None):
        raise ValueError(
            "bin, onsets, window and recorded are for spike trains (TsGroup); cut signals out with .restrict()"
        )
    return _from_signals(data)


def _from_group(
    group: Any,
    bin: float | None,
    onsets: npt.ArrayLike | None,
    window: tuple[float, float] | None,
    recorded: Any,
    missing: str,
) -> xr.DataArray:
    if bin is None:
        raise ValueError("spike trains (TsGroup) need bin=..., the width of a bin in ms")
    names = np.asarray(list(group.keys()))
    if not names.size:
        raise ValueError("the data hold no unit; expected a TsGroup with one or more")
    check_choices(None, onsets, window, None)
    trains = [np.asarray(group[name].t) for name in names]
    when = Ticks(np.concatenate(trains), SECOND, NANOSECOND)
    neuron = np.repeat(np.arange(names.size), [len(train) for train in trains])
    cut = Trials(Ticks(np.zeros(1, dtype=np.int64), SECOND), None, np.zeros(neuron.size, dtype=np.int64))
    if onsets is not None:
        cut = around(onsets, SECOND, None, missing, NANOSECOND)
    spikes = binned(when, neuron, names, cut, _support(group, trains, recorded, window), bin, window)
    return spikes.assign_coords(_metadata(group))


def _support(
    group: Any, trains: list[np.ndarray], recorded: Any, window: tuple[float, float] | None
) -> list[Ticks] | None:
    """What was recorded; None where nobody said it and a window was asked for."""
    if recorded is not None:
        return [intervals(recorded, SECOND)]
    support = intervals(group.time_support, SECOND)
    heard = [train for train in trains if len(train)]
    made_up = all(set(support.values[:, end]) <= {train[-end] for train in heard} for end in (0, 1))
    if not made_up:
        return [support]
    whole = np.array([[support.values.min(), support.values.max()]])
    return [support._replace(values=whole)] if window is None else None


def _metadata(data: Any) -> dict[str, tuple[str, np.ndarray]]:
    """Metadata of units as coords, under names that leave the dims alone."""
    coords: dict[str, tuple[str, np.ndarray]] = {}
    dims = ("time", "neuron", "trial", RECORDED)
    for column in data.metadata_columns:
        values = np.asarray(data.metadata[column])
        if any(np.ndim(value) for value in values):
            warnings.warn(f"metadata {column!r} has several values a unit and is left out", UserWarning, stacklevel=5)
        elif column != "rate" or not hasattr(data, "rates"):  # pynapple's own: spikes over the time support
            name = _free(column, lambda other: other in dims or other in coords, data.metadata_columns)
            coords[name] = ("neuron", values)
    return coords


def _free(name: str, taken: Callable[[str], bool], others: Collection[str]) -> str:
    """Return `name`, or where it is taken, one that neither is nor is one of the `others`."""
    new = name
    while taken(new) or (new != name and new in others):
        new = f"unit_{new}"
    return new


def _from_signals(data: Any) -> xr.DataArray:
    """Signals on their own times, or where samples of a regular grid are missing, on the whole of it."""
    own, values = np.asarray(data.t) * 1000.0, np.asarray(data.d)
    grid, place = _grid(own)
    inside = np.zeros(grid.size, dtype=bool)
    inside[place] = True
    if not inside.all():
        filled = np.full((grid.size, *values.shape[1:]), np.nan)
        filled[place] = values
        values = filled
    coords: dict[str, Any] = {
        "time": ("time", grid, {"units": "ms", "long_name": "time"}),
        RECORDED: ("time", inside, {"long_name": "whether there is a sample"}),
    }
    if values.ndim == 1:
        return xr.DataArray(values, dims=("time",), coords=coords)
    coords |= {"neuron": np.asarray(data.columns), **_metadata(data)}
    return xr.DataArray(values, dims=("time", "neuron"), coords=coords)


def _grid(own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Regular times that hold all of `own` to a thousandth of a step, and where; or `own` alone."""
    alone = own, np.arange(own.size)
    if own.size < 3 or (steps := np.diff(own)).min() <= 0:
        return alone
    place = np.append(0, np.cumsum(np.rint(steps / np.median(steps)))).astype(np.int64)
    if not own.size <= place[-1] <= MOST_BINS:
        return alone
    step = (own[-1] - own[0]) / place[-1]
    grid = own[0] + step * np.arange(place[-1] + 1)
    if np.abs(grid[place] - own).max() > 1e-3 * step:
        return alone
    grid[place] = own
    return grid, place


@checked
def to_pynapple(data: xr.DataArray, *, feature: str = "neuron", time: str = "time") -> Any:
    """Turn a labelled array into a pynapple object.

    Parameters
    ----------
    data : xarray.DataArray
        (time, feature), with a coord on `time` in ms. Bool and whole numbers are spikes per bin, other numbers signals,
        unless all are whole and the units say that they are counts (``"1"``), as those of `from_events` do. Where a
        coord ``recorded`` (time,) is False, values are left out, and may be NaN.
    feature, time : str
        The dims of neurons and of time.

    Returns
    -------
    pynapple.TsGroup or pynapple.TsdFrame
        Spike trains, each spike in the middle of its bin, or signals. Times are in seconds, as pynapple has them; the
        recorded stretches are its ``time_support``. Coords along `feature` go with them as metadata, called
        ``unit_rate`` where pynapple keeps a name (``rate``) for itself.

    Raises
    ------
    ValueError
        Other dims (pynapple has no trials: select one), NaN where it was recorded, nothing recorded, negative counts,
        no or uneven times, labels of neurons that repeat, or are not whole numbers for spike trains.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from ip2lab.analysis import to_pynapple
    >>> spikes = xr.DataArray([[1, 0], [0, 1]], dims=("time", "neuron"), coords={"time": [0.0, 10.0]})
    >>> to_pynapple(spikes)[1].t.tolist()
    [0.015]
    """
    import pynapple as nap

    check(data, feature=feature, time=time, gaps=True)
    if set(data.dims) != {feature, time}:
        raise ValueError(
            f"{called(data)} has dims {listed(data.dims)}; pynapple knows {time} and {feature} only: select one trial"
        )
    inside = _inside(data, time)
    moved = data.transpose(time, feature)
    starts, dt = times(moved, time)
    check_finite(moved)
    whole = moved.where(xr.DataArray(inside, dims=(time,)), 0)
    names = named(moved[feature].values, feature, "give each its own")
    counted = data.dtype.kind != "f" or (data.attrs.get("units") in COUNTS and bool((whole == np.rint(whole)).all()))
    runs = np.flatnonzero(np.diff(inside.astype(np.int8), prepend=0, append=0)).reshape(-1, 2)
    after = dt if counted else dt / 2  # a bin lasts until the next one; a sample that is missing then is in no interval
    support = nap.IntervalSet(starts[runs[:, 0]] / 1000.0, (starts[runs[:, 1] - 1] + after) / 1000.0)
    if not counted:
        frame = nap.TsdFrame(
            t=starts[inside] / 1000.0,
            d=moved.values[inside],
            columns=names,
            time_support=None if inside.all() else support,
        )
        return _with_metadata(frame, moved, feature)
    if (whole < 0).any() or names.dtype.kind not in "iu":
        raise ValueError(
            f"{called(data)}: spike trains need counts that are not negative and whole numbers as labels of "
            f"{feature!r}; relabel it: .assign_coords({feature}=range({len(names)}))"
        )
    middle = (starts + dt / 2) / 1000.0
    whole = whole.isel({feature: np.argsort(names)})  # as pynapple sorts them
    trains = {
        int(n): nap.Ts(np.repeat(middle, c), time_support=support)
        for n, c in zip(whole[feature].values, whole.values.astype(int).T, strict=True)
    }
    return _with_metadata(nap.TsGroup(trains, time_support=support), whole, feature)


def _inside(data: xr.DataArray, time: str) -> np.ndarray:
    """Which points along `time` were recorded."""
    found = data[RECORDED].reset_coords(drop=True) if RECORDED in data.coords else xr.DataArray(True)
    if set(found.dims) - {time}:
        raise ValueError(
            f"the coord {RECORDED!r} of {called(data)} has dims {listed(found.dims)}; pynapple knows one time_support "
            f"for all: expected it along {time!r} only"
        )
    inside = np.broadcast_to(found.values.astype(bool), data.sizes[time])
    if not inside.any():
        raise ValueError(f"nothing of {called(data)} was recorded: its coord {RECORDED!r} is False everywhere")
    return inside


def _with_metadata(new: Any, data: xr.DataArray, feature: str) -> Any:
    """Give a pynapple object the coords of its units."""
    extra = [str(c) for c in data.coords if data[c].dims == (feature,) and c != feature]
    columns = list(getattr(new, "columns", ()))
    for name in extra:
        free = _free(name, lambda other: hasattr(new, other) or other in columns, extra)
        new.set_info({free: data[name].values})
    return new
