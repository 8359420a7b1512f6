"""The row of ``/series``, the same for runs of ours and for those of other trainers."""

from __future__ import annotations

from typing import Any

import numpy as np


def series_row(
    problem: int,
    loss: np.ndarray,
    correct: np.ndarray,
    *,
    window: int,
    limit: int,
    solved: bool,
    reason: str,
    firing_rate: float,
    duration: float,
    zero_shot: tuple[float, float] = (np.nan, np.nan),
) -> dict[str, np.ndarray]:
    """Return the row of a problem from all its trials: at most `limit`, `window` of them in a mean of the criterion.

    Why it was not `solved` is the `reason`. Rates are in Hz, durations in s. `zero_shot` is the loss and the accuracy
    before the first trial.

    Examples
    --------
    >>> row = series_row(0, np.array([2.0, 0.5, 0.1]), np.array([False, True, True]), window=2, limit=9, solved=True,
    ...                  reason="", firing_rate=5.0, duration=0.1)
    >>> float(row["trials_to_criterion"][0]), float(row["loss"][0]), float(row["last_error"][0])
    (1.0, 0.3, 0.0)
    """
    trials, wrong = len(loss), np.flatnonzero(~correct)
    row: dict[str, Any] = {
        "problem": problem,
        "trials_to_criterion": float(trials - window) if solved else np.nan,
        "censored_trials": np.nan if solved else float(max(limit - window, 0)),
        "trials": trials,
        "failed": not solved,
        "failure_reason": "" if solved else reason,
        "loss": _mean(loss[-window:]),
        "accuracy": _mean(correct[-window:]),
        "zero_shot_loss": zero_shot[0],
        "zero_shot_accuracy": zero_shot[1],
        "last_error": float(wrong[-1]) if len(wrong) else np.nan,
        "firing_rate": firing_rate,
        "duration": duration,
    }
    return {name: np.array([value]) for name, value in row.items()}


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else np.nan
