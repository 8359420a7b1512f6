"""What the training steps of the compiled networks share: noise, properties, loss, criterion, and the optimiser."""

from __future__ import annotations

import math

import numpy as np

from ip2lab.networks.compilation import compiled


@compiled
def fill_noise(key, trial, scale, rng_state, noise):
    """Fill `noise` (time, neuron) for one numbered trial: the same key and number, the same noise.

    One xorshift generator per neuron (Marsaglia 2003), seeded by splitmix64 from the key, the trial and the neuron.
    A value is the sum of four 16-bit uniform numbers, scaled to standard deviation `scale`: normal to within an
    excess kurtosis of -0.3.
    """
    n = rng_state.shape[0]
    for i in range(n):
        z = key + np.uint64(trial * n + i + 1) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        rng_state[i] = (z ^ (z >> np.uint64(31))) | np.uint64(1)
    kind = noise.dtype.type
    factor, middle, low = kind(scale * math.sqrt(3.0) / 65536.0), kind(131070.0), np.uint64(0xFFFF)
    for t in range(noise.shape[0]):
        row = noise[t]
        for i in range(n):
            x = rng_state[i]
            x ^= x << np.uint64(13)
            x ^= x >> np.uint64(7)
            x ^= x << np.uint64(17)
            rng_state[i] = x
            total = (x & low) + ((x >> np.uint64(16)) & low) + ((x >> np.uint64(32)) & low) + (x >> np.uint64(48))
            row[i] = (kind(np.int64(total)) - middle) * factor


@compiled
def transformed(z, kind, low, span, one, four):
    """Return the value of a free parameter `z` and its derivative; see :class:`ip2lab.properties.Property`."""
    if kind == 0:  # log
        share = one / (one + math.exp(-four / span * z))
        value = low * math.exp(span * share)
        return value, value * four * share * (one - share)
    if kind == 1:  # tanh: `low` is the middle between the bounds, `span` half their distance
        share = math.tanh(z / span)
        return low + span * share, one - share * share
    return z, one


@compiled
def set_values(flat, transform, values, slopes, learning_only):
    """Write the constants of the neurons into `values` and their derivatives by the free parameters into `slopes`."""
    one, four, dt = flat.dtype.type(1), flat.dtype.type(4), flat.dtype.type(transform.dt)
    for p in range(transform.start.shape[0]):
        if transform.start[p] < 0 or (learning_only and not transform.learns[p]):
            continue
        low, span = flat.dtype.type(transform.low[p]), flat.dtype.type(transform.span[p])
        for i in range(values.shape[1]):
            value, slope = transformed(flat[transform.start[p] + i], transform.kind[p], low, span, one, four)
            if transform.decays[p]:
                decay = math.exp(-dt / value)
                slope *= decay * dt / (value * value)
                value = decay
            values[p, i] = value
            slopes[p, i] = slope


@compiled
def property_gradients(state, transform):
    """Write the gradients of the free parameters that learn."""
    for p in range(transform.start.shape[0]):
        if transform.start[p] >= 0 and transform.learns[p]:
            for i in range(state.values.shape[1]):
                state.gradient[transform.start[p] + i] = state.g_values[p, i] * state.slopes[p, i]


@compiled
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


@compiled
def update(flat, gradient, moment1, moment2, step, optimizer):
    """Clip the gradient and take one step of Adam (Kingma & Ba 2015), segment by segment."""
    kind = flat.dtype.type
    one, total = kind(1), kind(0)
    for k in range(optimizer.start.shape[0]):
        p, g = flat[optimizer.start[k] : optimizer.stop[k]], gradient[optimizer.start[k] : optimizer.stop[k]]
        if optimizer.l2[k] > 0:
            pull = kind(2 * optimizer.l2[k] / p.shape[0])
            for i in range(p.shape[0]):
                g[i] += pull * p[i]
        for i in range(p.shape[0]):
            total += g[i] * g[i]
    scale = kind(min(1.0, optimizer.clip / (math.sqrt(total) + 1e-6))) if optimizer.clip > 0 else one
    step[0] += 1
    b1, b2, epsilon = kind(optimizer.beta1), kind(optimizer.beta2), kind(optimizer.epsilon)
    c1, c2, root = (one - b1) * scale, (one - b2) * scale * scale, kind(1 / math.sqrt(1 - optimizer.beta2 ** step[0]))
    for k in range(optimizer.start.shape[0]):
        span = slice(optimizer.start[k], optimizer.stop[k])
        p, g, m, v = flat[span], gradient[span], moment1[span], moment2[span]
        rate = kind(optimizer.rate[k] / (1 - optimizer.beta1 ** step[0]))
        for i in range(p.shape[0]):
            m[i] = b1 * m[i] + c1 * g[i]
        for i in range(p.shape[0]):
            v[i] = b2 * v[i] + c2 * g[i] * g[i]
        for i in range(p.shape[0]):
            p[i] -= rate * m[i] / (math.sqrt(v[i]) * root + epsilon)


@compiled
def solved(losses, trial, criterion):
    """Tell whether the mean loss of the last trials, up to `trial`, meets the criterion."""
    if trial + 1 <= criterion.window:
        return False
    total = 0.0
    for k in range(trial + 1 - criterion.window, trial + 1):
        total += losses[k]
    return total / criterion.window < criterion.loss
