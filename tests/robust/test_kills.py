"""Whole trainings killed or interrupted at random moments: little is lost, and what is finished later is the same."""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty
from typing import Any

import numpy as np
import pytest
import xarray as xr
from jupyter_client.manager import start_new_kernel
from test_learning import assert_same_bits
from training_server import ROOT, TASK, TrainingServer, arguments, beside, holds, training_server

import ip2lab
from ip2lab.records import read_checkpoint
from ip2lab.records.reading import read_root
from ip2lab.records.stores import Folder
from ip2lab.records.writing import unstarted

KILLED = ["a commit after every ten trials", "long problems", "every option", "rate network", "attention"]
PROMISE = 5.0  # seconds


@pytest.fixture(scope="module")
def trainings() -> Iterator[TrainingServer]:
    with training_server() as made:
        yield made


class Whole:
    """Undisturbed runs, one of a kind, and how long they took."""

    def __init__(self, trainings: TrainingServer, folder: Path) -> None:
        self._trainings, self._folder, self._made = trainings, folder, {}

    def of(self, kind: str) -> tuple[Path, float]:
        if kind not in self._made:
            path = self._folder / kind.replace(" ", "_")
            self._made[kind] = path, self._trainings.run("train", path, kind)
        return self._made[kind]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A place in memory where there is one: a kill is the same there, and the many commits cost less."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as made:
        yield Path(made)


@pytest.fixture(scope="module")
def whole(trainings: TrainingServer, folder: Path) -> Whole:
    return Whole(trainings, folder)


def assert_same_end(path: Path, whole: Path) -> None:
    """Every number of the run, and all that training would go on from: weights, moments, position, penalties."""
    done, wanted = ip2lab.open_run(path, verify=True), ip2lab.open_run(whole)
    assert done.attrs["complete"] is True
    assert_same_bits(done, wanted)
    left, right = read_checkpoint(path), read_checkpoint(whole)
    assert left.keys() == right.keys()
    for name in left.keys() - {"measures"}:  # seconds that it took are among those
        np.testing.assert_array_equal(left[name], right[name], err_msg=name)
    np.testing.assert_array_equal(left["measures"][1:], right["measures"][1:])


def where_killed(path: Path) -> str:
    """Say what a kill met, from what it left: a store at its birth, a commit, or trials."""
    if not path.exists() or not any(path.iterdir()):
        return "before the store"
    if unstarted(path):
        return "at the store's birth"
    if ip2lab.open_run(path).attrs["complete"]:
        return "at its end"
    committed = (path / "zarr.json").stat().st_mtime_ns
    partial = any(path.rglob("*.partial"))
    chunks = (chunk.stat().st_mtime_ns for chunk in path.rglob("c.*"))
    return "in a commit" if partial or any(written > committed for written in chunks) else "between commits"


def is_prefix(part: xr.DataTree, whole: xr.DataTree) -> None:
    """What was committed is the beginning of the undisturbed run."""
    for group, dim in (("series", "problem"), ("trials", "trial"), ("trajectories", "step")):
        rows = part[group].sizes[dim]
        expected = whole[group].to_dataset().isel({dim: slice(rows)})
        for name, values in part[group].data_vars.items():
            if name != "duration":
                np.testing.assert_array_equal(values.values, expected[name].values, err_msg=f"{group}/{name}")


def kill_chain(
    trainings: TrainingServer, whole: Whole, kind: str, path: Path, rng: np.random.Generator, kills: int
) -> Counter:
    """Kill a training and those that go on with it, then let it end; return what the kills met."""
    met: Counter[str] = Counter()
    (wanted, took), call, done = whole.of(kind), "train", ip2lab.open_run(whole.of(kind)[0])
    for i in range(kills):
        moment = rng.uniform(0, 0.8 * took)
        # a commit takes milliseconds: every other kill waits for one
        status, _ = trainings.hit(call, path, kind, moment, signal.SIGKILL, within="*.partial" if i % 2 else "")
        if status == 0:  # it had ended before
            break
        assert status == -signal.SIGKILL
        place = where_killed(path)
        if place == "at its end":
            break
        met[place] += 1
        if place in ("in a commit", "between commits"):
            is_prefix(ip2lab.open_run(path, verify=True), done)
            call = "resume"
        elif path.exists() and not any(path.iterdir()):
            path.rmdir()  # not even its lock was there
    finish(trainings, call, path, kind)
    assert_same_end(path, wanted)
    return met


def finish(trainings: TrainingServer, call: str, path: Path, kind: str) -> None:
    if not path.exists() or unstarted(path) or not ip2lab.open_run(path).attrs["complete"]:
        trainings.run(call, path, kind)
        assert not list(path.rglob("*.partial"))  # killed after its end, a harmless one may lie about


def kill(trainings: TrainingServer, whole: Whole, folder: Path, kills: int, seed: int, note: Any) -> None:
    rng, met, chain = np.random.default_rng(seed), Counter(), 0
    while met.total() < kills:
        kind = KILLED[chain % len(KILLED)]
        path = folder / f"run{chain}"
        met += kill_chain(trainings, whole, kind, path, rng, min(4, kills - met.total()))
        shutil.rmtree(path)
        chain += 1
    places = ", ".join(f"{count} {place}" for place, count in met.most_common())
    note(
        f"{met.total()} kills of whole trainings ({places}): {chain} runs of {len(KILLED)} kinds, same bits at the end"
    )
    assert met["in a commit"]


def test_killed_at_any_moment_it_goes_on_to_the_bit(trainings, whole, folder, note):
    kill(trainings, whole, folder, 20, 1, note)


@pytest.mark.nightly
def test_200_kills(trainings, whole, folder, note):
    kill(trainings, whole, folder, 200, 2, note)


# ---------------------------------------------------------------- how much is lost


def lost(path: Path, sent: float) -> float:
    """Return for how long was worked, before a kill, on what its store does not hold."""
    reports = np.loadtxt(beside(path, "log"))
    problem, trial, _ = read_checkpoint(path)["position"]
    before = reports[(reports[:, 1] < problem) | ((reports[:, 1] == problem) & (reports[:, 2] < trial))]
    return sent - before[-1, 0]  # the last report before the commit: the checkpoint holds this and some trials more


@pytest.mark.parametrize(
    ("kind", "most", "moments"),
    [
        ("one endless problem", PROMISE, [6.0]),
        ("one endless problem, often kept", 3.0, [4.0]),
        pytest.param("one endless problem", PROMISE, np.linspace(5.2, 19.5, 12).tolist(), marks=pytest.mark.nightly),
    ],
)
def test_no_more_than_the_last_five_seconds_are_lost_in_a_long_problem(trainings, tmp_path, note, kind, most, moments):
    found = []
    for i, moment in enumerate(moments):
        path = tmp_path / f"run{i}"
        status, sent = trainings.hit("train", path, kind, moment, signal.SIGKILL)
        assert status == -signal.SIGKILL
        found.append(lost(path, sent))
        assert int(read_checkpoint(path)["position"][1]) > 1000  # in the middle of its only problem
        shutil.rmtree(path)
    note(f"lost by {len(moments)} kills in {kind}: at most {max(found):.2f} s of the promised {most:.0f} s")
    assert max(found) <= most


# ---------------------------------------------------------------- interrupts


def interrupt(trainings: TrainingServer, whole: Whole, folder: Path, count: int, seed: int, note: Any) -> None:
    """Interrupt at random moments; the process lives on, so its lock must be free, and a run that had begun is kept."""
    rng, outcomes = np.random.default_rng(seed), Counter()
    chain = 0
    while outcomes["stopped"] < count:
        kind, path, call = KILLED[chain % len(KILLED)], folder / f"run{chain}", "train"
        chain += 1
        wanted, took = whole.of(kind)
        for _ in range(3):
            beside(path, "outcome").unlink(missing_ok=True)
            trainings.hit(call, path, kind, rng.uniform(0, 0.8 * took), signal.SIGINT)
            if not beside(path, "outcome").exists():  # it came before the training or after it
                outcomes["outside"] += 1
                continue
            outcome, locked, said = json.loads(beside(path, "outcome").read_text())
            outcomes[outcome] += 1
            assert not locked
            if outcome == "stopped":
                assert any("the run was stopped before its end" in words for words in said), said
                run = ip2lab.open_run(path, verify=True)
                assert run.attrs["complete"] is False
                is_prefix(run, ip2lab.open_run(wanted))
                call = "resume"
            elif outcome == "interrupted":  # nothing was begun yet, or nothing of what was there was touched
                assert path.exists() == (call == "resume")
            else:
                break
        finish(trainings, call, path, kind)
        assert_same_end(path, wanted)
        shutil.rmtree(path)
    words = ", ".join(f"{number} {what}" for what, number in outcomes.most_common())
    note(f"interrupts at random moments ({words}): each stopped run was returned, lock free, same bits at the end")


def test_interrupted_at_any_moment_it_returns_and_goes_on_to_the_bit(trainings, whole, folder, note):
    interrupt(trainings, whole, folder, 8, 3, note)


@pytest.mark.nightly
def test_100_interrupts(trainings, whole, folder, note):
    interrupt(trainings, whole, folder, 100, 4, note)


# ---------------------------------------------------------------- asleep, and a kernel that is shut down


@pytest.mark.parametrize("count", [6, pytest.param(60, marks=pytest.mark.nightly)])
def test_a_training_that_is_put_to_sleep_goes_on_by_itself(trainings, whole, folder, note, count):
    """As a laptop stops its processes: it keeps its store, what it committed can be read, the bits are the same."""
    rng, slept, chain = np.random.default_rng(5), Counter(), 0
    while slept.total() < count:
        kind, path = KILLED[chain % len(KILLED)], folder / f"asleep{chain}"
        wanted, took = whole.of(kind)
        pid = trainings.start("train", path, kind)
        for i in range(2):
            moment = time.monotonic() + rng.uniform(0, 0.4 * took)
            while time.monotonic() < moment or (i and not (holds(path, "*.partial") or time.monotonic() > moment + 1)):
                pass
            with suppress(ProcessLookupError):  # it has ended
                os.kill(pid, signal.SIGSTOP)
                slept[asleep(path, pid, ip2lab.open_run(wanted))] += 1
                os.kill(pid, signal.SIGCONT)
        assert trainings.end() == 0
        assert_same_end(path, wanted)
        shutil.rmtree(path)
        chain += 1
    places = ", ".join(f"{number} {what}" for what, number in slept.most_common())
    note(f"{slept.total()} sleeps of {chain} trainings ({places}): each ended by itself, same bits")


def asleep(path: Path, pid: int, whole: xr.DataTree) -> str:
    """Look at the store of a process that sleeps; return where it fell asleep."""
    if not (path / "zarr.json").exists():
        return "before the store"
    if not (path / ".lock").exists():
        return "at its end"
    is_prefix(ip2lab.open_run(path, verify=True), whole)
    if read_root(Folder(path))["attributes"]["store"]["checkpoint"]:
        with pytest.raises(BlockingIOError, match=f"is being written by another process: .*process {pid}"):
            ip2lab.resume(path)
    return "in a commit" if any(path.rglob("*.partial")) else "between commits"


def test_a_kernel_that_is_interrupted_and_one_that_is_shut_down(tmp_path, whole, monkeypatch):
    """Jupyter's stop button, then a notebook whose kernel is shut down while it trains; a third one ends the run."""
    kind, path = "long problems", tmp_path / "run"
    options = arguments(kind)[1]
    wanted, _ = whole.of(kind)
    given = f"ip2lab.family('association', **{TASK!r}), path={str(path)!r}, progress=False, **{options!r}"
    train = f"ip2lab.train({given})"
    resume = f"ip2lab.resume({str(path)!r}, progress=False)"
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def root() -> bytes:
        return (path / "zarr.json").read_bytes() if (path / "zarr.json").exists() else b""

    def trained(kernel: Any, client: Any, call: str, leave: Callable[[], None] | None) -> list[str]:
        """Run a cell; once it has committed something new, do to it what is asked; return what it said."""
        before, said, late = root(), [], time.monotonic() + 200
        asked = client.execute(f"import ip2lab; print({call}.attrs['complete'])")
        while time.monotonic() < late:
            if leave and root() != before and b'"slot":' in root():
                leave()
                leave = None
                if not kernel.is_alive():
                    return []
            with suppress(Empty):
                message = client.get_iopub_msg(timeout=0.05)
                if message["parent_header"].get("msg_id") == asked:
                    said.append(message["content"].get("text", message["content"].get("ename", "")))
                    if message["content"].get("execution_state") == "idle":
                        return said
        raise AssertionError(f"the kernel says no more than {said}")

    with started_kernel() as (kernel, client):
        said = "".join(trained(kernel, client, train, kernel.interrupt_kernel))
        assert "False" in said, said
        assert "the run was stopped before its end" in said
        assert trained(kernel, client, resume, lambda: kernel.shutdown_kernel(now=False)) == []
    run = ip2lab.open_run(path, verify=True)
    assert run.attrs["complete"] is False
    is_prefix(run, ip2lab.open_run(wanted))
    with started_kernel() as (kernel, client):
        said = "".join(trained(kernel, client, resume, None))
        assert "True" in said, said
    assert_same_end(path, wanted)


@contextmanager
def started_kernel() -> Iterator[tuple[Any, Any]]:
    """Start a Python kernel as Jupyter does."""
    kernel, client = start_new_kernel(startup_timeout=120, cwd=str(ROOT))
    try:
        yield kernel, client
    finally:
        client.stop_channels()
        if kernel.has_kernel:
            kernel.shutdown_kernel(now=True)
