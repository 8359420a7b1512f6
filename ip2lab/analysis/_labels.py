"""Labels decide: what belongs to what, in which order the values of a label stand, and what was recorded at all.

Whenever two labelled things meet they are matched here: by their labels where both have them, else by position where
both are equally long. Labels that differ or repeat are refused by name; nothing is joined, sorted or cut in silence.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

RECORDED = "recorded"  # the coord that is False where nothing was recorded
SAME = 1e-6  # of the smallest step between numbers: labels that are that close differ by rounding only


def called(data: xr.DataArray) -> str:
    """How an error message calls `data`."""
    return repr(data.name) if data.name is not None else "the data"


def listed(names: Any, most: int = 8) -> str:
    """Names as words, the tail of a long list left out."""
    words = [str(name) for name in names]
    tail = f", ... ({len(words)} in all)" if len(words) > most else ""
    return ", ".join(words[:most]) + tail if words else "none"


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
    values = np.asarray(values) if not isinstance(values, (list, tuple)) else _objects(values)
    if values.dtype.kind != "O":
        found, codes = np.unique(values, return_inverse=True)
        return found, codes.reshape(values.shape)
    flat = [v.item() if isinstance(v, np.generic) else v for v in values.ravel()]
    ordered = sorted(dict.fromkeys(flat), key=_rank)
    place = {value: i for i, value in enumerate(ordered)}
    return _objects(ordered), np.array([place[value] for value in flat], int).reshape(values.shape)


def _objects(values: Sequence[Any]) -> np.ndarray:
    """A row of anything, tuples too, as it is."""
    row = np.empty(len(values), object)
    row[:] = values
    return row


def _rank(value: Any) -> tuple[int, Any]:
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
    shared = dims or tuple(str(dim) for dim in first.dims if dim in second.dims)
    order = {dim: _order(first, dim, second, dim) for dim in shared}
    return second.isel({dim: places for dim, places in order.items() if places is not None})


def match_axes(matrix: xr.DataArray, rows: str, columns: str) -> xr.DataArray:
    """`matrix` with its `columns` in the order of its `rows`: both are the same things, such as neurons."""
    places = _order(matrix, rows, matrix, columns)
    return matrix if places is None else matrix.isel({columns: places})


def _order(first: xr.DataArray, dim: str, second: xr.DataArray, other: str) -> np.ndarray | None:
    """Where along `other` of `second` stands what `dim` of `first` has; None where all is in place."""
    n, m = first.sizes[dim], second.sizes[other]
    here, there = first.indexes.get(dim), second.indexes.get(other)
    if here is None or there is None:
        if n != m:
            raise ValueError(
                f"{called(first)} has {n} along {dim!r}, {called(second)} {m} along {other!r}; expected equally many, "
                "or labels that tell which belong together"
            )
        return None
    for data, name, labels in ((first, dim, here), (second, other, there)):
        check_unique(data, name, labels)
    places = _places(here, there)
    if (places < 0).any() or n != m:
        lacking, extra = here[places < 0], there[np.setdiff1d(np.arange(m), places)]
        words = [f"{called(second)} lacks {listed(lacking)}"] if len(lacking) else []
        words += [f"{called(first)} lacks {listed(extra)}"] if len(extra) else []
        sides = repr(dim) if dim == other else f"{dim!r} and {other!r}"
        raise ValueError(f"the labels of {sides} differ: {'; '.join(words)}. Select the same ones in both")
    return None if (places == np.arange(n)).all() else places


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
    if isinstance(label, str):
        if label not in data.coords:
            raise ValueError(
                f"{called(data)} has no coord {label!r}; its coords are {listed(data.coords)}. Add it along "
                f"{listed(dims)}: .assign_coords({label}=({dims[0]!r}, labels))"
            )
        label = data[label]
    foreign = set(label.dims) - set(dims)
    if foreign:
        raise ValueError(
            f"the labels {called(label)} vary along {listed(foreign)}; expected one label for each {listed(dims)}"
        )
    own = match(data, label).reset_coords(drop=True)
    bare = own.drop_vars([dim for dim in own.dims if dim in own.coords])
    values = bare.expand_dims({d: data.sizes[d] for d in dims if d not in bare.dims}).transpose(*dims).to_numpy()
    coords = {dim: data[dim].variable for dim in dims if dim in data.coords}
    full = xr.DataArray(np.asarray(values), dims=dims, coords=coords, name=label.name, attrs=label.attrs)
    if full.isnull().any():
        raise ValueError(
            f"{int(full.isnull().sum())} of the labels {called(label)} are missing; drop those trials first"
        )
    found = levels(full.values)[0]
    if found.size < least:
        raise ValueError(
            f"the labels {called(label)} take {found.size} value ({listed(found)}); at least {least} are "
            "needed to compare"
        )
    return full


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


def check_recorded(data: xr.DataArray) -> None:
    """Raise ValueError where part of `data` was not recorded, for what needs all of it."""
    mask = recorded(data)
    if mask is None or bool(mask.all()):
        return
    missing = np.argwhere(~mask.values)[0]
    place = ", ".join(
        f"{dim}={data[dim].values[i] if dim in data.coords else i}" for dim, i in zip(mask.dims, missing, strict=True)
    )
    raise ValueError(
        f"{called(data)} was not recorded everywhere ({int((~mask).sum())} of {mask.size} places, the first at "
        f"{place or 'all of it'}), and this needs all of it: select what was recorded, for instance the trials "
        f"that are whole or the times that all trials have: data.sel(time=data.{RECORDED}.all('trial'))"
    )
