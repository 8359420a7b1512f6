"""Make a small run of plausible random numbers, quickly: for tests, and for views that need something to show.

python tests/make_run.py PATH [--problems 60] [--neurons 100] [--model spiking] [--seed 0]
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from ip2lab.records import Recorder, template

KEPT = (0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610, 987)
SPIKING = ("tau_dendrite", "tau_soma", "threshold")


def make_template(
    *,
    model: str = "spiking",
    neurons: int = 20,
    steps: int = 25,
    stimuli: int = 2,
    repeats: int = 1,
    adaptation: bool = False,
    dtype: str = "float32",
) -> dict[str, xr.Dataset]:
    """Return the empty datasets of a made-up run of the family `association`."""
    properties = {"spiking": SPIKING, "rate": ("tau",)}.get(model, ())
    if adaptation:
        properties = (*properties, "adaptation_strength", "tau_adaptation")
    names = [str(k + 1) for k in range(stimuli)]
    condition = np.repeat(np.arange(stimuli), repeats)
    labels = [names[k] for k in condition]
    time = np.arange(steps) * 2000.0 / steps
    return template(
        model=model,
        neurons=neurons,
        properties=properties,
        inputs=["fixation", *(f"input {k}" for k in range(10))],
        outputs=["fixation", *(f"response {name}" for name in names)],
        time=time,
        epochs=np.select([time < 500, time < 1500], ["stimulus", "delay"], "response"),
        probes={
            "condition": condition,
            "stimulus": labels,
            "response": labels,
            "context": [""] * len(labels),
            "repeat": np.tile(np.arange(repeats), stimuli),
        },
        weights={
            "input_weights": ("neuron", "input"),
            "recurrent_weights": ("neuron", "presynaptic"),
            "bias": ("neuron",),
            "output_weights": ("output", "neuron"),
            "output_bias": ("output",),
        },
        adaptation=adaptation,
        dtype=dtype,
    )


def random_rows(
    datasets: Mapping[str, xr.Dataset],
    problem: int,
    rng: np.random.Generator,
    *,
    first: int = 0,
    kept: Sequence[int] = KEPT,
    rate: float = 8.0,
) -> dict[str, dict[str, Any]]:
    """Draw what one problem adds to each group; `first` is the number of its first trial in the series."""
    failed = problem > 0 and rng.random() < 0.02
    criterion = 5 + int(400 * (problem + 1) ** -1.5 * rng.uniform(0.7, 1.3))
    count = criterion + 10
    conditions = len(datasets["trials"]["condition"].attrs["labels"])
    curve = 1.1 * np.exp(-np.arange(count) / (criterion / 3)) + 0.002
    loss = curve * rng.lognormal(0, 0.2, count)
    steps = np.arange(0, count, 10)
    rows: dict[str, dict[str, Any]] = {
        "series": {
            "problem": [problem],
            "trials_to_criterion": [np.nan if failed else float(criterion)],
            "censored_trials": [float(count) if failed else np.nan],
            "trials": [count],
            "failed": [failed],
            "failure_reason": ["not solved within max_trials" if failed else ""],
            "loss": [loss[-10:].mean()],
            "accuracy": [1.0],
            "zero_shot_loss": [rng.uniform(0.5, 1.5)],
            "zero_shot_accuracy": [rng.uniform(0, 1)],
            "last_error": [criterion - 1.0],
            "firing_rate": [rng.uniform(0.5, 1.5) * rate],
            "duration": [rng.uniform(0.02, 0.2)],
        },
        "trials": {
            "trial": first + np.arange(count),
            "loss": loss,
            "response_loss": 2 * loss,
            "correct": rng.random(count) > curve / 2,
            "problem": np.full(count, problem),
            "condition": rng.integers(0, conditions, count),
        },
        "properties": {"problem": [problem], **random_properties(datasets["properties"], [problem], rng)},
        "trajectories": {
            "problem": np.full(len(steps), problem),
            "trial": steps,
            **random_properties(datasets["trajectories"], problem + steps / count, rng),
        },
    }
    if problem in kept:
        weights = {name: rng.normal(size=shape) for name, shape in _shapes(datasets["weights"]).items()}
        rows["weights"] = {"problem": [problem], **weights}
        rows["activity"] = {"problem": [problem], **_activity(datasets["activity"], rate, rng)}
    return rows


def random_properties(dataset: xr.Dataset, when: Any, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Draw values that spread from where they started, the more the later."""
    spread = 0.3 * np.log1p(np.asarray(when, dtype=float)[:, None] + 1)
    centre = {"tau_dendrite": 100.0, "tau_soma": 20.0, "tau": 100.0, "tau_adaptation": 500.0}
    own = np.linspace(-1, 1, dataset.sizes["neuron"])
    return {
        str(name): centre.get(str(name), 1.0) * np.exp(spread * (own + 0.1 * rng.normal(size=own.size)))
        for name in dataset.data_vars
    }


def _shapes(dataset: xr.Dataset) -> dict[str, tuple[int, ...]]:
    return {str(name): (1, *variable.shape[1:]) for name, variable in dataset.data_vars.items()}


def _activity(dataset: xr.Dataset, rate: float, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Draw smooth states that differ between conditions, spikes at `rate` Hz, and a readout that sums to 1."""
    time = dataset["time"].values
    dt = time[1] - time[0] if len(time) > 1 else 20.0
    drawn = {}
    for name, shape in _shapes(dataset).items():
        offset = rng.uniform(0, 2 * np.pi, (1, shape[1], 1, shape[3]))
        state = np.sin(2 * np.pi * time[:, None] / 2000.0 + offset) + 0.2 * rng.normal(size=shape)
        if name == "spikes":
            state = rng.random(shape) < rate * dt / 1000 * rng.lognormal(0, 0.8, shape[-1])
        elif name == "readout":
            state = np.exp(2 * state) / np.exp(2 * state).sum(-1, keepdims=True)
        drawn[name] = state
    return drawn


def make_run(
    path: Any = None,
    *,
    problems: int = 20,
    seed: int = 0,
    model: str = "spiking",
    commit_every: int = 50,
    kept: Sequence[int] = KEPT,
    rate: float = 8.0,
    complete: bool = True,
    **sizes: Any,
) -> xr.DataTree:
    """Record a made-up run (in memory where `path` is None) and return it.

    Parameters
    ----------
    path : path-like or None
        Where to.
    problems, seed, model : int, int, str
        How many, from which seed, and which model's variables.
    commit_every : int
        Problems per commit.
    kept : sequence of int
        Problems with weights and activity.
    rate : float
        Firing rate (Hz).
    complete : bool
        The attribute of the same name.
    **sizes
        ``neurons``, ``steps``, ``stimuli``, ``repeats``, ``adaptation``, ``dtype`` of :func:`make_template`.
    """
    rng = np.random.default_rng(seed)
    datasets = make_template(model=model, **sizes)
    learnable = [*datasets["properties"].data_vars]
    attrs = {
        "family": "association",
        "model": model,
        "learnable": learnable,
        "seed": seed,
        "config": {"problems": problems, "made_up": True},
    }
    with Recorder(path, datasets, attrs) as recorder:
        recorder.append("properties", problem=[-1], **random_properties(datasets["properties"], [-1], rng))
        first = 0
        for problem in range(problems):
            rows = random_rows(datasets, problem, rng, first=first, kept=kept, rate=rate)
            first += rows["series"]["trials"][0]
            for group, columns in rows.items():
                recorder.append(group, **columns)
            if (problem + 1) % commit_every == 0:
                recorder.commit({"problem": np.array(problem)})
        return recorder.close(complete=complete, checkpoint={"problem": np.array(problems - 1)})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path")
    for name, default in {"problems": 60, "neurons": 100, "steps": 100, "seed": 0}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--model", default="spiking")
    print(make_run(**vars(parser.parse_args())))
