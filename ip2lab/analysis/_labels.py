"""Labels decide: what belongs to what, in which order the values of a label stand, and what was recorded at all.

Whenever two labelled things meet they are matched here: by their labels where both have them, else by position where
both are equally long. Labels that differ or repeat are refused by name; nothing is joined, sorted or cut in silence.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import xarray as xr

RECORDED = "recorded"  # the coord that is False where nothing was recorded
Result = TypeVar("Result", xr.DataArray, xr.Dataset)
SAME = 1e-6  # of the smallest step between numbers: labels that are that close differ by rounding only


def called(data: xr.DataArray) -> str:
    """How an error message calls `data`."""
    return repr(data.name) if data.name is not None else "the data"


def listed(names: Any, most: int = 8) -> str:
    """Names as words, the tail of a long list left out."""
    words = [str(name) for name in names]
    tail = f", ... ({len(words)} in all)" if len(words) > most else ""
    return ", ".join(words[:most]) + tail if words else "none"


def place_of(data: xr.DataArray, position: Sequence[int]) -> str:
    """A position in `data` in words, by its labels where there are any."""
    labels = (data[dim].values[i] if dim in data.coords else i for dim, i in zip(data.dims, position, strict=True))
    return ", ".join(f"{dim}={label}" for dim, label in zip(data.dims, labels, strict=True))


def levels(values: Any) -> tuple[np.ndarray, np.ndarray]:
    """The different values of a label in their order, and for each entry its place among them.

    The one order of labels, in results and in pictures, whatever order the data are in: numbers by size, then text by
    the alphabet, then anything else by its words. Missing labels (None, NaN) must have been refused before.

    Examples
    --------
    >>> found, codes = levels(["b", 10, "a", 2, 10])
    >>> found.tolist(), codes.tolist()
    ([2, 10, 'a', 'b'], [3, 1, 2, 0, 1])
    """
    values = _as_array(values)
    if values.dtype.kind != "O":
        found, codes = np.unique(values, return_inverse=True)
        return found, codes.reshape(values.shape)
    flat = [v.item() if isinstance(v, np.generic) and v.dtype.kind not in "mM" else v for v in values.ravel()]
    ordered = sorted(dict.fromkeys(flat), key=_rank)
    place = {value: i for i, value in enumerate(ordered)}
    return _objects(ordered), np.array([place[value] for value in flat], int).reshape(values.shape)


def _as_array(values: Any) -> np.ndarray:
    """`values` as an array, of what they are where they are numpy's dates or durations; of objects for other lists."""
    if not isinstance(values, (list, tuple)) or {type(v) for v in values} in ({np.datetime64}, {np.timedelta64}):
        return np.asarray(values)
    return _objects(values)


def _objects(values: Sequence[Any]) -> np.ndarray:
    """A row of anything, tuples too, as it is."""
    row = np.empty(len(values), object)
    row[:] = values
    return row


def _rank(value: Any) -> tuple[int, Any]:
    if pd.isna(value) is True:
        return 3, ""
    if isinstance(value, (bool, int, float)):
        return 0, value
    return (1, value) if isinstance(value, str) else (2, str(value))


def match(first: xr.DataArray, second: xr.DataArray, *dims: str) -> xr.DataArray:
    """`second` in the order of `first` along the dims named, which both have; by default all that they share.

    Where both have labels along a dim these decide, and must be the same ones, each once; where one has none, both
    must be equally long.

    Examples
    --------
    >>> first = xr.DataArray([1, 2], dims="neuron", coords={"neuron": ["a", "b"]})
    >>> match(first, xr.DataArray([4, 3], dims="neuron", coords={"neuron": ["b", "a"]})).values.tolist()
    [3, 4]
    """
    for dim in dims or [str(dim) for dim in first.dims if dim in second.dims]:
        places = _order(first, dim, second, dim)
        second = second if places is None else second.isel({dim: places})
        here, there = first.indexes.get(dim), second.indexes.get(dim)
        if here is not None and there is not None and not there.equals(here):
            # labels that differ by rounding become those of the first, or arithmetic would drop them
            second = second.assign_coords({dim: (dim, here.values, second[dim].attrs)})
    return second


def match_axes(matrix: xr.DataArray, rows: str, columns: str) -> xr.DataArray:
    """`matrix` with its `columns` in the order of its `rows`: both are the same things, such as neurons."""
    places = _order(matrix, rows, matrix, columns)
    return matrix if places is None else matrix.isel({columns: places})


def pick(first: xr.DataArray, second: xr.DataArray, dim: str) -> xr.DataArray:
    """`second` at the labels that `first` has along `dim`, in their order; what `first` has must be there."""
    if dim not in first.indexes or dim not in second.indexes:
        return match(first, second, dim)
    for data in (first, second):
        check_unique(data, dim)
    places = _places(first.indexes[dim], second.indexes[dim])
    if (places < 0).any():
        lacking = first.indexes[dim][places < 0]
        raise ValueError(
            f"{called(second)} lacks {listed(lacking)} along {dim!r}, which {called(first)} has. Leave them out there"
        )
    return second.isel({dim: places})


def quantities(labels: pd.Index | None) -> pd.Index | None:
    """`labels` that are numbers or times, whatever holds them, and so have an order of their own; else None.

    Examples
    --------
    >>> quantities(pd.Index([3, 1], dtype=object)).tolist(), quantities(pd.Index(["b", "a"]))
    ([3, 1], None)
    """
    if isinstance(labels, pd.CategoricalIndex):
        labels = pd.Index(labels.astype(labels.categories.dtype))
    if labels is None or isinstance(labels, pd.MultiIndex):
        return None
    if getattr(labels.dtype, "kind", "O") in "iufmM" or isinstance(labels, pd.PeriodIndex):
        return labels
    kind = pd.api.types.infer_dtype(labels)
    if kind in ("integer", "floating", "mixed-integer-float"):
        return pd.Index(pd.to_numeric(labels))
    return labels if kind in ("date", "datetime", "period", "timedelta") else None


def _order(first: xr.DataArray, dim: str, second: xr.DataArray, other: str) -> np.ndarray | None:
    """Where along `other` of `second` stands what `dim` of `first` has; None where all is in place."""
    n, m = first.sizes[dim], second.sizes[other]
    here, there = first.indexes.get(dim), second.indexes.get(other)
    if here is None or there is None:
        if n == m:
            return None
        raise ValueError(
            f"{called(first)} has {n} along {dim!r}, {called(second)} {m} along {other!r}; expected equally many, "
            "or labels that tell which belong together"
        )
    check_unique(first, dim, here)
    check_unique(second, other, there)
    places = _places(here, there)
    if (places < 0).any() or n != m:
        sides = repr(dim) if dim == other else f"{dim!r} and {other!r}"
        lacking = here[places < 0], there[np.setdiff1d(np.arange(m), places)]
        raise ValueError(f"the labels of {sides} differ: {_lacking(first, second, *lacking)}. Select the same in both")
    return None if (places == np.arange(n)).all() else places


def _lacking(first: xr.DataArray, second: xr.DataArray, in_second: pd.Index, in_first: pd.Index) -> str:
    """Which labels each of two arrays lacks, in words."""
    names = called(first), called(second)
    one, two = ("the first", "the second") if names[0] == names[1] and first is not second else names
    pairs = ((two, in_second), (one, in_first))
    return "; ".join(f"{name} lacks {listed(labels)}" for name, labels in pairs if len(labels))


def check_unique(data: xr.DataArray, dim: str, labels: pd.Index | None = None) -> None:
    """Raise ValueError naming the labels along `dim` that are there more than once."""
    labels = data.indexes.get(dim) if labels is None else labels
    if labels is not None and not labels.is_unique:
        again = labels[labels.duplicated()].unique()
        raise ValueError(
            f"{called(data)} has labels along {dim!r} more than once ({listed(again)}), so they cannot tell which is "
            f"which: give each its own, or take them off: .drop_vars({dim!r})"
        )


def _places(here: pd.Index, there: pd.Index) -> np.ndarray:
    """Where each label of `here` is in `there`, -1 where it is not; numbers may differ by rounding."""
    places = np.asarray(there.get_indexer(here))
    kinds = {getattr(labels.dtype, "kind", "O") for labels in (here, there)}
    if (places < 0).any() and "f" in kinds <= set("iuf") and min(len(here), len(there)) > 1:
        tolerance = SAME * min(np.diff(np.sort(np.asarray(labels, float))).min() for labels in (here, there))
        numbers = pd.Index(np.asarray(there, float))
        order = np.argsort(numbers)
        near = numbers[order].get_indexer(np.asarray(here, float), method="nearest", tolerance=tolerance)
        places = np.where(near >= 0, order[near], -1)
    return places


def labels_along(data: xr.DataArray, label: str | xr.DataArray, dims: Sequence[str], least: int = 2) -> xr.DataArray:
    """The labels named `label` (a coord of `data`, or an array of its own), with exactly the dims `dims`.

    An array of its own is matched with `data` by the labels along its dims.
    """
    if isinstance(label, str) and label not in data.coords:
        raise ValueError(
            f"{called(data)} has no coord {label!r}; its coords are {listed(data.coords)}. Add it along "
            f"{listed(dims)}: .assign_coords({label}=({dims[0]!r}, labels))"
        )
    own = data[label] if isinstance(label, str) else label
    foreign = set(own.dims) - set(dims)
    if foreign:
        raise ValueError(
            f"the labels {called(own)} vary along {listed(foreign)}; expected one label for each {listed(dims)}"
        )
    full = _spread(data, own if isinstance(label, str) else match(data, own), dims)
    if full.isnull().any():
        raise ValueError(
            f"{int(full.isnull().sum())} of the labels {called(full)} are missing; drop those trials first"
        )
    found = levels(full.values)[0]
    if found.size < least:
        raise ValueError(
            f"the labels {called(full)} take {found.size} value ({listed(found)}); at least {least} are "
            "needed to compare"
        )
    return full


def bare(data: xr.DataArray) -> xr.DataArray:
    """`data` without any coords, for arithmetic by position among dims that are known to agree."""
    return data.drop_vars(list(data.coords))


def _spread(data: xr.DataArray, labels: xr.DataArray, dims: Sequence[str]) -> xr.DataArray:
    """`labels` along all of `dims`, with the coords that `data` have there."""
    sizes = {dim: data.sizes[dim] for dim in dims}
    variable = labels.variable.set_dims(sizes | dict(labels.sizes)).transpose(*dims)
    full = xr.DataArray(np.asarray(variable.to_base_variable()), dims=dims, name=labels.name, attrs=labels.attrs)
    return full.assign_coords({dim: data[dim] for dim in dims if dim in data.coords}).reset_coords(drop=True)


def sequence(data: xr.DataArray, dim: str, *, names: bool = True) -> np.ndarray:
    """Positions along `dim` in the order of its labels; as they are where it has none or they repeat.

    Without `names` only numbers and dates are put in order: a series of named sessions stands in the order given.
    """
    labels = data.indexes.get(dim)
    if labels is None or not labels.is_unique or not (names or quantities(labels) is not None):
        return np.arange(data.sizes[dim])
    return np.argsort(levels(labels.values)[1], kind="stable")


def ordered(data: xr.DataArray, *dims: str) -> xr.DataArray:
    """`data` in the order of its labels along `dims`, so that what is drawn or summed does not depend on how it came.

    Examples
    --------
    >>> data = xr.DataArray([1, 2], dims="trial", coords={"trial": ["b", "a"]})
    >>> ordered(data, "trial").values.tolist(), restored(ordered(data, "trial"), data, "trial").values.tolist()
    ([2, 1], [1, 2])
    """
    places = {dim: sequence(data, dim) for dim in dims}
    return data.isel({dim: place for dim, place in places.items() if (np.diff(place) < 0).any()})


def restored(result: Result, data: xr.DataArray, *dims: str) -> Result:
    """`result`, made from ``ordered(data, *dims)``, in the order of `data` again."""
    places = {dim: np.argsort(sequence(data, dim)) for dim in dims if dim in result.dims}
    return result.isel({dim: place for dim, place in places.items() if (np.diff(place) < 0).any()})


def pair(first: xr.DataArray, second: xr.DataArray, *dims: str) -> tuple[xr.DataArray, xr.DataArray]:
    """Both in the order of the labels along `dims`, matched with one another as by `match`."""
    second = match(first, second, *dims)
    places = {dim: sequence(first if dim in first.indexes else second, dim) for dim in dims}
    return first.isel(places), second.isel(places)


def recorded(data: xr.DataArray) -> xr.DataArray | None:
    """Where `data` was recorded (bool, without other coords), or None where no coord ``recorded`` says so."""
    if RECORDED not in data.coords:
        return None
    mask = data[RECORDED].reset_coords(drop=True)
    if mask.dtype.kind != "b":
        raise ValueError(
            f"the coord {RECORDED!r} of {called(data)} holds {mask.dtype}; expected True where something was recorded: "
            f".assign_coords({RECORDED}=data.{RECORDED}.astype(bool))"
        )
    return mask


def recorded_values(data: xr.DataArray) -> np.ndarray | None:
    """Where `data` was recorded, in its shape; None where no coord ``recorded`` says so."""
    mask = recorded(data)
    return None if mask is None else mask.variable.set_dims(data.sizes).to_numpy()


def recorded_samples(data: xr.DataArray, feature: str) -> xr.DataArray:
    """Which samples of `data`, over all its dims but `feature`, were recorded (bool, without coords).

    Samples in which some of the features were recorded and some not are refused by name.
    """
    mask = recorded(data)
    if mask is None or bool(mask.all()):
        mask = xr.DataArray(True)
    if not bool(mask.any()):
        raise ValueError(
            f"{called(data)} was recorded nowhere: its coord {RECORDED!r} is False throughout; select others"
        )
    if feature in mask.dims:
        some, every = mask.any(feature), mask.all(feature)
        if bool((some != every).any()):
            raise _partly_recorded(data, feature, some & ~mask)
        mask = every
    others = {dim: n for dim, n in data.sizes.items() if dim not in (*mask.dims, feature)}
    return bare(mask).expand_dims(others).transpose(*(dim for dim in data.dims if dim != feature))


def _partly_recorded(data: xr.DataArray, feature: str, lacking: xr.DataArray) -> ValueError:
    rest = tuple(str(dim) for dim in lacking.dims if dim != feature)
    lost = np.flatnonzero(lacking.any(rest).values)
    names = data[feature].values[lost] if feature in data.coords else lost
    return ValueError(
        f"{called(data)} was in some samples recorded without {listed(names)} of {feature!r}, and this needs "
        f"whole samples: select what was recorded throughout: data.sel({feature}=data.{RECORDED}.all({rest}))"
    )


def without_gaps(data: xr.DataArray, feature: str) -> tuple[xr.DataArray, xr.DataArray]:
    """`data` with 0 where nothing was recorded, and which samples, over all its dims but `feature`, were recorded."""
    mask = recorded_samples(data, feature)
    return (data if bool(mask.all()) else data.where(mask, 0)), mask
