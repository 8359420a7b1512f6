"""Networks: the spiking network and what it is compared with, all behind one interface.

A network is an ordinary ``torch.nn.Module``. Called with ``inputs`` (trial, time, input) and, where it has noise,
``noise`` (trial, time, neuron), it returns a named tuple: ``logits`` (trial, time, output) and what its neurons did.
Beside that it has

======================  ==========================================================================================
``neurons``, ``dt``     number of neurons (of units recorded) and time step in ms
``noise_scale``         standard deviation of the noise in one step (0: none)
``free``                free parameter of each intrinsic property, by name (maybe none)
``weights``             dims of each weight, by name
``signals``             names of what is recorded of its neurons
======================  ==========================================================================================
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

import numpy as np

from ip2lab.properties import hint

MOST_CHANNELS = 10_000  # of a problem's inputs or outputs
_HOMES = {
    "spiking": "spiking.SpikingNetwork",
    "rate": "rate.RateNetwork",
    "attention": "attention.AttentionNetwork",
    "filters": "filters.FilterBank",
}


def models() -> list[str]:
    """Return the names of the models.

    Examples
    --------
    >>> models()
    ['spiking', 'rate', 'attention', 'filters']
    """
    return list(_HOMES)


def network_class(model: str) -> Any:
    """Return the class of a model; ValueError, with the known ones, for an unknown name."""
    if not isinstance(model, str) or model not in _HOMES:
        raise ValueError(f"model: {model!r} is unknown; known: {', '.join(_HOMES)}{hint(model, _HOMES)}")
    module, _, name = _HOMES[model].partition(".")
    return getattr(importlib.import_module(f"{__name__}.{module}"), name)


def build(
    model: str,
    inputs: int,
    outputs: int,
    options: Mapping[str, Any],
    *,
    learnable: Iterable[str] = (),
    seed: Any = 0,
) -> Any:
    """Build a network from the options of a run; those that are not the network's are left aside.

    Parameters
    ----------
    model : str
        One of :func:`models`.
    inputs, outputs : int
        Number of input channels and of outputs.
    options : mapping
        Options as :func:`ip2lab.training.options.resolve` returns them.
    learnable : iterable of str
        Properties that learn.
    seed : int or SeedSequence
        Draws weights and properties.

    Returns
    -------
    torch.nn.Module
        On the CPU.

    Raises
    ------
    ValueError, TypeError
        For an argument that is not as described, naming it.

    Examples
    --------
    >>> from ip2lab.training.options import resolve
    >>> build("spiking", 3, 2, resolve("spiking", {"neurons": 20})).neurons
    20
    """
    import torch

    cls = network_class(model)
    for name, value in (("inputs", inputs), ("outputs", outputs)):
        if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or not 0 < value <= MOST_CHANNELS:
            raise ValueError(f"{name}: {value!r} is not valid; give a whole number from 1 to {MOST_CHANNELS:,}")
    if not isinstance(options, Mapping) or not {*cls.options, "dtype"} <= set(options):
        raise TypeError(f"options: {options!r} is not valid; give what options.resolve({model!r}, ...) returned")
    if isinstance(learnable, str) or not isinstance(learnable, Iterable):
        raise TypeError(f"learnable: {learnable!r} is not valid; give a list of names of properties")
    whole = isinstance(seed, (int, np.integer)) and not isinstance(seed, bool) and seed >= 0
    if not whole and not isinstance(seed, np.random.SeedSequence):
        raise TypeError(f"seed: {seed!r} is not valid; give a whole number from 0 or a SeedSequence")
    own = {name: options[name] for name in cls.options}
    dtype = getattr(torch, options["dtype"])
    with torch.device("cpu"):  # whatever the default device is
        return cls(inputs, outputs, learnable=tuple(islice(learnable, 100)), seed=seed, dtype=dtype, **own)
