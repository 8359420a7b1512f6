"""Generated calls of every public function: a right answer, or an error that names the argument; nothing else."""

from __future__ import annotations

import inspect
import os
import re
import resource
import signal
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import holoviews as hv
import numpy as np
import pytest
import xarray as xr
from calls import ANALYSES, REST, as_right, generated
from calls_views import EXPLORERS, PICTURES, RECORDERS
from test_public_names import listed, thing

import ip2lab

PACKAGE = str(Path(ip2lab.__file__).parent)
CALLS = ANALYSES | REST | PICTURES | EXPLORERS | RECORDERS
TURN = [*ANALYSES, *PICTURES, *RECORDERS] * 4 + [*REST] * 2 + [*EXPLORERS]  # what trains or draws much takes longer
MEMORY = 4 << 30  # bytes that all calls together may take: more raises MemoryError, which is wrong
SECONDS = 300  # for one call, on a loaded machine, compiling too: longer is taken for a hang
# words that stand for the data themselves
DATA = ("the data", "expected an xarray", "expected a run", "variable", "labels", "of the two", "events", "basis")


class Hang(BaseException):
    """A call did not return."""


@contextmanager
def limited() -> Iterator[None]:
    def ring(*_: Any) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def wrong(error: BaseException, arguments: dict[str, Any]) -> str | None:
    """Return what is wrong with an error: of what kind it is, where it comes from, whether it names an argument."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(last.filename).name}:{last.lineno} {last.name}"
    text = str(error)
    if not isinstance(error, (ValueError, TypeError, KeyError, OSError)):
        return f"{type(error).__name__} at {place}: {text[:200]}"
    if not last.filename.startswith(PACKAGE):
        return f"{type(error).__name__} from outside, {place}: {text[:200]}"
    names = {form for name in arguments for form in (name, name.rstrip("s"))}  # "one label for each input"
    names |= {repr(part) for value in arguments.values() for part in parts(value)}
    values = [repr(value)[:60] for value in arguments.values()]
    values += [value for value in arguments.values() if isinstance(value, str) and len(value) > 2]
    if not any(re.search(rf"(?<![a-z]){re.escape(name)}", text) for name in names | {*values, *DATA}):
        return f"{type(error).__name__} names no argument, {place}: {text[:200]}"
    return None


def parts(value: Any) -> list[Any]:
    """Return the names of labelled data and of what they hold: an error may name those, too."""
    if isinstance(value, xr.DataArray):
        return [value.name, *value.dims, *value.coords]
    return [*value.data_vars, *value.sizes] if isinstance(value, xr.Dataset) else []


def attempt(name: str, rng: np.random.Generator, right: bool) -> tuple[str, str | None]:
    """Make one generated call; return how it ended, and what was wrong with that."""
    words, arguments = as_right(rng, name, CALLS[name]) if right else generated(rng, CALLS[name])
    try:
        with limited(), warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", UserWarning)
            answer = CALLS[name][0](**arguments)
    except (Exception, Hang) as error:
        problem = f"a right call, refused: {type(error).__name__}: {error}" if right else wrong(error, arguments)
        return "refused", problem and f"{name}({words}): {problem}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # infinite values are warned of, and shown as gaps
            if name in PICTURES and hasattr(answer, "opts"):
                hv.render(answer, backend="bokeh")  # what a notebook does with it
            if name in EXPLORERS:
                answer.close()
    except Exception as error:
        return "answered", f"{name}({words}): the picture cannot be shown: {type(error).__name__}: {error}"
    return "answered", None


def attempts(count: int, seed: int, folder: Path) -> tuple[Counter[str], list[str]]:
    """Make so many calls, the functions in turn, every other one right; relative paths lie in `folder`."""
    rng, ends, problems = np.random.default_rng(seed), Counter(), []
    before, limits = Path.cwd(), resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, limits[1]))
    os.chdir(folder)
    try:
        for i in range(count):
            right = bool(i // len(TURN) % 2) != bool(i % 2)
            end, problem = attempt(TURN[i % len(TURN)], rng, right)
            ends["right" if right else end] += 1
            problems += [problem] if problem else []
    finally:
        os.chdir(before)
        resource.setrlimit(resource.RLIMIT_AS, limits)
    return ends, problems


@pytest.mark.parametrize("name", CALLS)
def test_the_unchanged_call_works(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    function, arguments = CALLS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        assert function(**arguments()) is not None


NOT_CALLED = {  # beside classes that others make (an Activity, a Problem), which are called by those
    "families": "takes nothing", "models": "takes nothing", "simulate": "called by every network",
    "write_search": "called by a function that returns something",
    "make": "trains for a minute; its names are those of example",
}  # fmt: skip


def test_every_public_function_is_called():
    called = {function for function, _ in CALLS.values()} | {getattr(f, "__func__", f) for f, _ in CALLS.values()}
    missing = [
        name
        for name in listed()
        if not inspect.isclass(thing(name)) and callable(thing(name)) and thing(name) not in called
    ]
    assert sorted(name.rpartition(".")[2] for name in missing) == sorted(NOT_CALLED)


def text_labels(data: xr.DataArray) -> xr.DataArray:
    return data.assign_coords({data.dims[0]: [f"x{i}" for i in range(data.shape[0])]})


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("neuron_map", lambda a: {"log": "nonsense"}, "log: 'nonsense' is not valid; give a pair of True or False"),
        ("neuron_map", lambda a: {"log": np.ones(2)}, "log: .* is not valid; give a pair of True or False"),
        ("raster", lambda a: {"marked": {"a": 1}}, r"marked: \{'a': 1\} is not valid; give a list of numbers"),
        ("raster", lambda a: {"marked": ["neuron"]}, "marked: .* is not valid; give a list of numbers"),
        ("raster", lambda a: {"marked": range(10**9)}, "marked: .* is not valid; give a list of numbers, at most"),
        ("trajectories", lambda a: {"marked": [[1, 2], [3]]}, "marked: .* is not valid; give a list of numbers"),
        ("problem", lambda a: {"seed": range(10**9)}, "seed: 1,000,000,000 numbers are too many"),
        ("TrainingRecorder", lambda a: {"learnable": range(10**9)}, "learnable: 0 is unknown"),
        ("Recorder.append", lambda a: {"tau_soma": range(10**9)}, r"tau_soma.* is range\(.*; expected an array"),
        ("run_many", lambda a: {"plan": range(10**9)}, "plan: more than 100,000 mappings of arguments"),
        ("subspaces", lambda a: {"data": text_labels(a["data"])}, "an average over .* problems in a row"),
    ],
)
def test_a_wrong_call_found_by_the_long_test_is_refused_by_name(name, change, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    function, arguments = CALLS[name]
    given = arguments()
    with pytest.raises((ValueError, TypeError), match=words):
        function(**given | change(given))


def test_over_problems_draws_with_a_floor_of_ten_to_the_thirty():
    function, arguments = CALLS["over_problems"]
    assert hv.render(function(**arguments() | {"floor": 10**30}), backend="bokeh")


def show(ends: Counter[str]) -> str:
    changed = f"{ends['answered']} answered, {ends['refused']} refused by name"
    counts = f"{ends['right']} right ones, all answered; of those with a wrong argument {changed}"
    return f"{ends.total()} generated calls of {len(CALLS)} functions: {counts}"


def test_1000_calls_are_answered_or_refused_by_name(tmp_path, note):
    ends, problems = attempts(1000, 1, tmp_path)
    note(show(ends))
    assert not problems, "\n".join(problems)


@pytest.mark.nightly
def test_10000_calls(tmp_path, note):
    ends, problems = attempts(10_000, 2, tmp_path)
    note(show(ends))
    assert not problems, "\n".join(problems)
