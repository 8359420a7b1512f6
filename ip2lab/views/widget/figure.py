"""One live figure: HoloViews elements drawn by Bokeh in the page, of which later only the data are exchanged.

A :class:`Figure` draws its elements once. An update takes new elements of the same build, puts their columns in the
place of the old ones and sends what changed, of all panels, as one binary message; only an element of another build
(another type, axis or number of parts) is drawn anew. BokehJS is read from the installed bokeh package and goes to
the page once for each kernel, from a widget that all figures share, so nothing is asked of any other address and
nothing of it is written into notebooks. Captions stand above the panels: a title inside would lay out anew. All words
are text, whatever they say; only a caption that is ``markupsafe.Markup`` brings tags.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import anywidget
import bokeh
import holoviews as hv
import holoviews.plotting.bokeh
import ipywidgets
import numpy as np
import traitlets
from bokeh.core.json_encoder import PayloadEncoder
from bokeh.document import Document
from bokeh.layouts import column
from bokeh.models import BoxSelectTool, CustomJSTicker, CustomJSTickFormatter, LassoSelectTool, LogScale
from bokeh.protocol import Protocol
from bokeh.themes import Theme
from holoviews.plotting.bokeh.element import ElementPlot

from ip2lab.views.markup import html, legible, literal
from ip2lab.views.style import KEY, entries
from ip2lab.views.widget import export

HERE = Path(__file__).parent
# On a logarithmic axis: as many of 1, 2, 5 x 10^k as have room, over less than three quarters of a decade even steps.
TICKS = """
const { start, end } = cb_data.range, [low, high] = [Math.min(start, end), Math.max(start, end)];
const decades = Math.log10(high / low);
const found = [], push = (v) => { if (v >= low && v <= high) found.push(v) };
if (decades > 0.75) {
  const digits = decades > 4.5 ? [1] : decades > 2.2 ? [1, 3] : [1, 2, 5];
  for (let k = Math.floor(Math.log10(low)); k <= Math.log10(high); k++) for (const d of digits) push(d * 10 ** k);
  return found;
}
const rough = (high - low) / 4, ten = 10 ** Math.floor(Math.log10(rough));
const step = ten * [1, 2, 5, 10].find((d) => d * ten >= rough);
for (let i = Math.ceil(low / step); i * step <= high; i++) push(i * step);
return found;"""
NUMBER = """
const short = Math.abs(tick) < 1e5 && Math.abs(tick) >= 1e-4;
return short ? String(+tick.toPrecision(6)) : (+tick.toPrecision(6)).toExponential().replace("+", "");"""
TOOLBAR = ":host { transform: scale(0.72); transform-origin: bottom right; background: none !important; }"
ON_TOP = ("Marker", "Picked")  # groups of parts that move over the others
OWN_EVENTS = ("legend", "key")  # which the page tells itself, without Bokeh
REGION = "selectiongeometry"  # Bokeh's name for a box or a lasso that was drawn
LOOKS = Theme(
    json={
        "attrs": {
            "Axis": {
                "axis_label_text_font_style": "normal",
                "axis_label_text_font_size": "12px",
                "major_label_text_font_size": "11px",
                "minor_tick_line_color": None,
                "axis_label_standoff": 6,
            },
            "Grid": {"grid_line_alpha": 1.0},
            "Legend": {
                "label_text_font_size": "11px",
                "background_fill_alpha": 0.0,
                "border_line_alpha": 0.0,
                "spacing": 1,
                "padding": 4,
                "glyph_width": 16,
                "label_height": 14,
            },
            "ColorBar": {
                "title_text_font_style": "normal",
                "title_text_font_size": "12px",
                "title_standoff": 9,
                "width": 10,
            },
        }
    }
)


class Loader(anywidget.AnyWidget):
    """Holds BokehJS for the page: one widget a kernel, which figures name and the page reads once."""

    _esm = "export default {}"
    version = traitlets.Unicode(bokeh.__version__).tag(sync=True)
    script = traitlets.Bytes().tag(sync=True)


@cache
def loader() -> Loader:
    """Return the one loader of this process."""
    source = Path(bokeh.__file__).parent / "server/static/js/bokeh.min.js"
    return Loader(script=gzip.compress(source.read_bytes(), 6))


def bokeh_name(event: str) -> str:
    """What Bokeh calls an event."""
    return REGION if event == "region" else event


class Panel:
    """One element of a figure as it is drawn now; nothing is drawn before there is one."""

    def __init__(self, element: hv.Element | hv.Overlay | None, events: Sequence[str] = ()) -> None:
        self.root = column(sizing_mode="stretch_width")
        self.events = {bokeh_name(event) for event in events if event not in OWN_EVENTS}
        self.element: Any = None
        self.build: tuple[Any, ...] = ()
        self.plot: Any = None
        self.leaves: list[Any] = []
        self.legend: list[tuple[str, str]] = []
        if element is not None:
            self.draw(element)

    def draw(self, element: hv.Element | hv.Overlay) -> None:
        """Draw the element anew."""
        self.element, self.build, self.legend = element, build(element), entries(element)
        self.plot = hv.renderer("bokeh").get_plot(drawn(element))
        self.plot.document = None  # HoloViews puts it into a global document, which would keep it for ever
        self.leaves = [p for p in self.plot.traverse(lambda p: p, [ElementPlot]) if "glyph_renderer" in p.handles]
        state = self.plot.state
        literal(state)
        state.sizing_mode, state.min_width = "stretch_width", 120
        state.min_border_right = 12
        state.toolbar.logo, state.toolbar.autohide, state.toolbar_inner = None, True, False
        state.toolbar.active_scroll = None  # the wheel scrolls the notebook
        # in the line of the caption, while the pointer is over the picture: never over data
        state.toolbar_location, state.toolbar.stylesheets = "above", [TOOLBAR]
        self.subscribe()
        for scale, axes in ((state.x_scale, state.xaxis), (state.y_scale, state.yaxis)):
            if isinstance(scale, LogScale):
                axes.ticker, axes.formatter = CustomJSTicker(major_code=TICKS), CustomJSTickFormatter(code=NUMBER)
        for plot, leaf in zip(self.leaves, leaves(element), strict=True):
            if many(leaf):
                plot.handles["source"].data = columns_of(plot, leaf)
            map_columns(plot, leaf)
            if leaf.group in ON_TOP:  # on a canvas of its own: when it moves nothing else is painted again
                plot.handles["glyph_renderer"].level = "overlay"
        self._set_ranges(options(element))
        self.root.children = [state]

    def subscribe(self) -> None:
        """Tell the page which events are wanted, and give it the tools that make them."""
        state = self.plot.state
        state.subscribed_events = set(self.events)  # a change in place is not told
        if REGION in self.events and not any(isinstance(tool, LassoSelectTool) for tool in state.tools):
            # no renderers: the region itself is told, what lies in it is found here and shown by the data
            tools = [kind(renderers=[], continuous=False) for kind in (LassoSelectTool, BoxSelectTool)]
            state.add_tools(*tools)
            state.toolbar.active_drag = tools[isinstance(leaves(self.element)[0], hv.Image)]

    def update(self, element: hv.Element | hv.Overlay, made: tuple[Any, ...]) -> bool:
        """Exchange the data, of an element of the build `made`; True where the element had to be drawn anew."""
        if element is self.element:
            return False
        if made != self.build:
            self.draw(element)
            return True
        before, self.element, self.legend = self.element, element, entries(element)
        for plot, leaf, old in zip(self.leaves, leaves(element), leaves(before), strict=True):
            if leaf is old:
                continue
            plot.handles["source"].data = columns_of(plot, leaf) | own_columns(leaf)
            if "color_mapper" in plot.handles:
                self._recolour(plot, leaf)
        self._set_ranges(options(element))
        return False

    @staticmethod
    def _recolour(plot: ElementPlot, leaf: hv.Element) -> None:
        low, high = options(leaf).get("clim") or leaf.range(leaf.vdims[0])
        plot.handles["color_mapper"].update(low=float(low), high=float(high))

    def _set_ranges(self, chosen: Mapping[str, Any]) -> None:
        """Move the axes to the limits that the element states, or to its data."""
        state = self.plot.state
        log = (chosen.get("logx"), chosen.get("logy"))
        for axis, name, logarithmic in zip((state.x_range, state.y_range), ("xlim", "ylim"), log, strict=True):
            if not hasattr(axis, "start"):
                axis.factors = [str(v) for v in dict.fromkeys(self.element.dimension_values(0))]
                continue
            low, high = chosen.get(name) or limits(self.element, 0 if name == "xlim" else 1, bool(logarithmic))
            if (axis.start, axis.end) != (low, high):
                axis.update(start=low, end=high, reset_start=low, reset_end=high)


def columns_of(plot: ElementPlot, leaf: hv.Element) -> dict[str, Any]:
    """Return the columns that a glyph takes from its element; lines, of which there are most, without a detour."""
    if type(leaf) is hv.Contours and leaf.interface.multi:
        x, y = (d.name for d in leaf.kdims)
        paths = [(p[x], p[y]) if isinstance(p, dict) else (p[:, 0], p[:, 1]) for p in leaf.data]
        return {"xs": [np.asarray(p[0]) for p in paths], "ys": [np.asarray(p[1]) for p in paths]}
    return plot.get_data(leaf, {}, dict(plot.lookup_options(leaf, "style")[plot.cyclic_index]))[0]


def own_columns(leaf: hv.Element) -> dict[str, Any]:
    """Return the columns of an element that its glyph's looks follow: one value an item, however many differ."""
    style = hv.Store.lookup_options("bokeh", leaf, "style").kwargs
    followed = {d.name for d in leaf.vdims if d.name in [v for v in style.values() if isinstance(v, str)]}
    if leaf.interface.multi and all(isinstance(item, dict) for item in leaf.data):
        return {name: [item[name] for item in leaf.data] for name in followed}
    return {name: leaf.dimension_values(name) for name in followed}


def map_columns(plot: ElementPlot, leaf: hv.Element) -> None:
    """Let a glyph follow its columns. HoloViews fixes a look where all items happen to share it; later ones may not."""
    style = hv.Store.lookup_options("bokeh", leaf, "style").kwargs
    columns = own_columns(leaf)
    plot.handles["source"].data = dict(plot.handles["source"].data) | columns
    renderer = plot.handles["glyph_renderer"]
    for glyph in (renderer.glyph, renderer.nonselection_glyph, renderer.selection_glyph, renderer.muted_glyph):
        for option, value in style.items():
            names = {option, *(f"{part}_{option}" for part in ("line", "fill") if f"{part}_{option}" not in style)}
            for name in names if isinstance(value, str) and value in columns else ():
                if hasattr(glyph, name):
                    setattr(glyph, name, {"field": value})


def leaves(element: hv.Element | hv.Overlay) -> list[hv.Element]:
    """Return the single elements that an element draws, in drawing order: a legend that is words is none of them."""
    parts = list(element) if isinstance(element, hv.Overlay) else [element]
    return [leaf for leaf in parts if leaf.group != KEY]


def drawn(element: hv.Element | hv.Overlay) -> hv.Element | hv.Overlay:
    """Return what HoloViews draws of an element: not its legend, and of many lines one, for it goes through each."""
    parts = [leaf.clone(leaf.data[:1]) if many(leaf) else leaf for leaf in leaves(element)]
    return element.clone(parts) if isinstance(element, hv.Overlay) else parts[0]


def many(leaf: hv.Element) -> bool:
    """Whether an element is a list of lines, of which only the columns differ from those of one."""
    return type(leaf) is hv.Contours and isinstance(leaf.data, list) and len(leaf.data) > 1


def inside(region: Mapping[str, Any], x: Any, y: Any) -> np.ndarray:
    """Return which points lie in a region that a person drew, a box or a lasso.

    Parameters
    ----------
    region : mapping
        What a handler of the event ``region`` is given.
    x, y : array-like
        The points.

    Returns
    -------
    ndarray
        bool, one a point; NaN lies nowhere.

    Examples
    --------
    >>> inside({"type": "poly", "x": [0, 2, 1], "y": [0, 0, 2]}, [1.0, 0.1], [0.5, 1.5]).tolist()
    [True, False]
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    if region["type"] == "rect":
        x0, x1, y0, y1 = (region[key] for key in ("x0", "x1", "y0", "y1"))
        return (min(x0, x1) <= x) & (x <= max(x0, x1)) & (min(y0, y1) <= y) & (y <= max(y0, y1))
    found = np.zeros(x.shape, bool)
    corners = list(zip(region["x"], region["y"], strict=True))
    for (xa, ya), (xb, yb) in zip(corners, [*corners[1:], *corners[:1]], strict=True):
        if ya != yb:  # a ray to the left crosses the border an odd number of times
            found ^= ((ya > y) != (yb > y)) & (x > xa + (y - ya) * (xb - xa) / (yb - ya))
    return found


def options(element: hv.Element | hv.Overlay) -> dict[str, Any]:
    """Return the plot options that an element carries for Bokeh."""
    return dict(hv.Store.lookup_options("bokeh", element, "plot").kwargs)


def build(element: hv.Element | hv.Overlay) -> tuple[Any, ...]:
    """Return what two elements must share so that the one is drawn with the glyphs of the other."""
    chosen = options(element)
    axes = tuple(str(chosen.get(key)) for key in ("xlabel", "ylabel", "logx", "logy", "height", "xticks", "yticks"))
    return (axes, *((type(leaf), leaf.label, *(d.pprint_label for d in leaf.dimensions())) for leaf in leaves(element)))


def limits(element: hv.Element | hv.Overlay, dimension: int, logarithmic: bool) -> tuple[float, float]:
    """Return the ends of an axis that shows everything, with a little room."""
    ends = [leaf.range(dimension) for leaf in leaves(element) if len(leaf)]
    values = np.array([end for pair in ends for end in pair if end is not None and np.isfinite(end)], dtype=float)
    if not values.size:
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    if logarithmic:
        return low / 1.2, high * 1.2
    room = 0.05 * (high - low) or 0.5
    return low - room, high + room


class Figure(anywidget.AnyWidget):
    """A live figure of named panels.

    Parameters
    ----------
    panels : mapping of str to Element, Overlay or None
        What is drawn, by name; None for what is drawn later.
    grid : str
        CSS ``grid-template`` that places the panels by name: rows of areas, then the widths of the columns.
        One below the other by default. A panel that it does not name is not shown; another grid can be set later.
    captions, notes : mapping of str to str, optional
        Words above a panel (``markupsafe.Markup`` where they hold tags); a message in the place of a panel that has
        nothing to show.
    events : mapping of str to sequence of str, optional
        What will be listened to in which panel. Said beforehand it costs nothing; see :meth:`listen`.

    Examples
    --------
    >>> import holoviews as hv
    >>> from ip2lab.views.widget.figure import Figure
    >>> figure = Figure({"curve": hv.Curve([1, 4, 2])})
    >>> figure.update(curve=hv.Curve([2, 3, 4]))
    >>> figure.elements["curve"]["y"].tolist()
    [2, 3, 4]
    """

    # as text: a file that is named is watched, for which its watcher would hold every figure for good
    _esm = (HERE / "figure.js").read_text(encoding="utf-8")
    _css = (HERE / "figure.css").read_text(encoding="utf-8")
    loader = traitlets.Instance(Loader).tag(sync=True, **ipywidgets.widget_serialization)
    panels = traitlets.List(traitlets.Unicode()).tag(sync=True)
    grid = traitlets.Unicode().tag(sync=True)
    listened = traitlets.List(traitlets.Unicode()).tag(sync=True)  # panels whose legends can be clicked
    page = traitlets.Int().tag(sync=True, to_json=lambda _, figure: figure._page())

    def __init__(
        self,
        panels: Mapping[str, hv.Element | hv.Overlay | None],
        grid: str = "",
        captions: Mapping[str, str] | None = None,
        notes: Mapping[str, str] | None = None,
        events: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self._panels = {name: Panel(element, (events or {}).get(name, ())) for name, element in panels.items()}
        self._legends = {name: panel.legend for name, panel in self._panels.items()}
        self._captions, self._notes = _words(html, captions), _words(legible, notes)
        self._changes: list[Any] = []
        self._handlers: dict[tuple[str, str], Callable[..., None]] = {}
        self._document = Document(theme=LOOKS)
        with self.at_once():
            for panel in self._panels.values():
                self._document.add_root(panel.root)
        self._document.on_change(self._changes.append)
        super().__init__(
            loader=loader(),
            panels=list(panels),
            grid=grid or " ".join(f'"{name}"' for name in panels) + " / minmax(0, 1fr)",
        )
        self.on_msg(self._hear)

    def at_once(self) -> AbstractContextManager[None]:
        """Make many changes at once: Bokeh then looks only in the end at which models there are now."""
        return self._document.models.freeze()

    @property
    def elements(self) -> dict[str, hv.Element | hv.Overlay]:
        """The elements as they are shown now, by panel."""
        return {name: panel.element for name, panel in self._panels.items() if panel.element is not None}

    @property
    def captions(self) -> dict[str, str]:
        """The captions as they are shown now, by panel: HTML."""
        return dict(self._captions)

    @property
    def notes(self) -> dict[str, str]:
        """The messages that are shown in the place of panels now."""
        return dict(self._notes)

    def export(self, path: str | Path) -> Path:
        """Save what is shown as ``.png``, ``.svg`` (print quality) or ``.html`` (works alone)."""
        return export.export(Path(path), self)

    def update(
        self,
        captions: Mapping[str, str] | None = None,
        notes: Mapping[str, str] | None = None,
        **elements: hv.Element | hv.Overlay,
    ) -> None:
        """Show other elements, captions and notes; what is not named stays. One message, however many panels."""
        made = {name: build(element) for name, element in elements.items()}
        anew = any(made[name] != self._panels[name].build for name in elements)
        with self.at_once() if anew else nullcontext():
            rebuilt = [self._panels[name].update(element, made[name]) for name, element in elements.items()]
        legends = {name: legend for name in elements if (legend := self._panels[name].legend) != self._legends[name]}
        said, told = _words(html, captions), _words(legible, notes)
        self._captions |= said
        self._notes |= told
        self._legends |= legends
        self._push(any(rebuilt), captions=said, notes=told, legends=legends)

    def busy(self) -> None:
        """Show the busy sign until the next update."""
        self.send({"busy": True})

    def listen(self, panel: str, event: str, handler: Callable[..., None]) -> None:
        """Hear what a person does.

        Parameters
        ----------
        panel : str
            Where; anything for keys.
        event : str
            ``tap`` (and other pointer events of Bokeh) calls ``handler(x, y)``, in the units of the axes; ``region``, a
            box or lasso that was drawn, ``handler(region)``, see :func:`inside`; ``legend``, a click on a name in the
            legend, ``handler(name)``; ``key``, an arrow or Escape while the figure has the focus, ``handler(key)``.
        handler : callable
            What is called.
        """
        if event in OWN_EVENTS:
            self._handlers[panel if event == "legend" else "", event] = handler
            self.listened = [*self.listened, panel] if event == "legend" else self.listened
            return
        event = bokeh_name(event)
        self._handlers[panel, event] = handler
        if event in self._panels[panel].events:
            return
        self._panels[panel].events.add(event)
        if self._panels[panel].plot is not None:
            with self.at_once():
                self._panels[panel].subscribe()
            self._push(False)

    def _push(self, rebuilt: bool, **words: Mapping[str, Any]) -> None:
        message: dict[str, Any] = {"rebuilt": rebuilt, "ids": [], **words}
        buffers: list[bytes] = []
        if self._changes:
            patch = Protocol().create("PATCH-DOC", list(self._changes))
            message["patch"] = patch.content_json
            message["ids"] = [b.id for b in patch.buffers]
            buffers = [b.to_bytes() for b in patch.buffers]
            self._changes.clear()
        self.send(message, buffers)

    def _page(self) -> dict[str, Any]:
        """Everything the page needs to draw the figure as it is now."""
        self._changes.clear()
        document = self._document.to_json()
        self._document.models.flush_synced(lambda model: False)
        buffers = document.buffers
        return {
            "document": PayloadEncoder().encode(document.content),
            "ids": [b.id for b in buffers],
            "buffers": [b.to_bytes() for b in buffers],
            "captions": self._captions,
            "notes": self._notes,
            "legends": self._legends,
        }

    def _hear(self, _: Any, content: dict[str, Any], __: Any) -> None:
        event = content.get("event", "")
        if event in OWN_EVENTS:
            handler = self._handlers.get((content.get("panel", ""), event))
            return handler(content["name"]) if handler else None
        for name, panel in self._panels.items():
            handler = self._handlers.get((name, event))
            if handler is None or panel.plot is None or content["model"] != panel.plot.state.id:
                continue
            if event == REGION:
                handler(content["geometry"])
            elif content["x"] is not None:
                handler(content["x"], content["y"])
        return None

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = super()._repr_mimebundle_(**kwargs)
        return export.with_picture(bundle, self)


def _words(how: Callable[[Any], str], texts: Mapping[str, str] | None) -> dict[str, str]:
    return {name: how(text) for name, text in (texts or {}).items()}


def show(
    element: hv.Element | hv.Overlay | Mapping[str, hv.Element | hv.Overlay], caption: str = "", columns: int = 2
) -> Figure:
    """Show any element of ours in a notebook, offline.

    Parameters
    ----------
    element : Element or Overlay, or mapping of str to these
        What one of :mod:`ip2lab.views.plots` returned; or several, by what is written above each.
    caption : str
        What is written above a single one; ``markupsafe.Markup`` where it holds tags.
    columns : int
        How many of several stand side by side.

    Returns
    -------
    Figure
        A widget that a cell shows by naming it.

    Examples
    --------
    >>> import holoviews as hv
    >>> from ip2lab.views import show
    >>> type(show(hv.Curve([1, 4, 2]))).__name__
    'Figure'
    """
    single = not isinstance(element, Mapping)
    for one in [element] if single else element.values():
        if not isinstance(one, (hv.Element, hv.Overlay)):
            raise TypeError(f"element: {one!r} is no picture; give a HoloViews element, or a mapping to some")
    if not isinstance(caption, str) or not isinstance(columns, int) or columns < 1:
        raise TypeError(f"caption: {caption!r}, columns: {columns!r} are not valid; give words and a number from 1")
    if single:
        return Figure({"picture": element}, captions={"picture": caption} if caption else None)
    names = [f"p{i}" for i in range(len(element))]
    captions = dict(zip(names, element, strict=True))
    return Figure(dict(zip(names, element.values(), strict=True)), rows_of(names, columns), captions)


def rows_of(names: Sequence[str], columns: int = 2) -> str:
    """Return the grid that places panels row by row; those of a last row that is not full share its width.

    Examples
    --------
    >>> rows_of(["a", "b", "c"])
    '"a b" "c c" / minmax(0, 1fr) minmax(0, 1fr)'
    """
    columns = min(columns, max(len(names), 1))
    rows = [list(names[i : i + columns]) for i in range(0, len(names), columns)]
    if rows:
        rows[-1] += rows[-1][-1:] * (columns - len(rows[-1]))
    return " ".join(f'"{" ".join(row)}"' for row in rows) + " / " + " ".join(["minmax(0, 1fr)"] * columns)
