"""Many runs at once: families, models, configurations and seeds on any executor of ``concurrent.futures``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Executor, Future
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from tqdm.auto import tqdm

from ip2lab import records
from ip2lab.learning import Series, prepared, resume, train
from ip2lab.options import flag, several
from ip2lab.records.writing import unborn

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
        Where the runs are stored, as ``0000.zarr`` and so on. Whatever stops this - a worker or the cluster is lost,
        this process is killed - the same call again goes on: what is complete is not done again, what was
        interrupted goes on from its last checkpoint.
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
        A run failed, or where it ran was lost; the message says which, and the cause is attached. All others are
        done first.
    KeyboardInterrupt
        A run was interrupted.

    Examples
    --------
    >>> plan = grid(family="association", seed=[0, 1], problems=2, neurons=20, max_trials=60)
    >>> runs = run_many(plan, progress=False)
    >>> runs.trials.dims, runs.seed.values
    (('run', 'problem'), array([0, 1]))
    """
    plan, progress = _checked(plan), flag("progress", progress)
    paths = [None if folder is None else Path(folder) / f"{i:04d}.zarr" for i in range(len(plan))]
    with tqdm(total=len(plan), unit="run", disable=not progress) as bar:
        arguments = list(zip(plan, paths, strict=True))
        done = list(run_each(series_of, arguments, executor, bar.update))
    failed = [i for i, outcome in enumerate(done) if isinstance(outcome, BaseException)]
    if failed:
        first = failed[0]
        kept = (
            f"the others are kept in {folder}; call it again for" if folder else "give folder=... to keep the others of"
        )
        words = f"run {first}, {plan[first]}, failed: {done[first] or type(done[first]).__name__}"
        raise RuntimeError(f"{words} ({len(failed)} of {len(plan)} failed; {kept} these)") from done[first]
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


def _checked(plan: Any) -> list[dict[str, Any]]:
    """Return a plan as a list of arguments of training, or say what is wrong with it."""
    plan = several("plan", plan, "mappings of arguments, one a run, as of grid(...)")
    wrong = next((each for each in plan if not isinstance(each, Mapping) or not all(map(_is_text, each))), None)
    if wrong is not None:
        raise TypeError(f"plan: {wrong!r} is no mapping of arguments; give one a run, as of grid(...)")
    if not plan:
        raise ValueError("plan: there is no run in it; give one mapping of arguments a run")
    return [dict(arguments) for arguments in plan]


def _is_text(name: Any) -> bool:
    return isinstance(name, str)


def run_each(
    function: Any,
    arguments: Sequence[tuple[Any, ...]],
    executor: Executor | None,
    done: Callable[[], Any] | None = None,
) -> Iterator[Any]:
    """Call a function with each of `arguments`; give what it returns, or the exception that it raises, in order.

    `done` is called after each of them, as they end. What has not begun when this is left is not begun any more.
    """
    if executor is None:
        for each in arguments:
            yield _caught(function, each)
            if done:
                done()
        return
    futures = [_submitted(executor, function, each) for each in arguments]
    if done:
        for future in futures:
            future.add_done_callback(lambda _: done())
    try:
        for future in futures:
            yield _outcome(future)
    finally:
        for future in futures:
            future.cancel()


def _submitted(executor: Executor, function: Any, arguments: tuple[Any, ...]) -> Future[Any]:
    try:
        return executor.submit(_caught, function, arguments)
    except RuntimeError as error:  # a worker died already, and with it the executor
        future: Future[Any] = Future()
        future.set_exception(error)
        return future


def _outcome(future: Future[Any]) -> Any:
    """Return what came of a call; that its process or cluster was lost is an exception like others."""
    try:
        return future.result()
    except (Exception, CancelledError) as error:
        return error


def _caught(function: Any, arguments: tuple[Any, ...]) -> Any:
    try:
        return function(*arguments)
    except Exception as error:
        return error


def series_of(arguments: dict[str, Any], path: Path | None = None) -> dict[str, np.ndarray]:
    """Train one network, or go on with it where it is stored, and return its series, one array a variable."""
    if path is None or not path.exists() or unborn(path):
        run = train(**arguments, path=path, progress=False)
    else:
        run, wanted = records.open_run(path), prepared(**arguments)
        _check_same(path, run, wanted)
        if not run.attrs["complete"] or run["series"].sizes["problem"] != wanted.problems:
            run = resume(path, problems=wanted.problems, progress=False)
    if not run.attrs["complete"]:
        raise KeyboardInterrupt
    series = run["series"].to_dataset()
    return {name: series[name].values for name in KEPT}


def _check_same(path: Path, run: xr.DataTree, wanted: Series) -> None:
    """Refuse a stored run that another plan made."""
    stored = Series.of(run.attrs, wanted.problems)  # with the defaults of today where it knows of none
    there, here = (_identity(series) for series in (stored, wanted))
    for name, value in here.items():
        if there.get(name) != value:
            came = f"{path} holds another run, with {name} {there.get(name)!r}, not {value!r}"
            raise ValueError(f"folder: {came}; give another folder")


def _identity(series: Series) -> dict[str, Any]:
    """Return all that the numbers of a series depend on."""
    attrs = series.attributes()
    settings = attrs["config"].pop("family")
    return {name: attrs[name] for name in ("family", "model", "learnable", "seed")} | settings | attrs["config"]


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
