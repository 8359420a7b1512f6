"""Trials: what a trial of a family is."""

from __future__ import annotations

import itertools

import holoviews as hv
import numpy as np
import xarray as xr

from ip2lab.analysis._labels import listed
from ip2lab.views.plots.parts import borders, has, increasing
from ip2lab.views.style import (
    DIVERGING,
    QUIET,
    axes,
    axis,
    colours,
    image,
    marker_line,
    picture,
    spacing,
    uprights,
)


def trial_picture(trials: xr.Dataset, height: int = 380) -> hv.Overlay:
    """What a trial is, for each condition of a problem: epochs, inputs, the right output, and what counts.

    Parameters
    ----------
    trials : Dataset
        What ``trials()`` of a problem returns: ``inputs`` (trial, time, input), ``target``, ``scored`` and ``epoch``
        (trial, time).
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
    has(trials, "inputs", "target", "scored", "epoch", "output", argument="trials")
    trials = increasing(trials).transpose("trial", "time", ...)
    _check_outputs(trials)
    time = trials["time"].values
    step = spacing(time)
    channels, count = trials.sizes["input"], trials.sizes["trial"]
    block = channels + 4  # a band of two rows for the output and two rows of room
    grid = np.full((count * block, len(time)), np.nan, np.float32)
    words: list[tuple[float, float, str, str]] = []
    boxes, ticks = [], []
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
    room = 8 * top / max(height - 90, 90)  # half a line of words, in rows
    epochs = trials["epoch"].values[0]
    starts = [0, *borders(trials.set_coords("epoch")), len(time)]
    alike = bool((trials["epoch"].values == epochs).all())
    words += [
        ((time[a] + time[b - 1]) / 2, top - 0.5 + room, str(epochs[a]), QUIET)
        for a, b in itertools.pairwise(starts)
        if (b - a) * step >= 200 and alike
    ]
    names = [axis(trials["time"]), "row"]
    high = float(np.max(np.abs(grid[np.isfinite(grid)]), initial=0.0)) or 1.0
    parts = [
        image(
            grid,
            time,
            np.arange(top),
            [*names, "input"],
            cmap=DIVERGING,
            clim=(-high, high),
            clipping_colors={"NaN": "#00000000"},
            colorbar=True,
            colorbar_opts={"title": "input", "width": 9},
        ),
        hv.Rectangles(boxes, [*axes(names), "x1", "y1"], vdims=["colour", "strength"]).opts(
            backend="bokeh", color="colour", alpha="strength", line_alpha=0
        ),
        uprights(
            tuple(float(time[i] - step / 2) for i in starts[1:-1]), -0.5, top - 0.5, tuple(names), line_dash="dashed"
        ),
        hv.Labels(words, axes(names), ["text", "colour"]).opts(
            backend="bokeh", text_font_size="11px", text_color="colour", text_baseline="middle"
        ),
        marker_line(None, 0, top, names),
    ]
    return picture(
        parts,
        height,
        names,
        xlim=(float(time[0] - step / 2), float(time[-1] + step / 2)),
        ylim=(-0.8, top - 0.5 + 2 * room),
        ylabel="",
        yticks=ticks,
    )


def _check_outputs(trials: xr.Dataset) -> None:
    """Raise ValueError where ``target`` counts other outputs than stand there: trials know their response by name."""
    outputs = trials["output"].values.tolist()
    if int(trials["target"].max()) >= len(outputs):
        raise ValueError(
            f"trials: target counts to {int(trials['target'].max())}, but there are {len(outputs)} outputs"
        )
    if "response" not in trials.coords:
        return
    for row, response in enumerate(trials["response"].values.tolist()):
        asked = trials["target"].values[row][trials["scored"].values[row]]
        if asked.size and response in outputs and outputs[asked[-1]] != response:
            raise ValueError(
                f"trials: target counts the outputs in another order than output, {listed(outputs)}: a trial with the "
                f"response {response!r} ends with {outputs[asked[-1]]!r} for its target"
            )


def _stretches(trials: xr.Dataset, row: int) -> list[tuple[int, int, int, bool]]:
    """The stretches of a trial with one right output: first and last step, the output's index, whether scored."""
    target, scored = trials["target"].values[row], trials["scored"].values[row]
    over = trials["epoch"].values[row] == ""  # a trial that is shorter than others
    edges = np.flatnonzero((np.diff(target) != 0) | (np.diff(scored.astype(int)) != 0) | np.diff(over))
    starts, ends = np.append(0, edges + 1), np.append(edges, len(target) - 1)
    return [(int(a), int(b), int(target[a]), bool(scored[a])) for a, b in zip(starts, ends, strict=True) if not over[a]]
