"""Many runs at once: families, models, configurations and seeds on any executor of ``concurrent.futures``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from tqdm.auto import tqdm

from ip2lab import records
from ip2lab.learning import resume, train

KEPT = ("trials_to_criterion", "censored_trials", "trials", "failed", "loss", "accuracy", "firing_rate", "duration")


def grid(**axes: Any) -> list[dict[str, Any]]:
    """Return the arguments of :func:`ip2lab.train` for every combination of what is given.

    Parameters
    ----------
    **axes
        A list holds the values of an axis; anything else is the same in all runs.

    Returns
    -------
    list of dict
        The first axis varies slowest.

    Examples
    --------
    >>> plan = grid(family=["association", "dms"], learnable=[None, "default"], seed=[0, 1], problems=30)
    >>> len(plan), plan[1]
    (8, {'family': 'association', 'learnable': None, 'seed': 1, 'problems': 30})
    """
    lists = {name: values if isinstance(values, list) else [values] for name, values in axes.items()}
    return [dict(zip(lists, values, strict=True)) for values in product(*lists.values())]


def run_many(
    plan: Iterable[Mapping[str, Any]],
    *,
    executor: Executor | None = None,
    folder: str | Path | None = None,
    progress: bool = True,
) -> xr.Dataset:
    """Train many networks and collect their series.

    Parameters
    ----------
    plan : iterable of mapping
        Arguments of :func:`ip2lab.train`, one mapping a run; see :func:`grid`.
    executor : concurrent.futures.Executor, optional
        Where they run: threads or processes of this machine, or a cluster (``dask.distributed.Client.get_executor()``).
        One after the other in this process by default; the numbers are the same everywhere.
    folder : path, optional
        Where the runs are stored, as ``0000.zarr`` and so on; what is there and complete is not done again, what was
        interrupted goes on.
    progress : bool
        Whether a bar shows how many are done.

    Returns
    -------
    Dataset
        The variables of ``/series`` (run, problem), NaN or False where a run has fewer problems; what differs between
        runs as coordinates along ``run``.

    Raises
    ------
    RuntimeError
        A run failed; the message says which, and the cause is attached.

    Examples
    --------
    >>> plan = grid(family="association", seed=[0, 1], problems=2, neurons=20, max_trials=60)
    >>> runs = run_many(plan, progress=False)
    >>> runs.trials.dims, runs.seed.values
    (('run', 'problem'), array([0, 1]))
    """
    plan = [dict(arguments) for arguments in plan]
    if not plan:
        raise ValueError("plan: there is no run in it; give one mapping of arguments a run")
    paths = [None if folder is None else Path(folder) / f"{i:04d}.zarr" for i in range(len(plan))]
    done: list[dict[str, np.ndarray]] = []
    with tqdm(total=len(plan), unit="run", disable=not progress) as bar:
        for i, outcome in enumerate(run_each(series_of, list(zip(plan, paths, strict=True)), executor)):
            if isinstance(outcome, Exception):
                raise RuntimeError(f"run {i}, {plan[i]}, failed: {outcome}") from outcome
            done.append(outcome)
            bar.update()
    longest = max(len(series["trials"]) for series in done)
    units = {name: row for name, row in records.GROUPS["series"].variables.items() if name in KEPT}
    data = {
        name: (
            ("run", "problem"),
            np.array([_pad(series[name], longest) for series in done]),
            {"units": row.units, "long_name": row.long_name},
        )
        for name, row in units.items()
    }
    coords: dict[str, Any] = {"run": np.arange(len(plan)), "problem": np.arange(longest)}
    return xr.Dataset(data, coords | labels(plan))


def run_each(function: Any, arguments: Sequence[tuple[Any, ...]], executor: Executor | None) -> Iterable[Any]:
    """Call a function with each of `arguments`; return what it returns, or the exception that it raises, in order."""
    if executor is None:
        return (_caught(function, each) for each in arguments)
    return executor.map(_caught, [function] * len(arguments), arguments)


def _caught(function: Any, arguments: tuple[Any, ...]) -> Any:
    try:
        return function(*arguments)
    except Exception as error:
        return error


def series_of(arguments: dict[str, Any], path: Path | None = None) -> dict[str, np.ndarray]:
    """Train one network, or go on with it where it is stored, and return its series, one array a variable."""
    if path is not None and path.exists():
        stored = records.open_run(path)
        run = stored if stored.attrs["complete"] else resume(path, progress=False)
    else:
        run = train(**arguments, path=path, progress=False)
    series = run["series"].to_dataset()
    return {name: series[name].values for name in KEPT}


def _pad(values: np.ndarray, length: int) -> np.ndarray:
    """Return values with NaN after them; numbers that cannot be NaN become floats where it is needed."""
    if len(values) == length:
        return values
    filler = False if values.dtype == bool else np.nan
    return np.concatenate([values, np.full(length - len(values), filler)])


def labels(plan: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what differs between runs as coordinates along ``run``; what is no number as text."""
    names = dict.fromkeys(name for arguments in plan for name in arguments)
    found: dict[str, Any] = {}
    for name in names:
        values = [arguments.get(name) for arguments in plan]
        if all(value == values[0] for value in values):
            continue
        plain = all(isinstance(value, (int, float, np.number)) for value in values)
        found[name] = "run", values if plain else [text_of(value) for value in values]
    return found


def text_of(value: Any) -> str:
    """Return a value as a label.

    Examples
    --------
    >>> text_of(("tau_dendrite", "threshold")), text_of(None), text_of({"tau_soma": 20})
    ('tau_dendrite + threshold', 'nothing', 'tau_soma=20')
    """
    if value is None or (isinstance(value, (tuple, list)) and not value):
        return "nothing"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={text_of(item)}" for name, item in value.items())
    if isinstance(value, (tuple, list)):
        return " + ".join(map(str, value))
    return str(getattr(value, "name", value))
