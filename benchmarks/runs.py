"""Whole runs: a long series with and without its store, two at once, the first call, cost against size."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import clock, interleave
from torch.nn import functional

import ip2lab
from ip2lab.networks.spiking import SpikingNetwork

PROBLEMS, SERIES_ROUNDS = 1000, 3
PAGE = os.sysconf("SC_PAGE_SIZE")


def series() -> dict[str, Any]:
    """Train on 1000 problems in memory and into a store, in turns; CPU time a trial and memory along the way."""
    taken: dict[str, list[float]] = {"in memory": [], "with its store": []}
    growth = []
    for _ in range(SERIES_ROUNDS):
        taken["in memory"].append(_series(None)[0])
        with tempfile.TemporaryDirectory() as folder:
            a_trial, later = _series(Path(folder) / "run.zarr")
        taken["with its store"].append(a_trial)
        growth.append(later)
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import runs; runs.print_memory()"
    memory = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    store, plain = np.array(taken["with its store"]), np.array(taken["in memory"])
    return {
        "times": {name: float(np.median(times)) for name, times in taken.items()},
        "ratio": float(np.median(store / plain)),
        "last third over first": float(np.median(growth)),
        "memory growth": float(memory[-1]),
    }


def _series(path: Path | None) -> tuple[float, float]:
    """Return ms of CPU a trial, and how much more it is in the last third than in the first."""
    seen: list[tuple[int, float]] = []
    began = time.process_time()
    run = ip2lab.train(
        "association",
        problems=PROBLEMS,
        path=path,
        progress=lambda now: seen.append((now.problem, time.process_time())),
    )
    whole = time.process_time() - began
    trials = np.concatenate([[0], np.cumsum(run["series"].trials.values)])
    problem, cpu = map(np.array, zip(*seen, strict=True))
    first, second = (int(np.searchsorted(problem, PROBLEMS * share)) for share in (1 / 3, 2 / 3))

    def a_trial(a: int, b: int) -> float:
        return float((cpu[b] - cpu[a]) / (trials[problem[b]] - trials[problem[a]]))

    return 1e3 * whole / int(trials[-1]), a_trial(second, len(seen) - 1) / a_trial(0, first)


def print_memory() -> None:
    """Train into a store and print by how many MB this process grew after the first third; for a process of its own."""
    seen: list[tuple[int, float]] = []

    def watch(now: Any) -> None:
        seen.append((now.problem, int(Path("/proc/self/statm").read_text().split()[1]) * PAGE / 1e6))

    with tempfile.TemporaryDirectory() as folder:
        ip2lab.train("association", problems=PROBLEMS, path=Path(folder) / "run.zarr", progress=watch)
    third = next(memory for problem, memory in seen if problem >= PROBLEMS / 3)
    print(seen[-1][1] - third)


_ONE_RUN = """
import os, sys, time
os.sched_setaffinity(0, {int(sys.argv[1])})
import ip2lab
ip2lab.train("association", problems=2, progress=False)
print("ready", flush=True)
sys.stdin.readline()
wall, cpu = time.perf_counter(), time.process_time()
run = ip2lab.train("association", problems=100, progress=False)
trials = int(run["series"].trials.sum())
print(trials / (time.perf_counter() - wall), trials / (time.process_time() - cpu))
"""


def two() -> dict[str, Any]:
    """Run one series, then two at once on two cores, three times: trials a second of wall and of CPU time."""
    cores = _all_cores()[:2]
    if len(cores) < 2:
        return {"skipped": "this machine has one core"}
    gains = [(_together(cores), _together(cores[:1])) for _ in range(3)]
    wall, cpu = (float(np.median([two[k] / one[k] for two, one in gains])) for k in (0, 1))
    return {"gain in wall time": wall, "gain in CPU time": cpu}


def _all_cores() -> list[int]:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, before)
    return cores


def _together(cores: list[int]) -> tuple[float, float]:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    running = [subprocess.Popen([sys.executable, "-c", _ONE_RUN, str(core)], **pipes) for core in cores]  # type: ignore[call-overload]
    for process in running:  # until all have imported and compiled
        process.stdout.readline()
    for process in running:
        process.stdin.write("\n")
        process.stdin.flush()
    speeds = np.array([process.communicate()[0].split() for process in running], float)
    return float(speeds[:, 0].sum()), float(speeds[:, 1].sum())


_FIRST_CALL = """
import time
began = time.process_time()
import torch, xarray
import ip2lab
from ip2lab.networks.spiking import SpikingNetwork
train, imported = ip2lab.train, time.process_time() - began
network = SpikingNetwork(11, 3)
began = time.process_time()
network(torch.zeros(1, 100, 11)).logits.sum().backward()
module = time.process_time() - began
began = time.process_time()
train("association", problems=1, max_trials=51, progress=False)
print(imported, module, time.process_time() - began)
"""


def first() -> dict[str, Any]:
    """Time the first calls of a new process after its imports, CPU seconds, with an empty and with a warm cache."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"NUMBA_CACHE_DIR": folder}

        def call() -> list[float]:
            command = [sys.executable, "-c", _FIRST_CALL]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
            return [float(word) for word in done.stdout.split()[-3:]]

        cold = call()
        warm = np.median([call() for _ in range(3)], axis=0).tolist()
    return {
        "imports of torch, xarray and ip2lab": {"warm": warm[0]},
        "module": {"cold": cold[1], "warm": warm[1]},
        "train, 51 trials": {"cold": cold[2], "warm": warm[2]},
    }


# ---------------------------------------------------------------- cost against size

BASE = {"neurons": 256, "time": 100, "trial": 16}
SIZES = {"neurons": (64, 128, 256, 512, 1024, 2048), "time": (50, 100, 200, 400), "trial": (1, 4, 16, 64)}
LENGTHS = (50, 100, 200, 400)


def scaling() -> dict[str, Any]:
    """Time a pass against neurons, steps and trials, and a series against its length; count the operations."""
    result = {}
    for name, sizes in SIZES.items():
        made = {str(size): _pass(**(BASE | {name: size})) for size in sizes}
        taken = interleave({size: clock(go) for size, (go, _) in made.items()}, 5)
        result[name] = _fitted(sizes, [float(np.median(taken[size])) for size in made], [n for _, n in made.values()])
    seen: dict[int, tuple[float, int]] = {0: (0.0, 0)}

    def watch(now: Any) -> None:
        seen[now.problem] = (time.process_time(), now.problem)

    run = ip2lab.train("association", problems=LENGTHS[-1], progress=watch)
    trials = np.cumsum(run["series"].trials.values)
    done = np.array(sorted(seen))[1:]
    cpu = np.array([seen[k][0] for k in done]) * 1e3
    at = [int(np.searchsorted(done, length)) for length in LENGTHS]
    begin = cpu[0] - (cpu[-1] - cpu[0]) / (trials[done[-1] - 1] - trials[done[0] - 1]) * trials[done[0] - 1]
    result["problem"] = _fitted(LENGTHS, [float(cpu[k] - begin) for k in at], [float(trials[done[k] - 1]) for k in at])
    return result


def _pass(neurons: int, time: int, trial: int) -> tuple[Callable[[], Any], float]:
    """Return forward and backward of a batch, and how many multiplications it should need."""
    network = SpikingNetwork(20, 3, neurons)
    rng = np.random.default_rng(1)
    x = np.zeros((trial, time, 20), np.float32)
    x[:, : time // 4] = rng.standard_normal((trial, 1, 20)) / np.sqrt(20)
    inputs, target = torch.from_numpy(x), torch.zeros(trial * time, dtype=torch.int64)

    def go() -> Any:
        network.zero_grad()
        activity = network(inputs)
        functional.cross_entropy(activity.logits.reshape(-1, 3), target).backward()
        return activity

    activity = go()
    threshold = network.properties()["threshold"]
    rate = float(activity.spikes.detach().mean())
    near = float(((activity.membrane - threshold).detach().abs() < threshold).float().mean())
    each = (2 * rate + near) * neurons**2 + 30 * neurons  # rows forward and in the gradient, products backward; loops
    return go, each * time * trial


def _fitted(sizes: tuple[int, ...], times: list[float], counts: list[float]) -> dict[str, Any]:
    measured, predicted = (float(np.polyfit(np.log(sizes), np.log(y), 1)[0]) for y in (times, counts))
    return {"sizes": list(sizes), "ms": times, "operations": counts, "exponent": measured, "predicted": predicted}
