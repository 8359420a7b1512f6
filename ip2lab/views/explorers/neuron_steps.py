"""The steps from a run to the pictures of its neurons, with what is chosen put in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr

from ip2lab.analysis import connectivity, neurons
from ip2lab.views import plots
from ip2lab.views.explorers.base import group, source
from ip2lab.views.explorers.recipe import call, later, ref
from ip2lab.views.labels import Labels
from ip2lab.views.style import axis, logarithmic, span

if TYPE_CHECKING:
    from ip2lab.probes import probe, single_lesions
else:  # these need PyTorch
    probe, single_lesions = later("ip2lab", "probe"), later("ip2lab.probes", "single_lesions")

WIDTH = 50  # ms, standard deviation of the smoothing of firing rates
NOISY = 20  # trials of each condition
MOST = 100  # neurons silenced one by one; more would take longer than a person waits
RUN, PROPERTIES, NOW, TRIALS = map(ref, ("run", "properties", "now", "trials"))
ACTIVITY, WEIGHTS = map(ref, ("activity", "weights"))


class Cells:
    """A run's properties, activity and weights, and what colours its neurons.

    Parameters
    ----------
    run : DataTree
        A run with a group ``properties``.

    Examples
    --------
    >>> import ip2lab
    >>> run = ip2lab.train("association", problems=1, neurons=20, max_trials=60, progress=False)
    >>> Cells(run).tint("end tau_soma")
    {'tint': properties['tau_soma'].isel(problem=-1)}
    """

    def __init__(self, run: xr.DataTree) -> None:
        self.run = run
        self.properties = group(run, "properties").load()
        self.labels = Labels(self.properties["problem"].values)
        self.steps = self._kept("trajectories", "step")
        if self.steps is not None:
            self.steps.load()
        self.activity = self._kept("activity")
        if self.activity is not None:
            self.activity = plots.label_conditions(self.activity)
        self.weights = self._kept("weights")
        if self.weights is not None and "recurrent_weights" not in self.weights:
            self.weights = None
        self.signal = "spikes" if self.activity is not None and "spikes" in self.activity else "activity"

    def _kept(self, name: str, along: str = "problem") -> Any:
        """A group as a dataset, or None."""
        found = group(self.run, name) if name in self.run.children else xr.Dataset()
        return found if found.sizes.get(along) else None

    @property
    def given(self) -> dict[str, Any]:
        """What is there already, by the names of the steps that would make it."""
        names = ("run", "properties", "steps", "activity", "weights")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def words(self, name: str) -> str:
        """The long name of a property."""
        return str(self.properties[name].attrs.get("long_name", name))

    def colours(self) -> list[tuple[str, str]]:
        """What the neurons may be coloured by: words, and the kind with a name."""
        found = [("all alike", "none")]
        if self.weights is not None:
            found.append(("community", "community"))
        if self.activity is not None:
            coords = self.activity.coords
            labels = [c for c in ("stimulus", "context", "response") if c in coords and len(np.unique(coords[c])) > 1]
            found += [(f"selectivity for the {label}", f"selectivity {label}") for label in labels]
            found.append(("activity", "activity"))
        ends = [("at the start", 0), ("in the end", -1)]
        for name, values in self.properties.data_vars.items():
            found += [
                (f"{self.words(str(name))} {when}", f"{when.split()[-1]} {name}")
                for when, place in ends
                if np.ptp(values.isel(problem=place).values) > 0
            ]
        return found

    def tint(self, colour: str) -> dict[str, Any]:
        """What the neurons are coloured by (neuron): as it is after the last problem that was kept."""
        kind, _, name = colour.partition(" ")
        if kind == "none":
            return {}
        if kind in ("start", "end"):
            return {"tint": PROPERTIES[name].isel(problem=0 if kind == "start" else -1)}
        if kind == "community":
            graph = self.matrix(self._last(self.weights))
            return {"tint": call(connectivity.communities, graph, runs=20)["community"]}
        last = self._last(self.activity)
        if kind == "activity":
            return {"tint": self.firing(last)}
        noisy = ref("noisy")
        signal = call(neurons.firing_rate, noisy, width=WIDTH) if self.signal == "spikes" else noisy
        found = call(neurons.selectivity, signal, name, trial="probe").max("time", keep_attrs=True)
        return {"noisy": self.again(last), "tint": found}

    @staticmethod
    def _last(kept: xr.Dataset) -> Any:
        """The label of the last problem that was kept."""
        found = Labels(kept["problem"].values)
        return found[found.keys[-1]]

    def near(self, kept: xr.Dataset, problem: Any) -> Any:
        """The kept problem that is nearest to one."""
        return Labels(kept["problem"].values).nearest(problem, self.labels)

    def nearest(self, kept: xr.Dataset, problem: Any) -> Any:
        """Its label."""
        found = Labels(kept["problem"].values)
        return found[found.nearest(problem, self.labels)]

    def longest(self, problem: Any) -> slice | None:
        """Where the points of the nearest problem with more than one point are; None where there is no such problem."""
        found, first, count = np.unique(self.steps["problem"].values, return_index=True, return_counts=True)
        several = Labels(found[count > 1])
        if not several.keys:
            return None
        best = Labels(found).keys.index(several.nearest(problem, self.labels))
        return slice(int(first[best]), int(first[best] + count[best]))

    @staticmethod
    def matrix(problem: Any) -> Any:
        """The recurrent weights after a problem."""
        return WEIGHTS["recurrent_weights"].sel(problem=problem).load()

    def again(self, problem: Any) -> Any:
        """Noisy trials, made by the network itself."""
        return call(plots.label_conditions, call(probe, RUN, problem, repeats=NOISY))[self.signal]

    def firing(self, problem: Any) -> Any:
        """How active each neuron is in the trials of a problem (neuron)."""
        there = ACTIVITY[self.signal].sel(problem=problem)
        if self.signal == "spikes":
            return call(neurons.firing_rate, there).mean("probe", keep_attrs=True)
        return there.mean(["probe", "time"], keep_attrs=True)

    @property
    def dt(self) -> float:
        """The time step of the run (ms), in which the neuron was trained."""
        known = self.run.attrs.get("config", {}).get("dt")
        times = None if self.activity is None else self.activity["time"].values[:2]
        return float(known or (1.0 if times is None or len(times) < 2 else times[1] - times[0]))


class Drawing(NamedTuple):
    """The steps of the pictures, for what is chosen: in colours or all alike, rates with a band or as a mean."""

    cells: Cells
    state: Mapping[str, Any]
    tinted: bool = True
    banded: bool = True

    @property
    def _coloured(self) -> bool:
        return self.tinted and self.state["colour"] != "none"

    @property
    def _look(self) -> dict[str, Any]:
        """What all pictures of neurons share: which are highlighted, and their colours."""
        return {"chosen": self.state["selected"], **({"colors": ref("shades")[0]} if self._coloured else {})}

    def shared(self) -> dict[str, Any]:
        """The steps that several pictures need."""
        cells, s = self.cells, self.state
        tint = cells.tint(s["colour"])
        found = {
            **source(cells.run),
            "properties": RUN["properties"].to_dataset().load(),
            "now": PROPERTIES.sel(problem=cells.labels[s["problem"]]),
            **({**tint, "shades": call(plots.color_scale, ref("tint"))} if tint else {}),
        }
        if cells.weights is not None:
            found["weights"] = RUN["weights"].to_dataset()
        if cells.activity is None:
            return found
        kept, signal = self._kept, ACTIVITY[cells.signal]
        return found | {
            "activity": call(plots.label_conditions, RUN["activity"].to_dataset()),
            "every": cells.again(kept) if s["noisy"] else signal.sel(problem=kept).load(),
            "trials": ref("every").isel(neuron=s["neuron"]),
        }

    # ------------------------------------------------------------------ properties

    @property
    def _own(self) -> Any:
        """The property that is shown, over problems."""
        return PROPERTIES[self.state["property"]]

    def _span(self, name: str) -> Any:
        """The ends of an axis for a property."""
        return call(span, PROPERTIES[name].values, 0.04, logarithmic(self.cells.properties[name]))

    def over(self) -> dict[str, Any]:
        """The property of every neuron over problems."""
        s, labels = self.state, self.cells.labels
        key = {"key": ref("shades")[1]} if self._coloured else {}
        return {
            "over_all": call(plots.property_trajectories, self._own, **self._look, **key),
            "over_one": call(plots.highlight, ref("over_all"), self._own, s["neuron"]),
            "over": call(plots.move_marker, ref("over_one"), labels.place(s["problem"])),
        }

    def density(self) -> dict[str, Any]:
        """How the property is distributed over neurons."""
        s = self.state
        now = NOW[s["property"]]
        density = call(
            plots.property_density,
            ref("densities"),
            s["property"],
            at=self.cells.labels[s["problem"]],
            picked=call(float, now[s["neuron"]]),
            chosen=now.values[s["selected"]].tolist(),
            label=call(axis, PROPERTIES[s["property"]]),
            limits=self._span(s["property"]),
        )
        return {"densities": call(neurons.density, PROPERTIES), "density": density}

    def within(self) -> dict[str, Any]:
        """The property of every neuron within a problem."""
        s, cells = self.state, self.cells
        longest = None if cells.steps is None else cells.longest(s["problem"])
        if longest is None:
            return {}
        part, lines = ref("part"), plots.property_trajectories
        return {
            "steps": RUN["trajectories"].to_dataset().load(),
            "part": ref("steps")[s["property"]].isel(step=longest),
            "within_all": call(lines, part, along="trial", **self._look, height=240),
            "within": call(plots.highlight, ref("within_all"), part, s["neuron"], along="trial"),
        }

    def scatter(self) -> Any:
        """Two properties of every neuron."""
        s = self.state
        both = (self._span(s["property"]), self._span(s["against"]))
        x, y = NOW[s["property"]], NOW[s["against"]]
        return call(plots.scatter, x, y, picked=s["neuron"], **self._look, limits=both, height=240)

    # ------------------------------------------------------------------ what the neuron does

    @property
    def _kept(self) -> Any:
        """The label of the problem with activity that is nearest to the chosen one."""
        return self.cells.nearest(self.cells.activity, self.state["problem"])

    def psth(self) -> dict[str, Any]:
        """Its rate by condition, with a band or as a mean of alike trials."""
        cells = self.cells
        if cells.activity is None:
            return {}
        spikes = cells.signal == "spikes"
        smooth = call(neurons.firing_rate, TRIALS, width=WIDTH) if spikes else TRIALS
        mean = smooth.groupby("condition").mean("probe", keep_attrs=True).to_dataset(name="rate")
        band = call(neurons.psth, TRIALS, trial="probe", by="condition", width=WIDTH) if spikes else None
        return {
            "banded": band,
            "rates": band if self.banded and spikes else mean,
            "psth": call(plots.psth, ref("rates")),
        }

    def raster(self) -> dict[str, Any]:
        """What it does in all trials."""
        return {} if self.cells.activity is None else {"raster": call(plots.trial_raster, TRIALS)}

    def trace(self) -> dict[str, Any]:
        """All signals of one trial."""
        s = self.state
        if self.cells.activity is None:
            return {}
        return {
            "trial": ACTIVITY.sel(problem=self._kept).isel(probe=s["trial"]).load(),
            "single": ref("trial").isel(neuron=s["neuron"]),
            "trace": call(plots.neuron_trace, ref("single"), threshold=self._threshold()),
        }

    def _threshold(self) -> Any:
        """The threshold of the neuron, over time where adaptation raises it."""
        properties = self.cells.properties
        own = PROPERTIES.sel(problem=self._kept).isel(neuron=self.state["neuron"])
        if "threshold" not in properties:
            return None
        if "adaptation" not in self.cells.activity or "adaptation_strength" not in properties:
            return own["threshold"]
        return own["threshold"] + own["adaptation_strength"] * ref("single")["adaptation"]

    def history(self) -> dict[str, Any]:
        """What it does in one trial after every problem that was kept."""
        s, cells = self.state, self.cells
        if cells.activity is None:
            return {}
        return {
            "same": ACTIVITY[cells.signal].isel(probe=s["trial"]).load(),
            "history": call(plots.history, ref("same").isel(neuron=s["neuron"]), at=self._kept),
        }

    def excitability(self) -> dict[str, Any]:
        """What the neuron does at constant inputs, before learning and now."""
        s, cells = self.state, self.cells
        if not {"tau_soma", "threshold"} <= set(cells.properties.data_vars):
            return {}
        both = [cells.labels[key] for key in dict.fromkeys([cells.labels.keys[0], s["problem"]])]
        own = cells.properties.sel(problem=both).isel(neuron=s["neuron"])
        most = float((own["threshold"] / own["gain"] if "gain" in own else own["threshold"]).max())
        chosen = PROPERTIES.sel(problem=both).isel(neuron=[s["neuron"]])
        inputs = call(np.linspace, 0, _short(np.ceil(4 * most)), 81)
        return {
            "tuned": call(neurons.fi_curve, chosen, inputs, dt=_short(cells.dt), duration=4000).isel(neuron=0),
            "excitability": call(plots.fi_curves, ref("tuned")),
        }

    # ------------------------------------------------------------------ weights

    @property
    def _weighed(self) -> Any:
        """The label of the problem with weights that is nearest to the chosen one."""
        return self.cells.nearest(self.cells.weights, self.state["problem"])

    def partners(self) -> dict[str, Any]:
        """Whom the neuron talks to."""
        if self.cells.weights is None:
            return {}
        return {
            "matrix": self.cells.matrix(self._weighed),
            "partners": call(plots.partners, ref("matrix"), self.state["neuron"], **self._look),
        }

    def channels(self) -> dict[str, Any]:
        """Its input and output weights."""
        if self.cells.weights is None:
            return {}
        own = ref("own")
        return {
            "outside": WEIGHTS[["input_weights", "output_weights"]].sel(problem=self._weighed).load(),
            "own": ref("outside").isel(neuron=self.state["neuron"]),
            "channels": call(plots.channels, own["input_weights"], own["output_weights"]),
        }

    def lesion(self) -> dict[str, Any]:
        """What the network does without each neuron, and without those that are highlighted."""
        s, cells = self.state, self.cells
        if cells.weights is None or cells.activity is None:
            return {}
        kept, count = self._weighed, cells.properties.sizes["neuron"]
        members = range(0, count, -(-count // MOST))
        more = sorted({s["neuron"], *s["selected"]} - set(members))
        each = {f"without_{i}": call(single_lesions, RUN, kept, [i]) for i in more}
        some = [members] if len(members) < count else []
        parts = [ref(name) for name in ("sampled", *each)]
        lost = call(xr.concat, parts, "neuron", data_vars="minimal", compat="override", coords="minimal", join="outer")
        return {
            **each,
            "sampled": call(single_lesions, RUN, kept, *some),
            "lost": lost if each else ref("sampled"),
            "together": call(probe, RUN, kept, silence=s["selected"]),
            "rate": cells.firing(self._kept),
            "lesion": call(plots.lesion_costs, ref("lost"), ref("rate"), picked=s["neuron"], **self._look),
        }


def _short(number: float) -> float | int:
    """A number without a point where it is whole."""
    return int(number) if float(number).is_integer() else float(number)
