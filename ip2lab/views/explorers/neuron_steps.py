"""The steps from a run to the pictures of its neurons, with what is chosen put in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from ip2lab.analysis import connectivity, neurons
from ip2lab.views import plots
from ip2lab.views.explorers.base import group, source
from ip2lab.views.explorers.recipe import call, later, ref
from ip2lab.views.labels import Labels, along, ticked
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
    """A run's properties, activity and weights, what colours its neurons, and the steps that draw all this.

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
            graph = self._matrix(self._last(self.weights))
            return {"tint": call(connectivity.communities, graph, runs=20)["community"]}
        last = self._last(self.activity)
        if kind == "activity":
            return {"tint": self._firing(last)}
        noisy = ref("noisy")
        signal = call(neurons.firing_rate, noisy, width=WIDTH) if self.signal == "spikes" else noisy
        found = call(neurons.selectivity, signal, name, trial="probe").max("time", keep_attrs=True)
        return {"noisy": self._again(last), "tint": found}

    @staticmethod
    def _last(kept: xr.Dataset) -> Any:
        """The label of the last problem that was kept."""
        found = Labels(kept["problem"].values)
        return found[found.keys[-1]]

    def near(self, kept: xr.Dataset, problem: Any) -> Any:
        """The kept problem that is nearest to one."""
        return Labels(kept["problem"].values).nearest(problem, self.labels)

    def _nearest(self, kept: xr.Dataset, problem: Any) -> Any:
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

    # ------------------------------------------------------------------ steps

    def every(self, state: Mapping[str, Any], *, tinted: bool, banded: bool) -> dict[str, Any]:
        """Every step by name: in colours or all alike, rates with a band or as a mean of alike trials."""
        tint = self.tint(state["colour"])
        shades = {**tint, "shades": call(plots.color_scale, ref("tint"))} if tint else {}
        coloured = bool(tint and tinted)
        look = {"chosen": state["selected"], **({"colors": ref("shades")[0]} if coloured else {})}
        found = {
            **source(self.run),
            "properties": RUN["properties"].to_dataset().load(),
            "now": PROPERTIES.sel(problem=self.labels[state["problem"]]),
            **shades,
            **self._of_all(state, look, {"key": ref("shades")[1]} if coloured else {}),
            **self._tuning(state),
        }
        if self.activity is not None:
            found |= self._in_trials(state, banded)
        if self.weights is not None:
            found |= self._of_weights(state, look)
        return found

    def _of_all(self, s: Mapping[str, Any], look: Mapping[str, Any], key: Mapping[str, Any]) -> dict[str, Any]:
        """The pictures of all neurons' properties."""
        own = along(self.labels, PROPERTIES[s["property"]])
        now, neuron, lines = NOW[s["property"]], s["neuron"], plots.property_trajectories
        ends, others = (
            call(span, PROPERTIES[name].values, 0.04, logarithmic(self.properties[name]))
            for name in (s["property"], s["against"])
        )
        both = (ends, others)
        density = call(
            plots.property_density,
            ref("densities"),
            s["property"],
            at=self.labels[s["problem"]],
            picked=call(float, now[neuron]),
            chosen=now.values[s["selected"]].tolist(),
            label=call(axis, PROPERTIES[s["property"]]),
            limits=ends,
        )
        found = {
            "over_all": ticked(self.labels, call(lines, own, **look, **key)),
            "over_one": call(plots.highlight, ref("over_all"), own, neuron),
            "over": call(plots.move_marker, ref("over_one"), self.labels.place(s["problem"])),
            "densities": call(neurons.density, PROPERTIES),
            "density": density,
            "scatter": call(plots.scatter, now, NOW[s["against"]], picked=neuron, **look, limits=both, height=240),
        }
        longest = None if self.steps is None else self.longest(s["problem"])
        if longest is not None:
            part, within = ref("part"), ref("within_all")
            found |= {
                "steps": RUN["trajectories"].to_dataset().load(),
                "part": ref("steps")[s["property"]].isel(step=longest),
                "within_all": call(lines, part, along="trial", **look, height=240),
                "within": call(plots.highlight, within, part, neuron, along="trial"),
            }
        return found

    def _in_trials(self, s: Mapping[str, Any], banded: bool) -> dict[str, Any]:
        """What the neuron does in the trials that were kept, or in noisy ones."""
        kept, neuron, spikes = self._nearest(self.activity, s["problem"]), s["neuron"], self.signal == "spikes"
        signal = ACTIVITY[self.signal]
        smooth = call(neurons.firing_rate, TRIALS, width=WIDTH) if spikes else TRIALS
        mean = smooth.groupby("condition").mean("probe", keep_attrs=True).to_dataset(name="rate")
        band = call(neurons.psth, TRIALS, trial="probe", by="condition", width=WIDTH) if spikes else None
        threshold = self._threshold(kept, neuron)
        return {
            "activity": call(plots.label_conditions, RUN["activity"].to_dataset()),
            "every": self._again(kept) if s["noisy"] else signal.sel(problem=kept).load(),
            "trials": ref("every").isel(neuron=neuron),
            "banded": band,
            "rates": band if banded and spikes else mean,
            "psth": call(plots.psth, ref("rates")),
            "raster": call(plots.trial_raster, TRIALS),
            "trial": ACTIVITY.sel(problem=kept).isel(probe=s["trial"]).load(),
            "single": ref("trial").isel(neuron=neuron),
            "trace": call(plots.neuron_trace, ref("single"), threshold=threshold),
            "same": signal.isel(probe=s["trial"]).load(),
            "history": call(plots.history, ref("same").isel(neuron=neuron), at=kept),
        }

    def _threshold(self, problem: Any, neuron: int) -> Any:
        """The threshold of the neuron, over time where adaptation raises it."""
        own = PROPERTIES.sel(problem=problem).isel(neuron=neuron)
        if "threshold" not in self.properties:
            return None
        if "adaptation" not in self.activity or "adaptation_strength" not in self.properties:
            return own["threshold"]
        return own["threshold"] + own["adaptation_strength"] * ref("single")["adaptation"]

    def _tuning(self, s: Mapping[str, Any]) -> dict[str, Any]:
        """What the neuron does at constant inputs, before learning and now."""
        if not {"tau_soma", "threshold"} <= set(self.properties.data_vars):
            return {}
        both = [self.labels[key] for key in dict.fromkeys([self.labels.keys[0], s["problem"]])]
        own = self.properties.sel(problem=both).isel(neuron=s["neuron"])
        most = float((own["threshold"] / own["gain"] if "gain" in own else own["threshold"]).max())
        chosen = PROPERTIES.sel(problem=both).isel(neuron=[s["neuron"]])
        inputs = call(np.linspace, 0, _short(np.ceil(4 * most)), 81)
        return {
            "tuned": call(neurons.fi_curve, chosen, inputs, dt=_short(self._dt()), duration=4000).isel(neuron=0),
            "excitability": call(plots.fi_curves, ref("tuned")),
        }

    def _dt(self) -> float:
        """The time step of the run (ms), in which the neuron was trained."""
        known = self.run.attrs.get("config", {}).get("dt")
        times = None if self.activity is None else self.activity["time"].values[:2]
        return float(known or (1.0 if times is None or len(times) < 2 else times[1] - times[0]))

    def _of_weights(self, s: Mapping[str, Any], look: Mapping[str, Any]) -> dict[str, Any]:
        """Whom the neuron talks to, and what the network does without it, or without each one."""
        kept, neuron = self._nearest(self.weights, s["problem"]), s["neuron"]
        own = ref("own")
        found = {
            "weights": RUN["weights"].to_dataset(),
            "matrix": self._matrix(kept),
            "partners": call(plots.partners, ref("matrix"), neuron, **look),
            "outside": WEIGHTS[["input_weights", "output_weights"]].sel(problem=kept).load(),
            "own": ref("outside").isel(neuron=neuron),
            "channels": call(plots.channels, own["input_weights"], own["output_weights"]),
        }
        if self.activity is None:
            return found
        count = self.properties.sizes["neuron"]
        members = range(0, count, -(-count // MOST))
        more = sorted({neuron, *s["selected"]} - set(members))
        each = {f"without_{i}": call(single_lesions, RUN, kept, [i]) for i in more}
        some = [members] if len(members) < count else []
        parts = [ref(name) for name in ("sampled", *each)]
        lost = call(xr.concat, parts, "neuron", data_vars="minimal", compat="override", coords="minimal", join="outer")
        return {
            **found,
            **each,
            "sampled": call(single_lesions, RUN, kept, *some),
            "lost": lost if each else ref("sampled"),
            "together": call(probe, RUN, kept, silence=s["selected"]),
            "rate": self._firing(self._nearest(self.activity, s["problem"])),
            "lesion": call(plots.lesion_costs, ref("lost"), ref("rate"), picked=neuron, **look),
        }

    @staticmethod
    def _matrix(problem: Any) -> Any:
        """The recurrent weights after a problem."""
        return WEIGHTS["recurrent_weights"].sel(problem=problem).load()

    def _again(self, problem: Any) -> Any:
        """Noisy trials, made by the network itself."""
        return call(plots.label_conditions, call(probe, RUN, problem, repeats=NOISY))[self.signal]

    def _firing(self, problem: Any) -> Any:
        """How active each neuron is in the trials of a problem (neuron)."""
        there = ACTIVITY[self.signal].sel(problem=problem)
        if self.signal == "spikes":
            return call(neurons.firing_rate, there).mean("probe", keep_attrs=True)
        return there.mean(["probe", "time"], keep_attrs=True)


def _short(number: float) -> float | int:
    """A number without a point where it is whole."""
    return int(number) if float(number).is_integer() else float(number)
