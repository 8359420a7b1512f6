"""Mean, covariance and principal axes of samples that may be larger than memory: numpy only, feature axis last.

The samples are gone through once, block by block. Each block is centred on its own mean and multiplied with itself in
the data's own precision; the blocks are then joined in float64 by Chan, Golub and LeVeque's (1983) formula for the
moments of a union, which keeps what float32 would cancel where means are far larger than standard deviations.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ip2lab.analysis._labelled import BLOCK, blocks


class Moments(NamedTuple):
    """What `moments` returns."""

    n: int
    mean: np.ndarray  # (feature,) float64
    scatter: np.ndarray  # (feature, feature) float64: sum over samples of the outer products around the mean


class NotFinite(ArithmeticError):
    """A sum that came out NaN or infinite."""


def working_dtype(dtype: np.dtype) -> np.dtype:
    """The floating dtype in which data of `dtype` are worked on: float32 stays float32, spikes become float32."""
    return np.result_type(dtype, np.float32)


def moments(array: Any, mask: np.ndarray | None = None, *, center: bool = True) -> Moments:
    """Moments of `array` (samples..., feature) over the samples where `mask` (samples...) is true."""
    dtype = working_dtype(array.dtype)
    count, mean = 0, np.zeros(array.shape[-1])
    scatter = np.zeros((mean.size, mean.size))
    buffer = np.empty((BLOCK, mean.size), dtype)
    for slices, block in blocks(array):
        rows = block[mask[slices]] if mask is not None else block.reshape(-1, mean.size)
        if not len(rows):
            continue
        rows = rows.astype(dtype, copy=False)
        total = count + len(rows)
        if center:
            # around the mean so far, rounded: what is left of a block's own mean is small, and exact
            ones = np.ones(len(rows), dtype)
            about = mean.astype(dtype) if count else ones @ rows / len(rows)
            rows = np.subtract(rows, about, out=buffer[: len(rows)] if len(rows) <= len(buffer) else None)
            rest = (ones @ rows).astype(float) / len(rows)
            shift = about.astype(float) + rest - mean
            scatter -= np.multiply.outer(rest, rest) * len(rows)
            scatter += np.multiply.outer(shift, shift) * (count * len(rows) / total)
            mean += shift * (len(rows) / total)
        scatter += rows.T @ rows
        count = total
    if not np.isfinite(scatter).all():
        raise NotFinite
    return Moments(count, mean, scatter)


def principal_axes(
    array: Any, mask: np.ndarray | None = None, *, center: bool = True
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Axes (component, feature) by falling variance, variances (component,), mean (feature,) and number of samples.

    With fewer samples than features the eigenvectors are those of the samples' inner products, which is the smaller
    matrix; the directions without variance are then left out.
    """
    count = int(np.prod(array.shape[:-1])) if mask is None else int(mask.sum())
    if count > array.shape[-1]:
        count, mean, scatter = moments(array, mask, center=center)
        power, vectors = np.linalg.eigh(scatter)
        axes, power = vectors.T[::-1], power[::-1].clip(0)
    else:
        rows = np.asarray(array)
        rows = rows[mask] if mask is not None else rows.reshape(-1, rows.shape[-1])
        rows = rows.astype(float)  # few samples: a small array
        mean = rows.mean(0) if center else np.zeros(rows.shape[1])
        rows = rows - mean
        if not np.isfinite(rows).all():
            raise NotFinite
        power, vectors = np.linalg.eigh(rows @ rows.T)
        kept = power > max(power[-1], 0) * count * np.finfo(float).eps
        power, vectors = power[kept][::-1], vectors[:, kept][:, ::-1]
        axes = (vectors / np.sqrt(power)).T @ rows
    largest = np.abs(axes).argmax(-1)[:, None]
    axes = axes * np.sign(np.take_along_axis(axes, largest, -1))  # a fixed sign: the largest loading is positive
    return axes, power / max(count - center, 1), mean, count
