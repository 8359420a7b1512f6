"""Single neurons: how they fire, what they are selective for, and how their intrinsic properties adapt."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xarray as xr
from scipy import stats

from ip2lab.analysis._arguments import checked
from ip2lab.analysis._excitability import fi_curve, relative_threshold
from ip2lab.analysis._intervals import adaptation_index, interspike_intervals
from ip2lab.analysis._labelled import (
    apply,
    check,
    dataset,
    describe,
    first_of,
    free,
    identical,
    mask_of,
    not_finite,
    one_chunk,
    times,
    units_of,
    variables_with,
    without,
)
from ip2lab.analysis._labels import called, check_rising, labels_along, levels, listed, recorded
from ip2lab.analysis._selectivity import mixed_selectivity, selectivity
from ip2lab.analysis._spikes import are_counts, behind, bins_of, smooth, spike_counts

__all__ = [
    "adaptation_index",
    "density",
    "drift",
    "fi_curve",
    "firing_rate",
    "interspike_intervals",
    "mixed_selectivity",
    "psth",
    "relative_threshold",
    "selectivity",
]


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
    if name in VARIABLES or name in first_of(heard, trial).coords or name in set(heard.dims) - {trial}:
        raise ValueError(f"the labels {name!r} are called as something else in the result: give them another name")
    found, codes = levels(labels.values)
    groups = [_psth(heard.isel({trial: codes == k}), settings) for k in range(len(found))]
    joined = xr.concat(groups, dim=name, coords="minimal", compat="override", combine_attrs="override")
    return joined.assign_coords({name: (name, found)}).transpose(..., name)


VARIABLES = ("rate", "lower", "upper", "trials")


class _Psth(NamedTuple):
    trial: str
    time: str
    bins: float  # standard deviation of the Gaussian
    level: float
    counts: bool  # spikes per bin, or a signal


def _psth(data: xr.DataArray, settings: _Psth) -> xr.Dataset:
    """Mean rate and its band, trial by trial: all smoothed trials at once would be many times the spikes."""
    trial, time, bins, level, counts = settings
    n = data.sizes[trial]
    if n < 2:
        raise ValueError(f"{called(data)} has {n} along {trial!r} (of a kind); a band needs two or more")
    moved = data.transpose(trial, ..., time)
    full = mask_of(moved)
    factor = 1000.0 / times(data, time)[1] if counts else 1.0
    mean, square, seen = (np.zeros(moved.shape[1:]) for _ in range(3))
    for i, values in enumerate(moved.data):
        here = np.ones(mean.shape, bool) if full is None else full[i]
        rate = smooth(np.where(here, values, 0), here if full is not None else None, bins=bins) * factor
        seen += here
        before = np.where(here, rate - mean, 0.0)
        mean += before / np.maximum(seen, 1)
        square += before * np.where(here, rate - mean, 0.0)
    if not np.isfinite(mean).all():
        raise not_finite(data)
    several = seen > 1
    sd = np.sqrt(np.where(several, square, np.nan) / np.where(several, seen - 1, 1))
    if several.any() and (sd <= 1e-9 * np.abs(mean))[several].all() and mean.any():
        raise identical(data, f"all {n} trials along {trial!r}", ", so a band over them has no meaning")
    half = stats.t.ppf((1 + level) / 2, np.maximum(seen - 1, 1)) * sd / np.sqrt(np.maximum(seen, 1))
    low = (mean - half).clip(0) if counts else mean - half
    mean = np.where(seen > 0, mean, np.nan)
    unit, what = ("Hz", "firing rate") if counts else (units_of(data), str(data.attrs.get("long_name", "activity")))
    parts = {
        "rate": (mean, f"mean {what} over trials"),
        "lower": (low, f"lower end of the {level:.0%} band"),
        "upper": (mean + half, f"upper end of the {level:.0%} band"),
    }
    like = free(first_of(moved, trial), *VARIABLES)
    order = [d for d in data.dims if d != trial]
    made = (
        describe(xr.DataArray(v, dims=like.dims, coords=like.coords), k, unit, words) for k, (v, words) in parts.items()
    )
    mask = recorded(data)
    number = xr.DataArray(n) if mask is None else behind(data, mask, trial).fillna(0).astype(int)
    return dataset(
        data,
        *(array.transpose(*order) for array in made),
        describe(number.drop_attrs(), "trials", "1", "number of trials" + (" recorded" if mask is not None else "")),
    )


def _by_property(properties: xr.Dataset | xr.DataArray, along: str, feature: str) -> tuple[xr.DataArray, xr.DataArray]:
    """All properties with both dims as one array (property, ..., along, feature), and their units (property,)."""
    found = {
        name: free(v, "property", "unit")
        for name, v in variables_with(properties, along=along, feature=feature).items()
    }
    for name, values in found.items():
        if (values <= 0).any():
            raise ValueError(
                f"{name!r} holds {float(values.min()):g}; properties are compared by their logarithm and "
                "must be positive"
            )
    names = xr.DataArray(list(found), dims="property", name="property", attrs={"units": "1", "long_name": "property"})
    parts = [v.astype(float).drop_attrs(deep=False) for v in found.values()]
    whole = xr.concat(parts, dim=names, coords="minimal", compat="override", join="exact")
    unit = xr.DataArray([units_of(v) for v in found.values()], dims="property")
    return whole.transpose("property", ..., along, feature), describe(unit, "unit", "1", "unit of the property")


@checked
def drift(
    properties: xr.Dataset | xr.DataArray, *, along: str = "problem", feature: str = "neuron", within: str | None = None
) -> xr.Dataset:
    r"""How far every neuron's properties have moved, on the logarithm, from where they were.

    .. math:: \mathrm{drift}_i(p) = \ln\frac{v_i(p)}{v_i(p_0)}

    so that properties with different units stand side by side: 0.69 is twice, -0.69 is half the first value.

    Parameters
    ----------
    properties : xarray.Dataset or xarray.DataArray
        A run's ``/properties`` (along, feature), or ``/trajectories`` with ``along="step"``, or one property. All
        variables with both dims are used; their values must be positive.
    along, feature : str
        The dims of problems (or steps) and of neurons.
    within : str, optional
        A coord along `along` (``"problem"`` of the trajectories): drift is then counted from the first step of each of
        its values, not from the first of all.

    Returns
    -------
    xarray.Dataset
        ``drift`` (property, ..., along, feature), natural logarithm of a ratio; ``change`` the same from one point to
        the next (0 at the first); ``size`` (property, ..., along), the root mean square of `change` over neurons;
        ``spread`` (property, ..., along), the standard deviation of the logarithm over neurons; ``directedness``
        (property, ..., feature), the net way over the whole way: 1 for one direction, near 0 for to and fro, 0 where
        nothing moved. The coord ``unit`` (property) has the units of the values.

    Raises
    ------
    ValueError
        No variable with both dims, values that are not positive, NaN.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from ip2lab.analysis import neurons
    >>> values = [[100.0, 100.0], [200.0, 100.0], [400.0, 100.0]]
    >>> tau = xr.DataArray(values, dims=("problem", "neuron"), name="tau_soma")
    >>> moved = neurons.drift(tau)
    >>> moved.drift.sel(property="tau_soma").round(2).values.tolist(), moved.directedness.round(2).values.tolist()
    ([[0.0, 0.0], [0.69, 0.0], [1.39, 0.0]], [[1.0, 0.0]])
    """
    values, unit = _by_property(properties, along, feature)
    check_rising(values, along)
    logs = xr.ufuncs.log(values)
    first = _first_of_each(logs, along, within)
    start = xr.zeros_like(logs.isel({along: [0]}))
    change = xr.concat(
        [start, logs.diff(along, label="upper")], dim=along, join="outer", coords="minimal", compat="override"
    )
    change = change.assign_coords(logs.coords).where(first.same, 0.0) if within else change.assign_coords(logs.coords)
    way = np.abs(change).sum(along)
    net = np.abs(change.sum(along))
    moved = way > 1e-12
    directed = xr.where(moved, net / way.where(moved, 1.0), 0.0)
    order = [str(d) for d in logs.dims if d not in (along, feature)]
    words = "drift: natural logarithm of the value over the first one"
    result = dataset(
        properties,
        describe(logs - first.value, "drift", "1", words + (f" of the {within}" if within else "")),
        describe(
            change.transpose(*logs.dims),
            "change",
            "1",
            f"natural logarithm of the value over the one at the previous {along}",
        ),
        describe(
            np.sqrt((change**2).mean(feature)).transpose(*order, along),
            "size",
            "1",
            "root mean square change over neurons",
        ),
        describe(
            logs.std(feature).transpose(*order, along),
            "spread",
            "1",
            "standard deviation over neurons of the logarithm",
        ),
        describe(directed.transpose(*order, feature), "directedness", "1", "net way over whole way"),
    )
    return result.assign_coords(unit=unit)


class _Start(NamedTuple):
    value: xr.DataArray  # the value from which each point is counted
    same: xr.DataArray  # whether a point has a predecessor in its own group


def _first_of_each(logs: xr.DataArray, along: str, within: str | None) -> _Start:
    """For each point along `along` the first of its group."""
    n = logs.sizes[along]
    if within is None:
        index, same = np.zeros(n, int), np.arange(n) > 0
    elif within not in logs.coords or logs[within].dims != (along,):
        raise ValueError(f"within={within!r} is not a coord along {along!r}; there are {listed(logs.coords)}")
    else:
        labels = logs[within].values
        same = np.append(False, labels[1:] == labels[:-1])
        index = np.maximum.accumulate(np.where(same, 0, np.arange(n)))
    value = logs.isel({along: index}).assign_coords(logs.coords)
    return _Start(value, xr.DataArray(same, dims=along))


@checked
def density(
    properties: xr.Dataset | xr.DataArray, *, along: str = "problem", feature: str = "neuron", points: int = 128
) -> xr.Dataset:
    r"""Density of each property over neurons, at every problem.

    .. math:: \hat f(\ln v) = \frac1{N h}\sum_i \varphi\Bigl(\frac{\ln v-\ln v_i}{h}\Bigr)

    a Gaussian kernel estimate on the natural logarithm; the width h is Silverman's, but at least a fiftieth of the
    grid, so that a population that is (still) all alike is a narrow peak and not a division by zero.

    Parameters
    ----------
    properties : xarray.Dataset or xarray.DataArray
        A run's ``/properties`` (along, feature), or one property.
    along, feature : str
        The dims of problems and of neurons.
    points : int
        Number of points of the grid, which is the same for all problems.

    Returns
    -------
    xarray.Dataset
        ``density`` (property, ..., along, point), per natural logarithm: it integrates to 1 over ln(value); ``value``
        (property, point), the grid in the property's own unit, which the coord ``unit`` (property) has.

    Raises
    ------
    ValueError
        No variable with both dims, values that are not positive, NaN, fewer than 16 points.

    References
    ----------
    Silverman, Density Estimation for Statistics and Data Analysis (1986), section 3.4.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from ip2lab.analysis import neurons
    >>> values = np.random.default_rng(0).lognormal(np.log(100), 0.5, size=(4, 50))
    >>> found = neurons.density(xr.DataArray(values, dims=("problem", "neuron"), name="tau_dendrite"))
    >>> curve = found.sel(property="tau_dendrite").isel(problem=3)
    >>> round(float(np.trapezoid(curve.density, np.log(curve.value))), 3)
    1.0
    """
    if points < 16:
        raise ValueError(f"points={points}; a density needs a grid of 16 or more")
    values, unit = _by_property(properties, along, feature)
    logs = xr.ufuncs.log(free(values, "point"))
    others = [d for d in logs.dims if d != "property"]
    low, high = logs.min(others), logs.max(others)
    margin = np.maximum(0.25 * (high - low), 0.25)
    share = xr.DataArray(np.linspace(0, 1, points), dims="point")
    grid = (low - margin) + share * (high - low + 2 * margin)
    found = apply(_kernel_density, logs, grid, over=[(feature,), ("point",)], into=[("point",)])
    result = dataset(
        properties,
        describe(
            found.transpose(*logs.dims[:-1], "point"),
            "density",
            "1",
            "density over neurons, per natural logarithm of the value",
        ),
        describe(np.exp(grid), "value", "as the property", "value of the property"),
    )
    return result.assign_coords(unit=unit)


def _kernel_density(values: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Gaussian kernel density of `values` (..., neuron) at `grid` (..., point), which is evenly spaced."""
    n = values.shape[-1]
    quartiles = np.quantile(values, [0.25, 0.75], axis=-1)
    spread = np.minimum(values.std(-1), (quartiles[1] - quartiles[0]) / 1.34)
    spread = np.where(spread > 0, spread, values.std(-1))
    widest = grid[..., -1] - grid[..., 0]
    # at most a sixteenth of the grid: its margin is then enough for the kernel's tails
    width = np.clip(0.9 * spread * n**-0.2, widest / 50, widest / 16)
    total = np.zeros(np.broadcast_shapes((*values.shape[:-1], 1), grid.shape))
    for i in range(n):  # neuron by neuron: an array (..., neuron, point) would be n times larger than the result
        total += np.exp(-0.5 * ((grid - values[..., i, None]) / width[..., None]) ** 2)
    return total / (n * width[..., None] * np.sqrt(2 * np.pi))
