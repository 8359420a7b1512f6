"""Neurons: properties over problems, densities, what one neuron does."""

from __future__ import annotations

from collections.abc import Sequence

import holoviews as hv
import numpy as np
import xarray as xr

from ip2lab.views.pictures.parts import bands, borders
from ip2lab.views.style import MARK, QUIET, axis, colours, legend, lines, looks, marker_line, points, span, uprights

MOST_POINTS = 240  # along one line: more than a panel has pixels for


def property_trajectories(
    values: xr.DataArray,
    *,
    picked: int | None = None,
    at: float | None = None,
    along: str | None = None,
    inks: Sequence[str] | None = None,
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
    height : int
        In pixels.

    Returns
    -------
    Overlay
        One line a neuron, the chosen one on top, and the marker.

    Examples
    --------
    >>> tau = xr.DataArray([[100.0, 90.0], [110.0, 70.0]], dims=("problem", "neuron"), coords={"problem": [-1, 0]})
    >>> len(property_trajectories(tau, picked=0))
    3
    """
    flat = values.transpose(..., "neuron")
    along = along or str(flat.dims[0])
    x = flat[along].values if along in flat.coords else np.arange(flat.shape[0])
    keep = np.unique(np.linspace(0, len(x) - 1, min(len(x), MOST_POINTS)).astype(int))
    table = flat.values.astype(float)
    names = [axis(flat.coords.get(along, None), along), axis(values)]
    low, high = span(table, 0.04, True)
    paths = [np.column_stack([x[keep], table[keep, i]]) for i in range(table.shape[1])]
    parts = [
        lines(paths, names, list(inks) if inks is not None else QUIET, line_width=1, alpha=0.45),
        marker_line(at, low, high, names),
        lines([] if picked is None else [np.column_stack([x, table[:, picked]])], names, MARK, line_width=2.6),
    ]
    ends = (float(x.min()), float(max(x.max(), x.min() + 1)))
    return looks(hv.Overlay(parts), height, logy=True, xlim=ends, ylim=(low, high), xlabel=names[0], ylabel=names[1])


def property_density(
    found: xr.Dataset,
    name: str,
    *,
    at: int,
    picked: float | None = None,
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
    at : int
        The problem.
    picked : float, optional
        A neuron's value to mark.
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
    5
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
        legend_position="bottom_right",
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
        One density a property.

    Examples
    --------
    >>> from ip2lab.analysis import neurons
    >>> values, coords = np.exp(np.eye(2, 3)), {"problem": [-1, 0]}
    >>> ratio = xr.DataArray(values, dims=("problem", "neuron"), coords=coords, name="tau_soma")
    >>> len(shifts(neurons.density(ratio), at=0))
    3
    """
    names = ["value over its value before learning", "density"]
    kinds = [str(k) for k in found["property"].values]
    inks = colours(len(kinds))
    curves = [
        np.column_stack([found["value"].sel(property=k).values, found["density"].sel(property=k, problem=at).values])
        for k in kinds
    ]
    top = 1.25 * max(float(c[:, 1].max()) for c in curves)
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
        legend_position="top_right",
    )


def neuron_trace(
    probe: xr.Dataset,
    *,
    threshold: float | xr.DataArray | None = None,
    at: float | None = None,
    limits: tuple[float, float] | None = None,
    height: int = 260,
) -> hv.Overlay:
    """What one neuron does in one trial: membrane, threshold, dendrite and spikes.

    Parameters
    ----------
    probe : Dataset
        ``membrane`` and, where there are, ``dendrite`` and ``spikes`` (time); or ``activity`` (time) of other models.
    threshold : float or DataArray (time), optional
        Firing threshold, in the unit of the membrane.
    at : float, optional
        A time (ms) to mark.
    limits : (float, float), optional
        Ends of the vertical axis.
    height : int
        In pixels.

    Returns
    -------
    Overlay
        Membrane, threshold, dendrite and spikes.

    Examples
    --------
    >>> signals = {"membrane": ("time", [0.0, 0.8, 0.2]), "spikes": ("time", [False, True, False])}
    >>> probe = xr.Dataset(signals, {"time": [0.0, 20.0, 40.0]})
    >>> len(neuron_trace(probe, threshold=1.0))
    8
    """
    time = probe["time"].values
    shown = [str(v) for v in ("membrane", "dendrite", "activity") if v in probe]
    ink = dict(zip(("membrane", "dendrite", "activity"), (colours(1)[0], colours(3)[2], colours(1)[0]), strict=True))
    names = [
        axis(probe["time"], "time", probe["time"].attrs.get("units", "ms")),
        "potential" if "membrane" in probe else axis(probe[shown[0]]),
    ]
    level = np.broadcast_to(np.nan if threshold is None else np.asarray(threshold, float), time.shape)
    every = np.concatenate([*(probe[v].values for v in shown), level])
    low, high = limits or span(every, 0.08)
    fired = time[probe["spikes"].values.astype(bool)] if "spikes" in probe else np.empty(0)
    top = high - 0.03 * (high - low)
    entries = [*shown, *(["threshold"] if threshold is not None else []), *(["spike"] if "spikes" in probe else [])]
    inks = [
        *(ink[v] for v in shown),
        *([QUIET] if threshold is not None else []),
        *([MARK] if "spikes" in probe else []),
    ]
    parts = [
        uprights(
            tuple(float(time[i]) for i in borders(probe[shown[0]])),
            low,
            high,
            tuple(names),
            line_dash="dashed",
            alpha=0.6,
        ),
        lines([np.column_stack([time, level])] if threshold is not None else [], names, QUIET, line_width=1.4),
        lines(
            [np.column_stack([time, probe[v].values]) for v in shown], names, [ink[v] for v in shown], line_width=1.7
        ),
        lines([np.array([[t, top - 0.06 * (high - low)], [t, top]]) for t in fired], names, MARK, line_width=2),
        *legend(entries, inks, names)[: len(entries)],
    ]
    parts.insert(4, marker_line(at, low, high, names))
    return looks(
        hv.Overlay(parts),
        height,
        xlim=(float(time[0]), float(time[-1])),
        ylim=(low, high),
        xlabel=names[0],
        ylabel=names[1],
        legend_position="bottom_right",
    )


def scatter(
    x: xr.DataArray,
    y: xr.DataArray,
    *,
    picked: int | None = None,
    inks: Sequence[str] | None = None,
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
    limits : pair of (float, float), optional
        Ends of the two axes.
    height : int
        In pixels.

    Returns
    -------
    Overlay
        One point a neuron, the chosen one marked.

    Examples
    --------
    >>> values = xr.DataArray([1.0, 2.0], dims="neuron", name="threshold")
    >>> len(scatter(values, 10 * values, picked=0))
    2
    """
    names = [axis(x), axis(y) if axis(y) != axis(x) else axis(y) + " "]
    a, b = x.values.astype(float), y.values.astype(float)
    xlim, ylim = limits or (span(a, 0.06, True), span(b, 0.06, True))
    chosen = [] if picked is None else [picked]
    parts = [
        points(a[chosen], b[chosen], names, MARK, size=15),
        points(a, b, names, list(inks) if inks is not None else colours(1) * len(a), size=7, alpha=0.75),
    ]
    return looks(
        hv.Overlay(parts), height, logx=True, logy=True, xlim=xlim, ylim=ylim, xlabel=names[0], ylabel=names[1]
    )
