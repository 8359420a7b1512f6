"""The floor: what the pieces of a training step cost, each alone and at its best, on a real trace.

Every piece is timed inside one compiled loop, in every form that might be the fastest one (visiting only neurons that
matter, or one matrix product); the floor is the sum of the fastest forms. What it leaves out is what composing them
costs. It is no lower bound in a strict sense: a better idea for a piece would lower it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numba import njit

from ip2lab.networks.spiking import SpikingNetwork

compiled = njit(fastmath={"reassoc", "contract", "nsz", "arcp"}, error_model="numpy", cache=True)


class Case(NamedTuple):
    """What one forward pass was made of: arrays (time, trial, neuron), weights with the presynaptic side first."""

    noise: np.ndarray
    beta: np.ndarray
    alpha: np.ndarray
    threshold: np.ndarray
    recurrent: np.ndarray
    output: np.ndarray
    dendrite: np.ndarray
    membrane: np.ndarray
    spikes: np.ndarray


@torch.no_grad()
def make_case(network: SpikingNetwork, inputs: torch.Tensor, noise: torch.Tensor) -> Case:
    """Run the plain loop on `inputs` and `noise` (trial, time, ...) and keep what a piece needs."""
    activity = network(inputs, noise, compiled=False)
    value = network.properties()
    decays = [torch.exp(-network.dt / value[name]) for name in ("tau_dendrite", "tau_soma")]
    arrays = [*decays, value["threshold"], network.recurrent_weights.T, network.output_weights]
    traces = [a.transpose(0, 1) for a in (noise, activity.dendrite, activity.membrane, activity.spikes)]
    first, *rest = (np.ascontiguousarray(a.numpy()) for a in traces)
    return Case(first, *(np.ascontiguousarray(a.numpy()) for a in arrays), *rest)


# ---------------------------------------------------------------- pieces


@compiled
def _noise(times, rng_state, noise):
    """A xorshift generator a neuron; the sum of four 16-bit uniform numbers is nearly normal."""
    low, kind = np.uint64(0xFFFF), noise.dtype.type
    for _ in range(times):
        for t in range(noise.shape[0]):
            row = noise[t, 0]
            for i in range(rng_state.shape[0]):
                x = rng_state[i]
                x ^= x << np.uint64(13)
                x ^= x >> np.uint64(7)
                x ^= x << np.uint64(17)
                rng_state[i] = x
                total = (x & low) + ((x >> np.uint64(16)) & low) + ((x >> np.uint64(32)) & low) + (x >> np.uint64(48))
                row[i] = (kind(np.int64(total)) - kind(131070)) * kind(1.3e-6)


@compiled
def _elementwise_forward(times, drive, noise, beta, alpha, threshold, d, u, s):
    steps, trials, n = d.shape
    one, zero = d.dtype.type(1), d.dtype.type(0)
    a, c = one - beta, one - alpha
    for _ in range(times):
        for t in range(1, steps):
            for b in range(trials):
                row, old, u_old, s_old, d_now, u_now, s_now, x = (
                    noise[t, b],
                    d[t - 1, b],
                    u[t - 1, b],
                    s[t - 1, b],
                    d[t, b],
                    u[t, b],
                    s[t, b],
                    drive[b],
                )
                for i in range(n):
                    d_now[i] = beta[i] * old[i] + a[i] * (x[i] + row[i])
                for i in range(n):
                    u_now[i] = alpha[i] * u_old[i] + c[i] * d_now[i] - threshold[i] * s_old[i]
                for i in range(n):
                    s_now[i] = one if u_now[i] > threshold[i] else zero


@compiled
def _list(vector, listed):
    count = 0
    for i in range(vector.shape[0]):
        listed[count] = i
        count += int(vector[i] != 0)
    return count


@compiled
def _rows(times, s, w, current):
    """Recurrent input from the rows of the neurons that fired, eight at a time."""
    n = s.shape[2]
    listed = np.empty(n + 1, np.int64)
    for _ in range(times):
        for t in range(1, s.shape[0]):
            for b in range(s.shape[1]):
                count, c, k = _list(s[t - 1, b], listed), current[b], 0
                while k + 8 <= count:
                    r0, r1, r2, r3 = w[listed[k]], w[listed[k + 1]], w[listed[k + 2]], w[listed[k + 3]]
                    r4, r5, r6, r7 = w[listed[k + 4]], w[listed[k + 5]], w[listed[k + 6]], w[listed[k + 7]]
                    for i in range(n):
                        c[i] += ((r0[i] + r1[i]) + (r2[i] + r3[i])) + ((r4[i] + r5[i]) + (r6[i] + r7[i]))
                    k += 8
                while k < count:
                    r0 = w[listed[k]]
                    for i in range(n):
                        c[i] += r0[i]
                    k += 1


@compiled
def _products(times, s, w, current):
    for _ in range(times):
        for t in range(s.shape[0] - 1):
            np.dot(s[t], w, current)


@compiled
def _elementwise_backward(  # noqa: C901
    times, d, u, s, gs, theta, beta, alpha, sums
):
    """Pseudo-derivative, both filters backward, the sums for three properties, the input and the bias."""
    steps, trials, n = d.shape
    one, zero = d.dtype.type(1), d.dtype.type(0)
    inverse, a, c = one / theta, one - beta, one - alpha
    gd, gu, v, gv = (
        np.zeros((trials, n), d.dtype),
        np.zeros((trials, n), d.dtype),
        np.empty(n, d.dtype),
        np.empty(n, d.dtype),
    )
    for _ in range(times):
        for t in range(steps - 1, 0, -1):
            for b in range(trials):
                gd_b, gu_b, x, d_now, u_now, s_now, d_old, u_old = (
                    gd[b],
                    gu[b],
                    gs[t, b],
                    d[t, b],
                    u[t, b],
                    s[t, b],
                    d[t - 1, b],
                    u[t - 1, b],
                )
                for i in range(n):
                    v[i] = u_now[i] * inverse[i] - one
                for i in range(n):
                    gv[i] = max(zero, one - abs(v[i])) * inverse[i] * (x[i] - theta[i] * gu_b[i])
                for i in range(n):
                    sums[0, i] -= gv[i] * (one + v[i]) + s_now[i] * gu_b[i]
                for i in range(n):
                    gu_b[i] = alpha[i] * gu_b[i] + gv[i]
                for i in range(n):
                    sums[1, i] += gu_b[i] * (u_old[i] - d_now[i])
                for i in range(n):
                    gd_b[i] = beta[i] * gd_b[i] + c[i] * gu_b[i]
                for i in range(n):
                    sums[2, i] += gd_b[i] * (d_old[i] - d_now[i])
                for i in range(n):
                    sums[3, i] += a[i] * gd_b[i]


@compiled
def _dots(times, slope, w, gp, gs):
    """What the presynaptic sums give back to the spikes, only where the pseudo-derivative is not zero."""
    n, zero = w.shape[0], w.dtype.type(0)
    listed = np.empty(n + 1, np.int64)
    for _ in range(times):
        for t in range(slope.shape[0] - 1):
            for b in range(slope.shape[1]):
                count, v, g, k = _list(slope[t, b], listed), gp[t + 1, b], gs[b], 0
                while k + 4 <= count:
                    w0, w1, w2, w3 = w[listed[k]], w[listed[k + 1]], w[listed[k + 2]], w[listed[k + 3]]
                    s0, s1, s2, s3 = zero, zero, zero, zero
                    for i in range(n):
                        s0 += w0[i] * v[i]
                        s1 += w1[i] * v[i]
                        s2 += w2[i] * v[i]
                        s3 += w3[i] * v[i]
                    g[listed[k]], g[listed[k + 1]], g[listed[k + 2]], g[listed[k + 3]] = s0, s1, s2, s3
                    k += 4
                while k < count:
                    w0, s0 = w[listed[k]], zero
                    for i in range(n):
                        s0 += w0[i] * v[i]
                    g[listed[k]] = s0
                    k += 1


@compiled
def _blocks(times, w, gp, gs):
    """The same for all neurons: dot products, four neurons and four trials at a time."""
    n, zero = w.shape[0], w.dtype.type(0)
    for _ in range(times):
        for t in range(1, gp.shape[0]):
            for j in range(0, n - 3, 4):
                w0, w1, w2, w3 = w[j], w[j + 1], w[j + 2], w[j + 3]
                for b in range(0, gp.shape[1] - 3, 4):
                    x0, x1, x2, x3 = gp[t, b], gp[t, b + 1], gp[t, b + 2], gp[t, b + 3]
                    a00 = a01 = a02 = a03 = a10 = a11 = a12 = a13 = a20 = a21 = a22 = a23 = a30 = a31 = a32 = a33 = zero
                    for i in range(n):
                        p0, p1, p2, p3, q0, q1, q2, q3 = x0[i], x1[i], x2[i], x3[i], w0[i], w1[i], w2[i], w3[i]
                        a00 += p0 * q0
                        a01 += p0 * q1
                        a02 += p0 * q2
                        a03 += p0 * q3
                        a10 += p1 * q0
                        a11 += p1 * q1
                        a12 += p1 * q2
                        a13 += p1 * q3
                        a20 += p2 * q0
                        a21 += p2 * q1
                        a22 += p2 * q2
                        a23 += p2 * q3
                        a30 += p3 * q0
                        a31 += p3 * q1
                        a32 += p3 * q2
                        a33 += p3 * q3
                    gs[b, j], gs[b, j + 1], gs[b, j + 2], gs[b, j + 3] = a00, a01, a02, a03
                    gs[b + 1, j], gs[b + 1, j + 1], gs[b + 1, j + 2], gs[b + 1, j + 3] = a10, a11, a12, a13
                    gs[b + 2, j], gs[b + 2, j + 1], gs[b + 2, j + 2], gs[b + 2, j + 3] = a20, a21, a22, a23
                    gs[b + 3, j], gs[b + 3, j + 1], gs[b + 3, j + 2], gs[b + 3, j + 3] = a30, a31, a32, a33


@compiled
def _outer(times, s, gp, g):
    """The weight gradient, step by step, only the rows of neurons that fired."""
    n = s.shape[2]
    listed = np.empty(n + 1, np.int64)
    for _ in range(times):
        for t in range(s.shape[0] - 1):
            for b in range(s.shape[1]):
                count, x = _list(s[t, b], listed), gp[t + 1, b]
                for m in range(count):
                    row = g[listed[m]]
                    for i in range(n):
                        row[i] += x[i]


@compiled
def _outer_product(times, s, gp, g):
    for _ in range(times):
        np.dot(s.T, gp, g)


@compiled
def _loss(times, s, w, target, weight, d_logits, scratch):
    steps, trials, outputs = d_logits.shape
    for _ in range(times):
        np.dot(s, w, scratch)
        for b in range(trials):
            for t in range(steps):
                row = d_logits[t, b]
                largest, total = scratch[t * trials + b].max(), s.dtype.type(0)
                for k in range(outputs):
                    row[k] = math.exp(scratch[t * trials + b, k] - largest)
                    total += row[k]
                for k in range(outputs):
                    row[k] *= weight / total
                row[target[t, b]] -= weight


@compiled
def _read_back(times, d_logits, w, s, gs, g):
    """What the readout gives back to the spikes, and the gradient of its weights."""
    for _ in range(times):
        np.dot(d_logits, w, gs)
        np.dot(d_logits.T, s, g)


@compiled
def _properties(times, free, values, slopes):
    """Three properties and their derivatives by what is learnt, two of them as decays."""
    one = free.dtype.type(1)
    for _ in range(times):
        for p in range(free.shape[0]):
            for i in range(free.shape[1]):
                share = one / (one + math.exp(-free[p, i]))
                value = math.exp(share)
                slope = value * share * (one - share)
                if p < 2:
                    decay = math.exp(-one / value)
                    slope *= decay / (value * value)
                    value = decay
                values[p, i] = value
                slopes[p, i] = slope


@compiled
def _clip_and_adam(times, flat, gradient, moment1, moment2):
    kind = flat.dtype.type
    b1, b2, one, rate, epsilon = kind(0.3), kind(0.999), kind(1), kind(1e-9), kind(1e-8)
    for _ in range(times):
        total = kind(0)
        for i in range(flat.shape[0]):
            total += gradient[i] * gradient[i]
        scale = min(one, one / (math.sqrt(total) + kind(1e-6)))
        for i in range(flat.shape[0]):
            g = gradient[i] * scale
            m, v = b1 * moment1[i] + (one - b1) * g, b2 * moment2[i] + (one - b2) * g * g
            moment1[i] = m
            moment2[i] = v
            flat[i] -= rate * m / (math.sqrt(v) + epsilon)
        gradient[:] = gradient[:]


def pieces(case: Case, parameters: int | None) -> dict[str, dict[str, Callable[[int], Any]]]:
    """Return every piece in every form, as functions of how often to do it.

    `parameters` is how many parameters learn in a whole training step; None: only forward, loss and backward.
    """
    d, u, s = case.dendrite, case.membrane, case.spikes
    steps, trials, n = d.shape
    outputs, theta = case.output.shape[0], case.threshold
    rng = np.random.default_rng(0)
    gp = rng.standard_normal(d.shape).astype(np.float32) * np.float32(1e-3)
    slope = np.maximum(0, 1 - np.abs((u - theta) / theta))
    w, current, g, sums = (
        case.recurrent,
        np.zeros((trials, n), np.float32),
        np.zeros((n, n), np.float32),
        np.zeros((4, n), np.float32),
    )
    w_back, w_out = np.ascontiguousarray(w.T), np.ascontiguousarray(case.output.T)
    s_flat, gp_flat = s[:-1].reshape(-1, n), gp[1:].reshape(-1, n)
    target = rng.integers(0, outputs, (steps, trials))
    scratch, d_logits = np.empty((steps * trials, outputs), np.float32), np.empty((steps, trials, outputs), np.float32)
    d_flat, gs_flat, g_out = (
        d_logits.reshape(-1, outputs),
        np.empty((steps * trials, n), np.float32),
        case.output.copy(),
    )
    copies, drive = (d.copy(), u.copy(), s.copy()), np.full((trials, n), 0.5, np.float32)
    result = {
        "forward, elementwise": {
            "loops": lambda k: _elementwise_forward(k, drive, case.noise, case.beta, case.alpha, theta, *copies)
        },
        "forward, recurrent input": {
            "rows that fired": lambda k: _rows(k, s, w, current),
            "matrix product": lambda k: _products(k, s, w, current),
        },
        "readout and loss": {
            "product": lambda k: _loss(k, s.reshape(-1, n), w_out, target, np.float32(1 / steps), d_logits, scratch)
        },
        "readout, backward": {
            "product": lambda k: _read_back(k, d_flat, case.output, s.reshape(-1, n), gs_flat, g_out)
        },
        "backward, elementwise": {
            "loops": lambda k: _elementwise_backward(k, d, u, s, gp, theta, case.beta, case.alpha, sums)
        },
        "backward, to the spikes": {
            "where it can pass": lambda k: _dots(k, slope, w, gp, current),
            "matrix product": lambda k: _products(k, gp, w_back, current),
        }
        | ({"blocks": lambda k: _blocks(k, w, gp, current)} if trials % 4 == 0 and n % 4 == 0 else {}),
        "weight gradient": {
            "rows that fired": lambda k: _outer(k, s, gp, g),
            "matrix product": lambda k: _outer_product(k, s_flat, gp_flat, g),
        },
    }
    if parameters is not None:
        rng_state, noise = rng.integers(1, 2**63, n, np.uint64), np.empty(d.shape, np.float32)
        flat, gradient, moment1, moment2 = (rng.random(parameters).astype(np.float32) for _ in range(4))
        result["noise"] = {"generator": lambda k: _noise(k, rng_state, noise)}
        free, values, slopes = rng.random((3, 3, n)).astype(np.float32)
        result["properties"] = {"loop": lambda k: _properties(k, free, values, slopes)}
        result["clip and Adam"] = {"loop": lambda k: _clip_and_adam(k, flat, gradient, moment1, moment2)}
    return result
