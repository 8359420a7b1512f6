"""Falling curves fitted to trials to criterion: y = scale * basis(x; shape) + asymptote, with both not negative.

For a given shape the fit is linear in the other two parameters, so only the shape is searched for, over the whole range
that the problems could tell (variable projection). The same profile gives the intervals, and says where there is
nothing to find: no bound or start is taken from the data.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
import xarray as xr
from scipy import optimize, stats

from ip2lab.analysis._arrays import apply, dataset, describe
from ip2lab.analysis._compare import bootstrap
from ip2lab.analysis._curve_data import Curve, Failures, after_first, check_problems, curve, positions
from ip2lab.analysis._labels import called, listed
from ip2lab.checks import checked

FEWEST = 5  # problems that three parameters need
FEWEST_SERIES = 3  # for an interval over them
TAIL, HEAD = 31, 30  # Goudar et al.'s windows for the start of the fit
FASTEST, SLOWEST, POINTS = 0.1, 5.0, 121  # of a problem, of the series, and shapes tried in between
BLOCK = 10  # problems whose residuals change their sign together, at most: neighbouring ones are alike
ROUNDING = 1e-9  # of the data: what a perfect fit leaves
SMALLEST = 1e-12  # of the largest value: what is less weighs no more
REASONS = (
    "",
    "constant",
    "no decrease beyond the noise",
    "still falling at the end of the series",
    "all of the decrease within one problem",
    "too few problems",
    "a parameter on a bound of goudar2023",
    "all of the decrease at once, later in the series",
)
FINE, CONSTANT, RISES, SLOW, FAST, FEW, BOUND, STEP = range(len(REASONS))


class Law(NamedTuple):
    """A family of curves: what falls from 1 towards 0 over x, the later the larger `late` is; and the shape from it."""

    parameter: str
    basis: Callable[[np.ndarray, np.ndarray], np.ndarray]
    shape: Callable[[np.ndarray], np.ndarray]
    ends: Callable[[np.ndarray], tuple[float, float, float]]  # lowest, highest and highest credible `late`


def _over(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.divide(one, other, out=np.full(np.broadcast(one, other).shape, np.inf), where=other != 0)


EXPONENTIAL = Law(
    "tau",
    lambda x, late: np.exp(-x / late[..., None]),
    lambda late: late,
    lambda x: (FASTEST * float(np.diff(x).min()), SLOWEST * float(np.ptp(x)), float(np.ptp(x))),
)
POWER = Law(
    "exponent",
    lambda x, late: (x + 1) ** (-1 / late[..., None]),
    lambda late: _over(np.ones_like(late), late),
    lambda x: (0.1, 50.0, 50.0),
)
FITTED = (
    *("scale", "asymptote", "identified", "reason", "at_bound", "interval", "residual", "aic", "first_problem"),
    *("fitted", "band", "parameter", "bound"),
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
        series"`` (tau is longer than the series, or may be), ``"all of the decrease within one problem"``, ``"all of
        the decrease at once, later in the series"`` (two levels describe the series better) or ``"too few problems"``.
        ``interval`` (parameter, bound) is what the data allow: up to infinity where it is open.
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
    if bounds is not None and error != "linear":
        raise ValueError(f"bounds={bounds!r} is a fit with linear error, not error={error!r}; leave one of them out")
    found = curve(data, along, failures, cap, (*FITTED, "tau"))
    settings = Settings(error == "log", bounds is not None, failures == "survival", keep_first, resamples, level, seed)
    result = fit_curve(found, along, EXPONENTIAL, settings)
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
    settings = Settings(error == "log", False, failures == "survival", keep_first, resamples, level, seed)
    result = fit_curve(found, along, POWER, settings)
    return result.assign(
        scale=describe(result["scale"], "scale", "trials", "excess trials at the second problem"),
        exponent=describe(result["exponent"], "exponent", "1", "exponent of the power law"),
    )


@checked
def mean_fit(fits: xr.Dataset, *, over: str = "seed", level: float = 0.95) -> xr.Dataset:
    """Average the fits of several series, each fitted by itself, over those whose parameters the data tell.

    Parameters
    ----------
    fits : xarray.Dataset
        What `exponential_fit` or `power_law_fit` returned for series along one dim (over).
    over : str
        The dim of independent units.
    level : float
        Coverage of the intervals.

    Returns
    -------
    xarray.Dataset
        The three parameters, ``first_problem`` and ``fitted`` (problem), means over the series that are identified, or
        over all where none is; ``identified``, whether one is, and ``unidentified``, how many are not; of three or more
        ``interval`` (parameter, bound) and ``band`` (problem, bound), intervals of the means (`bootstrap`), the band
        over the problems that all of these series have.

    Raises
    ------
    ValueError
        No dim `over`, further dims, a variable of a fit is missing.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from ip2lab.analysis import curves
    >>> x = np.arange(40)
    >>> trials = [np.append(900, 80 * np.exp(-x / tau) + 15) for tau in (7, 8, 9)]
    >>> found = curves.mean_fit(curves.exponential_fit(xr.DataArray(trials, dims=("seed", "problem"))))
    >>> round(float(found.tau), 2), found.interval.dims
    (8.0, ('parameter', 'bound'))
    """
    missing = [name for name in ("interval", "fitted", "identified", "first_problem") if name not in fits]
    if missing:
        raise ValueError(f"fits has no {missing[0]!r}; give what exponential_fit or power_law_fit returned")
    if fits["identified"].dims != (over,):
        raise ValueError(f"fits: 'identified' has dims {listed(fits['identified'].dims)}; expected {over!r} alone")
    names = [str(name) for name in fits["interval"]["parameter"].values]
    told = fits["identified"]
    some = fits.isel({over: np.flatnonzero(told)}) if told.any() else fits
    parts = [
        describe(some[name].mean(over), name, fits[name].attrs["units"], fits[name].attrs["long_name"])
        for name in (*names, "first_problem", "fitted")
    ]
    parts.append(describe(told.any(), "identified", "1", "a series tells its parameters"))
    parts.append(describe((~told).sum(), "unidentified", "1", "series that do not tell their parameters"))
    if int(told.sum()) >= FEWEST_SERIES:
        parameters = xr.concat([some[name].drop_attrs() for name in names], xr.Variable("parameter", names))
        along = next(dim for dim in fits["fitted"].dims if dim != over)
        words = f"{level:.0%} interval of the mean over {over}"
        interval = _interval_over(parameters, over, level)
        band = _interval_over(some["fitted"].dropna(along), over, level).reindex_like(fits["fitted"].isel({over: 0}))
        parts.append(describe(interval, "interval", "as the parameter", words))
        parts.append(describe(band, "band", "trials", f"{words} of the curve"))
    return dataset(fits["fitted"].isel({over: 0}, drop=True), *parts)


def _interval_over(values: xr.DataArray, over: str, level: float) -> xr.DataArray:
    """The interval (..., bound) of the mean."""
    found = bootstrap(values, over=over, level=level)
    both = xr.concat([found["lower"], found["upper"]], xr.Variable("bound", ["lower", "upper"]))
    return both.transpose(..., "bound")


class Settings(NamedTuple):
    """How a curve is fitted."""

    log: bool = False  # whether errors are those of the logarithm
    bounded: bool = False  # Goudar et al.'s fit
    censored: bool = False  # whether a failure only says that the true value is larger
    keep_first: bool = False
    resamples: int = 0
    level: float = 0.95
    seed: int = 0


def fit_curve(data: Curve, along: str, law: Law, settings: Settings) -> xr.Dataset:
    """One fit for every curve; the dataset of what came out."""
    found, first = after_first(data, along, settings.keep_first)
    check_problems(found, along, FEWEST)
    if settings.log and bool((found.trials == 0).any()):
        raise ValueError(
            f"{called(found.trials)} holds 0, which has no logarithm; choose error='linear', or add what was left "
            "out, such as the window of the criterion"
        )
    parameters, intervals, reason, residual, aic, fitted, band = apply(
        fit_one,
        found.trials,
        found.failed & settings.censored,
        over=[(along,), (along,)],
        into=[("parameter",), ("parameter", "bound"), (), (), (), (along,), (along, "bound")],
        loop=True,
        law=law,
        x=positions(found.trials, along),
        settings=settings,
    )
    names, bounds = ["scale", law.parameter, "asymptote"], ["lower", "upper"]
    code = reason.astype(int)
    scale, late, end = (parameters.isel(parameter=i).rename(name) for i, name in enumerate(names))
    square = "root mean square of what the fit leaves"
    unit, square = ("1", f"{square} of the logarithm") if settings.log else ("trials", square)
    kind = f"{settings.level:.0%} {'bootstrap' if settings.resamples else 'profile'} interval"
    intervals, band = intervals.assign_coords(parameter=names, bound=bounds), band.assign_coords(bound=bounds)
    parts = [
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
    ]
    if settings.resamples:
        parts.append(describe(band, "band", "trials", f"{kind} of the curve"))
    result = dataset(found.trials, *parts)
    return result.assign_coords(found.trials[along].coords) if along in found.trials.coords else result


class Solved(NamedTuple):
    """The best scale and asymptote for each of several shapes, and what they leave."""

    scale: np.ndarray
    asymptote: np.ndarray
    left: np.ndarray  # sum of squares
    weight_scale: np.ndarray  # curvature of half the sum of squares along each, the other one free
    weight_asymptote: np.ndarray


class Points(NamedTuple):
    """What one curve is fitted to."""

    x: np.ndarray
    y: np.ndarray
    open_ended: np.ndarray  # the true value is known to be larger
    log: bool


class Fit(NamedTuple):
    """One curve: its parameters (scale, shape, asymptote), their intervals, and why there are none."""

    parameters: np.ndarray
    interval: np.ndarray
    reason: int
    curve: np.ndarray
    residual: np.ndarray


def fit_one(
    y: np.ndarray,
    open_ended: np.ndarray,
    x: np.ndarray,
    *,
    law: Law,
    settings: Settings,
) -> tuple[np.ndarray, np.ndarray, int, float, float, np.ndarray, np.ndarray]:
    """Parameters, intervals, reason, root mean square, AIC, the curve and its band of `y` (problem,), NaN left out."""
    kept = ~np.isnan(y)
    curve, band = np.full(y.size, np.nan), np.full((y.size, 2), np.nan)
    if kept.sum() < FEWEST:
        return np.full(3, np.nan), np.full((3, 2), np.nan), FEW, np.nan, np.nan, curve, band
    unit = y[kept].max() or 1.0  # squares of anything can then be taken
    points = Points(x[kept] - x[kept][0], y[kept] / unit, open_ended[kept], settings.log)
    found = _bounded(points) if settings.bounded else _free(law, points, settings.level)
    curve[kept] = found.curve * unit
    n, rms = int(kept.sum()), float((found.residual**2).mean()) ** 0.5 * (1.0 if settings.log else unit)
    if settings.resamples:
        intervals, ends = _resampled(law, points, found, settings)
        found = found._replace(interval=intervals if found.reason in (FINE, BOUND) else found.interval)
        band[kept] = ends * unit
    units = np.array([unit, 1.0, unit])
    aic = 2 * n * np.log(max(rms, 1e-150)) + 2 * 4
    return found.parameters * units, found.interval * units[:, None], found.reason, rms, aic, curve, band


def _free(law: Law, points: Points, level: float) -> Fit:
    """The best of all falling curves, or the reason why the data cannot tell it."""
    ends = law.ends(points.x)
    late = np.geomspace(*ends[:2], POINTS)
    solved = _solve(law.basis(points.x, late), points)
    best = _best(law, points, late, solved)
    one = _solve(law.basis(points.x, best), points)
    curve = one.scale[0] * law.basis(points.x, best)[0] + one.asymptote[0]
    shape = law.shape(best)
    parameters = np.array([one.scale[0], shape[0], one.asymptote[0]])
    free = max(int((~points.open_ended).sum()) - 3, 1)
    most = _limit(float(one.left[0]), points, free, level, 1)
    low, high = _crossings(law, points, (late, solved.left), float(best[0]), most)
    both = _limit(float(one.left[0]), points, free, level, 2)
    reason = _reason(law, points, curve, float(best[0]), float(one.left[0]), both, high, ends)
    high = np.inf if reason == SLOW and best[0] <= ends[2] else high
    interval = _intervals(law, points, (low, high), float(best[0]), most, ends)
    if reason == SLOW and _limit(_step(points), points, free, level, 2) < one.left[0]:
        reason = STEP
    if reason != FINE:
        parameters = np.full(3, np.nan)
    if reason in (CONSTANT, RISES):
        interval[:2] = [0.0, np.inf]
    return Fit(parameters, interval, reason, curve, _residual(points, curve))


def _limit(least: float, points: Points, free: int, level: float, parameters: int) -> float:
    """The sum of squares up to which other curves agree with the data (F test)."""
    values = np.log(points.y) if points.log else points.y
    rounding = ROUNDING**2 * float((values**2).sum())
    return max(least, rounding) * (1 + parameters * float(stats.f.ppf(level, parameters, free)) / free)


def _reason(
    law: Law,
    points: Points,
    curve: np.ndarray,
    best: float,
    least: float,
    most: float,
    slowest: float,
    ends: tuple[float, float, float],
) -> int:
    """Why the data cannot tell; `most` is the sum of squares up to which a scale and a shape agree with them."""
    if np.ptp(points.y) <= ROUNDING * points.y.max():
        return CONSTANT
    if _solve(np.zeros((1, points.x.size)), points).left[0] <= most:
        return RISES
    endless = not np.isfinite(slowest) or best > ends[2]
    if endless or _endless(law.basis(points.x, np.array([ends[1]])), points, curve) < least:
        return SLOW
    return FAST if best < 1.5 * ends[0] else FINE


def _endless(basis: np.ndarray, points: Points, curve: np.ndarray) -> float:
    """What the slowest of all curves leaves where it may end below zero."""
    w = _weights(points, curve[None])
    z = curve * (1 + np.log(points.y / np.maximum(curve, 1e-300))) if points.log else points.y
    apart = basis - (w * basis).sum() / w.sum()
    scale = max((w * apart * z).sum() / (w * apart**2).sum(), 0.0)
    left = z - (w * z).sum() / w.sum() - scale * apart
    return float((w * left**2).sum())


def _step(points: Points) -> float:
    """What is left by the best of all curves that fall once, at any problem, from one level to another."""
    before = np.tri(points.x.size, k=-1)[1:]  # (place, problem): 1 before the fall, 0 after it
    return float(_solve(before, points).left.min())


def _residual(points: Points, curve: np.ndarray) -> np.ndarray:
    """Data less curve, or their logarithms; nothing where the curve is above what is known to be larger."""
    left = np.log(points.y) - np.log(np.maximum(curve, 1e-300)) if points.log else points.y - curve
    return np.where(points.open_ended & (left < 0), 0.0, left)


def _solve(basis: np.ndarray, points: Points) -> Solved:
    """Non-negative scale and asymptote with the least sum of squares, for each row of `basis` (shape, problem).

    Linear errors without open ends are one step. Else Gauss-Newton steps from there, each cut until it is better.
    """
    y = np.broadcast_to(points.y, basis.shape)
    curve = y
    scale, asymptote, *weights = _linear(basis, y, _weights(points, curve))
    curve = scale[:, None] * basis + asymptote[:, None]
    left = (_residual(points, curve) ** 2).sum(1)
    for _ in range(60 if points.log or points.open_ended.any() else 0):
        w = _weights(points, curve)
        target = curve * (1 + np.log(y / np.maximum(curve, 1e-300))) if points.log else y
        new_scale, new_asymptote, *weights = _linear(basis, target, w)
        step, before = np.ones(len(basis)), left
        for _ in range(12):
            a, c = scale + step * (new_scale - scale), asymptote + step * (new_asymptote - asymptote)
            tried = a[:, None] * basis + c[:, None]
            after = (_residual(points, tried) ** 2).sum(1)
            worse = after > left
            if not worse.any():
                break
            step = np.where(worse, step / 4, step)
        better = after < left
        scale, asymptote, left = (np.where(better, n, o) for n, o in ((a, scale), (c, asymptote), (after, left)))
        curve = scale[:, None] * basis + asymptote[:, None]
        if (before - left <= 1e-12 * before).all():
            break
    return Solved(scale, asymptote, left, *weights)


def _weights(points: Points, curve: np.ndarray) -> np.ndarray:
    """Weights of the squared errors around `curve` (shape, problem): 0 where an open end lies below it."""
    counts = ~(points.open_ended & (curve > points.y))
    steady = np.maximum(curve, SMALLEST * points.y.max())
    return np.where(counts, 1 / steady**2, 0.0) if points.log else counts.astype(float)


def _linear(basis: np.ndarray, z: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Weighted least squares of z by scale * basis + asymptote, none negative, and the curvature along each."""
    total = np.maximum(w.sum(1), 1e-300)
    centre, level = (w * basis).sum(1) / total, (w * z).sum(1) / total
    apart = basis - centre[:, None]
    spread, power = (w * apart**2).sum(1), (w * basis**2).sum(1)
    flat = spread <= 1e-24 * total  # a basis that is constant has no scale of its own
    scale = np.where(flat, 0.0, (w * apart * z).sum(1) / np.where(flat, 1.0, spread)).clip(0.0)
    asymptote = level - scale * centre
    below = asymptote < 0
    alone = (w * basis * z).sum(1) / np.where(power > 0, power, 1.0)
    scale, asymptote = np.where(below, alone.clip(0.0), scale), asymptote.clip(0.0)
    return scale, asymptote, spread, total * spread / np.where(power > 0, power, 1.0)


def _best(law: Law, points: Points, late: np.ndarray, solved: Solved) -> np.ndarray:
    """The shape with the least sum of squares: the deepest valleys of the profile, each to its bottom."""

    def left(logarithm: float) -> float:
        return float(_solve(law.basis(points.x, np.exp([logarithm])), points).left[0])

    walls = np.pad(solved.left, 1, constant_values=np.inf)
    valleys = np.flatnonzero((walls[1:-1] <= walls[:-2]) & (walls[1:-1] <= walls[2:]))
    valleys = valleys[np.argsort(solved.left[valleys], kind="stable")][:3]
    bottoms = []
    for place in map(int, valleys):
        around = np.log(late[max(place - 1, 0)]), np.log(late[min(place + 1, late.size - 1)])
        found = optimize.minimize_scalar(left, bounds=around, method="bounded", options={"xatol": 1e-10})
        here = (solved.left[place], late[place])
        bottoms.append(min(here, (float(found.fun), float(np.exp(found.x)))))
    return np.array([min(bottoms)[1]])


def _crossings(
    law: Law, points: Points, profile: tuple[np.ndarray, np.ndarray], best: float, most: float
) -> tuple[float, float]:
    """The ends of the shapes that agree with the data: 0 and infinity where there is no end in sight."""
    late, left = profile
    agree = np.append(late[left <= most], best)

    def above(logarithm: float) -> float:
        return float(_solve(law.basis(points.x, np.exp([logarithm])), points).left[0]) - most

    ends = []
    for inner, beyond, outermost in (
        (float(agree.min()), late[late < agree.min()][::-1], 0.0),
        (float(agree.max()), late[late > agree.max()], np.inf),
    ):
        if not beyond.size:
            ends.append(outermost)
            continue
        a, b = np.log([inner, beyond[0]])
        ends.append(float(np.exp(optimize.brentq(above, a, b))) if above(a) < 0 < above(b) else inner)
    return ends[0], ends[1]


def _intervals(
    law: Law,
    points: Points,
    shapes: tuple[float, float],
    best: float,
    most: float,
    ends: tuple[float, float, float],
) -> np.ndarray:
    """The ends (parameter, bound) between which scale, shape and asymptote agree with the data."""
    late = np.append(np.geomspace(max(shapes[0], ends[0]), min(shapes[1], ends[1]), 41), best)
    solved = _solve(law.basis(points.x, late), points)
    room = np.maximum(most - solved.left, 0.0)
    found = []
    for value, weight in ((solved.scale, solved.weight_scale), (solved.asymptote, solved.weight_asymptote)):
        reach = np.sqrt(room / np.maximum(weight, 1e-300))
        found.append([max(float((value - reach).min()), 0.0), float((value + reach).max())])
    if not np.isfinite(shapes[1]):  # what still falls may come from anywhere above and end at nothing
        found[0][1], found[1][0] = np.inf, 0.0
    return np.array([found[0], np.sort(law.shape(np.array(shapes))), found[1]])


def _resampled(law: Law, points: Points, found: Fit, settings: Settings) -> tuple[np.ndarray, np.ndarray]:
    """Intervals of the parameters and band of the curve from refits to the curve with other residuals.

    Residuals are drawn in blocks, because neighbours are alike, and stretched to what Student's t would have them be:
    a fit to few problems leaves less than the noise.
    """
    rng = np.random.default_rng(settings.seed)
    n = points.y.size
    length = int(np.clip(n // 20, 1, BLOCK))
    free = max(n - 3, 1)
    tail = (1 + settings.level) / 2
    stretch = np.sqrt(n / free) * stats.t.ppf(tail, free) / stats.norm.ppf(tail)
    residual = stretch * (found.residual - found.residual.mean())
    again, curves = [], []
    for _ in range(settings.resamples):
        starts = rng.integers(0, n - length + 1, -(-n // length))
        noise = residual[(starts[:, None] + np.arange(length)).ravel()[:n]]
        y = found.curve * np.exp(noise) if points.log else found.curve + noise
        drawn = points._replace(y=np.where(points.open_ended, points.y, y))
        one = _refit(law, drawn, found, settings.bounded)
        again.append(one[0])
        curves.append(one[1])
    quantiles = [(1 - settings.level) / 2, tail]
    lower = np.quantile(again, quantiles[0], axis=0, method="lower")  # no mean of a number and infinity
    upper = np.quantile(again, quantiles[1], axis=0, method="higher")
    return np.stack([lower, upper], axis=1), np.quantile(curves, quantiles, axis=0).T


def _refit(law: Law, points: Points, found: Fit, bounded: bool) -> tuple[np.ndarray, np.ndarray]:
    """Parameters and curve; a shape at the end of what was searched counts as endless."""
    if bounded:
        one = _bounded(points, found.parameters)
        return one.parameters, one.curve
    ends = law.ends(points.x)
    late = np.geomspace(*ends[:2], POINTS)
    best = _best(law, points, late, _solve(law.basis(points.x, late), points))
    solved = _solve(law.basis(points.x, best), points)
    curve = solved.scale[0] * law.basis(points.x, best)[0] + solved.asymptote[0]
    endless = np.where(best > 0.99 * ends[1], np.inf, np.where(best < 1.01 * ends[0], 0.0, best))
    return np.array([solved.scale[0], law.shape(endless)[0], solved.asymptote[0]]), curve


def _bounded(points: Points, start: np.ndarray | None = None) -> Fit:
    """Bounded least squares, the bounds from means of the data."""
    x, y = points.x, points.y
    tail = max(y[-TAIL:].mean(), 1e-12)
    falls = y[:HEAD].mean() > tail
    scale = y[:HEAD].mean() - tail if falls else 1e-6 * tail  # where it does not fall there is nothing to fit
    lower, upper = np.array([0.0, 5.0, 0.0]), np.array([2 * scale, 200.0, 2 * tail])
    first = np.array([scale, 50.0, tail]) if start is None else start
    inside = np.clip(first, lower + 1e-9 * (upper - lower), upper - 1e-9 * (upper - lower))

    def curve(parameters: np.ndarray) -> np.ndarray:
        a, tau, c = parameters
        return np.asarray(a * np.exp(-x / tau) + c)

    solved = optimize.least_squares(
        lambda parameters: _residual(points, curve(parameters)),
        inside,
        bounds=(lower, upper),
        x_scale=np.maximum(inside, 1e-9),
        max_nfev=1000,
    )
    near = np.minimum(solved.x - lower, upper - solved.x) < 1e-3 * (upper - lower)
    reason = BOUND if near.any() or not falls else FINE
    found = curve(solved.x)
    return Fit(solved.x, np.full((3, 2), np.nan), reason, found, _residual(points, found))
