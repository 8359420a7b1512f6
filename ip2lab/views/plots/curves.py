"""Learning: curves over problems, the loss within one, bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import holoviews as hv
import numpy as np
import xarray as xr

from ip2lab.analysis import curves
from ip2lab.analysis._labels import check_unique, levels, listed, sequence
from ip2lab.views.plots.parts import (
    Axis,
    along_series,
    bands,
    broken,
    has,
    increasing,
    inks_for,
    labels_of,
    mapped,
    named,
    scattered,
    seen,
    series_axis,
    with_dims,
)
from ip2lab.views.style import (
    QUIET,
    axes,
    axis,
    colours,
    figure,
    legend,
    lines,
    marker_line,
    picture,
    plain,
    span,
    strokes,
    styled,
)

NONE = 0.5  # where no trials at all are drawn on a logarithmic axis
FEWEST = 0.8  # trials to criterion on a logarithmic axis: 1 is the least there are
COLUMNS = ("trials_to_criterion", "censored_trials", "failed", "attempted")
FEW = 4  # runs of which single trials can still be told apart


def learning_curves(
    runs: Mapping[str, xr.Dataset | xr.DataArray] | xr.Dataset | xr.DataArray,
    *,
    smooth: int = 1,
    log: bool = True,
    log_problems: bool = False,
    colors: Mapping[str, str] | None = None,
    fits: Mapping[str, xr.Dataset] | None = None,
    at: Any = None,
    off: Sequence[str] = (),
    limits: tuple[tuple[float, float], tuple[float, float]] | None = None,
    height: int = 300,
) -> hv.Overlay:
    """Trials to criterion over problems.

    Parameters
    ----------
    runs : Dataset, DataArray, or mapping of str to these
        ``/series`` of each run by name, ``trials_to_criterion`` and ``censored_trials`` (problem), or the trials alone,
        as for :mod:`ip2lab.analysis.curves`. With a further dim (seeds, say) the line is the mean over it, the band the
        middle 80 percent. A problem that was given up counts with its cap, one that was not attempted nowhere. Problems
        stand at their numbers; those with names or dates one after the other.
    smooth : int
        Length of the running mean, in problems.
    log, log_problems : bool
        Logarithmic axes; no trials at all are then drawn at one half, and problems counted from 1.
    colors : mapping of str to str, optional
        Colour of each run.
    fits : mapping of str to Dataset, optional
        What :func:`ip2lab.analysis.curves.exponential_fit` returned for some of them: a dashed line each, with its band
        where the fit was resampled.
    at : optional
        The label of a problem to mark.
    off : sequence of str
        Names that the legend shows as switched off.
    limits : pair of (float, float), optional
        Ends of the two axes; see :func:`curve_limits`.
    height : int
        In pixels.

    Returns
    -------
    Overlay
        Bands, single problems as points, fits, lines, failures as triangles at the cap. A point under the pointer says
        which run and problem it is.

    Examples
    --------
    >>> series = xr.Dataset({"trials_to_criterion": ("problem", [90.0, 9.0, 5.0])}, {"problem": [0, 1, 2]})
    >>> len(learning_curves({"a run": series})) > 3
    True
    """
    runs, where = _runs(runs)
    colors, fits = inks_for(colors, [*runs, *off]), mapped(fits, runs, "fits")
    offset, least = 1 if log_problems else 0, NONE if log else 0
    names = [axis(None, "problem, counted from 1" if offset else "problem"), "trials to criterion"]
    shown = _shown(runs)
    areas, paths, dots, failed = [], [], [], []
    for name, (values, lost) in shown.items():
        x, given_up = where.place(values["problem"].values) + offset, lost.values
        mean = values.mean("member")
        paths.append(np.column_stack([x, _running(mean, smooth).clip(least)]))
        if values.sizes["member"] > 1:
            areas.append((_band(x, _running(values.quantile([0.1, 0.9], "member"), smooth).clip(least)), colors[name]))
        solved = mean.values if values.sizes["member"] > 1 else np.where(given_up[0], np.nan, mean.values)
        dots.append((x, solved.clip(least), colors[name], name))
        failed += [
            (x, np.where(these, row, np.nan), colors[name], name)
            for these, row in zip(given_up, values.values, strict=True)
        ]
    areas += _fit_bands(fits, where, offset, colors)
    xlim, ylim = limits or curve_limits(runs, log=log, log_problems=log_problems)
    parts = [
        bands(areas, names),
        _told(dots, names, offset, "trials to criterion", size=4, alpha=0.4),
        lines(_fitted(fits, where, offset), names, [colors[n] for n in fits], line_width=1.6, line_dash="dashed"),
        lines(paths, names, [colors[n] for n in shown], line_width=2.2),
        _told(failed, names, offset, "given up after (trials)", size=10, marker="inverted_triangle"),
        marker_line(None if at is None else float(where.place(at).ravel()[0]) + offset, *ylim, names),
        *(
            legend([*runs, *off], [*(colors[n] for n in runs), *(colors[n] + "66" for n in off)], names)
            if len(runs) + len(off) > 1
            else []
        ),
    ]
    chosen = {"xlabel": names[0], "ylabel": names[1], **_ticks(where, offset)}
    return picture(parts, height, names, logy=log, logx=log_problems, xlim=xlim, ylim=ylim, **chosen)


def _ticks(where: Axis, offset: int = 0) -> dict[str, Any]:
    """The names of problems along the horizontal axis, where they are no numbers."""
    return {"xticks": [(place + offset, word) for place, word in where.ticks]} if where.ticks else {}


def _runs(runs: Any) -> tuple[dict[str, xr.Dataset], Axis]:
    """Series by name, each in the order of its problems, and the axis on which all have their place."""
    found = {}
    for name, one in ({"run": runs} if isinstance(runs, (xr.Dataset, xr.DataArray)) else runs).items():
        if not isinstance(one, (xr.Dataset, xr.DataArray, xr.DataTree)):
            raise TypeError(f"runs[{name!r}] is a {type(one).__name__}; give a run's series, or its trials")
        series = xr.Dataset({"trials_to_criterion": one.rename(None)}) if isinstance(one, xr.DataArray) else one
        series = series.to_dataset() if isinstance(series, xr.DataTree) else series
        has(series, "trials_to_criterion", argument=f"runs[{name!r}]")
        if "problem" not in series["trials_to_criterion"].dims:
            dims = listed(series["trials_to_criterion"].dims)
            raise ValueError(f"runs[{name!r}] has the dims {dims}; expected problem: .rename(its_name='problem')")
        some = series[[n for n in COLUMNS if n in series]]
        if series.sizes["problem"]:
            along_series(some["trials_to_criterion"], "problem")
        found[name] = some.isel(problem=sequence(some["trials_to_criterion"], "problem", names=False))
    return found, series_axis(*(series["problem"].values for series in found.values()))


def curve_limits(
    runs: Mapping[str, xr.Dataset | xr.DataArray] | xr.Dataset | xr.DataArray,
    *,
    log: bool = True,
    log_problems: bool = False,
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return axes on which all these runs, with the problems they gave up, have room; for pictures side by side.

    Parameters
    ----------
    runs : Dataset, DataArray, or mapping of str to these
        As for :func:`learning_curves`.
    log, log_problems : bool
        Logarithmic axes.

    Returns
    -------
    tuple of (float, float)
        Ends of the horizontal and of the vertical axis.

    Examples
    --------
    >>> series = xr.Dataset({"trials_to_criterion": ("problem", [90.0, 9.0, 5.0])}, {"problem": [0, 1, 2]})
    >>> curve_limits({"a run": series}, log=False)[0]
    (-0.5, 2.5)
    """
    named_runs, where = _runs(runs)
    shown = [values for values, _ in _shown(named_runs).values()]
    every = np.concatenate([*(values.values.ravel() for values in shown), [1.0]]).clip(NONE if log else 0)
    last = max((float(where.place(values["problem"].values).max()) for values in shown), default=1.0)
    room = max(0.5, 0.012 * last)
    xlim = (0.9, 1.05 * (last + 1)) if log_problems else (-room, last + room)
    return xlim, span(every, 0.05, log) if log else (0.0, span(every)[1])


def _members(values: xr.DataArray) -> xr.DataArray:
    """(member, problem), whatever the other dims are called."""
    flat = values.transpose(..., "problem")
    table = flat.values.reshape(-1, flat.sizes["problem"])
    return xr.DataArray(table, {"problem": flat["problem"].values}, ("member", "problem"))


def _shown(runs: Mapping[str, xr.Dataset]) -> dict[str, tuple[xr.DataArray, xr.DataArray]]:
    """Of each run that has any: trials to criterion (member, problem), the cap where it was not reached, and where."""
    some = {name: _capped(series) for name, series in runs.items() if series.sizes["problem"]}
    return {name: both for name, both in some.items() if both[0].size}


def _capped(series: xr.Dataset) -> tuple[xr.DataArray, xr.DataArray]:
    told = curves.failures(series)
    lost = told["failed"] | told["censored"]
    trials = series["trials_to_criterion"]
    values = trials.where(~lost, series.get("censored_trials", np.nan)).transpose(..., "problem")
    values, lost = (_members(part) for part in (values, lost.reindex_like(values).transpose(*values.dims)))
    attempted = values.notnull().any("member").values
    return values[:, attempted], lost[:, attempted]


def _running(values: xr.DataArray, smooth: int) -> np.ndarray:
    return values.rolling(problem=smooth, min_periods=1, center=True).mean().values


def _band(x: np.ndarray, ends: np.ndarray) -> np.ndarray:
    return np.column_stack([np.concatenate([x, x[::-1]]), np.concatenate([ends[0], ends[1][::-1]])])


def _fitted(fits: Mapping[str, xr.Dataset], where: Axis, offset: int) -> list[np.ndarray]:
    """The curve of each fit, the mean of several."""
    means = [_members(has(fit, "fitted", argument="fits")["fitted"]).mean("member") for fit in fits.values()]
    places = [where.place(mean["problem"].values) + offset for mean in means]
    return [np.column_stack([x, mean.values])[np.argsort(x)] for x, mean in zip(places, means, strict=True)]


def _fit_bands(
    fits: Mapping[str, xr.Dataset], where: Axis, offset: int, colors: Mapping[str, str]
) -> list[tuple[np.ndarray, str]]:
    """The band of each fit that has one and stands for a single curve."""
    found = []
    for name, band in ((n, fit["band"]) for n, fit in fits.items() if "band" in fit and fit["band"].ndim == 2):
        x = where.place(band["problem"].values) + offset
        order = np.argsort(x)
        found.append(
            (_band(x[order], np.maximum(band.transpose("bound", "problem").values, 1e-3)[:, order]), colors[name])
        )
    return found


def _told(
    groups: Sequence[tuple[np.ndarray, np.ndarray, str, str]],
    names: Sequence[str],
    offset: int,
    what: str,
    **chosen: Any,
) -> hv.Points:
    """Points of several runs (x, y, ink, name) as one glyph; under the pointer each says what it is."""
    kept = [(x[np.isfinite(y)], y[np.isfinite(y)], ink, name) for x, y, ink, name in groups]
    kept = [group for group in kept if len(group[0])] or [(np.full(1, np.nan), np.full(1, np.nan), QUIET, "")]
    x, y = (np.concatenate([group[i] for group in kept]) for i in (0, 1))
    ink, name = ([group[i] for group in kept for _ in group[0]] for i in (2, 3))
    tips = [("run", "@run"), ("problem", "@number{0}"), (what, "@value{0.[0]}")]
    style = {"line_color": None, "color": "colour", "tools": ["hover"], "hover_tooltips": tips, **chosen}
    data = {"x": x, "y": y, "colour": np.array(ink, object), "run": np.array(name, object)}
    data |= {"number": x - offset, "value": y}
    return styled(hv.Points, data, names, ("colour", "run", "number", "value"), style)


def within_problem_loss(
    trials: Mapping[str, xr.Dataset] | xr.Dataset,
    problem: Any,
    *,
    criterion: float | None = None,
    window: int | None = None,
    colors: Mapping[str, str] | None = None,
    height: int = 260,
) -> hv.Overlay:
    """The loss of every trial of one problem, with its running mean, until the criterion was reached.

    Parameters
    ----------
    trials : Dataset or mapping of str to Dataset
        ``/trials`` of each run: ``loss``, ``correct`` and ``problem`` (trial).
    problem : int, str or other label
        Which one.
    criterion : float, optional
        Loss (nats) below which the mean of the window must come: a dotted line.
    window : int, optional
        Length of the window of the criterion, in trials: its mean is the thick line.
    colors : mapping of str to str, optional
        Colour of each run.
    height : int
        In pixels.

    Returns
    -------
    Overlay
        Loss of each trial, its mean over the window that ends there, trials with an error as dots, the criterion.
        Of more than four runs only the means.

    Examples
    --------
    >>> trials = xr.Dataset(
    ...     {"loss": ("trial", [1.0, 0.2, 0.1]), "correct": ("trial", [False, True, True]),
    ...      "problem": ("trial", [0, 0, 0])})
    >>> len(within_problem_loss(trials, 0, criterion=0.1, window=2))
    4
    """
    trials = {"run": trials} if isinstance(trials, xr.Dataset) else trials
    colors = inks_for(colors, list(trials))
    names = ["trial of the problem", axis(None, "loss", "nats")]
    raw, means, wrong, ink = [], [], [], []
    for name, table in trials.items():
        part = _of_problem(table, problem)
        if not part.sizes["trial"]:
            continue
        x, loss = np.arange(1, part.sizes["trial"] + 1), np.maximum(part["loss"].values, 1e-6)
        steady = part["loss"].rolling(trial=min(window or 1, len(x)), min_periods=1).mean().values
        means.append(np.column_stack([x, np.maximum(steady, 1e-6)]))
        ink.append(colors[name])
        if len(trials) <= FEW:
            raw.append(np.column_stack([x, loss]))
            wrong.append((x, np.where(part["correct"].values, np.nan, loss), colors[name]))
    every = (
        np.concatenate([*(p[:, 1] for p in (*raw, *means)), [criterion] if criterion else []]) if means else np.empty(0)
    )
    low, high = span(every, 0.05, True)
    end = max((float(p[-1, 0]) for p in means), default=1.0) + 0.5
    level = [] if criterion is None else [np.array([[0.0, criterion], [end, criterion]])]
    parts = [
        lines(raw, names, ink[: len(raw)], line_width=1, alpha=0.35),
        lines(means, names, ink, line_width=2.2),
        scattered(wrong, names, size=4, alpha=0.8),
        lines(level, names, QUIET, line_width=1.4, line_dash="dotted"),
    ]
    return picture(
        parts,
        height,
        names,
        logy=True,
        ylim=(low, high),
        xlim=(0.5, max(end, 2.0)),
    )


def _of_problem(table: xr.Dataset, problem: Any) -> xr.Dataset:
    """The trials of one problem, in the order of their numbers."""
    has(table, "loss", "correct", "problem", argument="trials")
    with_dims(table["problem"], "trial")
    mine = np.array([label == problem for label in table["problem"].values.tolist()], bool)
    part = table[["loss", "correct"]].isel(trial=np.flatnonzero(mine)).load()
    if "trial" in part.indexes and part.sizes["trial"]:
        check_unique(part["loss"], "trial")
        part = part.sortby("trial") if part["trial"].dtype.kind in "iufM" else part
    return part


def survival_curves(
    found: Mapping[str, xr.Dataset] | xr.Dataset, *, colors: Mapping[str, str] | None = None, height: int = 260
) -> hv.Overlay:
    """The share of problems not yet learnt after so many trials: what problems that were given up allow to say.

    Parameters
    ----------
    found : Dataset or mapping of str to Dataset
        What :func:`ip2lab.analysis.curves.survival` returned for one series each: ``survival``, ``lower`` and
        ``upper`` (trials).
    colors : mapping of str to str, optional
        Colour of each.
    height : int
        In pixels.

    Returns
    -------
    Overlay
        Steps and their bands. A curve that ends above zero has problems that were never learnt.

    Examples
    --------
    >>> from ip2lab.analysis import curves
    >>> found = curves.survival(xr.DataArray([500.0, 4.0, 6.0, float("nan"), 8.0], dims="problem"), cap=10)
    >>> len(survival_curves(found))
    2
    """
    found = {"run": found} if isinstance(found, xr.Dataset) else found
    colors = inks_for(colors, list(found))
    names = ["trials to criterion", "share of problems not yet learnt"]
    for name, one in found.items():
        has(one, "survival", "lower", "upper", argument=f"found[{name!r}]")
        if one["survival"].dims != ("trials",):
            raise ValueError(f"found[{name!r}] has dims {list(one['survival'].dims)}; give one series: (trials)")
    found = {name: increasing(one, "trials") for name, one in found.items()}
    corners = {
        name: {part: _steps(one["trials"].values, one[part].values) for part in ("survival", "lower", "upper")}
        for name, one in found.items()
    }
    areas = [np.concatenate([each["lower"], each["upper"][::-1]]) for each in corners.values()]
    inks = [colors[name] for name in found]
    end = max((float(one["trials"].max()) for one in found.values()), default=10.0)
    parts = [
        bands([*zip(areas, inks, strict=True)], names),
        lines([each["survival"] for each in corners.values()], names, inks, line_width=2.2),
        *(legend(list(found), inks, names) if len(found) > 1 else []),
    ]
    ends: dict[str, Any] = {"xlim": (FEWEST, 1.05 * max(end, 2.0)), "ylim": (0.0, 1.03)}
    return picture(parts, height, names, logx=True, **ends)


def _steps(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The corners (corner, 2) of a curve that keeps each value until the next one comes."""
    return np.column_stack([np.repeat(x, 2)[1:], np.repeat(y, 2)[:-1]]).clip([FEWEST, 0.0], None)


def bars(
    values: Mapping[str, float],
    label: str,
    colors: Mapping[str, str] | None = None,
    *,
    single: Mapping[str, Sequence[float]] | None = None,
    intervals: Mapping[str, tuple[float, float]] | None = None,
    words: Mapping[str, str] | None = None,
    height: int = 260,
) -> hv.Overlay:
    """One horizontal bar a name, with its interval, and single values (seeds) as dots on it.

    Parameters
    ----------
    values : mapping of str to float
        Length of each bar.
    label : str
        Words of the axis.
    colors : mapping of str to str, optional
        Colour of each bar.
    single : mapping of str to sequence of float, optional
        The values behind a bar.
    intervals : mapping of str to (float, float), optional
        The ends of an interval around a value: a line with ends across the bar.
    words : mapping of str to str, optional
        What is written after the figure of a bar.
    height : int
        In pixels.

    Returns
    -------
    Overlay
        The bars, their dots, their values in figures, and the intervals.

    Examples
    --------
    >>> len(bars({"a": 3.0, "b": 12.0}, "trials", intervals={"b": (9.0, 16.0)}))
    4
    """
    colors = inks_for(colors, list(values))
    single, intervals = mapped(single, values, "single"), mapped(intervals, values, "intervals")
    names = [plain(label), "row"]
    places = {name: len(values) - 1 - i for i, name in enumerate(values)}
    paths = [np.array([[0.0, places[n]], [values[n], places[n]]]) for n in values]
    thick = min(22, max(4, int(0.5 * height / max(len(values), 1))))
    dots = [(np.asarray(row, float), np.full(len(row), float(places[n])), QUIET) for n, row in single.items()]
    ends = {n: pair for n, pair in intervals.items() if np.isfinite(pair).all()}
    reach = {n: max([values[n], *ends.get(n, ()), *single.get(n, ())]) for n in values}
    more = mapped(words, values, "words")
    words = {n: plain(f"{figure(values[n])}{more.get(n, '')}") for n in values}
    top = (1.12 + 0.035 * max(map(len, words.values()), default=0)) * max(
        [end for end in reach.values() if np.isfinite(end)], default=1.0
    )
    texts = [(reach[n], places[n], words[n]) for n in values if np.isfinite(values[n])]
    parts = [
        lines(paths, names, [colors[n] for n in values], line_width=thick, line_cap="butt"),
        scattered(dots, names, size=5, alpha=0.8),
        hv.Labels(texts, axes(names), ["text"]).opts(
            backend="bokeh", text_align="left", text_baseline="middle", text_font_size="11px", text_color=QUIET
        ),
        lines([path for n, pair in ends.items() for path in _whisker(pair, places[n])], names, QUIET, line_width=1.6),
    ]
    ticks = [(place, plain(name, 22)) for name, place in places.items()]
    return picture(
        parts,
        height,
        names,
        xlim=(0, top),
        ylim=(-0.6, len(values) - 0.4),
        ylabel="",
        yticks=ticks,
    )


def _whisker(ends: tuple[float, float], place: float) -> list[np.ndarray]:
    """A line from end to end, and one across each end."""
    caps = [np.array([[end, place - 0.12], [end, place + 0.12]]) for end in ends]
    return [np.array([[ends[0], place], [ends[1], place]]), *caps]


def over_problems(
    values: xr.DataArray, *, at: Any = None, log: bool = False, floor: float | None = None, height: int = 220
) -> hv.Overlay:
    """One number a problem as a line with dots; a further dim gives a line each, with a legend.

    Parameters
    ----------
    values : DataArray
        (problem) or (something, problem).
    at : optional
        The label of a problem to mark.
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
    flat, where = along_series(seen(with_dims(values, "problem", others=(0, 1))), "problem")
    by = str(flat.dims[0]) if flat.ndim == 2 else ""
    check_unique(flat, by)
    labels = labels_of(flat, by, [by]) if by in flat.coords else np.arange(flat.sizes.get(by, 1))
    found, codes = levels(labels)
    table = np.atleast_2d(flat.values.astype(float))[np.argsort(codes, kind="stable")]
    x = where.place(flat["problem"].values)
    names = [axis(None, "problem"), axis(values)]
    colors = colours(len(table))
    low, high = span(table if floor is None else np.append(table, float(floor)), 0.06, log)
    low = low if floor is None else float(floor)
    kinds = [named(by, kind) for kind in found] if by else []
    pieces = [(piece, ink) for row, ink in zip(table, colors, strict=True) for piece in broken(x, row, 0.0)]
    parts = [
        strokes(pieces, names, line_width=2),
        scattered([(x, row, ink) for row, ink in zip(table, colors, strict=True)], names, size=5),
        marker_line(None if at is None else float(where.place(at).ravel()[0]), low, high, names),
        *legend(kinds, colors[: len(kinds)], names),
    ]
    return picture(
        parts,
        height,
        names,
        logy=log,
        xlim=span(x),
        ylim=(low, high),
        **_ticks(where),
    )


def move_marker(picture: hv.Overlay, at: float | None) -> hv.Overlay:
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
    >>> again = move_marker(picture, 1)
    >>> [new is old for new, old in zip(again, picture)]
    [True, True, False]
    """
    low, high = hv.Store.lookup_options("bokeh", picture, "plot").kwargs["ylim"]
    names = [d.label for d in next(iter(picture)).kdims]
    parts = [marker_line(at, low, high, names) if part.group == "Marker" else part for part in picture]
    return picture.clone(parts)
