"""How everything looks: colours that colour-blind eyes tell apart on light and on dark pages, axes named from the data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import holoviews as hv
import numpy as np
import xarray as xr

# After Okabe and Ito (2008), moved to middle lightness so that each is readable on white and on black.
PALETTE = ("#2484c6", "#d9601a", "#12a17a", "#b565a7", "#b98900", "#4d6bd6", "#8a8f98", "#c2455d")
QUIET = "#8f959e"  # what is there to compare with
MARK = "#d9601a"  # what is picked out
SEQUENTIAL = "viridis"
DIVERGING = [f"#2484c6{a:02x}" for a in range(254, -1, -2)] + [f"#d9601a{a:02x}" for a in range(0, 255, 2)]
SPIKES = [f"#2484c6{alpha:02x}" for alpha in range(256)]  # from nothing to ink: an empty raster is the page itself


def colours(number: int) -> list[str]:
    """Return that many colours, the same first ones for any number.

    Examples
    --------
    >>> colours(2)
    ['#2484c6', '#d9601a']
    """
    return [PALETTE[i % len(PALETTE)] for i in range(number)]


def axis(data: xr.DataArray | None, fallback: str = "", units: str | None = None) -> str:
    """Return the words of an axis: long name and unit.

    Examples
    --------
    >>> axis(xr.DataArray([1.0], attrs={"long_name": "membrane time constant", "units": "ms"}))
    'membrane time constant (ms)'
    """
    attrs = {} if data is None else data.attrs
    name = str(attrs.get("long_name", fallback or (data.name if data is not None else "")))
    unit = str(attrs.get("units", "1")) if units is None else units
    return name if unit in ("1", "") or unit == name else f"{name} ({unit})"


def looks(element: Any, height: int = 260, **chosen: Any) -> Any:
    """Give an element its size, axes and glyph options for Bokeh; see :data:`holoviews.opts`."""
    return element.opts(backend="bokeh", height=height, responsive=True, show_title=False, **chosen)


def lines(paths: Sequence[np.ndarray], names: Sequence[str], colour: str | Sequence[str] = QUIET, **chosen: Any) -> hv.Contours:
    """Return many lines as one glyph: `paths` are arrays (point, 2), `colour` one for all or one each."""
    chosen = {"line_width": 1.0, **chosen}
    if not len(paths):  # one invisible line: HoloViews takes no colours from nothing
        paths, colour = [np.full((2, 2), np.nan)], colour if isinstance(colour, str) else [QUIET]
    if isinstance(colour, str):
        return hv.Contours(list(paths), list(names)).opts(backend="bokeh", color=colour, **chosen)
    data = [{names[0]: p[:, 0], names[1]: p[:, 1], "colour": c} for p, c in zip(paths, colour, strict=True)]
    return hv.Contours(data, list(names), ["colour"]).opts(backend="bokeh", color="colour", **chosen)


def points(x: Any, y: Any, names: Sequence[str], colour: str | Sequence[str] = QUIET, label: str = "", **chosen: Any) -> hv.Points:
    """Return points, of one colour or of one each."""
    chosen = {"size": 6, "line_color": None, **chosen}
    if not len(x):
        x, y, colour = [np.nan], [np.nan], colour if isinstance(colour, str) else [QUIET]
    if isinstance(colour, str):
        return hv.Points((x, y), list(names), label=label).opts(backend="bokeh", color=colour, **chosen)
    made = hv.Points((x, y, np.asarray(colour, dtype=object)), list(names), ["colour"], label=label)
    return made.opts(backend="bokeh", color="colour", **chosen)


def image(values: np.ndarray, x: np.ndarray, y: np.ndarray, names: Sequence[str], **chosen: Any) -> hv.Image:
    """Return a grid `values` (y, x) as an image; x and y are the centres of its cells, in equal steps."""
    half = [_step(v) / 2 for v in (x, y)]
    bounds = (x[0] - half[0], y[0] - half[1], x[-1] + half[0], y[-1] + half[1])
    made = hv.Image(values[::-1], list(names[:2]), [names[2]], bounds=tuple(map(float, bounds)))
    return made.opts(backend="bokeh", xlim=(bounds[0], bounds[2]), ylim=(bounds[1], bounds[3]), **chosen)


def _step(centres: np.ndarray) -> float:
    return float(centres[1] - centres[0]) if len(centres) > 1 else 1.0


def span(values: Any, room: float = 0.05, logarithmic: bool = False) -> tuple[float, float]:
    """Return limits around the finite values, with a little room.

    Examples
    --------
    >>> span([0.0, 1.0, float("nan")])
    (-0.05, 1.05)
    """
    found = np.asarray(values, dtype=float)
    found = found[np.isfinite(found) & ((found > 0) | (not logarithmic))]
    if not found.size:
        return (0.1, 1.0) if logarithmic else (0.0, 1.0)
    low, high = float(found.min()), float(found.max())
    if logarithmic:
        factor = max((high / low) ** room, 1.05)
        return low / factor, high * factor
    margin = room * (high - low) or 0.5
    return low - margin, high + margin


def marker_line(at: float | None, low: float, high: float, names: Sequence[str]) -> hv.Contours:
    """Return a vertical line at `at` (nothing where that is None): what the slider points to."""
    paths = [] if at is None else [np.array([[at, low], [at, high]])]
    return lines(paths, names, MARK, line_width=1.2, alpha=0.8).relabel(group="Marker")


def legend(names: Sequence[str], inks: Sequence[str], dims: Sequence[str]) -> list[hv.Points]:
    """Return empty points that put names into the legend of an overlay."""
    nothing = [float("nan")]
    return [points(nothing, nothing, dims, ink, name, size=8) for name, ink in zip(names, inks, strict=True)]
