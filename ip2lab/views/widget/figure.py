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
import ipywidgets
import numpy as np
import traitlets
from bokeh.core.json_encoder import PayloadEncoder
from bokeh.document import Document
from bokeh.protocol import Protocol

from ip2lab.views.markup import html, legible
from ip2lab.views.widget import export
from ip2lab.views.widget.panel import OWN_EVENTS, REGION, THEME, Panel, bokeh_name, build

HERE = Path(__file__).parent


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
        self._document = Document(theme=THEME)
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
