"""Neurons: their properties over problems, densities, one property against another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import holoviews as hv
import numpy as np
import pandas as pd
import xarray as xr
from bokeh.palettes import Viridis256

from ip2lab.analysis._labels import check_unique, levels, listed, match
from ip2lab.views.plots.parts import (
    Axis,
    along_series,
    bands,
    faded,
    has,
    increasing,
    indices,
    inks_of,
    named,
    neuron_inks,
    rings,
    seen,
    series_axis,
    with_dims,
)
from ip2lab.views.style import (
    MARK,
    QUIET,
    axis,
    colours,
    figure,
    legend,
    lines,
    logarithmic,
    marker_line,
    picture,
    plain,
    points,
    span,
)

MOST_POINTS = 240  # along one line: more than a panel has pixels for
SHADES = Viridis256[16:232:2]  # without its ends, which are lost on a dark or a light page
ALL_POINTS = 30_000  # of all lines: more would take longer to paint than a slider moves


def property_trajectories(
    values: xr.DataArray,
    *,
    picked: int | None = None,
    at: Any = None,
    along: str | None = None,
    colors: Sequence[str] | None = None,
    chosen: Sequence[int] = (),
    key: Mapping[str, str] | None = None,
    height: int = 320,
) -> hv.Overlay:
    """One property of every neuron over problems (or steps), one line a neuron.

    Parameters
    ----------
    values : DataArray
        (problem or step, neuron), in the property's unit; on a logarithmic axis unless signed.
    picked : int, optional
        The index of a neuron to mark.
    at : optional
        The label of a place on the horizontal axis to mark.
    along : str, optional
        The coord on the horizontal axis, if not that of the first dim (``"trial"`` for ``/trajectories``).
    colors : sequence of str, optional
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
    x, table, where = _along(values, along)
    flat = with_dims(values, "neuron", others=(1,))
    chosen = indices(chosen, table.shape[1], "chosen")
    most = min(len(x), MOST_POINTS, max(ALL_POINTS // table.shape[1], 24))
    keep = np.unique(np.linspace(0, len(x) - 1, most).astype(int))
    along = along or str(flat.dims[0])
    names = [axis(flat.coords.get(along, None), along), axis(values)]
    logs = logarithmic(values)
    low, high = span(table, 0.04, logs)
    paths = [np.column_stack([x[keep], column]) for column in table[keep].T]
    own = neuron_inks(colors, flat[0], QUIET)
    strong = [MARK if colors is None else own[i] for i in chosen]
    whole = [np.column_stack([x, table[:, i]]) for i in chosen]
    parts = [
        lines(paths, names, faded(own, chosen), line_width=1, alpha=0.45 if colors is None else 0.7),
        marker_line(None if at is None else float(where.place(at).ravel()[0]), low, high, names),
        lines(whole, names, strong, group="Picked", line_width=1.8),
        _one_line(x, table, picked, names),
        *legend(list(key or {}), list((key or {}).values()), names),
    ]
    return picture(
        parts,
        height,
        names,
        logy=logs,
        xlim=(float(x.min()), float(max(x.max(), x.min() + 1))),
        ylim=(low, high),
        xlabel=names[0],
        ylabel=names[1],
        **({"xticks": where.ticks} if where.ticks else {}),
    )


def highlight(picture: hv.Overlay, values: xr.DataArray, neuron: int, *, along: str | None = None) -> hv.Overlay:
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
    >>> [new is old for new, old in zip(highlight(picture, tau, 1), picture)]
    [True, True, True, False]
    """
    x, table, _ = _along(values, along)
    thin, marker, chosen, _, *rest = picture
    names = [d.label for d in thin.kdims]
    one = _one_line(x, table, neuron, names)
    return picture.clone([thin, marker, chosen, one, *rest])


def _along(values: xr.DataArray, along: str | None) -> tuple[np.ndarray, np.ndarray, Axis]:
    """The places of the points of every line, their values (place, neuron) in that order, and the axis."""
    flat = with_dims(values, "neuron", others=(1,))
    dim = str(flat.dims[0])
    if not flat.size:
        raise ValueError(f"values has nothing along {listed(d for d in flat.dims if not flat.sizes[d])}")
    flat = along_series(flat, dim)[0]
    if along is not None and (along not in flat.coords or flat[along].dims != (dim,)):
        known = [name for name, coord in flat.coords.items() if coord.dims == (dim,)]
        raise ValueError(f"along={along!r} is no coord along {dim!r}; there are {listed(known)}")
    labels = flat[along or dim].values
    where = series_axis(labels)
    return where.place(labels), seen(flat).values.astype(float), where


def _one_line(x: np.ndarray, table: np.ndarray, neuron: int | None, names: Sequence[str]) -> hv.Contours:
    """The line of the picked neuron."""
    place = [] if neuron is None else indices([neuron], table.shape[1], "the neuron that is picked")
    whole = [np.column_stack([x, table[:, i]]) for i in place]
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
    at : int, str or other label
        The problem.
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
    value, density = _one_property(found, name)
    curves = [density.isel(problem=0).values, _after(density, at).values]
    names = ["density", label or name]
    shapes = [np.column_stack([np.append(c, 0 * c[:1]), np.append(value, value[-1])]) for c in curves]
    low, high = limits or (float(value[0]), float(value[-1]))
    # Before learning all neurons may be alike: a peak so narrow that the axis follows the later density instead.
    highest = [float(np.max(c[np.isfinite(c)], initial=0.0)) for c in curves]
    top = 1.15 * max(highest[1], min(highest[0], 2 * highest[1])) or 1.0
    parts = [
        bands([*zip(shapes, (QUIET, colours(1)[0]), strict=False)], names),
        lines([s[:-1] for s in shapes], names, [QUIET, colours(1)[0]], line_width=1.8),
        lines([np.array([[0.0, v], [0.07 * top, v]]) for v in chosen], names, [MARK] * len(chosen), line_width=1.4),
        lines([] if picked is None else [np.array([[0.0, picked], [top, picked]])], names, MARK, line_width=1.6),
        *legend(["before learning", "now"], [QUIET, colours(1)[0]], names),
    ]
    return picture(
        parts,
        height,
        names,
        logy=logarithmic(xr.DataArray(value, name=name)),
        xlim=(0.0, top),
        ylim=(low, high),
        xticks=3,
    )


def _one_property(found: xr.Dataset, name: str) -> tuple[np.ndarray, xr.DataArray]:
    """The values of one property at which there is a density, in their order, and that (problem, point)."""
    found = increasing(has(found, "density", "value", "property"), "point") if "point" in found.coords else found
    if name not in found["property"].values:
        raise ValueError(f"there is no property {name!r} in found; there are {listed(found['property'].values)}")
    one = found.sel(property=name)
    density = along_series(with_dims(one["density"], "problem", "point"), "problem")[0]
    return with_dims(one["value"], "point").values, density


def _after(density: xr.DataArray, at: Any) -> xr.DataArray:
    """The density after one problem."""
    place = [i for i, label in enumerate(density["problem"].values) if label == at]
    if not place:
        raise ValueError(f"at={at!r} is no problem of found; there are {listed(density['problem'].values)}")
    return density.isel(problem=place[0])


def shifts(found: xr.Dataset, *, at: Any, height: int = 260) -> hv.Overlay:
    """How far the values of each property have moved over neurons: densities of the ratio to the first value.

    Parameters
    ----------
    found : Dataset
        What :func:`ip2lab.analysis.neurons.density` returned for values divided by those before learning.
    at : int, str or other label
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
    has(found, "density", "value", "property")
    check_unique(found["density"], "property")
    kinds = [str(k) for k in levels(found["property"].values)[0]]
    colors = colours(len(kinds))
    one = {k: _one_property(found, k) for k in kinds}
    now = {k: _after(density, at).values for k, (_, density) in one.items()}
    # what hardly moves has a density many times as high as what spreads
    curves = [np.column_stack([one[k][0], now[k] / (now[k].max() or 1.0)]) for k in kinds]
    areas = [np.vstack([c, [[c[-1, 0], 0], [c[0, 0], 0]]]) for c in curves]
    top = 1.1
    places = np.concatenate([c[:, 0] for c in curves])
    places = places[np.isfinite(places) & (places > 0)]
    xlim = (float(min(0.5, *places)), float(max(2.0, *places))) if places.size else (0.5, 2.0)
    parts = [
        bands([*zip(areas, colors, strict=True)], names),
        lines(curves, names, colors, line_width=2),
        *legend(kinds, colors, names),
    ]
    return picture(
        parts,
        height,
        names,
        logx=True,
        xlim=xlim,
        ylim=(0, top),
    )


def scatter(
    x: xr.DataArray,
    y: xr.DataArray,
    *,
    picked: int | None = None,
    colors: Sequence[str] | None = None,
    chosen: Sequence[int] = (),
    limits: tuple[tuple[float, float], tuple[float, float]] | None = None,
    height: int = 260,
) -> hv.Overlay:
    """Two properties of every neuron against each other, on logarithmic axes unless a property is signed.

    Parameters
    ----------
    x, y : DataArray
        (neuron), matched by their labels.
    picked : int, optional
        The index of a neuron to mark.
    colors : sequence of str, optional
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
    names = [axis(x), axis(y)]
    y = match(with_dims(x, "neuron"), with_dims(y, "neuron"))
    a, b = x.values.astype(float), y.values.astype(float)
    chosen = indices(chosen, len(a), "chosen")
    logs = logarithmic(x), logarithmic(y)
    xlim, ylim = limits or (span(a, 0.06, logs[0]), span(b, 0.06, logs[1]))
    mine = [] if picked is None else indices([picked], len(a), "picked")
    own = neuron_inks(colors, x, colours(1)[0])
    parts = [
        points(a[mine], b[mine], names, MARK, size=15),
        rings(a, b, chosen, names),
        points(a, b, names, faded(own, chosen), size=7, alpha=0.75),
    ]
    return picture(
        parts,
        height,
        names,
        logx=logs[0],
        logy=logs[1],
        xlim=xlim,
        ylim=ylim,
    )


def color_scale(values: xr.DataArray) -> tuple[list[str], dict[str, str]]:
    """Return a colour for each neuron by what it has, and what the colours mean.

    Parameters
    ----------
    values : DataArray
        (neuron): whole numbers or words for groups, a colour each; other numbers for a scale from low to high,
        logarithmic where all are positive and they span more than a decade. What is not finite is grey.

    Returns
    -------
    list of str
        Colours, for `colors` of these pictures.
    dict of str to str
        The colour of each group, or of five places on the scale: for `key`.

    Examples
    --------
    >>> colors, key = color_scale(xr.DataArray([0, 1, 0], dims="neuron", name="community"))
    >>> colors[0] == colors[2] == key["community 0"], len(key)
    (True, 2)
    >>> list(color_scale(xr.DataArray([1.0, 10.0, 100.0], dims="neuron"))[1])
    ['1', '3.16', '10', '31.6', '100']
    """
    found = with_dims(values, "neuron").values
    return _of_groups(values, found) if found.dtype.kind != "f" else _of_numbers(values, found)


def _of_groups(values: xr.DataArray, found: np.ndarray) -> tuple[list[str], dict[str, str]]:
    """A colour for each group."""
    missing = int(pd.isna(found).sum())
    if missing:
        raise ValueError(f"values: {missing} neurons have no group; drop them first")
    ink = inks_of(found)
    return [ink[v] for v in found], {named(str(values.name or "group"), g): c for g, c in ink.items()}


def _of_numbers(values: xr.DataArray, found: np.ndarray) -> tuple[list[str], dict[str, str]]:
    """A colour for each place on a scale, logarithmic where the numbers span more than a decade above 0."""
    known = found[np.isfinite(found)].astype(float)
    logs = bool(known.size and known.min() > 0 and known.max() > 10 * known.min())
    known, place = (
        (np.log(known), np.log(np.where(np.isfinite(found), found, np.nan))) if logs else (known, found.astype(float))
    )
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
    step = (len(SHADES) - 1) / ((high - low) or 1.0)

    def shade(v: float) -> str:
        return SHADES[round((v - low) * step)] if np.isfinite(v) else QUIET

    marks = np.linspace(low, high, 5 if high > low else 1) if known.size else known
    unit = plain(values.attrs.get("units", "1"))
    unit = "" if unit == "1" else f" {unit}"
    key = {figure(np.exp(m) if logs else m) + unit: shade(m) for m in marks}
    return [shade(v) for v in place], key | ({"no value": QUIET} if known.size < found.size else {})
