"""The time loop of the rate network, compiled for the CPU: forward, backward and a whole training step.

The equations stand in :mod:`ip2lab.networks.rate`, whose plain loop is the oracle of what is here. Rates are dense,
so recurrent input is a sum over all neurons, four at a time, and the weight gradients of a trial are matrix products.
Arrays are C-contiguous and (time, neuron); weights lie with the presynaptic side first.
"""

from __future__ import annotations

import math
from collections import namedtuple
from typing import Any, NamedTuple, cast

import numpy as np

from ip2lab.networks.compilation import compiled
from ip2lab.networks.training_step import cross_entropy, fill_noise, property_gradients, set_values, solved, update
from ip2lab.networks.vectors import add_all, dot_all, input_drive
from ip2lab.neuron import constant_of
from ip2lab.properties import PROPERTIES

RATE = [row for row in PROPERTIES.values() if "rate" in row.models]
#: The constants of the units, one per property of the table, one value per unit each.
Constants: Any = cast("Any", namedtuple("Constants", [constant_of(row) for row in RATE]))


class Weights(NamedTuple):
    """Input (input, neuron), recurrent (presynaptic, neuron), output (output, neuron); `initial`: rates at first."""

    input: Any
    recurrent: Any
    output: Any
    output_bias: Any
    initial: Any


class Trace(NamedTuple):
    """What a trial leaves: `rates` (time + 1, neuron; the first row is the start), `slopes` of softplus, `logits`."""

    rates: Any
    slopes: Any
    logits: Any


def make_trace(steps: int, neurons: int, outputs: int, dtype: Any) -> Trace:
    """Return the buffers of a trial of `steps` steps."""
    return Trace(
        np.zeros((steps + 1, neurons), dtype), np.zeros((steps, neurons), dtype), np.zeros((steps, outputs), dtype)
    )


def _product(left, right, result):
    """Write ``left.T @ right`` (both over time) into `result`."""
    np.dot(left.T, right, result)


# matrix products call a library: inlined, each would only be compiled once more
product = compiled(_product, forceinline=False)


@compiled
def softplus(x, value, slope):
    """Write log(1 + exp(x)) and its derivative, to 1e-7, in arithmetic that is vectorised."""
    kind = x.dtype.type
    one, two = kind(1), kind(2)
    for i in range(x.shape[0]):
        # exp(-|x|) = (exp(-|x| / 64)) ** 64, the inner one by its series
        y = -min(abs(x[i]), kind(16)) / kind(64)
        e = one + y * (
            one + y / two * (one + y / kind(3) * (one + y / kind(4) * (one + y / kind(5) * (one + y / kind(6)))))
        )
        for _ in range(6):
            e = e * e
        # log(1 + e) = 2 artanh(z), by its series; z is at most a third
        z = e / (two + e)
        w = z * z
        tail = one / kind(9) + w * (one / kind(11) + w * (one / kind(13) + w / kind(15)))
        series = one + w * (one / kind(3) + w * (one / kind(5) + w * (one / kind(7) + w * tail)))
        value[i] = max(x[i], kind(0)) + two * z * series
        slope[i] = (one if x[i] > 0 else e) / (one + e)


@compiled
def forward(inputs, noise, neurons, weights, trace):
    """Simulate a trial: `inputs` (time, input), `noise` (time, neuron; empty: none)."""
    steps, n = trace.slopes.shape
    dtype = trace.rates.dtype
    drive, current, value, decay = np.zeros(n, dtype), np.zeros(n, dtype), np.zeros(n, dtype), neurons.decay
    trace.rates[0] = weights.initial
    for t in range(steps):
        old, new, slope = trace.rates[t], trace.rates[t + 1], trace.slopes[t]
        input_drive(inputs, t, weights.input, neurons.bias, drive)
        if noise.shape[0]:
            extra = noise[t]
            for i in range(n):
                current[i] = drive[i] + extra[i]
        else:
            current[:] = drive
        add_all(current, weights.recurrent, old)
        softplus(current, value, slope)
        for i in range(n):
            new[i] = value[i] + decay[i] * (old[i] - value[i])
        for k in range(trace.logits.shape[1]):
            total, row = weights.output_bias[k], weights.output[k]
            for i in range(n):
                total += row[i] * new[i]
            trace.logits[t, k] = total


@compiled
def backward(inputs, neurons, weights, trace, d_logits, pull, d_current, g_neurons, g_weights):
    """Write the gradients of a trial into `g_weights` and `g_neurons`.

    `d_logits` (time, output) is the derivative of the loss by the logits, `pull` times the rates that by the rates.
    """
    steps, n = trace.slopes.shape
    dtype = trace.rates.dtype
    one = dtype.type(1)
    d_rates, g, decay = np.zeros(n, dtype), np.zeros(n, dtype), neurons.decay
    inner = one - decay
    for t in range(steps - 1, -1, -1):
        old, new, slope, d = trace.rates[t], trace.rates[t + 1], trace.slopes[t], d_current[t]
        for k in range(d_logits.shape[1]):
            f, w = d_logits[t, k], weights.output[k]
            if f != 0:
                for i in range(n):
                    d_rates[i] += f * w[i]
        for i in range(n):
            d_rates[i] += pull * new[i]
        for i in range(n):
            g[i] += d_rates[i] * (old[i] - new[i])  # new = value + decay (old - value); divided by 1 - decay below
        for i in range(n):
            d[i] = inner[i] * slope[i] * d_rates[i]
        for i in range(n):
            d_rates[i] *= decay[i]
        dot_all(d_rates, weights.recurrent, d)
    for i in range(n):
        g_neurons.decay[i] = g[i] / inner[i]
        g_weights.initial[i] = d_rates[i]
        g_neurons.bias[i] = 0
    for t in range(steps):
        row = d_current[t]
        for i in range(n):
            g_neurons.bias[i] += row[i]
    product(trace.rates[:steps], d_current, g_weights.recurrent)
    product(inputs, d_current, g_weights.input)
    product(d_logits, trace.rates[1:], g_weights.output)
    for k in range(d_logits.shape[1]):
        g_weights.output_bias[k] = 0
        for t in range(steps):
            g_weights.output_bias[k] += d_logits[t, k]


def _pull_singular(weights, gradient, weight, count):
    """Add the derivative of `weight` times the mean of the `count` largest squared singular values of `weights`."""
    vectors = np.linalg.eigh(np.dot(weights.T, weights))[1]  # ascending
    top = np.ascontiguousarray(vectors[:, vectors.shape[1] - count :])
    gradient += weights.dtype.type(2 * weight / count) * np.dot(np.dot(weights, top), np.ascontiguousarray(top.T))


pull_singular = compiled(_pull_singular, forceinline=False)


@compiled
def learn_trial(stimuli, row, key, trial, noise_scale, transform, optimizer, state):
    """Do one trial and its update. Return loss, loss of the response, whether answered, and mean squared rate."""
    steps = stimuli.length[row]
    whole, weights, g_weights = state.trace, state.weights, state.g_weights
    trace = Trace(whole.rates[: steps + 1], whole.slopes[:steps], whole.logits[:steps])
    noise, d_logits, inputs = state.noise[:steps], state.d_logits[:steps], stimuli.inputs[row, :steps]
    set_values(state.flat, transform, state.values, state.slopes, True)
    if noise_scale > 0:
        fill_noise(key, trial, noise_scale, state.rng_state, noise)
    else:
        noise[:] = 0
    forward(inputs, noise, state.neurons, weights, trace)
    loss, response_loss, answered = cross_entropy(
        trace.logits, stimuli.target[row], stimuli.weight[row], stimuli.response[row], d_logits
    )
    kind, size = state.flat.dtype.type, steps * state.values.shape[1]
    level = 0.0
    for t in range(1, steps + 1):
        r, total = trace.rates[t], kind(0)
        for i in range(r.shape[0]):
            total += r[i] * r[i]
        level += total / size
    side = 1.0 if level > state.target[0] else -1.0
    pull = kind(optimizer.rate_weight * side * 2 / size)
    backward(inputs, state.neurons, weights, trace, d_logits, pull, state.d_neurons[:steps], state.g_neurons, g_weights)
    if optimizer.singular_weight > 0:
        pull_singular(weights.recurrent, g_weights.recurrent, optimizer.singular_weight, optimizer.singular_values)
    property_gradients(state, transform)
    update(state.flat, state.gradient, state.moment1, state.moment2, state.step, optimizer)
    return loss, response_loss, answered, level


@compiled
def learn(
    stimuli, rows, first, last, key, noise_scale, model, transform, optimizer, criterion, state,
    losses, response_losses, answered, levels,
):  # fmt: skip
    """Do trials `first` to `last`, as the spiking network does; `levels` are mean squared rates, `model` is None."""
    for trial in range(first, last):
        one = learn_trial(stimuli, rows[trial - first], key, trial, noise_scale, transform, optimizer, state)
        losses[trial], response_losses[trial], answered[trial], levels[trial] = one
        if not math.isfinite(losses[trial]):
            return trial + 1, 2
        if solved(losses, trial, criterion):
            return trial + 1, 1
    return last, 0
