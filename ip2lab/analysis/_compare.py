"""Statistics over seeds, which are the unit, not problems: intervals, paired comparisons, partial association."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr
from scipy import stats

from ip2lab.analysis._arrays import apply, dataset, describe, free, names_of, units_of
from ip2lab.analysis._checks import check, check_length
from ip2lab.analysis._curve_data import problem_order
from ip2lab.analysis._labels import called, listed, match, ordered, restored
from ip2lab.checks import checked

COMPARED = ("ratio", "lower", "upper", "effect_size", "p_value", "p_corrected", "p_equivalence", "verdict")
FEWEST_DRAWN = 6  # seeds, for a mean: of fewer, the studentized draws are too few and too long-tailed
PARTIAL = ("correlation", "p_value", "mean_correlation", "mean_p_value")


@checked
def bootstrap(
    data: xr.DataArray,
    statistic: Callable[..., Any] = np.mean,
    *,
    over: str = "seed",
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> xr.Dataset:
    """Interval of a statistic over seeds, by drawing the seeds again with replacement.

    The interval of a mean is studentized (bootstrap-t; Student's t for fewer than six seeds, of which there are too few
    different draws), that of any other statistic goes by percentiles. Coverage of 95 % over 20 seeds, simulated: mean
    of normal values 95 %, of log-normal ones (sigma 0.5) 94 %, (sigma 1) 91 %; median 94 %. Percentiles would cover
    those means in 93, 91 and 87 %. Skewed values are best compared as logarithms: their mean is that of a geometric
    mean.

    Parameters
    ----------
    data : xarray.DataArray
        (..., over): one value a seed, for instance `final_efficiency` of several runs. All other dims are kept, and
        in each draw the same seeds are taken for all of them.
    statistic : callable
        ``statistic(values, axis=...)``, like `numpy.mean` or `numpy.median`.
    over : str
        The dim of independent units.
    resamples : int
        Number of draws.
    level : float
        Coverage.
    seed : int
        Seed of the draws.

    Returns
    -------
    xarray.Dataset
        ``estimate``, ``lower`` and ``upper`` (...) in the unit of `data`.

    Raises
    ------
    ValueError
        No dim `over`, fewer than three along it, NaN.

    References
    ----------
    Efron and Tibshirani, An Introduction to the Bootstrap (1993), sections 12.5 and 13.3.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from ip2lab.analysis import curves
    >>> found = curves.bootstrap(xr.DataArray([19.0, 21.0, 20.0, 22.0, 18.0], dims="seed"), np.median)
    >>> float(found.estimate), bool(found.lower < 20 < found.upper)
    (20.0, True)
    """
    check(data, over=over, finite=True)
    check_length(data, over, 3, "an interval over them")
    data = ordered(free(data, "estimate", "lower", "upper"), over)
    n = data.sizes[over]
    draws = np.random.default_rng(seed).integers(0, n, (resamples, n))
    estimate, lower, upper = apply(
        _bootstrap, data.astype(float), over=[(over,)], into=[(), (), ()], statistic=statistic, draws=draws, level=level
    )
    unit = units_of(data)
    words = f"{level:.0%} interval over {over}"
    return dataset(
        data,
        describe(estimate, "estimate", unit, "estimate", data),
        describe(lower, "lower", unit, f"lower end of the {words}", data),
        describe(upper, "upper", unit, f"upper end of the {words}", data),
    )


def _bootstrap(
    values: np.ndarray, statistic: Callable[..., Any], draws: np.ndarray, level: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Statistic of `values` (..., unit) and its interval."""
    estimate, ends = statistic(values, axis=-1), [(1 - level) / 2, (1 + level) / 2]
    if statistic is not np.mean:
        lower, upper = np.quantile([statistic(values[..., draw], axis=-1) for draw in draws], ends, axis=0)
        return estimate, lower, upper
    error, units = stats.sem(values, axis=-1), values.shape[-1]
    if units < FEWEST_DRAWN:
        reach = stats.t.ppf(ends[1], units - 1) * error
        return estimate, estimate - reach, estimate + reach
    draws = draws[(draws != draws[:, :1]).any(1)]  # one unit drawn every time has no spread
    with np.errstate(divide="ignore", invalid="ignore"):  # nor have several of one value
        drawn = np.array([(values[..., d].mean(-1) - estimate) / stats.sem(values[..., d], axis=-1) for d in draws])
    low, high = np.nanquantile(np.where(np.isfinite(drawn), drawn, np.where(error > 0, np.nan, 0.0)), ends, axis=0)
    return estimate, estimate - high * error, estimate - low * error


@checked
def compare(
    first: xr.DataArray,
    second: xr.DataArray,
    *,
    smallest_effect: float,
    over: str = "seed",
    alpha: float = 0.05,
) -> xr.Dataset:
    r"""Compare two conditions over the same seeds: larger, smaller, no difference, or undecided.

    With :math:`\delta_s = \ln(\text{first}_s/\text{second}_s)` for each seed, the ratio of geometric means is
    :math:`e^{\bar\delta}`, tested against 1 by a paired t-test on the logarithms and against the smallest effect of
    interest by two one-sided tests. All p-values are corrected together (Holm) over all comparisons along other dims.

    Parameters
    ----------
    first, second : xarray.DataArray
        (..., over): positive values, for instance `final_efficiency` of two models. They are matched by their
        labels, which must be the same in both; other dims (family, ...) are comparisons of their own.
    smallest_effect : float
        The ratio (above 1) below which a difference would not matter, say 1.2. It must be stated: "no difference"
        means nothing without it.
    over : str
        The dim of independent units.
    alpha : float
        Level of all decisions together.

    Returns
    -------
    xarray.Dataset
        ``ratio`` with ``lower`` and ``upper`` (1 - alpha interval, not corrected), ``effect_size`` (Hedges' g of the
        paired logarithms), ``p_value`` and ``p_corrected`` of a difference, ``p_equivalence`` (corrected) of none as
        large as `smallest_effect`, and ``verdict`` (...): ``"no difference"`` where equivalence is shown, else
        ``"first larger"`` or ``"second larger"``, else ``"undecided"``.

    Raises
    ------
    ValueError
        Labels that differ or repeat, fewer than three seeds, values that are not positive, `smallest_effect` not above
        1.

    References
    ----------
    Schuirmann, J Pharmacokinet Biopharm 15:657-680 (1987); Holm, Scand J Stat 6:65-70 (1979); Hedges, J Educ Stat
    6:107-128 (1981).

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from ip2lab.analysis import curves
    >>> noise = np.random.default_rng(0).normal(0, 0.05, (2, 8))
    >>> one, other = (xr.DataArray(20 * np.exp(row), dims="seed", coords={"seed": np.arange(8)}) for row in noise)
    >>> [str(curves.compare(k * one, other, smallest_effect=1.2).verdict.values) for k in (1, 2)]
    ['no difference', 'first larger']
    """
    for data in (first, second):
        check(data, over=over, finite=True)
        check_length(data, over, 3, "a paired comparison")
        if (data <= 0).any():
            raise ValueError(f"{called(data)} holds {float(data.min()):g}; ratios need positive values")
    first, second = together(free(first, *COMPARED), free(second, *COMPARED))
    if set(first.dims) != set(second.dims):
        raise ValueError(
            f"{called(first)} has dims {listed(first.dims)}, {called(second)} has {listed(second.dims)}; a paired "
            "comparison needs the same in both"
        )
    logs = (xr.ufuncs.log(first) - xr.ufuncs.log(second)).drop_attrs()
    margin = float(np.log(smallest_effect))
    into: list[tuple[str, ...]] = [()] * 6
    mean, lower, upper, effect, p, equal = apply(_paired, logs, over=[(over,)], into=into, margin=margin, alpha=alpha)
    corrected, equal = (
        xr.DataArray(_holm(values.values), coords=values.coords, dims=values.dims) for values in (p, equal)
    )
    verdict = xr.where(
        equal < alpha,
        "no difference",
        xr.where(corrected < alpha, xr.where(mean > 0, "first larger", "second larger"), "undecided"),
    )
    return dataset(
        first,
        describe(np.exp(mean), "ratio", "1", "ratio of geometric means, first over second"),
        describe(np.exp(lower), "lower", "1", f"lower end of the {1 - alpha:.0%} interval of the ratio"),
        describe(np.exp(upper), "upper", "1", f"upper end of the {1 - alpha:.0%} interval of the ratio"),
        describe(effect, "effect_size", "1", "Hedges' g of the paired logarithms"),
        describe(p, "p_value", "1", "p-value of a difference"),
        describe(corrected, "p_corrected", "1", "the same, corrected over all comparisons (Holm)"),
        describe(equal, "p_equivalence", "1", "p-value of no difference as large as the smallest effect (Holm)"),
        describe(verdict, "verdict", "1", "verdict"),
        smallest_effect=smallest_effect,
        alpha=alpha,
    )


def together(first: xr.DataArray, second: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Both in the order of `first`, the labels of what they share on that one only; see `match`."""
    second = match(first, second)
    return first, second.drop_vars([dim for dim in first.indexes if dim in second.dims and dim in second.coords])


def _paired(logs: np.ndarray, margin: float, alpha: float) -> tuple[np.ndarray, ...]:
    """Mean, interval, Hedges' g, p of a difference and p of equivalence of paired log ratios (..., unit)."""
    n = logs.shape[-1]
    mean, sd = logs.mean(-1), logs.std(-1, ddof=1)
    error = np.maximum(sd / np.sqrt(n), 1e-12 + 1e-12 * np.abs(mean))  # identical differences: certain, not 0/0
    half = stats.t.ppf(1 - alpha / 2, n - 1) * error
    p = 2 * stats.t.sf(np.abs(mean) / error, n - 1)
    equal = np.maximum(stats.t.sf((mean + margin) / error, n - 1), stats.t.cdf((mean - margin) / error, n - 1))
    hedges = 1 - 3 / (4 * (n - 1) - 1)
    effect = hedges * mean / (error * np.sqrt(n))
    return mean, mean - half, mean + half, effect, p, equal


def _holm(p: np.ndarray) -> np.ndarray:
    """Holm's step-down correction over all of `p`, of any shape."""
    flat = p.ravel()
    order = np.argsort(flat, kind="stable")
    stepped = np.maximum.accumulate(flat[order] * np.arange(flat.size, 0, -1))
    corrected = np.empty_like(flat)
    corrected[order] = np.minimum(stepped, 1)
    return corrected.reshape(p.shape)


@checked
def partial_association(
    measure: xr.DataArray,
    trials: xr.DataArray,
    *,
    along: str = "problem",
    over: str | None = "seed",
    block: int = 10,
    permutations: int = 1000,
    seed: int = 0,
) -> xr.Dataset:
    r"""Ask whether a measure tracks efficiency, beyond both changing with practice.

    Whatever drifts correlates with a learning curve. So the problem index t is partialled out of both: correlation of
    what is left of the ranks after a least-squares fit of a smooth function of practice,

    .. math:: \rho_{xy\cdot t} = \mathrm{corr}(r_x - \hat r_x(t),\; r_y - \hat r_y(t)),\qquad
              \hat r(t) = \sum_{k=0}^3 a_k t^k + \sum_{k=1}^3 b_k \ln^k(1+t)

    (a straight line is not enough: two unrelated exponential decays under noise then come out as associated in a third
    of all cases). The null keeps slow fluctuations: what is left of the measure is permuted in blocks.

    Parameters
    ----------
    measure : xarray.DataArray
        (..., along): modularity, dimensionality, ... of each problem.
    trials : xarray.DataArray
        (..., along): trials to criterion of the same problems, without failures (see `failures`); matched with
        `measure` by the labels of all dims that both have.
    along : str
        The dim of the problems.
    over : str, optional
        The dim of seeds; correlations are averaged over it (Fisher z). None, or absent from both: no average.
    block : int
        Length of the blocks that are permuted; longer than the fluctuations are correlated.
    permutations : int
        Number of permutations.
    seed : int
        Seed of the permutations.

    Returns
    -------
    xarray.Dataset
        ``correlation`` (..., over) and ``p_value`` (..., over), two-sided; with seeds also ``mean_correlation`` and
        ``mean_p_value`` (...), whose null permutes every seed on its own.

    Raises
    ------
    ValueError
        No dim `along`, NaN, labels that differ or repeat, fewer than four blocks, a constant series.

    References
    ----------
    Conover, Practical Nonparametric Statistics (1999), section 5.4; Winkler et al., NeuroImage 123:253-268 (2015).

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from ip2lab.analysis import curves
    >>> rng = np.random.default_rng(1)
    >>> practice = xr.DataArray(np.linspace(1, 0, 200), dims="problem")
    >>> one, other = (practice + 0.1 * xr.DataArray(rng.normal(size=200), dims="problem") for _ in range(2))
    >>> found = curves.partial_association(one, other)
    >>> bool(abs(xr.corr(one, other)) > 0.8), bool(found.p_value > 0.05)
    (True, True)
    """
    for data in (measure, trials):
        _check_varies(check(data, along=along, finite=True), along)
    labelled = together(free(measure, *PARTIAL), free(trials, *PARTIAL))
    measure, trials = xr.broadcast(*(data.drop_attrs() for data in labelled))
    n = measure.sizes[along]
    if not 1 <= block <= n // 4:
        raise ValueError(f"block={block}; with {n} along {along!r} four or more blocks need a block of 1 to {n // 4}")
    units = [dim for dim in names_of(over) if dim in measure.dims]
    one, other = (ordered(data.isel({along: problem_order(data, along)}), *units) for data in (measure, trials))
    into: list[tuple[str, ...]] = [tuple(units), tuple(units), (), ()]
    core = [(*units, along)] * 2
    found = apply(
        _partial, one, other, over=core, into=into, loop=True, block=block, permutations=permutations, seed=seed
    )
    found = [restored(one, measure, *units) for one in found]
    names = ("correlation", "p_value", "mean_correlation", "mean_p_value")
    words = (
        "rank correlation, problem index partialled out",
        "p-value by block permutation",
        f"mean over {over}",
        f"p-value of the mean over {over}",
    )
    described = [describe(f, n, "1", w) for f, n, w in zip(found, names, words, strict=True)]
    return dataset(labelled[0], *(described if units else described[:2]), block=block, permutations=permutations)


def _check_varies(data: xr.DataArray, along: str) -> None:
    if (data.max(along) == data.min(along)).any():
        raise ValueError(f"{called(data)} is constant along {along!r}; nothing can be associated with it")


def _partial(
    x: np.ndarray, y: np.ndarray, block: int, permutations: int, seed: int
) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Partial rank correlations of `x` and `y` (unit, problem) or (problem,), with p-values; and of their mean."""
    practice = _practice(x.shape[-1])
    left, right = (_without(stats.rankdata(np.atleast_2d(values), axis=-1), practice) for values in (x, y))
    observed = _correlations(left, right)
    rng = np.random.default_rng(seed)
    null = np.stack(
        [_correlations(_without(_permute_blocks(left, block, rng), practice), right) for _ in range(permutations)]
    )
    z, null_z = (np.arctanh(r.clip(-1 + 1e-12, 1 - 1e-12)) for r in (observed, null))
    p = (1 + (np.abs(null) >= np.abs(observed)).sum(0)) / (1 + permutations)
    mean_p = (1 + (np.abs(null_z.mean(-1)) >= np.abs(z.mean())).sum()) / (1 + permutations)
    shape = x.shape[:-1]
    return observed.reshape(shape), p.reshape(shape), float(np.tanh(z.mean())), float(mean_p)


def _practice(n: int) -> np.ndarray:
    """Orthonormal columns (problem, 7) that span smooth functions of the problem index."""
    t = np.arange(n)
    u, v = (2 * x / x[-1] - 1 for x in (t, np.log1p(t)))  # within -1 and 1, for well-conditioned powers
    return np.linalg.qr(np.stack([u**0, u, u**2, u**3, v, v**2, v**3], axis=-1))[0]


def _without(values: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """`values` (..., problem) less their least-squares fit by orthonormal columns."""
    return values - values @ columns @ columns.T


def _correlations(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    scale = np.sqrt((x**2).sum(-1) * (y**2).sum(-1))
    # a series that is a smooth function of practice leaves nothing: no association, not 0/0
    return np.divide((x * y).sum(-1), scale, out=np.zeros(len(x)), where=scale > 1e-9 * x.shape[-1] ** 3)


def _permute_blocks(values: np.ndarray, block: int, rng: np.random.Generator) -> np.ndarray:
    """Each row cut into blocks from a random point on (its ends joined), the blocks in a random order."""
    n = values.shape[-1]
    rows = []
    for row in values:
        turned = np.roll(row, rng.integers(n))
        pieces = np.split(turned, np.arange(block, n, block))
        rows.append(np.concatenate([pieces[i] for i in rng.permutation(len(pieces))]))
    return np.stack(rows)
