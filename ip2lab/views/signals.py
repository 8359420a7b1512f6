"""What the pictures of a run's neurons are made of, read or computed when it is asked for and kept."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import xarray as xr

from ip2lab.analysis import connectivity, neurons
from ip2lab.views import pictures
from ip2lab.views.explorer import NothingToShow, group

WIDTH = 50.0  # ms, standard deviation of the smoothing of firing rates
NOISY = 20  # trials of each condition
NO_ACTIVITY = "This run keeps no activity."
NO_WEIGHTS = "This run keeps no recurrent weights."
NO_TORCH = "The network has to run again for this, which needs PyTorch; it is not installed here (pip install torch)."


class Signals:
    """A run's properties, activity and weights, and what colours its neurons.

    Parameters
    ----------
    run : DataTree
        A run with a group ``properties``.

    Examples
    --------
    >>> import ip2lab
    >>> run = ip2lab.train("association", problems=1, neurons=20, max_trials=60, progress=False)
    >>> Signals(run).values("end tau_soma").dims
    ('neuron',)
    """

    def __init__(self, run: xr.DataTree) -> None:
        self.run = run
        self.properties = group(run, "properties").load()
        self.steps = group(run, "trajectories").load() if "trajectories" in run.children else None
        self.activity: Any = self._kept("activity")  # a dataset, or None
        self.weights: Any = self._kept("weights")
        if self.weights is not None and "recurrent_weights" not in self.weights:
            self.weights = None
        self.recorded = lru_cache(8)(self._read)
        self.noisy = lru_cache(8)(lambda problem: pictures.worded(self.again("probe", problem, repeats=NOISY)))
        self.silenced = lru_cache(None)(lambda problem, members: self.again("silenced", problem, members))
        self.matrix = lru_cache(16)(lambda problem: self.weights["recurrent_weights"].sel(problem=problem).load())
        self.same_trial = lru_cache(4)(lambda signal, trial: self.activity[signal].isel(probe=trial).load())
        self.values = lru_cache(None)(self._measure)

    def _kept(self, name: str) -> xr.Dataset | None:
        found = group(self.run, name) if name in self.run.children else xr.Dataset()
        return found if found.sizes.get("problem") else None

    def words(self, name: str) -> str:
        """The long name of a property."""
        return str(self.properties[name].attrs.get("long_name", name))

    def _read(self, problem: int) -> xr.Dataset:
        if self.activity is None:
            raise NothingToShow(NO_ACTIVITY)
        return pictures.worded(self.activity.sel(problem=problem).load())

    def again(self, question: str, *given: Any, **changes: Any) -> xr.Dataset:
        """Ask one of :mod:`ip2lab.probes`, or say why that cannot be."""
        try:
            from ip2lab import probes
        except ImportError:
            raise NothingToShow(NO_TORCH) from None
        try:
            answer: xr.Dataset = getattr(probes, question)(self.run, *given, **changes)
        except (KeyError, TypeError, ValueError) as error:
            raise NothingToShow(f"The network of this run cannot be made again: {error}") from None
        return answer

    def firing(self, problem: int) -> xr.DataArray:
        """How active each neuron is in the trials of a problem (neuron)."""
        found = self.recorded(problem)
        if "spikes" in found:
            return neurons.firing_rate(found["spikes"]).mean("probe", keep_attrs=True)
        return found["activity"].mean(["probe", "time"], keep_attrs=True)

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

    def _measure(self, colour: str) -> xr.DataArray:
        """What the neurons are coloured by (neuron): as it is after the last problem that was kept."""
        kind, _, name = colour.partition(" ")
        if kind in ("start", "end"):
            return self.properties[name].isel(problem=0 if kind == "start" else -1)
        if kind == "community":
            last = self.matrix(int(self.weights["problem"][-1]))
            try:
                return connectivity.communities(last, runs=20)["community"]
            except ImportError:
                raise NothingToShow("communities need scikit-network: pip install scikit-network") from None
        last = int(self.activity["problem"][-1])
        if kind == "activity":
            return self.firing(last)
        noisy = self.noisy(last)
        signal = neurons.firing_rate(noisy["spikes"], width=WIDTH) if "spikes" in noisy else noisy["activity"]
        try:
            return neurons.selectivity(signal, name, trial="probe").max("time", keep_attrs=True)
        except ValueError as error:
            raise NothingToShow(str(error)) from None

    def code_of_colours(self, colour: str) -> list[str]:
        """The calls that make ``inks`` and ``key``."""
        kind, _, name = colour.partition(" ")
        if kind == "none":
            return ["inks, key = None, {}"]
        values = f"properties[{name!r}].isel(problem={0 if kind == 'start' else -1})"
        lines = []
        if kind == "community":
            last = int(self.weights["problem"][-1])
            lines = [f"recurrent = run['weights'].to_dataset()['recurrent_weights'].sel(problem={last})"]
            values = "connectivity.communities(recurrent, runs=20)['community']"
        elif kind == "activity":
            values = self.code_of_firing(int(self.activity["problem"][-1]))
        elif kind == "selectivity":
            rate = f"neurons.firing_rate(noisy['spikes'], width={WIDTH:g})"
            signal = rate if "spikes" in self.activity else "noisy['activity']"
            lines = [f"noisy = ip2lab.probe(run, {int(self.activity['problem'][-1])}, repeats={NOISY})"]
            values = f"neurons.selectivity({signal}, {name!r}, trial='probe').max('time', keep_attrs=True)"
        return [*lines, f"inks, key = pictures.shades({values})"]

    def code_of_firing(self, problem: int) -> str:
        """The call that gives what :meth:`firing` does."""
        there = f"run['activity'].to_dataset().sel(problem={problem})"
        if "spikes" in self.activity:
            return f"neurons.firing_rate({there}['spikes']).mean('probe', keep_attrs=True)"
        return f"{there}['activity'].mean(['probe', 'time'], keep_attrs=True)"
