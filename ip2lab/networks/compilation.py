"""How the kernels are compiled: on first call, once a machine, in a way that gives the same bits every time."""

from __future__ import annotations

import functools
import hashlib
import logging
import os
import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from numba import njit
from numba.core import event
from numba.core.caching import IndexDataCacheFile

# what a training step is made of, and with it a recorded run
STEP = ("compilation", "kernel_types", "vectors", "training_step", "spiking_kernels", "rate_kernels")
# No "nnan"/"ninf": a NaN must stay one, it is how an exploding loss is recognised.
_FAST = {"reassoc", "contract", "nsz", "arcp"}
_LONG = ("learn", "backward")  # what takes long to compile
_SEAL = 32  # bytes of a checksum, before what it is of
_log = logging.getLogger("ip2lab")


def source_of(names: Iterable[str]) -> bytes:
    """Return the source of modules of this folder."""
    return b"".join(Path(__file__).with_name(f"{name}.py").read_bytes() for name in names)


_DIGEST = hashlib.sha256(source_of((*STEP, "spiking_batches"))).hexdigest()[:12]


def compiled(function: Any, **more: Any) -> Any:
    """Compile on first call; kept on disk where a cache folder can be written, and without one elsewhere."""
    # Inlined whole: a function that is called would be another copy, with other rounding, in the process that compiled
    # it than in one that loads it from the cache, and the same seed would not give the same bits.
    options: dict[str, Any] = {"fastmath": _FAST, "error_model": "numpy", "nogil": True, "forceinline": True, **more}
    try:
        built = njit(cache=True, **options)(function)
    except RuntimeError:  # numba: no locator available, no folder for the cache can be written
        return njit(**options)(function)
    cache = getattr(built, "_cache", None)
    if cache is not None:
        cache._impl.locator.ensure_cache_path = _asked_before
        # numba looks at the age of one file, but what is compiled into a function stands in others, too
        name = f"{cache._impl.filename_base}-{_DIGEST}"
        cache._cache_file = _CacheFile(cache._cache_path, name, _DIGEST)
    return built


def borrowing(function: Any) -> Any:
    """Compile a part of a loop that only reads and writes arrays of its caller: it counts no references to them."""
    return compiled(function, _nrt=False)


class _CacheFile(IndexDataCacheFile):
    """Numba's files, of which none is trusted: what is damaged is compiled again and written anew.

    The file of a compiled function is named after what it was compiled for. Numba numbers these files, and two
    processes that compile at once give one number to two functions.
    """

    def load(self, key: Any) -> Any:
        """Return what is kept under a key, None where there is nothing that can be used."""
        path = self._data_path(self._name_of(key))
        try:
            data = Path(path).read_bytes()
        except OSError:
            return None
        if data[:_SEAL] == hashlib.sha256(data[_SEAL:]).digest():
            return pickle.loads(data[_SEAL:])  # noqa: S301 -- numba's own format, in numba's own folder
        _tell(f"files of compiled functions in {self._cache_path} are damaged; these are compiled again")
        return None

    def save(self, key: Any, data: Any) -> None:
        """Keep what was compiled under a key, where the folder can be written."""
        kept = self._dump(data)
        try:
            os.makedirs(self._cache_path, exist_ok=True)
            with self._open_for_write(self._data_path(self._name_of(key))) as file:
                file.write(hashlib.sha256(kept).digest() + kept)
        except OSError as error:
            why = error.strerror or error
            _tell(
                f"compiled functions cannot be kept in {self._cache_path}: {why}; the next session compiles them again"
            )

    def _name_of(self, key: Any) -> str:
        digest = hashlib.sha256(repr((self._version, key)).encode()).hexdigest()[:16]
        return f"{self._index_name.removesuffix('.nbi')}.{digest}.nbc"


def _asked_before() -> None:
    """Stand in for numba's question whether a folder can be written, which ends a training where it no longer can."""


@functools.cache  # once a session
def _tell(words: str) -> None:
    _log.warning("ip2lab: %s", words)


class _Announcer(event.Listener):
    """Says that something is being compiled, where that takes long: a silent notebook looks as if it hung."""

    busy: Any = None

    def on_start(self, event: event.Event) -> None:
        dispatcher = event.data["dispatcher"]
        function = dispatcher.py_func
        if self.busy is None and function.__module__.startswith(__package__) and function.__name__ in _LONG:
            self.busy = dispatcher
            kept = dispatcher.stats.cache_path
            often = "once on this machine" if kept else "in every session: no cache folder can be written"
            what = f"{function.__module__.rpartition('.')[2]}.{function.__name__}"
            _log.warning("ip2lab: compiling %s (10 to 30 s, %s) ...", what, often)

    def on_end(self, event: event.Event) -> None:
        if event.data["dispatcher"] is self.busy:
            self.busy = None


event.register("numba:compile", _Announcer())
