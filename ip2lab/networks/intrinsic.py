"""Networks whose neurons have intrinsic properties: how these are drawn, learnt, set, and handed to the equations."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ip2lab.checks import FROM_ZERO, Rule, known
from ip2lab.neuron import REFERENCE_STEP, constant_of
from ip2lab.properties import PROPERTIES, Property, UnknownName, in_order, properties_of, rows_of

STARTS = {  # homogeneous ones by name, beside the usual one
    "short": {"tau_dendrite": 50.0, "tau": 50.0},
    "long": {"tau_dendrite": 1000.0, "tau": 1000.0},
}
START = Rule(
    lambda v: isinstance(v, (str, Mapping)),
    "'homogeneous', 'heterogeneous', 'short', 'long', or a mapping from properties to values",
)
BOUNDS = Rule(
    lambda v: isinstance(v, Mapping) and all(isinstance(b, (list, tuple)) and len(b) == 2 for b in v.values()),
    "a mapping from properties to two numbers, the lower and the upper bound",
)


def to_value(free: Tensor, row: Property) -> Tensor:
    """Turn the free parameter of a property into its value, as :meth:`Property.to_value`, differentiably."""
    if row.transform == "identity":
        return free
    if row.transform == "tanh":
        return row.middle + row.half_range * torch.tanh(free / row.half_range)
    return row.bounds[0] * torch.exp(row.log_range * torch.sigmoid(4 / row.log_range * free))


def stored_name(row: Property) -> str:
    """Return the name under which a run's weights hold the free parameter of a property."""
    return row.name if row.transform == "identity" else f"free_{row.name}"


class IntrinsicNetwork(nn.Module):
    """A network whose neurons have one value of each intrinsic property per neuron.

    Attributes
    ----------
    free : ParameterDict
        Free parameter (neuron,) of each property, by name; see :mod:`ip2lab.properties`.
    table : dict of str to Property
        The properties that this network has, with its bounds.
    """

    model_name: ClassVar[str]
    homogeneous: ClassVar[dict[str, float]] = {}  # where a model starts with another value than the table says
    rules: ClassVar[dict[str, Rule]] = {"start": START, "bounds": BOUNDS, "noise": FROM_ZERO}
    constants_type: ClassVar[Any]  # named tuple of what the equations take
    target_from_first_problem: ClassVar[bool] = False  # whether homeostasis may take its target from there

    table: dict[str, Property]
    free: nn.ParameterDict
    dt: float
    noise: float

    def _add_properties(
        self,
        neurons: int,
        start: str | Mapping[str, Any],
        bounds: Mapping[str, tuple[float, float]],
        learnable: Iterable[str],
        rng: np.random.Generator,
        dtype: torch.dtype,
        adaptation: bool = False,
    ) -> None:
        """Draw the properties that this network has; ValueError where it has not what is asked for."""
        learnable, given = tuple(learnable), start if isinstance(start, Mapping) else {}
        names = properties_of(self.model_name, adaptation, (*learnable, *given))
        for argument, asked in (("learnable", learnable), ("bounds", bounds)):
            wrong = next((name for name in asked if name not in names), None)
            if wrong is not None:
                raise ValueError(f"{argument}: this network has no property {wrong!r}; it has {', '.join(names)}")
        self.table = {name: _bounded(name, bounds) for name in names}
        values = draw_properties(self.table, start, neurons, rng, self.homogeneous)
        self.free = nn.ParameterDict(
            {
                name: nn.Parameter(torch.tensor(row.to_free(values[name]), dtype=dtype), name in learnable)
                for name, row in self.table.items()
            }
        )

    @property
    def neurons(self) -> int:
        """Number of neurons."""
        return len(self.free["bias"])

    @property
    def noise_scale(self) -> float:
        """Standard deviation of the noise current in a step of this network's `dt`: white noise grows as dt shrinks."""
        return self.noise * math.sqrt(REFERENCE_STEP / self.dt)

    def properties(self) -> dict[str, Tensor]:
        """Return the value of every property (neuron,), in its unit."""
        return {name: to_value(free, self.table[name]) for name, free in self.free.items()}

    @torch.no_grad()
    def set_property(self, name: str, values: Any) -> None:
        """Give a property values (one, or one per neuron; in its unit); ValueError where one is out of bounds."""
        if name not in self.free:
            raise UnknownName(f"this network has no property {name!r}; it has {', '.join(self.free)}")
        values, old = in_order(name, values, self.neurons), self.free[name]
        old.copy_(torch.as_tensor(self.table[name].to_free(values), dtype=old.dtype, device=old.device).expand_as(old))

    def constants(self) -> Any:
        """Return the properties as the equations use them, neutral ones for those that this network does not have."""
        values, like = self.properties(), self.free["bias"]

        def constant(row: Property) -> Tensor:
            if row.name not in values:  # a time constant of 0 decays at once
                return torch.full_like(like, row.neutral)
            return torch.exp(-self.dt / values[row.name]) if row.unit == "ms" else values[row.name]

        return self.constants_type(**{constant_of(row): constant(row) for row in rows_of(self.model_name)})


def _bounded(name: str, bounds: Mapping[str, tuple[float, float]]) -> Property:
    row = PROPERTIES[name]
    return row.within(*bounds[name]) if name in bounds else row


def draw_properties(
    table: Mapping[str, Property],
    start: str | Mapping[str, Any],
    neurons: int,
    rng: np.random.Generator,
    homogeneous: Mapping[str, float] | None = None,
) -> dict[str, np.ndarray]:
    """Draw the values (neuron,) with which `neurons` neurons start; see `start` of the networks.

    `homogeneous` has the values of the homogeneous start where they are not those of the table.
    """
    if isinstance(start, str) and start not in ("homogeneous", "heterogeneous", *STARTS):
        words = ", ".join(map(repr, ("homogeneous", "heterogeneous", *STARTS)))
        raise ValueError(f"start: {start!r} is unknown; known: {words}, or a mapping from property to values")
    named = STARTS.get(start, {}) if isinstance(start, str) else start
    for name in named:
        known("start", name, PROPERTIES)
    values = {}
    for name, row in table.items():
        # the heterogeneous start spreads time constants; thresholds and the like stay equal
        spread = start == "heterogeneous" and row.unit == "ms"
        usual = row.heterogeneous if spread else (homogeneous or {}).get(name, row.homogeneous)
        values[name] = _draw(row, in_order(f"start: {name}", named.get(name, usual), neurons), neurons, rng)
    return values


def _draw(row: Property, given: Any, neurons: int, rng: np.random.Generator) -> np.ndarray:
    """Values (neuron,) of one property: one for all, one per neuron, or drawn between two."""
    value = np.asarray(given, dtype=float)
    if value.ndim == 1 and value.size == 2 and neurons != 2:
        low, high = np.sort(row.check(value))
        ends = (low, high) if row.signed else (np.log(low), np.log(high))
        value = rng.uniform(*ends, neurons)
        value = value if row.signed else np.exp(value)
    if value.ndim > 1 or value.size not in (1, neurons):
        raise ValueError(
            f"start: {row.name} has {value.size} values for {neurons} neurons; give one, two (a range) or one each"
        )
    return np.full(neurons, row.check(value))
