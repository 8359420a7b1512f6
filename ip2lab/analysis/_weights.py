"""Recurrent weights: their spectral radius, how groups of parameters move, and whether gradients agree."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xarray as xr

from ip2lab.analysis._arrays import apply, dataset, describe, variables_with
from ip2lab.analysis._checks import check, check_free, check_length, check_rising
from ip2lab.analysis._labels import called, match_axes
from ip2lab.checks import checked


def square(weights: xr.DataArray, neuron: str, presynaptic: str) -> xr.DataArray:
    """Recurrent weights (..., neuron, presynaptic), both sides in the same order; ValueError where they are not."""
    check(weights, neuron=neuron, presynaptic=presynaptic, finite=True)
    if weights.sizes[neuron] != weights.sizes[presynaptic]:
        raise ValueError(
            f"{called(weights)} has {weights.sizes[neuron]} along {neuron!r} and {weights.sizes[presynaptic]} along "
            f"{presynaptic!r}; expected recurrent weights, as many of both"
        )
    return match_axes(weights, neuron, presynaptic).astype(float)


@checked
def spectral_radius(weights: xr.DataArray, *, neuron: str = "neuron", presynaptic: str = "presynaptic") -> xr.DataArray:
    r"""Spectral radius :math:`\max_k\lvert\lambda_k\rvert` of the recurrent weights.

    Parameters
    ----------
    weights : xarray.DataArray
        Recurrent weights (..., neuron, presynaptic).
    neuron, presynaptic : str
        The dims.

    Returns
    -------
    xarray.DataArray
        ``spectral_radius`` (...).

    Raises
    ------
    ValueError
        A matrix that is not square, dims whose labels differ, NaN, a missing dim.

    Examples
    --------
    >>> import xarray as xr
    >>> from ip2lab.analysis import connectivity
    >>> rotation = xr.DataArray([[0.0, -2.0], [2.0, 0.0]], dims=("neuron", "presynaptic"))
    >>> round(float(connectivity.spectral_radius(rotation)), 6)
    2.0
    """
    radius = apply(_radius, square(weights, neuron, presynaptic), over=[(neuron, presynaptic)])
    return describe(radius, "spectral_radius", "1", "spectral radius", weights)


def _radius(matrices: np.ndarray) -> np.ndarray:
    return np.abs(np.linalg.eigvals(matrices)).max(-1)


class _Groups(NamedTuple):
    names: xr.DataArray
    numbers: xr.Variable  # the labels along the series
    values: list[np.ndarray]  # each group as a matrix (along, value)


def _groups(parameters: xr.Dataset | xr.DataArray, along: str) -> _Groups:
    """The groups of parameters that have `along`."""
    found = variables_with(parameters, along=along)
    first = next(iter(found.values()))
    check_length(first, along, 2, "a comparison")
    check_free((along,), "parameter", "other")
    names = xr.DataArray(list(found), dims="parameter", attrs={"units": "1", "long_name": "group of parameters"})
    flat = [v.transpose(along, ...).values.reshape(v.sizes[along], -1).astype(float) for v in found.values()]
    return _Groups(names, first[along].variable, flat)


@checked
def change_size(weights: xr.Dataset | xr.DataArray, *, along: str = "problem") -> xr.Dataset:
    r"""How far each group of parameters moves: :math:`\lVert W_p-W_{p-1}\rVert_F` and relative to what it was.

    Parameters
    ----------
    weights : xarray.Dataset or xarray.DataArray
        A run's ``/weights`` (along, ...), or one group. Groups without `along` are left out.
    along : str
        The dim of problems.

    Returns
    -------
    xarray.Dataset
        ``change`` (parameter, along), the Frobenius norm, from the second problem on; ``relative`` (parameter, along),
        the same over the norm of the former weights; ``from_start`` (parameter, along), the distance from the first
        over the norm of the first. Relative sizes are infinite for weights that were 0.

    Raises
    ------
    ValueError
        No group with `along`, one point along it or numbers that do not rise, NaN.

    Examples
    --------
    >>> import xarray as xr
    >>> from ip2lab.analysis import connectivity
    >>> weights = xr.Dataset({"input_weights": (("problem", "neuron"), [[3.0, 4.0], [3.0, 4.5], [3.0, 5.0]])})
    >>> found = connectivity.change_size(weights)
    >>> found.relative.round(2).values.tolist(), found.from_start.values.tolist()
    ([[0.1, 0.09]], [[0.1, 0.2]])
    """
    names, numbers, groups = _groups(weights, along)
    check_rising(weights.to_dataset() if isinstance(weights, xr.DataTree) else weights, along)
    change = np.stack([np.linalg.norm(np.diff(g, axis=0), axis=1) for g in groups])
    norms = np.stack([np.linalg.norm(g, axis=1) for g in groups])
    away = np.stack([np.linalg.norm(g[1:] - g[0], axis=1) for g in groups])
    coords = {"parameter": names, along: numbers[1:]}
    dims = ("parameter", along)
    relative, start = (
        np.divide(a, b, out=np.where(a > 0, np.inf, 0.0), where=b > 0)
        for a, b in ((change, norms[:, :-1]), (away, np.broadcast_to(norms[:, :1], away.shape)))
    )
    return dataset(
        weights,
        describe(
            xr.DataArray(change, dims=dims, coords=coords),
            "change",
            "1",
            f"size of the change since the {along} before",
        ),
        describe(xr.DataArray(relative, dims=dims, coords=coords), "relative", "1", "relative size of the change"),
        describe(xr.DataArray(start, dims=dims, coords=coords), "from_start", "1", "relative distance from the first"),
    )


@checked
def gradient_alignment(gradients: xr.Dataset | xr.DataArray, *, along: str = "problem") -> xr.Dataset:
    r"""Do the gradients of different problems (or trials) point the same way? Cosines, for each group of parameters.

    .. math:: \cos(g_p, g_q) = \frac{g_p\cdot g_q}{\lVert g_p\rVert\lVert g_q\rVert}

    Parameters
    ----------
    gradients : xarray.Dataset or xarray.DataArray
        (along, ...): the gradient (or the update) of each group of parameters at each problem.
    along : str
        The dim of problems or trials.

    Returns
    -------
    xarray.Dataset
        ``alignment`` (parameter, along, other), where ``other`` has the labels of `along`: 1 for the same direction; 0
        where a gradient is zero; ``chance`` (parameter), the 95% quantile of its absolute value for random directions
        in as many dimensions.

    Raises
    ------
    ValueError
        No group with `along`, one point along it, NaN.

    Examples
    --------
    >>> import xarray as xr
    >>> from ip2lab.analysis import connectivity
    >>> gradients = xr.DataArray([[1.0, 0.0], [1.0, 1.0], [0.0, -2.0]], dims=("problem", "neuron"), name="threshold")
    >>> connectivity.gradient_alignment(gradients).alignment.sel(parameter="threshold").round(2).values.tolist()
    [[1.0, 0.71, 0.0], [0.71, 1.0, -0.71], [0.0, -0.71, 1.0]]
    """
    from scipy import stats

    names, numbers, groups = _groups(gradients, along)
    cosines, chance = [], []
    for values in groups:
        norm = np.linalg.norm(values, axis=1, keepdims=True)
        unit = np.divide(values, norm, out=np.zeros_like(values), where=norm > 0)
        cosines.append(unit @ unit.T)
        n = values.shape[1]
        # the square of a cosine of random directions has this distribution; in one dimension it is always 1
        chance.append(np.sqrt(stats.beta.ppf(0.95, 0.5, (n - 1) / 2)) if n > 1 else 1.0)
    other = ("other", numbers.values, numbers.attrs)
    coords = {"parameter": names, along: numbers, "other": other}
    # + 0.0 turns -0.0 into 0.0
    alignment = xr.DataArray(np.stack(cosines) + 0.0, dims=("parameter", along, "other"), coords=coords)
    bound = xr.DataArray(chance, dims="parameter", coords={"parameter": names})
    return dataset(
        gradients,
        describe(alignment, "alignment", "1", "cosine between gradients"),
        describe(bound, "chance", "1", "95% quantile of its absolute value for random directions"),
    )
