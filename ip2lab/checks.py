"""What an argument may be, and the one wording in which it is refused: ``NAME: VALUE is not valid; give WHAT``.

A rule is a test with the words for what passes it. Options and arguments that are checked one by one name their rules
(:func:`obey`, :func:`whole`, ...); :func:`checked` reads those of a function from its annotations.
"""

from __future__ import annotations

import functools
import inspect
import math
import operator
import os
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from numbers import Integral, Real
from typing import Any, Literal, NamedTuple, ParamSpec, TypeVar, get_args, get_origin

import numpy as np
import xarray as xr

from ip2lab.properties import hint

P = ParamSpec("P")
R = TypeVar("R")

MANY = 100_000  # entries of a list that an argument may have
MOST = 1_000_000  # repeats of anything: more would seem to hang


class Rule(NamedTuple):
    """What a value must be: a test, the words that complete "give ...", and the error where it is something else."""

    valid: Callable[[Any], bool]
    wanted: str
    error: type[Exception] = ValueError

    def check(self, name: str, value: Any) -> Any:
        """Return `value`, or raise the rule's error where it is not valid.

        Examples
        --------
        >>> POSITIVE.check("dt", -1)
        Traceback (most recent call last):
        ...
        ValueError: dt: -1 is not valid; give a positive number
        """
        if not self.valid(value):
            raise self.error(f"{name}: {shown(value)} is not valid; give {self.wanted}")
        return value


def shown(value: Any) -> str:
    """Return a value in a few words, labelled data by their dims.

    Examples
    --------
    >>> shown(xr.DataArray([1, 2], dims="neuron")), shown("x" * 200)[:12]
    ('DataArray(neuron 2)', "'xxxxxxxxxxx")
    """
    if isinstance(value, (xr.DataArray, xr.Dataset)):
        sizes = ", ".join(f"{dim} {size}" for dim, size in value.sizes.items())
        return f"{type(value).__name__}({sizes})"
    if isinstance(value, xr.DataTree):
        return f"DataTree({', '.join(map(str, value.children))})"
    if isinstance(value, Mapping) and value:
        return "{" + ", ".join(f"{name!r}: {shown(item)}" for name, item in list(value.items())[:3]) + "}"
    words = " ".join(repr(value).split())
    return words if len(words) <= 80 else f"{words[:77]}..."


def is_number(value: Any) -> bool:
    """Tell whether `value` is a finite number, of Python's or of numpy's, that is no bool."""
    no_number = (bool, np.bool_, np.timedelta64)  # numpy counts durations among the whole numbers
    return isinstance(value, Real) and not isinstance(value, no_number) and math.isfinite(value)


def is_whole(value: Any) -> bool:
    """Tell whether `value` is a whole number, of Python's or of numpy's, that is no bool."""
    return isinstance(value, Integral) and not isinstance(value, (bool, np.timedelta64))


def is_flag(value: Any) -> bool:
    """Tell whether `value` is True or False."""
    return isinstance(value, (bool, np.bool_))


def is_text(value: Any) -> bool:
    """Tell whether `value` is text."""
    return isinstance(value, str)


def are_texts(value: Any) -> bool:
    """Tell whether `value` is a list of texts."""
    return isinstance(value, (list, tuple)) and all(map(is_text, value))


def are_numbers(value: Any) -> bool:
    """Tell whether `value` is a row of at most `MOST` numbers."""
    row = value.ndim == 1 if isinstance(value, np.ndarray) else isinstance(value, Sequence)
    return row and not isinstance(value, (str, bytes)) and len(value) <= MOST and all(map(is_number, value))


def is_list(value: Any) -> bool:
    """Tell whether `value` is a collection of at most `MANY` entries."""
    return isinstance(value, (list, tuple, set, frozenset, range)) and len(value) <= MANY


def one_of(*names: str) -> Rule:
    """Return the rule that allows a few words."""
    return Rule(lambda value: isinstance(value, str) and value in names, " or ".join(map(repr, names)))


def optional(rule: Rule) -> Rule:
    """Return the rule that allows None, too."""
    return Rule(lambda value: value is None or rule.valid(value), f"{rule.wanted}, or None", rule.error)


def each(rule: Rule, what: str) -> Rule:
    """Return the rule for a list of values."""
    return Rule(lambda value: is_list(value) and all(map(rule.valid, value)), what)


POSITIVE = Rule(lambda v: is_number(v) and v > 0, "a positive number")
FROM_ZERO = Rule(lambda v: is_number(v) and v >= 0, "0 or a positive number")
FLAG = Rule(is_flag, "True or False", TypeError)
COUNT = Rule(lambda v: is_whole(v) and v > 0, "a positive whole number")
SEED = Rule(lambda v: is_whole(v) and v >= 0, "a whole number from 0")


def plain(value: Any) -> Any:
    """Turn numbers and lists of numpy's into Python's; ``for seed in np.arange(5)`` gives whole numbers too."""
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def obey(rules: Mapping[str, Rule], values: Mapping[str, Any], prefix: str = "") -> None:
    """Check those values for which there is a rule."""
    for name, rule in rules.items():
        if name in values:
            rule.check(f"{prefix}{name}", values[name])


def whole(name: str, value: Any, least: int) -> int:
    """Return `value` where it is a whole number from `least`, or raise ValueError."""
    rule = Rule(lambda v: is_whole(v) and v >= least, f"a whole number from {least}")
    return int(rule.check(name, plain(value)))


def several(name: str, values: Any, wanted: str) -> list[Any]:
    """Return `values` as a list where they are several, or raise TypeError."""
    if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Iterable):
        raise TypeError(f"{name}: {values!r} is not valid; give a list of {wanted}")
    found = list(islice(np.atleast_1d(values) if isinstance(values, np.ndarray) else values, MANY + 1))
    if len(found) > MANY:
        raise ValueError(f"{name}: more than {MANY:,} {wanted}; give fewer")
    return found


def flag(name: str, value: Any) -> bool:
    """Return `value` where it is True or False, or raise TypeError."""
    return bool(FLAG.check(name, value))


def from_zero(name: str, value: Any) -> float:
    """Return `value` where it is 0 or a positive number, or raise ValueError."""
    return float(FROM_ZERO.check(name, plain(value)))


def known(what: str, value: Any, names: Iterable[str]) -> str:
    """Return `value` where it is one of the known names, or raise ValueError with the known ones."""
    names = list(names)
    if not isinstance(value, str) or value not in names:
        raise ValueError(f"{what}: {value!r} is unknown; known: {', '.join(names)}{hint(value, names)}")
    return value


def affordable(name: str, value: Any, size: float) -> None:
    """Raise ValueError where what `value` asks for takes more bytes than this machine has memory."""
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not a system that tells
        memory = 2**40
    if size > memory:
        came = f"{value!r} take {size / 1e9:.3g} GB of memory; this machine has {memory / 1e9:.3g}"
        raise ValueError(f"{name}: {came}: give fewer")


# ---------------------------------------------------------------------- rules by annotation

_DIM = "the name of a dim"
BY_TYPE: dict[Any, Rule] = {
    bool: FLAG,
    float: Rule(is_number, "a finite number"),
    float | Sequence[float]: Rule(
        lambda v: is_number(v) or (are_numbers(v) and 0 < len(v) <= 1000), "a number, or several", TypeError
    ),
    str: Rule(is_text, _DIM, TypeError),
    str | float: Rule(lambda v: is_text(v) or is_number(v), "'ms', 's' or a sampling rate in Hz", TypeError),
    str | Sequence[str]: Rule(lambda v: is_text(v) or are_texts(v), f"{_DIM}, or a list of such names", TypeError),
    str | xr.DataArray: Rule(
        lambda v: isinstance(v, (str, xr.DataArray)), "the name of a coord, or an array of labels", TypeError
    ),
    Sequence[str]: Rule(are_texts, "a list of names of coords", TypeError),
    Callable[..., Any]: Rule(callable, "a function", TypeError),
}
_LEVEL = Rule(lambda v: is_number(v) and 0 < v < 1, "a coverage between 0 and 1")
BY_NAME: dict[str, Rule] = {
    "alpha": _LEVEL._replace(wanted="a level between 0 and 1"),
    "factor": Rule(lambda v: is_number(v) and v > 1, "more than 1 (times the final level)"),
    "level": _LEVEL,
    "limit": Rule(lambda v: is_number(v) and v > 0, "a positive number of trials"),
    "smallest_effect": Rule(lambda v: is_number(v) and v > 1, "a ratio above 1, such as 1.2"),
}
LEAST = {"nulls": 2, "points": 16, "runs": 2}  # of whole numbers; else 0 where that is the default, and 1


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function refuse, by its name, an argument that could not be meant; None only where its annotation says so.

    Examples
    --------
    >>> @checked
    ... def pick(data, *, seed: int = 0):
    ...     return seed
    >>> pick([], seed="x")
    Traceback (most recent call last):
    ...
    ValueError: seed: 'x' is not valid; give a whole number from 0
    """
    signature = inspect.signature(function, eval_str=True)
    rules = {name: rule for name, given in signature.parameters.items() if (rule := _rule(given)) is not None}

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        obey(rules, signature.bind(*args, **kwargs).arguments)
        return function(*args, **kwargs)

    return call


def _rule(parameter: inspect.Parameter) -> Rule | None:
    """The rule of an argument by its name or its annotation; None for data, which other functions check."""
    kinds = get_args(parameter.annotation)
    if types.NoneType not in kinds:
        return BY_NAME.get(parameter.name) or _rule_of_type(parameter, parameter.annotation)
    wanted = functools.reduce(operator.or_, (kind for kind in kinds if kind is not types.NoneType))
    rule = BY_NAME.get(parameter.name) or _rule_of_type(parameter, wanted)
    return rule and optional(rule)


def _rule_of_type(parameter: inspect.Parameter, kind: Any) -> Rule | None:
    if kind is int:
        return _whole(LEAST.get(parameter.name, 0 if parameter.default == 0 else 1), parameter.name == "seed")
    return _choice(get_args(kind)) if get_origin(kind) is Literal else BY_TYPE.get(kind)


def _choice(choices: tuple[str, ...]) -> Rule:
    *most, last = map(repr, choices)
    return Rule(lambda v: is_text(v) and v in choices, f"{', '.join(most)} or {last}" if most else last)


def _whole(least: int, seed: bool) -> Rule:
    most = 2**63 if seed else MOST
    words = f"a whole number from {least}" + ("" if seed else f" to {MOST:,}")
    return Rule(lambda v: is_whole(v) and least <= int(v) <= most, words)
