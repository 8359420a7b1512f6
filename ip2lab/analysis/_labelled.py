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

from ip2lab.analysis._labels import called, check_recorded, listed, recorded

BLOCK = (
    2**12
)  # samples worked on at a time: a few MB for hundreds of neurons, in cache and large enough for fast products
MS = {"ms": 1.0, "s": 1000.0}
SHORTEST = 0.1  # ms between two times; what is shorter, and does not say its unit, is rather in s


def check(
    data: xr.DataArray, *, numeric: bool = True, finite: bool = False, gaps: bool = False, **roles: str | None
) -> xr.DataArray:
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
    missing = next((role for role, dim in wanted.items() if dim not in data.dims), None)
    if missing is not None:
        raise ValueError(
            f"{called(data)} has no dim {wanted[missing]!r}; it has {listed(data.dims)}. "
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
    if numeric and data.dtype.kind not in "buif":
        raise TypeError(
            f"{called(data)} holds {data.dtype}; expected real numbers or bool: convert with .astype(float)"
        )
    if not gaps:
        check_recorded(data)
    if finite:
        mask = recorded(data)
        check_finite(data if mask is None else data.where(mask, 0))
    return data


def check_different(**roles: str | None) -> None:
    """Raise ValueError where two keywords name the same dim."""
    for role, dim in roles.items():
        other = next((name for name, same in roles.items() if same == dim and name != role), None)
        if dim is not None and other is not None:
            raise ValueError(f"{role}={dim!r} and {other}={dim!r}; expected two different dims")


def check_finite(data: xr.DataArray) -> None:
    """Raise ValueError naming the first NaN or infinite value of `data` where it was recorded."""
    if data.dtype.kind != "f":
        return
    mask = mask_of(data)
    for slices, block in blocks(data.data[..., None]):
        wrong = ~np.isfinite(block[..., 0]) & (True if mask is None else mask[slices])
        if wrong.any():
            raise not_finite(data, [s.start + int(i) for s, i in zip(slices, np.argwhere(wrong)[0], strict=True)])


def mask_of(data: xr.DataArray) -> np.ndarray | None:
    """Where `data` was recorded, in its shape; None where no coord ``recorded`` says so."""
    mask = recorded(data)
    return None if mask is None else mask.variable.set_dims(data.sizes).to_numpy()


def not_finite(data: xr.DataArray, first: Sequence[int] = ()) -> ValueError:
    """The error for NaN or infinite values in `data`, the first of them at the position `first`."""
    place = ", ".join(f"{dim}={_at(data, dim, i)}" for dim, i in zip(data.dims, first, strict=False))
    where = f" (the first at {place})" if place else ""
    ragged = "; trials of different lengths: see population.pad_trials" if {"trial", "time"} & {*data.dims} else ""
    return ValueError(
        f"{called(data)} holds NaN or infinite values{where}; drop or fill them first, for instance with .dropna(dim)"
        f"{ragged}"
    )


def _at(data: xr.DataArray, dim: Any, index: int) -> Any:
    return data[dim].values[index] if dim in data.coords else index


def one_chunk(data: xr.DataArray, dim: str) -> None:
    """Raise ValueError where `data` are in several chunks along `dim`, for what needs all of it at once."""
    chunks = data.chunksizes.get(dim, ())
    if len(chunks) > 1:
        raise ValueError(f"{called(data)} is in {len(chunks)} chunks along {dim!r}; join them: .chunk({dim}=-1)")


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


def without(data: xr.DataArray, *names: Any) -> xr.DataArray:
    """`data` without those of the coords `names` that it has; of an index of several levels all go."""
    present = [name for name in names if name in data.coords]
    indexed = [other for name in present if name in data.xindexes for other in data.xindexes.get_all_coords(name)]
    return data.drop_vars({*present, *indexed})


def first_of(data: xr.DataArray, *dims: str) -> xr.DataArray:
    """`data` at the first place of `dims`, without the coords along these: what a result over them is labelled by."""
    along = [name for name, coord in data.coords.items() if set(dims) & set(coord.dims)]
    return without(data, *along).isel(dict.fromkeys(dims, 0), drop=True)


def free(data: xr.DataArray, *names: str) -> xr.DataArray:
    """`data` without coords called as something in the result; a dim that is called so is refused."""
    taken = next((name for name in names if name in data.dims), None)
    if taken is not None:
        raise ValueError(
            f"{called(data)} has a dim {taken!r}, and the result has something of that name: rename the dim, "
            f".rename({taken}=...)"
        )
    return without(data, *names)


def describe(
    result: xr.DataArray, name: str, units: str, long_name: str, like: xr.DataArray | None = None
) -> xr.DataArray:
    """Name `result` and give it its attrs: those of `like` (what it was made from), but its own units and long name.

    A coord that is called as the result is left out.
    """
    kept = dict(like.attrs) if like is not None else {}
    return free(result, name).rename(name).assign_attrs({**kept, "units": units, "long_name": long_name})


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
        named = data.name is not None and data.name not in (*data.dims, *data.coords)
        data = data.to_dataset(name=data.name if named else "data")
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


def check_only(data: xr.DataArray, *, gaps: bool = False, **roles: str | None) -> xr.DataArray:
    """As `check`, of finite data that may have no other dims than those named."""
    check(data, numeric=True, finite=False, gaps=gaps, **roles)
    wanted = [dim for dim in roles.values() if dim is not None]
    if set(data.dims) != set(wanted):
        raise ValueError(
            f"{called(data)} has dims {listed(data.dims)}; expected {listed(wanted)} only: "
            f"select or average over the others"
        )
    return check(data, gaps=gaps, finite=True)


def identical(data: xr.DataArray, what: str, why: str) -> ValueError:
    """The error for repeats without noise: `what` of `data` are identical, and `why` that is of no use."""
    return ValueError(
        f"{what} of {called(data)} are identical{why}. Noise-free probes are all alike: give noisy repeats "
        f"(ip2lab.probe(run, problem, repeats=...))"
    )


def dataset(like: xr.DataArray | xr.Dataset, *variables: xr.DataArray, **attrs: Any) -> xr.Dataset:
    """One dataset of described variables; the attrs of `like` that do not belong to a variable are kept.

    Coords that are called as one of the variables are left out.
    """
    names = [str(v.name) for v in variables]
    kept = {key: value for key, value in like.attrs.items() if key not in ("units", "long_name")}
    return xr.Dataset(
        {name: free(v, *names) for name, v in zip(names, variables, strict=True)}, attrs={**kept, **attrs}
    )


def units_of(data: xr.DataArray) -> str:
    """The unit written on `data`, ``"1"`` where none is."""
    return str(data.attrs.get("units") or "1")


def times(data: xr.DataArray, time: str) -> tuple[np.ndarray, float]:
    """The times along `time` and their spacing, both in ms; refuses missing, uneven or unordered times.

    Steps are even where they differ by no more than a thousandth, or than the type of number can tell apart.
    """
    if time not in data.coords:
        raise ValueError(
            f"{called(data)} has no coord on dim {time!r}, so rates and intervals have no unit; "
            f"add it in ms: .assign_coords({time}=dt * np.arange({data.sizes[time]}))"
        )
    coord = f"coord {time!r} of {called(data)}"
    if data[time].size < 2:
        raise ValueError(f"{called(data)} has one point along {time!r}; its duration is unknown: give two or more")
    values, resolution = _in_ms(data[time], coord)
    steps = np.diff(values)
    step, median = float(steps.mean()), float(np.median(steps))
    if steps.min() > 0 and median < SHORTEST * (1 - 1e-6) and not data[time].attrs.get("units"):
        raise ValueError(
            f"{coord} has steps of {median:g} and no units; that is too short for ms: say what it is in, "
            f"data[{time!r}].attrs['units'] = 's' (or 'ms', if it is)"
        )
    slack = 2 * resolution if 10 * resolution <= step else 0.0
    if not steps.min() > 0 or np.ptp(steps) > 1e-3 * step + slack:
        raise ValueError(
            f"{coord} must rise in equal steps; its steps go from {steps.min():g} to "
            f"{steps.max():g} ms (as {data[time].dtype}): sort or interpolate it first"
        )
    return values, step


def _in_ms(coord: xr.DataArray, called_so: str) -> tuple[np.ndarray, float]:
    """Times as numbers of ms, and how far two of them are apart at least."""
    kind, unit = coord.dtype.kind, coord.attrs.get("units") or "ms"
    if kind == "m":
        if coord.isnull().any():
            raise ValueError(f"{called_so} has missing times (NaT); drop them first")
        return coord.values.astype("timedelta64[ns]").astype(np.int64) / 1e6, 0.0
    if kind == "M":
        raise ValueError(
            f"{called_so} holds dates; count the time from the first: "
            f".assign_coords({coord.name}=data.{coord.name} - data.{coord.name}[0])"
        )
    if kind not in "iuf":
        raise ValueError(f"{called_so} has dtype {coord.dtype}; expected times as numbers")
    if unit not in MS:
        raise ValueError(f"{called_so} is in {unit!r}; expected 'ms' or 's' in its attrs['units']")
    values = coord.values.astype(float)
    if not np.isfinite(values).all():
        raise ValueError(f"{called_so} holds NaN or infinite times; drop them first")
    largest = np.abs(coord.values).max()
    return values * MS[unit], float(np.spacing(largest) if kind == "f" else 1.0) * MS[unit]


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
