"""Low-dimensional pictures of population activity, and one laid onto another."""

from __future__ import annotations

import warnings
from typing import Literal

import numpy as np
import xarray as xr

from ip2lab.analysis._arrays import dataset, describe, units_of
from ip2lab.analysis._checks import carried, check, check_free
from ip2lab.analysis._labels import called, listed, match, ordered, recorded_samples, restored
from ip2lab.checks import checked

MOST_SAMPLES = 10_000  # all three methods compare every sample with every other


@checked
def manifold(
    data: xr.DataArray,
    *,
    method: Literal["isomap", "spectral", "tsne"] = "isomap",
    n_components: int = 2,
    n_neighbors: int = 15,
    feature: str = "neuron",
    seed: int = 0,
) -> xr.Dataset:
    """A curved picture of the activity: Isomap, spectral embedding or t-SNE, with how far it may be trusted.

    Parameters
    ----------
    data : xarray.DataArray
        (..., feature): activity; every dim but `feature` is a sample, 10,000 at most. Samples that a coord
        ``recorded`` says were not recorded take no part; their positions are NaN.
    method : {"isomap", "spectral", "tsne"}
        Isomap keeps distances along the manifold, spectral embedding its neighbourhoods, t-SNE clusters; distances
        between clusters of t-SNE mean nothing.
    n_components : int
        Dimensions of the picture.
    n_neighbors : int
        Neighbours of a sample in the graph; for t-SNE the perplexity.
    feature : str
        The dim of the neurons.
    seed : int
        Seed of spectral embedding and t-SNE.

    Returns
    -------
    xarray.Dataset
        ``embedding`` (..., component), without unit, and ``trustworthiness``, a scalar: 1 where every neighbour in the
        picture is one in the data, about 0.5 for a picture drawn at random.

    Raises
    ------
    ValueError
        An unknown method, too many or too few samples, a neighbourhood graph that falls apart, NaN, a missing dim.

    References
    ----------
    Tenenbaum, de Silva and Langford, Science 290:2319 (2000); Belkin and Niyogi, Neural Comput 15:1373 (2003); van der
    Maaten and Hinton, JMLR 9:2579 (2008); Venna and Kaski, ICANN 485 (2001) for trustworthiness. By scikit-learn.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from ip2lab.analysis import population
    >>> angle = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    >>> ring = xr.DataArray(np.stack([np.cos(angle), np.sin(angle), 0 * angle]), dims=("neuron", "time"))
    >>> found = population.manifold(ring)
    >>> dict(found.embedding.sizes), bool(found.trustworthiness > 0.99)
    ({'time': 200, 'component': 2}, True)
    """
    check(data, feature=feature, finite=True, gaps=True)
    check_free(carried(data, feature), "component", "embedding", "trustworthiness")
    moved = ordered(data, *map(str, data.dims)).transpose(..., feature)
    rows = moved.values.reshape(-1, data.sizes[feature]).astype(float)
    there = recorded_samples(moved, feature).values.ravel()
    rows = rows[there]
    if (rows == rows[0]).all():
        raise ValueError(f"{called(data)} is constant: there is no shape to picture; give activity that varies")
    least = max(n_neighbors + 2, n_components + 2)
    if not least <= len(rows) <= MOST_SAMPLES:
        raise ValueError(
            f"{called(data)} has {len(rows)} samples along {listed(moved.dims[:-1])}; {method} with "
            f"n_neighbors={n_neighbors} "
            f"needs {least} to {MOST_SAMPLES}: thin them, for instance with .isel({moved.dims[0]}=slice(None, None, 5))"
        )
    embedding = np.full((len(there), n_components), np.nan)
    embedding[there], trust = _embedded(rows, method, n_components, n_neighbors, seed)
    shaped = moved.isel({feature: 0}, drop=True).expand_dims(component=np.arange(n_components), axis=-1)
    shaped = shaped.copy(data=embedding.reshape(shaped.shape)).drop_attrs(deep=False)
    return dataset(
        data,
        describe(restored(shaped, data, *map(str, data.dims)), "embedding", "1", f"position in the picture ({method})"),
        describe(
            xr.DataArray(trust), "trustworthiness", "1", f"trustworthiness of the picture ({n_neighbors} neighbours)"
        ),
        method=method,
    )


def _embedded(
    rows: np.ndarray, method: str, n_components: int, n_neighbors: int, seed: int
) -> tuple[np.ndarray, float]:
    """Embedding (sample, component) of `rows` (sample, feature) and its trustworthiness."""
    from sklearn import manifold as learn

    makers = {
        "isomap": lambda: learn.Isomap(n_neighbors=n_neighbors, n_components=n_components),
        "spectral": lambda: learn.SpectralEmbedding(
            n_components, n_neighbors=n_neighbors, affinity="nearest_neighbors", random_state=seed
        ),
        "tsne": lambda: learn.TSNE(n_components, perplexity=n_neighbors, random_state=seed, init="pca"),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        try:
            embedding = makers[method]().fit_transform(rows)
        except UserWarning as warning:
            raise ValueError(
                f"the graph of {n_neighbors} neighbours falls apart ({str(warning).splitlines()[0]}); raise n_neighbors"
            ) from None
    return embedding, float(learn.trustworthiness(rows, embedding, n_neighbors=min(n_neighbors, (len(rows) - 1) // 2)))


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
    own, other = (recorded_samples(one, feature).values.ravel() for one in (moved, fixed))
    both = own & other
    if not both.any():
        raise ValueError(f"no sample was recorded in both {called(data)} and {called(onto)}; give some that were")
    rows, onto_rows = (one.values.reshape(-1, one.sizes[feature]).astype(float) for one in (moved, fixed))
    turned = _rotated(rows, onto_rows, both)
    turned[~own] = np.nan
    result = moved.copy(data=turned.reshape(moved.shape)).transpose(*data.dims)
    return describe(result, "scores", units_of(data), "score, laid onto another", data)


def _rotated(rows: np.ndarray, onto: np.ndarray, where: np.ndarray) -> np.ndarray:
    """`rows` (sample, feature) rotated and centred so that they lie on `onto` in the samples `where`."""
    center, target = rows[where].mean(0), onto[where].mean(0)
    left, _, right = np.linalg.svd((rows[where] - center).T @ (onto[where] - target))
    return (rows - center) @ (left @ right) + target
