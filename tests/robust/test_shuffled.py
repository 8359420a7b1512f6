"""Labels decide, never positions; what was not recorded takes no part: for every analysis of populations.

Each row of `CASES` is a function and inputs all of whose dims are labelled. Rows are added for other modules alike.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from ip2lab.analysis import population

RECORDINGS = Path(__file__).parents[3] / "shared" / "reference" / "recordings"
SIZES = {"trial": 24, "time": 6, "neuron": 5, "problem": 4, "probe": 4, "component": 2, "condition": 6}
KINDS: dict[str, Callable[[int], Any]] = {
    "numbers": lambda n: 10 * np.arange(n) + 3,
    "negative": lambda n: 0.5 * np.arange(n) - 7,
    "names": lambda n: np.array([f"{chr(97 + 7 * i % 26)}{i}" for i in range(n)]),
    "mixed": lambda n: np.array([i if i % 2 else f"x{i}" for i in range(n)], object),
    "dates": lambda n: pd.date_range("2024-02-27", periods=n).values,
}
Inputs = dict[str, xr.DataArray]


def made(kind: str, dims: tuple[str, ...], seed: int = 0, **coords: Any) -> xr.DataArray:
    """Activity with a label on every dim; time in ms, problems and components counted, the rest of the `kind`."""
    values = np.random.default_rng(seed).normal(size=[SIZES[d] for d in dims])
    labels = {d: KINDS[kind](SIZES[d]) for d in dims if d not in ("time", "problem", "component")}
    labels |= {d: np.arange(SIZES[d]) for d in ("problem", "component") if d in dims}
    labels |= {"time": 20.0 * np.arange(SIZES["time"]) - 40} if "time" in dims else {}
    data = xr.DataArray(values, dims=dims, coords=labels, name=f"data{seed}", attrs={"units": "Hz"})
    return data.assign_coords(coords)


def session(kind: str, seed: int = 0) -> xr.DataArray:
    cue, rule = np.arange(24) % 2, np.arange(24) // 2 % 2
    data = made(kind, ("trial", "time", "neuron"), seed, cue=("trial", cue), rule=("trial", rule))
    return data + data.cue * xr.DataArray([2.0, 1, 0, 0, 0], dims="neuron")


def series(kind: str) -> xr.DataArray:
    return made(kind, ("problem", "trial", "time", "neuron")) * np.arange(1, 6)


def block(kind: str) -> xr.DataArray:
    return made(kind, ("problem", "probe", "time", "neuron"), response=("probe", ["l", "r", "l", "r"]))


def label(kind: str, name: str) -> xr.DataArray:
    return session(kind)[name].drop_vars(["cue", "rule"], errors="ignore").rename(name)


def basis(kind: str, seed: int = 5) -> xr.DataArray:
    return made(kind, ("component", "neuron"), seed)


def decoded(data: xr.DataArray, **labels: xr.DataArray) -> xr.Dataset:
    return population.decode(data, labels.pop("label", "cue"), folds=3, permutations=9, **labels)  # type: ignore[arg-type]


CASES: dict[str, tuple[Callable[..., Any], Callable[[str], Inputs]]] = {
    "pca": (population.pca, lambda k: {"data": session(k)}),
    "project": (population.project, lambda k: {"data": session(k), "basis": basis(k)}),
    "participation_ratio": (population.participation_ratio, lambda k: {"data": session(k)}),
    "participation_ratio, halves": (
        lambda data: population.participation_ratio(data, split="trial", n_splits=3),
        lambda k: {"data": session(k)},
    ),
    "speed": (population.speed, lambda k: {"data": session(k)}),
    "manifold": (lambda data: population.manifold(data, n_neighbors=9), lambda k: {"data": session(k)}),
    "decode": (decoded, lambda k: {"data": session(k), "label": label(k, "cue")}),
    "decode, held out": (
        lambda data, label, hold_out: population.decode(
            data, label, hold_out=hold_out, permutations=9, across_time=True
        ),
        lambda k: {"data": session(k), "label": label(k, "cue"), "hold_out": label(k, "rule")},
    ),
    "decode, two dims of trials": (
        lambda data, label: population.decode(
            data, label, trial=("problem", "probe"), hold_out="problem", permutations=9
        ),
        lambda k: {"data": block(k), "label": block(k).response.rename("side")},
    ),
    "demix": (
        lambda data: population.demix(data, ["cue", "rule"], n_components=1, splits=2),
        lambda k: {"data": session(k)},
    ),
    "condition_means": (
        population.condition_means,
        lambda k: {"data": session(k), "by": label(k, "cue").rename("side")},
    ),
    "align": (
        lambda first, second: population.align(first, second, splits=4, permutations=9),
        lambda k: {n: made(k, ("condition", "time", "neuron"), i) for i, n in enumerate(("first", "second"))},
    ),
    "procrustes": (
        lambda data, onto: population.procrustes(data, onto, feature="neuron"),
        lambda k: {"data": session(k), "onto": session(k, 1)},
    ),
    "dimensionality": (lambda data: population.dimensionality(data, n_components=2), lambda k: {"data": series(k)}),
    "principal_angles": (
        population.principal_angles,
        lambda k: {n: made(k, ("problem", "component", "neuron"), i) for i, n in enumerate(("first", "second"))},
    ),
    "subspaces": (
        lambda data: population.subspaces(data, block=3, n_decision=2, n_stimulus=2),
        lambda k: {"data": block(k)},
    ),
    "subspace_rotation": (
        lambda data, remove: population.subspace_rotation(data, n_components=2, remove=remove, n_splits=3, n_random=5),
        lambda k: {"data": series(k), "remove": basis(k)[:1]},
    ),
    "pad_trials": (
        lambda first, second: population.pad_trials([first, second]),
        lambda k: {"first": session(k)[0].drop_vars("trial"), "second": session(k)[1, :4].drop_vars("trial")},
    ),
}  # fmt: skip
EVERY = [(name, kind) for name in CASES for kind in KINDS]
TWO = [name for name, (_, inputs) in CASES.items() if len(inputs("numbers")) > 1]


@cache
def answer(name: str, kind: str) -> Any:
    function, inputs = CASES[name]
    return function(**inputs(kind))


def as_dataset(result: Any) -> xr.Dataset:
    return result.to_dataset(name="result", promote_attrs=False) if isinstance(result, xr.DataArray) else result


def assert_same(found: Any, expected: Any, within: float = 1e-9) -> None:
    """Equal up to the order of labels and to rounding."""
    found, expected = as_dataset(found), as_dataset(expected)
    assert set(found.variables) == set(expected.variables)
    for dim, labels in expected.indexes.items():
        assert sorted(map(str, found.indexes[dim])) == sorted(map(str, labels)), dim
        found = found.isel({dim: found.indexes[dim].get_indexer(labels)})
    for variable in expected.variables:
        one, other = found[variable], expected[variable].transpose(*found[variable].dims)
        if other.dtype.kind == "f":
            np.testing.assert_allclose(one, other, rtol=within, atol=within, err_msg=str(variable))
        else:
            np.testing.assert_array_equal(one, other, err_msg=str(variable))


def shuffled(data: xr.DataArray, dims: Any, seed: int = 0) -> xr.DataArray:
    rng = np.random.default_rng(seed)
    return data.isel({dim: rng.permutation(data.sizes[dim]) for dim in dims})


@pytest.mark.parametrize(("name", "kind"), EVERY)
def test_the_order_of_labels_changes_nothing(name: str, kind: str) -> None:
    function, inputs = CASES[name]
    expected = answer(name, kind)
    for which, data in inputs(kind).items():
        for dim in data.dims:
            assert_same(function(**inputs(kind) | {which: shuffled(data, [dim])}), expected)
    everything = {which: shuffled(data, data.dims, i) for i, (which, data) in enumerate(inputs(kind).items())}
    assert_same(function(**everything), expected)


def shared(name: str, kind: str = "names") -> list[tuple[str, str]]:
    """Inputs beside the first of a case, each with the dims that it shares with the first."""
    (_, first), *others = CASES[name][1](kind).items()
    out = {"time", "component"} if name == "pad_trials" else {"component"} if name == "principal_angles" else set()
    return [(which, str(d)) for which, data in others for d in data.dims if d in first.dims and d not in out]


PAIRS = [(name, which, dim) for name in TWO for which, dim in shared(name)]


@pytest.mark.parametrize(("name", "which", "dim"), PAIRS)
@pytest.mark.parametrize("kind", ["numbers", "names", "dates"])
def test_labels_that_are_missing_or_repeat_are_named(name: str, which: str, dim: str, kind: str) -> None:
    function, inputs = CASES[name]
    given = inputs(kind)
    data = given[which]
    lost = data.indexes[dim][1]
    with pytest.raises(ValueError, match=rf"(?s)labels of '{dim}' differ: .* lacks .*{lost}"):
        function(**given | {which: data.drop_sel({dim: lost})})
    extra = {"U": "!", "M": np.datetime64("2030-01-01", "ns")}.get(data[dim].dtype.kind, 1001)
    longer = xr.concat([data, data.isel({dim: [0]}).assign_coords({dim: [extra]})], dim)
    with pytest.raises(ValueError, match=rf"(?s)labels of '{dim}' differ: .* lacks"):
        function(**given | {which: longer})
    again = data.isel({dim: [0, 0, *range(2, data.sizes[dim])]})
    with pytest.raises(ValueError, match=rf"(?s)labels along '{dim}' more than once .*{again.indexes[dim][0]}"):
        function(**given | {which: again})


@pytest.mark.parametrize(("name", "which", "dim"), PAIRS)
def test_without_labels_on_one_side_what_is_equally_long_goes_by_position(name: str, which: str, dim: str) -> None:
    function, inputs = CASES[name]
    given = inputs("numbers")
    if name == "pad_trials":
        with pytest.raises(ValueError, match=rf"the coords of the trials differ: {dim} only in 'trial 0'"):
            function(**given | {which: given[which].drop_vars(dim)})
        return
    assert_same(function(**given | {which: given[which].drop_vars(dim)}), answer(name, "numbers"))
    mixed = {key: shuffled(data, [dim], 3) if dim in data.dims else data for key, data in given.items()}
    assert_same(function(**mixed | {which: mixed[which].drop_vars(dim)}), answer(name, "numbers"))


@pytest.mark.parametrize("name", sorted(set(CASES) - set(TWO)))
def test_repeated_labels_of_one_array_do_no_harm(name: str) -> None:
    function, inputs = CASES[name]
    data = inputs("names")["data"]
    for dim in ("trial", "neuron"):
        if dim in data.dims:
            again = data.assign_coords({dim: [data[dim].values[0]] * data.sizes[dim]})
            bare = function(data.drop_vars(dim))
            found = function(again)
            assert_same(as_dataset(found).drop_vars(dim, errors="ignore"), bare)


PADDED = [n for n in CASES if n not in ("principal_angles", "pad_trials", "procrustes", "align")]


def padded(data: xr.DataArray, dim: str, n: int = 2) -> xr.DataArray:
    """`data` with `n` places more along `dim` where nothing was recorded."""
    step = 20.0 if dim == "time" else 1
    more = data.isel({dim: [-1] * n}).assign_coords({dim: data[dim].values[-1] + step * np.arange(1, n + 1)})
    longer = xr.concat([data, more * np.nan], dim)
    mask = xr.DataArray(np.arange(data.sizes[dim] + n) < data.sizes[dim], dims=dim)
    each = longer.isel(neuron=0, drop=True)
    return longer.assign_coords(recorded=mask & xr.ones_like(each.drop_vars(list(each.coords)), bool))


@pytest.mark.parametrize("name", PADDED)
@pytest.mark.parametrize("dim", ["time", "trial"])
def test_what_was_not_recorded_takes_no_part(name: str, dim: str) -> None:
    function, inputs = CASES[name]
    given = inputs("numbers")
    if dim not in given["data"].dims:
        pytest.skip(f"no {dim}")
    longer = {w: padded(d, dim) if w == "data" else d for w, d in given.items()}
    if dim == "trial":  # labels of trials that were never recorded
        lines = {w: d for w, d in longer.items() if w != "data" and dim in d.dims}
        longer |= {
            w: xr.concat([d, d[[-1, -1]].assign_coords(trial=longer["data"].trial[-2:].values)], dim)
            for w, d in lines.items()
        }
    found, expected = as_dataset(function(**longer)), as_dataset(answer(name, "numbers"))
    for along in (dim, "train_time") if dim == "time" else (dim,):
        if along in found.dims and found.sizes[along] == 2 + expected.sizes[along]:
            rest = found.isel({along: slice(-2, None)}).reset_coords(drop=True)
            assert all(v.isnull().all() for n, v in rest.data_vars.items() if along in v.dims and n != "trials"), name
            found = found.isel({along: slice(-2)})
    assert_same(found.drop_vars(["recorded", "trials"], errors="ignore"), expected.drop_vars("trials", errors="ignore"))


def ragged(seed: int = 0) -> xr.DataArray:
    """Trials of 3 to 6 times, as `pad_trials` puts them side by side."""
    whole = session("names", seed)
    stops = np.random.default_rng(seed).integers(3, 7, 24)
    cut = {str(one.trial.values): one[:stop].drop_vars("trial") for one, stop in zip(whole, stops, strict=True)}
    return population.pad_trials(cut)


def test_each_condition_is_averaged_over_what_was_recorded() -> None:
    data = ragged()
    found = population.condition_means(data, "cue")
    for k in (0, 1):
        values = data.values[data.cue.values == k]
        expected = [values[:, t][~np.isnan(values[:, t, 0])].mean(0) for t in range(6)]
        np.testing.assert_allclose(found.sel(trial=k), expected)
        np.testing.assert_array_equal(found.trials.sel(trial=k), (~np.isnan(values[..., 0])).sum(0))
    early = data.isel(time=slice(4)).where(data.recorded.isel(time=slice(4)))
    late = early.assign_coords(recorded=early.recorded & (early.time < 60))
    assert not population.condition_means(late, "cue").recorded.isel(time=3).any()


def test_components_are_those_of_the_samples_recorded() -> None:
    data = ragged()
    rows = data.values[data.recorded.values]
    power = np.linalg.eigvalsh(np.cov(rows.T))[::-1]
    np.testing.assert_allclose(population.pca(data).explained_variance, power)
    each = population.dimensionality(data, along="trial", n_components=1)
    for i in range(24):
        own = np.linalg.eigvalsh(np.cov(data.values[i][data.recorded.values[i]].T)).clip(0)
        assert float(each.participation_ratio[i]) == pytest.approx(own.sum() ** 2 / (own**2).sum())


def test_speed_is_that_of_each_stretch() -> None:
    data = ragged()
    data = data.assign_coords(recorded=data.recorded & (data.trial != data.trial[0]))
    found = population.speed(data)
    for i in range(24):
        own = data[i][data.recorded.values[i]]
        stop = own.sizes["time"]
        assert found.speed[i, stop:].isnull().all() and found.curvature[i, stop:].isnull().all()
        if stop:
            np.testing.assert_array_equal(found.speed[i, :stop], population.speed(own.drop_vars("recorded")).speed)
    parted = session("numbers")[:, [0, 1, 2, 3, 4, 5, 5, 5, 5]].assign_coords(time=20.0 * np.arange(9))
    parted = parted.assign_coords(recorded=("time", [True] * 3 + [False] + [True] * 2 + [False] + [True] * 2))
    assert population.speed(parted).speed.notnull().sum("time").values.tolist() == [3] * 24


def test_decoding_uses_the_trials_recorded_at_each_time() -> None:
    data = ragged()
    found = population.decode(data, "cue", permutations=19)
    common = data.isel(time=slice(3)).drop_vars("recorded")
    expected = population.decode(common, "cue", permutations=19)
    for name in ("accuracy", "score", "null_mean", "null_upper", "p_value"):
        np.testing.assert_allclose(found[name][:3], expected[name], rtol=1e-12)
    np.testing.assert_array_equal(found.trials, data.recorded.sum("trial"))
    # the same from numbers that are there for no reason
    other = data.where(data.recorded, 1e6)
    assert_same(population.decode(other, "cue", permutations=19), found)
    one_class = data.assign_coords(recorded=data.recorded & ((data.time < 40) | (data.cue == 0)))
    assert population.decode(one_class, "cue").score.isnull().values.tolist() == [False] * 2 + [True] * 4
    with pytest.raises(ValueError, match="all trials of 'activity' that were recorded have 0 for 'cue'"):
        population.decode(data.assign_coords(recorded=data.recorded & (data.cue == 0)), "cue")


def test_two_pictures_are_compared_where_both_were_recorded() -> None:
    one, other = (made("names", ("condition", "time", "neuron"), i) for i in (0, 1))
    short = other.where(other.time < 20).assign_coords(recorded=other.time < 20)
    cut = [d.sel(time=d.time < 20).drop_vars("recorded", errors="ignore") for d in (one, other)]
    for first, second, plain in ((one, short, cut), (short, one, cut[::-1])):
        assert_same(population.align(first, second), population.align(*plain))
        laid = population.procrustes(first, second, feature="neuron")
        assert_same(
            laid.sel(time=laid.time < 20).drop_vars("recorded", errors="ignore"),
            population.procrustes(*plain, feature="neuron"),
        )
        assert bool(laid.isnull().all(["condition", "neuron"])[-1]) == (first is short)


@pytest.mark.parametrize("name", [n for n in PADDED if n not in ("condition_means",)])
def test_a_lost_neuron_is_named(name: str) -> None:
    function, inputs = CASES[name]
    given = inputs("names")
    data = given["data"]
    lost = data.neuron != data.neuron[1]
    data = data.assign_coords(recorded=lost | (data.time < 20))
    with pytest.raises(ValueError, match=rf"recorded without {data.neuron.values[1]} of 'neuron'.*select what was"):
        function(**given | {"data": data})
    with pytest.raises(ValueError, match="recorded nowhere"):
        function(**given | {"data": data.assign_coords(recorded=False)})


@pytest.mark.parametrize("name", PADDED)
def test_a_hole_where_something_was_recorded_is_named(name: str) -> None:
    function, inputs = CASES[name]
    given = inputs("numbers")
    holes = padded(given["data"], "time")
    holes[dict.fromkeys(holes.dims, 0)] = np.nan
    with pytest.raises(ValueError, match=r"holds NaN or infinite values \(the first at .*time=-40"):
        function(**given | {"data": holes})


def test_aligned_trials_are_labelled_and_matched() -> None:
    one, other = (session("names")[i, :n].drop_vars("trial") for i, n in ((0, 6), (1, 4)))
    both = population.pad_trials({"b": one, "a": shuffled(other, ["neuron"])})
    assert both.trial.values.tolist() == ["b", "a"]
    np.testing.assert_array_equal(both.sel(trial="a")[:4], other)
    assert population.pad_trials([session("names")[i] for i in (3, 1)]).trial.values.tolist() == ["v3", "h1"]
    gap = one.assign_coords(recorded=("time", [True] * 5 + [False]))
    assert population.pad_trials([gap, other]).recorded.sum("time").values.tolist() == [5, 4]
    spikes = population.pad_trials([one > 0, other > 0])
    assert spikes.dtype == float and population.pca(spikes).attrs["samples"] == 10
    for wrong, words in (
        (other.isel(neuron=slice(4)), r"labels of 'neuron' differ: 'trial 1' lacks c4"),
        (other.assign_attrs(units="1"), "the units of the trials differ: Hz only in 'trial 0', 1 only in 'trial 1'"),
        (other.isel(neuron=0), "the dims of the trials differ: neuron only in 'trial 0'"),
        (other.drop_vars("cue"), "the coords of the trials differ: cue only in 'trial 0'"),
    ):
        with pytest.raises(ValueError, match=words):
            population.pad_trials([one, wrong])
    with pytest.raises(ValueError, match=r"a dim or a coord 'trial'.*another name first"):
        population.pad_trials([one.rename(neuron="trial")])


def test_two_sessions_meet_by_their_conditions() -> None:
    rng = np.random.default_rng(0)
    truth = xr.DataArray(rng.normal(size=(8, 20, 5)).cumsum(1), dims=("cue", "time", "neuron"))
    halves = []
    for order in (rng.permutation(8), rng.permutation(8)):
        cues = np.repeat(order, 3)
        noisy = truth.isel(cue=xr.DataArray(cues, dims="trial")) + 0.1 * rng.normal(size=(24, 20, 5))
        halves.append(population.condition_means(noisy.assign_coords(cue=("trial", cues)), "cue"))
    found = population.align(*halves, condition="trial")
    assert float(found.unaligned) > 0.98 and float(found.aligned) > 0.98
    swapped = population.align(halves[0], halves[1][::-1], condition="trial")
    assert_same(swapped, found)
    with pytest.raises(ValueError, match="labels of 'trial' differ: the second lacks 3"):
        population.align(halves[0], halves[1].drop_sel(trial=3), condition="trial")


TAKEN = {
    "pca": ("component", "scores", "mean"),
    "project": ("component",),
    "manifold": ("component", "embedding"),
    "speed": ("speed", "curvature"),
    "demix": (),
}


@pytest.mark.parametrize(("name", "taken"), [(n, t) for n, names in TAKEN.items() for t in names])
def test_a_name_that_the_result_needs_is_refused(name: str, taken: str) -> None:
    function, inputs = CASES[name]
    given = inputs("numbers")
    with pytest.raises(ValueError, match=rf"a dim or a coord '{taken}'.*\.rename\({taken}="):
        function(**given | {"data": given["data"].assign_coords({taken: ("trial", np.arange(24))})})
    along_neurons = given["data"].assign_coords({taken: ("neuron", np.arange(5))})
    assert_same(as_dataset(function(**given | {"data": along_neurons})), answer(name, "numbers"))


FREE = {
    **dict.fromkeys(("pca", "project", "participation_ratio", "speed", "manifold", "dimensionality"), "trial"),
    "procrustes": "trial",
    "principal_angles": "problem",
}


@pytest.mark.parametrize("name", FREE)
@pytest.mark.parametrize(
    "word", ["component", "trials", "other", "line", "marginalisation", "scores", "_other", "mean"]
)
def test_any_name_of_a_dim_is_as_good_or_refused_by_name(name: str, word: str) -> None:
    function, inputs = CASES[name]
    dim = FREE[name]
    given = {
        w: d.rename({dim: word}) if dim in d.dims else d for w, d in inputs("numbers").items() if word not in d.dims
    }
    if len(given) < len(inputs("numbers")):
        return
    refused = ""
    try:
        found = as_dataset(function(**given))
    except ValueError as error:
        refused = str(error)
    expected = as_dataset(answer(name, "numbers"))
    if refused:
        assert f".rename({word}=" in refused
    else:
        assert_same(found.rename({word: dim} if word in found.dims and word not in expected.dims else {}), expected)


LAZY = [name for name in CASES if name != "pad_trials"]


@pytest.mark.parametrize("name", LAZY)
@pytest.mark.parametrize("kind", ["chunks", "unknown chunks", "single precision", "Fortran", "whole numbers"])
def test_other_ways_of_holding_the_numbers_give_the_same(name: str, kind: str) -> None:
    function, inputs = CASES[name]
    given = inputs("numbers")
    first = next(iter(given))
    data = given[first]
    if kind == "unknown chunks":
        lazy = dask.array.from_array(data.values, chunks=2)
        known = {n: c for n, c in data.coords.items() if data.dims[0] not in c.dims}
        data = xr.DataArray(lazy[dask.array.from_array(np.ones(len(data), bool), chunks=2)], known, data.dims)
        with pytest.raises(ValueError, match="chunks of unknown sizes"):
            function(**given | {first: data})
        return
    expected = answer(name, "numbers")
    if kind == "whole numbers":
        data = (8 * data).round()
        expected = function(**given | {first: data})
    held = {
        "chunks": lambda: data.chunk(2),
        "single precision": lambda: data.astype("float32"),
        "Fortran": lambda: data.copy(data=np.asfortranarray(data.values)),
        "whole numbers": lambda: data.astype(np.int16),
    }[kind]()
    found = function(**given | {first: held})
    if kind != "single precision":
        assert_same(as_dataset(found).compute(), expected, 1e-4 if kind == "whole numbers" else 1e-9)
    assert set(as_dataset(found).variables) == set(as_dataset(expected).variables)


def test_a_quantity_is_no_class() -> None:
    data = session("numbers")
    rt = data.assign_coords(rt=("trial", np.random.default_rng(0).gamma(2.0, 200.0, 24)))
    words = r"the labels 'rt' are numbers, 24 different ones in 24 trials, from .*; expected classes.*pandas\.cut"
    for call in (
        lambda: population.decode(rt, "rt"),
        lambda: population.decode(rt, "cue", hold_out="rt"),
        lambda: population.demix(rt, ["cue", "rt"]),
    ):
        with pytest.raises(ValueError, match=words):
            call()


@pytest.mark.parametrize("cues", [["b", 1], [1.5, "a"], [("x", 1), ("x", 2)], [True, "no"], [pd.Timestamp(0), "late"]])
def test_labels_of_any_kind_are_classes(cues: list[Any]) -> None:
    values = np.empty(24, object)
    values[:] = cues * 12
    data = session("numbers").assign_coords(cue=("trial", values))
    plain = session("numbers")
    found = population.decode(data, "cue", permutations=5)
    again = population.decode(data[::-1], "cue", permutations=5)
    assert_same(again, found)
    assert sorted(found.attrs["classes"]) == sorted(map(str, cues))
    assert population.condition_means(data, "cue").sizes["trial"] == 2
    expected = population.demix(plain, ["cue"], n_components=1, splits=1).signal.values
    np.testing.assert_allclose(population.demix(data, ["cue"], n_components=1, splits=1).signal, expected)
    holes = data.copy()
    holes.cue.values[0] = None
    for call in (population.decode, population.condition_means, lambda d, c: population.demix(d, [c])):
        with pytest.raises(ValueError, match="1 of the labels 'cue' are missing"):
            call(holes, "cue")


def test_silence_is_an_answer_or_a_clear_word() -> None:
    silent = session("numbers") * 0
    found = population.decode(silent, "cue", permutations=9)
    assert (found.score == 0).all() and (found.p_value == 1).all()
    assert (population.speed(silent).speed == 0).all()
    assert not population.condition_means(silent, "cue").any()
    for call in (
        population.pca,
        population.manifold,
        lambda d: population.demix(d, ["cue"]),
        lambda d: population.subspace_rotation(series("numbers") * 0),
        lambda d: population.align(*[d[:6].rename(trial="condition").drop_vars(["cue", "rule"])] * 2),
    ):
        with pytest.raises(ValueError, match="constant"):
            call(silent)


def test_a_subspace_needs_samples() -> None:
    with pytest.raises(ValueError, match=r"no dims but 'problem', 'trial' and 'neuron'; .*give them along another dim"):
        population.subspace_rotation(series("numbers")[:, :, 0])


def test_a_series_follows_its_numbers_and_dates_but_stands_as_named() -> None:
    data = series("numbers")
    expected = population.subspace_rotation(data)
    dates = data.assign_coords(problem=KINDS["dates"](4))
    np.testing.assert_allclose(population.subspace_rotation(dates[::-1]).angle[::-1], expected.angle)
    named = data.assign_coords(problem=["day9", "day10", "day11", "day12"])
    np.testing.assert_allclose(population.subspace_rotation(named).angle, expected.angle)


@pytest.mark.skipif(not RECORDINGS.exists(), reason="the real recordings are not beside the checkout")
def test_two_blocks_of_a_real_session_meet_by_their_targets() -> None:
    """Golub et al., Nat Neurosci 21:607-616 (2018): 69 samples for each of eight targets, before and after learning."""
    rng, expected, means = np.random.default_rng(0), [], []
    with np.load(RECORDINGS / "golub_bci.npz") as file:
        blocks = [(file[f"{when}_counts"].astype(float), file[f"{when}_target"]) for when in ("before", "after")]
    for counts, target in blocks:
        own = np.stack([[counts[target == angle][i::3].mean(0) for i in range(3)] for angle in range(0, 360, 45)])
        expected.append(own.reshape(24, -1) - own.reshape(24, -1).mean(0))
        each = np.stack([counts[target == angle].reshape(23, 3, -1) for angle in range(0, 360, 45)])
        data = xr.DataArray(
            each.reshape(-1, *each.shape[2:]),
            dims=("trial", "time", "neuron"),
            coords={"target": ("trial", np.repeat(np.arange(0, 360, 45), 23)), "neuron": [f"u{i}" for i in range(86)]},
        )
        order = {dim: rng.permutation(data.sizes[dim]) for dim in ("trial", "neuron")}
        means.append(population.condition_means(data.assign_coords(time=[0, 45, 90]).isel(order), "target"))
    x, y = expected
    oracle = ((x.T @ y) ** 2).sum() / np.sqrt(((x.T @ x) ** 2).sum() * ((y.T @ y) ** 2).sum())
    found = population.align(*means, condition="trial", permutations=9)
    assert float(found.cka) == pytest.approx(oracle) and round(oracle, 2) == 0.88
    assert_same(
        population.align(*(shuffled(m, m.dims, i) for i, m in enumerate(means)), condition="trial", permutations=9),
        found,
    )
