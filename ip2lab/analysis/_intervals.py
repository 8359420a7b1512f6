"""Intervals between spikes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr

from ip2lab.analysis._arguments import checked
from ip2lab.analysis._labelled import apply, check, dataset, describe, times
from ip2lab.analysis._labels import called


def _trains(
    spikes: xr.DataArray, time: str, trial: str | Sequence[str] | None
) -> tuple[xr.DataArray, list[str], float]:
    """Checked spikes, the dims whose trains are pooled, and the bin in ms."""
    pooled = [] if trial is None else [trial] if isinstance(trial, str) else list(trial)
    check(spikes, time=time, finite=True)
    for name in pooled:
        check(spikes, trial=name, time=time)
    if spikes.dtype.kind != "b" and bool(((spikes != 0) & (spikes != 1)).any()):
        raise ValueError(
            f"{called(spikes)} holds values other than 0 and 1; intervals need bins of at most one spike: "
            "bin finer, so that no two spikes fall into one"
        )
    return spikes, pooled, times(spikes, time)[1]


class _Pairs(NamedTuple):
    owner: np.ndarray  # the neuron of each interval
    length: np.ndarray  # in bins
    next_length: np.ndarray  # the interval after it in the same train, 0 where there is none


def _intervals(trains: np.ndarray, n: int) -> _Pairs:
    """Intervals of `trains` (train, time), the trains of each of n neurons in a row."""
    row, column = np.nonzero(trains)
    same = row[1:] == row[:-1]
    length, owner_train = np.diff(column)[same], row[1:][same]
    following = np.zeros(len(length), int)
    chained = owner_train[1:] == owner_train[:-1]
    following[:-1][chained] = length[1:][chained]
    return _Pairs(owner_train // (len(trains) // n), length, following)


@checked
def interspike_intervals(
    spikes: xr.DataArray, *, time: str = "time", trial: str | Sequence[str] | None = None
) -> xr.Dataset:
    r"""Measure the intervals between a neuron's spikes: their mean, and how regular they are.

    .. math:: \mathrm{CV} = \frac{\mathrm{SD}(I)}{\langle I\rangle},\qquad
              \mathrm{LV} = \frac{3}{n-1}\sum_i\Bigl(\frac{I_i-I_{i+1}}{I_i+I_{i+1}}\Bigr)^2

    Both are 1 for a Poisson process and 0 for a clock; LV compares neighbours only, so that a slowly changing rate
    does not pass for irregularity.

    Parameters
    ----------
    spikes : xarray.DataArray
        (..., time): bool, or 0 and 1, with a coord on `time` in ms.
    time : str
        The dim of time.
    trial : str or sequence of str, optional
        Dims whose trains are pooled, such as ``"trial"``. No interval spans two trials.

    Returns
    -------
    xarray.Dataset
        ``mean_interval`` (...) in ms, ``cv`` and ``lv`` (...), and ``intervals`` (...), their number. What too few
        spikes leave undefined is NaN: without an interval the mean, with fewer than two the CV, without two in a row
        the LV.

    Raises
    ------
    ValueError
        A missing dim or coord, several spikes in one bin, NaN.

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
    """
    spikes, pooled, dt = _trains(spikes, time, trial)
    names = ("mean_interval", "cv", "lv", "intervals")
    parts = apply(_interval_moments, spikes, over=[(*pooled, time)], into=[()] * 4, last=len(pooled) + 1, dt=dt)
    units = ("ms", "1", "1", "1")
    words = ("mean interval between spikes", "coefficient of variation", "local variation", "number of intervals")
    return dataset(spikes, *(describe(p, n, u, w) for p, n, u, w in zip(parts, names, units, words, strict=True)))


def _interval_moments(values: np.ndarray, last: int, dt: float) -> tuple[np.ndarray, ...]:
    """Mean (ms), CV, LV and number of intervals of `values` (..., trials..., time), `last` of its axes pooled."""
    shape = values.shape[: values.ndim - last]
    n = int(np.prod(shape))
    found = _intervals(values.reshape(-1, values.shape[-1]), n)
    count = np.bincount(found.owner, minlength=n)
    mean = _over(np.bincount(found.owner, found.length, n), count)
    deviation = (found.length - mean[found.owner]) ** 2
    cv = np.sqrt(_over(np.bincount(found.owner, deviation, n), count)) / mean
    cv[count < 2] = np.nan
    pairs = found.next_length > 0
    contrast = ((found.length - found.next_length)[pairs] / (found.length + found.next_length)[pairs]) ** 2
    lv = 3 * _over(np.bincount(found.owner[pairs], contrast, n), np.bincount(found.owner[pairs], minlength=n))
    return tuple(part.reshape(shape) for part in (mean * dt, cv, lv, count.astype(float)))


def _over(total: np.ndarray, count: np.ndarray) -> np.ndarray:
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


@checked
def adaptation_index(
    spikes: xr.DataArray, *, time: str = "time", trial: str | Sequence[str] | None = None
) -> xr.DataArray:
    r"""Spike-frequency adaptation: how much each interval is longer than the one before.

    .. math:: A = \Bigl\langle\frac{I_{i+1}-I_i}{I_{i+1}+I_i}\Bigr\rangle_i

    positive where firing slows down, 0 for a steady rate.

    Parameters
    ----------
    spikes : xarray.DataArray
        (..., time): bool, or 0 and 1, with a coord on `time` in ms, during a constant input.
    time : str
        The dim of time.
    trial : str or sequence of str, optional
        Dims whose trains are pooled. No pair of intervals spans two trials.

    Returns
    -------
    xarray.DataArray
        ``adaptation_index`` (...), between -1 and 1; NaN where no train has three spikes.

    Raises
    ------
    ValueError
        A missing dim or coord, several spikes in one bin, NaN.

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
    spikes, pooled, _ = _trains(spikes, time, trial)
    found = apply(_adaptation, spikes, over=[(*pooled, time)], last=len(pooled) + 1)
    return describe(found, "adaptation_index", "1", "adaptation index", spikes)


def _adaptation(values: np.ndarray, last: int) -> np.ndarray:
    shape = values.shape[: values.ndim - last]
    n = int(np.prod(shape))
    found = _intervals(values.reshape(-1, values.shape[-1]), n)
    pairs = found.next_length > 0
    change = (found.next_length - found.length)[pairs] / (found.next_length + found.length)[pairs]
    return _over(np.bincount(found.owner[pairs], change, n), np.bincount(found.owner[pairs], minlength=n)).reshape(
        shape
    )
