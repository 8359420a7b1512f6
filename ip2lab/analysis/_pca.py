"""Principal components of samples that may be larger than memory, and over how many directions the variance spreads.

The samples are gone through once, block by block. Each block is centred on its own mean and multiplied with itself in
the data's own precision; the blocks are then joined in float64 by Chan, Golub and LeVeque's (1983) formula for the
moments of a union, which keeps what float32 would cancel where means are far larger than standard deviations.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from ip2lab.analysis._arrays import coords_of, dataset, describe, labelled, units_of
from ip2lab.analysis._blocks import BLOCK, blocks
from ip2lab.analysis._checks import (
    carried,
    check,
    check_components,
    check_different,
    check_free,
    check_length,
    check_only,
    not_finite,
)
from ip2lab.analysis._labels import called, listed, match, recorded_samples, sequence
from ip2lab.checks import checked

PCA = ("scores", "components", "explained_variance", "explained_variance_ratio", "mean")


def _prepared(data: xr.DataArray, feature: str) -> tuple[xr.DataArray, np.ndarray | None]:
    """`data` with `feature` last (a view), and which samples were recorded, if padding is marked."""
    check(data, feature=feature, gaps=True)
    if data.ndim == 1:
        raise ValueError(
            f"{called(data)} has no dim but {feature!r}; give samples along another dim (time, trial, ...), two or more"
        )
    moved = data.transpose(..., feature)
    mask = recorded_samples(moved, feature)
    return moved, None if bool(mask.all()) else mask.values


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
    k = len(variance) if n_components is None else n_components
    check_components(k, len(variance), data, feature)
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
    components, mean = _of_basis(basis)
    check_only(components, component="component", feature=feature)
    check_free(carried(data, feature), "component", "scores")
    components = match(data, components, feature).transpose("component", feature)
    mean = match(data, mean, feature)
    scores = _scores(moved, components.astype(np.result_type(components, working_dtype(data.dtype))), mean, feature)
    if scores.chunks is None and not np.isfinite(scores.values if mask is None else scores.values[mask]).all():
        check(data, finite=True, gaps=True)
        raise not_finite(data)
    return scores


def _of_basis(basis: xr.Dataset | xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Components, and the mean that is subtracted first."""
    if not isinstance(basis, xr.Dataset):
        return basis, xr.zeros_like(check(basis, component="component").isel(component=0, drop=True))
    if not {"components", "mean"} <= set(basis.data_vars):
        raise ValueError(f"the basis has {listed(basis.data_vars)}; expected components and mean, as pca returns them")
    return basis["components"], basis["mean"]


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
    check_different(split=split, feature=feature)
    there = recorded_samples(data, feature)
    data = data.isel({split: there.any([dim for dim in there.dims if dim != split]).values})
    check_length(data, split, 4, "a comparison of halves")
    n, place, found = data.sizes[split], sequence(data, split), np.empty((n_splits, 2))
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
def dimensionality(
    data: xr.DataArray, *, along: str = "problem", feature: str = "neuron", n_components: int = 3
) -> xr.Dataset:
    """Principal components and participation ratio of each problem on its own.

    Parameters
    ----------
    data : xarray.DataArray
        (along, ..., feature): activity; the other dims are samples. What a coord ``recorded`` says was not recorded
        is left out.
    along, feature : str
        The dims of problems and of neurons.
    n_components : int
        How many components to return.

    Returns
    -------
    xarray.Dataset
        ``components`` (along, component, feature), ``explained_variance_ratio`` (along, component) and
        ``participation_ratio`` (along), as `pca` and `participation_ratio` give them; NaN where a problem's activity
        does not vary in that many directions.

    Raises
    ------
    ValueError
        A missing dim, NaN, more components than neurons.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from ip2lab.analysis import population
    >>> noise = np.random.default_rng(0).normal(size=(2, 1000, 6))
    >>> noise[1, :, 2:] = 0
    >>> data = xr.DataArray(noise, dims=("problem", "time", "neuron"))
    >>> population.dimensionality(data).participation_ratio.values.round().tolist()
    [6.0, 2.0]
    """
    check(data, gaps=True, along=along, feature=feature)
    check_free((along, feature), "component", "components", "explained_variance_ratio", "participation_ratio")
    check_components(n_components, data.sizes[feature], data, feature)
    moved = data.transpose(along, ..., feature)
    mask = recorded_samples(moved, feature)
    found = [_axes(one.values, there.values, n_components, data) for one, there in zip(moved, mask, strict=True)]
    coords = coords_of(data, along, feature) | {"component": xr.DataArray(np.arange(n_components), dims="component")}
    words = {
        "components": ((along, "component", feature), "loading of the neuron on the component"),
        "explained_variance_ratio": ((along, "component"), "share of the whole variance"),
        "participation_ratio": ((along,), "participation ratio (number of directions)"),
    }
    parts = zip(words.items(), zip(*found, strict=True), strict=True)
    return dataset(data, *(labelled(np.array(v), dims, name, "1", text, coords) for (name, (dims, text)), v in parts))


def _axes(values: np.ndarray, there: np.ndarray, k: int, data: xr.DataArray) -> tuple[np.ndarray, np.ndarray, float]:
    """Axes, shares of the variance and participation ratio of (..., neuron) where `there`; NaN beyond what varies."""
    components, shares = np.full((k, values.shape[-1]), np.nan), np.full(k, np.nan)
    if not there.any():
        return components, shares, np.nan
    try:
        axes, variance, mean, _ = principal_axes(values, there)
    except NotFinite:
        check(data, finite=True, gaps=True)
        raise
    if variance.sum() <= len(mean) * (np.finfo(np.float32).eps * np.abs(mean).max(initial=0.0)) ** 2:
        return components, shares, np.nan
    n = min(k, int((variance > 1e-12 * variance[0]).sum()))
    components[:n], shares[:n] = axes[:n], variance[:n] / variance.sum()
    return components, shares, float(variance.sum() ** 2 / (variance**2).sum())


class Moments(NamedTuple):
    """What `moments` returns."""

    n: int
    mean: np.ndarray  # (feature,) float64
    scatter: np.ndarray  # (feature, feature) float64: sum over samples of the outer products around the mean


class NotFinite(ArithmeticError):
    """A sum that came out NaN or infinite."""


def working_dtype(dtype: np.dtype) -> np.dtype:
    """The floating dtype in which data of `dtype` are worked on: float32 stays float32, spikes become float32."""
    return np.result_type(dtype, np.float32)


def moments(array: Any, mask: np.ndarray | None = None, *, center: bool = True) -> Moments:
    """Moments of `array` (samples..., feature) over the samples where `mask` (samples...) is true."""
    dtype = working_dtype(array.dtype)
    count, mean = 0, np.zeros(array.shape[-1])
    scatter = np.zeros((mean.size, mean.size))
    buffer = np.empty((BLOCK, mean.size), dtype)
    for slices, block in blocks(array):
        rows = block[mask[slices]] if mask is not None else block.reshape(-1, mean.size)
        if not len(rows):
            continue
        rows = rows.astype(dtype, copy=False)
        total = count + len(rows)
        if center:
            # around the mean so far, rounded: what is left of a block's own mean is small, and exact
            ones = np.ones(len(rows), dtype)
            about = mean.astype(dtype) if count else ones @ rows / len(rows)
            rows = np.subtract(rows, about, out=buffer[: len(rows)] if len(rows) <= len(buffer) else None)
            rest = (ones @ rows).astype(float) / len(rows)
            shift = about.astype(float) + rest - mean
            scatter -= np.multiply.outer(rest, rest) * len(rows)
            scatter += np.multiply.outer(shift, shift) * (count * len(rows) / total)
            mean += shift * (len(rows) / total)
        scatter += rows.T @ rows
        count = total
    if not np.isfinite(scatter).all():
        raise NotFinite
    return Moments(count, mean, scatter)


def principal_axes(
    array: Any, mask: np.ndarray | None = None, *, center: bool = True
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Axes (component, feature) by falling variance, variances (component,), mean (feature,) and number of samples.

    With fewer samples than features the eigenvectors are those of the samples' inner products, which is the smaller
    matrix; the directions without variance are then left out.
    """
    count = int(np.prod(array.shape[:-1])) if mask is None else int(mask.sum())
    if count > array.shape[-1]:
        count, mean, scatter = moments(array, mask, center=center)
        power, vectors = np.linalg.eigh(scatter)
        axes, power = vectors.T[::-1], power[::-1].clip(0)
    else:
        rows = np.asarray(array)
        rows = rows[mask] if mask is not None else rows.reshape(-1, rows.shape[-1])
        rows = rows.astype(float)  # few samples: a small array
        mean = rows.mean(0) if center else np.zeros(rows.shape[1])
        rows = rows - mean
        if not np.isfinite(rows).all():
            raise NotFinite
        power, vectors = np.linalg.eigh(rows @ rows.T)
        kept = power > max(power[-1], 0) * count * np.finfo(float).eps
        power, vectors = power[kept][::-1], vectors[:, kept][:, ::-1]
        axes = (vectors / np.sqrt(power)).T @ rows
    largest = np.abs(axes).argmax(-1)[:, None]
    axes = axes * np.sign(np.take_along_axis(axes, largest, -1))  # a fixed sign: the largest loading is positive
    return axes, power / max(count - center, 1), mean, count
