"""What every function on learning curves starts from: trials to criterion, with failures that someone decided about."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import xarray as xr

from ip2lab.analysis._labelled import check
from ip2lab.analysis._labels import called, listed

Failures = Literal["cap", "survival"] | None
TRIALS = "trials_to_criterion"
CAPS = "censored_trials"


class Curve(NamedTuple):
    """Trials to criterion (..., problem), the cap in place of a failure, and where that is so."""

    trials: xr.DataArray
    failed: xr.DataArray


def curve(data: xr.Dataset | xr.DataArray, along: str, failures: Failures = None, cap: float | None = None) -> Curve:
    """The learning curve in `data`; failures (NaN) are refused unless `failures` says how to count them.

    `data` is a run's ``/series`` (`trials_to_criterion`, and `censored_trials` with the cap where the criterion was
    not reached) or the trials alone, with `cap` for those at which a problem was given up.
    """
    trials, caps = _parts(data, along)
    failed = trials.isnull()
    _sound(trials, failures)
    if not failed.any():
        return Curve(trials.astype(float), failed)
    if failures is None:
        where = trials[along].values[failed.any([d for d in trials.dims if d != along]).values]
        raise ValueError(
            f"{int(failed.sum())} of {failed.size} problems in {called(trials)} failed ({along} {listed(where)}); "
            "they may not be dropped: choose failures='cap' (count them at the cap) or failures='survival' "
            "(known to be longer)"
        )
    caps = xr.full_like(trials, cap, dtype=float) if cap is not None else caps
    if caps is None or bool((caps.isnull() & failed).any()):
        raise ValueError(
            f"{int(failed.sum())} problems in {called(trials)} failed and their cap is unknown; give the run's series "
            f"with {CAPS!r}, or cap=... (the trials to criterion at which a problem was given up)"
        )
    return Curve(trials.astype(float).where(~failed, caps), failed)


def _sound(trials: xr.DataArray, failures: Failures) -> None:
    if failures not in (None, "cap", "survival"):
        raise ValueError(f"failures={failures!r}; choose 'cap' or 'survival'")
    if np.isinf(trials.values).any():
        raise ValueError(f"{called(trials)} holds infinite values; mark a failure by NaN and give its cap")
    if (trials < 0).any():
        raise ValueError(f"{called(trials)} holds {float(trials.min()):g}; trials to criterion are not negative")


def _parts(data: xr.Dataset | xr.DataArray, along: str) -> tuple[xr.DataArray, xr.DataArray | None]:
    if not isinstance(data, (xr.Dataset, xr.DataTree)):
        return check(data, along=along), None
    if TRIALS not in data:
        raise ValueError(
            f"the dataset has no {TRIALS!r}; it has {listed(data.data_vars)}. Give a run's series, or an array"
        )
    return check(data[TRIALS], along=along), data.get(CAPS)


def after_first(found: Curve, along: str) -> tuple[Curve, xr.DataArray]:
    """The curve without problem 0, which is mostly learning to fixate, and problem 0 (NaN where it is not there)."""
    trials = found.trials
    numbers = trials[along].values
    here = numbers == 0
    if here.any():
        first = trials.isel({along: int(np.argmax(here))}, drop=True)
    else:
        first = xr.full_like(trials.isel({along: 0}, drop=True), np.nan)
    return Curve(*(part.isel({along: ~here}) for part in found)), first
