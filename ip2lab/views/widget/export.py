"""Pictures that stand still: PNG and SVG at print quality, HTML that works alone, the data as files.

What a live figure shows is drawn again by matplotlib from the same elements, part by part, with the same colours.
"""

from __future__ import annotations

import base64
import io
import os
import re
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import holoviews as hv
import numpy as np
import xarray as xr

from ip2lab.records.stores import absolute
from ip2lab.views.markup import as_text, html, keyed, legible
from ip2lab.views.style import entries
from ip2lab.views.widget.panel import THEME, Panel, options

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Page

STATIC = "IP2LAB_STATIC"  # set to 1 where notebooks are made that will be read without a kernel
INCHES = 10.5  # width of a page
PIXELS = 92  # of a panel's height to the inch: what makes print look like the screen
AS_IT_IS = {  # words are drawn as they stand: no formulas, no LaTeX, whatever the user's own settings say
    "text.parse_math": False,
    "text.usetex": False,
    "axes.formatter.use_mathtext": False,
}
# labels of axes that have nothing between two whole numbers
COUNTED = ("problem", "trial of the problem", "neuron")
MARKERS = {"inverted_triangle": "v", "triangle": "^", "square": "s", "circle": "o"}


class Shown(Protocol):
    """What is exported: elements, captions and notes by panel, and the CSS grid that places the panels."""

    grid: str

    @property
    def elements(self) -> dict[str, Any]:
        """The elements."""

    @property
    def captions(self) -> dict[str, str]:
        """The captions: HTML."""

    @property
    def notes(self) -> dict[str, str]:
        """The messages in the place of panels."""


def wanted() -> bool:
    """Whether a widget brings a picture that stands still."""
    return os.environ.get(STATIC) == "1"


def with_picture(bundle: Any, figure: Shown) -> Any:
    """Return a widget's MIME bundle with a PNG beside it where the environment says ``IP2LAB_STATIC=1``."""
    if not wanted() or bundle is None:
        return bundle
    data, *rest = bundle if isinstance(bundle, tuple) else (bundle,)
    data = {**data, "image/png": base64.b64encode(picture(figure, "png", dpi=100)).decode()}
    return (data, *rest) if rest else data


def export(path: Path, figure: Shown, data: Callable[[], xr.Dataset] | None = None) -> Path:
    """Save a figure, or the data behind it, in the format that the ending names.

    Parameters
    ----------
    path : Path
        ``.png``, ``.svg``, ``.html``, ``.nc`` or ``.csv``.
    figure : Figure
        What is shown.
    data : callable, optional
        Returns the data behind it, for ``.nc`` and ``.csv``.

    Returns
    -------
    Path
        The file.

    Examples
    --------
    >>> import tempfile
    >>> from ip2lab.views import show
    >>> export(Path(tempfile.mkdtemp()) / "curve.png", show(hv.Curve([1, 4, 2]))).stat().st_size > 1000
    True
    """
    path = absolute(path, "a file")
    kind = path.suffix.lower()
    if kind in (".png", ".svg"):
        path.write_bytes(picture(figure, kind[1:], dpi=300))
    elif kind == ".html":
        path.write_text(_page(figure), encoding="utf-8")
    elif kind in (".nc", ".csv") and data is not None:
        _save(data(), path)
    else:
        known = ".png, .svg, .html" + (", .nc, .csv" if data is not None else "")
        raise ValueError(f"path: {path.name!r} does not end in a known format; give a name that ends in one of {known}")
    return path


def _save(data: xr.Dataset, path: Path) -> None:
    objects = [c for c in data.coords if data[c].dtype == object]
    plain = data.reset_coords([c for c in objects if c not in data.dims], drop=True)
    plain = plain.assign_coords({c: (c, data[c].values.astype(str), data[c].attrs) for c in objects if c in data.dims})
    if path.suffix.lower() == ".csv":
        _table(plain).to_csv(path, index=False)
        return
    plain = plain.assign({n: one.astype(np.float32) for n, one in plain.items() if one.dtype == np.float16})
    plain.attrs = {k: v for k, v in plain.attrs.items() if isinstance(v, (str, int, float)) and not isinstance(v, bool)}
    plain.to_netcdf(path, engine="scipy")


def _table(data: xr.Dataset) -> Any:
    """One row a value; variables side by side where they have the same dims, else below each other, named."""
    import pandas as pd

    if len({one.dims for one in data.data_vars.values()}) <= 1:
        return data.to_dataframe().reset_index()
    frames = [one.rename("value").to_dataframe().reset_index().assign(variable=n) for n, one in data.data_vars.items()]
    whole = pd.concat(frames, ignore_index=True)
    return whole[["variable", *(c for c in whole if c not in ("variable", "value")), "value"]]


def _page(figure: Shown) -> str:
    """The panels as one HTML document with BokehJS inside."""
    from bokeh.embed import file_html
    from bokeh.layouts import column, layout
    from bokeh.models.widgets import Div
    from bokeh.resources import INLINE

    def block(name: str) -> Any:
        words = html(figure.notes.get(name) or figure.captions.get(name, ""))
        if name not in figure.elements or figure.notes.get(name):
            return column(Div(text=words, disable_math=True), sizing_mode="stretch_width")
        panel = Panel(figure.elements[name])
        head = Div(text=keyed(words, panel.legend), disable_math=True)
        return column(head, panel.plot.state, sizing_mode="stretch_width")

    rows = [[block(name) for name in dict.fromkeys(row)] for row in _grid(figure)[0]]
    page = file_html(layout(rows, sizing_mode="stretch_width"), INLINE, title="ip2lab", theme=THEME)
    # what Panel, which HoloViews brings along, would have fetched for models of its own, none of which are here
    return re.sub(r'<script [^>]*\bsrc="[^"]*"[^>]*></script>\s*', "", page)


def _grid(figure: Shown) -> tuple[list[Any], list[float]]:
    """The rows of names, and the widths of the columns, of a figure's CSS template."""
    rows = [row.split() for row in re.findall(r'"([^"]+)"', figure.grid)]
    widths = [float(w) for w in re.findall(r"([\d.]+)fr", figure.grid.split("/")[-1])]
    return rows, widths if len(widths) == len(rows[0]) else [1.0] * len(rows[0])


# ---------------------------------------------------------------------- by matplotlib


def picture(figure: Shown, kind: str, dpi: int) -> bytes:
    """Draw a figure by matplotlib and return the file."""
    import matplotlib
    from matplotlib.figure import Figure as Page

    rows, widths = _grid(figure)
    looks: dict[Any, Any] = {
        "axes.spines.top": False,
        "axes.spines.right": False,
        "svg.fonttype": "none",
        "axes.linewidth": 0.7,
        **AS_IT_IS,
    }
    parts = [_shares(row, widths) for row in rows]
    heights = [max(_height(figure, name, share) for name, share in part.items()) for part in parts]
    with matplotlib.rc_context({"font.size": 8.5, **looks}):
        page: Page = Page(figsize=(INCHES, sum(heights) / PIXELS), layout="constrained", facecolor="white")
        strips = page.subfigures(len(rows), 1, height_ratios=heights, squeeze=False)[:, 0]
        for strip, part in zip(strips, parts, strict=True):  # each row on its own: words beside one axis move no other
            axes: Any = strip.subplot_mosaic([list(part)], width_ratios=list(part.values()))
            for name, ax in axes.items():
                _panel(strip, ax, figure, name, part[name])
        out = io.BytesIO()
        page.savefig(out, format=kind, dpi=dpi)
    return out.getvalue()


def _shares(row: list[str], widths: list[float]) -> dict[str, float]:
    """The share of the width that each panel of a row has."""
    names = dict.fromkeys(row)
    return {n: sum(w for w, m in zip(widths, row, strict=True) if m == n) / sum(widths) for n in names}


def _head(figure: Shown, name: str, share: float) -> tuple[str, list[tuple[str, str]], int]:
    """The title of a panel in lines, its legend, and in how many columns that is written."""
    letters = max(int(138 * share) - 8, 20)  # that have room in a line
    keys = [] if figure.notes.get(name) or name not in figure.elements else entries(figure.elements[name])
    columns = max(1, min(len(keys), int(1.15 * letters) // (max((len(word) for word, _ in keys), default=0) + 5)))
    return textwrap.fill(as_text(figure.captions.get(name, "")), letters), keys, columns


def _height(figure: Shown, name: str, share: float) -> float:
    """In pixels."""
    title, keys, columns = _head(figure, name, share)
    plot = options(figure.elements[name]).get("height", 260) if name in figure.elements else 60
    return float(plot + 18 * (title.count("\n") + 1 - -len(keys) // columns))


def _panel(strip: Any, ax: Axes, figure: Shown, name: str, share: float) -> None:
    title, keys, columns = _head(figure, name, share)
    lines = _legend(ax, keys, columns)
    ax.set_title(title, loc="left", fontsize=9, pad=6 + 12 * lines)
    if not figure.notes.get(name):
        return draw(strip, ax, figure.elements[name])
    ax.set_axis_off()
    place: dict[str, Any] = {"ha": "center", "va": "center", "transform": ax.transAxes, "color": "#666666"}
    ax.text(0.5, 0.5, textwrap.fill(figure.notes[name], max(int(110 * share), 20)), **place)
    return None


def _legend(ax: Axes, keys: list[tuple[str, str]], columns: int) -> int:
    """Write a legend above the data, in columns of one width; returns how many lines it takes."""
    if not keys:
        return 0
    from matplotlib.lines import Line2D

    dots = [Line2D([], [], marker="o", linestyle="", color=ink, markersize=4.5) for _, ink in keys]
    place: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (-0.01, 0.99), "ncols": columns}
    place |= {"frameon": False, "fontsize": 7.5, "handletextpad": 0.1, "columnspacing": 1.0}
    # numbers first: of names, matplotlib would leave out those that begin with an underscore
    made = ax.legend(dots, [str(i) for i in range(len(keys))], **place)
    for text, (name, _) in zip(made.get_texts(), keys, strict=True):
        text.set_text(name)
    return -(-len(keys) // columns)


def draw(page: Page, ax: Axes, element: Any) -> None:
    """Draw one element into axes, part by part."""
    parts, chosen = list(element) if isinstance(element, hv.Overlay) else [element], options(element)
    for place, leaf in enumerate(parts):
        drawer = next((DRAWERS[t] for t in DRAWERS if isinstance(leaf, t)), _curve)
        drawer(page, ax, leaf, options(leaf, "style"), place)
    ax.set(**{k: chosen[k] for k in ("xlim", "ylim") if chosen.get(k) is not None})
    words = [d.pprint_label for d in parts[0].dimensions()[:2]]
    if "xlabel" in chosen:
        words = [chosen.get(k) or "" for k in ("xlabel", "ylabel")]
    for name, word in zip("xy", words, strict=True):
        _draw_axis(ax, name, word, chosen)
    if ax.get_legend() is None and not entries(element) and ax.get_legend_handles_labels()[1]:
        place = chosen.get("legend_position", "best").replace("_", " ")
        ax.legend(frameon=False, fontsize=7.5, loc=place.replace("top", "upper").replace("bottom", "lower"))


def _draw_axis(ax: Axes, name: str, word: str, chosen: dict[str, Any]) -> None:
    """Label an axis, and say what is written at which places."""
    from matplotlib.ticker import MaxNLocator

    axis, ticks = getattr(ax, f"{name}axis"), chosen.get(f"{name}ticks")
    axis.set_label_text(legible(word))
    if chosen.get(f"log{name}"):
        getattr(ax, f"set_{name}scale")("log")
        _plain_ticks(axis, chosen.get(f"{name}lim") or (1, 10))
    elif axis.get_label_text().startswith(COUNTED):
        axis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 5, 10]))
    if isinstance(ticks, list):
        axis.set_ticks(*_ticks(ticks))
    if name == "x" and chosen.get("xaxis") == "top":
        ax.tick_params("x", top=True, labeltop=True, labelbottom=False)


def _ticks(chosen: Any) -> tuple[list[Any], list[str]]:
    """Places, and what is written there."""
    return [place for place, _ in chosen], [legible(word) for _, word in chosen]


def _plain_ticks(axis: Any, ends: tuple[float, float]) -> None:
    """Write 200, not 2 x 10^2, and as many numbers as have room."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    decades = np.log10(ends[1] / ends[0])
    subs = (1.0, 2.0, 5.0) if decades < 2.2 else (1.0, 3.0) if decades < 4.5 else (1.0,)
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _look(leaf: Any, style: dict[str, Any], option: str, default: Any) -> Any:
    """A look of every item of a part: one value, or the column that it follows."""
    value = style.get(option, default)
    if isinstance(value, str) and value in [d.name for d in leaf.vdims]:
        return list(leaf.dimension_values(value, expanded=False)) if leaf.interface.multi else list(leaf[value])
    return value


def _inks(leaf: Any, style: dict[str, Any]) -> Any:
    """The colours of a part, with the strength of each and that of all."""
    from matplotlib.colors import to_rgba_array

    found = to_rgba_array(_look(leaf, style, "color", "k"))
    found[:, 3] *= style.get("alpha", 1.0)
    return found


def _paths(leaf: Any) -> list[np.ndarray]:
    return [path.array(leaf.kdims) for path in leaf.split()]


def _lines(page: Page, ax: Axes, leaf: Any, style: dict[str, Any], place: int) -> None:
    from matplotlib.collections import LineCollection

    dashes = {"dashed": "--", "dotted": ":"}.get(style.get("line_dash", ""), "-")
    ax.add_collection(
        LineCollection(
            _paths(leaf),
            colors=_inks(leaf, style),
            linewidths=0.8 * style.get("line_width", 1.0),
            linestyles=dashes,
            capstyle=style.get("line_cap", "butt"),
            zorder=2 + 0.01 * place,
        )
    )


def _areas(page: Page, ax: Axes, leaf: Any, style: dict[str, Any], place: int) -> None:
    from matplotlib.collections import PolyCollection

    ax.add_collection(
        PolyCollection(
            _paths(leaf),
            facecolors=_inks(leaf, style),
            edgecolors="none",
            zorder=2 + 0.01 * place,
        )
    )


def _points(page: Page, ax: Axes, leaf: Any, style: dict[str, Any], place: int) -> None:
    x, y, colour = leaf.dimension_values(0), leaf.dimension_values(1), _inks(leaf, style)
    hollow = style.get("fill_alpha") == 0
    ax.scatter(
        x,
        y,
        s=(0.75 * style.get("size", 6)) ** 2,
        facecolors="none" if hollow else colour,
        edgecolors=colour if hollow else "none",
        marker=MARKERS.get(style.get("marker", "circle"), "o"),
        label=leaf.label or None,
        zorder=2 + 0.01 * place,
    )


def _image(page: Page, ax: Axes, leaf: Any, style: dict[str, Any], place: int) -> None:
    import matplotlib
    from matplotlib.colors import ListedColormap

    chosen, cmap = options(leaf), style.get("cmap", "viridis")
    values = leaf.dimension_values(2, flat=False)
    left, bottom, right, top = leaf.bounds.lbrt()
    low, high = chosen.get("clim") or (np.nanmin(values), np.nanmax(values))
    nothing = chosen.get("clipping_colors", {}).get("NaN", "#00000000")
    colours = (matplotlib.colormaps[cmap] if isinstance(cmap, str) else ListedColormap(cmap)).with_extremes(bad=nothing)
    shown = ax.imshow(
        values,
        extent=(left, right, bottom, top),
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        vmin=low,
        vmax=high,
        cmap=colours,
        zorder=1,
    )
    if chosen.get("colorbar"):
        page.colorbar(
            shown, ax=ax, label=legible(chosen.get("colorbar_opts", {}).get("title", "")), pad=0.01, fraction=0.05
        )


def _words(page: Page, ax: Axes, leaf: Any, style: dict[str, Any], place: int) -> None:
    align = {
        "ha": style.get("text_align", "center"),
        "va": {"middle": "center"}.get(style.get("text_baseline", "middle"), "baseline"),
    }
    colors = _look(leaf, style, "text_color", "k")
    colors = [colors] * len(leaf) if isinstance(colors, str) else colors
    for x, y, text, ink in zip(*(leaf.dimension_values(i) for i in range(3)), colors, strict=True):
        ax.text(x, y, legible(text), fontsize=7.5, color=ink, zorder=4, **align)


def _boxes(page: Page, ax: Axes, leaf: Any, style: dict[str, Any], place: int) -> None:
    from matplotlib.patches import Rectangle

    colors, strengths = (
        [look] * len(leaf) if isinstance(look, (str, float, int)) else look
        for look in (_look(leaf, style, "color", "k"), _look(leaf, style, "alpha", 1.0))
    )
    for (x0, y0, x1, y1), ink, strength in zip(leaf.array([0, 1, 2, 3]).astype(float), colors, strengths, strict=True):
        ax.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, facecolor=ink, alpha=strength, linewidth=0, zorder=2))


def _curve(page: Page, ax: Axes, leaf: Any, style: dict[str, Any], place: int) -> None:
    ink = style.get("color")
    if isinstance(ink, hv.Cycle):  # an element that is not ours: the colours that Bokeh gives to the parts in turn
        ink = ink.values[place % len(ink.values)]
    ax.plot(
        leaf.dimension_values(0),
        leaf.dimension_values(1),
        color=ink,
        label=leaf.label or None,
        zorder=2 + 0.01 * place,
    )


DRAWERS: dict[type, Callable[..., None]] = {
    hv.Polygons: _areas,
    hv.Contours: _lines,
    hv.Points: _points,
    hv.Image: _image,
    hv.Labels: _words,
    hv.Rectangles: _boxes,
}
