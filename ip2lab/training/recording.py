"""What is recorded of a training: what a trainer knows at one time, turned into rows of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import xarray as xr

from ip2lab import records
from ip2lab.checks import whole
from ip2lab.networks.intrinsic import stored_name
from ip2lab.tasks import Problem
from ip2lab.training.learners import TrialRecord

WEIGHTS_BLOCK = range(450, 500)  # problems whose weights are kept in a row, for averages over 50 of them
PROBE_LABELS = ("condition", "stimulus", "response", "context")


class Unrecorded:
    """A recorder that keeps nothing: for problems trained again, or of which only the number of trials counts."""

    due = False

    def append(self, group: str, **columns: Any) -> None:
        """Keep nothing."""

    def commit(self, checkpoint: Mapping[str, np.ndarray] | None = None) -> None:
        """Keep nothing."""


Recorder = records.Recorder | Unrecorded
UNRECORDED = Unrecorded()


def is_kept(problem: int) -> bool:
    """Tell whether activity and weights of a problem are kept: the first ones, later ones ever farther apart.

    Examples
    --------
    >>> [problem for problem in range(40) if is_kept(problem)]
    [0, 1, 2, 3, 5, 8, 10, 12, 16, 20, 24, 31, 38]
    """
    problem, step = whole("problem", problem, -1), 8.0
    while round(step) < problem:
        step *= 1.25
    return problem in (0, 1, 2, 3, 5) or round(step) == problem


def run_template(
    model: str, network: Any, problem: Problem, *, optimizer_entries: int, options: Mapping[str, Any]
) -> dict[str, xr.Dataset]:
    """Return the empty groups of a run of this network on problems like this one."""
    probe = problem.trials(dt=options["dt"])
    template = records.template(
        model=model,
        neurons=network.neurons,
        properties=tuple(network.free),
        inputs=problem.input_names,
        outputs=problem.output_names,
        time=probe.time.values,
        epochs=probe.epoch.values[0],
        probes={name: probe[name].values for name in PROBE_LABELS} | {"repeat": np.zeros(probe.sizes["trial"], int)},
        weights=network.weights
        | {stored_name(network.table[name]): ("neuron",) for name in network.free}
        | {"optimizer": {"entry": optimizer_entries}},
        adaptation="adaptation" in network.signals,
        dtype=options["dtype"],
    )
    if options["record"]["half_precision"]:
        for signal in set(network.signals) - {"spikes"}:
            template["activity"][signal].encoding["dtype"] = "float16"
    return template


def recorded_parameters(network: Any) -> dict[str, torch.Tensor]:
    """Return all weights and the free parameters of the properties by their names in ``/weights``."""
    weights = {name: getattr(network, name) for name in network.weights}
    return weights | {stored_name(network.table[name]): parameter for name, parameter in network.free.items()}


def property_rows(network: Any) -> dict[str, np.ndarray]:
    """Return one row of ``/properties`` or ``/trajectories``: the values of all properties, in their units."""
    free = {name: parameter.detach().cpu().numpy() for name, parameter in network.free.items()}
    return {name: network.table[name].to_value(value).astype(value.dtype)[None] for name, value in free.items()}


def weight_rows(network: Any) -> dict[str, np.ndarray]:
    """Return one row of ``/weights``."""
    return {name: value.detach().cpu().numpy()[None] for name, value in recorded_parameters(network).items()}


def trial_rows(
    problem: int, earlier: int, record: TrialRecord, conditions: np.ndarray, span: slice
) -> dict[str, np.ndarray]:
    """Return rows of ``/trials``: some trials of a problem that comes after so many earlier trials."""
    numbers = np.arange(span.start, span.stop)
    return {
        "trial": earlier + numbers,
        "loss": record.loss[span],
        "response_loss": record.response_loss[span],
        "correct": record.correct[span],
        "problem": np.full(len(numbers), problem),
        "condition": conditions[span],
    }


def activity_rows(network: Any, activity: Any) -> dict[str, np.ndarray]:
    """Return one row of ``/activity`` from what a network did in one trial of each condition."""
    return {name: values[None] for name, values in activity_arrays(network, activity).items()}


def activity_arrays(network: Any, activity: Any) -> dict[str, np.ndarray]:
    """Return all signals of what a network did, and the probabilities of its outputs (trial, time, ...)."""
    arrays = {name: getattr(activity, name).cpu().numpy() for name in network.signals}
    if "spikes" in arrays:
        arrays["spikes"] = arrays["spikes"] > 0
    return arrays | {"readout": torch.softmax(activity.logits, -1).cpu().numpy()}
