"""Maps of neurons, matrices of problems, and lines over time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import holoviews as hv
import numpy as np
import xarray as xr

from ip2lab.views.markup import legible
from ip2lab.views.pictures.parts import epoch_lines, named, time_axis
from ip2lab.views.style import (
    MARK,
    PALETTE,
    QUIET,
    SEQUENTIAL,
    axis,
    colours,
    image,
    legend,
    lines,
    looks,
    marker_line,
    points,
    spacing,
    span,
)

FAINT = "55"  # the last two digits of a colour that is there but switched off


def neuron_map(
    x: xr.DataArray,
    y: xr.DataArray,
    *,
    selected: Sequence[int] = (),
    log: tuple[bool, bool] = (False, False),
    height: int = 260,
) -> hv.Overlay:
    """Neurons as points: what is selected stands out.

    Parameters
    ----------
    x, y : DataArray
        (neuron): two numbers of each.
    selected : sequence of int
        Which neurons, counted from 0.
    log : (bool, bool)
        Which axes are logarithmic.
    height : int
        In pixels.

    Returns
    -------
    Overlay
        All neurons, and those that are selected.

    Examples
    --------
    >>> values = xr.DataArray([1.0, 2.0, 4.0], dims="neuron", name="rate")
    >>> [len(part) for part in neuron_map(values, values**2, selected=[2])]
    [3, 1]
    """
    names = [axis(x, "x"), axis(y, "y")]
    if names[0] == names[1]:
        names[1] += " "
    a, b = (np.asarray(v.values, float) for v in (x, y))
    chosen = np.asarray(list(selected), int)
    parts = [
        points(a, b, names, [QUIET + "aa" if len(chosen) else PALETTE[0]] * len(a), size=6),
        points(a[chosen], b[chosen], names, [MARK] * len(chosen), size=8),
    ]
    return looks(
        hv.Overlay(parts),
        height,
        logx=log[0],
        logy=log[1],
        xlim=span(a, 0.05, log[0]),
        ylim=span(b, 0.05, log[1]),
        xlabel=names[0],
        ylabel=names[1],
    )


def matrix(
    values: xr.DataArray,
    *,
    at: Any = None,
    limits: tuple[float, float] | None = None,
    most: int = 9,
    height: int = 260,
) -> hv.Overlay:
    """Every problem against every other, as an image.

    Parameters
    ----------
    values : DataArray
        (problem, other), with coords: the labels of the rows and columns. Other dims in their place will do.
    at : optional
        A label to mark, as a column and as a row.
    limits : (float, float), optional
        Ends of the colour map; those of the data by default.
    most : int
        How many labels are written.
    height : int
        In pixels.

    Returns
    -------
    Overlay
        The image and the marks. The axes count rows and columns from 0 and are labelled with the coords.

    Examples
    --------
    >>> angles = xr.DataArray([[0, 60], [60, 0]], {"problem": [0, 59], "other": [0, 59]}, ("problem", "other"))
    >>> len(matrix(angles, at=59))
    3
    """
    rows, columns = (values[d].values for d in values.dims)
    names = [f"{legible(values.dims[0])} ", legible(values.dims[0])]
    found = np.asarray(values.values, float)
    low, high = limits or (float(np.nanmin(found, initial=0.0)), float(np.nanmax(found, initial=1.0)))
    place = np.flatnonzero(rows == at).tolist() if at is not None else []
    level = [np.array([[-0.5, i], [len(columns) - 0.5, i]]) for i in place]
    upright = float(place[0]) if len(place) else None
    ticks = [
        [(int(i), str(v[i])) for i in np.unique(np.linspace(0, len(v) - 1, min(len(v), most)).astype(int))]
        for v in (columns, rows)
    ]
    parts = [
        image(
            found.astype(np.float32),
            np.arange(len(columns)),
            np.arange(len(rows)),
            [*names, axis(values)],
            cmap=SEQUENTIAL,
            clim=(low, high),
            clipping_colors={"NaN": "#00000000"},
            colorbar=True,
            colorbar_opts={"title": axis(values), "width": 9},
        ),
        lines(level, names, MARK, line_width=1.2, alpha=0.8),
        marker_line(upright, -0.5, len(rows) - 0.5, names),
    ]
    ends = (-0.5, len(columns) - 0.5), (-0.5, len(rows) - 0.5)
    words = {"xlabel": names[1], "ylabel": names[1], "xticks": ticks[0], "yticks": ticks[1]}
    return looks(hv.Overlay(parts), height, xlim=ends[0], ylim=ends[1], **words)


def over_time(
    values: xr.DataArray,
    *,
    by: str = "",
    at: float | None = None,
    marked: Sequence[float] = (),
    hidden: Sequence[Any] = (),
    quiet: Sequence[Any] = (),
    limits: tuple[float, float] | None = None,
    height: int = 220,
) -> hv.Overlay:
    """Lines over the time of a trial, one for each of what a further dim counts.

    Parameters
    ----------
    values : DataArray
        (time), or (something, time) such as (probe, time), with a coord on `time`.
    by : str
        A coord along the further dim that colours the lines and names them; the dim itself by default.
    at : float, optional
        A time to mark.
    marked : sequence of float
        Two times: the stretch between them is marked.
    hidden : sequence
        Labels of `by` that are not drawn.
    quiet : sequence
        Labels of `by` that are only there to compare with: grey.
    limits : (float, float), optional
        Ends of the vertical axis; those of the data by default.
    height : int
        In pixels.

    Returns
    -------
    Overlay
        The lines, the borders of epochs, the marks and the legend.

    Examples
    --------
    >>> coords = {"time": [0.0, 20.0, 40.0], "stimulus": ("probe", ["A", "B"])}
    >>> rates = xr.DataArray(np.ones((2, 3)), coords, ("probe", "time"), attrs={"long_name": "rate", "units": "Hz"})
    >>> next(iter(over_time(rates, by="stimulus", at=20.0))).data[1]["colour"]
    '#d9601a'
    """
    others = [str(d) for d in values.dims if d != "time"]
    flat = values.transpose(*others, "time") if others else values.expand_dims("line")
    by = by if by in flat.coords else others[0] if others else ""
    labels = flat[by].values.tolist() if by else [""]
    ink = {label: QUIET if label in set(quiet) else own for label, own in inks(labels, hidden).items()}
    time = flat["time"].values.astype(float)
    names = [time_axis(flat), axis(values)]
    table = flat.values.astype(float)
    low, high = limits or span(table, 0.06)
    half = spacing(time) / 2
    rows = [(row, ink[label]) for row, label in zip(table, labels, strict=True) if label not in set(hidden)]
    stretch = [np.array([[t, low], [t, high]]) for t in marked]
    kinds = [(named(by, kind), ink[kind]) for kind in ink] if by else []
    parts = [
        lines([np.column_stack([time, row]) for row, _ in rows], names, [own for _, own in rows], line_width=2),
        epoch_lines(flat, low, high, names, early=half),
        lines(stretch, names, MARK, line_width=1.2, line_dash="dotted"),
        marker_line(at, low, high, names),
        *legend([name for name, _ in kinds], [own for _, own in kinds], names),
    ]
    return looks(
        hv.Overlay(parts),
        height,
        xlim=(float(time[0] - half), float(time[-1] + half)),
        ylim=(low, high),
        xlabel=names[0],
        ylabel=names[1],
    )


def inks(labels: Sequence[Any], hidden: Sequence[Any] = ()) -> dict[Any, str]:
    """Return a colour for each of the labels, faint for those that are hidden.

    Examples
    --------
    >>> inks(["go", "no-go", "go"], hidden=["no-go"])
    {'go': '#2484c6', 'no-go': '#d9601a55'}
    """
    kinds = list(dict.fromkeys(labels))
    off = set(hidden)
    return {k: ink + (FAINT if k in off else "") for k, ink in zip(kinds, colours(len(kinds)), strict=True)}
