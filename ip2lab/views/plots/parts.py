"""Parts that several pictures are made of, and the rules that all follow: dims, labels, order, colours, gaps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import holoviews as hv
import numpy as np
import pandas as pd
import xarray as xr

from ip2lab.analysis._labels import called, check_unique, labels_along, levels, listed, match, recorded, sequence
from ip2lab.views.style import GAP, MARK, QUIET, axis, colours, legend, plain, points, styled, uprights

Labelled = TypeVar("Labelled", xr.DataArray, xr.Dataset)
FAINT = "55"  # the last two digits of a colour that is there but switched off
NO_LABEL = "condition"  # the label that pictures colour by unless another is named: not all data have it
EVEN = 1e-3  # of a step: what steps in a grid may differ by
MOST_TICKS = 9


# ---------------------------------------------------------------------- what was given


def with_dims(data: xr.DataArray, *dims: str, others: tuple[int, ...] = (0,)) -> xr.DataArray:
    """`data` with its other dims first, of which there are so many, and `dims` last."""
    rest = [dim for dim in data.dims if dim not in dims]
    if set(dims) <= set(data.dims) and len(rest) in others:
        return data.transpose(*rest, *dims)
    most = max(others)
    more = "" if not most else f" and {'up to ' * (len(others) > 1)}{most} more"
    raise ValueError(
        f"{called(data)} has the dims {listed(data.dims)}; expected {listed(dims)}{more}. Select along those that are "
        f"too many, such as .isel({rest[-1] if rest else 'trial'}=0), and rename those that are called otherwise: "
        f".rename(its_name={dims[-1]!r})"
    )


def has(data: xr.Dataset, *names: str, argument: str = "found") -> xr.Dataset:
    """`data`, which must hold these variables."""
    lacking = [name for name in names if name not in data]
    if lacking:
        raise ValueError(f"{argument} lacks {listed(lacking)}; it has {listed(data.variables)}")
    return data


def increasing(data: Labelled, dim: str = "time") -> Labelled:
    """`data` in the order of the numbers along `dim`, each of which must be there once."""
    who = called(data) if isinstance(data, xr.DataArray) else "the data"
    if dim not in data.dims or not data.sizes[dim]:
        raise ValueError(f"{who} has nothing along {dim!r}; its dims are {listed(data.dims)}")
    values = data[dim].values
    if values.dtype.kind not in "iuf" or not np.isfinite(values).all():
        raise ValueError(
            f"the labels along {dim!r} of {who} are {values.dtype}, such as {plain(values[0])}; expected numbers, all "
            f"finite{', in ms' * (dim == 'time')}: .assign_coords({dim}=numbers)"
        )
    check_unique(data[dim], dim)
    return data if (np.diff(values) > 0).all() else data.sortby(dim)


def gridded(data: xr.DataArray, dim: str = "time") -> xr.DataArray:
    """`data` in the order of `dim`, in equal steps: an image has no others."""
    found = increasing(data, dim)
    steps = np.diff(found[dim].values.astype(float))
    if steps.size and np.ptp(steps) > EVEN * steps.min():
        raise ValueError(
            f"the steps along {dim!r} of {called(data)} differ, {steps.min():g} to {steps.max():g}; an image needs "
            f"equal ones: .interp({dim}=...) or .reindex({dim}=...) gives them"
        )
    return found


def seen(data: xr.DataArray) -> xr.DataArray:
    """`data`, as numbers that are NaN where nothing was recorded."""
    mask = recorded(data)
    return data if mask is None or bool(mask.all()) else data.astype(float).where(mask)


def gap_key(values: np.ndarray, names: Sequence[str]) -> list[hv.Points]:
    """What the grey of an image means, where there is any."""
    return legend(["not recorded"], [GAP], names) if values.dtype.kind == "f" and np.isnan(values).any() else []


def ends(values: np.ndarray, room: float = 0.0) -> tuple[float, float]:
    """The first and the last of increasing numbers, apart even where they are one."""
    room = room if values[-1] > values[0] or room else 0.5
    return float(values[0]) - room, float(values[-1]) + room


# ---------------------------------------------------------------------- labels and their colours


def labels_of(data: xr.DataArray, by: str, dims: Sequence[str]) -> np.ndarray | None:
    """The label `by` of each entry along `dims`; None where there is no such label and none was asked for."""
    if by not in data.coords and by == NO_LABEL:
        return None
    if by not in data.coords:
        return labels_along(data, by, dims, least=1).values
    # without coords: labels of a dim may repeat, for they are not what is matched here
    label = xr.DataArray(data[by].variable.to_base_variable(), name=by)
    return labels_along(xr.DataArray(data.variable, name=data.name), label, dims, least=1).values


def inks_of(labels: Iterable[Any], hidden: Sequence[Any] = ()) -> dict[Any, str]:
    """Return the colour of each different label, faint for those that are hidden: the one rule for all pictures.

    Labels stand in the order of their values, whatever order the data are in; what is hidden keeps its place.

    Examples
    --------
    >>> inks_of(["no-go", "go", "no-go"], hidden=["no-go"])
    {'go': '#2484c6', 'no-go': '#d9601a55'}
    """
    kinds = list(levels(labels if isinstance(labels, np.ndarray) else list(labels))[0])
    return {
        kind: ink + (FAINT if any(kind == label for label in hidden) else "")
        for kind, ink in zip(kinds, colours(len(kinds)), strict=True)
    }


def named(by: str, kind: Any) -> str:
    """Return a label in words: itself, or where it is a number with what it counts."""
    text = plain(kind)
    number = (isinstance(kind, (int, float, np.number)) and not isinstance(kind, bool)) or text.replace(
        ".", ""
    ).isdigit()
    return f"{plain(by)} {text}".strip() if number or not text else text


def mapped(given: Mapping[Any, Any] | None, names: Iterable[Any], argument: str) -> Mapping[Any, Any]:
    """What was given by name (nothing for None), each for one of `names`."""
    unknown = [name for name in given or {} if name not in set(names)]
    if unknown:
        raise ValueError(f"{argument}: there is no {listed(map(repr, unknown))}; the names are {listed(names)}")
    return given or {}


def inks_for(given: Mapping[Any, str] | None, names: Sequence[Any]) -> dict[Any, str]:
    """The colour of each name: as given, or one after the other."""
    lacking = [name for name in names if given is not None and name not in given]
    if lacking:
        raise ValueError(f"colors: there is no colour for {listed(map(repr, lacking))}; give one for each name")
    return dict(zip(names, colours(len(names)), strict=True)) if given is None else dict(given)


def neuron_inks(given: Sequence[str] | xr.DataArray | None, data: xr.DataArray, default: str) -> list[str]:
    """The colour of each neuron of `data` (neuron): as given, one for each, or all alike."""
    if given is None:
        return [default] * data.size
    own = match(data, given).values.tolist() if isinstance(given, xr.DataArray) else list(given)
    if len(own) != data.size:
        raise ValueError(f"colors: {len(own)} colours for {data.size} neurons; give one for each")
    return own


def indices(given: Sequence[int], count: int, argument: str) -> list[int]:
    """Places among so many, counted from 0."""
    wrong = [i for i in given if not 0 <= i < count]
    if wrong:
        raise ValueError(f"{argument}: {listed(wrong)} is none of {count} neurons, which count from 0")
    return [int(i) for i in given]


class Axis(NamedTuple):
    """Where the labels of a series, such as problems, stand: numbers at their value, others one after the other."""

    place: Callable[[Any], np.ndarray]
    ticks: list[tuple[float, str]] | None


def series_axis(*labels: np.ndarray) -> Axis:
    """The axis for the labels of one or several series: dates in order, text as it stands in the first series."""
    if all(one.dtype.kind in "iuf" for one in labels):
        return Axis(lambda values: np.asarray(values, float), None)
    every = list(dict.fromkeys(_key(value) for one in labels for value in one))
    every = sorted(every) if all(one.dtype.kind == "M" for one in labels) else every
    where = pd.Index([str(value) for value in every])

    def place(values: Any) -> np.ndarray:
        found = where.get_indexer([str(_key(value)) for value in np.atleast_1d(values)])
        if (found < 0).any():
            raise ValueError(f"at: {values!r} is not among {listed(map(plain, every))}")
        return np.asarray(found, float)

    return Axis(place, ticks_across(every))


def _key(value: Any) -> Any:
    return pd.Timestamp(value) if isinstance(value, np.datetime64) else value


def ticks_across(labels: Sequence[Any] | np.ndarray, most: int = MOST_TICKS) -> list[tuple[float, str]]:
    """As :func:`ticks_of`, side by side: the more there are, the shorter."""
    return ticks_of(labels, most, max(60 // max(min(len(labels), most), 1), 6))


def ticks_of(labels: Sequence[Any] | np.ndarray, most: int = MOST_TICKS, letters: int = 22) -> list[tuple[float, str]]:
    """Places, counted from 0, with what is written there: at most so many, and so long."""
    keep = np.unique(np.linspace(0, max(len(labels) - 1, 0), min(len(labels), most)).astype(int))
    return [(float(i), plain(labels[i], letters)) for i in keep]


def along_series(data: xr.DataArray, dim: str) -> tuple[xr.DataArray, Axis]:
    """`data` in the order in which its labels along `dim` are drawn, and their axis."""
    if not data.sizes[dim]:
        raise ValueError(f"{called(data)} has nothing along {dim!r}")
    check_unique(data, dim)
    labels = data[dim].values
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise ValueError(f"labels along {dim!r} of {called(data)} are not finite; drop those entries")
    data = data.isel({dim: sequence(data, dim, names=False)})
    return data, series_axis(data[dim].values)


# ---------------------------------------------------------------------- glyphs


def bands(drawn: Sequence[tuple[np.ndarray, str]], names: Sequence[str]) -> hv.Polygons:
    """Return areas as one glyph, each a list of corners with its colour."""
    kept = [(corners[np.isfinite(corners).all(1)], ink) for corners, ink in drawn]
    kept = [(corners, ink) for corners, ink in kept if len(corners) > 2]
    kept = kept or [(np.ones((3, 2)), QUIET)]  # no area: see style.lines
    data = [{"x": c[:, 0], "y": c[:, 1], "colour": ink} for c, ink in kept]
    return styled(hv.Polygons, data, names, ("colour",), {"color": "colour", "alpha": 0.2, "line_alpha": 0})


def scattered(groups: Sequence[tuple[np.ndarray, np.ndarray, str]], names: Sequence[str], **chosen: Any) -> hv.Points:
    """Points of several groups (x, y, colour) as one glyph, without those that are NaN."""
    kept = [(x[np.isfinite(y)], y[np.isfinite(y)], ink) for x, y, ink in groups]
    x, y = (np.concatenate([group[i] for group in kept]) if kept else np.empty(0) for i in (0, 1))
    ink = [colour for group_x, _, colour in kept for colour in [colour] * len(group_x)]
    return points(x, y, names, ink, **chosen)


def stretches(values: np.ndarray) -> list[slice]:
    """The stretches (of at least one step) in which no value (time, ...) is missing."""
    there = np.isfinite(values.reshape(len(values), -1)).all(1)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], there, [False]]).astype(int)))
    return [slice(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def broken(x: np.ndarray, y: np.ndarray, half: float = 0.5) -> list[np.ndarray]:
    """The line (point, 2) of `y` over `x`, in pieces where values are missing; a point alone is a short line."""
    found = [np.column_stack([x[part], y[part]]) for part in stretches(y)]
    return [piece if len(piece) > 1 else piece + np.array([[-half, 0.0], [half, 0.0]]) for piece in found]


def borders(data: xr.DataArray | xr.Dataset) -> list[int]:
    """The steps at which an epoch begins, without the first; none where trials differ in that."""
    if "epoch" not in data.coords or "time" not in data["epoch"].dims:
        return []
    epochs = data["epoch"].transpose("time", ...).values.reshape(data.sizes["time"], -1)
    alike = (epochs == epochs[:, :1]).all()
    return [int(i) + 1 for i in np.flatnonzero(epochs[1:, 0] != epochs[:-1, 0])] if alike else []


def epoch_lines(
    data: xr.DataArray, low: float, high: float, names: Sequence[str], *, early: float = 0.0, **chosen: Any
) -> hv.Contours:
    """Dashed lines where an epoch begins; in a grid `early`, half a step, puts them between two cells."""
    places = tuple(float(t) - early for t in data["time"].values[borders(data)])
    return uprights(places, low, high, tuple(names), line_dash="dashed", **chosen)


def time_axis(data: xr.DataArray | xr.Dataset) -> str:
    """What the axis of time is called; in ms where the data do not say."""
    return axis(data["time"], "time", data["time"].attrs.get("units", "ms"))


def faded(colors: Sequence[str], chosen: Sequence[int]) -> list[str]:
    """Colours of which only the chosen ones keep their strength; all do where none is chosen."""
    kept = set(chosen)
    return [ink if not kept or i in kept else ink[:7] + "58" for i, ink in enumerate(colors)]


def rings(x: np.ndarray, y: np.ndarray, chosen: Sequence[int], names: Sequence[str]) -> hv.Points:
    """Rings around the chosen points."""
    place = list(chosen)
    return points(x[place], y[place], names, MARK, size=12, fill_alpha=0, line_color=MARK, line_width=1.6)
