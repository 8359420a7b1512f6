"""Walk through an array that may be larger than memory."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

BLOCK = (
    2**12
)  # samples worked on at a time: a few MB for hundreds of neurons, in cache and large enough for fast products


def blocks(array: Any, size: int = BLOCK) -> Iterator[tuple[tuple[slice, ...], np.ndarray]]:
    """Walk through `array` (samples..., feature): pairs of slices over the sample axes and the numpy block there.

    A dask array is computed chunk by chunk, so that no more than one of its chunks is in memory.
    """
    chunks = getattr(array, "chunks", None) or tuple((n,) for n in array.shape)
    for outer in itertools.product(*map(_slices, chunks[:-1])):
        part = np.asarray(array[outer])
        for inner in _split(part.shape[:-1], size):
            place = tuple(slice(o.start + i.start, o.start + i.stop) for o, i in zip(outer, inner, strict=True))
            yield place, part[inner]


def _slices(sizes: Sequence[int]) -> list[slice]:
    return [slice(end - size, end) for size, end in zip(sizes, itertools.accumulate(sizes), strict=True)]


def _split(shape: tuple[int, ...], size: int) -> Iterator[tuple[slice, ...]]:
    if not shape:
        yield ()
        return
    inner = math.prod(shape[1:])
    step = max(1, size // max(inner, 1))
    rests = list(_split(shape[1:], size)) if inner > size else [tuple(slice(0, n) for n in shape[1:])]
    for start in range(0, shape[0], step):
        for rest in rests:
            yield (slice(start, min(start + step, shape[0])), *rest)
