"""Labelled arrays in, labelled arrays out: the one place where the numpy functions of the analysis meet xarray.

A numpy function takes arrays with the axes it works on last; :func:`apply` calls it with those dims in place and puts
the labels back, and :func:`describe` writes down what a result is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from ip2lab.analysis._checks import check, check_different, check_free, check_length
from ip2lab.analysis._labels import called, listed

MS = {"ms": 1.0, "s": 1000.0}
SHORTEST = 0.1  # ms between two times; what is shorter, and does not say its unit, is rather in s


def names_of(dims: str | Sequence[str] | None) -> list[str]:
    """The dims that an argument names: one, several or none."""
    return [dims] if isinstance(dims, str) else list(dims or ())


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
    """`data` without coords called as something in the result; a dim or an index that is called so is refused."""
    check_free({*data.dims, *data.xindexes}, *names)
    return data.drop_vars([name for name in names if name in data.coords])


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
    variables = _variables(data)
    check_different(**roles)
    dims = list(roles.values())
    found = {name: v for name, v in variables.items() if set(dims) <= set(v.dims)}
    if not found:
        there = listed(f"{name} ({', '.join(map(str, v.dims))})" for name, v in variables.items())
        raise ValueError(
            f"no variable has the dims {listed(map(repr, dims))}; there are: {there}. {_renamed(variables, roles)}"
        )
    for values in found.values():
        check(values, finite=True)
    return found


def _variables(data: xr.Dataset | xr.DataArray | xr.DataTree) -> dict[str, xr.DataArray]:
    if isinstance(data, xr.DataArray):
        named = data.name is not None and data.name not in (*data.dims, *data.coords)
        return {str(data.name) if named else "data": data}
    if not isinstance(data, (xr.Dataset, xr.DataTree)):
        raise TypeError(
            f"expected an xarray.Dataset, a group of a run, or one variable of it, got {type(data).__name__}"
        )
    return {str(name): variable for name, variable in data.data_vars.items()}


def _renamed(variables: Mapping[str, xr.DataArray], roles: Mapping[str, str]) -> str:
    """How to name the right dims: as they are where the first variable leaves one choice, else with which keywords."""
    first = [str(d) for d in next(iter(variables.values())).dims] if variables else []
    wrong = [role for role, dim in roles.items() if dim not in first]
    free = [dim for dim in first if dim not in roles.values()]
    words = [f"{role}={free[0]!r}" if len(wrong) == len(free) == 1 else f"{role}=..." for role in wrong]
    return f"Name the right ones: {', '.join(words)}"


def coords_of(data: xr.DataArray, *dims: str) -> dict[str, xr.DataArray]:
    """The labels along `dims`, where there are any."""
    return {dim: data[dim].reset_coords(drop=True) for dim in dims if dim in data.coords}


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
    check_length(data, time, 2, "a duration")
    values, resolution = _in_ms(data[time], coord)
    steps = np.diff(values)
    step, median = float(steps.mean()), float(np.median(steps))
    slack = 2 * resolution if 10 * resolution <= step else 0.0
    rising = steps.min() > 0
    if rising and median < SHORTEST * (1 - 1e-6) and not data[time].attrs.get("units"):
        raise ValueError(
            f"{coord} has steps of {median:g} and no units; that is too short for ms: say what it is in, "
            f"data[{time!r}].attrs['units'] = 's' (or 'ms', if it is)"
        )
    if not rising or np.ptp(steps) > 1e-3 * step + slack:
        raise ValueError(
            f"{coord} must rise in equal steps; its steps go from {steps.min():g} to "
            f"{steps.max():g} ms (as {data[time].dtype}): sort or interpolate it first"
        )
    return values, step


def _in_ms(coord: xr.DataArray, called_so: str) -> tuple[np.ndarray, float]:
    """Times as numbers of ms, and how far two of them are apart at least."""
    kind = coord.dtype.kind
    if coord.isnull().any() or (kind == "f" and np.isinf(coord.values).any()):
        raise ValueError(f"{called_so} holds times that are NaN, NaT or infinite; drop them first")
    if kind == "m":
        return coord.values.astype("timedelta64[ns]").astype(np.int64) / 1e6, 0.0
    if kind == "M":
        raise ValueError(
            f"{called_so} holds dates; count the time from the first: "
            f".assign_coords({coord.name}=data.{coord.name} - data.{coord.name}[0])"
        )
    if kind not in "iuf":
        raise ValueError(f"{called_so} has dtype {coord.dtype}; expected times as numbers")
    unit = ms_per_unit(coord, called_so)
    spacing = float(np.spacing(np.abs(coord.values).max())) if kind == "f" else 1.0
    return coord.values.astype(float) * unit, spacing * unit


def ms_per_unit(data: xr.DataArray, called_so: str) -> float:
    """How many ms the unit of times lasts: ms, unless `data` say that they are in s."""
    unit = data.attrs.get("units") or "ms"
    if unit not in MS:
        raise ValueError(f"{called_so} is in {unit!r}; expected 'ms' or 's' in its attrs['units']")
    return MS[unit]
