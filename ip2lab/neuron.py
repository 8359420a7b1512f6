r"""The spiking neuron: its equations, once, on whatever arrays it is given (numpy's or torch's).

One step of `dt` ms:

.. math::

    d_t &= \beta d_{t-1} + (1-\beta)\, g\, (I_t + b) & \beta &= e^{-dt/\tau_d} \\
    u_t &= \alpha u_{t-1} + (1-\alpha) d_t - \theta_{t-1} s_{t-1} & \alpha &= e^{-dt/\tau_s} \\
    a_t &= \rho a_{t-1} + (1-\rho) \tilde s_{t-1} & \rho &= e^{-dt/\tau_a},\quad \tilde s = s \cdot 20\,\text{ms}/dt \\
    \theta_t &= \vartheta + \beta_a a_t \\
    s_t &= H(u_t - \theta_t)

with dendrite d, membrane u, adaptation a, effective threshold :math:`\theta`, spikes s and the current I from inputs,
other neurons and noise. The two stages follow DH-SNN with one branch (Zheng et al., Nat Commun 2024), the adaptation
Bellec et al. (2018). The compiled kernels (:mod:`ip2lab.networks.spiking_kernels`) are the same equations with their
derivatives; tests hold the two together.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from typing import Any, NamedTuple, cast

from ip2lab.properties import Property, rows_of

REFERENCE_STEP = 20.0  # ms, the step in which a spike has the scale 1 and noise its standard deviation


def constant_of(row: Property) -> str:
    """Return the name under which the equations hold a property: a time constant as its decay in one step."""
    return row.name.replace("tau", "decay", 1) if row.unit == "ms" else row.name


SPIKING = rows_of("spiking")
#: The constants of the neuron, one per property of the table, one value per neuron each.
Constants: Any = cast("Any", namedtuple("Constants", [constant_of(row) for row in SPIKING]))


class State(NamedTuple):
    """What one step hands to the next, one value per neuron each (..., neuron)."""

    dendrite: Any
    membrane: Any
    adaptation: Any
    threshold: Any
    spikes: Any


def resting(constants: Any, zeros: Any) -> State:
    """Return the state before the first step; `zeros` has the shape (..., neuron)."""
    return State(zeros, zeros, zeros, constants.threshold + zeros, zeros)


def step(state: State, current: Any, constants: Any, spike_scale: float, spike: Callable[[Any], Any]) -> State:
    """Take one step of the neuron: the equations at the top of this module, one line each.

    Parameters
    ----------
    state : State
        What the step before left.
    current : array (..., neuron)
        Sum of inputs, recurrent input and noise, without the bias.
    constants : Constants
        The properties as the equations use them (neuron,).
    spike_scale : float
        20 ms / dt: what one spike counts.
    spike : callable
        From the distance to the threshold, in thresholds, to spikes.

    Returns
    -------
    State
        After the step.

    Examples
    --------
    >>> import numpy as np
    >>> one = np.ones(1)
    >>> neuron = Constants(**{constant_of(row): row.neutral * one for row in SPIKING})._replace(decay_soma=0.5 * one)
    >>> state = resting(neuron, 0 * one)
    >>> for _ in range(2):
    ...     state = step(state, 1.5 * one, neuron, 1.0, lambda v: v > 0)
    >>> state.membrane.tolist(), state.spikes.tolist()
    ([1.125], [True])
    """
    c = constants
    dendrite = c.decay_dendrite * state.dendrite + (1 - c.decay_dendrite) * c.gain * (current + c.bias)
    membrane = c.decay_soma * state.membrane + (1 - c.decay_soma) * dendrite - state.threshold * state.spikes
    adaptation = c.decay_adaptation * state.adaptation + (1 - c.decay_adaptation) * spike_scale * state.spikes
    threshold = c.threshold + c.adaptation_strength * adaptation
    return State(dendrite, membrane, adaptation, threshold, spike((membrane - threshold) / c.threshold))
