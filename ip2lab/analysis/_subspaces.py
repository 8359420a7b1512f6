"""Subspaces of the population: what they are, the angles between them, how far they turn from problem to problem."""

from __future__ import annotations

import numpy as np
import xarray as xr

from ip2lab.analysis._arrays import apply, coords_of, dataset, describe, labelled, samples
from ip2lab.analysis._checks import check, check_free, check_length, check_only, identical
from ip2lab.analysis._labels import (
    bare,
    called,
    labels_along,
    levels,
    listed,
    match,
    ordered,
    restored,
    sequence,
    without_gaps,
)
from ip2lab.analysis._pca import principal_axes
from ip2lab.checks import checked

SUBSPACES = {
    "decision": "decision subspace",
    "stimulus": "stimulus subspace of the problem",
    "decision_share": "share of squared activity inside the decision subspace",
    "stimulus_share": "share of the remaining variance in the stimulus subspace",
}


@checked
def principal_angles(
    first: xr.DataArray, second: xr.DataArray, *, feature: str = "neuron", component: str = "component"
) -> xr.DataArray:
    r"""Principal angles between two subspaces.

    .. math:: \cos\theta_k = \sigma_k(Q_1^\top Q_2)

    with orthonormal bases Q of the two. Two planes share a line where one angle is 0; all angles are 90 degrees where
    they have nothing in common. Random subspaces are not orthogonal: see `subspace_rotation` for chance.

    Parameters
    ----------
    first, second : xarray.DataArray
        (..., component, feature): spanning directions, not necessarily orthogonal. Neurons, and other dims of the
        same name, are matched by their labels.
    feature, component : str
        The dims of neurons and of directions.

    Returns
    -------
    xarray.DataArray
        ``angle`` (..., component) in rad, the largest first, as many as the smaller subspace has directions.

    Raises
    ------
    ValueError
        A missing dim, NaN, labels that differ or repeat, directions that are linearly dependent.

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
    check_free(set(first.dims) | set(second.dims), "_other", "_angle")
    second = match(first, second, *(str(d) for d in first.dims if d in second.dims and d != component))
    across = [[name for name, coord in one.coords.items() if component in coord.dims] for one in (first, second)]
    bare = [one.drop_vars(names) for one, names in zip((first, second), across, strict=True)]
    bare[1] = bare[1].rename({component: "_other"})
    angle = apply(_angles, *bare, over=[(component, feature), ("_other", feature)], into=[("_angle",)])
    return describe(angle.rename(_angle=component), "angle", "rad", "principal angle, largest first")


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
        problems in a row; a run keeps the weights of 450-499, from which `ip2lab.probe` makes their activity. What a
        coord ``recorded`` says was not recorded is left out.
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
    check(data, feature=feature, problem=problem, time=time, finite=True, gaps=True)
    check_free((feature, problem), "component", "stimulus_component", *SUBSPACES)
    own = ordered(data, problem)
    _in_a_row(own, problem, block)
    n = data.sizes[feature]
    if n_decision + n_stimulus > n:
        raise ValueError(f"n_decision={n_decision} and n_stimulus={n_stimulus} are more than the {n} along {feature!r}")
    filled, there = without_gaps(own, feature)
    decision = principal_axes(_average(own, there, response, problem, feature), center=False)[0][:n_decision]
    if len(decision) < n_decision:
        raise ValueError(f"n_decision={n_decision}; the average of {called(data)} over problems spans {len(decision)}")
    each = filled.transpose(problem, ..., feature).values.astype(float).reshape(own.sizes[problem], -1, n)
    kept = there.transpose(problem, ...).values.reshape(each.shape[:2])
    inside = each @ decision.T
    stimulus, share = _leading(each - inside @ decision, kept, n_stimulus, own, problem)
    part = (inside**2).sum((1, 2)) / (each**2).sum((1, 2))
    coords = coords_of(own, feature, problem)
    dims = (("component", feature), (problem, "stimulus_component", feature), (problem,), (problem,))
    values = (decision, stimulus, part, share)
    parts = zip(values, dims, SUBSPACES.items(), strict=True)
    found = dataset(data, *(labelled(v, d, name, "1", words, coords) for v, d, (name, words) in parts))
    return restored(found, data, problem)


def _average(data: xr.DataArray, there: xr.DataArray, response: str, problem: str, feature: str) -> np.ndarray:
    """Mean over problems and probes, where recorded, of the activity before each response (sample, feature)."""
    if response not in data.coords or data[response].ndim != 1:
        raise ValueError(
            f"{called(data)} needs a coord {response!r} along its probes; its coords are {listed(data.coords)}"
        )
    probe = str(data[response].dims[0])
    found, codes = levels(labels_along(data, response, [probe]).values)
    data = bare(data).where(there)
    kinds = (data.isel({probe: codes == k}).mean([problem, probe]) for k in range(len(found)))
    rows = np.concatenate([kind.transpose(..., feature).values.reshape(-1, data.sizes[feature]) for kind in kinds])
    return rows[np.isfinite(rows).all(1)]


def _leading(
    rows: np.ndarray, there: np.ndarray, k: int, data: xr.DataArray, along: str
) -> tuple[np.ndarray, np.ndarray]:
    """The first k axes (problem, k, feature) of `rows` (problem, sample, feature), and their share of the variance."""
    found, share = np.empty((len(rows), k, rows.shape[-1])), np.empty(len(rows))
    for i, each in enumerate(rows):
        own = each[there[i]]
        axes, variance = principal_axes(own)[:2] if len(own) > 1 else (own[:0], own[:0])
        if len(axes) < k or not variance.sum() > 0:
            where = f"{called(data)} at {along}={data[along].values[i]}"
            if not variance.sum() > 0:
                raise ValueError(f"{where} is constant: there are no directions in it; leave it out")
            raise ValueError(f"{k} directions are asked for; {where} has {len(axes)}: ask for fewer")
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
def subspace_rotation(
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
        (along, split, ..., feature): activity, with several noisy repeats of the same conditions along `split`. What a
        coord ``recorded`` says was not recorded is left out.
    along, split, feature : str
        The dims of problems, of repeats and of neurons. Repeats are averaged within each half. Problems labelled by
        numbers or dates follow one another in that order, others as they stand.
    n_components : int
        Dimensions of the subspace.
    remove : xarray.DataArray, optional
        (component, feature): a subspace that is taken out first, such as ``decision`` of `subspaces`; what turns is
        then the stimulus subspace. Neurons are matched by their labels.
    n_splits, n_random : int
        Number of random halves, and of random subspaces.
    seed : int
        Seed of both; halves are drawn over repeats in the order of their labels, where they have any.

    Returns
    -------
    xarray.Dataset
        ``angle`` (along, component), against the problem before, NaN for the first; ``ceiling`` (along, component);
        ``chance`` (component), the mean over random subspaces, and ``chance_low`` (component), their 5% quantile. All
        in rad, the largest first, means over halves.

    Raises
    ------
    ValueError
        A missing dim, no samples beside problems and repeats, fewer than two problems or repeats, repeats that are
        identical, neurons of `remove` that differ, NaN, more components than the data have.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from ip2lab.analysis import population
    >>> rng = np.random.default_rng(0)
    >>> signal = np.zeros((3, 1, 40, 20))
    >>> signal[..., :3] = rng.normal(size=(3, 1, 40, 3))  # the same three neurons in every problem
    >>> values = signal + 0.1 * rng.normal(size=(3, 10, 40, 20))
    >>> data = xr.DataArray(values, dims=("problem", "trial", "time", "neuron"))
    >>> found = population.subspace_rotation(data)
    >>> bool(found.angle.max() < 0.2), bool(found.chance[0] > 1.2)
    (True, True)
    """
    check(data, along=along, split=split, feature=feature, finite=True, gaps=True)
    check_free((along,), "component", "angle", "ceiling", "chance", "chance_low")
    basis = None if remove is None else _removed(data, remove, feature)
    place = sequence(data, along, names=False)
    own = ordered(data.isel({along: place}), *(d for d in samples(data, feature) if d != along))
    values, there = _repeats(own, along, split, feature)
    if basis is not None:
        values = values - values @ basis @ basis.T
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(values.shape[1]) for _ in range(n_splits)]
    found = [_turned(values, there, order, n_components, own, along) for order in orders]
    angle, ceiling = (np.mean(parts, axis=0) for parts in zip(*found, strict=True))
    chance = _angles(*rng.normal(size=(2, n_random, n_components, values.shape[-1])))
    angle = np.concatenate([np.full((1, n_components), np.nan), angle])
    coords, both = coords_of(own, along), (along, "component")
    result = dataset(
        data,
        labelled(angle, both, "angle", "rad", f"principal angle to the {along} before", coords),
        labelled(ceiling, both, "ceiling", "rad", f"angle between halves of one {along}", coords),
        labelled(chance.mean(0), both[1:], "chance", "rad", "angle between random subspaces"),
        labelled(np.quantile(chance, 0.05, axis=0), both[1:], "chance_low", "rad", "its 5% quantile"),
    )
    return result.isel({along: np.argsort(place)})


def _removed(data: xr.DataArray, remove: xr.DataArray, feature: str) -> np.ndarray:
    """An orthonormal basis (feature, component) of what is taken out, its neurons in the order of those of `data`."""
    check_only(remove, component="component", feature=feature)
    return _orthonormal(match(data, remove, feature).transpose("component", feature).values)


def _repeats(data: xr.DataArray, along: str, split: str, feature: str) -> tuple[np.ndarray, np.ndarray]:
    """Values (along, split, sample, feature) of `data`, 0 in gaps, and where there are none."""
    for dim in (along, split):
        check_length(data, dim, 2, "a comparison")
    if data.ndim < 4:
        raise ValueError(
            f"{called(data)} has no dims but {along!r}, {split!r} and {feature!r}; the subspace of each {along} is "
            "that of its mean activity at several times or conditions: give them along another dim"
        )
    filled, mask = without_gaps(data, feature)
    moved = filled.transpose(along, split, ..., feature)
    values = moved.values.astype(float).reshape(*moved.shape[:2], -1, moved.shape[-1])
    there = mask.transpose(along, split, ...).values.reshape(values.shape[:3])
    kept = there.any((0, 2))
    values, there = values[:, kept], there[:, kept]
    same = (values == values[:, :1]).all(-1) | ~(there & there[:, :1])
    if same.all() and values.any():
        what = f"the {data.sizes[split]} repeats along {split!r}"
        raise identical(data, what, "; halves of them cannot show what noise does")
    return values, there


def _turned(
    values: np.ndarray, there: np.ndarray, order: np.ndarray, k: int, data: xr.DataArray, along: str
) -> tuple[np.ndarray, np.ndarray]:
    """Angles to the problem before (problem - 1, k) and within a problem (problem, k), for one cut into halves."""
    own = there.sum(2)[:, order] > 0
    first = (np.cumsum(own, 1) <= own.sum(1, keepdims=True) // 2) & own  # half of each problem's own repeats
    bases = []
    for part in (first, own & ~first):
        weight = np.zeros(own.shape)
        weight[:, order] = part
        number = (weight[:, None] @ there.astype(float))[:, 0]
        total = (weight[:, None] @ values.reshape(*own.shape, -1)).reshape(*number.shape, -1)
        mean = total / np.maximum(number, 1)[..., None]
        bases.append(_leading(mean, number > 0, k, data, along)[0])
    return _angles(bases[0][:-1], bases[1][1:]), _angles(bases[0], bases[1])
