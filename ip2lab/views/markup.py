"""What came in is text, on every page and in every file; the tags are those that this module writes.

Labels, names, units, reasons and messages of errors go into a page through :func:`html`, into what Bokeh draws through
:func:`literal`, and into print as they are (see :mod:`ip2lab.views.still`), so a label may be anything.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from bokeh.core.property.text_like import TextLike
from bokeh.embed.util import contains_tex_string
from bokeh.model import Model
from bokeh.models.text import PlainText
from markupsafe import Markup, escape

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


def plain(markup: str) -> str:
    """Return what a reader of HTML sees, as text.

    Examples
    --------
    >>> plain(caption("Spikes", " < 5 Hz", "left"))
    'Spikes < 5 Hz · left'
    """
    return html(markup).striptags()


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
