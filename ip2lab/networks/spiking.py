r"""The recurrent spiking network: two-stage neurons with one value of each intrinsic property a neuron.

One step of `dt` ms (:func:`simulate` is this, in plain torch, and the oracle of the compiled kernels):

.. math::

    d_t &= \beta d_{t-1} + (1-\beta)\, g\, (W_{in} x_t + W_{rec} \tilde s_{t-1} + b + \text{noise}_t)
        & \beta &= e^{-dt/\tau_d},\quad \tilde s = s \cdot 20\,\text{ms}/dt \\
    u_t &= \alpha u_{t-1} + (1-\alpha) d_t - \theta_{t-1} s_{t-1} & \alpha &= e^{-dt/\tau_s} \\
    a_t &= \rho a_{t-1} + (1-\rho) \tilde s_{t-1} & \rho &= e^{-dt/\tau_a} \\
    \theta_t &= \vartheta + \beta_a a_t \\
    s_t &= H(u_t - \theta_t),\quad H'(u - \theta) := \max(0, 1 - |u - \theta| / \vartheta)

with dendrite d, membrane u, adaptation a, spikes s, firing threshold :math:`\vartheta` and strength of
spike-frequency adaptation :math:`\beta_a`. The logits are :math:`W_{out} r + b_{out}`, r the spikes filtered with
50 ms, or the membrane. The two stages follow DH-SNN with one branch (Zheng et al., Nat Commun 2024), the adaptation
Bellec et al. (2018).
"""

from __future__ import annotations

import math
import sys
import threading
import warnings
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ip2lab.networks import kernel_types, spiking_batches, spiking_kernels
from ip2lab.properties import PROPERTIES, UnknownName, in_order

READOUT_TIME = 50.0  # ms, time constant of the filter between spikes and readout
REFERENCE_STEP = 20.0  # ms, the step in which a spike has charge 1 and noise its standard deviation
PAPER_PROPERTIES = ("tau_dendrite", "tau_soma", "threshold")
ADAPTATION_PROPERTIES = ("adaptation_strength", "tau_adaptation")
STARTS = {  # homogeneous ones by name, beside the usual one
    "short": {"tau_dendrite": 50.0, "tau": 50.0},
    "long": {"tau_dendrite": 1000.0, "tau": 1000.0},
}
WEIGHTS = {
    "input_weights": ("neuron", "input"),
    "recurrent_weights": ("neuron", "presynaptic"),
    "bias": ("neuron",),
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


def to_value(free: Tensor, name: str) -> Tensor:
    """Turn the free parameter of a property into its value, as :meth:`Property.to_value`, differentiably."""
    row = PROPERTIES[name]
    return row.bounds[0] * torch.exp(row.log_range * torch.sigmoid(4 / row.log_range * free))


def simulate(
    inputs: Tensor,
    noise: Tensor | None,
    neurons: kernel_types.Neurons,
    weights: kernel_types.Weights,
    model: kernel_types.Model,
) -> Activity:
    """Run the network in plain torch: the equations at the top of this module, one line each.

    Takes and returns tensors (trial, time, ...) on any device; differentiable by everything. Weights have the
    presynaptic side first.
    """
    trials, n = len(inputs), len(weights.bias)
    drive = inputs @ weights.input + weights.bias
    drive = drive if noise is None else drive + noise
    recurrent = (
        weights.recurrent
        if model.autapses
        else weights.recurrent * (1 - torch.eye(n, dtype=drive.dtype, device=drive.device))
    )
    d = u = a = s = reset = filtered = drive.new_zeros(trials, n)
    waiting = drive.new_zeros(trials, n)  # steps of the refractory period that are left
    rows = []
    for now in drive.unbind(1):  # indexing would make the backward pass quadratic in the number of steps
        current = now + model.charge * (s @ recurrent) if model.recurrent else now
        d = neurons.beta * d + (1 - neurons.beta) * neurons.gain * current
        u = neurons.alpha * u + (1 - neurons.alpha) * d - reset
        if model.spiking:
            a = neurons.rho * a + (1 - neurons.rho) * model.charge * s
            theta = neurons.threshold + neurons.strength * a
            v = (u - theta) / neurons.threshold
            s = Spike.apply(v) if model.spiking == 1 else smooth_spike(v)
            if model.refractory:
                s = s * (waiting == 0)
                waiting = torch.where(s.detach() > 0, float(model.refractory), (waiting - 1).clamp(min=0))
            reset = theta * s
        filtered = model.kappa * filtered + (1 - model.kappa) * model.charge * s
        rows.append(
            (functional.linear(filtered if model.read_spikes else u, weights.output, weights.output_bias), s, u, d, a)
        )
    return Activity(*(torch.stack(row, dim=1) for row in zip(*rows, strict=True)))


class _Compiled(torch.autograd.Function):
    """The same through the compiled kernels, with a hand-written backward pass; CPU only."""

    @staticmethod
    def forward(
        ctx: Any, model: kernel_types.Model, inputs: Tensor, noise: Tensor | None, *learnt: Tensor
    ) -> tuple[Tensor, ...]:
        arrays = [_array(p) for p in learnt]
        neurons, weights = kernel_types.Neurons(*arrays[:6]), kernel_types.Weights(*arrays[6:])
        x = _array(inputs)
        eta = np.empty((*x.shape[:2], 0), x.dtype) if noise is None else _array(noise)
        d, u, s, g = (_room((*x.shape[:2], len(weights.bias)), x.dtype) for _ in range(4))
        a = np.zeros((*x.shape[:2], len(weights.bias) if model.adaptation else 0), x.dtype)
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
        g_neurons = kernel_types.Neurons(*map(np.zeros_like, neurons))
        g_weights = kernel_types.Weights(*map(np.zeros_like, weights))
        g_inputs = np.zeros_like(x) if ctx.needs_input_grad[1] else empty
        together = 16 if len(x) > 3 else None  # their rows, and a step's share of the weights, stay in cache
        spiking_batches.backward(
            x, neurons, weights, model, trace, d_logits, d_spikes, d_membrane, g_neurons, g_weights, g_inputs, together
        )
        g_x = torch.from_numpy(g_inputs) if ctx.needs_input_grad[1] else None
        return (None, g_x, None, *map(torch.from_numpy, (*g_neurons, *g_weights)))


# What large passes wrote into: fresh memory for each would cost a fifth of the time. Small arrays malloc keeps itself.
_rooms: deque[np.ndarray] = deque(maxlen=8)
_rooms_lock = threading.Lock()


def _room(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Return an array to write into: one from before that nobody, no tensor either, holds any more, or a new one."""
    with _rooms_lock:
        for k in range(len(_rooms)):
            if _rooms[k].shape == shape and _rooms[k].dtype == dtype and sys.getrefcount(_rooms[k]) == 2:
                return _rooms[k]
        room = np.empty(shape, dtype)
        if 1e6 < room.nbytes < 64e6:
            _rooms.append(room)
        return room


def _array(tensor: Tensor) -> np.ndarray:
    """Return the C-contiguous array that the kernels take."""
    return np.ascontiguousarray(tensor.detach().numpy())


class SpikingNetwork(nn.Module):
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
        Properties at birth; ``"short"`` and ``"long"`` are homogeneous with tau_dendrite 50 and 1000 ms. A mapping
        gives, per property, a value for all neurons, the two ends of a log-uniform distribution, or one value a
        neuron; what it leaves out starts homogeneous.
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
    ['tau_dendrite', 'tau_soma', 'threshold']
    """

    options = (
        "neurons", "dt", "start", "adaptation", "input_gain", "recurrent_gain", "noise", "autapses", "refractory",
        "readout", "spiking", "recurrent",
    )  # fmt: skip
    weights = WEIGHTS

    def __init__(
        self,
        inputs: int,
        outputs: int,
        neurons: int = 100,
        *,
        dt: float = 20.0,
        start: str | Mapping[str, Any] = "homogeneous",
        learnable: Iterable[str] = PAPER_PROPERTIES,
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
        _check(inputs=inputs, outputs=outputs, neurons=neurons, dt=dt)
        for name, value in {"noise": noise, "refractory": refractory}.items():
            if not 0 <= value < 1e9:
                raise ValueError(f"{name}: {value!r} is not valid; give 0 or a positive number below a billion")
        if readout not in ("spikes", "membrane"):
            raise ValueError(f"readout: {readout!r} is unknown; known: 'spikes', 'membrane'")
        if readout == "spikes" and not spiking:
            raise ValueError("readout: without spiking there are no spikes to read; give readout='membrane'")
        self.dt, self.noise, self.autapses, self.learnable = float(dt), float(noise), bool(autapses), tuple(learnable)
        self.has = PAPER_PROPERTIES + (ADAPTATION_PROPERTIES if adaptation else ())
        self.has += tuple(
            name for name in ("gain",) if name in self.learnable or (isinstance(start, Mapping) and name in start)
        )
        for name in self.learnable:
            if name not in self.has:
                raise ValueError(f"learnable: this network has no property {name!r}; it has {', '.join(self.has)}")
        self.model = kernel_types.Model(
            spiking=int(spiking),
            adaptation=int(adaptation),
            recurrent=int(recurrent),
            autapses=int(autapses),
            read_spikes=int(readout == "spikes"),
            refractory=round(refractory / dt),
            charge=REFERENCE_STEP / dt,
            kappa=math.exp(-dt / READOUT_TIME),
        )
        rng = np.random.default_rng(seed)
        self._draw_weights(rng, inputs, outputs, neurons, input_gain, recurrent_gain, dtype)
        values = draw_properties(self.has, start, neurons, rng)
        if values["tau_soma"].min() < dt:
            warnings.warn(
                f"tau_soma of {values['tau_soma'].min():g} ms is not resolved by steps of {dt:g} ms", stacklevel=2
            )
        self.free = nn.ParameterDict(
            {
                name: nn.Parameter(torch.tensor(PROPERTIES[name].to_free(v), dtype=dtype), name in self.learnable)
                for name, v in values.items()
            }
        )
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
        self.bias = nn.Parameter(torch.full((n,), 0.5, dtype=dtype))
        self.output_weights = nn.Parameter(torch.tensor(w_out, dtype=dtype))
        self.output_bias = nn.Parameter(torch.zeros(outputs, dtype=dtype))

    @staticmethod
    def _no_autapses(module: nn.Module, _: Any) -> None:
        if isinstance(module, SpikingNetwork) and not module.autapses:
            with torch.no_grad():
                module.recurrent_weights.fill_diagonal_(0)

    @property
    def neurons(self) -> int:
        """Number of neurons."""
        return len(self.bias)

    @property
    def signals(self) -> tuple[str, ...]:
        """Names of what is recorded of the neurons."""
        return ("spikes", "membrane", "dendrite", "adaptation")[: 4 if self.model.adaptation else 3]

    def output_of(self, activity: Activity) -> Tensor:
        """Return what each neuron gives to others and to the readout of spikes (trial, time, neuron)."""
        return self.model.charge * activity.spikes

    @property
    def noise_scale(self) -> float:
        """Standard deviation of the noise current in a step of this network's `dt`: white noise grows as dt shrinks."""
        return self.noise * math.sqrt(REFERENCE_STEP / self.dt)

    def properties(self) -> dict[str, Tensor]:
        """Return the value of every property (neuron,), in its unit."""
        return {name: to_value(free, name) for name, free in self.free.items()}

    @torch.no_grad()
    def set_property(self, name: str, values: Any) -> None:
        """Give a property values (one, or one a neuron; in its unit); ValueError where one is out of bounds."""
        if name not in self.free:
            raise UnknownName(f"this network has no property {name!r}; it has {', '.join(self.free)}")
        values = in_order(name, values, self.neurons)
        free = torch.as_tensor(PROPERTIES[name].to_free(values), dtype=self.bias.dtype, device=self.bias.device)
        self.free[name].copy_(free.expand_as(self.free[name]))

    def _neurons(self) -> kernel_types.Neurons:
        value = self.properties()
        ones, zeros = torch.ones_like(self.bias), torch.zeros_like(self.bias)

        def decay(name: str) -> Tensor:
            return torch.exp(-self.dt / value[name]) if name in value else zeros

        return kernel_types.Neurons(
            beta=decay("tau_dendrite"),
            alpha=decay("tau_soma"),
            threshold=value["threshold"],
            strength=value.get("adaptation_strength", zeros),
            rho=decay("tau_adaptation"),
            gain=value.get("gain", ones),
        )

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
            self.input_weights.T, self.recurrent_weights.T, self.bias, self.output_weights, self.output_bias
        )
        if compiled is None:
            compiled = inputs.device.type == "cpu"
        if not compiled:
            return simulate(inputs, noise, self._neurons(), weights, self.model)
        return Activity(*_Compiled.apply(self.model, inputs, noise, *self._neurons(), *weights))

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
        if inputs.dtype != self.bias.dtype:
            raise TypeError(
                f"inputs: {inputs.dtype} does not fit a network of {self.bias.dtype}; convert one of the two"
            )
        if not torch.isfinite(inputs).all():
            raise ValueError("inputs: there are NaN or infinite values among them; clean the stimulus first")
        if noise is not None and noise.shape != (*inputs.shape[:2], self.neurons):
            raise ValueError(
                f"noise: shape {tuple(noise.shape)} is not (trial, time, neuron) = {(*inputs.shape[:2], self.neurons)}"
            )
        if noise is not None and noise.dtype != self.bias.dtype:
            raise TypeError(f"noise: {noise.dtype} does not fit a network of {self.bias.dtype}; convert one of the two")


def draw_properties(
    names: Iterable[str], start: str | Mapping[str, Any], neurons: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Draw the values (neuron,) with which `neurons` neurons are born; see `start` of :class:`SpikingNetwork`."""
    if isinstance(start, str) and start not in ("homogeneous", "heterogeneous", *STARTS):
        words = ", ".join(map(repr, ("homogeneous", "heterogeneous", *STARTS)))
        raise ValueError(f"start: {start!r} is unknown; known: {words}, or a mapping from property to values")
    start = STARTS.get(start, start) if isinstance(start, str) else start
    given = start if isinstance(start, Mapping) else {}
    unknown = [name for name in given if name not in PROPERTIES]
    if unknown:
        raise ValueError(f"start: unknown property {unknown[0]!r}; known: {', '.join(PROPERTIES)}")
    values = {}
    for name in names:
        row = PROPERTIES[name]
        # the heterogeneous start spreads time constants; thresholds and the like stay equal
        spread = start == "heterogeneous" and name.startswith("tau")
        born = given.get(name, row.heterogeneous if spread else row.homogeneous)
        value = np.asarray(in_order(f"start: {name}", born, neurons), dtype=float)
        if value.ndim == 1 and value.size == 2 and neurons != 2:
            row.check(value)
            low, high = np.log(np.sort(value))
            value = np.exp(rng.uniform(low, high, neurons))
        if value.ndim > 1 or value.size not in (1, neurons):
            raise ValueError(
                f"start: {name} has {value.size} values for {neurons} neurons; give one, two (a range) or one a neuron"
            )
        values[name] = np.full(neurons, row.check(value))
    return values


def _check(**sizes: float) -> None:
    for name, value in sizes.items():
        if not value > 0 or (name != "dt" and value != int(value)):
            raise ValueError(
                f"{name}: {value!r} is not valid; give a positive {'number of ms' if name == 'dt' else 'whole number'}"
            )
