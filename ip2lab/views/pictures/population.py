"""Populations: trajectories, rasters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import holoviews as hv
import numpy as np
import xarray as xr

from ip2lab.analysis import population
from ip2lab.views.pictures.maps import inks
from ip2lab.views.pictures.parts import borders, epoch_lines, named, time_axis
from ip2lab.views.style import (
    MARK,
    SEQUENTIAL,
    SPIKES,
    axis,
    image,
    legend,
    lines,
    looks,
    marker_line,
    points,
    spacing,
    span,
)


def trajectories(
    scores: xr.DataArray,
    *,
    x: int = 0,
    y: int = 1,
    by: str = "condition",
    at: float | None = None,
    share: xr.DataArray | None = None,
    hidden: Sequence[Any] = (),
    marked: Sequence[float] = (),
    height: int = 360,
) -> hv.Overlay:
    """Population trajectories in two components, one line a trial, one colour a label.

    Parameters
    ----------
    scores : DataArray
        (probe, time, component), as ``scores`` of :func:`ip2lab.analysis.population.pca` or what ``project`` returns.
    x, y : int
        The components on the two axes.
    by : str
        The coord along the trials that colours them.
    at : float, optional
        A time (ms): a dot on each line.
    share : DataArray, optional
        ``explained_variance_ratio`` (component), written beside the axes' names.
    hidden : sequence
        Labels of `by` that are not drawn.
    marked : sequence of float
        Two times (ms): the stretches of the lines between them are marked.
    height : int
        In pixels.

    Returns
    -------
    Overlay
        Lines, a ring where each starts, a small dot where an epoch begins, a large dot at `at`, what is marked.

    Examples
    --------
    >>> dims, coords = ("probe", "time", "component"), {"condition": ("probe", [0, 1])}
    >>> scores = xr.DataArray(np.ones((2, 5, 2)), dims=dims, coords=coords)
    >>> len(trajectories(scores))
    7
    """
    trial = [d for d in scores.dims if d not in ("time", "component")]
    flat = scores.stack(trial_=trial, create_index=False).transpose("trial_", "time", "component")
    named_axes = scores["component"].values if "component" in scores.coords else np.arange(scores.sizes["component"])
    names = [_component(share, named_axes[i], i) for i in (x, y)]
    if names[0] == names[1]:
        names[1] += " "
    labels = flat[by].values.tolist() if by in flat.coords else [0] * flat.sizes["trial_"]
    ink, off = inks(labels, hidden), set(hidden)
    shown = [i for i, label in enumerate(labels) if label not in off]
    every = flat.values[:, :, [x, y]].astype(float)
    values, own = every[shown], [ink[labels[i]] for i in shown]
    time = flat["time"].values if "time" in flat.coords else np.arange(flat.sizes["time"])
    now = [] if at is None else [int(np.abs(time - at).argmin())]
    inside = np.flatnonzero((time >= min(marked)) & (time <= max(marked))).tolist() if len(marked) else []
    parts = [
        lines(list(values), names, own, line_width=2),
        _dots(values, [0], own, names, size=9, fill_alpha=0, line_color="colour", line_width=1.6),
        _dots(values, borders(flat), own, names, size=5),
        _dots(values, now, own, names, size=13),
        _dots(values, inside, [MARK] * len(own), names, size=4),
        *legend([named(by, kind) for kind in ink], list(ink.values()), names),
    ]
    return looks(
        hv.Overlay(parts),
        height,
        xlim=span(every[..., 0]),
        ylim=span(every[..., 1]),
        xlabel=names[0],
        ylabel=names[1],
    )


def turned(scores: xr.DataArray, azimuth: float, elevation: float) -> xr.DataArray:
    """Return scores in three components as two: seen from a place on a sphere around them.

    Parameters
    ----------
    scores : DataArray
        (..., component), at least three components.
    azimuth, elevation : float
        The place, in degrees.

    Returns
    -------
    DataArray
        (..., component) with two components.

    Examples
    --------
    >>> scores = xr.DataArray(np.eye(3), dims=("time", "component"))
    >>> turned(scores, 0, 0).round(2).values[:, 0].tolist()
    [1.0, 0.0, 0.0]
    """
    if scores.sizes["component"] < 3:
        raise ValueError(f"scores have {scores.sizes['component']} components; three are needed to turn them")
    a, e = np.deg2rad([azimuth, elevation])
    axes = [[np.cos(a), np.sin(a), 0.0], [-np.sin(a) * np.sin(e), np.cos(a) * np.sin(e), np.cos(e)]]
    seen = scores.isel(component=slice(3)).drop_vars("component", errors="ignore").rename(component="direction")
    view = {"component": ["turned, across", "turned, up"]}
    return population.project(seen, xr.DataArray(axes, view, ("component", "direction")), feature="direction")


def _component(share: xr.DataArray | None, name: Any, index: int) -> str:
    """What an axis is called: by its label where that is a word, else by its number, counted from 1."""
    words = str(name) if isinstance(name, str) else f"component {index + 1}"
    return words if share is None else f"{words} ({100 * float(share[index]):.0f} % of variance)"


def _dots(
    values: np.ndarray, steps: Sequence[int], inks: Sequence[str], names: Sequence[str], **chosen: Any
) -> hv.Points:
    """Points on the lines `values` (trial, time, 2) at some time steps."""
    found = values[:, list(steps)].reshape(-1, 2)
    return points(found[:, 0], found[:, 1], names, [ink for ink in inks for _ in steps], **chosen)


def raster(
    signal: xr.DataArray,
    *,
    order: np.ndarray | None = None,
    order_name: str = "",
    at: float | None = None,
    picked: int | None = None,
    selected: Sequence[int] = (),
    marked: Sequence[float] = (),
    limits: tuple[float, float] | None = None,
    height: int = 320,
) -> hv.Overlay:
    """Time by neuron as an image: spikes, or any other signal.

    Parameters
    ----------
    signal : DataArray
        (time, neuron); bool for spikes.
    order : ndarray, optional
        Indices of the neurons from the bottom up.
    order_name : str
        By what they are ordered, for the axis.
    at : float, optional
        A time (ms) to mark.
    picked : int, optional
        The index of a neuron to mark.
    selected : sequence of int
        Indices of neurons whose rows are marked.
    marked : sequence of float
        Two times (ms): the stretch between them is marked.
    limits : (float, float), optional
        Ends of the colour map; those of the data by default.
    height : int
        In pixels.

    Returns
    -------
    Overlay
        The image, borders between epochs, the marks.

    Examples
    --------
    >>> spikes = xr.DataArray(np.eye(4, dtype=bool), dims=("time", "neuron"), coords={"time": [0.0, 20.0, 40.0, 60.0]})
    >>> len(raster(spikes, picked=2))
    6
    """
    flat = signal.transpose("neuron", "time")
    order = np.arange(flat.sizes["neuron"]) if order is None else np.asarray(order)
    time, rows = flat["time"].values, np.arange(len(order))
    spikes = flat.dtype == bool
    values = flat.values[order].astype(np.uint8 if spikes else np.float32)
    names = [
        time_axis(flat),
        "neuron" + (f", by {order_name}" if order_name else ""),
    ]
    half = spacing(time) / 2
    low, high = (0.0, 1.0) if spikes else limits or _ends(values)
    ends = (float(time[0] - half), float(time[-1] + half))
    place = [] if picked is None else [np.array([[ends[0], y], [ends[1], y]]) for y in np.flatnonzero(order == picked)]
    rows_of = [np.array([[ends[0], y], [ends[1], y]]) for y in np.flatnonzero(np.isin(order, list(selected)))]
    stretch = [np.array([[t, -0.5], [t, len(order) - 0.5]]) for t in marked]
    parts = [
        image(
            values,
            time,
            rows,
            [*names, axis(signal)],
            cmap=SPIKES if spikes else SEQUENTIAL,
            clim=(low, high),
            colorbar=not spikes,
            colorbar_opts={"title": axis(signal), "width": 9} if not spikes else {},
        ),
        epoch_lines(flat, -0.5, len(order) - 0.5, names, early=half),
        lines(place, names, MARK, line_width=1.6, alpha=0.9),
        lines(rows_of, names, MARK, line_width=max(1.0, min(6.0, 0.7 * height / len(order))), alpha=0.3),
        lines(stretch, names, MARK, line_width=1.2, line_dash="dotted"),
        marker_line(at, -0.5, len(order) - 0.5, names),
    ]
    return looks(hv.Overlay(parts), height, xlim=ends, ylim=(-0.5, len(order) - 0.5), xlabel=names[0], ylabel=names[1])


def _ends(values: np.ndarray) -> tuple[float, float]:
    found = values[np.isfinite(values)]
    low, high = (float(found.min()), float(found.max())) if found.size else (0.0, 1.0)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def history(signal: xr.DataArray, *, at: Any = None, height: int = 260) -> hv.Overlay:
    """One neuron in the same trial after different problems, one row a problem.

    Parameters
    ----------
    signal : DataArray
        (problem, time); bool for spikes.
    at : optional
        The problem to mark, by its label.
    height : int
        In pixels.

    Returns
    -------
    Overlay
        One row a problem, and the marker.

    Examples
    --------
    >>> coords = {"problem": [0, 1, 5], "time": [0.0, 20.0, 40.0]}
    >>> spikes = xr.DataArray(np.eye(3, dtype=bool), dims=("problem", "time"), coords=coords)
    >>> len(history(spikes, at=5))
    6
    """
    problems = signal["problem"].values
    rows = signal.drop_vars(["neuron", "problem"], errors="ignore").rename(problem="neuron")
    found = np.flatnonzero(problems == at)
    picture = raster(rows, picked=int(found[0]) if found.size else None, height=height)
    keep = np.unique(np.linspace(0, len(problems) - 1, min(len(problems), 9)).astype(int))
    return picture.opts(backend="bokeh", ylabel="after problem", yticks=[(int(i), str(problems[i])) for i in keep])
