"""Decoding: chance, planted onsets, what must be refused, and scikit-learn's ridge classifier as the oracle."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from sklearn.linear_model import Ridge

from ip2lab.analysis import _decoding, population


def recording(seed=0, trials=80, times=8, neurons=12, onset=4, size=1.5):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(trials, times, neurons))
    stimulus = np.arange(trials) % 2
    context = np.arange(trials) // 2 % 2
    values[stimulus == 1, onset:, :3] += size
    values[context == 1, :, 3:5] += 1
    coords = {
        "stimulus": ("trial", np.array(["A", "B"])[stimulus]),
        "response": ("trial", np.array(["left", "right"])[stimulus]),
        "context": ("trial", context),
        "time": ("time", 20.0 * np.arange(times), {"units": "ms"}),
    }
    return xr.DataArray(values, dims=("trial", "time", "neuron"), coords=coords, name="rates", attrs={"rig": "left"})


def test_planted_onset_is_found():
    found = population.decode(recording(), "stimulus")
    assert float(found.score[:4].max()) < 0.35
    assert float(found.score[4:].min()) > 0.6
    assert (found.p_corrected[4:] < 0.05).all() and (found.p_corrected[:4] > 0.05).all()
    assert (
        found.attrs["classes"] == ["A", "B"] and found.attrs["same_as"] == ["response"] and found.attrs["rig"] == "left"
    )
    assert (found.accuracy[4:] > 0.8).all()


def test_other_labels_with_holes_do_no_harm():
    data = recording().assign_coords(reaction_time=("trial", np.where(np.arange(80) > 3, 1.0, np.nan)))
    assert population.decode(data, "stimulus", permutations=2).attrs["same_as"] == ["response"]


def test_shuffled_labels_are_at_chance():
    data = recording(trials=60, times=40, onset=40)
    rng = np.random.default_rng(1)
    coin = xr.DataArray(rng.permutation(np.arange(60) % 3), dims="trial", name="coin")
    found = population.decode(data, coin)
    spread = (
        6 * 1.5 * np.sqrt(1 / 3 * 2 / 3 / 60 / 40) * 2
    )  # six standard errors of a mean over 40 times, doubled for folds
    assert abs(float(found.score.mean())) < spread
    assert abs(float(found.null_mean.mean())) < spread
    assert float((found.p_value < 0.05).mean()) < 0.05 + 6 * np.sqrt(0.05 * 0.95 / 40)


def test_score_is_zero_at_chance_with_unequal_classes_and_without_any_signal():
    data = recording(trials=60, onset=8)
    rare = xr.DataArray(np.arange(60) % 6 == 0, dims="trial", name="rare")
    found = population.decode(data, rare)
    assert abs(float(found.score.mean())) < 0.25
    silent = data * 0 + xr.DataArray(np.random.default_rng(0).normal(size=60), dims="trial") * (data.time == 140)
    dead = population.decode(silent, "stimulus")
    np.testing.assert_array_equal(dead.score[:7], 0)


def test_smoother_is_scikit_learns_ridge():
    rng = np.random.default_rng(0)
    for n, p in ((30, 5), (8, 20)):
        train, test, y = rng.normal(2, 3, (n, p)), rng.normal(2, 3, (6, p)), rng.normal(size=n)
        y -= y.mean()
        mean, sd = train.mean(0), train.std(0)
        x = (train - mean) / sd
        oracle = Ridge(alpha=(x**2).sum() / n, fit_intercept=False).fit(x, y).predict((test - mean) / sd)
        np.testing.assert_allclose(_decoding._smoother(train, test[None])[0] @ y, oracle)


def test_decoding_across_time_generalizes_only_where_the_code_is_the_same():
    data = recording(times=6, onset=3)
    data[:, 3] = data[:, 3] - 2 * (data[:, 3] - data[:, 2]).where(data.stimulus == "B", 0)  # another code at the onset
    found = population.decode(data, "stimulus", across_time=True, permutations=20)
    assert found.score.dims == ("train_time", "time")
    assert float(found.score.sel(train_time=80, time=100)) > 0.5 > float(found.score.sel(train_time=80, time=20))
    diagonal = population.decode(data, "stimulus", permutations=20)
    np.testing.assert_allclose(np.diag(found.score), diagonal.score)


def test_held_out_conditions_ask_for_a_code_that_carries_over():
    data = recording()
    carried = population.decode(data, "stimulus", hold_out="context")
    assert float(carried.score[4:].min()) > 0.5
    twisted = data.copy(deep=True)  # in context 1 the same neurons say the opposite
    twisted[:, 4:, :3] = data[:, 4:, :3] * xr.where(data.context == 1, -1, 1) + (data.context == 1) * 1.5
    assert float(population.decode(twisted, "stimulus", hold_out="context").score[4:].max()) < 0


def test_held_out_problems_with_noise_free_probes():
    rng = np.random.default_rng(0)
    direction = rng.normal(size=10)
    values = rng.normal(size=(20, 2, 5, 10)) + 2 * np.arange(2)[:, None, None] * direction
    data = xr.DataArray(values, dims=("problem", "probe", "time", "neuron"), coords={"response": ("probe", ["l", "r"])})
    found = population.decode(
        data.assign_coords(problem=np.arange(20)), "response", trial=("problem", "probe"), hold_out="problem"
    )
    assert float(found.score.min()) > 0.7 and found.attrs["hold_out"] == "problem"
    # labels permuted within each problem: half of the problems keep theirs
    assert abs(float(found.null_mean.mean())) < 0.1


def test_identical_trials_are_refused():
    data = recording()
    with pytest.raises(
        ValueError, match=r"trials 0 and 80 along trial of 'rates' are identical to the last bit.*noisy repeats"
    ):
        population.decode(xr.concat([data, data], "trial"), "stimulus")
    spikes = (data > 0.5).astype(np.int8)
    population.decode(spikes, "stimulus", permutations=1)
    with pytest.raises(ValueError, match="identical to the last bit"):
        population.decode(xr.concat([spikes, spikes], "trial"), "stimulus")


def test_counts_of_one_neuron_may_coincide():
    data = xr.DataArray(np.random.default_rng(0).poisson(3, (40, 1)), dims=("trial", "neuron"))
    stimulus = xr.DataArray(np.arange(40) % 2, dims="trial", name="stimulus")
    found = population.decode(data + 6 * stimulus, stimulus, time=None)
    assert found.score.dims == () and float(found.score) > 0.6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"label": "odour"}, r"no coord 'odour'; its coords are stimulus"),
        ({"label": "stimulus", "folds": 60}, r"folds=60, and the rarest class A has 40 trials"),
        (
            {"label": "stimulus", "hold_out": "response"},
            r"holding out a value of 'response' leaves no trials of class A.*cannot be told apart",
        ),
        (
            {"label": "stimulus", "time": None},
            r"has dims trial, time, neuron; expected neuron, trial.* only: select or average",
        ),
        (
            {"label": "stimulus", "trial": "repeat"},
            r"no dim 'repeat'; it has trial, time, neuron. Name the right one with trial=",
        ),
        ({"label": "stimulus", "permutations": 0}, r"permutations: 0 is not valid"),
    ],
)
def test_wrong_arguments_of_decode_are_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=message):
        population.decode(recording(), **arguments)


def test_decode_refuses_one_class_and_missing_labels():
    data = recording()
    with pytest.raises(ValueError, match=r"'stimulus' take 1 value \(A\); at least 2"):
        population.decode(data.isel(trial=data.stimulus.values == "A"), "stimulus")
    holes = data.assign_coords(stimulus=("trial", np.where(np.arange(80) > 3, 1.0, np.nan)))
    with pytest.raises(ValueError, match=r"4 of the labels 'stimulus' are missing"):
        population.decode(holes, "stimulus")
    wide = xr.DataArray(np.zeros((80, 8)), dims=("trial", "time"), name="phase")
    with pytest.raises(ValueError, match=r"labels 'phase' vary along time; expected one label for each trial"):
        population.decode(data, wide)


def test_trials_that_are_alike_for_a_while_are_refused():
    rng = np.random.default_rng(0)
    shown = np.repeat(rng.normal(size=(2, 1, 12)), 4, axis=0)  # the stimulus: four copies of each
    later = rng.normal(size=(8, 20, 12))
    values = np.concatenate([np.broadcast_to(shown, (8, 20, 12)), later], axis=1)
    data = xr.DataArray(values, dims=("trial", "time", "neuron"), coords={"stimulus": ("trial", np.repeat([0, 1], 4))})
    with pytest.raises(ValueError, match="identical to the last bit for a quarter of the time or more"):
        population.decode(data, "stimulus", trial="trial", feature="neuron", time="time", folds=2)
