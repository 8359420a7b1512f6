"""Labels decide, in every analysis of single neurons and of weights: whatever order, number or kind they come in."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import xarray as xr
from calls import ANALYSES, by_problem, properties, rates, spikes, weights

from ip2lab.analysis import connectivity, neurons

KINDS: dict[str, Callable[[int], Any]] = {
    "numbers": lambda n: np.arange(n) + 100,
    "negative": lambda n: np.arange(n) - n,
    "decimals": lambda n: 0.1 * np.arange(n) + 0.3,
    "text": lambda n: [f"n{i}" for i in range(n)],
    "dates": lambda n: np.datetime64("2024-02-28", "ns") + np.arange(n) * np.timedelta64(1, "D"),
}
SERIES = {"time", "problem"}  # order is part of what they mean: shuffled numbers and dates are refused there


def events() -> dict[str, Any]:
    rng = np.random.default_rng(5)
    return {"time": rng.uniform(0, 1000, 90), "unit": rng.choice(["b", "a", "c"], 90), "trial": rng.integers(0, 3, 90)}


Call = tuple[Callable[..., Any], Callable[[], dict[str, Any]]]
CALLS: dict[str, Call] = {
    **{name: ANALYSES[name] for name in (*neurons.__all__, *connectivity.__all__)},
    "firing_rate, not smoothed": (neurons.firing_rate, lambda: {"spikes": spikes()}),
    "psth, labels of their own": (neurons.psth, lambda: {"spikes": spikes(), "by": spikes().cue.drop_attrs()}),
    "psth of a signal": (neurons.psth, lambda: {"spikes": rates(), "by": "cue"}),
    "selectivity, labels of their own": (neurons.selectivity, lambda: {"data": rates(), "label": rates().cue}),
    "selectivity, information": (
        neurons.selectivity,
        lambda: {"data": rates(), "label": rates().cue, "measure": "mutual_information", "shuffles": 7},
    ),
    "drift of one property": (neurons.drift, lambda: {"properties": properties().threshold}),
    "relative_threshold, all problems": (
        neurons.relative_threshold,
        lambda: {
            "threshold": 1 + np.abs(by_problem()).mean(["trial", "time"]).drop_attrs(),
            "drive": by_problem(),
        },
    ),
    "communities, leiden": (connectivity.communities, lambda: {"weights": weights(2), "runs": 5}),
    "communities, a sweep": (
        connectivity.communities,
        lambda: {"weights": weights(), "runs": 3, "method": "louvain", "resolution": [0.5, 2.0]},
    ),
    "modularity, untrained": (
        connectivity.modularity,
        lambda: {"weights": weights(3), "untrained": weights(3)[0] * 2, "runs": 2, "nulls": 3},
    ),
    "change_size, a dataset": (
        connectivity.change_size,
        lambda: {"weights": xr.Dataset({"w": weights(3), "bias": weights(3)[..., 0]})},
    ),
}


def arrays(arguments: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in arguments.items() if isinstance(value, (xr.DataArray, xr.Dataset))}


def with_labels(arguments: dict[str, Any], kind: str) -> dict[str, Any]:
    """The arguments with labels along every dim; the same ones wherever a dim occurs, and on both sides of weights."""
    made = dict(arguments)
    for name, value in arrays(arguments).items():
        sizes = {dim: n for dim, n in value.sizes.items() if dim != "time" or "time" not in value.coords}
        made[name] = value.assign_coords({dim: KINDS[kind](n) for dim, n in sizes.items()})
    return made


def shuffled(value: Any, dim: str, seed: int) -> Any:
    order = np.random.default_rng(seed).permutation(value.sizes[dim])
    order = order[::-1] if (order == np.arange(len(order))).all() else order
    return value.isel({dim: order})


def answer(function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return function(**arguments)


def attempt(function: Callable[..., Any], arguments: dict[str, Any]) -> tuple[Any, str]:
    """The answer, or the words of its refusal."""
    try:
        return answer(function, arguments), ""
    except ValueError as error:
        return None, str(error)


def same(one: Any, other: Any) -> bool:
    """Whether two answers are the same up to the order along their dims."""
    if isinstance(one, xr.DataArray):
        one, other = (xr.Dataset({"it": part.rename("it")}) for part in (one, other))
    if set(one.data_vars) != set(other.data_vars) or dict(one.sizes) != dict(other.sizes):
        return False
    for dim, index in one.indexes.items():
        if not index.is_unique:
            continue
        if set(index) != set(other.indexes.get(dim, [])):
            return False
        other = other.sel({dim: index})
    return all(
        np.allclose(one[name].transpose(*other[name].dims), other[name], rtol=1e-9, atol=1e-7, equal_nan=True)
        for name in one.data_vars
    )


def places() -> Iterator[tuple[str, str, str]]:
    """Every dim of every input of every call."""
    for call, (_, made) in CALLS.items():
        for name, value in arrays(made()).items():
            yield from ((call, name, str(dim)) for dim in value.dims)


PLACES = list(places())


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize(("call", "name", "dim"), PLACES, ids=["-".join(place) for place in PLACES])
def test_a_shuffled_dim_of_one_input_changes_nothing(call, name, dim, kind):
    function, made = CALLS[call]
    arguments = with_labels(made(), kind)
    before = answer(function, arguments)
    moved = shuffled(arguments[name], dim, len(call))
    if dim in SERIES and kind == "text" and function.__name__ in ("drift", "stationarity", "change_size"):
        return  # names have no order of their own: that of the series counts
    after, error = attempt(function, arguments | {name: moved})
    refused = dim in SERIES and repr(dim) in error and "sort" in error
    assert refused or (not error and same(before, after)), error


SHARED = [
    (call, name, str(dim))
    for call, name, dim in PLACES
    if dim in ("presynaptic", "neuron" if "presynaptic" in arrays(CALLS[call][1]())[name].dims else "")
    or any(dim in other.dims for key, other in arrays(CALLS[call][1]()).items() if key != name)
]
GROUPS = {"change_size", "gradient_alignment"}  # where rows and columns of weights are numbers only


@pytest.mark.parametrize("what", ["another", "one less", "repeated"])
@pytest.mark.parametrize(("call", "name", "dim"), SHARED, ids=["-".join(place) for place in SHARED])
def test_labels_that_differ_or_repeat_in_one_input_are_refused_by_name(call, name, dim, what):
    function, made = CALLS[call]
    arguments = with_labels(made(), "text")
    if function.__name__ in GROUPS:
        return
    value = arguments[name]
    labels = list(value[dim].values)
    if what == "one less":
        changed, named = value.isel({dim: slice(1, None)}), labels[0]
    else:
        new = labels[1] if what == "repeated" else "strange"
        changed, named = value.assign_coords({dim: [new, *labels[1:]]}), f"{new}|{labels[0]}"
    allowed = function.__name__ == "relative_threshold" and name == "drive" and dim == "problem" and what == "one less"
    after, error = attempt(function, arguments | {name: changed})
    if allowed:
        assert same(answer(function, arguments).isel({dim: slice(1, None)}), after)
    elif "expected recurrent weights" not in error:  # which says how many of both
        assert re.search(rf"(?<!\w)({named})(?!\w)", error) and repr(dim) in error, error


def test_every_dim_of_a_result_that_is_one_of_the_input_has_its_labels():
    for call, (function, made) in CALLS.items():
        arguments = with_labels(made(), "text")
        result = answer(function, arguments)
        for dim in {d for value in arrays(arguments).values() for d in value.dims} & set(result.dims):
            assert dim in result.coords, (call, dim)


def gaps(data: xr.DataArray, seed: int) -> xr.DataArray:
    """Trials that end earlier and later, a hole in two of them, and a neuron lost in one."""
    rng = np.random.default_rng(seed)
    dims = [d for d in ("trial", "time", "neuron") if d in data.dims][: 2 + seed % 2]
    mask = xr.DataArray(np.ones([data.sizes[d] for d in dims], bool), dims=dims)
    place = xr.DataArray(np.arange(data.sizes["time"]), dims="time")
    if "trial" in dims:
        ends = xr.DataArray(
            rng.integers(data.sizes["time"] // 2, data.sizes["time"] + 1, data.sizes["trial"]), dims="trial"
        )
        mask = mask & (place < ends)
        mask[{"trial": 1, "time": slice(3, 6)}] = False
    if "neuron" in dims:
        mask[{"trial": 2, "neuron": 1}] = False
    return data.assign_coords(recorded=mask.transpose(*dims))


HONOUR = {
    "firing_rate": "spikes", "firing_rate, not smoothed": "spikes", "psth": "spikes", "psth of a signal": "spikes",
    "psth, labels of their own": "spikes", "interspike_intervals": "spikes", "adaptation_index": "spikes",
    "selectivity": "data", "selectivity, information": "data", "mixed_selectivity": "data",
    "relative_threshold, all problems": "drive",
}  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("call", HONOUR)
def test_what_was_not_recorded_says_nothing(call, seed):
    function, made = CALLS[call]
    arguments = with_labels(made(), "text")
    arguments = {k: v.astype(float) if k == HONOUR[call] else v for k, v in arguments.items()}
    data = gaps(arguments[HONOUR[call]], seed)
    answers = [
        answer(function, arguments | {HONOUR[call]: data.where(data.recorded, value)})
        for value in (np.nan, 0.0, 1.0, 7e5)
    ]
    for other in answers[1:]:
        assert same(answers[0], other)
    for dim in data.dims:
        moved, error = attempt(function, arguments | {HONOUR[call]: shuffled(data, dim, 3)})
        refused = dim in SERIES and repr(dim) in error
        assert refused or (not error and same(answers[0], moved)), error
    whole = data.assign_coords(recorded=xr.ones_like(data.recorded))
    expected = answer(function, arguments)
    found = answer(function, arguments | {HONOUR[call]: whole})
    skipped = ["trials"] if "psth" in call else []  # with gaps it has a dim of time
    if skipped:
        assert (found.trials == expected.trials).all()
        found, expected = found.drop_vars(skipped), expected.drop_vars(skipped)
    assert same(expected, found)


@pytest.mark.parametrize("call", sorted(set(CALLS) - set(HONOUR)))
def test_what_needs_all_of_it_names_what_was_not_recorded(call):
    function, made = CALLS[call]
    arguments = with_labels(made(), "text")
    name, value = next(iter(arrays(arguments).items()))
    dim = str(next(iter(value.dims)))
    given = value.assign_coords(recorded=(dim, np.arange(value.sizes[dim]) > 0))
    if call in ("relative_threshold", "selectivity, labels of their own"):
        return  # these honour it; the threshold itself is refused below
    with pytest.raises(ValueError, match="was not recorded everywhere"):
        function(**arguments | {name: given})


TAKEN = (
    "trials", "rate", "lower", "upper", "effect", "property", "unit", "parameter", "other", "community", "resolution",
    "drift", "change", "size", "value", "point", "selectivity", "omega_squared", "p_value", "firing_rate", "cv", "lv",
    "intervals", "mean_interval", "adaptation_index", "spectral_radius", "modularity", "agreement", "stationarity",
    "ceiling", "alignment", "chance", "density", "relative_threshold", "distance", "rheobase", "current", "label", "z",
    "null_mean", "untrained", "consistency", "recorded_at", "_row", "_column", "_from", "it",
)  # fmt: skip


@pytest.mark.parametrize("call", CALLS)
def test_coords_called_as_something_in_the_result_change_nothing(call):
    function, made = CALLS[call]
    arguments = with_labels(made(), "text")
    before = answer(function, arguments)
    for name, value in arrays(arguments).items():
        if name in ("by", "label"):
            continue
        for dim in (None, *value.dims):
            crowded = value.assign_coords(
                {word: 3 if dim is None else (dim, np.arange(value.sizes[dim])) for word in TAKEN}
            )
            after = answer(function, arguments | {name: crowded})
            assert same(before, after)
            for variable in [after] if isinstance(after, xr.DataArray) else after.data_vars.values():
                assert variable.name not in variable.coords


def test_events_may_come_in_any_order():
    table = events()
    expected = neurons.interspike_intervals(table, trial="trial")
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(90)
        moved = {name: np.asarray(values)[order] for name, values in table.items()}
        assert same(expected, neurons.interspike_intervals(moved, trial="trial"))
