"""The time loop of the spiking network, compiled for the CPU: forward, backward and a whole training step.

The equations stand in :mod:`ip2lab.networks.spiking`, whose plain loop is the oracle of what is here. Names are
the same. What makes it fast: spikes are rare, so recurrent input and weight gradients visit only the neurons that
fired; the pseudo-derivative is zero for most neurons most of the time, so the backward pass visits only the others;
inputs are constant over an epoch, so they are multiplied with their weights once; the filter of the readout is
applied to the few outputs instead of to the many neurons. All of that is exact.

Arrays are C-contiguous, (trial, time, neuron). Weights lie with the presynaptic side first. Loops write one array
each and read few, and what they write is allocated beside them or handed over row by row, in functions of few loops:
otherwise LLVM cannot tell that arrays do not overlap, and no longer vectorises. Such functions are compiled into their
callers.
"""

from __future__ import annotations

import math

import numpy as np

from ip2lab.networks.compilation import compiled
from ip2lab.networks.kernel_types import Neurons, Trace
from ip2lab.networks.training_step import cross_entropy, fill_noise, set_values, solved, update
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


@compiled
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


@compiled
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


@compiled
def forward_trial(inputs, noise, neurons, weights, model, trace):
    """Simulate one trial of `inputs` (time, input) with `noise` (time, neuron; empty: none) into `trace`."""
    steps, n = trace.membrane.shape
    dtype = trace.membrane.dtype
    kind = dtype.type
    one, charge = kind(1), kind(model.charge)
    beta, alpha, threshold, rho = neurons.beta, neurons.alpha, neurons.threshold, neurons.rho
    into_dendrite, into_soma, into_adaptation = (one - beta) * neurons.gain, one - alpha, (one - rho) * charge
    zeros, drive, current, reset = np.zeros(n, dtype), np.zeros(n, dtype), np.empty(n, dtype), np.zeros(n, dtype)
    theta, state = threshold.copy(), np.zeros(weights.output.shape[0], dtype)
    keep = kind(model.kappa if model.read_spikes else 0)
    into = kind((1 - model.kappa) * model.charge if model.read_spikes else 1)
    listed, count = np.empty(n + 1, np.int64), 0
    d_old, u_old, s_old, a_old = zeros, zeros, zeros, zeros
    for t in range(steps):
        d, u, s = trace.dendrite[t], trace.membrane[t], trace.spikes[t]
        input_drive(inputs, t, weights, drive)
        if noise.size:
            extra = noise[t]
            for i in range(n):
                current[i] = drive[i] + extra[i]
        else:
            for i in range(n):
                current[i] = drive[i]
        if model.recurrent:
            add_rows(current, weights.recurrent, s_old, charge, listed, count)
        for i in range(n):
            d[i] = beta[i] * d_old[i] + into_dendrite[i] * current[i]
        for i in range(n):
            u[i] = alpha[i] * u_old[i] + into_soma[i] * d[i] - reset[i]
        if model.spiking:
            if model.adaptation:
                a = trace.adaptation[t]
                for i in range(n):
                    a[i] = rho[i] * a_old[i] + into_adaptation[i] * s_old[i]
                for i in range(n):
                    theta[i] = threshold[i] + neurons.strength[i] * a[i]
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


@compiled
def pass_shares(neurons, model):
    """Return what is passed from input to dendrite, from dendrite to membrane, from spikes to adaptation (neuron,)."""
    one, charge = neurons.beta.dtype.type(1), neurons.beta.dtype.type(model.charge)
    return (one - neurons.beta) * neurons.gain, one - neurons.alpha, (one - neurons.rho) * charge


@compiled
def raise_threshold(a, threshold, strength, theta):
    """Write the effective threshold `theta` of neurons with adaptation `a`."""
    for i in range(a.shape[0]):
        theta[i] = threshold[i] + strength[i] * a[i]


@compiled
def pseudo_derivative(u, theta, inverse, v, result):
    """Write the distance `v` of membranes from threshold, in thresholds, and the derivative of the spikes by them."""
    one, zero = u.dtype.type(1), u.dtype.type(0)
    for i in range(u.shape[0]):
        v[i] = (u[i] - theta[i]) * inverse[i]
    for i in range(u.shape[0]):
        result[i] = max(zero, one - abs(v[i])) * inverse[i]


@compiled
def back_to_spikes(u, gu, theta, inverse, v, gv, gs):
    """Write into `gv` what passes through the spikes of a step, and into `gs` what reaches them through the reset.

    `v` is the distance of the membranes from threshold, in thresholds.
    """
    pseudo_derivative(u, theta, inverse, v, gv)
    for i in range(gs.shape[0]):
        gs[i] = -theta[i] * gu[i]


@compiled
def back_to_membrane(s, gs, gu, v, gv, gt, g_threshold):
    """Go back from the spikes of a step (`gs`) to the membranes (`gv`) and to the thresholds (`gt`)."""
    for i in range(gs.shape[0]):
        gv[i] *= gs[i]
    for i in range(gs.shape[0]):
        gt[i] = -gv[i] - s[i] * gu[i]  # by the effective threshold, here and in the reset after
    for i in range(gs.shape[0]):
        g_threshold[i] += gt[i] - gv[i] * v[i]


@compiled
def back_to_adaptation(t, adaptation, spikes, charge, strength, rho, gt, ga, g_strength, g_rho):
    """Go back from the thresholds of step `t` (`gt`) to the adaptation (`ga`) and its two properties."""
    a = adaptation[t]
    for i in range(gt.shape[0]):
        g_strength[i] += gt[i] * a[i]
    for i in range(gt.shape[0]):
        ga[i] = rho[i] * ga[i] + strength[i] * gt[i]
    if t > 0:
        a, s = adaptation[t - 1], spikes[t - 1]
        for i in range(gt.shape[0]):
            g_rho[i] += ga[i] * (a[i] - charge * s[i])


@compiled
def back_to_input(d, d_old, u_old, into_dendrite, into_soma, beta, gu, gd, g_alpha, g_beta, g_gain, g_sum):
    """Go back from the membranes of a step (`gu`) to the dendrites (`gd`), their properties and the summed input."""
    for i in range(gu.shape[0]):
        g_alpha[i] += gu[i] * (u_old[i] - d[i])
    for i in range(gu.shape[0]):
        gd[i] = beta[i] * gd[i] + into_soma[i] * gu[i]
    for i in range(gu.shape[0]):
        g_beta[i] += gd[i] * (d_old[i] - d[i])
    for i in range(gu.shape[0]):
        g_gain[i] += gd[i] * (d[i] - beta[i] * d_old[i])
    for i in range(gu.shape[0]):
        g_sum[i] = into_dendrite[i] * gd[i]


@compiled
def add_properties(neurons, g_neurons, g_alpha, g_beta, g_gain, g_threshold, g_strength, g_rho):
    """Add what has been summed up over steps to the gradients of the properties."""
    add(g_neurons.alpha, g_alpha)
    add(g_neurons.beta, g_beta / (g_beta.dtype.type(1) - neurons.beta))
    add(g_neurons.gain, g_gain / neurons.gain)
    add(g_neurons.threshold, g_threshold)
    add(g_neurons.strength, g_strength)
    add(g_neurons.rho, g_rho)


@compiled
def filter_back(model, d_logits, filtered):
    """Write the derivatives by what the outputs read, through the filter of the readout."""
    keep = d_logits.dtype.type(model.kappa)
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
    by what the forward pass left in `trace`.
    """
    steps, n = trace.membrane.shape
    dtype, kind = trace.membrane.dtype, trace.membrane.dtype.type
    one, charge, into = kind(1), kind(model.charge), kind((1 - model.kappa) * model.charge)
    beta, alpha, threshold = neurons.beta, neurons.alpha, neurons.threshold
    strength, rho = neurons.strength, neurons.rho
    into_dendrite, into_soma, into_adaptation = pass_shares(neurons, model)
    inverse, zeros, theta, near = one / threshold, np.zeros(n, dtype), threshold.copy(), np.empty(n + 1, np.int64)
    # derivatives by dendrite, membrane, adaptation of the step after; by spikes, membrane through spikes, threshold
    gd, gu, ga, run = np.zeros(n, dtype), np.zeros(n, dtype), np.zeros(n, dtype), np.zeros(n, dtype)
    gs, gv, gt, v = np.empty(n, dtype), np.zeros(n, dtype), np.empty(n, dtype), np.empty(n, dtype)
    g_alpha, g_beta, g_gain = np.zeros(n, dtype), np.zeros(n, dtype), np.zeros(n, dtype)
    g_threshold, g_strength, g_rho = np.zeros(n, dtype), np.zeros(n, dtype), np.zeros(n, dtype)
    filtered = np.empty(d_logits.shape, dtype)
    filter_back(model, d_logits, filtered)
    for t in range(steps - 1, -1, -1):
        d, u, s, g_sum = trace.dendrite[t], trace.membrane[t], trace.spikes[t], trace.gradient[t]
        d_old, u_old = zeros if t == 0 else trace.dendrite[t - 1], zeros if t == 0 else trace.membrane[t - 1]
        if model.spiking:
            if model.adaptation:
                raise_threshold(trace.adaptation[t], threshold, strength, theta)
            back_to_spikes(u, gu, theta, inverse, v, gv, gs)
            if model.adaptation:
                add_product(gs, into_adaptation, ga)
            if model.refractory:
                hold_refractory(trace.spikes, t, model.refractory, gv)
            if d_spikes.size:
                add(gs, d_spikes[t])
            if model.read_spikes:
                add_outputs(gs, weights.output, filtered[t], into)
            if model.recurrent and t + 1 < steps:
                dot_rows(gs, weights.recurrent, trace.gradient[t + 1], charge, near, list_nonzero(gv, near))
            back_to_membrane(s, gs, gu, v, gv, gt, g_threshold)
            if model.adaptation:
                back_to_adaptation(t, trace.adaptation, trace.spikes, charge, strength, rho, gt, ga, g_strength, g_rho)
        for i in range(n):
            gu[i] = alpha[i] * gu[i] + gv[i]
        if not model.read_spikes:
            add_outputs(gu, weights.output, d_logits[t], one)
        if d_membrane.size:
            add(gu, d_membrane[t])
        back_to_input(d, d_old, u_old, into_dendrite, into_soma, beta, gu, gd, g_alpha, g_beta, g_gain, g_sum)
        add(run, g_sum)
        input_gradients(inputs, t, run, g_weights.input, g_weights.bias)
    add_properties(neurons, g_neurons, g_alpha, g_beta, g_gain, g_threshold, g_strength, g_rho)
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
    counts, fired, charge = np.empty(n, np.int64), np.empty(n + 1, np.int64), trace.membrane.dtype.type(model.charge)
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
            add_rows(g_weights.recurrent[j], after, factors[j], charge, times[j], counts[j])
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
            into = kind((1 - model.kappa) * model.charge)
            add_rows(g_weights.output[k], trace.spikes, filtered[:, k].copy(), into, np.arange(steps), steps)
        else:
            add_rows(g_weights.output[k], trace.membrane, factors, kind(1), np.arange(steps), steps)


@compiled
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
def pull_rates(trace, rule, d_spikes):
    """Write the derivative of ``rate_weight * mean((rate - target)**2)`` by the spikes."""
    steps, n = d_spikes.shape
    for i in range(n):
        rate = 0.0
        for t in range(steps):
            rate += trace.spikes[t, i]
        d_spikes[0, i] = rule.rate_weight * 2 * (rate / steps - rule.rate_target) / (n * steps)
    for t in range(1, steps):
        d_spikes[t] = d_spikes[0]


@compiled
def learn_trial(stimuli, row, key, trial, scale, model, transform, rule, learner):
    """Do one trial and its update; return loss, loss of the response, whether answered, mean spikes a step."""
    steps = stimuli.length[row]
    whole, values, g_values = learner.trace, learner.values, learner.g_values
    trace = Trace(
        whole.dendrite[:steps], whole.membrane[:steps], whole.adaptation[:steps], whole.spikes[:steps],
        whole.logits[:steps], whole.gradient[:steps],
    )  # fmt: skip
    noise, d_logits = learner.noise[:steps], learner.d_logits[:steps]
    inputs = stimuli.inputs[row, :steps]
    set_values(learner.flat, transform, values, learner.slopes, True)
    neurons = Neurons(values[0], values[1], values[2], values[3], values[4], values[5])
    g_neurons = Neurons(g_values[0], g_values[1], g_values[2], g_values[3], g_values[4], g_values[5])
    if scale > 0:
        fill_noise(key, trial, scale, learner.rng_state, noise)
    else:
        noise[:] = 0
    forward_trial(inputs, noise, neurons, learner.weights, model, trace)
    loss, response_loss, answered = cross_entropy(
        trace.logits, stimuli.target[row], stimuli.weight[row], stimuli.response[row], d_logits
    )
    learner.gradient[:] = 0
    g_values[:] = 0
    nothing = learner.noise[:0]
    d_spikes = nothing
    if rule.rate_weight > 0:
        d_spikes = learner.d_neurons[:steps]
        pull_rates(trace, rule, d_spikes)
    backward_trial(
        inputs,
        neurons,
        learner.weights,
        model,
        trace,
        d_logits,
        d_spikes,
        nothing,
        g_neurons,
        learner.g_weights,
        nothing,
    )
    for p in range(transform.start.shape[0]):
        if transform.start[p] >= 0 and transform.learns[p]:
            for i in range(values.shape[1]):
                learner.gradient[transform.start[p] + i] = g_values[p, i] * learner.slopes[p, i]
    update(learner.flat, learner.gradient, learner.moment1, learner.moment2, learner.step, rule)
    return loss, response_loss, answered, trace.spikes.mean()


@compiled
def learn(
    stimuli,
    rows,
    first,
    last,
    key,
    scale,
    model,
    transform,
    rule,
    goal,
    learner,
    losses,
    response_losses,
    answered,
    rates,
):
    """Do trials `first` to `last` of a problem, one update each, until it is solved or the loss is no number any more.

    `rows` and the four records have one entry a trial of the whole problem. Returns the number of trials done so far
    and 0 (go on), 1 (solved) or 2 (the loss is not finite).
    """
    for trial in range(first, last):
        one = learn_trial(stimuli, rows[trial - first], key, trial, scale, model, transform, rule, learner)
        losses[trial], response_losses[trial], answered[trial], rates[trial] = one
        if not math.isfinite(losses[trial]):
            return trial + 1, 2
        if solved(losses, trial, goal):
            return trial + 1, 1
    return last, 0
