"""Populations: in which directions, how many and how fast the activity of many neurons moves, and what it tells.

Every function takes a labelled array and the name of the dim that holds the neurons (``feature="neuron"``); all other
dims are samples. Arrays backed by dask are gone through chunk by chunk by `pca`, `project` and
`participation_ratio`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import xarray as xr

from ip2lab.analysis._arguments import checked
from ip2lab.analysis._decode import decode
from ip2lab.analysis._demix import demix
from ip2lab.analysis._labelled import (
    apply,
    blocks,
    check,
    check_only,
    dataset,
    describe,
    not_finite,
    samples,
    times,
    units_of,
)
from ip2lab.analysis._labels import (
    RECORDED,
    bare,
    called,
    carried,
    check_free,
    listed,
    match,
    ordered,
    recorded,
    sequence,
    whole,
)
from ip2lab.analysis._moments import NotFinite, principal_axes, working_dtype
from ip2lab.analysis._series import condition_means, dimensionality, procrustes
from ip2lab.analysis._shape import align, manifold
from ip2lab.analysis._subspaces import principal_angles, subspace_rotation, subspaces

__all__ = [
    "align",
    "condition_means",
    "decode",
    "demix",
    "dimensionality",
    "manifold",
    "pad_trials",
    "participation_ratio",
    "pca",
    "principal_angles",
    "procrustes",
    "project",
    "speed",
    "subspace_rotation",
    "subspaces",
]

PCA = ("scores", "components", "explained_variance", "explained_variance_ratio", "mean")
AS_COORDS: dict[str, Any] = {"coords": "different", "compat": "equals"}  # what differs between trials labels them


@checked
def pad_trials(
    trials: Sequence[xr.DataArray] | Mapping[Any, xr.DataArray],
    *,
    at: Literal["start", "end"] = "start",
    time: str = "time",
    trial: str = "trial",
) -> xr.DataArray:
    """Put trials of different lengths side by side, aligned at their start or at their end.

    Parameters
    ----------
    trials : sequence or mapping of xarray.DataArray
        One array per trial, with the dim `time` and a coord on it (ms, equal steps, the same step in every trial); the
        keys of a mapping label the trials. Other dims, such as neurons, are matched by their labels.
    at : {"start", "end"}
        What the trials have in common: at ``"start"`` time counts from the first point of each trial, at ``"end"``
        it is negative and counts up to 0, the last point.
    time, trial : str
        The dim of time, and the name of the new dim.

    Returns
    -------
    xarray.DataArray
        (trial, ...) with the length of the longest trial, NaN where a trial is shorter, and a coord ``recorded``
        (trial, time) that is False there, and where the trial's own ``recorded`` is: every analysis of populations
        leaves such samples out. Coords that differ between trials become labels of the trials; those along `time`
        are dropped.

    Raises
    ------
    ValueError
        No trials, no dim or coord `time`; steps, units, dims, coords or labels of neurons that differ between trials.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from ip2lab.analysis import population
    >>> long, short = (
    ...     xr.DataArray(np.ones((n, 4)), dims=("time", "neuron"), coords={"time": 20.0 * np.arange(n)}) for n in (5, 3)
    ... )
    >>> both = population.pad_trials([long, short], at="end")
    >>> dict(both.sizes), both.time.values.tolist(), both.recorded.sum("time").values.tolist()
    ({'trial': 2, 'time': 5, 'neuron': 4}, [-80.0, -60.0, -40.0, -20.0, 0.0], [5, 3])
    """
    if at not in ("start", "end"):
        raise ValueError(f"at={at!r}; trials can be aligned at 'start' or 'end'")
    if not isinstance(trials, (Sequence, Mapping)) or isinstance(trials, str):
        raise TypeError(
            f"trials is a {type(trials).__name__}; expected a sequence of arrays, one per trial, or a mapping"
        )
    if not trials:
        raise ValueError("no trials were given; expected a sequence of arrays, one per trial")
    named = trials if isinstance(trials, Mapping) else dict(enumerate(trials))
    each = [check(one, gaps=True, time=time).rename(f"trial {name}") for name, one in named.items()]
    first = next(iter(named.values()))
    each = _alike([ordered(one, time) for one in each], time, trial)
    steps = [times(one, time)[1] for one in each]
    if np.ptp(steps) > 1e-3 * steps[0]:
        raise ValueError(
            f"the trials' steps along {time!r} differ: {min(steps):g} to {max(steps):g} ms; resample them first"
        )
    longest = max(one.sizes[time] for one in each)
    grid = steps[0] * (np.arange(longest) - (0 if at == "start" else longest - 1))
    placed, masks = zip(*(_placed(one, grid, time, at) for one in each), strict=True)
    labels = {trial: (trial, list(trials))} if isinstance(trials, Mapping) else {}
    together = xr.concat(
        [one.drop_vars(labels, errors="ignore") for one in placed], dim=trial, join="exact", **AS_COORDS
    )
    there = xr.concat(xr.broadcast(*masks), dim=trial).transpose(trial, time, ...)
    together = together.assign_coords({**labels, RECORDED: bare(there)})
    together[time].attrs.update(units="ms", long_name=f"time from the {at} of the trial")
    words = first.attrs.get("long_name", "activity")
    return describe(together, str(first.name or "activity"), units_of(first), words, first)


def _alike(trials: list[xr.DataArray], time: str, trial: str) -> list[xr.DataArray]:
    """The trials with all dims but `time` in the order of the first; refuses those that differ in kind."""

    def facts(one: xr.DataArray) -> tuple[set[str], set[str], set[str]]:
        kept = {str(name) for name, coord in one.coords.items() if time not in coord.dims} - {RECORDED}
        return set(map(str, one.dims)), kept, {units_of(one)}

    first = trials[0]
    check_free(first.dims, trial)
    for one in trials:
        for what, (here, there) in zip(
            ("dims", "coords", "units"), zip(facts(first), facts(one), strict=True), strict=True
        ):
            if here != there:
                raise ValueError(
                    f"the {what} of the trials differ: {listed(sorted(here - there))} only in {first.name!r}, "
                    f"{listed(sorted(there - here))} only in {one.name!r}; give all the same"
                )
    return [match(first, one, *(str(d) for d in first.dims if d != time)).transpose(*first.dims) for one in trials]


def _placed(one: xr.DataArray, grid: np.ndarray, time: str, at: str) -> tuple[xr.DataArray, xr.DataArray]:
    """One trial on the common `grid`, and where it was recorded."""
    n = one.sizes[time]
    own = grid[:n] if at == "start" else grid[-n:]
    there = xr.DataArray(np.ones(n, bool), dims=time)
    gaps = recorded(one)
    there = there if gaps is None else there & bare(gaps)
    kept = one.drop_vars([name for name in one.coords if time in one[name].dims or name == RECORDED])
    kept = kept.astype(float) if one.dtype.kind == "b" and n < len(grid) else kept
    placed, mask = (part.assign_coords({time: own}) for part in (kept, there))
    return placed.reindex({time: grid}), mask.reindex({time: grid}, fill_value=False)


def _prepared(data: xr.DataArray, feature: str) -> tuple[xr.DataArray, np.ndarray | None]:
    """`data` with `feature` last (a view), and which samples were recorded, if padding is marked."""
    check(data, feature=feature, gaps=True)
    if data.ndim == 1:
        raise ValueError(
            f"{called(data)} has no dim but {feature!r}; give samples along another dim (time, trial, ...), two or more"
        )
    moved = data.transpose(..., feature)
    mask = whole(moved, feature)
    return moved, None if mask is None else mask.values


@checked
def pca(data: xr.DataArray, *, feature: str = "neuron", n_components: int | None = None) -> xr.Dataset:
    r"""Principal components: the orthogonal directions along which the activity varies most.

    .. math:: C = \frac{1}{n-1}\sum_t (x_t-\bar x)(x_t-\bar x)^\top = \sum_k \lambda_k v_k v_k^\top,\quad
              \mathrm{score}_k(t) = v_k\cdot(x_t-\bar x)

    Parameters
    ----------
    data : xarray.DataArray
        (..., feature): activity; every dim but `feature` is a sample. May be backed by dask.
    feature : str
        The dim of the neurons.
    n_components : int, optional
        How many components to return; all by default.

    Returns
    -------
    xarray.Dataset
        ``scores`` (..., component) in the unit of `data`; ``components`` (component, feature), unit vectors whose
        largest loading is positive; ``explained_variance`` (component); ``explained_variance_ratio`` (component), of
        the whole variance; ``mean`` (feature). Samples that `pad_trials` marked as padding take no part; their scores
        are NaN.

    Raises
    ------
    ValueError
        A missing or empty dim, NaN, fewer than two samples, no variance at all, more components than there are.

    Notes
    -----
    By the covariance, in one pass, without a copy of the data; float32 stays float32 and is summed in float64. Data
    backed by dask are read chunk by chunk and their scores stay lazy.

    References
    ----------
    Jolliffe and Cadima, Phil Trans R Soc A 374:20150202 (2016), doi 10.1098/rsta.2015.0202.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from ip2lab.analysis import population
    >>> rng = np.random.default_rng(0)
    >>> data = xr.DataArray(rng.normal(size=(30, 40, 5)) * [3, 1, 1, 1, 1], dims=("trial", "time", "neuron"))
    >>> fit = population.pca(data, n_components=2)
    >>> dict(fit.scores.sizes), fit.components.dims, float(fit.explained_variance_ratio[0].round(2))
    ({'trial': 30, 'time': 40, 'component': 2}, ('component', 'neuron'), 0.7)
    """
    moved, mask = _prepared(data, feature)
    check_free(carried(data, feature), "component", *PCA)
    axes, variance, mean = _fit(moved, mask, data)
    total = variance.sum()
    k = _count(n_components, len(variance), data, feature)
    labels = {feature: moved[feature]} if feature in moved.coords else {}
    dtype = working_dtype(data.dtype)
    components = xr.DataArray(
        axes[:k].astype(dtype), dims=("component", feature), coords={"component": np.arange(k), **labels}
    )
    center = xr.DataArray(mean.astype(dtype), dims=(feature,), coords=labels)
    ratio = xr.DataArray(variance[:k] / total, dims=("component",))
    unit = units_of(data)
    return dataset(
        data,
        _scores(moved, components, center, feature),
        describe(components, "components", "1", "loading of the neuron on the component"),
        describe(
            ratio * total, "explained_variance", "1" if unit == "1" else f"({unit})^2", "variance along the component"
        ),
        describe(ratio, "explained_variance_ratio", "1", "share of the whole variance"),
        describe(center, "mean", unit, "mean over all samples"),
        samples=int(mask.sum()) if mask is not None else int(np.prod(moved.shape[:-1])),
    )


def _fit(moved: xr.DataArray, mask: np.ndarray | None, data: xr.DataArray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    try:
        axes, variance, mean, count = principal_axes(moved.data, mask)
    except NotFinite:
        check(data, finite=True, gaps=True)
        raise not_finite(data) from None
    if count < 2:
        raise ValueError(
            f"{called(data)} has {count} sample along {listed(moved.dims[:-1])}; variance needs two or more"
        )
    scale = np.finfo(working_dtype(data.dtype)).eps * np.abs(mean).max(initial=0.0)
    if variance.sum() <= len(mean) * scale**2:
        raise ValueError(
            f"every {moved.dims[-1]} of {called(data)} is constant over {listed(moved.dims[:-1])}: there is "
            "no variance to decompose; give activity that varies"
        )
    return axes, variance, mean


def _count(asked: int | None, available: int, data: xr.DataArray, feature: str) -> int:
    if asked is None:
        return available
    if not 1 <= asked <= available:
        raise ValueError(
            f"n_components={asked}; {called(data)} has {available} directions along {feature!r}: ask for 1 "
            f"to {available}"
        )
    return int(asked)


def _scores(moved: xr.DataArray, components: xr.DataArray, mean: xr.DataArray, feature: str) -> xr.DataArray:
    """(..., component): numpy data block by block without a centred copy, dask data lazily."""
    if moved.chunks is not None:
        components, mean = (one.drop_vars(feature, errors="ignore") for one in (components, mean))
        scores = xr.dot(moved.astype(components.dtype) - mean, components, dim=feature)
    else:
        values = np.empty((*moved.shape[:-1], components.sizes["component"]), components.dtype)
        weights = np.ascontiguousarray(components.values.T)
        for where, block in blocks(moved.data):
            values[where] = (block - mean.values) @ weights
        scores = (
            moved.isel({feature: 0}, drop=True).expand_dims(component=components.component, axis=-1).copy(data=values)
        )
        scores = scores.drop_vars(
            [name for name in scores.coords if name != "component" and "component" in scores[name].dims]
        )
    return describe(scores, "scores", units_of(moved), "score on the component", moved)


@checked
def project(data: xr.DataArray, basis: xr.Dataset | xr.DataArray, *, feature: str = "neuron") -> xr.DataArray:
    """Compute the scores of `data` on a basis that was fitted elsewhere, for instance on other problems.

    Parameters
    ----------
    data : xarray.DataArray
        Activity (..., feature).
    basis : xarray.Dataset or xarray.DataArray
        What `pca` returned (its ``mean`` is subtracted first), or an array (component, feature) of directions,
        onto which `data` is projected as it is. Neurons are matched by their labels, in whatever order they are.
    feature : str
        The dim of the neurons.

    Returns
    -------
    xarray.DataArray
        ``scores`` (..., component) in the unit of `data`; lazy where `data` is.

    Raises
    ------
    ValueError
        A missing dim, NaN, neurons that differ between `data` and `basis` or whose labels repeat.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from ip2lab.analysis import population
    >>> data = xr.DataArray(np.random.default_rng(0).normal(size=(4, 50, 6)), dims=("problem", "time", "neuron"))
    >>> basis = population.pca(data.isel(problem=[0, 1]), n_components=3)
    >>> dict(population.project(data, basis).sizes)
    {'problem': 4, 'time': 50, 'component': 3}
    """
    moved, mask = _prepared(data, feature)
    if isinstance(basis, xr.Dataset) and not {"components", "mean"} <= set(basis.data_vars):
        raise ValueError(f"the basis has {listed(basis.data_vars)}; expected components and mean, as pca returns them")
    components = basis["components"] if isinstance(basis, xr.Dataset) else basis
    check_only(components, component="component", feature=feature)
    check_free(carried(data, feature), "component", "scores")
    components = match(data, components, feature).transpose("component", feature)
    if isinstance(basis, xr.Dataset):
        mean = match(data, basis["mean"], feature)
    else:
        mean = xr.zeros_like(components.isel(component=0, drop=True))
    scores = _scores(moved, components.astype(np.result_type(components, working_dtype(data.dtype))), mean, feature)
    if scores.chunks is None and not np.isfinite(scores.values if mask is None else scores.values[mask]).all():
        check(data, finite=True, gaps=True)
        raise not_finite(data)
    return scores


@checked
def participation_ratio(
    data: xr.DataArray, *, feature: str = "neuron", split: str | None = None, n_splits: int = 20, seed: int = 0
) -> xr.DataArray:
    r"""Participation ratio: over how many directions the variance is spread.

    .. math:: \mathrm{PR} = \frac{(\sum_k\lambda_k)^2}{\sum_k\lambda_k^2}
                          = \frac{(\mathrm{tr}\,C)^2}{\mathrm{tr}\,C^2}

    with the eigenvalues :math:`\lambda_k` of the covariance: 1 for activity along one line, the number of neurons for
    activity that is equally strong in all directions. Few samples and noise both bend it, so two values may be
    compared only as far as two halves of the same data agree: that is what `split` gives.

    Parameters
    ----------
    data : xarray.DataArray
        Activity (..., feature).
    feature : str
        The dim of the neurons.
    split : str, optional
        A dim of repeats (``"trial"``) to cut into random halves, drawn in the order of their labels, where they have
        any. Not time: neighbouring samples are alike.
    n_splits : int
        How many random cuts.
    seed : int
        Seed of the cuts.

    Returns
    -------
    xarray.DataArray
        ``participation_ratio``, a scalar (dimensions). With `split` it has two scalar coords: ``split_half``, the mean
        over halves, and ``ceiling``, the mean of the smaller over the larger of two halves (1: they agree).

    Raises
    ------
    ValueError
        A missing or empty dim, NaN, no variance, fewer than four along `split`.

    References
    ----------
    Gao et al., bioRxiv 214262 (2017), doi 10.1101/214262; Goudar et al., Nat Neurosci 26:879-890 (2023).

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from ip2lab.analysis import population
    >>> noise = np.random.default_rng(0).normal(size=(40, 500, 6))
    >>> data = xr.DataArray(noise * [1, 1, 1, 1, 0, 0], dims=("trial", "time", "neuron"))
    >>> float(population.participation_ratio(data).round(1))
    4.0
    """
    moved, mask = _prepared(data, feature)
    result = xr.DataArray(_ratio(_fit(moved, mask, data)[1]))
    if split is not None:
        check(data, gaps=True, split=split)
        result = result.assign_coords(_halves(moved, feature, split, n_splits, seed))
    return describe(result, "participation_ratio", "1", "participation ratio (number of directions)", data)


def _ratio(variance: np.ndarray) -> float:
    share = variance / variance.max()  # squares of tiny numbers would be none
    return float(share.sum() ** 2 / (share**2).sum())


def _halves(data: xr.DataArray, feature: str, split: str, n_splits: int, seed: int) -> dict[str, xr.DataArray]:
    rng = np.random.default_rng(seed)
    there = whole(data, feature) if split != feature else None
    if there is not None:
        data = data.isel({split: there.any([dim for dim in there.dims if dim != split]).values})
    n = data.sizes[split]
    if split == feature or n < 4:
        raise ValueError(
            f"split={split!r} must name a dim of 4 or more repeats other than {feature!r}; its length is {n}"
        )
    place, found = sequence(data, split), np.empty((n_splits, 2))
    for i in range(n_splits):
        order = place[rng.permutation(n)]
        for j, half in enumerate((order[: n // 2], order[n // 2 : 2 * (n // 2)])):
            part, mask = _prepared(data.isel({split: np.sort(half)}), feature)
            found[i, j] = _ratio(_fit(part, mask, part)[1])
    alike = (found.min(1) / found.max(1)).mean()
    return {
        "split_half": describe(
            xr.DataArray(found.mean()), "split_half", "1", f"participation ratio of half of {split!r}"
        ),
        "ceiling": describe(xr.DataArray(alike), "ceiling", "1", "smaller over larger of two halves"),
    }


@checked
def speed(data: xr.DataArray, *, feature: str = "neuron", time: str = "time") -> xr.Dataset:
    r"""Speed and curvature of the population's path through its space of states.

    .. math:: v = \lVert\dot x\rVert,\qquad
              \kappa = \frac{\sqrt{\lVert\dot x\rVert^2\lVert\ddot x\rVert^2-(\dot x\cdot\ddot x)^2}}
                             {\lVert\dot x\rVert^3}

    Parameters
    ----------
    data : xarray.DataArray
        (..., time, feature), with a coord on `time` in ms. Smooth it or average over trials first: the speed of noise
        is the noise. Where a coord ``recorded`` is False nothing was recorded.
    feature, time : str
        The dims of the neurons and of time.

    Returns
    -------
    xarray.Dataset
        ``speed`` (..., time) in the unit of `data` per ms, ``curvature`` (..., time) in one over the unit of `data`
        (one over the radius of the circle that touches the path there); NaN where the path rests and has no
        direction, and in gaps. Derivatives are central differences, second order at both ends of what was recorded in
        a row; stretches of fewer than three points have none.

    Raises
    ------
    ValueError
        A missing dim, no or uneven times, NaN, fewer than three times.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from ip2lab.analysis import population
    >>> angle = np.linspace(0, 2 * np.pi, 500)
    >>> circle = xr.DataArray(
    ...     2 * np.stack([np.cos(angle), np.sin(angle)]), dims=("neuron", "time"), coords={"time": np.arange(500.0)}
    ... )
    >>> path = population.speed(circle)
    >>> float(path.curvature[250].round(3)), bool(np.isclose(path.speed[250], 2 * 2 * np.pi / 499, rtol=1e-3))
    (0.5, True)
    """
    check(data, feature=feature, time=time, finite=True, gaps=True)
    check_free(carried(data, feature), "speed", "curvature")
    if data.sizes[time] < 3:
        raise ValueError(f"{called(data)} has {data.sizes[time]} points along {time!r}; curvature needs three or more")
    own = ordered(data, time)
    dt = times(own, time)[1]
    mask = whole(own, feature)
    there = xr.DataArray(np.ones(own.sizes[time], bool), dims=time) if mask is None else mask
    both = apply(_speed, own, there, over=[(time, feature), (time,)], into=[(time,), (time,)], dt=dt)
    back = np.argsort(sequence(data, time))
    velocity, curvature = (one.isel({time: back}) for one in both)
    unit = units_of(data)
    order = samples(data, feature)
    return dataset(
        data,
        describe(
            velocity.transpose(*order),
            "speed",
            "ms^-1" if unit == "1" else f"{unit} ms^-1",
            "speed of the population state",
            data,
        ),
        describe(
            curvature.transpose(*order),
            "curvature",
            "1" if unit == "1" else f"({unit})^-1",
            "curvature of the path",
            data,
        ),
    )


def _speed(values: np.ndarray, there: np.ndarray, dt: float) -> tuple[np.ndarray, np.ndarray]:
    """Speed and curvature (..., time) of paths (..., time, feature) where they are `there` (..., time)."""
    speed, curvature = np.full((2, *values.shape[:-1]), np.nan)
    there = np.broadcast_to(there, values.shape[:-1])
    for path in np.ndindex(values.shape[:-2]):  # one at a time to save memory
        edges = np.flatnonzero(np.diff(there[path].astype(int), prepend=0, append=0))
        for start, stop in edges.reshape(-1, 2):
            if stop - start > 2:
                found = _moving(values[(*path, slice(start, stop))].astype(float), dt)
                speed[(*path, slice(start, stop))], curvature[(*path, slice(start, stop))] = found
    return speed, curvature


def _moving(path: np.ndarray, dt: float) -> tuple[np.ndarray, np.ndarray]:
    """Speed and curvature (time,) along one path (time, feature)."""
    first = np.gradient(path, dt, axis=0, edge_order=2)
    second = np.gradient(first, dt, axis=0, edge_order=2)
    square = (first**2).sum(-1)
    cross = square * (second**2).sum(-1) - (first * second).sum(-1) ** 2
    undefined = np.full_like(square, np.nan)
    return np.sqrt(square), np.divide(np.sqrt(cross.clip(0)), square**1.5, out=undefined, where=square > 0)
