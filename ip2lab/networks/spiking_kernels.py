"""The time loop of the spiking network, compiled for the CPU: forward, backward and a whole training step.

The equations stand in :mod:`ip2lab.neuron`, with the same names; the plain loop of :mod:`ip2lab.networks.spiking` is
the oracle of what is here. What makes it fast: spikes are rare, so recurrent input and weight gradients visit only the
neurons that fired; the pseudo-derivative is zero for most neurons most of the time, so the backward pass visits only
the others; inputs are constant over an epoch, so they are multiplied with their weights once; the filter of the readout
is applied to the few outputs instead of to the many neurons. All of that is exact.

Arrays are C-contiguous, (trial, time, neuron). Weights lie with the presynaptic side first. Loops write one array
each and read few, in functions of few loops: otherwise LLVM cannot tell that arrays do not overlap, and no longer
vectorises. Such functions are compiled into their callers, and those that a step calls count no references.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ip2lab.networks.compilation import borrowing, compiled
from ip2lab.networks.kernel_types import Trace
from ip2lab.networks.training_step import (
    cross_entropy,
    fill_noise,
    property_gradients,
    set_values,
    solved,
    update,
)
from ip2lab.networks.vectors import (
    add,
    add_outputs,
    add_product,
    add_rows,
    dot_rows,
    input_drive,
    list_nonzero,
    same_row,
)


@borrowing
def spike(u, theta, threshold, s, kind):
    """Write the spikes of membranes `u`: a step (kind 1) or the antiderivative of its pseudo-derivative (kind 2)."""
    one, half, zero = u.dtype.type(1), u.dtype.type(0.5), u.dtype.type(0)
    if kind == 1:
        for i in range(u.shape[0]):
            s[i] = one if u[i] > theta[i] else zero
    else:
        for i in range(u.shape[0]):
            v = (u[i] - theta[i]) / threshold[i]
            low, high = max(zero, min(one, one + v)), max(zero, min(one, one - v))
            s[i] = half * low * low if v < 0 else one - half * high * high


@borrowing
def hold_refractory(spikes, t, steps, target):
    """Set `target` to zero where the neuron fired in the last `steps` steps before `t`."""
    for k in range(max(0, t - steps), t):
        row = spikes[k]
        for i in range(target.shape[0]):
            if row[i] > 0:
                target[i] = 0


@compiled
def read_out(source, weights, keep, into, state, logits):
    """Take one step of the readout: `keep` times the state plus `into` times what is read by each output."""
    zero = source.dtype.type(0)
    for k in range(state.shape[0]):
        row, total = weights.output[k], zero
        for i in range(source.shape[0]):
            total += row[i] * source[i]
        state[k] = keep * state[k] + into * total
        logits[k] = state[k] + weights.output_bias[k]


class Shares(NamedTuple):
    """What is passed from input to dendrite, dendrite to membrane, spikes to adaptation; one over the threshold."""

    dendrite: Any
    soma: Any
    adaptation: Any
    inverse: Any


@compiled
def shares(neurons, model):
    """Return the shares of neurons, (neuron,) each."""
    kind = neurons.threshold.dtype.type
    one, scale = kind(1), kind(model.spike_scale)
    into_dendrite = (one - neurons.decay_dendrite) * neurons.gain
    into_adaptation = (one - neurons.decay_adaptation) * scale
    return Shares(into_dendrite, one - neurons.decay_soma, into_adaptation, one / neurons.threshold)


@borrowing
def raise_threshold(a, threshold, strength, theta):
    """Write the effective threshold `theta` of neurons with adaptation `a`."""
    for i in range(a.shape[0]):
        theta[i] = threshold[i] + strength[i] * a[i]


@compiled
def forward_trial(inputs, noise, neurons, weights, model, trace):
    """Simulate one trial of `inputs` (time, input) with `noise` (time, neuron; empty: none) into `trace`."""
    steps, n = trace.membrane.shape
    dtype = trace.membrane.dtype
    kind = dtype.type
    scale, beta, alpha, rho = (
        kind(model.spike_scale),
        neurons.decay_dendrite,
        neurons.decay_soma,
        neurons.decay_adaptation,
    )
    threshold, strength = neurons.threshold, neurons.adaptation_strength
    into_dendrite, into_soma, into_adaptation, _ = shares(neurons, model)
    zeros, drive, current, reset = np.zeros(n, dtype), np.zeros(n, dtype), np.empty(n, dtype), np.zeros(n, dtype)
    theta, state = threshold.copy(), np.zeros(weights.output.shape[0], dtype)
    keep = kind(model.readout_decay if model.read_spikes else 0)
    into = kind((1 - model.readout_decay) * model.spike_scale if model.read_spikes else 1)
    listed, count = np.empty(n + 1, np.int64), 0
    d_old, u_old, s_old, a_old = zeros, zeros, zeros, zeros
    for t in range(steps):
        d, u, s = trace.dendrite[t], trace.membrane[t], trace.spikes[t]
        input_drive(inputs, t, weights.input, neurons.bias, drive)
        if noise.size:
            extra = noise[t]
            for i in range(n):
                current[i] = drive[i] + extra[i]
        else:
            for i in range(n):
                current[i] = drive[i]
        if model.recurrent:
            add_rows(current, weights.recurrent, s_old, scale, listed, count)
        for i in range(n):
            d[i] = beta[i] * d_old[i] + into_dendrite[i] * current[i]
        for i in range(n):
            u[i] = alpha[i] * u_old[i] + into_soma[i] * d[i] - reset[i]
        if model.spiking:
            if model.adaptation:
                a = trace.adaptation[t]
                for i in range(n):
                    a[i] = rho[i] * a_old[i] + into_adaptation[i] * s_old[i]
                raise_threshold(a, threshold, strength, theta)
                a_old = a
            spike(u, theta, threshold, s, model.spiking)
            if model.refractory:
                hold_refractory(trace.spikes, t, model.refractory, s)
            for i in range(n):
                reset[i] = theta[i] * s[i]
            count = list_nonzero(s, listed)
        else:
            s[:] = 0
        read_out(s if model.read_spikes else u, weights, keep, into, state, trace.logits[t])
        d_old, u_old, s_old = d, u, s


class Adjoint(NamedTuple):
    """Derivatives of the loss by the states of a trial at one step, (neuron,) each.

    `through` is what reaches the membrane through the spikes, `current` the sum since the input last changed.
    `distance` of the membrane from the effective threshold `theta`, in thresholds, is no derivative.
    """

    dendrite: Any
    membrane: Any
    adaptation: Any
    spikes: Any
    through: Any
    threshold: Any
    current: Any
    distance: Any
    theta: Any


@borrowing
def back_to_spikes(t, trace, neurons, share, model, adjoint):
    """Go back from what step `t` + 1 left in `adjoint` to the spikes of step `t`, by way of reset and adaptation.

    Into `through` goes what passes the spikes of each neuron: their pseudo-derivative.
    """
    u, gu, gs, gv, v, theta = (
        trace.membrane[t], adjoint.membrane, adjoint.spikes, adjoint.through, adjoint.distance, adjoint.theta,
    )  # fmt: skip
    inverse, one, zero = share.inverse, u.dtype.type(1), u.dtype.type(0)
    if model.adaptation:
        raise_threshold(trace.adaptation[t], neurons.threshold, neurons.adaptation_strength, theta)
    for i in range(u.shape[0]):
        v[i] = (u[i] - theta[i]) * inverse[i]
    for i in range(u.shape[0]):
        gv[i] = max(zero, one - abs(v[i])) * inverse[i]
    for i in range(u.shape[0]):
        gs[i] = -theta[i] * gu[i]
    if model.adaptation:
        add_product(gs, share.adaptation, adjoint.adaptation)
    if model.refractory:
        hold_refractory(trace.spikes, t, model.refractory, gv)


@borrowing
def back_through_threshold(t, trace, neurons, model, adjoint, g_neurons):
    """Go back from the spikes of step `t` to its membranes (`through`), thresholds and adaptation."""
    s, gs, gu, gv, v, gt = (
        trace.spikes[t], adjoint.spikes, adjoint.membrane, adjoint.through, adjoint.distance, adjoint.threshold,
    )  # fmt: skip
    n, g_threshold = s.shape[0], g_neurons.threshold
    for i in range(n):
        gv[i] *= gs[i]
    for i in range(n):
        gt[i] = -gv[i] - s[i] * gu[i]  # by the effective threshold, here and in the reset after
    for i in range(n):
        g_threshold[i] += gt[i] - gv[i] * v[i]
    if model.adaptation:
        a, ga, g_strength, g_rho = (
            trace.adaptation[t], adjoint.adaptation, g_neurons.adaptation_strength, g_neurons.decay_adaptation,
        )  # fmt: skip
        rho, strength = neurons.decay_adaptation, neurons.adaptation_strength
        for i in range(n):
            g_strength[i] += gt[i] * a[i]
        for i in range(n):
            ga[i] = rho[i] * ga[i] + strength[i] * gt[i]
        if t > 0:
            a_old, s_old, scale = trace.adaptation[t - 1], trace.spikes[t - 1], s.dtype.type(model.spike_scale)
            for i in range(n):
                g_rho[i] += ga[i] * (a_old[i] - scale * s_old[i])


@borrowing
def back_to_membrane(neurons, adjoint):
    """Add what comes from the membrane of the step after to what comes through the spikes."""
    alpha, gu, gv = neurons.decay_soma, adjoint.membrane, adjoint.through
    for i in range(gu.shape[0]):
        gu[i] = alpha[i] * gu[i] + gv[i]


@borrowing
def back_to_input(t, trace, zeros, neurons, share, adjoint, g_neurons, g_sum):
    """Go back from the membranes of step `t` to the dendrites, their properties and (`g_sum`) the summed input."""
    d, gd, gu, current = trace.dendrite[t], adjoint.dendrite, adjoint.membrane, adjoint.current
    d_old, u_old = zeros if t == 0 else trace.dendrite[t - 1], zeros if t == 0 else trace.membrane[t - 1]
    beta, into_dendrite, into_soma = neurons.decay_dendrite, share.dendrite, share.soma
    g_alpha, g_beta, g_gain = g_neurons.decay_soma, g_neurons.decay_dendrite, g_neurons.gain
    n = gu.shape[0]
    for i in range(n):
        g_alpha[i] += gu[i] * (u_old[i] - d[i])
    for i in range(n):
        gd[i] = beta[i] * gd[i] + into_soma[i] * gu[i]
    for i in range(n):
        g_beta[i] += gd[i] * (d_old[i] - d[i])
    for i in range(n):
        g_gain[i] += gd[i] * (d[i] - beta[i] * d_old[i])
    for i in range(n):
        g_sum[i] = into_dendrite[i] * gd[i]
    add(current, g_sum)


@compiled
def complete_properties(neurons, g_neurons):
    """Turn what has been summed up over steps and trials into derivatives: the factors that all terms share."""
    one = neurons.gain.dtype.type(1)
    for i in range(neurons.gain.shape[0]):
        g_neurons.decay_dendrite[i] /= one - neurons.decay_dendrite[i]
    for i in range(neurons.gain.shape[0]):
        g_neurons.gain[i] /= neurons.gain[i]


@borrowing
def filter_back(model, d_logits, filtered):
    """Write the derivatives by what the outputs read, through the filter of the readout."""
    keep = d_logits.dtype.type(model.readout_decay)
    for t in range(d_logits.shape[0] - 1, -1, -1):
        for k in range(d_logits.shape[1]):
            filtered[t, k] = d_logits[t, k]
            if t + 1 < d_logits.shape[0]:
                filtered[t, k] += keep * filtered[t + 1, k]


@compiled
def backward_trial(
    inputs, neurons, weights, model, trace, d_logits, d_spikes, d_membrane, g_neurons, g_weights, g_inputs
):
    """Accumulate the gradients of one trial into `g_neurons`, `g_weights` and (unless empty) `g_inputs` (time, input).

    `d_logits` (time, output), `d_spikes` and `d_membrane` (time, neuron; empty: none) are the derivatives of the loss
    by what the forward pass left in `trace`. `g_neurons` is complete after :func:`complete_properties`.
    """
    steps, n = trace.membrane.shape
    dtype, kind = trace.membrane.dtype, trace.membrane.dtype.type
    one, scale = kind(1), kind(model.spike_scale)
    into = kind((1 - model.readout_decay) * model.spike_scale)
    share, zeros, near = shares(neurons, model), np.zeros(n, dtype), np.empty(n + 1, np.int64)
    adjoint = Adjoint(
        np.zeros(n, dtype), np.zeros(n, dtype), np.zeros(n, dtype), np.empty(n, dtype), np.zeros(n, dtype),
        np.empty(n, dtype), np.zeros(n, dtype), np.empty(n, dtype), neurons.threshold.copy(),
    )  # fmt: skip
    filtered = np.empty(d_logits.shape, dtype)
    filter_back(model, d_logits, filtered)
    for t in range(steps - 1, -1, -1):
        if model.spiking:
            back_to_spikes(t, trace, neurons, share, model, adjoint)
            if d_spikes.size:
                add(adjoint.spikes, d_spikes[t])
            if model.read_spikes:
                add_outputs(adjoint.spikes, weights.output, filtered[t], into)
            if model.recurrent and t + 1 < steps:
                count = list_nonzero(adjoint.through, near)
                dot_rows(adjoint.spikes, weights.recurrent, trace.gradient[t + 1], scale, near, count)
            back_through_threshold(t, trace, neurons, model, adjoint, g_neurons)
        back_to_membrane(neurons, adjoint)
        if not model.read_spikes:
            add_outputs(adjoint.membrane, weights.output, d_logits[t], one)
        if d_membrane.size:
            add(adjoint.membrane, d_membrane[t])
        back_to_input(t, trace, zeros, neurons, share, adjoint, g_neurons, trace.gradient[t])
        input_gradients(inputs, t, adjoint.current, g_weights.input, g_neurons.bias)
    recurrent_gradients(model, trace, g_weights)
    output_gradients(model, trace, d_logits, filtered, g_weights)
    stimulus_gradients(trace, weights, g_inputs)


@compiled
def recurrent_gradients(model, trace, g_weights):
    """Accumulate the gradient of the recurrent weights from ``trace.gradient``, the derivatives by summed inputs.

    One presynaptic neuron after the other: the rows of the steps after those at which it fired are added up, for a
    stretch of time whose rows stay in cache.
    """
    steps, n = trace.membrane.shape
    if not (model.recurrent and model.spiking):
        return
    stretch = min(steps, max(16, 131072 // n))
    times, factors = np.empty((n, stretch), np.int64), np.empty((n, stretch), trace.membrane.dtype)
    counts, fired = np.empty(n, np.int64), np.empty(n + 1, np.int64)
    scale = trace.membrane.dtype.type(model.spike_scale)
    for first in range(0, steps - 1, stretch):  # nothing follows the last step
        length = min(stretch, steps - 1 - first)
        after = trace.gradient[first + 1 : first + 1 + length]
        counts[:] = 0
        for t in range(length):
            row = trace.spikes[first + t]
            for m in range(list_nonzero(row, fired)):
                j = fired[m]
                times[j, counts[j]] = t
                factors[j, t] = row[j]
                counts[j] += 1
        for j in range(n):
            add_rows(g_weights.recurrent[j], after, factors[j], scale, times[j], counts[j])
    if not model.autapses:
        for i in range(n):
            g_weights.recurrent[i, i] = 0


@compiled
def output_gradients(model, trace, d_logits, filtered, g_weights):
    """Accumulate the gradients of the readout; `filtered` is the derivative by the logits through the filter."""
    steps, outputs = d_logits.shape
    kind = d_logits.dtype.type
    for k in range(outputs):
        factors = d_logits[:, k].copy()
        g_weights.output_bias[k] += factors.sum()
        if model.read_spikes:
            into = kind((1 - model.readout_decay) * model.spike_scale)
            add_rows(g_weights.output[k], trace.spikes, filtered[:, k].copy(), into, np.arange(steps), steps)
        else:
            add_rows(g_weights.output[k], trace.membrane, factors, kind(1), np.arange(steps), steps)


@borrowing
def input_gradients(inputs, t, run, g_input, g_bias):
    """Turn `run`, the derivatives summed up since the input of step `t` came, into gradients; go on where it came."""
    if same_row(inputs, t):
        return
    for k in range(inputs.shape[1]):
        x, g_row = inputs[t, k], g_input[k]
        if x != 0:
            for i in range(run.shape[0]):
                g_row[i] += x * run[i]
    for i in range(run.shape[0]):
        g_bias[i] += run[i]
    run[:] = 0


@compiled
def stimulus_gradients(trace, weights, g_inputs):
    """Accumulate the gradients of the inputs themselves, where they are asked for."""
    if g_inputs.size:
        g_inputs += np.dot(trace.gradient, weights.input.T)


@compiled
def one_trial(trace, b):
    """Return the trace of trial `b`."""
    d, u, s, a = trace.dendrite[b], trace.membrane[b], trace.spikes[b], trace.adaptation[b]
    return Trace(d, u, a, s, trace.logits[b], trace.gradient[b])


@compiled
def forward(inputs, noise, neurons, weights, model, trace):
    """Simulate trials: everything as in `forward_trial`, with a trial axis in front."""
    for b in range(inputs.shape[0]):
        forward_trial(inputs[b], noise[b], neurons, weights, model, one_trial(trace, b))


# ---------------------------------------------------------------- the training step


@compiled
def pull_rates(trace, optimizer, d_spikes):
    """Write the derivative of ``rate_weight * mean((rate - target)**2)`` by the spikes."""
    steps, n = d_spikes.shape
    for i in range(n):
        rate = 0.0
        for t in range(steps):
            rate += trace.spikes[t, i]
        d_spikes[0, i] = optimizer.rate_weight * 2 * (rate / steps - optimizer.rate_target) / (n * steps)
    for t in range(1, steps):
        d_spikes[t] = d_spikes[0]


@compiled
def learn_trial(stimuli, row, key, trial, noise_scale, model, transform, optimizer, state):
    """Do one trial and its update; return loss, loss of the response, whether answered, mean spikes per step."""
    steps = stimuli.length[row]
    whole, neurons, g_neurons = state.trace, state.neurons, state.g_neurons
    trace = Trace(
        whole.dendrite[:steps], whole.membrane[:steps], whole.adaptation[:steps], whole.spikes[:steps],
        whole.logits[:steps], whole.gradient[:steps],
    )  # fmt: skip
    noise, d_logits = state.noise[:steps], state.d_logits[:steps]
    inputs = stimuli.inputs[row, :steps]
    set_values(state.flat, transform, state.values, state.slopes, True)
    if noise_scale > 0:
        fill_noise(key, trial, noise_scale, state.rng_state, noise)
    else:
        noise[:] = 0
    forward_trial(inputs, noise, neurons, state.weights, model, trace)
    loss, response_loss, answered = cross_entropy(
        trace.logits, stimuli.target[row], stimuli.weight[row], stimuli.response[row], d_logits
    )
    state.gradient[:] = 0
    state.g_values[:] = 0
    nothing = state.noise[:0]
    d_spikes = nothing
    if optimizer.rate_weight > 0:
        d_spikes = state.d_neurons[:steps]
        pull_rates(trace, optimizer, d_spikes)
    backward_trial(
        inputs, neurons, state.weights, model, trace, d_logits, d_spikes, nothing, g_neurons, state.g_weights, nothing
    )
    complete_properties(neurons, g_neurons)
    property_gradients(state, transform)
    update(state.flat, state.gradient, state.moment1, state.moment2, state.step, optimizer)
    return loss, response_loss, answered, trace.spikes.mean()


@compiled
def learn(
    stimuli, rows, first, last, key, noise_scale, model, transform, optimizer, criterion, state,
    losses, response_losses, answered, rates,
):  # fmt: skip
    """Do trials `first` to `last` of a problem, one update each, until it is solved or the loss is not finite.

    `rows` and the four records have one entry per trial of the whole problem. Returns the number of trials done so far
    and 0 (go on), 1 (solved) or 2 (the loss is not finite).
    """
    for trial in range(first, last):
        row = rows[trial - first]
        one = learn_trial(stimuli, row, key, trial, noise_scale, model, transform, optimizer, state)
        losses[trial], response_losses[trial], answered[trial], rates[trial] = one
        if not math.isfinite(losses[trial]):
            return trial + 1, 2
        if solved(losses, trial, criterion):
            return trial + 1, 1
    return last, 0
