"""Bins, and the times that fall into them, decided as exact arithmetic would.

A time is a count of ticks or a floating-point number. Ticks are compared as whole numbers, so nothing is rounded. A
floating-point time stands for whatever rounds to it: it is on an edge where it differs from it by no more than the
rounding that its own size (and that of its onset) brings along. A number that somebody wrote down (the width of a bin,
a window, a rate) stands for the simplest fraction that rounds to it: 33.3 for 333/10, 33.333333333333336 for 100/3.
"""

from __future__ import annotations

import math
from fractions import Fraction
from numbers import Rational
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

CLOCKS = {"ms": Fraction(1), "s": Fraction(1000)}  # ms
DURATIONS = {"W": Fraction(604_800_000), "D": Fraction(86_400_000), "h": Fraction(3_600_000), "m": Fraction(60_000)} | {
    name: Fraction(1000, 1000**i) for i, name in enumerate(("s", "ms", "us", "ns", "ps", "fs", "as"))
}  # units of numpy's timedelta, in ms
EPS = float(np.finfo(float).eps)
MOST_BINS = 100_000_000  # bins: more is a mistake of units
VAST = 1e100  # ms: no time


class Ticks(NamedTuple):
    """Times: whole or real numbers, their unit (ms), and by how much (ms) the program that wrote them rounded them."""

    values: np.ndarray
    unit: Fraction
    rounding: float = 0.0

    def ms(self) -> np.ndarray:
        """In ms, as near as floating point allows."""
        return self.values.astype(float) * float(self.unit.numerator) / float(self.unit.denominator)

    def error(self) -> np.ndarray:
        """How far each may be from what was meant (ms): half a step of its type, and two operations that made it."""
        real = self.values.dtype.kind == "f"
        own = np.spacing(np.abs(self.values)) / 2 if real else np.zeros(self.values.shape)
        return own.astype(float) * float(self.unit) + 1.5 * EPS * np.abs(self.ms()) + self.rounding


class Bins(NamedTuple):
    """Bins of equal width (ms) from `first` (ms)."""

    first: Fraction
    width: Fraction
    number: int

    def edges(self) -> np.ndarray:
        """All edges in ms, each rounded once."""
        scale = math.lcm(self.first.denominator, self.width.denominator)
        return (self.whole(scale) / scale).astype(float)

    def whole(self, scale: int, largest: int = 0) -> np.ndarray:
        """All edges in 1/`scale` ms: Python's whole numbers where they, or others up to `largest`, need it."""
        first, step = int(self.first * scale), int(self.width * scale)
        kind: Any = np.int64 if 4 * max(largest, abs(first) + step * (self.number + 1)) < 2**63 else object
        return first + step * np.arange(self.number + 1, dtype=kind)


def fraction(value: Any) -> Fraction:
    """Return the simplest fraction that rounds to `value`."""
    if isinstance(value, Rational):
        return Fraction(int(value.numerator), int(value.denominator))
    size = np.abs(value)
    exact, half = Fraction(float(size)), Fraction(float(np.spacing(size))) / 2
    return (-1 if value < 0 else 1) * _simplest(exact - half, exact + half)


def _simplest(low: Fraction, high: Fraction) -> Fraction:
    """Return the fraction between `low` and `high` that has the smallest denominator."""
    if low <= 0:
        return Fraction(0)
    whole = math.ceil(low)
    if whole <= high:
        return Fraction(whole)
    return whole - 1 + 1 / _simplest(1 / (high - whole + 1), 1 / (low - whole + 1))


def unit_of(clock: str | float) -> Fraction:
    """Return how many ms the unit of a clock lasts: that of a word, or one sample at a rate (Hz)."""
    if isinstance(clock, str) and clock in CLOCKS:
        return CLOCKS[clock]
    if isinstance(clock, str) or not clock > 0:
        raise ValueError(f"clock={clock!r}; times are in 'ms' or in 's', or counts of samples: give their rate in Hz")
    return 1000 / fraction(clock)


def array(what: str, given: Any) -> np.ndarray:
    """Return an array of `given`, of None where its rows differ in length; ValueError for what no table can hold."""
    if isinstance(given, range) and len(given) > MOST_BINS:
        raise ValueError(f"{what}={given!r} holds {len(given):,} values; expected at most {MOST_BINS:,}")
    if isinstance(given, np.ma.MaskedArray) and np.ma.is_masked(given):
        return np.where(given.mask, np.array(None), given.data.astype(object))  # what lies under a mask is missing
    try:
        return np.asarray(given)
    except ValueError:
        return np.array(None)


def numbers(what: str, given: Any) -> np.ndarray:
    """Return times as whole or real numbers or numpy's durations, or raise TypeError that says `what` is none."""
    values = array(what, given)
    kind = pd.api.types.infer_dtype(values.ravel(), skipna=True)
    if kind in ("datetime", "datetime64", "date"):
        raise TypeError(
            f"{what} holds dates, which count from no beginning; subtract when the recording began: differences "
            "(timedelta) are understood"
        )
    values = _of_objects(values, kind) if values.dtype.kind == "O" else values
    known = np.datetime_data(values.dtype)[0] in DURATIONS if values.dtype.kind == "m" else values.dtype.kind in "iuf"
    if not known:
        raise TypeError(f"{what} holds {kind} ({type(given).__name__}); expected times as numbers, or as timedelta")
    return values


def _of_objects(values: np.ndarray, kind: str) -> np.ndarray:
    """Numbers or durations that came as Python objects, in a type of numpy's (None as NaN); others as they are."""
    flat = values.ravel()
    if kind in ("timedelta", "timedelta64"):
        return pd.to_timedelta(flat).to_numpy().reshape(values.shape)
    none = pd.isna(flat)
    if kind == "integer" and not none.any() and max(abs(int(value)) for value in flat) < 2**63:
        return values.astype(np.int64)
    if kind in ("integer", "floating", "mixed-integer-float", "empty"):
        return np.where(none, np.nan, flat).astype(float).reshape(values.shape)
    return values


def missing_times(values: np.ndarray) -> np.ndarray:
    """Which of the `values` of `numbers` are no time: NaN, infinite, NaT."""
    return np.isnat(values) if values.dtype.kind == "m" else ~np.isfinite(values)


def ticks(what: str, values: np.ndarray, unit: Fraction, rounding: float = 0.0) -> Ticks:
    """Times in `unit`, or in their own where they are durations."""
    if values.dtype.kind == "m":
        name, count = np.datetime_data(values.dtype)
        values, unit, rounding = values.astype(np.int64), DURATIONS[name] * count, 0.0
    found = Ticks(values, unit, rounding)
    if values.size and float(np.abs(values.astype(float)).max()) > VAST:
        raise ValueError(f"{what} reaches {np.abs(values).max():g}; expected times")
    return found


def _together(bins: Bins, *times: Ticks) -> tuple[np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
    """Edges and times in one unit, each time with its error: whole numbers without one where all came so, else ms."""
    if any(time.values.dtype.kind == "f" or time.rounding for time in times):
        return bins.edges(), [(time.ms(), time.error()) for time in times]
    scale = math.lcm(*(part.denominator for part in (bins.first, bins.width, *(time.unit for time in times))))
    factors = [int(time.unit * scale) for time in times]
    ends = [max(int(time.values.max(initial=0)), -int(time.values.min(initial=0))) for time in times]
    edges = bins.whole(scale, max(factor * end for factor, end in zip(factors, ends, strict=True)))
    whole = [time.values.astype(edges.dtype) * factor for time, factor in zip(times, factors, strict=True)]
    return edges, [(values, np.zeros(values.shape, dtype=np.int64)) for values in whole]


def counts(
    bins: Bins, when: Ticks, neuron: np.ndarray, neurons: int, starts: Ticks, row: np.ndarray | None
) -> np.ndarray:
    """Count spikes (trial, time, neuron) in bins from the `starts` of trials; `row` says which trial a spike is of.

    Without `row`, all times are on one clock, and a spike may belong to several trials.
    """
    edges, ((times, error), (begin, doubt)) = _together(bins, when, starts)
    event = np.arange(times.size)
    if row is None:
        event, row = _near(times, begin, edges)
    since = times[event] - begin[row]
    slack = error[event] + doubt[row]
    if edges.dtype.kind == "f":
        slack = slack + 2 * EPS * np.abs(since)
    place = np.searchsorted(edges, since + slack, side="right") - 1  # a time on an edge is of the bin that it starts
    inside = (place >= 0) & (place < bins.number)
    if inside.any() and slack[inside].max() > bins.width / 2:
        raise ValueError(
            f"bin={float(bins.width):g} ms is finer than the times, which {when.values.dtype} tells apart to "
            f"{2 * float(slack[inside].max()):g} ms only: take wider bins, or times of more digits"
        )
    found = np.zeros((begin.size, bins.number, neurons), dtype=np.int32)
    np.add.at(found, (row[inside], place[inside], neuron[event[inside]]), 1)
    return found


def _near(times: np.ndarray, begin: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of an event and a trial that it may belong to: a bin more than the trial's on either side."""
    order = np.argsort(times, kind="stable")
    step = edges[1] - edges[0]
    first = np.searchsorted(times, begin + edges[0] - step, sorter=order)
    last = np.searchsorted(times, begin + edges[-1] + step, side="right", sorter=order)
    number = last - first
    row = np.repeat(np.arange(begin.size), number)
    within = np.arange(row.size) - np.repeat(np.cumsum(number) - number, number)
    return order[first[row] + within], row


def covered(bins: Bins, starts: Ticks, spans: Ticks) -> np.ndarray:
    """Say which bins (trial, time) from the `starts` of trials lie wholly within `spans` (interval, 2)."""
    edges, ((begin, doubt), (ends, error)) = _together(bins, starts, spans)
    lower, upper = _joined(ends, error)
    at = begin[:, None] + edges
    slack = doubt[:, None] + (2 * EPS * np.abs(at) if edges.dtype.kind == "f" else 0)
    span = np.searchsorted(lower, (at + slack)[:, :-1], side="right") - 1
    return (span >= 0) & ((at - slack)[:, 1:] <= upper[np.maximum(span, 0)])


def within(times: Ticks, spans: Ticks) -> np.ndarray:
    """In which of the `spans` (interval, 2), ends included, each time lies; -1 for none. Spans that touch are one."""
    _, ((when, doubt), (ends, error)) = _together(Bins(Fraction(0), Fraction(1), 1), times, spans)
    lower, upper = _joined(ends, error)
    place = np.searchsorted(lower, when + doubt, side="right") - 1
    return np.where(when - doubt <= upper[np.maximum(place, 0)], place, -1)


def _joined(ends: np.ndarray, error: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Starts and ends of `ends` (interval, 2) in order, with their error; spans that touch are one."""
    order = np.argsort(ends[:, 0], kind="stable")
    lower, upper = (ends - error)[order, 0], np.maximum.accumulate((ends + error)[order, 1])
    new = np.append(True, lower[1:] > upper[:-1])
    return lower[new], upper[np.append(new[1:], True)]
