"""How everything looks: colours that all eyes tell apart on light and on dark pages, axes named from the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

import holoviews as hv
import holoviews.plotting.bokeh  # HoloViews takes no options for Bokeh before
import numpy as np
import xarray as xr
from holoviews.core.util import label_sanitizer

from ip2lab.properties import PROPERTIES
from ip2lab.views.markup import legible, literal

# After Okabe and Ito (2008), moved to middle lightness so that each is readable on white and on black.
PALETTE = ("#2484c6", "#d9601a", "#12a17a", "#b565a7", "#b98900", "#4d6bd6", "#8a8f98", "#c2455d")
# The same darker and lighter, without the grey: what more names than eight are told apart by.
INKS = (
    *PALETTE,
    *("#185a87", "#944112", "#0c6d53", "#7b4572", "#7e5d00", "#344992", "#842f3f"),
    *("#7cb5dd", "#e8a076", "#71c7af", "#d3a3ca", "#d5b866", "#94a6e6", "#da8f9e"),
)
QUIET = "#8f959e"  # what is there to compare with
GAP = "#8f959e66"  # where nothing was recorded
MARK = "#d9601a"  # what is picked out
SEQUENTIAL = "viridis"
DIVERGING = [f"#2484c6{a:02x}" for a in range(254, -1, -2)] + [f"#d9601a{a:02x}" for a in range(0, 255, 2)]
SPIKES = [f"#2484c6{alpha:02x}" for alpha in range(256)]  # from nothing to ink: an empty raster is the page itself


def colours(number: int) -> list[str]:
    """Return that many colours, the same first ones for any number; beyond those that can be told apart, grey.

    Examples
    --------
    >>> colours(2), len(set(colours(22))), set(colours(30)[22:])
    (['#2484c6', '#d9601a'], 22, {'#8f959e'})
    """
    return [*INKS[:number], *[QUIET] * (number - len(INKS))]


def plain(words: Any, most: int = 80) -> str:
    r"""Return a name from the data as one line that can be drawn: without control characters, and not too long.

    Examples
    --------
    >>> plain("a\nname"), plain(b"cue"), plain("x" * 99)[-3:], plain(("go", 1))
    ('a name', 'cue', 'xx…', 'go, 1')
    """
    if isinstance(words, bytes):
        words = words.decode(errors="replace")
    if isinstance(words, (np.datetime64, datetime)):
        words = str(words).removesuffix(".000000000").removesuffix("T00:00:00").removesuffix(" 00:00:00")
    if isinstance(words, tuple):
        words = ", ".join(map(plain, words))
    line = "".join(c if c.isprintable() else "\ufffd" for c in " ".join(legible(words).split()))
    return line if len(line) <= most else line[: most - 1] + "…"


def axis(data: xr.DataArray | None, fallback: str = "", units: str | None = None) -> str:
    """Return the words of an axis: long name and unit.

    Examples
    --------
    >>> axis(xr.DataArray([1.0], attrs={"long_name": "membrane time constant", "units": "ms"}))
    'membrane time constant (ms)'
    """
    attrs = {} if data is None else data.attrs
    known = data.name if data is not None and data.name is not None else ""
    name = plain(attrs.get("long_name", fallback or known))
    unit = plain(attrs.get("units", "1") if units is None else units)
    return name if unit in ("1", "") or unit == name else f"{name} ({unit})"


def figure(value: float) -> str:
    """Return a number with three figures, or more where it is large: never a power of ten.

    Examples
    --------
    >>> figure(2974.3), figure(27.43)
    ('2,974', '27.4')
    """
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def picture(parts: Sequence[Any], height: int, names: Sequence[str], **chosen: Any) -> hv.Overlay:
    """Lay parts over each other, with the names of both axes and other options for Bokeh."""
    labels = {"xlabel": names[0], "ylabel": names[1]} | chosen
    return with_options(hv.Overlay(list(parts)), height, **labels)


def with_options(element: Any, height: int = 260, **chosen: Any) -> Any:
    """Give an element its size and its options for Bokeh; see :data:`holoviews.opts`."""
    return element.opts(backend="bokeh", height=height, responsive=True, show_title=False, hooks=[_literal], **chosen)


def _literal(plot: Any, _: Any) -> None:
    literal(plot.state)


_TEMPLATES: dict[tuple[Any, ...], Any] = {}


def styled(
    kind: type,
    data: Any,
    dims: Sequence[Any],
    vdims: Sequence[str],
    style: Mapping[str, Any],
    label: str = "",
    group: str = "",
) -> Any:
    """Return an element with its glyph's looks.

    Elements of one look share one entry in HoloViews' store of options, by an element that is kept: setting options
    on each anew would take as long as making it, and a slider makes many.
    """
    key = (kind, label, group, repr(sorted(style.items(), key=str)))
    names = {"label": label, **({"group": group} if group else {})}
    ends = axes(dims), [dimension(name) for name in vdims]
    if key not in _TEMPLATES:
        _TEMPLATES[key] = kind(data, *ends, **names).opts(backend="bokeh", **style)
    return kind(data, *ends, id=_TEMPLATES[key].id, **names)


@lru_cache(512)
def dimension(name: str, words: str = "") -> hv.Dimension:
    """Return the one dimension of that name, and what it is called.

    HoloViews finds a dimension by either, so words end in spaces: as no name does, and those of x and y in different
    numbers of them.
    """
    return hv.Dimension((name, words.strip() + " " * ("xy".find(name) + 2))) if words.strip() else hv.Dimension(name)


def axes(names: Sequence[str]) -> list[hv.Dimension]:
    """Return the dims of an element: always x and y, so that no words of the data collide with another column."""
    return [dimension("x", names[0]), dimension("y", names[1])]


def lines(
    paths: Sequence[np.ndarray],
    names: Sequence[str],
    colour: str | Sequence[str] = QUIET,
    group: str = "",
    **chosen: Any,
) -> hv.Contours:
    """Return many lines as one glyph: `paths` are arrays (point, 2), `colour` one for all or one each."""
    if not len(paths):
        return _no_lines(tuple(names), colour if isinstance(colour, str) else "", group, tuple(chosen.items()))
    style = {"line_width": 1.0, **chosen, "color": colour if isinstance(colour, str) else "colour"}
    if isinstance(colour, str):
        data: list[Any] = list(paths)
    else:
        data = [{"x": p[:, 0], "y": p[:, 1], "colour": c} for p, c in zip(paths, colour, strict=True)]
    vdims = () if isinstance(colour, str) else ("colour",)
    made = styled(hv.Contours, data[:1], names, vdims, style, group=group)
    made.data = data  # as it is: HoloViews would look at every line, of which there may be a thousand
    return made


def strokes(drawn: Sequence[tuple[np.ndarray, str]], names: Sequence[str], **chosen: Any) -> hv.Contours:
    """Return many lines as one glyph, each a path (point, 2) with its colour."""
    paths, inks = [path for path, _ in drawn], [ink for _, ink in drawn]
    return lines(paths, names, inks, **chosen)


@lru_cache(256)
def _no_lines(names: tuple[str, ...], colour: str, group: str, chosen: tuple[tuple[str, Any], ...]) -> hv.Contours:
    """One invisible line, for HoloViews takes no colours from nothing; always the same one, so it is not sent again."""
    return lines([np.full((2, 2), np.nan)], names, colour or [QUIET], group, **dict(chosen))


def points(
    x: Any, y: Any, names: Sequence[str], colour: str | Sequence[str] = QUIET, label: str = "", **chosen: Any
) -> hv.Points:
    """Return points, of one colour or of one each."""
    if not len(x):
        return _no_points(tuple(names), colour if isinstance(colour, str) else "", label, tuple(chosen.items()))
    style = {"size": 6, "line_color": None, **chosen, "color": colour if isinstance(colour, str) else "colour"}
    data = {"x": np.asarray(x, float), "y": np.asarray(y, float)}
    if isinstance(colour, str):
        return styled(hv.Points, data, names, (), style, label)
    return styled(hv.Points, {**data, "colour": np.asarray(colour, dtype=object)}, names, ("colour",), style, label)


@lru_cache(256)
def _no_points(names: tuple[str, ...], colour: str, label: str, chosen: tuple[tuple[str, Any], ...]) -> hv.Points:
    return points([np.nan], [np.nan], names, colour or [QUIET], label, **dict(chosen))


def image(values: np.ndarray, x: np.ndarray, y: np.ndarray, names: Sequence[str], **chosen: Any) -> hv.Image:
    """Return a grid `values` (y, x) as an image; x and y are the centres of its cells, in equal steps."""
    half = [spacing(v) / 2 for v in (x, y)]
    values = np.repeat(np.repeat(values, 1 + (len(y) == 1), 0), 1 + (len(x) == 1), 1)  # HoloViews takes no single row
    if values.dtype.kind == "f" and "clim" in chosen:
        values = np.where(np.isinf(values), np.clip(values, *chosen["clim"]), values)
    bounds = tuple(float(end) for end in (x[0] - half[0], y[0] - half[1], x[-1] + half[0], y[-1] + half[1]))
    made = hv.Image(values[::-1], axes(names), [dimension("value", names[2])], bounds=bounds)
    chosen = {"clipping_colors": {"NaN": GAP}, **chosen}
    return made.opts(backend="bokeh", xlim=(bounds[0], bounds[2]), ylim=(bounds[1], bounds[3]), **chosen)


def spacing(centres: np.ndarray) -> float:
    """Return the distance between the first two of places in equal steps.

    Examples
    --------
    >>> spacing(np.array([0.0, 20.0, 40.0]))
    20.0
    """
    return float(centres[1] - centres[0]) if len(centres) > 1 else 1.0


def logarithmic(values: xr.DataArray) -> bool:
    """Tell whether values belong on a logarithmic axis: those of a property that is not signed, or all positive ones.

    Examples
    --------
    >>> logarithmic(xr.DataArray([0.5, 0.7], name="bias")), logarithmic(xr.DataArray([10.0, 20.0], name="tau"))
    (False, True)
    """
    if values.name in PROPERTIES:
        return not PROPERTIES[str(values.name)].signed
    return bool((values > 0).all() and values.size)


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


@lru_cache(512)
def uprights(places: tuple[float, ...], low: float, high: float, names: tuple[str, ...], **chosen: Any) -> hv.Contours:
    """Return vertical lines, at the borders of epochs for instance; the same call returns the same element."""
    return lines([np.array([[x, low], [x, high]]) for x in places], names, **chosen)


def marker_line(at: float | None, low: float, high: float, names: Sequence[str]) -> hv.Contours:
    """Return a vertical line at `at` (nothing where that is None): what the slider points to."""
    places = () if at is None else (float(at),)
    return uprights(places, low, high, tuple(names), colour=MARK, line_width=1.2, alpha=0.8, group="Marker")


def legend(names: Sequence[str], colors: Sequence[str], dims: Sequence[str]) -> list[hv.Points]:
    """Return empty points that put names into the legend of an overlay; of more than have colours, how many more."""
    shown = [(plain(name), ink) for name, ink in zip(names, colors, strict=True)][: len(INKS)]
    more = len(names) - len(shown)
    shown += [(f"and {more} more", QUIET)] if more else []
    return [_entry(name, ink, tuple(dims)) for name, ink in shown]


def entries(element: Any) -> list[tuple[str, str]]:
    """Return what :func:`legend` put into an element: names and their colours.

    Examples
    --------
    >>> entries(hv.Overlay(legend(["go", "no-go"], colours(2), ["x", "y"])))
    [('go', '#2484c6'), ('no-go', '#d9601a')]
    """
    parts = list(element) if isinstance(element, hv.Overlay) else [element]
    return [_KEYS[leaf.id] for leaf in parts if leaf.group == KEY and leaf.id in _KEYS]


KEY = "Key"  # the group of what is in a picture only for its legend
_KEYS: dict[int, tuple[str, str]] = {}  # the names and colours of these, by the options that they share


@lru_cache(512)
def _entry(name: str, ink: str, dims: tuple[str, ...]) -> hv.Points:
    style = {"size": 8, "line_color": None, "color": ink}
    name = plain(name)
    label = name if label_sanitizer.allowable(name) else f"{name} "  # HoloViews keeps some words for itself
    made = styled(hv.Points, {d: np.full(1, np.nan) for d in "xy"}, dims, (), style, label, KEY)
    _KEYS[made.id] = name, ink
    return made
