"""Labelled arrays in, labelled arrays out: the one place where the numpy functions of the analysis meet xarray.

A numpy function takes arrays with the axes it works on last; :func:`apply` calls it with those dims in place and puts
the labels back. :func:`check` says by name what is wrong with an array before anything is computed, :func:`describe`
writes down what a result is, and :func:`blocks` walks through an array that may be larger than memory.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from ip2lab.analysis._labels import called, check_recorded, listed

BLOCK = (
    2**12
)  # samples worked on at a time: a few MB for hundreds of neurons, in cache and large enough for fast products


def check(
    data: xr.DataArray, *, numeric: bool = True, finite: bool = False, gaps: bool = False, **roles: str | None
) -> xr.DataArray:
    """Return `data`, or raise an error that names what is wrong with it.

    `roles` are the caller's keywords for dims (``feature="neuron"``); a role that is None is left out. What was not
    recorded everywhere is refused, unless the caller says that it can work with `gaps`.
    """
    wanted = {role: dim for role, dim in roles.items() if dim is not None}
    if not isinstance(data, xr.DataArray):
        raise TypeError(
            f"expected an xarray.DataArray with dims {listed(wanted.values())}, got {type(data).__name__}; "
            f"wrap it as xarray.DataArray(values, dims=(...))"
        )
    check_different(**wanted)
    missing = next((role for role, dim in wanted.items() if dim not in data.dims), None)
    if missing is not None:
        raise ValueError(
            f"{called(data)} has no dim {wanted[missing]!r}; it has {listed(data.dims)}. "
            f"Name the right one with {missing}=..."
        )
    if 0 in data.shape:
        empty = data.dims[data.shape.index(0)]
        raise ValueError(f"{called(data)} is empty: dim {empty!r} has length 0; give at least one {empty}")
    if numeric and data.dtype.kind not in "buif":
        raise TypeError(
            f"{called(data)} holds {data.dtype}; expected real numbers or bool: convert with .astype(float)"
        )
    if not gaps:
        check_recorded(data)
    if finite:
        check_finite(data)
    return data


def check_different(**roles: str | None) -> None:
    """Raise ValueError where two keywords name the same dim."""
    for role, dim in roles.items():
        other = next((name for name, same in roles.items() if same == dim and name != role), None)
        if dim is not None and other is not None:
            raise ValueError(f"{role}={dim!r} and {other}={dim!r}; expected two different dims")


def check_finite(data: xr.DataArray) -> None:
    """Raise ValueError naming the first NaN or infinite value of `data`."""
    if data.dtype.kind != "f":
        return
    for slices, block in blocks(data.data[..., None]):
        wrong = ~np.isfinite(block[..., 0])
        if wrong.any():
            raise not_finite(data, [s.start + int(i) for s, i in zip(slices, np.argwhere(wrong)[0], strict=True)])


def not_finite(data: xr.DataArray, first: Sequence[int] = ()) -> ValueError:
    """The error for NaN or infinite values in `data`, the first of them at the position `first`."""
    place = ", ".join(f"{dim}={_at(data, dim, i)}" for dim, i in zip(data.dims, first, strict=False))
    where = f" (the first at {place})" if place else ""
    return ValueError(
        f"{called(data)} holds NaN or infinite values{where}; drop or fill them first, for instance with .dropna(dim); "
        f"trials of different lengths go through population.aligned"
    )


def _at(data: xr.DataArray, dim: Any, index: int) -> Any:
    return data[dim].values[index] if dim in data.coords else index


def samples(data: xr.DataArray, *feature: str) -> list[str]:
    """The dims of `data` other than those named: the samples."""
    return [str(dim) for dim in data.dims if dim not in feature]


def apply(
    core: Callable[..., Any],
    *arrays: xr.DataArray,
    over: Sequence[Sequence[str]],
    into: Sequence[Sequence[str]] = ((),),
    loop: bool = False,
    lazy: Mapping[str, int] | None = None,
    **options: Any,
) -> Any:
    """Call the numpy function `core` with the dims `over` (one list an array) last, and label what it returns.

    `into` has one list of last dims for each array that `core` returns, and `loop` calls `core` once for every position
    along the remaining dims. Arrays backed by dask are computed first, unless `lazy` gives the lengths of new dims.
    """
    return xr.apply_ufunc(
        core,
        *(arrays if lazy is not None else (array.compute() for array in arrays)),
        input_core_dims=[list(dims) for dims in over],
        output_core_dims=[list(dims) for dims in into],
        kwargs=options,
        vectorize=loop,
        dask="parallelized",
        output_dtypes=[float] * len(into),
        dask_gufunc_kwargs={"output_sizes": dict(lazy)} if lazy else None,
        keep_attrs=False,
    )


def describe(
    result: xr.DataArray, name: str, units: str, long_name: str, like: xr.DataArray | None = None
) -> xr.DataArray:
    """Name `result` and give it its attrs: those of `like` (what it was made from), but its own units and long name."""
    kept = dict(like.attrs) if like is not None else {}
    return result.rename(name).assign_attrs({**kept, "units": units, "long_name": long_name})


def labelled(
    values: npt.ArrayLike,
    dims: Sequence[str],
    name: str,
    units: str,
    long_name: str,
    coords: Mapping[str, Any] | None = None,
) -> xr.DataArray:
    """A described array of numpy `values`, with those of `coords` that belong to its dims."""
    found = {dim: coords[dim] for dim in dims if coords is not None and dim in coords}
    return describe(xr.DataArray(values, dims=dims, coords=found), name, units, long_name)


def variables_with(data: xr.Dataset | xr.DataArray | xr.DataTree, **roles: str) -> dict[str, xr.DataArray]:
    """The variables of `data` (a dataset, a group, or one variable) with all dims of `roles`, by name, checked.

    `roles` are the caller's keywords for dims, as for `check`.
    """
    if isinstance(data, xr.DataArray):
        data = data.to_dataset(name=data.name or "data")
    if not isinstance(data, (xr.Dataset, xr.DataTree)):
        raise TypeError(
            f"expected an xarray.Dataset, a group of a run, or one variable of it, got {type(data).__name__}"
        )
    check_different(**roles)
    dims = list(roles.values())
    found = {str(name): v for name, v in data.data_vars.items() if set(dims) <= set(v.dims)}
    if not found:
        there = listed(f"{name} ({', '.join(map(str, v.dims))})" for name, v in data.data_vars.items())
        raise ValueError(
            f"no variable has the dims {listed(map(repr, dims))}; there are: {there}. {_renamed(data, roles)}"
        )
    for values in found.values():
        check(values, finite=True)
    return found


def _renamed(data: xr.Dataset | xr.DataTree, roles: Mapping[str, str]) -> str:
    """How to name the right dims: as they are where the first variable leaves one choice, else with which keywords."""
    first = [str(d) for d in next(iter(data.data_vars.values())).dims] if data.data_vars else []
    wrong = [role for role, dim in roles.items() if dim not in first]
    free = [dim for dim in first if dim not in roles.values()]
    words = [f"{role}={free[0]!r}" if len(wrong) == len(free) == 1 else f"{role}=..." for role in wrong]
    return f"Name the right ones: {', '.join(words)}"


def coords_of(data: xr.DataArray, *dims: str) -> dict[str, xr.DataArray]:
    """The labels along `dims`, where there are any."""
    return {dim: data[dim].reset_coords(drop=True) for dim in dims if dim in data.coords}


def check_only(data: xr.DataArray, **roles: str | None) -> xr.DataArray:
    """As `check`, of finite data that may have no other dims than those named."""
    check(data, finite=False, numeric=True, gaps=False, **roles)
    wanted = [dim for dim in roles.values() if dim is not None]
    if set(data.dims) != set(wanted):
        raise ValueError(
            f"{called(data)} has dims {listed(data.dims)}; expected {listed(wanted)} only: "
            f"select or average over the others"
        )
    check_finite(data)
    return data


def identical(data: xr.DataArray, what: str, why: str) -> ValueError:
    """The error for repeats without noise: `what` of `data` are identical, and `why` that is of no use."""
    return ValueError(
        f"{what} of {called(data)} are identical{why}. Noise-free probes are all alike: give noisy repeats "
        f"(ip2lab.probe(run, problem, repeats=...))"
    )


def dataset(like: xr.DataArray | xr.Dataset, *variables: xr.DataArray, **attrs: Any) -> xr.Dataset:
    """One dataset of described variables; the attrs of `like` that do not belong to a variable are kept."""
    kept = {key: value for key, value in like.attrs.items() if key not in ("units", "long_name")}
    return xr.Dataset({str(v.name): v for v in variables}, attrs={**kept, **attrs})


def units_of(data: xr.DataArray) -> str:
    """The unit written on `data`, ``"1"`` where none is."""
    return str(data.attrs.get("units", "1"))


def times(data: xr.DataArray, time: str) -> tuple[np.ndarray, float]:
    """The times along `time` and their spacing, both in ms; refuses missing, uneven or unordered times."""
    if time not in data.coords:
        raise ValueError(
            f"{called(data)} has no coord on dim {time!r}, so rates and intervals have no unit; "
            f"add it in ms: .assign_coords({time}=dt * np.arange({data.sizes[time]}))"
        )
    unit = data[time].attrs.get("units", "ms")
    if unit not in ("ms", "s"):
        raise ValueError(f"coord {time!r} of {called(data)} is in {unit!r}; expected 'ms' or 's' in its attrs['units']")
    if data[time].dtype.kind not in "iuf":
        raise ValueError(f"coord {time!r} of {called(data)} has dtype {data[time].dtype}; expected times as numbers")
    values = np.asarray(data[time].values, dtype=float) * (1000.0 if unit == "s" else 1.0)
    if values.size < 2:
        raise ValueError(f"{called(data)} has one point along {time!r}; its duration is unknown: give two or more")
    steps = np.diff(values)
    if not (steps > 0).all() or np.ptp(steps) > 1e-3 * steps.mean():
        raise ValueError(
            f"coord {time!r} of {called(data)} must rise in equal steps; its steps go from {steps.min():g} to "
            f"{steps.max():g} ms: sort or interpolate it first"
        )
    return values, float(steps.mean())


def blocks(array: Any, size: int = BLOCK) -> Iterator[tuple[tuple[slice, ...], np.ndarray]]:
    """Walk through `array` (samples..., feature): pairs of slices over the sample axes and the numpy block there.

    A dask array is computed chunk by chunk, so that no more than one of its chunks is in memory.
    """
    chunks = getattr(array, "chunks", None) or tuple((n,) for n in array.shape)
    edges = [np.concatenate([[0], np.cumsum(sizes)]) for sizes in chunks[:-1]]
    for corner in itertools.product(*(range(len(sizes)) for sizes in chunks[:-1])):
        outer = tuple(slice(int(e[i]), int(e[i + 1])) for e, i in zip(edges, corner, strict=True))
        part = np.asarray(array[outer])
        for inner in _split(part.shape[:-1], size):
            yield (
                tuple(slice(o.start + i.start, o.start + i.stop) for o, i in zip(outer, inner, strict=True)),
                part[inner],
            )


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
