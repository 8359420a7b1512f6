"""The shape of population activity: low-dimensional pictures of it, and whether two shapes are the same."""

from __future__ import annotations

import warnings
from typing import Literal

import numpy as np
import xarray as xr

from ip2lab.analysis._arguments import checked
from ip2lab.analysis._labelled import check, check_only, dataset, describe, labelled
from ip2lab.analysis._labels import called, listed

MOST_SAMPLES = 10_000  # all three methods compare every sample with every other
METHODS = ("isomap", "spectral", "tsne")


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
        (..., feature): activity; every dim but `feature` is a sample, 10,000 at most.
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
    if method not in METHODS:
        raise ValueError(f"method={method!r}; choose one of {listed(METHODS)}")
    check(data, feature=feature, finite=True)
    moved = data.transpose(..., feature)
    rows = moved.values.reshape(-1, data.sizes[feature]).astype(float)
    least = max(n_neighbors + 2, n_components + 2)
    if not least <= len(rows) <= MOST_SAMPLES:
        raise ValueError(
            f"{called(data)} has {len(rows)} samples along {listed(moved.dims[:-1])}; {method} with "
            f"n_neighbors={n_neighbors} "
            f"needs {least} to {MOST_SAMPLES}: thin them, for instance with .isel({moved.dims[0]}=slice(None, None, 5))"
        )
    embedding, trust = _embedded(rows, method, n_components, n_neighbors, seed)
    shaped = moved.isel({feature: 0}, drop=True).expand_dims(component=np.arange(n_components), axis=-1)
    shaped = shaped.copy(data=embedding.reshape(shaped.shape)).drop_attrs(deep=False)
    return dataset(
        data,
        describe(shaped, "embedding", "1", f"position in the picture ({method})"),
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
def align(
    first: xr.DataArray,
    second: xr.DataArray,
    *,
    feature: str = "neuron",
    condition: str = "condition",
    time: str = "time",
    splits: int = 20,
    permutations: int = 100,
    seed: int = 0,
) -> xr.Dataset:
    r"""Compare how two populations move: as they are, and up to a rotation.

    First without any alignment: the share of the second that the first explains as it is (scaled), and linear centred
    kernel alignment, which no rotation changes. Then a rotation is fitted on a random half of the conditions
    (Procrustes) and scored on the others,

    .. math:: R^2 = 1 - \frac{\lVert Y_\mathrm{test} - s\,X_\mathrm{test}Q\rVert^2}{\lVert Y_\mathrm{test}\rVert^2}

    against the same with the time course of the first turned round by a random lag in each condition. A rotation has
    many free angles; only what it does on conditions it has not seen counts.

    Parameters
    ----------
    first, second : xarray.DataArray
        (condition, time, feature): mean activity, with as many conditions, times and features in both. For different
        neurons give scores on as many principal components, ``feature="component"``.
    feature, condition, time : str
        The dims.
    splits, permutations : int
        Number of random halves, and of time-shuffled data sets.
    seed : int
        Seed of both.

    Returns
    -------
    xarray.Dataset
        Scalars: ``unaligned`` (share explained without rotation), ``cka``, ``aligned`` (share explained by the rotation
        on held-out conditions), ``null_mean`` and ``null_upper`` (the 95% quantile) of `aligned` after time shuffling,
        ``p_value``.

    Raises
    ------
    ValueError
        Sizes that differ, fewer than two conditions, constant data, NaN, a missing dim.

    References
    ----------
    Schönemann, Psychometrika 31:1-10 (1966); Kornblith et al., ICML (2019) for centred kernel alignment.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from ip2lab.analysis import population
    >>> rng = np.random.default_rng(0)
    >>> values = np.cumsum(rng.normal(size=(8, 50, 4)), axis=1)
    >>> turned = values @ np.linalg.qr(rng.normal(size=(4, 4)))[0]
    >>> one, other = (xr.DataArray(v, dims=("condition", "time", "neuron")) for v in (values, turned))
    >>> found = population.align(one, other)
    >>> float(found.aligned.round(3)), bool(found.unaligned < 0.9), bool(found.p_value < 0.05)
    (1.0, True, True)
    """
    x, y = (
        check_only(data, feature=feature, condition=condition, time=time)
        .transpose(condition, time, feature)
        .values.astype(float)
        for data in (first, second)
    )
    _comparable(x, y, f"{condition}, {time}, {feature}")
    rng = np.random.default_rng(seed)
    halves = [rng.permutation(len(x)) for _ in range(splits)]
    aligned = _held_out(x, y, halves)
    null = np.array([_held_out(_time_shuffled(x, rng), y, halves) for _ in range(permutations)])
    parts = {
        "unaligned": (_explained(x, y), "share explained without rotation"),
        "cka": (_cka(x, y), "linear centred kernel alignment"),
        "aligned": (aligned, "share explained by a rotation on held-out conditions"),
        "null_mean": (null.mean(), "mean of the same after time shuffling"),
        "null_upper": (np.quantile(null, 0.95), "95% quantile after time shuffling"),
        "p_value": ((1 + (null >= aligned).sum()) / (1 + permutations), "p-value against time shuffling"),
    }
    return dataset(first, *(labelled(float(v), (), name, "1", words) for name, (v, words) in parts.items()))


def _comparable(x: np.ndarray, y: np.ndarray, dims: str) -> None:
    if x.shape != y.shape:
        raise ValueError(
            f"the sizes differ: {x.shape} and {y.shape} ({dims}); select the same conditions and times, and "
            f"project both on as many components (population.pca)"
        )
    if len(x) < 2:
        raise ValueError(
            f"the shape is {x.shape} ({dims}); a rotation is fitted on some conditions and scored on others: "
            f"give two or more"
        )
    if min(np.ptp(x), np.ptp(y)) == 0:
        raise ValueError("one of the two is constant: there is no shape to compare; give activity that varies")


def _flat(values: np.ndarray) -> np.ndarray:
    rows = values.reshape(-1, values.shape[-1])
    return rows - rows.mean(0)


def _explained(x: np.ndarray, y: np.ndarray) -> float:
    a, b = _flat(x), _flat(y)
    return float((a * b).sum() ** 2 / ((a**2).sum() * (b**2).sum())) * float(np.sign((a * b).sum()))


def _cka(x: np.ndarray, y: np.ndarray) -> float:
    a, b = _flat(x), _flat(y)
    return float(((a.T @ b) ** 2).sum() / np.sqrt(((a.T @ a) ** 2).sum() * ((b.T @ b) ** 2).sum()))


def _held_out(x: np.ndarray, y: np.ndarray, halves: list[np.ndarray]) -> float:
    """Mean over `halves` of the share of held-out conditions that the rotation of the others explains."""
    shares = []
    for order in halves:
        fit, test = order[: len(order) // 2], order[len(order) // 2 :]
        centers = [values[fit].mean((0, 1)) for values in (x, y)]
        a, b = ((values[fit] - c).reshape(-1, values.shape[-1]) for values, c in zip((x, y), centers, strict=True))
        left, sizes, right = np.linalg.svd(a.T @ b)
        scale = sizes.sum() / max((a**2).sum(), 1e-300)
        rest = (y[test] - centers[1]) - scale * (x[test] - centers[0]) @ left @ right
        shares.append(1 - (rest**2).sum() / max(((y[test] - centers[1]) ** 2).sum(), 1e-300))
    return float(np.mean(shares))


def _time_shuffled(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each condition of (condition, time, feature) turned round in time by a lag of its own: smooth as it was."""
    return np.stack([np.roll(one, rng.integers(1, max(len(one), 2)), axis=0) for one in values])
