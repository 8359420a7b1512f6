"""The slow level: configurations by what they did, the rounds of a search, what each property is worth."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import holoviews as hv
import numpy as np
import xarray as xr

from ip2lab.analysis._labels import check_unique, levels, listed
from ip2lab.properties import PROPERTIES
from ip2lab.views.plots.parts import has, increasing, scattered
from ip2lab.views.style import (
    MARK,
    PALETTE,
    QUIET,
    axes,
    colours,
    legend,
    lines,
    picture,
    points,
    span,
    strokes,
    uprights,
)

BEST, WORST = (31, 111, 176), (205, 211, 219)  # of a cell; its words are white on the one and black on the other
GREEK = {"tau": "τ", "vartheta": "ϑ", "beta": "β"}
COLUMNS: dict[str, tuple[str, str, bool, bool]] = {  # title, format, more is worse, on a logarithm
    "trials_ratio": ("trials, × those of the best", "{:.2f}", True, True),
    "late_trials": ("late trials to criterion", "{:.1f}", True, True),
    "share_done": ("problems finished", "{:.0%}", False, False),
    "failed": ("problems given up, a run", "{:.1f}", True, False),
}
ROW = 24  # height of a row, in pixels
FEWEST = 3  # seeds for an interval: that of two spans everything


def symbol(name: str) -> str:
    """Return the short sign of a property.

    Examples
    --------
    >>> symbol("tau_dendrite"), symbol("threshold")
    ('τd', 'ϑ')
    """
    if name not in PROPERTIES:
        return name
    text = PROPERTIES[name].symbol
    for latex, letter in GREEK.items():
        text = text.replace(f"\\{latex}", letter)
    return text.replace("_", "")


def ordered(search: xr.Dataset) -> list[str]:
    """Return the configurations of a search, the best first: those of the last round before those given up earlier.

    Examples
    --------
    >>> found = xr.Dataset({"log_ratio": ("configuration", [1.0, 0.0]), "given_up": ("configuration", [0, -1])},
    ...                    {"configuration": ["nothing", "tau_soma"]})
    >>> ordered(found)
    ['tau_soma', 'nothing']
    """
    rounds = np.where(search["given_up"].values < 0, np.inf, search["given_up"].values)
    order = np.lexsort((search["log_ratio"].values, -rounds))
    return [str(name) for name in search["configuration"].values[order]]


def _short(search: xr.Dataset, name: str) -> str:
    learns = search["learns"].sel(configuration=name)
    signs = " + ".join(symbol(str(p)) for p in levels(learns["property"].values[learns.values])[0]) or "nothing"
    rest = name.partition("; ")[2]
    return f"{signs}; {rest}" if rest else signs


def _rows(search: xr.Dataset, short: bool = True) -> tuple[dict[str, int], list[tuple[int, str]]]:
    """The row of each configuration, the best one uppermost, and the ticks that name them."""
    has(search, "configuration", "log_ratio", "given_up", "learns", argument="search")
    check_unique(search["log_ratio"], "configuration")
    names = ordered(search)
    if not names:
        raise ValueError("search: there is no configuration in it")
    places = {name: len(names) - 1 - i for i, name in enumerate(names)}
    return places, [(place, _short(search, name) if short else name) for name, place in places.items()]


def _means(table: xr.Dataset, places: Mapping[str, int]) -> xr.Dataset:
    """The rows of the table for these configurations."""
    has(table, "trials_ratio", "seeds", argument="table")
    check_unique(table["seeds"], "configuration")
    lacking = [name for name in places if name not in table["configuration"].values]
    if lacking:
        raise ValueError(f"table lacks the configurations {listed(lacking)}; make it of this search")
    wanted = ["mean", "lower", "upper"]
    if sorted(table["statistic"].values.tolist()) != sorted(wanted):
        raise ValueError(f"table has the statistics {listed(table['statistic'].values)}; expected {listed(wanted)}")
    return table.sel(configuration=list(places), statistic=wanted)


def _frame(places: Mapping[str, int], picked: str | None, ends: tuple[float, float], names: list[str]) -> hv.Contours:
    """A thin box around the row that is picked."""
    if picked is None or picked not in places:
        return lines([], names, MARK, line_width=1.4)
    y = places[picked] + np.array([-0.47, -0.47, 0.47, 0.47, -0.47])
    return lines([np.column_stack([np.array(ends)[[0, 1, 1, 0, 0]], y])], names, MARK, line_width=1.4)


def configuration_table(search: xr.Dataset, table: xr.Dataset, *, picked: str | None = None) -> hv.Overlay:
    """Configurations by what they did, as a heat map with figures and intervals.

    Parameters
    ----------
    search : Dataset
        What :func:`ip2lab.search_plasticity` returned.
    table : Dataset
        What :func:`ip2lab.analysis.curves.configurations` made of it.
    picked : str, optional
        A configuration to frame.

    Returns
    -------
    Overlay
        One row a configuration, the best uppermost; the darker, the better. Mean, and its 95 % interval from three
        seeds on.

    Examples
    --------
    >>> import ip2lab
    >>> from ip2lab.analysis import curves
    >>> search = ip2lab.example("search_association")
    >>> len(configuration_table(search, curves.configurations(search)))
    3
    """
    places, ticks = _rows(search, short=False)
    names = ["metric", "configuration"]
    boxes: list[tuple[Any, ...]] = []
    words: list[tuple[Any, ...]] = []
    table = _means(table, places)
    few = _few(table, places)
    for column, (metric, (_, form, worse, log)) in enumerate(COLUMNS.items()):
        values = table[metric].transpose("configuration", "statistic").values
        scores = _scores(values[:, 0], worse, log)
        for (mean, low, high), score, row in zip(values, scores, places.values(), strict=True):
            text = form.format(mean) if np.isfinite(mean) else "not reached"
            if few[row]:
                text += f"  ({few[row]} seeds)" if metric == "trials_ratio" else ""
            elif high > low:
                text += f"  ({form.format(low)} to {form.format(high)})"
            colour, ink = _cell(score if np.isfinite(score) else 1.0)
            boxes.append((column - 0.49, row - 0.46, column + 0.49, row + 0.46, colour))
            words.append((column, row, text, ink))
    ends = (-0.5, len(COLUMNS) - 0.5)
    dims = [*axes(names), "x1", "y1"]
    parts = [
        hv.Rectangles(boxes, dims, ["colour"]).opts(backend="bokeh", color="colour", line_width=0),
        hv.Labels(words, axes(names), ["text", "ink"]).opts(backend="bokeh", text_font_size="11px", text_color="ink"),
        _frame(places, picked, ends, names),
    ]
    return picture(
        parts,
        70 + ROW * len(places),
        ["", ""],
        xlim=ends,
        ylim=(-0.6, len(places) - 0.4),
        xticks=[(i, title) for i, (title, *_) in enumerate(COLUMNS.values())],
        yticks=ticks,
        xaxis="top",
    )


def _few(table: xr.Dataset, places: Mapping[str, int]) -> dict[int, int]:
    """How many seeds each row has where they are too few for an interval that says something, else 0."""
    seeds = {row: int(table["seeds"].sel(configuration=name)) for name, row in places.items()}
    return {row: number if number < FEWEST else 0 for row, number in seeds.items()}


def _scores(values: np.ndarray, worse: bool, log: bool) -> np.ndarray:
    """0 for the best, 1 for the worst."""
    scaled = np.log(np.maximum(values, 1e-9)) if log else values
    known = scaled[np.isfinite(scaled)]
    low, high = (known.min(), known.max()) if known.size else (0.0, 1.0)
    score = (scaled - low) / (high - low) if high > low else np.zeros(len(values))
    return score if worse else 1 - score if high > low else score


def _cell(score: float) -> tuple[str, str]:
    """Colour of a cell, and of the words in it."""
    mixed = [round((1 - score) * b + score * w) for b, w in zip(BEST, WORST, strict=True)]
    return "#" + "".join(f"{c:02x}" for c in mixed), "#ffffff" if score < 0.55 else "#1b1e23"


def search_rounds(search: xr.Dataset, *, picked: str | None = None) -> hv.Overlay:
    """What each round cost every configuration, and where it was given up.

    Parameters
    ----------
    search : Dataset
        What :func:`ip2lab.search_plasticity` returned.
    picked : str, optional
        A configuration to frame.

    Returns
    -------
    Overlay
        One bar a configuration, made of its rounds: its length is all trials of all seeds. A cross after the round in
        which it was given up, a star for the one that was chosen.

    Examples
    --------
    >>> import ip2lab
    >>> len(search_rounds(ip2lab.example("search_association"))) >= 6
    True
    """
    places, ticks = _rows(search)
    search = increasing(search, "round")
    names = ["trials of all seeds together, round after round", "row"]
    cost = search["trials"].sum("seed").transpose("configuration", "round")
    ends = {name: np.append(0.0, np.cumsum(cost.sel(configuration=name).values)) for name in places}
    colors = colours(search.sizes["round"])
    bars = [
        (lower, places[name] - 0.32, upper, places[name] + 0.32, colors[k])
        for name, row in ends.items()
        for k, (lower, upper) in enumerate(pairwise(row))
        if np.isfinite(upper) and upper > lower
    ]
    top = 1.12 * max((row[-1] for row in ends.values() if np.isfinite(row[-1])), default=0.0) or 1.0
    away = 0.025 * top
    marks = []
    for name, row in places.items():
        if name == search.attrs["chosen"]:
            marks.append((ends[name][-1] + away, row, "★", MARK))
        elif int(search["given_up"].sel(configuration=name)) >= 0:
            marks.append((ends[name][-1] + away, row, "✕", QUIET))
    dims = [*axes(names), "x1", "y1"]
    rounds = [
        f"round {k} ({int(length)} problems)"
        for k, length in zip(search["round"].values, search["problems"].values, strict=True)
    ]
    parts = [
        hv.Rectangles(bars, dims, ["colour"]).opts(backend="bokeh", color="colour", line_width=0, alpha=0.85),
        hv.Labels(marks, axes(names), ["text", "ink"]).opts(backend="bokeh", text_font_size="14px", text_color="ink"),
        _frame(places, picked, (0, top), names),
        *legend(rounds, colors, names),
    ]
    return picture(
        parts,
        70 + ROW * len(places),
        names,
        xlim=(0, top),
        ylim=(-0.6, len(places) - 0.4),
        ylabel="",
        yticks=ticks,
    )


def seed_ratios(search: xr.Dataset, table: xr.Dataset, *, picked: str | None = None) -> hv.Overlay:
    """Trials of every run over those of the best on the same seed: what the decision rests on.

    Parameters
    ----------
    search, table : Dataset
        As for :func:`configuration_table`.
    picked : str, optional
        A configuration to frame.

    Returns
    -------
    Overlay
        One row a configuration: single seeds as dots, those whose run was stopped as triangles (it would have taken
        more), the geometric mean as a line with its 95 % interval.

    Examples
    --------
    >>> import ip2lab
    >>> from ip2lab.analysis import curves
    >>> search = ip2lab.example("search_association")
    >>> len(seed_ratios(search, curves.configurations(search)))
    6
    """
    places, ticks = _rows(search)
    names = ["trials, × those of the best on the same seed", "row"]
    trials, stopped = (search[n].max("round").transpose("configuration", "seed") for n in ("trials", "stopped"))
    if search["log_ratio"].isnull().all():
        raise ValueError("search: log_ratio is NaN for all configurations; no seed was run with all of them")
    best = int(np.nanargmin(np.abs(search["log_ratio"].values)))
    ratio = trials / trials.isel(configuration=best)
    table = _means(table, places)
    ends = table["trials_ratio"].transpose("configuration", "statistic")
    low, high = span([*ratio.values.ravel(), 1.0], 0.06, True)
    dots, halted, whiskers, middles = [], [], [], []
    few = _few(table, places)
    for name, row in places.items():
        values, cut = ratio.sel(configuration=name).values, stopped.sel(configuration=name).values == 1
        y = np.full(len(values), float(row))
        dots.append((np.where(cut, np.nan, values), y))
        halted.append((np.where(cut, values, np.nan), y))
        mean, lower, upper = ends.sel(configuration=name).values
        if upper > lower and not few[row]:
            whiskers.append(np.array([[max(lower, low), row], [min(upper, high), row]]))
        if np.isfinite(mean):
            middles.append(np.array([[mean, row - 0.3], [mean, row + 0.3]]))
    ys = (-0.6, len(places) - 0.4)
    parts = [
        uprights((1.0,), *ys, tuple(names), line_dash="dashed", alpha=0.7),
        lines(whiskers, names, PALETTE[0], line_width=5, alpha=0.35, line_cap="round"),
        lines(middles, names, PALETTE[0], line_width=2.4),
        _dots(dots, names, size=6, marker="circle"),
        _dots(halted, names, size=8, marker="triangle"),
        _frame(places, picked, (low, high), names),
    ]
    return picture(
        parts,
        70 + ROW * len(places),
        names,
        logx=True,
        xlim=(low, high),
        ylim=ys,
        ylabel="",
        yticks=ticks,
    )


def _dots(rows: list[tuple[np.ndarray, np.ndarray]], names: list[str], **chosen: Any) -> hv.Points:
    x, y = (np.concatenate([row[i] for row in rows]) for i in (0, 1))
    return points(x[np.isfinite(x)], y[np.isfinite(x)], names, QUIET, **chosen)


def property_worth(
    worths: Mapping[str, xr.Dataset], *, chosen: str | None = None, singles: bool = True, height: int | None = None
) -> hv.Overlay:
    """What letting each property learn is worth, in one search or in several.

    Parameters
    ----------
    worths : mapping of str to Dataset
        What :func:`ip2lab.analysis.curves.marginal_effect` made of each search.
    chosen : str, optional
        The one that is drawn in full; the others are pale. All in full by default.
    singles : bool
        Whether the single pairs of configurations are drawn as dots.
    height : int, optional
        In pixels; by default what the rows need.

    Returns
    -------
    Overlay
        Trials with the property over trials without it, with a 95 % interval: to the left of 1 it saves trials.

    Examples
    --------
    >>> import ip2lab
    >>> from ip2lab.analysis import curves
    >>> worth = curves.marginal_effect(ip2lab.example("search_association"))
    >>> len(property_worth({"association": worth}))
    5
    """
    if not worths:
        raise ValueError("worths holds no search; give what curves.marginal_effect made of one or more, by name")
    for name, worth in worths.items():
        has(worth, "worth", "ratio", "lower", "upper", "property", argument=f"worths[{name!r}]")
        check_unique(worth["worth"], "property")
    rows = list(levels([str(p) for worth in worths.values() for p in worth["property"].values])[0])
    names = ["trials with the property learnable over trials without it, everything else equal", "row"]
    colors = dict(zip(worths, colours(len(worths)), strict=True))
    every = np.concatenate([np.ravel(w[n].values) for w in worths.values() for n in ("worth", "ratio")] + [[1.0]])
    low, high = span(every, 0.08, True)
    whiskers, dots, pairs = [], [], []
    for k, (name, worth) in enumerate(worths.items()):
        pale = chosen is not None and name != chosen
        ink = colors[name] + ("66" if pale else "")
        away = 0.3 * (len(worths) - 1 - 2 * k) / len(worths)
        y = np.array([len(rows) - 1 - rows.index(str(p)) + away for p in worth["property"].values])
        lower, upper = worth["lower"].values.clip(low, None), worth["upper"].values.clip(None, high)
        whiskers += [(np.array([[a, h], [b, h]]), ink) for a, b, h in zip(lower, upper, y, strict=True) if b > a]
        dots.append((worth["worth"].values, y, ink))
        if singles and not pale:
            ratios = worth["ratio"].transpose("property", ...).values.reshape(len(y), -1)
            known = np.isfinite(ratios)
            pairs.append((ratios[known], np.broadcast_to(y[:, None], ratios.shape)[known], QUIET))
    ys = (-0.6, len(rows) - 0.4)
    parts = [
        uprights((1.0,), *ys, tuple(names), line_dash="dashed", alpha=0.7),
        strokes(whiskers, names, line_width=3, line_cap="round"),
        scattered(pairs, names, size=5, alpha=0.7),
        scattered(dots, names, size=11),
        *legend(list(worths), [colors[n] for n in worths], names),
    ]
    return picture(
        parts,
        height or min(90 + max(46, 26 * len(worths)) * len(rows), 420),
        names,
        logx=True,
        xlim=(low, high),
        ylim=ys,
        ylabel="",
        yticks=[(len(rows) - 1 - i, name) for i, name in enumerate(rows)],
    )
