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
from typing import Any

from ip2lab.properties import hint

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
        Options as :func:`ip2lab.options.resolve` returns them.
    learnable : iterable of str
        Properties that learn.
    seed : int or SeedSequence
        Draws weights and properties.

    Returns
    -------
    torch.nn.Module
        On the CPU.

    Examples
    --------
    >>> from ip2lab.options import resolve
    >>> build("spiking", 3, 2, resolve("spiking", {"neurons": 20})).neurons
    20
    """
    import torch

    cls = network_class(model)
    own = {name: options[name] for name in cls.options}
    dtype = getattr(torch, options["dtype"])
    return cls(inputs, outputs, learnable=tuple(learnable), seed=seed, dtype=dtype, **own)
