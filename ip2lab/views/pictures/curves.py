"""Learning: curves over problems, the loss within one, bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import holoviews as hv
import numpy as np
import xarray as xr

from ip2lab.views.pictures.parts import bands, named, scattered
from ip2lab.views.style import QUIET, axis, colours, legend, lines, looks, marker_line, span


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
    areas, paths, dots, failed = [], [], [], []
    for name, series in runs.items():
        if not series.sizes["problem"]:
            continue
        x = series["problem"].values + offset
        values = _members(series["trials_to_criterion"])
        mean = values.mean("member", skipna=True).rolling(problem=smooth, min_periods=1, center=True).mean().values
        paths.append(np.column_stack([x, mean]))
        if values.sizes["member"] > 1:
            areas.append(
                _band(
                    x,
                    values.quantile([0.1, 0.9], "member")
                    .rolling(problem=smooth, min_periods=1, center=True)
                    .mean()
                    .values,
                )
            )
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
        bands(areas, [inks[n] for n in banded], names),
        scattered(dots, names, size=4, alpha=0.35),
        lines(_fitted(fits, runs, offset), names, [inks[n] for n in fits or {}], line_width=1.6, line_dash="dashed"),
        lines(paths, names, [inks[n] for n, series in runs.items() if series.sizes["problem"]], line_width=2.2),
        scattered(failed, names, size=10, marker="inverted_triangle"),
        marker_line(None if at is None else at + offset, low, high, names),
        *(legend(list(runs), [inks[n] for n in runs], names) if len(runs) > 1 else []),
    ]
    return looks(
        hv.Overlay(parts),
        height,
        logy=log,
        logx=log_problems,
        ylim=(low, high),
        xlim=(min(ends), max(*ends, min(ends) + 1)),
        xlabel=names[0],
        ylabel=names[1],
        legend_position="top_right",
    )


def _members(values: xr.DataArray) -> xr.DataArray:
    """(member, problem), whatever the other dims are called."""
    others = [d for d in values.dims if d != "problem"]
    if not others:
        return values.expand_dims("member")
    return values.stack(member=others, create_index=False).transpose("member", "problem")


def _band(x: np.ndarray, ends: np.ndarray) -> np.ndarray:
    return np.column_stack([np.concatenate([x, x[::-1]]), np.concatenate([ends[0], ends[1][::-1]])])


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
    ...     {"loss": ("trial", [1.0, 0.2, 0.1]), "correct": ("trial", [False, True, True]),
    ...      "problem": ("trial", [0, 0, 0])})
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
        scattered(wrong, names, size=4, alpha=0.8),
        lines(level, names, QUIET, line_width=1.4, line_dash="dotted"),
    ]
    return looks(
        hv.Overlay(parts),
        height,
        logy=True,
        ylim=(low, high),
        xlim=(0.5, max(end, 2.0)),
        xlabel=names[0],
        ylabel=names[1],
    )


def bars(
    values: Mapping[str, float],
    label: str,
    inks: Mapping[str, str] | None = None,
    *,
    single: Mapping[str, Sequence[float]] | None = None,
    height: int = 260,
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
        The bars, their values in figures, and the dots.

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
    top = 1.22 * max(
        [v for v in values.values() if np.isfinite(v)] + [float(np.max(d[0])) for d in dots if len(d[0])], default=1.0
    )
    texts = hv.Labels(
        [(values[n], places[n], f"  {values[n]:.3g}") for n in values if np.isfinite(values[n])], names, ["text"]
    )
    parts = [
        lines(paths, names, [inks[n] for n in values], line_width=thick, line_cap="butt"),
        scattered(dots, names, size=5, alpha=0.8),
        texts.opts(backend="bokeh", text_align="left", text_baseline="middle", text_font_size="11px", text_color=QUIET),
    ]
    ticks = [(place, name if len(name) < 22 else name[:20] + "…") for name, place in places.items()]
    return looks(
        hv.Overlay(parts), height, xlim=(0, top), ylim=(-0.6, len(values) - 0.4), xlabel=label, ylabel="", yticks=ticks
    )


def over_problems(
    values: xr.DataArray, *, at: float | None = None, log: bool = False, floor: float | None = None, height: int = 220
) -> hv.Overlay:
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
        The lines, their dots and the marker.

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
    kinds = [named(others[0], k) for k in flat[others[0]].values] if others else []
    parts = [
        lines([np.column_stack([x, row]) for row in table], names, inks, line_width=2),
        scattered([(x, row, ink) for row, ink in zip(table, inks, strict=True)], names, size=5),
        marker_line(at, low, high, names),
        *legend(kinds, inks[: len(kinds)], names),
    ]
    return looks(
        hv.Overlay(parts),
        height,
        logy=log,
        xlim=span(x),
        ylim=(low, high),
        xlabel=names[0],
        ylabel=names[1],
        legend_position="top_right",
        legend_cols=max(len(kinds), 1),
    )


def moved(picture: hv.Overlay, at: float | None) -> hv.Overlay:
    """Return a picture with its marker at another place; all other parts are the same objects.

    Parameters
    ----------
    picture : Overlay
        A picture with a marker.
    at : float, optional
        Where the marker goes; None takes it away.

    Examples
    --------
    >>> picture = over_problems(xr.DataArray([3.0, 2.0], dims="problem", coords={"problem": [0, 1]}), at=0)
    >>> again = moved(picture, 1)
    >>> [new is old for new, old in zip(again, picture)]
    [True, True, False]
    """
    low, high = hv.Store.lookup_options("bokeh", picture, "plot").kwargs["ylim"]
    names = [d.name for d in next(iter(picture)).kdims]
    parts = [marker_line(at, low, high, names) if part.group == "Marker" else part for part in picture]
    return picture.clone(parts)
