"""The network of :mod:`ip2lab.networks.spiking` in JAX: what a careful user of a compiler would write.

The loop is a ``lax.scan``, differentiated by JAX or with a hand-written backward pass whose weight gradient is one
matrix product. Shapes are (time, trial, ...); with one trial the dim `trial` may be left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from ip2lab.networks.spiking import READOUT_TIME, REFERENCE_STEP, SpikingNetwork
from ip2lab.properties import PROPERTIES

Tree = dict[str, Any]


def parameters(network: SpikingNetwork) -> Tree:
    """Return the parameters, weights with the presynaptic side first."""
    turned = ("input_weights", "recurrent_weights")
    return {
        name: jnp.array((p.detach().T if name in turned else p.detach()).numpy())
        for name, p in network.named_parameters()
    }


def _value(free: Any, name: str) -> Any:
    row = PROPERTIES[name]
    return row.bounds[0] * jnp.exp(row.log_range * jax.nn.sigmoid(4 / row.log_range * free))


@jax.custom_jvp
def spike(v: Any) -> Any:
    """Return the step function of `v`, with a triangular pseudo-derivative."""
    return (v > 0).astype(v.dtype)


@spike.defjvp
def _(primal: Any, tangent: Any) -> Any:
    return spike(primal[0]), tangent[0] * jnp.maximum(0, 1 - jnp.abs(primal[0]))


def _loop(drive: Any, w: Any, beta: Any, alpha: Any, theta: Any, charge: float, unroll: int) -> Any:
    def step(state: Any, now: Any) -> Any:
        d, u, s = state
        d = beta * d + (1 - beta) * (now + charge * (s @ w))
        u = alpha * u + (1 - alpha) * d - theta * s
        s = spike((u - theta) / theta)
        return (d, u, s), (d, u, s)

    zero = jnp.zeros_like(drive[0])
    return jax.lax.scan(step, (zero, zero, zero), drive, unroll=unroll)[1]


@partial(jax.custom_vjp, nondiff_argnums=(5, 6))
def _by_hand(drive: Any, w: Any, beta: Any, alpha: Any, theta: Any, charge: float, unroll: int) -> Any:
    return _loop(drive, w, beta, alpha, theta, charge, unroll)[2]


def _by_hand_forward(drive: Any, w: Any, beta: Any, alpha: Any, theta: Any, charge: float, unroll: int) -> Any:
    trace = _loop(drive, w, beta, alpha, theta, charge, unroll)
    return trace[2], (trace, w, beta, alpha, theta)


def _by_hand_backward(charge: float, unroll: int, kept: Any, g_spikes: Any) -> Any:
    (d, u, s), w, beta, alpha, theta = kept
    v = (u - theta) / theta
    pseudo = jnp.maximum(0, 1 - jnp.abs(v)) / theta
    back = charge * w.T

    def step(state: Any, now: Any) -> Any:
        gd, gu = state
        gs, slope = now
        gv = slope * (gs - theta * gu + ((1 - beta) * gd) @ back)
        gu = alpha * gu + gv
        gd = beta * gd + (1 - alpha) * gu
        return (gd, gu), (gd, gu, gv)

    zero = jnp.zeros_like(d[0])
    gd, gu, gv = jax.lax.scan(step, (zero, zero), (g_spikes, pseudo), reverse=True, unroll=unroll)[1]
    g_drive = (1 - beta) * gd
    before = lambda x: jnp.concatenate([zero[None], x[:-1]])  # noqa: E731
    after = lambda x: jnp.concatenate([x[1:], zero[None]])  # noqa: E731
    total = lambda x: x.reshape(-1, x.shape[-1]).sum(0)  # noqa: E731
    flat = lambda x: x.reshape(-1, x.shape[-1])  # noqa: E731
    g_w = charge * flat(s).T @ flat(after(g_drive))
    g_beta = total(gd * (before(d) - d)) / (1 - beta)
    return g_drive, g_w, g_beta, total(gu * (before(u) - d)), total(-gv - s * after(gu) - gv * v)


_by_hand.defvjp(_by_hand_forward, _by_hand_backward)


def simulate(p: Tree, x: Any, noise: Any, *, dt: float, by_hand: bool = False, unroll: int = 1) -> tuple[Any, Any, Any]:
    """Return logits, spikes and membrane (the last None where the backward pass is written by hand)."""
    tau_d, tau_s, theta = (_value(p[f"free.{name}"], name) for name in ("tau_dendrite", "tau_soma", "threshold"))
    drive = x @ p["input_weights"] + p["bias"]
    drive = drive if noise is None else drive + noise
    charge = REFERENCE_STEP / dt
    args = (drive, p["recurrent_weights"], jnp.exp(-dt / tau_d), jnp.exp(-dt / tau_s), theta, charge, unroll)
    if by_hand:
        s, u = _by_hand(*args), None
    else:
        _, u, s = _loop(*args)
    kappa = math.exp(-dt / READOUT_TIME)
    late = jnp.subtract.outer(jnp.arange(len(x)), jnp.arange(len(x)))
    lag = jnp.where(late < 0, 0, (1 - kappa) * charge * kappa ** jnp.maximum(late, 0))
    return jnp.tensordot(lag, s @ p["output_weights"].T, 1) + p["output_bias"], s, u


def make_loss(dt: float, by_hand: bool, unroll: int) -> Callable[..., Any]:
    """Return the cross-entropy, weighted along time, as a function of parameters, input, noise, target and weight."""

    def loss(p: Tree, x: Any, noise: Any, target: Any, weight: Any) -> Any:
        logits = simulate(p, x, noise, dt=dt, by_hand=by_hand, unroll=unroll)[0]
        each = -jnp.take_along_axis(jax.nn.log_softmax(logits), target[..., None], -1)[..., 0]
        return (weight.reshape(weight.shape + (1,) * (each.ndim - 1)) * each).sum() / each[0].size

    return loss


def make_step(
    rates: dict[str, float], noise_scale: float, dt: float, by_hand: bool, unroll: int, trials: int = 1
) -> Callable[..., Any]:
    """Return the whole training step, compiled: noise, loss, gradient, clip, Adam; `trials` of them in one call."""
    gradient = jax.value_and_grad(make_loss(dt, by_hand, unroll))

    def one(state: Any, _: Any, x: Any, target: Any, weight: Any) -> Any:
        p, m, v, count, key = state
        key, now = jax.random.split(key)
        noise = noise_scale * jax.random.normal(now, (len(x), p["bias"].size), jnp.float32)
        loss, g = gradient(p, x, noise, target, weight)
        w = g["recurrent_weights"]
        g["recurrent_weights"] = w * (1 - jnp.eye(len(w)))
        norm = jnp.sqrt(sum(jnp.sum(part * part) for part in g.values()))
        scale, count = jnp.minimum(1, 1 / (norm + 1e-6)), count + 1
        b1, b2 = 0.3, 0.999
        m = {name: b1 * m[name] + (1 - b1) * scale * g[name] for name in p}
        v = {name: b2 * v[name] + (1 - b2) * (scale * g[name]) ** 2 for name in p}
        root = jnp.sqrt(1 - b2**count)
        p = {name: p[name] - rates[name] / (1 - b1**count) * m[name] / (jnp.sqrt(v[name]) / root + 1e-8) for name in p}
        return (p, m, v, count, key), loss

    def step(state: Any, x: Any, target: Any, weight: Any) -> Any:
        if trials == 1:
            return one(state, None, x, target, weight)
        return jax.lax.scan(partial(one, x=x, target=target, weight=weight), state, None, length=trials)

    return jax.jit(step, donate_argnums=0)


def first_state(p: Tree, generator: str) -> Any:
    """Return what the training step changes: copies of the parameters, both moments, the count, the key."""
    zero = {name: jnp.zeros_like(x) for name, x in p.items()}
    return (
        {name: x + 0 for name, x in p.items()},
        zero,
        {name: x + 0 for name, x in zero.items()},
        jnp.zeros((), jnp.float32),
        jax.random.key(0, impl=generator),
    )
