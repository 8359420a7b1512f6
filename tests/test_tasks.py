"""Problems and trials, whatever the family: time steps, drawn delays, noise, scoring, labels, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ip2lab.tasks import Epoch, Family, families, family

JITTERED = family("association", delay=(500, 1500), noise=0.3)


@given(st.sampled_from(families()), st.floats(0.5, 100), st.integers(0, 2**32))
def test_steps_follow_the_clock(name, dt, seed):
    """Epochs end at the step nearest to where they end in ms: rounding never accumulates."""
    problem = family(name).problem(seed)
    ends = np.cumsum([epoch.length(0.5) for epoch in problem.epochs])
    steps = np.cumsum(problem.steps(dt))
    assert np.all(np.abs(steps * dt - ends) <= dt / 2 * (1 + 1e-9))
    assert problem.trials(dt=dt).sizes["time"] == steps[-1]


@given(st.sampled_from(families()), st.integers(0, 2**32))
def test_a_problem_is_determined_by_its_seed(name, seed):
    one, same, other = (family(name).problem(s) for s in (seed, seed, seed + 1))
    np.testing.assert_array_equal(one.inputs, same.inputs)
    np.testing.assert_array_equal(one.targets, same.targets)
    assert not np.array_equal(one.inputs, other.inputs)


@pytest.mark.parametrize("dt", [1.0, 20.0, 33.0])
def test_a_trial_is_its_epochs_spread_over_time(dt):
    problem = family("association").problem(3)
    trials = problem.trials(dt=dt)
    for epoch, (name, spec) in enumerate(zip([e.name for e in problem.epochs], problem.epochs, strict=True)):
        here = trials.epoch.values == name
        assert here.any()
        for condition in range(problem.conditions):
            steps = here[condition]
            assert (trials.inputs.values[condition, steps] == problem.inputs[condition, epoch]).all()
            assert (trials.target.values[condition, steps] == problem.targets[condition, epoch]).all()
            assert (trials.scored.values[condition, steps] == spec.scored).all()
    assert trials.time.attrs["units"] == "ms" and float(trials.time[1]) == dt
    assert all(variable.attrs["units"] and variable.attrs["long_name"] for variable in trials.data_vars.values())


def test_conditions_may_be_chosen_and_repeated():
    problem = family("association", stimuli=4).problem(0)
    trials = problem.trials([3, 0, 3])
    assert trials.condition.values.tolist() == [3, 0, 3]
    assert trials.stimulus.values.tolist() == ["stimulus 4", "stimulus 1", "stimulus 4"]
    np.testing.assert_array_equal(trials.inputs[0], trials.inputs[2])
    assert problem.trials(2).sizes["trial"] == 1


@given(st.integers(0, 2**32))
def test_a_drawn_delay_ends_shorter_trials_early(seed):
    problem = JITTERED.problem(seed)
    trials = problem.trials([0, 1, 0, 1], seed=seed)
    lengths = (trials.epoch != "").sum("time").values
    assert lengths.max() == trials.sizes["time"]
    for trial, length in enumerate(lengths):
        delay = (trials.epoch[trial] == "delay").sum() * 20
        assert 490 <= delay <= 1510
        over = trials.isel(trial=trial, time=slice(int(length), None))
        assert not over.inputs.any() and not over.scored.any() and (over.epoch == "").all()


def test_drawn_delays_fill_their_range():
    problem = JITTERED.problem(0)
    steps = (problem.trials(np.zeros(400, int), seed=1).epoch == "delay").sum("time").values
    assert steps.min() < 30 and steps.max() > 70  # of 25 to 75
    assert abs(steps.mean() - 50) < 6 * (50 / np.sqrt(12)) / np.sqrt(400)


def test_without_a_seed_there_is_no_noise_and_the_delay_is_the_middle():
    problem = JITTERED.problem(0)
    trials = problem.trials()
    assert ((trials.epoch == "delay").sum("time") == 50).all()
    assert np.isin(trials.inputs.values, [*problem.inputs.ravel(), 0.0]).all()
    assert trials.identical(problem.trials())


@pytest.mark.parametrize("dt", [5.0, 20.0])
def test_input_noise_keeps_its_power_per_second(dt):
    problem = family("association", noise=0.3).problem(0)
    clean, noisy = problem.trials(dt=dt), problem.trials(dt=dt, seed=7)
    noise = (noisy.inputs - clean.inputs).values.ravel()
    wanted = 0.3 * np.sqrt(20 / dt)
    assert abs(noise.std() - wanted) < 6 * wanted / np.sqrt(2 * noise.size)
    assert abs(noise.mean()) < 6 * wanted / np.sqrt(noise.size)


def test_the_same_seed_gives_the_same_trials():
    problem = JITTERED.problem(0)
    assert problem.trials(seed=5).identical(problem.trials(seed=5))
    assert not problem.trials(seed=5).equals(problem.trials(seed=6))


@pytest.mark.parametrize("conditions", [2, -1, [0, 5], [], 0.5, "all", [True]])
def test_a_condition_that_is_not_there_is_refused(conditions):
    with pytest.raises(ValueError, match=r"conditions: .* is not valid; this problem has conditions 0 to 1"):
        family("association").problem(0).trials(conditions)


def test_trials_that_cannot_be_drawn_are_refused():
    problem = family("association").problem(0)
    with pytest.raises(ValueError, match=r"dt: 0 is not valid; give a positive number of ms"):
        problem.trials(dt=0)
    with pytest.raises(ValueError, match=r"dt = 1e-09 ms makes 2e\+12 steps of a trial; at most .* can be done"):
        problem.trials(dt=1e-9)
    with pytest.raises(ValueError, match=r"conditions: \d+ are too many trials at once; give at most"):
        problem.trials(range(10**12))
    with pytest.raises(ValueError, match=r"conditions: .* is not valid; give one list of numbers"):
        problem.trials([[0], [0, 1]])
    with pytest.raises(ValueError, match=r"seed: 'x' is not valid; give a whole number from 0"):
        problem.trials(seed="x")


def test_a_step_longer_than_an_epoch_is_refused():
    with pytest.raises(ValueError, match=r"dt = 300 ms leaves no step for the epoch 'response onset' \(100.* ms\)"):
        family("association").problem(0).trials(dt=300)


@pytest.mark.parametrize("name", ["asociation", 3, None, ["association"], {"association"}])
def test_an_unknown_family_is_named(name):
    with pytest.raises(ValueError, match=r"unknown family .*; known: association, "):
        family(name)


def test_settings_for_a_family_instance_are_refused():
    made = family("association", delay=700)
    assert family(made) is made
    with pytest.raises(TypeError, match="the family 'association' is made already; set delay where it is made"):
        family(made, delay=800)


def test_an_unknown_setting_lists_the_known_ones():
    with pytest.raises(TypeError, match=r"family 'association' has no setting 'delays'; it has stimulus, delay"):
        family("association", delays=3)


WRONG = [None, "long", -1, float("nan"), float("inf"), [1, 2, 3], {}, 1j, (2000, 500), (0, 100), b"x", 10.5]


@pytest.mark.parametrize(
    "setting", ["stimulus", "delay", "response", "grace_period", "stimuli", "channels", "overlap", "noise"]
)
@pytest.mark.parametrize("value", WRONG, ids=repr)
def test_every_wrong_setting_is_refused_by_name_or_works(setting, value):
    """Never an error from inside Python or numpy that does not say which setting it is about."""
    said, finite = setting, True
    try:
        finite = np.isfinite(family("association", **{setting: value}).problem(0).trials(seed=1).inputs).all()
    except (ValueError, TypeError) as error:
        said = str(error)
    assert finite
    assert said.startswith(setting) or f"{value!r}" in said


def test_settings_are_what_makes_the_family_again():
    assert family("association", **JITTERED.settings()) == JITTERED


def test_an_epoch_with_a_range_interpolates_its_length():
    assert [Epoch("delay", (500.0, 1500.0)).length(share) for share in (0, 0.5, 1)] == [500, 1000, 1500]
    assert Epoch("stimulus", 500.0).length(0.9) == 500


def test_a_family_without_problems_says_so():
    with pytest.raises(NotImplementedError, match=r"the family Family has no method problem\(seed\)"):
        Family().problem(0)
