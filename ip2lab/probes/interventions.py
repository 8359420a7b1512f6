"""Questions asked of a trained network, each answered by a labelled dataset."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import xarray as xr

from ip2lab.checks import flag, from_zero, several, whole
from ip2lab.probes.continuation import changed_trainer
from ip2lab.probes.playback import Run, advance, probe, restore, tree_of
from ip2lab.properties import PROPERTIES, in_order
from ip2lab.training.trainer import Trainer, train

TRIALS = {"units": "1", "long_name": "trials to criterion"}
LOSS = {"units": "nats", "long_name": "loss"}
ACCURACY = {"units": "1", "long_name": "share of trials answered right"}


def delays(
    run: Run,
    problem: int,
    delays: Iterable[float] = (500, 1000, 1500, 2000, 3000),
    *,
    repeats: int = 10,
    **changes: Any,
) -> xr.Dataset:
    """Ask how the network does with other delays than it was trained with.

    Parameters
    ----------
    run : DataTree or path
        A run.
    problem : int
        The network after this problem is tested on it.
    delays : iterable of float
        Delays in ms.
    repeats : int
        Noisy trials of each condition.
    **changes
        As for :func:`ip2lab.probe`.

    Returns
    -------
    Dataset
        ``loss`` and ``accuracy`` (delay).

    Examples
    --------
    >>> import ip2lab
    >>> run = ip2lab.train("association", problems=1, neurons=20, max_trials=60, progress=False)
    >>> delays(run, 0, [500, 2000], repeats=2).accuracy.dims
    ('delay',)
    """
    delays = [from_zero("delays", delay) for delay in several("delays", delays, "numbers of ms")]
    probes = [probe(run, problem, repeats=repeats, delay=delay, **changes) for delay in delays]
    coords = {"delay": ("delay", delays, {"units": "ms", "long_name": "delay"})}
    return xr.Dataset(_outcomes(probes, "delay"), coords)


def _outcomes(probes: Iterable[xr.Dataset], dim: str) -> dict[str, Any]:
    """Return mean loss and accuracy of each of several probes along a dim."""
    means = [_mean_outcome(each) for each in probes]
    return {
        "loss": (dim, [loss for loss, _ in means], LOSS),
        "accuracy": (dim, [share for _, share in means], ACCURACY),
    }


def _mean_outcome(probe: xr.Dataset) -> tuple[float, float]:
    """Return mean loss and share of right answers over the trials of a probe."""
    return float(probe.loss.mean()), float(probe.correct.mean())


def _intact(probe: xr.Dataset) -> dict[str, Any]:
    """Return what the outcome of a lesion is compared with."""
    loss, accuracy = _mean_outcome(probe)
    return {"intact_loss": ((), loss, LOSS), "intact_accuracy": ((), accuracy, ACCURACY)}


def retention(
    run: Run, after: int | None = None, *, on: Iterable[int] | None = None, relearn: bool = True
) -> xr.Dataset:
    """Ask what is left of old problems: how much is forgotten, and what is saved when they are learnt again.

    Parameters
    ----------
    run : DataTree or path
        A run.
    after : int, optional
        The network after this problem is asked; after the last one by default.
    on : iterable of int, optional
        The old problems; all up to `after` by default.
    relearn : bool
        Whether each old problem is learnt again, too, each from the same network.

    Returns
    -------
    Dataset
        ``loss`` and ``accuracy`` (problem) without learning, noise-free; ``trials_to_criterion`` (problem) when it was
        new, and ``trials_again`` (problem), NaN where the criterion was not reached.

    Examples
    --------
    >>> import ip2lab
    >>> run = ip2lab.train("association", problems=2, neurons=20, max_trials=60, progress=False)
    >>> retention(run, relearn=False).accuracy.sizes["problem"]
    2
    """
    tree = tree_of(run)
    done = np.sort(tree["series"].to_dataset()["problem"].values)
    after = int(done.max(initial=-1)) if after is None else whole("after", after, 0)
    on = done[done <= after].tolist() if on is None else on
    old = [whole("on", each, 0) for each in several("on", on, "problems")]
    found = _outcomes([probe(tree, after, on=each) for each in old], "problem")
    found["trials_to_criterion"] = "problem", tree["series"].trials_to_criterion.sel(problem=old).values, TRIALS
    if flag("relearn", relearn):
        again = [_learn(changed_trainer(tree, after, 1, problems_order=[each]))[0] for each in old]
        found["trials_again"] = "problem", again, TRIALS | {"long_name": "trials to criterion, learnt again"}
    return xr.Dataset(found, {"problem": ("problem", old, {"units": "1", "long_name": "problem of the series"})})


def _learn(trainer: Trainer) -> np.ndarray:
    """Go through the problems of a trainer without recording them; return trials to criterion (problem,)."""
    advance(trainer, trainer.problems)
    return np.array(trainer.trials_to_criterion)


def lesions(
    run: Run,
    problem: int | None = None,
    *,
    by: str,
    of: str = "value",
    bins: int = 5,
    controls: int = 200,
    clamp: bool = False,
    next_problems: int = 0,
    seed: int = 0,
) -> xr.Dataset:
    """Ask what neurons with a certain value of a property are for: lesion them bin by bin.

    Parameters
    ----------
    run : DataTree or path
        A run.
    problem : int, optional
        The network after this problem is tested on it; the last one by default.
    by : str
        The property whose quantiles make the bins.
    of : {"value", "initial", "change"}
        Its learnt value, the one at birth, or the difference.
    bins : int
        Number of bins with equally many neurons.
    controls : int
        Random sets of neurons for each bin, as many and matched on firing rate and on abs(W_out): each neuron is
        replaced by one out of the same third of both.
    clamp : bool
        Whether the mean output of the lesioned neurons goes on, instead of being silent.
    next_problems : int
        Whether so many new problems are then learnt with each bin lesioned, too.
    seed : int
        Draws the controls.

    Returns
    -------
    Dataset
        ``loss`` and ``accuracy`` (bin) on the problem, ``control_loss`` and ``control_accuracy`` (bin, control),
        ``intact_loss``, ``intact_accuracy``, ``p`` (bin), the share of controls with at least this loss, ``low`` and
        ``high`` (bin), the bin's edges, ``lesioned`` (bin, neuron), and with `next_problems` ``trials_to_criterion``
        (bin, problem) and ``intact_trials`` (problem).

    Examples
    --------
    >>> import ip2lab
    >>> run = ip2lab.train("association", problems=1, neurons=20, max_trials=60, progress=False)
    >>> lesions(run, by="tau_soma", bins=2, controls=3).control_loss.shape
    (2, 3)
    """
    tree = tree_of(run)
    bins, controls = whole("bins", bins, 2), whole("controls", controls, 1)
    next_problems, seed = whole("next_problems", next_problems, 0), whole("seed", seed, 0)
    intact = restore(tree, problem)
    problem = intact.problem - 1
    values = _binned_by(tree, problem, by, of)
    order = np.argsort(values, kind="stable")
    parts = np.array_split(order, bins)
    before = probe(tree, problem)
    strata = _strata(before, intact)
    rng = np.random.default_rng([seed, problem])
    sets = [[part, *_controls(part, strata, controls, rng)] for part in parts]
    kind = "clamp" if flag("clamp", clamp) else "silence"
    loss, accuracy = np.moveaxis(np.array([_lesioned(tree, problem, kind, row) for row in sets]), -1, 0)
    share = ((loss[:, 1:] >= loss[:, :1]).sum(1) + 1) / (controls + 1)
    found: dict[str, Any] = {
        "loss": ("bin", loss[:, 0], LOSS),
        "accuracy": ("bin", accuracy[:, 0], ACCURACY),
        "control_loss": (("bin", "control"), loss[:, 1:], LOSS),
        "control_accuracy": (("bin", "control"), accuracy[:, 1:], ACCURACY),
        **_intact(before),
        "p": ("bin", share, {"units": "1", "long_name": "share of controls with at least this loss"}),
        **_bins(values, parts, f"{of} of {by}", PROPERTIES[by].unit),
    }
    if next_problems:
        found |= _learning_after(tree, problem, next_problems, [{kind: part} for part in parts])
    return xr.Dataset(found, {"bin": np.arange(bins), "neuron": np.arange(len(values))}, {"by": by, "of": of})


def _bins(values: np.ndarray, parts: list[np.ndarray], words: str, unit: str) -> dict[str, Any]:
    """Return the edges of bins, and which neurons are in each."""
    lesioned = np.array([np.isin(np.arange(len(values)), part) for part in parts])
    low, high = ([edge(values[part]) for part in parts] for edge in (np.min, np.max))
    return {
        "low": ("bin", low, {"units": unit, "long_name": f"smallest {words}"}),
        "high": ("bin", high, {"units": unit, "long_name": f"largest {words}"}),
        "lesioned": (("bin", "neuron"), lesioned, {"units": "1", "long_name": "neuron is lesioned"}),
    }


def _lesioned(tree: xr.DataTree, problem: int, kind: str, sets: list[np.ndarray]) -> list[tuple[float, float]]:
    """Return mean loss and share of right answers with each of several sets of neurons silenced or clamped."""
    changes: list[dict[str, Any]] = [{kind: neurons} for neurons in sets]
    return [_mean_outcome(probe(tree, problem, **change)) for change in changes]


def _learning_after(tree: xr.DataTree, problem: int, problems: int, changes: list[dict[str, Any]]) -> dict[str, Any]:
    """Return how fast the next problems are learnt with each of several lesions, and with none."""
    learnt = [_learn(changed_trainer(tree, problem, problems, **each)) for each in changes]
    intact = _learn(changed_trainer(tree, problem, problems))
    return {
        "trials_to_criterion": (("bin", "problem"), np.array(learnt), TRIALS),
        "intact_trials": ("problem", intact, TRIALS),
    }


def single_lesions(run: Run, problem: int | None = None, neurons: Iterable[int] | None = None) -> xr.Dataset:
    """Ask what each neuron is needed for: silence them one at a time.

    Parameters
    ----------
    run : DataTree or path
        A run.
    problem : int, optional
        The network after this problem is tested on it; the last one by default.
    neurons : iterable of int, optional
        Which ones; all by default, which takes a hundred times as long as one probe for a hundred neurons.

    Returns
    -------
    Dataset
        ``loss`` and ``accuracy`` (neuron) on the problem, without noise, with that neuron silenced, and
        ``intact_loss`` and ``intact_accuracy``.

    Examples
    --------
    >>> import ip2lab
    >>> run = ip2lab.train("association", problems=1, neurons=20, max_trials=60, progress=False)
    >>> single_lesions(run, 0, [3, 7]).loss.sizes
    Frozen({'neuron': 2})
    """
    tree = tree_of(run)
    problem = int(tree["series"].to_dataset()["problem"].max()) if problem is None else problem
    size = tree["properties"].sizes.get("neuron", 1)  # none: the first probe says why
    chosen = (
        list(range(size))
        if neurons is None
        else [whole("neurons", each, 0) for each in several("neurons", neurons, "neurons")]
    )
    intact = _intact(probe(tree, problem))
    found = _outcomes([probe(tree, problem, silence=[neuron]) for neuron in chosen], "neuron") | intact
    return xr.Dataset(found, {"neuron": ("neuron", chosen, {"units": "1", "long_name": "silenced neuron"})})


def _binned_by(tree: xr.DataTree, problem: int, by: str, of: str) -> np.ndarray:
    table = tree["properties"].to_dataset()
    if not isinstance(by, str) or by not in table.data_vars:
        raise ValueError(f"by: this run has no property {by!r}; it has {', '.join(map(str, table.data_vars))}")
    times = {"value": problem, "initial": -1}
    each = {name: table[by].sel(problem=when).reset_coords(drop=True) for name, when in times.items()}
    values: dict[str, np.ndarray] = {name: in_order(by, found, found.size) for name, found in each.items()}
    values["change"] = values["value"] - values["initial"]
    if not isinstance(of, str) or of not in values:
        raise ValueError(f"of: {of!r} is unknown; known: 'value', 'initial', 'change'")
    return values[of]


def _strata(before: xr.Dataset, intact: Trainer) -> np.ndarray:
    """Return the number of the cell of each neuron: the third of its activity and the third of its output weight."""
    signal = before["spikes"] if "spikes" in before else before["activity"]
    rate = signal.mean(("probe", "time")).values
    weight = abs(intact.network.output_weights.detach().cpu().numpy()).sum(0)
    thirds = [np.searchsorted(np.quantile(x, [1 / 3, 2 / 3]), x, side="left") for x in (rate, weight)]
    return 3 * thirds[0] + thirds[1]


def _controls(part: np.ndarray, strata: np.ndarray, number: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Draw sets of neurons that are matched to those in `part`."""
    return [_matched(part, strata, rng) for _ in range(number)]


def _matched(part: np.ndarray, strata: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw as many neurons out of each cell as `part` has in it."""
    cells, numbers = np.unique(strata[part], return_counts=True)
    pairs = zip(cells, numbers, strict=True)
    return np.concatenate([rng.choice(np.flatnonzero(strata == cell), n, replace=False) for cell, n in pairs])


KINDS = ("both", "properties", "shuffled", "marginals", "weights", "nothing")


def transplants(
    run: Run,
    *,
    kinds: Sequence[str] = KINDS,
    seeds: Iterable[int] = range(3),
    problems: int = 20,
    learnable: Any = None,
) -> xr.Dataset:
    """Ask what of a trained network makes it learn fast: put parts of it into others, and let these learn new problems.

    Parameters
    ----------
    run : DataTree or path
        A run.
    kinds : sequence of str
        ``"both"``: weights and properties as learnt; ``"properties"``: the learnt properties under fresh weights;
        ``"shuffled"``: these shuffled over neurons, a neuron's set staying together; ``"marginals"``: each property
        shuffled by itself; ``"weights"``: the learnt weights, initial properties; ``"nothing"``: an untrained network.
    seeds : iterable of int
        Each draws fresh weights, problems and noise.
    problems : int
        How many new problems are learnt.
    learnable : optional
        What learns beside the weights, as for :func:`ip2lab.train`; nothing by default, so that what was
        transplanted stays.

    Returns
    -------
    Dataset
        ``trials_to_criterion`` (kind, seed, problem), NaN where the criterion was not reached.

    Examples
    --------
    >>> import ip2lab
    >>> run = ip2lab.train("association", problems=1, neurons=20, max_trials=60, progress=False)
    >>> transplants(run, kinds=["properties", "nothing"], seeds=[7], problems=1).trials_to_criterion.shape
    (2, 1, 1)
    """
    tree, seeds = tree_of(run), [whole("seeds", seed, 0) for seed in several("seeds", seeds, "seeds")]
    kinds, problems = several("kinds", kinds, "words"), whole("problems", problems, 1)
    if not kinds or not seeds:
        raise ValueError(f"kinds: {kinds}, seeds: {seeds}; give at least one of each")
    _check_kinds(kinds)
    if int(tree.attrs["seed"]) in seeds:
        raise ValueError(f"seeds: {tree.attrs['seed']} is the run's own; its problems would not be new")
    trials = [[_transplanted(tree, kind, seed, problems, learnable) for seed in seeds] for kind in kinds]
    dims = ("kind", "seed", "problem")
    return xr.Dataset({"trials_to_criterion": (dims, np.array(trials), TRIALS)}, {"kind": list(kinds), "seed": seeds})


def _check_kinds(kinds: list[str]) -> None:
    for kind in kinds:
        if kind not in KINDS:
            raise ValueError(f"kinds: {kind!r} is unknown; known: {', '.join(KINDS)}")


def _transplanted(tree: xr.DataTree, kind: str, seed: int, problems: int, learnable: Any) -> np.ndarray:
    """Return the trials to criterion of a network into which parts of the trained one were put."""
    if kind in ("both", "weights"):
        reset = {"reset": "properties"} if kind == "weights" else {}
        return _learn(changed_trainer(tree, None, problems, learnable=learnable, seed=seed, **reset))
    trainer = restore(tree, -1)
    settings: dict[str, Any] = {"network_seed": None, "problem_seed": None, "problems_order": None, "record": {}}
    start = {} if kind == "nothing" else {"start": _start(tree, kind, seed)}
    arguments = {"learnable": learnable, "problems": problems, "seed": seed, "progress": False}
    with warnings.catch_warnings():  # that learnt time constants are short for dt was so in the run, too
        warnings.filterwarnings("ignore", message="tau_soma of .* is not resolved")
        run = train(trainer.family, trainer.model, **arguments, **trainer.options | settings | start)
    return run["series"].trials_to_criterion.values


def _start(tree: xr.DataTree, kind: str, seed: int) -> dict[str, np.ndarray]:
    """Return the learnt properties that a new network starts with, shuffled as `kind` says."""
    table = tree["properties"].to_dataset().sortby("problem").isel(problem=-1)
    learnt = {str(name): in_order(str(name), one.astype(float), one.size) for name, one in table.data_vars.items()}
    rng = np.random.default_rng([seed, 0])
    order = rng.permutation(tree["properties"].sizes.get("neuron", 1))
    if kind == "shuffled":
        return {name: values[order] for name, values in learnt.items()}
    if kind == "marginals":
        return {name: rng.permutation(values) for name, values in learnt.items()}
    return learnt
