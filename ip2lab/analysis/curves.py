"""Learning curves: trials to criterion, problem after problem, and what may be said about them.

Every function takes a run's ``/series``, a table like it, or the trials alone (with dim ``problem``). What a problem
without a number is, is said by what stands beside it:

- *failed*: given up. ``failed`` is True there.
- *censored*: known to take longer than ``censored_trials``.
- *not attempted*: neither of these, or ``attempted`` is False.

Trials alone may have ``failed`` and ``attempted`` as coords. Where nothing is said, NaN is a failure, but for the end
of a series that is shorter than another one in the same table: there the table was filled up, nothing was tried.

A failure is never dropped: as soon as there is one, `failures` must be chosen. ``"cap"`` counts it at the trials after
which it was given up; ``"survival"`` only uses that it would have taken longer. What was not attempted counts nowhere.

Problems labelled by numbers or times are in the order of these, others in that of the data. The first problem of a
series is kept apart, whatever it is called: it is mostly learning to fixate. Where the data are a later stretch of a
series, ``keep_first=True`` keeps it in.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import xarray as xr

from ip2lab.analysis._arguments import checked
from ip2lab.analysis._compare import bootstrap, compare, partial_association
from ip2lab.analysis._curve_data import Curve, Failures, after_first, curve, positions, told
from ip2lab.analysis._fits import EXPONENTIAL, FEWEST, FINE, POWER, REASONS, Law, fit_one
from ip2lab.analysis._labelled import apply, dataset, describe
from ip2lab.analysis._labels import called
from ip2lab.analysis._survival import restricted_mean, survival
from ip2lab.analysis._worth import configurations, marginal_effect

__all__ = [
    "area",
    "bootstrap",
    "compare",
    "configurations",
    "exponential_fit",
    "failures",
    "final_efficiency",
    "marginal_effect",
    "partial_association",
    "power_law_fit",
    "problems_to_asymptote",
    "survival",
]

FITTED = (
    *("scale", "asymptote", "identified", "reason", "at_bound", "interval", "residual", "aic", "first_problem"),
    *("fitted", "band", "parameter", "bound"),
)


def _expected(found: Curve, along: str, least: int) -> None:
    most = int(found.attempted.sum(along).max())
    if most < least:
        raise ValueError(
            f"{called(found.trials)} has {most} along {along!r} after the first problem; {least} or more are needed"
        )


@checked
def exponential_fit(
    data: xr.Dataset | xr.DataArray,
    *,
    along: str = "problem",
    error: Literal["linear", "log"] = "linear",
    bounds: Literal["goudar2023"] | None = None,
    failures: Failures = None,
    cap: float | None = None,
    keep_first: bool = False,
    resamples: int = 0,
    level: float = 0.95,
    seed: int = 0,
) -> xr.Dataset:
    r"""Fit an exponential decay to trials to criterion over problems.

    .. math:: y(x) = a\,e^{-x/\tau} + c,\qquad a, c\ge 0

    over the problems after the first (:math:`x=0` is the second problem of the series), by least squares. The best
    :math:`a` and :math:`c` are known for each :math:`\tau`, so :math:`\tau` alone is searched for, from a tenth of a
    problem to five times the series (variable projection). The intervals are those of the profile: all values that an
    F test does not reject. Where the data cannot tell, there is no number but a reason.

    Parameters
    ----------
    data : xarray.Dataset or xarray.DataArray
        A run's series, or trials to criterion (..., along); other dims (seed, model, ...) are fitted one by one.
    along : str
        The dim of the problems. Numbers that label it are x; with dates, names or no labels x counts problems.
    error : {"linear", "log"}
        What is squared: the error in trials, or in their logarithm, which suits noise that grows with the trials.
    bounds : {"goudar2023"}, optional
        The fit of Goudar et al.: with :math:`\hat c` the mean of the last 31 problems and :math:`\hat a` the mean of
        the first 30 minus :math:`\hat c`, bounds :math:`a\in[0,2\hat a]`, :math:`\tau\in[5,200]`,
        :math:`c\in[0,2\hat c]` and start :math:`(\hat a, 50, \hat c)`. These means contain the answer: it suits some
        hundred problems that become fast over some tens.
    failures : {"cap", "survival"}, optional
        Needed where a problem failed. ``"cap"``: it counts as its cap. ``"survival"``: a curve above the cap there
        costs nothing, one below costs its distance from the cap.
    cap : float, optional
        The trials to criterion at which problems were given up, where `data` does not hold them.
    keep_first : bool
        Fit the first problem too: `data` are a later stretch of a series.
    resamples : int
        Number of bootstrap refits (residuals drawn in blocks of up to 10 problems) for a band, and for intervals that
        allow for neighbours that are alike; 0 for the intervals of the profile.
    level : float
        Coverage of the intervals.
    seed : int
        Seed of the bootstrap.

    Returns
    -------
    xarray.Dataset
        ``scale`` (trials), ``tau`` (problems) and ``asymptote`` (trials), NaN where they are not ``identified``; then
        ``reason`` says why: ``"constant"``, ``"no decrease beyond the noise"``, ``"still falling at the end of the
        series"`` (tau is longer than the series, or may be), ``"all of the decrease within one problem"`` or ``"too few
        problems"``. ``interval`` (parameter, bound) is what the data allow: up to infinity where it is open.
        It covers the truth where the noise is alike at all problems on the scale that is fitted (normal for linear
        errors, log-normal for logarithmic ones); where its size follows the curve, linear errors cover too little.
        ``at_bound`` is the opposite of ``identified``. With ``bounds="goudar2023"`` it says that a parameter ended on a
        bound: do not interpret it. ``residual`` (root mean square), ``aic`` (to set beside `power_law_fit` with the
        same `error`), ``first_problem`` (trials, not fitted), ``fitted`` (along), the curve, and with `resamples`
        ``band`` (along, bound), its interval at each problem.

    Raises
    ------
    ValueError
        Failures without `failures`, fewer than five problems after the first, negative trials, trials of 0 with
        ``error="log"``, labels that repeat.

    References
    ----------
    Goudar, Peysakhovich, Freedman, Buffalo and Wang, Nat Neurosci 26:879-890 (2023), doi 10.1038/s41593-023-01293-9;
    Golub and Pereyra, SIAM J Numer Anal 10:413-432 (1973); Bates and Watts, Nonlinear Regression Analysis (1988).

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from ip2lab.analysis import curves
    >>> x = np.arange(14)
    >>> fit = curves.exponential_fit(xr.DataArray(np.append(2900, 80 * np.exp(-x / 8) + 15), dims="problem"))
    >>> [round(float(fit[name]), 2) for name in ("scale", "tau", "asymptote")], bool(fit.identified)
    ([80.0, 8.0, 15.0], True)
    >>> fit = curves.exponential_fit(xr.DataArray(np.append(2900, 80 * np.exp(-x / 90) + 15), dims="problem"))
    >>> float(fit.tau), str(fit.reason.values)
    (nan, 'still falling at the end of the series')
    """
    if bounds not in (None, "goudar2023"):
        raise ValueError(f"bounds={bounds!r}; choose 'goudar2023' or None")
    if bounds is not None and error != "linear":
        raise ValueError(f"bounds={bounds!r} is a fit with linear error, not error={error!r}; leave one of them out")
    found = curve(data, along, failures, cap, (*FITTED, "tau"))
    result = _fitted(
        EXPONENTIAL, "tau", found, along, error, failures, keep_first, resamples, level, seed, bounds is not None
    )
    return result.assign(
        scale=describe(result["scale"], "scale", "trials", "what learning to learn saves, at the second problem"),
        tau=describe(result["tau"], "tau", "problems", "problems over which the excess falls by a factor of e"),
    )


@checked
def power_law_fit(
    data: xr.Dataset | xr.DataArray,
    *,
    along: str = "problem",
    error: Literal["linear", "log"] = "linear",
    failures: Failures = None,
    cap: float | None = None,
    keep_first: bool = False,
    resamples: int = 0,
    level: float = 0.95,
    seed: int = 0,
) -> xr.Dataset:
    r"""Fit a power law to trials to criterion over problems: the rival of the exponential.

    .. math:: y(x) = a\,(x+1)^{-b} + c,\qquad a, c\ge 0

    over the problems after the first, as `exponential_fit`; b is searched for from 0.02 to 10.

    Parameters
    ----------
    data : xarray.Dataset or xarray.DataArray
        A run's series, or trials to criterion (..., along).
    along : str
        The dim of the problems.
    error : {"linear", "log"}
        What is squared: the error in trials, or in their logarithm.
    failures : {"cap", "survival"}, optional
        Needed where a problem failed; as for `exponential_fit`.
    cap : float, optional
        The trials to criterion at which problems were given up, where `data` does not hold them.
    keep_first : bool
        Fit the first problem too: `data` are a later stretch of a series.
    resamples : int
        Number of bootstrap refits; 0 for the intervals of the profile.
    level : float
        Coverage of the intervals.
    seed : int
        Seed of the bootstrap.

    Returns
    -------
    xarray.Dataset
        ``scale`` (trials), ``exponent``, ``asymptote`` (trials), ``identified``, ``reason``, ``at_bound``,
        ``interval``, ``residual``, ``aic``, ``first_problem``, ``fitted``, and with `resamples` ``band``, as for
        `exponential_fit`. The smaller ``aic`` of the two fits describes the curve better.

    Raises
    ------
    ValueError
        As `exponential_fit`.

    References
    ----------
    Heathcote, Brown and Mewhort, Psychon Bull Rev 7:185-207 (2000), doi 10.3758/BF03212979.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from ip2lab.analysis import curves
    >>> x = np.arange(1000)
    >>> trials = xr.DataArray(np.append(2900, 200 * (x + 1) ** -0.8 + 20), dims="problem")
    >>> fit = curves.power_law_fit(trials)
    >>> round(float(fit.exponent), 2), bool(fit.aic < curves.exponential_fit(trials).aic)
    (0.8, True)
    """
    found = curve(data, along, failures, cap, (*FITTED, "exponent"))
    result = _fitted(POWER, "exponent", found, along, error, failures, keep_first, resamples, level, seed)
    return result.assign(
        scale=describe(result["scale"], "scale", "trials", "excess trials at the second problem"),
        exponent=describe(result["exponent"], "exponent", "1", "exponent of the power law"),
    )


def _fitted(
    law: Law,
    shape: str,
    data: Curve,
    along: str,
    error: str,
    failures: Failures,
    keep_first: bool,
    resamples: int,
    level: float,
    seed: int,
    bounded: bool = False,
) -> xr.Dataset:
    """One fit for every curve; the dataset of what came out."""
    found, first = after_first(data, along, keep_first)
    _expected(found, along, FEWEST)
    _check_error(found, error)
    open_ended = found.failed & (failures == "survival")
    parameters, intervals, reason, residual, aic, fitted, band = apply(
        fit_one,
        found.trials,
        open_ended,
        over=[(along,), (along,)],
        into=[("parameter",), ("parameter", "bound"), (), (), (), (along,), (along, "bound")],
        loop=True,
        law=law,
        x=positions(found.trials, along),
        log=error == "log",
        bounded=bounded,
        resamples=resamples,
        level=level,
        seed=seed,
    )
    names, bounds = ["scale", shape, "asymptote"], ["lower", "upper"]
    code = reason.astype(int)
    scale, late, end = (parameters.isel(parameter=i).rename(name) for i, name in enumerate(names))
    square = "root mean square of what the fit leaves"
    unit, square = ("1", f"{square} of the logarithm") if error == "log" else ("trials", square)
    kind = f"{level:.0%} {'bootstrap' if resamples else 'profile'} interval"
    intervals = intervals.assign_coords(parameter=names, bound=bounds)
    result = dataset(
        found.trials,
        scale,
        late,
        describe(end, "asymptote", "trials", "trials to criterion in the end"),
        describe(code == FINE, "identified", "1", "the data tell the parameters"),
        describe(code.copy(data=np.array(REASONS)[code.values]), "reason", "1", "why they do not"),
        describe(code != FINE, "at_bound", "1", "not identified, or on a bound: not to be interpreted"),
        describe(intervals, "interval", "as the parameter", kind),
        describe(residual, "residual", unit, square),
        describe(aic, "aic", "1", "Akaike's criterion of the fit (smaller is better)"),
        describe(first, "first_problem", "trials", "trials to criterion of the first problem, kept out of the fit"),
        describe(fitted, "fitted", "trials", "the fitted curve"),
        *([describe(band.assign_coords(bound=bounds), "band", "trials", f"{kind} of the curve")] if resamples else []),
    )
    return result.assign_coords(found.trials[along].coords) if along in found.trials.coords else result


def _check_error(found: Curve, error: str) -> None:
    if error not in ("linear", "log"):
        raise ValueError(f"error={error!r}; choose 'linear' or 'log'")
    if error == "log" and bool((found.trials == 0).any()):
        raise ValueError(
            f"{called(found.trials)} holds 0, which has no logarithm; choose error='linear', or add what was left "
            "out, such as the window of the criterion"
        )


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
    place = problems.isel(problems.argmin(...)).coords if problems.ndim else {}
    where = ", ".join(f"{d}={place[d].item()}" for d in problems.dims if d in place)
    raise ValueError(
        f"last={last}; {called(found.trials)} has {int(problems.min())} along {along!r} that were tried"
        f"{f' ({where})' if where else ''}; choose fewer, or leave that series out"
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
    _expected(found, along, 1)
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
    if not factor > 1:
        raise ValueError(f"factor={factor}; expected more than 1 (times the final level)")
    found = _capped(data, along, failures, cap, "problems_to_asymptote")
    fit = _fitted(EXPONENTIAL, "tau", found, along, "linear", failures, keep_first, 0, 0.95, 0)
    rest, _ = after_first(found, along, keep_first)
    _expected(rest, along, max(window or 1, FEWEST))
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
