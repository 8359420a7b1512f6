"""A trained network looked at again: what is made again is what was, and changes stay with the copy."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import ip2lab
from ip2lab import probes
from ip2lab.tasks import family

OPTIONS = {"neurons": 30, "max_trials": 80, "window": 20, "progress": False}


@pytest.fixture(scope="module")
def run() -> xr.DataTree:
    return ip2lab.train("association", problems=8, seed=3, record={"kept": [0, 2, 5]}, **OPTIONS)


@pytest.mark.parametrize("problem", [0, 2, 5, 7])
def test_a_probe_is_what_was_recorded(run, problem):
    recorded, made = run["activity"].sel(problem=problem), ip2lab.probe(run, problem)
    for name in ("spikes", "membrane", "dendrite", "readout"):
        assert (made[name].values == recorded[name].values).all()
        assert made[name].dims == recorded[name].dims
        assert made[name].attrs == recorded[name].attrs
    for name in ("condition", "stimulus", "response", "context", "repeat", "epoch", "time", "neuron", "output"):
        assert (made[name].values == recorded[name].values).all()
        assert made[name].attrs == recorded[name].attrs


def test_problems_that_are_not_kept_are_gone_through_again(run):
    whole = ip2lab.train("association", problems=8, seed=3, record={"kept": range(8)}, **OPTIONS)
    for problem in (1, 3, 4, 6):
        assert problem not in run["weights"].problem
        assert (ip2lab.probe(run, problem).membrane.values == whole["activity"].sel(problem=problem).membrane).all()


@pytest.mark.parametrize("settings", [{}, {"delay": (300.0, 900.0), "noise": 0.1}])
@pytest.mark.parametrize("checkpoints", [True, False])
def test_any_trial_is_replayed_bit_for_bit(settings, checkpoints):
    record = {"kept": [0, 3], "checkpoints": checkpoints}
    run = ip2lab.train(family("dms", **settings), problems=5, record=record, **OPTIONS)
    trials = run["trials"]
    for index in np.random.default_rng(0).choice(trials.sizes["trial"], 8, replace=False):
        problem = int(trials.problem[index])
        trial = int(index - np.flatnonzero(trials.problem.values == problem)[0])
        again = ip2lab.replay(run, problem, trial)
        assert again.attrs["identical"]
        assert float(again.loss) == float(trials.loss[index])
        assert bool(again.correct) == bool(trials.correct[index])
        assert int(again.condition) == int(trials.condition[index])
        assert float(again.readout.sum("output").max()) == pytest.approx(1)
        assert again.inputs.sizes["time"] == again.epoch.size == again.spikes.sizes["time"]
        if settings:
            assert 15 <= (again.epoch == "delay").sum() <= 45


def test_noisy_repeats(run):
    noisy = ip2lab.probe(run, 5, repeats=4)
    assert noisy.sizes["probe"] == 8
    assert noisy.repeat.values.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert (noisy.membrane[0] != noisy.membrane[2]).any()
    again = ip2lab.probe(run, 5, repeats=4)
    assert noisy.identical(again)
    assert not noisy.membrane.equals(ip2lab.probe(run, 5, repeats=4, seed=9).membrane)
    still = ip2lab.probe(run, 5, repeats=4, noise=0)
    assert (still.membrane[0] == still.membrane[2]).all()


def test_other_delays_and_problems(run):
    longer = ip2lab.probe(run, 5, delay=3000)
    assert (longer.epoch == "delay").sum() * 20 == 3000
    own, other = ip2lab.probe(run, 5), ip2lab.probe(run, 5, on=2)
    assert not own.membrane.equals(other.membrane)
    drawn = family("association").problem(seed=77)
    assert ip2lab.probe(run, 5, on=drawn).sizes["probe"] == 2
    with pytest.raises(ValueError, match="a problem with 21 inputs and 3 outputs does not fit a network with 11 and 3"):
        ip2lab.probe(run, 5, on=family("cd_dms").problem(0))
    with pytest.raises(TypeError, match="delay: this problem is drawn already"):
        ip2lab.probe(run, 5, on=drawn, delay=2000)


def test_changes_of_the_network(run):
    plain = ip2lab.probe(run, 5)
    silenced = ip2lab.probe(run, 5, silence=[1, 4])
    assert not silenced.spikes[..., [1, 4]].any()
    assert plain.spikes[..., [1, 4]].any()
    assert not silenced.readout.equals(plain.readout)
    slow = ip2lab.probe(run, 5, tau_dendrite=3000)
    assert float(abs(slow.dendrite).max()) < float(abs(plain.dendrite).max())
    alone = ip2lab.probe(run, 5, recurrent=False)
    assert not alone.spikes.equals(plain.spikes)
    quiet = ip2lab.probe(run, 5, spiking=False, readout="membrane")
    assert not quiet.spikes.any()
    assert (ip2lab.probe(run, 5, reset=["properties", "weights"]).membrane.values == born_membrane(run, 5)).all()
    assert ip2lab.probe(run, 5).identical(plain)  # nothing of all that has stayed


def born_membrane(run: xr.DataTree, on: int) -> np.ndarray:
    return ip2lab.probe(run, -1, on=on).membrane.values


def test_a_clamped_neuron_goes_on_with_its_mean(run):
    series = probes.restore(run, 5)
    shown = series.draw(5)
    mean = ip2lab.probe(run, 5).spikes[..., 2].mean().item()
    before = series.network.bias.detach().numpy().copy()
    weights = series.network.recurrent_weights.detach().numpy()[:, 2].copy()
    probes.change(series, shown, 0, clamp=[2])
    others = np.arange(30) != 2
    after = series.network.bias.detach().numpy()
    assert np.allclose(after[others], (before + weights * mean)[others], rtol=1e-5)
    assert series.network.output_weights[:, 2].abs().max() == 0


def test_shuffled_properties_keep_their_sets(run):
    series = probes.restore(run, 5)
    before = {name: p.detach().numpy().copy() for name, p in series.network.free.items()}
    probes.change(series, series.draw(5), 4, shuffle="properties")
    after = {name: p.detach().numpy() for name, p in series.network.free.items()}
    order = np.array([np.flatnonzero(before["tau_dendrite"] == value)[0] for value in after["tau_dendrite"]])
    assert sorted(order) == list(range(30))
    assert (order != np.arange(30)).any()
    for name in before:
        assert (after[name] == before[name][order]).all()


def test_learning_on_with_nothing_changed_is_the_run_itself(run):
    on = ip2lab.learn_on(run, 2, problems=4)
    expected = run["trials"].loss.values[np.isin(run["trials"].problem, [3, 4, 5, 6])]
    assert (on["trials"].loss.values == expected).all()
    assert on.attrs["config"]["origin"]["problem"] == 2
    again = run["weights"].recurrent_weights.sel(problem=5).values
    assert (on["weights"].recurrent_weights.sel(problem=2).values == again).all()


def test_what_is_changed_stays_changed_while_learning(run):
    before = run["weights"].recurrent_weights.sel(problem=5).values.copy()
    lesioned = ip2lab.learn_on(run, 5, problems=2, silence=[0, 7])
    assert not lesioned["activity"].spikes[..., [0, 7]].any()
    assert not lesioned["weights"].recurrent_weights[..., 0].any()
    frozen = ip2lab.learn_on(run, 5, problems=2, frozen=["recurrent_weights", "tau_soma"])
    assert (frozen["weights"].recurrent_weights.values == before).all()
    assert (frozen["properties"].tau_soma.values == run["properties"].tau_soma.sel(problem=5).values).all()
    assert (frozen["properties"].tau_dendrite[-1].values != run["properties"].tau_dendrite.sel(problem=5).values).any()
    assert (run["weights"].recurrent_weights.sel(problem=5).values == before).all()
    none = ip2lab.learn_on(run, 5, problems=2, learnable=None)
    assert (none["properties"].tau_dendrite.values == run["properties"].tau_dendrite.sel(problem=5).values).all()


def test_another_family_keeps_channels_of_the_same_name(run):
    series = probes.restore(run, 7)
    on = ip2lab.learn_on(run, problems=1, family="gng_dr_2", frozen=["input_weights"])
    learnt = on["weights"].input_weights[0]
    assert learnt.sizes["input"] == 13
    here = series.network.input_weights.detach().numpy()
    names = [f"stimulus channel {k + 1}" for k in range(10)] + ["fixation"]
    assert (learnt.sel(input=names).values == here).all()


@pytest.mark.parametrize(
    ("call", "error", "wording"),
    [
        (
            lambda run: ip2lab.probe(run, 8),
            ValueError,
            r"problem: 8 is not among those that this run has done; it has 0 to 7",
        ),
        (lambda run: ip2lab.probe(run, -2), ValueError, r"problem: -2 is not valid; give a whole number from -1"),
        (
            lambda run: ip2lab.probe(run, 0, lesion=[1]),
            TypeError,
            r"there is no change 'lesion'; there is tau_dendrite",
        ),
        (lambda run: ip2lab.probe(run, 0, silence=[30]), ValueError, r"neurons: \[30\] are not all among 0 to 29"),
        (lambda run: ip2lab.probe(run, 0, tau_soma=1), ValueError, r"tau_soma: 1 is outside its bounds"),
        (
            lambda run: ip2lab.probe(run, 0, spiking=False),
            ValueError,
            r"spiking: without spikes there is nothing to read",
        ),
        (lambda run: ip2lab.probe(run, 0, shuffle="tau"), ValueError, r"there is no part 'tau'; there is tau_dendrite"),
        (lambda run: ip2lab.replay(run, 0, 80), ValueError, r"trial: 80 is not among the 80 trials that problem 0"),
        (lambda run: ip2lab.replay(run, 9, 0), ValueError, r"trial: 0 is not among the 0 trials that problem 9"),
        (
            lambda _: ip2lab.probe(xr.DataTree(), 0),
            ValueError,
            r"this tree holds nothing; give what ip2lab.train returned",
        ),
    ],
)
def test_bad_requests_are_named(run, call, error, wording):
    with pytest.raises(error, match=wording):
        call(run)
