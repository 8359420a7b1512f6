"""The spiking network: equations against closed forms and an independent simulator, identities, module, refusals."""

from __future__ import annotations

import copy
import importlib.machinery
import io
import sys
import warnings
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter

from ip2lab.networks import kernel_types
from ip2lab.networks.spiking import READOUT_TIME, Spike, SpikingNetwork, smooth_spike
from ip2lab.properties import PROPERTIES

pytestmark = pytest.mark.filterwarnings("ignore:tau_soma of")  # short somas at long steps are meant here
BOTH = pytest.mark.parametrize("compiled", [False, True], ids=["plain", "compiled"])
ADAPTING = {"adaptation": True, "start": {"tau_dendrite": (20, 400), "tau_soma": (10, 40), "threshold": (0.5, 2.0)}}


def network(inputs=3, outputs=2, neurons=8, *, dtype=torch.float64, **options) -> SpikingNetwork:
    return SpikingNetwork(inputs, outputs, neurons, dtype=dtype, **options)


def stimulus(trials=2, steps=60, inputs=3, seed=0, dtype=torch.float64) -> torch.Tensor:
    return torch.as_tensor(np.random.default_rng(seed).standard_normal((trials, steps, inputs)), dtype=dtype)


def run(net, inputs, noise=None, compiled=False):
    with torch.no_grad():
        return net(inputs, noise, compiled=compiled)


# ---------------------------------------------------------------- equations


@BOTH
@settings(max_examples=25)
@given(st.floats(6, 4000), st.floats(3, 900), st.floats(0.5, 50), st.floats(0.2, 5))
def test_step_response_is_that_of_two_cascaded_filters(compiled, tau_d, tau_s, dt, gain):
    """Below threshold: a current I from t = 0 on gives u_t = I (1 - a^k - (1-a) b (a^k - b^k) / (a - b)), k = t + 1."""
    start = {"tau_dendrite": tau_d, "tau_soma": tau_s, "threshold": 9.9, "gain": gain}
    net = network(1, 1, 2, start=start, dt=dt, seed=1)
    current = (net.input_weights[:, 0] * 0.3 + net.free["bias"]).detach().numpy()
    scale = 1.5 / np.abs(current * gain).max()  # stays below the threshold
    with torch.no_grad():
        net.input_weights *= scale
        net.free["bias"] *= scale
    membrane = run(net, torch.full((1, 80, 1), 0.3, dtype=torch.float64), compiled=compiled).membrane[0].numpy()
    beta, alpha, k = np.exp(-dt / tau_d), np.exp(-dt / tau_s), np.arange(1, 81)[:, None]
    cascade = np.array([beta**j * alpha ** (n - 1 - j) for n in range(1, 81) for j in range(n)])
    starts = np.cumsum([0, *range(1, 80)])
    mixed = np.add.reduceat(cascade, starts)[:, None]  # (a^k - b^k) / (a - b), also where a = b
    wanted = current * scale * gain * (1 - alpha**k - (1 - alpha) * beta * mixed)
    np.testing.assert_allclose(membrane, wanted, rtol=1e-9, atol=1e-12)


@BOTH
@settings(max_examples=25)
@given(st.floats(6, 900), st.floats(6, 900), st.floats(1, 20), st.integers(0, 99))
def test_below_threshold_the_two_filters_commute(compiled, first, second, dt, seed):
    x, made = stimulus(seed=seed) / 20, []
    for tau_d, tau_s in ((first, second), (second, first)):
        net = network(
            start={"tau_dendrite": tau_d, "tau_soma": tau_s, "threshold": 9.9}, dt=dt, input_gain=1.0, seed=seed
        )
        activity = run(net, x, compiled=compiled)
        assert not activity.spikes.any()
        made.append(activity.membrane)
    torch.testing.assert_close(*made, rtol=1e-9, atol=1e-12)


def parts(net) -> tuple[Any, kernel_types.Weights]:
    """Return what the time loop takes, copied, as the network itself hands it over."""
    weights = (net.input_weights.T, net.recurrent_weights.T, net.output_weights, net.output_bias)
    constants = net.constants()
    return constants._make(c.detach().clone() for c in constants), kernel_types.Weights(
        *(w.detach().clone().contiguous() for w in weights)
    )


@BOTH
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_scaling_a_neuron_leaves_its_spikes_bit_identical(compiled, dtype):
    """Learning a threshold is learning a gain: W_in, W_rec, b, noise, threshold and adaptation times a power of two."""
    from ip2lab.networks.spiking import _Compiled, simulate

    net = network(neurons=30, seed=5, dtype=dtype, **ADAPTING)
    neurons, weights = parts(net)
    factor = torch.as_tensor(2.0 ** np.random.default_rng(0).integers(-3, 4, 30), dtype=dtype)
    scaled = weights._replace(input=weights.input * factor, recurrent=weights.recurrent * factor)
    own = {name: getattr(neurons, name) * factor for name in ("bias", "threshold", "adaptation_strength")}
    other = neurons._replace(**own)
    x, noise = stimulus(dtype=dtype), stimulus(inputs=30, seed=1, dtype=dtype)

    def spikes(noise, neurons, weights):
        if compiled:
            return _Compiled.apply(net.model, x, noise, *neurons, *weights)[1]
        return simulate(x, noise, neurons, weights, net.model).spikes

    before, after = spikes(noise, neurons, weights), spikes(noise * factor, other, scaled)
    assert 0.02 < before.mean() < 0.9
    assert torch.equal(before, after)
    assert not torch.equal(before, spikes(noise, neurons, scaled))  # the weights alone do matter


@BOTH
@pytest.mark.parametrize("readout", ["spikes", "membrane"])
def test_readout_adaptation_and_reset_as_written(compiled, readout):
    """Everything that follows from the spikes, by scipy's filters, at a dt at which charges are not one."""
    dt = 5.0
    net = network(neurons=20, dt=dt, readout=readout, seed=2, **ADAPTING)
    x = stimulus()
    done = run(net, x, compiled=compiled)
    s, u, d = (getattr(done, name).numpy() for name in ("spikes", "membrane", "dendrite"))
    assert set(np.unique(s)) == {0, 1}
    charged = s * 20 / dt
    before = np.pad(charged, ((0, 0), (1, 0), (0, 0)))[:, :-1]
    value = {name: p.detach().numpy() for name, p in net.properties().items()}

    def smooth(data, tau):
        decay = np.broadcast_to(np.exp(-dt / np.asarray(tau)), data.shape[2])
        each = [lfilter([1 - r], [1, -r], data[:, :, i], axis=1) for i, r in enumerate(decay)]
        return np.stack(each, axis=2)

    a = smooth(before, value["tau_adaptation"])
    theta = value["threshold"] + value["adaptation_strength"] * a
    np.testing.assert_allclose(done.adaptation.numpy(), a, atol=1e-12)
    np.testing.assert_array_equal(s, u > theta)
    current = x.numpy() @ net.input_weights.detach().numpy().T + net.free["bias"].detach().numpy()
    current += before @ net.recurrent_weights.detach().numpy().T
    np.testing.assert_allclose(d, smooth(current, value["tau_dendrite"]), atol=1e-10)
    alpha = np.exp(-dt / value["tau_soma"])
    u_old, fell = (np.pad(v, ((0, 0), (1, 0), (0, 0)))[:, :-1] for v in (u, theta * s))
    np.testing.assert_allclose(u, alpha * u_old + (1 - alpha) * d - fell, atol=1e-10)
    read = smooth(charged, READOUT_TIME) if readout == "spikes" else u
    logits = read @ net.output_weights.detach().numpy().T + net.output_bias.detach().numpy()
    np.testing.assert_allclose(done.logits.numpy(), logits, atol=1e-10)


class _Numpy24(importlib.machinery.SourceFileLoader):
    """Brian2 2.9.0 names a method of arrays that numpy 2.4 took away (brian-team/brian2#1705)."""

    def get_code(self, fullname):
        source = self.get_source(fullname).replace("np.ndarray.ptp", "np.ptp")
        return compile(source, self.path, "exec")

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name != "brian2.units.fundamentalunits":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        spec.loader = cls(name, spec.origin)
        return spec


@pytest.fixture(scope="module")
def brian2() -> ModuleType:
    sys.meta_path.insert(0, _Numpy24)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return pytest.importorskip("brian2", reason="Brian2 is not installed: pip install '.[test]'")
    finally:
        sys.meta_path.remove(_Numpy24)


def simulate_in_brian(brian2, net, current, refractory) -> np.ndarray:
    """Return the spikes (time, neuron) of a network with input `current` (time, neuron), by Brian2's own integrators.

    Two groups, since the soma takes the dendrite of the same step; Brian2 integrates each filter exactly over a step
    of constant input. It resets at once and decays afterwards, so what is taken off here is divided by the decay.
    """
    n, ms, dt = net.neurons, brian2.ms, net.dt * brian2.ms
    brian2.start_scope()
    brian2.defaultclock.dt = dt
    value = {name: p.detach().numpy() for name, p in net.properties().items()}
    space = {"shown": brian2.TimedArray(current, dt=dt), "charge": 20 / net.dt}
    dendrites = brian2.NeuronGroup(
        n,
        """dd/dt = (shown(t, i) + received - d) / tau_d : 1
        received : 1
        tau_d : second""",
        method="exact",
        namespace=space,
        order=0,
    )
    dendrites.run_regularly("received = 0", when="groups", order=1)
    somas = brian2.NeuronGroup(
        n,
        """du/dt = (d - u) / tau_s : 1
        da/dt = -a / tau_a : 1
        d : 1 (linked)
        tau_s : second
        tau_a : second
        threshold_0 : 1
        strength : 1""",
        method="exact",
        threshold="u > threshold_0 + strength * a",
        reset="""u -= (threshold_0 + strength * a) * exp(dt / tau_s)
        a += charge * (exp(dt / tau_a) - 1)""",
        refractory=refractory * ms + dt * bool(refractory),  # Brian2 lets a neuron fire at the very end of it
        namespace=space,
        order=2,
    )
    dendrites.tau_d, somas.tau_s = value["tau_dendrite"] * ms, value["tau_soma"] * ms
    somas.tau_a, somas.strength = value["tau_adaptation"] * ms, value["adaptation_strength"]
    somas.threshold_0 = value["threshold"]
    somas.d = brian2.linked_var(dendrites, "d")
    synapses = brian2.Synapses(somas, dendrites, "w : 1", on_pre="received_post += w * charge", namespace=space)
    synapses.connect()
    synapses.w = net.recurrent_weights.detach().numpy().T[np.asarray(synapses.i), np.asarray(synapses.j)]
    seen = brian2.SpikeMonitor(somas)
    brian2.Network(dendrites, somas, synapses, seen).run(len(current) * dt)
    spikes = np.zeros(current.shape, bool)
    spikes[np.rint(np.asarray(seen.t / dt)).astype(int), np.asarray(seen.i)] = True
    return spikes


@pytest.mark.parametrize("refractory", [0.0, 6.0])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Brian2's use of its parser
def test_spikes_of_a_random_recurrent_network_are_those_of_brian2(brian2, refractory):
    brian2.prefs.codegen.target = "numpy"
    net = network(inputs=4, neurons=40, dt=2.0, seed=11, refractory=refractory, **ADAPTING)
    x = stimulus(1, 20, 4, seed=3).repeat_interleave(20, dim=1)
    current = (x[0] @ net.input_weights.T + net.free["bias"]).detach().numpy()
    wanted = simulate_in_brian(brian2, net, current, refractory)
    assert 0.02 < wanted.mean() < 0.5 and wanted.any(0).mean() > 0.8  # nearly all take part
    for compiled in (False, True):
        np.testing.assert_array_equal(run(net, x, compiled=compiled).spikes[0].numpy() > 0, wanted)


@BOTH
def test_after_a_spike_there_is_none_for_the_refractory_time(compiled):
    x = stimulus(steps=200) + 1
    for refractory, least in ((0, 1), (20, 2), (60, 4)):
        net = network(neurons=20, refractory=refractory, start={"tau_dendrite": 20.0}, seed=1)
        spikes = run(net, x, compiled=compiled).spikes.numpy()
        gaps = [np.diff(np.flatnonzero(train)).min(initial=99) for train in np.moveaxis(spikes, 1, 2).reshape(-1, 200)]
        assert min(gaps) == least


@BOTH
def test_without_spikes_nothing_fires_and_without_recurrence_weights_do_not_matter(compiled):
    x = stimulus()
    still = network(spiking=False, readout="membrane", seed=1)
    assert not run(still, x, compiled=compiled).spikes.any()
    alone = network(recurrent=False, seed=1)
    other = copy.deepcopy(alone)
    with torch.no_grad():
        other.recurrent_weights += 1
    one, two = run(alone, x, compiled=compiled), run(other, x, compiled=compiled)
    assert one.spikes.any() and torch.equal(one.logits, two.logits)
    assert not torch.equal(one.logits, run(network(seed=1), x, compiled=compiled).logits)


@BOTH
def test_noise_is_added_to_the_current(compiled):
    """Noise that is W_in times another input is that other input."""
    net, x, more = network(seed=1), stimulus(), stimulus(seed=9)
    noise = (more @ net.input_weights.T).detach()
    torch.testing.assert_close(
        run(net, x, noise, compiled=compiled).membrane,
        run(net, x + more, compiled=compiled).membrane,
        atol=1e-9,
        rtol=0,
    )


@BOTH
def test_trials_of_a_batch_do_not_meet(compiled):
    net, x = network(neurons=20, seed=4, **ADAPTING), stimulus(4)
    whole = run(net, x, compiled=compiled)
    for trial in range(4):
        torch.testing.assert_close(whole.logits[trial], run(net, x[trial : trial + 1], compiled=compiled).logits[0])


def test_the_smooth_spike_has_the_pseudo_derivative_as_its_derivative():
    v = torch.linspace(-2, 2, 401, dtype=torch.float64, requires_grad=True)
    hard, soft = Spike.apply(v), smooth_spike(v)
    assert torch.equal(hard, (v > 0).double())
    (by_hard,) = torch.autograd.grad(hard.sum(), v)
    (by_soft,) = torch.autograd.grad(soft.sum(), v)
    wanted = (1 - v.detach().abs()).clamp(min=0)
    torch.testing.assert_close(by_hard, wanted)
    torch.testing.assert_close(by_soft, wanted)
    assert soft[0] == 0 and soft[-1] == 1


# ---------------------------------------------------------------- birth


def test_initial_weights_have_their_nominal_spread():
    net = network(inputs=9, neurons=400, seed=0)
    n = net.neurons
    # a standard deviation estimated from n samples errs by sigma / sqrt(2n); six of those
    assert abs(net.input_weights.std() - 4) < 6 * 4 / np.sqrt(2 * 9 * n)
    off_diagonal = net.recurrent_weights[~torch.eye(n, dtype=torch.bool)]
    assert abs(off_diagonal.std() - 1.5 / 20) < 6 * 1.5 / 20 / np.sqrt(2 * n * n)
    assert (net.free["bias"] == 0.5).all() and (net.output_bias == 0).all()
    assert not net.recurrent_weights.diagonal().any()
    assert network(autapses=True).recurrent_weights.diagonal().all()


def test_the_same_seed_gives_the_same_network():
    one, same, other = (network(seed=s, start="heterogeneous").state_dict() for s in (3, 3, 4))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["input_weights"], other["input_weights"])
    assert not torch.equal(one["free.tau_soma"], other["free.tau_soma"])


def test_initial_properties_are_homogeneous_or_log_uniform():
    values = {name: v.detach().numpy() for name, v in network(neurons=300, start="heterogeneous").properties().items()}
    for name, share in (("tau_dendrite", (200, 4000)), ("tau_soma", (10, 40))):
        place = np.log(values[name] / share[0]) / np.log(share[1] / share[0])
        assert 0 <= place.min() < 0.05 and 0.95 < place.max() <= 1
        assert abs(place.mean() - 0.5) < 6 / np.sqrt(12 * 300)
    np.testing.assert_allclose(values["threshold"], 1)
    for name, v in network().properties().items():
        np.testing.assert_allclose(v.detach(), PROPERTIES[name].homogeneous, rtol=1e-12)


def test_properties_given_one_by_one_as_a_range_or_each():
    each = np.linspace(50, 400, 8)
    start = {"tau_soma": 33.0, "threshold": (0.5, 2.0), "tau_dendrite": each}
    values = {name: v.detach().numpy() for name, v in network(start=start).properties().items()}
    np.testing.assert_allclose(values["tau_soma"], 33)
    np.testing.assert_allclose(values["tau_dendrite"], each)
    assert values["threshold"].min() >= 0.5 and values["threshold"].max() <= 2 and values["threshold"].std() > 0.1
    assert each[0] == 50  # the input is not changed


def test_a_network_has_the_properties_that_its_options_name():
    assert sorted(network().free) == ["bias", "tau_dendrite", "tau_soma", "threshold"]
    assert "tau_adaptation" in network(adaptation=True).free
    net = network(learnable=["gain", "tau_soma"])
    assert "gain" in net.free
    assert {name for name, p in net.free.items() if p.requires_grad} == {"tau_soma", "gain"}
    assert not any(p.requires_grad for p in network(learnable=()).free.values())


def test_set_property_sets_one_value_or_one_per_neuron():
    net = network(adaptation=True)
    net.set_property("tau_soma", np.linspace(10, 80, 8))
    np.testing.assert_allclose(net.properties()["tau_soma"].detach(), np.linspace(10, 80, 8))
    net.set_property("adaptation_strength", 3.0)
    np.testing.assert_allclose(net.properties()["adaptation_strength"].detach(), 3.0)


@pytest.mark.filterwarnings("default:tau_soma of")
def test_a_soma_shorter_than_a_step_is_warned_of():
    with pytest.warns(UserWarning, match="tau_soma of 10 ms is not resolved by steps of 20 ms"):
        network(start={"tau_soma": 10.0})


def test_noise_keeps_its_power_per_second():
    assert network(noise=0.1).noise_scale == pytest.approx(0.1)
    assert network(noise=0.1, dt=5.0).noise_scale == pytest.approx(0.2)


# ---------------------------------------------------------------- an ordinary module


def test_state_dict_round_trip_deepcopy_and_file():
    net, x = network(seed=1, **ADAPTING), stimulus()
    wanted = run(net, x, compiled=True).logits
    other = network(seed=2, **ADAPTING)
    assert other.load_state_dict(net.state_dict()).missing_keys == []
    file = io.BytesIO()
    torch.save(net.state_dict(), file)
    third = network(seed=3, **ADAPTING)
    third.load_state_dict(torch.load(io.BytesIO(file.getvalue()), weights_only=True))
    for made in (other, copy.deepcopy(net), third):
        assert torch.equal(run(made, x, compiled=True).logits, wanted)
        assert made.input_weights is not net.input_weights
    pickled = io.BytesIO()
    torch.save(net, pickled)
    whole = torch.load(io.BytesIO(pickled.getvalue()), weights_only=False)
    assert torch.equal(run(whole, x, compiled=True).logits, wanted)


def test_loaded_weights_have_no_autapses():
    net = network()
    net.load_state_dict(network(autapses=True, seed=1).state_dict())
    assert not net.recurrent_weights.diagonal().any()


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam, torch.optim.RMSprop])
def test_any_optimizer_learns_and_makes_no_autapses(optimizer):
    net, x = network(seed=1, neurons=20), stimulus()
    target = torch.as_tensor(np.random.default_rng(1).integers(2, size=(2, 60)))
    stepper, losses = optimizer(net.parameters(), lr=0.003), []
    for _ in range(25):
        stepper.zero_grad()
        loss = torch.nn.functional.cross_entropy(net(x).logits.reshape(-1, 2), target.reshape(-1))
        loss.backward()
        stepper.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert not net.recurrent_weights.diagonal().any()
    assert all(torch.isfinite(p).all() for p in net.parameters())


def test_converting_to_another_precision_keeps_the_result():
    net, x = network(seed=1, dtype=torch.float32, neurons=20), stimulus(steps=20)
    double = copy.deepcopy(net).to(torch.float64)
    assert {p.dtype for p in double.parameters()} == {torch.float64}
    one, two = run(net, x.float(), compiled=True), run(double, x, compiled=True)
    assert two.logits.dtype == torch.float64
    torch.testing.assert_close(one.dendrite[:, 0].double(), two.dendrite[:, 0], rtol=1e-5, atol=1e-5)
    assert run(copy.deepcopy(double).float(), x.float(), compiled=True).logits.dtype == torch.float32


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device here")
def test_the_plain_loop_on_a_gpu_is_that_on_the_cpu():
    net, x = network(seed=1, neurons=20, **ADAPTING), stimulus()
    here = run(net, x)
    there = run(net.to("cuda"), x.to("cuda"), compiled=None)
    assert torch.equal(here.spikes, there.spikes.cpu())
    torch.testing.assert_close(here.logits, there.logits.cpu())


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("options", "error", "wording"),
    [
        ({"inputs": 0}, ValueError, "inputs: 0 is not valid; give a positive whole number"),
        ({"neurons": 2.5}, ValueError, r"neurons: 2.5 is not valid; give a positive whole number"),
        ({"outputs": -1}, ValueError, "outputs: -1 is not valid"),
        ({"dt": 0}, ValueError, "dt: 0 is not valid; give a positive number"),
        ({"dt": float("nan")}, ValueError, "dt: nan is not valid"),
        ({"noise": -1}, ValueError, "noise: -1 is not valid; give 0 or a positive number"),
        ({"refractory": -1.0}, ValueError, r"refractory: -1.0 is not valid"),
        ({"readout": "voltage"}, ValueError, "readout: 'voltage' is not valid; give 'spikes' or 'membrane'"),
        (
            {"spiking": False},
            ValueError,
            "readout: without spiking there are no spikes to read; give readout='membrane'",
        ),
        ({"learnable": ["tau_adaptation"]}, ValueError, "no property 'tau_adaptation'; it has bias, tau_dendrite"),
        ({"learnable": ["tau"]}, ValueError, "learnable: this network has no property 'tau'; it has"),
        ({"start": "random"}, ValueError, "start: 'random' is unknown; known: 'homogeneous', 'heterogeneous'"),
        ({"start": {"tau_axon": 3}}, ValueError, "start: 'tau_axon' is unknown; known: bias, tau_dendrite"),
        (
            {"start": {"tau_soma": -3}},
            ValueError,
            r"tau_soma: -3 is outside its bounds; give values between 2 and 1000",
        ),
        ({"start": {"tau_soma": (5, 5000)}}, ValueError, "tau_soma: 5000 is outside its bounds"),
        ({"start": {"tau_soma": float("nan")}}, ValueError, "tau_soma: nan is outside its bounds"),
        ({"start": {"threshold": [1, 2, 3]}}, ValueError, "start: threshold has 3 values for 8 neurons; give one, two"),
    ],
)
def test_wrong_networks_are_refused_by_name(options, error, wording):
    with pytest.raises(error, match=wording):
        network(**options)


@BOTH
def test_wrong_inputs_are_refused_by_name(compiled):
    net, x = network(), stimulus()
    broken = x.clone()
    broken[1, 3, 2] = float("nan")
    cases = [
        ((broken,), ValueError, "inputs: there are NaN or infinite values among them; clean the stimulus first"),
        ((x[0],), ValueError, r"inputs: shape \(60, 3\) is not \(trial, time, input\) with 3 inputs"),
        ((x[..., :2],), ValueError, r"inputs: shape \(2, 60, 2\) is not \(trial, time, input\) with 3 inputs"),
        ((x.float(),), TypeError, r"inputs: torch.float32 does not fit a network of torch.float64; convert one"),
        (
            (x, stimulus(inputs=5)),
            ValueError,
            r"noise: shape \(2, 60, 5\) is not \(trial, time, neuron\) = \(2, 60, 8\)",
        ),
        ((x, stimulus(inputs=8).float()), TypeError, r"noise: torch.float32 does not fit a network of torch.float64"),
    ]
    for arguments, error, wording in cases:
        with pytest.raises(error, match=wording):
            net(*arguments, compiled=compiled)


def test_wrong_values_of_a_property_are_refused_by_name():
    net = network()
    with pytest.raises(KeyError, match="no property 'gain'; it has bias, tau_dendrite, tau_soma, threshold"):
        net.set_property("gain", 1.0)
    with pytest.raises(ValueError, match=r"threshold: 0 is outside its bounds; give values between 0.1 and 10"):
        net.set_property("threshold", 0)


def test_inputs_are_left_as_they_were():
    net, x, noise = network(), stimulus(), stimulus(inputs=8)
    copies = x.clone(), noise.clone()
    net(x, noise).logits.sum().backward()
    assert torch.equal(x, copies[0]) and torch.equal(noise, copies[1])
