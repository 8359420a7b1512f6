"""What the kernels are given: named tuples of arrays and numbers, which numba passes on as they are."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


class Neurons(NamedTuple):
    """What the time loop needs of the properties, one value a neuron; see :mod:`ip2lab.networks.spiking`."""

    beta: Any
    alpha: Any
    threshold: Any
    strength: Any
    rho: Any
    gain: Any


class Weights(NamedTuple):
    """Weights: input (input, neuron), recurrent (presynaptic, neuron), bias (neuron,), output (output, neuron)."""

    input: Any
    recurrent: Any
    bias: Any
    output: Any
    output_bias: Any


class Trace(NamedTuple):
    """What the forward pass leaves: states (trial, time, neuron) and logits (trial, time, output), or one trial's.

    `gradient` is room for the backward pass: the derivative by the summed input of each neuron at each step.
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
    charge: float
    kappa: float


def make_trace(shape: tuple[int, ...], neurons: int, outputs: int, dtype: Any, adaptation: bool) -> Trace:
    """Return room for the forward pass of trials: `shape` is (trial, time), or (time,) for one."""
    d, u, s, g = (np.empty((*shape, neurons), dtype) for _ in range(4))
    a = np.zeros((*shape, neurons if adaptation else 0), dtype)  # stays zero where nothing spikes
    return Trace(d, u, a, s, np.empty((*shape, outputs), dtype), g)


class Transform(NamedTuple):
    """How six blocks of free parameters become the six rows of :class:`Neurons`: one entry a row.

    `start` is where the block lies in the flat parameters (-1: no such property), `learns` whether it changes,
    `low` and `log_range` are the bounds of :class:`ip2lab.properties.Property`, `decays` says that the neuron needs
    exp(-dt/value) instead of the value.
    """

    start: Any
    learns: Any
    low: Any
    log_range: Any
    decays: Any
    dt: float


class Rule(NamedTuple):
    """How the flat parameters learn: segments from `start` to `stop`, their learning `rate` and `l2` weight, and Adam.

    `clip` bounds the norm of the gradient of all segments together (0: never), `rate_weight` and `rate_target`
    (spikes a step) pull the mean rate of each neuron to a target.
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


class Goal(NamedTuple):
    """When a problem is solved: the mean loss of the last `window` trials is below `criterion`."""

    criterion: float
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


class Learner(NamedTuple):
    """Everything that changes while it learns, flat, and views of it: parameters, gradient, both moments, the step.

    `d_neurons` is room for derivatives (time, neuron): by the spikes, or by the summed input of a rate network, whose
    `target` is that of the mean squared rate.
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
    trace: Any
    noise: Any
    d_logits: Any
    d_neurons: Any
    rng_state: Any
    target: Any
