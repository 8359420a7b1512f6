"""How population activity moves: its speed, and whether two populations move alike."""

from __future__ import annotations

import numpy as np
import xarray as xr

from ip2lab.analysis._arrays import apply, dataset, describe, labelled, samples, times, units_of
from ip2lab.analysis._checks import carried, check, check_free, check_length, check_only
from ip2lab.analysis._labels import called, listed, match, ordered, pair, recorded_samples, restored
from ip2lab.checks import checked


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
    check_length(data, time, 3, "curvature")
    own = ordered(data, time)
    dt = times(own, time)[1]
    there = recorded_samples(own, feature)
    both = apply(_speed, own, there, over=[(time, feature), (time,)], into=[(time,), (time,)], dt=dt)
    velocity, curvature = (restored(one, data, time) for one in both)
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
        (condition, time, feature): mean activity, with the same conditions, times and features in both, matched by
        their labels where they have any (`condition_means` labels conditions). For different neurons give scores on as
        many principal components, ``feature="component"``. Only what was ``recorded`` in both is compared.
    feature, condition, time : str
        The dims.
    splits, permutations : int
        Number of random halves, and of time-shuffled data sets.
    seed : int
        Seed of both; halves are drawn over conditions in the order of their labels, where they have any.

    Returns
    -------
    xarray.Dataset
        Scalars: ``unaligned`` (share explained without rotation), ``cka``, ``aligned`` (share explained by the rotation
        on held-out conditions), ``null_mean`` and ``null_upper`` (the 95% quantile) of `aligned` after time shuffling,
        ``p_value``.

    Raises
    ------
    ValueError
        Sizes or labels that differ, fewer than two conditions, constant data, NaN, a missing dim.

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
    for data in (first, second):
        check_only(data, gaps=True, feature=feature, condition=condition, time=time)
    x, y = _conditions(first, second, condition, time, feature)
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


def _conditions(
    first: xr.DataArray, second: xr.DataArray, condition: str, time: str, feature: str
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Each condition (time, feature) of both where both were recorded, matched by their labels."""
    try:
        second = match(first, second, feature)
    except ValueError as error:
        raise ValueError(
            f"{error}. Scores of different neurons on as many components (population.pca) will do"
        ) from None
    check_length(first, condition, 2, "a rotation, fitted on some and scored on others,")
    both = [one.transpose(condition, time, feature) for one in pair(first, second, condition, time, feature)]
    there = np.logical_and(*(recorded_samples(one, feature).values for one in both))
    if not there.any(1).all():
        lost = both[0][condition].values[~there.any(1)]
        raise ValueError(f"{condition} {listed(lost)} was at no {time} recorded in both; leave it out of both")
    x, y = ([each[own] for each, own in zip(one.values.astype(float), there, strict=True)] for one in both)
    _check_varies(first, x)
    _check_varies(second, y)
    return x, y


def _check_varies(data: xr.DataArray, values: list[np.ndarray]) -> None:
    if np.ptp(np.concatenate(values)) == 0:
        raise ValueError(f"{called(data)} is constant: there is no shape to compare; give activity that varies")


def _flat(values: list[np.ndarray]) -> np.ndarray:
    rows = np.concatenate(values)
    return rows - rows.mean(0)


def _explained(x: list[np.ndarray], y: list[np.ndarray]) -> float:
    a, b = _flat(x), _flat(y)
    return float((a * b).sum() ** 2 / ((a**2).sum() * (b**2).sum())) * float(np.sign((a * b).sum()))


def _cka(x: list[np.ndarray], y: list[np.ndarray]) -> float:
    a, b = _flat(x), _flat(y)
    return float(((a.T @ b) ** 2).sum() / np.sqrt(((a.T @ a) ** 2).sum() * ((b.T @ b) ** 2).sum()))


def _held_out(x: list[np.ndarray], y: list[np.ndarray], halves: list[np.ndarray]) -> float:
    """Mean over `halves` of the share of held-out conditions that the rotation of the others explains."""
    shares = []
    for order in halves:
        (a, b), (new, seen) = (
            [np.concatenate([values[i] for i in part]) for values in (x, y)]
            for part in (order[: len(order) // 2], order[len(order) // 2 :])
        )
        new, seen = new - a.mean(0), seen - b.mean(0)
        a, b = a - a.mean(0), b - b.mean(0)
        left, sizes, right = np.linalg.svd(a.T @ b)
        scale = sizes.sum() / max((a**2).sum(), 1e-300)
        rest = seen - scale * new @ left @ right
        shares.append(1 - (rest**2).sum() / max((seen**2).sum(), 1e-300))
    return float(np.mean(shares))


def _time_shuffled(values: list[np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
    """Each condition (time, feature) turned round in time by a lag of its own: smooth as it was."""
    return [np.roll(one, rng.integers(1, max(len(one), 2)), axis=0) for one in values]
