"""The compiled kernels: gradients by finite differences, against the plain loop, noise, and life without a compiler."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck
from torch.func import functional_call

from ip2lab.networks import compilation
from ip2lab.networks.spiking import SpikingNetwork
from ip2lab.neuron import SPIKING
from ip2lab.properties import PROPERTIES, Property, properties_of
from ip2lab.training.learners import CompiledLearner, OptimizerSettings, draw_noise

pytestmark = pytest.mark.filterwarnings("ignore:tau_soma of")  # short somas at long steps are meant here
ROOT = Path(__file__).parents[1]
BOTH = pytest.mark.parametrize("compiled", [False, True], ids=["plain", "compiled"])
PROPERTY_NAMES = tuple(row.name for row in SPIKING)


def spread(row: Property) -> tuple[float, float]:
    """Two values between which a property is drawn, away from the one at which it does nothing."""
    if not row.signed:
        return row.heterogeneous
    low, high = np.clip(row.bounds, -1.0, 2.0)
    return float(low + 0.4 * (high - low)), float(low + 0.6 * (high - low))


SPREAD = {row.name: spread(row) for row in SPIKING} | {"tau_dendrite": (20.0, 400.0)}


def network(inputs=2, outputs=2, neurons=4, *, dtype=torch.float64, start=SPREAD, **options) -> SpikingNetwork:
    """Return a network that has, and learns, every property."""
    learnable = [name for name in PROPERTY_NAMES if options.get("adaptation") or "adaptation" not in name]
    return SpikingNetwork(inputs, outputs, neurons, learnable=learnable, start=start, dtype=dtype, **options)


def array(rng, *shape, dtype=torch.float64) -> torch.Tensor:
    return torch.as_tensor(rng.standard_normal(shape), dtype=dtype)


# ---------------------------------------------------------------- gradients by finite differences


@BOTH
@pytest.mark.parametrize("readout", ["spikes", "membrane"])
@pytest.mark.parametrize("adaptation", [False, True])
def test_gradients_of_the_smooth_network_are_those_of_finite_differences(compiled, readout, adaptation):
    """Every weight, every property and the inputs; through logits, spikes and membrane."""
    net = network(readout=readout, adaptation=adaptation, autapses=True, recurrent_gain=1.0, input_gain=3.0, seed=3)
    net.model = net.model._replace(spiking=2)
    names = [name for name, _ in net.named_parameters()]
    assert sum(name.startswith("free.") for name in names) == len(properties_of("spiking", adaptation, PROPERTIES))
    rng = np.random.default_rng(0)
    inputs = array(rng, 2, 9, 2).requires_grad_()
    noise = 0.3 * array(rng, 2, 9, 4)

    def activity(inputs, *values):
        done = functional_call(net, dict(zip(names, values, strict=True)), (inputs, noise), {"compiled": compiled})
        return done.logits, done.spikes, done.membrane

    values = [p.detach().clone().requires_grad_() for _, p in net.named_parameters()]
    spikes = activity(inputs, *values)[1]
    assert 0.1 < ((spikes > 0.01) & (spikes < 0.99)).double().mean() < 1  # many are on the slope
    assert gradcheck(activity, (inputs, *values), eps=1e-6, atol=2e-5, rtol=1e-4)


# ---------------------------------------------------------------- against the plain loop


def gradients(net, inputs, noise, compiled, mix):
    """Return what a network did, and the gradients of a random mixture of it by every parameter and the inputs."""
    inputs = inputs.clone().requires_grad_()
    learnt = [p for p in net.parameters() if p.requires_grad]
    done = net(inputs, noise, compiled=compiled)
    loss = sum((weight * getattr(done, name)).sum() for name, weight in mix.items())
    grads = torch.autograd.grad(loss, [inputs, *learnt], allow_unused=True)
    return done, [torch.zeros_like(p) if g is None else g for p, g in zip([inputs, *learnt], grads, strict=True)]


def close(one, two, tolerance):
    """Compare to rounding, relative to the largest entry of each array."""
    scale = max(float(two.abs().max()), 1e-30) if two.numel() else 1.0
    torch.testing.assert_close(one / scale, two / scale, rtol=0, atol=tolerance)


@st.composite
def starts(draw):
    """Values of every property; some as near to a bound as a float is likely to come."""
    chosen = {}
    for name in PROPERTY_NAMES:
        row = PROPERTIES[name]
        if row.signed:
            low, high = np.clip(row.bounds, -1.0, 2.0)
            chosen[name] = draw(st.floats(low + 0.01, high - 0.01))
            continue
        low, high = row.bounds
        share = draw(st.one_of(st.floats(0.05, 0.95), st.sampled_from([1e-6, 1 - 1e-6])))
        chosen[name] = low * (high / low) ** share
    return chosen


@settings(max_examples=60)
@given(
    start=starts(),
    neurons=st.integers(1, 9),
    steps=st.integers(1, 25),
    trials=st.sampled_from([1, 2, 4, 5, 17, 18]),
    dt=st.sampled_from([0.5, 5.0, 20.0, 50.0]),
    readout=st.sampled_from(["spikes", "membrane", "none"]),
    switches=st.tuples(*[st.booleans()] * 4),
    refractory=st.sampled_from([0.0, 40.0]),
    through=st.sets(st.sampled_from(["logits", "spikes", "membrane"]), min_size=1),
    seed=st.integers(0, 2**16),
)
def test_the_compiled_network_is_the_plain_one(
    start, neurons, steps, trials, dt, readout, switches, refractory, through, seed
):
    adaptation, recurrent, autapses, noisy = switches
    assume(readout != "none" or through != {"spikes"})  # nothing then depends on anything
    if not adaptation:
        start = {name: value for name, value in start.items() if "adaptation" not in name}
    rng = np.random.default_rng(seed)
    net = network(
        3,
        2,
        neurons,
        start=start,
        dt=dt,
        adaptation=adaptation,
        recurrent=recurrent,
        autapses=autapses,
        refractory=refractory,
        spiking=readout != "none",
        readout="spikes" if readout == "spikes" else "membrane",
        seed=seed,
    )
    inputs = array(rng, trials, steps, 3)
    if seed % 2:  # constant over epochs: the kernels then multiply once an epoch
        inputs = inputs[:, :1].expand(-1, steps, -1).clone() * (torch.arange(steps) < steps / 2)[:, None]
    noise = array(rng, trials, steps, neurons) if noisy else None
    sizes = {"logits": 2, "spikes": neurons, "membrane": neurons}
    mix = {name: array(rng, trials, steps, sizes[name]) for name in sorted(through)}
    (plain, wanted), (fast, got) = (gradients(net, inputs, noise, compiled, mix) for compiled in (False, True))
    assert torch.equal(plain.spikes, fast.spikes)
    for name in ("logits", "membrane", "dendrite", *(["adaptation"] if adaptation else [])):
        close(getattr(fast, name).detach(), getattr(plain, name).detach(), 1e-10)
    for one, two in zip(got, wanted, strict=True):
        close(one, two, 1e-7)


def test_in_single_precision_hardly_a_spike_flips():
    """Twenty updates of a network of the default size: the plain loop from the same state at every step."""
    net = SpikingNetwork(11, 3, 100, seed=0)
    rng = np.random.default_rng(0)
    shown = array(rng, 20, 3, 11, dtype=torch.float32).repeat_interleave(20, dim=1)
    noise = 0.05 * array(rng, 20, 60, 100, dtype=torch.float32)
    optimizer, flipped, fired, compared = torch.optim.Adam(net.parameters(), lr=0.004), 0, 0, 0
    for x, eta in zip(shown[:, None], noise[:, None], strict=True):
        mix = {"logits": array(rng, 1, 60, 3, dtype=torch.float32)}
        (plain, wanted), (fast, got) = (gradients(net, x, eta, compiled, mix) for compiled in (False, True))
        flips = int((plain.spikes != fast.spikes).sum())
        flipped, fired = flipped + flips, fired + int(plain.spikes.sum())
        if not flips:
            compared += 1
            close(fast.logits.detach(), plain.logits.detach(), 1e-4)
            for one, two in zip(got, wanted, strict=True):
                close(one, two, 1e-3)
        for parameter, grad in zip(net.parameters(), got[1:], strict=True):
            parameter.grad = grad
        optimizer.step()
    print(f"{flipped} of {fired} spikes flipped, {compared} of 20 trials without")
    assert fired > 5_000
    assert flipped < 1e-3 * fired
    assert compared >= 15


def test_two_backward_passes_add_up():
    """Two backward passes through one forward pass add up, as torch promises."""
    net, x = network(seed=1), array(np.random.default_rng(0), 1, 20, 2)
    loss = net(x).logits.square().sum()
    loss.backward(retain_graph=True)
    once = net.input_weights.grad.clone()
    loss.backward()
    torch.testing.assert_close(net.input_weights.grad, 2 * once)


def test_without_autapses_their_gradient_is_zero():
    net, x = network(neurons=12, seed=1), array(np.random.default_rng(0), 2, 30, 2)
    for compiled in (False, True):
        net.zero_grad()
        net(x, compiled=compiled).spikes.square().sum().backward()
        assert not net.recurrent_weights.grad.diagonal().any()
        assert net.recurrent_weights.grad.any()


def test_what_a_pass_returned_stays_as_it_was():
    """Large passes write into memory of earlier ones, but only where nobody holds any of it."""
    net = SpikingNetwork(3, 2, 64, seed=1)
    x = torch.ones(16, 260, 3) * torch.linspace(0.5, 2, 16)[:, None, None]
    first = net(x)
    copies, held = [part.detach().clone() for part in first], first.membrane.detach().numpy()
    membrane = held.copy()
    loss = first.logits.square().sum()
    others = [net(k * x) for k in range(4)]
    assert len({part.data_ptr() for done in (first, *others) for part in done[1:4]}) == 15
    for part, copy in zip(first, copies, strict=True):
        assert torch.equal(part, copy)
    del first, others, part
    places = set()
    for k in range(8):
        done = net(k * x)
        places |= {part.data_ptr() for part in done[1:4]}
    assert len(places) <= 8  # used again
    assert np.array_equal(held, membrane)
    loss.backward()
    got = net.free["bias"].grad.clone()
    net.zero_grad()
    net(x).logits.square().sum().backward()
    assert torch.equal(got, net.free["bias"].grad)


def test_autapses_set_by_hand_are_refused_where_there_are_none():
    net, x = network(neurons=12, seed=1), array(np.random.default_rng(0), 1, 30, 2)
    with torch.no_grad():
        net.recurrent_weights[3, 3] = 0.5
    for compiled in (False, True):
        with pytest.raises(ValueError, match=r"recurrent_weights: neurons are connected to themselves.*autapses=True"):
            net(x, compiled=compiled)
    with pytest.raises(ValueError, match="set the diagonal to 0"):
        CompiledLearner(net, OptimizerSettings({}))
    own = network(neurons=12, seed=1, autapses=True)
    with torch.no_grad():
        own.recurrent_weights[3, 3] = 0.5
    torch.testing.assert_close(own(x, compiled=True).membrane, own(x, compiled=False).membrane)


def test_a_nan_bias_gives_nan_membranes_in_both_paths():
    """No fast mathematics hides it: it is how an exploding loss is recognised."""
    net, x = network(neurons=12, seed=1), array(np.random.default_rng(0), 1, 30, 2)
    with torch.no_grad():
        net.free["bias"][3] = float("nan")
        for compiled in (False, True):
            assert net(x, compiled=compiled).membrane[..., 3].isnan().all()
        net.output_bias[0] = float("nan")
        assert net(x, compiled=True).logits[..., 0].isnan().all()


# ---------------------------------------------------------------- noise


def noise(key: int, trials=1, steps=400, neurons=50, scale=1.0) -> np.ndarray:
    net = SpikingNetwork(1, 1, neurons, noise=scale, dtype=torch.float64)
    return torch.cat([draw_noise(net, np.uint64(key), trial, steps) for trial in range(trials)]).numpy()


def correlation(one, two) -> float:
    return float(np.mean(one * two) / np.sqrt(np.mean(one**2) * np.mean(two**2)))


@pytest.mark.parametrize("key", [0, 1, 2**63, 2**64 - 1, 0x9E3779B97F4A7C15])
def test_noise_has_the_moments_that_are_promised(key):
    values = noise(key, trials=10, scale=0.7) / 0.7
    n = values.size
    assert abs(values.mean()) < 6 / np.sqrt(n)
    assert abs(values.std() - 1) < 6 / np.sqrt(2 * n)
    assert abs((values**3).mean()) < 6 * np.sqrt(15 / n)
    assert abs((values**4).mean() - 2.7) < 6 * np.sqrt(96 / n)  # an excess kurtosis of -0.3
    assert np.abs(values).max() <= 4 * np.sqrt(3) / 2 + 1e-3  # the sum of four uniform numbers


def test_noise_is_independent_across_neurons_time_and_trials():
    values = noise(7, trials=40, steps=200, neurons=24)
    trials, steps, neurons = values.shape
    bound = 6 / np.sqrt(values.size)
    for lag in (1, 2, 3, 7, 64):
        assert abs(correlation(values[:, lag:], values[:, :-lag])) < bound * np.sqrt(steps / (steps - lag))
    for lag in (1, 2, 5):
        assert abs(correlation(values[lag:], values[:-lag])) < bound * np.sqrt(trials / (trials - lag))
    flat = values.reshape(-1, neurons)
    among = np.corrcoef(flat.T)[np.triu_indices(neurons, 1)]
    assert np.abs(among).max() < 6 / np.sqrt(len(flat))
    assert abs(among.std() * np.sqrt(len(flat)) - 1) < 6 / np.sqrt(2 * among.size)
    squares = values**2 - np.mean(values**2)  # not only uncorrelated
    assert abs(correlation(squares[:, 1:], squares[:, :-1])) < bound * 1.01


def test_the_same_key_the_same_bits_other_keys_others():
    one = noise(5, trials=2)
    np.testing.assert_array_equal(one, noise(5, trials=2))
    for other in (noise(6), noise(4), noise(5 + 2**32), noise(5 + 50)):
        assert abs(correlation(one[:1], other)) < 6 / np.sqrt(other.size)
    assert abs(correlation(one[0], one[1])) < 6 / np.sqrt(one[0].size)
    np.testing.assert_array_equal(one[:, :100], noise(5, trials=2, steps=100))  # a longer trial goes on
    np.testing.assert_allclose(noise(5, trials=2, scale=0.25), one / 4)


def test_no_noise_where_there_is_none():
    assert draw_noise(network(noise=0.0), np.uint64(1), 0, 10) is None


# ---------------------------------------------------------------- life without a compiler, or without a cache

TINY = """
import ip2lab, numpy as np, warnings
warnings.filterwarnings("ignore", "overflow")  # whole numbers that wrap round, as the generator of the noise means it
from ip2lab.tasks import family
short = family("association", stimulus=100, delay=100, response=160, grace_period=40)
run = ip2lab.train(short, problems=2, neurons=5, max_trials=12, window=4, criterion=0.2, dtype="float64", seed=3,
                   adaptation=True, refractory=20.0, learnable="all", rate_weight=0.001, l2=0.001, progress={progress})
print("losses", *map(repr, map(float, run["trials"].loss.values)))
print("soma", *map(repr, map(float, run["properties"].tau_soma.values.ravel())))
"""


def execute(code: str, cwd: Path = ROOT, **changes: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA")} | changes
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def numbers(output: str) -> dict[str, list[float]]:
    lines = (line.split() for line in output.splitlines() if line.startswith(("losses", "soma")))
    return {name: [float(value) for value in values] for name, *values in lines}


def test_without_the_compiler_the_numbers_are_the_same():
    """NUMBA_DISABLE_JIT=1: slow, for debuggers and for measuring coverage; also where the progress bar asks."""
    compiled = execute(TINY.format(progress=False))
    interpreted = execute(TINY.format(progress=True), NUMBA_DISABLE_JIT="1")
    assert compiled.returncode == 0, compiled.stderr
    assert interpreted.returncode == 0, interpreted.stderr
    wanted, got = numbers(compiled.stdout), numbers(interpreted.stdout)
    assert len(wanted["losses"]) >= 8 and len(wanted["soma"]) == 15
    for name in wanted:
        np.testing.assert_allclose(got[name], wanted[name], rtol=1e-7)


def test_a_cache_that_cannot_be_written_is_survived(tmp_path):
    """An installation that belongs to someone else, and no home: the kernels are compiled in memory."""
    shutil.copytree(ROOT / "ip2lab", tmp_path / "ip2lab", ignore=shutil.ignore_patterns("__pycache__"))
    # a file where the folder would be refuses root too
    (tmp_path / "ip2lab" / "networks" / "__pycache__").write_text("")
    code = """
import sys; sys.path.insert(0, "."); sys.dont_write_bytecode = True
import numpy as np, torch
from ip2lab.networks import spiking_kernels
from ip2lab.training.learners import draw_noise
from ip2lab.networks.spiking import SpikingNetwork
net = SpikingNetwork(1, 1, 3, noise=1.0, dtype=torch.float64)
print(spiking_kernels.__file__, draw_noise(net, np.uint64(5), 0, 2).numpy().tobytes().hex())
"""
    nowhere = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "LOCALAPPDATA"), str(tmp_path / "ip2lab" / "py.typed"))
    done = execute(code, cwd=tmp_path, **nowhere)
    assert done.returncode == 0, done.stderr
    file, bits = done.stdout.split()
    assert file.startswith(str(tmp_path))
    assert bits == noise(5, steps=2, neurons=3).tobytes().hex()


def test_what_takes_long_to_compile_says_so_once(caplog):
    """Whoever compiles, `train` or a network of one's own, with a progress bar or without; not from memory."""
    made: dict = {"__name__": "ip2lab.networks.spiking_kernels"}
    exec("def learn(x):\n    return x + 1", made)  # in no file: cannot be kept on disk
    quick = compilation.compiled(made["learn"])
    assert quick(1) == 2 and quick(2) == 3
    assert [record.message for record in caplog.records] == [
        "ip2lab: compiling spiking_kernels.learn (10 to 30 s, in every session: no cache folder can be written) ..."
    ]
    assert quick(1.5) == 2.5  # another type is compiled anew
    assert len(caplog.records) == 2


def test_the_cache_knows_what_is_compiled_into_a_function(tmp_path):
    """A changed file of which parts are compiled into functions of another: numba alone would load the old ones."""
    shutil.copytree(ROOT / "ip2lab", tmp_path / "ip2lab", ignore=shutil.ignore_patterns("__pycache__"))
    code = """
import sys; sys.path.insert(0, "."); sys.dont_write_bytecode = True
import numpy as np
from ip2lab.networks.spiking_batches import back_through_weights
one, result, vectors = np.ones((1, 3)), np.zeros((1, 3)), np.ones((1, 1, 3))
back_through_weights(result, np.array([[1.0, 0.0, 0.0]]), np.eye(3), vectors, 0, 1.0, np.zeros(4, int), one)
print(result[0, 0], sum(back_through_weights.stats.cache_hits.values()))
"""
    assert [execute(code, tmp_path).stdout for _ in range(2)] == ["1.0 0\n", "1.0 1\n"]
    rows = tmp_path / "ip2lab" / "networks" / "vectors.py"
    rows.write_text(rows.read_text().replace("+= scale * s0", "+= 2 * scale * s0"))
    assert execute(code, tmp_path).stdout == "2.0 0\n"
