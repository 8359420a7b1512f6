"""What the spiking network is compared with: each against an oracle, all behind the same `train`."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import ip2lab
from ip2lab import networks
from ip2lab.networks import kernel_types, rate_kernels
from ip2lab.networks.attention import AttentionNetwork
from ip2lab.networks.filters import FilterBank
from ip2lab.networks.rate import RateNetwork
from ip2lab.tasks import families, family
from ip2lab.training import data, learners
from ip2lab.training.options import DEFAULTS, rates_by_parameter, resolve

REFERENCE = Path(__file__).parent / "data" / "goudar"
OPTIONS = {"max_trials": 60, "window": 20, "progress": False}


# ---------------------------------------------------------------- the rate network


def test_softplus_is_log_one_plus_exp():
    x = np.linspace(-40, 40, 8001)
    value, slope = np.zeros_like(x), np.zeros_like(x)
    rate_kernels.softplus(x, value, slope)
    assert np.abs(value - np.logaddexp(0, x)).max() < 2e-7
    assert np.abs(slope - 1 / (1 + np.exp(-x))).max() < 2e-7


def rate_learner(kind, dtype="float64", **changes):
    """Return a small rate network whose singular values differ, and a learner of it."""
    given_options = {
        "neurons": 13,
        "start": "heterogeneous",
        "singular_values": 4,
        "learning_rate": 1e-3,
        "rate_weight": 5e-3,
        "l2": {"input_weights": 1e-4, "output_weights": 0.1, "recurrent_weights": 1e-2},
    }
    options = resolve("rate", given_options | {"dtype": dtype} | changes)
    network = networks.build("rate", 11, 3, options, learnable=("bias", "tau"), seed=1)
    rng = np.random.default_rng(0)
    with torch.no_grad():
        network.recurrent_weights.mul_(torch.tensor(rng.uniform(0.2, 1, (13, 13))))
        network.output_weights.copy_(torch.tensor(rng.normal(size=(3, 13))))
    rate = rates_by_parameter(options, ("bias", "tau"), [name for name, _ in network.named_parameters()])
    rates = learners.OptimizerSettings(
        rate, options["l2"], 0.3, 1.0, options["rate_weight"], None, options["singular_values"]
    )
    return network, kind(network, rates)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-5), ("float32", 2e-2)])
def test_compiled_training_equals_autograd_and_adam(dtype, tolerance):
    stimuli = data.make_stimuli(family("dms").problem(0), np.arange(4), 20.0, dtype)
    rows, seen = np.random.default_rng(0).integers(4, size=50), []
    for kind in (learners.CompiledLearner, learners.PlainLearner):
        network, learner = rate_learner(kind, dtype)
        records = learners.TrialRecord.empty(50)
        for first in (0, 25):  # the target is settled in between
            learner.run(
                stimuli,
                rows[first : first + 25],
                (first, first + 25),
                np.uint64(5),
                kernel_types.Criterion(0.0, 60),
                records,
            )
            learner.set_rate_target(records.rate[first + 24])
        seen.append((records, dict(network.named_parameters())))
    (one, compiled), (other, plain) = seen
    for name in ("loss", "response_loss", "rate"):
        assert np.allclose(getattr(one, name), getattr(other, name), rtol=tolerance)
    assert (one.correct == other.correct).mean() > 0.9
    for name, parameter in compiled.items():
        assert torch.allclose(parameter, plain[name], atol=tolerance), name
        assert not torch.equal(parameter, rate_learner(learners.PlainLearner, dtype)[0].get_parameter(name)), name


def test_the_plain_loop_passes_gradcheck():
    network, _ = rate_learner(learners.PlainLearner)
    inputs = torch.randn(2, 6, 11, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    names = [name for name, _ in network.named_parameters()]

    def run(*values):
        return torch.func.functional_call(network, dict(zip(names, values, strict=True)), (inputs,))

    values = [p.detach().clone().requires_grad_() for p in network.parameters()]
    assert torch.autograd.gradcheck(run, values)


@given(dt=st.sampled_from([1.0, 5.0, 20.0]), tau=st.floats(20, 1000))
def test_without_input_rates_relax_exponentially(dt, tau):
    network = RateNetwork(2, 2, 4, dt=dt, start={"tau": tau}, dtype=torch.float64)
    with torch.no_grad():
        network.recurrent_weights.zero_()
        network.initial_rates.fill_(3.0)
        rates = network(torch.zeros(1, 50, 2, dtype=torch.float64)).activity[0]
    time = dt * np.arange(1, 51)
    expected = math.log(2) + (3 - math.log(2)) * np.exp(-time / tau)
    assert np.allclose(rates.numpy(), expected[:, None], atol=1e-6)


def test_without_a_target_the_first_problem_sets_it():
    _, learner = rate_learner(learners.CompiledLearner)
    assert learner.optimizer_state()["target"] == 0
    learner.set_rate_target(0.7)
    assert learner.optimizer_state()["target"] == 0.7
    learner.set_rates(learners.OptimizerSettings(learner.rates.rate, rate_weight=1.0, rate_target=0.3))
    learner.set_rate_target(0.9)
    assert learner.optimizer_state()["target"] == 0.7


def published():
    """Trials to criterion (seed, problem) of the ten published seeds."""
    return np.array([np.loadtxt(REFERENCE / f"conv_{seed}.txt")[:31] for seed in range(10)])


@pytest.mark.slow
@pytest.mark.nightly
def test_the_published_curve_is_reproduced():
    curves = published()
    run = ip2lab.train("association", "rate", preset="goudar2023", problems=12, seed=0, progress=False)
    assert run.attrs["config"]["parameters"] == 11603
    trials = run["series"].trials_to_criterion.values
    first, later = curves[:, 0], curves[:, 1:12].mean(1)
    # one new seed among ten: within 3 standard deviations of them
    assert abs(trials[0] - first.mean()) < 3 * first.std(ddof=1)
    assert abs(trials[1:12].mean() - later.mean()) < 3 * later.std(ddof=1)


# ---------------------------------------------------------------- attention


@pytest.mark.parametrize("name", families()[:5])
def test_parameters_are_matched_within_three_percent(name):
    problem = family(name).problem(0)
    inputs, outputs = len(problem.input_names), len(problem.output_names)

    def count(model, learnable=(), **options):
        network = networks.build(model, inputs, outputs, resolve(model, options), learnable=learnable)
        return sum(p.numel() for p in network.parameters() if p.requires_grad)

    spiking = count("spiking", ("tau_dendrite", "tau_soma", "threshold"))
    others = [count("rate"), count("rate", ("tau",)), *(count("attention", heads=h) for h in (1, 2, 4))]
    assert all(abs(other / spiking - 1) < 0.03 for other in others), (spiking, others)


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_attention_is_causal_and_equals_a_loop_over_steps(heads):
    network = AttentionNetwork(3, 2, 100, heads=heads, dtype=torch.float64)
    inputs = torch.randn(1, 9, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole = network(inputs).activity[0]
        for steps in range(1, 10):
            part = network(inputs[:, :steps]).activity[0]
            assert torch.allclose(part, whole[:steps], atol=1e-12)
        x = inputs[0] @ network.input_weights.T + network.bias + network._positions(9)
        y = torch.nn.functional.layer_norm(x, (32,))
        q, k, v = (y @ w.T for w in (network.query_weights, network.key_weights, network.value_weights))
        size, last = 32 // heads, []
        for h in range(heads):
            s = slice(h * size, (h + 1) * size)
            weights = torch.softmax(k[:, s] @ q[-1, s] / math.sqrt(size), 0)
            last.append(weights @ v[:, s])
        z = x[-1] + network.mix_weights @ torch.cat(last)
        hidden = torch.relu(network.hidden_weights @ torch.nn.functional.layer_norm(z, (32,)))
        assert torch.allclose(z + network.back_weights @ hidden, whole[-1], atol=1e-12)


# ---------------------------------------------------------------- the filter bank


def test_filters_are_exponential():
    bank = FilterBank(2, 3, dt=20, filters=(100.0, 400.0), dtype=torch.float64)
    step = torch.zeros(1, 40, 2, dtype=torch.float64)
    step[:, :, 1] = 1
    filtered = bank(step).activity[0].numpy()
    time = 20 * np.arange(1, 41)
    assert np.allclose(filtered[:, [0, 2]], 0)
    assert np.allclose(filtered[:, 1], 1 - np.exp(-time / 100))
    assert np.allclose(filtered[:, 3], 1 - np.exp(-time / 400))


def test_filters_alone_solve_association_but_not_dms():
    solved = ip2lab.train("association", "filters", problems=1, progress=False, max_trials=3000)
    assert not solved["series"].failed.any()
    unsolved = ip2lab.train("dms", "filters", problems=1, progress=False, max_trials=1500)
    assert float(unsolved["series"].loss[0]) > 0.5 * math.log(2) * 20 / 120  # a coin, on the scored response


# ---------------------------------------------------------------- all of them


@pytest.mark.parametrize("model", ip2lab.models())
def test_every_model_is_trained_recorded_resumed_and_replayed(model, tmp_path):
    settings = {} if model == "filters" else {"neurons": 90}
    path = tmp_path / "run.zarr"
    ip2lab.train("gng_dr_2", model, problems=2, path=path, **OPTIONS, **settings)
    run = ip2lab.resume(path, problems=3, progress=False)
    whole = ip2lab.train("gng_dr_2", model, problems=3, **OPTIONS, **settings)
    assert (run["trials"].loss.values == whole["trials"].loss.values).all()
    signal = "spikes" if model == "spiking" else "activity"
    assert (ip2lab.probe(run, 1)[signal].values == run["activity"][signal].sel(problem=1).values).all()
    again = ip2lab.replay(run, 1, 7)
    assert again.attrs["identical"]
    assert np.isfinite(again[signal].values).all()
    assert np.isnan(run["series"].firing_rate.values).all() == (model != "spiking")
    assert (
        ip2lab.continue_training(run, 0, problems=1)["trials"].loss.values
        == run["trials"].loss.values[run["trials"].problem == 1]
    ).all()


def test_every_model_has_defaults():
    assert list(DEFAULTS) == ip2lab.models()


@pytest.mark.parametrize(
    ("model", "options", "error", "wording"),
    [
        ("attention", {"heads": 3}, ValueError, "heads: 3 heads do not divide a width of 32"),
        ("attention", {"neurons": 20}, ValueError, "neurons: 20 give fewer parameters than attention needs"),
        ("attention", {"learnable": "tau"}, ValueError, "learnable: this network has no property 'tau'; it has none"),
        (
            "rate",
            {"learnable": "tau_soma"},
            ValueError,
            "learnable: this network has no property 'tau_soma'; it has bias, tau",
        ),
        ("rate", {"preset": "goudar"}, ValueError, "preset: 'goudar' is not valid; give 'goudar2023'"),
        ("rate", {"adaptation": True}, TypeError, "the model 'rate' has no option 'adaptation'; it has beta1"),
        ("filters", {"filters": (0,)}, ValueError, r"filters: .* is not valid; give time constants in ms"),
        ("lstm", {}, ValueError, "model: 'lstm' is unknown; known: spiking, rate, attention, filters"),
    ],
)
def test_bad_options_are_named(model, options, error, wording):
    with pytest.raises(error, match=wording):
        ip2lab.train("association", model, problems=1, **OPTIONS | options)
