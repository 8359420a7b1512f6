r"""The table of intrinsic properties: what a neuron has one value of, and how that value may learn.

A property is *used* as a bounded value in its own unit (a time constant in ms) and *learnt* as an unbounded
free parameter of order one. :meth:`Property.to_value` and :meth:`Property.to_free` lead from one to the other:

.. math:: v = l\,(h/l)^{\sigma(4 z / \ln(h/l))}

with bounds :math:`l < v < h`, free parameter :math:`z` and logistic function :math:`\sigma`. In the middle of the
range a step of the free parameter is a step of :math:`\ln v`; towards a bound the steps shrink smoothly and
never reach zero, so a neuron that came close to a bound can come back (a clipped value could not).
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

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
        The value that every neuron is born with in the default start.
    heterogeneous : (float, float)
        The range of the log-uniform distribution of the heterogeneous start, which spreads the time constants only.
    rate : float
        Default learning rate of the free parameter, as a multiple of the learning rate of the weights.

    Examples
    --------
    >>> from ip2lab import PROPERTIES
    >>> soma = PROPERTIES["tau_soma"]
    >>> soma.unit, soma.bounds
    ('ms', (2.0, 1000.0))
    >>> round(float(soma.to_value(soma.to_free(20.0))), 6)
    20.0
    """

    name: str
    symbol: str
    label: str
    unit: str
    bounds: tuple[float, float]
    homogeneous: float
    heterogeneous: tuple[float, float]
    rate: float

    @property
    def log_range(self) -> float:
        """The natural logarithm of the upper over the lower bound."""
        return math.log(self.bounds[1] / self.bounds[0])

    def to_free(self, value: npt.ArrayLike) -> np.ndarray:
        """Turn values (any shape, in `unit`) into free parameters; a value on or beyond a bound raises ValueError."""
        checked = self.check(value)
        share = np.log(checked / self.bounds[0]) / self.log_range
        return self.log_range / 4 * (np.log(share) - np.log1p(-share))

    def to_value(self, free: npt.ArrayLike) -> np.ndarray:
        """Turn free parameters (any shape) into values in `unit`."""
        share = (1 + np.tanh(2 * self._numbers("free", free) / self.log_range)) / 2  # the logistic, without overflow
        return self.bounds[0] * np.exp(self.log_range * share)

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
    Property("tau_dendrite", r"\tau_d", "dendritic time constant", "ms", (5.0, 5000.0), 100.0, (200.0, 4000.0), 10.0),
    Property("tau_soma", r"\tau_s", "somatic time constant", "ms", (2.0, 1000.0), 20.0, (10.0, 40.0), 10.0),
    Property("threshold", r"\vartheta", "firing threshold", "1", (0.1, 10.0), 1.0, (0.5, 2.0), 0.3),
    Property(
        "adaptation_strength",
        r"\beta_a",
        "strength of spike-frequency adaptation",
        "1",
        (0.001, 20.0),
        1.0,
        (0.5, 2.0),
        1.0,
    ),
    Property(
        "tau_adaptation", r"\tau_a", "adaptation time constant", "ms", (20.0, 5000.0), 500.0, (200.0, 800.0), 10.0
    ),
    Property("gain", "g", "input gain", "1", (0.1, 10.0), 1.0, (0.5, 2.0), 0.3),
    Property("tau", r"\tau", "time constant", "ms", (5.0, 5000.0), 100.0, (50.0, 2000.0), 10.0),
)
