"""Learning curves: trials to criterion, problem after problem, and what may be said about them.

Every function takes a run's ``/series`` (or the trials alone, with dim ``problem``). A problem that was not learnt is
NaN there and is never dropped: as soon as there is one, `failures` must be chosen. ``"cap"`` counts it at the trials
after which it was given up; ``"survival"`` only uses that it would have taken longer. Problem 0 is kept apart: it is
mostly learning to fixate.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr
from scipy import optimize

from ip2lab.analysis._arguments import checked
from ip2lab.analysis._compare import bootstrap, compare, partial_association
from ip2lab.analysis._curve_data import Curve, Failures, after_first, curve
from ip2lab.analysis._labelled import apply, dataset, describe
from ip2lab.analysis._labels import called
from ip2lab.analysis._survival import restricted_mean, survival
from ip2lab.analysis._worth import configurations, marginal_worth

__all__ = [
    "area",
    "bootstrap",
    "compare",
    "configurations",
    "exponential_fit",
    "failures",
    "final_efficiency",
    "marginal_worth",
    "partial_association",
    "power_law_fit",
    "problems_to_asymptote",
    "survival",
]

TAIL, HEAD, FEWEST = 31, 30, 5  # Goudar et al.'s windows for the start of the fit; three parameters need a few points
BLOCK_LENGTH = 10  # problems in a block of the residual bootstrap: neighbouring problems have alike residuals


def _expected(trials: xr.DataArray, along: str, least: int) -> None:
    if trials.sizes[along] < least:
        raise ValueError(
            f"{called(trials)} has {trials.sizes[along]} along {along!r} after the first problem; {least} or "
            "more are needed"
        )


@checked
def exponential_fit(
    data: xr.Dataset | xr.DataArray,
    *,
    along: str = "problem",
    failures: Failures = None,
    cap: float | None = None,
    resamples: int = 0,
    level: float = 0.95,
    seed: int = 0,
) -> xr.Dataset:
    r"""Fit an exponential decay to trials to criterion over problems.

    .. math:: y(x) = a\,e^{-x/\tau} + c

    over the problems after the first (:math:`x=0` is problem 1), by bounded, unweighted least squares. With
    :math:`\hat c` the mean of the last 31 problems and :math:`\hat a` the mean of the first 30 minus
    :math:`\hat c`: bounds :math:`a\in[0,2\hat a]`, :math:`\tau\in[5,200]`, :math:`c\in[0,2\hat c]`; start
    :math:`(\hat a, 50, \hat c)`.

    Parameters
    ----------
    data : xarray.Dataset or xarray.DataArray
        A run's series, or trials to criterion (..., along); other dims (seed, model, ...) are fitted one by one.
    along : str
        The dim of the problems. Its coord counts them; without one they count from 0.
    failures : {"cap", "survival"}, optional
        Needed where a problem failed. ``"cap"``: it counts as its cap. ``"survival"``: a curve above the cap there
        costs nothing, one below costs its distance from the cap.
    cap : float, optional
        The trials to criterion at which problems were given up, where `data` does not hold them.
    resamples : int
        Number of bootstrap refits (residuals drawn in blocks of 10 problems); 0 for no intervals.
    level : float
        Coverage of the intervals.
    seed : int
        Seed of the bootstrap.

    Returns
    -------
    xarray.Dataset
        ``scale`` (trials), ``tau`` (problems), ``asymptote`` (trials), ``at_bound`` (a parameter ended on a bound: do
        not interpret it), ``residual`` (root mean square, trials), ``aic`` (to set beside `power_law_fit`),
        ``first_problem`` (trials, not fitted) and ``fitted`` (along), the curve. With `resamples` also ``interval``
        (parameter, bound) and ``band`` (along, bound), that of the curve at each problem.

    Raises
    ------
    ValueError
        Failures without `failures`, fewer than five problems, negative trials.

    References
    ----------
    Goudar, Peysakhovich, Freedman, Buffalo and Wang, Nat Neurosci 26:879-890 (2023), doi 10.1038/s41593-023-01293-9.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from ip2lab.analysis import curves
    >>> x = np.arange(300)
    >>> trials = xr.DataArray(np.append(2900, 200 * np.exp(-x / 40) + 20), dims="problem")
    >>> fit = curves.exponential_fit(trials)
    >>> [round(float(fit[name]), 2) for name in ("scale", "tau", "asymptote")], bool(fit.at_bound)
    ([200.0, 40.0, 20.0], False)
    """
    names = ("scale", "tau", "asymptote")
    result = _fitted(_exponential, names, data, along, failures, cap, resamples, level, seed)
    return result.assign(
        scale=describe(result["scale"], "scale", "trials", "what learning to learn saves, at the second problem"),
        tau=describe(result["tau"], "tau", "problems", "problems over which the excess falls by a factor of e"),
        asymptote=describe(result["asymptote"], "asymptote", "trials", "trials to criterion in the end"),
    )


@checked
def power_law_fit(
    data: xr.Dataset | xr.DataArray,
    *,
    along: str = "problem",
    failures: Failures = None,
    cap: float | None = None,
    resamples: int = 0,
    level: float = 0.95,
    seed: int = 0,
) -> xr.Dataset:
    r"""Fit a power law to trials to criterion over problems: the rival of the exponential.

    .. math:: y(x) = a\,(x+1)^{-b} + c

    over the problems after the first, with the bounds and starts of `exponential_fit` for :math:`a` (but up to 20
    times :math:`\hat a`: a power law starts steeper) and :math:`c`, and :math:`b\in[0.05,5]` from 0.5.

    Parameters
    ----------
    data : xarray.Dataset or xarray.DataArray
        A run's series, or trials to criterion (..., along).
    along : str
        The dim of the problems.
    failures : {"cap", "survival"}, optional
        Needed where a problem failed; as for `exponential_fit`.
    cap : float, optional
        The trials to criterion at which problems were given up, where `data` does not hold them.
    resamples : int
        Number of bootstrap refits; 0 for no intervals.
    level : float
        Coverage of the intervals.
    seed : int
        Seed of the bootstrap.

    Returns
    -------
    xarray.Dataset
        ``scale`` (trials), ``exponent``, ``asymptote`` (trials), ``at_bound``, ``residual``, ``aic``,
        ``first_problem``, ``fitted``, and with `resamples` ``interval`` and ``band``, as for `exponential_fit`. The
        smaller ``aic`` of the two fits describes the curve better.

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
    names = ("scale", "exponent", "asymptote")
    result = _fitted(_power_law, names, data, along, failures, cap, resamples, level, seed)
    return result.assign(
        scale=describe(result["scale"], "scale", "trials", "excess trials at the second problem"),
        exponent=describe(result["exponent"], "exponent", "1", "exponent of the power law"),
        asymptote=describe(result["asymptote"], "asymptote", "trials", "trials to criterion in the end"),
    )


def _exponential(x: np.ndarray, scale: float, tau: float, asymptote: float) -> np.ndarray:
    return scale * np.exp(-x / tau) + asymptote


def _power_law(x: np.ndarray, scale: float, exponent: float, asymptote: float) -> np.ndarray:
    return scale * (x + 1) ** -exponent + asymptote


SHAPES: dict[Callable[..., np.ndarray], tuple[float, float, float, float]] = {
    _exponential: (5.0, 200.0, 50.0, 2.0),  # lowest, highest and first value of the shape parameter; most of the scale
    _power_law: (0.05, 5.0, 0.5, 20.0),
}


def _fitted(
    law: Callable[..., np.ndarray],
    names: tuple[str, str, str],
    data: xr.Dataset | xr.DataArray,
    along: str,
    failures: Failures,
    cap: float | None,
    resamples: int,
    level: float,
    seed: int,
) -> xr.Dataset:
    """One fit for every curve; the dataset of what came out."""
    found, first = after_first(curve(data, along, failures, cap), along)
    _expected(found.trials, along, FEWEST)
    open_ended = found.failed & (failures == "survival")
    x = found.trials[along].values.astype(float)
    parameters, intervals, at_bound, residual, aic, fitted, band = apply(
        _fit_one,
        found.trials,
        open_ended,
        over=[(along,), (along,)],
        into=[("parameter",), ("parameter", "bound"), (), (), (), (along,), (along, "bound")],
        loop=True,
        law=law,
        x=x - x[0],
        resamples=resamples,
        level=level,
        seed=seed,
    )
    parts = [parameters.isel(parameter=i).rename(name) for i, name in enumerate(names)]
    result = dataset(
        found.trials,
        *parts,
        describe(at_bound.astype(bool), "at_bound", "1", "a parameter ended on one of its bounds"),
        describe(residual, "residual", "trials", "root mean square of what the fit leaves"),
        describe(aic, "aic", "1", "Akaike's criterion of the fit (smaller is better)"),
        describe(first, "first_problem", "trials", "trials to criterion of the first problem, kept out of the fit"),
        describe(fitted, "fitted", "trials", "the fitted curve"),
    ).assign_coords({along: found.trials[along]} if along in found.trials.coords else {})
    if resamples:
        bounds = ["lower", "upper"]
        words = f"{level:.0%} bootstrap interval of the fitted curve"
        result["band"] = describe(band.assign_coords(bound=bounds), "band", "trials", words)
        intervals = intervals.assign_coords(parameter=list(names), bound=bounds)
        result["interval"] = describe(intervals, "interval", "as the parameter", f"{level:.0%} bootstrap interval")
    return result


def _fit_one(
    y: np.ndarray,
    open_ended: np.ndarray,
    law: Callable[..., np.ndarray],
    x: np.ndarray,
    resamples: int,
    level: float,
    seed: int,
) -> tuple[np.ndarray, np.ndarray, bool, float, float, np.ndarray, np.ndarray]:
    """Parameters, their intervals, whether one is on a bound, root mean square and AIC, the curve and its band."""
    best, at_bound, left = _least_squares(law, x, y, open_ended)
    square, ideal = float((left**2).mean()), law(x, *best)
    intervals, band = np.full((3, 2), np.nan), np.full((y.size, 2), np.nan)
    if resamples:
        rng = np.random.default_rng(seed)
        again = [
            _least_squares(law, x, ideal + _block_draw(y - ideal, rng), open_ended, start=best)[0]
            for _ in range(resamples)
        ]
        ends = [(1 - level) / 2, (1 + level) / 2]
        intervals = np.quantile(again, ends, axis=0).T
        band = np.quantile([law(x, *parameters) for parameters in again], ends, axis=0).T
    return best, intervals, at_bound, square**0.5, y.size * np.log(max(square, 1e-300)) + 2 * 4, ideal, band


def _block_draw(residuals: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Residuals of as many problems, drawn in blocks."""
    length = min(BLOCK_LENGTH, residuals.size)
    starts = rng.integers(0, residuals.size - length + 1, -(-residuals.size // length))
    return residuals[(starts[:, None] + np.arange(length)).ravel()[: residuals.size]]


def _least_squares(
    law: Callable[..., np.ndarray],
    x: np.ndarray,
    y: np.ndarray,
    open_ended: np.ndarray,
    start: np.ndarray | None = None,
) -> tuple[np.ndarray, bool, np.ndarray]:
    """Best parameters, whether one of them is on a bound, and the residuals."""
    low, high, middle, most = SHAPES[law]
    tail = max(y[-TAIL:].mean(), 1e-9)
    falls = y[:HEAD].mean() > tail
    scale = y[:HEAD].mean() - tail if falls else 1e-6 * tail  # where it does not fall there is nothing to fit
    lower, upper = np.array([0.0, low, 0.0]), np.array([most * scale, high, 2 * tail])
    first = np.array([scale, middle, tail]) if start is None else start
    inside = np.clip(first, lower + 1e-9 * (upper - lower), upper - 1e-9 * (upper - lower))

    def left(parameters: np.ndarray) -> np.ndarray:
        difference = law(x, *parameters) - y
        return np.where(open_ended & (difference > 0), 0.0, difference)

    solved = optimize.least_squares(
        left, inside, bounds=(lower, upper), x_scale=np.maximum(inside, 1e-9), max_nfev=1000
    )
    near = np.minimum(solved.x - lower, upper - solved.x) < 1e-3 * (upper - lower)
    return solved.x, bool(near.any()) or not falls, left(solved.x)


@checked
def failures(data: xr.Dataset | xr.DataArray, *, along: str = "problem") -> xr.Dataset:
    """How many problems were not learnt, and which.

    Parameters
    ----------
    data : xarray.Dataset or xarray.DataArray
        A run's series, or trials to criterion (..., along), NaN where the criterion was not reached.
    along : str
        The dim of the problems.

    Returns
    -------
    xarray.Dataset
        ``failed`` (..., along) bool; ``count`` and ``share`` (...), with ``problems`` (...), their number.

    Raises
    ------
    ValueError
        No dim `along`, no problems.

    Examples
    --------
    >>> import xarray as xr
    >>> from ip2lab.analysis import curves
    >>> found = curves.failures(xr.DataArray([477.0, 12.0, float("nan"), 3.0], dims="problem"))
    >>> int(found["count"]), float(found.share), found.failed.values.tolist()
    (1, 0.25, [False, False, True, False])
    """
    found = curve(data, along, "cap", np.inf)
    failed = found.failed
    return dataset(
        found.trials,
        describe(failed, "failed", "1", "the criterion was not reached"),
        describe(failed.sum(along), "count", "problems", "problems not learnt"),
        describe(failed.mean(along), "share", "1", "share of problems not learnt"),
        describe(xr.full_like(failed.sum(along), failed.sizes[along]), "problems", "problems", "problems tried"),
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
    """Mean trials to criterion over the last problems.

    Parameters
    ----------
    data : xarray.Dataset or xarray.DataArray
        A run's series, or trials to criterion (..., along).
    last : int
        Over how many problems.
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
        Failures without `failures`, fewer problems than `last`.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from ip2lab.analysis import curves
    >>> trials = xr.DataArray(np.append(np.arange(100.0, 10.0, -1.0), np.full(20, 10.0)), dims="problem")
    >>> float(curves.final_efficiency(trials, last=20))
    10.0
    """
    found = curve(data, along, failures, cap)
    if not 1 <= last <= found.trials.sizes[along]:
        raise ValueError(f"last={last}; {called(found.trials)} has {found.trials.sizes[along]} along {along!r}")
    end = Curve(*(part.isel({along: slice(-last, None)}) for part in found))
    if failures == "survival" and end.failed.any():
        mean = apply(restricted_mean, end.trials, end.failed, over=[(along,), (along,)], loop=True)
    else:
        mean = end.trials.mean(along)
    return describe(
        mean, "final_efficiency", "trials", f"mean trials to criterion of the last {last} problems", end.trials
    )


@checked
def area(
    data: xr.Dataset | xr.DataArray, *, along: str = "problem", failures: Failures = None, cap: float | None = None
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

    Returns
    -------
    xarray.DataArray
        ``area`` (...) in trials.

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
    found, _ = after_first(_capped(data, along, failures, cap, "area"), along)
    _expected(found.trials, along, 1)
    return describe(found.trials.sum(along), "area", "trials", "trials of all problems after the first", found.trials)


def _capped(data: xr.Dataset | xr.DataArray, along: str, failures: Failures, cap: float | None, function: str) -> Curve:
    found = curve(data, along, failures, cap)
    if failures == "survival" and found.failed.any():
        raise ValueError(f"{function} has no failures='survival': choose failures='cap', or use curves.survival")
    return found


@checked
def problems_to_asymptote(
    data: xr.Dataset | xr.DataArray,
    *,
    factor: float = 2.0,
    window: int = 11,
    along: str = "problem",
    failures: Failures = None,
    cap: float | None = None,
) -> xr.DataArray:
    """How many problems it takes until trials to criterion stay near their final level.

    The running mean over `window` problems (after the first) is compared with `factor` times the final level, the
    mean of the last 31 problems; counted is the first problem at which it is no longer above.

    Parameters
    ----------
    data : xarray.Dataset or xarray.DataArray
        A run's series, or trials to criterion (..., along).
    factor : float
        Times the final level; 2 by default.
    window : int
        Length of the running mean, centred, shorter at both ends.
    along : str
        The dim of the problems.
    failures : {"cap"}, optional
        Needed where a problem failed: it counts as its cap.
    cap : float, optional
        The trials to criterion at which problems were given up, where `data` does not hold them.

    Returns
    -------
    xarray.DataArray
        ``problems_to_asymptote`` (...) in problems after the first.

    Raises
    ------
    ValueError
        Failures without ``failures="cap"``, `factor` not above 1, fewer problems than `window`.

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
    found, _ = after_first(_capped(data, along, failures, cap, "problems_to_asymptote"), along)
    _expected(found.trials, along, max(window, 2))
    final = found.trials.isel({along: slice(-TAIL, None)}).mean(along)
    smooth = found.trials.rolling({along: window}, center=True, min_periods=1).mean()
    reached = (smooth <= factor * final).argmax(along)
    return describe(
        reached, "problems_to_asymptote", "problems", f"problems until {factor:g} times the final level", found.trials
    )
