"""Populations: trajectories, rasters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import holoviews as hv
import numpy as np
import xarray as xr

from ip2lab.analysis._labels import RECORDED, check_unique, listed, match
from ip2lab.views.plots.parts import (
    along_series,
    borders,
    epoch_lines,
    gap_key,
    gridded,
    increasing,
    indices,
    inks_of,
    labels_of,
    named,
    seen,
    stretches,
    ticks_of,
    time_axis,
    with_dims,
)
from ip2lab.views.style import (
    MARK,
    SEQUENTIAL,
    SPIKES,
    axis,
    image,
    legend,
    lines,
    marker_line,
    picture,
    plain,
    points,
    spacing,
    span,
    strokes,
)

RING: dict[str, Any] = {"size": 9, "fill_alpha": 0, "line_color": "colour", "line_width": 1.6}


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
        (time, component) and dims of trials, as ``scores`` of :func:`ip2lab.analysis.population.pca` or what
        ``project`` returns. Lines end where it is NaN, or not ``recorded``.
    x, y : int
        The components on the two axes.
    by : str
        The coord along the trials that colours them, in the order of its values.
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
    scores = _in_order(seen(increasing(_checked(scores, x, y))))
    trials = [str(dim) for dim in scores.dims if dim not in ("time", "component")]
    flat = scores.transpose(*trials, "time", "component")
    names = [_component(flat, share, i) for i in (x, y)]
    found = labels_of(flat, by, trials)
    labels = np.zeros(flat.shape[:-2], int).ravel() if found is None else found.ravel()
    ink = inks_of(labels, hidden)
    every = flat.values.reshape(-1, *flat.shape[-2:])[:, :, [x, y]].astype(float)
    shown = [i for i, label in enumerate(labels) if label not in list(hidden)]
    values, own = every[shown], [ink[labels[i]] for i in shown]
    time = flat["time"].values
    now = [] if at is None else [int(np.abs(time - at).argmin())]
    pieces = [(row[part], ink) for row, ink in zip(values, own, strict=True) for part in stretches(row)]
    starts = [(row[part[0].start], ink) for row, ink in zip(values, own, strict=True) if (part := stretches(row))]
    parts = [
        strokes(pieces, names, line_width=2),
        _dots(np.array([at for at, _ in starts]).reshape(-1, 1, 2), [0], [ink for _, ink in starts], names, **RING),
        _dots(values, borders(flat), own, names, size=5),
        _dots(values, now, own, names, size=13),
        _dots(values, _inside(time, marked), [MARK] * len(own), names, size=4),
        *(legend([named(by, kind) for kind in ink], list(ink.values()), names) if found is not None else []),
    ]
    return picture(
        parts,
        height,
        names,
        xlim=span(every[..., 0]),
        ylim=span(every[..., 1]),
    )


def rotate(scores: xr.DataArray, azimuth: float, elevation: float) -> xr.DataArray:
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
    >>> rotate(scores, 0, 0).round(2).values[:, 0].tolist()
    [1.0, 0.0, 0.0]
    """
    if scores.sizes.get("component", 0) < 3:
        raise ValueError(f"scores have {scores.sizes.get('component', 'no')} components; three are needed to turn them")
    a, e = np.deg2rad([azimuth, elevation])
    axes = [[np.cos(a), np.sin(a), 0.0], [-np.sin(a) * np.sin(e), np.cos(a) * np.sin(e), np.cos(e)]]
    three = _in_order(scores).isel(component=slice(3)).transpose(..., "component")
    bare = three.drop_vars([name for name in three.coords if "component" in three[name].dims])
    view = {"component": ["turned, across", "turned, up"]}
    return bare.isel(component=slice(2)).copy(data=bare.data @ np.transpose(axes)).assign_coords(view)


def _checked(scores: xr.DataArray, x: int, y: int) -> xr.DataArray:
    count = scores.sizes.get("component", 0)
    if not count or "time" not in scores.dims:
        raise ValueError(f"scores have the dims {listed(scores.dims)}; expected time and component, and trials")
    for name, index in (("x", x), ("y", y)):
        if not -count <= index < count:
            raise ValueError(f"{name}={index}: scores have {count} components, which count from 0")
    return scores


def _in_order(scores: xr.DataArray) -> xr.DataArray:
    """Scores in the order of the numbers of their components, where these have numbers."""
    check_unique(scores, "component")
    return scores.sortby("component") if scores["component"].dtype.kind in "iuf" else scores


def _component(scores: xr.DataArray, share: xr.DataArray | None, index: int) -> str:
    """What an axis is called: by its label where that is a word, else by its number, counted from 1."""
    label = scores["component"].values[index]
    words = f"component {label + 1:g}" if isinstance(label, np.number) else plain(label)
    if share is None:
        return words
    share = with_dims(share, "component")
    if {"component"} <= set(share.indexes) & set(scores.indexes):
        share = share.isel(component=share.indexes["component"].isin(scores.indexes["component"]))
    own = match(scores, share, "component").values
    return f"{words} ({100 * float(own[index]):.0f} % of variance)"


def _dots(
    values: np.ndarray, steps: Sequence[int], colors: Sequence[str], names: Sequence[str], **chosen: Any
) -> hv.Points:
    """Points on the lines `values` (trial, time, 2) at some time steps."""
    found = values[:, list(steps)].reshape(-1, 2)
    return points(found[:, 0], found[:, 1], names, [ink for ink in colors for _ in steps], **chosen)


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
        (time) and a dim of neurons, whatever that is called; bool for spikes. Where nothing was recorded it is grey.
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
    flat = seen(gridded(with_dims(signal, "time", others=(1,))))
    order = _rows(flat, order)
    picked = None if picked is None else indices([picked], len(flat), "picked")[0]
    time, rows = flat["time"].values, np.arange(len(order))
    spikes = signal.dtype == bool
    values = flat.values[order].astype(np.uint8 if flat.dtype == bool else np.float32)
    names = [time_axis(flat), plain(flat.dims[0]) + (f", by {plain(order_name)}" if order_name else "")]
    half = spacing(time) / 2
    low, high = (0.0, 1.0) if spikes else limits or _ends(values)
    ends = (float(time[0] - half), float(time[-1] + half))
    place = [] if picked is None else [np.array([[ends[0], y], [ends[1], y]]) for y in np.flatnonzero(order == picked)]
    rows_of = [
        np.array([[ends[0], y], [ends[1], y]])
        for y in np.flatnonzero(np.isin(order, indices(selected, len(flat), "selected")))
    ]
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
        *gap_key(values, names),
    ]
    return picture(
        parts,
        height,
        names,
        xlim=ends,
        ylim=(-0.5, len(order) - 0.5),
    )


def _inside(time: np.ndarray, marked: Sequence[float]) -> list[int]:
    """The steps of a stretch of time; none where none is marked."""
    return np.flatnonzero((time >= min(marked)) & (time <= max(marked))).tolist() if len(marked) else []


def _rows(flat: xr.DataArray, order: Any) -> np.ndarray:
    """Which neuron is in each row: indices, which a labelled array must count as `flat` (neuron, time) does."""
    neuron = str(flat.dims[0])
    if not len(flat):
        raise ValueError(f"signal has nothing along {neuron!r}")
    if order is None:
        return np.arange(len(flat))
    own = order.indexes.get(neuron) if isinstance(order, xr.DataArray) else None
    if own is not None and neuron in flat.indexes and not own.equals(flat.indexes[neuron]):
        raise ValueError(
            f"order: its indices count the labels of {neuron!r} in another order than those of the signal; sort what "
            f"it was made of first: .sel({neuron}=signal.{neuron})"
        )
    found = np.asarray(order)
    if found.ndim != 1 or not found.size or found.dtype.kind not in "iu":
        raise ValueError(
            f"order: {found.dtype} of shape {found.shape}; give indices of neurons, a row of whole numbers"
        )
    return np.array(indices(found.tolist(), len(flat), "order"))


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
        The label of the problem to mark.
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
    flat = with_dims(signal, "problem", "time")
    flat = along_series(flat, "problem")[0]
    problems = flat["problem"].values
    kept = [flat.coords[name] for name in ("time", "epoch", RECORDED) if name in flat.coords]
    coords = {c.name: (["neuron" if d == "problem" else d for d in c.dims], c.values, c.attrs) for c in kept}
    rows = xr.DataArray(flat.values, coords, ("neuron", "time"), flat.name, flat.attrs)
    found = [i for i, label in enumerate(problems) if at is not None and label == at]
    picture = raster(rows, picked=found[0] if found else None, height=height)
    return picture.opts(backend="bokeh", ylabel="after problem", yticks=ticks_of(problems))
