"""Spikes per bin: what can be such, and the firing rates that they give."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from scipy import ndimage, stats

from ip2lab.analysis._arrays import apply, dataset, describe, first_of, free, samples, times, units_of, without
from ip2lab.analysis._blocks import blocks
from ip2lab.analysis._checks import check, check_finite, check_free, check_length, identical, not_finite, one_chunk
from ip2lab.analysis._labels import called, labels_along, levels, recorded, recorded_values
from ip2lab.checks import checked

COUNTS = ("1", "spikes", "spike", "count", "counts", "spikes per bin", "spikes/bin", "counts/bin")  # units of spikes
POSSIBLE = 2000.0  # Hz, of one neuron
TOGETHER = 1000.0  # Hz, the mean of all neurons
VARIABLES = ("rate", "lower", "upper", "trials")


def are_counts(data: xr.DataArray) -> bool:
    """Whether `data` are spikes per bin: as their units say or, without units, whole numbers only."""
    unit = data.attrs.get("units")
    if unit or data.dtype.kind in "biu":
        return not unit or unit in COUNTS
    check_finite(data)
    mask = recorded_values(data)
    for place, block in blocks(data.data[..., None]):
        heard = block[..., 0] if mask is None else block[..., 0][mask[place]]
        if not _whole(heard):
            return False
    return True


def _whole(values: np.ndarray) -> bool:
    """Whether all finite values are counts: whole and not negative."""
    if values.dtype.kind in "biu":
        return values.dtype.kind != "i" or bool((values >= 0).all())
    with np.errstate(invalid="ignore"):
        return not ((values < 0) | (values % 1 > 0)).any()


def spike_counts(spikes: xr.DataArray, time: str, *trials: str) -> tuple[xr.DataArray, xr.DataArray | None, float]:
    """Checked spikes per bin, 0 where nothing was recorded; where it was, or None; and the bin in ms."""
    check(spikes, time=time, gaps=True)
    for name in trials:
        check(spikes, trial=name, time=time, gaps=True)
    dt = times(spikes, time)[1]
    unit = spikes.attrs.get("units")
    if unit and unit not in COUNTS:
        raise ValueError(
            f"{called(spikes)} is in {unit!r}, so it is a signal and no spikes per bin: average it as it is, "
            f"data.mean({time!r}) or neurons.psth; where it does hold spikes, say so: .assign_attrs(units='1')"
        )
    mask = recorded(spikes)
    full = recorded_values(spikes)
    heard = spikes if full is None else spikes.copy(data=np.where(full, spikes.data, spikes.dtype.type(0)))
    if spikes.chunks is None:
        check(spikes, finite=True, gaps=True)
        _check_counts(heard.values, unit, called(spikes))
        _check_rate(heard, mask, dt, [time, *trials])
    else:  # lazy data are looked at when they are computed
        seen = heard.data.map_blocks(_check_counts, unit, called(spikes), dtype=heard.dtype, meta=heard.data._meta)
        heard = heard.copy(data=seen)
    return heard, mask, dt


def _check_counts(values: np.ndarray, unit: str | None, name: str) -> np.ndarray:
    """Return `values`, or raise ValueError where they cannot be spikes per bin; means of them say their unit."""
    if values.dtype.kind not in "bu" and (values < 0).any():
        raise ValueError(f"{name} holds {float(values.min()):g}; spikes are bool or counts per bin, not negative")
    if not unit and not _whole(values):
        odd = values[values % 1 > 0].ravel()[0]
        raise ValueError(
            f"{name} holds {float(odd):g}; spikes are bool or whole counts per bin. Average a signal as it is, "
            "data.mean(...) or neurons.psth; where these are mean counts, say so: .assign_attrs(units='1')"
        )
    return values


def _check_rate(spikes: xr.DataArray, mask: xr.DataArray | None, dt: float, over: list[str]) -> None:
    """Raise ValueError for more spikes than a neuron has, where the times do not say in which unit they are."""
    time = over[0]
    if spikes[time].attrs.get("units") or spikes[time].dtype.kind == "m":
        return
    rate = spikes.sum(over) * (1000 / dt) / behind(spikes, mask, *over)
    most, mean = float(rate.max()), float(rate.mean())
    if most > POSSIBLE or mean > TOGETHER:
        words = f"{most:.0f} Hz in one neuron" if most > POSSIBLE else f"{mean:.0f} Hz on average"
        raise ValueError(
            f"{called(spikes)}: {words} is more than neurons fire; {time!r} does not seem to be "
            f"in ms; say what it is in: data[{time!r}].attrs['units'] = 's' (or 'ms', if it is)"
        )


def behind(data: xr.DataArray, mask: xr.DataArray | None, *dims: str) -> Any:
    """How many places along `dims` each number over them is of; NaN where nothing was recorded."""
    others = math.prod(data.sizes[dim] for dim in dims if mask is None or dim not in mask.dims)
    if mask is None:
        return others
    found = mask.sum([dim for dim in dims if dim in mask.dims]) * others
    return found.where(found > 0)


def bins_of(width: float, dt: float) -> float:
    """`width` (ms) in bins of `dt`."""
    if not 1e-3 * dt < width < 1e6 * dt:
        raise ValueError(f"width: {width} is not valid; give a positive number of ms, near a step of {dt:g}")
    return width / dt


def smooth(values: np.ndarray, mask: np.ndarray | None = None, *, bins: float) -> np.ndarray:
    """`values` (..., time), 0 outside `mask`, smoothed with a Gaussian of `bins` standard deviation.

    Its weights sum to one over what was recorded; NaN elsewhere.
    """
    settings = {"axis": -1, "mode": "constant", "truncate": 4.0}
    heard = np.ones(values.shape[-1]) if mask is None else mask.astype(float)
    weight = ndimage.gaussian_filter1d(heard, bins, **settings)
    whole = ndimage.gaussian_filter1d(values.astype(float), bins, **settings)
    return whole / weight if mask is None else np.where(mask, whole / np.where(mask, weight, 1.0), np.nan)


@checked
def firing_rate(spikes: xr.DataArray, *, time: str = "time", width: float | None = None) -> xr.DataArray:
    r"""Firing rate: spikes over time, :math:`r = \sum_t s_t / (n\,\Delta t)`.

    Parameters
    ----------
    spikes : xarray.DataArray
        (..., time), bool or counts per bin, with a coord on `time` in ms (or in s, said in its attrs). Where it has a
        coord ``recorded`` that is False, nothing is counted, neither spikes nor time. May be backed by dask.
    time : str
        The dim of time.
    width : float, optional
        Standard deviation (ms) of a Gaussian with which the rate is smoothed; `time` is then kept. The kernel is cut
        off at the ends and at what was not recorded, and made up for there.

    Returns
    -------
    xarray.DataArray
        ``firing_rate`` (...) in Hz, with `width` (..., time); NaN where nothing was recorded, which ``recorded`` says.

    Raises
    ------
    ValueError
        No dim or coord `time`, uneven times, NaN, negative values, a signal (other units, or values that are not whole
        and have none), more spikes than a neuron has where the times have no units.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from ip2lab.analysis import neurons
    >>> spikes = xr.DataArray(np.zeros((100, 3), bool), dims=("time", "neuron"), coords={"time": 20.0 * np.arange(100)})
    >>> spikes[::10, 0] = True
    >>> neurons.firing_rate(spikes).values.tolist()
    [5.0, 0.0, 0.0]
    """
    heard, mask, dt = spike_counts(spikes, time)
    if width is None:
        # counted as integers: a float copy of the spikes would be many times their size
        whole = spikes.dtype.kind in "biu"
        count = heard.sum(time, dtype=np.int64 if whole else float, skipna=False)  # lazy NaN stay NaN
        rate = (count * (1000.0 / (behind(spikes, mask, time) * dt))).astype(float)
        if mask is not None:
            some = mask.any([dim for dim in mask.dims if dim == time])
            rate = rate if bool(some.all()) else rate.assign_coords(recorded=some)
    else:
        one_chunk(spikes, time)
        given = [heard] if mask is None else [heard, _along(mask, time, spikes)]
        over = [(time,)] * len(given)
        rate = apply(smooth, *given, over=over, into=[(time,)], lazy={}, bins=bins_of(width, dt)) * (1000.0 / dt)
        rate = rate.transpose(*spikes.dims).assign_coords(spikes.coords)  # with their units
    return describe(rate, "firing_rate", "Hz", "firing rate", spikes)


def _along(mask: xr.DataArray, time: str, data: xr.DataArray) -> xr.DataArray:
    """`mask` with the dim `time`, which it may lack."""
    return mask if time in mask.dims else mask.expand_dims({time: data.sizes[time]})


@checked
def psth(
    spikes: xr.DataArray,
    *,
    trial: str = "trial",
    time: str = "time",
    width: float = 50.0,
    by: str | xr.DataArray | None = None,
    level: float = 0.95,
) -> xr.Dataset:
    r"""Compute a peristimulus time histogram: the mean rate over trials around an event, with a band.

    Every trial is smoothed with a Gaussian; the band is :math:`\bar r \pm t\,s/\sqrt{n}` over trials.

    Parameters
    ----------
    spikes : xarray.DataArray
        (..., trial, time), bool or counts per bin, with a coord on `time` in ms; or a signal (calcium, rates): whatever
        has other units, or values that cannot be counts. Where a coord ``recorded`` is False nothing is taken.
    trial, time : str
        The dims of trials and of time.
    width : float
        Standard deviation of the Gaussian (ms).
    by : str or xarray.DataArray, optional
        A label of each trial (a coord of `spikes`, or an array that is matched by its labels): one histogram for each
        of its values, numbers by size, text by the alphabet.
    level : float
        Coverage of the band, at each time on its own.

    Returns
    -------
    xarray.Dataset
        ``rate``, ``lower`` and ``upper`` (..., time) in Hz, of a signal in its own units; ``trials``, their number,
        with gaps that of the trials recorded at each time (a band needs two, a mean one, else NaN). With `by` all have
        one more dim, named as the label is.

    Raises
    ------
    ValueError
        A missing dim or coord, fewer than two trials (of a kind), trials that are all identical: their band would have
        no width; labels that differ from those of the trials, or are called as something in the result.

    References
    ----------
    Dayan and Abbott, Theoretical Neuroscience (2001), section 1.2.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from ip2lab.analysis import neurons
    >>> spikes = xr.DataArray(
    ...     np.random.default_rng(0).random((200, 100, 2)) < 0.2, dims=("trial", "time", "neuron"),
    ...     coords={"time": 10.0 * np.arange(100)})
    >>> found = neurons.psth(spikes)
    >>> dict(found.rate.sizes), bool((found.lower.mean() < 20) & (found.upper.mean() > 20))
    ({'time': 100, 'neuron': 2}, True)
    """
    check(spikes, trial=trial, time=time, gaps=True)
    counts = are_counts(spikes)
    heard = spike_counts(spikes, time, trial)[0] if counts else check(spikes, finite=spikes.chunks is None, gaps=True)
    settings = _Psth(trial, time, bins_of(width, times(spikes, time)[1]), level, counts)
    if by is None:
        return _psth(heard, settings)
    labels = labels_along(spikes, by, [trial], least=1)
    name = str(labels.name or "label")
    heard = free(without(heard, by) if isinstance(by, str) and by != trial else heard, *VARIABLES)
    check_free({*VARIABLES, *first_of(heard, trial).coords, *heard.dims} - {trial}, name)
    found, codes = levels(labels.values)
    groups = [_psth(heard.isel({trial: codes == k}), settings) for k in range(len(found))]
    joined = xr.concat(groups, dim=name, coords="minimal", compat="override", combine_attrs="override")
    return joined.assign_coords({name: (name, found)}).transpose(..., name)


class _Psth(NamedTuple):
    trial: str
    time: str
    bins: float  # standard deviation of the Gaussian
    level: float
    counts: bool  # spikes per bin, or a signal


def _psth(data: xr.DataArray, settings: _Psth) -> xr.Dataset:
    """Mean rate and its band, trial by trial: all smoothed trials at once would be many times the spikes."""
    trial, time, bins, level, counts = settings
    check_length(data, trial, 2, "a band over trials (of a kind)")
    moved = data.transpose(trial, ..., time)
    factor = 1000.0 / times(data, time)[1] if counts else 1.0
    mean, sd, seen = _over_trials(moved.data, recorded_values(moved), bins, factor)
    _check_band(data, trial, mean, sd)
    half = stats.t.ppf((1 + level) / 2, np.maximum(seen - 1, 1)) * sd / np.sqrt(np.maximum(seen, 1))
    low = (mean - half).clip(0) if counts else mean - half
    unit, what = ("Hz", "firing rate") if counts else (units_of(data), str(data.attrs.get("long_name", "activity")))
    parts = {
        "rate": (np.where(seen > 0, mean, np.nan), f"mean {what} over trials"),
        "lower": (low, f"lower end of the {level:.0%} band"),
        "upper": (mean + half, f"upper end of the {level:.0%} band"),
    }
    like = free(first_of(moved, trial), *VARIABLES)
    order = samples(data, trial)
    made = (
        describe(like.copy(data=v).drop_attrs(deep=False).transpose(*order), name, unit, words)
        for name, (v, words) in parts.items()
    )
    mask = recorded(data)
    if mask is None:
        number = describe(xr.DataArray(len(moved)), "trials", "1", "number of trials")
    else:
        seen_trials = behind(data, mask, trial).fillna(0).astype(int).drop_attrs()
        number = describe(seen_trials, "trials", "1", "number of trials recorded")
    return dataset(data, *made, number)


def _check_band(data: xr.DataArray, trial: str, mean: np.ndarray, sd: np.ndarray) -> None:
    """Raise ValueError for NaN, and for trials that are all alike."""
    if not np.isfinite(mean).all():
        raise not_finite(data)
    several = ~np.isnan(sd)
    if several.any() and (sd <= 1e-9 * np.abs(mean))[several].all() and mean.any():
        what = f"all {data.sizes[trial]} trials along {trial!r}"
        raise identical(data, what, ", so a band over them has no meaning")


def _over_trials(
    trials: Any, mask: np.ndarray | None, bins: float, factor: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, standard deviation (NaN over one) and number of the smoothed `trials` (trial, ..., time) in `mask`."""
    mean, square, seen = (np.zeros(trials.shape[1:]) for _ in range(3))
    for i, values in enumerate(trials):
        here = np.ones(mean.shape, bool) if mask is None else mask[i]
        rate = smooth(np.where(here, values, 0), None if mask is None else here, bins=bins) * factor
        seen += here
        before = np.where(here, rate - mean, 0.0)
        mean += before / np.maximum(seen, 1)
        square += before * np.where(here, rate - mean, 0.0)
    return mean, np.sqrt(np.where(seen > 1, square, np.nan) / np.maximum(seen - 1, 1)), seen
