"""Generated calls of every public function: a right answer, or an error that names the argument; nothing else."""

from __future__ import annotations

import os
import re
import signal
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from calls import ANALYSES, REST, generated

import ip2lab

PACKAGE = str(Path(ip2lab.__file__).parent)
CALLS = ANALYSES | REST
SECONDS = 120  # for one call, on a loaded machine: longer is taken for a hang
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
    if not any(re.search(rf"(?<![a-z]){re.escape(name)}", text) for name in names | {*values, *DATA}):
        return f"{type(error).__name__} names no argument, {place}: {text[:200]}"
    return None


def parts(value: Any) -> list[Any]:
    """Return the names of labelled data and of what they hold: an error may name those, too."""
    if isinstance(value, xr.DataArray):
        return [value.name, *value.dims, *value.coords]
    return [*value.data_vars, *value.sizes] if isinstance(value, xr.Dataset) else []


def attempt(name: str, rng: np.random.Generator) -> tuple[str, str | None]:
    """Make one generated call; return how it ended, and what was wrong with that."""
    words, arguments = generated(rng, CALLS[name])
    try:
        with limited(), warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", UserWarning)
            CALLS[name][0](**arguments)
    except (Exception, Hang) as error:
        problem = wrong(error, arguments)
        return "refused", problem and f"{name}({words}): {problem}"
    return "answered", None


def attempts(count: int, seed: int, folder: Path) -> tuple[Counter[str], list[str]]:
    """Make so many calls, the functions in turn; a relative path that is given as an argument lies in `folder`."""
    rng, ends, problems = np.random.default_rng(seed), Counter(), []
    names = [*ANALYSES] * 3 + [*REST]  # what trains takes longer
    before = Path.cwd()
    os.chdir(folder)
    try:
        for i in range(count):
            end, problem = attempt(names[i % len(names)], rng)
            ends[end] += 1
            problems += [problem] if problem else []
    finally:
        os.chdir(before)
    return ends, problems


@pytest.mark.parametrize("name", CALLS)
def test_the_call_that_is_changed_works(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    function, arguments = CALLS[name]
    if name in ("resume", "open_run", "read_checkpoint"):
        with pytest.raises(FileNotFoundError, match="there is no run here"):
            function(**arguments())
    elif name == "example":
        with pytest.raises(KeyError, match="nonsense"):
            function(**arguments())
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            assert function(**arguments()) is not None


def show(ends: Counter[str]) -> str:
    counts = f"{ends['answered']} answered, {ends['refused']} refused by name"
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
