"""What is around a training: progress that is told, interrupts that end it cleanly, and torch's threads."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from tqdm.auto import tqdm

if TYPE_CHECKING:
    from ip2lab.training.trainer import Series

CALL_EVERY = 0.1  # seconds between two calls of a progress function
Progress = bool | Callable[["Series"], None]

_inside: list[int] = []  # one entry a training that is under way: the number of torch's threads before the first one
_entering = threading.Lock()


def check_progress(progress: Any) -> None:
    """Raise TypeError unless `progress` is one."""
    if not (isinstance(progress, bool) or callable(progress)):
        raise TypeError(f"progress: {progress!r} is not valid; give True, False or a function of the series")


@contextmanager
def interruptible(series: Series) -> Iterator[None]:
    """Make the first interrupt stop the series cleanly; the second raises KeyboardInterrupt.

    It has to be in force before there is a store: one that is begun is then given free, whatever comes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: Any) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        series.stop()

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
def reporter(series: Series, progress: Progress) -> Iterator[Callable[[], None]]:
    """Give a function that tells `progress` where the series is, at most every `CALL_EVERY` seconds."""
    if progress is False:
        yield lambda: None
        return
    named = f"{series.model} ({series.parameters:,} parameters)"
    bar = tqdm(total=series.problems, initial=series.problem, unit="problem") if progress is True else None
    if bar is not None:
        bar.set_description(named)  # not before: in a notebook, tqdm takes its first description for HTML
    tell = progress if callable(progress) else lambda series: _show(series, bar)
    last = 0.0

    def report() -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= CALL_EVERY or series.problem == series.problems:
            last = now
            tell(series)

    try:
        yield report
    finally:
        if bar is not None:
            bar.close()


def _show(series: Series, bar: Any) -> None:
    bar.update(series.problem - bar.n)
    done = ", ".join(f"{trials:.0f}" for trials in series.trials_to_criterion[-5:]) or "-"
    recent = series.current.loss[max(0, series.trial - series.goal.window) : series.trial]
    now = f"trial {series.trial}, loss {float(recent.mean()):.4f}, " if series.trial else ""
    bar.set_postfix_str(f"{now}trials to criterion {done}")
