"""The population: trajectories in a few components, and all that hangs together with them, problem by problem."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import ipywidgets
import numpy as np
import xarray as xr

from ip2lab.analysis import population
from ip2lab.views import plots
from ip2lab.views.explorers.base import (
    SLIDER,
    Chosen,
    Explorer,
    Exported,
    Handlers,
    NothingToShow,
    Panel,
    Switches,
    check,
    dropdown,
    group,
    slider,
    source,
    with_neurons,
)
from ip2lab.views.explorers.population_steps import BIN, Facts, Steps
from ip2lab.views.explorers.recipe import Recipe
from ip2lab.views.labels import Labels
from ip2lab.views.markup import caption
from ip2lab.views.widget.figure import inside, rows_of

METHODS = {
    "principal components": "pca",
    "decision subspace": "decision",
    "stimulus subspace": "stimulus",
    "demixed components": "demixed",
    "Isomap": "isomap",
}
BASES = {
    "this problem": "this",
    "all problems": "all",
    "a range of problems": "range",
    "the first problem": "first",
    "the last problem": "last",
}
FIRST = ("trajectories", "raster", "loadings", "average")  # what is shown at first
WORDS = {
    "no variance": "No neuron changes its activity here: there are no components to show.",
    "loadings": "A curved picture has no directions, so neurons have no loadings on it.",
    "index": "There are fewer components than are asked for; choose components 1, 2.",
}


ALIGNED = "turns the trajectories onto those of the last problem; loadings stay those of the components"


class PopulationExplorer(Explorer):
    """Trajectories by condition, the raster of a trial, and what the activity's directions are, problem by problem.

    A box or a lasso selects neurons (raster, loadings, properties) or a stretch of time (trajectories, raster) in all
    pictures, a click chooses a trial and a time, a neuron or a problem; the names of the legend hide conditions.

    Parameters
    ----------
    run : DataTree
        A run with a group ``activity``. The slider moves through the problems that were kept.

    Examples
    --------
    >>> import ip2lab
    >>> run = ip2lab.train("association", problems=2, neurons=20, max_trials=60, progress=False)
    >>> explorer = PopulationExplorer(run)
    >>> explorer.state = {"problem": 1, "signal": "membrane", "selected": [3, 5]}
    >>> explorer.state["problem"]
    1
    """

    def __init__(self, run: xr.DataTree) -> None:
        self.run = run = with_neurons(run)
        self.activity = plots.label_conditions(group(run, "activity"))
        if not self.activity.sizes.get("problem"):
            raise ValueError("the run keeps no activity yet; train at least one problem to its end")
        self.properties = group(run, "properties").load() if "properties" in run.children else xr.Dataset()
        weights = group(run, "weights") if "weights" in run.children else xr.Dataset({"problem": np.empty(0, int)})
        self._facts = Facts(source(run), self.activity, self.properties, weights)
        self.problems, self.times = self._facts.problems, self._facts.times
        given = {"run": run, "activity": self.activity, "properties": self.properties, "weights": weights}
        self._recipe = Recipe(given)
        controls = self._controls()
        c = controls
        self._turning = ipywidgets.HBox([c["azimuth"], c["elevation"]])
        self._axes = ipywidgets.HBox([c["x"], c["y"]], layout={"grid_gap": "2px 8px"})
        row = [c["problem"], c["time"], *([c["repeats"]] if self._facts.repeated else [])]
        row += [c["method"], c["basis"], c["range"], c["aligned"], c["view"], self._turning]
        row += [c["signal"], c["by"], c["trial"], c["order"], self._axes]
        super().__init__(controls, [row, [c["panels"]]])
        for control in controls.values():
            control.observe(lambda _: self._offer(), "value")
        self._offer()

    def _controls(self) -> dict[str, Any]:
        times, problems, activity = self.times, self.problems, self.activity
        signals = {"rate": "rate"} if "spikes" in activity else {}
        signals |= {
            str(activity[v].attrs.get("long_name", v)): str(v) for v in activity if "neuron" in activity[v].dims
        }
        labels = [
            c
            for c in ("condition", "stimulus", "response", "context")
            if c in activity.coords and len(np.unique(activity[c].values)) > 1
        ] or ["condition"]
        wide = {"style": {"description_width": "initial"}}
        turn = {"layout": {"width": "180px"}, **wide}
        views = [("1, 2", "1 2"), ("1, 3", "1 3"), ("2, 3", "2 3"), ("1, 2, 3 turned", "turned")]
        numbers = self._numbers()
        found: dict[str, Any] = {
            "problem": slider("problem", problems, problems[0]),
            "time": ipywidgets.FloatSlider(
                min=float(times[0]),
                max=float(times[-1]),
                step=float(times[1] - times[0]),
                value=float(times[0]),
                description="time (ms)",
                readout_format=".0f",
                layout=SLIDER,
                **wide,
            ),
            "method": dropdown("directions", list(METHODS.items())),
            "basis": dropdown("of", list(BASES.items())),
            "range": ipywidgets.SelectionRangeSlider(
                options=problems, value=(problems[0], problems[-1]), layout={"width": "220px"}
            ),
            "aligned": check("aligned", False, ALIGNED),
            "view": dropdown("components", views),
            "azimuth": ipywidgets.IntSlider(30, -180, 180, 5, description="turn", **turn),
            "elevation": ipywidgets.IntSlider(25, -90, 90, 5, description="tilt", **turn),
            "signal": dropdown("signal", list(signals.items())),
            "by": dropdown("colour", labels),
            "trial": dropdown("raster of", [(trial_name(activity, i), i) for i in range(activity.sizes["probe"])]),
            "order": dropdown("sorted by", self._orders()),
            "x": dropdown("neurons by", numbers),
            "y": dropdown("and", numbers, numbers[min(1, len(numbers) - 1)][1]),
            "panels": Switches(
                dict.fromkeys([panel.title for panel in self.PANELS], ""),
                [panel.title for panel in self.PANELS if panel.name in FIRST],
            ),
            "selected": Chosen(activity.sizes["neuron"]),
            "span": Chosen(float(times[-1]) + 1e-6),
            "hidden": Chosen(activity.sizes["probe"]),
        }
        if self._facts.repeated:
            found["repeats"] = dropdown("trials", [("mean of each condition", "mean"), ("every trial", "every")])
        return found

    def _orders(self) -> list[tuple[str, str]]:
        found = [("peak time", "peak"), ("neuron", "neuron"), ("loading", "loading")]
        return found + ([("community", "community")] if self._facts.weighed.keys else []) + self._tuned()

    def _numbers(self) -> list[tuple[str, str]]:
        return [*self._tuned(), ("mean activity", "mean"), ("time of the peak", "peak")]

    def _tuned(self) -> list[tuple[str, str]]:
        return [(str(v.attrs.get("long_name", n)), str(n)) for n, v in self.properties.data_vars.items()]

    def _offer(self) -> None:
        """Show the controls that mean something with what is chosen."""
        s, shown = self.state, self.visible()
        for widget, useful in (
            (self._turning, s["view"] == "turned"),
            (self.controls["range"], s["basis"] == "range"),
            (self.controls["basis"], s["method"] in ("pca", "isomap")),
            (self.controls["aligned"], s["method"] in ("pca", "isomap")),
            (self._axes, "scatter" in shown),
        ):
            widget.layout.display = None if useful else "none"

    # ------------------------------------------------------------------ what a person does in the pictures

    def _at_time(self, _: str, x: float, __: float) -> None:
        self.controls["time"].value = float(self.times[np.abs(self.times - x).argmin()])

    def _at_problem(self, panel: str, x: float, _: float) -> None:
        self.controls["problem"].value = self._in_angles(x) if panel == "angles" else self._facts.labels.at(x)

    def _in_angles(self, x: float) -> Any:
        """The problem of a column of the angles, which lack problems without components."""
        columns = Labels(self._value("pairs")["problem"].values).keys
        return columns[min(max(round(x), 0), len(columns) - 1)]

    def _paths(self) -> tuple[xr.DataArray, np.ndarray]:
        """The scores (probe, time, ...) and their two coordinates that are drawn."""
        s, scores = self.state, self._recipe.value(self._now(), "seen")
        x, y = (0, 1) if s["view"] == "turned" else (int(i) - 1 for i in s["view"].split())
        return scores, scores.transpose("probe", "time", "component").values[:, :, [x, y]]

    def _at_point(self, _: str, x: float, y: float) -> None:
        """Go to the trial and the time of the nearest point."""
        scores, values = self._paths()
        away = (((values - [x, y]) / np.ptp(values, axis=(0, 1)).clip(1e-12)) ** 2).sum(-1)
        probe, step = np.unravel_index(away.argmin(), away.shape)
        alike = self.activity["condition"].values == scores["condition"].values[probe]
        trial = int(probe) if scores.sizes["probe"] == alike.size else int(np.flatnonzero(alike)[0])
        self.state = {"time": float(scores["time"][step]), "trial": trial}

    def _mark_points(self, _: str, region: dict[str, Any]) -> None:
        scores, values = self._paths()
        times = scores["time"].values[inside(region, values[..., 0], values[..., 1]).any(0)]
        self.controls["span"].value = (float(times.min()), float(times.max())) if times.size else ()

    def _select_rows(self, _: str, region: dict[str, Any]) -> None:
        order = self._recipe.value(self._now(), "order")
        x, y = np.meshgrid(self.times, np.arange(len(order)))
        found = inside(region, x, y)
        times = self.times[found.any(0)]
        whole = times.size in (0, self.times.size)
        rows = np.asarray(order)[found.any(1)]
        self.state = {
            "selected": sorted(rows.tolist()),
            "span": [] if whole else [float(times[0]), float(times[-1])],
        }

    def _map(self, panel: str) -> list[np.ndarray]:
        return [self._recipe.value(self._now(), f"{panel}_{axis}").values for axis in "xy"]

    def _select(self, panel: str, region: dict[str, Any]) -> None:
        found = inside(region, *self._map(panel))
        self.controls["selected"].value = tuple(np.flatnonzero(found).tolist())

    def _toggle(self, panel: str, x: float, y: float) -> None:
        """Add the neuron that was clicked to those selected, or take it out."""
        values = self._map(panel)
        away = sum(((v - at) / max(np.ptp(v), 1e-12)) ** 2 for v, at in zip(values, (x, y), strict=True))
        neuron, now = int(np.argmin(away)), set(self.controls["selected"].value)
        self.controls["selected"].value = tuple(sorted(now ^ {neuron}))

    def _hide(self, _: str, name: str) -> None:
        """Hide a condition, or show it again."""
        words = [plots.parts.named(self.state["by"], kind) for kind in self._facts.kinds(self.state["by"])]
        if name in words:  # "and 9 more" hides nothing
            self.controls["hidden"].value = tuple(sorted(set(self.controls["hidden"].value) ^ {words.index(name)}))

    # ------------------------------------------------------------------ the recipe

    def _choice(self) -> Steps:
        return Steps(self._facts, self.state)

    def _shared(self) -> dict[str, Any]:
        return self._choice().shared()

    # ------------------------------------------------------------------ the panels

    def _value(self, name: str) -> Any:
        """What a step gives; what is refused takes the picture's place, in words about populations."""
        try:
            return super()._value(name)
        except IndexError:
            raise NothingToShow(WORDS["index"]) from None
        except NameError:  # what is sorted or drawn by loadings has no step where there are none
            if self.state["method"] != "isomap":
                raise
            raise NothingToShow(WORDS["loadings"]) from None
        except NothingToShow as why:
            raise NothingToShow(WORDS["no variance"] if "no variance" in str(why) else str(why)) from None

    def _grid(self) -> str:
        return rows_of(self.visible())

    def _trajectories(self) -> str:
        return caption("Trajectories", f" in problem {self.state['problem']}", self._method_words())

    def _method_words(self) -> str:
        s = self.state
        words = next(words for words, key in METHODS.items() if key == s["method"])
        where = next(words for words, key in BASES.items() if key == s["basis"])
        if s["basis"] == "range":
            where = f"problems {s['range'][0]} to {s['range'][1]}"
        laid = f", laid onto problem {self.problems[-1]}" if s["aligned"] else ""
        if s["method"] == "pca":
            shares = self._value("basis")["explained_variance_ratio"].values[:3]
            return f"components of {where}: {', '.join(f'{100 * v:.0f}' for v in shares)} % of variance{laid}"
        if s["method"] == "isomap":
            return f"Isomap of {where}, trustworthiness {float(self._value('manifold')['trustworthiness']):.2f}{laid}"
        if s["method"] == "demixed":
            signal = self._value("found")["signal"].clip(0)
            parts = zip(signal["marginalisation"].values, 100 * signal.values, strict=True)
            return "demixed: " + ", ".join(f"{name} {share:.0f} %" for name, share in parts)
        return f"{words}, the same in all problems" if s["method"] == "decision" else f"{words} of this problem"

    def _raster(self) -> str:
        s = self.state
        trial = self._value("trial")
        words = str(trial.attrs.get("long_name", trial.name))
        some = [f"{len(s['selected'])} neurons selected"] if s["selected"] else []
        which = trial_name(self.activity, s["trial"])
        return caption(words[:1].upper() + words[1:], f" in problem {s['problem']}", which, *some)

    def _no_loadings(self) -> str:
        """Why there are none; where there are no trajectories it is their reason."""
        if self.state["method"] == "isomap":
            return WORDS["loadings"]
        self._value("trajectories")
        return ""

    def _loadings(self) -> str:
        turned = ", which alignment does not turn" if "placed" in self._now() else ""
        return caption("Loadings", f" of the neurons on the components{turned}")

    def _scatter(self) -> str:
        return caption("Neurons", f" after problem {self.state['problem']}")

    def _average(self) -> str:
        chosen = self.state["selected"]
        who = f"{len(chosen)} selected neurons" if chosen else "all neurons"
        return caption("Mean activity", f" of {who} in problem {self.state['problem']}")

    def _variance(self) -> str:
        return caption("Explained variance", ", each problem's own components")

    def _dimensions(self) -> str:
        problem = self.state["problem"]
        now = float(self._value("spread")["participation_ratio"].sel(problem=self._facts.labels[problem]))
        words = f"{now:.1f} dimensions in problem {problem}"
        return caption("Participation ratio", "", words)

    def _no_angles(self) -> str:
        return "" if len(self.problems) > 1 else "Only one problem was kept: there is none to compare it with."

    def _angles(self) -> str:
        chance = f"chance {_chance(self.activity.sizes['neuron']):.0f}°"
        return caption("Principal angles", " between problems, mean of three", chance)

    def _decoding(self) -> str:
        s = self.state
        words = f" the {s['by']} in problem {s['problem']}, bins of {BIN} ms"
        return caption("Decoding", words, f"chance {self._value('chance'):.2g}")

    _BASIS = ("problem", "signal", "method", "basis", "range", "aligned", "view", "azimuth", "elevation", "repeats")
    _MAP: ClassVar[Handlers] = {"tap": _toggle, "region": _select}
    _TURNS = ("found", "decision", "manifold")  # steps that find directions, and take long
    PANELS: ClassVar[tuple[Panel, ...]] = (
        Panel(
            "trajectories",
            "trajectories",
            (*_BASIS, "time", "by", "hidden", "span"),
            Steps.trajectories,
            _trajectories,
            events={"tap": _at_point, "region": _mark_points, "legend": _hide},
            slow=_TURNS,
            data=(Exported("scores", "scores", {"time": "scores_time"}), Exported("signal", "signal")),
        ),
        Panel(
            "raster",
            "raster",
            ("problem", "time", "signal", "trial", "order", "selected", "span", "method", "basis", "range"),
            Steps.raster,
            _raster,
            events={"tap": _at_time, "region": _select_rows},
            slow=(*_TURNS, "communities"),
            data=(Exported("trial", "trial"), Exported("order", "order")),
        ),
        Panel(
            "loadings",
            "loadings",
            (*_BASIS, "selected"),
            Steps.loadings,
            _loadings,
            hidden=_no_loadings,
            events=_MAP,
            slow=_TURNS,
            data=(Exported("axes", "components", {"component": "axis"}),),
        ),
        Panel(
            "scatter",
            "properties",
            ("problem", "signal", "x", "y", "selected", "repeats"),
            Steps.scatter,
            _scatter,
            events=_MAP,
            data=(Exported("scatter_x", "neuron_x"), Exported("scatter_y", "neuron_y")),
        ),
        Panel(
            "average",
            "mean activity",
            ("problem", "time", "signal", "by", "hidden", "selected", "span", "repeats"),
            Steps.average,
            _average,
            events={"tap": _at_time, "legend": _hide},
            data=(Exported("signal", "signal"),),
        ),
        Panel(
            "variance",
            "variance",
            ("problem", "signal", "repeats"),
            Steps.variance,
            _variance,
            events={"tap": _at_problem},
            data=(Exported("share", "explained_variance_ratio", {"component": "own_component"}),),
        ),
        Panel(
            "dimensions",
            "dimensions",
            ("problem", "signal", "repeats"),
            Steps.dimensions,
            _dimensions,
            events={"tap": _at_problem},
            data=(Exported("ratio", "participation_ratio"),),
        ),
        Panel(
            "angles",
            "angles",
            ("problem", "signal", "repeats"),
            Steps.angles,
            _angles,
            hidden=_no_angles,
            events={"tap": _at_problem},
            data=(Exported("pairs", "angle"),),
        ),
        Panel(
            "decoding",
            "decoding",
            ("problem", "time", "signal", "by", "span"),
            Steps.decoding,
            _decoding,
            events={"tap": _at_time},
            slow=("decoded",),
            data=(Exported("accuracy", "accuracy", {"time": "bin"}),),
        ),
    )

    # ------------------------------------------------------------------ what leaves

    def data(self) -> xr.Dataset:
        """Return the data behind the pictures that are shown: scores, signals, loadings, angles, ..."""
        steps, wanted = self._now(), [part for name in self._there() for part in self._panels[name].data]
        return xr.Dataset(
            {part.name: _bare(self._recipe.value(steps, part.step), part.dims) for part in wanted}
        ).assign_attrs(selected=str(self.state["selected"]), problem=self.state["problem"])


def _bare(value: Any, dims: Mapping[str, str]) -> xr.DataArray:
    """An array with its own names of dims where others mean other things by them, and without labels in words."""
    if not isinstance(value, xr.DataArray):
        return xr.DataArray(value, dims="row")
    value = value.rename({old: new for old, new in dims.items() if old in value.dims})
    kept = [c for c in value.coords if c in value.dims and value[c].dtype.kind in "iuf"]
    return value.drop_vars([c for c in value.coords if c not in kept])


def _chance(neurons: int, k: int = 3, draws: int = 50) -> float:
    """Mean principal angle (degrees) of random subspaces of k dimensions."""
    rng = np.random.default_rng(0)
    k = min(k, neurons)
    both = (xr.DataArray(rng.normal(size=(draws, k, neurons)), dims=("d", "component", "neuron")) for _ in range(2))
    return float(np.degrees(population.principal_angles(*both).mean()))


def trial_name(activity: xr.Dataset, index: int) -> str:
    """A probe trial in words."""
    one = activity.isel(probe=index).coords
    words = [
        f"{c} {one[c].item()}" if str(one[c].item()).isdigit() else str(one[c].item())
        for c in ("stimulus", "context", "response")
        if c in one
    ]
    text = ", ".join(w for w in words if w not in ("", "none")) or f"trial {index}"
    return text + (f", repeat {one['repeat'].item()}" if "repeat" in one and int(activity["repeat"].max()) else "")
