"""Many runs at once: families, models, configurations and seeds on any executor of ``concurrent.futures``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Executor, Future
from itertools import count, product
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from tqdm.auto import tqdm

from ip2lab import records
from ip2lab.checks import flag, several
from ip2lab.properties import PROPERTIES
from ip2lab.records.stores import absolute
from ip2lab.records.writing import array_of, unstarted
from ip2lab.tasks import Family
from ip2lab.tasks import family as make_family
from ip2lab.tasks.base import FAMILIES
from ip2lab.training.options import DEFAULTS, PRESETS
from ip2lab.training.trainer import Trainer, make_trainer, resume, train

DEFAULT = {"model": "spiking", "learnable": "default", "problems": 100, "seed": 0}  # of what is no option of a model
OF_ONE_RUN = ("learnable", "frozen", "filters", "problems_order")  # one run takes several of them
KINDS: tuple[tuple[Any, str], ...] = (
    (bool | np.bool_, "flag"),
    (int | float | np.integer | np.floating, "number"),
    (str | bytes, "other"),
    (Family, "family"),
    (Mapping, "mapping"),
    (set | frozenset, "set"),
    (list | tuple | range, "several"),
)
SHORT = 6  # values that a label writes out
KEPT = ("trials_to_criterion", "censored_trials", "trials", "failed", "loss", "accuracy", "firing_rate", "duration")


def grid(**axes: Any) -> list[dict[str, Any]]:
    """Return the arguments of :func:`ip2lab.train` for every combination of what is given.

    Parameters
    ----------
    **axes
        What holds several values is an axis: a list, tuple, range, set, array with one dim, or iterator. Text, a
        mapping and a single value are the same in all runs. Of ``learnable``, ``frozen``, ``filters`` and
        ``problems_order``, of which one run takes several, only a list is an axis: a list of such values.

    Returns
    -------
    list of dict
        The first axis varies slowest.

    Raises
    ------
    ValueError
        An axis without a value, or an array with more than one dim.

    Examples
    --------
    >>> plan = grid(family=["association", "dms"], learnable=[None, "default"], seed=[0, 1], problems=30)
    >>> len(plan), plan[1]
    (8, {'family': 'association', 'learnable': None, 'seed': 1, 'problems': 30})
    """
    lists = {name: _axis(name, values) for name, values in axes.items()}
    return [dict(zip(lists, values, strict=True)) for values in product(*lists.values())]


def _axis(name: str, given: Any) -> list[Any]:
    """Return the values of an axis, one where it is none."""
    one = isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable) or getattr(given, "ndim", 1) == 0
    if one or (name in OF_ONE_RUN and not isinstance(given, list)):
        return [given]
    if getattr(given, "ndim", 1) > 1:
        raise ValueError(f"{name}: came with {np.ndim(given)} dims; an axis has one: give a list of what a run takes")
    values = several(name, given, "values of an axis") if _kind(given) == "other" else _several(given)
    if not values:
        raise ValueError(f"{name}: there is no value in it, so no run; give one or more")
    return values


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
    differing = labels(plan)
    place = None if folder is None else absolute(folder, "a folder")
    paths = [None if place is None else place / f"{i:04d}.zarr" for i in range(len(plan))]
    with tqdm(total=len(plan), unit="run", disable=not progress) as bar:
        arguments = list(zip(plan, paths, strict=True))
        done = list(run_each(series_of, arguments, executor, bar.update))
    failed = [i for i, outcome in enumerate(done) if isinstance(outcome, BaseException)]
    if failed:
        first = failed[0]
        kept = (
            f"the others are kept in {place}; call it again for" if place else "give folder=... to keep the others of"
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
    return xr.Dataset(data, coords | differing)


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
    if path is None or not path.exists() or unstarted(path):
        run = train(**arguments, path=path, progress=False)
    else:
        run, wanted = records.open_run(path), make_trainer(**arguments)
        _check_same(path, run, wanted)
        if not run.attrs["complete"] or run["series"].sizes["problem"] != wanted.problems:
            run = resume(path, problems=wanted.problems, progress=False)
    if not run.attrs["complete"]:
        raise KeyboardInterrupt
    series = run["series"].to_dataset()
    return {name: series[name].values for name in KEPT}


def _check_same(path: Path, run: xr.DataTree, wanted: Trainer) -> None:
    """Refuse a stored run that another plan made."""
    stored = Trainer.from_attributes(run.attrs, wanted.problems)  # with the defaults of today where it knows of none
    there, here = (_identity(trainer) for trainer in (stored, wanted))
    for name, value in here.items():
        if there.get(name) != value:
            came = f"{path} holds another run, with {name} {there.get(name)!r}, not {value!r}"
            raise ValueError(f"folder: {came}; give another folder")


def _identity(trainer: Trainer) -> dict[str, Any]:
    """Return all that the numbers of a series depend on."""
    attrs = trainer.attributes()
    settings = attrs["config"].pop("family")
    return {name: attrs[name] for name in ("family", "model", "learnable", "seed")} | settings | attrs["config"]


def _pad(values: np.ndarray, length: int) -> np.ndarray:
    """Return values with NaN after them; numbers that cannot be NaN become floats where it is needed."""
    if len(values) == length:
        return values
    filler = False if values.dtype == bool else np.nan
    return np.concatenate([values, np.full(length - len(values), filler)])


def labels(plan: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what differs between runs as coordinates along ``run``; what is no number as text.

    What a run is not given is what it has by default. Two values that differ never have the same label.
    """
    names = dict.fromkeys(name for arguments in plan for name in arguments)
    found: dict[str, Any] = {}
    for name in names:
        values = [_value(name, arguments) for arguments in plan]
        contents = [content_of(value) for value in values]
        if len(set(contents)) > 1:
            plain = set(map(_kind, values)) in ({"number"}, {"flag"})
            found[name] = "run", values if plain else distinct(list(map(text_of, values)), contents)
    return found


def _value(name: str, arguments: Mapping[str, Any]) -> Any:
    """Return what a run is given, or has by default, under a name."""
    model = arguments.get("model", "spiking")
    own = DEFAULTS.get(model, {}) | PRESETS.get(arguments.get("preset") or "", {}) if isinstance(model, str) else {}
    value = arguments.get(name, (DEFAULT | own).get(name, "default"))
    if name == "learnable":
        return (value,) if isinstance(value, str) and value in PROPERTIES else () if value is None else value
    return make_family(value) if name == "family" and isinstance(value, str) and value in FAMILIES else value


def distinct(words: Sequence[str], contents: Sequence[str]) -> list[str]:
    """Return labels; of those that read the same though what they stand for differs, each after the first is numbered.

    Examples
    --------
    >>> distinct(["tau", "tau", "tau"], ["1", "2", "1"])
    ['tau', 'tau (2)', 'tau']
    """
    named = dict(zip(contents, words, strict=True))
    taken: set[str] = set()
    for content, text in named.items():
        numbered = (f"{text} ({number})" for number in count(2))
        named[content] = text if text not in taken else next(word for word in numbered if word not in taken)
        taken.add(named[content])
    return [named[content] for content in contents]


def _kind(value: Any) -> str:
    """Return what a value is for: arrays of anybody's, and numbers of numpy's, count as Python's."""
    if isinstance(value, xr.Dataset) and "decision" in value.attrs:
        return "search"
    kinds = (kind for types, kind in KINDS if isinstance(value, types))
    return next(kinds, "several" if hasattr(value, "__array__") else "other")


def _several(value: Any) -> list[Any]:
    """Return the entries of a list, of an array of anybody's, or of a set in an order of its own."""
    if isinstance(value, set | frozenset):
        return sorted(
            value, key=lambda each: (str(type(each)), each if isinstance(each, int | float) else 0, str(each))
        )
    if isinstance(value, xr.DataArray):  # its labels decide which entry is whose
        value = value.sortby([dim for dim in value.dims if dim in value.indexes])
    listed = list(value) if isinstance(value, list | tuple | range) else array_of("value", value).tolist()
    return listed if isinstance(listed, list) else [listed]


def content_of(value: Any) -> str:
    """Return all that a value is, as text: equal for values from which the same comes, whatever they are kept in.

    Examples
    --------
    >>> content_of(np.array([1, 2])) == content_of([1.0, 2.0]), content_of(True) == content_of(1)
    (True, False)
    """
    kind = _kind(value)
    if kind == "number":
        return repr(int(value)) if isinstance(value, int | np.integer) or value.is_integer() else repr(float(value))
    if kind == "search":
        decision, own = tuple(value.attrs["decision"]), json.loads(value.attrs.get("options", "{}"))
        return content_of((decision, own) if own else decision)
    if kind == "family":
        return content_of((value.name, value.settings()))
    if kind == "mapping":
        return "{" + ", ".join(sorted(f"{name!r}: {content_of(item)}" for name, item in value.items())) + "}"
    if kind in ("several", "set"):
        return "[" + ", ".join(map(content_of, _several(value))) + "]"
    return repr(value)


def text_of(value: Any) -> str:
    """Return a value as a short label.

    Examples
    --------
    >>> text_of(("tau_dendrite", "threshold")), text_of(None), text_of({"tau_soma": 20})
    ('tau_dendrite + threshold', 'nothing', 'tau_soma=20')
    >>> text_of({"tau_soma": np.arange(10.0, 110.0)}), text_of(make_family("dms", delay=500))
    ('tau_soma=100 values dcf69b', 'dms (delay=500)')
    """
    kind = _kind(value)
    if kind in WORDS:
        return WORDS[kind](value)
    if callable(value):
        return str(getattr(value, "__qualname__", type(value).__name__))
    return "nothing" if value is None else str(getattr(value, "name", value))


def _number_text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float | np.floating) and float(f"{value:g}") == value else str(value)


def _search_text(search: xr.Dataset) -> str:
    own = json.loads(search.attrs.get("options", "{}"))
    return "; ".join([text_of(tuple(search.attrs["decision"])), *([text_of(own)] if own else [])])


def _family_text(family: Family) -> str:
    plain = type(family)().settings()
    own = {name: item for name, item in family.settings().items() if content_of(item) != content_of(plain.get(name))}
    return f"{family.name} ({text_of(own)})" if own else family.name


def _mapping_text(mapping: Mapping[Any, Any]) -> str:
    return ", ".join(f"{name}={text_of(item)}" for name, item in mapping.items()) or "nothing"


def _several_text(values: Any) -> str:
    parts = _several(values)
    words = all(isinstance(part, str) for part in parts)
    if len(parts) > SHORT and not words:
        return f"{len(parts)} values {hashlib.sha256(content_of(parts).encode()).hexdigest()[:6]}"
    if parts and all(_kind(part) == "number" for part in parts):
        return f"({', '.join(map(text_of, parts))})"
    return " + ".join(map(text_of, parts)) or "nothing"


WORDS: dict[str, Callable[[Any], str]] = {
    "number": _number_text,
    "search": _search_text,
    "family": _family_text,
    "mapping": _mapping_text,
    "set": _several_text,
    "several": _several_text,
}
