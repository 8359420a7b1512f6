"""Falling curves fitted to trials to criterion: y = scale * basis(x; shape) + asymptote, with both not negative.

For a given shape the fit is linear in the other two parameters, so only the shape is searched for, over the whole range
that the problems could tell (variable projection). The same profile gives the intervals, and says where there is
nothing to find: no bound or start is taken from the data.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import optimize, stats

FEWEST = 5  # problems that three parameters need
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
)
FINE, CONSTANT, RISES, SLOW, FAST, FEW, BOUND = range(len(REASONS))


class Law(NamedTuple):
    """A family of curves: what falls from 1 towards 0 over x, the later the larger `late` is; and the shape from it."""

    basis: Callable[[np.ndarray, np.ndarray], np.ndarray]
    shape: Callable[[np.ndarray], np.ndarray]
    ends: Callable[
        [np.ndarray], tuple[float, float, float]
    ]  # lowest and highest `late`, and the highest to be believed


def _over(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.divide(one, other, out=np.full(np.broadcast(one, other).shape, np.inf), where=other != 0)


EXPONENTIAL = Law(
    lambda x, late: np.exp(-x / late[..., None]),
    lambda late: late,
    lambda x: (FASTEST * float(np.diff(x).min()), SLOWEST * float(np.ptp(x)), float(np.ptp(x))),
)
POWER = Law(
    lambda x, late: (x + 1) ** (-1 / late[..., None]),
    lambda late: _over(np.ones_like(late), late),
    lambda x: (0.1, 50.0, 50.0),
)


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
    log: bool,
    bounded: bool,
    resamples: int,
    level: float,
    seed: int,
) -> tuple[np.ndarray, np.ndarray, int, float, float, np.ndarray, np.ndarray]:
    """Parameters, intervals, reason, root mean square, AIC, the curve and its band of `y` (problem,), NaN left out."""
    kept = ~np.isnan(y)
    curve, band = np.full(y.size, np.nan), np.full((y.size, 2), np.nan)
    if kept.sum() < FEWEST:
        return np.full(3, np.nan), np.full((3, 2), np.nan), FEW, np.nan, np.nan, curve, band
    unit = y[kept].max() or 1.0  # squares of anything can then be taken
    points = Points(x[kept] - x[kept][0], y[kept] / unit, open_ended[kept], log)
    found = _bounded(points) if bounded else _free(law, points, level)
    curve[kept] = found.curve * unit
    n, rms = int(kept.sum()), float((found.residual**2).mean()) ** 0.5 * (1.0 if log else unit)
    if resamples:
        intervals, ends = _resampled(law, points, found, bounded, resamples, level, seed)
        found = found._replace(interval=intervals if found.reason in (FINE, BOUND) else found.interval)
        band[kept] = ends * unit
    units = np.array([unit, 1.0, unit])
    aic = 2 * n * np.log(max(rms, 1e-150)) + 2 * 4
    return found.parameters * units, found.interval * units[:, None], found.reason, rms, aic, curve, band


# ---------------------------------------------------------------------- the free fit


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


# ---------------------------------------------------------------------- resampling


def _resampled(
    law: Law, points: Points, found: Fit, bounded: bool, resamples: int, level: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Intervals of the parameters and band of the curve from refits to the curve with other residuals.

    Residuals are drawn in blocks, because neighbours are alike, and stretched to what Student's t would have them be:
    a fit to few problems leaves less than the noise.
    """
    rng = np.random.default_rng(seed)
    n = points.y.size
    length = int(np.clip(n // 20, 1, BLOCK))
    free = max(n - 3, 1)
    tail = (1 + level) / 2
    stretch = np.sqrt(n / free) * stats.t.ppf(tail, free) / stats.norm.ppf(tail)
    residual = stretch * (found.residual - found.residual.mean())
    again, curves = [], []
    for _ in range(resamples):
        starts = rng.integers(0, n - length + 1, -(-n // length))
        noise = residual[(starts[:, None] + np.arange(length)).ravel()[:n]]
        y = found.curve * np.exp(noise) if points.log else found.curve + noise
        drawn = points._replace(y=np.where(points.open_ended, points.y, y))
        one = _refit(law, drawn, found, bounded)
        again.append(one[0])
        curves.append(one[1])
    quantiles = [(1 - level) / 2, (1 + level) / 2]
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


# ---------------------------------------------------------------------- Goudar et al.'s bounded fit


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
