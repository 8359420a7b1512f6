"""Trials to criterion as survival times: problems that were given up are censored, not dropped."""

from __future__ import annotations

import warnings

import numpy as np
import xarray as xr
from scipy import stats

from ip2lab.analysis._arrays import apply, dataset, describe
from ip2lab.analysis._curve_data import after_first, curve
from ip2lab.analysis._labels import called
from ip2lab.checks import checked


@checked
def survival(
    data: xr.Dataset | xr.DataArray,
    *,
    along: str = "problem",
    cap: float | None = None,
    limit: float | None = None,
    keep_first: bool = False,
    level: float = 0.95,
) -> xr.Dataset:
    r"""Kaplan-Meier estimate of the share of problems not yet learnt after so many trials.

    .. math:: \hat S(t) = \prod_{t_i\le t}\Bigl(1-\frac{d_i}{n_i}\Bigr),\qquad
              \mathrm{RM} = \int_0^{L}\hat S(t)\,dt

    with :math:`d_i` problems learnt at :math:`t_i` of the :math:`n_i` still open. The restricted mean RM replaces a
    mean that failures leave undefined.

    Parameters
    ----------
    data : xarray.Dataset or xarray.DataArray
        A run's series, or trials to criterion (..., along). The first problem is left out. The problems count as draws
        from one distribution: choose a stretch of the series without a trend (with ``keep_first=True``).
    along : str
        The dim of the problems.
    cap : float, optional
        Trials to criterion at which a problem was given up, where `data` does not hold them.
    limit : float, optional
        The upper end L of the restricted mean (trials); the longest trials seen by default.
    keep_first : bool
        Count the first problem too: `data` are a later stretch of a series.
    level : float
        Coverage of the band (Greenwood's variance on the scale of log(-log S)).

    Returns
    -------
    xarray.Dataset
        ``survival`` (..., trials) with ``lower`` and ``upper``; ``at_risk`` (..., trials); ``restricted_mean`` and
        ``restricted_mean_error`` (...) in trials. The coord ``trials`` holds 0 and every time that occurs.

    Raises
    ------
    ValueError
        No dim `along`, failures without a known cap, a limit that is not positive.

    References
    ----------
    Kaplan and Meier, J Am Stat Assoc 53:457-481 (1958); Royston and Parmar, BMC Med Res Methodol 13:152 (2013).

    Examples
    --------
    >>> import xarray as xr
    >>> from ip2lab.analysis import curves
    >>> found = curves.survival(xr.DataArray([500.0, 4.0, 6.0, float("nan"), 8.0], dims="problem"), cap=10)
    >>> found.survival.sel(trials=[0, 4, 6, 8]).values.tolist(), float(found.restricted_mean)
    ([1.0, 0.75, 0.5, 0.25], 7.0)
    """
    names = ("survival", "lower", "upper", "at_risk")
    results = (*names, "trials", "restricted_mean", "restricted_mean_error")
    found, _ = after_first(curve(data, along, "survival", cap, results), along, keep_first)
    if not found.attempted.any(along).all():
        raise ValueError(f"{called(found.trials)} has a series without a problem after the first; leave it out")
    grid = np.unique(np.append(0.0, found.trials.values[found.attempted.values]))
    pair = found.trials, found.failed
    parts = apply(
        _kaplan_meier, *pair, over=[(along,), (along,)], into=[("trials",)] * 4, loop=True, grid=grid, level=level
    )
    mean, error = apply(_restricted, *pair, over=[(along,), (along,)], into=[(), ()], loop=True, limit=limit)
    words = (
        "share of problems not yet learnt",
        "lower end of the band",
        "upper end of the band",
        "problems still open",
    )
    units = ("1", "1", "1", "problems")
    trials = xr.DataArray(grid, dims="trials", attrs={"units": "trials", "long_name": "trials"})
    return dataset(
        found.trials,
        *(
            describe(p.assign_coords(trials=trials), n, u, w)
            for p, n, u, w in zip(parts, names, units, words, strict=True)
        ),
        describe(mean, "restricted_mean", "trials", "restricted mean of trials to criterion"),
        describe(error, "restricted_mean_error", "trials", "standard error of the restricted mean"),
    )


def _kaplan_meier(
    times: np.ndarray, censored: np.ndarray, grid: np.ndarray, level: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Survival, its band and the number at risk, each on `grid` (trials,); NaN of `times` was not tried."""
    kept = ~np.isnan(times)
    times, censored = times[kept], censored[kept]
    found = stats.ecdf(stats.CensoredData.right_censored(times, censored)).sf
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the variance is undefined where all or none are left
        band = found.confidence_interval(level, method="log-log")
    share = found.evaluate(grid)
    defined = (share > 0) & (share < 1)
    lower, upper = (np.where(defined, end.evaluate(grid), share) for end in (band.low, band.high))
    return share, lower, upper, (times >= grid[:, None]).sum(1)


def _restricted(times: np.ndarray, censored: np.ndarray, limit: float | None) -> tuple[float, float]:
    """Restricted mean and its standard error; NaN of `times` was not tried."""
    times, censored = times[~np.isnan(times)], censored[~np.isnan(times)]
    end = times.max() if limit is None else limit
    at, events = np.unique(times[~censored], return_counts=True)
    at, events = at[at < end], events[at < end]
    risk = (times >= at[:, None]).sum(1)
    share = np.append(1.0, np.cumprod(1 - events / risk))
    pieces = share * np.diff(np.concatenate([[0.0], at, [end]]))
    rest = pieces[::-1].cumsum()[::-1][1:]  # the area after each event
    # Greenwood's terms; after the last event with nobody left there is no area
    terms = np.divide(events, risk * (risk - events), out=np.zeros(len(at)), where=risk > events)
    return float(pieces.sum()), float(np.sqrt((rest**2 * terms).sum()))


def restricted_mean(times: np.ndarray, censored: np.ndarray) -> float:
    """Area under the Kaplan-Meier curve of `times` (problem,) up to the longest of them."""
    return _restricted(times, censored, None)[0]
