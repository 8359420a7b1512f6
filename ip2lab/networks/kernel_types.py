"""What the kernels are given: named tuples of arrays and numbers, which numba passes on as they are."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


class Weights(NamedTuple):
    """Weights: input (input, neuron), recurrent (presynaptic, neuron), output (output, neuron)."""

    input: Any
    recurrent: Any
    output: Any
    output_bias: Any


class Trace(NamedTuple):
    """What the forward pass leaves: states (trial, time, neuron) and logits (trial, time, output), or one trial's.

    `gradient` is a buffer for the backward pass: the derivative by the summed input of each neuron at each step.
    """

    dendrite: Any
    membrane: Any
    adaptation: Any
    spikes: Any
    logits: Any
    gradient: Any


class Model(NamedTuple):
    """What does not learn. `spiking`: 0 no spikes, 1 spikes, 2 the smooth spike with which gradients are checked."""

    spiking: int
    adaptation: int
    recurrent: int
    autapses: int
    read_spikes: int
    refractory: int
    spike_scale: float
    readout_decay: float


class Transform(NamedTuple):
    """How blocks of free parameters become the constants of the neurons: one entry per property.

    `start` is where the block lies in the flat parameters (-1: no such property), `learns` whether it changes,
    `kind` the transform (an index into `TRANSFORMS`), `low` and `span` what it needs of the bounds: lower bound and
    logarithm of their ratio, or their middle and half their distance. `decays` says that the neuron needs
    exp(-dt/value) instead of the value.
    """

    start: Any
    learns: Any
    kind: Any
    low: Any
    span: Any
    decays: Any
    dt: float


TRANSFORMS = ("log", "tanh", "identity")


class Optimizer(NamedTuple):
    """How the flat parameters learn: segments from `start` to `stop`, their learning `rate` and `l2` weight, and Adam.

    `clip` bounds the norm of the gradient of all segments together (0: never), `rate_weight` and `rate_target`
    (spikes per step) pull the mean firing rate of each neuron to a target; `singular_weight` and `singular_values`
    are the L2 on the largest singular values of the recurrent weights.
    """

    start: Any
    stop: Any
    rate: Any
    l2: Any
    beta1: float
    beta2: float
    epsilon: float
    clip: float
    rate_weight: float
    rate_target: float
    singular_weight: float
    singular_values: int


class Criterion(NamedTuple):
    """When a problem is solved: the mean loss of the last `window` trials is below `loss`."""

    loss: float
    window: int


class Stimuli(NamedTuple):
    """Trials to train on: `inputs` (row, time, input); `target`, `weight`, `response` (row, time); `length` (row).

    `weight` sums to one over the scored steps; `response` is 1 in the scored part of the response period.
    """

    inputs: Any
    target: Any
    weight: Any
    response: Any
    length: Any


class TrainingState(NamedTuple):
    """Everything that changes while a network learns, flat, and views of it; and buffers.

    `flat`, `gradient`, both moments and the `step` are Adam's; `weights` and `g_weights` are views of the first two.
    `values`, `slopes` and `g_values` (property, neuron) are the constants of the neurons, their derivatives by the
    free parameters, and the derivatives of the loss by them; `neurons` and `g_neurons` are views of their rows by name.
    `d_neurons` holds derivatives (time, neuron): by the spikes, or by the summed input of a rate network, whose
    `target` is that of the mean squared rate. `rng_state` has one random generator per neuron.
    """

    flat: Any
    gradient: Any
    moment1: Any
    moment2: Any
    step: Any
    weights: Any
    g_weights: Any
    values: Any
    slopes: Any
    g_values: Any
    neurons: Any
    g_neurons: Any
    trace: Any
    noise: Any
    d_logits: Any
    d_neurons: Any
    rng_state: Any
    target: Any


def make_trace(shape: tuple[int, ...], neurons: int, outputs: int, dtype: Any, adaptation: bool) -> Trace:
    """Return the buffers of the forward pass of trials: `shape` is (trial, time), or (time,) for one."""
    d, u, s, g = (np.empty((*shape, neurons), dtype) for _ in range(4))
    a = np.zeros((*shape, neurons if adaptation else 0), dtype)  # stays zero where nothing spikes
    return Trace(d, u, a, s, np.empty((*shape, outputs), dtype), g)
