"""What an argument may be, and the one wording in which it is refused: ``NAME: VALUE is not valid; give WHAT``."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from ip2lab.properties import hint

MANY = 100_000  # entries of a list that an argument may have


class Rule(NamedTuple):
    """What a value must be: a test, and the words that complete "give ..."."""

    valid: Callable[[Any], bool]
    wanted: str

    def check(self, name: str, value: Any) -> Any:
        """Return `value`, or raise ValueError where it is not valid.

        Examples
        --------
        >>> POSITIVE.check("dt", -1)
        Traceback (most recent call last):
        ...
        ValueError: dt: -1 is not valid; give a positive number
        """
        if not self.valid(value):
            raise ValueError(f"{name}: {value!r} is not valid; give {self.wanted}")
        return value


def is_number(value: Any) -> bool:
    """Tell whether `value` is a number that is not a bool."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_whole(value: Any) -> bool:
    """Tell whether `value` is an int that is not a bool."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_list(value: Any) -> bool:
    """Tell whether `value` is a collection of at most `MANY` entries."""
    return isinstance(value, (list, tuple, set, frozenset, range)) and len(value) <= MANY


def one_of(*names: str) -> Rule:
    """Return the rule that allows a few words."""
    return Rule(lambda value: isinstance(value, str) and value in names, " or ".join(map(repr, names)))


def optional(rule: Rule) -> Rule:
    """Return the rule that allows None, too."""
    return Rule(lambda value: value is None or rule.valid(value), f"{rule.wanted}, or None")


def each(rule: Rule, what: str) -> Rule:
    """Return the rule for a list of values."""
    return Rule(lambda value: is_list(value) and all(map(rule.valid, value)), what)


POSITIVE = Rule(lambda v: is_number(v) and 0 < v < math.inf, "a positive number")
FROM_ZERO = Rule(lambda v: is_number(v) and 0 <= v < math.inf, "0 or a positive number")
FLAG = Rule(lambda v: isinstance(v, bool), "True or False")
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
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: {value!r} is not valid; give True or False")
    return bool(value)


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
