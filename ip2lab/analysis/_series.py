"""What a series of problems asks of populations: means of conditions, pictures laid onto another, each one's axes."""

from __future__ import annotations

import numpy as np
import xarray as xr

from ip2lab.analysis._arguments import checked
from ip2lab.analysis._labelled import check, coords_of, dataset, describe, labelled, units_of
from ip2lab.analysis._labels import called, labels_along
from ip2lab.analysis._moments import NotFinite, principal_axes


@checked
def condition_means(data: xr.DataArray, by: str = "condition", *, trial: str = "trial") -> xr.DataArray:
    """Average the trials of each condition.

    Parameters
    ----------
    data : xarray.DataArray
        (..., trial): activity; bool for spikes.
    by : str
        The coord along the trials that tells the conditions apart.
    trial : str
        The dim of the trials.

    Returns
    -------
    xarray.DataArray
        (..., trial) with one entry a condition, in the order in which they first occur; coords along the trials are
        kept where all trials of each condition share them.

    Raises
    ------
    ValueError
        A missing dim or coord, NaN among the labels.

    Examples
    --------
    >>> import xarray as xr
    >>> from ip2lab.analysis import population
    >>> data = xr.DataArray([1.0, 2.0, 3.0], dims="trial", coords={"condition": ("trial", ["go", "no-go", "go"])})
    >>> population.condition_means(data).values.tolist()
    [2.0, 2.0]
    """
    labels = labels_along(check(data, trial=trial), by, [trial], least=1).values
    _, first, codes = np.unique(labels, return_index=True, return_inverse=True)
    order = np.argsort(first)
    means = [data.isel({trial: np.flatnonzero(codes == k)}).mean(trial, keep_attrs=True) for k in order]
    whole = xr.concat([one.reset_coords(drop=True) for one in means], trial)
    kept = {
        name: (trial, coord.values[first[order]], coord.attrs)
        for name, coord in data.coords.items()
        if coord.dims == (trial,) and (coord.values == coord.values[first][codes]).all()
    }
    others = {name: coord for name, coord in data.coords.items() if trial not in coord.dims}
    whole = whole.transpose(*data.dims).assign_coords({**others, **kept})
    words = data.attrs.get("long_name", "activity")
    return describe(whole, str(data.name or "activity"), units_of(data), f"{words}, mean of each condition", data)


@checked
def procrustes(data: xr.DataArray, onto: xr.DataArray, *, feature: str = "component") -> xr.DataArray:
    r"""Rotate (and mirror) one picture of the activity so that it lies on another as well as it can.

    .. math:: \min_{Q^\top Q = 1} \lVert (X-\bar x)\,Q - (Y-\bar y)\rVert^2

    What a rotation can do to two pictures says nothing about whether the populations are alike: see `align`.

    Parameters
    ----------
    data, onto : xarray.DataArray
        (..., feature): scores, of the same size.
    feature : str
        The dim that is rotated.

    Returns
    -------
    xarray.DataArray
        `data` rotated and centred on the mean of `onto`, with the dims of `data`.

    Raises
    ------
    ValueError
        Sizes that differ, a missing dim, NaN.

    References
    ----------
    Schönemann, Psychometrika 31:1-10 (1966), doi 10.1007/BF02289451.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from ip2lab.analysis import population
    >>> path = xr.DataArray(np.random.default_rng(0).normal(size=(30, 2)), dims=("time", "component"))
    >>> turned = path @ xr.DataArray([[0.0, 1.0], [-1.0, 0.0]], dims=("component", "other"))
    >>> back = population.procrustes(turned.rename(other="component"), path)
    >>> bool(np.allclose(back, path))
    True
    """
    moved = [check(one, finite=True, feature=feature).transpose(..., feature) for one in (data, onto)]
    if moved[0].shape != moved[1].shape or moved[0].dims != moved[1].dims:
        raise ValueError(
            f"{called(data)} has {dict(moved[0].sizes)}, {called(onto)} has {dict(moved[1].sizes)}; give the same dims"
        )
    flat = [one.values.reshape(-1, one.sizes[feature]).astype(float) for one in moved]
    x, y = (rows - rows.mean(0) for rows in flat)
    left, _, right = np.linalg.svd(x.T @ y)
    turned = (x @ (left @ right) + flat[1].mean(0)).reshape(moved[0].shape)
    result = moved[0].copy(data=turned).transpose(*data.dims)
    return describe(result, "scores", units_of(data), "score, laid onto another", data)


@checked
def dimensionality(
    data: xr.DataArray, *, along: str = "problem", feature: str = "neuron", n_components: int = 3
) -> xr.Dataset:
    """Principal components and participation ratio of each problem on its own.

    Parameters
    ----------
    data : xarray.DataArray
        (along, ..., feature): activity; the other dims are samples.
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
    check(data, along=along, feature=feature)
    if not 1 <= n_components <= data.sizes[feature]:
        raise ValueError(f"n_components={n_components}; {called(data)} has {data.sizes[feature]} along {feature!r}")
    moved = data.transpose(along, ..., feature)
    found = [_axes(one.values, n_components, data) for one in moved]
    coords = coords_of(data, along, feature) | {"component": xr.DataArray(np.arange(n_components), dims="component")}
    words = {
        "components": ((along, "component", feature), "loading of the neuron on the component"),
        "explained_variance_ratio": ((along, "component"), "share of the whole variance"),
        "participation_ratio": ((along,), "participation ratio (number of directions)"),
    }
    parts = zip(words.items(), zip(*found, strict=True), strict=True)
    return dataset(data, *(labelled(np.array(v), dims, name, "1", text, coords) for (name, (dims, text)), v in parts))


def _axes(values: np.ndarray, k: int, data: xr.DataArray) -> tuple[np.ndarray, np.ndarray, float]:
    """Axes, shares of the variance and participation ratio of (..., neuron); NaN beyond what varies."""
    try:
        axes, variance, mean, _ = principal_axes(values)
    except NotFinite:
        check(data, finite=True)
        raise
    components, shares = np.full((k, values.shape[-1]), np.nan), np.full(k, np.nan)
    if variance.sum() <= len(mean) * (np.finfo(np.float32).eps * np.abs(mean).max(initial=0.0)) ** 2:
        return components, shares, np.nan
    n = min(k, int((variance > 1e-12 * variance[0]).sum()))
    components[:n], shares[:n] = axes[:n], variance[:n] / variance.sum()
    return components, shares, float(variance.sum() ** 2 / (variance**2).sum())
