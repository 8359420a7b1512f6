"""Questions asked of a trained network, each answered by a labelled dataset."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import xarray as xr

from ip2lab.checks import flag, from_zero, several, whole
from ip2lab.probes.continuation import changed_series
from ip2lab.probes.playback import Run, probe, restore, tree_of
from ip2lab.properties import PROPERTIES, in_order
from ip2lab.training.runtime import one_torch_thread
from ip2lab.training.trainer import Series, Unrecorded, train

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
    return xr.Dataset(
        {
            "loss": ("delay", [float(each.loss.mean()) for each in probes], LOSS),
            "accuracy": ("delay", [float(each.correct.mean()) for each in probes], ACCURACY),
        },
        {"delay": ("delay", delays, {"units": "ms", "long_name": "delay"})},
    )


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
    probes = [probe(tree, after, on=each) for each in old]
    found = {
        "loss": ("problem", [float(each.loss.mean()) for each in probes], LOSS),
        "accuracy": ("problem", [float(each.correct.mean()) for each in probes], ACCURACY),
        "trials_to_criterion": ("problem", tree["series"].trials_to_criterion.sel(problem=old).values, TRIALS),
    }
    if flag("relearn", relearn):
        again = [_learn(changed_series(tree, after, 1, problems_order=[each]))[0] for each in old]
        found["trials_again"] = "problem", again, TRIALS | {"long_name": "trials to criterion, learnt again"}
    return xr.Dataset(found, {"problem": ("problem", old, {"units": "1", "long_name": "problem of the series"})})


def _learn(series: Series) -> np.ndarray:
    """Go through a series without recording it; return trials to criterion (problem,)."""
    series.recorder = Unrecorded()  # type: ignore[assignment]
    with one_torch_thread():
        while series.problem < series.problems:
            series.work(lambda: None)
    return np.array(series.trials_to_criterion)


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
    sets = [[part, *(_matched(part, strata, rng) for _ in range(controls))] for part in parts]
    kind = "clamp" if flag("clamp", clamp) else "silence"
    effects = [[probe(tree, problem, **_change(kind, chosen)) for chosen in row] for row in sets]
    loss = np.array([[float(each.loss.mean()) for each in row] for row in effects])
    right = np.array([[float(each.correct.mean()) for each in row] for row in effects])
    unit = {"units": PROPERTIES[by].unit}
    found: dict[str, Any] = {
        "loss": ("bin", loss[:, 0], LOSS),
        "accuracy": ("bin", right[:, 0], ACCURACY),
        "control_loss": (("bin", "control"), loss[:, 1:], LOSS),
        "control_accuracy": (("bin", "control"), right[:, 1:], ACCURACY),
        "intact_loss": ((), float(before.loss.mean()), LOSS),
        "intact_accuracy": ((), float(before.correct.mean()), ACCURACY),
        "p": (
            "bin",
            ((loss[:, 1:] >= loss[:, :1]).sum(1) + 1) / (controls + 1),
            {"units": "1", "long_name": "share of controls with at least this loss"},
        ),
        "low": ("bin", [values[part].min() for part in parts], unit | {"long_name": f"smallest {of} of {by}"}),
        "high": ("bin", [values[part].max() for part in parts], unit | {"long_name": f"largest {of} of {by}"}),
        "lesioned": (
            ("bin", "neuron"),
            np.array([np.isin(np.arange(len(values)), part) for part in parts]),
            {"units": "1", "long_name": "neuron is lesioned"},
        ),
    }
    if next_problems:
        learnt = [_learn(changed_series(tree, problem, next_problems, **_change(kind, part))) for part in parts]
        found["trials_to_criterion"] = ("bin", "problem"), np.array(learnt), TRIALS
        found["intact_trials"] = "problem", _learn(changed_series(tree, problem, next_problems)), TRIALS
    return xr.Dataset(found, {"bin": np.arange(bins), "neuron": np.arange(len(values))}, {"by": by, "of": of})


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
    before = probe(tree, problem)
    each = [probe(tree, problem, silence=[neuron]) for neuron in chosen]
    found = {
        "loss": ("neuron", [float(one.loss.mean()) for one in each], LOSS),
        "accuracy": ("neuron", [float(one.correct.mean()) for one in each], ACCURACY),
        "intact_loss": ((), float(before.loss.mean()), LOSS),
        "intact_accuracy": ((), float(before.correct.mean()), ACCURACY),
    }
    return xr.Dataset(found, {"neuron": ("neuron", chosen, {"units": "1", "long_name": "silenced neuron"})})


def _change(name: str, value: Any) -> dict[str, Any]:
    return {name: value}


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


def _strata(before: xr.Dataset, intact: Series) -> np.ndarray:
    """Return the number of the cell of each neuron: the third of its activity and the third of its output weight."""
    signal = before["spikes"] if "spikes" in before else before["activity"]
    rate = signal.mean(("probe", "time")).values
    weight = abs(intact.network.output_weights.detach().cpu().numpy()).sum(0)
    thirds = [np.searchsorted(np.quantile(x, [1 / 3, 2 / 3]), x, side="left") for x in (rate, weight)]
    return 3 * thirds[0] + thirds[1]


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
        shuffled by itself; ``"weights"``: the learnt weights with properties as born; ``"nothing"``: a newborn network.
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
    wrong = [kind for kind in kinds if kind not in KINDS]
    if wrong:
        raise ValueError(f"kinds: {wrong[0]!r} is unknown; known: {', '.join(KINDS)}")
    if int(tree.attrs["seed"]) in seeds:
        raise ValueError(f"seeds: {tree.attrs['seed']} is the run's own; its problems would not be new")
    trials = [[_transplanted(tree, kind, seed, problems, learnable) for seed in seeds] for kind in kinds]
    dims = ("kind", "seed", "problem")
    return xr.Dataset({"trials_to_criterion": (dims, np.array(trials), TRIALS)}, {"kind": list(kinds), "seed": seeds})


def _transplanted(tree: xr.DataTree, kind: str, seed: int, problems: int, learnable: Any) -> np.ndarray:
    if kind in ("both", "weights"):
        reset = {"reset": "properties"} if kind == "weights" else {}
        return _learn(changed_series(tree, None, problems, learnable=learnable, seed=seed, **reset))
    table = tree["properties"].to_dataset().sortby("problem").isel(problem=-1)
    learnt = {str(name): values.astype(float) for name, values in table.data_vars.items()}
    learnt = {name: in_order(name, values, values.size) for name, values in learnt.items()}
    rng = np.random.default_rng([seed, 0])
    size = tree["properties"].sizes.get("neuron", 1)  # none: the first probe says why
    order = rng.permutation(size)
    start = {
        "properties": learnt,
        "shuffled": {name: values[order] for name, values in learnt.items()},
        "marginals": {name: rng.permutation(values) for name, values in learnt.items()},
    }
    series = restore(tree, -1)
    settings = {"network_seed": None, "problem_seed": None, "problems_order": None}
    options = series.options | settings | ({"start": start[kind]} if kind != "nothing" else {})
    options["record"] = {}
    arguments = {"learnable": learnable, "problems": problems, "seed": seed, "progress": False}
    with warnings.catch_warnings():  # that learnt time constants are short for dt was so in the run, too
        warnings.filterwarnings("ignore", message="tau_soma of .* is not resolved")
        run = train(series.family, series.model, **arguments, **options)
    return run["series"].trials_to_criterion.values
