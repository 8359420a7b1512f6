"""Networks: the spiking network and what it is compared with, all behind one interface.

A network is an ordinary ``torch.nn.Module``. Called with ``inputs`` (trial, time, input) and, where it has noise,
``noise`` (trial, time, neuron), it returns a named tuple: ``logits`` (trial, time, output) and what its neurons did.
What else there is of it, :class:`Network` says. All that belongs to a model stands on its class: a new one is a file,
and its line in ``_HOMES``.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any, Protocol

import numpy as np

from ip2lab.checks import Rule, known

MOST_CHANNELS = 10_000  # of a problem's inputs or outputs
_HOMES = {
    "spiking": "spiking.SpikingNetwork",
    "rate": "rate.RateNetwork",
    "attention": "attention.AttentionNetwork",
    "filters": "filters.FilterBank",
}


class Network(Protocol):
    """What every class of networks has.

    The options of a model and their defaults are the keywords of its constructor (but for `learnable`, `seed` and
    `dtype`, which every one takes), and what `training_defaults` adds to the options of all models or sets otherwise.
    """

    model_name: str
    default_learnable: tuple[str, ...]  # the properties that learn with learnable="default"
    training_defaults: dict[str, Any]  # options of training: those of this model alone, and other defaults
    rules: dict[str, Rule]  # what its options may be
    weights: dict[str, Any]  # dims of each weight, by name
    signals: tuple[str, ...]  # names of what is recorded of its neurons
    neurons: int  # number of neurons (of units recorded)
    dt: float  # time step in ms
    noise_scale: float  # standard deviation of the noise in one step (0: none)
    free: Any  # free parameter of each intrinsic property, by name (maybe none)


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
    module, _, name = _HOMES[known("model", model, _HOMES)].partition(".")
    return getattr(importlib.import_module(f"{__name__}.{module}"), name)


def own_options(cls: Any) -> dict[str, Any]:
    """Return the options of a class of networks with their defaults, which are those of its constructor.

    Examples
    --------
    >>> own_options(network_class("filters"))
    {'dt': 20.0, 'filters': (50.0, 200.0, 800.0, 3200.0)}
    """
    common = ("self", "inputs", "outputs", "learnable", "seed", "dtype")
    parameters = inspect.signature(cls.__init__).parameters
    found = {name: p.default for name, p in parameters.items() if name not in common}
    return {name: dict(value) if isinstance(value, Mapping) else value for name, value in found.items()}


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
    names = list(own_options(cls))
    if not isinstance(options, Mapping) or not {*names, "dtype"} <= set(options):
        raise TypeError(f"options: {options!r} is not valid; give what options.resolve({model!r}, ...) returned")
    if isinstance(learnable, str) or not isinstance(learnable, Iterable):
        raise TypeError(f"learnable: {learnable!r} is not valid; give a list of names of properties")
    whole = isinstance(seed, (int, np.integer)) and not isinstance(seed, bool) and seed >= 0
    if not whole and not isinstance(seed, np.random.SeedSequence):
        raise TypeError(f"seed: {seed!r} is not valid; give a whole number from 0 or a SeedSequence")
    own = {name: options[name] for name in names}
    dtype = getattr(torch, options["dtype"])
    with torch.device("cpu"):  # whatever the default device is
        return cls(inputs, outputs, learnable=tuple(islice(learnable, 100)), seed=seed, dtype=dtype, **own)
