"""Whole trainings in processes of their own: one process loads and compiles everything, each training is its fork.

A training that is killed or interrupted then costs what it runs, not what it takes to start Python.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
TASK = {"stimulus": 200.0, "delay": 200.0, "response": 200.0, "grace_period": 40.0}
COMMON = {"neurons": 20, "seed": 5}
UNREACHED = {"criterion": 1e-9}
ENDLESS = {
    "problems": 1,
    "max_trials": 3_000_000,
    **UNREACHED,
    "learning_rate": 1e-7,
}  # else it is solved after a second
KINDS: dict[str, dict[str, Any]] = {
    "a commit after every ten trials": {"problems": 4, "max_trials": 120, "criterion": 0.3, "record": {"interval": 0}},
    "long problems": {"problems": 2, "max_trials": 5000, **UNREACHED, "record": {"interval": 0.3}},
    "every option": {
        "problems": 4, "max_trials": 150, "criterion": 0.1, "record": {"interval": 0.3, "trajectories": 7},
        "adaptation": True, "learnable": ["tau_soma", "tau_adaptation", "gain"], "freeze_after": 1, "l2": {"bias": 0.1},
        "reset_optimizer": "none", "rate_weight": 0.01, "problems_order": [4, 1, 4, 2], "dtype": "float64",
        "delay": [100.0, 300.0], "between_problems": "shuffle_properties",
    },
    "rate network": {"model": "rate", "problems": 2, "max_trials": 800, **UNREACHED, "record": {"interval": 0.2}},
    "attention": {
        "model": "attention", "neurons": 70, "problems": 2, "max_trials": 60, **UNREACHED,
        "record": {"interval": 0.3},
    },
    "one endless problem": ENDLESS,
    "one endless problem, often kept": ENDLESS | {"record": {"interval": 0.5}},
}  # fmt: skip


class TrainingServer:
    """Starts trainings and says how they ended."""

    def __init__(self) -> None:
        command = [sys.executable, __file__]
        alone = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT, env=alone)

    def answer(self, kind: str) -> int:
        """Wait for what the process has to say."""
        line = self._process.stdout.readline().split()
        assert line[:1] == [kind], "the server of trainings died"
        return int(line[1]) if line[1:] else 0

    def start(self, call: str, path: Path, kind: str) -> int:
        """Begin a training, or go on with one; return its process."""
        self._process.stdin.write(json.dumps([call, str(path), kind]) + "\n")
        self._process.stdin.flush()
        return self.answer("begun")

    def end(self) -> int:
        """Wait for the end of the training that was started last; return its exit status, negative for a signal."""
        return os.waitstatus_to_exitcode(self.answer("ended"))

    def run(self, call: str, path: Path, kind: str) -> float:
        """Let a training come to its end and return the seconds that it took."""
        began = time.monotonic()
        self.start(call, path, kind)
        assert self.end() == 0
        return time.monotonic() - began

    def hit(self, call: str, path: Path, kind: str, after: float, number: int, within: str = "") -> tuple[int, float]:
        """Send a training a signal after some seconds; return how it ended and when the signal was sent.

        With `within`, the signal waits (up to a second) until a file of that pattern lies in the store.
        """
        pid = self.start(call, path, kind)
        time.sleep(after)
        late = time.monotonic() + 1
        while within and time.monotonic() < late and not holds(path, within):
            pass
        sent = time.monotonic()
        with suppress(ProcessLookupError):  # it has ended
            os.kill(pid, number)
        return self.end(), sent

    def close(self) -> None:
        """End the process that everything is forked from."""
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()


@contextmanager
def training_server() -> Iterator[TrainingServer]:
    made = TrainingServer()
    try:
        made.answer("warm")
        yield made
    finally:
        made.close()


def holds(path: Path, pattern: str) -> bool:
    """Whether there is such a file; folders come and go meanwhile."""
    try:
        return any(path.rglob(pattern))
    except FileNotFoundError:
        return False


def beside(path: Path, what: str) -> Path:
    """Where a training keeps what the test wants to know of it."""
    return path.with_name(f"{path.name}.{what}")


def arguments(kind: str) -> tuple[Any, dict[str, Any]]:
    """Return the family and the arguments of a kind of training."""
    import ip2lab

    options = COMMON | KINDS[kind]
    task = TASK | ({"delay": tuple(options.pop("delay"))} if "delay" in options else {})
    return ip2lab.family("association", **task), options


def work(call: str, path: Path, kind: str) -> None:
    """Train, or go on; leave a line for every report, and at the end what came of it."""
    import ip2lab

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs are born ignoring it
    log = os.open(beside(path, "log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def report(series: Any) -> None:
        os.write(log, f"{time.monotonic()} {series.problem} {series.trial}\n".encode())

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            if call == "train":
                task, options = arguments(kind)
                run = ip2lab.train(task, path=path, progress=report, **options)
            else:
                run = ip2lab.resume(path, progress=report)
            outcome = "complete" if run.attrs["complete"] else "stopped"
        except KeyboardInterrupt:
            outcome = "interrupted"
    words = [str(each.message) for each in said]
    beside(path, "outcome").write_text(json.dumps([outcome, (path / ".lock").exists(), words]))


def serve() -> None:
    """Warm up, then fork a training for each line that comes in."""
    import ip2lab
    from ip2lab.training import runtime

    runtime.CALL_EVERY = 0.0  # a report after every block of trials
    for kind in KINDS:
        task, options = arguments(kind)
        ip2lab.train(task, progress=False, **(options | {"problems": min(options["problems"], 3), "max_trials": 60}))
    print("warm", flush=True)
    for line in sys.stdin:
        call, path, kind = json.loads(line)
        pid = os.fork()
        if pid == 0:
            try:
                work(call, Path(path), kind)
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        print("begun", pid, flush=True)
        print("ended", os.waitpid(pid, 0)[1], flush=True)


if __name__ == "__main__":
    serve()
