"""One neuron: what it does in trials, how it is tuned, whom it is connected with, what it is needed for."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import holoviews as hv
import numpy as np
import pandas as pd
import xarray as xr

from ip2lab.analysis._labels import check_unique, levels, listed, match, match_axes
from ip2lab.views.plots.parts import (
    along_series,
    bands,
    broken,
    ends,
    epoch_lines,
    faded,
    gap_key,
    gridded,
    has,
    increasing,
    indices,
    labels_of,
    named,
    neuron_inks,
    rings,
    seen,
    stretches,
    ticks_of,
    time_axis,
    with_dims,
)
from ip2lab.views.style import (
    MARK,
    QUIET,
    SEQUENTIAL,
    axis,
    colours,
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
    shown = [str(v) for v in ("membrane", "dendrite", "activity") if v in probe]
    if not shown:
        raise ValueError(f"probe has none of membrane, dendrite and activity; it has {listed(probe.data_vars)}")
    probe = increasing(probe)
    signals = {v: seen(with_dims(probe[v], "time")).values.astype(float) for v in shown}
    time = probe["time"].values
    ink = dict(zip(("membrane", "dendrite", "activity"), (colours(1)[0], colours(3)[2], colours(1)[0]), strict=True))
    names = [
        time_axis(probe),
        "potential" if "membrane" in probe else axis(probe[shown[0]]),
    ]
    level = _level(threshold, probe[shown[0]])
    every = np.concatenate([*signals.values(), level])
    low, high = limits or span(every, 0.08)
    fired = time[seen(with_dims(probe["spikes"], "time")).values > 0] if "spikes" in probe else np.empty(0)
    top = high - 0.03 * (high - low)
    entries = [*shown, *(["threshold"] if threshold is not None else []), *(["spike"] if "spikes" in probe else [])]
    colors = [
        *(ink[v] for v in shown),
        *([QUIET] if threshold is not None else []),
        *([MARK] if "spikes" in probe else []),
    ]
    pieces = [(piece, ink[v]) for v in shown for piece in broken(time, signals[v], spacing(time) / 2)]
    parts = [
        epoch_lines(probe[shown[0]], low, high, names, alpha=0.6),
        lines(broken(time, level, spacing(time) / 2), names, QUIET, line_width=1.4),
        strokes(pieces, names, line_width=1.7),
        lines([np.array([[t, top - 0.06 * (high - low)], [t, top]]) for t in fired], names, MARK, line_width=2),
        *legend(entries, colors, names)[: len(entries)],
    ]
    parts.insert(4, marker_line(at, low, high, names))
    return picture(
        parts,
        height,
        names,
        xlim=ends(time),
        ylim=(low, high),
    )


def _level(threshold: float | xr.DataArray | None, signal: xr.DataArray) -> np.ndarray:
    """The threshold at the times of `signal` (time): one for all, or matched by the labels of its own times."""
    if isinstance(threshold, xr.DataArray) and threshold.ndim:
        return match(signal, with_dims(threshold, "time"), "time").values.astype(float)
    return np.full(signal.shape, np.nan if threshold is None else float(threshold))


def psth(found: xr.Dataset, *, at: float | None = None, height: int = 240) -> hv.Overlay:
    """Firing rate of one neuron over time, one line a condition.

    Parameters
    ----------
    found : Dataset
        What :func:`ip2lab.analysis.neurons.psth` returned for one neuron: ``rate`` and, where there are noisy trials,
        ``lower`` and ``upper`` (time, or time and condition, whatever that is called), and ``trials``.
    at : float, optional
        A time (ms) to mark.
    height : int
        In pixels.

    Returns
    -------
    Overlay
        Bands, lines, and the borders of epochs. Lines end where nothing was recorded; where fewer trials than
        elsewhere are behind a bin they are paler, and the legend says how many.

    Examples
    --------
    >>> rate = (("condition", "time"), [[0.0, 9.0, 3.0], [1.0, 1.0, 1.0]], {"units": "Hz", "long_name": "firing rate"})
    >>> found = xr.Dataset({"rate": rate}, {"condition": ["left", "right"], "time": [0.0, 20.0, 40.0]})
    >>> len(psth(found))
    6
    """
    found = increasing(has(found, "rate"))
    rate = with_dims(found["rate"], "time", others=(0, 1))
    time, half = rate["time"].values, spacing(rate["time"].values) / 2
    kinds, order = _kinds(rate)
    table = {v: _table(found[v], rate)[order] for v in ("rate", "lower", "upper", "trials") if v in found}
    colors = colours(len(kinds))
    names = [time_axis(rate), axis(rate)]
    low, high = span(np.concatenate([rows for v, rows in table.items() if v != "trials"]), 0.06)
    low = 0.0 if rate.attrs.get("units") == "Hz" else low
    areas = [
        (np.column_stack([np.append(time[part], time[part][::-1]), np.append(below[part], above[part][::-1])]), ink)
        for below, above, ink in zip(table.get("lower", []), table.get("upper", []), colors, strict=False)
        for part in stretches(np.column_stack([below, above]))
    ]
    counts = table.get("trials", np.ones((len(kinds), 1))) * np.ones(len(time))
    pieces = [
        part
        for row, of, ink in zip(table["rate"], counts, colors, strict=True)
        for part in _by_count(time, row, of, ink, half)
    ]
    words = [_counted(kind, of) for kind, of in zip(kinds, counts, strict=True)]
    parts = [
        bands(areas, names),
        epoch_lines(rate, low, high, names, alpha=0.6),
        strokes(pieces, names, line_width=1.8),
        marker_line(at, low, high, names),
        *legend(
            [word for word in words if word], [ink for ink, word in zip(colors, words, strict=True) if word], names
        ),
    ]
    return picture(
        parts,
        height,
        names,
        xlim=ends(time),
        ylim=(low, high),
    )


def _kinds(rate: xr.DataArray) -> tuple[list[str], np.ndarray]:
    """The names of the rows of `rate` ([label,] time) in the order of labels, and where each row is."""
    if rate.ndim == 1:
        return [""], np.zeros(1, int)
    by = str(rate.dims[0])
    check_unique(rate, by)
    labels = rate[by].values if by not in rate.coords else labels_of(rate, by, [by])
    found, codes = levels(labels)
    return [named(by, kind) for kind in found], np.argsort(codes)


def _table(part: xr.DataArray, rate: xr.DataArray) -> np.ndarray:
    """A part of a psth (row, time), NaN where nothing was recorded."""
    full = part.broadcast_like(rate)
    if part.name != "trials":
        full = seen(full)
    return np.atleast_2d(with_dims(full, *map(str, rate.dims)).values.astype(float))


def _by_count(
    time: np.ndarray, row: np.ndarray, counts: np.ndarray, ink: str, half: float
) -> list[tuple[np.ndarray, str]]:
    """The line of a rate in pieces, each the paler the fewer trials are behind it."""
    found = []
    for whole in stretches(row):
        edges = [0, *np.flatnonzero(np.diff(counts[whole])) + 1, whole.stop - whole.start]
        for first, last in pairwise(edges):
            part = slice(whole.start + first, min(whole.start + last + 1, whole.stop))  # up to the next: it goes on
            strength = round(255 * (0.3 + 0.7 * counts[part.start] / max(counts.max(), 1)))
            pale = ink if strength == 255 else f"{ink}{strength:02x}"
            found += [(piece, pale) for piece in broken(time[part], row[part], half)]
    return found


def _counted(kind: str, counts: np.ndarray) -> str:
    """A name for the legend, with the number of trials where that varies."""
    low, high = counts.min(), counts.max()
    return kind if low == high else f"{kind} ({low:.0f} to {high:.0f} trials)".strip()


def trial_raster(
    signal: xr.DataArray, *, by: str = "condition", at: float | None = None, height: int = 240
) -> hv.Overlay:
    """One neuron in every trial, one row a trial, those of a condition together and in its colour.

    Parameters
    ----------
    signal : DataArray
        (time) and a dim of trials, whatever that is called; bool for spikes. Where nothing was recorded it is grey.
    by : str
        The coord that groups the trials, if there is one; the colours are those of :func:`psth`.
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
    flat = seen(gridded(with_dims(signal, "time", others=(1,))))
    trial = str(flat.dims[0])
    if not flat.sizes[trial]:
        raise ValueError(f"signal has no trials: {trial!r} has length 0")
    labels = labels_of(flat, by, [trial])
    kinds, codes = levels(np.zeros(flat.sizes[trial], int) if labels is None else labels)
    order = np.argsort(-codes, kind="stable")  # the first condition on top
    rows, time = codes[order], flat["time"].values
    values = flat.values[order].astype(np.float32)
    half = spacing(time) / 2
    names = [time_axis(flat), "trials"]
    left, right, top = float(time[0] - half), float(time[-1] + half), len(rows) - 0.5
    edges = (np.flatnonzero(np.diff(rows)) + 0.5).tolist()
    if signal.dtype == bool:  # a spike has the number of its condition, which is a colour; no spike is no ink
        own = np.where(values > 0, rows[:, None] + 1.0, 0.0)
        values = np.where(np.isnan(values), np.nan, own).astype(np.float32)
        chosen: dict[str, Any] = {"cmap": ["#00000000", *colours(len(kinds))], "clim": (-0.5, len(kinds) + 0.5)}
    else:
        chosen = {"cmap": SEQUENTIAL, "clim": span(values, 0.0), "colorbar": True, "colorbar_opts": {"width": 9}}
    words = ticks_of([named(by, kind) for kind in kinds], max((height - 40) // 14, 2))
    ticks = [(float(np.flatnonzero(rows == k).mean()), word) for k, word in words] if labels is not None else []
    parts = [
        image(values, time, np.arange(len(rows)), [*names, axis(signal)], **chosen),
        epoch_lines(flat, -0.5, top, names, early=half, alpha=0.6),
        lines([np.array([[left, y], [right, y]]) for y in edges], names, alpha=0.6),
        marker_line(at, -0.5, top, names),
        *gap_key(values, names),
    ]
    return picture(
        parts,
        height,
        names,
        xlim=(left, right),
        ylim=(-0.5, top),
        ylabel="" if ticks else names[1],
        yticks=ticks or None,
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
    found = increasing(has(found, "firing_rate", "rheobase"), "current")
    first_and_last = along_series(with_dims(found["firing_rate"], "problem", "current"), "problem")[0]
    rate = first_and_last.values[[0, -1]]
    rheobase = match(first_and_last, with_dims(found["rheobase"], "problem"), "problem").values[[0, -1]]
    current, colors = found["current"].values, [QUIET, colours(1)[0]]
    names = [axis(found["current"], "constant input"), axis(found["firing_rate"], "firing rate", "Hz")]
    high = max(1.08 * float(np.max(rate[np.isfinite(rate)], initial=0.0)), 1.0)
    parts = [
        lines([np.column_stack([current, row]) for row in rate], names, colors, line_width=2),
        points(rheobase, np.zeros(2), names, colors, size=9),
        *legend(["before learning", "now"], colors, names),
    ]
    return picture(
        parts,
        height,
        names,
        xlim=ends(current),
        ylim=(-0.03 * high, high),
    )


def partners(
    weights: xr.DataArray,
    neuron: int,
    *,
    colors: Sequence[str] | None = None,
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
    colors : sequence of str, optional
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
    square = match_axes(with_dims(weights, "neuron", "presynaptic"), "neuron", "presynaptic")
    matrix, (neuron,) = square.values.astype(float), indices([neuron], len(square), "neuron")
    chosen = indices(chosen, len(square), "chosen")
    to, coming = matrix[:, neuron], matrix[neuron]
    names = ["weight to the other neuron", "weight from the other neuron"]
    (left, right), (low, high) = span(to, 0.08), span(coming, 0.08)
    own = neuron_inks(colors, square[:, 0], colours(1)[0])
    parts = [
        lines([np.array([[0, low], [0, high]]), np.array([[left, 0], [right, 0]])], names, alpha=0.5),
        points(to[[neuron]], coming[[neuron]], names, MARK, size=15),
        rings(to, coming, chosen, names),
        points(to, coming, names, faded(own, chosen), size=7, alpha=0.75),
    ]
    return picture(
        parts,
        height,
        names,
        xlim=(left, right),
        ylim=(low, high),
    )


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
    for part, argument in zip(both, ("input_weights", "output_weights"), strict=False):
        if part.ndim != 1 or not part.size:
            raise ValueError(
                f"{argument} has the dims {listed(part.dims)}; expected those of one neuron, one number for each "
                "channel: .isel(neuron=0)"
            )
    whose = {part["neuron"].item() for part in both if "neuron" in part.coords and not part["neuron"].ndim}
    if len(whose) > 1:
        raise ValueError(f"input_weights and output_weights are of different neurons, {listed(whose)}; select one")
    labels = [plain(v, 40) for part in both for v in part[part.dims[0]].values]
    values = np.concatenate([part.values.astype(float) for part in both])
    colors = [ink for part, ink in zip(both, colours(2), strict=False) for ink in [ink] * part.size]
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
        lines([np.array([[0, y], [v, y]]) for v, y in zip(values, rows, strict=True)], names, colors, line_width=2.5),
        points(values, rows, names, colors, size=7),
        *legend(["from inputs", "to outputs"], colours(2), names),
    ]
    return picture(
        parts,
        height,
        names,
        xlim=(left, right),
        ylim=(-0.7, rows[0] + 0.7),
        ylabel="",
        yticks=[(float(rows[k]), labels[k]) for k in shown],
    )


def lesion_costs(
    found: xr.Dataset,
    rate: xr.DataArray,
    *,
    picked: int | None = None,
    chosen: Sequence[int] = (),
    colors: Sequence[str] | None = None,
    height: int = 240,
) -> hv.Overlay:
    """What the network loses with one neuron: its loss with each one silenced, over what that neuron fires.

    Where not all were silenced the axis says how many.

    Parameters
    ----------
    found : Dataset
        What :func:`ip2lab.probes.single_lesions` returned: ``loss`` (neuron) and ``intact_loss``.
    rate : DataArray
        (neuron): what the points are spread by; all neurons of the network.
    picked : int, optional
        The index of a neuron to mark.
    chosen : sequence of int
        Indices of neurons to highlight.
    colors : sequence of str, optional
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
    loss = with_dims(has(found, "loss", "intact_loss")["loss"], "neuron")
    members = _members(loss, with_dims(rate, "neuron"))
    x, y = rate.values[members].astype(float), loss.values.astype(float)
    chosen = indices(chosen, rate.size, "chosen")
    names = [axis(rate), "loss without it" + (f" ({u})" if (u := plain(loss.attrs.get("units", ""))) else "")]
    left, right = span(rate.values, 0.05)
    base = float(found["intact_loss"])
    own = neuron_inks(colors, rate, colours(1)[0])
    mine = np.flatnonzero(members == picked)
    ringed = np.flatnonzero(np.isin(members, chosen)).tolist()
    parts = [
        lines([np.array([[left, base], [right, base]])], names, line_dash="dashed", line_width=1.4),
        points(x[mine], y[mine], names, MARK, size=15),
        rings(x, y, ringed, names),
        points(x, y, names, [faded(own, chosen)[i] for i in members], size=7, alpha=0.75),
    ]
    return picture(
        parts,
        height,
        names,
        logy=True,
        xlim=(left, right),
        ylim=span(np.append(y, base), 0.08, True),
        xlabel=names[0] + (f", {len(members)} of {rate.size} neurons" if len(members) < rate.size else ""),
    )


def _members(loss: xr.DataArray, rate: xr.DataArray) -> np.ndarray:
    """Where the neurons that were silenced are in `rate`: by its labels; where it has none their labels are places."""
    check_unique(loss, "neuron")
    check_unique(rate, "neuron")
    known, asked = rate.indexes.get("neuron", pd.RangeIndex(rate.size)), pd.Index(loss["neuron"].values)
    places = np.asarray(known.get_indexer(asked))
    if (places < 0).any():
        raise ValueError(
            f"rate lacks the neurons {listed(asked[places < 0])} of found; give the rates of all neurons of the network"
        )
    return places


def label_conditions(probe: xr.Dataset) -> xr.Dataset:
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
    >>> label_conditions(xr.Dataset(coords={**coords, "condition": ("probe", [0, 1])})).condition.values.tolist()
    ['A, go', 'B']
    """
    found = [probe[c] for c in ("stimulus", "context", "response") if c in probe.coords and probe[c].ndim == 1]
    if "condition" not in probe.coords or not found or {c.dims for c in found} != {probe["condition"].dims}:
        return probe
    words = [
        ", ".join(dict.fromkeys(str(w) for w in trial if not pd.isna(w) and str(w) not in ("", "none")))
        for trial in zip(*(c.values.tolist() for c in found), strict=True)
    ]
    if len(set(words)) < len(levels(probe["condition"].values)[0]):
        return probe
    return probe.assign_coords(condition=(probe["condition"].dims, words))
