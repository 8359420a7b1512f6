"""Every picture, explorer and recorder with a call that works; see `calls`."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import xarray as xr
from calls import TEMPLATE, Call, properties, rates, run, search, trials, weights

from ip2lab import records, views
from ip2lab.analysis import curves, neurons, population
from ip2lab.records import Recorder, TrainingRecorder
from ip2lab.tasks import family
from ip2lab.views import plots


@cache
def table() -> xr.Dataset:
    return curves.configurations(search())


@cache
def worth() -> xr.Dataset:
    return curves.marginal_effect(search())


@cache
def density() -> xr.Dataset:
    return neurons.density(properties(), points=32)


def group(name: str) -> xr.Dataset:
    return run()[name].to_dataset().load()


def probe() -> xr.Dataset:
    return group("activity").isel(problem=0, neuron=1)


def spiking() -> xr.DataArray:
    return probe().spikes


def series() -> xr.Dataset:
    return xr.Dataset({"trials_to_criterion": trials(), "censored_trials": trials() * np.nan})


def of_neurons(shift: float = 0.0) -> xr.DataArray:
    found = properties().tau_soma.isel(problem=0, drop=True)
    return (found + shift).assign_attrs(found.attrs).rename("tau_soma")


def by_condition() -> xr.Dataset:
    spikes = rates().isel(neuron=1) > 3
    return neurons.psth(spikes.assign_attrs(units="1"), trial="trial", by="cue").rename(cue="condition")


def scores() -> xr.DataArray:
    return population.pca(rates(), n_components=3).scores.rename(trial="probe")


def fi() -> xr.Dataset:
    two = properties().isel(problem=[0, 5], neuron=[1])
    return neurons.fi_curve(two, [0.5, 1.0, 2.0, 4.0]).isel(neuron=0)


def costs() -> xr.Dataset:
    loss = ("neuron", [0.2, 0.1, 0.4], {"units": "nats"})
    return xr.Dataset({"loss": loss, "intact_loss": 0.1}, {"neuron": [0, 3, 5]})


INKS = ["#112233"] * 20
PICTURES: dict[str, Call] = {
    "neuron_trace": (
        plots.neuron_trace,
        lambda: {"probe": probe().isel(probe=0), "threshold": 1.0, "at": 40.0, "limits": (0.0, 2.0), "height": 260},
    ),
    "picture of a psth": (
        plots.psth,
        lambda: {"found": by_condition(), "at": 40.0, "height": 260},
    ),
    "trial_raster": (
        plots.trial_raster,
        lambda: {"signal": spiking(), "by": "condition", "at": 40.0, "height": 260},
    ),
    "fi_curves": (plots.fi_curves, lambda: {"found": fi(), "height": 260}),
    "partners": (
        plots.partners,
        lambda: {"weights": weights(), "neuron": 1, "colors": INKS[:9], "chosen": [0, 2], "height": 260},
    ),
    "channels": (
        plots.channels,
        lambda: {
            "input_weights": group("weights").input_weights[0, 0],
            "output_weights": group("weights").output_weights[0, :, 0],
            "height": 260,
        },
    ),
    "lesion_costs": (
        plots.lesion_costs,
        lambda: {"found": costs(), "rate": of_neurons(), "picked": 3, "chosen": [0, 5], "colors": INKS, "height": 260},
    ),
    "label_conditions": (plots.label_conditions, lambda: {"probe": group("activity")}),
    "learning_curves": (
        plots.learning_curves,
        lambda: {
            "runs": {"a": series()}, "smooth": 3, "log": True, "log_problems": False, "colors": {"a": "#112233"},
            "fits": {"a": curves.exponential_fit(trials().isel(seed=0), failures="cap", cap=500.0)},
            "at": 3, "off": [], "limits": ((0.0, 40.0), (1.0, 900.0)), "height": 300,
        },
    ),
    "curve_limits": (
        plots.curve_limits, lambda: {"runs": {"a": series()}, "log": True, "log_problems": False},
    ),
    "survival_curves": (
        plots.survival_curves,
        lambda: {"found": {"a": curves.survival(trials().isel(seed=0))}, "colors": {"a": "#112233"}, "height": 260},
    ),
    "within_problem_loss": (
        plots.within_problem_loss,
        lambda: {"trials": {"a": group("trials")}, "problem": 1, "criterion": 0.005, "window": 5,
                 "colors": {"a": "#112233"}, "height": 260},
    ),
    "bars": (
        plots.bars,
        lambda: {"values": {"a": 3.0, "b": 9.0}, "label": "trials", "colors": {"a": "#112233", "b": "#445566"},
                 "single": {"a": [2.0, 4.0]}, "intervals": {"b": (8.0, 11.0)}, "words": {"a": "x"}, "height": 260},
    ),
    "over_problems": (
        plots.over_problems,
        lambda: {"values": trials(), "at": 3, "log": True, "floor": 1.0, "height": 220},
    ),
    "move_marker": (plots.move_marker, lambda: {"picture": plots.over_problems(trials(), at=3), "at": 4.0}),
    "neuron_map": (
        plots.neuron_map,
        lambda: {"x": of_neurons(), "y": of_neurons(5.0), "selected": [1, 3], "log": (True, False), "height": 260},
    ),
    "matrix": (
        plots.matrix,
        lambda: {"values": weights().rename(neuron="problem", presynaptic="other").assign_coords(
            problem=range(9), other=range(9)), "at": 3, "limits": (-2.0, 2.0), "most": 5, "height": 260},
    ),
    "over_time": (
        plots.over_time,
        lambda: {"values": rates().mean("neuron"), "by": "cue", "at": 40.0, "marked": (20.0, 60.0), "hidden": [1],
                 "quiet": [0], "limits": (0.0, 9.0), "height": 220},
    ),
    "property_trajectories": (
        plots.property_trajectories,
        lambda: {"values": properties().tau_soma, "picked": 1, "at": 2, "along": "problem", "colors": INKS,
                 "chosen": [0, 3], "key": {"a": "#112233"}, "height": 320},
    ),
    "highlight": (
        plots.highlight,
        lambda: {"picture": plots.property_trajectories(properties().tau_soma), "values": properties().tau_soma,
                 "neuron": 1, "along": "problem"},
    ),
    "property_density": (
        plots.property_density,
        lambda: {"found": density(), "name": "tau_soma", "at": 2, "picked": 20.0, "chosen": [18.0, 22.0],
                 "label": "a word", "limits": (5.0, 80.0), "height": 320},
    ),
    "shifts": (plots.shifts, lambda: {"found": density(), "at": 2, "height": 260}),
    "scatter": (
        plots.scatter,
        lambda: {"x": of_neurons(), "y": of_neurons(5.0), "picked": 2, "colors": INKS, "chosen": [1, 3],
                 "limits": ((5.0, 80.0), (5.0, 80.0)), "height": 260},
    ),
    "color_scale": (plots.color_scale, lambda: {"values": of_neurons()}),
    "configuration_table": (
        plots.configuration_table,
        lambda: {"search": search(), "table": table(), "picked": "tau_dendrite"},
    ),
    "search_rounds": (plots.search_rounds, lambda: {"search": search(), "picked": "tau_dendrite"}),
    "seed_ratios": (
        plots.seed_ratios, lambda: {"search": search(), "table": table(), "picked": "tau_dendrite"},
    ),
    "property_worth": (
        plots.property_worth,
        lambda: {"worths": {"a": worth()}, "chosen": "a", "singles": True, "height": 200},
    ),
    "trajectories": (
        plots.trajectories,
        lambda: {"scores": scores(), "x": 0, "y": 1, "by": "cue", "at": 40.0,
                 "share": population.pca(rates(), n_components=3).explained_variance_ratio, "hidden": [1],
                 "marked": (20.0, 60.0), "height": 360},
    ),
    "rotate": (plots.rotate, lambda: {"scores": scores(), "azimuth": 30.0, "elevation": 20.0}),
    "raster": (
        plots.raster,
        lambda: {"signal": rates()[0], "order": np.arange(5)[::-1], "order_name": "rate", "at": 40.0, "picked": 2,
                 "selected": [0, 1], "marked": (20.0, 60.0), "limits": (0.0, 9.0), "height": 320},
    ),
    "history": (
        plots.history,
        lambda: {"signal": group("activity").spikes.isel(probe=0, neuron=1, drop=True), "at": 1, "height": 260},
    ),
    "series_picture": (plots.series_picture, lambda: {"run": run(), "problems": 2, "height": 320}),
    "trial_picture": (
        plots.trial_picture, lambda: {"trials": family("dms").problem(0).trials(), "height": 380},
    ),
}  # fmt: skip
EXPLORERS: dict[str, Call] = {
    "LearningExplorer": (views.LearningExplorer, lambda: {"runs": {"a": run(), "b": run()}}),
    "PopulationExplorer": (views.PopulationExplorer, lambda: {"run": run()}),
    "NeuronExplorer": (views.NeuronExplorer, lambda: {"run": run()}),
    "PlasticityExplorer": (views.PlasticityExplorer, lambda: {"searches": {"a": search()}}),
    "LiveTraining": (
        views.LiveTraining,
        lambda: {"family": "dms", "problems": 3, "path": None, "learnable": "all", "start": "homogeneous",
                 "neurons": 12, "seed": 1, "adaptation": True},
    ),
    "show": (views.show, lambda: {"element": plots.over_problems(trials()), "caption": "words", "columns": 2}),
}  # fmt: skip


def recorder() -> TrainingRecorder:
    return TrainingRecorder("association", neurons=3, weights=["bias"], properties={"tau": 100.0}, window=2)


def trial(**given: Any) -> Any:
    return recorder().trial(**given)


def problem(**given: Any) -> Any:
    made = recorder()
    made.trial(loss=0.001, correct=True, condition=0)
    made.problem(**given)
    return made.finish()


def recorded(**given: Any) -> Any:
    attrs = {"family": "association", "model": "spiking", "learnable": [], "seed": 0, "config": {}}
    return Recorder(**{"path": None, "template": records.template(**TEMPLATE), "attrs": attrs} | given)


def appended(**given: Any) -> Any:
    made = recorded()
    made.append(**given)
    made.commit()
    return made


def committed(checkpoint: Any) -> Any:
    recorded().commit(checkpoint)
    return True


def written(**given: Any) -> Any:
    records.write_search(**given)
    return True


def found() -> str:
    """Return the path of a search below the present folder."""
    records.write_search(search(), "found.json")
    return "found.json"


RECORDERS: dict[str, Call] = {
    "TrainingRecorder": (
        TrainingRecorder,
        lambda: {
            "family": "association", "neurons": 3, "model": "mine", "signals": ["spikes"], "weights": ["bias"],
            "properties": {"tau": 100.0}, "learnable": ["tau"], "dt": 20.0, "criterion": 0.01, "window": 5, "seed": 0,
            "config": {"a": 1}, "path": None,
        },
    ),
    "TrainingRecorder.trial": (
        trial,
        lambda: {
            "loss": 0.1, "correct": True, "condition": 1, "response_loss": 0.2, "properties": {"tau": [90, 100, 110.0]},
        },
    ),
    "TrainingRecorder.problem": (
        problem,
        lambda: {
            "properties": {"tau": [90.0, 100.0, 110.0]}, "weights": {"bias": [0.0, 0.1, 0.2]}, "reason": "no luck",
            "activity": {"activity": np.ones((2, 100, 3)), "readout": np.full((2, 100, 3), 1 / 3)},
        },
    ),
    "Recorder": (recorded, lambda: {"path": None, "interval": 5.0, "block": 50, "attrs": {
        "family": "association", "model": "spiking", "learnable": [], "seed": 0, "config": {"a": 1}}}),
    "Recorder.append": (appended, lambda: {"group": "properties", "problem": [-1], "tau_soma": [[20.0, 30.0]]}),
    "Recorder.commit": (committed, lambda: {"checkpoint": {"weights": np.ones(3)}}),
    "write_search": (written, lambda: {"search": search(), "path": "search.json"}),
    "open_search": (records.open_search, lambda: {"path": found()}),
}  # fmt: skip
VIEWED = PICTURES | EXPLORERS | RECORDERS
