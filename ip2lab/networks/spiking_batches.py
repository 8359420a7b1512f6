"""The backward pass of many trials side by side, which share the loads of the weights."""

from __future__ import annotations

import numpy as np

from ip2lab.networks.compilation import compiled
from ip2lab.networks.spiking_kernels import (
    Adjoint,
    back_through_threshold,
    back_to_input,
    back_to_membrane,
    back_to_spikes,
    backward_trial,
    complete_properties,
    filter_back,
    input_gradients,
    one_trial,
    output_gradients,
    recurrent_gradients,
    shares,
    stimulus_gradients,
)
from ip2lab.networks.vectors import add, add_outputs, dot_rows, list_nonzero


@compiled
def dot_blocks(result, weights, vectors, t):
    """Write ``vectors[:, t] @ weights.T`` into `result` (trial, row); four rows and four trials share loads."""
    trials, n, zero = vectors.shape[0], vectors.shape[2], weights.dtype.type(0)
    rows = weights.shape[0]
    for j in range(0, rows, 4):
        # at the ends some are done twice
        j1, j2, j3 = min(j + 1, rows - 1), min(j + 2, rows - 1), min(j + 3, rows - 1)
        w0, w1, w2, w3 = weights[j], weights[j1], weights[j2], weights[j3]
        for b in range(0, trials, 4):
            b1, b2, b3 = min(b + 1, trials - 1), min(b + 2, trials - 1), min(b + 3, trials - 1)
            x0, x1, x2, x3 = vectors[b, t], vectors[b1, t], vectors[b2, t], vectors[b3, t]
            s00, s01, s02, s03, s10, s11, s12, s13 = zero, zero, zero, zero, zero, zero, zero, zero
            s20, s21, s22, s23, s30, s31, s32, s33 = zero, zero, zero, zero, zero, zero, zero, zero
            for i in range(n):
                a0, a1, a2, a3, x = w0[i], w1[i], w2[i], w3[i], x0[i]
                s00 += x * a0
                s01 += x * a1
                s02 += x * a2
                s03 += x * a3
                x = x1[i]
                s10 += x * a0
                s11 += x * a1
                s12 += x * a2
                s13 += x * a3
                x = x2[i]
                s20 += x * a0
                s21 += x * a1
                s22 += x * a2
                s23 += x * a3
                x = x3[i]
                s30 += x * a0
                s31 += x * a1
                s32 += x * a2
                s33 += x * a3
            r0, r1, r2, r3 = result[b], result[b1], result[b2], result[b3]
            r0[j], r0[j1], r0[j2], r0[j3] = s00, s01, s02, s03
            r1[j], r1[j1], r1[j2], r1[j3] = s10, s11, s12, s13
            r2[j], r2[j1], r2[j2], r2[j3] = s20, s21, s22, s23
            r3[j], r3[j1], r3[j2], r3[j3] = s30, s31, s32, s33


@compiled
def back_through_weights(gs, gv, weights, vectors, t, scale, near, products):
    """Add what the summed inputs of step `t` give back to the spikes before it, wherever it can pass (`gv` not zero).

    Where it can pass in most neurons (of the first trial), one product for all is quicker than looking for them.
    """
    trials, n = gv.shape
    if 2 * list_nonzero(gv[0], near) > n:
        dot_blocks(products, weights, vectors, t)
        for b in range(trials):
            total, extra = gs[b], products[b]
            for i in range(n):
                total[i] += scale * extra[i]
    else:
        for b in range(trials):
            dot_rows(gs[b], weights, vectors[b, t], scale, near, list_nonzero(gv[b], near))


@compiled
def adjoint_of(buffers, b):
    """Return the derivatives by the states of trial `b`."""
    return Adjoint(
        buffers[0, b], buffers[1, b], buffers[2, b], buffers[3, b], buffers[4, b], buffers[5, b], buffers[6, b],
        buffers[7, b], buffers[8, b],
    )  # fmt: skip


@compiled
def backward_together(
    first, last, inputs, neurons, weights, model, trace, d_logits, d_spikes, d_membrane, g_neurons, g_weights, g_inputs
):
    """Accumulate the gradients of trials `first` to `last`, step by step side by side: `backward_trial` for many."""
    trials, steps, n = last - first, trace.membrane.shape[1], trace.membrane.shape[2]
    dtype, kind = trace.membrane.dtype, trace.membrane.dtype.type
    one, scale = kind(1), kind(model.spike_scale)
    into = kind((1 - model.readout_decay) * model.spike_scale)
    share, zeros, near = shares(neurons, model), np.zeros(n, dtype), np.empty(n + 1, np.int64)
    buffers, products = np.zeros((9, trials, n), dtype), np.zeros((trials, n), dtype)
    filtered = np.empty((trials, steps, d_logits.shape[2]), dtype)
    gradient = trace.gradient[first:last]
    for b in range(trials):
        buffers[8, b] = neurons.threshold
        filter_back(model, d_logits[first + b], filtered[b])
    for t in range(steps - 1, -1, -1):
        if model.spiking:
            for b in range(trials):
                adjoint = adjoint_of(buffers, b)
                back_to_spikes(t, one_trial(trace, first + b), neurons, share, model, adjoint)
                if d_spikes.size:
                    add(adjoint.spikes, d_spikes[first + b, t])
                if model.read_spikes:
                    add_outputs(adjoint.spikes, weights.output, filtered[b, t], into)
            if model.recurrent and t + 1 < steps:
                through = buffers[4]
                back_through_weights(buffers[3], through, weights.recurrent, gradient, t + 1, scale, near, products)
        for b in range(trials):
            adjoint, done = adjoint_of(buffers, b), one_trial(trace, first + b)
            if model.spiking:
                back_through_threshold(t, done, neurons, model, adjoint, g_neurons)
            back_to_membrane(neurons, adjoint)
            if not model.read_spikes:
                add_outputs(adjoint.membrane, weights.output, d_logits[first + b, t], one)
            if d_membrane.size:
                add(adjoint.membrane, d_membrane[first + b, t])
            back_to_input(t, done, zeros, neurons, share, adjoint, g_neurons, gradient[b, t])
            input_gradients(inputs[first + b], t, adjoint.current, g_weights.input, g_neurons.bias)
    for b in range(trials):
        done = one_trial(trace, first + b)
        recurrent_gradients(model, done, g_weights)
        output_gradients(model, done, d_logits[first + b], filtered[b], g_weights)
        stimulus_gradients(done, weights, g_inputs[first + b])


@compiled
def backward(
    inputs, neurons, weights, model, trace, d_logits, d_spikes, d_membrane, g_neurons, g_weights, g_inputs, together
):
    """Accumulate the gradients of trials: everything as in `backward_trial`, with a trial axis in front.

    `together` is how many trials go side by side, or None: one after the other. Only what is asked for is compiled.
    """
    if together is None:
        for b in range(inputs.shape[0]):
            backward_trial(
                inputs[b], neurons, weights, model, one_trial(trace, b), d_logits[b], d_spikes[b], d_membrane[b],
                g_neurons, g_weights, g_inputs[b],
            )  # fmt: skip
    else:
        for first in range(0, inputs.shape[0], together):
            last = min(first + together, inputs.shape[0])
            backward_together(
                first, last, inputs, neurons, weights, model, trace, d_logits, d_spikes, d_membrane,
                g_neurons, g_weights, g_inputs,
            )  # fmt: skip
    complete_properties(neurons, g_neurons)
