"""Communities of neurons, whether they are more than chance, and how long they last."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import xarray as xr

from ip2lab.analysis._arrays import apply, dataset, describe, free, without
from ip2lab.analysis._checks import check, check_length, check_rising
from ip2lab.analysis._labels import match, sequence
from ip2lab.analysis._weights import square
from ip2lab.checks import checked

_C_DRAWS = threading.Lock()  # C has one generator for all threads
TOLERANCE = 1e-7  # gain in modularity below which an optimisation stops: that of weak communities is small


def _sorted(weights: xr.DataArray, neuron: str, presynaptic: str) -> tuple[xr.DataArray, np.ndarray]:
    """Square weights with both dims in the order of their labels, in which random draws are made, and that order.

    The labels themselves are left out.
    """
    order = sequence(weights, neuron if neuron in weights.indexes else presynaptic)
    bare = without(weights, neuron, presynaptic)
    return bare.isel({neuron: order, presynaptic: order}), order


def _graph(matrix: np.ndarray) -> np.ndarray:
    """Undirected strengths (neuron, neuron) of a weight matrix, without self-connections."""
    strength = np.abs(matrix) / 2
    strength = strength + strength.T
    np.fill_diagonal(strength, 0)
    if not strength.any():
        raise ValueError("the weight matrix is zero off its diagonal: there is no graph to find communities in")
    return np.ldexp(strength, -int(np.frexp(strength.max())[1]))  # exact; sums of huge or tiny weights leave a float


def _partitions(graph: np.ndarray, resolution: float, method: str, runs: int, rng: np.random.Generator) -> np.ndarray:
    """Communities (run, neuron) that `runs` optimisations of modularity find, each from an order of its own."""
    from scipy.sparse import csr_matrix
    from sknetwork.clustering import Leiden, Louvain

    maker = {"leiden": Leiden, "louvain": Louvain}[method]
    settings = {
        "modularity": "newman",
        "tol_optimization": TOLERANCE,
        "tol_aggregation": TOLERANCE,
        "return_probs": False,
    }
    sparse = csr_matrix(graph)
    found = []
    for seed in rng.integers(2**31, size=runs).tolist():
        with _C_DRAWS:
            # the refinement of Leiden draws from C's rand(), which random_state does not reach
            ctypes.CDLL("ucrtbase" if os.name == "nt" else None).srand(seed)
            optimiser = maker(resolution, shuffle_nodes=True, random_state=seed, **settings)
            found.append(optimiser.fit_predict(sparse))
    return np.stack(found)


def quality(graph: np.ndarray, labels: np.ndarray, resolution: float = 1.0) -> float:
    """Newman's modularity of a partition (neuron,) of an undirected graph (neuron, neuron)."""
    strength, total = graph.sum(0), graph.sum()
    same = labels[:, None] == labels[None, :]
    return float(((graph / total) - resolution * np.multiply.outer(strength, strength) / total**2)[same].sum())


def _agreement(partitions: np.ndarray) -> np.ndarray:
    """How often two neurons (neuron, neuron) are in one community over `partitions` (run, neuron)."""
    return (partitions[:, :, None] == partitions[:, None, :]).mean(0)


def _consensus(partitions: np.ndarray, method: str, rng: np.random.Generator) -> np.ndarray:
    """One partition (neuron,) for many: communities of what agrees more than by chance, until all runs agree."""
    for _ in range(10):
        if (partitions == partitions[0]).all():
            break
        sizes = [np.bincount(p) / p.size for p in partitions]
        expected = float(np.mean([(share**2).sum() for share in sizes]))
        graph = (_agreement(partitions) - expected).clip(0)
        np.fill_diagonal(graph, 0)
        if not graph.any():
            return np.arange(partitions.shape[1])  # nothing agrees: every neuron on its own
        partitions = _partitions(graph, 1.0, method, len(partitions), rng)
    return _ordered(partitions[0])


def _ordered(labels: np.ndarray) -> np.ndarray:
    """Communities numbered by falling size."""
    _, codes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    rank = np.empty(len(sizes), int)
    rank[np.argsort(-sizes, kind="stable")] = np.arange(len(sizes))
    return rank[codes]


def _similarity(one: np.ndarray, other: np.ndarray) -> float:
    from sklearn.metrics import adjusted_mutual_info_score

    return float(adjusted_mutual_info_score(one, other))


@checked
def communities(
    weights: xr.DataArray,
    *,
    neuron: str = "neuron",
    presynaptic: str = "presynaptic",
    method: Literal["leiden", "louvain"] = "leiden",
    resolution: float | Sequence[float] = 1.0,
    runs: int = 100,
    seed: int = 0,
) -> xr.Dataset:
    r"""Find communities of neurons that are strongly connected among themselves, by consensus of many runs.

    .. math:: Q = \frac1{2m}\sum_{ij}\Bigl(A_{ij}-\gamma\frac{k_ik_j}{2m}\Bigr)\delta(c_i,c_j),\qquad
              A = \tfrac12(\lvert W\rvert+\lvert W\rvert^\top)

    Runs differ because modularity has many nearly equal maxima. What the runs agree on beyond chance is clustered
    again until all agree; how well they agreed at first is `consistency`. Any matrix has a partition with positive
    Q, random ones too: see `modularity`.

    Parameters
    ----------
    weights : xarray.DataArray
        (..., neuron, presynaptic): recurrent weights; every matrix along other dims is done on its own. Where both dims
        have labels, these say which row and which column are of one neuron.
    neuron, presynaptic : str
        The dims.
    method : {"leiden", "louvain"}
        The optimisation.
    resolution : float or sequence of float
        The resolution :math:`\gamma`, larger for more communities; several for a sweep, along a new dim.
    runs : int
        Number of runs.
    seed : int
        Seed of the runs.

    Returns
    -------
    xarray.Dataset
        ``community`` (..., neuron), numbers from 0 by falling size; ``modularity`` (...) of the consensus;
        ``n_communities`` (...); ``consistency`` (...), the mean adjusted mutual information of two runs;
        ``agreement`` (..., neuron, presynaptic), the share of runs that put two neurons together, both dims labelled
        and in the order of `neuron`. With several resolutions all have a dim ``resolution``.

    Raises
    ------
    ValueError
        A matrix that is not square or zero, dims whose labels differ, NaN, a missing dim, an unknown method, fewer than
        two runs.

    References
    ----------
    Traag, Waltman and van Eck, Sci Rep 9:5233 (2019); Blondel et al., J Stat Mech P10008 (2008); Lancichinetti and
    Fortunato, Sci Rep 2:336 (2012).

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from ip2lab.analysis import connectivity
    >>> group = np.repeat([0, 1], 10)
    >>> strength = np.where(group[:, None] == group, 1.0, 0.2)
    >>> values = strength * np.random.default_rng(0).normal(size=(20, 20))
    >>> weights = xr.DataArray(values, dims=("neuron", "presynaptic"))
    >>> found = connectivity.communities(weights, runs=20)
    >>> int(found.n_communities), len(set(found.community.values[:10])), len(set(found.community.values[10:]))
    (2, 1, 1)
    """
    weights = square(weights, neuron, presynaptic)
    gamma = np.asarray(resolution, dtype=float)
    if gamma.ndim > 1 or not gamma.size or not (gamma > 0).all():
        raise ValueError(f"resolution: {resolution!r} is not valid; give a positive number or several")
    sweep = xr.DataArray(gamma, dims=["resolution"] * gamma.ndim)
    sweep = sweep.assign_coords(resolution=sweep) if gamma.ndim else sweep
    bare, order = _sorted(free(weights, "_row", "_column", *["resolution"] * gamma.ndim), neuron, presynaptic)
    bare = bare.rename({neuron: "_row", presynaptic: "_column"})
    over: list[tuple[str, ...]] = [("_row", "_column"), ()]
    into: list[tuple[str, ...]] = [(neuron,), (), (), (), (neuron, presynaptic)]
    parts = apply(_communities, bare, sweep, over=over, into=into, loop=True, method=method, runs=runs, seed=seed)
    back = np.argsort(order)
    result = dataset(
        weights,
        describe(parts[0].astype(int).isel({neuron: back}), "community", "1", "community, numbered by falling size"),
        describe(parts[1], "modularity", "1", "modularity of the consensus"),
        describe(parts[2].astype(int), "n_communities", "1", "number of communities"),
        describe(parts[3], "consistency", "1", "mean adjusted mutual information of two runs"),
        describe(
            parts[4].isel({neuron: back, presynaptic: back}),
            "agreement",
            "1",
            "share of runs in which two neurons are in one community",
        ),
        method=method,
    )
    labels = next((weights[dim] for dim in (neuron, presynaptic) if dim in weights.coords), None)
    if labels is None:
        return result
    return result.assign_coords({dim: (dim, labels.values, labels.attrs) for dim in (neuron, presynaptic)})


def _communities(
    matrix: np.ndarray, resolution: float, method: str, runs: int, seed: int
) -> tuple[np.ndarray, float, int, float, np.ndarray]:
    """What `communities` returns, for one matrix (neuron, presynaptic)."""
    rng = np.random.default_rng(seed)
    graph = _graph(matrix)
    partitions = _partitions(graph, float(resolution), method, runs, rng)
    consistency = float(
        np.mean([_similarity(a, b) for a, b in zip(partitions, np.roll(partitions, 1, 0), strict=True)])
    )
    labels = _consensus(partitions, method, rng)
    return labels, quality(graph, labels, float(resolution)), labels.max() + 1, consistency, _agreement(partitions)


@checked
def modularity(
    weights: xr.DataArray,
    *,
    untrained: xr.DataArray | None = None,
    neuron: str = "neuron",
    presynaptic: str = "presynaptic",
    method: Literal["leiden", "louvain"] = "leiden",
    resolution: float = 1.0,
    runs: int = 20,
    nulls: int = 100,
    seed: int = 0,
) -> xr.Dataset:
    r"""Modularity of the recurrent weights against matrices with the same strengths and signs, and the untrained one.

    Weight matrices are dense, so that rewiring with the degrees kept changes nothing. Here the magnitudes of all
    weights of one sign, each relative to the strengths of its two neurons, are shuffled among their places and then
    scaled, row and column in turn, until each neuron has exactly its strength of incoming and outgoing weights of that
    sign again; every weight keeps its sign. (Shuffled as they are, strong neurons' weights would end up as outliers
    among weak ones, and make the null more modular than a random matrix is.)

    Parameters
    ----------
    weights : xarray.DataArray
        (..., neuron, presynaptic): recurrent weights.
    untrained : xarray.DataArray, optional
        (neuron, presynaptic): the weights before learning, of the same neurons.
    neuron, presynaptic : str
        The dims.
    method : {"leiden", "louvain"}
        The optimisation.
    resolution : float
        Its resolution.
    runs : int
        Runs over which modularity is averaged.
    nulls : int
        Null matrices, with one run each.
    seed : int
        Seed of runs and null matrices.

    Returns
    -------
    xarray.Dataset
        ``modularity`` (...), mean over runs; ``null_mean``, ``null_sd`` (...); ``z`` (...), in standard deviations of
        the null; ``p_value`` (...), one-sided. With `untrained` also ``untrained``, its modularity.

    Raises
    ------
    ValueError
        A matrix that is not square, zero, or so sparse that its strengths leave no other, NaN, a missing dim, an
        unknown method, fewer than two runs or nulls.

    References
    ----------
    Rubinov and Sporns, NeuroImage 56:2068-2079 (2011), doi 10.1016/j.neuroimage.2011.03.069; Sinkhorn and Knopp, Pac J
    Math 21:343-348 (1967), for the scaling.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from ip2lab.analysis import connectivity
    >>> random = np.random.default_rng(0).normal(size=(2, 20, 20))
    >>> group = np.repeat([0, 1], 10)
    >>> random[1] *= np.where(group[:, None] == group, 1.0, 0.2)
    >>> found = connectivity.modularity(xr.DataArray(random, dims=("matrix", "neuron", "presynaptic")), nulls=40)
    >>> (found.p_value < 0.05).values.tolist()
    [False, True]
    """
    weights = square(weights, neuron, presynaptic)
    options: dict[str, Any] = {"method": method, "resolution": resolution, "runs": runs, "seed": seed, "loop": True}
    core = [(neuron, presynaptic)]
    q, mean, sd, p = apply(
        _modularity, _sorted(weights, neuron, presynaptic)[0], over=core, into=[()] * 4, nulls=nulls, **options
    )
    parts = [
        describe(q, "modularity", "1", "modularity"),
        describe(mean, "null_mean", "1", "mean modularity with the same strengths and signs"),
        describe(sd, "null_sd", "1", "its standard deviation"),
        describe((q - mean) / sd, "z", "1", "modularity in standard deviations above the null"),
        describe(p, "p_value", "1", "p-value against the same strengths and signs"),
    ]
    if untrained is not None:
        first = match(weights, square(untrained, neuron, presynaptic))
        before = apply(_mean_quality, _sorted(first, neuron, presynaptic)[0], over=core, **options)
        before = before.reset_coords(drop=True)  # such as the problem that it is of
        parts.append(describe(before, "untrained", "1", "modularity of the untrained weights"))
    return dataset(weights, *parts, method=method)


def _mean_quality(matrix: np.ndarray, method: str, resolution: float, runs: int, seed: int) -> float:
    graph = _graph(matrix)
    found = _partitions(graph, resolution, method, runs, np.random.default_rng(seed))
    return float(np.mean([quality(graph, labels, resolution) for labels in found]))


def _modularity(
    matrix: np.ndarray, method: str, resolution: float, runs: int, seed: int, nulls: int
) -> tuple[float, float, float, float]:
    """Modularity of one matrix; mean, standard deviation and p-value of its null."""
    observed = _mean_quality(matrix, method, resolution, runs, seed)
    rng = np.random.default_rng([seed, 1])
    null = np.empty(nulls)
    for i in range(nulls):
        drawn = shuffled(matrix, rng)
        if np.allclose(drawn, matrix, rtol=1e-6, atol=1e-9 * np.abs(matrix).max()):
            raise ValueError(
                "no other matrix has these strengths and signs (too few weights, or all alike): modularity "
                "has nothing to be compared with"
            )
        graph = _graph(drawn)
        null[i] = quality(graph, _partitions(graph, resolution, method, 1, rng)[0], resolution)
    return observed, float(null.mean()), float(null.std(ddof=1)), float((1 + (null >= observed).sum()) / (1 + nulls))


def shuffled(matrix: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random matrix (neuron, presynaptic) with the signs of `matrix` and its strengths of each sign.

    Self-connections stay as they are.
    """
    result = np.zeros_like(matrix)
    off = ~np.eye(len(matrix), dtype=bool)
    for sign in (1, -1):
        place = off & (np.sign(matrix) == sign)
        magnitude = np.where(place, np.abs(matrix), 0.0)
        # weights of strong and of weak neurons are exchanged relative to what their neurons' strengths let expect
        relative = _scaled(magnitude, place.sum(1), place.sum(0))
        relative[place] = rng.permutation(relative[place])
        result += sign * _scaled(relative, magnitude.sum(1), magnitude.sum(0))
    result[~off] = matrix[~off]
    return result


def _scaled(matrix: np.ndarray, rows: np.ndarray, columns: np.ndarray, tolerance: float = 1e-8) -> np.ndarray:
    """`matrix`, which has no negative entry, with rows and columns scaled in turn until they have these sums."""
    matrix = matrix.copy()
    for _ in range(5000):
        for axis, goal in ((1, rows), (0, columns)):
            now = matrix.sum(axis)
            matrix *= np.expand_dims(np.divide(goal, now, out=np.zeros(len(now)), where=now > 0), axis)
        if np.abs(matrix.sum(1) - rows).max(initial=0) <= tolerance * rows.max(initial=0):
            break
    return matrix


@checked
def stationarity(
    weights: xr.DataArray,
    *,
    along: str = "problem",
    neuron: str = "neuron",
    presynaptic: str = "presynaptic",
    method: Literal["leiden", "louvain"] = "leiden",
    resolution: float = 1.0,
    runs: int = 20,
    seed: int = 0,
) -> xr.Dataset:
    r"""How much the communities stay the same from one problem to the next, between ceiling and null.

    Similarity is adjusted mutual information: 1 for the same partition, 0 on average for unrelated ones. The
    *ceiling* is that of two runs on one and the same matrix. The *null* asks what a change of this size does that
    leads nowhere: the entries of :math:`\Delta W` are shuffled and added to the former matrix, so that
    :math:`\lVert\Delta W\rVert` is the same.

    Parameters
    ----------
    weights : xarray.DataArray
        (..., along, neuron, presynaptic): recurrent weights at successive problems.
    along, neuron, presynaptic : str
        The dims.
    method : {"leiden", "louvain"}
        The optimisation.
    resolution : float
        Its resolution.
    runs : int
        Runs on every matrix, and null matrices; all similarities are means over as many pairs of runs.
    seed : int
        Seed of both.

    Returns
    -------
    xarray.Dataset
        ``stationarity`` (..., along) against the problem before, from the second on; ``ceiling``, ``null_mean`` and
        ``null_sd`` (..., along).

    Raises
    ------
    ValueError
        Fewer than two along `along` or labels there that do not rise, matrices that are not square or zero, NaN, a
        missing dim.

    References
    ----------
    Vinh, Epps and Bailey, JMLR 11:2837-2854 (2010); Bassett et al., PNAS 108:7641-7646 (2011).

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from ip2lab.analysis import connectivity
    >>> group = np.repeat([0, 1], 10)
    >>> start = np.where(group[:, None] == group, 1.0, 0.2) * np.random.default_rng(0).normal(size=(20, 20))
    >>> other = start[np.ix_(np.roll(np.arange(20), 5), np.roll(np.arange(20), 5))]
    >>> weights = xr.DataArray(np.stack([start, start, other]), dims=("problem", "neuron", "presynaptic"))
    >>> found = connectivity.stationarity(weights).stationarity
    >>> found.problem.values.tolist(), (found > 0.5).values.tolist()
    ([1, 2], [True, False])
    """
    check(weights, along=along)
    weights = square(weights, neuron, presynaptic)
    check_length(weights, along, 2, "a comparison")
    check_rising(weights, along)
    numbers = weights[along].variable[1:]
    bare = _sorted(free(weights, "_from"), neuron, presynaptic)[0]
    bare = without(bare, along).rename({along: "_from"})
    into: list[tuple[str, ...]] = [(along,)] * 4
    parts = apply(
        _stationarity,
        bare,
        over=[("_from", neuron, presynaptic)],
        into=into,
        loop=True,
        method=method,
        resolution=resolution,
        runs=runs,
        seed=seed,
    )
    names = ("stationarity", "ceiling", "null_mean", "null_sd")
    words = (
        f"similarity of communities to the {along} before (adjusted mutual information)",
        "similarity of two runs on one matrix",
        "similarity after a random change of the same size",
        "standard deviation of the null",
    )
    made = [describe(p.assign_coords({along: numbers}), n, "1", w) for p, n, w in zip(parts, names, words, strict=True)]
    return dataset(weights, *made, method=method)


def _stationarity(
    matrices: np.ndarray, method: str, resolution: float, runs: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Similarity, ceiling, mean and standard deviation of the null (problem - 1,) of `matrices` (problem, ...)."""
    rng = np.random.default_rng(seed)
    found = [_partitions(_graph(m), resolution, method, runs, rng) for m in matrices]
    alike, ceiling = [], []
    null: list[list[float]] = []
    for before, after, old, new in zip(found[:-1], found[1:], matrices[:-1], matrices[1:], strict=True):
        alike.append(np.mean([_similarity(a, b) for a, b in zip(before, after, strict=True)]))
        ceiling.append(np.mean([_similarity(a, b) for a, b in zip(after, np.roll(after, 1, 0), strict=True)]))
        null.append([])
        for partition in before:
            moved = old + rng.permutation((new - old).ravel()).reshape(old.shape)
            null[-1].append(_similarity(partition, _partitions(_graph(moved), resolution, method, 1, rng)[0]))
    return np.array(alike), np.array(ceiling), np.mean(null, axis=1), np.std(null, axis=1, ddof=1)
