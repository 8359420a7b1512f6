"""Two learners, one series of updates: the compiled training step against autograd with torch's Adam."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ip2lab.networks import kernel_types, training_step
from ip2lab.networks.spiking import SpikingNetwork
from ip2lab.properties import PROPERTIES
from ip2lab.tasks import family
from ip2lab.training.data import TrialStream
from ip2lab.training.learners import (
    CompiledLearner,
    OptimizerSettings,
    PlainLearner,
    TrialRecord,
    draw_noise,
    make_learner,
)

pytestmark = pytest.mark.filterwarnings("ignore:tau_soma of")  # short somas at long steps are meant here
SHORT = {"stimulus": 200.0, "delay": 200.0, "response": 200.0, "grace_period": 40.0}
NEVER = kernel_types.Criterion(0.0, 50)  # a criterion that no loss is below
KEY = np.uint64(12345)
START = {"tau_dendrite": (40.0, 400.0), "tau_soma": (20.0, 60.0), "threshold": (0.5, 1.5)}


def network(stream: TrialStream, *, dtype=torch.float64, **options) -> SpikingNetwork:
    inputs, outputs = stream.problem.inputs.shape[2], len(stream.problem.output_names)
    return SpikingNetwork(inputs, outputs, 15, dtype=dtype, start=options.pop("start", START), seed=2, **options)


def stream(dtype="float64", trials=400, **settings) -> TrialStream:
    problem = family("association", **(SHORT | settings)).problem(1)
    return TrialStream(problem, np.random.SeedSequence([0, 1]), trials, 20.0, dtype)


def rates_of(net, rate=0.004, **changes) -> OptimizerSettings:
    each = {name: rate for name, p in net.named_parameters() if p.requires_grad}
    each |= {name: 0.02 for name in each if name.startswith("free.")}
    return OptimizerSettings(each | changes.pop("rate", {}), **changes)


def learn(learner, shown: TrialStream, trials: int, goal=NEVER, every: int = 10) -> tuple[TrialRecord, int, int]:
    """Do trials in blocks; return the records, how many were done and how it ended."""
    records, done, status = TrialRecord.empty(len(shown.conditions)), 0, 0
    while done < trials and not status:
        last = min(done + every, trials)
        done, status = learner.run(*shown.between(done, last), (done, last), KEY, goal, records)
    return records, done, status


def both(shown: TrialStream, rates=None, **options):
    """Return a compiled and a plain learner of the same network."""
    nets = [network(shown, **options) for _ in range(2)]
    rates = rates or {}
    return CompiledLearner(nets[0], rates_of(nets[0], **rates)), PlainLearner(nets[1], rates_of(nets[1], **rates))


def parameters(net) -> dict[str, np.ndarray]:
    return {name: p.detach().cpu().numpy().copy() for name, p in net.named_parameters()}


def assert_same_course(shown, trials=50, rates=None, tolerance=1e-7, **options):
    """Check losses, outcomes and rates of every trial and all parameters after the last."""
    fast, plain = both(shown, rates, **options)
    born = parameters(fast.network)
    got, wanted = learn(fast, shown, trials)[0], learn(plain, shown, trials)[0]
    assert np.isfinite(wanted.loss[:trials]).all() and np.isnan(wanted.loss[trials:]).all()
    for name in ("loss", "response_loss", "rate"):
        np.testing.assert_allclose(getattr(got, name), getattr(wanted, name), rtol=tolerance, err_msg=name)
    np.testing.assert_array_equal(got.correct, wanted.correct)
    after, expected = parameters(fast.network), parameters(plain.network)
    for name, value in expected.items():
        np.testing.assert_allclose(after[name], value, rtol=tolerance, atol=tolerance, err_msg=name)
    moved = {name for name in born if not np.array_equal(born[name], after[name])}
    idle = set() if options.get("recurrent", True) else {"recurrent_weights"}
    idle |= set() if options.get("spiking", True) else {"recurrent_weights", "free.threshold"}
    assert moved == set(fast.rates.rate) - idle
    assert wanted.rate[:trials].std() > 0 or not options.get("spiking", True)
    return got


CASES = {
    "default": {},
    "membrane": {"readout": "membrane"},
    "no spikes": {"readout": "membrane", "spiking": False},
    "no recurrence": {"recurrent": False},
    "autapses": {"autapses": True},
    "refractory": {"refractory": 40.0},
    "adaptation": {"adaptation": True, "learnable": [name for name in PROPERTIES if name != "tau"]},
    "no noise": {"noise": 0.0},
    "nothing learnable": {"learnable": ()},
    "finer steps": {"dt": 10.0},
    "heterogeneous": {"start": "heterogeneous"},
}


@pytest.mark.parametrize("case", CASES)
def test_fifty_updates_equal_those_of_pytorch(case):
    options = dict(CASES[case])
    shown = stream()
    if "dt" in options:
        shown = TrialStream(shown.problem, np.random.SeedSequence([0, 1]), 400, options["dt"], "float64")
    assert_same_course(shown, **options)


@pytest.mark.parametrize(
    "rates",
    [
        {"l2": {"input_weights": 0.01, "recurrent_weights": 0.1, "output_weights": 1.0}},
        {"rate_weight": 0.01, "rate_target": 5.0},
        {"clip": 0.0},
        {"clip": 1e-3, "beta1": 0.9},
        {"beta1": 0.0},
        {"beta2": 0.9},
    ],
    ids=["l2", "rates", "no clip", "strong clip", "no momentum", "short memory"],
)
def test_fifty_updates_are_the_same_whatever_the_rule(rates):
    shown = stream()
    usual = learn(both(shown)[0], shown, 50)[0]
    ruled = assert_same_course(stream(), rates=rates)
    if rates != {"clip": 0.0}:  # this network's gradients are small enough for the usual one
        assert not np.allclose(usual.loss[:50], ruled.loss[:50])


@pytest.mark.parametrize("settings", [{"delay": (80.0, 400.0)}, {"noise": 0.2}, {"delay": (80.0, 400.0), "noise": 0.2}])
def test_fifty_updates_are_the_same_with_drawn_delays_and_noisy_inputs(settings):
    shown = stream(**settings)
    assert_same_course(shown)
    lengths = np.unique(shown.between(0, 50)[0].length)
    assert (len(lengths) > 5) == ("delay" in settings)


def test_l2_shrinks_weights_and_the_rate_penalty_moves_rates_to_the_target():
    shown, total, spikes = stream(), {}, {}
    for name, rates in {"none": {}, "l2": {"l2": {"recurrent_weights": 5.0}}, "rates": {"rate_weight": 0.1}}.items():
        net = network(shown)
        records, *_ = learn(CompiledLearner(net, rates_of(net, rate_target=2.0, **rates)), shown, 300)
        total[name] = float(net.recurrent_weights.detach().square().mean())
        spikes[name] = abs(records.rate[250:300].mean() * 50 - 2)
    assert total["l2"] < 0.7 * total["none"]
    assert spikes["rates"] < 0.5 * spikes["none"]


def test_noise_of_both_learners_is_the_same_bit_for_bit():
    shown = stream("float32")
    net = network(shown, dtype=torch.float32, noise=0.3)
    learner = CompiledLearner(net, rates_of(net))
    learn(learner, shown, 3)
    wanted = draw_noise(net, KEY, 2, int(shown.probe.length[0]))
    np.testing.assert_array_equal(learner.buffers.noise[: wanted.shape[1]].ravel(), wanted.numpy().ravel())


def test_no_weight_decay_for_what_is_frozen():
    """Of the largest singular values of the recurrent weights neither: they are looked at only where they learn."""
    shown = stream()
    net = network(shown)
    rates = rates_of(net)
    del rates.rate["recurrent_weights"]
    learner = PlainLearner(net, OptimizerSettings(rates.rate, l2={"recurrent_weights": 1.0}, singular=2))
    before = parameters(net)
    learn(learner, shown, 3)
    after = parameters(net)
    assert np.array_equal(before["recurrent_weights"], after["recurrent_weights"])
    assert not np.array_equal(before["free.bias"], after["free.bias"])


@pytest.mark.parametrize("kind", [CompiledLearner, PlainLearner])
def test_frozen_is_frozen_to_the_bit(kind):
    shown = stream()
    net = network(shown)
    before = parameters(net)
    rates = rates_of(net)
    frozen = {"input_weights", "free.tau_soma", "output_bias"}
    learn(
        kind(net, OptimizerSettings({name: rate for name, rate in rates.rate.items() if name not in frozen})), shown, 20
    )
    after = parameters(net)
    same = {name for name in before if before[name].tobytes() == after[name].tobytes()}
    assert same == frozen


@pytest.mark.parametrize("kind", [CompiledLearner, PlainLearner])
def test_rates_may_change_while_it_learns(kind):
    shown = stream()
    net = network(shown)
    learner = kind(net, rates_of(net))
    learn(learner, shown, 20)
    before = parameters(net)
    learner.set_rates(OptimizerSettings({"free.bias": 0.01}))
    learn(learner, shown, 20)
    after = parameters(net)
    assert {name for name in before if not np.array_equal(before[name], after[name])} == {"free.bias"}


def test_what_stops_learning_stays_where_it_came_to():
    """The time loop goes on with the values that the last update led to, not those before it."""
    shown, losses = stream(), []
    for learner in both(shown):
        learn(learner, shown, 20)
        rates = rates_of(learner.network)
        learner.set_rates(
            OptimizerSettings({name: rate for name, rate in rates.rate.items() if not name.startswith("free.")})
        )
        losses.append(learn(learner, shown, 20)[0].loss[:20])
    np.testing.assert_allclose(*losses, rtol=1e-7)


@pytest.mark.parametrize("what", ["all", "first_moment", "none"])
def test_resetting_the_optimizer_acts_alike_in_both_learners(what):
    shown = stream()
    fast, plain = both(shown)
    memories = []
    for learner in (fast, plain):
        learn(learner, shown, 20)
        learner.reset(what)
        memories.append(learner.optimizer_state())
    first, second = memories[0]["moment1"], memories[0]["moment2"]
    assert first.any() == (what == "none")
    assert second.any() == (what != "all")
    after = [learn(learner, shown, 20)[0].loss[:20] for learner in (fast, plain)]
    np.testing.assert_allclose(*after, rtol=1e-6)


@pytest.mark.parametrize("kind", [CompiledLearner, PlainLearner])
def test_going_back_to_a_state_goes_back_to_the_bit(kind):
    shown = stream()
    net = network(shown, adaptation=True)
    learner = kind(net, rates_of(net))
    learn(learner, shown, 15)
    state, before = learner.state(), parameters(net)
    first = learn(learner, shown, 15)[0].loss[:15].tobytes()
    moved = parameters(net)
    learner.load(state)
    assert all(before[name].tobytes() == value.tobytes() for name, value in parameters(net).items())
    assert learn(learner, shown, 15)[0].loss[:15].tobytes() == first
    assert all(moved[name].tobytes() == value.tobytes() for name, value in parameters(net).items())


@pytest.mark.parametrize("kind", [CompiledLearner, PlainLearner])
def test_the_size_of_the_blocks_changes_nothing(kind):
    courses = []
    for every in (1, 7, 30):
        shown = stream(delay=(80.0, 400.0), noise=0.1)
        net = network(shown)
        courses.append(learn(kind(net, rates_of(net)), shown, 30, every=every)[0].loss[:30].tobytes())
    assert len(set(courses)) == 1


@pytest.mark.parametrize("kind", [CompiledLearner, PlainLearner])
def test_a_problem_is_solved_when_the_mean_of_the_window_is_below_the_criterion(kind):
    shown = stream()
    net = network(shown)
    goal = kernel_types.Criterion(0.5, 12)
    records, done, status = learn(kind(net, rates_of(net)), shown, 400, goal)
    means = np.convolve(records.loss[:done], np.ones(12) / 12, "valid")  # of trials 0-11, 1-12, ...
    assert status == 1
    assert done == 12 + 1 + int(np.argmax(means[1:] < 0.5))  # the first window does not count: it must be left first
    assert means[-1] < 0.5


@pytest.mark.parametrize("kind", [CompiledLearner, PlainLearner])
def test_a_loss_that_is_not_finite_ends_learning(kind):
    shown = stream()
    net = network(shown)
    learner = kind(net, rates_of(net))
    learn(learner, shown, 10)
    with torch.no_grad():
        net.output_bias[1] = float("inf")
    records, done, status = learn(learner, shown, 10)
    assert (done, status) == (1, 2)
    assert not np.isfinite(records.loss[0])


def test_no_autapse_is_learnt():
    shown = stream()
    for learner in both(shown):
        learn(learner, shown, 20)
        assert not learner.network.recurrent_weights.detach().diagonal().any()


def test_a_learner_is_chosen_by_network_and_device():
    shown = stream()
    net = network(shown)
    assert isinstance(make_learner(net, rates_of(net)), CompiledLearner)


def test_the_module_shows_what_the_compiled_learner_learns():
    shown = stream()
    net = network(shown)
    learner = CompiledLearner(net, rates_of(net))
    before = parameters(net)
    learn(learner, shown, 5)
    probe = torch.as_tensor(shown.probe.inputs)
    with torch.no_grad():
        torch.testing.assert_close(net(probe).logits, net(probe, compiled=False).logits, rtol=1e-9, atol=1e-9)
    assert all(not np.array_equal(before[name], value) for name, value in parameters(net).items())


# ---------------------------------------------------------------- what the trials are


def test_any_range_of_trials_is_reproduced():
    for settings in ({}, {"delay": (80.0, 400.0), "noise": 0.2}):
        one, two = stream(**settings), stream(**settings)
        whole, rows = one.between(0, 40)
        part, part_rows = two.between(17, 23)
        for i in range(6):
            a, b = rows[17 + i], part_rows[i]
            steps = part.length[b]
            assert whole.length[a] == steps
            np.testing.assert_array_equal(whole.inputs[a, :steps], part.inputs[b, :steps])
            np.testing.assert_array_equal(whole.target[a, :steps], part.target[b, :steps])


def test_conditions_are_drawn_evenly_and_trials_are_scored_as_the_problem_says():
    shown = stream(trials=2000)
    assert abs(shown.conditions.mean() - 0.5) < 6 * 0.5 / np.sqrt(2000)
    probe, trials = shown.probe, shown.problem.trials()
    np.testing.assert_array_equal(probe.inputs, trials.inputs)
    np.testing.assert_array_equal(probe.target, trials.target)
    np.testing.assert_allclose(probe.weight, trials.scored / trials.scored.sum("time"))
    np.testing.assert_array_equal(probe.response > 0, trials.epoch == "response")


def test_loss_and_correctness_by_hand():
    """Cross-entropy, the response period and the rule of correctness, in numpy, one trial at a time."""
    shown, rng = stream(), np.random.default_rng(0)
    probe = shown.probe
    steps, seen = probe.inputs.shape[1], []
    for case in range(60):
        row, sharpness = case % 2, (0.3, 5.0)[case // 2 % 2]
        logits = rng.standard_normal((steps, 3))
        if case % 3:  # mostly right
            logits[np.arange(steps), probe.target[row]] += sharpness
        probability = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        each = -np.log(probability[np.arange(steps), probe.target[row]])
        answer = probe.response[row] > 0
        waiting = (probe.weight[row] > 0) & ~answer
        kept = (probability.argmax(1) == probe.target[row])[waiting].all()
        correct = kept and probability[answer].mean(0).argmax() == row
        got = training_step.cross_entropy(
            np.ascontiguousarray(logits),
            probe.target[row],
            probe.weight[row],
            probe.response[row],
            np.empty_like(logits),
        )
        np.testing.assert_allclose(got[:2], [each[probe.weight[row] > 0].mean(), each[answer].mean()])
        assert bool(got[2]) == bool(correct)
        seen.append(bool(correct))
    assert 5 < sum(seen) < 55
