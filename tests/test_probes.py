"""A trained network looked at again: what is made again is what was, and changes stay with the copy."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import ip2lab
from ip2lab import probes
from ip2lab.networks.intrinsic import stored_name
from ip2lab.probes.perturbations import change
from ip2lab.tasks import family

OPTIONS = {"neurons": 30, "max_trials": 80, "window": 20, "progress": False}


@pytest.fixture(scope="module")
def run() -> xr.DataTree:
    return ip2lab.train("association", problems=8, seed=3, record={"kept": [0, 2, 5]}, **OPTIONS)


@pytest.mark.parametrize("problem", [0, 2, 5, 7])
def test_a_probe_of_a_kept_problem_equals_the_recorded_activity(run, problem):
    recorded, made = run["activity"].sel(problem=problem), ip2lab.probe(run, problem)
    for name in ("spikes", "membrane", "dendrite", "readout"):
        assert (made[name].values == recorded[name].values).all()
        assert made[name].dims == recorded[name].dims
        assert made[name].attrs == recorded[name].attrs
    for name in ("condition", "stimulus", "response", "context", "repeat", "epoch", "time", "neuron", "output"):
        assert (made[name].values == recorded[name].values).all()
        assert made[name].attrs == recorded[name].attrs


def test_a_probe_of_a_problem_not_kept_equals_a_run_that_kept_it(run):
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


def test_repeats_differ_by_noise_and_are_reproducible_by_seed(run):
    noisy = ip2lab.probe(run, 5, repeats=4)
    assert noisy.sizes["probe"] == 8
    assert noisy.repeat.values.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert (noisy.membrane[0] != noisy.membrane[2]).any()
    again = ip2lab.probe(run, 5, repeats=4)
    assert noisy.identical(again)
    assert not noisy.membrane.equals(ip2lab.probe(run, 5, repeats=4, seed=9).membrane)
    still = ip2lab.probe(run, 5, repeats=4, noise=0)
    assert (still.membrane[0] == still.membrane[2]).all()


def test_a_probe_takes_another_delay_or_problem_that_fits_the_network(run):
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


def test_each_change_of_the_network_alters_the_probe_and_nothing_stays(run):
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
    trainer = probes.restore(run, 5)
    shown = trainer.draw(5)
    mean = ip2lab.probe(run, 5).spikes[..., 2].mean().item()
    before = trainer.network.free["bias"].detach().numpy().copy()
    weights = trainer.network.recurrent_weights.detach().numpy()[:, 2].copy()
    change(trainer, shown, 0, clamp=[2])
    others = np.arange(30) != 2
    after = trainer.network.free["bias"].detach().numpy()
    assert np.allclose(after[others], (before + weights * mean)[others], rtol=1e-5)
    assert trainer.network.output_weights[:, 2].abs().max() == 0


def test_shuffled_properties_keep_their_sets(run):
    trainer = probes.restore(run, 5)
    before = {name: p.detach().numpy().copy() for name, p in trainer.network.free.items()}
    change(trainer, trainer.draw(5), 4, shuffle="properties")
    after = {name: p.detach().numpy() for name, p in trainer.network.free.items()}
    order = np.array([np.flatnonzero(before["tau_dendrite"] == value)[0] for value in after["tau_dendrite"]])
    assert sorted(order) == list(range(30))
    assert (order != np.arange(30)).any()
    for name in before:
        assert (after[name] == before[name][order]).all()


def test_continuing_training_unchanged_equals_the_longer_run(run):
    on = ip2lab.continue_training(run, 2, problems=4)
    expected = run["trials"].loss.values[np.isin(run["trials"].problem, [3, 4, 5, 6])]
    assert (on["trials"].loss.values == expected).all()
    assert on.attrs["config"]["origin"]["problem"] == 2
    again = run["weights"].recurrent_weights.sel(problem=5).values
    assert (on["weights"].recurrent_weights.sel(problem=2).values == again).all()


def test_what_is_changed_stays_changed_while_learning(run):
    before = run["weights"].recurrent_weights.sel(problem=5).values.copy()
    lesioned = ip2lab.continue_training(run, 5, problems=2, silence=[0, 7])
    assert not lesioned["activity"].spikes[..., [0, 7]].any()
    assert not lesioned["weights"].recurrent_weights[..., 0].any()
    frozen = ip2lab.continue_training(run, 5, problems=2, frozen=["recurrent_weights", "tau_soma"])
    assert (frozen["weights"].recurrent_weights.values == before).all()
    assert (frozen["properties"].tau_soma.values == run["properties"].tau_soma.sel(problem=5).values).all()
    assert (frozen["properties"].tau_dendrite[-1].values != run["properties"].tau_dendrite.sel(problem=5).values).any()
    assert (run["weights"].recurrent_weights.sel(problem=5).values == before).all()
    none = ip2lab.continue_training(run, 5, problems=2, learnable=None)
    assert (none["properties"].tau_dendrite.values == run["properties"].tau_dendrite.sel(problem=5).values).all()


def test_another_family_keeps_channels_of_the_same_name(run):
    trainer = probes.restore(run, 7)
    on = ip2lab.continue_training(run, problems=1, family="gng_dr_2", frozen=["input_weights"])
    learnt = on["weights"].input_weights[0]
    assert learnt.sizes["input"] == 13
    here = trainer.network.input_weights.detach().numpy()
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
            r"there is no change 'lesion'; there is bias, tau_dendrite",
        ),
        (
            lambda run: ip2lab.probe(run, 0, silence=["x"]),
            TypeError,
            r"silence: \['x'\] is not valid; give numbers of neurons",
        ),
        (
            lambda run: ip2lab.probe(run, 0, silence=[[1], [2, 3]]),
            TypeError,
            r"silence: .* is not valid; give numbers of neurons",
        ),
        (
            lambda run: ip2lab.probe(run, 0, reset=[3]),
            TypeError,
            r"reset: \[3\] is not valid; give names of properties or weights",
        ),
        (
            lambda run: ip2lab.probe(run, 0, readout="rate"),
            ValueError,
            r"readout: 'rate' is not valid; give 'spikes' or 'membrane'",
        ),
        (lambda _: ip2lab.probe(3, 0), TypeError, r"run: int is not valid; give what ip2lab.train returned, or its"),
        (lambda run: probes.transplants(run, seeds=[]), ValueError, r"seeds: \[\]; give at least one of each"),
        (
            lambda run: ip2lab.probe(run, 0, silence=[30]),
            ValueError,
            r"silence: neurons \[30\] are not all among 0 to 29",
        ),
        (lambda run: ip2lab.probe(run, 0, tau_soma=1), ValueError, r"tau_soma: 1 is outside its bounds"),
        (
            lambda run: ip2lab.probe(run, 0, spiking=False),
            ValueError,
            r"spiking: without spikes there is nothing to read",
        ),
        (
            lambda run: ip2lab.probe(run, 0, shuffle="tau"),
            ValueError,
            r"there is no part 'tau'; there is bias, tau_dendrite",
        ),
        (lambda run: ip2lab.replay(run, 0, 80), ValueError, r"trial: 80 is not among the 80 trials that problem 0"),
        (lambda run: ip2lab.replay(run, 9, 0), ValueError, r"trial: 0 is not among the 0 trials that problem 9"),
        (
            lambda _: ip2lab.probe(xr.DataTree(), 0),
            ValueError,
            r"this tree holds nothing; give what ip2lab.train returned",
        ),
    ],
)
def test_a_wrong_argument_of_a_probe_is_refused_by_name(run, call, error, wording):
    with pytest.raises(error, match=wording):
        call(run)


def test_a_run_whose_problems_are_named_by_words_is_refused_with_its_labels(run):
    words = {
        name: node.to_dataset(inherit=False).assign_coords(problem=[f"day {k}" for k in node["problem"].values])
        for name, node in run.children.items()
        if "problem" in node.dims
    }
    named = xr.DataTree.from_dict({"/": run.to_dataset(inherit=False), **words})
    wording = r"run: its problems are labelled day 0 to day 7; a network is made again by the numbers that ip2lab.train"
    for call in (
        lambda: ip2lab.probe(named, "day 2"),
        lambda: probes.lesions(named, by="tau_soma"),
        lambda: probes.single_lesions(named, "day 2", [0]),
        lambda: probes.retention(named),
    ):
        with pytest.raises(ValueError, match=wording):
            call()


@pytest.mark.parametrize(
    ("model", "change", "wording"),
    [
        ("rate", {"spiking": False}, "spiking: only the spiking network has it"),
        ("filters", {"silence": [0]}, r"this network \(FilterBank\) has no recurrent neurons to silence or clamp"),
    ],
)
def test_a_change_that_the_model_lacks_is_refused(model, change, wording):
    made = ip2lab.train("association", model, problems=1, max_trials=6, window=5, progress=False)
    with pytest.raises(ValueError, match=wording):
        ip2lab.probe(made, 0, **change)


# ---------------------------------------------------------------- questions


def test_delays_equal_single_probes_with_each_delay(run):
    found = probes.delays(run, 5, [500, 1000, 2500], repeats=3)
    assert found.delay.values.tolist() == [500, 1000, 2500]
    assert float(found.loss[1]) == float(ip2lab.probe(run, 5, repeats=3).loss.mean())
    assert float(found.accuracy[2]) == float(ip2lab.probe(run, 5, repeats=3, delay=2500).correct.mean())


def test_retention_is_the_network_of_then_on_problems_of_before(run):
    found = probes.retention(run, 5, on=[0, 2, 5])
    for problem in (0, 2, 5):
        assert float(found.loss.sel(problem=problem)) == float(ip2lab.probe(run, 5, on=problem).loss.mean())
    before = run["series"].trials_to_criterion.sel(problem=[0, 2, 5]).values
    assert np.array_equal(found.trials_to_criterion, before, equal_nan=True)
    again = ip2lab.continue_training(run, 5, problems=1, problems_order=[2])["series"].trials_to_criterion.values
    assert np.array_equal(found.trials_again.sel(problem=[2]), again, equal_nan=True)


@pytest.mark.parametrize("of", ["value", "initial", "change"])
@pytest.mark.parametrize("clamp", [False, True])
def test_lesions_by_quantiles_against_matched_ones(run, of, clamp):
    found = probes.lesions(run, 5, by="tau_dendrite", of=of, bins=3, controls=4, clamp=clamp)
    lesioned = found.lesioned.values
    assert (lesioned.sum(0) == 1).all()
    assert lesioned.sum(1).tolist() == [10, 10, 10]
    values = probes.interventions._binned_by(run, 5, "tau_dendrite", of)
    for row, low, high in zip(lesioned, found.low.values, found.high.values, strict=True):
        assert (values[row].min(), values[row].max()) == (low, high)
    assert (np.sort(values)[[0, 10, 20]] == found.low.values).all()
    kind = "clamp" if clamp else "silence"
    alone = ip2lab.probe(run, 5, **{kind: np.flatnonzero(lesioned[1])})
    assert float(found.loss[1]) == float(alone.loss.mean())
    assert float(found.intact_loss) == float(ip2lab.probe(run, 5).loss.mean())
    shares = ((found.control_loss >= found.loss).sum("control") + 1) / 5
    assert (found.p == shares).all()


def test_controls_are_matched_and_differ():
    strata = np.array([0, 0, 0, 1, 1, 2, 2, 2, 2, 2])
    part = np.array([0, 3, 5, 6])
    drawn = [probes.interventions._matched(part, strata, np.random.default_rng(seed)) for seed in range(50)]
    assert all(sorted(strata[each]) == [0, 1, 2, 2] for each in drawn)
    assert all(len(set(each)) == 4 for each in drawn)
    assert len({tuple(sorted(each)) for each in drawn}) > 10


def test_lesions_with_next_problems_return_trials_to_criterion_per_bin(run):
    found = probes.lesions(run, 5, by="threshold", bins=2, controls=1, next_problems=2)
    intact = ip2lab.continue_training(run, 5, problems=2)["series"].trials_to_criterion.values
    assert np.array_equal(found.intact_trials, intact, equal_nan=True)
    assert found.trials_to_criterion.dims == ("bin", "problem")


def test_transplants_of_nothing_equal_a_fresh_run(run):
    found = probes.transplants(run, seeds=[40, 41], problems=2)
    assert found.kind.values.tolist() == ["both", "properties", "shuffled", "marginals", "weights", "nothing"]
    assert found.trials_to_criterion.shape == (6, 2, 2)
    born = ip2lab.train("association", learnable=None, problems=2, seed=41, **OPTIONS)["series"]
    here = found.trials_to_criterion.sel(kind="nothing", seed=41)
    assert np.array_equal(here, born.trials_to_criterion, equal_nan=True)
    with pytest.raises(ValueError, match="seeds: 3 is the run's own; its problems would not be new"):
        probes.transplants(run, seeds=[3])
    with pytest.raises(ValueError, match="kinds: 'soul' is unknown; known: both, properties"):
        probes.transplants(run, kinds=["soul"])


def test_lesions_and_transplants_do_not_modify_the_run(run):
    before = {name: node.to_dataset().copy(deep=True) for name, node in run.children.items()}
    probes.lesions(run, 5, by="tau_soma", bins=2, controls=1)
    probes.transplants(run, kinds=["both"], seeds=[50], problems=1)
    for name, node in run.children.items():
        assert node.to_dataset().identical(before[name])


def test_lesions_by_an_unknown_property_are_refused(run):
    with pytest.raises(ValueError, match="by: this run has no property 'tau'; it has bias, tau_dendrite"):
        probes.lesions(run, 5, by="tau")
    with pytest.raises(ValueError, match="of: 'size' is unknown; known: 'value', 'initial', 'change'"):
        probes.lesions(run, 5, by="tau_soma", of="size")


@pytest.mark.parametrize("what", ["shuffle_properties", "reset_properties", "reset_weights"])
def test_an_ablation_between_problems_changes_only_what_it_names(what):
    run = ip2lab.train("association", problems=3, seed=3, between_problems=what, record={"kept": range(3)}, **OPTIONS)
    learnt = ip2lab.train("association", problems=1, seed=3, **OPTIONS)
    trainer = probes.restore(run, 0)
    trainer.start_problem()  # the next problem begins
    end, start = trainer.network, probes.restore(run, -1).network
    for name, parameter in end.free.items():
        value, born = parameter.detach().numpy(), start.free[name].detach().numpy()
        unchanged = learnt["weights"][stored_name(end.table[name])].values[-1]
        if what == "shuffle_properties":
            assert (np.sort(value) == np.sort(unchanged)).all()
            assert (value != unchanged).any()
        else:
            assert (value == (born if what == "reset_properties" else unchanged)).all()
    weights = end.recurrent_weights.detach().numpy()
    if what == "reset_weights":
        assert (weights == start.recurrent_weights.detach().numpy()).all()
    else:
        assert (weights == learnt["weights"].recurrent_weights.values[-1]).all()
    assert ip2lab.replay(run, 2, 5).attrs["identical"]


def test_silencing_neurons_with_a_membrane_readout_is_refused(run):
    with pytest.raises(ValueError, match="silence: a silenced neuron's membrane is still read out"):
        ip2lab.continue_training(run, problems=1, silence=[1], readout="membrane")


def test_a_silenced_neuron_is_silent_also_where_the_bias_has_bounds():
    run = ip2lab.train("association", problems=1, seed=3, **OPTIONS | {"bounds": {"bias": (-0.5, 1.5)}})
    silent = ip2lab.probe(run, 0, silence=[2])
    assert not silent.spikes.sel(neuron=2).any()
    assert ip2lab.probe(run, 0).spikes.any()
    values = run["properties"].bias.values
    assert values.min() > -0.5 and values.max() < 1.5 and np.ptp(values, axis=0).any()
