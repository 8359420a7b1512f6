r"""The recurrent spiking network: two-stage neurons with one value of each intrinsic property per neuron.

The neuron's equations stand in :mod:`ip2lab.neuron`; :func:`simulate` runs them in plain torch and is the oracle of the
compiled kernels. The current of a step is :math:`W_{in} x_t + W_{rec} \tilde s_{t-1}` and noise. The derivative of a
spike is taken to be :math:`H'(u - \theta) := \max(0, 1 - |u - \theta| / \vartheta)`. The logits are
:math:`W_{out} r + b_{out}`, r the spikes filtered with 50 ms, or the membrane.
"""

from __future__ import annotations

import math
import sys
import threading
import warnings
from collections import deque
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ip2lab.checks import COUNT, FLAG, FROM_ZERO, POSITIVE, Rule, is_number, obey, one_of
from ip2lab.networks import kernel_types, spiking_batches, spiking_kernels
from ip2lab.networks.intrinsic import IntrinsicNetwork
from ip2lab.neuron import REFERENCE_STEP, Constants, resting, step

READOUT_TIME = 50.0  # ms, time constant of the filter between spikes and readout
AMOUNT = Rule(lambda v: is_number(v) and 0 <= v < 1e9, "0 or a positive number below a billion")
WEIGHTS = {
    "input_weights": ("neuron", "input"),
    "recurrent_weights": ("neuron", "presynaptic"),
    "output_weights": ("output", "neuron"),
    "output_bias": ("output",),
}


class Activity(NamedTuple):
    """What a network did: every tensor (trial, time, ...), the last dim outputs for `logits` and neurons elsewhere."""

    logits: Tensor
    spikes: Tensor
    membrane: Tensor
    dendrite: Tensor
    adaptation: Tensor


class Spike(torch.autograd.Function):
    """The step function, with the triangular pseudo-derivative max(0, 1 - abs(v)) of Bellec et al. (2018, eq. 3)."""

    @staticmethod
    def forward(ctx: Any, v: Tensor) -> Tensor:  # noqa: D102
        ctx.save_for_backward(v)
        return (v > 0).to(v.dtype)

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> Tensor:  # noqa: D102
        (v,) = ctx.saved_tensors
        return grad[0] * (1 - v.abs()).clamp(min=0)


def smooth_spike(v: Tensor) -> Tensor:
    """Return the antiderivative of the pseudo-derivative: what :class:`Spike` becomes where gradients are checked."""
    rising = (1 + v).clamp(0, 1).square() / 2
    return torch.where(v < 0, rising, 1 - (1 - v).clamp(0, 1).square() / 2)


def simulate(
    inputs: Tensor,
    noise: Tensor | None,
    constants: Any,
    weights: kernel_types.Weights,
    model: kernel_types.Model,
) -> Activity:
    """Run the network in plain torch.

    Takes and returns tensors (trial, time, ...) on any device; differentiable by everything. Weights have the
    presynaptic side first.
    """
    trials, n = len(inputs), len(constants.threshold)
    drive = inputs @ weights.input
    drive = drive if noise is None else drive + noise
    recurrent = (
        weights.recurrent
        if model.autapses
        else weights.recurrent * (1 - torch.eye(n, dtype=drive.dtype, device=drive.device))
    )
    spike = (torch.zeros_like, Spike.apply, smooth_spike)[model.spiking]
    zeros = drive.new_zeros(trials, n)
    state, filtered = resting(constants, zeros), zeros
    waiting = zeros  # steps of the refractory period that are left
    rows = []
    for now in drive.unbind(1):  # indexing would make the backward pass quadratic in the number of steps
        current = now + model.spike_scale * (state.spikes @ recurrent) if model.recurrent else now
        state = step(state, current, constants, model.spike_scale, spike)
        if model.refractory:
            state = state._replace(spikes=state.spikes * (waiting == 0))
            waiting = torch.where(state.spikes.detach() > 0, float(model.refractory), (waiting - 1).clamp(min=0))
        d, u, a, _, s = state
        filtered = model.readout_decay * filtered + (1 - model.readout_decay) * model.spike_scale * s
        read = filtered if model.read_spikes else u
        rows.append((functional.linear(read, weights.output, weights.output_bias), s, u, d, a))
    return Activity(*(torch.stack(row, dim=1) for row in zip(*rows, strict=True)))


class _Compiled(torch.autograd.Function):
    """The same through the compiled kernels, with a hand-written backward pass; CPU only."""

    @staticmethod
    def forward(
        ctx: Any, model: kernel_types.Model, inputs: Tensor, noise: Tensor | None, *learnt: Tensor
    ) -> tuple[Tensor, ...]:
        arrays = [_array(p) for p in learnt]
        count = len(Constants._fields)
        neurons, weights = Constants(*arrays[:count]), kernel_types.Weights(*arrays[count:])
        x = _array(inputs)
        eta = np.empty((*x.shape[:2], 0), x.dtype) if noise is None else _array(noise)
        d, u, s, g = (_buffer((*x.shape[:2], len(neurons.threshold)), x.dtype) for _ in range(4))
        a = np.zeros((*x.shape[:2], len(neurons.threshold) if model.adaptation else 0), x.dtype)
        trace = kernel_types.Trace(d, u, a, s, np.empty((*x.shape[:2], len(weights.output)), x.dtype), g)
        spiking_kernels.forward(x, eta, neurons, weights, model, trace)
        ctx.kept = (x, neurons, weights, model, trace)
        ctx.set_materialize_grads(False)
        seen = (trace.logits, trace.spikes, trace.membrane, trace.dendrite, trace.adaptation)
        result = tuple(torch.from_numpy(part) for part in seen)
        ctx.mark_non_differentiable(*result[3:])
        return result

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        x, neurons, weights, model, trace = ctx.kept
        empty = np.empty((*x.shape[:2], 0), x.dtype)
        d_logits = np.zeros_like(trace.logits) if grads[0] is None else _array(grads[0])
        d_spikes, d_membrane = (empty if grad is None else _array(grad) for grad in grads[1:3])
        g_neurons = Constants(*map(np.zeros_like, neurons))
        g_weights = kernel_types.Weights(*map(np.zeros_like, weights))
        g_inputs = np.zeros_like(x) if ctx.needs_input_grad[1] else empty
        together = 16 if len(x) > 3 else None  # their rows, and a step's share of the weights, stay in cache
        spiking_batches.backward(
            x, neurons, weights, model, trace, d_logits, d_spikes, d_membrane, g_neurons, g_weights, g_inputs, together
        )
        g_x = torch.from_numpy(g_inputs) if ctx.needs_input_grad[1] else None
        return (None, g_x, None, *map(torch.from_numpy, (*g_neurons, *g_weights)))


# What large passes wrote into: fresh memory for each would cost a fifth of the time. Small arrays malloc keeps itself.
_buffers: deque[np.ndarray] = deque(maxlen=8)
_buffers_lock = threading.Lock()


def _buffer(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Return an array to write into: one from before that nobody, no tensor either, holds any more, or a new one."""
    with _buffers_lock:
        for k in range(len(_buffers)):
            if _buffers[k].shape == shape and _buffers[k].dtype == dtype and sys.getrefcount(_buffers[k]) == 2:
                return _buffers[k]
        buffer = np.empty(shape, dtype)
        if 1e6 < buffer.nbytes < 64e6:
            _buffers.append(buffer)
        return buffer


def _array(tensor: Tensor) -> np.ndarray:
    """Return the C-contiguous array that the kernels take."""
    return np.ascontiguousarray(tensor.detach().numpy())


class SpikingNetwork(IntrinsicNetwork):
    """N recurrently connected two-stage spiking neurons between input channels and a readout.

    An ordinary module: ``state_dict``, ``loss.backward()``, any ``torch.optim``, ``float64``, ``.to(device)``.

    Parameters
    ----------
    inputs, outputs : int
        Number of input channels and of outputs.
    neurons : int
        Number of neurons.
    dt : float
        Time step in ms.
    start : {"homogeneous", "heterogeneous", "short", "long"} or mapping
        Properties before learning; ``"short"`` and ``"long"`` are homogeneous with tau_dendrite 50 and 1000 ms. A
        mapping gives, for each property, a value for all neurons, the two ends of a log-uniform distribution (of a
        uniform one if it is signed), or one value per neuron; what it leaves out starts homogeneous.
    bounds : mapping
        Lower and upper bound of properties, where they are not those of :data:`ip2lab.PROPERTIES`.
    learnable : iterable of str
        Properties that learn beside the weights.
    adaptation : bool
        Whether neurons have spike-frequency adaptation.
    input_gain, recurrent_gain : float
        Standard deviation of W_in times the square root of the number of inputs; likewise of W_rec and neurons.
    noise : float
        Standard deviation of the noise current in a step of 20 ms (see :meth:`noise_scale`).
    autapses : bool
        Whether a neuron may connect to itself.
    refractory : float
        Time after a spike in which there is no other, in ms.
    readout : {"spikes", "membrane"}
        What the outputs read: spikes filtered with 50 ms, or the membrane.
    spiking, recurrent : bool
        Controls: no spikes at all (membrane readout only), no recurrent connections.
    seed : int or SeedSequence
        Draws weights and properties.
    dtype : torch.dtype
        float32 or float64.

    Examples
    --------
    >>> import torch
    >>> from ip2lab.networks.spiking import SpikingNetwork
    >>> network = SpikingNetwork(inputs=3, outputs=2, neurons=20, seed=0)
    >>> activity = network(torch.ones(4, 50, 3))
    >>> activity.spikes.shape, activity.logits.shape
    (torch.Size([4, 50, 20]), torch.Size([4, 50, 2]))
    >>> activity.logits.square().mean().backward()
    >>> sorted(network.free)
    ['bias', 'tau_dendrite', 'tau_soma', 'threshold']
    """

    model_name = "spiking"
    default_learnable = ("bias", "tau_dendrite", "tau_soma", "threshold")
    training_defaults: ClassVar[dict[str, Any]] = {"learning_rate": 0.004}
    rules = IntrinsicNetwork.rules | {
        **dict.fromkeys(("input_gain", "recurrent_gain", "refractory"), FROM_ZERO),
        **dict.fromkeys(("autapses", "adaptation", "spiking", "recurrent"), FLAG),
        "readout": one_of("spikes", "membrane"),
    }
    weights = WEIGHTS
    kernels, constants_type, weights_type = spiking_kernels, Constants, kernel_types.Weights

    def __init__(
        self,
        inputs: int,
        outputs: int,
        neurons: int = 100,
        *,
        dt: float = 20.0,
        start: str | Mapping[str, Any] = "homogeneous",
        bounds: Mapping[str, tuple[float, float]] = MappingProxyType({}),
        learnable: Iterable[str] = default_learnable,
        adaptation: bool = False,
        input_gain: float = 12.0,
        recurrent_gain: float = 1.5,
        noise: float = 0.05,
        autapses: bool = False,
        refractory: float = 0.0,
        readout: str = "spikes",
        spiking: bool = True,
        recurrent: bool = True,
        seed: int | np.random.SeedSequence = 0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        sizes = {"inputs": inputs, "outputs": outputs, "neurons": neurons}
        obey({**dict.fromkeys(sizes, COUNT), "dt": POSITIVE}, {**sizes, "dt": dt})
        amounts = {"noise": noise, "refractory": refractory}
        obey({"readout": self.rules["readout"], **dict.fromkeys(amounts, AMOUNT)}, {"readout": readout, **amounts})
        if readout == "spikes" and not spiking:
            raise ValueError("readout: without spiking there are no spikes to read; give readout='membrane'")
        self.dt, self.noise, self.autapses = float(dt), float(noise), bool(autapses)
        self.model = kernel_types.Model(
            spiking=int(spiking),
            adaptation=int(adaptation),
            recurrent=int(recurrent),
            autapses=int(autapses),
            read_spikes=int(readout == "spikes"),
            refractory=round(refractory / dt),
            spike_scale=REFERENCE_STEP / dt,
            readout_decay=math.exp(-dt / READOUT_TIME),
        )
        rng = np.random.default_rng(seed)
        self._draw_weights(rng, inputs, outputs, neurons, input_gain, recurrent_gain, dtype)
        self._add_properties(neurons, start, bounds, learnable, rng, dtype, adaptation)
        shortest = float(self.properties()["tau_soma"].detach().min())
        if shortest < dt * (1 - 1e-6):
            warnings.warn(f"tau_soma of {shortest:g} ms is not resolved by steps of {dt:g} ms", stacklevel=2)
        self.register_load_state_dict_post_hook(SpikingNetwork._no_autapses)

    def _draw_weights(
        self,
        rng: np.random.Generator,
        inputs: int,
        outputs: int,
        n: int,
        input_gain: float,
        recurrent_gain: float,
        dtype: torch.dtype,
    ) -> None:
        w_in = rng.standard_normal((inputs, n)) * input_gain / math.sqrt(inputs)
        w_rec = rng.standard_normal((n, n)) * recurrent_gain / math.sqrt(n)
        w_out = rng.standard_normal((outputs, n)) * 0.1 / math.sqrt(n)
        if not self.autapses:
            np.fill_diagonal(w_rec, 0)
        # (neuron, presynaptic) for the user, the presynaptic side first in memory for the kernels
        self.input_weights = nn.Parameter(torch.tensor(w_in, dtype=dtype).T)
        self.recurrent_weights = nn.Parameter(torch.tensor(w_rec, dtype=dtype).T)
        self.output_weights = nn.Parameter(torch.tensor(w_out, dtype=dtype))
        self.output_bias = nn.Parameter(torch.zeros(outputs, dtype=dtype))

    @staticmethod
    def _no_autapses(module: nn.Module, _: Any) -> None:
        if isinstance(module, SpikingNetwork) and not module.autapses:
            with torch.no_grad():
                module.recurrent_weights.fill_diagonal_(0)

    @property
    def signals(self) -> tuple[str, ...]:
        """Names of what is recorded of the neurons."""
        return ("spikes", "membrane", "dendrite", "adaptation")[: 4 if self.model.adaptation else 3]

    def output_of(self, activity: Activity) -> Tensor:
        """Return what each neuron gives to others and to the readout of spikes (trial, time, neuron)."""
        return self.model.spike_scale * activity.spikes

    def homeostasis(self, weight: float, target: float | None) -> tuple[float, float]:
        """Return weight and target (Hz) of the firing rate in the kernels' units, spikes per step."""
        hertz = 5.0 if target is None else float(target)
        return float(weight) * (1000 / self.dt) ** 2, hertz * self.dt / 1000

    def make_trace(self, steps: int, dtype: Any) -> kernel_types.Trace:
        """Return the buffers of a trial of `steps` steps."""
        outputs, adaptation = len(self.output_bias), bool(self.model.adaptation)
        return kernel_types.make_trace((steps,), self.neurons, outputs, dtype, adaptation)

    def last_trial(self, trace: kernel_types.Trace, steps: int) -> dict[str, np.ndarray]:
        """Return copies of logits and signals (time, ...) that the kernels left of a trial."""
        names = ("logits", *self.signals)
        return {name: getattr(trace, name)[:steps].reshape(steps, -1).copy() for name in names}

    def forward(self, inputs: Tensor, noise: Tensor | None = None, *, compiled: bool | None = None) -> Activity:
        """Simulate trials.

        Parameters
        ----------
        inputs : Tensor (trial, time, input)
            Input of each trial.
        noise : Tensor (trial, time, neuron), optional
            Added to the current; nothing by default.
        compiled : bool, optional
            Whether the compiled kernels run it (the default on a CPU) or plain torch.

        Returns
        -------
        Activity
            logits, spikes, membrane, dendrite, adaptation, each (trial, time, ...). The compiled path gives gradients
            through logits, spikes and membrane.
        """
        self._check_inputs(inputs, noise)
        weights = kernel_types.Weights(
            self.input_weights.T, self.recurrent_weights.T, self.output_weights, self.output_bias
        )
        if compiled is None:
            compiled = inputs.device.type == "cpu"
        if not compiled:
            return simulate(inputs, noise, self.constants(), weights, self.model)
        return Activity(*_Compiled.apply(self.model, inputs, noise, *self.constants(), *weights))

    def check_autapses(self) -> None:
        """Raise ValueError where someone gave neurons of a network without autapses a connection to themselves."""
        if self.model.recurrent and not self.autapses and self.recurrent_weights.diagonal().any():
            raise ValueError(
                "recurrent_weights: neurons are connected to themselves, and this network has no autapses; "
                "set the diagonal to 0, or build the network with autapses=True"
            )

    def _check_inputs(self, inputs: Tensor, noise: Tensor | None) -> None:
        self.check_autapses()
        channels = self.input_weights.shape[1]
        if inputs.ndim != 3 or inputs.shape[2] != channels:
            raise ValueError(f"inputs: shape {tuple(inputs.shape)} is not (trial, time, input) with {channels} inputs")
        if inputs.dtype != self.output_bias.dtype:
            raise TypeError(
                f"inputs: {inputs.dtype} does not fit a network of {self.output_bias.dtype}; convert one of the two"
            )
        if not torch.isfinite(inputs).all():
            raise ValueError("inputs: there are NaN or infinite values among them; clean the stimulus first")
        if noise is not None and noise.shape != (*inputs.shape[:2], self.neurons):
            raise ValueError(
                f"noise: shape {tuple(noise.shape)} is not (trial, time, neuron) = {(*inputs.shape[:2], self.neurons)}"
            )
        if noise is not None and noise.dtype != self.output_bias.dtype:
            raise TypeError(
                f"noise: {noise.dtype} does not fit a network of {self.output_bias.dtype}; convert one of the two"
            )
