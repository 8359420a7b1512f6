"""Causal self-attention over the inputs of a trial: one layer, as many parameters as the recurrent networks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ip2lab.checks import COUNT, FROM_ZERO, Rule
from ip2lab.networks.rate import RateActivity

WIDTH = 32


class AttentionNetwork(nn.Module):
    """One layer of self-attention (Vaswani et al. 2017): every step looks at all steps of its trial up to itself.

    Inputs are embedded, sinusoidal positions added; then attention and a perceptron with one hidden layer, each with a
    residual connection after layer normalisation. The hidden layer is as wide as it takes to have as many parameters
    as the spiking network with `neurons` neurons, whatever the number of heads.

    Parameters
    ----------
    inputs, outputs : int
        Number of input channels and of outputs.
    neurons : int
        Size of the spiking network whose number of parameters it gets.
    dt : float
        Time step in ms; positions are counted in steps of 20 ms.
    heads : int
        Number of heads; must divide the width, 32.
    input_gain : float
        Factor on the embedding's initial weights.
    learnable : iterable of str
        Nothing: there are no intrinsic properties.
    seed : int or SeedSequence
        Draws the weights.
    dtype : torch.dtype
        float32 or float64.

    Examples
    --------
    >>> import torch
    >>> from ip2lab.networks.attention import AttentionNetwork
    >>> network = AttentionNetwork(inputs=11, outputs=3, heads=4)
    >>> network(torch.ones(4, 50, 11)).activity.shape
    torch.Size([4, 50, 32])
    >>> abs(sum(p.numel() for p in network.parameters()) / 11803 - 1) < 0.03
    True
    """

    model_name, default_learnable = "attention", ()
    training_defaults: ClassVar[dict[str, Any]] = {"learning_rate": 1e-3, "output_learning_rate": 1e-3}
    rules: ClassVar[dict[str, Rule]] = {"heads": COUNT, "input_gain": FROM_ZERO}
    signals = ("activity",)
    autapses, noise_scale = True, 0.0

    def __init__(
        self,
        inputs: int,
        outputs: int,
        neurons: int = 100,
        *,
        dt: float = 20.0,
        heads: int = 4,
        input_gain: float = 1.0,
        learnable: Iterable[str] = (),
        seed: int | np.random.SeedSequence = 0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        if WIDTH % heads:
            raise ValueError(f"heads: {heads} heads do not divide a width of {WIDTH}; give 1, 2, 4, 8, 16 or 32")
        wanted = neurons * (inputs + neurons + 1 + outputs + 3) + outputs
        rest = WIDTH * (inputs + 1 + 4 * WIDTH + 4 + 1 + outputs) + outputs
        hidden = round((wanted - rest) / (2 * WIDTH + 1))
        if hidden < 1:
            least = math.ceil(math.sqrt(rest))
            raise ValueError(
                f"neurons: {neurons} give fewer parameters than attention needs; give about {least} or more"
            )
        self.dt, self.heads = float(dt), int(heads)
        rng = np.random.default_rng(seed)

        def drawn(rows: int, columns: int, gain: float = 1.0) -> nn.Parameter:
            values = rng.standard_normal((rows, columns)) * gain / math.sqrt(columns)
            return nn.Parameter(torch.tensor(values, dtype=dtype))

        def filled(size: int, value: float = 0.0) -> nn.Parameter:
            return nn.Parameter(torch.full((size,), value, dtype=dtype))

        self.input_weights, self.bias = drawn(WIDTH, inputs, input_gain), filled(WIDTH)
        self.query_weights, self.key_weights, self.value_weights = (drawn(WIDTH, WIDTH) for _ in range(3))
        self.mix_weights = drawn(WIDTH, WIDTH)
        self.attention_scale, self.attention_shift = filled(WIDTH, 1.0), filled(WIDTH)
        self.hidden_scale, self.hidden_shift = filled(WIDTH, 1.0), filled(WIDTH)
        self.hidden_weights, self.hidden_bias = drawn(hidden, WIDTH), filled(hidden)
        self.back_weights, self.back_bias = drawn(WIDTH, hidden), filled(WIDTH)
        self.output_weights, self.output_bias = drawn(outputs, WIDTH, 0.1), filled(outputs)
        self.free = nn.ParameterDict()

    @property
    def neurons(self) -> int:
        """Number of units that the readout sees."""
        return WIDTH

    @property
    def weights(self) -> dict[str, Any]:
        """Dims of each weight."""
        hidden = len(self.hidden_bias)
        dims: dict[str, Any] = {"input_weights": ("neuron", "input"), "bias": ("neuron",)}
        names = ("query", "key", "value", "mix")
        dims |= {f"{name}_weights": {"neuron": WIDTH, "unit": WIDTH} for name in names}
        norms = ("attention_scale", "attention_shift", "hidden_scale", "hidden_shift", "back_bias")
        dims |= dict.fromkeys(norms, ("neuron",))
        dims |= {"hidden_weights": {"hidden": hidden, "neuron": WIDTH}, "hidden_bias": {"hidden": hidden}}
        dims |= {"back_weights": {"neuron": WIDTH, "hidden": hidden}}
        return dims | {"output_weights": ("output", "neuron"), "output_bias": ("output",)}

    def forward(self, inputs: Tensor, noise: Tensor | None = None, *, compiled: bool | None = None) -> RateActivity:
        """Return logits and the units that the readout sees (trial, time, neuron) of `inputs` (trial, time, input)."""
        trials, steps, _ = inputs.shape
        x = functional.linear(inputs, self.input_weights, self.bias) + self._positions(steps).to(inputs)
        y = functional.layer_norm(x, (WIDTH,), self.attention_scale, self.attention_shift)
        query, key, value = (
            functional.linear(y, w).reshape(trials, steps, self.heads, -1).transpose(1, 2)
            for w in (self.query_weights, self.key_weights, self.value_weights)
        )
        seen = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + functional.linear(seen.transpose(1, 2).reshape(trials, steps, WIDTH), self.mix_weights)
        y = functional.layer_norm(x, (WIDTH,), self.hidden_scale, self.hidden_shift)
        y = functional.relu(functional.linear(y, self.hidden_weights, self.hidden_bias))
        x = x + functional.linear(y, self.back_weights, self.back_bias)
        return RateActivity(functional.linear(x, self.output_weights, self.output_bias), x)

    def _positions(self, steps: int) -> Tensor:
        """Return sines and cosines of the step (time, neuron), wavelengths from 6 to 6,000 steps of 20 ms."""
        step = torch.arange(steps, dtype=torch.float32, device="cpu")[:, None] * self.dt / 20
        phase = step / 1000 ** (torch.arange(WIDTH // 2, dtype=torch.float32, device="cpu") / (WIDTH / 2 - 1))
        return torch.cat([phase.sin(), phase.cos()], dim=1)
