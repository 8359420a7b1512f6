"""What is done to a trained network: activity made again, trials replayed, parts changed, other tasks learnt.

Every function makes a network of its own from the run; the run and what trains on it stay as they are.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

from ip2lab import records
from ip2lab.learners import draw_noise, score, show
from ip2lab.learning import PROBES, Progress, Series, Unrecorded, one_torch_thread
from ip2lab.options import learnable_names, whole
from ip2lab.properties import PROPERTIES
from ip2lab.records.schema import GROUPS, Variable
from ip2lab.tasks import Family, Problem
from ip2lab.tasks import family as make_family

Run = xr.DataTree | str | os.PathLike[str]
OUTCOMES = {
    "loss": Variable(("problem", "probe"), "float64", "nats", "loss"),
    "correct": Variable(("problem", "probe"), "bool", "1", "fixation kept and response right"),
}
FAR_BELOW = -1000.0  # bias of a silenced neuron: below any threshold, and beyond the reach of its pseudo-derivative
MADE_ONCE = ("noise", "spiking", "readout")
NETWORK_CHANGES = ("noise", "spiking", "recurrent", "readout", "silence", "clamp", "shuffle", "reset")


# ---------------------------------------------------------------- the network as it was


def restore(run: Run, problem: int | None = None, *, exact: bool = False, **options: Any) -> Series:
    """Return the series of a run as it was after a problem, ready to go on, with a network of its own.

    Where the weights of the problem are kept they are taken; elsewhere the series is gone through again, from the
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
    Series
        Its ``network`` is the network, its ``learner`` trains it.

    Raises
    ------
    ValueError
        The run does not go as far.

    Examples
    --------
    >>> import ip2lab
    >>> run = ip2lab.train("association", problems=2, neurons=20, max_trials=60, progress=False)
    >>> restore(run, 1).network.bias.shape
    torch.Size([20])
    """
    tree = tree_of(run)
    done = tree["series"].sizes["problem"]
    problem = done - 1 if problem is None else whole("problem", problem, -1)
    if problem >= done:
        raise ValueError(f"problem: {problem} is not among those that this run has done; it has 0 to {done - 1}")
    series = Series.of(tree.attrs, int(tree.attrs["config"]["problems"]), **options)
    series.recorder = Unrecorded()  # type: ignore[assignment]
    kept = [int(p) for p in tree["weights"].problem.values if p <= problem]
    if problem in kept and not exact:
        _load(series, tree, problem)
        return series
    complete = [p for p in kept if _remembers(series, tree, p)]
    if complete:
        _load(series, tree, complete[-1])
    elif "origin" in tree.attrs["config"]:
        raise ValueError("this run went on from another one; nothing of its own start is kept: probe a kept problem")
    advance(series, problem + 1)
    return series


def advance(series: Series, problem: int, trial: int = 0) -> None:
    """Go on with a series up to a trial of a problem, which is then the next one to do."""
    with one_torch_thread():
        while series.problem < problem:
            series.work(lambda: None)
        if trial:
            series.pause = trial
            series.work(lambda: None)


def tree_of(run: Run) -> xr.DataTree:
    """Return the run itself, or the one that is stored at a path."""
    if isinstance(run, xr.DataTree):
        if "weights" not in run or "config" not in run.attrs:
            raise ValueError(f"run: this tree holds {list(run.children) or 'nothing'}; give what ip2lab.train returned")
        return run
    return records.open_run(run)


def _remembers(series: Series, tree: xr.DataTree, problem: int) -> bool:
    """Tell whether what the optimiser remembered after a problem is kept: a count of 0 updates says that it is not."""
    return series.options["reset_optimizer"] == "all" or bool(tree["weights"].optimizer.sel(problem=problem).any())


@torch.no_grad()
def _load(series: Series, tree: xr.DataTree, problem: int) -> None:
    weights = tree["weights"].sel(problem=problem)
    targets = {name: getattr(series.network, name) for name in series.network.weights}
    targets |= {f"free_{name}": parameter for name, parameter in series.network.free.items()}
    for name, parameter in targets.items():
        parameter.copy_(torch.as_tensor(weights[name].values))
    series.set_memory(weights.optimizer.values)
    series.problem, series.trial = problem + 1, 0


# ---------------------------------------------------------------- probe and replay


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
        ``recurrent=False``, a property by its name (one value, or one a neuron; in its unit), ``silence`` or
        ``clamp`` (numbers of neurons: without output, or with their mean output), ``shuffle`` (names of properties,
        over neurons) and ``reset`` (names of properties or weights, to what they were born with).

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
    repeats = whole("repeats", repeats, 0)
    series = restore(run, problem)
    known = {field.name for field in fields(series.family)} - set(NETWORK_CHANGES)
    settings = {name: changes.pop(name) for name in list(changes) if name in known}
    shown = setting_of(series, max(problem, 0) if on is None else on, settings)
    seed = series.seed if seed is None else whole("seed", seed, 0)
    change(series, shown, seed, **changes)
    return _activity(series, shown, repeats, np.random.SeedSequence([seed, PROBES, max(problem, 0)]))


def setting_of(series: Series, on: int | Problem, settings: dict[str, Any]) -> Problem:
    """Return the problem to show: a given one, or one of the series, drawn with some settings of the family changed."""
    if not isinstance(on, Problem):
        if settings:
            series.family = replace(series.family, **settings)
        on = series.draw(whole("on", on, 0))
    elif settings:
        raise TypeError(f"{', '.join(settings)}: this problem is drawn already; change it where its family is made")
    weights = series.network.weights
    wanted = tuple(len(getattr(series.setting, f"{kind}_names")) for kind in ("input", "output"))
    if weights and (len(on.input_names), len(on.output_names)) != wanted:
        came = f"{len(on.input_names)} inputs and {len(on.output_names)} outputs"
        raise ValueError(f"on: a problem with {came} does not fit a network with {wanted[0]} and {wanted[1]}")
    middle = tuple(replace(epoch, duration=epoch.length(0.5)) for epoch in on.epochs)
    return replace(on, epochs=middle)  # probes of one dataset have one time axis


def _activity(series: Series, shown: Problem, repeats: int, stream: np.random.SeedSequence) -> xr.Dataset:
    o, network = series.options, series.network
    conditions = np.tile(np.arange(shown.conditions), max(repeats, 1))
    stimuli = show(shown, conditions, o["dt"], o["dtype"], np.random.default_rng(stream) if repeats else None)
    bias, steps = network.output_bias, stimuli.inputs.shape[1]
    key = stream.generate_state(1, np.uint64)[0]
    drawn = [draw_noise(network, key, i, steps) for i in range(len(conditions))] if repeats else []
    noise = [each for each in drawn if each is not None]
    with torch.no_grad(), one_torch_thread():
        inputs = torch.as_tensor(stimuli.inputs, device=bias.device)
        activity = network(inputs, torch.cat(noise) if noise else None)
    found = {name: getattr(activity, name).cpu().numpy() for name in network.signals}
    loss, correct = score(activity.logits.cpu().numpy(), stimuli)
    found |= {"readout": torch.softmax(activity.logits, -1).cpu().numpy(), "loss": loss, "correct": correct}
    repeat = np.repeat(np.arange(max(repeats, 1)), shown.conditions)
    epoch = shown.trials([0], dt=o["dt"]).epoch.values[0]
    return labelled(shown, conditions, repeat, epoch, o["dt"], found).assign_coords(problem=series.problem - 1)


def labelled(
    shown: Problem,
    conditions: np.ndarray,
    repeat: np.ndarray,
    epoch: np.ndarray,
    dt: float,
    arrays: dict[str, np.ndarray],
) -> xr.Dataset:
    """Label arrays (probe, time, ...) of what a network did, as ``/activity`` does."""
    rows = GROUPS["activity"].variables
    found: dict[str, Any] = {}
    for name, array in arrays.items():
        row = rows.get(name) or OUTCOMES[name]
        attrs = {"units": row.units, "long_name": row.long_name}
        found[name] = row.dims[1:], array > 0 if row.dtype == "bool" else array, attrs
    neurons = next(array for array in arrays.values() if array.ndim == 3).shape[-1]
    coords: dict[str, Any] = {name: ("probe", [values[c] for c in conditions]) for name, values in shown.labels.items()}
    coords |= {
        "condition": ("probe", conditions),
        "repeat": ("probe", repeat),
        "time": ("time", np.arange(len(epoch)) * dt),
        "epoch": ("time", epoch),
        "neuron": ("neuron", np.arange(neurons)),
        "output": ("output", list(shown.output_names)),
    }
    data = xr.Dataset(found, coords)
    for name in coords:
        known = rows.get(name)
        data[name].attrs = {"units": known.units if known else "1", "long_name": known.long_name if known else name}
    return data


def replay(run: Run, problem: int, trial: int) -> xr.Dataset:
    """Do a trial of the series again, bit for bit, with the network and the noise of then.

    Parameters
    ----------
    run : DataTree or path
        A run.
    problem, trial : int
        The problem of the series, and the trial within it.

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
    series = restore(tree, problem - 1, exact=True)
    advance(series, problem, trial)
    with one_torch_thread():
        series.take_up()
        stimuli, rows = series.trials.between(trial, trial + 1)
        steps = int(stimuli.length[rows[0]])
        series.do_trials(trial + 1)
    found = {name: array[None] for name, array in series.learner.last_trial(steps).items()}
    logits = found.pop("logits")
    found["readout"] = torch.softmax(torch.from_numpy(logits), -1).numpy()
    now, names = series.current, list(series.setting.input_names)
    found |= {"loss": now.loss[trial : trial + 1], "correct": now.correct[trial : trial + 1]}
    condition, epoch = series.trials.conditions[trial : trial + 1], series.trials.epochs(trial)
    data = labelled(series.setting, condition, np.zeros(1, int), epoch, series.options["dt"], found).squeeze("probe")
    data["inputs"] = ("time", "input"), stimuli.inputs[rows[0], :steps], {"units": "1", "long_name": "input"}
    identical = bool(now.loss[trial] == recorded[trial])
    return data.assign_coords(problem=problem, trial=trial, input=names).assign_attrs(identical=identical)


# ---------------------------------------------------------------- changing a network


def change(series: Series, shown: Problem, seed: int, **changes: Any) -> None:
    """Change the network of a series in place; see `changes` of :func:`probe`. Clamped means are those in `shown`."""
    network = series.network
    for name in changes:
        if name not in NETWORK_CHANGES and name not in network.free:
            known = ", ".join([*network.free, *NETWORK_CHANGES, *(field.name for field in fields(series.family))])
            raise TypeError(f"there is no change {name!r}; there is {known}")
    with torch.no_grad():
        for name in set(changes) & set(network.free):
            _set_property(network, name, changes[name])
        _reset(series, _names(changes.get("reset", ())))
        _shuffle(network, _names(changes.get("shuffle", ())), seed)
        for name in ("silence", "clamp"):
            if changes.get(name) is not None:
                _lesion(series, shown, np.atleast_1d(np.asarray(changes[name], int)), clamp=name == "clamp")
        _switch(network, changes)
    series.learner.load(series.learner.state())


def _names(given: str | Iterable[str]) -> list[str]:
    return [given] if isinstance(given, str) else list(given)


def _set_property(network: Any, name: str, values: Any) -> None:
    free = torch.as_tensor(PROPERTIES[name].to_free(values), dtype=network.free[name].dtype)
    network.free[name].copy_(free.expand_as(network.free[name]))


def _reset(series: Series, names: list[str]) -> None:
    """Give properties and weights the values with which they were born; "properties" and "weights" stand for all."""
    if not names:
        return
    born, network = series.born(), series.network
    parts = {"weights": list(network.weights), "properties": list(network.free)}
    for name in names:
        for part in parts.get(name, [name]):
            _part(network, part).copy_(_part(born, part))


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


def _lesion(series: Series, shown: Problem, neurons: np.ndarray, *, clamp: bool) -> None:
    """Silence neurons for good, also while learning goes on; clamped, their mean output goes on without them."""
    network = series.network
    if "recurrent_weights" not in network.weights:
        raise ValueError(f"this network ({type(network).__name__}) has no recurrent neurons to silence or clamp")
    if neurons.size and not 0 <= neurons.min() <= neurons.max() < network.neurons:
        raise ValueError(f"neurons: {neurons.tolist()} are not all among 0 to {network.neurons - 1}")
    if clamp:
        o = series.options
        inputs = show(shown, np.arange(shown.conditions), o["dt"], o["dtype"]).inputs
        activity = network(torch.as_tensor(inputs, device=network.bias.device))
        mean = network.output_of(activity).mean((0, 1))[neurons]
        network.bias += network.recurrent_weights[:, neurons] @ mean
        network.output_bias += network.output_weights[:, neurons] @ mean
    network.recurrent_weights[:, neurons] = 0
    network.recurrent_weights[neurons] = 0
    network.output_weights[:, neurons] = 0
    network.input_weights[neurons] = 0
    network.bias[neurons] = FAR_BELOW


def _switch(network: Any, changes: dict[str, Any]) -> None:
    if "noise" in changes:
        network.noise = float(changes["noise"])
    if changes.get("recurrent") is False:
        network.recurrent_weights.zero_()
    switches = {name: changes[name] for name in ("spiking", "readout") if name in changes}
    if switches and not hasattr(network, "model"):
        raise ValueError(f"{next(iter(switches))}: only the spiking network has it")
    if switches.get("spiking") is False and changes.get("readout") != "membrane":
        raise ValueError(
            "spiking: without spikes there is nothing to read but the membrane; give readout='membrane' too"
        )
    if "spiking" in switches:
        network.model = network.model._replace(spiking=int(switches["spiking"]))
    if "readout" in switches:
        network.model = network.model._replace(read_spikes=int(switches["readout"] == "spikes"))


# ---------------------------------------------------------------- learning on


def learn_on(
    run: Run,
    problem: int | None = None,
    *,
    problems: int = 20,
    family: str | Family | None = None,
    learnable: Any = "same",
    seed: int | None = None,
    path: str | Path | None = None,
    progress: Progress = False,
    **changes: Any,
) -> xr.DataTree:
    """Let the network of a run learn on from a problem, with something changed.

    With nothing changed it is the run itself, bit for bit: the same next problems, the same trials, the same noise.

    Parameters
    ----------
    run : DataTree or path
        A run.
    problem : int, optional
        After which problem; the last one by default.
    problems : int
        How many problems to learn.
    family : str or Family, optional
        Another family; weights are kept where input and output channels have the same names, others are new.
    learnable : optional
        Which properties learn from now on, as for :func:`ip2lab.train`; the same as before by default.
    seed : int, optional
        Draws other problems, trials and noise than the run's own next ones.
    path, progress
        As for :func:`ip2lab.train`.
    **changes
        Changes of the network as of :func:`probe`, made once, and options of :func:`ip2lab.train`
        (``frozen=["recurrent_weights"]``, ``recurrent=False``) that hold while it learns.

    Returns
    -------
    DataTree
        A run, with ``origin`` in its configuration.

    Examples
    --------
    >>> import ip2lab
    >>> run = ip2lab.train("association", problems=2, neurons=20, max_trials=60, progress=False)
    >>> on = learn_on(run, 0, problems=1)
    >>> float(on["series"].loss[0]) == float(run["series"].loss[1])
    True
    """
    tree = tree_of(run)
    old = restore(tree, problem, exact=True)
    options = {name: changes.pop(name) for name in list(changes) if name in old.options and name not in MADE_ONCE}
    if "silence" in changes and old.options.get("readout") == "membrane":
        raise ValueError(
            "silence: a silenced neuron's membrane is still read out; only runs that read spikes can learn on"
        )
    order = None if seed is not None else list(range(old.problem, old.problem + whole("problems", problems, 1)))
    attrs: dict[str, Any] = {str(name): value for name, value in tree.attrs.items()}
    attrs["config"] = {**attrs["config"], "record": {**old.options["record"], "kept": None}}
    if family is not None:
        other = make_family(family)
        attrs["family"], attrs["config"]["family"] = other.name, other.settings()
    if learnable != "same":
        attrs["learnable"] = learnable_names(old.model, learnable, "adaptation" in old.network.signals, old.seed)
    if seed is not None:
        attrs["seed"], options = whole("seed", seed, 0), {"network_seed": None, "problem_seed": None} | options
    new = Series.of(attrs, problems, problems_order=order, **options)
    _carry_over(old, new)
    origin = {name: attrs[name] for name in ("family", "model", "seed")}
    new.origin = origin | {"problem": old.problem - 1, "changes": changes}
    change(new, new.setting, old.seed if seed is None else seed, **changes)
    return new.record(path).run(progress)


@torch.no_grad()
def _carry_over(old: Series, new: Series) -> None:
    """Copy what one network has learnt into another; where channels differ, by their names."""
    channels = {"input": (old.setting.input_names, new.setting.input_names)}
    channels["output"] = (old.setting.output_names, new.setting.output_names)
    for name, dims in new.network.weights.items():
        pairs = [
            channels.get(dim, (range(size), range(size)))
            for dim, size in zip(dims, getattr(new.network, name).shape, strict=True)
        ]
        common = [[x for x in there if x in here] for there, here in pairs]
        source, target = (
            np.ix_(*([names.index(x) for x in both] for names, both in zip(side, common, strict=True)))
            for side in zip(*pairs, strict=True)
        )
        getattr(new.network, name)[target] = getattr(old.network, name)[source]
    for name, parameter in new.network.free.items():
        parameter.copy_(old.network.free[name])
    new.learner.load(new.learner.state())
    if old.setting.input_names == new.setting.input_names and old.setting.output_names == new.setting.output_names:
        new.set_memory(old.memory())
