r"""The point-neuron rate network of Goudar et al. (Nat Neurosci 26:879-890, 2023), with time constants that may learn.

One step of `dt` ms (:func:`simulate` is this, in plain torch, and the oracle of the compiled kernels):

.. math:: r_t = \alpha r_{t-1} + (1-\alpha) \log(1 + e^{W_{in} x_t + W_{rec} r_{t-1} + b + \text{noise}_t}),
          \quad \alpha = e^{-dt/\tau}

from rates :math:`r_0` that learn; the logits are :math:`W_{out} r + b_{out}`. Two differences to the authors' code,
both without effect on what is filtered with 100 ms: the decay is exact instead of :math:`1 - dt/\tau`, and the noise is
white with the intensity of theirs (0.05, correlated over 2 ms, is 0.0224 in a step of 20 ms).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from scipy.stats import ortho_group
from torch import Tensor, nn
from torch.nn import functional

from ip2lab.checks import FROM_ZERO, SEED, one_of, optional
from ip2lab.networks import rate_kernels
from ip2lab.networks.intrinsic import IntrinsicNetwork
from ip2lab.networks.spiking import WEIGHTS


class RateActivity(NamedTuple):
    """What a network did: ``logits`` (trial, time, output) and ``activity`` (trial, time, neuron)."""

    logits: Tensor
    activity: Tensor


def simulate(inputs: Tensor, noise: Tensor | None, constants: Any, weights: rate_kernels.Weights) -> RateActivity:
    """Run the network in plain torch; weights have the presynaptic side first."""
    drive, decay = inputs @ weights.input + constants.bias, constants.decay
    drive = drive if noise is None else drive + noise
    r, rows = weights.initial.expand(len(inputs), -1), []
    for now in drive.unbind(1):
        r = decay * r + (1 - decay) * functional.softplus(now + r @ weights.recurrent)
        rows.append(r)
    rates = torch.stack(rows, dim=1)
    return RateActivity(functional.linear(rates, weights.output, weights.output_bias), rates)


class RateNetwork(IntrinsicNetwork):
    """Leaky softplus units, recurrently connected.

    Parameters
    ----------
    inputs, outputs : int
        Number of input channels and of outputs.
    neurons : int
        Number of units.
    dt : float
        Time step in ms.
    start : {"homogeneous", "heterogeneous"} or mapping
        Time constants before learning: all 100 ms; log-uniform 50 to 2000 ms; or ``{"tau": values}``.
    bounds : mapping
        Lower and upper bound of properties, where they are not those of :data:`ip2lab.PROPERTIES`.
    learnable : iterable of str
        Properties that learn beside the weights: ``"bias"``, ``"tau"``.
    input_gain, recurrent_gain : float
        Standard deviation of W_in times the square root of the number of inputs; factor on an orthogonal W_rec.
    noise : float
        Standard deviation of the noise current in a step of 20 ms.
    seed : int or SeedSequence
        Draws weights and time constants.
    dtype : torch.dtype
        float32 or float64.

    Examples
    --------
    >>> import torch
    >>> from ip2lab.networks.rate import RateNetwork
    >>> network = RateNetwork(inputs=11, outputs=3, seed=0)
    >>> sum(p.numel() for p in network.parameters() if p.requires_grad)
    11603
    >>> network(torch.ones(4, 50, 11)).activity.shape
    torch.Size([4, 50, 100])
    """

    model_name = "rate"
    default_learnable = ("bias",)
    homogeneous: ClassVar[dict[str, float]] = {"bias": 0.0}
    training_defaults: ClassVar[dict[str, Any]] = {
        "learning_rate": 6e-4,
        "output_learning_rate": 6e-4,
        "reset_optimizer": "all",
        "l2": {"input_weights": 1e-4, "output_weights": 0.1},
        "singular_values": 0,
        "rate_weight": 5e-4,
        "rate_target": None,
        "preset": None,
    }
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "goudar2023": {
            "dt": 1.0,
            "input_gain": 1.0,
            "learning_rate": 1e-4,
            "output_learning_rate": 1e-4,
            "l2": {"input_weights": 1e-4, "output_weights": 0.1, "recurrent_weights": 1e-3},
            "singular_values": 10,
            "max_trials": 20000,
        }
    }
    rules = IntrinsicNetwork.rules | {
        **dict.fromkeys(("input_gain", "recurrent_gain"), FROM_ZERO),
        "singular_values": SEED,
        "preset": optional(one_of(*presets)),
    }
    kernels, constants_type, weights_type = rate_kernels, rate_kernels.Constants, rate_kernels.Weights
    model, target_from_first_problem = None, True
    weights = WEIGHTS | {"initial_rates": ("neuron",)}
    signals = ("activity",)
    autapses = True

    def __init__(
        self,
        inputs: int,
        outputs: int,
        neurons: int = 100,
        *,
        dt: float = 20.0,
        start: str | Mapping[str, Any] = "homogeneous",
        bounds: Mapping[str, tuple[float, float]] = MappingProxyType({}),
        learnable: Iterable[str] = default_learnable,
        input_gain: float = 6.0,
        recurrent_gain: float = 1.0,
        noise: float = 0.0224,
        seed: int | np.random.SeedSequence = 0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.dt, self.noise = float(dt), float(noise)
        rng = np.random.default_rng(seed)

        def parameter(values: np.ndarray) -> nn.Parameter:
            return nn.Parameter(torch.tensor(values, dtype=dtype))

        # (neuron, presynaptic) for the user, the presynaptic side first in memory for the kernels
        self.input_weights = parameter(rng.standard_normal((neurons, inputs)) * input_gain / math.sqrt(inputs))
        self.recurrent_weights = parameter(ortho_group.rvs(neurons, random_state=rng) * recurrent_gain)
        self.output_weights = parameter(np.zeros((outputs, neurons)))
        self.output_bias = parameter(np.zeros(outputs))
        self.initial_rates = parameter(np.zeros(neurons))
        self._add_properties(neurons, start, bounds, learnable, rng, dtype)

    def homeostasis(self, weight: float, target: float | None) -> tuple[float, float]:
        """Return the weight of the mean squared rate; its target is part of what changes, and not returned."""
        return float(weight), 0.0

    def make_trace(self, steps: int, dtype: Any) -> rate_kernels.Trace:
        """Return the buffers of a trial of `steps` steps."""
        return rate_kernels.make_trace(steps, self.neurons, len(self.output_bias), dtype)

    def last_trial(self, trace: rate_kernels.Trace, steps: int) -> dict[str, np.ndarray]:
        """Return copies of logits and activity (time, ...) that the kernels left of a trial."""
        return {"logits": trace.logits[:steps].copy(), "activity": trace.rates[1 : steps + 1].copy()}

    def output_of(self, activity: RateActivity) -> Tensor:
        """Return what each unit gives to others and to the readout (trial, time, neuron)."""
        return activity.activity

    def forward(self, inputs: Tensor, noise: Tensor | None = None, *, compiled: bool | None = None) -> RateActivity:
        """Simulate trials.

        Parameters
        ----------
        inputs : Tensor (trial, time, input)
            Input of each trial.
        noise : Tensor (trial, time, neuron), optional
            Added to the current; nothing by default.
        compiled : bool, optional
            Whether the compiled kernels run it: by default on a CPU where no gradient is asked for.

        Returns
        -------
        RateActivity
            logits and activity, each (trial, time, ...).
        """
        weights = rate_kernels.Weights(
            self.input_weights.T,
            self.recurrent_weights.T,
            self.output_weights,
            self.output_bias,
            self.initial_rates,
        )
        constants = self.constants()
        if compiled is None:
            compiled = inputs.device.type == "cpu" and not torch.is_grad_enabled()
        if not compiled:
            return simulate(inputs, noise, constants, weights)
        arrays = rate_kernels.Weights(*(np.ascontiguousarray(w.detach().numpy()) for w in weights))
        units = rate_kernels.Constants(*(np.ascontiguousarray(c.detach().numpy()) for c in constants))
        logits, rates = [], []
        for b in range(len(inputs)):
            x = np.ascontiguousarray(inputs[b].detach().numpy())
            extra = x[:0] if noise is None else np.ascontiguousarray(noise[b].detach().numpy())
            trace = rate_kernels.make_trace(len(x), self.neurons, len(self.output_bias), x.dtype)
            rate_kernels.forward(x, extra, units, arrays, trace)
            logits.append(torch.from_numpy(trace.logits))
            rates.append(torch.from_numpy(trace.rates[1:]))
        return RateActivity(torch.stack(logits), torch.stack(rates))
