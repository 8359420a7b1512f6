"""Numbers that sum up a learning curve."""

from __future__ import annotations

import numpy as np
import xarray as xr

from ip2lab.analysis._arrays import apply, dataset, describe
from ip2lab.analysis._curve_data import Curve, Failures, after_first, check_problems, curve, positions, told
from ip2lab.analysis._fits import EXPONENTIAL, FEWEST, FITTED, Settings, fit_curve
from ip2lab.analysis._labels import called, place_of
from ip2lab.analysis._survival import restricted_mean
from ip2lab.checks import checked


@checked
def failures(data: xr.Dataset | xr.DataArray, *, along: str = "problem") -> xr.Dataset:
    """How many problems were tried and not learnt, and which.

    Parameters
    ----------
    data : xarray.Dataset or xarray.DataArray
        A run's series, or trials to criterion (..., along), NaN where the criterion was not reached.
    along : str
        The dim of the problems.

    Returns
    -------
    xarray.Dataset
        ``failed``, ``censored`` (not reached, and the cap is known) and ``attempted`` (..., along) bool; ``count`` and
        ``share`` (...) of the failed among the ``problems`` (...) that were tried.

    Raises
    ------
    ValueError
        No dim `along`, no problems, a problem that is failed and solved, or not attempted and solved.

    Examples
    --------
    >>> import xarray as xr
    >>> from ip2lab.analysis import curves
    >>> nan = float("nan")
    >>> found = curves.failures(xr.DataArray([477.0, 12.0, nan, 3.0], dims="problem"))
    >>> int(found["count"]), float(found.share), found.failed.values.tolist()
    (1, 0.25, [False, False, True, False])
    >>> animals = xr.DataArray([[90.0, 30.0, 12.0], [80.0, 20.0, nan]], dims=("animal", "problem"))
    >>> curves.failures(animals).problems.values.tolist()
    [3, 2]
    """
    results = ("failed", "censored", "attempted", "count", "share", "problems")
    found = told(data, along, results)
    count, problems = found.failed.sum(along), found.attempted.sum(along)
    return dataset(
        found.trials,
        describe(found.failed, "failed", "1", "tried, and the criterion was not reached"),
        describe(found.censored, "censored", "1", "not reached, and the cap is known"),
        describe(found.attempted, "attempted", "1", "tried at all"),
        describe(count, "count", "problems", "problems not learnt"),
        describe(
            count / problems.where(problems > 0), "share", "1", "share of the problems tried that were not learnt"
        ),
        describe(problems, "problems", "problems", "problems tried"),
    )


@checked
def final_efficiency(
    data: xr.Dataset | xr.DataArray,
    *,
    last: int = 30,
    along: str = "problem",
    failures: Failures = None,
    cap: float | None = None,
) -> xr.DataArray:
    """Mean trials to criterion over the last problems that were tried.

    Parameters
    ----------
    data : xarray.Dataset or xarray.DataArray
        A run's series, or trials to criterion (..., along).
    last : int
        Over how many problems, of each series the last ones that were tried.
    along : str
        The dim of the problems.
    failures : {"cap", "survival"}, optional
        Needed where a problem failed: ``"cap"`` counts it at its cap; ``"survival"`` gives the restricted mean, the
        area under the Kaplan-Meier curve up to the longest trials seen.
    cap : float, optional
        The trials to criterion at which problems were given up, where `data` does not hold them.

    Returns
    -------
    xarray.DataArray
        ``final_efficiency`` (...) in trials; smaller is better.

    Raises
    ------
    ValueError
        Failures without `failures`, a series of fewer problems than `last`.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from ip2lab.analysis import curves
    >>> trials = xr.DataArray(np.append(np.arange(100.0, 10.0, -1.0), np.full(20, 10.0)), dims="problem")
    >>> float(curves.final_efficiency(trials, last=20))
    10.0
    """
    found = curve(data, along, failures, cap, ("final_efficiency",))
    _check_last(found, last, along)
    later = found.attempted.sum(along) - found.attempted.cumsum(along)  # problems that were tried after each
    here = found.attempted & (later < last)
    end = Curve(found.trials.where(here), found.failed & here, here)
    if failures == "survival" and end.failed.any():
        mean = apply(restricted_mean, end.trials, end.failed, over=[(along,), (along,)], loop=True)
    else:
        mean = end.trials.mean(along)
    return describe(
        mean, "final_efficiency", "trials", f"mean trials to criterion of the last {last} problems", end.trials
    )


def _check_last(found: Curve, last: int, along: str) -> None:
    problems = found.attempted.sum(along)
    if last <= int(problems.min()):
        return
    where = place_of(problems, np.argwhere((problems == problems.min()).values)[0])
    raise ValueError(
        f"last={last}; {called(found.trials)} has {int(problems.min())} along {along!r} that were tried"
        f"{f' ({where})' * bool(where)}; choose fewer, or leave that series out"
    )


@checked
def area(
    data: xr.Dataset | xr.DataArray,
    *,
    along: str = "problem",
    failures: Failures = None,
    cap: float | None = None,
    keep_first: bool = False,
) -> xr.DataArray:
    """Area under the learning curve: all trials that the problems after the first took.

    Parameters
    ----------
    data : xarray.Dataset or xarray.DataArray
        A run's series, or trials to criterion (..., along).
    along : str
        The dim of the problems.
    failures : {"cap"}, optional
        Needed where a problem failed: it counts as its cap. An area has no ``"survival"``: use `survival`.
    cap : float, optional
        The trials to criterion at which problems were given up, where `data` does not hold them.
    keep_first : bool
        Count the first problem too: `data` are a later stretch of a series.

    Returns
    -------
    xarray.DataArray
        ``area`` (...) in trials, of the problems that were tried: series of different lengths compare by their mean,
        the area over ``failures(data).problems - 1``.

    Raises
    ------
    ValueError
        Failures without ``failures="cap"``, no problem after the first.

    Examples
    --------
    >>> import xarray as xr
    >>> from ip2lab.analysis import curves
    >>> float(curves.area(xr.DataArray([477.0, 12.0, 5.0, 3.0], dims="problem")))
    20.0
    """
    found, _ = after_first(_capped(data, along, failures, cap, "area"), along, keep_first)
    check_problems(found, along, 1)
    return describe(found.trials.sum(along), "area", "trials", "trials of all problems after the first", found.trials)


def _capped(data: xr.Dataset | xr.DataArray, along: str, failures: Failures, cap: float | None, function: str) -> Curve:
    found = curve(data, along, failures, cap, (function, *FITTED, "tau") if "asymptote" in function else (function,))
    if failures == "survival" and found.failed.any():
        raise ValueError(f"{function} has no failures='survival': choose failures='cap', or use curves.survival")
    return found


@checked
def problems_to_asymptote(
    data: xr.Dataset | xr.DataArray,
    *,
    factor: float = 2.0,
    window: int | None = None,
    along: str = "problem",
    failures: Failures = None,
    cap: float | None = None,
    keep_first: bool = False,
) -> xr.DataArray:
    """How many problems it takes until trials to criterion come near their final level.

    The running mean over `window` problems (after the first) is compared with `factor` times the final level, the
    asymptote of `exponential_fit`; counted is the first problem at which it is no longer above.

    Parameters
    ----------
    data : xarray.Dataset or xarray.DataArray
        A run's series, or trials to criterion (..., along).
    factor : float
        Times the final level; 2 by default.
    window : int, optional
        Length of the running mean, centred, shorter at both ends; by default a tenth of the series, 11 at most.
    along : str
        The dim of the problems.
    failures : {"cap"}, optional
        Needed where a problem failed: it counts as its cap.
    cap : float, optional
        The trials to criterion at which problems were given up, where `data` does not hold them.
    keep_first : bool
        Count from the first problem: `data` are a later stretch of a series.

    Returns
    -------
    xarray.DataArray
        ``problems_to_asymptote`` (...) in problems after the first: 0 for a constant series, NaN where the data do not
        tell the final level (see ``reason`` of `exponential_fit`) or the series does not come near it.

    Raises
    ------
    ValueError
        Failures without ``failures="cap"``, `factor` not above 1, fewer problems than `window` or than five.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from ip2lab.analysis import curves
    >>> trials = xr.DataArray(np.append(2900, 200 * np.exp(-np.arange(600) / 40) + 20), dims="problem")
    >>> int(curves.problems_to_asymptote(trials)), round(40 * np.log(200 / 20))
    (93, 92)
    """
    found = _capped(data, along, failures, cap, "problems_to_asymptote")
    fit = fit_curve(found, along, EXPONENTIAL, Settings(keep_first=keep_first))
    rest, _ = after_first(found, along, keep_first)
    check_problems(rest, along, max(window or 1, FEWEST))
    level = fit["asymptote"].where(fit["identified"], fit["fitted"].max(along).where(fit["reason"] == "constant"))
    reached = apply(
        _reached,
        rest.trials,
        level,
        over=[(along,), ()],
        loop=True,
        x=positions(rest.trials, along),
        factor=factor,
        window=window,
    )
    return describe(
        reached, "problems_to_asymptote", "problems", f"problems until {factor:g} times the final level", rest.trials
    )


def _reached(y: np.ndarray, level: float, x: np.ndarray, factor: float, window: int | None) -> float:
    """Problems until the running mean of `y` (problem,) is not above `factor` times `level`, NaN where it stays so."""
    kept = ~np.isnan(y)
    rest = xr.DataArray(y[kept], dims="problem")
    length = window or int(np.clip(rest.size // 10, 1, 11))
    near = np.flatnonzero(rest.rolling(problem=length, center=True, min_periods=1).mean() <= factor * level)
    return float((x[kept] - x[kept][0])[near[0]]) if near.size else np.nan
