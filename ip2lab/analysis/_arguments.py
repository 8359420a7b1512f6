"""What every argument of an analysis beside its data may be: one table, checked before anything is computed.

What a value means for the data at hand (a dim that is not there, more components than neurons) is the function's own
matter; here it is only told apart from what could not be meant at all.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any, ParamSpec, TypeVar

import numpy as np
import xarray as xr

P = ParamSpec("P")
R = TypeVar("R")

MOST = 1_000_000  # repeats of anything: more would seem to hang


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _texts(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(map(_text, value))


def _number(value: Any) -> bool:
    no_number = (bool, np.bool_, np.timedelta64)  # numpy counts durations among the whole numbers
    return isinstance(value, Real) and not isinstance(value, no_number) and math.isfinite(value)


def _whole(value: Any, least: int, most: int) -> bool:
    return isinstance(value, Integral) and not isinstance(value, (bool, np.timedelta64)) and least <= int(value) <= most


def _numbers(value: Any) -> bool:
    if isinstance(value, (str, bytes)) or not isinstance(value, (Sequence, np.ndarray)):
        return _number(value)
    return 0 < len(value) <= 1000 and all(map(_number, value))


Rule = tuple[Callable[[Any], bool], str, type[Exception]]


def _count(least: int, most: int = MOST) -> Rule:
    wanted = f"a whole number from {least} to {most:,}" if most == MOST else f"a whole number from {least}"
    return lambda value: _whole(value, least, most), wanted, ValueError


TEXT: Rule = (_text, "the name of a dim", TypeError)
WORD: Rule = (_text, "a word", TypeError)
LABEL: Rule = (lambda v: isinstance(v, (str, xr.DataArray)), "the name of a coord, or an array of labels", TypeError)
NUMBER: Rule = (_number, "a finite number", ValueError)
FLAG: Rule = (lambda v: isinstance(v, (bool, np.bool_)), "True or False", TypeError)
DIMS = ("feature", "time", "problem", "response", "condition", "along", "over", "component", "neuron", "presynaptic")
RULES: dict[str, Rule] = {
    **dict.fromkeys((*DIMS, "split", "within", "unit"), TEXT),
    **dict.fromkeys(("method", "measure", "at", "failures", "missing", "error", "bounds"), WORD),
    **dict.fromkeys(("label", "hold_out", "by"), LABEL),
    "trial": (lambda v: _text(v) or _texts(v), "the name of a dim, or a list of such names", TypeError),
    "factors": (_texts, "a list of names of coords", TypeError),
    "seed": _count(0, 2**63),
    **dict.fromkeys(("n_components", "n_neighbors", "n_decision", "n_stimulus", "last", "window", "block"), _count(1)),
    **dict.fromkeys(("splits", "n_splits", "n_random", "permutations", "shuffles", "resamples"), _count(1)),
    **dict.fromkeys(("folds", "runs", "nulls", "points"), _count(1)),
    "level": (lambda v: _number(v) and 0 < v < 1, "a coverage between 0 and 1", ValueError),
    **dict.fromkeys(("width", "alpha", "smallest_effect", "dt", "duration", "factor", "cap", "limit"), NUMBER),
    "bin": NUMBER,
    "clock": (lambda v: _text(v) or _number(v), "'ms', 's' or a sampling rate in Hz", TypeError),
    "resolution": (_numbers, "a number, or several", TypeError),
    **dict.fromkeys(("across_time", "keep_first"), FLAG),
    "statistic": (callable, "a function", TypeError),
}
ELSEWHERE = {
    ("from_events", "window"),
    ("from_pynapple", "window"),
    ("partial_association", "measure"),
    ("interspike_intervals", "clock"),
    ("adaptation_index", "clock"),
}  # others


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function refuse, by its name, an argument that could not be meant; None only where its annotation says so.

    Examples
    --------
    >>> @checked
    ... def pick(data, *, seed=0):
    ...     return seed
    >>> pick([], seed="x")
    Traceback (most recent call last):
    ...
    ValueError: seed='x'; expected a whole number from 0
    """
    signature = inspect.signature(function)
    rules = {
        name: (parameter.default is None or "None" in str(parameter.annotation), _rule(name, parameter))
        for name, parameter in signature.parameters.items()
        if name in RULES and (function.__name__, name) not in ELSEWHERE
    }

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        given = signature.bind(*args, **kwargs).arguments
        for name, (optional, (valid, wanted, error)) in rules.items():
            if name in given and not valid(given[name]) and not (optional and given[name] is None):
                raise error(f"{name}={_shown(given[name])}; expected {wanted}{', or None' * optional}")
        return function(*args, **kwargs)

    return call


def _rule(name: str, parameter: inspect.Parameter) -> Rule:
    """Return the rule of an argument, narrower where this function takes one name or number only."""
    if parameter.annotation in ("float", float):
        return NUMBER if name == "resolution" else RULES[name]
    if name == "trial" and "Sequence" not in str(parameter.annotation):
        return TEXT
    return _count(0) if parameter.default == 0 and name == "resamples" else RULES[name]


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 80 and "\n" not in text else f"{type(value).__name__} {' '.join(text.split())[:60]} ..."
