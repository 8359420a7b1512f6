"""How the intrinsic properties of neurons adapt."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xarray as xr

from ip2lab.analysis._arrays import apply, dataset, describe, free, units_of, variables_with
from ip2lab.analysis._checks import check_rising
from ip2lab.analysis._labels import listed
from ip2lab.checks import checked
from ip2lab.properties import PROPERTIES


class _Scaled(NamedTuple):
    values: xr.DataArray  # (property, ..., along, feature), by their logarithm where they are always positive
    linear: xr.DataArray  # (property,), whether a property is signed and stays as it is
    coords: dict[str, xr.DataArray]  # unit and scale (property,)

    def unscaled(self, values: xr.DataArray) -> xr.DataArray:
        """Turn what is on these scales into values in the properties' units."""
        return xr.where(self.linear, values, np.exp(values.where(~self.linear, 0.0)))


def _by_property(properties: xr.Dataset | xr.DataArray, along: str, feature: str) -> _Scaled:
    """All properties with both dims as one array, each on its scale."""
    found = {
        name: free(v, "property", "unit", "scale")
        for name, v in variables_with(properties, along=along, feature=feature).items()
    }
    signed = [name in PROPERTIES and PROPERTIES[name].signed for name in found]
    for (name, values), linear in zip(found.items(), signed, strict=True):
        if not linear and (values <= 0).any():
            raise ValueError(
                f"{name!r} holds {float(values.min()):g}; properties are compared by their logarithm and "
                "must be positive"
            )
    names = xr.DataArray(list(found), dims="property", name="property", attrs={"units": "1", "long_name": "property"})
    parts = [v.astype(float).drop_attrs(deep=False) for v in found.values()]
    whole = xr.concat(parts, dim=names, coords="minimal", compat="override", join="exact")
    unit = xr.DataArray([units_of(v) for v in found.values()], dims="property")
    where = xr.DataArray(signed, dims="property")
    scale = xr.DataArray(["linear" if one else "log" for one in signed], dims="property")
    coords = {
        "unit": describe(unit, "unit", "1", "unit of the property"),
        "scale": describe(scale, "scale", "1", "scale on which the property is compared"),
    }
    whole = whole.transpose("property", ..., along, feature)
    logs: xr.DataArray = xr.ufuncs.log(whole.where(~where, 1.0))
    return _Scaled(xr.where(where, whole, logs, keep_attrs=False), where, coords)


@checked
def drift(
    properties: xr.Dataset | xr.DataArray, *, along: str = "problem", feature: str = "neuron", within: str | None = None
) -> xr.Dataset:
    r"""How far every neuron's properties have moved, on the logarithm, from where they were.

    .. math:: \mathrm{drift}_i(p) = \ln\frac{v_i(p)}{v_i(p_0)}

    so that properties with different units stand side by side: 0.69 is twice, -0.69 is half the first value. A signed
    property (the bias) is compared on a linear scale: its drift is :math:`v_i(p) - v_i(p_0)`, in its own unit.

    Parameters
    ----------
    properties : xarray.Dataset or xarray.DataArray
        A run's ``/properties`` (along, feature), or ``/trajectories`` with ``along="step"``, or one property. All
        variables with both dims are used; values of other than signed properties must be positive.
    along, feature : str
        The dims of problems (or steps) and of neurons.
    within : str, optional
        A coord along `along` (``"problem"`` of the trajectories): drift is then counted from the first step of each of
        its values, not from the first of all.

    Returns
    -------
    xarray.Dataset
        ``drift`` (property, ..., along, feature), natural logarithm of a ratio; ``change`` the same from one point to
        the next (0 at the first); ``size`` (property, ..., along), the root mean square of `change` over neurons;
        ``spread`` (property, ..., along), the standard deviation of the logarithm over neurons; ``directedness``
        (property, ..., feature), the net way over the whole way: 1 for one direction, near 0 for to and fro, 0 where
        nothing moved. The coords ``unit`` and ``scale`` (property) have the units of the values, and whether they are
        compared by their logarithm (``"log"``) or as they are (``"linear"``).

    Raises
    ------
    ValueError
        No variable with both dims, values that are not positive, NaN.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from ip2lab.analysis import neurons
    >>> values = [[100.0, 100.0], [200.0, 100.0], [400.0, 100.0]]
    >>> tau = xr.DataArray(values, dims=("problem", "neuron"), name="tau_soma")
    >>> moved = neurons.drift(tau)
    >>> moved.drift.sel(property="tau_soma").round(2).values.tolist(), moved.directedness.round(2).values.tolist()
    ([[0.0, 0.0], [0.69, 0.0], [1.39, 0.0]], [[1.0, 0.0]])
    """
    logs, _, coords = _by_property(properties, along, feature)
    check_rising(logs, along)
    first = _first_of_each(logs, along, within)
    start = xr.zeros_like(logs.isel({along: [0]}))
    change = xr.concat(
        [start, logs.diff(along, label="upper")], dim=along, join="outer", coords="minimal", compat="override"
    )
    change = change.assign_coords(logs.coords).where(first.same, 0.0) if within else change.assign_coords(logs.coords)
    way: xr.DataArray = abs(change).sum(along)
    net: xr.DataArray = abs(change.sum(along))
    moved = way > 1e-12
    directed = xr.where(moved, net / way.where(moved, 1.0), 0.0)
    order = [str(d) for d in logs.dims if d not in (along, feature)]
    words = "drift: natural logarithm of the value over the first one"
    result = dataset(
        properties,
        describe(logs - first.value, "drift", "1", words + (f" of the {within}" if within else "")),
        describe(
            change.transpose(*logs.dims),
            "change",
            "1",
            f"natural logarithm of the value over the one at the previous {along}",
        ),
        describe(
            ((change**2).mean(feature) ** 0.5).transpose(*order, along),
            "size",
            "1",
            "root mean square change over neurons",
        ),
        describe(
            logs.std(feature).transpose(*order, along),
            "spread",
            "1",
            "standard deviation over neurons of the logarithm",
        ),
        describe(directed.transpose(*order, feature), "directedness", "1", "net way over whole way"),
    )
    return result.assign_coords(coords)


class _Start(NamedTuple):
    value: xr.DataArray  # the value from which each point is counted
    same: xr.DataArray  # whether a point has a predecessor in its own group


def _first_of_each(logs: xr.DataArray, along: str, within: str | None) -> _Start:
    """For each point along `along` the first of its group."""
    n = logs.sizes[along]
    if within is None:
        index, same = np.zeros(n, int), np.arange(n) > 0
    elif within not in logs.coords or logs[within].dims != (along,):
        raise ValueError(f"within={within!r} is not a coord along {along!r}; there are {listed(logs.coords)}")
    else:
        labels = logs[within].values
        same = np.append(False, labels[1:] == labels[:-1])
        index = np.maximum.accumulate(np.where(same, 0, np.arange(n)))
    value = logs.isel({along: index}).assign_coords(logs.coords)
    return _Start(value, xr.DataArray(same, dims=along))


@checked
def density(
    properties: xr.Dataset | xr.DataArray, *, along: str = "problem", feature: str = "neuron", points: int = 128
) -> xr.Dataset:
    r"""Density of each property over neurons, at every problem.

    .. math:: \hat f(\ln v) = \frac1{N h}\sum_i \varphi\Bigl(\frac{\ln v-\ln v_i}{h}\Bigr)

    a Gaussian kernel estimate on the natural logarithm (of a signed property, the bias, on the value); the width h is
    Silverman's, but at least a fiftieth of the grid, so that a population that is (still) all alike is a narrow peak
    and not a division by zero.

    Parameters
    ----------
    properties : xarray.Dataset or xarray.DataArray
        A run's ``/properties`` (along, feature), or one property.
    along, feature : str
        The dims of problems and of neurons.
    points : int
        Number of points of the grid, which is the same for all problems.

    Returns
    -------
    xarray.Dataset
        ``density`` (property, ..., along, point), per natural logarithm: it integrates to 1 over ln(value); ``value``
        (property, point), the grid in the property's own unit, which the coord ``unit`` (property) has. Where the
        coord ``scale`` (property) is ``"linear"``, the density is that of the value itself.

    Raises
    ------
    ValueError
        No variable with both dims, values that are not positive, NaN, fewer than 16 points.

    References
    ----------
    Silverman, Density Estimation for Statistics and Data Analysis (1986), section 3.4.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from ip2lab.analysis import neurons
    >>> values = np.random.default_rng(0).lognormal(np.log(100), 0.5, size=(4, 50))
    >>> found = neurons.density(xr.DataArray(values, dims=("problem", "neuron"), name="tau_dendrite"))
    >>> curve = found.sel(property="tau_dendrite").isel(problem=3)
    >>> round(float(np.trapezoid(curve.density, np.log(curve.value))), 3)
    1.0
    """
    scaled = _by_property(properties, along, feature)
    logs = free(scaled.values, "point")
    others = [d for d in logs.dims if d != "property"]
    low, high = logs.min(others), logs.max(others)
    margin = np.maximum(0.25 * (high - low), 0.25)
    share = xr.DataArray(np.linspace(0, 1, points), dims="point")
    grid = (low - margin) + share * (high - low + 2 * margin)
    found = apply(_kernel_density, logs, grid, over=[(feature,), ("point",)], into=[("point",)])
    result = dataset(
        properties,
        describe(
            found.transpose(*logs.dims[:-1], "point"),
            "density",
            "1",
            "density over neurons, per natural logarithm of the value",
        ),
        describe(scaled.unscaled(grid), "value", "as the property", "value of the property"),
    )
    return result.assign_coords(scaled.coords)


def _kernel_density(values: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Gaussian kernel density of `values` (..., neuron) at `grid` (..., point), which is evenly spaced."""
    n = values.shape[-1]
    quartiles = np.quantile(values, [0.25, 0.75], axis=-1)
    spread = np.minimum(values.std(-1), (quartiles[1] - quartiles[0]) / 1.34)
    spread = np.where(spread > 0, spread, values.std(-1))
    widest = grid[..., -1] - grid[..., 0]
    # at most a sixteenth of the grid: its margin is then enough for the kernel's tails
    width = np.clip(0.9 * spread * n**-0.2, widest / 50, widest / 16)
    total = np.zeros(np.broadcast_shapes((*values.shape[:-1], 1), grid.shape))
    for i in range(n):  # neuron by neuron: an array (..., neuron, point) would be n times larger than the result
        total += np.exp(-0.5 * ((grid - values[..., i, None]) / width[..., None]) ** 2)
    return total / (n * width[..., None] * np.sqrt(2 * np.pi))
