"""A control without any network: softmax regression on exponentially filtered inputs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ip2lab.checks import POSITIVE, Rule, each
from ip2lab.networks.rate import RateActivity


class FilterBank(nn.Module):
    """Every input filtered with every time constant, and a readout of all of that; only the readout learns.

    What it solves needs no recurrence, no spikes and no nonlinearity: such a family says nothing about networks.

    Parameters
    ----------
    inputs, outputs : int
        Number of input channels and of outputs.
    dt : float
        Time step in ms.
    filters : sequence of float
        Time constants in ms.
    learnable : iterable of str
        Nothing: there are no intrinsic properties.
    seed : int or SeedSequence
        Nothing is drawn.
    dtype : torch.dtype
        float32 or float64.

    Examples
    --------
    >>> import torch
    >>> from ip2lab.networks.filters import FilterBank
    >>> FilterBank(inputs=2, outputs=3, filters=(50, 500))(torch.ones(1, 30, 2)).activity.shape
    torch.Size([1, 30, 4])
    """

    model_name, default_learnable = "filters", ()
    training_defaults: ClassVar[dict[str, Any]] = {"learning_rate": 0.05, "output_learning_rate": 0.05}
    rules: ClassVar[dict[str, Rule]] = {"filters": each(POSITIVE, "time constants in ms")}
    weights: ClassVar[dict[str, Any]] = {"output_weights": ("output", "neuron"), "output_bias": ("output",)}
    signals = ("activity",)
    autapses, noise_scale = True, 0.0

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        dt: float = 20.0,
        filters: Sequence[float] = (50.0, 200.0, 800.0, 3200.0),
        learnable: Iterable[str] = (),
        seed: Any = 0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        if not len(filters) or not min(filters) > 0:
            raise ValueError(f"filters: {filters!r} is not valid; give time constants in ms")
        self.dt = float(dt)
        self.decay = torch.tensor(np.exp(-dt / np.repeat(np.asarray(filters, float), inputs)), dtype=dtype)
        self.output_weights = nn.Parameter(torch.zeros(outputs, len(self.decay), dtype=dtype))
        self.output_bias = nn.Parameter(torch.zeros(outputs, dtype=dtype))
        self.free = nn.ParameterDict()

    @property
    def neurons(self) -> int:
        """Number of filtered inputs."""
        return len(self.decay)

    def forward(self, inputs: Tensor, noise: Tensor | None = None, *, compiled: bool | None = None) -> RateActivity:
        """Return logits and the filtered inputs (trial, time, filter x input) of `inputs` (trial, time, input)."""
        decay = self.decay.to(inputs)
        drive = (1 - decay) * inputs.repeat(1, 1, self.neurons // inputs.shape[2])
        state, rows = torch.zeros_like(drive[:, 0]), []
        for current in drive.unbind(1):
            state = decay * state + current
            rows.append(state)
        filtered = torch.stack(rows, dim=1)
        return RateActivity(functional.linear(filtered, self.output_weights, self.output_bias), filtered)
