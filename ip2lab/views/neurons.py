"""Single neurons: how each one's properties adapt, and what it does."""

from __future__ import annotations

from typing import Any, ClassVar

import ipywidgets
import numpy as np
import xarray as xr

from ip2lab.analysis import neurons
from ip2lab.views import pictures
from ip2lab.views.explorer import Explorer, NothingToShow, Picture, as_run, dropdown, group, slider, source
from ip2lab.views.population import trial_name
from ip2lab.views.style import axis, span


class NeuronExplorer(Explorer):
    """Every neuron's property over problems, one neuron picked out with what it does.

    Parameters
    ----------
    run : DataTree
        A run with a group ``properties``. A click on a line, or a point of the scatter, picks that neuron.

    Examples
    --------
    >>> import ip2lab
    >>> run = ip2lab.train("association", problems=2, neurons=20, max_trials=60, progress=False)
    >>> explorer = NeuronExplorer(run)
    >>> explorer.state = {"neuron": 7, "problem": 1}
    >>> explorer.state["neuron"]
    7
    """

    PANELS: ClassVar[dict[str, tuple[str, ...]]] = {
        "over": ("property", "neuron", "problem"),
        "density": ("property", "neuron", "problem"),
        "within": ("property", "neuron", "problem"),
        "scatter": ("property", "against", "neuron", "problem"),
        "trace": ("neuron", "problem", "trial"),
        "history": ("neuron", "problem", "trial"),
    }
    GRID = (
        '"over over over density" "within within scatter scatter" "trace trace history history" / '
        "minmax(0, 1fr) minmax(0, 1fr) minmax(0, 1fr) minmax(0, 1fr)"
    )

    def __init__(self, run: xr.DataTree) -> None:
        run = as_run(run)
        self.run = run
        self.properties = group(run, "properties").load()
        names = [str(v) for v in self.properties.data_vars]
        if not names:
            raise ValueError(f"the run's model {run.attrs.get('model')!r} has no intrinsic properties to look at")
        self.steps = group(run, "trajectories").load() if "trajectories" in run.children else None
        self.activity = group(run, "activity") if "activity" in run.children else None
        self.densities = neurons.density(self.properties)
        problems = self.properties["problem"].values.tolist()
        words = [(str(self.properties[n].attrs.get("long_name", n)), n) for n in names]
        self._trials = (
            [] if self.activity is None else [trial_name(self.activity, i) for i in range(self.activity.sizes["probe"])]
        )
        trials = [(name, i) for i, name in enumerate(self._trials)] or [("none", 0)]
        wide = {"style": {"description_width": "initial"}}
        controls: dict[str, ipywidgets.Widget] = {
            "problem": slider("problem", problems, problems[-1]),
            "neuron": ipywidgets.BoundedIntText(
                self._busiest(),
                0,
                self.properties.sizes["neuron"] - 1,
                description="neuron",
                layout={"width": "120px"},
                **wide,
            ),
            "property": dropdown("property", words),
            "against": dropdown("against", words, names[min(1, len(names) - 1)]),
            "trial": dropdown("trial", trials),
        }
        self._base: tuple[Any, Any] = (None, None)
        super().__init__(controls, [list(controls.values())])
        self.figure.listen("over", "tap", self._pick_line)
        self.figure.listen("density", "tap", lambda _, y: self._pick(self._now(self.state["property"]), y))
        self.figure.listen("scatter", "tap", self._pick_point)
        self.figure.listen("history", "tap", self._pick_row)

    def _busiest(self) -> int:
        """The neuron that fires most in the last trial there is: a silent one would be a dull first look."""
        if self.activity is None or "spikes" not in self.activity:
            return 0
        last = self.activity["spikes"].isel(problem=-1, probe=0).load()
        return int(np.argmax(last.sum("time").values))

    # ------------------------------------------------------------------ picking

    def _now(self, name: str) -> np.ndarray:
        return self.properties[name].sel(problem=self.state["problem"]).values

    def _pick(self, values: np.ndarray, value: float) -> None:
        self.controls["neuron"].value = int(np.abs(np.log(values / max(value, 1e-9))).argmin())

    def _pick_row(self, _: float, y: float) -> None:
        if self.activity is not None:
            kept = self.activity["problem"].values
            self.controls["problem"].value = int(kept[int(np.clip(round(y), 0, len(kept) - 1))])

    def _pick_line(self, x: float, y: float) -> None:
        nearest = int(np.abs(self.properties["problem"].values - x).argmin())
        self._pick(self.properties[self.state["property"]].isel(problem=nearest).values, y)

    def _pick_point(self, x: float, y: float) -> None:
        s = self.state
        logs = [np.log(self._now(name)) for name in (s["property"], s["against"])]
        away = sum(
            ((values - np.log(max(at, 1e-9))) / (np.ptp(values) or 1.0)) ** 2
            for values, at in zip(logs, (x, y), strict=True)
        )
        self.controls["neuron"].value = int(np.argmin(away))

    # ------------------------------------------------------------------ the panels

    def _over(self) -> Picture:
        s = self.state
        values = self.properties[s["property"]]
        key = (s["property"], s["neuron"])
        if self._base[0] != key:
            self._base = (key, pictures.property_trajectories(values, picked=s["neuron"], at=s["problem"]))
        first, now = (
            float(values.sel(problem=p).isel(neuron=s["neuron"])) for p in (values.problem.values[0], s["problem"])
        )
        unit = values.attrs.get("units", "")
        unit = "" if unit == "1" else f" {unit}"
        words = f"neuron {s['neuron']}: {first:.3g} → {now:.3g}{unit} after problem {s['problem']}"
        return pictures.moved(
            self._base[1], s["problem"]
        ), f"<b>{_capital(values)}</b> of every neuron &nbsp;·&nbsp; {words}"

    def _density(self) -> Picture:
        s = self.state
        values = self.properties[s["property"]]
        picture = pictures.property_density(
            self.densities,
            s["property"],
            at=s["problem"],
            picked=float(self._now(s["property"])[s["neuron"]]),
            label=axis(values),
            limits=span(values.values, 0.04, True),
        )
        return picture, "<b>Density</b> over neurons"

    def _within(self) -> Picture:
        s = self.state
        if self.steps is None:
            raise NothingToShow("This run keeps no trajectories within problems.")
        first, last = np.searchsorted(self.steps["problem"].values, [s["problem"], s["problem"] + 1])
        if last - first < 2:
            raise NothingToShow(
                "Problem −1 is before learning."
                if s["problem"] < 0
                else f"Problem {s['problem']} was over before anything was kept of it."
            )
        part = self.steps[s["property"]].isel(step=slice(first, last))
        return pictures.property_trajectories(
            part, picked=s["neuron"], along="trial", height=240
        ), f"<b>Within problem {s['problem']}</b>"

    def _scatter(self) -> Picture:
        s = self.state
        x, y = (self.properties[name].sel(problem=s["problem"]) for name in (s["property"], s["against"]))
        xlim, ylim = (span(self.properties[name].values, 0.04, True) for name in (s["property"], s["against"]))
        return pictures.scatter(
            x, y, picked=s["neuron"], limits=(xlim, ylim), height=240
        ), f"<b>Two properties</b> after problem {s['problem']}"

    def _probe(self) -> xr.Dataset:
        s = self.state
        if self.activity is None:
            raise NothingToShow("This run keeps no activity.")
        if s["problem"] not in self.activity["problem"]:
            kept = self.activity["problem"].values
            near = ", ".join(str(p) for p in kept[np.argsort(np.abs(kept - s["problem"]))[:3]])
            raise NothingToShow(
                f"No activity was kept after problem {s['problem']}; the nearest problems that have it: {near}."
            )
        return self.activity.isel(neuron=s["neuron"], probe=s["trial"]).sel(problem=s["problem"]).load()

    def _trace(self) -> Picture:
        s = self.state
        probe = self._probe()
        threshold = float(self._now("threshold")[s["neuron"]]) if "threshold" in self.properties else None
        rate = f" &nbsp;·&nbsp; {float(neurons.firing_rate(probe['spikes'])):.1f} Hz" if "spikes" in probe else ""
        return pictures.neuron_trace(
            probe, threshold=threshold
        ), f"<b>Neuron {s['neuron']}</b> after problem {s['problem']}, {self._trials[s['trial']]}{rate}"

    def _history(self) -> Picture:
        s = self.state
        if self.activity is None:
            raise NothingToShow("This run keeps no activity.")
        signal = "spikes" if "spikes" in self.activity else "activity"
        table = self.activity[signal].isel(neuron=s["neuron"], probe=s["trial"]).load()
        return pictures.history(
            table, at=s["problem"]
        ), f"<b>Neuron {s['neuron']}</b> in the same trial of every kept problem"

    # ------------------------------------------------------------------ what leaves

    def data(self) -> xr.Dataset:
        """Return the properties of every neuron over problems, and which neuron is picked."""
        return self.properties.assign_attrs(neuron=self.state["neuron"], problem=self.state["problem"])

    def code(self) -> str:
        """Return the calls that draw these pictures without widgets."""
        s = self.state
        threshold = float(self._now("threshold")[s["neuron"]]) if "threshold" in self.properties else None
        return "\n".join(
            [
                "import ip2lab",
                "from ip2lab.analysis import neurons",
                "from ip2lab.views import pictures, show",
                "",
                source(self.run),
                "properties = run['properties'].to_dataset()",
                f"name, neuron, problem = {s['property']!r}, {s['neuron']}, {s['problem']}",
                "over = pictures.property_trajectories(properties[name], picked=neuron, at=problem)",
                f"now = properties.sel(problem={s['problem']})",
                f"picked = float(now[{s['property']!r}][{s['neuron']}])",
                "density = pictures.property_density(neurons.density(properties), name, at=problem, picked=picked)",
                f"scatter = pictures.scatter(now[{s['property']!r}], now[{s['against']!r}], picked={s['neuron']})",
                *(
                    [
                        "probe = run['activity'].to_dataset().sel(problem=problem)",
                        f"probe = probe.isel(neuron=neuron, probe={s['trial']})",
                        f"trace = pictures.neuron_trace(probe, threshold={threshold})",
                    ]
                    if self.activity is not None and s["problem"] in self.activity["problem"]
                    else []
                ),
                "show(over)",
            ]
        )


def _capital(values: xr.DataArray) -> str:
    words = str(values.attrs.get("long_name", values.name))
    return words[:1].upper() + words[1:]
