"""The time loop of the spiking network, compiled for the CPU: forward, backward and a whole training step.

The equations stand in :mod:`ip2lab.networks.spiking`, whose plain loop is the oracle of what is here. Names are
the same. What makes it fast: spikes are rare, so recurrent input and weight gradients visit only the neurons that
fired; the pseudo-derivative is zero for most neurons most of the time, so the backward pass visits only the others;
inputs are constant over an epoch, so they are multiplied with their weights once; the filter of the readout is
applied to the few outputs instead of to the many neurons. All of that is exact.

Arrays are C-contiguous and time-major (time, trial, neuron). Weights lie with the presynaptic side first.
Loops write one array each and read few: wider ones are no longer vectorised.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numba import njit

# No "nnan"/"ninf": a NaN must stay one, it is how an exploding loss is recognised.
_FAST = {"reassoc", "contract", "nsz", "arcp"}


class Neurons(NamedTuple):
    """What the time loop needs of the properties, one value a neuron; see :mod:`ip2lab.networks.spiking`."""

    beta: Any
    alpha: Any
    threshold: Any
    strength: Any
    rho: Any
    gain: Any


class Weights(NamedTuple):
    """Weights with the presynaptic side first: input (input, neuron), recurrent (presynaptic, neuron), output (output, neuron)."""

    input: Any
    recurrent: Any
    bias: Any
    output: Any
    output_bias: Any


class Trace(NamedTuple):
    """What the forward pass leaves: states (time, trial, neuron) and logits (time, trial, output)."""

    dendrite: Any
    membrane: Any
    adaptation: Any
    spikes: Any
    logits: Any


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


_BUILT: list[Any] = []


def make_trace(steps: int, trials: int, neurons: int, outputs: int, dtype: Any, adaptation: bool) -> Trace:
    """Return room for the forward pass of `trials` trials of `steps` steps."""
    d, u, s = (np.empty((steps, trials, neurons), dtype) for _ in range(3))
    a = np.empty((steps, trials, neurons) if adaptation else (0, 0, 0), dtype)
    return Trace(d, u, a, s, np.empty((steps, trials, outputs), dtype))


def _compiled(function: Any) -> Any:
    """Compile on first call; kept on disk where a cache folder can be written, and without one elsewhere."""
    options = {"fastmath": _FAST, "error_model": "numpy", "nogil": True}
    try:
        built = njit(cache=True, **options)(function)
    except RuntimeError:  # numba: no locator available, no folder for the cache can be written
        built = njit(**options)(function)
    _BUILT.append(built)
    return built


@_compiled
def add_rows(total, weights, source, scale, listed, count):
    """Add ``scale * source[j] * weights[j]`` to `total` for the first `count` neurons j of `listed`, four rows at a time."""
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
    """Add ``scale * weights[j] @ vector`` to ``result[j]`` for the first `count` neurons j of `listed`, four rows at a time."""
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
    """List the indices at which `vector` is not zero in `listed` (one longer than needed); return how many there are."""
    count = 0
    for i in range(vector.shape[0]):
        listed[count] = i
        count += int(vector[i] != 0)
    return count


@_compiled
def same_row(inputs, t, b):
    """Tell whether the input at step `t` is that of the step before."""
    same = t > 0
    if same:
        for d in range(inputs.shape[2]):
            if inputs[t, b, d] != inputs[t - 1, b, d]:
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
def hold_refractory(spikes, t, b, steps, target):
    """Set `target` to zero where the neuron fired in the last `steps` steps before `t`."""
    for k in range(max(0, t - steps), t):
        row = spikes[k, b]
        for i in range(target.shape[0]):
            if row[i] > 0:
                target[i] = 0


@_compiled
def read_out(trace, weights, model, listed):
    """Write the logits of the whole trace; the filter of the readout runs over outputs instead of neurons."""
    steps, trials, n = trace.membrane.shape
    outputs, kind = weights.output.shape[0], trace.membrane.dtype.type
    kappa, into = kind(model.kappa), kind((1 - model.kappa) * model.charge)
    state = np.zeros(outputs, trace.membrane.dtype)
    for b in range(trials):
        state[:] = 0
        for t in range(steps):
            if model.read_spikes:
                s = trace.spikes[t, b]
                count = list_nonzero(s, listed)
                for k in range(outputs):
                    total = kind(0)
                    for m in range(count):
                        total += weights.output[k, listed[m]] * s[listed[m]]
                    state[k] = kappa * state[k] + into * total
                    trace.logits[t, b, k] = state[k] + weights.output_bias[k]
            else:
                u = trace.membrane[t, b]
                for k in range(outputs):
                    row, total = weights.output[k], kind(0)
                    for i in range(n):
                        total += row[i] * u[i]
                    trace.logits[t, b, k] = total + weights.output_bias[k]


@_compiled
def forward(inputs, noise, neurons, weights, model, trace):
    """Simulate `inputs` (time, trial, input) with `noise` (time, trial, neuron; empty: none) into `trace`."""
    steps, trials, n = trace.membrane.shape
    kind = trace.membrane.dtype.type
    one, charge = kind(1), kind(model.charge)
    beta, alpha, threshold, rho = neurons.beta, neurons.alpha, neurons.threshold, neurons.rho
    zeros, drive = np.zeros(n, trace.membrane.dtype), np.zeros((trials, n), trace.membrane.dtype)
    current, reset = np.empty(n, trace.membrane.dtype), np.zeros((trials, n), trace.membrane.dtype)
    theta = np.empty(n, trace.membrane.dtype)
    into_dendrite, into_soma, into_adaptation = (one - beta) * neurons.gain, one - alpha, (one - rho) * charge
    listed = np.empty(n + 1, np.int64)
    for t in range(steps):
        for b in range(trials):
            if not same_row(inputs, t, b):
                row = drive[b]
                row[:] = weights.bias
                for k in range(inputs.shape[2]):
                    x = inputs[t, b, k]
                    if x != 0:
                        w = weights.input[k]
                        for i in range(n):
                            row[i] += x * w[i]
            row = drive[b]
            if noise.size:
                extra = noise[t, b]
                for i in range(n):
                    current[i] = row[i] + extra[i]
            else:
                for i in range(n):
                    current[i] = row[i]
            first = t == 0
            s_old = zeros if first else trace.spikes[t - 1, b]
            d_old = zeros if first else trace.dendrite[t - 1, b]
            u_old = zeros if first else trace.membrane[t - 1, b]
            d, u, s, held = trace.dendrite[t, b], trace.membrane[t, b], trace.spikes[t, b], reset[b]
            if model.recurrent and model.spiking:
                add_rows(current, weights.recurrent, s_old, charge, listed, list_nonzero(s_old, listed))
            for i in range(n):
                d[i] = beta[i] * d_old[i] + into_dendrite[i] * current[i]
            for i in range(n):
                u[i] = alpha[i] * u_old[i] + into_soma[i] * d[i] - held[i]
            if not model.spiking:
                s[:] = 0
                continue
            if model.adaptation:
                a, a_old = trace.adaptation[t, b], zeros if first else trace.adaptation[t - 1, b]
                for i in range(n):
                    a[i] = rho[i] * a_old[i] + into_adaptation[i] * s_old[i]
                for i in range(n):
                    theta[i] = threshold[i] + neurons.strength[i] * a[i]
            else:
                for i in range(n):
                    theta[i] = threshold[i]
            spike(u, theta, threshold, s, model.spiking)
            if model.refractory:
                hold_refractory(trace.spikes, t, b, model.refractory, s)
            for i in range(n):
                held[i] = theta[i] * s[i]
    read_out(trace, weights, model, listed)


@_compiled
def backward(inputs, neurons, weights, model, trace, d_logits, d_spikes, d_membrane, g_neurons, g_weights, g_inputs):
    """Accumulate gradients into `g_neurons`, `g_weights` and (unless empty) `g_inputs`.

    `d_logits` (time, trial, output), `d_spikes` and `d_membrane` (time, trial, neuron; empty: none) are the
    derivatives of the loss by what `forward` left in `trace`.
    """
    steps, trials, n = trace.membrane.shape
    outputs, dtype = weights.output.shape[0], trace.membrane.dtype
    kind = dtype.type
    zero, one, charge, kappa = kind(0), kind(1), kind(model.charge), kind(model.kappa)
    into = kind((1 - model.kappa) * model.charge)
    beta, alpha, threshold, rho, strength = neurons.beta, neurons.alpha, neurons.threshold, neurons.rho, neurons.strength
    into_dendrite, into_soma, into_adaptation = (one - beta) * neurons.gain, one - alpha, (one - rho) * charge
    inverse = one / threshold
    zeros = np.zeros(n, dtype)
    # derivatives of the loss by: dendrite, membrane, adaptation, presynaptic sum (of the step after), filtered readout
    gd, gu, ga, gp = np.zeros((trials, n), dtype), np.zeros((trials, n), dtype), np.zeros((trials, n), dtype), np.zeros((trials, n), dtype)
    filtered, run = np.zeros((trials, outputs), dtype), np.zeros((trials, n), dtype)
    theta, v, gs, gv, gt = np.empty(n, dtype), np.empty(n, dtype), np.empty(n, dtype), np.empty(n, dtype), np.empty(n, dtype)
    g_beta, g_alpha, g_gain = np.zeros(n, dtype), np.zeros(n, dtype), np.zeros(n, dtype)
    fired, near = np.empty(n + 1, np.int64), np.empty(n + 1, np.int64)
    for t in range(steps - 1, -1, -1):
        first = t == 0
        for b in range(trials):
            d, u, s = trace.dendrite[t, b], trace.membrane[t, b], trace.spikes[t, b]
            d_old = zeros if first else trace.dendrite[t - 1, b]
            u_old = zeros if first else trace.membrane[t - 1, b]
            gd_b, gu_b, ga_b, gp_b = gd[b], gu[b], ga[b], gp[b]
            for k in range(outputs):
                filtered[b, k] = kappa * filtered[b, k] + d_logits[t, b, k]
                g_weights.output_bias[k] += d_logits[t, b, k]
            if model.spiking:
                count = list_nonzero(s, fired)
                if model.adaptation:
                    a = trace.adaptation[t, b]
                    for i in range(n):
                        theta[i] = threshold[i] + strength[i] * a[i]
                else:
                    for i in range(n):
                        theta[i] = threshold[i]
                for i in range(n):
                    v[i] = (u[i] - theta[i]) * inverse[i]
                for i in range(n):
                    gv[i] = max(zero, one - abs(v[i])) * inverse[i]  # the pseudo-derivative, by the membrane
                if model.refractory:
                    hold_refractory(trace.spikes, t, b, model.refractory, gv)
                # derivative of the loss by the spikes, wherever the pseudo-derivative lets it pass
                for i in range(n):
                    gs[i] = -theta[i] * gu_b[i]
                if model.adaptation:
                    for i in range(n):
                        gs[i] += into_adaptation[i] * ga_b[i]
                if d_spikes.size:
                    extra = d_spikes[t, b]
                    for i in range(n):
                        gs[i] += extra[i]
                if model.read_spikes:
                    for k in range(outputs):
                        row, f = weights.output[k], into * filtered[b, k]
                        for i in range(n):
                            gs[i] += f * row[i]
                        for m in range(count):
                            g_weights.output[k, fired[m]] += f * s[fired[m]]
                if model.recurrent:
                    dot_rows(gs, weights.recurrent, gp_b, charge, near, list_nonzero(gv, near))
                    # this step's spikes met the weights in the step after
                    for m in range(count):
                        j = fired[m]
                        f, row = charge * s[j], g_weights.recurrent[j]
                        for i in range(n):
                            row[i] += f * gp_b[i]
                for i in range(n):
                    gv[i] *= gs[i]
                for i in range(n):
                    gt[i] = -gv[i] - s[i] * gu_b[i]  # by the effective threshold, here and in the reset after
                for i in range(n):
                    g_neurons.threshold[i] += gt[i] - gv[i] * v[i]
                for i in range(n):
                    gu_b[i] = alpha[i] * gu_b[i] + gv[i]
                if model.adaptation:
                    a = trace.adaptation[t, b]
                    for i in range(n):
                        g_neurons.strength[i] += gt[i] * a[i]
                    for i in range(n):
                        ga_b[i] = rho[i] * ga_b[i] + strength[i] * gt[i]
                    if not first:
                        a_old, s_old = trace.adaptation[t - 1, b], trace.spikes[t - 1, b]
                        for i in range(n):
                            g_neurons.rho[i] += ga_b[i] * (a_old[i] - charge * s_old[i])
            else:
                for i in range(n):
                    gu_b[i] = alpha[i] * gu_b[i]
            if not model.read_spikes:
                for k in range(outputs):
                    row, f, g_row = weights.output[k], d_logits[t, b, k], g_weights.output[k]
                    for i in range(n):
                        gu_b[i] += f * row[i]
                    for i in range(n):
                        g_row[i] += f * u[i]
            if d_membrane.size:
                extra = d_membrane[t, b]
                for i in range(n):
                    gu_b[i] += extra[i]
            for i in range(n):
                g_alpha[i] += gu_b[i] * (u_old[i] - d[i])
            for i in range(n):
                gd_b[i] = beta[i] * gd_b[i] + into_soma[i] * gu_b[i]
            for i in range(n):
                g_beta[i] += gd_b[i] * (d_old[i] - d[i])
            for i in range(n):
                g_gain[i] += gd_b[i] * (d[i] - beta[i] * d_old[i])
            for i in range(n):
                gp_b[i] = into_dendrite[i] * gd_b[i]
            for i in range(n):
                run[b, i] += gp_b[i]
            if g_inputs.size:
                for k in range(inputs.shape[2]):
                    row, total = weights.input[k], zero
                    for i in range(n):
                        total += row[i] * gp_b[i]
                    g_inputs[t, b, k] += total
            if not same_row(inputs, t, b):  # the input changed here: the sum since belongs to one input
                for k in range(inputs.shape[2]):
                    x, row = inputs[t, b, k], g_weights.input[k]
                    if x != 0:
                        for i in range(n):
                            row[i] += x * run[b, i]
                for i in range(n):
                    g_weights.bias[i] += run[b, i]
                run[b, :] = 0
    for i in range(n):
        g_neurons.alpha[i] += g_alpha[i]
        g_neurons.beta[i] += g_beta[i] / (one - beta[i])
        g_neurons.gain[i] += g_gain[i] / neurons.gain[i]
    if not model.autapses:
        for i in range(n):
            g_weights.recurrent[i, i] = 0


# ---------------------------------------------------------------- the training step


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
    """Trials to train on: `inputs` (row, time, input), `target` and `weight` (row, time), `response` (row, time), `length` (row).

    `weight` sums to one over the scored steps; `response` is 1 in the scored part of the response period.
    """

    inputs: Any
    target: Any
    weight: Any
    response: Any
    length: Any


class Learner(NamedTuple):
    """Everything that changes while it learns, flat, and views of it: parameters, gradient, both moments, the step."""

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
    d_spikes: Any
    lanes: Any


@_compiled
def fill_noise(key, trial, scale, lanes, noise):
    """Fill `noise` (time, trial, neuron) for one numbered trial: the same key and number, the same noise.

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
        row = noise[t, 0]
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
    """Return loss, loss over the response period, and whether the trial was answered; write the derivative by the logits.

    Answered means that at every scored step before the response the right output (fixation) was the most probable,
    and that over the scored response period the right output had the largest mean probability.
    """
    steps, _, outputs = logits.shape
    loss, response_loss, scored, kept, wanted = 0.0, 0.0, 0, True, 0
    probability, mean = np.zeros(outputs, logits.dtype), np.zeros(outputs)
    for t in range(steps):
        if weight[t] == 0:
            d_logits[t, 0, :] = 0
            continue
        largest, total, right = logits[t, 0].max(), logits.dtype.type(0), target[t]
        for k in range(outputs):
            probability[k] = math.exp(logits[t, 0, k] - largest)
            total += probability[k]
        here = math.log(total) + largest - logits[t, 0, right]
        loss += weight[t] * here
        for k in range(outputs):
            probability[k] /= total
            d_logits[t, 0, k] = weight[t] * probability[k]
        d_logits[t, 0, right] -= weight[t]
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
    one, two = kind(1), kind(2)
    total = kind(0)
    for k in range(rule.start.shape[0]):
        first, last = rule.start[k], rule.stop[k]
        if rule.l2[k] > 0:
            pull = kind(2 * rule.l2[k] / (last - first))
            for i in range(first, last):
                gradient[i] += pull * flat[i]
        for i in range(first, last):
            total += gradient[i] * gradient[i]
    norm = math.sqrt(total)
    scale = kind(min(1.0, rule.clip / (norm + 1e-6))) if rule.clip > 0 else one
    step[0] += 1
    b1, b2 = kind(rule.beta1), kind(rule.beta2)
    root = kind(1 / math.sqrt(1 - rule.beta2 ** step[0]))
    epsilon = kind(rule.epsilon)
    for k in range(rule.start.shape[0]):
        rate = kind(rule.rate[k] / (1 - rule.beta1 ** step[0]))
        for i in range(rule.start[k], rule.stop[k]):
            g = gradient[i] * scale
            m = b1 * moment1[i] + (one - b1) * g
            v = b2 * moment2[i] + (one - b2) * g * g
            moment1[i] = m
            moment2[i] = v
            flat[i] -= rate * m / (math.sqrt(v) * root + epsilon)
    return norm


@_compiled
def pull_rates(trace, rule, d_spikes):
    """Write the derivative of ``rate_weight * mean((rate - target)**2)`` by the spikes."""
    steps, _, n = d_spikes.shape
    for i in range(n):
        rate = 0.0
        for t in range(steps):
            rate += trace.spikes[t, 0, i]
        d_spikes[0, 0, i] = rule.rate_weight * 2 * (rate / steps - rule.rate_target) / (n * steps)
    for t in range(1, steps):
        d_spikes[t] = d_spikes[0]


@_compiled
def learn_trial(stimuli, row, key, trial, scale, model, transform, rule, learner):
    """Do one trial: noise, forward, loss, backward, update. Return loss, loss of the response, answered, mean spikes a step."""
    steps = stimuli.length[row]
    whole, values, g_values = learner.trace, learner.values, learner.g_values
    trace = Trace(whole.dendrite[:steps], whole.membrane[:steps], whole.adaptation[:steps], whole.spikes[:steps], whole.logits[:steps])
    noise, d_logits = learner.noise[:steps], learner.d_logits[:steps]
    inputs = stimuli.inputs[row, :steps].reshape((steps, 1, stimuli.inputs.shape[2]))
    set_values(learner.flat, transform, values, learner.slopes, True)
    neurons = Neurons(values[0], values[1], values[2], values[3], values[4], values[5])
    g_neurons = Neurons(g_values[0], g_values[1], g_values[2], g_values[3], g_values[4], g_values[5])
    if scale > 0:
        fill_noise(key, trial, scale, learner.lanes, noise)
    else:
        noise[:] = 0
    forward(inputs, noise, neurons, learner.weights, model, trace)
    loss, response_loss, answered = cross_entropy(trace.logits, stimuli.target[row], stimuli.weight[row], stimuli.response[row], d_logits)
    learner.gradient[:] = 0
    g_values[:] = 0
    nothing = learner.noise[:0]
    d_spikes = nothing
    if rule.rate_weight > 0:
        d_spikes = learner.d_spikes[:steps]
        pull_rates(trace, rule, d_spikes)
    backward(inputs, neurons, learner.weights, model, trace, d_logits, d_spikes, nothing, g_neurons, learner.g_weights, nothing)
    for p in range(transform.start.shape[0]):
        if transform.start[p] >= 0 and transform.learns[p]:
            for i in range(values.shape[1]):
                learner.gradient[transform.start[p] + i] = g_values[p, i] * learner.slopes[p, i]
    update(learner.flat, learner.gradient, learner.moment1, learner.moment2, learner.step, rule)
    return loss, response_loss, answered, trace.spikes.mean()


@_compiled
def learn(stimuli, rows, first, last, key, scale, model, transform, rule, goal, learner, losses, response_losses, answered, rates):
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
    if learn.signatures:
        return False
    folder = learn.stats.cache_path
    return not (folder and any(Path(folder).glob(f"{Path(__file__).stem}.learn-*.nbi")))
