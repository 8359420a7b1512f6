r"""The table of intrinsic properties: what a neuron has one value of, and how that value may learn.

A property is *used* as a value in its own unit (a time constant in ms) and *learnt* as an unbounded free parameter
of order one. :meth:`Property.to_value` and :meth:`Property.to_free` lead from one to the other, by one of three
transforms:

.. math::

    \text{log:}\quad v &= l\,(h/l)^{\sigma(4 z / \ln(h/l))} \\
    \text{tanh:}\quad v &= m + w \tanh(z / w), \quad m = (l+h)/2,\; w = (h-l)/2 \\
    \text{identity:}\quad v &= z

with bounds :math:`l < v < h`, free parameter :math:`z` and logistic function :math:`\sigma`. In the middle of the
range a step of the free parameter is a step of :math:`\ln v` (log) or of :math:`v` (tanh); towards a bound the steps
shrink smoothly and never reach zero, so a neuron that came close to a bound can come back (a clipped value could not).
Only the log transform is for values that are always positive; a signed property has one of the others.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr


class UnknownName(KeyError):
    """A KeyError whose message reads as it was written: Python shows that of a plain one as a quoted literal."""

    def __str__(self) -> str:
        return str(self.args[0])


def hint(name: object, known: Iterable[str]) -> str:
    """Return what to append to an error about an unknown name: the known one that looks most like it, if any does.

    Examples
    --------
    >>> hint("tau_some", ["tau_dendrite", "tau_soma"])
    "; did you mean 'tau_soma'?"
    >>> hint("mood", ["tau_dendrite", "tau_soma"])
    ''
    """
    close = difflib.get_close_matches(str(name), list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def in_order(what: str, values: Any, neurons: int) -> Any:
    """Return what came labelled by neuron (a DataArray, a pandas Series) as an array in the order of their numbers.

    Anything without labels comes back as it is; labels that are not those of `neurons` neurons raise ValueError.

    Examples
    --------
    >>> in_order("threshold", xr.DataArray([1.0, 2.0], dims="neuron", coords={"neuron": [1, 0]}), 2).tolist()
    [2.0, 1.0]
    """
    if isinstance(values, pd.Series):
        values = xr.DataArray(values.to_numpy(), dims="neuron", coords={"neuron": values.index.to_numpy()})
    if not isinstance(values, xr.DataArray):
        return values
    if values.ndim > 1:
        raise ValueError(
            f"{what}: came with dims {', '.join(map(str, values.dims))}; expected 'neuron' only: select one of the "
            "others, for instance .isel(problem=-1)"
        )
    if not values.ndim or values.dims[0] not in values.coords:
        return values.to_numpy()
    labels = values[values.dims[0]].values
    order = pd.Index(labels).argsort() if labels.dtype.kind in "iuf" else np.arange(labels.size)
    if labels[order].tolist() != list(range(neurons)):
        raise ValueError(
            f"{what}: came for neurons {labels.tolist()[:8]} ...; expected each of 0 to {neurons - 1} once, or values "
            "without labels"
        )
    return values.to_numpy()[order]


@dataclass(frozen=True)
class Property:
    """One row of the table.

    Parameters
    ----------
    name : str
        The name in code, in datasets and in ``learnable=``.
    symbol : str
        The mathematical symbol, in LaTeX.
    label : str
        What it is in words: the ``long_name`` of datasets and axes.
    unit : str
        ``"ms"``, or ``"1"`` where the property has none.
    bounds : (float, float)
        Values stay strictly between the two.
    homogeneous : float
        The value that every neuron has in the default start.
    heterogeneous : (float, float)
        The range from which the heterogeneous start draws, log-uniform; it spreads time constants only.
    rate : float
        Default learning rate of the free parameter, as a multiple of the learning rate of the weights.
    transform : {"log", "tanh", "identity"}
        From the free parameter to the value; see the top of this module.
    neutral : float
        The value that stands for "this neuron has no such property".
    models : tuple of str
        The models whose networks can have it.
    needs : {"", "adaptation", "asked"}
        When such a network has it: always, with ``adaptation=True``, or where `start` or `learnable` names it.

    Examples
    --------
    >>> from ip2lab import PROPERTIES
    >>> soma = PROPERTIES["tau_soma"]
    >>> soma.unit, soma.bounds
    ('ms', (2.0, 1000.0))
    >>> round(float(soma.to_value(soma.to_free(20.0))), 6)
    20.0
    >>> PROPERTIES["bias"].signed
    True
    """

    name: str
    symbol: str
    label: str
    unit: str
    bounds: tuple[float, float]
    homogeneous: float
    heterogeneous: tuple[float, float]
    rate: float
    transform: Literal["log", "tanh", "identity"] = "log"
    neutral: float = 0.0
    models: tuple[str, ...] = ("spiking",)
    needs: Literal["", "adaptation", "asked"] = ""

    @property
    def signed(self) -> bool:
        """Whether values may be negative: such a property is shown and compared on a linear scale."""
        return self.transform != "log"

    @property
    def log_range(self) -> float:
        """The natural logarithm of the upper over the lower bound."""
        return math.log(self.bounds[1] / self.bounds[0])

    @property
    def middle(self) -> float:
        """The middle between the bounds."""
        return (self.bounds[0] + self.bounds[1]) / 2

    @property
    def half_range(self) -> float:
        """Half the distance between the bounds."""
        return (self.bounds[1] - self.bounds[0]) / 2

    def to_free(self, value: npt.ArrayLike) -> np.ndarray:
        """Turn values (any shape, in `unit`) into free parameters; a value on or beyond a bound raises ValueError."""
        checked = self.check(value)
        if self.transform == "identity":
            return checked
        if self.transform == "tanh":
            return self.half_range * np.arctanh((checked - self.middle) / self.half_range)
        share = np.log(checked / self.bounds[0]) / self.log_range
        return self.log_range / 4 * (np.log(share) - np.log1p(-share))

    def to_value(self, free: npt.ArrayLike) -> np.ndarray:
        """Turn free parameters (any shape) into values in `unit`."""
        z = self._numbers("free", free)
        if self.transform == "identity":
            return z
        if self.transform == "tanh":
            return self.middle + self.half_range * np.tanh(z / self.half_range)
        share = (1 + np.tanh(2 * z / self.log_range)) / 2  # the logistic, without overflow
        return self.bounds[0] * np.exp(self.log_range * share)

    @property
    def transform_constants(self) -> tuple[float, float]:
        """What the kernels need of the bounds: the lower and the logarithmic range, or their middle and half range."""
        if self.transform == "identity":
            return 0.0, 1.0
        return (self.bounds[0], self.log_range) if self.transform == "log" else (self.middle, self.half_range)

    def within(self, low: float, high: float) -> Property:
        """Return the same property with other bounds."""
        if not (low < high and (self.signed or low > 0)):
            wanted = "two rising numbers" if self.signed else "two rising positive numbers"
            raise ValueError(f"bounds: ({low!r}, {high!r}) are not valid for {self.name}; give {wanted}")
        bounded = "tanh" if self.transform == "identity" else self.transform
        return replace(self, bounds=(float(low), float(high)), transform=bounded)

    def check(self, value: npt.ArrayLike) -> np.ndarray:
        """Return `value` as a float array, or raise ValueError when anything in it is not strictly within bounds."""
        array = self._numbers("value", value)
        low, high = self.bounds
        wrong = ~((array > low) & (array < high))  # also catches NaN
        if wrong.any():
            raise ValueError(
                f"{self.name}: {array[wrong].flat[0]:g} is outside its bounds; "
                f"give values between {low:g} and {high:g} ({self.unit})"
            )
        return array

    def _numbers(self, what: str, given: npt.ArrayLike) -> np.ndarray:
        try:
            return np.asarray(given, dtype=float)
        except (TypeError, ValueError, MemoryError):
            raise TypeError(f"{self.name}: the {what} {given!r} is not valid; give a number or numbers") from None


class PropertyTable(Mapping[str, Property]):
    """The properties by name; an unknown name raises a KeyError that lists the known ones."""

    def __init__(self, *rows: Property) -> None:
        self._rows = {row.name: row for row in rows}

    def __getitem__(self, name: str) -> Property:
        try:
            return self._rows[name]
        except KeyError:
            raise UnknownName(f"unknown property {name!r}; known: {', '.join(self._rows)}{hint(name, self)}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        rows = (f"{p.name:20s} {p.bounds[0]:g}–{p.bounds[1]:g} {p.unit:3s} {p.label}" for p in self.values())
        return "\n".join(rows)


PROPERTIES = PropertyTable(
    Property(
        "bias", "b", "bias", "1", (-math.inf, math.inf), 0.5, (0.5, 0.5), 1.0, "identity", 0.0, ("spiking", "rate")
    ),
    Property("tau_dendrite", r"\tau_d", "dendritic time constant", "ms", (5.0, 5000.0), 100.0, (200.0, 4000.0), 10.0),
    Property("tau_soma", r"\tau_s", "somatic time constant", "ms", (2.0, 1000.0), 20.0, (10.0, 40.0), 10.0),
    Property("threshold", r"\vartheta", "firing threshold", "1", (0.1, 10.0), 1.0, (0.5, 2.0), 0.3, neutral=1.0),
    Property(
        "adaptation_strength",
        r"\beta_a",
        "strength of spike-frequency adaptation",
        "1",
        (0.001, 20.0),
        1.0,
        (0.5, 2.0),
        1.0,
        needs="adaptation",
    ),
    Property(
        "tau_adaptation",
        r"\tau_a",
        "adaptation time constant",
        "ms",
        (20.0, 5000.0),
        500.0,
        (200.0, 800.0),
        10.0,
        needs="adaptation",
    ),
    Property("gain", "g", "input gain", "1", (0.1, 10.0), 1.0, (0.5, 2.0), 0.3, neutral=1.0, needs="asked"),
    Property("tau", r"\tau", "time constant", "ms", (5.0, 5000.0), 100.0, (50.0, 2000.0), 10.0, models=("rate",)),
)


def rows_of(model: str) -> tuple[Property, ...]:
    """Return the rows of the properties that networks of `model` can have, in the order of the table."""
    return tuple(row for row in PROPERTIES.values() if model in row.models)


def properties_of(model: str, adaptation: bool = False, asked: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the names of the properties that a network of `model` has, in the order of the table.

    `asked` are names that the network is given values of, or is to learn: some properties are there only then.

    Examples
    --------
    >>> properties_of("spiking")
    ('bias', 'tau_dendrite', 'tau_soma', 'threshold')
    >>> properties_of("rate"), properties_of("attention")
    (('bias', 'tau'), ())
    """
    wanted = {"": True, "adaptation": adaptation, "asked": False}
    named = set(asked)
    return tuple(
        row.name for row in rows_of(model) if wanted[row.needs] or (row.needs == "asked" and row.name in named)
    )
