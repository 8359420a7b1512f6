"""The labels of problems as controls, lines of code and axes take them: numbers, words or dates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


class Labels:
    """Labels along a dim, each by a key that a control can show and that JSON can keep.

    Parameters
    ----------
    values : ndarray
        (problem), each label once.

    Examples
    --------
    >>> days = Labels(np.array(["2026-03-01", "2026-03-04"], dtype="datetime64[D]"))
    >>> days.keys
    ['2026-03-01', '2026-03-04']
    >>> days["2026-03-04"], days.place("2026-03-04")
    (np.datetime64('2026-03-04'), 1)
    >>> Labels(np.array([0, 1, 5])).nearest(4)
    5
    """

    def __init__(self, values: np.ndarray) -> None:
        found = np.asarray(values)
        self.numeric = found.dtype.kind in "iuf"
        self._dates = found if found.dtype.kind == "M" else None
        labels = found.tolist() if found.dtype.kind in "biufUO" else list(found)
        keys = [key_of(label) for label in labels]
        self._known = dict(zip(keys, labels, strict=True))
        twice = [key for key in self._known if keys.count(key) > 1] if len(self._known) < len(keys) else []
        if twice:
            raise ValueError(f"problem: {twice[0]!r} occurs more than once; give each problem a label of its own")
        self.keys: list[Any] = list(self._known)

    def __getitem__(self, key: Any) -> Any:
        """The label itself, as the data have it."""
        return self._known[key]

    def __contains__(self, key: Any) -> bool:
        return key in self._known

    def place(self, key: Any) -> Any:
        """Where a problem is on an axis: at its number, or at its count from 0 where it has none."""
        return key if self.numeric else self.keys.index(key)

    @property
    def places(self) -> np.ndarray:
        """Where each problem is on an axis."""
        return np.array([self.place(key) for key in self.keys])

    def at(self, place: float) -> Any:
        """The problem that is nearest to a place on an axis."""
        return self.keys[int(np.abs(self.places - place).argmin())]

    def nearest(self, key: Any, order: Labels | None = None) -> Any:
        """The problem here that is nearest to one: by number or date, for words by their places in `order`."""
        if key in self._known:
            return key
        if self.numeric and not isinstance(key, str):
            return self.at(key)
        if self._dates is not None and order is not None and order._dates is not None:
            return self.keys[int(np.abs(self._dates - order[key]).argmin())]
        every = self.keys if order is None else order.keys
        if key not in every or not set(self.keys) & set(every):
            return self.keys[-1]
        near = [abs(every.index(own) - every.index(key)) if own in every else len(every) for own in self.keys]
        return self.keys[int(np.argmin(near))]

    def in_a_row(self, count: int, order: Labels | None = None) -> list[Any]:
        """The first `count` problems that follow each other, or nothing; words follow each other as in `order`."""
        every = self.keys if order is None or self.numeric else order.keys
        places = self.keys if self.numeric else [every.index(key) for key in self.keys if key in every]
        have = set(places)
        rows = (range(int(n), int(n) + count) for n in places if float(n).is_integer())
        row = next((row for row in rows if have.issuperset(row)), range(0))
        return list(row) if self.numeric else [every[n] for n in row]


def key_of(label: Any) -> Any:
    """Return a label as JSON has it: a number or a word as it is, a date as text.

    Examples
    --------
    >>> key_of(np.datetime64("2026-03-04")), key_of(np.int64(3)), key_of("day 1")
    ('2026-03-04', 3, 'day 1')
    """
    value = label.item() if isinstance(label, (np.number, np.bool_, np.str_)) else label
    return value if type(value) in (bool, int, float, str) else str(value)


def every_label(several: Sequence[np.ndarray]) -> Labels:
    """Return the labels that occur in any of several arrays, in the order in which they come; numbers if all are whole.

    Examples
    --------
    >>> every_label([np.array([0, 1]), np.array([1, 2])]).keys
    [0, 1, 2]
    """
    labels = list({key_of(label): label for values in several for label in values}.values())
    if all(isinstance(key_of(label), (int, float)) and float(label).is_integer() for label in labels):
        return Labels(np.array(labels, int))
    whole = np.array([None, *labels], object)[1:]  # of any kinds, and each as it is
    return Labels(whole)
