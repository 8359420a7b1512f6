"""Maps of neurons, matrices of problems, and lines over time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import holoviews as hv
import numpy as np
import xarray as xr

from ip2lab.analysis._labels import check_unique, listed, match, match_axes
from ip2lab.views.plots.parts import (
    broken,
    epoch_lines,
    increasing,
    indices,
    inks_of,
    labels_of,
    named,
    seen,
    ticks_across,
    ticks_of,
    time_axis,
    with_dims,
)
from ip2lab.views.style import (
    MARK,
    PALETTE,
    QUIET,
    SEQUENTIAL,
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
        (neuron): two numbers of each, matched by their labels.
    selected : sequence of int
        Which neurons of `x`, counted from 0.
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
    if x.ndim != 1:
        raise ValueError(f"x has the dims {listed(x.dims)}; expected one number for each neuron, such as .isel(time=0)")
    y = match(x, with_dims(y, str(x.dims[0])))
    names = [axis(x, "x"), axis(y, "y")]
    a, b = (np.asarray(v.values, float) for v in (x, y))
    chosen = np.asarray(indices(selected, len(a), "selected"), int)
    parts = [
        points(a, b, names, [QUIET + "aa" if len(chosen) else PALETTE[0]] * len(a), size=6),
        points(a[chosen], b[chosen], names, [MARK] * len(chosen), size=8),
    ]
    return picture(
        parts,
        height,
        names,
        logx=log[0],
        logy=log[1],
        xlim=span(a, 0.05, log[0]),
        ylim=span(b, 0.05, log[1]),
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
    values = _squared(values)
    rows, columns = (values[d].values for d in values.dims)
    words = plain(values.dims[0])
    names = [words, words]
    found = np.asarray(values.values, float)
    finite = found[np.isfinite(found)]
    low, high = limits or (float(np.min(finite, initial=0.0)), float(np.max(finite, initial=1.0)))
    across, up = ([i for i, label in enumerate(v) if at is not None and label == at] for v in (columns, rows))
    level = [np.array([[-0.5, i], [len(columns) - 0.5, i]]) for i in up]
    upright = float(across[0]) if across else None
    parts = [
        image(
            found.astype(np.float32),
            np.arange(len(columns)),
            np.arange(len(rows)),
            [*names, axis(values)],
            cmap=SEQUENTIAL,
            clim=(low, high),
            colorbar=True,
            colorbar_opts={"title": axis(values), "width": 9},
        ),
        lines(level, names, MARK, line_width=1.2, alpha=0.8),
        marker_line(upright, -0.5, len(rows) - 0.5, names),
    ]
    ends = (-0.5, len(columns) - 0.5), (-0.5, len(rows) - 0.5)
    chosen = {"xlabel": words, "ylabel": words, "xticks": ticks_across(columns, most), "yticks": ticks_of(rows, most)}
    return picture(parts, height, names, xlim=ends[0], ylim=ends[1], **chosen)


def _squared(values: xr.DataArray) -> xr.DataArray:
    """A matrix in the order of its numbers or dates, its columns in the order of its rows where both are the same."""
    if values.ndim != 2 or not values.size:
        raise ValueError(f"values has the dims {listed(values.dims)}; expected two, such as (problem, other)")
    rows, columns = map(str, values.dims)
    for dim in (rows, columns):
        check_unique(values, dim)
        values = values.sortby(dim) if values[dim].dtype.kind in "iufM" and dim in values.indexes else values
    here, there = (values.indexes.get(dim) for dim in (rows, columns))
    alike = here is not None and there is not None and set(here) == set(there)
    return match_axes(values, rows, columns) if alike else values


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
        (time), or (something, time) such as (trial, time), with a coord on `time`. Lines end where it is NaN, or not
        ``recorded``.
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
    flat = seen(increasing(with_dims(values, "time", others=(0, 1))))
    line = str(flat.dims[0]) if flat.ndim == 2 else ""
    by = by or line
    labels = _labels(flat, by, line) if line else np.zeros(1, int)
    ink = {label: QUIET if label in list(quiet) else own for label, own in inks_of(labels, hidden).items()}
    time = flat["time"].values.astype(float)
    names = [time_axis(flat), axis(values)]
    table = np.atleast_2d(flat.values.astype(float))
    low, high = limits or span(table, 0.06)
    half = spacing(time) / 2
    rows = [
        (piece, ink[label])
        for row, label in zip(table, labels, strict=True)
        if label not in list(hidden)
        for piece in broken(time, row, half)
    ]
    stretch = [np.array([[t, low], [t, high]]) for t in marked]
    kinds = [(named(by, kind), ink[kind]) for kind in ink] if line else []
    parts = [
        strokes(rows, names, line_width=2),
        epoch_lines(flat, low, high, names, early=half),
        lines(stretch, names, MARK, line_width=1.2, line_dash="dotted"),
        marker_line(at, low, high, names),
        *legend([name for name, _ in kinds], [own for _, own in kinds], names),
    ]
    return picture(
        parts,
        height,
        names,
        xlim=(float(time[0] - half), float(time[-1] + half)),
        ylim=(low, high),
    )


def _labels(flat: xr.DataArray, by: str, line: str) -> np.ndarray:
    """The label of each line: by the coord `by`, or where the dim of the lines has no labels their number."""
    found = np.arange(flat.sizes[line]) if by == line and line not in flat.coords else labels_of(flat, by, [line])
    return np.zeros(flat.sizes[line], int) if found is None else found
