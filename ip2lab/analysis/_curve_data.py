"""What every function on learning curves starts from: trials to criterion, with failures that someone decided about."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, Literal, NamedTuple

import numpy as np
import xarray as xr

from ip2lab.analysis._arrays import free
from ip2lab.analysis._checks import check
from ip2lab.analysis._labels import bare, called, check_unique, listed, place_of, quantities, sequence

Failures = Literal["cap", "survival"] | None
TRIALS, CAPS, FAILED, ATTEMPTED = "trials_to_criterion", "censored_trials", "failed", "attempted"


class Told(NamedTuple):
    """Trials to criterion (..., problem) as they came, and what each problem without a number is (bool)."""

    trials: xr.DataArray
    failed: xr.DataArray
    censored: xr.DataArray  # not reached, and the cap is known
    attempted: xr.DataArray
    caps: xr.DataArray  # NaN where it is not known
    marked: bool  # the data themselves say what a missing number is


class Curve(NamedTuple):
    """Trials to criterion (..., problem): the cap in place of a failure, and where that is so; NaN where not tried."""

    trials: xr.DataArray
    failed: xr.DataArray
    attempted: xr.DataArray


def told(data: xr.Dataset | xr.DataArray, along: str, results: Iterable[str] = ()) -> Told:
    """What `data` say about each problem, in the order of the problems; the rule stands in `curves`."""
    trials, marks = _parts(data, along)
    trials = free(trials, *results)
    place = problem_order(trials, along)
    trials = trials.isel({along: place})
    marks = {name: mark.isel({along: place}, missing_dims="ignore") for name, mark in marks.items()}
    says = CAPS in marks and along in marks[CAPS].dims  # one for all problems is not word of any of them
    caps = _caps(marks.pop(CAPS, None), trials)
    flags = {name: _flag(mark, trials) for name, mark in marks.items()}
    missing = trials.isnull()
    tried = flags.get(ATTEMPTED, xr.full_like(missing, True))
    censored = missing & tried & np.isfinite(caps) & says
    marked = says or bool(flags)
    failed = flags.get(FAILED, censored if marked else missing & ~_padding(missing, along))
    if ATTEMPTED in flags:
        failed = failed | (missing & tried & ~censored)
    _refuse(trials, failed & ~missing, f"are {FAILED!r} and have a number", f"put NaN there and the cap in {CAPS!r}")
    _refuse(
        trials,
        ~tried & (~missing | failed),
        f"are not {ATTEMPTED!r}, yet were solved or failed",
        "correct one of the two",
    )
    attempted = tried & (~missing | failed | censored)
    return Told(trials, failed, censored, attempted, caps, marked)


def curve(
    data: xr.Dataset | xr.DataArray,
    along: str,
    failures: Failures = None,
    cap: float | None = None,
    results: Iterable[str] = (),
) -> Curve:
    """The learning curve in `data`; failures are refused unless `failures` says how to count them.

    `results` are the names of what will be returned: coords that are called so are left out, dims refused.
    """
    found = told(data, along, results)
    trials, failed = found.trials, found.failed | found.censored
    _check_trials(trials)
    if not failed.any():
        return Curve(trials.astype(float), failed, found.attempted)
    unsaid = "" if found.marked else f". If they were never tried, say so: .assign_coords({ATTEMPTED}=({along!r}, ...))"
    if failures is None:
        where = trials[along].values[failed.any([d for d in trials.dims if d != along]).values]
        raise ValueError(
            f"{int(failed.sum())} of {int(found.attempted.sum())} problems in {called(trials)} failed ({along} "
            f"{listed(where)}); they may not be dropped: choose failures='cap' (count them at the cap) or "
            f"failures='survival' (known to be longer){unsaid}"
        )
    return Curve(_filled(found, failed, cap, unsaid), failed, found.attempted)


def _filled(found: Told, failed: xr.DataArray, cap: float | None, unsaid: str) -> xr.DataArray:
    """Trials to criterion with the cap in place of what failed."""
    trials = found.trials
    caps = found.caps if cap is None else xr.full_like(trials, cap, dtype=float)
    if (~np.isfinite(caps) & failed).any():
        raise ValueError(
            f"{int(failed.sum())} problems in {called(trials)} failed and their cap is unknown; give the run's series "
            f"with {CAPS!r}, or cap=... (the trials to criterion at which a problem was given up){unsaid}"
        )
    filled = trials.astype(float).where(~failed, caps)
    if (filled < 0).any():
        raise ValueError(
            f"the cap of {called(trials)} is {float(filled.min()):g}; expected a positive number of trials"
        )
    return filled


def after_first(found: Curve, along: str, keep_first: bool = False) -> tuple[Curve, xr.DataArray]:
    """The curve without the first problem of each series, and that problem (NaN where it is kept)."""
    trials, failed, attempted = found
    first = attempted & (attempted.cumsum(along) == 1)
    alone = trials.where(first).max(along)
    if keep_first:
        return found, xr.full_like(alone, np.nan)
    rest = Curve(trials.where(~first), failed & ~first, attempted & ~first)
    return Curve(*(part.isel({along: slice(1, None)}) for part in rest)), alone


def positions(trials: xr.DataArray, along: str) -> np.ndarray:
    """Where each problem stands: differences of labels that are numbers, else places in the series."""
    labels = quantities(trials.indexes.get(along))
    if labels is None or labels.dtype.kind not in "iuf":
        return np.arange(trials.sizes[along], dtype=float)
    return np.asarray(labels, float) - float(labels[0])


def _check_trials(trials: xr.DataArray) -> None:
    if np.isinf(trials.values).any():
        raise ValueError(f"{called(trials)} holds infinite values; mark a failure by NaN and give its cap")
    if (trials < 0).any():
        raise ValueError(f"{called(trials)} holds {float(trials.min()):g}; trials to criterion are not negative")


def _parts(data: xr.Dataset | xr.DataArray, along: str) -> tuple[xr.DataArray, dict[str, xr.DataArray]]:
    """Trials to criterion, and by name what stands beside them."""
    there: Collection[Any]
    if isinstance(data, (xr.Dataset, xr.DataTree)):
        table = data.to_dataset() if isinstance(data, xr.DataTree) else data
        if TRIALS not in table:
            raise ValueError(
                f"the dataset has no {TRIALS!r}; it has {listed(table.data_vars)}. Give a run's series, or an array"
            )
        trials, there = table[TRIALS], table.variables
    else:
        trials, there = data, getattr(data, "coords", ())
    check(trials, along=along)
    marks = (FAILED, CAPS, ATTEMPTED)
    beside = {name: data[name].reset_coords(drop=True) for name in marks if name in there and name not in trials.dims}
    return trials.compute(), {name: _within(mark, trials).compute() for name, mark in beside.items()}


def _within(mark: xr.DataArray, trials: xr.DataArray) -> xr.DataArray:
    foreign = set(mark.dims) - set(trials.dims)
    if foreign:
        raise ValueError(
            f"{mark.name!r} varies along {listed(sorted(map(str, foreign)))}, which {called(trials)} does not have; "
            f"expected {listed(trials.dims)}"
        )
    return mark


def _over(mark: xr.DataArray, trials: xr.DataArray) -> xr.DataArray:
    bare = trials.reset_coords(drop=True)
    return mark.broadcast_like(bare).transpose(*trials.dims)


def _caps(mark: xr.DataArray | None, trials: xr.DataArray) -> xr.DataArray:
    """The cap of each problem, NaN where it is not known."""
    if mark is None:
        return xr.full_like(trials.reset_coords(drop=True), np.nan, dtype=float)
    try:
        if mark.dtype.kind not in "mMUT":
            return _over(mark.astype(float), trials)
    except (TypeError, ValueError):
        pass
    raise TypeError(f"{mark.name!r} holds {mark.dtype}; expected numbers of trials: convert with .astype(float)")


def _flag(mark: xr.DataArray, trials: xr.DataArray) -> xr.DataArray:
    """True or False for each problem; what is missing (a join of tables leaves it so) is False."""
    known = mark.notnull()
    values = mark.where(known, False)
    if not np.isin(values.values.astype(object), [0, 1]).all():
        raise TypeError(
            f"{mark.name!r} holds {mark.dtype} that is neither True nor False; expected True or False for each problem"
        )
    return _over(values.astype(bool), trials)


def _padding(missing: xr.DataArray, along: str) -> xr.DataArray:
    """Where a shorter series was filled up: NaN after its last number, where another series goes on."""
    number = xr.DataArray(np.arange(1, missing.sizes[along] + 1), dims=along)
    last = (number * ~bare(missing)).max(along)
    return missing & ((number > last) & (last < last.max())).assign_coords(missing.coords)


def _refuse(trials: xr.DataArray, wrong: xr.DataArray, what: str, todo: str) -> None:
    if wrong.any():
        where = place_of(trials, np.argwhere(wrong.values)[0])
        raise ValueError(f"{int(wrong.sum())} problems in {called(trials)} {what} (the first at {where}); {todo}")


def problem_order(trials: xr.DataArray, along: str) -> np.ndarray:
    """Positions in the order of labels that can be ordered: numbers and times. Names stand in the order of the data."""
    labels = quantities(trials.indexes.get(along))
    if labels is not None:
        if labels.isna().any() or (labels.dtype.kind == "f" and np.isinf(labels).any()):
            raise ValueError(f"{called(trials)} has labels along {along!r} that are NaN or infinite; give each its own")
        check_unique(trials, along, labels)
    return sequence(trials, along, names=False)


def check_problems(found: Curve, along: str, least: int) -> None:
    """Raise ValueError where no series has so many problems after the first."""
    most = int(found.attempted.sum(along).max())
    if most < least:
        raise ValueError(
            f"{called(found.trials)} has {most} along {along!r} after the first problem; {least} or more are needed"
        )
