"""Long use: training and looking for hours take no more memory and no more open files than at the start.

Each is measured in a process of its own, as a kernel is: in one that has done much else before, Python looks for
garbage more rarely, and what came and went leaves holes.
"""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import os
import tempfile
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from make_run import make_run

import ip2lab
from ip2lab.tasks import family
from ip2lab.training import runtime

MB = 2**20
MOST = 20 * MB
TASK = family("association", stimulus=200.0, delay=200.0, response=200.0, grace_period=40.0)
NEVER = {"criterion": 1e-9, "learning_rate": 1e-7}  # no problem is solved
EXPLORERS = ["LearningExplorer", "PopulationExplorer", "NeuronExplorer", "PlasticityExplorer"]

pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc to see memory and files")


def alone(work: Callable[..., Any], *given: Any) -> Any:
    """Do something in a new process and return what came of it."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *given).result()


def used() -> tuple[int, int]:
    """Return bytes of memory and number of open files of this process, after what can be given back is."""
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return resident, len(os.listdir("/proc/self/fd"))


@pytest.fixture
def folder() -> Iterator[Path]:
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as made:
        yield Path(made)


# ---------------------------------------------------------------- training


def train(steps: int, path: Path) -> tuple[int, list[int]]:
    """Train on problems of 2000 trials; return the growth from the tenth part of them on, and numbers of open files."""
    problems, seen = steps // 2000, []

    def look(series: Any) -> None:
        if series.trial == 0 and series.problem and series.problem % max(1, series.problems // 20) == 0:
            seen.append((series.problem, used()))

    before = used()[1]
    runtime.CALL_EVERY = 0.0
    run = ip2lab.train(TASK, problems=problems, neurons=20, path=path, progress=look, max_trials=2000, **NEVER)
    assert run["trials"].sizes["trial"] == steps
    start = next(state for problem, state in seen if problem >= problems // 10)
    growth = max(state[0] for _, state in seen) - start[0]
    during = {state[1] for _, state in seen}
    del run
    return growth, [before, used()[1], *during]


@pytest.mark.slow
@pytest.mark.parametrize("steps", [60_000, pytest.param(1_000_000, marks=pytest.mark.nightly)])
def test_memory_is_flat_while_it_trains(folder, note, steps):
    growth, (before, after, *during) = alone(train, steps, folder / "run")
    note(f"{steps:,} training steps: memory grew by {growth / MB:.1f} MB")
    assert growth < MOST
    assert len(during) == 1
    assert after == before


# ---------------------------------------------------------------- explorers


def explorer(which: str) -> Any:
    """Make an explorer of small runs, or of recorded searches."""
    from ip2lab import views

    if which == "PlasticityExplorer":
        shown: Any = [ip2lab.example(f"search_{name}") for name in ("association", "dms")]
    else:
        run = make_run(problems=14, neurons=12, steps=25, repeats=2)
        shown = {"one": run, "two": run, "three": run} if which == "LearningExplorer" else run
    return getattr(views, which)(shown)


def places(control: Any) -> list[Any]:
    """Return where a control can go."""
    if hasattr(control, "options") and not isinstance(control.value, (tuple, list)):
        given = control.options.items() if isinstance(control.options, dict) else control.options
        return [option[1] if isinstance(option, tuple) else option for option in given]
    return [True, False] if isinstance(control.value, bool) else []


def go_everywhere(explorer: Any) -> None:
    """Move every control to each of its places once: libraries, fonts and pictures that are kept come in."""
    for name, control in explorer.controls.items():
        for place in places(control):
            explorer.state = {name: place}
            explorer.settle()


def interact(explorer: Any, rng: np.random.Generator) -> None:
    """Move one control to another of its places."""
    name = str(rng.choice(list(explorer.controls)))
    found = places(explorer.controls[name])
    if found:
        explorer.state = {name: found[rng.integers(len(found))]}
    explorer.settle()


def look_at(which: str, count: int) -> tuple[int, int]:
    """Move the controls of an explorer; return how much memory and how many open files that cost."""
    made, rng = explorer(which), np.random.default_rng(0)
    go_everywhere(made)
    for _ in range(max(40, count // 5)):
        interact(made, rng)
    start = used()
    for _ in range(count):
        interact(made, rng)
    end = used()
    return end[0] - start[0], end[1] - start[1]


@pytest.mark.slow
@pytest.mark.parametrize("which", EXPLORERS)
@pytest.mark.parametrize("count", [40, pytest.param(1000, marks=pytest.mark.nightly)])
def test_memory_is_flat_while_it_is_looked_at(note, which, count):
    growth, files = alone(look_at, which, count)
    note(f"{count} interactions with the {which}: memory grew by {growth / MB:.1f} MB")
    assert growth < MOST
    assert files <= 0


def open_and_close(which: str, count: int) -> tuple[int, int]:
    """Open and close an explorer; return how much memory that cost, and how many are still there."""
    seen: list[weakref.ref[Any]] = []

    def once() -> None:
        made = explorer(which)
        made.close()
        seen.append(weakref.ref(made))

    for _ in range(max(5, count // 5)):
        once()
    start = used()
    for _ in range(count):
        once()
    return used()[0] - start[0], sum(each() is not None for each in seen)


@pytest.mark.slow
@pytest.mark.parametrize("which", EXPLORERS)
@pytest.mark.parametrize("count", [5, pytest.param(50, marks=pytest.mark.nightly)])
def test_an_explorer_that_is_closed_leaves_nothing(note, which, count):
    growth, left = alone(open_and_close, which, count)
    note(f"{count} times a {which} was opened and closed: memory grew by {growth / MB:.1f} MB")
    assert left == 0
    assert growth < MOST


# ---------------------------------------------------------------- watching a training


def watch(count: int) -> tuple[int, int, str]:
    """Draw a training that solves nothing after every ten trials; return memory, files, and what the widget says."""
    from ip2lab.views.explorers import live

    seen: list[tuple[int, int]] = []
    runtime.CALL_EVERY, live.EVERY, live.SHARE = 0.0, 0.0, 1.0
    draw = live.LiveTraining._draw_now

    def drawn(watched: Any) -> None:
        draw(watched)
        seen.append(used() if len(seen) in (count // 5, count - 1) else (0, 0))
        if len(seen) == count:
            watched.stop()

    live.LiveTraining._draw_now = drawn  # type: ignore[method-assign]
    options = {"problems": 10_000, "max_trials": 100, "record": {"checkpoints": False}}
    watched = live.LiveTraining(TASK, neurons=20, **options, **NEVER)
    watched.start()
    watched.wait(3000)
    start, end = seen[count // 5], seen[-1]
    return end[0] - start[0], end[1] - start[1], watched._status.value


@pytest.mark.slow
@pytest.mark.parametrize("count", [40, pytest.param(1000, marks=pytest.mark.nightly)])
def test_memory_is_flat_while_a_training_is_watched(note, count):
    growth, files, status = alone(watch, count)
    note(f"{count} drawings of a LiveTraining: memory grew by {growth / MB:.1f} MB")
    assert "could not be drawn" not in status
    assert growth < MOST
    assert files <= 0
