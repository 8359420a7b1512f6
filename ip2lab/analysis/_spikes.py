"""Spikes per bin: what can be such, where they were recorded, and how they are smoothed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import xarray as xr
from scipy import ndimage

from ip2lab.analysis._labelled import blocks, check, check_finite, mask_of, times
from ip2lab.analysis._labels import called, recorded

COUNTS = ("1", "spikes", "spike", "count", "counts", "spikes per bin", "spikes/bin", "counts/bin")  # units of spikes
POSSIBLE = 2000.0  # Hz, of one neuron
TOGETHER = 1000.0  # Hz, the mean of all neurons


def are_counts(data: xr.DataArray) -> bool:
    """Whether `data` are spikes per bin: as their units say or, without units, whole numbers only."""
    unit = data.attrs.get("units")
    if unit or data.dtype.kind in "biu":
        return not unit or unit in COUNTS
    check_finite(data)
    mask = mask_of(data)
    for place, block in blocks(data.data[..., None]):
        heard = block[..., 0] if mask is None else block[..., 0][mask[place]]
        if not _whole(heard):
            return False
    return True


def _whole(values: np.ndarray) -> bool:
    """Whether all finite values are counts: whole and not negative."""
    if values.dtype.kind in "biu":
        return values.dtype.kind != "i" or bool((values >= 0).all())
    with np.errstate(invalid="ignore"):
        return not ((values < 0) | (values % 1 > 0)).any()


def spike_counts(spikes: xr.DataArray, time: str, *trials: str) -> tuple[xr.DataArray, xr.DataArray | None, float]:
    """Checked spikes per bin, 0 where nothing was recorded; where it was, or None; and the bin in ms."""
    check(spikes, time=time, gaps=True)
    for name in trials:
        check(spikes, trial=name, time=time, gaps=True)
    dt = times(spikes, time)[1]
    unit = spikes.attrs.get("units")
    if unit and unit not in COUNTS:
        raise ValueError(
            f"{called(spikes)} is in {unit!r}, so it is a signal and no spikes per bin: average it as it is, "
            f"data.mean({time!r}) or neurons.psth; where it does hold spikes, say so: .assign_attrs(units='1')"
        )
    mask = recorded(spikes)
    full = mask_of(spikes)
    heard = spikes if full is None else spikes.copy(data=np.where(full, spikes.data, spikes.dtype.type(0)))
    if spikes.chunks is None:
        check(spikes, finite=True, gaps=True)
        _check_counts(heard.values, unit, called(spikes))
        _check_rate(heard, mask, dt, [time, *trials])
    else:  # lazy data are looked at when they are computed
        seen = heard.data.map_blocks(_check_counts, unit, called(spikes), dtype=heard.dtype, meta=heard.data._meta)
        heard = heard.copy(data=seen)
    return heard, mask, dt


def _check_counts(values: np.ndarray, unit: str | None, name: str) -> np.ndarray:
    """Return `values`, or raise ValueError where they cannot be spikes per bin; means of them say their unit."""
    if values.dtype.kind not in "bu" and (values < 0).any():
        raise ValueError(f"{name} holds {float(values.min()):g}; spikes are bool or counts per bin, not negative")
    if not unit and not _whole(values):
        odd = values[values % 1 > 0].ravel()[0]
        raise ValueError(
            f"{name} holds {float(odd):g}; spikes are bool or whole counts per bin. Average a signal as it is, "
            "data.mean(...) or neurons.psth; where these are mean counts, say so: .assign_attrs(units='1')"
        )
    return values


def _check_rate(spikes: xr.DataArray, mask: xr.DataArray | None, dt: float, over: list[str]) -> None:
    """Raise ValueError for more spikes than a neuron has, where the times do not say in which unit they are."""
    time = over[0]
    if spikes[time].attrs.get("units") or spikes[time].dtype.kind == "m":
        return
    rate = spikes.sum(over) * (1000 / dt) / behind(spikes, mask, *over)
    most, mean = float(rate.max()), float(rate.mean())
    if most > POSSIBLE or mean > TOGETHER:
        words = f"{most:.0f} Hz in one neuron" if most > POSSIBLE else f"{mean:.0f} Hz on average"
        raise ValueError(
            f"{called(spikes)}: {words} is more than neurons fire; {time!r} does not seem to be "
            f"in ms; say what it is in: data[{time!r}].attrs['units'] = 's' (or 'ms', if it is)"
        )


def behind(data: xr.DataArray, mask: xr.DataArray | None, *dims: str) -> Any:
    """How many places along `dims` each number over them is of; NaN where nothing was recorded."""
    others = math.prod(data.sizes[dim] for dim in dims if mask is None or dim not in mask.dims)
    if mask is None:
        return others
    found = mask.sum([dim for dim in dims if dim in mask.dims]) * others
    return found.where(found > 0)


def bins_of(width: float, dt: float) -> float:
    """`width` (ms) in bins of `dt`."""
    if not 1e-3 * dt < width < 1e6 * dt:
        raise ValueError(f"width={width}; expected a positive number of ms, within reason of a step of {dt:g}")
    return width / dt


def smooth(values: np.ndarray, mask: np.ndarray | None = None, *, bins: float) -> np.ndarray:
    """`values` (..., time), 0 outside `mask`, smoothed with a Gaussian of `bins` standard deviation.

    Its weights sum to one over what was recorded; NaN elsewhere.
    """
    settings = {"axis": -1, "mode": "constant", "truncate": 4.0}
    heard = np.ones(values.shape[-1]) if mask is None else mask.astype(float)
    weight = ndimage.gaussian_filter1d(heard, bins, **settings)
    whole = ndimage.gaussian_filter1d(values.astype(float), bins, **settings)
    return whole / weight if mask is None else np.where(mask, whole / np.where(mask, weight, 1.0), np.nan)
