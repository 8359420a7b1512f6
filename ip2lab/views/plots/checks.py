"""What a picture was given, said where it cannot be drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from inspect import signature
from typing import Any

import numpy as np
import xarray as xr

from ip2lab.checks import FLAG, MOST, Rule, are_numbers, is_flag, is_text, is_whole, obey, optional, shown

MOST_PIXELS = 100_000
_WHOLE = Rule(is_whole, "a whole number", TypeError)
_NUMBER = Rule(  # of a quantity that may be missing, too
    lambda v: isinstance(v, (int, float, np.integer, np.floating)) and not isinstance(v, bool), "a number", TypeError
)
_WORD = Rule(is_text, "a word", TypeError)
_NUMBERS = Rule(are_numbers, f"a list of numbers, at most {MOST:,}", TypeError)
_PAIR = Rule(
    lambda v: isinstance(v, (tuple, list)) and len(v) == 2 and all(map(is_flag, v)),
    "a pair of True or False",
    TypeError,
)


def _kind(kind: type, wanted: str) -> Rule:
    return Rule(lambda v: isinstance(v, kind), wanted, TypeError)


RULES: dict[str, Rule] = {  # by the annotation of a parameter; what else may come is checked by drawing it
    "xr.DataArray": _kind(xr.DataArray, "an xarray.DataArray"),
    "xr.Dataset": _kind(xr.Dataset, "an xarray.Dataset"),
    "xr.DataTree": _kind(xr.DataTree, "a run: what ip2lab.train or ip2lab.open_run returned"),
    "int": _WHOLE,
    "int | None": optional(_WHOLE),
    "float": _NUMBER,
    "float | None": optional(_NUMBER),
    "bool": FLAG,
    "str": _WORD,
    "str | None": optional(_WORD),
    "tuple[bool, bool]": _PAIR,
    "Sequence[int]": _NUMBERS,
    "Sequence[float]": _NUMBERS,
    "Mapping[str, xr.Dataset]": _kind(Mapping, "a mapping of names to xarray.Dataset"),
}
_PIXELS = f"pixels, a whole number from 1 to {MOST_PIXELS:,}"
HEIGHT = Rule(lambda v: is_whole(v) and 0 < v <= MOST_PIXELS, _PIXELS, TypeError)


def drawable(picture: Callable[..., Any]) -> Callable[..., Any]:
    """Let a picture say which argument is wrong, and where it cannot tell, what it was given and what then happened.

    Examples
    --------
    >>> drawable(len)([1, 2])
    2
    """
    form = signature(picture)
    rules = {name: RULES[p.annotation] for name, p in form.parameters.items() if p.annotation in RULES}
    rules |= {"height": HEIGHT} if "height" in form.parameters else {}

    @wraps(picture)
    def draw(*args: Any, **kwargs: Any) -> Any:
        try:
            given = form.bind(*args, **kwargs).arguments
        except TypeError as error:
            raise TypeError(f"{picture.__name__}: {error}") from None
        obey(rules, given)
        for name, value in given.items():
            if isinstance(value, Sequence) and len(value) > MOST:
                raise ValueError(f"{name}: {len(value):,} entries are too many; give at most {MOST:,}")
        try:
            return picture(*args, **kwargs)
        except Exception as error:
            came = ", ".join(f"{name}={shown(value)}" for name, value in given.items())
            words = f"{type(error).__name__}: {error}" if not isinstance(error, ValueError) else str(error)
            raise ValueError(f"{picture.__name__}({came}) cannot be drawn: {words}") from error

    return draw
