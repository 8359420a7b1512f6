"""Changing a network in place: properties, lesions, shuffles, resets."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import torch

from ip2lab.checks import flag, from_zero, several
from ip2lab.properties import hint
from ip2lab.tasks import Problem
from ip2lab.training.data import make_stimuli
from ip2lab.training.runtime import undisturbed
from ip2lab.training.trainer import PROBES, Trainer

FAR_BELOW = -1000.0  # bias of a silenced neuron: below any threshold, and beyond the reach of its pseudo-derivative
NETWORK_CHANGES = ("noise", "spiking", "recurrent", "readout", "silence", "clamp", "shuffle", "reset")


@undisturbed()
def change(trainer: Trainer, shown: Problem, seed: int, **changes: Any) -> None:
    """Change the network of a trainer in place; see `changes` of :func:`probe`. Clamped means are those in `shown`."""
    network = trainer.network
    _check_names(trainer, changes)
    with torch.no_grad():
        for name in set(changes) & set(network.free):
            network.set_property(name, changes[name])
        _reset(trainer, _names(changes, "reset"))
        _shuffle(network, _names(changes, "shuffle"), seed)
        for name in ("silence", "clamp"):
            if changes.get(name) is not None:
                _lesion(trainer, shown, _neurons(network, name, changes[name]), clamp=name == "clamp")
        _switch(network, changes)
    trainer.learner.load(trainer.learner.state())


def _check_names(trainer: Trainer, changes: dict[str, Any]) -> None:
    known = [*trainer.network.free, *NETWORK_CHANGES]
    for name in changes:
        if name not in known:
            known += [field.name for field in fields(trainer.family)]  # which `probe` takes itself
            raise TypeError(f"there is no change {name!r}; there is {', '.join(known)}{hint(name, known)}")


def _names(changes: dict[str, Any], name: str) -> list[str]:
    given = changes.get(name, ())
    names = [given] if isinstance(given, str) else several(name, given, "names of properties or weights")
    if not all(isinstance(each, str) for each in names):
        raise TypeError(f"{name}: {given!r} is not valid; give names of properties or weights")
    return names


def _neurons(network: Any, name: str, given: Any) -> np.ndarray:
    """Return which neurons are meant, each once."""
    try:
        numbers = np.atleast_1d(np.asarray(given))
    except (TypeError, ValueError):
        numbers = np.array([None])
    if numbers.size and numbers.dtype.kind not in "iu":
        raise TypeError(f"{name}: {given!r} is not valid; give numbers of neurons, or one")
    if numbers.size and not 0 <= numbers.min() <= numbers.max() < network.neurons:
        raise ValueError(f"{name}: neurons {numbers.tolist()} are not all among 0 to {network.neurons - 1}")
    return np.unique(numbers).astype(int)


def _reset(trainer: Trainer, names: list[str]) -> None:
    """Give properties and weights their initial values; "properties" and "weights" stand for all."""
    if not names:
        return
    initial, network = trainer.initial_network(), trainer.network
    parts = {"weights": list(network.weights), "properties": list(network.free)}
    for name in names:
        for part in parts.get(name, [name]):
            _part(network, part).copy_(_part(initial, part))


def _shuffle(network: Any, names: list[str], seed: int) -> None:
    """Shuffle properties over neurons; all that are named move together, so that a neuron's set stays a set."""
    names = list(network.free) if "properties" in names else names
    order = torch.from_numpy(np.random.default_rng([seed, PROBES]).permutation(network.neurons))
    for name in names:
        part = _part(network, name)
        part.copy_(part[order])


def _part(network: Any, name: str) -> torch.Tensor:
    if name not in network.free and name not in network.weights:
        known = ", ".join([*network.free, *network.weights, "properties", "weights"])
        raise ValueError(f"there is no part {name!r}; there is {known}")
    return network.free[name] if name in network.free else getattr(network, name)


def _lesion(trainer: Trainer, shown: Problem, neurons: np.ndarray, *, clamp: bool) -> None:
    """Silence neurons for good, also while learning goes on; clamped, their mean output goes on without them."""
    network = trainer.network
    if "recurrent_weights" not in network.weights:
        raise ValueError(f"this network ({type(network).__name__}) has no recurrent neurons to silence or clamp")
    if clamp:
        o = trainer.options
        inputs = make_stimuli(shown, np.arange(shown.conditions), o["dt"], o["dtype"]).inputs
        activity = network(torch.as_tensor(inputs, device=network.output_bias.device))
        mean = network.output_of(activity).mean((0, 1))[neurons]
        _set_bias(network, network.properties()["bias"] + network.recurrent_weights[:, neurons] @ mean)
        network.output_bias += network.output_weights[:, neurons] @ mean
    network.recurrent_weights[:, neurons] = 0
    network.recurrent_weights[neurons] = 0
    network.output_weights[:, neurons] = 0
    network.input_weights[neurons] = 0
    bias = network.properties()["bias"].clone()
    bias[neurons] = FAR_BELOW
    _set_bias(network, bias)


def _set_bias(network: Any, values: torch.Tensor) -> None:
    """Set the bias of each neuron, as near to it as the bounds of this run allow."""
    low, high = network.table["bias"].bounds
    edge = 1e-6 * (high - low) if np.isfinite(high - low) else 0.0
    network.set_property("bias", values.double().clamp(low + edge, high - edge).cpu().numpy())


def _switch(network: Any, changes: dict[str, Any]) -> None:
    if "noise" in changes:
        network.noise = from_zero("noise", changes["noise"])
    if "recurrent" in changes and not flag("recurrent", changes["recurrent"]):
        network.recurrent_weights.zero_()
    if "spiking" in changes or "readout" in changes:
        _switch_spikes(network, changes)


def _switch_spikes(network: Any, changes: dict[str, Any]) -> None:
    if getattr(network, "model", None) is None:
        name = "spiking" if "spiking" in changes else "readout"
        raise ValueError(f"{name}: only the spiking network has it")
    spiking = flag("spiking", changes.get("spiking", bool(network.model.spiking)))
    readout = changes.get("readout", "spikes" if network.model.read_spikes else "membrane")
    if readout not in ("spikes", "membrane"):
        raise ValueError(f"readout: {readout!r} is not valid; give 'spikes' or 'membrane'")
    if not spiking and readout == "spikes":
        raise ValueError(
            "spiking: without spikes there is nothing to read but the membrane; give readout='membrane' too"
        )
    network.model = network.model._replace(spiking=int(spiking), read_spikes=int(readout == "spikes"))
