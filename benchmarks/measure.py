"""How the benchmarks measure: CPU time, candidates that take turns, medians over rounds."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

ROUNDS = 7


def clock(function: Callable[[], Any], least: float = 0.03) -> Callable[[], float]:
    """Return a function that gives the CPU time of one call in seconds, from as many calls as take `least` seconds."""
    function()
    function()
    began = time.process_time()
    function()
    calls = max(1, round(least / max(time.process_time() - began, 1e-6)))

    def once() -> float:
        gc.collect(0)
        began = time.process_time()
        for _ in range(calls):
            function()
        return (time.process_time() - began) / calls

    return once


def clock_piece(piece: Callable[[int], Any], least: float = 0.03) -> Callable[[], float]:
    """Return the like for a compiled loop that is told how often to go round."""
    piece(1)
    began = time.process_time()
    piece(2)
    times = max(1, round(least / max((time.process_time() - began) / 2, 1e-7)))

    def once() -> float:
        began = time.process_time()
        piece(times)
        return (time.process_time() - began) / times

    return once


def interleave(clocks: dict[str, Callable[[], float]], rounds: int = ROUNDS) -> dict[str, list[float]]:
    """Let every clock run once a round; return the times in ms, (round,) each."""
    taken: dict[str, list[float]] = {name: [] for name in clocks}
    for _ in range(rounds):
        for name, once in clocks.items():
            taken[name].append(once() * 1e3)
    return taken


def ratio(slow: list[float], fast: list[float]) -> float:
    """Return how many times faster, the median over rounds."""
    return float(np.median(np.array(slow) / np.array(fast)))


def best_of(taken: dict[str, list[float]], names: Iterable[str]) -> str:
    """Return the fastest candidate."""
    return min(names, key=lambda name: float(np.median(taken[name])))
