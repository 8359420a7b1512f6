"""What came in is text, on every page and in every file; the tags are those that this module writes.

Labels, names, units, reasons and messages of errors go into a page through :func:`html`, into what Bokeh draws through
:func:`literal`, and into print as they are, so a label may be anything. Elements that a
cell shows without a figure are written by HoloViews; :class:`Renderer` keeps their labels inside its script.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import Any

import holoviews as hv
from bokeh.core.property.text_like import TextLike
from bokeh.embed.util import contains_tex_string
from bokeh.model import Model
from bokeh.models.text import PlainText
from holoviews.plotting.bokeh import BokehRenderer
from markupsafe import Markup, escape

ENDING = re.compile("<(?=/script|!--)", re.IGNORECASE)  # what a browser would take for the end of a script
DOT = Markup(" &nbsp;·&nbsp; ")
# control characters but for the end of a line, halves of pairs, and what is no character: no XML, no message to a page
# and no name of a dim in HoloViews may hold them
UNSEEN = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")


def legible(text: Any) -> str:
    """Return text with a sign in the place of what cannot be shown.

    Examples
    --------
    >>> legible("a" + chr(0) + "b") == "a" + chr(0xFFFD) + "b"
    True
    """
    return UNSEEN.sub("\ufffd", str(text).replace("\t", " "))


def html(text: Any) -> Markup:
    """Return text as HTML: escaped, unless it is markup already.

    Examples
    --------
    >>> html("<b>5 < 6</b>"), html(Markup("<b>five</b>"))
    (Markup('&lt;b&gt;5 &lt; 6&lt;/b&gt;'), Markup('<b>five</b>'))
    """
    return Markup(legible(escape(text)))


def caption(title: Any, rest: Any = "", *more: Any) -> Markup:
    """Return a bold title with what follows it at once, and after a dot each of what else there is to say.

    Examples
    --------
    >>> caption("Spikes", " in problem 1", "3 < 4")
    Markup('<b>Spikes</b> in problem 1 &nbsp;·&nbsp; 3 &lt; 4')
    """
    return DOT.join([Markup("<b>{}</b>{}").format(title, rest), *more])


def below(head: Any, *lines: Any) -> Markup:
    """Return a caption with further lines."""
    return Markup("<br> · ").join([html(head), *lines])


def keyed(head: Any, entries: Iterable[tuple[str, str]]) -> Markup:
    """Return a caption with a legend behind it: names and their colours."""
    dot = Markup(" &nbsp; <span style='color: {}'>&#9679;</span> {}")
    return html(head) + Markup("").join(dot.format(ink, name) for name, ink in entries)


def beside(text: Any) -> Markup:
    """Return what is said beside controls."""
    return Markup("<span style='font-size: 13px; line-height: 1.35; display: block'>{}</span>").format(html(text))


def failure(error: BaseException) -> Markup:
    """Return an error in red."""
    return html(Markup("<b style='color: #c2455d'>{}: {}</b>").format(type(error).__name__, error))


def as_text(markup: str) -> str:
    """Return what a reader of HTML sees, as text.

    Examples
    --------
    >>> as_text(caption("Spikes", " < 5 Hz", "left"))
    'Spikes < 5 Hz · left'
    """
    return " ".join(html(markup).striptags().split())


def literal(root: Model) -> None:
    """Let Bokeh draw words as they stand: what lies between two dollar signs it would set as a formula."""
    for model in root.references():
        for name in _texts(type(model)):
            value = getattr(model, name)
            if isinstance(value, dict):
                setattr(model, name, {place: _literal(text) for place, text in value.items()})
            elif value is not _literal(value):
                setattr(model, name, _literal(value))


def _literal(text: Any) -> Any:
    return PlainText(text=text) if isinstance(text, str) and contains_tex_string(text) else text


@cache
def _texts(kind: type[Model]) -> list[str]:
    """The properties of a model that take text that is parsed."""
    return [name for name in kind.properties() if _parsed(kind.lookup(name).property)]


def _parsed(prop: Any) -> bool:
    return isinstance(prop, TextLike) or any(map(_parsed, getattr(prop, "type_params", ())))


class Renderer(BokehRenderer):  # type: ignore[misc]
    """Writes an element into a cell as HoloViews does, with every ``</script>`` that stands in a label kept a word."""

    def components(self, *args: Any, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the MIME bundle of an element."""
        data, metadata = super().components(*args, **kwargs)
        if "<script" in data.get("text/html", ""):
            head, begin, rest = data["text/html"].partition("<script")
            script, end, tail = rest.rpartition("</script>")
            data["text/html"] = head + begin + ENDING.sub(r"\\x3c", script) + end + tail
        return data, metadata


_before = hv.Store.renderers["bokeh"].param.values()
hv.Store.renderers["bokeh"] = Renderer.instance(**{name: value for name, value in _before.items() if name != "name"})
