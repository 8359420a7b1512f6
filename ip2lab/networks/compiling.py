"""How the kernels are compiled: on first call, once a machine, in a way that gives the same bits every time."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from numba import njit
from numba.core import event
from numba.core.caching import IndexDataCacheFile

# what a training step is made of, and with it a recorded run
STEP = ("compiling", "structures", "rows", "updates", "kernels", "rate_kernels")
# No "nnan"/"ninf": a NaN must stay one, it is how an exploding loss is recognised.
_FAST = {"reassoc", "contract", "nsz", "arcp"}
_LONG = ("learn", "backward")  # what takes long to compile
_log = logging.getLogger("ip2lab")


def source_of(names: Iterable[str]) -> bytes:
    """Return the source of modules of this folder."""
    return b"".join(Path(__file__).with_name(f"{name}.py").read_bytes() for name in names)


_DIGEST = hashlib.sha256(source_of((*STEP, "batches"))).hexdigest()[:12]


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
        # numba looks at the age of one file, but what is compiled into a function stands in others, too
        name = f"{cache._impl.filename_base}-{_DIGEST}"
        cache._cache_file = IndexDataCacheFile(cache._cache_path, name, _DIGEST)
    return built


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
