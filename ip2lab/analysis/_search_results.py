"""What a search says: how its configurations did, and what letting a single property learn changes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr
from scipy import stats

from ip2lab.analysis._arrays import coords_of, describe
from ip2lab.analysis._labels import check_unique, listed
from ip2lab.checks import checked


@checked
def marginal_effect(search: xr.Dataset, *, over: str = "seed", level: float = 0.95) -> xr.Dataset:
    """Ask of each property what letting it learn changes, everything else equal.

    Two configurations that differ in this property alone are compared on the same seeds: trials with it over trials
    without it, as a ratio. Less than 1 is worth having. Runs that were stopped count with what they had taken, so
    such a ratio is nearer to 1 than the true one; where both were stopped nothing is known and nothing is compared.

    Parameters
    ----------
    search : xarray.Dataset
        What a search of configurations found: ``trials`` and ``stopped`` (configuration, over, ...), NaN where a
        configuration was not run; ``learns`` (configuration, property), bool. Further dims (round) hold one value
        a configuration and seed.
    over : str
        The dim of independent units.
    level : float
        Coverage of the interval.

    Returns
    -------
    xarray.Dataset
        ``worth`` (property), the geometric mean ratio, with ``lower`` and ``upper`` (t interval of the logarithm over
        seeds, each seed the mean of its comparisons); ``ratio`` (property, configuration) of each configuration that
        has the property to the one without; ``comparisons`` (property), and ``at_least`` (property), the share of
        them in which a run was stopped.

    Raises
    ------
    ValueError
        A variable is missing.

    Examples
    --------
    >>> import xarray as xr
    >>> from ip2lab.analysis import curves
    >>> dims = ("configuration", "seed")
    >>> search = xr.Dataset(
    ...     {"trials": (dims, [[100.0, 120.0], [50.0, 60.0]]), "stopped": (dims, [[0.0, 0.0], [0.0, 0.0]]),
    ...      "learns": (("configuration", "property"), [[False], [True]])}, {"property": ["tau_dendrite"]})
    >>> curves.marginal_effect(search).worth.values.round(2).tolist()
    [0.5]
    """
    _require(search, over, "trials", "stopped", "learns")
    trials, stopped = (_by_unit(search[name], over) for name in ("trials", "stopped"))
    learns = search["learns"].transpose("configuration", "property")
    logs = np.full((learns.sizes["property"], *trials.shape), np.nan)
    halted = np.zeros(logs.shape, bool)
    for p, c, without in _pairs(learns):
        open_ended = stopped[[c, without]] == 1
        difference = np.log(trials[c]) - np.log(trials[without])
        logs[p, c] = np.where(open_ended.all(0), np.nan, difference)
        halted[p, c] = open_ended.any(0) & np.isfinite(logs[p, c])
    known = np.isfinite(logs)
    mean, reach = _interval(_mean(logs, 1), level)
    dims, words = ("property",), "trials with the property learnable over trials without"
    parts = {
        "worth": (dims, np.exp(mean), words),
        "lower": (dims, np.exp(mean - reach), f"lower end of the {level:.0%} interval over {over}"),
        "upper": (dims, np.exp(mean + reach), f"upper end of the {level:.0%} interval over {over}"),
        "ratio": (("property", "configuration"), np.exp(_mean(logs, 2)), f"{words}, of one configuration"),
        "comparisons": (dims, known.sum((1, 2)), "comparisons of two runs"),
        "at_least": (dims, _mean(np.where(known, halted, np.nan), (1, 2)), "share of them with a run that was stopped"),
    }
    coords = coords_of(learns, "property", "configuration")
    made = {name: describe(xr.DataArray(v, dims=d), name, "1", text) for name, (d, v, text) in parts.items()}
    return xr.Dataset(made, coords)


@checked
def configurations(search: xr.Dataset, *, over: str = "seed", level: float = 0.95) -> xr.Dataset:
    """Say how the configurations of a search did, with intervals over seeds.

    Parameters
    ----------
    search : xarray.Dataset
        What a search found: ``trials``, ``late_trials``, ``problems_done`` and ``failed`` (configuration, over, round),
        NaN where a configuration was not run; ``problems`` (round), the length of the series; ``log_ratio``
        (configuration), 0 for the one that all are compared with.
    over : str
        The dim of independent units.
    level : float
        Coverage of the interval.

    Returns
    -------
    xarray.Dataset
        (configuration, statistic) with the statistics ``mean``, ``lower`` and ``upper``: ``trials_ratio``, trials over
        those of the best on the same seeds (geometric mean); ``late_trials``; ``share_done``; ``failed``. ``seeds``
        (configuration), their number. Intervals are t intervals, cut at what is possible; NaN where
        there are fewer than two seeds.

    Raises
    ------
    ValueError
        A variable is missing.

    Examples
    --------
    >>> import xarray as xr
    >>> from ip2lab.analysis import curves
    >>> run = (("configuration", "seed", "round"), [[[100.0], [120.0]], [[50.0], [60.0]]])
    >>> search = xr.Dataset({name: run for name in ("trials", "late_trials", "problems_done", "failed")})
    >>> search = search.assign(problems=("round", [60]), log_ratio=("configuration", [0.69, 0.0]))
    >>> curves.configurations(search).trials_ratio.sel(statistic="mean").values.round(2).tolist()
    [2.0, 1.0]
    """
    _require(search, over, "trials", "late_trials", "problems_done", "failed", "log_ratio")
    logs = np.log(_by_unit(search["trials"], over))
    best = int(np.nanargmin(np.abs(search["log_ratio"].values)))
    ratio = [
        np.exp(mean + sign * reach) for mean, reach in [_interval(logs - logs[best], level)] for sign in (0, -1, 1)
    ]
    values = {
        "late_trials": (search["late_trials"], "trials", "trials to criterion in the second half"),
        "share_done": (search["problems_done"] / search["problems"], "1", "share of problems finished"),
        "failed": (search["failed"], "problems", "problems given up"),
    }
    parts = {"trials_ratio": (np.stack(ratio, 1), "1", "trials over those of the best")}
    for name, (data, unit, words) in values.items():
        mean, reach = _interval(_by_unit(data, over), level)
        ends = np.stack([mean, mean - reach, mean + reach], 1)
        parts[name] = (np.clip(ends, 0, 1 if name == "share_done" else None), unit, words)
    dims = ("configuration", "statistic")
    made = {n: describe(xr.DataArray(v, dims=dims), n, unit, words) for n, (v, unit, words) in parts.items()}
    number = xr.DataArray(np.isfinite(logs).sum(1), dims="configuration")
    made["seeds"] = describe(number, "seeds", "1", "seeds that it was run with")
    coords = coords_of(search["trials"], "configuration")
    return xr.Dataset(made, {**coords, "statistic": ["mean", "lower", "upper"]})


def _require(search: xr.Dataset, over: str, *names: str) -> None:
    if not isinstance(search, xr.Dataset):
        raise TypeError(f"search is a {type(search).__name__}; give what ip2lab.search_plasticity returned")
    missing = [name for name in names if name not in search]
    if missing:
        raise ValueError(
            f"search has no {missing[0]!r}; it has {', '.join(map(str, search.data_vars))}. "
            "Give what ip2lab.search_plasticity returned"
        )
    if not search.sizes.get("configuration"):
        raise ValueError("search holds no configuration; give what ip2lab.search_plasticity returned")
    for dim in search.dims:
        check_unique(search[names[0]].rename("search"), str(dim), search.indexes.get(dim))
    for name in sorted({*names} - {"learns", "log_ratio"}):  # those have a value for each unit
        if not {"configuration", over} <= set(search[name].dims):
            raise ValueError(
                f"search: {name!r} has dims {listed(search[name].dims)}; expected 'configuration', {over!r}"
            )


def _by_unit(values: xr.DataArray, over: str) -> np.ndarray:
    """(configuration, over): the one value that there is along all other dims."""
    others = [dim for dim in values.dims if dim not in ("configuration", over)]
    return values.max(others).transpose("configuration", over).values.astype(float)


def _pairs(learns: xr.DataArray) -> Iterator[tuple[int, int, int]]:
    """Property, a configuration that lets it learn, and the same one without it."""
    names = learns["configuration"].values.astype(str)
    fixed = [name.partition("; ")[2] for name in names]  # values that belong to a configuration: after its names
    places = {(tuple(row), rest): c for c, (row, rest) in enumerate(zip(learns.values, fixed, strict=True))}
    for (row, rest), c in places.items():
        for p in np.flatnonzero(row):
            without = (*row[:p], np.False_, *row[p + 1 :])
            if (without, rest) in places:
                yield int(p), c, places[without, rest]


def _mean(values: np.ndarray, axes: int | tuple[int, ...]) -> np.ndarray:
    """Mean of what is not NaN; NaN where nothing is."""
    known = np.isfinite(values)
    number = known.sum(axes)
    return np.where(number > 0, np.where(known, values, 0.0).sum(axes) / np.maximum(number, 1), np.nan)


def _interval(values: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean over the last axis and the half width of its t interval, NaN where fewer than two are known."""
    mean, number = _mean(values, 1), np.isfinite(values).sum(1)
    spread = _mean((values - mean[:, None]) ** 2, 1) * number / np.maximum(number - 1, 1)
    reach = stats.t.ppf((1 + level) / 2, np.maximum(number - 1, 1)) * np.sqrt(spread / np.maximum(number, 1))
    return mean, np.where(number > 1, reach, np.nan)
