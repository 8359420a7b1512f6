"""The time loop of the spiking network, compiled for the CPU: forward, backward and a whole training step.

The equations stand in :mod:`ip2lab.networks.spiking`, whose plain loop is the oracle of what is here. Names are
the same. What makes it fast: spikes are rare, so recurrent input and weight gradients visit only the neurons that
fired; the pseudo-derivative is zero for most neurons most of the time, so the backward pass visits only the others;
inputs are constant over an epoch, so they are multiplied with their weights once; the filter of the readout is
applied to the few outputs instead of to the many neurons. All of that is exact.

Arrays are C-contiguous, (trial, time, neuron). Weights lie with the presynaptic side first. Loops write one array
each and read few, and what they write is allocated beside them: otherwise LLVM cannot tell that arrays do not overlap,
and no longer vectorises. That is also why some functions are compiled into their callers.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit

from ip2lab.networks.structures import Neurons, Trace

# No "nnan"/"ninf": a NaN must stay one, it is how an exploding loss is recognised.
_FAST = {"reassoc", "contract", "nsz", "arcp"}


def _compiled(function: Any, **more: Any) -> Any:
    """Compile on first call; kept on disk where a cache folder can be written, and without one elsewhere."""
    # Inlined whole: a function that is called would be another copy, with other rounding, in the process that compiled
    # it than in one that loads it from the cache, and the same seed would not give the same bits.
    options: dict[str, Any] = {"fastmath": _FAST, "error_model": "numpy", "nogil": True, "forceinline": True, **more}
    try:
        built = njit(cache=True, **options)(function)
    except RuntimeError:  # numba: no locator available, no folder for the cache can be written
        built = njit(**options)(function)
    return built


def _inlined(function: Any) -> Any:
    """Compile into its caller: what is a function only for the reader."""
    return _compiled(function, forceinline=True)


@_compiled
def add_rows(total, weights, source, scale, listed, count):
    """Add ``scale * source[j] * weights[j]`` to `total` for the first `count` entries j of `listed`."""
    n, k = total.shape[0], 0
    while k + 4 <= count:
        j0, j1, j2, j3 = listed[k], listed[k + 1], listed[k + 2], listed[k + 3]
        f0, f1, f2, f3 = scale * source[j0], scale * source[j1], scale * source[j2], scale * source[j3]
        w0, w1, w2, w3 = weights[j0], weights[j1], weights[j2], weights[j3]
        for i in range(n):
            total[i] += (f0 * w0[i] + f1 * w1[i]) + (f2 * w2[i] + f3 * w3[i])
        k += 4
    while k < count:
        f0, w0 = scale * source[listed[k]], weights[listed[k]]
        for i in range(n):
            total[i] += f0 * w0[i]
        k += 1


@_compiled
def dot_rows(result, weights, vector, scale, listed, count):
    """Add ``scale * weights[j] @ vector`` to ``result[j]`` for the first `count` entries j of `listed`."""
    n, k, zero = vector.shape[0], 0, vector.dtype.type(0)
    while k + 4 <= count:
        j0, j1, j2, j3 = listed[k], listed[k + 1], listed[k + 2], listed[k + 3]
        w0, w1, w2, w3 = weights[j0], weights[j1], weights[j2], weights[j3]
        s0, s1, s2, s3 = zero, zero, zero, zero
        for i in range(n):
            v = vector[i]
            s0 += w0[i] * v
            s1 += w1[i] * v
            s2 += w2[i] * v
            s3 += w3[i] * v
        result[j0] += scale * s0
        result[j1] += scale * s1
        result[j2] += scale * s2
        result[j3] += scale * s3
        k += 4
    while k < count:
        j0, s0 = listed[k], zero
        w0 = weights[j0]
        for i in range(n):
            s0 += w0[i] * vector[i]
        result[j0] += scale * s0
        k += 1


@_compiled
def list_nonzero(vector, listed):
    """List where `vector` is not zero in `listed` (one longer than needed); return how many places there are."""
    count = 0
    for i in range(vector.shape[0]):
        listed[count] = i
        count += int(vector[i] != 0)
    return count


@_compiled
def same_row(inputs, t):
    """Tell whether the input at step `t` is that of the step before."""
    same = t > 0
    if same:
        for k in range(inputs.shape[1]):
            if inputs[t, k] != inputs[t - 1, k]:
                same = False
    return same


@_compiled
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


@_compiled
def hold_refractory(spikes, t, steps, target):
    """Set `target` to zero where the neuron fired in the last `steps` steps before `t`."""
    for k in range(max(0, t - steps), t):
        row = spikes[k]
        for i in range(target.shape[0]):
            if row[i] > 0:
                target[i] = 0


@_compiled
def input_drive(inputs, t, weights, drive):
    """Write what arrives from outside at step `t` into `drive`; an input that stays is not multiplied again."""
    if same_row(inputs, t):
        return
    for i in range(drive.shape[0]):
        drive[i] = weights.bias[i]
    for k in range(inputs.shape[1]):
        x, row = inputs[t, k], weights.input[k]
        if x != 0:
            for i in range(drive.shape[0]):
                drive[i] += x * row[i]


@_compiled
def read_out(source, weights, keep, into, state, logits):
    """Take one step of the readout: `keep` times the state plus `into` times what is read by each output."""
    zero = source.dtype.type(0)
    for k in range(state.shape[0]):
        row, total = weights.output[k], zero
        for i in range(source.shape[0]):
            total += row[i] * source[i]
        state[k] = keep * state[k] + into * total
        logits[k] = state[k] + weights.output_bias[k]


@_compiled
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


@_inlined
def pseudo_derivative(u, theta, inverse, v, result):
    """Write the distance `v` of membranes from threshold, in thresholds, and the derivative of the spikes by them."""
    one, zero = u.dtype.type(1), u.dtype.type(0)
    for i in range(u.shape[0]):
        v[i] = (u[i] - theta[i]) * inverse[i]
    for i in range(u.shape[0]):
        result[i] = max(zero, one - abs(v[i])) * inverse[i]


@_inlined
def through_adaptation(t, gt, charge, neurons, trace, zeros, ga, g_neurons):
    """Go back from the effective threshold `gt` to the adaptation `ga` and its two properties."""
    strength, rho, a = neurons.strength, neurons.rho, trace.adaptation[t]
    a_old, s_old = zeros if t == 0 else trace.adaptation[t - 1], zeros if t == 0 else trace.spikes[t - 1]
    for i in range(gt.shape[0]):
        g_neurons.strength[i] += gt[i] * a[i]
    for i in range(gt.shape[0]):
        ga[i] = rho[i] * ga[i] + strength[i] * gt[i]
    for i in range(gt.shape[0]):
        g_neurons.rho[i] += ga[i] * (a_old[i] - charge * s_old[i])


@_inlined
def through_dendrite(d, d_old, gu, into_soma, into_dendrite, beta, gd, g_beta, g_gain, g_sum):
    """Go back from the membrane `gu` to the dendrite `gd`, its properties, and the summed input `g_sum`."""
    for i in range(d.shape[0]):
        gd[i] = beta[i] * gd[i] + into_soma[i] * gu[i]
    for i in range(d.shape[0]):
        g_beta[i] += gd[i] * (d_old[i] - d[i])
    for i in range(d.shape[0]):
        g_gain[i] += gd[i] * (d[i] - beta[i] * d_old[i])
    for i in range(d.shape[0]):
        g_sum[i] = into_dendrite[i] * gd[i]


@_inlined
def add(total, extra):
    """Add a row."""
    for i in range(total.shape[0]):
        total[i] += extra[i]


@_compiled
def backward_trial(
    inputs, neurons, weights, model, trace, d_logits, d_spikes, d_membrane, g_neurons, g_weights, g_inputs
):
    """Accumulate the gradients of one trial into `g_neurons`, `g_weights` and (unless empty) `g_inputs` (time, input).

    `d_logits` (time, output), `d_spikes` and `d_membrane` (time, neuron; empty: none) are the derivatives of the loss
    by what the forward pass left in `trace`.
    """
    steps, n = trace.membrane.shape
    outputs, dtype = weights.output.shape[0], trace.membrane.dtype
    kind = dtype.type
    zero, one, charge, kappa = kind(0), kind(1), kind(model.charge), kind(model.kappa)
    into = kind((1 - model.kappa) * model.charge)
    beta, alpha, threshold, rho = neurons.beta, neurons.alpha, neurons.threshold, neurons.rho
    into_dendrite, into_soma, into_adaptation = (one - beta) * neurons.gain, one - alpha, (one - rho) * charge
    inverse, zeros, theta = one / threshold, np.zeros(n, dtype), threshold.copy()
    # derivatives by dendrite, membrane, adaptation of the step after; by spikes, membrane through spikes, threshold
    gd, gu, ga, filtered = np.zeros(n, dtype), np.zeros(n, dtype), np.zeros(n, dtype), np.zeros((steps, outputs), dtype)
    gs, gv, gt, v = np.empty(n, dtype), np.zeros(n, dtype), np.empty(n, dtype), np.empty(n, dtype)
    g_alpha, g_beta, g_gain, g_threshold = (
        np.zeros(n, dtype),
        np.zeros(n, dtype),
        np.zeros(n, dtype),
        np.zeros(n, dtype),
    )
    near, every, g_after = np.empty(n + 1, np.int64), np.arange(outputs), zeros
    for t in range(steps - 1, -1, -1):
        first, last = t == 0, t == steps - 1
        d, u, s, g_sum = trace.dendrite[t], trace.membrane[t], trace.spikes[t], trace.gradient[t]
        d_old, u_old = zeros if first else trace.dendrite[t - 1], zeros if first else trace.membrane[t - 1]
        for k in range(outputs):
            filtered[t, k] = d_logits[t, k] + (zero if last else kappa * filtered[t + 1, k])
        if model.spiking:
            if model.adaptation:
                a = trace.adaptation[t]
                for i in range(n):
                    theta[i] = threshold[i] + neurons.strength[i] * a[i]
            pseudo_derivative(u, theta, inverse, v, gv)
            if model.refractory:
                hold_refractory(trace.spikes, t, model.refractory, gv)
            # by the spikes, through the reset, the adaptation, the loss, the readout, the recurrent weights
            for i in range(n):
                gs[i] = -theta[i] * gu[i]
            if model.adaptation:
                for i in range(n):
                    gs[i] += into_adaptation[i] * ga[i]
            if d_spikes.size:
                add(gs, d_spikes[t])
            if model.read_spikes:
                add_rows(gs, weights.output, filtered[t], into, every, outputs)
            if model.recurrent and not last:
                dot_rows(gs, weights.recurrent, g_after, charge, near, list_nonzero(gv, near))
            for i in range(n):
                gv[i] *= gs[i]
            for i in range(n):
                gt[i] = -gv[i] - s[i] * gu[i]  # by the effective threshold, here and in the reset after
            for i in range(n):
                g_threshold[i] += gt[i] - gv[i] * v[i]
            if model.adaptation:
                through_adaptation(t, gt, charge, neurons, trace, zeros, ga, g_neurons)
        for i in range(n):
            gu[i] = alpha[i] * gu[i] + gv[i]
        if not model.read_spikes:
            add_rows(gu, weights.output, d_logits[t], one, every, outputs)
        if d_membrane.size:
            add(gu, d_membrane[t])
        for i in range(n):
            g_alpha[i] += gu[i] * (u_old[i] - d[i])
        through_dendrite(d, d_old, gu, into_soma, into_dendrite, beta, gd, g_beta, g_gain, g_sum)
        g_after = g_sum
    add(g_neurons.alpha, g_alpha)
    add(g_neurons.threshold, g_threshold)
    add(g_neurons.beta, g_beta / (one - beta))
    add(g_neurons.gain, g_gain / neurons.gain)
    recurrent_gradients(model, trace, g_weights)
    output_gradients(model, trace, d_logits, filtered, g_weights)
    input_gradients(inputs, weights, trace, g_weights, g_inputs)


@_compiled
def recurrent_gradients(model, trace, g_weights):
    """Accumulate the gradient of the recurrent weights from ``trace.gradient``, the derivatives by summed inputs.

    One presynaptic neuron after the other: the rows of the steps after those at which it fired are added up.
    """
    steps, n = trace.membrane.shape
    if not (model.recurrent and model.spiking):
        return
    times, counts, fired = np.empty((n, steps), np.int64), np.zeros(n, np.int64), np.empty(n + 1, np.int64)
    factors, charge = np.empty(steps, trace.membrane.dtype), trace.membrane.dtype.type(model.charge)
    for t in range(steps - 1):  # nothing follows the last step
        for m in range(list_nonzero(trace.spikes[t], fired)):
            j = fired[m]
            times[j, counts[j]] = t
            counts[j] += 1
    after = trace.gradient[1:]
    for j in range(n):
        for m in range(counts[j]):
            factors[times[j, m]] = trace.spikes[times[j, m], j]
        add_rows(g_weights.recurrent[j], after, factors, charge, times[j], counts[j])
    if not model.autapses:
        for i in range(n):
            g_weights.recurrent[i, i] = 0


@_compiled
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


@_compiled
def input_gradients(inputs, weights, trace, g_weights, g_inputs):
    """Accumulate the gradients of input weights, bias and inputs; a stretch of constant input is summed up first."""
    steps, n = trace.membrane.shape
    run = np.zeros(n, trace.membrane.dtype)
    for t in range(steps - 1, -1, -1):
        row = trace.gradient[t]
        for i in range(n):
            run[i] += row[i]
        if not same_row(inputs, t):
            for k in range(inputs.shape[1]):
                x, g_row = inputs[t, k], g_weights.input[k]
                if x != 0:
                    for i in range(n):
                        g_row[i] += x * run[i]
            for i in range(n):
                g_weights.bias[i] += run[i]
            run[:] = 0
    if g_inputs.size:
        g_inputs += np.dot(trace.gradient, weights.input.T)


@_compiled
def pick(array, b):
    """Return trial `b` of an array (trial, time, ...), or something empty of it."""
    return array[b] if array.size else np.empty((0, 0), array.dtype)


@_compiled
def one_trial(trace, b):
    """Return the trace of trial `b`."""
    d, u, s = trace.dendrite[b], trace.membrane[b], trace.spikes[b]
    return Trace(d, u, pick(trace.adaptation, b), s, trace.logits[b], trace.gradient[b])


@_compiled
def forward(inputs, noise, neurons, weights, model, trace):
    """Simulate trials: everything as in `forward_trial`, with a trial axis in front."""
    for b in range(inputs.shape[0]):
        forward_trial(inputs[b], pick(noise, b), neurons, weights, model, one_trial(trace, b))


@_compiled
def backward(inputs, neurons, weights, model, trace, d_logits, d_spikes, d_membrane, g_neurons, g_weights, g_inputs):
    """Accumulate the gradients of trials: everything as in `backward_trial`, with a trial axis in front."""
    for b in range(inputs.shape[0]):
        backward_trial(
            inputs[b], neurons, weights, model, one_trial(trace, b),
            d_logits[b], pick(d_spikes, b), pick(d_membrane, b), g_neurons, g_weights, pick(g_inputs, b),
        )  # fmt: skip


# ---------------------------------------------------------------- the training step


@_compiled
def fill_noise(key, trial, scale, lanes, noise):
    """Fill `noise` (time, neuron) for one numbered trial: the same key and number, the same noise.

    One xorshift generator a neuron (Marsaglia 2003), seeded by splitmix64 from the key, the trial and the neuron.
    A value is the sum of four 16-bit uniform numbers, scaled to standard deviation `scale`: normal to within an
    excess kurtosis of -0.3.
    """
    n = lanes.shape[0]
    for i in range(n):
        z = key + np.uint64(trial * n + i + 1) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        lanes[i] = (z ^ (z >> np.uint64(31))) | np.uint64(1)
    kind = noise.dtype.type
    factor, middle, low = kind(scale * math.sqrt(3.0) / 65536.0), kind(131070.0), np.uint64(0xFFFF)
    for t in range(noise.shape[0]):
        row = noise[t]
        for i in range(n):
            x = lanes[i]
            x ^= x << np.uint64(13)
            x ^= x >> np.uint64(7)
            x ^= x << np.uint64(17)
            lanes[i] = x
            total = (x & low) + ((x >> np.uint64(16)) & low) + ((x >> np.uint64(32)) & low) + (x >> np.uint64(48))
            row[i] = (kind(np.int64(total)) - middle) * factor


@_compiled
def set_values(flat, transform, values, slopes, learning_only):
    """Write the rows of :class:`Neurons` into `values` and their derivatives by the free parameters into `slopes`."""
    one, four, dt = flat.dtype.type(1), flat.dtype.type(4), flat.dtype.type(transform.dt)
    for p in range(transform.start.shape[0]):
        if transform.start[p] < 0 or (learning_only and not transform.learns[p]):
            continue
        low, span = flat.dtype.type(transform.low[p]), flat.dtype.type(transform.log_range[p])
        for i in range(values.shape[1]):
            share = one / (one + math.exp(-four / span * flat[transform.start[p] + i]))
            value = low * math.exp(span * share)
            slope = value * four * share * (one - share)
            if transform.decays[p]:
                decay = math.exp(-dt / value)
                slope *= decay * dt / (value * value)
                value = decay
            values[p, i] = value
            slopes[p, i] = slope


@_compiled
def cross_entropy(logits, target, weight, response, d_logits):
    """Return loss, loss over the response period and whether the trial was answered; write the derivative by logits.

    Answered means that at every scored step before the response the right output (fixation) was the most probable,
    and that over the scored response period the right output had the largest mean probability.
    """
    steps, outputs = logits.shape
    loss, response_loss, scored, kept, wanted = 0.0, 0.0, 0, True, 0
    probability, mean = np.zeros(outputs, logits.dtype), np.zeros(outputs)
    for t in range(steps):
        if weight[t] == 0:
            d_logits[t, :] = 0
            continue
        largest, total, right = logits[t].max(), logits.dtype.type(0), target[t]
        for k in range(outputs):
            probability[k] = math.exp(logits[t, k] - largest)
            total += probability[k]
        here = math.log(total) + largest - logits[t, right]
        loss += weight[t] * here
        for k in range(outputs):
            probability[k] /= total
            d_logits[t, k] = weight[t] * probability[k]
        d_logits[t, right] -= weight[t]
        if response[t] > 0:
            response_loss += here
            scored += 1
            wanted = right
            for k in range(outputs):
                mean[k] += probability[k]
        elif probability.argmax() != right:
            kept = False
    return loss, response_loss / max(scored, 1), kept and mean.argmax() == wanted


@_compiled
def update(flat, gradient, moment1, moment2, step, rule):
    """Clip the gradient and take one step of Adam (Kingma & Ba 2015), segment by segment."""
    kind = flat.dtype.type
    one, total = kind(1), kind(0)
    for k in range(rule.start.shape[0]):
        p, g = flat[rule.start[k] : rule.stop[k]], gradient[rule.start[k] : rule.stop[k]]
        if rule.l2[k] > 0:
            pull = kind(2 * rule.l2[k] / p.shape[0])
            for i in range(p.shape[0]):
                g[i] += pull * p[i]
        for i in range(p.shape[0]):
            total += g[i] * g[i]
    scale = kind(min(1.0, rule.clip / (math.sqrt(total) + 1e-6))) if rule.clip > 0 else one
    step[0] += 1
    b1, b2, epsilon = kind(rule.beta1), kind(rule.beta2), kind(rule.epsilon)
    c1, c2, root = (one - b1) * scale, (one - b2) * scale * scale, kind(1 / math.sqrt(1 - rule.beta2 ** step[0]))
    for k in range(rule.start.shape[0]):
        span = slice(rule.start[k], rule.stop[k])
        p, g, m, v = flat[span], gradient[span], moment1[span], moment2[span]
        rate = kind(rule.rate[k] / (1 - rule.beta1 ** step[0]))
        for i in range(p.shape[0]):
            m[i] = b1 * m[i] + c1 * g[i]
        for i in range(p.shape[0]):
            v[i] = b2 * v[i] + c2 * g[i] * g[i]
        for i in range(p.shape[0]):
            p[i] -= rate * m[i] / (math.sqrt(v[i]) * root + epsilon)


@_compiled
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


@_compiled
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
        fill_noise(key, trial, scale, learner.lanes, noise)
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
        d_spikes = learner.d_spikes[:steps]
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


@_compiled
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
        if trial + 1 > goal.window:
            total = 0.0
            for k in range(trial + 1 - goal.window, trial + 1):
                total += losses[k]
            if total / goal.window < goal.criterion:
                return trial + 1, 1
    return last, 0


def must_compile() -> bool:
    """Tell whether the next training step has to be compiled first: nothing in memory, nothing in the cache on disk."""
    if getattr(learn, "signatures", True):  # a plain function where NUMBA_DISABLE_JIT is set
        return False
    folder = learn.stats.cache_path
    return not (folder and any(Path(folder).glob(f"{Path(__file__).stem}.learn-*.nbi")))
