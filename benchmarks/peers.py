"""The nearest model that each other library offers, behind one interface: recurrent, two-stage where there is one.

A builder takes numbers of neurons, inputs and outputs and returns two functions: ``train(x, target)`` runs forward and
backward, ``simulate(x)`` runs forward and returns spikes and membrane of every step. `x` (time, trial, input) and
`target` (time, trial) are torch tensors. All read spikes through the same leaky filter and have the same
cross-entropy; the filter is one matrix product, which favours the peers.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

Pair = tuple[Callable[..., Any], Callable[..., Any]]
KAPPA = math.exp(-20 / 50)
INPUT_GAIN, RECURRENT_GAIN = 6.0, 1.5


def filter_matrix(steps: int) -> np.ndarray:
    """Return the readout's leaky filter (time, time) as a matrix."""
    late = np.subtract.outer(np.arange(steps), np.arange(steps))
    return np.where(late < 0, 0, (1 - KAPPA) * KAPPA ** np.maximum(late, 0)).astype(np.float32)


def _weights(neurons: int, inputs: int, outputs: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    sizes = ((neurons, inputs, INPUT_GAIN), (neurons, neurons, RECURRENT_GAIN), (outputs, neurons, 1.0))
    w_in, w_rec, w_out = (
        rng.standard_normal((n, m)).astype(np.float32) * np.float32(g / math.sqrt(m)) for n, m, g in sizes
    )
    return w_in, w_rec, w_out


# ---------------------------------------------------------------- torch


def _in_torch(run: Callable[..., Any], parameters: list[Any], readout: nn.Parameter) -> Pair:
    learnt = [p for p in {id(p): p for p in [*parameters, readout]}.values() if p.requires_grad]
    filters: dict[int, torch.Tensor] = {}

    def train(x: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        for p in learnt:
            p.grad = None
        lag = filters.setdefault(len(x), torch.from_numpy(filter_matrix(len(x))))
        read = run(x, False)[0] @ readout.T
        logits = (lag @ read.reshape(len(x), -1)).reshape(read.shape)
        loss = functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), target.reshape(-1))
        loss.backward()
        return loss

    @torch.no_grad()
    def simulate(x: torch.Tensor) -> Any:
        return run(x, True)

    return train, simulate


def snntorch(neurons: int, inputs: int, outputs: int) -> Pair:
    """SnnTorch's RSynaptic: current and membrane, decays and threshold learnable a neuron."""
    snn = importlib.import_module("snntorch")
    w_in, w_rec, w_out = map(torch.from_numpy, _weights(neurons, inputs, outputs))
    entry = nn.Linear(inputs, neurons, bias=False)
    each = [torch.full((neurons,), value) for value in (0.8, 0.6, 1.0)]
    cell = snn.RSynaptic(
        alpha=each[0],
        beta=each[1],
        threshold=each[2],
        linear_features=neurons,
        learn_alpha=True,
        learn_beta=True,
        learn_threshold=True,
    )
    entry.weight.data, cell.recurrent.weight.data = w_in * 0.2, w_rec * 0.2

    def run(x: torch.Tensor, record: bool) -> tuple[torch.Tensor, torch.Tensor | None]:
        spike, current, membrane = cell.init_rsynaptic()
        drive, spikes, membranes = entry(x), [], []
        for now in drive:
            spike, current, membrane = cell(now, spike, current, membrane)
            spikes.append(spike)
            membranes.append(membrane)
        return torch.stack(spikes), torch.stack(membranes) if record else None

    return _in_torch(run, [*entry.parameters(), *cell.parameters()], nn.Parameter(w_out))


def norse(neurons: int, inputs: int, outputs: int) -> Pair:
    """Norse's LIFRecurrent: synaptic current and membrane, rates and threshold learnable a neuron."""
    module, params = (importlib.import_module(f"norse.torch.{name}.lif") for name in ("module", "functional"))
    w_in, w_rec, w_out = map(torch.from_numpy, _weights(neurons, inputs, outputs))
    each = [nn.Parameter(torch.full((neurons,), value)) for value in (200.0, 100.0, 1.0)]
    p = params.LIFParameters(tau_syn_inv=each[0], tau_mem_inv=each[1], v_th=each[2], alpha=torch.tensor(100.0))
    layers = [module.LIFRecurrent(inputs, neurons, p=p, record_states=record) for record in (False, True)]
    for layer in layers:
        layer.input_weights.data, layer.recurrent_weights.data = w_in, w_rec

    def run(x: torch.Tensor, record: bool) -> tuple[torch.Tensor, torch.Tensor | None]:
        spikes, state = layers[record](x)
        return spikes, state.v if record else None

    return _in_torch(run, [*layers[0].parameters(), *each], nn.Parameter(w_out))


def spikingjelly(neurons: int, inputs: int, outputs: int) -> Pair:
    """SpikingJelly's CUBALIFNode, current and membrane, with a linear recurrence stepped in a loop."""
    neuron, tools, surrogate = (
        importlib.import_module(f"spikingjelly.activation_based.{name}")
        for name in ("neuron", "functional", "surrogate")
    )
    w_in, w_rec, w_out = map(torch.from_numpy, _weights(neurons, inputs, outputs))
    entry, back = nn.Linear(inputs, neurons, bias=False), nn.Linear(neurons, neurons, bias=False)
    entry.weight.data, back.weight.data = w_in * 0.2, w_rec * 0.2
    cell = neuron.CUBALIFNode(0.8, 0.6, 1.0, None, surrogate_function=surrogate.ATan())
    each = [nn.Parameter(torch.full((neurons,), value)) for value in (0.8, 0.6)]

    def run(x: torch.Tensor, record: bool) -> tuple[torch.Tensor, torch.Tensor | None]:
        tools.reset_net(cell)
        cell.c_decay, cell.v_decay = each
        drive, spikes, membranes = entry(x), [], []
        spike = torch.zeros_like(drive[0])
        for now in drive:
            spike = cell(now + back(spike))
            spikes.append(spike)
            membranes.append(cell.v)
        return torch.stack(spikes), torch.stack(membranes) if record else None

    return _in_torch(run, [*entry.parameters(), *back.parameters(), *each], nn.Parameter(w_out))


# ---------------------------------------------------------------- JAX


def _in_jax(train: Callable[..., Any], simulate: Callable[..., Any]) -> Pair:
    import jax

    seen: dict[int, Any] = {}

    def array(x: torch.Tensor) -> Any:
        return seen.setdefault(x.data_ptr(), jax.numpy.asarray(x.numpy()))

    return (
        lambda x, target: jax.block_until_ready(train(array(x), array(target))),
        lambda x: jax.block_until_ready(simulate(array(x))),
    )


def _jax_loss(spikes: Any, readout: Any, target: Any) -> Any:
    import jax
    import jax.numpy as jnp

    logits = jnp.einsum("ts,sbk->tbk", jnp.asarray(filter_matrix(spikes.shape[0])), spikes @ readout)
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), target[..., None], -1).mean()


def spyx(neurons: int, inputs: int, outputs: int) -> Pair:
    """Spyx's RCuBaLIF: current and membrane, both decays learnable a neuron."""
    import jax
    import jax.numpy as jnp
    from flax import nnx

    snn = importlib.import_module("spyx.nn")
    w_in, w_rec, w_out = _weights(neurons, inputs, outputs)

    class Net(nnx.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            self.entry, self.readout = nnx.Param(jnp.asarray(w_in.T * 0.2)), nnx.Param(jnp.asarray(w_out.T))
            self.cell = snn.RCuBaLIF((neurons,), rngs=nnx.Rngs(0))
            self.cell.recurrent_w[...] = jnp.asarray(w_rec.T * 0.2)

        def __call__(self, x: Any) -> Any:
            def step(state: Any, now: Any) -> Any:
                spikes, state = self.cell(now, state)
                return state, (spikes, state[:, :neurons])

            return jax.lax.scan(step, self.cell.initial_state(x.shape[1]), x @ self.entry[...])[1]

    net = Net()
    gradient = nnx.jit(nnx.value_and_grad(lambda net, x, target: _jax_loss(net(x)[0], net.readout[...], target)))
    run = nnx.jit(lambda net, x: net(x))
    return _in_jax(lambda x, target: gradient(net, x, target), lambda x: run(net, x))


def brainpy(neurons: int, inputs: int, outputs: int) -> Pair:
    """BrainPy's LIF (brainpy.state) behind an exponential current; its weights learn, its properties cannot."""
    import brainstate
    import brainunit as u
    import jax.numpy as jnp

    state = importlib.import_module("brainpy").state
    w_in, w_rec, w_out = _weights(neurons, inputs, outputs)
    brainstate.environ.set(dt=20.0 * u.ms)
    decay = math.exp(-20 / 100)

    class Net(brainstate.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.entry, self.back, self.readout = (
                brainstate.ParamState(jnp.asarray(w.T)) for w in (w_in, w_rec, w_out)
            )
            self.cell = state.LIF(neurons, tau=20.0 * u.ms, V_th=1.0 * u.mV, spk_reset="soft")

        def __call__(self, x: Any) -> Any:
            brainstate.nn.init_all_states(self, batch_size=x.shape[1])
            zero = jnp.zeros((x.shape[1], neurons), jnp.float32)
            current, spike = brainstate.ShortTermState(zero), brainstate.ShortTermState(zero)

            def step(now: Any) -> Any:
                current.value = decay * current.value + (1 - decay) * (now + spike.value @ self.back.value)
                spike.value = self.cell(current.value * u.mA)
                return spike.value, u.get_mantissa(self.cell.V.value)

            return brainstate.transform.for_loop(step, x @ self.entry.value)

    net = Net()
    weights = net.states(brainstate.ParamState)

    @brainstate.transform.jit  # type: ignore[untyped-decorator]
    def train(x: Any, target: Any) -> Any:
        return brainstate.transform.grad(lambda: _jax_loss(net(x)[0], net.readout.value, target), weights)()

    @brainstate.transform.jit  # type: ignore[untyped-decorator]
    def simulate(x: Any) -> Any:
        return net(x)

    return _in_jax(train, simulate)


IN_TORCH = {"snnTorch": snntorch, "Norse": norse, "SpikingJelly": spikingjelly}
IN_JAX = {"Spyx": spyx, "BrainPy": brainpy}
