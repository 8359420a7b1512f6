"""What a property is worth is what it was made to be worth, and a run that was stopped is no news."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from ip2lab.analysis import curves

NAMES = ["tau_dendrite", "tau_soma"]
LEARNS = [[False, False], [True, False], [False, True], [True, True]]


def search(logs: np.ndarray, stopped: np.ndarray | None = None) -> xr.Dataset:
    dims = ("configuration", "seed", "round")
    halted = np.zeros(logs.shape) if stopped is None else stopped
    values = {
        "trials": (dims, np.exp(logs)[..., None]),
        "stopped": (dims, halted[..., None]),
        "learns": (("configuration", "property"), LEARNS),
    }
    return xr.Dataset(values, {"property": NAMES, "configuration": ["nothing", *NAMES, " + ".join(NAMES)]})


@given(st.floats(-2, 2), st.floats(-2, 2), st.integers(0, 100))
def test_marginal_effect_recovers_a_planted_factor(first: float, second: float, seed: int) -> None:
    of_seed = np.random.default_rng(seed).normal(5, 1, 4)  # hard and easy seeds cancel
    found = curves.marginal_effect(search(np.array(LEARNS) @ [[first], [second]] + of_seed))
    np.testing.assert_allclose(found.worth, np.exp([first, second]))
    np.testing.assert_allclose(found.upper - found.lower, 0, atol=1e-9)
    assert found.comparisons.values.tolist() == [8, 8]


def test_the_interval_is_the_t_interval_over_seeds() -> None:
    logs = np.zeros((4, 2))
    logs[[1, 3]] = [-1.0, -2.0]  # with tau_dendrite, in two seeds
    found = curves.marginal_effect(search(logs))
    reach = 12.706204736432095 * 0.5  # t of one degree of freedom, times the standard error
    np.testing.assert_allclose(np.log([found.lower[0], found.upper[0]]), [-1.5 - reach, -1.5 + reach])


def test_two_stopped_runs_say_nothing_and_one_says_at_least() -> None:
    logs, stopped = np.zeros((4, 3)), np.zeros((4, 3))
    logs[[1, 3]] = -1.0
    stopped[[0, 2]] = 1  # without tau_dendrite
    found = curves.marginal_effect(search(logs, stopped))
    assert found.at_least.values.tolist() == [1.0, 0.0]
    assert found.comparisons.values.tolist() == [6, 3]  # nothing against tau_soma: both were stopped
    assert np.isnan(found.ratio.sel(property="tau_soma", configuration="tau_soma"))
    assert found.worth[1] == 1.0


def test_fixed_values_are_compared_with_the_same_ones() -> None:
    one = search(np.array(LEARNS) @ [[1.0], [0.0]] + np.zeros(3))
    other = one.assign_coords(configuration=[f"{name}; start=heterogeneous" for name in one.configuration.values])
    both = xr.concat([one, other.assign(trials=other.trials * 7)], "configuration", data_vars="minimal")
    found = curves.marginal_effect(both)
    np.testing.assert_allclose(found.worth, [np.e, 1.0])
    assert found.comparisons.values.tolist() == [12, 12]


def test_anything_but_a_search_is_refused() -> None:
    with pytest.raises(ValueError, match="search has no 'learns'; it has trials, stopped"):
        curves.marginal_effect(search(np.zeros((4, 2))).drop_vars("learns"))


def test_configurations_are_compared_on_the_seeds_that_both_have() -> None:
    rng = np.random.default_rng(0)
    logs = np.log([[4.0], [2.0], [1.0], [8.0]]) + rng.normal(5, 1, 6)
    logs[0, 2:] = np.nan  # given up after two seeds
    found = search(logs)
    found = found.assign(dict.fromkeys(("late_trials", "problems_done", "failed"), found.trials))
    found = found.assign(problems=("round", [10**6]), log_ratio=("configuration", [1.0, 0.7, 0.0, 2.0]))
    table = curves.configurations(found)
    np.testing.assert_allclose(table.trials_ratio.sel(statistic="mean"), [4, 2, 1, 8])
    np.testing.assert_allclose(table.trials_ratio.sel(statistic="upper"), [4, 2, 1, 8])
    assert table.seeds.values.tolist() == [2, 6, 6, 6]
    np.testing.assert_allclose(table.share_done.sel(statistic="mean")[1], found.trials[1].mean() / 1e6)
    with pytest.raises(ValueError, match="search has no 'log_ratio'; it has"):
        curves.configurations(found.drop_vars("log_ratio"))
