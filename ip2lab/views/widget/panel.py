"""One panel of a live figure: an element drawn by Bokeh once, of which later only the columns are exchanged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import holoviews as hv
import holoviews.plotting.bokeh
import numpy as np
from bokeh.layouts import column
from bokeh.models import BoxSelectTool, CustomJSTicker, CustomJSTickFormatter, LassoSelectTool, LogScale
from bokeh.themes import Theme
from holoviews.plotting.bokeh.element import ElementPlot

from ip2lab.views.markup import literal
from ip2lab.views.style import KEY, entries

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
THEME = Theme(
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
    style = options(leaf, "style")
    followed = {d.name for d in leaf.vdims if d.name in [v for v in style.values() if isinstance(v, str)]}
    if leaf.interface.multi and all(isinstance(item, dict) for item in leaf.data):
        return {name: [item[name] for item in leaf.data] for name in followed}
    return {name: leaf.dimension_values(name) for name in followed}


def map_columns(plot: ElementPlot, leaf: hv.Element) -> None:
    """Let a glyph follow its columns. HoloViews fixes a look where all items happen to share it; later ones may not."""
    style = options(leaf, "style")
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


def options(element: hv.Element | hv.Overlay, kind: str = "plot") -> dict[str, Any]:
    """Return the options of a kind (``"plot"``, ``"style"``) that an element carries for Bokeh."""
    return dict(hv.Store.lookup_options("bokeh", element, kind).kwargs)


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
