"""Trials side by side, and the means of conditions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import xarray as xr

from ip2lab.analysis._arrays import describe, times, units_of
from ip2lab.analysis._checks import check, check_free
from ip2lab.analysis._labels import RECORDED, bare, labels_along, levels, listed, match, ordered, recorded
from ip2lab.checks import checked

AS_COORDS: dict[str, Any] = {"coords": "different", "compat": "equals"}  # what differs between trials labels them


@checked
def pad_trials(
    trials: Sequence[xr.DataArray] | Mapping[Any, xr.DataArray],
    *,
    at: Literal["start", "end"] = "start",
    time: str = "time",
    trial: str = "trial",
) -> xr.DataArray:
    """Put trials of different lengths side by side, aligned at their start or at their end.

    Parameters
    ----------
    trials : sequence or mapping of xarray.DataArray
        One array per trial, with the dim `time` and a coord on it (ms, equal steps, the same step in every trial); the
        keys of a mapping label the trials. Other dims, such as neurons, are matched by their labels.
    at : {"start", "end"}
        What the trials have in common: at ``"start"`` time counts from the first point of each trial, at ``"end"``
        it is negative and counts up to 0, the last point.
    time, trial : str
        The dim of time, and the name of the new dim.

    Returns
    -------
    xarray.DataArray
        (trial, ...) with the length of the longest trial, NaN where a trial is shorter, and a coord ``recorded``
        (trial, time) that is False there, and where the trial's own ``recorded`` is: every analysis of populations
        leaves such samples out. Coords that differ between trials become labels of the trials; those along `time`
        are dropped.

    Raises
    ------
    ValueError
        No trials, no dim or coord `time`; steps, units, dims, coords or labels of neurons that differ between trials.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from ip2lab.analysis import population
    >>> long, short = (
    ...     xr.DataArray(np.ones((n, 4)), dims=("time", "neuron"), coords={"time": 20.0 * np.arange(n)}) for n in (5, 3)
    ... )
    >>> both = population.pad_trials([long, short], at="end")
    >>> dict(both.sizes), both.time.values.tolist(), both.recorded.sum("time").values.tolist()
    ({'trial': 2, 'time': 5, 'neuron': 4}, [-80.0, -60.0, -40.0, -20.0, 0.0], [5, 3])
    """
    named = _named(trials)
    each = [check(one, gaps=True, time=time).rename(f"trial {name}") for name, one in named.items()]
    first = next(iter(named.values()))
    each = _alike([ordered(one, time) for one in each], time, trial)
    longest = max(one.sizes[time] for one in each)
    grid = _common_step(each, time) * (np.arange(longest) - (longest - 1 if at == "end" else 0))
    placed, masks = zip(*(_placed(one, grid, time, at) for one in each), strict=True)
    labels = {trial: (trial, list(trials))} if isinstance(trials, Mapping) else {}
    together = xr.concat(
        [one.drop_vars(labels, errors="ignore") for one in placed], dim=trial, join="exact", **AS_COORDS
    )
    there = xr.concat(xr.broadcast(*masks), dim=trial).transpose(trial, time, ...)
    together = together.assign_coords({**labels, RECORDED: bare(there)})
    together[time].attrs.update(units="ms", long_name=f"time from the {at} of the trial")
    words = first.attrs.get("long_name", "activity")
    return describe(together, str(first.name or "activity"), units_of(first), words, first)


def _named(trials: Sequence[xr.DataArray] | Mapping[Any, xr.DataArray]) -> Mapping[Any, xr.DataArray]:
    if not isinstance(trials, (Sequence, Mapping)) or isinstance(trials, str):
        raise TypeError(
            f"trials is a {type(trials).__name__}; expected a sequence of arrays, one per trial, or a mapping"
        )
    if not trials:
        raise ValueError("no trials were given; expected a sequence of arrays, one per trial")
    return trials if isinstance(trials, Mapping) else dict(enumerate(trials))


def _common_step(trials: list[xr.DataArray], time: str) -> float:
    steps = [times(one, time)[1] for one in trials]
    if np.ptp(steps) > 1e-3 * steps[0]:
        raise ValueError(
            f"the trials' steps along {time!r} differ: {min(steps):g} to {max(steps):g} ms; resample them first"
        )
    return steps[0]


def _alike(trials: list[xr.DataArray], time: str, trial: str) -> list[xr.DataArray]:
    """The trials with all dims but `time` in the order of the first; refuses those that differ in kind."""

    def facts(one: xr.DataArray) -> tuple[set[str], set[str], set[str]]:
        kept = {str(name) for name, coord in one.coords.items() if time not in coord.dims} - {RECORDED}
        return set(map(str, one.dims)), kept, {units_of(one)}

    first = trials[0]
    check_free(first.dims, trial)
    for one in trials:
        for what, (here, there) in zip(
            ("dims", "coords", "units"), zip(facts(first), facts(one), strict=True), strict=True
        ):
            if here != there:
                raise ValueError(
                    f"the {what} of the trials differ: {listed(sorted(here - there))} only in {first.name!r}, "
                    f"{listed(sorted(there - here))} only in {one.name!r}; give all the same"
                )
    return [match(first, one, *(str(d) for d in first.dims if d != time)).transpose(*first.dims) for one in trials]


def _placed(one: xr.DataArray, grid: np.ndarray, time: str, at: str) -> tuple[xr.DataArray, xr.DataArray]:
    """One trial on the common `grid`, and where it was recorded."""
    n = one.sizes[time]
    own = grid[:n] if at == "start" else grid[-n:]
    gaps = recorded(one)
    there = xr.DataArray(np.ones(n, bool), dims=time) & (True if gaps is None else bare(gaps))
    kept = one.drop_vars([name for name in one.coords if time in one[name].dims or name == RECORDED])
    kept = kept.astype(float) if one.dtype.kind == "b" and n < len(grid) else kept
    placed, mask = (part.assign_coords({time: own}) for part in (kept, there))
    return placed.reindex({time: grid}), mask.reindex({time: grid}, fill_value=False)


@checked
def condition_means(data: xr.DataArray, by: str | xr.DataArray = "condition", *, trial: str = "trial") -> xr.DataArray:
    """Average the trials of each condition.

    Parameters
    ----------
    data : xarray.DataArray
        (..., trial): activity; bool for spikes. Where a coord ``recorded`` is False nothing was recorded: each mean is
        over the trials recorded there.
    by : str or xarray.DataArray
        What tells the conditions apart: a coord along the trials, or an array (trial), matched by the labels of the
        trials.
    trial : str
        The dim of the trials.

    Returns
    -------
    xarray.DataArray
        (..., trial) with one entry per condition, labelled by it along `trial`, so that two sessions can be matched.
        Numbers are in order of size and text in that of the alphabet, whatever the order of the trials. Coords along
        the trials are kept where all trials of each condition share them. Of data with gaps ``recorded`` says where
        there is a mean, and ``trials`` over how many trials.

    Raises
    ------
    ValueError
        A missing dim or coord, NaN, missing labels, labels of trials that differ or repeat.

    Examples
    --------
    >>> import xarray as xr
    >>> from ip2lab.analysis import population
    >>> data = xr.DataArray([1.0, 2.0, 3.0], dims="trial", coords={"condition": ("trial", ["go", "no-go", "go"])})
    >>> population.condition_means(data).values.tolist()
    [2.0, 2.0]
    """
    check(data, finite=True, gaps=True, trial=trial)
    labels = labels_along(data, by, [trial], least=1)
    found, codes = levels(labels.values)
    mask = recorded(data)
    values = bare(data.astype(float) if data.dtype.kind in "bui" else data)
    values = values if mask is None else values.where(bare(mask))
    kept = _shared(data, trial, codes)
    if isinstance(labels.name, str) and labels.name not in (trial, *data.coords):
        kept[labels.name] = (trial, found, labels.attrs)
    if mask is not None and trial in mask.dims:
        check_free(data.coords, "trials")
        number = _by_code(bare(mask), codes, trial, "sum")
        kept |= {RECORDED: number > 0, "trials": number.assign_attrs(units="1", long_name="number of trials")}
    others = {name: coord for name, coord in data.coords.items() if trial not in coord.dims}
    means = _by_code(values, codes, trial, "mean").assign_coords(
        {**others, trial: (trial, found, labels.attrs), **kept}
    )
    words = data.attrs.get("long_name", "activity")
    return describe(means, str(data.name or "activity"), units_of(data), f"{words}, mean of each condition", data)


def _shared(data: xr.DataArray, trial: str, codes: np.ndarray) -> dict[Any, Any]:
    """Coords along the trials, one value for each code, where all trials with a code share it."""
    first = np.unique(codes, return_index=True)[1]
    return {
        name: (trial, coord.values[first], coord.attrs)
        for name, coord in data.coords.items()
        if coord.dims == (trial,) and name != trial and (coord.values == coord.values[first][codes]).all()
    }


def _by_code(values: xr.DataArray, codes: np.ndarray, trial: str, how: str) -> xr.DataArray:
    """Sum or mean of the trials with each code, in the order of the codes."""
    parts = (values.isel({trial: np.flatnonzero(codes == k)}) for k in range(codes.max() + 1))
    return xr.concat([getattr(part, how)(trial) for part in parts], trial).transpose(*values.dims)
