"""The steps from a run to the pictures of its neurons, as lines of code with what is chosen put in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from ip2lab.views import pictures
from ip2lab.views.explorer import group, source

WIDTH = 50  # ms, standard deviation of the smoothing of firing rates
NOISY = 20  # trials of each condition
MOST = 100  # neurons silenced one by one; more would take longer than a person waits


class Cells:
    """A run's properties, activity and weights, what colours its neurons, and the lines that draw all this.

    Parameters
    ----------
    run : DataTree
        A run with a group ``properties``.

    Examples
    --------
    >>> import ip2lab
    >>> run = ip2lab.train("association", problems=1, neurons=20, max_trials=60, progress=False)
    >>> Cells(run).tint("end tau_soma")
    {'tint': "properties['tau_soma'].isel(problem=-1)"}
    """

    def __init__(self, run: xr.DataTree) -> None:
        self.run, self.source = run, source(run).removeprefix("run = ")
        self.properties = group(run, "properties").load()
        self.steps = self._kept("trajectories", "step")
        if self.steps is not None:
            self.steps.load()
        self.activity = self._kept("activity")
        if self.activity is not None:
            self.activity = pictures.worded(self.activity)
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
        """What is there already, by the names of the lines that would make it."""
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

    def tint(self, colour: str) -> dict[str, str]:
        """What the neurons are coloured by (neuron): as it is after the last problem that was kept."""
        kind, _, name = colour.partition(" ")
        if kind == "none":
            return {}
        if kind in ("start", "end"):
            return {"tint": f"properties[{name!r}].isel(problem={0 if kind == 'start' else -1})"}
        if kind == "community":
            return {"tint": f"connectivity.communities({self._matrix(self.weights)}, runs=20)['community']"}
        last = int(self.activity["problem"][-1])
        if kind == "activity":
            return {"tint": self._firing(last)}
        signal = f"neurons.firing_rate(noisy, width={WIDTH})" if self.signal == "spikes" else "noisy"
        return {
            "noisy": self._again(last),
            "tint": f"neurons.selectivity({signal}, {name!r}, trial='probe').max('time', keep_attrs=True)",
        }

    def near(self, kept: xr.Dataset, problem: int) -> int:
        """The kept problem that is nearest to one."""
        problems = kept["problem"].values
        return int(problems[np.abs(problems - problem).argmin()])

    def longest(self, problem: int) -> tuple[int, slice] | None:
        """The nearest problem of which more than one point was kept, and where these are; None where there is none."""
        found, first, count = np.unique(self.steps["problem"].values, return_index=True, return_counts=True)
        several = np.flatnonzero(count > 1)
        if not several.size:
            return None
        best = several[np.abs(found[several] - problem).argmin()]
        return int(found[best]), slice(int(first[best]), int(first[best] + count[best]))

    # ------------------------------------------------------------------ lines

    def lines(self, state: Mapping[str, Any], *, tinted: bool, banded: bool) -> dict[str, str]:
        """Every step by name: in colours or all alike, rates with a band or as a mean of alike trials."""
        tint = self.tint(state["colour"])
        shades = {**tint, "shades": "pictures.shades(tint)"} if tint else {}
        look = f"chosen={state['selected']}" + (", inks=shades[0]" if tint and tinted else "")
        found = {
            "run": self.source,
            "properties": "run['properties'].to_dataset().load()",
            "now": f"properties.sel(problem={state['problem']})",
            **shades,
            **self._of_all(state, look, ", key=shades[1]" if tint and tinted else ""),
            **self._tuning(state),
        }
        if self.activity is not None:
            found |= self._in_trials(state, banded)
        if self.weights is not None:
            found |= self._of_weights(state, look)
        return found

    def _of_all(self, s: Mapping[str, Any], look: str, key: str) -> dict[str, str]:
        """The pictures of all neurons' properties."""
        own, against = (f"properties[{s[name]!r}]" for name in ("property", "against"))
        ends, now = f"span({own}.values, 0.04, True)", f"now[{s['property']!r}]"
        found = {
            "over_all": f"pictures.property_trajectories({own}, {look}{key})",
            "over_one": f"pictures.picked(over_all, {own}, {s['neuron']})",
            "over": f"pictures.moved(over_one, {s['problem']})",
            "densities": "neurons.density(properties)",
            "density": f"pictures.property_density(densities, {s['property']!r}, at={s['problem']}, "
            f"picked=float({now}[{s['neuron']}]), chosen={now}.values[{s['selected']}].tolist(), "
            f"label=axis({own}), limits={ends})",
            "scatter": f"pictures.scatter({now}, now[{s['against']!r}], picked={s['neuron']}, {look}, "
            f"limits=({ends}, span({against}.values, 0.04, True)), height=240)",
        }
        longest = None if self.steps is None else self.longest(s["problem"])
        if longest is not None:
            found |= {
                "steps": "run['trajectories'].to_dataset().load()",
                "part": f"steps[{s['property']!r}].isel(step={longest[1]})",
                "within_all": f"pictures.property_trajectories(part, along='trial', {look}, height=240)",
                "within": f"pictures.picked(within_all, part, {s['neuron']}, along='trial')",
            }
        return found

    def _in_trials(self, s: Mapping[str, Any], banded: bool) -> dict[str, str]:
        """What the neuron does in the trials that were kept, or in noisy ones."""
        kept, one = self.near(self.activity, s["problem"]), f"isel(neuron={s['neuron']})"
        smooth = f"neurons.firing_rate(trials, width={WIDTH})" if self.signal == "spikes" else "trials"
        mean = f"{smooth}.groupby('condition').mean('probe', keep_attrs=True).to_dataset(name='rate')"
        band = f"neurons.psth(trials, trial='probe', by='condition', width={WIDTH})"
        return {
            "activity": "pictures.worded(run['activity'].to_dataset())",
            "every": self._again(kept) if s["noisy"] else f"activity[{self.signal!r}].sel(problem={kept}).load()",
            "trials": f"every.{one}",
            "banded": band if self.signal == "spikes" else "None",
            "rates": band if banded and self.signal == "spikes" else mean,
            "psth": "pictures.psth(rates)",
            "raster": "pictures.trial_raster(trials)",
            "trial": f"activity.sel(problem={kept}).isel(probe={s['trial']}).load()",
            "single": f"trial.{one}",
            "trace": f"pictures.neuron_trace(single, threshold={self._threshold(kept, s['neuron'])})",
            "same": f"activity[{self.signal!r}].isel(probe={s['trial']}).load()",
            "history": f"pictures.history(same.{one}, at={kept})",
        }

    def _threshold(self, problem: int, neuron: int) -> str:
        """The threshold of the neuron, over time where adaptation raises it."""
        own = "properties[{!r}].sel(problem={})[{}]"
        if "threshold" not in self.properties:
            return "None"
        raised = "adaptation" in self.activity and "adaptation_strength" in self.properties
        more = f" + {own.format('adaptation_strength', problem, neuron)} * single['adaptation']" if raised else ""
        return own.format("threshold", problem, neuron) + more

    def _tuning(self, s: Mapping[str, Any]) -> dict[str, str]:
        """What the neuron does at constant inputs, before learning and now."""
        if not {"tau_soma", "threshold"} <= set(self.properties.data_vars):
            return {}
        both = [int(self.properties["problem"][0]), s["problem"]]
        own = self.properties.sel(problem=both).isel(neuron=s["neuron"])
        most = float((own["threshold"] / own["gain"] if "gain" in own else own["threshold"]).max())
        return {
            "tuned": f"neurons.fi_curve(properties.sel(problem={both}).isel(neuron=[{s['neuron']}]), "
            f"np.linspace(0, {np.ceil(4 * most):g}, 81), dt={self._dt():g}, duration=4000).isel(neuron=0)",
            "excitability": "pictures.fi_curves(tuned)",
        }

    def _dt(self) -> float:
        """The time step of the run (ms), in which the neuron was trained."""
        known = self.run.attrs.get("config", {}).get("dt")
        times = None if self.activity is None else self.activity["time"].values[:2]
        return float(known or (1.0 if times is None or len(times) < 2 else times[1] - times[0]))

    def _of_weights(self, s: Mapping[str, Any], look: str) -> dict[str, str]:
        """Whom the neuron talks to, and what the network does without it, or without each one."""
        kept, neuron = self.near(self.weights, s["problem"]), s["neuron"]
        found = {
            "weights": "run['weights'].to_dataset()",
            "matrix": self._matrix(self.weights, kept),
            "partners": f"pictures.partners(matrix, {neuron}, {look})",
            "outside": f"weights[['input_weights', 'output_weights']].sel(problem={kept}).load()",
            "own": f"outside.isel(neuron={neuron})",
            "channels": "pictures.channels(own['input_weights'], own['output_weights'])",
        }
        if self.activity is None:
            return found
        count = self.properties.sizes["neuron"]
        members = range(0, count, -(-count // MOST))
        more = sorted({neuron, *s["selected"]} - set(members))
        each = {f"without_{i}": f"probes.silenced(run, {kept}, [{i}])" for i in more}
        some = f", {members}" if len(members) < count else ""
        return {
            **found,
            **each,
            "sampled": f"probes.silenced(run, {kept}{some})",
            "lost": f"xr.concat([sampled, {', '.join(each)}], 'neuron', data_vars='minimal', "
            "compat='override', coords='minimal', join='outer')"
            if each
            else "sampled",
            "together": f"ip2lab.probe(run, {kept}, silence={s['selected']})",
            "rate": self._firing(self.near(self.activity, s["problem"])),
            "lesion": f"pictures.lesion_costs(lost, rate, picked={neuron}, {look})",
        }

    def _matrix(self, weights: xr.Dataset, problem: int | None = None) -> str:
        """The recurrent weights after a problem, or in the end."""
        last = int(weights["problem"][-1]) if problem is None else problem
        return f"weights['recurrent_weights'].sel(problem={last}).load()"

    def _again(self, problem: int) -> str:
        """Noisy trials, made by the network itself."""
        return f"pictures.worded(ip2lab.probe(run, {problem}, repeats={NOISY}))[{self.signal!r}]"

    def _firing(self, problem: int) -> str:
        """How active each neuron is in the trials of a problem (neuron)."""
        there = f"activity[{self.signal!r}].sel(problem={problem})"
        if self.signal == "spikes":
            return f"neurons.firing_rate({there}).mean('probe', keep_attrs=True)"
        return f"{there}.mean(['probe', 'time'], keep_attrs=True)"
