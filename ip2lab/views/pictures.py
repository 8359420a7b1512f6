"""Pictures: functions from labelled data and a few choices to HoloViews elements.

Every picture is made of a fixed number of parts, each one glyph with a colour an item, so that other data of the same
kind can take the place of the old in a live figure. Nothing is computed here but what drawing needs (a running mean,
an order, a place for a label); everything else comes from :mod:`ip2lab.analysis`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import holoviews as hv
import numpy as np
import xarray as xr

from ip2lab.analysis import population
from ip2lab.views.style import (
    DIVERGING,
    MARK,
    QUIET,
    SEQUENTIAL,
    SPIKES,
    axis,
    colours,
    image,
    legend,
    lines,
    looks,
    marker_line,
    points,
    span,
    styled,
    uprights,
)

MOST_POINTS = 240  # along one line: more than a panel has pixels for


def learning_curves(
    runs: Mapping[str, xr.Dataset] | xr.Dataset,
    *,
    smooth: int = 1,
    log: bool = True,
    log_problems: bool = False,
    inks: Mapping[str, str] | None = None,
    fits: Mapping[str, xr.Dataset] | None = None,
    at: int | None = None,
    height: int = 300,
) -> hv.Overlay:
    """Trials to criterion over problems.

    Parameters
    ----------
    runs : Dataset or mapping of str to Dataset
        ``/series`` of each run by name: ``trials_to_criterion`` and ``censored_trials`` (problem). With a further dim
        (seeds, say) the line is the mean over it, the band the middle 80 percent.
    smooth : int
        Length of the running mean, in problems.
    log, log_problems : bool
        Logarithmic axes; problems are then counted from 1.
    inks : mapping of str to str, optional
        Colour of each run.
    fits : mapping of str to Dataset, optional
        What :func:`ip2lab.analysis.curves.exponential_fit` returned for some of them: a dashed line each.
    at : int, optional
        A problem to mark.
    height : int
        In pixels.

    Returns
    -------
    Overlay
        Bands, single problems as points, fits, lines, failures as triangles at the cap.

    Examples
    --------
    >>> series = xr.Dataset({"trials_to_criterion": ("problem", [90.0, 9.0, 5.0])}, {"problem": [0, 1, 2]})
    >>> len(learning_curves({"a run": series})) > 3
    True
    """
    runs = {"run": runs} if isinstance(runs, xr.Dataset) else runs
    inks = inks or dict(zip(runs, colours(len(runs)), strict=True))
    offset = 1 if log_problems else 0
    names = [axis(None, "problem, counted from 1" if offset else "problem"), "trials to criterion"]
    bands, paths, dots, failed = [], [], [], []
    for name, series in runs.items():
        x = series["problem"].values + offset
        values = _members(series["trials_to_criterion"])
        mean = values.mean("member", skipna=True).rolling(problem=smooth, min_periods=1, center=True).mean().values
        paths.append(np.column_stack([x, mean]))
        if values.sizes["member"] > 1:
            bands.append(_band(x, values.quantile([0.1, 0.9], "member").rolling(problem=smooth, min_periods=1, center=True).mean().values))
        else:
            dots.append((x, values.values[0], inks[name]))
        if "censored_trials" in series:
            cap = _members(series["censored_trials"])
            failed += [(x, row, inks[name]) for row in cap.values]
    banded = [name for name, series in runs.items() if series["trials_to_criterion"].ndim > 1]
    every = np.concatenate([*(p[:, 1] for p in paths), *(d[1] for d in (*dots, *failed)), [1.0]])
    low, high = span(every, 0.04, log) if log else (0.0, span(every)[1])
    ends = [float(f(p[:, 0])) for p in paths for f in (np.min, np.max)] or [0.0, 1.0]
    parts = [
        _bands(bands, [inks[n] for n in banded], names),
        _scattered(dots, names, size=4, alpha=0.35),
        lines(_fitted(fits, runs, offset), names, [inks[n] for n in fits or {}], line_width=1.6, line_dash="dashed"),
        lines(paths, names, [inks[n] for n in runs], line_width=2.2),
        _scattered(failed, names, size=10, marker="inverted_triangle"),
        marker_line(None if at is None else at + offset, low, high, names),
        *(legend(list(runs), [inks[n] for n in runs], names) if len(runs) > 1 else []),
    ]
    return looks(
        hv.Overlay(parts), height, logy=log, logx=log_problems, ylim=(low, high), xlim=(min(ends), max(max(ends), min(ends) + 1)),
        xlabel=names[0], ylabel=names[1], legend_position="top_right",
    )


def moved(picture: hv.Overlay, at: float | None) -> hv.Overlay:
    """Return a picture with its marker at another place; all other parts are the same objects.

    Examples
    --------
    >>> picture = over_problems(xr.DataArray([3.0, 2.0], dims="problem", coords={"problem": [0, 1]}), at=0)
    >>> again = moved(picture, 1)
    >>> [new is old for new, old in zip(again, picture)]
    [True, True, False]
    """
    low, high = hv.Store.lookup_options("bokeh", picture, "plot").kwargs["ylim"]
    names = [d.name for d in list(picture)[0].kdims]
    parts = [marker_line(at, low, high, names) if part.group == "Marker" else part for part in picture]
    return picture.clone(parts)


def _members(values: xr.DataArray) -> xr.DataArray:
    """(member, problem), whatever the other dims are called."""
    others = [d for d in values.dims if d != "problem"]
    if not others:
        return values.expand_dims("member")
    return values.stack(member=others, create_index=False).transpose("member", "problem")


def _band(x: np.ndarray, ends: np.ndarray) -> np.ndarray:
    return np.column_stack([np.concatenate([x, x[::-1]]), np.concatenate([ends[0], ends[1][::-1]])])


def _bands(bands: Sequence[np.ndarray], inks: Sequence[str], names: Sequence[str]) -> hv.Polygons:
    if not len(bands):
        bands, inks = [np.ones((3, 2))], [QUIET]  # no area: see style.lines
    data = [{names[0]: b[:, 0], names[1]: b[:, 1], "colour": ink} for b, ink in zip(bands, inks, strict=True)]
    return styled(hv.Polygons, data, names, ("colour",), {"color": "colour", "alpha": 0.2, "line_alpha": 0})


def _scattered(groups: Sequence[tuple[np.ndarray, np.ndarray, str]], names: Sequence[str], **chosen: Any) -> hv.Points:
    """Points of several groups (x, y, colour) as one glyph, without those that are NaN."""
    kept = [(x[np.isfinite(y)], y[np.isfinite(y)], ink) for x, y, ink in groups]
    x, y = (np.concatenate([group[i] for group in kept]) if kept else np.empty(0) for i in (0, 1))
    ink = [colour for group_x, _, colour in kept for colour in [colour] * len(group_x)]
    return points(x, y, names, ink, **chosen)


def _fitted(fits: Mapping[str, xr.Dataset] | None, runs: Mapping[str, xr.Dataset], offset: int) -> list[np.ndarray]:
    """The curve of each exponential fit, which counts from the second problem."""
    paths = []
    for name, fit in (fits or {}).items():
        x = runs[name]["problem"].values[1:].astype(float)
        height, tau, end = (float(fit[part].mean()) for part in ("scale", "tau", "asymptote"))
        paths.append(np.column_stack([x + offset, height * np.exp(-(x - x[0]) / tau) + end]))
    return paths


def within_problem_loss(
    trials: Mapping[str, xr.Dataset] | xr.Dataset,
    problem: int,
    *,
    criterion: float | None = None,
    window: int | None = None,
    inks: Mapping[str, str] | None = None,
    height: int = 260,
) -> hv.Overlay:
    """The loss of every trial of one problem, with its running mean, until the criterion was reached.

    Parameters
    ----------
    trials : Dataset or mapping of str to Dataset
        ``/trials`` of each run: ``loss``, ``correct`` and ``problem`` (trial).
    problem : int
        Which one.
    criterion : float, optional
        Loss (nats) below which the mean of the window must come: a dotted line.
    window : int, optional
        Length of the window of the criterion, in trials: its mean is the thick line.
    inks : mapping of str to str, optional
        Colour of each run.
    height : int
        In pixels.

    Returns
    -------
    Overlay
        Loss of each trial, its mean over the window that ends there, trials with an error as dots, the criterion.

    Examples
    --------
    >>> trials = xr.Dataset(
    ...     {"loss": ("trial", [1.0, 0.2, 0.1]), "correct": ("trial", [False, True, True]), "problem": ("trial", [0, 0, 0])})
    >>> len(within_problem_loss(trials, 0, criterion=0.1, window=2))
    4
    """
    trials = {"run": trials} if isinstance(trials, xr.Dataset) else trials
    inks = inks or dict(zip(trials, colours(len(trials)), strict=True))
    names = ["trial of the problem", axis(None, "loss", "nats")]
    raw, means, wrong, ink = [], [], [], []
    for name, table in trials.items():
        first, last = np.searchsorted(table["problem"].values, [problem, problem + 1])
        if first == last:
            continue
        part = table[["loss", "correct"]].isel(trial=slice(first, last)).load()
        x, loss = np.arange(1, last - first + 1), np.maximum(part["loss"].values, 1e-6)
        steady = part["loss"].rolling(trial=min(window or 1, len(x)), min_periods=1).mean().values
        raw.append(np.column_stack([x, loss]))
        means.append(np.column_stack([x, np.maximum(steady, 1e-6)]))
        wrong.append((x, np.where(part["correct"].values, np.nan, loss), inks[name]))
        ink.append(inks[name])
    every = np.concatenate([*(p[:, 1] for p in raw), [criterion] if criterion else []]) if raw else np.empty(0)
    low, high = span(every, 0.05, True)
    end = max((float(p[-1, 0]) for p in raw), default=1.0) + 0.5
    level = [] if criterion is None else [np.array([[0.0, criterion], [end, criterion]])]
    parts = [
        lines(raw, names, ink, line_width=1, alpha=0.35),
        lines(means, names, ink, line_width=2.2),
        _scattered(wrong, names, size=4, alpha=0.8),
        lines(level, names, QUIET, line_width=1.4, line_dash="dotted"),
    ]
    return looks(hv.Overlay(parts), height, logy=True, ylim=(low, high), xlim=(0.5, max(end, 2.0)), xlabel=names[0], ylabel=names[1])


def bars(
    values: Mapping[str, float], label: str, inks: Mapping[str, str] | None = None, *, single: Mapping[str, Sequence[float]] | None = None, height: int = 260
) -> hv.Overlay:
    """One horizontal bar a name, with single values (seeds) as dots on it.

    Parameters
    ----------
    values : mapping of str to float
        Length of each bar.
    label : str
        Words of the axis.
    inks : mapping of str to str, optional
        Colour of each bar.
    single : mapping of str to sequence of float, optional
        The values behind a bar.
    height : int
        In pixels.

    Returns
    -------
    Overlay

    Examples
    --------
    >>> len(bars({"a": 3.0, "b": 12.0}, "trials"))
    3
    """
    inks = inks or dict(zip(values, colours(len(values)), strict=True))
    names = [label, "row"]
    places = {name: len(values) - 1 - i for i, name in enumerate(values)}
    paths = [np.array([[0.0, places[n]], [values[n], places[n]]]) for n in values]
    thick = min(22, max(4, int(0.5 * height / max(len(values), 1))))
    dots = [(np.asarray(row, float), np.full(len(row), float(places[n])), QUIET) for n, row in (single or {}).items()]
    top = 1.22 * max([v for v in values.values() if np.isfinite(v)] + [float(np.max(d[0])) for d in dots if len(d[0])], default=1.0)
    texts = hv.Labels([(values[n], places[n], f"  {values[n]:.3g}") for n in values if np.isfinite(values[n])], names, ["text"])
    parts = [
        lines(paths, names, [inks[n] for n in values], line_width=thick, line_cap="butt"),
        _scattered(dots, names, size=5, alpha=0.8),
        texts.opts(backend="bokeh", text_align="left", text_baseline="middle", text_font_size="11px", text_color=QUIET),
    ]
    ticks = [(place, name if len(name) < 22 else name[:20] + "…") for name, place in places.items()]
    return looks(hv.Overlay(parts), height, xlim=(0, top), ylim=(-0.6, len(values) - 0.4), xlabel=label, ylabel="", yticks=ticks)


def trajectories(
    scores: xr.DataArray, *, x: int = 0, y: int = 1, by: str = "condition", at: float | None = None, share: xr.DataArray | None = None, height: int = 360
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
    height : int
        In pixels.

    Returns
    -------
    Overlay
        Lines, a ring where each starts, a small dot where an epoch begins, a large dot at `at`.

    Examples
    --------
    >>> scores = xr.DataArray(np.ones((2, 5, 2)), dims=("probe", "time", "component"), coords={"condition": ("probe", [0, 1])})
    >>> len(trajectories(scores))
    6
    """
    trial = [d for d in scores.dims if d not in ("time", "component")]
    flat = scores.stack(trial_=trial, create_index=False).transpose("trial_", "time", "component")
    names = [_component(share, x), _component(share, y)]
    if names[0] == names[1]:
        names[1] += " "
    labels = flat[by].values if by in flat.coords else np.zeros(flat.sizes["trial_"])
    kinds = list(dict.fromkeys(labels.tolist()))
    ink = dict(zip(kinds, colours(len(kinds)), strict=True))
    values = flat.values[:, :, [x, y]].astype(float)
    own = [ink[label] for label in labels.tolist()]
    now = [] if at is None or "time" not in flat.coords else [int(np.abs(flat["time"].values - at).argmin())]
    parts = [
        lines(list(values), names, own, line_width=2),
        _dots(values, [0], own, names, size=9, fill_alpha=0, line_color="colour", line_width=1.6),
        _dots(values, _borders(flat), own, names, size=5),
        _dots(values, now, own, names, size=13),
        *legend([_named(by, kind) for kind in kinds], list(ink.values()), names),
    ]
    return looks(
        hv.Overlay(parts), height, xlim=span(values[..., 0]), ylim=span(values[..., 1]), xlabel=names[0], ylabel=names[1], legend_position="top_right"
    )


def turned(scores: xr.DataArray, azimuth: float, elevation: float) -> xr.DataArray:
    """Return scores (..., component) in three components as two: seen from `azimuth` and `elevation` (degrees).

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
    return population.project(seen, xr.DataArray(axes, dims=("component", "direction")), feature="direction")


def _component(share: xr.DataArray | None, index: int) -> str:
    return f"component {index + 1}" if share is None else f"component {index + 1} ({100 * float(share[index]):.0f} % of variance)"


def _named(by: str, kind: Any) -> str:
    text = str(kind)
    return text if text and not text.replace(".", "").isdigit() else f"{by} {text}".strip()


def _dots(values: np.ndarray, steps: Sequence[int], inks: Sequence[str], names: Sequence[str], **chosen: Any) -> hv.Points:
    """Points on the lines `values` (trial, time, 2) at some time steps."""
    found = values[:, list(steps)].reshape(-1, 2)
    return points(found[:, 0], found[:, 1], names, [ink for ink in inks for _ in steps], **chosen)


def _borders(data: xr.DataArray) -> list[int]:
    """The steps at which an epoch begins, without the first."""
    if "epoch" not in data.coords:
        return []
    epochs = data["epoch"].values
    return [int(i) + 1 for i in np.flatnonzero(epochs[1:] != epochs[:-1])]


def raster(
    signal: xr.DataArray,
    *,
    order: np.ndarray | None = None,
    order_name: str = "",
    at: float | None = None,
    picked: int | None = None,
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
    4
    """
    flat = signal.transpose("neuron", "time")
    order = np.arange(flat.sizes["neuron"]) if order is None else np.asarray(order)
    time, rows = flat["time"].values, np.arange(len(order))
    spikes = flat.dtype == bool
    values = flat.values[order].astype(np.uint8 if spikes else np.float32)
    names = [axis(flat["time"], "time", flat["time"].attrs.get("units", "ms")), "neuron" + (f", by {order_name}" if order_name else "")]
    step = float(time[1] - time[0]) if len(time) > 1 else 1.0
    low, high = (0.0, 1.0) if spikes else limits or _ends(values)
    ends = (float(time[0] - step / 2), float(time[-1] + step / 2))
    place = [] if picked is None else [np.array([[ends[0], y], [ends[1], y]]) for y in np.flatnonzero(order == picked)]
    parts = [
        image(values, time, rows, [*names, axis(signal)], cmap=SPIKES if spikes else SEQUENTIAL, clim=(low, high), colorbar=not spikes,
              colorbar_opts={"title": axis(signal), "width": 9} if not spikes else {}),
        uprights(tuple(float(time[i] - step / 2) for i in _borders(flat)), -0.5, len(order) - 0.5, tuple(names), line_dash="dashed"),
        lines(place, names, MARK, line_width=1.6, alpha=0.9),
        marker_line(at, -0.5, len(order) - 0.5, names),
    ]
    return looks(hv.Overlay(parts), height, xlim=ends, ylim=(-0.5, len(order) - 0.5), xlabel=names[0], ylabel=names[1])


def _ends(values: np.ndarray) -> tuple[float, float]:
    found = values[np.isfinite(values)]
    low, high = (float(found.min()), float(found.max())) if found.size else (0.0, 1.0)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def property_trajectories(
    values: xr.DataArray, *, picked: int | None = None, at: float | None = None, along: str | None = None, inks: Sequence[str] | None = None, height: int = 320
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
    names = [axis(flat.coords[along] if along in flat.coords else None, along), axis(values)]
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
    found: xr.Dataset, name: str, *, at: int, picked: float | None = None, label: str = "", limits: tuple[float, float] | None = None, height: int = 320
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

    Examples
    --------
    >>> from ip2lab.analysis import neurons
    >>> tau = xr.DataArray(np.exp(np.eye(3)), dims=("problem", "neuron"), coords={"problem": [-1, 0, 1]}, name="tau_soma")
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
        _bands(shapes, [QUIET, colours(1)[0]], names),
        lines([s[:-1] for s in shapes], names, [QUIET, colours(1)[0]], line_width=1.8),
        lines([] if picked is None else [np.array([[0.0, picked], [top, picked]])], names, MARK, line_width=1.6),
        *legend(["before learning", "now"], [QUIET, colours(1)[0]], names),
    ]
    return looks(
        hv.Overlay(parts), height, logy=True, xlim=(0.0, top), ylim=(low, high), xlabel=names[0], ylabel=names[1], legend_position="bottom_right"
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

    Examples
    --------
    >>> from ip2lab.analysis import neurons
    >>> ratio = xr.DataArray(np.exp(np.eye(2, 3)), dims=("problem", "neuron"), coords={"problem": [-1, 0]}, name="tau_soma")
    >>> len(shifts(neurons.density(ratio), at=0))
    3
    """
    names = ["value over its value before learning", "density"]
    kinds = [str(k) for k in found["property"].values]
    inks = colours(len(kinds))
    curves = [np.column_stack([found["value"].sel(property=k).values, found["density"].sel(property=k, problem=at).values]) for k in kinds]
    top = 1.25 * max(float(c[:, 1].max()) for c in curves)
    xlim = (min(0.5, *(float(c[0, 0]) for c in curves)), max(2.0, *(float(c[-1, 0]) for c in curves)))
    parts = [
        _bands([np.vstack([c, [[c[-1, 0], 0], [c[0, 0], 0]]]) for c in curves], inks, names),
        lines(curves, names, inks, line_width=2),
        *legend(kinds, inks, names),
    ]
    return looks(hv.Overlay(parts), height, logx=True, xlim=xlim, ylim=(0, top), xlabel=names[0], ylabel=names[1], legend_position="top_right")


def neuron_trace(
    probe: xr.Dataset, *, threshold: float | xr.DataArray | None = None, at: float | None = None, limits: tuple[float, float] | None = None, height: int = 260
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

    Examples
    --------
    >>> probe = xr.Dataset({"membrane": ("time", [0.0, 0.8, 0.2]), "spikes": ("time", [False, True, False])}, {"time": [0.0, 20.0, 40.0]})
    >>> len(neuron_trace(probe, threshold=1.0))
    7
    """
    time = probe["time"].values
    shown = [str(v) for v in ("membrane", "dendrite", "activity") if v in probe]
    ink = dict(zip(("membrane", "dendrite", "activity"), (colours(1)[0], colours(3)[2], colours(1)[0]), strict=True))
    names = [axis(probe["time"], "time", probe["time"].attrs.get("units", "ms")), "potential" if "membrane" in probe else axis(probe[shown[0]])]
    level = np.broadcast_to(np.nan if threshold is None else np.asarray(threshold, float), time.shape)
    every = np.concatenate([*(probe[v].values for v in shown), level])
    low, high = limits or span(every, 0.08)
    fired = time[probe["spikes"].values.astype(bool)] if "spikes" in probe else np.empty(0)
    top = high - 0.03 * (high - low)
    entries = [*shown, *(["threshold"] if threshold is not None else []), *(["spike"] if "spikes" in probe else [])]
    inks = [*(ink[v] for v in shown), *([QUIET] if threshold is not None else []), *([MARK] if "spikes" in probe else [])]
    parts = [
        uprights(tuple(float(time[i]) for i in _borders(probe[shown[0]])), low, high, tuple(names), line_dash="dashed", alpha=0.6),
        lines([np.column_stack([time, level])] if threshold is not None else [], names, QUIET, line_width=1.4),
        lines([np.column_stack([time, probe[v].values]) for v in shown], names, [ink[v] for v in shown], line_width=1.7),
        lines([np.array([[t, top - 0.06 * (high - low)], [t, top]]) for t in fired], names, MARK, line_width=2),
        *legend(entries, inks, names)[: len(entries)],
    ]
    parts.insert(4, marker_line(at, low, high, names))
    return looks(hv.Overlay(parts), height, xlim=(float(time[0]), float(time[-1])), ylim=(low, high), xlabel=names[0], ylabel=names[1],
                 legend_position="bottom_right")


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
    return looks(hv.Overlay(parts), height, logx=True, logy=True, xlim=xlim, ylim=ylim, xlabel=names[0], ylabel=names[1])


def history(signal: xr.DataArray, *, at: int | None = None, height: int = 260) -> hv.Overlay:
    """One neuron in the same trial after different problems, one row a problem.

    Parameters
    ----------
    signal : DataArray
        (problem, time); bool for spikes.
    at : int, optional
        The problem to mark.
    height : int
        In pixels.

    Returns
    -------
    Overlay

    Examples
    --------
    >>> spikes = xr.DataArray(np.eye(3, dtype=bool), dims=("problem", "time"), coords={"problem": [0, 1, 5], "time": [0.0, 20.0, 40.0]})
    >>> len(history(spikes, at=5))
    4
    """
    problems = signal["problem"].values
    rows = signal.drop_vars(["neuron", "problem"], errors="ignore").rename(problem="neuron")
    found = np.flatnonzero(problems == at)
    picture = raster(rows, picked=int(found[0]) if found.size else None, height=height)
    keep = np.unique(np.linspace(0, len(problems) - 1, min(len(problems), 9)).astype(int))
    return picture.opts(backend="bokeh", ylabel="after problem", yticks=[(int(i), str(problems[i])) for i in keep])


def over_problems(values: xr.DataArray, *, at: float | None = None, log: bool = False, floor: float | None = None, height: int = 220) -> hv.Overlay:
    """One number a problem as a line with dots; a further dim gives a line each, with a legend.

    Parameters
    ----------
    values : DataArray
        (problem) or (something, problem).
    at : float, optional
        A problem to mark.
    log : bool
        Logarithmic vertical axis.
    floor : float, optional
        Lower end of the vertical axis.
    height : int
        In pixels.

    Returns
    -------
    Overlay

    Examples
    --------
    >>> len(over_problems(xr.DataArray([3.0, 2.0], dims="problem", coords={"problem": [0, 1]})))
    3
    """
    others = [str(d) for d in values.dims if d != "problem"]
    flat = values.transpose(*others, "problem")
    table = np.atleast_2d(flat.values.astype(float))
    x = flat["problem"].values.astype(float)
    names = [axis(None, "problem"), axis(values)]
    inks = colours(len(table))
    low, high = span(table, 0.06, log)
    low = low if floor is None else floor
    if others and not log:
        high += 0.2 * (high - low)  # room for the legend
    kinds = [_named(others[0], k) for k in flat[others[0]].values] if others else []
    parts = [
        lines([np.column_stack([x, row]) for row in table], names, inks, line_width=2),
        _scattered([(x, row, ink) for row, ink in zip(table, inks, strict=True)], names, size=5),
        marker_line(at, low, high, names),
        *legend(kinds, inks[: len(kinds)], names),
    ]
    return looks(
        hv.Overlay(parts), height, logy=log, xlim=span(x), ylim=(low, high), xlabel=names[0], ylabel=names[1], legend_position="top_right", legend_cols=max(len(kinds), 1)
    )


def trial_picture(trials: xr.Dataset, height: int = 380) -> hv.Overlay:
    """What a trial is, for each condition of a problem: epochs, inputs, the right output, and what counts.

    Parameters
    ----------
    trials : Dataset
        What ``trials()`` of a problem returns: ``inputs`` (trial, time, input), ``target``, ``scored`` and ``epoch`` (trial, time).
    height : int
        In pixels.

    Returns
    -------
    Overlay
        One block a trial: the input channels as an image, below it a band with the right output, pale where it is
        not scored; the names of the epochs above.

    Examples
    --------
    >>> from ip2lab.tasks import family
    >>> len(trial_picture(family("association").problem(seed=0).trials()))
    5
    """
    time = trials["time"].values
    step = float(time[1] - time[0])
    channels, count = trials.sizes["input"], trials.sizes["trial"]
    block = channels + 4  # a band of two rows for the output and two rows of room
    grid = np.full((count * block, len(time)), np.nan, np.float32)
    boxes, words, ticks = [], [], []
    outputs = [str(o) for o in trials["output"].values]
    ink = dict(zip(outputs, [*colours(len(outputs) - 1), QUIET], strict=True))
    for row in range(count):
        base = (count - 1 - row) * block
        grid[base + 3 : base + 3 + channels] = trials["inputs"].values[row].T[::-1]
        ticks += [(base + 3 + channels / 2 - 0.5, "inputs"), (base + 1, "right output")]
        for first, last, target, scored in _stretches(trials, row):
            left, right = time[first] - step / 2, time[last] + step / 2
            boxes.append((left, base, right, base + 2, ink[outputs[target]], 0.85 if scored else 0.25))
            if right - left >= 0.06 * (time[-1] - time[0]):
                words.append(((left + right) / 2, base + 1, outputs[target], "white" if scored else QUIET))
    top = count * block
    epochs = trials["epoch"].values[0]
    starts = [0, *(int(i) + 1 for i in np.flatnonzero(epochs[1:] != epochs[:-1])), len(time)]
    words += [((time[a] + time[b - 1]) / 2, top + 0.3, str(epochs[a]), QUIET) for a, b in zip(starts[:-1], starts[1:], strict=True) if (b - a) * step >= 200]
    names = [axis(trials["time"]), "row"]
    high = float(np.nanmax(np.abs(grid)))
    parts = [
        image(grid, time, np.arange(top), [*names, "input"], cmap=DIVERGING, clim=(-high, high), clipping_colors={"NaN": "#00000000"},
              colorbar=True, colorbar_opts={"title": "input", "width": 9}),
        hv.Rectangles(boxes, vdims=["colour", "strength"]).opts(backend="bokeh", color="colour", alpha="strength", line_alpha=0),
        uprights(tuple(float(time[i] - step / 2) for i in starts[1:-1]), -0.5, float(top), tuple(names), line_dash="dashed"),
        hv.Labels(words, names, ["text", "colour"]).opts(backend="bokeh", text_font_size="11px", text_color="colour", text_baseline="middle"),
        marker_line(None, 0, top, names),
    ]
    return looks(hv.Overlay(parts), height, xlim=(float(time[0] - step / 2), float(time[-1] + step / 2)), ylim=(-0.8, top + 1.2), xlabel=names[0], ylabel="",
                 yticks=ticks)


def _stretches(trials: xr.Dataset, row: int) -> list[tuple[int, int, int, bool]]:
    """The stretches of a trial with one right output: first and last step, the output's index, whether scored."""
    target, scored = trials["target"].values[row], trials["scored"].values[row]
    edges = np.flatnonzero((np.diff(target) != 0) | (np.diff(scored.astype(int)) != 0))
    starts, ends = np.append(0, edges + 1), np.append(edges, len(target) - 1)
    return [(int(a), int(b), int(target[a]), bool(scored[a])) for a, b in zip(starts, ends, strict=True)]
