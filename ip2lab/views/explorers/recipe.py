"""Pictures by recipe: named steps, each an expression that is evaluated and printed, never read from text.

A step is written like the value that it stands for: ``call(neurons.firing_rate, ref("trial"), width=50)`` holds the
function and prints itself as ``neurons.firing_rate(trial, width=50)``. Labels, paths and numbers in it are values.
"""

from __future__ import annotations

import datetime
import importlib
import keyword
import math
import operator
import sys
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping
from functools import lru_cache
from types import NoneType
from typing import Any, ParamSpec

import numpy as np

MOST_BYTES = 8_000_000  # of results that are kept
ASSUMED = 100_000  # bytes of what does not tell its size, a picture
WIDE = 110  # characters, from which on a mapping is printed one entry per line
SUM, PRODUCT, SIGN, TIGHT = range(4)  # how strongly the parts of an expression hold together
ALIASES = {"numpy": "np", "xarray": "xr"}
P = ParamSpec("P")


class Step:
    """An expression that is not evaluated yet; attributes, items, calls and arithmetic of it are such expressions too.

    Its text contains all of it, so that two steps of the same text give the same.

    Examples
    --------
    >>> spikes = ref("activity")["spikes"].sel(problem="it's day 1")
    >>> spikes
    activity['spikes'].sel(problem="it's day 1")
    >>> 2 * (1 - spikes)
    2 * (1 - activity['spikes'].sel(problem="it's day 1"))
    """

    __slots__ = ("_level", "_modules", "_needs", "_run", "_text")
    __array_ufunc__ = None  # NumPy's numbers leave arithmetic to the step
    __contains__ = __iter__ = None  # what has items would be an endless sequence otherwise

    def __init__(
        self,
        text: str,
        run: Callable[[Mapping[str, Any]], Any],
        parts: Iterable[Step] = (),
        *,
        level: int = TIGHT,
        needs: Iterable[str] = (),
        modules: Iterable[str] = (),
    ) -> None:
        self._text, self._run, self._level = text, run, level
        self._needs, self._modules = dict.fromkeys(needs), dict.fromkeys(modules)
        for part in parts:
            if part._needs:
                self._needs |= part._needs
            if part._modules:
                self._modules |= part._modules

    def __repr__(self) -> str:
        return self._text

    def __bool__(self) -> bool:
        raise TypeError(f"{self._text} is a step, which is neither true nor false before a recipe has evaluated it")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or not _is_name(name):
            raise AttributeError(f"a step has no attribute {name!r}; public ones of its value can be taken")
        return Step(f"{_inside(self, TIGHT)}.{name}", lambda found: getattr(self._run(found), name), [self])

    def __getitem__(self, index: Any) -> Any:
        at = step(index)
        return Step(f"{_inside(self, TIGHT)}[{at._text}]", lambda found: self._run(found)[at._run(found)], [self, at])

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return the step that calls what this one gives."""
        return _called(self, args, kwargs)

    def __neg__(self) -> Any:
        return Step(f"-{_inside(self, SIGN)}", lambda found: -self._run(found), [self], level=SIGN)

    def __add__(self, other: Any) -> Any:
        return _joined(self, "+", other)

    def __radd__(self, other: Any) -> Any:
        return _joined(other, "+", self)

    def __sub__(self, other: Any) -> Any:
        return _joined(self, "-", other)

    def __rsub__(self, other: Any) -> Any:
        return _joined(other, "-", self)

    def __mul__(self, other: Any) -> Any:
        return _joined(self, "*", other)

    def __rmul__(self, other: Any) -> Any:
        return _joined(other, "*", self)

    def __truediv__(self, other: Any) -> Any:
        return _joined(self, "/", other)

    def __rtruediv__(self, other: Any) -> Any:
        return _joined(other, "/", self)


def ref(name: str) -> Any:
    """Return the step that stands for what another step, or what is given, has under a name.

    Examples
    --------
    >>> ref("run")["activity"]
    run['activity']
    """
    if not _is_name(name):
        raise ValueError(f"name: {name!r} is not valid; give what can be the name of a variable")
    return Step(name, lambda found: found[name], needs=[name])


def call(function: Callable[P, Any], *args: P.args, **kwargs: P.kwargs) -> Any:
    """Return the step that calls a function; steps among the arguments stand for their values.

    Parameters
    ----------
    function : callable
        A public function or class, or a step such as :func:`later` returns.
    *args, **kwargs
        Its arguments: steps, or plain values, that print themselves as they are.

    Examples
    --------
    >>> from ip2lab.analysis import neurons
    >>> call(neurons.firing_rate, ref("trial"), width=50)
    neurons.firing_rate(trial, width=50)
    """
    return _called(step(function), args, kwargs)


def later(module: str, name: str) -> Any:
    """Return the step of a public function whose module is imported only where it is called: it may need PyTorch.

    Examples
    --------
    >>> later("ip2lab", "probe")(ref("run"), 3)
    ip2lab.probe(run, 3)
    """
    return Step(f"{_word(module)}.{name}", lambda _: getattr(importlib.import_module(module), name), modules=[module])


def step(value: Any) -> Step:
    """Return a value as a step; lists, tuples and dicts may contain steps. A step is returned as it is.

    Raises
    ------
    TypeError
        Where a value cannot be written down.

    Examples
    --------
    >>> step({"a": ref("run_1"), "b": [np.str_("x"), slice(3)]})
    {'a': run_1, 'b': [np.str_('x'), slice(None, 3, None)]}
    """
    if isinstance(value, Step):
        return value
    write = WRITTEN.get(type(value)) or (_numpy_scalar if isinstance(value, np.generic) else None)
    if write is not None:
        return write(value)
    if callable(value):
        module, name = _home(value)
        text = name if module == "builtins" else f"{_word(module)}.{name}"
        return Step(text, lambda _: value, modules=[] if module == "builtins" else [module])
    raise TypeError(f"{type(value).__name__} cannot be written as code; give it to the recipe under a name")


class Recipe:
    """Evaluates steps, each by name and of others by their names, and remembers what they gave.

    Parameters
    ----------
    given : mapping of str to object
        Values that are there already, in the place of the steps of that name.

    Examples
    --------
    >>> recipe = Recipe({"a": 3})
    >>> steps = {"b": 2 * ref("a"), "c": call(max, ref("b"), 1)}
    >>> recipe.value(steps, "c")
    6
    >>> print(recipe.code(steps, ["c"]))
    # a: what was given to the explorer
    b = 2 * a
    c = max(b, 1)
    """

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.given = dict(given)
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()
        self._bytes = 0
        self._keys: tuple[Mapping[str, Any], dict[str, Hashable]] = {}, {}  # of the steps that were asked for last

    def value(self, steps: Mapping[str, Any], name: str) -> Any:
        """Return what the step `name` gives; the latest results are remembered."""
        if name in self.given:
            return self.given[name]
        key = self._key(steps, name)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        made = _named(steps, name)
        result = made._run({other: self.value(steps, other) for other in made._needs})
        self._keep(key, result)
        return result

    def missing(self, steps: Mapping[str, Any], name: str) -> set[str]:
        """Return the steps that would have to be evaluated for `name`."""
        if name in self.given or name not in steps or self._key(steps, name) in self._kept:
            return set()
        return {name}.union(*(self.missing(steps, other) for other in _named(steps, name)._needs))

    def code(self, steps: Mapping[str, Any], names: Iterable[str], last: Step | None = None) -> str:
        """Return a program that has all these steps and those that they need, in order, and `last` at its end."""
        ordered: dict[str, Step | None] = {}
        for name in names:
            self._add(steps, name, ordered)
        end = [] if last is None else [last]
        modules = sorted({module for one in (*ordered.values(), *end) if one is not None for module in one._modules})
        clash = {_word(module) for module in modules} & ordered.keys()
        if clash:
            raise ValueError(f"a step and a module are both called {min(clash)!r}; rename the step")
        body = [
            f"# {name}: what was given to the explorer" if one is None else f"{name} = {one._text}"
            for name, one in ordered.items()
        ]
        head = _imports(modules)
        return "\n".join([*head, *([""] if head else []), *body, *(one._text for one in end)])

    def _add(self, steps: Mapping[str, Any], name: str, ordered: dict[str, Step | None]) -> None:
        made = None if name in self.given and name not in steps else _named(steps, name)
        for other in () if made is None else made._needs:
            if other not in ordered:
                self._add(steps, other, ordered)
        ordered.setdefault(name, made)

    def _key(self, steps: Mapping[str, Any], name: str) -> Hashable:
        """What tells one result from another: the text of a step and of all that it needs."""
        if self._keys[0] is not steps:
            self._keys = steps, {}
        known = self._keys[1]
        if name not in known:
            made = _named(steps, name)
            needed = (other for other in made._needs if other in steps and other not in self.given)
            known[name] = made._text, *(self._key(steps, other) for other in needed)
        return known[name]

    def _keep(self, key: Hashable, result: Any) -> None:
        if _size(result) > MOST_BYTES:
            return
        self._kept[key] = result
        self._bytes += _size(result)
        while self._bytes > MOST_BYTES:
            self._bytes -= _size(self._kept.popitem(last=False)[1])


def _size(result: Any) -> int:
    """Bytes of a result; an xarray object weighs some before its data."""
    return int(getattr(result, "nbytes", ASSUMED)) + 10_000


def _named(steps: Mapping[str, Any], name: str) -> Step:
    if name not in steps:
        raise NameError(f"no step is called {name!r}; there are {', '.join(steps)}", name=name)
    return step(steps[name])


# ------------------------------------------------------------------ expressions


def _is_name(name: str) -> bool:
    return name.isidentifier() and not keyword.iskeyword(name)


def _inside(part: Step, level: int) -> str:
    """The text of a part of an expression, in parentheses where it would fall apart."""
    return part._text if part._level >= level else f"({part._text})"


JOINS = {
    "+": (SUM, operator.add),
    "-": (SUM, operator.sub),
    "*": (PRODUCT, operator.mul),
    "/": (PRODUCT, operator.truediv),
}


def _joined(left: Any, symbol: str, right: Any) -> Step:
    (level, function), a, b = JOINS[symbol], step(left), step(right)
    text = f"{_inside(a, level)} {symbol} {_inside(b, level + 1)}"
    return Step(text, lambda found: function(a._run(found), b._run(found)), [a, b], level=level)


def _called(function: Step, args: Iterable[Any], kwargs: Mapping[str, Any]) -> Step:
    listed, named = [step(one) for one in args], {name: step(one) for name, one in kwargs.items()}
    if all(map(_is_name, named)):
        texts = [f"{name}={one._text}" for name, one in named.items()]
    else:
        texts = [f"**{step(named)._text}"]
    texts = [*(one._text for one in listed), *texts]

    def run(found: Mapping[str, Any]) -> Any:
        given = {name: one._run(found) for name, one in named.items()}
        return function._run(found)(*(one._run(found) for one in listed), **given)

    return Step(f"{_inside(function, TIGHT)}({', '.join(texts)})", run, [function, *listed, *named.values()])


# ------------------------------------------------------------------ values


def _plain(value: Any) -> Step:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if isinstance(value, float) and not math.isfinite(value):
        return call(float, str(value))
    return Step(repr(value), lambda _: value, level=SIGN if number else TIGHT)


def _row(value: list[Any] | tuple[Any, ...]) -> Step:
    parts, kind = [step(one) for one in value], type(value)
    text = ", ".join(one._text for one in parts)
    text = f"[{text}]" if kind is list else f"({text}{',' * (len(parts) == 1)})"
    return Step(text, lambda found: kind(one._run(found) for one in parts), parts)


def _table(value: dict[Any, Any]) -> Step:
    pairs = [(step(name), step(one)) for name, one in value.items()]
    texts = [f"{name._text}: {one._text}" for name, one in pairs]
    wide = sum(map(len, texts)) > WIDE
    text = "{\n" + "".join(f"    {one},\n" for one in texts) + "}" if wide else "{" + ", ".join(texts) + "}"
    parts = [one for pair in pairs for one in pair]
    return Step(text, lambda found: {name._run(found): one._run(found) for name, one in pairs}, parts)


def _numpy_scalar(value: np.generic) -> Step:
    kind, item = type(value), value.item()
    if isinstance(value, (np.datetime64, np.timedelta64)):
        unit, count = np.datetime_data(value.dtype)
        units = () if unit == "generic" else (f"{count if count > 1 else ''}{unit}",)
        shown = str(value) if isinstance(value, np.datetime64) or np.isnat(value) else value.astype(np.int64).item()
        return call(kind, shown, *units)
    if type(item) is kind or kind is np.void:
        raise TypeError(f"{kind.__name__} cannot be written as code; give it to the recipe under a name")
    return call(kind, item)


def _numpy_array(value: np.ndarray) -> Step:
    if value.dtype.kind not in "biufcSUOmM":
        raise TypeError(f"an array of {value.dtype} cannot be written as code; give it to the recipe under a name")
    plain = (value.astype(np.int64) if value.dtype.kind in "mM" else value).tolist()
    if np.array(plain, value.dtype).shape == value.shape:
        return call(np.array, plain, dtype=value.dtype.str)
    return call(np.array, value.ravel().tolist(), dtype=value.dtype.str).reshape(value.shape)


def _fields(*names: str) -> Callable[[Any], Step]:
    """Write a value as a call of its class with some of its attributes."""
    return lambda value: call(type(value), *(getattr(value, name) for name in names))


def _date(value: Any) -> Step:
    zone = getattr(value, "tzinfo", None)
    if zone is not None:
        raise TypeError(f"a time in {zone} cannot be written as code; give it to the recipe under a name")
    return Step(repr(value), lambda _: value, modules=["datetime"])


WRITTEN: dict[Any, Callable[[Any], Step]] = {
    **dict.fromkeys((NoneType, bool, int, float, str, bytes), _plain),
    **dict.fromkeys((list, tuple), _row),
    dict: _table,
    complex: _fields("real", "imag"),
    **dict.fromkeys((slice, range), _fields("start", "stop", "step")),
    np.ndarray: _numpy_array,
    **dict.fromkeys((datetime.date, datetime.datetime, datetime.timedelta), _date),
}


# ------------------------------------------------------------------ functions and their homes


def _word(module: str) -> str:
    """By which word a program calls a module."""
    return ALIASES.get(module, module.rpartition(".")[2])


def _imports(modules: Iterable[str]) -> list[str]:
    """The lines that import modules, those of one package together."""
    whole, parts = [], dict[str, list[str]]()
    for module in modules:
        package, _, own = module.rpartition(".")
        if package:
            parts.setdefault(package, []).append(own)
        else:
            whole.append(f"import {module}" + (f" as {ALIASES[module]}" if module in ALIASES else ""))
    return whole + [f"from {package} import {', '.join(own)}" for package, own in parts.items()]


@lru_cache(512)
def _home(function: Callable[..., Any]) -> tuple[str, str]:
    """The module from which a program takes a function: the outermost that offers it under its name."""
    name, inner = str(getattr(function, "__name__", "")), str(getattr(function, "__module__", "numpy")).split(".")
    private = next((i for i, part in enumerate(inner) if part.startswith("_")), len(inner))
    rooms = [".".join(inner[:i]) for i in range(1, private + 1)]
    beside = [f"{rooms[-1]}.{other}" for other in getattr(sys.modules[rooms[-1]], "__all__", ())] if rooms else []
    for room in (*rooms, *beside):
        if getattr(sys.modules.get(room), name, None) is function:
            return room, name
    raise TypeError(f"{function!r} cannot be written as code; give a public function of a module")
