"""Single neurons: how each one's properties adapt, what it does, whom it talks to, what it is needed for."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from contextlib import suppress
from typing import Any, ClassVar

import ipywidgets
import numpy as np
import xarray as xr

from ip2lab.analysis import neurons
from ip2lab.views.explorers.base import (
    REFUSALS,
    Chosen,
    Explorer,
    Exported,
    Handlers,
    Panel,
    Switches,
    check,
    dropdown,
    reason,
    slider,
    with_neurons,
)
from ip2lab.views.explorers.neuron_steps import NOISY, Cells, Drawing
from ip2lab.views.explorers.population import trial_name
from ip2lab.views.explorers.recipe import Recipe
from ip2lab.views.labels import Labels
from ip2lab.views.markup import caption
from ip2lab.views.style import figure, logarithmic
from ip2lab.views.widget.figure import inside
from ip2lab.views.widget.panel import options

NO_ACTIVITY = "This run keeps no activity."
NO_WEIGHTS = "This run keeps no recurrent weights."
NO_LESION = "This run keeps no weights and activity, with which its network could run again."
NO_WITHIN = "This run keeps no problem with more than one point within it."
NO_THRESHOLD = "An f-I curve is that of a spiking neuron, with a threshold and a somatic time constant."
NOT_SHOWN = ["trials", "readout", "loss", "correct"]  # what else is with trials


class NeuronExplorer(Explorer):
    """How the properties of all neurons adapt, and all about the neuron that is picked.

    Parameters
    ----------
    run : DataTree or path
        A run with a group ``properties``. A click on a line or a point picks that neuron in all pictures; a lasso
        highlights those in it, and Escape lets them go. Colours by selectivity or community, noisy trials and lesions
        are computed when they are asked for; the last three run the network again, which needs PyTorch.

    Examples
    --------
    >>> import ip2lab
    >>> run = ip2lab.train("association", problems=2, neurons=20, max_trials=60, progress=False)
    >>> explorer = NeuronExplorer(run)
    >>> explorer.state = {"neuron": 7, "problem": 1}
    >>> explorer.state["neuron"]
    7
    """

    KEYS: ClassVar[dict[str, tuple[str, int]]] = {
        "ArrowLeft": ("problem", -1),
        "ArrowRight": ("problem", 1),
        "ArrowUp": ("neuron", 1),
        "ArrowDown": ("neuron", -1),
    }

    def __init__(self, run: xr.DataTree) -> None:
        self.cells = Cells(with_neurons(run))
        self.run, self.properties, self.activity = self.cells.run, self.cells.properties, self.cells.activity
        names = [str(v) for v in self.properties.data_vars]
        if not names:
            raise ValueError(f"the run's model {self.run.attrs.get('model')!r} has no intrinsic properties to look at")
        self._recipe = Recipe({**self.cells.given, "densities": neurons.density(self.properties)})
        self._controls(names)

    def _first_choices(self, names: Sequence[str]) -> list[str]:
        """The two properties that are shown first: time constants before others, signed ones last."""
        ranked = {n: (n not in ("tau_dendrite", "tau_soma"), not logarithmic(self.properties[n])) for n in names}
        return sorted(names, key=ranked.__getitem__)[:2]

    def _controls(self, names: Sequence[str]) -> None:
        problems = self.cells.labels.keys
        count = self.properties.sizes["neuron"]
        words = [(self.cells.words(n), n) for n in names]
        first, second = self._first_choices(names) * (1 + (len(names) == 1))
        probes = 0 if self.activity is None else self.activity.sizes["probe"]
        self._trials = [trial_name(self.activity, i) for i in range(probes)]
        box = ipywidgets.BoundedIntText(
            self._busiest(),
            0,
            count - 1,
            description="neuron",
            layout={"width": "120px"},
            style={"description_width": "initial"},
        )
        titles = [panel.title for panel in self.PANELS]
        c: dict[str, ipywidgets.Widget] = {
            "problem": slider("problem", problems, problems[-1]),
            "neuron": box,
            "property": dropdown("property", words, first),
            "against": dropdown("against", words, second),
            "colour": dropdown("colour", self.cells.colours()),
            "trial": dropdown("one trial", [(name, i) for i, name in enumerate(self._trials)] or [("none", 0)]),
            "noisy": check("noisy trials", False, f"{NOISY} trials with noise of each condition, made by the network"),
            "panels": Switches(dict.fromkeys(titles, ""), titles[:-1]),
            "selected": Chosen(count),
        }
        row = [c[name] for name in ("problem", "neuron", "property", "against", "colour", "trial", "noisy")]
        super().__init__(c, [row, [c["panels"]]])

    def _busiest(self) -> int:
        """The neuron that fires most in the last trial there is: a silent one would be a dull first look."""
        if self.activity is None or "spikes" not in self.activity:
            return 0
        last = self.activity["spikes"].isel(problem=-1, probe=0).load()
        return int(np.argmax(last.sum("time").values))

    # ------------------------------------------------------------------ picking

    def _at(self, name: str) -> xr.DataArray:
        """A property after the chosen problem (neuron)."""
        return self.properties[name].sel(problem=self.cells.labels[self.state["problem"]])

    def _pick_value(self, _: str, __: float, y: float) -> None:
        self._pick(self._at(self.state["property"]).values, y)

    def _pick(self, values: np.ndarray, value: float) -> None:
        logs = logarithmic(self.properties[self.state["property"]])
        away = np.abs(_onto(values, logs) - _onto(value, logs))
        self.controls["neuron"].value = int(away.argmin())

    def _pick_row(self, _: str, __: float, y: float) -> None:
        kept = Labels(self.activity["problem"].values).keys
        self.controls["problem"].value = kept[int(np.clip(round(y), 0, len(kept) - 1))]

    def _pick_line(self, name: str, x: float, y: float) -> None:
        along, values = self._drawn(name)
        self._pick(values[int(np.abs(along - x).argmin())], y)

    def _pick_point(self, name: str, x: float, y: float) -> None:
        places, members, logs = self._cloud(name)
        at = [_onto(v, log) for v, log in zip((x, y), logs, strict=True)]
        away = sum(((v - a) / (np.ptp(v) or 1.0)) ** 2 for v, a in zip(places, at, strict=True))
        self.controls["neuron"].value = int(members[np.argmin(away)])

    def _select(self, name: str, region: dict[str, Any]) -> None:
        """Highlight the neurons of which a point lies in a region that was drawn."""
        places, members, logs = self._cloud(name)
        moved = {k: v if k == "type" else _onto(v, logs[k.startswith("y")]) for k, v in region.items()}
        found = inside(moved, *np.broadcast_arrays(*places)).reshape(-1, len(members)).any(0)
        self.controls["selected"].value = tuple(members[found].tolist())

    def _cloud(self, name: str) -> tuple[list[np.ndarray], np.ndarray, tuple[bool, bool]]:
        """Where the neurons lie in a picture (..., neuron), which they are, and which axes are logarithmic."""
        picture, members = self.figure.elements[name], np.arange(self.properties.sizes["neuron"])
        logs = bool(options(picture).get("logx")), bool(options(picture).get("logy"))
        if name in ("over", "within"):
            along, values = self._drawn(name)
            places = [along[:, None], values]
        else:
            places = [list(picture)[-1].dimension_values(i) for i in (0, 1)]
        members = np.asarray(self._value("lost")["neuron"]) if name == "lesion" else members
        return [_onto(v, log) for v, log in zip(places, logs, strict=True)], members, logs

    def _drawn(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """The property as the lines show it (problem or trial, neuron), and where."""
        values = self.properties[self.state["property"]] if name == "over" else self._value("part")
        places = self.cells.labels.places if name == "over" else values["trial"].values
        return places, values.transpose(..., "neuron").values

    # ------------------------------------------------------------------ what the pictures are made of

    def _choice(self) -> Drawing:
        return self._drawing

    def _shared(self) -> dict[str, Any]:
        return self._drawing.shared()

    def _steps(self) -> dict[str, Any]:
        """The steps; without colours or a band where there can be none."""
        self._drawing = Drawing(self.cells, self.state)
        steps = super()._steps()
        self._plain = self._refused(steps, "shades")
        banded = "rates" in steps and "psth" in self.visible() and not self._refused(steps, "rates")
        if banded and not self._plain:
            return steps
        self._drawing = self._drawing._replace(tinted=not self._plain, banded=banded)
        return super()._steps()

    def _refused(self, steps: dict[str, Any], name: str) -> str:
        """Why a step, where there is one, gives nothing."""
        try:
            if name in steps:
                self._recipe.value(steps, name)
        except REFUSALS as error:
            return reason(error)
        return ""

    def _after(self, kept: xr.Dataset) -> str:
        chosen = self.state["problem"]
        near = self.cells.near(kept, chosen)
        return f"after problem {near}" + ("" if near == chosen else f", the nearest to {chosen} that was kept")

    # ------------------------------------------------------------------ properties

    def _over(self) -> str:
        s = self.state
        first, now = (
            float(self.properties[s["property"]].sel(problem=self.cells.labels[p])[s["neuron"]])
            for p in (self.cells.labels.keys[0], s["problem"])
        )
        unit = self.properties[s["property"]].attrs.get("units", "")
        title = _capital(self.properties[s["property"]])
        words = [
            f"neuron {s['neuron']}: {figure(first)} → {figure(now)}{'' if unit == '1' else f' {unit}'} "
            f"after problem {s['problem']}",
            *([f"{len(s['selected'])} highlighted"] if s["selected"] else []),
        ]
        tint = next(words for words, key in self.controls["colour"].options if key == s["colour"])
        if s["colour"] != "none":
            words.append(f"no {tint}: {self._plain}" if self._plain else f"colour: {tint}")
        return caption(title, " of every neuron", *words)

    def _within(self) -> str:
        chosen = self.state["problem"]
        shown = Labels(self._value("part")["problem"].values[:1]).keys[0]
        short = "" if shown == chosen else f", the nearest to {chosen} that took long enough"
        return caption(f"Within problem {shown}", short)

    def _scatter(self) -> str:
        return caption("Two properties", f" after problem {self.state['problem']}")

    # ------------------------------------------------------------------ the neuron that is picked

    def _psth(self) -> str:
        words = (
            "mean of noisy trials, band of 95 %"
            if "lower" in self._value("rates")
            else "one trial without noise of each"
        )
        after = self._after(self.activity)
        return caption(f"Rate of neuron {self.state['neuron']}", f" by condition, {after} ({words})")

    def _raster(self) -> str:
        trials = self._value("trials")
        words = f"{trials.sizes['probe']} trials" + (" with noise" if self.state["noisy"] else "")
        return caption(f"{_capital(trials)} of neuron {self.state['neuron']}", f" in {words}")

    def _trace(self) -> str:
        single = self._value("single")
        rate = []
        if "spikes" in single:
            with suppress(*REFUSALS):  # spikes in other units than counts have no rate
                rate = [f"{float(neurons.firing_rate(single['spikes'])):.1f} Hz"]
        which = self._trials[self.state["trial"]]
        return caption(f"Neuron {self.state['neuron']}", f", {which}, {self._after(self.activity)}", *rate)

    def _history(self) -> str:
        words = " in this trial, after every problem that was kept"
        return caption(f"Neuron {self.state['neuron']}", words)

    def _excitability(self) -> str:
        before, now = self._value("tuned")["rheobase"].values[[0, -1]]
        words = f"fires from an input of {now:.2f} on, before learning from {before:.2f}"
        return caption(f"f-I curve of neuron {self.state['neuron']}", "", words)

    def _partners(self) -> str:
        after = self._after(self.cells.weights)
        return caption(f"Recurrent weights of neuron {self.state['neuron']}", f", one point a partner, {after}")

    def _channels(self) -> str:
        after = self._after(self.cells.weights)
        return caption(f"Input and output weights of neuron {self.state['neuron']}", f", {after}")

    def _lesion(self) -> str:
        s = self.state
        lost, count = self._value("lost"), self.properties.sizes["neuron"]
        one = lost.sel(neuron=s["neuron"])
        words = [_cost(f"without neuron {s['neuron']}", lost, one["loss"], one["accuracy"])]
        if len(s["selected"]) > 1:
            both = self._value("together")
            words.append(_cost(f"without the {len(s['selected'])}", lost, both["loss"].mean(), both["correct"].mean()))
        some = "" if lost.sizes["neuron"] == count else f" of {lost.sizes['neuron']} of {count} neurons"
        return caption("Lesions", f"{some} {self._after(self.cells.weights)}", "; ".join(words))

    _COLOURED = ("neuron", "problem", "colour", "selected")
    _OVER = (*_COLOURED, "property")
    _LINES: ClassVar[Handlers] = {"tap": _pick_line, "region": _select}
    _POINTS: ClassVar[Handlers] = {"tap": _pick_point, "region": _select}
    PANELS: ClassVar[tuple[Panel, ...]] = (
        Panel("over", "over problems", _OVER, Drawing.over, _over, width=3, events=_LINES),
        Panel(
            "density",
            "distribution",
            ("property", "neuron", "problem", "selected"),
            Drawing.density,
            lambda _: caption("Density", " over neurons"),
            width=1,
            events={"tap": _pick_value},
        ),
        Panel("within", "within a problem", _OVER, Drawing.within, _within, missing=NO_WITHIN, events=_LINES),
        Panel("scatter", "two properties", (*_OVER, "against"), Drawing.scatter, _scatter, events=_POINTS),
        Panel(
            "psth",
            "firing rate",
            ("neuron", "problem", "noisy"),
            Drawing.psth,
            _psth,
            missing=NO_ACTIVITY,
            data=(Exported("rates"),),
        ),
        Panel(
            "raster",
            "all trials",
            ("neuron", "problem", "noisy"),
            Drawing.raster,
            _raster,
            missing=NO_ACTIVITY,
            data=(Exported("trials"),),
        ),
        Panel(
            "trace",
            "one trial",
            ("neuron", "problem", "trial"),
            Drawing.trace,
            _trace,
            missing=NO_ACTIVITY,
            deferred=True,
            data=(Exported("single"),),
        ),
        Panel(
            "history",
            "its history",
            ("neuron", "problem", "trial"),
            Drawing.history,
            _history,
            missing=NO_ACTIVITY,
            events={"tap": _pick_row},
            deferred=True,
        ),
        Panel(
            "excitability",
            "f-I curve",
            ("neuron", "problem"),
            Drawing.excitability,
            _excitability,
            missing=NO_THRESHOLD,
            deferred=True,
            data=(Exported("tuned", dims={"problem": "tuned_at"}),),
        ),
        Panel(
            "partners",
            "recurrent weights",
            _COLOURED,
            Drawing.partners,
            _partners,
            missing=NO_WEIGHTS,
            events=_POINTS,
            deferred=True,
            data=(Exported("matrix"),),
        ),
        Panel(
            "channels",
            "inputs, outputs",
            ("neuron", "problem"),
            Drawing.channels,
            _channels,
            missing=NO_WEIGHTS,
            deferred=True,
            data=(Exported("own"),),
        ),
        Panel(
            "lesion",
            "lesions",
            _COLOURED,
            Drawing.lesion,
            _lesion,
            missing=NO_LESION,
            events=_POINTS,
            slow=("sampled",),
            data=(Exported("lost", dims={"neuron": "silenced"}),),
        ),
    )

    # ------------------------------------------------------------------ what leaves

    def data(self) -> xr.Dataset:
        """Return what is shown: properties of every neuron, and of the picked one rates, f-I curves and weights."""
        shown: dict[
            Hashable, xr.DataArray
        ] = {}  # where two panels share a name, the first has it: all trials before one
        for panel in self._there():
            for part in self._panels[panel].data:
                value = self._value(part.step)
                value = value.to_dataset() if isinstance(value, xr.DataArray) else value
                value = value if panel == "lesion" else value.drop_vars(NOT_SHOWN, errors="ignore")
                value = value.rename({old: new for old, new in part.dims.items() if old in value.dims})
                shown = dict(value.data_vars) | shown
        found = dict(self.properties.data_vars.items()) | shown
        whole = xr.Dataset({name: v.drop_vars([c for c in v.coords if c not in v.dims]) for name, v in found.items()})
        words = {name: values.astype(str) for name, values in whole.coords.items() if values.dtype == object}
        return whole.assign_coords(words).assign_attrs(neuron=self.state["neuron"], problem=self.state["problem"])


def _onto(value: Any, logarithmic: bool) -> Any:
    """A place on an axis as it is drawn."""
    return np.log(np.maximum(value, 1e-9)) if logarithmic else np.asarray(value, float)


def _cost(who: str, found: xr.Dataset, loss: Any, accuracy: Any) -> str:
    """What a lesion does, in words."""
    before, right = float(found["intact_loss"]), 100 * float(found["intact_accuracy"])
    return f"{who}: loss {before:.2g} → {float(loss):.2g}, right {right:.0f} → {100 * float(accuracy):.0f} %"


def _capital(values: xr.DataArray) -> str:
    words = str(values.attrs.get("long_name", values.name))
    return words[:1].upper() + words[1:]
