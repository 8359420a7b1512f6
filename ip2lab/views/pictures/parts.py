"""Parts that several pictures are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import holoviews as hv
import numpy as np
import xarray as xr

from ip2lab.views.markup import legible
from ip2lab.views.style import MARK, QUIET, axis, points, styled, uprights


def bands(bands: Sequence[np.ndarray], inks: Sequence[str], names: Sequence[str]) -> hv.Polygons:
    """Return areas (lists of corners) as one glyph, a colour each."""
    if not len(bands):
        bands, inks = [np.ones((3, 2))], [QUIET]  # no area: see style.lines
    data = [{names[0]: b[:, 0], names[1]: b[:, 1], "colour": ink} for b, ink in zip(bands, inks, strict=True)]
    return styled(hv.Polygons, data, names, ("colour",), {"color": "colour", "alpha": 0.2, "line_alpha": 0})


def scattered(groups: Sequence[tuple[np.ndarray, np.ndarray, str]], names: Sequence[str], **chosen: Any) -> hv.Points:
    """Points of several groups (x, y, colour) as one glyph, without those that are NaN."""
    kept = [(x[np.isfinite(y)], y[np.isfinite(y)], ink) for x, y, ink in groups]
    x, y = (np.concatenate([group[i] for group in kept]) if kept else np.empty(0) for i in (0, 1))
    ink = [colour for group_x, _, colour in kept for colour in [colour] * len(group_x)]
    return points(x, y, names, ink, **chosen)


def borders(data: xr.DataArray) -> list[int]:
    """The steps at which an epoch begins, without the first."""
    if "epoch" not in data.coords:
        return []
    epochs = data["epoch"].values
    return [int(i) + 1 for i in np.flatnonzero(epochs[1:] != epochs[:-1])]


def epoch_lines(
    data: xr.DataArray, low: float, high: float, names: Sequence[str], *, early: float = 0.0, **chosen: Any
) -> hv.Contours:
    """Dashed lines where an epoch begins; in a grid `early`, half a step, puts them between two cells."""
    places = tuple(float(t) - early for t in data["time"].values[borders(data)])
    return uprights(places, low, high, tuple(names), line_dash="dashed", **chosen)


def time_axis(data: xr.DataArray | xr.Dataset) -> str:
    """What the axis of time is called; in ms where the data do not say."""
    return axis(data["time"], "time", data["time"].attrs.get("units", "ms"))


def named(by: str, kind: Any) -> str:
    """Return a label in words: itself, or where it is a number with what it counts."""
    text = legible(kind)
    return text if text and not text.replace(".", "").isdigit() else f"{by} {text}".strip()


def faded(inks: Sequence[str], chosen: Sequence[int]) -> list[str]:
    """Colours of which only the chosen ones keep their strength; all do where none is chosen."""
    kept = set(chosen)
    return [ink if not kept or i in kept else ink[:7] + "58" for i, ink in enumerate(inks)]


def rings(x: np.ndarray, y: np.ndarray, chosen: Sequence[int], names: Sequence[str]) -> hv.Points:
    """Rings around the chosen points."""
    place = list(chosen)
    return points(x[place], y[place], names, MARK, size=12, fill_alpha=0, line_color=MARK, line_width=1.6)
