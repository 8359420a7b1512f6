"""Subspaces of the population: what they are, the angles between them, how far they turn from problem to problem."""

from __future__ import annotations

import numpy as np
import xarray as xr

from ip2lab.analysis._arguments import checked
from ip2lab.analysis._labelled import apply, check, coords_of, dataset, describe, identical, labelled
from ip2lab.analysis._labels import called, labels_along, listed
from ip2lab.analysis._moments import principal_axes


@checked
def principal_angles(
    first: xr.DataArray, second: xr.DataArray, *, feature: str = "neuron", component: str = "component"
) -> xr.DataArray:
    r"""Principal angles between two subspaces.

    .. math:: \cos\theta_k = \sigma_k(Q_1^\top Q_2)

    with orthonormal bases Q of the two. Two planes share a line where one angle is 0; all angles are 90 degrees where
    they have nothing in common. Random subspaces are not orthogonal: see `turning` for chance.

    Parameters
    ----------
    first, second : xarray.DataArray
        (..., component, feature): spanning directions, not necessarily orthogonal. Other dims are matched by name.
    feature, component : str
        The dims of neurons and of directions.

    Returns
    -------
    xarray.DataArray
        ``angle`` (..., component) in rad, the largest first, as many as the smaller subspace has directions.

    Raises
    ------
    ValueError
        A missing dim, NaN, different neurons, directions that are linearly dependent.

    References
    ----------
    Knyazev and Argentati, SIAM J Sci Comput 23:2008-2040 (2002), doi 10.1137/S1064827500377332.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from ip2lab.analysis import population
    >>> plane = xr.DataArray([[1.0, 0, 0], [0, 1, 0]], dims=("component", "neuron"))
    >>> tilted = xr.DataArray([[1.0, 0, 0], [0, 1, 1]], dims=("component", "neuron"))
    >>> np.degrees(population.principal_angles(plane, tilted)).round(6).values.tolist()
    [45.0, 0.0]
    """
    for basis in (first, second):
        check(basis, feature=feature, component=component, finite=True)
    second = _same_neurons(first, second, feature)
    bare = [basis.drop_vars(component, errors="ignore") for basis in (first, second)]
    bare[1] = bare[1].rename({component: "_other"})
    angle = apply(_angles, *bare, over=[(component, feature), ("_other", feature)], into=[("_angle",)])
    return describe(angle.rename(_angle=component), "angle", "rad", "principal angle, largest first")


def _same_neurons(first: xr.DataArray, second: xr.DataArray, feature: str) -> xr.DataArray:
    """`second` with its neurons in the order of those of `first`."""
    if first.sizes[feature] != second.sizes[feature]:
        raise ValueError(
            f"{first.sizes[feature]} along {feature!r} in the first, {second.sizes[feature]} in the second; "
            "give directions of the same neurons"
        )
    if feature not in first.coords or feature not in second.coords:
        return second
    strange = np.setdiff1d(first[feature].values, second[feature].values)
    if strange.size:
        raise ValueError(f"the labels of {feature!r} differ: {listed(strange)} only in the first; use the same neurons")
    return second.sel({feature: first[feature].values})


def _angles(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Angles (..., k) between subspaces (..., direction, feature), falling; precise for small ones too."""
    one, other = (_orthonormal(basis) for basis in (first, second))
    if one.shape[-1] < other.shape[-1]:
        one, other = other, one
    cosines = np.linalg.svd(np.swapaxes(one, -1, -2) @ other, compute_uv=False)
    rest = other - one @ (np.swapaxes(one, -1, -2) @ other)
    sines = np.linalg.svd(rest, compute_uv=False)[..., ::-1]  # rising, as the angles of falling cosines are
    angles = np.where(cosines**2 < 0.5, np.arccos(cosines.clip(0, 1)), np.arcsin(sines.clip(0, 1)))
    return angles[..., ::-1]


def _orthonormal(basis: np.ndarray) -> np.ndarray:
    columns = np.swapaxes(basis.astype(float), -1, -2)
    if columns.shape[-1] > columns.shape[-2]:
        raise ValueError(f"{columns.shape[-1]} directions in {columns.shape[-2]} dimensions; at most as many can span")
    q, r = np.linalg.qr(columns)
    sizes = np.abs(np.diagonal(r, axis1=-2, axis2=-1))
    if (sizes.min(-1) <= 1e-10 * np.maximum(sizes.max(-1), 1e-300)).any():
        raise ValueError("the directions along 'component' are linearly dependent; leave those out that add nothing")
    return q


@checked
def subspaces(
    data: xr.DataArray,
    *,
    feature: str = "neuron",
    problem: str = "problem",
    response: str = "response",
    time: str = "time",
    block: int = 50,
    n_decision: int = 4,
    n_stimulus: int = 3,
) -> xr.Dataset:
    r"""Decision and stimulus subspaces of a network that solves one problem after another.

    Averaged over a block of consecutive problems, what depends on the problems' stimuli cancels and what leads to
    each response stays: the *decision* subspace is spanned by the first principal components, not centred, of that
    average (response, time). The *stimulus* subspace of each problem is spanned by the first principal components of
    what is left of its activity outside the decision subspace.

    Parameters
    ----------
    data : xarray.DataArray
        (problem, probe, time, feature): activity, with a coord `response` along the probes. The block must be of
        problems in a row; a run keeps the weights of 450-499, from which `ip2lab.probe` makes their activity.
    feature, problem : str
        The dims of neurons and of problems.
    response : str
        The coord with the response of each probe.
    time : str
        The dim of time.
    block : int
        Fewest problems in a row that are accepted; Goudar et al. average 50.
    n_decision, n_stimulus : int
        Dimensions of the two.

    Returns
    -------
    xarray.Dataset
        ``decision`` (component, feature) and ``stimulus`` (problem, stimulus_component, feature), unit vectors;
        ``decision_share`` (problem), the part of the squared activity inside the decision subspace, and
        ``stimulus_share`` (problem), the part of the variance of the rest that the stimulus subspace explains.

    Raises
    ------
    ValueError
        Fewer problems than `block`, problems not in a row, one response only, a missing dim or coord, NaN.

    References
    ----------
    Goudar, Peysakhovich, Freedman, Buffalo and Wang, Nat Neurosci 26:879-890 (2023), doi 10.1038/s41593-023-01293-9.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from ip2lab.analysis import population
    >>> rng = np.random.default_rng(0)
    >>> shared, own = rng.normal(size=(1, 2, 30, 12)), rng.normal(size=(50, 2, 30, 12))
    >>> data = xr.DataArray(shared + 0.1 * own, dims=("problem", "probe", "time", "neuron"),
    ...                     coords={"problem": np.arange(450, 500), "response": ("probe", ["left", "right"])})
    >>> found = population.subspaces(data)
    >>> dict(found.decision.sizes), dict(found.stimulus.sizes)
    ({'component': 4, 'neuron': 12}, {'problem': 50, 'stimulus_component': 3, 'neuron': 12})
    """
    check(data, feature=feature, problem=problem, time=time, finite=True)
    _in_a_row(data, problem, block)
    n = data.sizes[feature]
    if n_decision + n_stimulus > n:
        raise ValueError(f"n_decision={n_decision} and n_stimulus={n_stimulus} are more than the {n} along {feature!r}")
    decision = principal_axes(_average(data, response, problem, feature), center=False)[0][:n_decision]
    each = data.transpose(problem, ..., feature).values.astype(float).reshape(data.sizes[problem], -1, n)
    inside = each @ decision.T
    stimulus, share = _leading(each - inside @ decision, n_stimulus, data)
    part = (inside**2).sum((1, 2)) / (each**2).sum((1, 2))
    coords = coords_of(data, feature, problem)
    words = {
        "decision": "decision subspace",
        "stimulus": "stimulus subspace of the problem",
        "decision_share": "share of squared activity inside the decision subspace",
        "stimulus_share": "share of the remaining variance in the stimulus subspace",
    }
    dims = (("component", feature), (problem, "stimulus_component", feature), (problem,), (problem,))
    values = (decision, stimulus, part, share)
    parts = zip(values, dims, words, words.values(), strict=True)
    return dataset(data, *(labelled(v, d, name, "1", meaning, coords) for v, d, name, meaning in parts))


def _average(data: xr.DataArray, response: str, problem: str, feature: str) -> np.ndarray:
    """Mean over problems and probes of the activity before each response (response, ..., feature)."""
    if response not in data.coords or data[response].ndim != 1:
        raise ValueError(
            f"{called(data)} needs a coord {response!r} along its probes; its coords are {listed(data.coords)}"
        )
    probe = str(data[response].dims[0])
    labels = labels_along(data, response, [probe]).values
    kinds = (data.isel({probe: labels == value}) for value in np.unique(labels))
    return np.stack([kind.mean([problem, probe]).transpose(..., feature).values for kind in kinds])


def _leading(rows: np.ndarray, k: int, data: xr.DataArray) -> tuple[np.ndarray, np.ndarray]:
    """The first k axes (problem, k, feature) of `rows` (problem, sample, feature), and their share of the variance."""
    found, share = np.empty((len(rows), k, rows.shape[-1])), np.empty(len(rows))
    for i, own in enumerate(rows):
        axes, variance, *_ = principal_axes(own)
        if not variance.sum() > 0:
            raise ValueError(f"{called(data)} is constant in one of its problems; there are no directions in it")
        if len(axes) < k:
            raise ValueError(f"{k} directions are asked for; {called(data)} has {len(axes)} in one of its problems")
        found[i], share[i] = axes[:k], variance[:k].sum() / variance.sum()
    return found, share


def _in_a_row(data: xr.DataArray, problem: str, block: int) -> None:
    numbers = data[problem].values
    if len(numbers) < block or numbers.dtype.kind not in "iuf" or (np.diff(numbers) != 1).any():
        raise ValueError(
            f"the decision subspace is an average over {block} problems in a row, in which the stimuli "
            f"cancel; {called(data)} "
            f"has {len(numbers)} ({listed(numbers)}). Give the block that a run keeps (450-499), its activity made by "
            f"ip2lab.probe, or state block=... if fewer will do"
        )


@checked
def turning(
    data: xr.DataArray,
    *,
    along: str = "problem",
    split: str = "trial",
    feature: str = "neuron",
    n_components: int = 3,
    remove: xr.DataArray | None = None,
    n_splits: int = 20,
    n_random: int = 200,
    seed: int = 0,
) -> xr.Dataset:
    r"""How far the leading subspace turns from one problem to the next, between ceiling and chance.

    The subspace of the first principal components is estimated from random halves of the repeats. Angles between
    problem p - 1 (one half) and problem p (other half) are set against angles between the halves of one problem (what
    noise alone turns: the *ceiling* of similarity) and between random subspaces of as many dimensions (*chance*).

    Parameters
    ----------
    data : xarray.DataArray
        (along, split, ..., feature): activity, with several noisy repeats of the same conditions along `split`.
    along, split, feature : str
        The dims of problems, of repeats and of neurons. Repeats are averaged within each half.
    n_components : int
        Dimensions of the subspace.
    remove : xarray.DataArray, optional
        (component, feature): a subspace that is taken out first, such as ``decision`` of `subspaces`; what turns is
        then the stimulus subspace.
    n_splits, n_random : int
        Number of random halves, and of random subspaces.
    seed : int
        Seed of both.

    Returns
    -------
    xarray.Dataset
        ``angle`` (along, component), against the problem before, NaN for the first; ``ceiling`` (along, component);
        ``chance`` (component), the mean over random subspaces, and ``chance_low`` (component), their 5% quantile. All
        in rad, the largest first, means over halves.

    Raises
    ------
    ValueError
        A missing dim, fewer than two problems or repeats, repeats that are identical, NaN, more components than the
        data have.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from ip2lab.analysis import population
    >>> rng = np.random.default_rng(0)
    >>> signal = np.zeros((3, 1, 40, 20))
    >>> signal[..., :3] = rng.normal(size=(3, 1, 40, 3))  # the same three neurons in every problem
    >>> values = signal + 0.1 * rng.normal(size=(3, 10, 40, 20))
    >>> data = xr.DataArray(values, dims=("problem", "trial", "time", "neuron"))
    >>> found = population.turning(data)
    >>> bool(found.angle.max() < 0.2), bool(found.chance[0] > 1.2)
    (True, True)
    """
    check(data, along=along, split=split, feature=feature, finite=True)
    n = data.sizes[split]
    if min(n, data.sizes[along]) < 2:
        raise ValueError(
            f"{called(data)} has {data.sizes[along]} along {along!r} and {n} along {split!r}; two or more of both"
        )
    moved = data.transpose(along, split, ..., feature)
    if bool((moved == moved.isel({split: 0})).all()):
        raise identical(data, f"the {n} repeats along {split!r}", "; halves of them cannot show what noise does")
    values = moved.values.astype(float).reshape(*moved.shape[:2], -1, moved.shape[-1])
    if remove is not None:
        basis = _orthonormal(remove.transpose("component", feature).values)
        values = values - values @ basis @ basis.T
    rng = np.random.default_rng(seed)
    found = [_turned(values, rng.permutation(n), n_components, data) for _ in range(n_splits)]
    angle, ceiling = (np.mean(parts, axis=0) for parts in zip(*found, strict=True))
    chance = _angles(*rng.normal(size=(2, n_random, n_components, values.shape[-1])))
    angle = np.concatenate([np.full((1, n_components), np.nan), angle])
    coords, both = coords_of(data, along), (along, "component")
    return dataset(
        data,
        labelled(angle, both, "angle", "rad", f"principal angle to the {along} before", coords),
        labelled(ceiling, both, "ceiling", "rad", f"angle between halves of one {along}", coords),
        labelled(chance.mean(0), both[1:], "chance", "rad", "angle between random subspaces"),
        labelled(np.quantile(chance, 0.05, axis=0), both[1:], "chance_low", "rad", "its 5% quantile"),
    )


def _turned(values: np.ndarray, order: np.ndarray, k: int, data: xr.DataArray) -> tuple[np.ndarray, np.ndarray]:
    """Angles to the problem before (problem - 1, k) and within a problem (problem, k), for one cut into halves."""
    half = len(order) // 2
    bases = [_leading(values[:, part].mean(1), k, data)[0] for part in (order[:half], order[half:])]
    return _angles(bases[0][:-1], bases[1][1:]), _angles(bases[0], bases[1])
