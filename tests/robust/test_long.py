"""Long use: training and looking for hours take no more memory and no more open files than at the start."""

from __future__ import annotations

import ctypes
import gc
import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from make_run import make_run

import ip2lab
from ip2lab import running
from ip2lab.tasks import family

MB = 2**20
MOST = 20 * MB
TASK = family("association", stimulus=200.0, delay=200.0, response=200.0, unscored=40.0)

pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc to see memory and files")


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


@pytest.mark.slow
@pytest.mark.parametrize("steps", [60_000, pytest.param(1_000_000, marks=pytest.mark.nightly)])
def test_memory_is_flat_while_it_trains(folder, note, steps):
    """Problems of 2000 trials, none of them solved; measured from the tenth part of them on."""
    seen: list[tuple[int, tuple[int, int]]] = []

    def look(series: Any) -> None:
        if series.trial == 0 and series.problem and series.problem % max(1, series.problems // 20) == 0:
            seen.append((series.problem, used()))

    problems = steps // 2000
    before = len(os.listdir("/proc/self/fd"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running, "CALL_EVERY", 0.0)
        never = {"max_trials": 2000, "criterion": 1e-9, "learning_rate": 1e-7}
        run = ip2lab.train(TASK, problems=problems, neurons=20, path=folder / "run", progress=look, **never)
    assert run["trials"].sizes["trial"] == steps
    start = next(state for problem, state in seen if problem >= problems // 10)
    growth = max(state[0] for _, state in seen) - start[0]
    note(f"{steps:,} training steps: memory grew by {growth / MB:.1f} MB")
    assert growth < MOST
    assert len({state[1] for _, state in seen}) == 1
    del run
    assert used()[1] == before


@pytest.fixture(scope="module")
def run() -> xr.DataTree:
    return make_run(problems=14, neurons=12, steps=25, repeats=2)


def interact(explorer: Any, rng: np.random.Generator) -> None:
    """Move one control to another of its places."""
    name = str(rng.choice(list(explorer.controls)))
    control = explorer.controls[name]
    if hasattr(control, "options") and len(control.options) and not isinstance(control.value, (tuple, list)):
        given = control.options.items() if isinstance(control.options, dict) else control.options
        options = [option[1] if isinstance(option, tuple) else option for option in given]
        explorer.state = {name: options[rng.integers(len(options))]}
    elif isinstance(control.value, bool):
        explorer.state = {name: not control.value}
    if hasattr(explorer, "settle"):
        explorer.settle()


@pytest.fixture(scope="module")
def shown(run: xr.DataTree) -> dict[str, Any]:
    searches = [ip2lab.example(f"search_{name}") for name in ("association", "dms")]
    return {"PlasticityExplorer": searches, **dict.fromkeys(["PopulationExplorer", "NeuronExplorer"], run)} | {
        "LearningExplorer": {"one": run, "two": run, "three": run}
    }


@pytest.mark.slow
@pytest.mark.parametrize("which", ["LearningExplorer", "PopulationExplorer", "NeuronExplorer", "PlasticityExplorer"])
@pytest.mark.parametrize("count", [40, pytest.param(1000, marks=pytest.mark.nightly)])
def test_memory_is_flat_while_it_is_looked_at(shown, note, which, count):
    from ip2lab import views

    explorer, rng = getattr(views, which)(shown[which]), np.random.default_rng(0)
    for _ in range(max(40, count // 5)):  # libraries, fonts and every method come in once
        interact(explorer, rng)
    start = used()
    for _ in range(count):
        interact(explorer, rng)
    end = used()
    note(f"{count} interactions with the {which}: memory grew by {(end[0] - start[0]) / MB:.1f} MB")
    assert end[0] - start[0] < MOST
    assert end[1] <= start[1]
    explorer.close()


@pytest.mark.slow
@pytest.mark.parametrize("count", [40, pytest.param(1000, marks=pytest.mark.nightly)])
def test_memory_is_flat_while_a_training_is_watched(monkeypatch, note, count):
    """One training that solves nothing, drawn after every ten trials."""
    from ip2lab.views import live

    monkeypatch.setattr(running, "CALL_EVERY", 0.0)
    monkeypatch.setattr(live, "EVERY", 0.0)
    monkeypatch.setattr(live, "SHARE", 1.0)
    seen: list[tuple[int, int]] = []
    draw = live.LiveTraining._draw_now

    def drawn(watched: Any) -> None:
        draw(watched)
        seen.append(used() if len(seen) in (count // 5, count - 1) else (0, 0))
        if len(seen) == count:
            watched.stop()

    monkeypatch.setattr(live.LiveTraining, "_draw_now", drawn)
    never = {"problems": 10_000, "max_trials": 100, "criterion": 1e-9, "learning_rate": 1e-7}
    watched = live.LiveTraining(TASK, neurons=20, record={"checkpoints": False}, **never)
    watched.start()
    watched.wait(3000)
    start, end = seen[count // 5], seen[-1]
    note(f"{count} drawings of a LiveTraining: memory grew by {(end[0] - start[0]) / MB:.1f} MB")
    assert "could not be drawn" not in watched._status.value
    assert end[0] - start[0] < MOST
    assert end[1] <= start[1]
    watched.close()
