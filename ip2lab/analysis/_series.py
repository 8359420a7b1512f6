"""What a series of problems asks of populations: means of conditions, pictures laid onto another, each one's axes."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from ip2lab.analysis._arguments import checked
from ip2lab.analysis._labelled import check, coords_of, dataset, describe, labelled, units_of
from ip2lab.analysis._labels import RECORDED, bare, called, check_free, labels_along, levels, match, recorded, whole
from ip2lab.analysis._moments import NotFinite, principal_axes


@checked
def condition_means(data: xr.DataArray, by: str | xr.DataArray = "condition", *, trial: str = "trial") -> xr.DataArray:
    """Average the trials of each condition.

    Parameters
    ----------
    data : xarray.DataArray
        (..., trial): activity; bool for spikes. Where a coord ``recorded`` is False nothing was recorded: each mean is
        over the trials recorded there.
    by : str or xarray.DataArray
        What tells the conditions apart: a coord along the trials, or an array (trial), matched by the labels of the
        trials.
    trial : str
        The dim of the trials.

    Returns
    -------
    xarray.DataArray
        (..., trial) with one entry per condition, labelled by it along `trial`, so that two sessions can be matched.
        Numbers are in order of size and text in that of the alphabet, whatever the order of the trials. Coords along
        the trials are kept where all trials of each condition share them. Of data with gaps ``recorded`` says where
        there is a mean, and ``trials`` over how many trials.

    Raises
    ------
    ValueError
        A missing dim or coord, NaN, missing labels, labels of trials that differ or repeat.

    Examples
    --------
    >>> import xarray as xr
    >>> from ip2lab.analysis import population
    >>> data = xr.DataArray([1.0, 2.0, 3.0], dims="trial", coords={"condition": ("trial", ["go", "no-go", "go"])})
    >>> population.condition_means(data).values.tolist()
    [2.0, 2.0]
    """
    check(data, finite=True, gaps=True, trial=trial)
    labels = labels_along(data, by, [trial], least=1)
    found, codes = levels(labels.values)
    first = np.array([np.flatnonzero(codes == k)[0] for k in range(len(found))])
    mask = recorded(data)
    values = bare(data.astype(float) if data.dtype.kind in "bui" else data)
    values = values if mask is None else values.where(bare(mask))
    kept: dict[Any, Any] = {
        name: (trial, coord.values[first], coord.attrs)
        for name, coord in data.coords.items()
        if coord.dims == (trial,) and name != trial and (coord.values == coord.values[first][codes]).all()
    }
    if isinstance(labels.name, str) and labels.name not in (trial, *data.coords):
        kept[labels.name] = (trial, found, labels.attrs)
    if mask is not None and trial in mask.dims:
        check_free(data.coords, "trials")
        number = _by_code(bare(mask), codes, trial, "sum")
        kept |= {RECORDED: number > 0, "trials": number.assign_attrs(units="1", long_name="number of trials")}
    others = {name: coord for name, coord in data.coords.items() if trial not in coord.dims}
    means = _by_code(values, codes, trial, "mean").assign_coords(
        {**others, trial: (trial, found, labels.attrs), **kept}
    )
    words = data.attrs.get("long_name", "activity")
    return describe(means, str(data.name or "activity"), units_of(data), f"{words}, mean of each condition", data)


def _by_code(values: xr.DataArray, codes: np.ndarray, trial: str, how: str) -> xr.DataArray:
    """Sum or mean of the trials with each code, in the order of the codes."""
    parts = (values.isel({trial: np.flatnonzero(codes == k)}) for k in range(codes.max() + 1))
    return xr.concat([getattr(part, how)(trial) for part in parts], trial).transpose(*values.dims)


@checked
def procrustes(data: xr.DataArray, onto: xr.DataArray, *, feature: str = "component") -> xr.DataArray:
    r"""Rotate (and mirror) one picture of the activity so that it lies on another as well as it can.

    .. math:: \min_{Q^\top Q = 1} \lVert (X-\bar x)\,Q - (Y-\bar y)\rVert^2

    What a rotation can do to two pictures says nothing about whether the populations are alike: see `align`.

    Parameters
    ----------
    data, onto : xarray.DataArray
        (..., feature): scores, of the same size, matched by the labels of all dims that have any. What a coord
        ``recorded`` says was not recorded takes no part, and is NaN in the result.
    feature : str
        The dim that is rotated.

    Returns
    -------
    xarray.DataArray
        `data` rotated and centred on the mean of `onto`, with the dims of `data`.

    Raises
    ------
    ValueError
        Sizes or labels that differ, a missing dim, NaN.

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
    for one in (data, onto):
        check(one, finite=True, gaps=True, feature=feature)
    if set(data.dims) != set(onto.dims):
        raise ValueError(
            f"{called(data)} has {dict(data.sizes)}, {called(onto)} has {dict(onto.sizes)}; give the same dims"
        )
    moved = data.transpose(..., feature)
    fixed = match(data, onto).transpose(*moved.dims)
    own, other = (_recorded_rows(one, feature) for one in (moved, fixed))
    both = own & other
    if not both.any():
        raise ValueError(f"no sample was recorded in both {called(data)} and {called(onto)}; give some that were")
    flat = [one.values.reshape(-1, one.sizes[feature]).astype(float) for one in (moved, fixed)]
    centers = [rows[both].mean(0) for rows in flat]
    x, y = (rows[both] - center for rows, center in zip(flat, centers, strict=True))
    left, _, right = np.linalg.svd(x.T @ y)
    turned = (flat[0] - centers[0]) @ (left @ right) + centers[1]
    turned[~own] = np.nan
    result = moved.copy(data=turned.reshape(moved.shape)).transpose(*data.dims)
    return describe(result, "scores", units_of(data), "score, laid onto another", data)


def _recorded_rows(moved: xr.DataArray, feature: str) -> np.ndarray:
    """Which samples (sample,) of `running_mean` (..., feature) were recorded."""
    mask = whole(moved, feature)
    return np.ones(moved.size // moved.sizes[feature], bool) if mask is None else mask.values.ravel()


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
    if not 1 <= n_components <= data.sizes[feature]:
        raise ValueError(f"n_components={n_components}; {called(data)} has {data.sizes[feature]} along {feature!r}")
    moved = data.transpose(along, ..., feature)
    mask = whole(moved, feature)
    masks = [None if mask is None else one.values for one in (moved if mask is None else mask)]
    found = [_axes(one.values, there, n_components, data) for one, there in zip(moved, masks, strict=True)]
    coords = coords_of(data, along, feature) | {"component": xr.DataArray(np.arange(n_components), dims="component")}
    words = {
        "components": ((along, "component", feature), "loading of the neuron on the component"),
        "explained_variance_ratio": ((along, "component"), "share of the whole variance"),
        "participation_ratio": ((along,), "participation ratio (number of directions)"),
    }
    parts = zip(words.items(), zip(*found, strict=True), strict=True)
    return dataset(data, *(labelled(np.array(v), dims, name, "1", text, coords) for (name, (dims, text)), v in parts))


def _axes(
    values: np.ndarray, there: np.ndarray | None, k: int, data: xr.DataArray
) -> tuple[np.ndarray, np.ndarray, float]:
    """Axes, shares of the variance and participation ratio of (..., neuron) where `there`; NaN beyond what varies."""
    components, shares = np.full((k, values.shape[-1]), np.nan), np.full(k, np.nan)
    if there is not None and not there.any():
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
