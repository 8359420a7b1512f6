"""Many runs at once: workers, schedulers and drivers are killed; what is finished is kept, the rest goes on."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from test_learning import assert_same_bits

import ip2lab
from ip2lab.experiments import grid, run_many
from ip2lab.records.writing import unstarted

ROOT = Path(__file__).parents[2]
SETTINGS: dict[str, Any] = {
    "family": "association", "problems": 2, "neurons": 20, "max_trials": 2500, "window": 20, "criterion": 1e-9,
    "record": {"interval": 0.2},
}  # fmt: skip
PLAN = grid(seed=[0, 1, 2, 3, 4, 5], **SETTINGS)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[xr.Dataset, Path]:
    """The same runs, one after the other, undisturbed."""
    folder = tmp_path_factory.mktemp("alone")
    return run_many(PLAN, folder=folder, progress=False).drop_vars("duration"), folder


def state(folder: Path) -> dict[str, tuple[bool, str, int]]:
    """Return of each run that was begun: whether it is complete, when it was begun, when it was committed last."""
    found = {}
    for path in sorted(folder.glob("*.zarr")):
        if (path / "zarr.json").exists() and not unstarted(path):
            attrs = ip2lab.open_run(path).attrs
            found[path.name] = attrs["complete"], attrs["date"], (path / "zarr.json").stat().st_mtime_ns
    return found


def assert_gone_on(before: dict[str, tuple[bool, str, int]], folder: Path, alone: tuple[xr.Dataset, Path]) -> None:
    """What was complete was not touched, what was begun was gone on with, and every run is the undisturbed one."""
    after = state(folder)
    for name, (complete, date, committed) in before.items():
        assert after[name][1] == date, f"{name} was begun anew"
        assert not complete or after[name][2] == committed, f"{name} was done twice"
    for path in sorted(alone[1].glob("*.zarr")):
        assert_same_bits(ip2lab.open_run(folder / path.name), ip2lab.open_run(path))


def wait_until(ready: Any, seconds: float = 120) -> None:
    limit = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < limit, "nothing happens"
        time.sleep(0.02)


def begun(folder: Path) -> bool:
    return any(state(folder).values())


def finished(folder: Path) -> int:
    return sum(complete for complete, *_ in state(folder).values())


def workers() -> ProcessPoolExecutor:
    context = get_context("forkserver")
    context.set_forkserver_preload(["ip2lab.experiments"])
    return ProcessPoolExecutor(2, mp_context=context)


def kill_local_workers(folder: Path, alone: tuple[xr.Dataset, Path], kills: int, seed: int) -> int:
    """Kill a worker again and again, each time calling again; return how often runs were found complete."""
    rng, kept = np.random.default_rng(seed), 0
    for _ in range(kills):
        before = state(folder)
        with workers() as pool:
            answer: list[Any] = []
            thread = threading.Thread(target=collect, args=(answer, folder, pool))
            thread.start()
            wait_until(lambda before=before, answer=answer: state(folder) != before or answer)
            time.sleep(rng.uniform(0, 0.5))
            for pid in list(pool._processes)[:1]:
                os.kill(pid, signal.SIGKILL)
            thread.join()
        if isinstance(answer[0], xr.Dataset):  # all was done before
            break
        assert isinstance(answer[0], RuntimeError)
        assert "failed" in str(answer[0]) and f"kept in {folder}; call it again" in str(answer[0])
        kept += finished(folder)
    before = state(folder)
    with workers() as pool:
        runs = run_many(PLAN, executor=pool, folder=folder, progress=False)
    assert runs.drop_vars("duration").identical(alone[0])
    assert_gone_on(before, folder, alone)
    return kept


def collect(answer: list[Any], folder: Path, executor: Any) -> None:
    try:
        answer.append(run_many(PLAN, executor=executor, folder=folder, progress=False))
    except Exception as error:
        answer.append(error)


@pytest.mark.slow
def test_local_workers_that_are_killed(alone, tmp_path, note):
    kept = kill_local_workers(tmp_path, alone, 2, 1)
    note(f"2 kills of local workers: the same call finished the rest ({kept} times a run was found complete and kept)")


@pytest.mark.nightly
def test_40_kills_of_local_workers(alone, tmp_path, note):
    kept = sum(kill_local_workers(tmp_path / f"{i}", alone, 4, 10 + i) for i in range(10))
    note(f"40 kills of local workers, 10 experiments of 6 runs: same bits, none done twice ({kept} found complete)")


DRIVER = """
import sys; sys.path.insert(0, {robust!r}); sys.path.insert(0, {tests!r})
from test_many import PLAN, run_many, workers
if __name__ == "__main__":
    with workers() as pool:
        run_many(PLAN, executor={executor}, folder={folder!r}, progress=False)
    print("done")
"""


def driver(folder: Path, executor: str) -> subprocess.Popen[str]:
    robust = Path(__file__).parent
    script = folder.with_name("driver.py")
    script.write_text(
        DRIVER.format(robust=str(robust), tests=str(robust.parent), folder=str(folder), executor=executor)
    )
    command = [sys.executable, str(script)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, start_new_session=True
    )


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["None", pytest.param("pool", marks=pytest.mark.nightly)])
def test_a_driver_that_is_killed_and_started_again(alone, tmp_path, executor):
    folder = tmp_path / "runs"
    folder.mkdir()
    first = driver(folder, executor)
    wait_until(lambda: finished(folder) or first.poll() is not None)
    os.killpg(first.pid, signal.SIGKILL)  # with its workers, as a machine that goes down does
    first.communicate()
    assert first.returncode == -signal.SIGKILL
    before = state(folder)
    assert 0 < finished(folder) < len(PLAN)
    second = driver(folder, executor)
    assert second.communicate()[0].split() == ["done"]
    assert_gone_on(before, folder, alone)


def test_a_task_that_raises_leaves_the_others_done_and_named(tmp_path):
    plan = [PLAN[0], PLAN[1] | {"neurons": -1}, PLAN[2], PLAN[3] | {"family": "dsm"}]
    plan = [each | {"max_trials": 60} for each in plan]
    with pytest.raises(RuntimeError, match=r"run 1, .*neurons.*failed: neurons: -1 .*2 of 4 failed.*call it again"):
        run_many(plan, folder=tmp_path, progress=False)
    assert finished(tmp_path) == 2
    before = state(tmp_path)
    plan[1], plan[3] = (plan[i] | {"seed": 9 + i, "neurons": 20, "family": "association"} for i in (1, 3))
    runs = run_many(plan, folder=tmp_path, progress=False)
    assert runs.sizes["run"] == 4
    assert runs.seed.values.tolist() == [0, 10, 2, 12]
    assert {name: value for name, value in state(tmp_path).items() if name in before} == before


def test_a_folder_of_another_plan_is_refused(tmp_path):
    plan = [PLAN[0] | {"max_trials": 60}]
    run_many(plan, folder=tmp_path, progress=False)
    for change, says in (
        ({"seed": 7}, "seed 0, not 7"),
        ({"learning_rate": 0.1}, r"learning_rate 0.004, not 0.1"),
        ({"family": "dms"}, "family 'association', not 'dms'"),
        ({"learnable": None}, r"learnable \[.*\], not \[\]"),
    ):
        with pytest.raises(RuntimeError, match=rf"folder: .*0000.zarr holds another run, with {says}; give another"):
            run_many([plan[0] | change], folder=tmp_path, progress=False)
    longer = run_many([plan[0] | {"problems": 3}], folder=tmp_path, progress=False)
    assert longer.sizes["problem"] == 3
    with pytest.raises(RuntimeError, match="problems: 2 are fewer than the 3 that this run has done"):
        run_many(plan, folder=tmp_path, progress=False)


def test_an_interrupt_ends_the_experiment_not_one_run_of_it(tmp_path, monkeypatch):
    """A run that was interrupted is no result; the next call goes on with it."""
    plan = [each | {"max_trials": 60} for each in PLAN[:2]]
    wanted = run_many(plan, progress=False)
    plain = ip2lab.training.trainer.Trainer.run

    def interrupted(trainer: Any, recorder: Any, progress: Any) -> Any:
        trainer.stop()
        return plain(trainer, recorder, progress)

    with monkeypatch.context() as patch:
        patch.setattr(ip2lab.training.trainer.Trainer, "run", interrupted)
        with pytest.warns(UserWarning, match="stopped before its end"), pytest.raises(KeyboardInterrupt):
            run_many(plan, folder=tmp_path, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["0000.zarr"]
    runs = run_many(plan, folder=tmp_path, progress=False)
    assert runs.drop_vars("duration").identical(wanted.drop_vars("duration"))


def test_progress_is_told_as_runs_end(capsys):
    run_many([each | {"max_trials": 60} for each in PLAN[:2]])
    assert "2/2" in capsys.readouterr().err


# ---------------------------------------------------------------- a Dask cluster


@pytest.fixture
def scheduler() -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """A cluster of processes of their own: its address, the scheduler, two workers."""
    distributed = pytest.importorskip("distributed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    begin = [sys.executable, "-m"]
    commands = [[*begin, "distributed.cli.dask_scheduler", "--host=127.0.0.1", f"--port={port}", "--no-dashboard"]]
    worker = ["--nthreads=1", "--no-dashboard", "--host=127.0.0.1", "--memory-limit=0"]
    commands += [[*begin, "distributed.cli.dask_worker", address, *worker]] * 2
    quiet = {"cwd": ROOT, "env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    processes = [subprocess.Popen(command, start_new_session=True, **quiet) for command in commands]
    assert distributed.__version__
    yield address, processes
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["worker", pytest.param("scheduler", marks=pytest.mark.nightly)])
@pytest.mark.filterwarnings("default")  # distributed says much when its processes die
def test_a_dask_cluster_that_loses_a_process(alone, tmp_path, scheduler, lost, note):
    import dask
    from distributed import Client

    address, processes = scheduler
    with dask.config.set({"distributed.comm.timeouts.connect": "5s", "distributed.comm.retry.count": 0}):
        client = Client(address, timeout="120s")
        try:
            client.wait_for_workers(2, timeout=120)
            answer: list[Any] = []
            thread = threading.Thread(target=collect, args=(answer, tmp_path, client.get_executor()))
            thread.start()
            wait_until(lambda: begun(tmp_path))
            if lost == "worker":
                (pid, *_) = client.run(os.getpid).values()
                os.kill(pid, signal.SIGKILL)
            else:
                os.killpg(processes[0].pid, signal.SIGKILL)
            thread.join(300)
            assert answer, "it waits for ever"
        finally:
            client.close(timeout=5)
    if lost == "worker":  # Dask gives the task to another one, which goes on with the run
        assert isinstance(answer[0], xr.Dataset), answer[0]
        assert answer[0].drop_vars("duration").identical(alone[0])
    else:
        assert isinstance(answer[0], RuntimeError)
    for process in processes[1:]:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    before = state(tmp_path)
    runs = run_many(PLAN, folder=tmp_path, progress=False)
    assert runs.drop_vars("duration").identical(alone[0])
    assert_gone_on(before, tmp_path, alone)
    note(
        f"a Dask cluster lost a {lost}: {sum(c for c, *_ in before.values())} of 6 runs were complete, the rest went on"
    )
