"""What a picture was given, said where it cannot be drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from inspect import signature
from typing import Any

import numpy as np
import xarray as xr

MOST_PIXELS = 100_000
MOST_ENTRIES = 1_000_000  # of a list: more would seem to hang
Rule = tuple[Callable[[Any], bool], str]


def _whole(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _number(value: Any) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def _numbers(value: Any) -> bool:
    row = value.ndim == 1 if isinstance(value, np.ndarray) else isinstance(value, Sequence)
    return row and not isinstance(value, (str, bytes)) and len(value) <= MOST_ENTRIES and all(map(_number, value))


def _pair(value: Any) -> bool:
    return isinstance(value, (tuple, list)) and len(value) == 2 and all(isinstance(v, (bool, np.bool_)) for v in value)


RULES: dict[str, Rule] = {  # by the annotation of a parameter; what else may come is checked by drawing it
    "xr.DataArray": (lambda v: isinstance(v, xr.DataArray), "an xarray.DataArray"),
    "xr.Dataset": (lambda v: isinstance(v, xr.Dataset), "an xarray.Dataset"),
    "xr.DataTree": (lambda v: isinstance(v, xr.DataTree), "a run: what ip2lab.train or ip2lab.open_run returned"),
    "int": (_whole, "a whole number"),
    "int | None": (lambda v: v is None or _whole(v), "a whole number, or None"),
    "float": (_number, "a number"),
    "float | None": (lambda v: v is None or _number(v), "a number, or None"),
    "bool": (lambda v: isinstance(v, (bool, np.bool_)), "True or False"),
    "str": (lambda v: isinstance(v, str), "a word"),
    "str | None": (lambda v: v is None or isinstance(v, str), "a word, or None"),
    "tuple[bool, bool]": (_pair, "a pair of True or False"),
    **{f"Sequence[{kind}]": (_numbers, f"a list of numbers, at most {MOST_ENTRIES:,}") for kind in ("int", "float")},
    "Mapping[str, xr.Dataset]": (lambda v: isinstance(v, Mapping), "a mapping of names to xarray.Dataset"),
}
HEIGHT: Rule = (lambda v: _whole(v) and 0 < v <= MOST_PIXELS, f"pixels, a whole number from 1 to {MOST_PIXELS:,}")


def checked(picture: Callable[..., Any]) -> Callable[..., Any]:
    """Let a picture say which argument is wrong, and where it cannot tell, what it was given and what then happened.

    Examples
    --------
    >>> checked(len)([1, 2])
    2
    """
    form = signature(picture)
    rules = {name: RULES[p.annotation] for name, p in form.parameters.items() if p.annotation in RULES}
    rules |= {"height": HEIGHT} if "height" in form.parameters else {}

    @wraps(picture)
    def told(*args: Any, **kwargs: Any) -> Any:
        try:
            given = form.bind(*args, **kwargs).arguments
        except TypeError as error:
            raise TypeError(f"{picture.__name__}: {error}") from None
        for name, (right, wanted) in rules.items():
            if name in given and not right(given[name]):
                raise TypeError(f"{name}: {_short(given[name])} is not valid; give {wanted}")
        for name, value in given.items():
            if isinstance(value, Sequence) and len(value) > MOST_ENTRIES:
                raise ValueError(f"{name}: {len(value):,} entries are too many; give at most {MOST_ENTRIES:,}")
        try:
            return picture(*args, **kwargs)
        except Exception as error:
            came = ", ".join(f"{name}={_short(value)}" for name, value in given.items())
            words = f"{type(error).__name__}: {error}" if not isinstance(error, ValueError) else str(error)
            raise ValueError(f"{picture.__name__}({came}) cannot be drawn: {words}") from error

    return told


def _short(value: Any) -> str:
    """Say in a few words what a value is: labelled data by their dims."""
    if isinstance(value, (xr.DataArray, xr.Dataset)):
        sizes = ", ".join(f"{dim} {size}" for dim, size in value.sizes.items())
        return f"{type(value).__name__}({sizes})"
    if isinstance(value, xr.DataTree):
        return f"DataTree({', '.join(map(str, value.children))})"
    if isinstance(value, Mapping) and value:
        return "{" + ", ".join(f"{name!r}: {_short(item)}" for name, item in list(value.items())[:3]) + "}"
    words = " ".join(repr(value).split())
    return words if len(words) <= 60 else f"{words[:57]}..."
