"""Demixed principal components: one set of components for each factor of the task."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr

from ip2lab.analysis._arrays import coords_of, dataset, labelled, units_of
from ip2lab.analysis._checks import check_classes, check_components, check_free, check_only, identical
from ip2lab.analysis._labels import called, labels_along, levels, listed, ordered, restored, without_gaps
from ip2lab.checks import checked

VARIABLES = ("components", "decoders", "scores", "explained_variance_ratio", "variance", "signal", "penalty", "mean")
PENALTIES = 1e-7 * 1.5 ** np.arange(0, 42, 3)  # Kobak et al.'s range, as parts of the whole variance


@checked
def demix(
    data: xr.DataArray,
    factors: Sequence[str],
    *,
    feature: str = "neuron",
    trial: str = "trial",
    time: str = "time",
    n_components: int = 3,
    splits: int = 5,
    seed: int = 0,
) -> xr.Dataset:
    r"""Demixed principal component analysis: how much of the activity belongs to which factor, and where.

    The means of all conditions are split into marginalisations :math:`X = \sum_\phi X_\phi` (of time, of each factor,
    of their interactions, the latter with their change over time), each condition counting the same however many
    trials it has. For each,

    .. math:: \min_{F, D}\; \lVert X_\phi - F D X\rVert^2 + \lambda\lVert F D\rVert^2

    over all trials, with `n_components` columns in F and rows in D; the penalty is found by cross-validation.

    Parameters
    ----------
    data : xarray.DataArray
        (trial, time, feature): single trials with noise, two or more of each condition. Where a coord ``recorded`` is
        False nothing was recorded: times at which a condition has fewer than two trials take no part.
    factors : sequence of str
        One or more coords along the trials, such as ``["stimulus", "context"]``, whose combinations all occur.
    feature, trial, time : str
        The dims.
    n_components : int
        Components of each marginalisation.
    splits : int
        How often one trial of each condition is left out to choose the penalty.
    seed : int
        Seed of these choices, drawn over trials in the order of their labels, where they have any.

    Returns
    -------
    xarray.Dataset
        ``components`` (marginalisation, component, feature), the directions F; ``decoders`` (marginalisation,
        component, feature), the readouts D; ``scores`` (marginalisation, component, factors..., time), D on the means,
        NaN at times that took no part;
        ``explained_variance_ratio`` (marginalisation, component), of all variance of the means;
        ``variance`` (marginalisation), the shares of the means' variance, which sum to 1, and ``signal``
        (marginalisation), the same with the variance subtracted that noise leaves in means over few trials (not
        clipped at 0); ``penalty``; ``mean`` (feature).

    Raises
    ------
    ValueError
        Factors that are the same thing in this design or combinations that never occur, numbers in place of classes,
        fewer than two trials of a condition, identical trials, factors named as a dim or variable of the result, more
        components than neurons, a missing dim or coord, NaN.

    References
    ----------
    Kobak et al., eLife 5:e10989 (2016), doi 10.7554/eLife.10989.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from ip2lab.analysis import population
    >>> rng = np.random.default_rng(0)
    >>> stimulus, context = np.arange(80) % 2, np.arange(80) // 2 % 2
    >>> values = 0.5 * rng.normal(size=(80, 20, 10))
    >>> values[..., 0] += 2 * stimulus[:, None]
    >>> values[..., 1] += context[:, None]
    >>> data = xr.DataArray(values, dims=("trial", "time", "neuron"),
    ...                     coords={"stimulus": ("trial", stimulus), "context": ("trial", context)})
    >>> found = population.demix(data, ["stimulus", "context"])
    >>> found.signal.round(1).to_series().to_dict()
    {'time': 0.0, 'stimulus': 0.8, 'context': 0.2, 'stimulus:context': 0.0}
    """
    check_only(data, gaps=True, feature=feature, trial=trial, time=time)
    check_free((feature, time, *factors), "marginalisation", "component", *VARIABLES)
    check_free((feature, time), *factors)
    if len(set(factors)) < len(factors):
        raise ValueError(f"factors: {list(factors)} is not valid; give different coords, each named once")
    check_components(n_components, data.sizes[feature], data, feature)
    if not factors:
        raise ValueError("no factors were given; name one or more coords along the trials")
    own, mask = without_gaps(ordered(data, *map(str, data.dims)), feature)
    there = mask.transpose(trial, time).values
    own, there = own.isel({trial: there.any(1)}), there[there.any(1)]
    found = {name: _classes(own, name, trial) for name in factors}
    cells = _cells(found, data)
    enough = np.array([there[cell].sum(0) for cell in cells]).min(0) > 1
    if not enough.any():
        raise ValueError(
            f"{called(data)} was at no {time} recorded in two trials of each condition; give more trials, or align "
            "them where more of them were recorded"
        )
    values = own.transpose(trial, time, feature).values.astype(float)[:, enough]
    design = _Design(values, there[:, enough], cells, tuple(len(names) for names, _ in found.values()))
    noise = _noise(design)
    _check_noise(data, values, noise)
    penalty = _penalty(design, n_components, splits, np.random.default_rng(seed))
    fit = _fit(design, noise, penalty, n_components)
    scores = np.full((*fit.scores.shape[:-1], len(enough)), np.nan)
    scores[..., enough] = fit.scores
    names = {name: each for name, (each, _) in found.items()}
    result = _described(own, fit._replace(scores=scores), penalty, _center(design.means()), names, (feature, time))
    return restored(result, data, *map(str, data.dims))


class _Design(NamedTuple):
    values: np.ndarray  # (trial, time, neuron), 0 in gaps
    there: np.ndarray  # (trial, time), where there are none
    cells: list[np.ndarray]  # the trials of each condition, the last factor running fastest
    shape: tuple[int, ...]  # levels of each factor

    def counts(self) -> np.ndarray:
        """Number of trials of each condition (condition, time)."""
        return np.stack([self.there[cell].sum(0) for cell in self.cells])

    def means(self) -> np.ndarray:
        """Means of the conditions (factors..., time, neuron)."""
        each = np.stack([self.values[cell].sum(0) for cell in self.cells])
        each = each / np.maximum(self.counts(), 1)[..., None]
        return each.reshape(*self.shape, *each.shape[1:])


class _Noise(NamedTuple):
    covariance: np.ndarray  # (neuron, neuron), summed over conditions and times, per trial
    in_means: float  # squared noise in all means
    in_level: float  # the part of it that does not change over time


def _classes(data: xr.DataArray, factor: str, trial: str) -> tuple[np.ndarray, np.ndarray]:
    labels = labels_along(data, factor, [trial])
    check_classes(labels)
    return levels(labels.values)


def _check_noise(data: xr.DataArray, values: np.ndarray, noise: _Noise) -> None:
    if noise.covariance.trace() > 1e-20 * (values**2).sum():
        return
    if (values == values[0, 0]).all():
        raise ValueError(f"{called(data)} is constant: there is nothing to demix; give activity that varies")
    raise identical(data, "all trials of each condition", "; without noise there is nothing to demix from")


def _cells(found: dict[str, tuple[np.ndarray, np.ndarray]], data: xr.DataArray) -> list[np.ndarray]:
    """The trials of each combination of the levels and codes `found`; refuses what cannot tell factors apart."""
    for one, other in itertools.combinations(found, 2):
        (here, first), (there, second) = found[one], found[other]
        pairs = np.unique(np.stack([first, second]), axis=1).T
        if len(pairs) <= max(len(here), len(there)):
            words = listed(f"{here[i]}, {there[j]}" for i, j in pairs)
            raise ValueError(
                f"{one!r} and {other!r} cannot be told apart in {called(data)}: each value of one occurs "
                f"with a single value of the other ({words}). Name only one of them"
            )
    cells = []
    for combination in itertools.product(*(range(len(names)) for names, _ in found.values())):
        level = dict(zip(found, combination, strict=True))
        cell = np.flatnonzero(np.all([found[name][1] == k for name, k in level.items()], axis=0))
        if len(cell) < 2:
            words = ", ".join(f"{name}={found[name][0][k]}" for name, k in level.items())
            raise ValueError(f"{called(data)} has {len(cell)} trials with {words}; every combination needs two or more")
        cells.append(cell)
    return cells


def _noise(design: _Design) -> _Noise:
    n = design.values.shape[-1]
    covariance, in_means, in_level = np.zeros((n, n)), 0.0, 0.0
    means = design.means().reshape(len(design.cells), -1, n)
    for cell, mean, k in zip(design.cells, means, design.counts()[..., None], strict=True):
        rest = (design.values[cell] - mean) * design.there[cell][..., None]
        flat = (rest / np.sqrt(k)).reshape(-1, n)
        covariance += flat.T @ flat
        rest = rest / np.sqrt(k * np.maximum(k - 1, 1))
        in_means += (rest**2).sum()
        in_level += rest.shape[1] * (rest.mean(1) ** 2).sum()
    return _Noise(covariance, in_means, in_level)


def marginalise(means: np.ndarray) -> dict[tuple[int, ...], np.ndarray]:
    """Split `means` (factors..., time, neuron) into its marginalisations, keyed by factors; () is time's alone.

    They sum to `means` less the mean of each neuron, and any two are orthogonal.
    """
    axes = tuple(range(means.ndim - 2))
    centred = means - _center(means)
    found: dict[tuple[int, ...], np.ndarray] = {}
    for size in range(len(axes) + 1):
        for kept in itertools.combinations(axes, size):
            part = centred.mean(axis=tuple(a for a in axes if a not in kept), keepdims=True)
            part = part - sum((found[less] for less in found if set(less) < set(kept)), np.zeros(1))
            found[kept] = part if part.ndim == centred.ndim else np.broadcast_to(part, centred.shape)
    return {key: np.broadcast_to(part, centred.shape) for key, part in found.items()}


def _solve(
    part: np.ndarray, means: np.ndarray, covariance: np.ndarray, penalty: float, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Directions F (component, neuron) and readouts D (component, neuron) of one marginalisation (neuron, sample)."""
    inner = means @ means.T
    whole = inner + covariance + penalty * np.trace(inner) * np.eye(len(means))
    regression = np.linalg.solve(whole, means @ part.T).T
    # the leading left singular vectors of regression @ means
    vectors = np.linalg.eigh(regression @ inner @ regression.T)[1][:, ::-1][:, :k]
    vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(0), np.arange(k)])
    return vectors.T, vectors.T @ regression


def _columns(values: np.ndarray) -> np.ndarray:
    return values.reshape(-1, values.shape[-1]).T


def _penalty(design: _Design, k: int, splits: int, rng: np.random.Generator) -> float:
    """The penalty with which components of training means predict them best from one left-out trial per condition."""
    errors = np.zeros(len(PENALTIES))
    for _ in range(splits):
        left_out = [rng.integers(len(cell)) for cell in design.cells]
        train = design._replace(cells=[np.delete(cell, i) for cell, i in zip(design.cells, left_out, strict=True)])
        test = design._replace(cells=[cell[[i]] for cell, i in zip(design.cells, left_out, strict=True)])
        means, tested = train.means(), test.means()
        center = _center(means)
        covariance = _noise(train).covariance if train.counts().min() > 1 else np.zeros((len(center),) * 2)
        seen = test.counts().ravel() > 0  # where the trial left out was recorded
        columns, new = _columns(means - center), _columns(tested - center)
        for part in marginalise(means).values():
            target = _columns(part)
            for i, penalty in enumerate(PENALTIES):
                directions, readouts = _solve(target, columns, covariance, penalty, k)
                rest = target - directions.T @ (readouts @ new)
                errors[i] += (rest[:, seen] ** 2).sum() / (columns**2).sum()
    return float(PENALTIES[errors.argmin()])


class _Fit(NamedTuple):
    """What the fit of all marginalisations gives, in the order of their names."""

    directions: np.ndarray  # (marginalisation, component, neuron)
    readouts: np.ndarray  # (marginalisation, component, neuron)
    scores: np.ndarray  # (marginalisation, component, factors..., time)
    explained: np.ndarray  # (marginalisation, component)
    variance: np.ndarray  # (marginalisation,)
    signal: np.ndarray  # (marginalisation,)


def _fit(design: _Design, noise: _Noise, penalty: float, k: int) -> _Fit:
    """Fit every marginalisation on all trials."""
    means = design.means()
    columns = _columns(means - _center(means))
    parts = marginalise(means)
    fits = [_solve(_columns(part), columns, noise.covariance, penalty, k) for part in parts.values()]
    directions, readouts = (np.stack(side) for side in zip(*fits, strict=True))
    total = (columns**2).sum()
    # |X|^2 - |X - f d X|^2 for each component, f of length 1
    read = readouts @ columns
    explained = 2 * (directions @ columns * read).sum(-1) - (read**2).sum(-1)
    variance = np.array([(part**2).sum() for part in parts.values()])
    shares = np.array([np.prod([design.shape[a] - 1 for a in kept]) / len(design.cells) for kept in parts])
    wasted = shares * noise.in_means
    wasted[0] -= shares[0] * noise.in_level  # the mean over time of all conditions is taken out as the neurons' mean
    signal = (variance - wasted) / (total - wasted.sum())
    scores = read.reshape(len(fits), k, *means.shape[:-1])
    return _Fit(directions, readouts, scores, explained / total, variance / total, signal)


def _center(means: np.ndarray) -> np.ndarray:
    return means.mean(axis=tuple(range(means.ndim - 1)))


def _described(
    data: xr.DataArray,
    fit: _Fit,
    penalty: float,
    center: np.ndarray,
    levels: dict[str, np.ndarray],
    dims: tuple[str, str],
) -> xr.Dataset:
    """The dataset of a fit."""
    feature, time = dims
    names, unit = list(levels), units_of(data)
    subsets = (s for size in range(len(names) + 1) for s in itertools.combinations(names, size))
    coords = {"marginalisation": [":".join(s) or "time" for s in subsets], **levels, **coords_of(data, *dims)}
    main = ("marginalisation", "component")
    words = "share of the variance of the means"
    return dataset(
        data,
        labelled(fit.directions, (*main, feature), "components", "1", "direction of the component", coords),
        labelled(fit.readouts, (*main, feature), "decoders", "1", "readout of the component", coords),
        labelled(fit.scores, (*main, *names, time), "scores", unit, "score of the mean activity", coords),
        labelled(fit.explained, main, "explained_variance_ratio", "1", words, coords),
        labelled(fit.variance, main[:1], "variance", "1", words, coords),
        labelled(fit.signal, main[:1], "signal", "1", "share of the variance, noise subtracted", coords),
        labelled(penalty, (), "penalty", "1", "penalty, as a part of the whole variance"),
        labelled(center, (feature,), "mean", unit, "mean over conditions and times", coords),
    )
