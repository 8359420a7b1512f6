"""The protocol in one picture: trials, problems, the window and trials to criterion, drawn from a run."""

from __future__ import annotations

import holoviews as hv
import numpy as np
import xarray as xr

from ip2lab.views.plots.parts import increasing
from ip2lab.views.style import MARK, PALETTE, QUIET, axes, axis, lines, picture, points

SHADE = 0.10  # of every other problem


def series_picture(run: xr.DataTree, problems: int = 4, height: int = 320) -> hv.Overlay:
    """Every trial of the first problems in a row, and when each problem counted as solved.

    Parameters
    ----------
    run : DataTree
        A run: ``/trials`` and ``/series`` are used, and the criterion and the window of its configuration.
    problems : int
        How many problems to draw.
    height : int
        In pixels.

    Returns
    -------
    Overlay
        The loss of each trial as a dot, the criterion, a bar over the last window of each problem, and an arrow over
        its trials to criterion.

    Examples
    --------
    >>> import ip2lab
    >>> run = ip2lab.train("association", problems=1, neurons=20, max_trials=60, progress=False)
    >>> type(series_picture(run)).__name__
    'Overlay'
    """
    if "trials" not in run.children or not {"criterion", "window"} <= set(run.attrs.get("config", {})):
        raise ValueError("run lacks the group trials, or the criterion and the window of its config; give a run")
    table = increasing(run["trials"].to_dataset()[["loss", "problem"]], "trial")
    table = table.isel(trial=(table["problem"] < problems).values).load()
    if not table.sizes["trial"]:
        raise ValueError(f"problems={problems}: run has no trials of these")
    criterion, window = run.attrs["config"]["criterion"], run.attrs["config"]["window"]
    loss = np.maximum(table["loss"].values, 1e-5)
    names = ["trial of the series", axis(table["loss"])]
    low, high = float(loss.min()) / 1.5, float(loss.max()) * 30
    level, top = float(loss.max()) * 2.2, float(loss.max()) * 9
    bands, spans, arrows = [], [], []
    words = [(len(loss), criterion * 1.3, f"criterion: a mean loss of {criterion:g} over the window ")]
    for problem in np.unique(table["problem"].values):
        inside = np.flatnonzero(table["problem"].values == problem)
        first, last = inside[0], inside[-1] + 1
        solved = max(first, last - window)
        bands.append((first, low, last, high, PALETTE[0], SHADE * (problem % 2)))
        spans.append(np.array([[solved, criterion / 2], [last, criterion / 2]]))
        arrows.append(np.array([[first, level], [solved, level]]))
        words.append(((first + last) / 2, top, f"problem {problem}"))
        wide = solved - first > len(loss) / 6
        number = f"{solved - first} trials to criterion" if wide else str(solved - first)
        words.append(((first + solved) / 2, level * 1.7, number))
    words.append((spans[0][0, 0] + window / 2, criterion / 4, f"window of {window} trials"))
    ticks = [
        path for arrow in arrows for path in (np.array([[x, level / 1.35], [x, level * 1.35]]) for x in arrow[:, 0])
    ]
    parts = [
        hv.Rectangles(bands, [*axes(names), "x1", "y1"], ["colour", "strength"]).opts(
            backend="bokeh", color="colour", alpha="strength", line_width=0
        ),
        points(np.arange(len(loss)), loss, names, PALETTE[0], size=3, alpha=0.45),
        lines([np.array([[0, criterion], [len(loss), criterion]])], names, QUIET, line_width=1.4, line_dash="dotted"),
        lines(spans, names, PALETTE[2], line_width=6, line_cap="butt"),
        lines([*arrows, *ticks], names, MARK, line_width=1.8),
        hv.Labels(words[:1], axes(names), "text").opts(
            backend="bokeh", text_font_size="8pt", text_color=QUIET, text_align="right"
        ),
        hv.Labels(words[1:], axes(names), "text").opts(backend="bokeh", text_font_size="9pt", text_color=QUIET),
    ]
    return picture(
        parts,
        height,
        names,
        logy=True,
        ylim=(low, high),
        xlim=(0, len(loss)),
    )
