"""Pictures by recipe: named lines of code that are both what is drawn and what `code()` prints."""

from __future__ import annotations

import ast
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from functools import lru_cache
from types import CodeType
from typing import Any

MOST_BYTES = 8_000_000  # of results that are kept
ASSUMED = 100_000  # bytes of what does not tell its size, a picture
HEADER = {  # what a line may name, and the import that brings it
    "ip2lab": "import ip2lab",
    "np": "import numpy as np",
    "xr": "import xarray as xr",
    **dict.fromkeys(("connectivity", "curves", "neurons", "population"), "from ip2lab.analysis import {}"),
    "probes": "from ip2lab import {}",
    **dict.fromkeys(("learning", "pictures", "show"), "from ip2lab.views import {}"),
    **dict.fromkeys(("axis", "span"), "from ip2lab.views.style import {}"),
}


class Recipe:
    """Evaluates lines, each an expression that may name other lines, and remembers what they gave.

    Parameters
    ----------
    given : mapping of str to object
        Values that are there already, in the place of the lines of that name.

    Examples
    --------
    >>> recipe = Recipe({"a": 3})
    >>> lines = {"a": "load()", "b": "2 * a", "c": "b + 1"}
    >>> recipe.value(lines, "c")
    7
    >>> print(recipe.code(lines, ["c"]))
    a = load()
    b = 2 * a
    c = b + 1
    """

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.given = dict(given)
        self._kept: OrderedDict[Any, Any] = OrderedDict()
        self._bytes = 0

    def value(self, lines: Mapping[str, str], name: str) -> Any:
        """Return what the line `name` gives; the latest results are remembered."""
        if name in self.given:
            return self.given[name]
        key = _key(lines, name)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        code, needed = _parsed(lines[name])
        found = {other: self.value(lines, other) for other in needed if other in lines or other in self.given}
        for word in HEADER.keys() & needed - found.keys():
            exec(HEADER[word].format(word), found)
        result = eval(code, found)  # lines are made by the explorers, never by those who use them
        self._keep(key, result)
        return result

    def missing(self, lines: Mapping[str, str], name: str) -> set[str]:
        """Return the lines that would have to be evaluated for `name`."""
        if name in self.given or _key(lines, name) in self._kept:
            return set()
        needed = [other for other in _parsed(lines[name])[1] if other in lines]
        return {name}.union(*(self.missing(lines, other) for other in needed))

    def code(self, lines: Mapping[str, str], names: Iterable[str], last: str = "") -> str:
        """Return a program that has all these lines and those that they need, in order, and `last` at its end."""
        ordered: dict[str, str] = {}
        for name in names:
            _add(lines, name, ordered)
        used = {word for text in (*ordered.values(), *([last] if last else [])) for word in _parsed(text)[1]}
        imports: dict[str, list[str]] = {}
        for word, text in HEADER.items():
            if word in used:
                imports.setdefault(text, []).append(word)
        head = [text.format(", ".join(words)) for text, words in imports.items()]
        body = [text if text.startswith("#") else f"{name} = {text}" for name, text in ordered.items()]
        return "\n".join([*head, *([""] if head else []), *body, *([last] if last else [])])

    def _keep(self, key: Any, result: Any) -> None:
        if _size(result) > MOST_BYTES:
            return
        self._kept[key] = result
        self._bytes += _size(result)
        while self._bytes > MOST_BYTES:
            self._bytes -= _size(self._kept.popitem(last=False)[1])


def _size(result: Any) -> int:
    """Bytes of a result; an xarray object weighs some before its data."""
    return int(getattr(result, "nbytes", ASSUMED)) + 10_000


def _key(lines: Mapping[str, str], name: str) -> Any:
    """What tells one result from another: the text of a line and of all that it needs."""
    return lines[name], tuple(_key(lines, other) for other in _parsed(lines[name])[1] if other in lines)


def _add(lines: Mapping[str, str], name: str, ordered: dict[str, str]) -> None:
    for other in _parsed(lines[name])[1]:
        if other in lines and other not in ordered:
            _add(lines, other, ordered)
    ordered.setdefault(name, lines[name])


@lru_cache(1024)
def _parsed(text: str) -> tuple[CodeType, tuple[str, ...]]:
    """The compiled expression, and the names that it takes from outside."""
    tree = ast.parse(text if not text.startswith("#") else "None", mode="eval")
    words = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name)]
    return compile(tree, "<explorer>", "eval"), tuple(dict.fromkeys(words))
