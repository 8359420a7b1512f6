"""Activity made again, and any trial again bit for bit, with a network restored from a run."""

from __future__ import annotations

import os
from dataclasses import fields, replace
from typing import Any

import numpy as np
import torch
import xarray as xr

from ip2lab import records
from ip2lab.checks import affordable, flag, whole
from ip2lab.probes.perturbations import NETWORK_CHANGES, change
from ip2lab.records.schema import GROUPS, Variable
from ip2lab.records.writing import by_labels
from ip2lab.tasks import Problem
from ip2lab.training.data import make_stimuli, score
from ip2lab.training.learners import draw_noise
from ip2lab.training.recording import activity_arrays, recorded_parameters
from ip2lab.training.runtime import one_torch_thread, undisturbed
from ip2lab.training.trainer import PROBES, Trainer

Run = xr.DataTree | str | os.PathLike[str]
OUTCOMES = {
    "loss": Variable(("problem", "probe"), "float64", "nats", "loss"),
    "correct": Variable(("problem", "probe"), "bool", "1", "fixation kept and response right"),
}


def restore(run: Run, problem: int | None = None, *, exact: bool = False, **options: Any) -> Trainer:
    """Return the trainer of a run as it was after a problem, ready to go on, with a network of its own.

    Where the weights of the problem are kept they are taken; elsewhere the problems are trained again, from the
    nearest problem before it of which everything is kept, or from the start.

    Parameters
    ----------
    run : DataTree or path
        A run.
    problem : int, optional
        The problem after which; -1 is before learning; the last one by default.
    exact : bool
        What the optimiser remembers has to be that of then, too, not only the network.
    **options
        Options of :func:`ip2lab.train` that are to be others from here on.

    Returns
    -------
    Trainer
        Its ``network`` is the network, its ``learner`` trains it.

    Raises
    ------
    ValueError
        The run does not go as far.

    Examples
    --------
    >>> import ip2lab
    >>> run = ip2lab.train("association", problems=2, neurons=20, max_trials=60, progress=False)
    >>> restore(run, 1).network.neurons
    20
    """
    tree = tree_of(run)
    flag("exact", exact)
    done = tree["series"].to_dataset()["problem"].values
    problem = int(done.max(initial=-1)) if problem is None else whole("problem", problem, -1)
    if problem not in (-1, *done):
        raise ValueError(f"problem: {problem} is not among those that this run has done; it has {spans(done)}")
    trainer = Trainer.from_attributes(tree.attrs, **options)
    start = _nearest_kept(trainer, tree, problem, exact)
    if start is not None:
        _load(trainer, tree, start)
    elif "origin" in tree.attrs["config"]:
        raise ValueError("this run went on from another one; nothing of its own start is kept: probe a kept problem")
    advance(trainer, problem + 1)
    return trainer


def _nearest_kept(trainer: Trainer, tree: xr.DataTree, problem: int, exact: bool) -> int | None:
    """Return the last problem up to this one that training can go on from: its optimiser's state is kept, too."""
    kept = sorted((int(p) for p in tree["weights"].problem.values if p <= problem), reverse=True)
    if problem in kept and not exact:
        return problem
    return next((p for p in kept if _remembers(trainer, tree, p)), None)


def spans(numbers: np.ndarray) -> str:
    """Say which numbers there are: ``"0 to 4, 7"``."""
    parts = np.split(np.sort(numbers), np.flatnonzero(np.diff(np.sort(numbers)) != 1) + 1)
    words = [f"{part[0]} to {part[-1]}" if len(part) > 1 else f"{part[0]}" for part in parts if len(part)]
    return ", ".join(words) or "none"


def advance(trainer: Trainer, problem: int, trial: int = 0) -> None:
    """Let a trainer go on up to a trial of a problem, which is then the next one to do."""
    with one_torch_thread():
        while trainer.problem < problem:
            trainer.train_problem()
        if trial:
            trainer.train_problem(until=trial)


def tree_of(run: Run) -> xr.DataTree:
    """Return the run itself, or the one that is stored at a path."""
    if isinstance(run, xr.DataTree):
        if "weights" not in run or "config" not in run.attrs:
            raise ValueError(f"run: this tree holds {list(run.children) or 'nothing'}; give what ip2lab.train returned")
        _check_numbered(run)
        return run
    if not isinstance(run, (str, os.PathLike)):
        raise TypeError(f"run: {type(run).__name__} is not valid; give what ip2lab.train returned, or its path")
    return records.open_run(run)


def _check_numbered(run: xr.DataTree) -> None:
    """Refuse a run whose problems were given other labels: their numbers say how each was drawn."""
    labels = np.atleast_1d(run["weights"].to_dataset().get("problem", []))
    if labels.size and labels.dtype.kind not in "iu":
        raise ValueError(
            f"run: its problems are labelled {labels[0]} to {labels[-1]}; a network is made again by the numbers that "
            "ip2lab.train gave them: give the run as it was recorded"
        )


def _remembers(trainer: Trainer, tree: xr.DataTree, problem: int) -> bool:
    """Tell whether what the optimiser remembered after a problem is kept: a count of 0 updates says that it is not."""
    return trainer.options["reset_optimizer"] == "all" or bool(tree["weights"].optimizer.sel(problem=problem).any())


@undisturbed()
@torch.no_grad()
def _load(trainer: Trainer, tree: xr.DataTree, problem: int) -> None:
    weights = tree["weights"].sel(problem=problem).to_dataset()
    for name, parameter in recorded_parameters(trainer.network).items():
        values = by_labels(f"run: weights/{name}", weights[name], [str(dim) for dim in weights[name].dims])
        if values.shape != parameter.shape:
            needed = tuple(parameter.shape)
            raise ValueError(f"run: weights/{name} has shape {values.shape}; its network needs {needed}")
        parameter.copy_(torch.as_tensor(values.values))
    trainer.load_optimizer_state(weights.optimizer.values)
    trainer.problem, trainer.trial = problem + 1, 0


def probe(
    run: Run,
    problem: int,
    *,
    repeats: int = 0,
    on: int | Problem | None = None,
    seed: int | None = None,
    **changes: Any,
) -> xr.Dataset:
    """Make the activity of the network again, as it was after a problem.

    Parameters
    ----------
    run : DataTree or path
        A run.
    problem : int
        The network is the one after this problem; -1 is before learning.
    repeats : int
        Noisy trials of each condition; 0: one without noise.
    on : int or Problem, optional
        The problem that is shown: another one of the series, or one drawn from any family with as many inputs and
        outputs. By default `problem` itself (the first one for -1).
    seed : int, optional
        Draws the noise, and what is shuffled; the run's own by default.
    **changes
        Settings of the family (``delay=3000``), and of the network: ``noise``, ``spiking=False``,
        ``recurrent=False``, a property by its name (one value, or one per neuron; in its unit), ``silence`` or
        ``clamp`` (numbers of neurons: without output, or with their mean output), ``shuffle`` (names of properties,
        over neurons) and ``reset`` (names of properties or weights, to their initial values).

    Returns
    -------
    Dataset
        What ``/activity`` holds of one problem: ``spikes``, ``membrane``, ``dendrite`` or ``activity`` (probe, time,
        neuron) and ``readout`` (probe, time, output), with its coordinates, and of each probe ``loss`` and ``correct``.

    Raises
    ------
    ValueError, TypeError
        For a problem that the run does not have, or a change that is unknown or out of range.

    Examples
    --------
    >>> import ip2lab
    >>> run = ip2lab.train("association", problems=1, neurons=20, max_trials=60, progress=False)
    >>> ip2lab.probe(run, 0, repeats=3, delay=2000).spikes.shape
    (6, 150, 20)
    """
    repeats, tree = whole("repeats", repeats, 0), tree_of(run)
    problem = whole("problem", problem, -1)
    trainer = restore(tree, problem)
    known = {field.name for field in fields(trainer.family)} - set(NETWORK_CHANGES)
    settings = {name: changes.pop(name) for name in list(changes) if name in known}
    shown = setting_of(trainer, max(problem, 0) if on is None else on, settings)
    seed = trainer.seed if seed is None else whole("seed", seed, 0)
    change(trainer, shown, seed, **changes)
    return _activity(trainer, shown, repeats, np.random.SeedSequence([seed, PROBES, max(problem, 0)]))


def setting_of(trainer: Trainer, on: int | Problem, settings: dict[str, Any]) -> Problem:
    """Return the problem to show: a given one, or one of the series, drawn with some settings of the family changed."""
    if not isinstance(on, Problem):
        trainer.family = replace(trainer.family, **settings)
        on = trainer.draw(whole("on", on, 0))
    elif settings:
        raise TypeError(f"{', '.join(settings)}: this problem is drawn already; change it where its family is made")
    if trainer.network.weights:
        _check_channels(on, trainer.setting)
    middle = tuple(replace(epoch, duration=epoch.length(0.5)) for epoch in on.epochs)
    return replace(on, epochs=middle)  # probes of one dataset have one time axis


def _check_channels(shown: Problem, learnt: Problem) -> None:
    came, wanted = ((len(each.input_names), len(each.output_names)) for each in (shown, learnt))
    if came != wanted:
        words = f"a problem with {came[0]} inputs and {came[1]} outputs"
        raise ValueError(f"on: {words} does not fit a network with {wanted[0]} and {wanted[1]}")


def _activity(trainer: Trainer, shown: Problem, repeats: int, stream: np.random.SeedSequence) -> xr.Dataset:
    o, network = trainer.options, trainer.network
    steps = int(shown.steps(o["dt"]).sum())
    affordable("repeats", repeats, 32.0 * repeats * shown.conditions * steps * network.neurons)
    conditions = np.tile(np.arange(shown.conditions), max(repeats, 1))
    stimuli = make_stimuli(shown, conditions, o["dt"], o["dtype"], np.random.default_rng(stream) if repeats else None)
    key = stream.generate_state(1, np.uint64)[0]
    drawn = [draw_noise(network, key, i, steps) for i in range(len(conditions))] if repeats else []
    noise = [each for each in drawn if each is not None]
    with one_torch_thread(), torch.no_grad():
        inputs = torch.as_tensor(stimuli.inputs, device=network.output_bias.device)
        activity = network(inputs, torch.cat(noise) if noise else None)
    loss, correct = score(activity.logits.cpu().numpy(), stimuli)
    found = activity_arrays(network, activity) | {"loss": loss, "correct": correct}
    repeat = np.repeat(np.arange(max(repeats, 1)), shown.conditions)
    epoch = shown.trials([0], dt=o["dt"]).epoch.values[0]
    return labelled(shown, conditions, repeat, epoch, o["dt"], found).assign_coords(problem=trainer.problem - 1)


def labelled(
    shown: Problem,
    conditions: np.ndarray,
    repeat: np.ndarray,
    epoch: np.ndarray,
    dt: float,
    arrays: dict[str, np.ndarray],
) -> xr.Dataset:
    """Label arrays (probe, time, ...) of what a network did, as ``/activity`` does."""
    rows = {**GROUPS["activity"].variables, **OUTCOMES}
    found: dict[str, Any] = {}
    for name, array in arrays.items():
        row = rows[name]
        attrs = {"units": row.units, "long_name": row.long_name}
        found[name] = row.dims[1:], array > 0 if row.dtype == "bool" else array, attrs
    coords: dict[str, Any] = {name: ("probe", [values[c] for c in conditions]) for name, values in shown.labels.items()}
    coords |= {
        "condition": ("probe", conditions),
        "repeat": ("probe", repeat),
        "time": ("time", np.arange(len(epoch)) * dt),
        "epoch": ("time", epoch),
        "output": ("output", list(shown.output_names)),
    }
    data = xr.Dataset(found, coords)
    data = data.assign_coords(neuron=np.arange(data.sizes["neuron"]))
    for name in map(str, data.coords):
        row = rows.get(name, Variable((), "", "1", name))
        data[name].attrs = {"units": row.units, "long_name": row.long_name}
    return data


def replay(run: Run, problem: int, trial: int) -> xr.Dataset:
    """Do a trial of the series again, bit for bit, with the network and the noise of then.

    Parameters
    ----------
    run : DataTree or path
        A run.
    problem, trial : int
        The problem of the trainer, and the trial within it.

    Returns
    -------
    Dataset
        As of :func:`probe`, with dims time, neuron, output and input; ``inputs`` beside it. The attribute
        ``identical`` says whether the loss is that of the record to the last bit; on another kind of processor it
        may not be.

    Raises
    ------
    ValueError
        The run does not have this problem or trial.

    Examples
    --------
    >>> import ip2lab
    >>> run = ip2lab.train("association", problems=1, neurons=20, max_trials=60, progress=False)
    >>> again = ip2lab.replay(run, 0, 30)
    >>> again.attrs["identical"], float(again.loss) == float(run["trials"].loss[30])
    (True, True)
    """
    tree = tree_of(run)
    problem, trial = whole("problem", problem, 0), whole("trial", trial, 0)
    recorded = tree["trials"].loss.values[tree["trials"].problem.values == problem]
    if trial >= len(recorded):
        raise ValueError(
            f"trial: {trial} is not among the {len(recorded)} trials that problem {problem} of this run has"
        )
    trainer = restore(tree, problem - 1, exact=True)
    advance(trainer, problem, trial)
    with one_torch_thread():
        trainer.start_problem()
        stimuli, rows = trainer.trials.between(trial, trial + 1)
        steps = int(stimuli.length[rows[0]])
        trainer.do_trials(trial + 1)
    found = {name: array[None] for name, array in trainer.learner.last_trial(steps).items()}
    found["readout"] = torch.softmax(torch.from_numpy(found.pop("logits")), -1).numpy()
    now, names = trainer.current, list(trainer.setting.input_names)
    found |= {"loss": now.loss[trial : trial + 1], "correct": now.correct[trial : trial + 1]}
    condition, epoch = trainer.trials.conditions[trial : trial + 1], trainer.trials.epochs(trial)
    data = labelled(trainer.setting, condition, np.zeros(1, int), epoch, trainer.options["dt"], found).squeeze("probe")
    data["inputs"] = ("time", "input"), stimuli.inputs[rows[0], :steps], {"units": "1", "long_name": "input"}
    identical = bool(now.loss[trial] == recorded[trial])
    return data.assign_coords(problem=problem, trial=trial, input=names).assign_attrs(identical=identical)
