"""Every public function with a call that works, and what an argument could be in its place."""

from __future__ import annotations

import datetime
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import ip2lab
from ip2lab import experiments, networks, plasticity, probes, records
from ip2lab.analysis import connectivity, curves, from_events, from_pynapple, neurons, population, to_pynapple
from ip2lab.properties import PROPERTIES
from ip2lab.tasks import family
from ip2lab.training import options, recording

NAN, INF = float("nan"), float("inf")
HUGE = 10**9
VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 3, HUGE, -HUGE, 10**30, 0.5, -2.5, 1e300, 1e-300, NAN, INF, -INF, 1 + 2j,
    "", "neuron", "trial", "time", "nonsense", "../x", "\0", "ä" * 300, b"neuron", [], (), {}, set(),
    [1], [0.5, -1.0], [NAN], ["neuron"], ["a", "b", "a"], [None], [[1, 2], [3]], {"a": 1}, {"tau_soma": -1}, {1: 2},
    np.array([]), np.array([1.0, 2.0]), np.array([1, HUGE]), np.array([NAN, 1.0]), np.array(["a", "b"]),
    np.zeros((2, 3)), np.float32(1), np.int64(2), np.bool_(True), np.datetime64("2020-01-01"),
    object(), object, len, datetime.timedelta(1), range(3), range(HUGE), slice(None), Ellipsis,
]  # fmt: skip


def rates() -> xr.DataArray:
    """Make activity that every analysis can work on: counts of 8 trials of 20 steps of 5 neurons."""
    rng = np.random.default_rng(0)
    values = rng.poisson(2.0, (8, 20, 5)) + rng.poisson(3.0, (8, 1, 5)) * (np.arange(8) % 2)[:, None, None]
    cue, rule = np.arange(8) % 2, np.arange(8) // 2 % 2
    return xr.DataArray(
        values.astype(float),
        dims=("trial", "time", "neuron"),
        coords={
            "time": ("time", 20.0 * np.arange(20), {"units": "ms"}),
            "cue": ("trial", cue),
            "rule": ("trial", rule),
        },
        attrs={"units": "Hz", "long_name": "rate"},
        name="rates",
    )


def spikes() -> xr.DataArray:
    return (rates() > 3).rename("spikes").assign_attrs(units="1", long_name="spikes")


def weights(problems: int = 0) -> xr.DataArray:
    rng = np.random.default_rng(1)
    shape, dims = ((problems,), ("problem",)) if problems else ((), ())
    return xr.DataArray(rng.normal(size=(*shape, 9, 9)), dims=(*dims, "neuron", "presynaptic"), name="weights")


def trials() -> xr.DataArray:
    """Make trials to criterion of 4 seeds in 40 problems."""
    rng = np.random.default_rng(2)
    values = np.round(300 * np.exp(-np.arange(40) / 6) + 5 + rng.gamma(2.0, 2.0, (4, 40)))
    dims, coords = ("seed", "problem"), {"problem": np.arange(40), "seed": np.arange(4)}
    return xr.DataArray(values, dims=dims, coords=coords, name="trials_to_criterion", attrs={"units": "1"})


def properties() -> xr.Dataset:
    rng = np.random.default_rng(3)
    size = (6, 20)
    drawn = {"tau_dendrite": 100, "tau_soma": 20, "threshold": 1}
    found = {name: (("problem", "neuron"), at * rng.lognormal(0, 0.2, size)) for name, at in drawn.items()}
    made = xr.Dataset(found, {"problem": np.arange(-1, 5)})
    for name in drawn:
        made[name].attrs = {"units": PROPERTIES[name].unit, "long_name": PROPERTIES[name].label}
    return made


def by_problem() -> xr.DataArray:
    rng = np.random.default_rng(4)
    dims = ("problem", "trial", "time", "neuron")
    made = xr.DataArray(rng.normal(size=(3, 4, 6, 5)), dims=dims, name="rates", coords={"time": 20.0 * np.arange(6)})
    return made.assign_coords(
        problem=range(3), response=("trial", ["a", "b", "a", "b"]), condition=("trial", [0, 1] * 2)
    )


@cache
def search() -> xr.Dataset:
    return ip2lab.example("search_association")


def units() -> Any:
    """Make the spikes of two units, as pynapple has them."""
    import pynapple

    return pynapple.TsGroup({3: pynapple.Ts(np.array([0.001, 0.004])), 8: pynapple.Ts(np.array([0.012, 0.13]))})


@cache
def run() -> xr.DataTree:
    small = {"neurons": 12, "max_trials": 30, "window": 10, "progress": False}
    return ip2lab.train("association", problems=3, seed=2, **small)


def stored() -> str:
    """Return the path of a run below the present folder, which is made where it is not there yet."""
    if not Path("run.zarr").exists():
        ip2lab.train("association", seed=3, path="run.zarr", **TINY)
    return "run.zarr"


def copied() -> str:
    """Return the path of such a run that nobody has made longer."""
    path = tempfile.mkdtemp(dir=".")
    shutil.copytree(stored(), path, dirs_exist_ok=True)
    return path


def means(problem: int) -> xr.DataArray:
    return by_problem()[problem].drop_vars("condition").rename(trial="condition")


TINY = {"neurons": 8, "max_trials": 20, "window": 10, "problems": 1, "progress": False}
Call = tuple[Callable[..., Any], Callable[[], dict[str, Any]]]
TEMPLATE: dict[str, Any] = {
    "model": "spiking", "neurons": 2, "properties": ["tau_soma"], "inputs": ["a"], "outputs": ["a"],
    "time": [0, 20, 40], "epochs": ["a", "b", "c"], "weights": {"keys": {"neuron": 2, "key": 5}},
    "probes": {"condition": [0], "stimulus": ["1"], "response": ["1"], "context": ["a"], "repeat": [0]},
    "adaptation": False, "dtype": "float32",
}  # fmt: skip
EVENTS = {"time": [10.0, 20.0, 30.0, 45.0], "unit": [0, 1, 0, 1], "trial": [0, 0, 1, 1]}
ANALYSES: dict[str, Call] = {
    "pca": (population.pca, lambda: {"data": rates(), "feature": "neuron", "n_components": 2}),
    "project": (population.project, lambda: {"data": rates(), "basis": population.pca(rates()), "feature": "neuron"}),
    "participation_ratio": (
        population.participation_ratio,
        lambda: {"data": rates(), "feature": "neuron", "split": "trial", "n_splits": 3, "seed": 0},
    ),
    "speed": (population.speed, lambda: {"data": rates(), "feature": "neuron", "time": "time"}),
    "manifold": (
        population.manifold,
        lambda: {"data": rates(), "method": "isomap", "n_components": 2, "n_neighbors": 9, "feature": "neuron"},
    ),
    "decode": (
        population.decode,
        lambda: {
            "data": rates(), "label": "cue", "feature": "neuron", "trial": "trial", "time": "time", "folds": 2,
            "across_time": False, "permutations": 2, "seed": 0, "hold_out": "rule",
        },
    ),
    "demix": (
        population.demix,
        lambda: {"data": rates(), "factors": ["cue"], "n_components": 1, "splits": 1, "seed": 0, "trial": "trial"},
    ),
    "pad_trials": (
        population.pad_trials,
        lambda: {"trials": [rates()[0], rates()[1, :9]], "at": "start", "time": "time", "trial": "trial"},
    ),
    "align": (
        population.align,
        lambda: {
            "first": means(0), "second": means(1), "feature": "neuron", "condition": "condition",
            "splits": 2, "permutations": 2, "seed": 0,
        },
    ),
    "condition_means": (population.condition_means, lambda: {"data": rates(), "by": "cue", "trial": "trial"}),
    "dimensionality": (
        population.dimensionality,
        lambda: {"data": by_problem(), "along": "problem", "feature": "neuron", "n_components": 2},
    ),
    "procrustes": (
        population.procrustes, lambda: {"data": rates()[0], "onto": rates()[1], "feature": "neuron"},
    ),
    "principal_angles": (
        population.principal_angles,
        lambda: {
            "first": population.pca(rates(), n_components=2).components,
            "second": population.pca(by_problem(), n_components=2).components,
            "feature": "neuron", "component": "component",
        },
    ),
    "subspaces": (
        population.subspaces,
        lambda: {"data": by_problem(), "block": 1, "n_decision": 2, "n_stimulus": 1, "response": "response"},
    ),
    "subspace_rotation": (
        population.subspace_rotation,
        lambda: {
            "data": by_problem(), "along": "problem", "split": "trial", "n_components": 2, "n_splits": 2, "n_random": 3,
            "seed": 0,
        },
    ),
    "firing_rate": (neurons.firing_rate, lambda: {"spikes": spikes(), "time": "time", "width": 50.0}),
    "psth": (
        neurons.psth,
        lambda: {"spikes": spikes(), "trial": "trial", "time": "time", "width": 50.0, "by": "cue", "level": 0.9},
    ),
    "interspike_intervals": (neurons.interspike_intervals, lambda: {"spikes": spikes(), "trial": "trial"}),
    "intervals of events": (
        neurons.interspike_intervals,
        lambda: {
            "spikes": EVENTS, "time": "time", "trial": "trial", "unit": "unit", "clock": "ms", "recorded": [0.0, 50.0],
        },
    ),
    "adaptation_index": (neurons.adaptation_index, lambda: {"spikes": spikes(), "time": "time", "trial": "trial"}),
    "selectivity": (
        neurons.selectivity,
        lambda: {"data": rates(), "label": "cue", "trial": "trial", "measure": "omega_squared", "shuffles": 3},
    ),
    "mixed_selectivity": (
        neurons.mixed_selectivity,
        lambda: {"data": rates(), "factors": ["cue", "rule"], "trial": "trial"},
    ),
    "drift": (neurons.drift, lambda: {"properties": properties(), "along": "problem", "feature": "neuron"}),
    "density": (
        neurons.density,
        lambda: {"properties": properties(), "along": "problem", "feature": "neuron", "points": 32},
    ),
    "fi_curve": (
        neurons.fi_curve,
        lambda: {"properties": properties().isel(problem=0), "currents": [0.5, 2.0], "dt": 5.0, "duration": 200.0},
    ),
    "relative_threshold": (
        neurons.relative_threshold,
        lambda: {"threshold": properties().threshold[0, :5], "drive": rates().mean("trial"), "feature": "neuron"},
    ),
    "spectral_radius": (
        connectivity.spectral_radius,
        lambda: {"weights": weights(), "neuron": "neuron", "presynaptic": "presynaptic"},
    ),
    "communities": (
        connectivity.communities,
        lambda: {"weights": weights(), "method": "louvain", "resolution": 1.0, "runs": 2, "seed": 0},
    ),
    "modularity": (
        connectivity.modularity,
        lambda: {"weights": weights(), "method": "leiden", "resolution": 1.0, "runs": 2, "nulls": 2, "seed": 0},
    ),
    "stationarity": (
        connectivity.stationarity,
        lambda: {"weights": weights(3), "along": "problem", "runs": 2, "seed": 0, "resolution": 1.0},
    ),
    "change_size": (connectivity.change_size, lambda: {"weights": weights(3), "along": "problem"}),
    "gradient_alignment": (connectivity.gradient_alignment, lambda: {"gradients": weights(3), "along": "problem"}),
    **{
        f.__name__: (
            f,
            lambda: {
                "data": trials(), "along": "problem", "failures": "cap", "cap": 500.0, "resamples": 3, "level": 0.9,
                "seed": 0,
            },
        )
        for f in (curves.exponential_fit, curves.power_law_fit)
    },
    "mean_fit": (
        curves.mean_fit,
        lambda: {"fits": curves.exponential_fit(trials(), failures="cap", cap=500.0), "over": "seed", "level": 0.9},
    ),
    "failures": (curves.failures, lambda: {"data": trials(), "along": "problem"}),
    "final_efficiency": (
        curves.final_efficiency,
        lambda: {"data": trials(), "last": 10, "along": "problem", "failures": "cap", "cap": 500.0},
    ),
    "area": (curves.area, lambda: {"data": trials(), "along": "problem", "failures": "cap", "cap": 500.0}),
    "problems_to_asymptote": (
        curves.problems_to_asymptote,
        lambda: {"data": trials(), "factor": 2.0, "window": 5, "along": "problem", "failures": "cap", "cap": 500.0},
    ),
    "survival": (
        curves.survival,
        lambda: {"data": trials(), "along": "problem", "cap": 500.0, "limit": 300.0, "level": 0.9},
    ),
    "bootstrap": (
        curves.bootstrap,
        lambda: {"data": trials(), "over": "seed", "resamples": 10, "level": 0.9, "seed": 0},
    ),
    "compare": (
        curves.compare,
        lambda: {
            "first": trials().mean("problem"), "second": 2 * trials().mean("problem"), "smallest_effect": 1.5,
            "over": "seed", "alpha": 0.05,
        },
    ),
    "partial_association": (
        curves.partial_association,
        lambda: {
            "measure": trials() ** 0.5, "trials": trials(), "along": "problem", "over": "seed", "block": 5,
            "permutations": 5, "seed": 0,
        },
    ),
    "configurations": (curves.configurations, lambda: {"search": search(), "over": "seed", "level": 0.9}),
    "marginal_effect": (curves.marginal_effect, lambda: {"search": search(), "over": "seed", "level": 0.9}),
    "from_pynapple": (
        from_pynapple,
        lambda: {"data": units(), "bin": 10.0, "onsets": [0.0, 0.1], "window": (0.0, 50.0), "recorded": (0.0, 0.2),
                 "missing": "raise"},
    ),
    "to_pynapple": (to_pynapple, lambda: {"data": spikes()[0], "feature": "neuron", "time": "time"}),
    "from_events": (
        from_events,
        lambda: {"events": EVENTS, "bin": 5.0, "time": "time", "unit": "unit", "trial": "trial", "clock": "ms",
                 "window": (0.0, 40.0), "recorded": (0.0, 45.0)},
    ),
    "from_events around": (
        from_events,
        lambda: {"events": EVENTS, "bin": 5.0, "onsets": [0.0, 20.0], "window": (-5.0, 20.0), "clock": "ms",
                 "recorded": [(0.0, 15.0), (20.0, 45.0)], "missing": "raise", "trials": ["x", "y"]},
    ),
}  # fmt: skip
REST: dict[str, Call] = {
    "train": (ip2lab.train, lambda: {"family": "dms", "model": "spiking", "learnable": None, "seed": 0, **TINY}),
    "train options": (
        ip2lab.train,
        lambda: {"family": "association", **json.loads(json.dumps(_options())), **TINY},
    ),
    "resume": (ip2lab.resume, lambda: {"path": copied(), "problems": 3, "progress": False}),
    "open_run": (ip2lab.open_run, lambda: {"path": stored(), "verify": True}),
    "read_checkpoint": (records.read_checkpoint, lambda: {"path": stored()}),
    "family": (
        family,
        lambda: {"name": "dms", "delay": 1000.0, "stimulus": 500.0, "stimuli": 2, "channels": 10, "noise": 0.1,
                 "overlap": 0.1, "grace_period": 100.0, "response": 500.0},
    ),
    "trials": (family("dms").problem(0).trials, lambda: {"conditions": [0, 1], "dt": 20.0, "seed": 0}),
    "problem": (family("dms").problem, lambda: {"seed": 0}),
    "probe": (
        ip2lab.probe,
        lambda: {"run": run(), "problem": 1, "repeats": 1, "on": 0, "seed": 0, "delay": 500.0, "noise": 0.1,
                 "tau_soma": 20.0, "silence": [1], "shuffle": ["threshold"], "reset": ["bias"], "recurrent": True},
    ),
    "probe clamp": (
        ip2lab.probe, lambda: {"run": run(), "problem": -1, "clamp": [0], "readout": "membrane", "spiking": True},
    ),
    "replay": (ip2lab.replay, lambda: {"run": run(), "problem": 0, "trial": 3}),
    "restore": (probes.restore, lambda: {"run": run(), "problem": 1, "exact": True}),
    "continue_training": (
        ip2lab.continue_training,
        lambda: {"run": run(), "problem": 1, "problems": 1, "family": "association", "learnable": "same", "seed": 4,
                 "progress": False, "noise": 0.1, "silence": [2], "max_trials": 20},
    ),
    "single_lesions": (probes.single_lesions, lambda: {"run": run(), "problem": 1, "neurons": [3]}),
    "delays": (probes.delays, lambda: {"run": run(), "problem": 1, "delays": [500.0], "repeats": 1}),
    "retention": (probes.retention, lambda: {"run": run(), "after": 1, "on": [0], "relearn": False}),
    "lesions": (
        probes.lesions,
        lambda: {"run": run(), "problem": 1, "by": "tau_soma", "of": "value", "bins": 2, "controls": 1, "clamp": False,
                 "next_problems": 0, "seed": 0},
    ),
    "transplants": (
        probes.transplants,
        lambda: {"run": run(), "kinds": ["nothing"], "seeds": [7], "problems": 1, "learnable": None},
    ),
    "example": (ip2lab.example, lambda: {"name": "dms"}),
    "search_plasticity": (
        ip2lab.search_plasticity,
        lambda: {"family": "association", "seeds": [1, 2], "candidates": [None, "tau_soma"], "method": "exhaustive",
                 "model": "spiking", **TINY},
    ),
    "evaluate": (
        plasticity.evaluate,
        lambda: {"choices": {"nothing": None, "one": "tau_soma"}, "family": "association", "seeds": [1, 2],
                 "model": "spiking", **{name: value for name, value in TINY.items() if name != "progress"}},
    ),
    "subsets": (plasticity.subsets, lambda: {"names": ["tau_soma", "threshold"]}),
    "resolve": (options.resolve, lambda: {"model": "rate", "given": {"neurons": 5}}),
    "learnable_names": (
        options.learnable_names, lambda: {"model": "spiking", "learnable": "all", "adaptation": True, "seed": 0},
    ),
    "is_kept": (recording.is_kept, lambda: {"problem": 8}),
    "build": (
        networks.build,
        lambda: {"model": "rate", "inputs": 3, "outputs": 2, "options": options.resolve("rate", {"neurons": 5}),
                 "learnable": ["tau"], "seed": 0},
    ),
    "grid": (experiments.grid, lambda: {"seed": [0, 1], "problems": 2}),
    "run_many": (
        experiments.run_many,
        lambda: {"plan": [{"family": "association", **{k: v for k, v in TINY.items() if k != "progress"}}],
                 "progress": False},
    ),
    "template": (records.template, lambda: dict(TEMPLATE)),
    "network_class": (networks.network_class, lambda: {"model": "rate"}),
    "to_free": (PROPERTIES["tau_soma"].to_free, lambda: {"value": 20.0}),
    "to_value": (PROPERTIES["tau_soma"].to_value, lambda: {"free": 0.1}),
}  # fmt: skip


def _options() -> dict[str, Any]:
    """Return every option of the spiking network with a value that is no None."""
    from ip2lab.training.options import DEFAULTS

    none = {"property_learning_rate": 0.01, "output_learning_rate": 0.01, "freeze_after": 3, "network_seed": 1}
    none |= {"problem_seed": 1, "problems_order": [0, 3], "between_problems": "reset_weights"}
    return DEFAULTS["spiking"] | none


def variants(data: Any) -> Iterator[tuple[str, Callable[[Any], Any]]]:
    """Give what labelled data could be in place of those that work."""
    yield from {
        "renamed": lambda d: d.rename({d.dims[0]: "other"}),
        "transposed": lambda d: d.transpose(*reversed(d.dims)),
        "text": lambda d: d.astype(str),
        "complex": lambda d: d.astype(complex),
        "objects": lambda d: d.astype(object),
        "whole": lambda d: d.astype("int8"),
        "half": lambda d: d.astype("float16"),
        "bool": lambda d: d > 2,
        "times": lambda d: d.astype("timedelta64[ns]"),
        "empty": lambda d: d.isel({d.dims[0]: slice(0)}),
        "none of the last dim": lambda d: d.isel({d.dims[-1]: slice(0)}),
        "one": lambda d: d.isel({d.dims[0]: [0]}),
        "one of the last dim": lambda d: d.isel({d.dims[-1]: [0]}),
        "without a dim": lambda d: d.isel({d.dims[0]: 0}),
        "a number": lambda d: d.isel(dict.fromkeys(d.dims, 0)),
        "with a NaN": lambda d: d.where(d != d.max()),
        "all NaN": lambda d: d * NAN,
        "infinite": lambda d: d / 0,
        "constant": lambda d: d * 0 + 1.0,
        "zero": lambda d: d * 0.0,
        "negative": lambda d: -abs(d) - 1.0,
        "vast": lambda d: d * 1e50,
        "tiny": lambda d: d * 1e-50,
        "without coords": lambda d: d.drop_vars(list(d.coords)),
        "one more dim": lambda d: d.expand_dims(extra=2),
        "in seconds": lambda d: d.assign_coords(time=d.time.assign_attrs(units="s")) if "time" in d.coords else d,
        "in apples": lambda d: d.assign_coords(time=d.time.assign_attrs(units="apples")) if "time" in d.coords else d,
        "times unsorted": lambda d: d.assign_coords(time=d.time.values[::-1]) if "time" in d.coords else d,
        "labels twice": lambda d: d.assign_coords({d.dims[0]: [0] * d.shape[0]}),
        "labels of text": lambda d: d.assign_coords({d.dims[0]: [f"x{i}" for i in range(d.shape[0])]}),
        "labels NaN": lambda d: d.assign_coords({d.dims[0]: np.full(d.shape[0], NAN)}),
        "numpy": lambda d: d.values,
        "a dataset": lambda d: d.to_dataset(name="rates"),
        "dask": lambda d: d.chunk(),
        "unnamed": lambda d: d.rename(None),
    }.items()


def draw(rng: np.random.Generator, name: str, good: Any) -> tuple[str, Any]:
    """Draw what to give in place of an argument: a variant of what works, or something else altogether."""
    if isinstance(good, xr.DataArray) and rng.random() < 0.8:
        what, change = list(variants(good))[rng.integers(len(list(variants(good))))]
        try:
            with np.errstate(all="ignore"):
                return f"{name} {what}", change(good)
        except Exception:  # this variant is none of these data
            return f"{name} as it is", good
    if isinstance(good, xr.Dataset) and rng.random() < 0.5:
        first = next(iter(good.data_vars))
        options = [good[first], good.drop_vars(list(good.data_vars)), good.isel({next(iter(good.dims)): slice(0)})]
        return f"{name} another dataset", options[rng.integers(3)]
    value = VALUES[rng.integers(len(VALUES))]
    return f"{name}={_short(value)}", value


def _short(value: Any) -> str:
    return " ".join(repr(value).split())[:40]


def generated(rng: np.random.Generator, call: Call) -> tuple[str, dict[str, Any]]:
    """Draw a call: one that works, with one argument or two of it replaced."""
    arguments = call[1]()
    names = list(arguments)
    words = []
    for name in rng.choice(names, size=min(len(names), 1 + (rng.random() < 0.3)), replace=False):
        what, arguments[str(name)] = draw(rng, str(name), arguments[str(name)])
        words.append(what)
    return ", ".join(words), arguments


# ---------------------------------------------------------------- calls that have to be answered

SAME: dict[str, Callable[[Any], Any]] = {  # what labelled data may be as well
    "transposed": lambda d: d.transpose(*reversed(list(d.dims))),
    "dask": lambda d: d.chunk(),
    "unnamed": lambda d: d.rename(None) if isinstance(d, xr.DataArray) else d,
    "single precision": lambda d: d.astype("float32") if isinstance(d, xr.DataArray) and d.dtype == np.float64 else d,
    "one coordinate more": lambda d: d.assign_coords(further=1.0),
    "no attributes": lambda d: d.drop_attrs() if isinstance(d, xr.DataArray) else d,
}
OTHERS: dict[str, list[Any]] = {  # what arguments may be as well; of one function where it is named
    "seed": [0, 7, 2**40, np.int64(3)], "level": [0.5, 0.99], "resamples": [2, 20], "n_components": [1, 3],
    "across_time": [True], "permutations": [1, 3, np.int64(2)], "resolution": [0.5, 2.0],
    "width": [20.0, 200.0, 50], "cap": [400.0, 1000, np.float32(600)], "block": [1, 2], "n_splits": [2, 5],
    "points": [16, 64], "shuffles": [1, 5], "nulls": [2, 3], "factor": [1.2, 3.0], "last": [1, 40, np.int64(5)],
    "smallest_effect": [1.1, 3.0], "alpha": [0.01, 0.1], "currents": [[1.0], np.array([0.0, 3.0])], "bin": [1.0, 20.0],
    "duration": [100.0, 500], "n_decision": [1], "n_random": [1, 5], "splits": [1, 2], "n_neighbors": [5, 12],
    "selectivity.measure": ["mutual_information"], "clock": ["s", 30000.0], "pad_trials.at": ["end"],
    "intervals of events.recorded": [[[0, 25], [25, 60]], np.array([0.0, 1e9]), None],
    "intervals of events.clock": [30_000, "ms"],
    "from_pynapple.window": [(0, 30), [10.0, 40.0]], "from_events.window": [(0.0, 30.0)], "psth.by": [None],
    "from_events around.window": [(0.0, 30.0)], "missing": ["drop"],
    **{f"{name}.runs": [2, 3] for name in ("communities", "modularity", "stationarity")},
    "neurons": [4, np.int64(16), 20], "problems": [1, 2, np.int64(2)], "max_trials": [12, 40], "window": [5, 10],
    "progress": [False],
    "train.family": ["association", "cd_dms", "gng_dr_2", "gng_dr_4", family("dms", delay=200.0)],
    "train.model": ["rate", "filters"], "train.learnable": [None, "default", "all", "random"],
    "train options.readout": ["membrane"], "train options.learning_rate": [1e-6, 0.1],
    "train options.beta1": [0.0, 0.9], "train options.beta2": [0.0, 0.9],
    "train options.consolidation": [0.0, "mean", {"tau_soma": 0.5, "recurrent_weights": 0.9}],
    "train options.clip": [0.0, 10.0], "train options.dtype": ["float64"],
    "train options.start": ["heterogeneous", {"tau_soma": 15.0}], "train options.noise": [0.0, 1.0],
    "train options.reset_optimizer": ["all", "none", "first_moment"], "train options.autapses": [True],
    "train options.between_problems": [None, "shuffle_properties", "reset_properties"],
    "family.delay": [20.0, (500.0, 1500.0), 40], "family.noise": [0.0, 1.0], "family.overlap": [0.0, 0.9],
    "family.stimuli": [3, 5], "family.channels": [12, 20], "trials.dt": [1.0, 50.0],
    "trials.conditions": [[0], [1, 1, 3], np.array([2])], "probe.repeats": [0, 3], "probe.on": [2, 100],
    "probe.silence": [[], [0, 11], np.array([5])], "probe.shuffle": [["tau_soma", "tau_dendrite"], "threshold"],
    "probe.reset": [["threshold"], "output_weights"], "probe.recurrent": [False], "probe.delay": [20.0, 3000.0],
    "replay.trial": [0, 9], "replay.problem": [1, 2], "restore.exact": [False], "restore.problem": [-1, 0, 2],
    "continue_training.learnable": [None, "all", "tau_soma"], "continue_training.family": ["dms", "gng_dr_2"],
    "lesions.by": ["threshold", "tau_dendrite"], "lesions.of": ["initial", "change"], "lesions.bins": [2, 3],
    "lesions.clamp": [True], "transplants.kinds": [["shuffled"], ["both", "weights"]],
    "delays.delays": [[20.0, 2000.0], (500,)], "retention.relearn": [True], "retention.on": [[0, 1]],
    "example.name": ["association", "search_dms"], "search_plasticity.seeds": [[3, 4], range(2)],
    "network_class.model": ["spiking", "attention"], "to_free.value": [5.0, np.array([20.0, 30.0])],
    "to_value.free": [-3.0, 0.0, np.zeros(3)], "open_run.verify": [False], "exponential_fit.failures": ["survival"],
}  # fmt: skip


def as_right(rng: np.random.Generator, called: str, call: Call) -> tuple[str, dict[str, Any]]:
    """Draw a call that has to be answered: every argument is what works, or another that is as right."""
    arguments, words = call[1](), []
    for name, good in arguments.items():
        others = OTHERS.get(f"{called}.{name}", OTHERS.get(name, []) if not isinstance(good, (list, str)) else [])
        if isinstance(good, (xr.DataArray, xr.Dataset)) and rng.random() < 0.5:
            what = list(SAME)[rng.integers(len(SAME))]
            arguments[name], word = SAME[what](good), f"{name} {what}"
        elif others and type(good) is not type(None) and rng.random() < 0.5:
            arguments[name] = others[rng.integers(len(others))]
            word = f"{name}={_short(arguments[name])}"
        else:
            continue
        words.append(word)
    return ", ".join(words), arguments
