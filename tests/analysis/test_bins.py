"""Which bin a time belongs to, whatever its clock: compared with arithmetic in fractions."""

from __future__ import annotations

from fractions import Fraction
from math import floor, gcd

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ip2lab.analysis import from_events
from ip2lab.analysis._bins import fraction

RATES = ["1000", "1250", "20000", "24000", "24414.0625", "25000", "30000", "32768", "44100", "47777", "48000"]  # Hz
CLOCKS = {  # how sample k at a rate may be written down, on which clock
    "seconds": lambda k, rate: (k / float(rate), "s"),
    "seconds by a product": lambda k, rate: (k * (1 / float(rate)), "s"),
    "milliseconds": lambda k, rate: (k * 1000 / float(rate), "ms"),
    "seconds times 1000": lambda k, rate: (k / float(rate) * 1000, "ms"),
    "ticks": lambda k, rate: (k, float(rate)),
    "unsigned ticks": lambda k, rate: (k.astype(np.uint64), float(rate)),
    "real ticks": lambda k, rate: (k.astype(float), float(rate)),
}


def places(times, clock, onset, bin, window):
    """Return the bin of each time, none for those in no bin."""
    units = range(len(times))
    table = {"time": times, "unit": list(units)}
    counted = from_events(
        table, bin=bin, onsets=[onset], window=window, clock=clock, neurons=units, recorded=RECORDED[type(clock)]
    ).sel(trial=0)
    assert counted.dtype == np.int32 and counted.recorded.all() and int(counted.max()) <= 1
    return [int(np.argmax(row)) if row.any() else None for row in counted.values.T], counted.sizes["time"]


RECORDED = {str: (-1e12, 1e12), float: (-(10**14), 10**14)}


def expected(samples, rate, start, bin, window):
    """Return the same, in fractions: `samples` at `rate`, from the sample `start`."""
    first, last, width = (Fraction(word) for word in (*window, bin))
    count = floor((last - first) / width)
    found = [floor((1000 * Fraction(int(k) - start) / Fraction(rate) - first) / width) for k in samples]
    return [place if 0 <= place < count else None for place in found], count


@settings(max_examples=400, deadline=None)
@given(
    clock=st.sampled_from(list(CLOCKS)),
    rate=st.one_of(st.sampled_from(RATES), st.integers(1000, 48000).map(str)),
    start=st.one_of(st.integers(0, 10**6), st.integers(0, 4 * 10**10)),
    bin=st.sampled_from(["1", "5", "0.5", "10", "33.3", "50", "0.1", "2.5"]),
    window=st.sampled_from([("0", "100"), ("-50", "50"), ("-33.3", "66.6"), ("-100.5", "-20.25"), ("0.1", "99.9")]),
    seed=st.integers(0, 100),
)
def test_samples_fall_where_exact_arithmetic_puts_them(clock, rate, start, bin, window, seed):
    start = min(start, int(10**6 * float(rate)))  # 1e9 ms
    rng = np.random.default_rng(seed)
    first, width = Fraction(window[0]), Fraction(bin)
    edges = [first + width * int(j) for j in rng.integers(0, 100, 12)]
    on = np.array([floor(edge * Fraction(rate) / 1000) for edge in edges])
    samples = start + np.concatenate([on - 1, on, on + 1, rng.integers(-9000, 9000, 24)])
    samples = samples[samples >= 0]
    assume(samples.size)
    times, unit = CLOCKS[clock](samples, rate)
    onset = CLOCKS[clock](np.array([start]), rate)[0][0]
    got = places(times, unit, onset, float(bin), tuple(map(float, window)))
    assert got == expected(samples, rate, start, bin, window)


@settings(max_examples=150, deadline=None)
@given(
    rate=st.sampled_from(RATES),
    start=st.one_of(st.integers(0, 10**4), st.integers(0, 10**6), st.integers(0, 10**7)),
    bin=st.sampled_from(["1", "5", "33.3", "0.5"]),
)
def test_float32_times_are_binned_as_exactly_as_they_are(rate, start, bin):
    """As long as no sample beside an edge is nearer to it than two steps: both time and onset are rounded."""
    step, width = 1000 / Fraction(rate), Fraction(bin)
    top, bottom = step.numerator * width.denominator, width.numerator * step.denominator
    nearest = Fraction(gcd(top, bottom), step.denominator * width.denominator)  # ms, without being on an edge
    samples = start + np.arange(0, 5_000, 37)
    times = (samples / float(rate)).astype(np.float32)
    assume(2 * np.spacing(times[-1]) * 1000 < nearest)
    got = places(times, "s", np.float32(start / float(rate)), float(bin), (0.0, 50.0))
    assert got == expected(samples, rate, start, bin, ("0", "50"))


def test_bins_that_single_precision_cannot_tell_apart_are_refused():
    times = np.array([100_000.0, 100_000.01], dtype=np.float32)
    table = {"time": times, "unit": [0, 0]}
    with pytest.raises(ValueError, match=r"bin=1 ms is finer than the times, which float32 tells apart to .* ms only"):
        from_events(table, bin=1, onsets=times[:1], window=(0, 100), clock="s", recorded=(0, 2e5))


def test_times_in_nanoseconds_since_1970_fall_into_exact_bins():
    start = 1_700_000_000_123_456_789
    times = start + np.array([-1, 0, 9_999_999, 10_000_000, 19_999_999, 20_000_000])
    table = {"time": times, "unit": range(6)}
    wanted = [None, 0, 0, 1, 1, None]
    for whole in (times, times.astype(np.uint64), times.astype("m8[ns]"), pd.to_timedelta(times)):
        counted = from_events(
            {**table, "time": whole},
            bin=10,
            onsets=whole[1:2],
            window=(0, 20),
            clock=1e9,
            recorded=np.array([start - 10**9, start + 10**9]).astype(np.asarray(whole).dtype),
        )
        assert [int(np.argmax(n)) if n.any() else None for n in counted[0].values.T] == wanted


def test_numbers_beyond_64_bits_are_compared_as_well():
    start = 2**61
    times = start + np.array([-1, 0, 332, 333, 334])
    counted = from_events(
        {"time": times, "unit": range(5)},
        bin=33.3,
        onsets=[start],
        window=(0, 99.9),
        clock=10_000.0,
        recorded=(start - 1000, start + 1000),
    )
    assert [int(np.argmax(n)) if n.any() else None for n in counted[0].values.T] == [None, 0, 0, 1, 1]


@pytest.mark.parametrize(
    ("window", "bin", "count"),
    [((0, 0.3), 0.1, 3), ((0, 100), 100 / 3, 3), ((-0.7, 0), 0.1, 7), ((0, 1e9), 0.1 * 1e9, 10), ((0, 99.9), 33.3, 3)],
)
def test_how_many_bins_a_window_has(window, bin, count):
    spikes = from_events({"time": [0.0], "unit": [0], "trial": [0]}, bin=bin, window=window, trial="trial")
    assert spikes.sizes["time"] == count
    wanted = [float(fraction(window[0]) + fraction(bin) * j) for j in range(count)]
    assert spikes.time.values.tolist() == wanted  # rounded once: no 0.30000000000000004


@given(st.integers(-(10**6), 10**6), st.integers(1, 10**4))
def test_fraction_finds_the_simplest_fraction_of_a_float(top, bottom):
    assert fraction(top / bottom) == Fraction(top, bottom)
    assert fraction(np.float64(top)) == fraction(np.int32(top)) == top
