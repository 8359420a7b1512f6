"""What data must be, checked before anything is computed: one place, and one wording for each mistake.

Arguments are checked by :mod:`ip2lab.checks`. What a value means for the data at hand (a dim that is not there, more
components than neurons) is told here: the errors name the data, the dim and the value, and say what to do.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import xarray as xr

from ip2lab.analysis._blocks import blocks
from ip2lab.analysis._labels import RECORDED, called, levels, listed, place_of, quantities, recorded, recorded_values


def check(data: xr.DataArray, *, finite: bool = False, gaps: bool = False, **roles: str | None) -> xr.DataArray:
    """Return `data`, or raise an error that names what is wrong with it.

    `roles` are the caller's keywords for dims (``feature="neuron"``); a role that is None is left out. What was not
    recorded everywhere is refused, unless the caller says that it can work with `gaps`; it need not be `finite`.
    """
    wanted = {role: dim for role, dim in roles.items() if dim is not None}
    if not isinstance(data, xr.DataArray):
        raise TypeError(
            f"expected an xarray.DataArray with dims {listed(wanted.values())}, got {type(data).__name__}; "
            f"wrap it as xarray.DataArray(values, dims=(...))"
        )
    check_different(**wanted)
    _check_shape(data, wanted)
    if data.dtype.kind not in "buif":
        raise TypeError(
            f"{called(data)} holds {data.dtype}; expected real numbers or bool: convert with .astype(float)"
        )
    if not gaps:
        check_recorded(data)
    if finite:
        check_finite(data)
    return data


def check_only(data: xr.DataArray, *, gaps: bool = False, **roles: str | None) -> xr.DataArray:
    """As `check`, of finite data that may have no other dims than those named."""
    check(data, finite=False, gaps=gaps, **roles)
    wanted = [dim for dim in roles.values() if dim is not None]
    if set(data.dims) != set(wanted):
        raise ValueError(
            f"{called(data)} has dims {listed(data.dims)}; expected {listed(wanted)} only: "
            f"select or average over the others"
        )
    check_finite(data)
    return data


def check_different(**roles: str | None) -> None:
    """Raise ValueError where two keywords name the same dim."""
    for role, dim in roles.items():
        other = next((name for name, same in roles.items() if same == dim and name != role), None)
        if dim is not None and other is not None:
            raise ValueError(f"{role}={dim!r} and {other}={dim!r}; expected two different dims")


def _check_shape(data: xr.DataArray, roles: dict[str, str]) -> None:
    """Raise ValueError where `data` lack a dim, or one is empty or of unknown length."""
    missing = next((role for role, dim in roles.items() if dim not in data.dims), None)
    if missing is not None:
        raise ValueError(
            f"{called(data)} has no dim {roles[missing]!r}; it has {listed(data.dims)}. "
            f"Name the right one with {missing}=..."
        )
    if any(math.isnan(n) for n in data.shape):
        raise ValueError(
            f"{called(data)} has chunks of unknown sizes, {data.sizes}; count them first: "
            ".copy(data=data.data.compute_chunk_sizes())"
        )
    if 0 in data.shape:
        empty = data.dims[data.shape.index(0)]
        raise ValueError(f"{called(data)} is empty: dim {empty!r} has length 0; give at least one {empty}")


def check_length(data: xr.DataArray, dim: str, least: int, what: str) -> None:
    """Raise ValueError where `data` have fewer than `least` along `dim`, which is what something (`what`) needs."""
    if data.sizes[dim] < least:
        words = {2: "two", 3: "three"}.get(least, least)
        raise ValueError(f"{called(data)} has {data.sizes[dim]} along {dim!r}; {what} needs {words} or more")


def check_components(asked: int, available: int, data: xr.DataArray, feature: str) -> None:
    """Raise ValueError where more components are asked for than there are directions."""
    if asked > available:
        raise ValueError(
            f"n_components={asked}; {called(data)} has {available} directions along {feature!r}: ask for 1 "
            f"to {available}"
        )


def check_free(taken: Collection[Any], *new: str) -> None:
    """Raise ValueError where one of the names `taken` (dims or coords of the data) is `new` in the result."""
    clash = next((name for name in new if name in taken), None)
    if clash is not None:
        raise ValueError(
            f"the data have a dim or a coord {clash!r}, and the result one of its own by that name; give yours another "
            f"name first: .rename({clash}='my_{clash}')"
        )


def carried(data: xr.DataArray, feature: str) -> set[str]:
    """Names of the dims of `data`, and of the coords that stay where `feature` is summed over."""
    return {*map(str, data.dims), *(str(name) for name, coord in data.coords.items() if feature not in coord.dims)}


def check_finite(data: xr.DataArray) -> None:
    """Raise ValueError naming the first NaN or infinite value of `data` where it was recorded."""
    if data.dtype.kind != "f":
        return
    mask = recorded_values(data)
    for slices, block in blocks(data.data[..., None]):
        wrong = ~np.isfinite(block[..., 0]) & (True if mask is None else mask[slices])
        if wrong.any():
            raise not_finite(data, [s.start + int(i) for s, i in zip(slices, np.argwhere(wrong)[0], strict=True)])


def not_finite(data: xr.DataArray, first: Sequence[int] = ()) -> ValueError:
    """The error for NaN or infinite values in `data`, the first of them at the position `first`."""
    where = f" (the first at {place_of(data, first)})" if first else ""
    ragged = "; trials of different lengths: see population.pad_trials" if {"trial", "time"} & {*data.dims} else ""
    return ValueError(
        f"{called(data)} holds NaN or infinite values{where}; drop or fill them first, for instance with .dropna(dim)"
        f"{ragged}"
    )


def check_recorded(data: xr.DataArray) -> None:
    """Raise ValueError where part of `data` was not recorded, for what needs all of it."""
    mask = recorded(data)
    if mask is None or bool(mask.all()):
        return
    if not mask.dims:
        raise ValueError(f"{called(data)} was recorded nowhere: its coord {RECORDED!r} is False; select others")
    place = place_of(mask, np.argwhere(~mask.values)[0])
    dim = "time" if "time" in mask.dims else mask.dims[-1]
    others = tuple(str(other) for other in mask.dims if other != dim)
    throughout = f"data.{RECORDED}" + (f".all({others})" if others else "")
    raise ValueError(
        f"{called(data)} was not recorded everywhere ({int((~mask).sum())} of {mask.size} places, the first at "
        f"{place}), and this needs all of it: select what was recorded throughout, data.sel({dim}={throughout})"
    )


def one_chunk(data: xr.DataArray, dim: str) -> None:
    """Raise ValueError where `data` are in several chunks along `dim`, for what needs all of it at once."""
    chunks = data.chunksizes.get(dim, ())
    if len(chunks) > 1:
        raise ValueError(f"{called(data)} is in {len(chunks)} chunks along {dim!r}; join them: .chunk({dim}=-1)")


def identical(data: xr.DataArray, what: str, why: str) -> ValueError:
    """The error for repeats without noise: `what` of `data` are identical, and `why` that is of no use."""
    return ValueError(
        f"{what} of {called(data)} are identical{why}. Noise-free probes are all alike: give noisy repeats "
        f"(ip2lab.probe(run, problem, repeats=...))"
    )


def check_rising(data: xr.DataArray | xr.Dataset, dim: str) -> None:
    """Raise ValueError where numbers or dates along `dim`, a series, do not rise: what comes after what is then open.

    Names have no order of their own: that of the data counts.
    """
    index = quantities(data.indexes.get(dim))
    if index is None or index.is_monotonic_increasing:
        return
    raise ValueError(
        f"the labels along {dim!r} do not rise ({listed(index)}), so what comes after what is not clear: sort them, "
        f".sortby({dim!r}), or take them off, .drop_vars({dim!r})"
    )


def check_classes(labels: xr.DataArray) -> None:
    """Raise ValueError where `labels` are numbers that hardly ever come twice: a quantity, not classes."""
    found, codes = levels(labels.values)
    once = int((np.bincount(codes.ravel()) == 1).sum())
    numbers = found.dtype.kind not in "mM" and all(isinstance(value, (int, float)) for value in found.tolist())
    if numbers and once > 2 and 2 * once > found.size:
        raise ValueError(
            f"the labels {called(labels)} are numbers, {found.size} different ones in {labels.size} trials, from "
            f"{found[0]:g} to {found[-1]:g}; expected classes with several trials each: cut them into classes, for "
            "instance with pandas.cut(labels, 4).codes"
        )
