"""What surrounds a training: its progress is reported, interrupts end it cleanly, and torch's settings are fixed."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol, TypeVar

import torch
from tqdm.auto import tqdm

from ip2lab.networks import kernel_types
from ip2lab.training.learners import TrialRecord

CALL_EVERY = 0.1  # seconds between two calls of a progress function


class SupportsProgress(Protocol):
    """What is shown of a trainer while it works, and how an interrupt stops it."""

    model: str
    problems: int
    problem: int
    trial: int
    trials_to_criterion: list[float]
    current: TrialRecord
    criterion: kernel_types.Criterion

    @property
    def parameters(self) -> int:
        """How many numbers learn."""

    def stop(self) -> None:
        """End the series after the trials that are under way."""


T = TypeVar("T", bound=SupportsProgress)
Progress = bool | Callable[[T], None]

_inside: list[int] = []  # one entry per training under way: the number of torch's threads before the first one
_entering = threading.Lock()


def check_progress(progress: Any) -> None:
    """Raise TypeError unless `progress` is one."""
    if not (isinstance(progress, bool) or callable(progress)):
        raise TypeError(f"progress: {progress!r} is not valid; give True, False or a function of the trainer")


@contextmanager
def interruptible(trainer: SupportsProgress) -> Iterator[None]:
    """Make the first interrupt stop the trainer cleanly; the second raises KeyboardInterrupt.

    It has to be in force before there is a store: the lock of one that is begun is then released, whatever comes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: Any) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        trainer.stop()

    previous = signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Let torch work as if nobody had changed its settings: gradients, default device, autocast.

    It also decorates functions. The default dtype, which holds for all threads, is left alone: no tensor relies on it.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        if torch.get_default_device().type != "cpu":  # a device that is set makes every call slower
            stack.enter_context(torch.device("cpu"))
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        yield


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Let torch use one thread, undisturbed: networks of this size only get slower with more.

    What it was before is known to the first of several trainings at once: the others find one thread.
    """
    with _entering:
        found = torch.get_num_threads()  # asked by each: it lets torch see to this thread before the number is set
        before = _inside[0] if _inside else found
        _inside.append(before)
    torch.set_num_threads(1)
    try:
        with undisturbed():
            yield
    finally:
        torch.set_num_threads(before)
        with _entering:
            _inside.pop()


@contextmanager
def reporter(trainer: T, progress: Progress[T]) -> Iterator[Callable[[], None]]:
    """Give a function that tells `progress` where the trainer is, at most every `CALL_EVERY` seconds."""
    if progress is False:
        yield lambda: None
        return
    with ExitStack() as stack:
        tell = progress if callable(progress) else stack.enter_context(_bar(trainer))
        last = 0.0

        def report() -> None:
            nonlocal last
            now = time.monotonic()
            if now - last >= CALL_EVERY or trainer.problem == trainer.problems:
                last = now
                tell(trainer)

        yield report


@contextmanager
def _bar(trainer: SupportsProgress) -> Iterator[Callable[[SupportsProgress], None]]:
    """Give a function that moves a progress bar."""
    with tqdm(total=trainer.problems, initial=trainer.problem, unit="problem") as bar:
        # only now: in a notebook, tqdm takes a description it is made with for HTML
        bar.set_description(f"{trainer.model} ({trainer.parameters:,} parameters)")
        yield lambda trainer: _show(trainer, bar)


def _show(trainer: SupportsProgress, bar: Any) -> None:
    bar.update(trainer.problem - bar.n)
    done = ", ".join(f"{trials:.0f}" for trials in trainer.trials_to_criterion[-5:]) or "-"
    recent = trainer.current.loss[max(0, trainer.trial - trainer.criterion.window) : trainer.trial]
    now = f"trial {trainer.trial}, loss {float(recent.mean()):.4f}, " if trainer.trial else ""
    bar.set_postfix_str(f"{now}trials to criterion {done}")
