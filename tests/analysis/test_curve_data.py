"""Failed, censored and not attempted are three things; labels decide, never positions."""

from __future__ import annotations

import warnings
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from ip2lab.analysis import curves

NAN = float("nan")
HUMANS = Path(__file__).parents[3] / "shared" / "reference" / "recordings" / "rlwm_human_blocks.csv"


def animals(problems=(30, 22, 14), failed=True):
    """Three animals with different numbers of problems, a failure each at the cap of 400."""
    longest = max(problems)
    trials = np.full((3, longest), NAN)
    for row, n in zip(trials, problems, strict=True):
        row[:n] = 80 * np.exp(-np.arange(n) / 4) + 15
    lost = np.zeros(trials.shape, bool)
    if failed:
        lost[:, 5] = True
    table = {
        "trials_to_criterion": np.where(lost, NAN, trials),
        "censored_trials": np.where(lost, 400.0, NAN),
        "failed": lost,
    }
    dims = ("animal", "problem")
    coords = {"animal": ["a", "b", "c"], "problem": np.arange(longest)}
    return xr.Dataset({name: (dims, values) for name, values in table.items()}, coords)


def alone(table, i, n):
    return table.isel(animal=i, problem=slice(0, n)).drop_vars("animal")


CALLS = {
    "exponential_fit": lambda d: curves.exponential_fit(d, failures="survival")[["tau", "scale", "asymptote", "aic"]],
    "power_law_fit": lambda d: curves.power_law_fit(d, failures="cap")[["exponent", "first_problem", "residual"]],
    "area": lambda d: curves.area(d, failures="cap"),
    "final_efficiency": lambda d: curves.final_efficiency(d, last=10, failures="cap"),
    "survival of the last": lambda d: curves.final_efficiency(d, last=12, failures="survival"),
    "problems_to_asymptote": lambda d: curves.problems_to_asymptote(d, failures="cap"),
    "failures": lambda d: curves.failures(d)[["count", "problems", "share"]],
    "survival": lambda d: curves.survival(d)[["restricted_mean", "restricted_mean_error"]],
}


@pytest.mark.parametrize("call", CALLS)
def test_a_shorter_series_in_a_table_is_what_it_is_alone(call):
    lengths = (30, 22, 14)
    table = animals(lengths)
    joined = xr.concat(
        [alone(table, i, n) for i, n in enumerate(lengths)], pd.Index(["a", "b", "c"], name="animal"), join="outer"
    )  # `failed` is NaN then where nothing was tried
    bare = table.drop_vars("failed")
    told = table.drop_vars(["failed"]).assign(attempted=table.trials_to_criterion.notnull() | table.failed)
    for kind in (table, joined, bare, told):
        found = CALLS[call](kind)
        for i, n in enumerate(lengths):
            expected = CALLS[call](alone(table, i, n))
            xr.testing.assert_allclose(found.isel(animal=i).drop_vars("animal"), expected, rtol=1e-6)


def test_three_kinds_of_a_missing_number_are_told_apart():
    table = xr.Dataset(
        {
            "trials_to_criterion": ("problem", [90.0, NAN, NAN, NAN, 12.0]),
            "failed": ("problem", [False, True, False, False, False]),
            "censored_trials": ("problem", [NAN, 500.0, 300.0, NAN, NAN]),
        }
    )
    found = curves.failures(table)
    assert found.failed.values.tolist() == [False, True, False, False, False]
    assert found.censored.values.tolist() == [False, True, True, False, False]
    assert found.attempted.values.tolist() == [True, True, True, False, True]
    assert (int(found["count"]), int(found.problems), float(found.share)) == (1, 4, 0.25)
    assert float(curves.area(table, failures="cap")) == 500 + 300 + 12
    with pytest.raises(ValueError, match=r"2 of 4 problems in 'trials_to_criterion' failed \(problem 1, 2\)"):
        curves.area(table)


def test_trials_alone_end_where_another_series_goes_on():
    trials = animals(failed=False).trials_to_criterion
    assert curves.failures(trials).problems.values.tolist() == [30, 22, 14]
    assert not curves.failures(trials).failed.any()
    single = xr.DataArray([90.0, 20.0, NAN], dims="problem")  # nothing says that this was filled up
    assert int(curves.failures(single)["count"]) == 1
    with pytest.raises(ValueError, match=r"If they were never tried, say so: \.assign_coords\(attempted="):
        curves.final_efficiency(single, last=2)
    said = single.assign_coords(attempted=("problem", [True, True, False]))
    assert float(curves.final_efficiency(said, last=2)) == 55
    inside = trials.copy()
    inside[0, 3] = NAN
    assert curves.failures(inside)["count"].values.tolist() == [1, 0, 0]
    marked = inside.assign_coords(failed=inside.isnull() & (inside.problem == 3))
    assert curves.failures(marked)["count"].values.tolist() == [1, 0, 0]


def test_what_contradicts_itself_is_refused():
    table = animals()
    with pytest.raises(ValueError, match=r"1 problems .* are 'failed' and have a number \(the first at animal=b, prob"):
        curves.failures(table.assign(failed=table.failed | ((table.animal == "b") & (table.problem == 2))))
    with pytest.raises(ValueError, match=r"are not 'attempted', yet were solved or failed .*; correct one of the two"):
        curves.area(table.assign(attempted=table.problem < 10), failures="cap")
    with pytest.raises(TypeError, match=r"'failed' holds .* neither True nor False"):
        curves.area(table.assign(failed=table.failed.astype(str)), failures="cap")
    with pytest.raises(ValueError, match=r"'attempted' varies along box, which 'trials_to_criterion' does not have"):
        curves.failures(table.assign(attempted=("box", [True, False])))
    with pytest.raises(ValueError, match=r"last=20; .* has 14 along 'problem' that were tried \(animal=c\)"):
        curves.final_efficiency(table, last=20, failures="cap")


LABELS = {
    "none": None,
    "from 1": np.arange(1, 31),
    "from 250": np.arange(250, 280),
    "dates": np.datetime64("2024-03-01") + np.arange(30).astype("timedelta64[D]"),
    "names": [f"set {chr(97 + i % 26)}{i}" for i in range(30)],
    "several levels": pd.MultiIndex.from_product([["d1", "d2", "d3"], range(10)], names=["day", "block"]),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("kind", LABELS)
def test_the_first_of_the_series_is_kept_apart_whatever_it_is_called(call, kind):
    table = animals((30, 30, 30))
    labels = LABELS[kind]
    other = table.drop_vars("problem")
    if isinstance(labels, pd.MultiIndex):
        other = other.assign_coords(xr.Coordinates.from_pandas_multiindex(labels, "problem"))
    elif labels is not None:
        other = other.assign_coords(problem=labels)
    xr.testing.assert_allclose(CALLS[call](other), CALLS[call](table), rtol=1e-6)
    if call == "exponential_fit":
        fit = curves.exponential_fit(other, failures="cap", resamples=2)
        assert fit.sizes["problem"] == 29 and fit.fitted.notnull().all()
        assert float(fit.first_problem[0]) == 95


def test_a_gap_in_numbers_is_a_gap_of_the_curve_and_a_stretch_keeps_its_first():
    x = np.delete(np.arange(60), [4, 5, 6, 20])
    trials = xr.DataArray(80 * np.exp(-x / 8) + 15, dims="problem", coords={"problem": x + 100})
    fit = curves.exponential_fit(trials, keep_first=True)
    assert [float(fit[n]) for n in ("scale", "tau", "asymptote")] == pytest.approx([80, 8, 15], rel=1e-5)
    assert fit.sizes["problem"] == 56 and np.isnan(fit.first_problem)
    assert float(curves.area(trials, keep_first=True)) == pytest.approx(float(trials.sum()))
    assert float(curves.area(trials)) == pytest.approx(float(trials[1:].sum()))


@pytest.mark.parametrize("call", CALLS)
@given(seed=st.integers(0, 10**6))
@settings(max_examples=4, deadline=None)
def test_the_order_in_which_labelled_data_come_changes_nothing(call, seed):
    rng = np.random.default_rng(seed)
    table = animals((30, 30, 30)) if seed % 2 else animals((30, 22, 14))
    table = table.assign(trials_to_criterion=table.trials_to_criterion + rng.uniform(0, 3, (3, 30)))
    mixed = table.isel(animal=rng.permutation(3), problem=rng.permutation(30))
    expected = CALLS[call](table)
    xr.testing.assert_allclose(CALLS[call](mixed).sel(animal=table.animal), expected, rtol=1e-6)


def pair(rng, seeds=8, problems=60):
    coords = {"seed": [f"s{i}" for i in range(seeds)], "problem": np.arange(problems)}
    size = (2, seeds, problems)
    return (xr.DataArray(v, dims=("seed", "problem"), coords=coords, name="m") for v in rng.uniform(5, 50, size))


PAIRS = {
    "compare": lambda a, b: curves.compare(a, b, smallest_effect=1.3),
    "partial_association": lambda a, b: curves.partial_association(a, b, block=6, permutations=20),
}


@pytest.mark.parametrize("call", PAIRS)
@given(seed=st.integers(0, 10**6))
@settings(max_examples=8, deadline=None)
def test_two_arrays_meet_by_their_labels(call, seed):
    rng = np.random.default_rng(seed)
    one, other = pair(rng)
    expected = PAIRS[call](one, other)
    order = {dim: rng.permutation(one.sizes[dim]) for dim in one.dims}
    for first, second in (
        (one, other.isel(order)),
        (one.isel(order), other),
        (one.isel(order), other.isel(seed=order["seed"][::-1])),
        (one, other.transpose("problem", "seed")),
    ):
        found = PAIRS[call](first, second)
        back = {dim: expected[dim] for dim in expected.dims if dim in expected.coords}
        xr.testing.assert_allclose(found.sel(back), expected)


@pytest.mark.parametrize("call", PAIRS)
@pytest.mark.parametrize("dim", ["seed", "problem"])
def test_labels_that_differ_or_repeat_are_refused_by_name(call, dim):
    one, other = pair(np.random.default_rng(0))
    with pytest.raises(ValueError, match=rf"labels of '{dim}' differ: .*lacks"):
        PAIRS[call](one, other.isel({dim: slice(0, -1)}))
    with pytest.raises(ValueError, match=rf"labels of '{dim}' differ: .*lacks"):
        PAIRS[call](one.isel({dim: slice(1, None)}), other)
    again = other.assign_coords({dim: other[dim].values[[0, *range(other.sizes[dim] - 1)]]})
    with pytest.raises(ValueError, match=rf"labels along '{dim}' more than once"):
        PAIRS[call](one, again)


def test_repeated_problems_are_refused_by_name():
    table = animals().assign_coords(problem=[0, *range(29)])
    with pytest.raises(ValueError, match=r"labels along 'problem' more than once \(0\)"):
        curves.failures(table)
    with pytest.raises(ValueError, match=r"labels along 'problem' that are NaN"):
        curves.failures(table.assign_coords(problem=[NAN, *range(29)]))


@given(seed=st.integers(0, 10**6))
@settings(max_examples=10, deadline=None)
def test_draws_over_seeds_do_not_depend_on_how_the_seeds_came(seed):
    rng = np.random.default_rng(seed)
    data = xr.DataArray(rng.normal(size=9), dims="seed", coords={"seed": list("abcdefghi")})
    mixed = data[rng.permutation(9)]
    xr.testing.assert_allclose(curves.bootstrap(mixed, resamples=50), curves.bootstrap(data, resamples=50))


def search():
    rng = np.random.default_rng(0)
    run = ("configuration", "seed", "round")
    return xr.Dataset(
        {
            **{name: (run, rng.uniform(5, 50, (4, 3, 1))) for name in ("trials", "late_trials", "problems_done")},
            **{name: (run, np.zeros((4, 3, 1))) for name in ("stopped", "failed")},
            "problems": ("round", [60]),
            "log_ratio": ("configuration", [0.4, 0.3, 0.0, 0.1]),
            "learns": (("configuration", "property"), [[0, 0], [1, 0], [0, 1], [1, 1]]),
        },
        {"configuration": ["nothing", "a", "b", "a + b"], "property": ["a", "b"], "seed": [3, 1, 2]},
    )


@pytest.mark.parametrize("function", [curves.marginal_effect, curves.configurations])
def test_a_search_in_another_order_says_the_same(function):
    expected = function(search())
    mixed = search().isel(configuration=[2, 0, 3, 1], seed=[1, 2, 0], property=[1, 0])
    back = {dim: expected[dim] for dim in expected.dims if dim in expected.coords}
    xr.testing.assert_allclose(function(mixed).sel(back), expected)
    for dim, labels in (("configuration", ["a", "a", "b", "c"]), ("seed", [1, 1, 2])):
        with pytest.raises(ValueError, match=f"labels along '{dim}' more than once"):
            function(search().assign_coords({dim: labels}))


def test_coords_called_like_results_break_nothing():
    table = animals((30, 30, 30))
    names = {
        *("scale", "tau", "exponent", "asymptote", "at_bound", "identified", "reason", "interval", "band", "fitted"),
        *("parameter", "bound", "run", "problems", "count", "share", "trials", "survival", "lower", "upper", "area"),
        *("estimate", "ratio", "verdict", "p_value", "correlation", "final_efficiency", "number", "member"),
    }
    named = table.assign_coords({name: ("animal", np.array(["x", "y", "z"])) for name in names})
    named = named.assign_coords({f"{n}_": ("problem", np.arange(30)) for n in names})
    for call in CALLS.values():
        found = call(named)
        xr.testing.assert_allclose(
            found.drop_vars({*names, *(f"{n}_" for n in names)} & set(found.coords)), call(table)
        )
    one, other = pair(np.random.default_rng(0))
    for call in PAIRS.values():
        expected = call(one, other)
        found = call(one.assign_coords({n: ("seed", np.arange(8)) for n in names}), other)
        xr.testing.assert_allclose(found.drop_vars(names & set(found.coords)), expected)
    labelled = search().assign_coords({n: ("property", [1, 2]) for n in ("worth", "lower", "ratio")})
    xr.testing.assert_allclose(curves.marginal_effect(labelled), curves.marginal_effect(search()))
    with pytest.raises(
        ValueError, match=r"the data have a dim or a coord 'bound', and the result one of its own by that name"
    ):
        curves.exponential_fit(table.rename(animal="bound"), failures="cap")


@pytest.mark.skipif(not HUMANS.exists(), reason="no real recordings beside this checkout")
def test_human_data_with_unequal_blocks_are_not_attempted_rather_than_failed():
    table = pd.read_csv(HUMANS)
    solved = table.assign(run=table.groupby(["subject", "block", "stimulus"]).correct.cumsum())
    needed = solved[solved.run == 3].groupby(["subject", "block"]).iteration.mean()
    every = table.groupby(["subject", "block"]).size()
    trials = needed.reindex(every.index).unstack("block")
    tried = every.unstack("block").notna()
    data = xr.DataArray(trials.to_numpy(), dims=("subject", "block"), coords={"block": trials.columns})
    data = data.assign_coords(attempted=(("subject", "block"), tried.to_numpy()))
    found = curves.failures(data, along="block")
    assert found.problems.values.tolist() == tried.sum(axis=1).tolist()
    assert int(found["count"].sum()) == int((trials.isna() & tried).to_numpy().sum())
    late = curves.final_efficiency(data, last=5, along="block", failures="cap", cap=10)
    for row, (_, one), there in zip(late.values, trials.iterrows(), tried.to_numpy(), strict=True):
        assert row == pytest.approx(one.fillna(10)[there].iloc[-5:].mean())


def test_curves_do_not_modify_their_input():
    table = animals()
    before = table.copy(deep=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for call in CALLS.values():
            call(table)
    xr.testing.assert_identical(table, before)


def kinds_of_order(n):
    """Labels of `n` problems that are numbers or times, in what pandas and xarray hold them in."""
    objects = np.empty((2, n), object)
    objects[0], objects[1] = list(range(n)), [date(2020, 1, 1) + timedelta(days=5 * i) for i in range(n)]
    return {
        "numbers as objects": objects[0],
        "dates as objects": objects[1],
        "periods": pd.period_range("2020-01", periods=n, freq="M"),
        "categories of numbers": pd.CategoricalIndex(range(n)),
    }


@pytest.mark.parametrize("kind", kinds_of_order(2))
def test_numbers_and_times_are_in_order_whatever_holds_them(kind):
    series = xr.DataArray(np.append(500, 80 * np.exp(-np.arange(29) / 6) + 15), dims="problem")
    series = series.assign_coords(problem=kinds_of_order(30)[kind])
    mixed = series.isel(problem=np.random.default_rng(0).permutation(30))
    xr.testing.assert_allclose(curves.exponential_fit(mixed), curves.exponential_fit(series))
    assert float(curves.exponential_fit(mixed).tau) == pytest.approx(6)
    assert float(curves.area(mixed)) == pytest.approx(float(series[1:].sum()))
    assert float(curves.final_efficiency(mixed, last=3)) == pytest.approx(float(series[-3:].mean()))


def test_numbers_as_objects_are_where_problems_stand():
    labels = np.empty(15, object)
    labels[:] = list(range(0, 150, 10))
    trials = xr.DataArray(np.append(500, 80 * np.exp(-np.arange(14) / 3) + 15), dims="problem")
    assert float(curves.exponential_fit(trials.assign_coords(problem=labels)).tau) == pytest.approx(30)


def test_a_mark_for_each_animal_holds_for_all_its_problems_in_any_order():
    table = animals(failed=False)[["trials_to_criterion"]].assign(failed=("animal", [False] * 3))
    found = curves.failures(table.isel(problem=np.random.default_rng(0).permutation(30)))
    assert found.problems.values.tolist() == [30, 22, 14]


def test_one_cap_for_all_does_not_say_which_problems_were_tried():
    trials = xr.DataArray([[90.0, 30.0, NAN, 8.0], [80.0, 20.0, NAN, NAN]], dims=("animal", "problem"))
    for cap in (100, ("animal", [100, 100])):
        table = trials.assign_coords(censored_trials=cap)
        found = curves.failures(table)
        assert found["count"].values.tolist() == [1, 0] and found.problems.values.tolist() == [4, 2]
        assert curves.area(table, failures="cap").values.tolist() == [138, 20]


def test_a_cap_is_a_number_that_is_not_negative():
    trials = xr.DataArray([90.0, 30.0, NAN, 8.0], dims="problem")
    with pytest.raises(ValueError, match="the cap of the data is -5; expected a positive number of trials"):
        curves.area(trials, failures="cap", cap=-5)
    with pytest.raises(TypeError, match="'censored_trials' holds <U1; expected numbers of trials"):
        curves.failures(trials.assign_coords(censored_trials=("problem", ["", "", "x", ""])))


def test_levels_of_labels_give_no_warning():
    trials = xr.DataArray([90.0, 30.0, NAN, 8.0], dims="problem")
    levels = pd.MultiIndex.from_product([["mon", "tue"], [1, 2]], names=("day", "number"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = curves.failures(trials.assign_coords(xr.Coordinates.from_pandas_multiindex(levels, "problem")))
    assert int(found["count"]) == 1


def test_missing_values_of_problems_are_not_sent_to_trials():
    with pytest.raises(ValueError, match=r"holds NaN or infinite values .*\.dropna\(dim\)$"):
        curves.bootstrap(xr.DataArray([1.0, NAN, 2.0], dims="animal"), over="animal")
