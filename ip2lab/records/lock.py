"""What a writer relies on: no other one writes meanwhile, and no interrupt comes in the middle of a commit."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import socket
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

Holder = dict[str, Any]  # host, process, time and token of a writer, as its lock file says

LOCK = ".lock"
NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK)  # of systems, and file systems, that lock no files


class Lock:
    """A file that names the one process which writes to a folder, locked by the operating system while it does.

    However a process ends, the system then frees its lock, and the file is stale and taken over. A file that names
    another host is believed: not every file system shares locks between hosts.
    """

    def __init__(self, path: Path) -> None:
        self.path = path / LOCK
        self.owner = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "time": time.strftime("%Y-%m-%d %H:%M:%S%z"),
            "token": os.urandom(8).hex(),
        }
        self._descriptor: int | None = self._take()
        _held.add(self)

    def _take(self) -> int:
        """Open the file, lock it, and write into it who holds it."""
        while True:
            descriptor, taken = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644), False
            try:
                free, current = _claim(descriptor), _is_at(descriptor, self.path)
                holder = _read(descriptor)
                if free and current:
                    os.lseek(descriptor, 0, os.SEEK_SET)
                    os.ftruncate(descriptor, 0)
                    os.write(descriptor, json.dumps(self.owner).encode())
                    taken = True
                    return descriptor
            finally:
                if not taken:  # also where the disk is full: an open file would stay locked
                    os.close(descriptor)
            if current:  # else it was deleted or replaced meanwhile
                raise BlockingIOError(
                    f"{self.path.parent} is being written by another process: {describe(holder)}. Wait for it, stop "
                    f"it, or, where it no longer runs, delete {self.path}"
                )

    def check(self) -> None:
        """Raise when the lock, or the whole folder, is no longer this writer's."""
        holder = holder_of(self.path.parent)
        if self._descriptor is None or holder.get("token") != self.owner["token"]:
            now = f"now it is {describe(holder)}'s" if holder else "it was deleted, moved or given free"
            raise FileNotFoundError(errno.ENOENT, f"it is no longer this writer's, {now}")

    def release(self) -> None:
        """Give the lock back; its file is deleted if it is still this writer's."""
        with contextlib.suppress(OSError):
            self.check()
            if fcntl is None:
                self.close()  # Windows deletes no open file
            self.path.unlink()
        self.close()

    def close(self) -> None:
        """Let go of the file, as the end of the process does."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


_held: weakref.WeakSet[Lock] = weakref.WeakSet()


def _close_in_child() -> None:
    """Leave the locks to the process that was forked: a lock is free once every copy of its descriptor is closed."""
    for lock in list(_held):
        lock.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)


def _claim(descriptor: int) -> bool:
    """Lock an open file for as long as it stays open; False where it names a writer that may still run."""
    try:
        return _flock(descriptor) and _read(descriptor).get("host", socket.gethostname()) == socket.gethostname()
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        return not _read(descriptor)  # a file is believed, and one that a dead writer left is deleted by hand


def _flock(descriptor: int) -> bool:
    """Lock an open file unless another has it; who only asks (`is_locked`) has it for an instant, so try for longer."""
    if fcntl is None:
        raise OSError(errno.ENOSYS, "this system has no flock")
    late = time.monotonic() + 0.1
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > late:
                return False
            time.sleep(0.01)
        else:
            return True


def _is_at(descriptor: int, path: Path) -> bool:
    """Tell whether an open file is still the one at a path."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _read(descriptor: int) -> Holder:
    """Return whom an open lock file names."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    return parse_holder(os.read(descriptor, 4096))


def is_locked(path: Path) -> bool:
    """Tell whether a folder has a writer that may still run."""
    try:
        descriptor = os.open(path / LOCK, os.O_RDWR)
    except FileNotFoundError:
        return False
    except OSError:  # who may not write there cannot ask
        return True
    try:
        return not _claim(descriptor)
    finally:
        os.close(descriptor)


def parse_holder(data: bytes) -> Holder:
    """Return who holds a lock; nobody where the file was left empty or half written."""
    try:
        holder = json.loads(data)
    except ValueError:
        return {}
    return holder if isinstance(holder, dict) else {}


def holder_of(path: Path) -> Holder:
    """Return who writes to a folder, nobody where it has no lock."""
    try:
        return parse_holder((path / LOCK).read_bytes())
    except OSError:
        return {}


def describe(holder: Holder) -> str:
    """Say who holds a lock."""
    return f"host {holder.get('host')}, process {holder.get('pid')}, since {holder.get('time')}"


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Keep an interrupt by the keyboard until the end of a block."""
    if threading.current_thread() is not threading.main_thread():  # others are not interrupted
        yield
        return
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before if before is not None else signal.SIG_DFL)
        if came:
            signal.raise_signal(signal.SIGINT)
