"""Runs, searches and pictures in which every text is somebody else's: markup, scripts, formulas, what no XML may hold.

Each script would set ``window.__ran``, in its own window or in that around it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import holoviews as hv
import numpy as np
import xarray as xr

sys.path.insert(0, str(Path(__file__).parents[1]))

from make_run import KEPT, make_template, random_properties, random_rows

import ip2lab
from ip2lab.analysis import curves, neurons
from ip2lab.records import Recorder
from ip2lab.views import plots

TEXTS = {
    "image": '<img src=x onerror="top.__ran=1">',
    "script": '"><script>top.__ran=1</script>',
    "end": "--></script></style><script>top.__ran=1</script><!--",
    "svg": "<svg/onload=top.__ran=1>]]>",
    "frame": '<iframe srcdoc="<script>top.__ran=1</script>">',
    "link": '<a href="javascript:top.__ran=1" style="position:fixed;inset:0">x</a>',
    "formula": r"$$\href{javascript:top.__ran=1}{x}$$\[y\]\(z\)",
    "mathtext": r"$\frac{a}{b$ c_1^2 \$ 5 $",
    "template": "{{7*7}} @{run}{safe} $index {label} %s {0}",
    "entities": "&lt;b&gt; & 5 < 6 &#x27;",
    "quotes": "'\"`\\\\' \"",
    "underscore": "_nolegend_",
    "reserved": "_repr_html_",
    "control": "a\x00b\x1bc\x85d\ud800e\uffff",
    "lines": "one\ntwo\tthree\r\nfour",
}


def hostile_run(text: str, path: Any = None, problems: int = 9) -> xr.DataTree:
    """Record a run of another trainer in which every text is this one, with something behind where they must differ."""
    datasets = make_template(neurons=6, steps=12)
    _label(datasets, text)
    attrs = {"family": text, "model": text, "learnable": [text], "seed": 0}
    config = {"problems": problems, "criterion": 0.01, "window": 10, "note": text, text: text}
    rng = np.random.default_rng(0)
    with Recorder(path, datasets, attrs | {"config": config}) as recorder:
        recorder.append("properties", problem=[-1], **random_properties(datasets["properties"], [-1], rng))
        first = 0
        for problem in range(problems):
            rows = random_rows(datasets, problem, rng, first=first, kept=KEPT)
            if problem == 1:
                lost = {"failed": True, "trials_to_criterion": np.nan, "censored_trials": 50.0, "failure_reason": text}
                rows["series"] |= {name: [storable(value)] for name, value in lost.items()}
            first += rows["series"]["trials"][0]
            for group, columns in rows.items():
                recorder.append(group, **columns)
        run = recorder.close(complete=True)
    if path is None:  # of a store, units are compared with the schema
        for name, one in (pair for node in run.children.values() for pair in node.variables.items()):
            counts = name == "spikes"  # of other units there is no rate, so nothing would be drawn
            one.attrs["units"] = one.attrs["units"] if counts or one.attrs["units"] == "ms" else text
    return run


def storable(value: Any) -> Any:
    """Return a text without the halves of pairs: no array of text can hold one, while JSON can."""
    return value.encode("utf-8", "ignore").decode() if isinstance(value, str) else value


def _label(datasets: Mapping[str, xr.Dataset], text: str) -> None:
    own = {name: f"{storable(text)} {name[0]}" for name in ("input", "output", "stimulus", "response", "context")}
    for data in datasets.values():
        for name in own.keys() & data.coords.keys():
            data[name] = data[name].copy(data=[f"{own[name]}{i}" for i in range(data[name].size)])
        for name, one in data.variables.items():
            one.attrs["long_name"] = f"{text} {name}"
    activity = datasets["activity"]
    epochs = [f"{storable(text)} {i // 4}" for i in range(activity.sizes["time"])]
    activity["epoch"] = activity["epoch"].copy(data=epochs)
    datasets["trials"]["condition"].attrs["labels"] = [f"{text} {i}" for i in range(2)]


def hostile_search(text: str) -> xr.Dataset:
    """Return a search in which every text is this one."""
    search = ip2lab.example("search_association")
    names = {str(name): f"{name} {text}" for name in search["configuration"].values}
    search = search.assign_coords(
        configuration=list(names.values()), property=[f"{p} {text}" for p in search["property"].values]
    )
    own = {
        "chosen": names[search.attrs["chosen"]],
        "configurations": list(names.values()),
        "decision": [text],
        "options": json.dumps({"neurons": text}),
        **dict.fromkeys(("difference", "reason", "family", "method", "model", "command"), text),
    }
    search.encoding.clear()
    return search.assign_attrs(own)


def drawn(text: str) -> dict[str, hv.Overlay]:
    """Return every picture with this text in every slot that takes one."""
    words = {"long_name": text, "units": f"{text} u"}
    time = ("time", np.arange(6) * 20.0, words)
    labels = [f"{text} a", f"{text} b"]
    rng = np.random.default_rng(0)
    coords = {"time": time, "condition": ("probe", labels), "epoch": ("time", np.repeat(labels, 3))}
    trials = xr.DataArray(rng.random((2, 6)), coords, ("probe", "time"), text, words)
    spikes = trials.copy(data=trials.values > 0.5)
    series = xr.Dataset({"trials_to_criterion": ("problem", [90.0, np.nan, 5.0, 4.0, 4.0, 3.0])}, attrs={"title": text})
    series = series.assign(censored_trials=("problem", [np.nan, 99.0, *[np.nan] * 4])).assign_coords(problem=range(6))
    runs = dict.fromkeys(labels, series)
    fits = {labels[0]: curves.exponential_fit(series, failures="cap")}
    table = {"loss": ("trial", [1.0, 0.2, 0.1]), "correct": ("trial", [False, True, True])}
    table = xr.Dataset(table | {"problem": ("trial", [0, 0, 0])})
    values = xr.DataArray(np.exp(rng.normal(size=(3, 6))), {"problem": [-1, 0, 1]}, ("problem", "neuron"), text, words)
    density = neurons.density(values)
    search = hostile_search(text)
    means, worth = curves.configurations(search), curves.marginal_effect(search)
    kind = xr.DataArray(np.arange(6) % 2, dims="neuron", name=text, attrs=words)
    channels = xr.DataArray([2.0, -1.0], {"input": labels}, "input", text, words)
    lost = xr.Dataset({"loss": ("neuron", rng.random(6), words), "intact_loss": 0.1}, {"neuron": range(6)})
    square = xr.DataArray(rng.random((2, 2)), {"problem": labels, "other": labels}, ("problem", "other"), text, words)
    rates = xr.Dataset({v: trials.rename(None) for v in ("rate", "lower", "upper")}).swap_dims(probe="condition")
    survival = curves.survival(series["trials_to_criterion"], cap=99)
    tuned = {"tau_soma": ("problem", [20.0, 10.0]), "threshold": ("problem", [1.0, 2.0])}
    curve = neurons.fi_curve(xr.Dataset(tuned).expand_dims(neuron=1), [0.0, 2.0, 4.0]).isel(neuron=0)
    for name in ("firing_rate", "current"):
        curve[name].attrs.update(words)
    scores = xr.DataArray(rng.random((2, 6, 2)), coords, ("probe", "time", "component"))
    scores = scores.assign_coords(component=labels)
    share = xr.DataArray([0.5, 0.2], dims="component")
    key = dict(zip(labels, ("#111111", "#222222"), strict=True))
    recorded = hostile_run(text, problems=2)
    shown = ip2lab.family("dms").problem(seed=2).trials(conditions=[0, 1])
    shown = shown.assign_coords(
        {n: shown[n].copy(data=[f"{text} {i}" for i in range(shown.sizes[n])]) for n in ("input", "output")}
    )
    shown["epoch"] = shown["epoch"].copy(data=[[f"{text} {word}" for word in row] for row in shown["epoch"].values])
    shown["time"].attrs.update(words)
    trace = xr.Dataset({"activity": trials.isel(probe=0)})
    many = values.rename(neuron=text or "x").assign_coords({text or "x": [f"{text} {i}" for i in range(6)]})
    return {
        "bars": plots.bars(dict(zip(labels, (1.0, 2.0), strict=True)), text, words=dict.fromkeys(labels, text)),
        "channels": plots.channels(channels),
        "configuration_table": plots.configuration_table(search, means, picked=search.attrs["chosen"]),
        "fi_curves": plots.fi_curves(curve),
        "history": plots.history(
            xr.DataArray(rng.random((2, 6)), {"problem": labels, "time": time}, ("problem", "time"), text, words)
        ),
        "learning_curves": plots.learning_curves(
            runs, fits=fits, off=[f"{text} off"], colors=dict.fromkeys([*labels, f"{text} off"], "#123456")
        ),
        "lesion_costs": plots.lesion_costs(lost, values.isel(problem=0)),
        "matrix": plots.matrix(square, at=labels[0]),
        "move_marker": plots.move_marker(plots.over_problems(values.mean("neuron", keep_attrs=True)), 1),
        "neuron_map": plots.neuron_map(values[0], values[1], selected=[1]),
        "neuron_trace": plots.neuron_trace(trace),
        "over_problems": plots.over_problems(many),
        "over_time": plots.over_time(trials, by="condition", hidden=labels[:1]),
        "partners": plots.partners(xr.DataArray(rng.normal(size=(6, 6)), dims=("neuron", "presynaptic"), name=text), 0),
        "highlight": plots.highlight(plots.property_trajectories(values, key=key), values, 1),
        "property_density": plots.property_density(density.assign_coords(property=[text]), text, at=0),
        "property_trajectories": plots.property_trajectories(values, key=key, picked=2),
        "property_worth": plots.property_worth(dict.fromkeys(labels, worth), chosen=labels[0]),
        "psth": plots.psth(rates),
        "raster": plots.raster(trials.rename(probe="neuron"), order_name=text),
        "scatter": plots.scatter(values[0], values[1]),
        "search_rounds": plots.search_rounds(search),
        "seed_ratios": plots.seed_ratios(search, means),
        "series_picture": plots.series_picture(recorded),
        "color_scale": plots.property_trajectories(values, key=plots.color_scale(kind)[1]),
        "shifts": plots.shifts(density.assign_coords(property=[text]), at=0),
        "survival_curves": plots.survival_curves(dict.fromkeys(labels, survival)),
        "trajectories": plots.trajectories(scores, share=share, hidden=labels[:1]),
        "trial_picture": plots.trial_picture(shown),
        "trial_raster": plots.trial_raster(spikes),
        "within_problem_loss": plots.within_problem_loss(dict.fromkeys(labels, table), 0, criterion=0.1),
        "label_conditions": plots.over_time(
            plots.label_conditions(_worded(spikes, text)).to_dataarray()[0].astype(float), by="condition"
        ),
    }


def _worded(spikes: xr.DataArray, text: str) -> xr.Dataset:
    said = {"stimulus": ("probe", [f"{text} a", f"{text} b"]), "response": ("probe", [text, text])}
    return spikes.rename("spikes").to_dataset().assign_coords(said)


def words_of(explorer: Any) -> Mapping[str, str]:
    """Return what stands above and in the place of the panels of an explorer."""
    return {**explorer.figure.captions, **{f"note {n}": t for n, t in explorer.figure.notes.items()}}
