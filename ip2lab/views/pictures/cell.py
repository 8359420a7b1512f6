"""One neuron: what it does in trials, how it is tuned, whom it is connected with, what it is needed for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import holoviews as hv
import numpy as np
import xarray as xr

from ip2lab.views.markup import legible
from ip2lab.views.pictures.parts import bands, epoch_lines, faded, named, rings, time_axis
from ip2lab.views.style import (
    MARK,
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
        time_axis(probe),
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
        epoch_lines(probe[shown[0]], low, high, names, alpha=0.6),
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
    )


def psth(found: xr.Dataset, *, at: float | None = None, height: int = 240) -> hv.Overlay:
    """Firing rate of one neuron over time, one line a condition.

    Parameters
    ----------
    found : Dataset
        What :func:`ip2lab.analysis.neurons.psth` returned for one neuron: ``rate`` and, where there are noisy trials,
        ``lower`` and ``upper`` (time, condition), whatever the second dim is called.
    at : float, optional
        A time (ms) to mark.
    height : int
        In pixels.

    Returns
    -------
    Overlay
        Bands, lines, and the borders of epochs.

    Examples
    --------
    >>> rate = (("condition", "time"), [[0.0, 9.0, 3.0], [1.0, 1.0, 1.0]], {"units": "Hz", "long_name": "firing rate"})
    >>> found = xr.Dataset({"rate": rate}, {"condition": ["left", "right"], "time": [0.0, 20.0, 40.0]})
    >>> len(psth(found))
    6
    """
    by = next(str(d) for d in found["rate"].dims if d != "time")
    rate = found["rate"].transpose(by, "time")
    time, kinds = rate["time"].values, [named(by, kind) for kind in rate[by].values]
    inks = colours(len(kinds))
    names = [time_axis(rate), axis(rate)]
    ends = [found[v].transpose(by, "time").values for v in ("lower", "upper") if v in found]
    low, high = span(np.concatenate([rate.values, *ends]), 0.06)
    low = 0.0 if rate.attrs.get("units") == "Hz" else low
    areas = [
        np.column_stack([np.append(time, time[::-1]), np.append(below, above[::-1])])
        for below, above in zip(*ends, strict=True)
    ]
    parts = [
        bands(areas, inks, names),
        epoch_lines(rate, low, high, names, alpha=0.6),
        lines([np.column_stack([time, row]) for row in rate.values], names, inks, line_width=1.8),
        marker_line(at, low, high, names),
        *legend(kinds, inks, names),
    ]
    return looks(
        hv.Overlay(parts),
        height,
        xlim=(float(time[0]), float(time[-1])),
        ylim=(low, high),
        xlabel=names[0],
        ylabel=names[1],
    )


def trial_raster(
    signal: xr.DataArray, *, by: str = "condition", at: float | None = None, height: int = 240
) -> hv.Overlay:
    """One neuron in every trial, one row a trial, those of a condition together and in its colour.

    Parameters
    ----------
    signal : DataArray
        (probe, time); bool for spikes, with the coord `by` along the trials.
    by : str
        The coord that groups the trials; the colours are those of :func:`psth`.
    at : float, optional
        A time (ms) to mark.
    height : int
        In pixels.

    Returns
    -------
    Overlay
        The image, borders between epochs and between conditions, and the marker.

    Examples
    --------
    >>> coords = {"condition": ("probe", [1, 0, 1]), "time": [0.0, 20.0, 40.0]}
    >>> spikes = xr.DataArray(np.eye(3, dtype=bool), dims=("probe", "time"), coords=coords)
    >>> len(trial_raster(spikes))
    4
    """
    flat = signal.transpose("probe", "time")
    kinds, codes = np.unique(flat[by].values, return_inverse=True)
    order = np.argsort(-codes, kind="stable")  # the first condition on top
    rows, time = codes[order], flat["time"].values
    values = flat.values[order].astype(np.float32)
    half = spacing(time) / 2
    names = [time_axis(flat), "trials"]
    left, right, top = float(time[0] - half), float(time[-1] + half), len(rows) - 0.5
    edges = (np.flatnonzero(np.diff(rows)) + 0.5).tolist()
    if signal.dtype == bool:  # a spike has the number of its condition, which is a colour; no spike is no ink
        values = np.where(values > 0, rows[:, None] + 1.0, 0.0).astype(np.float32)
        chosen: dict[str, Any] = {"cmap": ["#00000000", *colours(len(kinds))], "clim": (-0.5, len(kinds) + 0.5)}
    else:
        chosen = {"cmap": SEQUENTIAL, "clim": span(values, 0.0), "colorbar": True, "colorbar_opts": {"width": 9}}
    centres = [float(np.flatnonzero(rows == k).mean()) for k in range(len(kinds))]
    parts = [
        image(values, time, np.arange(len(rows)), [*names, axis(signal)], **chosen),
        epoch_lines(flat, -0.5, top, names, early=half, alpha=0.6),
        lines([np.array([[left, y], [right, y]]) for y in edges], names, alpha=0.6),
        marker_line(at, -0.5, top, names),
    ]
    return looks(
        hv.Overlay(parts),
        height,
        xlim=(left, right),
        ylim=(-0.5, top),
        xlabel=names[0],
        ylabel="",
        yticks=[(y, named(by, kind)) for y, kind in zip(centres, kinds, strict=True)],
    )


def fi_curves(found: xr.Dataset, *, height: int = 240) -> hv.Overlay:
    """How fast one neuron fires at a constant input: as it was before learning, and as it is tuned now.

    Parameters
    ----------
    found : Dataset
        What :func:`ip2lab.analysis.neurons.fi_curve` returned: ``firing_rate`` (problem, current) and ``rheobase``
        (problem), the first of the problems being before learning and the last one now.
    height : int
        In pixels.

    Returns
    -------
    Overlay
        The two curves, and a dot at the rheobase of each.

    Examples
    --------
    >>> from ip2lab.analysis import neurons
    >>> tuned = xr.Dataset({"tau_soma": ("problem", [20.0, 10.0]), "threshold": ("problem", [1.0, 2.0])})
    >>> found = neurons.fi_curve(tuned.expand_dims(neuron=1), [0.0, 2.0, 4.0]).isel(neuron=0)
    >>> len(fi_curves(found))
    4
    """
    rate = found["firing_rate"].transpose(..., "current").values[[0, -1]]
    current, inks = found["current"].values, [QUIET, colours(1)[0]]
    names = [axis(found["current"], "constant input"), axis(found["firing_rate"], "firing rate", "Hz")]
    high = max(1.08 * float(rate.max()), 1.0)
    parts = [
        lines([np.column_stack([current, row]) for row in rate], names, inks, line_width=2),
        points(found["rheobase"].values[[0, -1]], np.zeros(2), names, inks, size=9),
        *legend(["before learning", "now"], inks, names),
    ]
    return looks(
        hv.Overlay(parts),
        height,
        xlim=(float(current[0]), float(current[-1])),
        ylim=(-0.03 * high, high),
        xlabel=names[0],
        ylabel=names[1],
    )


def partners(
    weights: xr.DataArray,
    neuron: int,
    *,
    inks: Sequence[str] | None = None,
    chosen: Sequence[int] = (),
    height: int = 240,
) -> hv.Overlay:
    """Recurrent weights of one neuron: from and to every other one.

    Parameters
    ----------
    weights : DataArray
        (neuron, presynaptic), recurrent weights.
    neuron : int
        The index of the neuron.
    inks : sequence of str, optional
        Colour of each neuron.
    chosen : sequence of int
        Indices of neurons to highlight.
    height : int
        In pixels.

    Returns
    -------
    Overlay
        One point a neuron: the weight to it across, the weight from it upwards; its own place (no connection, unless
        there are autapses) marked.

    Examples
    --------
    >>> weights = xr.DataArray([[0.0, 2.0], [-1.0, 0.0]], dims=("neuron", "presynaptic"))
    >>> list(partners(weights, 0))[-1].array([0, 1]).tolist()
    [[0.0, 0.0], [-1.0, 2.0]]
    """
    matrix = weights.transpose("neuron", "presynaptic").values.astype(float)
    to, coming = matrix[:, neuron], matrix[neuron]
    names = ["weight to the other neuron", "weight from the other neuron"]
    (left, right), (low, high) = span(to, 0.08), span(coming, 0.08)
    own = colours(1) * len(to) if inks is None else list(inks)
    parts = [
        lines([np.array([[0, low], [0, high]]), np.array([[left, 0], [right, 0]])], names, alpha=0.5),
        points(to[[neuron]], coming[[neuron]], names, MARK, size=15),
        rings(to, coming, chosen, names),
        points(to, coming, names, faded(own, chosen), size=7, alpha=0.75),
    ]
    return looks(hv.Overlay(parts), height, xlim=(left, right), ylim=(low, high), xlabel=names[0], ylabel=names[1])


def channels(
    input_weights: xr.DataArray, output_weights: xr.DataArray | None = None, *, height: int = 240
) -> hv.Overlay:
    """Weights of one neuron from the inputs and to the outputs.

    Parameters
    ----------
    input_weights : DataArray
        (input).
    output_weights : DataArray, optional
        (output).
    height : int
        In pixels.

    Returns
    -------
    Overlay
        One stem a channel.

    Examples
    --------
    >>> weights = xr.DataArray([2.0, -1.0], dims="input", coords={"input": ["fixation", "cue"]})
    >>> len(channels(weights))
    5
    """
    both = [input_weights, *([output_weights] if output_weights is not None else [])]
    labels = [str(v) for part in both for v in part[part.dims[0]].values]
    values = np.concatenate([part.values.astype(float) for part in both])
    inks = [ink for part, ink in zip(both, colours(2), strict=False) for ink in [ink] * part.size]
    names = ["weight", "channel"]
    every = max(1, -(-(len(values) + 4) * 14 // (height - 40)))  # a name needs 14 pixels: where there is less, not all
    steps = np.ones(len(values))
    steps[0], steps[input_weights.size :] = 0.0, every
    steps[input_weights.size : input_weights.size + 1] = every + 1
    rows = np.cumsum(steps)[-1] - np.cumsum(steps)  # the first on top, the outputs apart
    left, right = span(np.append(values, 0.0), 0.08)
    shown = [k for k in range(len(rows)) if k % every == 0 or k >= input_weights.size]
    parts = [
        lines([np.array([[0, -0.7], [0, rows[0] + 0.7]])], names, alpha=0.5),
        lines([np.array([[0, y], [v, y]]) for v, y in zip(values, rows, strict=True)], names, inks, line_width=2.5),
        points(values, rows, names, inks, size=7),
        *legend(["from inputs", "to outputs"], colours(2), names),
    ]
    return looks(
        hv.Overlay(parts),
        height,
        xlim=(left, right),
        ylim=(-0.7, rows[0] + 0.7),
        xlabel=names[0],
        ylabel="",
        yticks=[(float(rows[k]), labels[k]) for k in shown],
    )


def lesion_costs(
    found: xr.Dataset,
    rate: xr.DataArray,
    *,
    picked: int | None = None,
    chosen: Sequence[int] = (),
    inks: Sequence[str] | None = None,
    height: int = 240,
) -> hv.Overlay:
    """What the network loses with one neuron: its loss with each one silenced, over what that neuron fires.

    Where not all were silenced the axis says how many.

    Parameters
    ----------
    found : Dataset
        What :func:`ip2lab.probes.silenced` returned: ``loss`` (neuron) and ``intact_loss``.
    rate : DataArray
        (neuron): what the points are spread by; all neurons of the network.
    picked : int, optional
        The index of a neuron to mark.
    chosen : sequence of int
        Indices of neurons to highlight.
    inks : sequence of str, optional
        Colour of each neuron of the network.
    height : int
        In pixels.

    Returns
    -------
    Overlay
        One point a neuron, and a line at the loss of the intact network.

    Examples
    --------
    >>> found = xr.Dataset({"loss": ("neuron", [0.2, 0.1]), "intact_loss": 0.1}, {"neuron": [0, 1]})
    >>> rate = xr.DataArray([9.0, 1.0], dims="neuron", attrs={"units": "Hz", "long_name": "firing rate"})
    >>> len(lesion_costs(found, rate, picked=0))
    4
    """
    members = found["neuron"].values
    x, y = rate.values[members].astype(float), found["loss"].values
    names = [axis(rate), "loss without it" + (f" ({legible(u)})" if (u := found["loss"].attrs.get("units")) else "")]
    left, right = span(rate.values, 0.05)
    base = float(found["intact_loss"])
    own = colours(1) * rate.size if inks is None else list(inks)
    mine = np.flatnonzero(members == picked)
    ringed = np.flatnonzero(np.isin(members, chosen)).tolist()
    parts = [
        lines([np.array([[left, base], [right, base]])], names, line_dash="dashed", line_width=1.4),
        points(x[mine], y[mine], names, MARK, size=15),
        rings(x, y, ringed, names),
        points(x, y, names, [faded(own, chosen)[i] for i in members], size=7, alpha=0.75),
    ]
    return looks(
        hv.Overlay(parts),
        height,
        logy=True,
        xlim=(left, right),
        ylim=span(np.append(y, base), 0.08, True),
        xlabel=names[0] + (f", {len(members)} of {rate.size} neurons" if len(members) < rate.size else ""),
        ylabel=names[1],
    )


def worded(probe: xr.Dataset) -> xr.Dataset:
    """Return trials whose coord ``condition`` says in words what they are, for legends and rows.

    Parameters
    ----------
    probe : Dataset
        Trials along ``probe``, with any of the coords ``stimulus``, ``context`` and ``response``.

    Returns
    -------
    Dataset
        The same; where there are no such words, ``condition`` stays what it is.

    Examples
    --------
    >>> coords = {"stimulus": ("probe", ["A", "B"]), "response": ("probe", ["go", "none"])}
    >>> worded(xr.Dataset(coords={**coords, "condition": ("probe", [0, 1])})).condition.values.tolist()
    ['A, go', 'B']
    """
    labels = [probe[c].values.tolist() for c in ("stimulus", "context", "response") if c in probe.coords]
    words = [
        ", ".join(str(w) for w in dict.fromkeys(trial) if str(w) not in ("", "none"))
        for trial in zip(*labels, strict=True)
    ]
    if not words or len(set(words)) < len(np.unique(probe["condition"].values)):
        return probe
    return probe.assign_coords(condition=("probe", words))
