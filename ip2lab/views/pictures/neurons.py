"""Neurons: their properties over problems, densities, one property against another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import holoviews as hv
import numpy as np
import xarray as xr
from bokeh.palettes import Viridis256

from ip2lab.views.pictures.parts import bands, faded, rings
from ip2lab.views.style import MARK, QUIET, axis, colours, figure, legend, lines, looks, marker_line, points, span

MOST_POINTS = 240  # along one line: more than a panel has pixels for
SHADES = Viridis256[16:232:2]  # without its ends, which are lost on a dark or a light page
ALL_POINTS = 30_000  # of all lines: more would take longer to paint than a slider moves


def property_trajectories(
    values: xr.DataArray,
    *,
    picked: int | None = None,
    at: float | None = None,
    along: str | None = None,
    inks: Sequence[str] | None = None,
    chosen: Sequence[int] = (),
    key: Mapping[str, str] | None = None,
    height: int = 320,
) -> hv.Overlay:
    """One property of every neuron over problems (or steps), one line a neuron.

    Parameters
    ----------
    values : DataArray
        (problem or step, neuron), in the property's unit; positive.
    picked : int, optional
        The index of a neuron to mark.
    at : float, optional
        A place on the first dim to mark.
    along : str, optional
        The coord on the horizontal axis, if not that of the first dim (``"trial"`` for ``/trajectories``).
    inks : sequence of str, optional
        Colour of each neuron.
    chosen : sequence of int
        Indices of neurons to highlight.
    key : mapping of str to str, optional
        What the colours mean, for the legend: a colour for each word.
    height : int
        In pixels.

    Returns
    -------
    Overlay
        One line a neuron (thinned out where there are very many points), the marker, the lines of the chosen neurons
        and of the picked one on top.

    Examples
    --------
    >>> tau = xr.DataArray([[100.0, 90.0], [110.0, 70.0]], dims=("problem", "neuron"), coords={"problem": [-1, 0]})
    >>> len(property_trajectories(tau, picked=0))
    4
    """
    flat = values.transpose(..., "neuron")
    along = along or str(flat.dims[0])
    x, table = _along(flat, along), flat.values.astype(float)
    most = min(len(x), MOST_POINTS, max(ALL_POINTS // table.shape[1], 24))
    keep = np.unique(np.linspace(0, len(x) - 1, most).astype(int))
    names = [axis(flat.coords.get(along, None), along), axis(values)]
    low, high = span(table, 0.04, True)
    paths = [np.column_stack([x[keep], column]) for column in table[keep].T]
    own = [QUIET] * len(paths) if inks is None else list(inks)
    strong = [MARK if inks is None else own[i] for i in chosen]
    whole = [np.column_stack([x, table[:, i]]) for i in chosen]
    parts = [
        lines(paths, names, faded(own, chosen), line_width=1, alpha=0.45 if inks is None else 0.7),
        marker_line(at, low, high, names),
        lines(whole, names, strong, group="Picked", line_width=1.8),
        _one_line(x, table, picked, names),
        *legend(list(key or {}), list((key or {}).values()), names),
    ]
    ends = (float(x.min()), float(max(x.max(), x.min() + 1)))
    return looks(
        hv.Overlay(parts),
        height,
        logy=True,
        xlim=ends,
        ylim=(low, high),
        xlabel=names[0],
        ylabel=names[1],
    )


def picked(picture: hv.Overlay, values: xr.DataArray, neuron: int, *, along: str | None = None) -> hv.Overlay:
    """Return trajectories in which another neuron is marked; all other parts are the same objects.

    Parameters
    ----------
    picture : Overlay
        What :func:`property_trajectories` returned for these values.
    values : DataArray
        (problem or step, neuron).
    neuron : int
        Its index.
    along : str, optional
        As there.

    Examples
    --------
    >>> tau = xr.DataArray([[100.0, 90.0], [110.0, 70.0]], dims=("problem", "neuron"), coords={"problem": [-1, 0]})
    >>> picture = property_trajectories(tau)
    >>> [new is old for new, old in zip(picked(picture, tau, 1), picture)]
    [True, True, True, False]
    """
    flat = values.transpose(..., "neuron")
    thin, marker, chosen, _, *rest = picture
    names = [d.name for d in thin.kdims]
    one = _one_line(_along(flat, along or str(flat.dims[0])), flat.values.astype(float), neuron, names)
    return picture.clone([thin, marker, chosen, one, *rest])


def _along(flat: xr.DataArray, along: str) -> np.ndarray:
    """The places of the points of every line."""
    return np.asarray(flat[along].values if along in flat.coords else np.arange(flat.shape[0]), dtype=float)


def _one_line(x: np.ndarray, table: np.ndarray, neuron: int | None, names: Sequence[str]) -> hv.Contours:
    """The line of the picked neuron."""
    whole = [] if neuron is None else [np.column_stack([x, table[:, neuron]])]
    return lines(whole, names, MARK, group="Picked", line_width=2.6)


def property_density(
    found: xr.Dataset,
    name: str,
    *,
    at: Any,
    picked: float | None = None,
    chosen: Sequence[float] = (),
    label: str = "",
    limits: tuple[float, float] | None = None,
    height: int = 320,
) -> hv.Overlay:
    """The density of one property over neurons, upright beside its trajectories: before learning, and at one problem.

    Parameters
    ----------
    found : Dataset
        What :func:`ip2lab.analysis.neurons.density` returned: ``density`` (property, problem, point) and ``value``.
    name : str
        The property.
    at : int or str
        The problem, by its label.
    picked : float, optional
        A neuron's value to mark.
    chosen : sequence of float
        Values of neurons to highlight.
    label : str
        Words of the property's axis.
    limits : (float, float), optional
        Ends of the property's axis, to match those of the picture beside.
    height : int
        In pixels.

    Returns
    -------
    Overlay
        The two densities, the lower axis being that of the property.

    Examples
    --------
    >>> from ip2lab.analysis import neurons
    >>> values, coords = np.exp(np.eye(3)), {"problem": [-1, 0, 1]}
    >>> tau = xr.DataArray(values, dims=("problem", "neuron"), coords=coords, name="tau_soma")
    >>> len(property_density(neurons.density(tau), "tau_soma", at=1))
    6
    """
    one = found.sel(property=name)
    value = one["value"].values
    curves = [one["density"].isel(problem=0).values, one["density"].sel(problem=at).values]
    names = ["density", label or name]
    shapes = [np.column_stack([np.append(c, 0 * c[:1]), np.append(value, value[-1])]) for c in curves]
    low, high = limits or (float(value[0]), float(value[-1]))
    # Before learning all neurons may be alike: a peak so narrow that the axis follows the later density instead.
    top = 1.15 * max(float(curves[1].max()), min(float(curves[0].max()), 2 * float(curves[1].max())))
    parts = [
        bands(shapes, [QUIET, colours(1)[0]], names),
        lines([s[:-1] for s in shapes], names, [QUIET, colours(1)[0]], line_width=1.8),
        lines([np.array([[0.0, v], [0.07 * top, v]]) for v in chosen], names, [MARK] * len(chosen), line_width=1.4),
        lines([] if picked is None else [np.array([[0.0, picked], [top, picked]])], names, MARK, line_width=1.6),
        *legend(["before learning", "now"], [QUIET, colours(1)[0]], names),
    ]
    return looks(
        hv.Overlay(parts),
        height,
        logy=True,
        xlim=(0.0, top),
        ylim=(low, high),
        xlabel=names[0],
        ylabel=names[1],
        xticks=3,
    )


def shifts(found: xr.Dataset, *, at: int, height: int = 260) -> hv.Overlay:
    """How far the values of each property have moved over neurons: densities of the ratio to the first value.

    Parameters
    ----------
    found : Dataset
        What :func:`ip2lab.analysis.neurons.density` returned for values divided by those before learning.
    at : int
        The problem.
    height : int
        In pixels.

    Returns
    -------
    Overlay
        One density a property, each scaled to a height of 1.

    Examples
    --------
    >>> from ip2lab.analysis import neurons
    >>> values, coords = np.exp(np.eye(2, 3)), {"problem": [-1, 0]}
    >>> ratio = xr.DataArray(values, dims=("problem", "neuron"), coords=coords, name="tau_soma")
    >>> len(shifts(neurons.density(ratio), at=0))
    3
    """
    names = ["value over its value before learning", "density, over its largest"]
    kinds = [str(k) for k in found["property"].values]
    inks = colours(len(kinds))
    now = found["density"].sel(problem=at)
    height_of = now.max("point")  # what hardly moves has a density many times as high as what spreads
    curves = [
        np.column_stack([found["value"].sel(property=k).values, (now / height_of).sel(property=k).values])
        for k in kinds
    ]
    top = 1.1
    xlim = (min(0.5, *(float(c[0, 0]) for c in curves)), max(2.0, *(float(c[-1, 0]) for c in curves)))
    parts = [
        bands([np.vstack([c, [[c[-1, 0], 0], [c[0, 0], 0]]]) for c in curves], inks, names),
        lines(curves, names, inks, line_width=2),
        *legend(kinds, inks, names),
    ]
    return looks(
        hv.Overlay(parts),
        height,
        logx=True,
        xlim=xlim,
        ylim=(0, top),
        xlabel=names[0],
        ylabel=names[1],
    )


def scatter(
    x: xr.DataArray,
    y: xr.DataArray,
    *,
    picked: int | None = None,
    inks: Sequence[str] | None = None,
    chosen: Sequence[int] = (),
    limits: tuple[tuple[float, float], tuple[float, float]] | None = None,
    height: int = 260,
) -> hv.Overlay:
    """Two properties of every neuron against each other, on logarithmic axes.

    Parameters
    ----------
    x, y : DataArray
        (neuron), positive.
    picked : int, optional
        The index of a neuron to mark.
    inks : sequence of str, optional
        Colour of each neuron.
    chosen : sequence of int
        Indices of neurons to highlight.
    limits : pair of (float, float), optional
        Ends of the two axes.
    height : int
        In pixels.

    Returns
    -------
    Overlay
        One point a neuron, the picked one and the chosen ones marked.

    Examples
    --------
    >>> values = xr.DataArray([1.0, 2.0], dims="neuron", name="threshold")
    >>> len(scatter(values, 10 * values, picked=0))
    3
    """
    names = [axis(x), axis(y) if axis(y) != axis(x) else axis(y) + " "]
    a, b = x.values.astype(float), y.values.astype(float)
    xlim, ylim = limits or (span(a, 0.06, True), span(b, 0.06, True))
    mine = [] if picked is None else [picked]
    own = colours(1) * len(a) if inks is None else list(inks)
    parts = [
        points(a[mine], b[mine], names, MARK, size=15),
        rings(a, b, chosen, names),
        points(a, b, names, faded(own, chosen), size=7, alpha=0.75),
    ]
    return looks(
        hv.Overlay(parts), height, logx=True, logy=True, xlim=xlim, ylim=ylim, xlabel=names[0], ylabel=names[1]
    )


def shades(values: xr.DataArray) -> tuple[list[str], dict[str, str]]:
    """Return a colour for each neuron by what it has, and what the colours mean.

    Parameters
    ----------
    values : DataArray
        (neuron): whole numbers for groups, a colour each; other numbers for a scale from low to high, logarithmic
        where all are positive and they span more than a decade.

    Returns
    -------
    list of str
        Colours, for `inks` of these pictures.
    dict of str to str
        The colour of each group, or of five places on the scale: for `key`.

    Examples
    --------
    >>> inks, key = shades(xr.DataArray([0, 1, 0], dims="neuron", name="community"))
    >>> inks[0] == inks[2] == key["community 0"], len(key)
    (True, 2)
    >>> list(shades(xr.DataArray([1.0, 10.0, 100.0], dims="neuron"))[1])
    ['1', '3.16', '10', '31.6', '100']
    """
    found = values.values
    if found.dtype.kind in "iub":
        groups = np.unique(found).tolist()
        ink = dict(zip(groups, colours(len(groups)), strict=True))
        return [ink[v] for v in found.tolist()], {f"{values.name or 'group'} {g}": c for g, c in ink.items()}
    logs = bool((found > 0).all() and found.max() > 10 * found.min())
    place = np.log(found) if logs else found.astype(float)
    low, high = float(place.min()), float(place.max())
    step = (len(SHADES) - 1) / ((high - low) or 1.0)
    marks = np.linspace(low, high, 5 if high > low else 1)
    unit = values.attrs.get("units", "1")
    words = [figure(np.exp(m) if logs else m) + (f" {unit}" if unit != "1" else "") for m in marks]
    inks = [[SHADES[round((v - low) * step)] for v in row.tolist()] for row in (place, marks)]
    return inks[0], dict(zip(words, inks[1], strict=True))
