"""Single neurons: how each one's properties adapt, what it does, whom it talks to, what it is needed for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar

import ipywidgets
import numpy as np
import xarray as xr

from ip2lab.analysis import neurons
from ip2lab.views import pictures
from ip2lab.views.explorer import (
    Chosen,
    Explorer,
    NothingToShow,
    Picture,
    Switches,
    as_run,
    dropdown,
    slider,
    source,
)
from ip2lab.views.figure import inside
from ip2lab.views.population import trial_name
from ip2lab.views.signals import NO_ACTIVITY, NO_WEIGHTS, NOISY, WIDTH, Signals
from ip2lab.views.style import axis, span

MOST = 100  # neurons silenced one by one; more would take longer than a person waits
ROWS = (  # panels side by side, with their widths in quarters
    {"over": 3, "density": 1},
    {"within": 2, "scatter": 2},
    {"psth": 2, "raster": 2},
    {"trace": 2, "history": 2},
    {"excitability": 2, "partners": 2},
    {"channels": 2, "lesion": 2},
)


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

    PANELS: ClassVar[dict[str, tuple[str, ...]]] = {
        "over": ("property", "neuron", "problem", "colour", "selected"),
        "density": ("property", "neuron", "problem", "selected"),
        "within": ("property", "neuron", "problem", "colour", "selected"),
        "scatter": ("property", "against", "neuron", "problem", "colour", "selected"),
        "psth": ("neuron", "problem", "repeats"),
        "raster": ("neuron", "problem", "repeats"),
        "trace": ("neuron", "problem", "trial"),
        "history": ("neuron", "problem", "trial"),
        "excitability": ("neuron", "problem"),
        "partners": ("neuron", "problem", "colour", "selected"),
        "channels": ("neuron", "problem"),
        "lesion": ("neuron", "problem", "colour", "selected"),
    }
    SLOW: ClassVar[frozenset[str]] = frozenset({"lesion"})
    LATER: ClassVar[frozenset[str]] = frozenset({"trace", "history", "excitability", "partners", "channels"})
    EVENTS: ClassVar[dict[str, tuple[str, ...]]] = {
        "density": ("tap",),
        "history": ("tap",),
        **dict.fromkeys(("over", "within", "scatter", "partners", "lesion"), ("tap", "region")),
    }
    KEYS: ClassVar[dict[str, tuple[str, int]]] = {
        "ArrowLeft": ("problem", -1),
        "ArrowRight": ("problem", 1),
        "ArrowUp": ("neuron", 1),
        "ArrowDown": ("neuron", -1),
    }

    def __init__(self, run: xr.DataTree) -> None:
        self.made = Signals(as_run(run))
        self.run, self.properties, self.steps = self.made.run, self.made.properties, self.made.steps
        self.activity, self.weights = self.made.activity, self.made.weights
        names = [str(v) for v in self.properties.data_vars]
        if not names:
            raise ValueError(f"the run's model {self.run.attrs.get('model')!r} has no intrinsic properties to look at")
        self.densities = neurons.density(self.properties)
        self._last: dict[str, tuple[Any, Any]] = {}
        self._controls(names)

    def _controls(self, names: Sequence[str]) -> None:
        problems = self.properties["problem"].values.tolist()
        count = self.properties.sizes["neuron"]
        words = [(self.made.words(n), n) for n in names]
        first, second = sorted(names, key=lambda n: n not in ("tau_dendrite", "tau_soma"))[:2] * (1 + (len(names) == 1))
        self._trials = (
            [] if self.activity is None else [trial_name(self.activity, i) for i in range(self.activity.sizes["probe"])]
        )
        box = ipywidgets.BoundedIntText(
            self._busiest(),
            0,
            count - 1,
            description="neuron",
            layout={"width": "120px"},
            style={"description_width": "initial"},
        )
        controls: dict[str, ipywidgets.Widget] = {
            "problem": slider("problem", problems, problems[-1]),
            "neuron": box,
            "property": dropdown("property", words, first),
            "against": dropdown("against", words, second),
            "colour": dropdown("colour", self.made.colours()),
            "trial": dropdown("one trial", [(name, i) for i, name in enumerate(self._trials)] or [("none", 0)]),
            "repeats": dropdown(
                "rates from", [("the recorded trials", 0), (f"{NOISY} noisy trials of each condition", NOISY)]
            ),
            "panels": Switches(dict.fromkeys(self.PANELS, ""), [name for name in self.PANELS if name != "lesion"]),
            "selected": Chosen(count),
        }
        c = controls
        rows = [
            [c[name] for name in ("problem", "neuron", "property", "against", "colour")],
            [c[name] for name in ("trial", "repeats")],
            [c["panels"]],
        ]
        super().__init__(controls, rows)
        self._listen()

    def _listen(self) -> None:
        hear = self.figure.listen
        hear("density", "tap", lambda _, y: self._pick(self._now(self.state["property"]), y))
        hear("history", "tap", self._pick_row)
        for name in ("over", "within"):
            hear(name, "tap", partial(self._pick_line, name))
            hear(name, "region", partial(self._select, name))
        for name in ("scatter", "partners", "lesion"):
            hear(name, "tap", partial(self._pick_point, name))
            hear(name, "region", partial(self._select, name))

    def _grid(self) -> str:
        shown, rows = self.visible(), []
        for row in ROWS:
            there = {name: width for name, width in row.items() if name in shown}
            if there:
                cells = [name for name, width in there.items() for _ in range(4 * width // sum(there.values()))]
                rows.append(f'"{" ".join(cells)}"')
        return " ".join(rows) + " / " + " ".join(["minmax(0, 1fr)"] * 4)

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

    def _pick_line(self, name: str, x: float, y: float) -> None:
        drawn = self._drawn(name)
        self._pick(drawn.values[int(np.abs(drawn[drawn.dims[0]].values - x).argmin())], y)

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
        s, members = self.state, np.arange(self.properties.sizes["neuron"])
        if name in ("over", "within"):
            drawn = self._drawn(name)
            return [drawn[drawn.dims[0]].values[:, None], np.log(drawn.values)], members, (False, True)
        if name == "scatter":
            return [np.log(self._now(s[which])) for which in ("property", "against")], members, (True, True)
        if name == "partners":
            matrix = self.made.matrix(self._near(self.weights)).values
            return [matrix[:, s["neuron"]], matrix[s["neuron"]]], members, (False, False)
        found, rate = self._lesions()
        members = found["neuron"].values
        return [rate.values[members], np.log(found["loss"].values)], members, (False, True)

    def _drawn(self, name: str) -> xr.DataArray:
        """The property as the lines show it (problem or trial, neuron)."""
        if name == "over":
            return self.properties[self.state["property"]].transpose("problem", "neuron")
        part = self._steps().transpose("step", "neuron")
        return part.swap_dims(step="trial")

    # ------------------------------------------------------------------ what the pictures are made of

    def _near(self, kept: xr.Dataset) -> int:
        """The kept problem that is nearest to the chosen one."""
        problems = kept["problem"].values
        return int(problems[np.abs(problems - self.state["problem"]).argmin()])

    def _after(self, kept: int) -> str:
        chosen = self.state["problem"]
        return f"after problem {kept}" + ("" if kept == chosen else f", the nearest to {chosen} that was kept")

    def _trials_now(self) -> xr.Dataset:
        """The trials of the chosen neuron (probe, time)."""
        problem = self._kept()
        found = self.made.noisy(problem) if self.state["repeats"] else self.made.recorded(problem)
        return found.isel(neuron=self.state["neuron"])

    def _same(self, panel: str, key: Any, make: Callable[[], Any]) -> Any:
        """What was made last for a panel, where it was for the same: a picture that is the same is not sent again."""
        if panel not in self._last or self._last[panel][0] != key:
            self._last[panel] = key, make()
        return self._last[panel][1]

    # ------------------------------------------------------------------ colours

    def _tint(self) -> tuple[list[str] | None, dict[str, str], str]:
        """Colour of each neuron, what the colours mean, and words about it."""
        colour = self.state["colour"]
        if colour == "none":
            return None, {}, ""
        words = next(words for words, key in self.controls["colour"].options if key == colour)
        try:
            inks, key = pictures.shades(self.made.values(colour))
        except NothingToShow as reason:
            return None, {}, f" &nbsp;·&nbsp; no {words}: {reason}"
        return inks, key, f" &nbsp;·&nbsp; colour: {words}"

    # ------------------------------------------------------------------ properties

    def _over(self) -> Picture:
        s = self.state
        values = self.properties[s["property"]]
        inks, legend, tint = self._tint()
        marks = {"picked": s["neuron"], "chosen": s["selected"], "inks": inks, "key": legend}
        kind, at = (s["property"], s["colour"], s["selected"]), s["problem"]
        base = self._same("over", (kind, s["neuron"]), lambda: self._traced("over", kind, values, at=at, **marks))
        first, now = (
            float(values.sel(problem=p).isel(neuron=s["neuron"])) for p in (values.problem.values[0], s["problem"])
        )
        unit = values.attrs.get("units", "")
        unit = "" if unit == "1" else f" {unit}"
        words = f"neuron {s['neuron']}: {first:.3g} → {now:.3g}{unit} after problem {s['problem']}"
        many = f" &nbsp;·&nbsp; {len(s['selected'])} highlighted" if s["selected"] else ""
        return (
            pictures.moved(base, s["problem"]),
            f"<b>{_capital(values)}</b> of every neuron &nbsp;·&nbsp; {words}{many}{tint}",
        )

    def _traced(self, panel: str, kind: Any, values: xr.DataArray, **marks: Any) -> Any:
        """Lines of a property; where only the picked one is another, the others are those that are there."""
        picture = pictures.property_trajectories(values, **marks)
        quiet, *rest = picture
        return picture.clone([self._same(f"{panel} lines", kind, lambda: quiet), *rest])

    def _density(self) -> Picture:
        s = self.state
        values, now = self.properties[s["property"]], self._now(s["property"])
        picture = pictures.property_density(
            self.densities,
            s["property"],
            at=s["problem"],
            picked=float(now[s["neuron"]]),
            chosen=now[s["selected"]].tolist(),
            label=axis(values),
            limits=span(values.values, 0.04, True),
        )
        return picture, "<b>Density</b> over neurons"

    def _steps(self) -> xr.DataArray:
        """The chosen property within the chosen problem, or the nearest of which more than one point was kept."""
        if self.steps is None:
            raise NothingToShow("This run keeps no trajectories within problems.")
        found, first, count = np.unique(self.steps["problem"].values, return_index=True, return_counts=True)
        if not (count > 1).any():
            raise NothingToShow("Every problem was over before more than one point was kept of it.")
        longest = np.flatnonzero(count > 1)
        best = longest[np.abs(found[longest] - self.state["problem"]).argmin()]
        return self.steps[self.state["property"]].isel(step=slice(first[best], first[best] + count[best]))

    def _within(self) -> Picture:
        s, inks, part = self.state, self._tint()[0], self._steps()
        marks = {"picked": s["neuron"], "inks": inks, "chosen": s["selected"], "along": "trial", "height": 240}
        shown = int(part["problem"][0])
        kind = (shown, s["property"], s["colour"], s["selected"])
        picture = self._same("within", (kind, s["neuron"]), lambda: self._traced("within", kind, part, **marks))
        short = "" if shown == s["problem"] else f", the nearest to {s['problem']} that took long enough"
        return picture, f"<b>Within problem {shown}</b>{short}"

    def _scatter(self) -> Picture:
        s = self.state
        x, y = (self.properties[name].sel(problem=s["problem"]) for name in (s["property"], s["against"]))
        xlim, ylim = (span(self.properties[name].values, 0.04, True) for name in (s["property"], s["against"]))
        marks = {"picked": s["neuron"], "chosen": s["selected"], "inks": self._tint()[0]}
        picture = pictures.scatter(x, y, limits=(xlim, ylim), height=240, **marks)
        return picture, f"<b>Two properties</b> after problem {s['problem']}"

    # ------------------------------------------------------------------ the neuron that is picked

    def _by_condition(self) -> tuple[xr.Dataset, str]:
        """Mean rate of each condition, with a band where trials differ, and the call that makes it."""
        found = self._trials_now()
        if "spikes" not in found:
            signal, call = found["activity"], "trials['activity']"
        elif banded := _banded(found["spikes"]):
            return banded, f"neurons.psth(trials['spikes'], trial='probe', by='condition', width={WIDTH:g})"
        else:
            signal, call = (
                neurons.firing_rate(found["spikes"], width=WIDTH),
                (f"neurons.firing_rate(trials['spikes'], width={WIDTH:g})"),
            )
        mean = signal.groupby("condition").mean("probe", keep_attrs=True)
        return mean.to_dataset(name="rate"), (
            f"{call}.groupby('condition').mean('probe', keep_attrs=True).to_dataset(name='rate')"
        )

    def _psth(self) -> Picture:
        found = self._same("rates", self._trial_key(), lambda: self._by_condition()[0])
        words = "mean of noisy trials, band of 95 %" if "lower" in found else "one trial without noise of each"
        words = f"<b>Rate of neuron {self.state['neuron']}</b> by condition, {self._after(self._kept())} ({words})"
        return self._same("psth", self._trial_key(), lambda: pictures.psth(found)), words

    def _raster(self) -> Picture:
        found = self._trials_now()
        signal = found["spikes"] if "spikes" in found else found["activity"]
        words = f"{found.sizes['probe']} trials" + (" with noise" if self.state["repeats"] else "")
        picture = self._same("raster", self._trial_key(), lambda: pictures.trial_raster(signal))
        return picture, f"<b>{_capital(signal)} of neuron {self.state['neuron']}</b> in {words}"

    def _kept(self) -> int:
        """The problem whose activity is shown."""
        if self.activity is None:
            raise NothingToShow(NO_ACTIVITY)
        return self._near(self.activity)

    def _trial_key(self) -> tuple[int, ...]:
        return self._kept(), self.state["neuron"], self.state["repeats"]

    def _trace(self) -> Picture:
        s, kept = self.state, self._kept()
        probe = self.made.recorded(kept).isel(neuron=s["neuron"], probe=s["trial"])
        rate = f" &nbsp;·&nbsp; {float(neurons.firing_rate(probe['spikes'])):.1f} Hz" if "spikes" in probe else ""
        words = f"<b>Neuron {s['neuron']}</b>, {self._trials[s['trial']]}, {self._after(kept)}{rate}"
        level, key = self._threshold(probe, kept), (kept, s["neuron"], s["trial"])
        return self._same("trace", key, lambda: pictures.neuron_trace(probe, threshold=level)), words

    def _threshold(self, probe: xr.Dataset, problem: int) -> xr.DataArray | None:
        """The threshold of the neuron, over time where adaptation raises it."""
        if "threshold" not in self.properties:
            return None
        own = self.properties.sel(problem=problem).isel(neuron=self.state["neuron"])
        if "adaptation" in probe and "adaptation_strength" in own:
            return own["threshold"] + own["adaptation_strength"] * probe["adaptation"]
        return own["threshold"]

    def _history(self) -> Picture:
        s, kept = self.state, self._kept()
        signal = "spikes" if "spikes" in self.activity else "activity"
        table = self.made.same_trial(signal, s["trial"]).isel(neuron=s["neuron"])
        words = f"<b>Neuron {s['neuron']}</b> in this trial, after every problem that was kept"
        key = (kept, s["neuron"], s["trial"])
        return self._same("history", key, lambda: pictures.history(table, at=kept)), words

    def _excitability(self) -> Picture:
        found = self._tuning()
        before, now = found["rheobase"].values
        words = f"fires from an input of {now:.2f} on, before learning from {before:.2f}"
        return pictures.fi_curves(found), f"<b>f-I curve of neuron {self.state['neuron']}</b> &nbsp;·&nbsp; {words}"

    def _tuning(self) -> xr.Dataset:
        """What the neuron does at constant inputs (problem, current), before learning and now."""
        s = self.state
        if not {"tau_soma", "threshold"} <= set(self.properties.data_vars):
            raise NothingToShow(
                "An f-I curve is that of a spiking neuron, with a threshold and a somatic time constant."
            )
        own = self.properties.sel(problem=[self.properties["problem"].values[0], s["problem"]]).isel(
            neuron=[s["neuron"]]
        )
        return neurons.fi_curve(own, self._inputs(own), dt=self._dt(), duration=4000).isel(neuron=0)

    def _inputs(self, own: xr.Dataset) -> np.ndarray:
        rheobase = own["threshold"] / own["gain"] if "gain" in own else own["threshold"]
        return np.linspace(0, np.ceil(4 * float(rheobase.max())), 81)

    def _dt(self) -> float:
        """The time step of the run (ms), in which the neuron was trained."""
        known = self.run.attrs.get("config", {}).get("dt")
        times = None if self.activity is None else self.activity["time"].values[:2]
        return float(known or (1.0 if times is None or len(times) < 2 else times[1] - times[0]))

    def _partners(self) -> Picture:
        s = self.state
        if self.weights is None:
            raise NothingToShow(NO_WEIGHTS)
        kept = self._near(self.weights)
        marks = {"inks": self._tint()[0], "chosen": s["selected"]}
        words = f"<b>Recurrent weights of neuron {s['neuron']}</b>, one point a partner, {self._after(kept)}"
        key = (kept, s["neuron"], s["colour"], s["selected"])
        return self._same(
            "partners", key, lambda: pictures.partners(self.made.matrix(kept), s["neuron"], **marks)
        ), words

    def _both_ways(self) -> xr.Dataset:
        """Recurrent weights of the neuron, to and from every other one (neuron)."""
        matrix, neuron = self.made.matrix(self._near(self.weights)), self.state["neuron"]
        coming = matrix.isel(neuron=neuron, drop=True).rename(presynaptic="neuron")
        return xr.Dataset({"weight_to": matrix.isel(presynaptic=neuron, drop=True), "weight_from": coming})

    def _outside(self) -> xr.Dataset:
        """Weights of the neuron from the inputs (input) and to the outputs (output)."""
        own = self.weights[["input_weights", "output_weights"]].sel(problem=self._near(self.weights))
        return own.isel(neuron=self.state["neuron"]).load()

    def _channels(self) -> Picture:
        if self.weights is None:
            raise NothingToShow(NO_WEIGHTS)
        kept, neuron = self._near(self.weights), self.state["neuron"]
        own = self._same("outside", (kept, neuron), self._outside)
        picture = self._same(
            "channels", (kept, neuron), lambda: pictures.channels(own["input_weights"], own["output_weights"])
        )
        return picture, f"<b>Input and output weights of neuron {neuron}</b>, {self._after(kept)}"

    def _lesions(self) -> tuple[xr.Dataset, xr.DataArray]:
        """What each neuron costs (of very many a part, and those picked), and how active it is."""
        if self.weights is None or self.activity is None:
            raise NothingToShow("This run keeps no weights and activity, with which its network could run again.")
        kept, count = self._near(self.weights), self.properties.sizes["neuron"]
        drawn = np.arange(count) if count <= MOST else np.random.default_rng(0).choice(count, MOST, replace=False)
        found = [self.made.silenced(kept, tuple(sorted(drawn.tolist())))]
        more = {self.state["neuron"], *self.state["selected"]} - set(drawn.tolist())
        found += [self.made.silenced(kept, (each,)) for each in sorted(more)]
        whole = xr.concat(found, "neuron", data_vars="minimal", compat="override", coords="minimal", join="outer")
        return whole, self.made.firing(self._near(self.activity))

    def _lesion(self) -> Picture:
        s = self.state
        found, rate = self._lesions()
        one = found.sel(neuron=s["neuron"])
        words = [_cost(f"without neuron {s['neuron']}", found, one["loss"], one["accuracy"])]
        if len(s["selected"]) > 1:
            both = self.made.again("probe", self._near(self.weights), silence=s["selected"])
            words.append(_cost(f"without the {len(s['selected'])}", found, both["loss"].mean(), both["correct"].mean()))
        marks = {"picked": s["neuron"], "chosen": s["selected"], "inks": self._tint()[0]}
        after = self._after(self._near(self.weights))
        return pictures.lesion_costs(found, rate, **marks), f"<b>Lesions</b> {after} &nbsp;·&nbsp; {'; '.join(words)}"

    # ------------------------------------------------------------------ what leaves

    def data(self) -> xr.Dataset:
        """Return what is shown: properties of every neuron, and of the picked one rates, f-I curves and weights."""
        self.settle()
        found: dict[Any, Any] = dict(self.properties.data_vars.items())
        parts: dict[str, Callable[[], xr.Dataset]] = {
            "psth": lambda: self._by_condition()[0].drop_vars("trials", errors="ignore"),
            "raster": lambda: self._trials_now().drop_vars(["readout", "loss", "correct"], errors="ignore"),
            "excitability": lambda: self._tuning().rename(problem="tuned_at"),
            "partners": self._both_ways,
            "channels": self._outside,
            "lesion": lambda: self._lesions()[0].rename(neuron="silenced"),
        }
        for panel in [name for name in parts if name in self.visible() and not self.figure.notes.get(name)]:
            found |= dict(parts[panel]().data_vars.items())
        bare = {name: v.drop_vars([c for c in v.coords if c not in v.dims]) for name, v in found.items()}
        whole = xr.Dataset(bare)
        words = {name: values.astype(str) for name, values in whole.coords.items() if values.dtype == object}
        return whole.assign_coords(words).assign_attrs(neuron=self.state["neuron"], problem=self.state["problem"])

    def code(self) -> str:
        """Return the calls that draw these pictures without widgets."""
        self.settle()
        s, shown = self.state, [name for name in self.visible() if not self.figure.notes.get(name)]
        calls = self._code_of_properties() | self._code_of_neuron(shown)
        head = [
            "import numpy as np",
            "import ip2lab",
            "from ip2lab.analysis import connectivity, neurons",
            "from ip2lab.views import pictures, show",
            "from ip2lab.views.style import axis, span",
            "",
            source(self.run),
            "properties = run['properties'].to_dataset().load()",
            f"name, against, problem = {s['property']!r}, {s['against']!r}, {s['problem']}",
            f"neuron, chosen = {s['neuron']}, {s['selected']}",
            "now = properties.sel(problem=problem)",
            *self.made.code_of_colours(s["colour"] if self._tint()[0] is not None else "none"),
        ]
        titles = [f"    {self.figure.captions[name]!r}: {name}," for name in shown]
        return "\n".join([*head, *(line for name in shown for line in calls[name]), "show({", *titles, "})"])

    def _code_of_properties(self) -> dict[str, list[str]]:
        marks = "inks=inks, chosen=chosen"
        shown = int(self._steps()["problem"][0]) if self.steps is not None else None
        return {
            "over": [
                f"over = pictures.property_trajectories(properties[name], picked=neuron, at=problem, {marks}, key=key)"
            ],
            "density": [
                "label, limits = axis(properties[name]), span(properties[name].values, 0.04, True)",
                "values = now[name].values",
                "marks = {'picked': float(values[neuron]), 'chosen': values[chosen].tolist()}",
                "densities = neurons.density(properties)",
                "density = pictures.property_density(densities, name, at=problem, label=label, limits=limits, **marks)",
            ],
            "within": [
                "steps = run['trajectories'].to_dataset().load()",
                f"steps = steps[name].isel(step=steps['problem'].values == {shown})",
                f"within = pictures.property_trajectories(steps, picked=neuron, along='trial', {marks}, height=240)",
            ],
            "scatter": [
                "limits = tuple(span(properties[each].values, 0.04, True) for each in (name, against))",
                f"scatter = pictures.scatter(now[name], now[against], picked=neuron, limits=limits, {marks})",
            ],
        }

    def _code_of_neuron(self, shown: Sequence[str]) -> dict[str, list[str]]:
        """The calls that draw the pictures of the picked neuron, of those panels that are shown."""
        found: dict[str, list[str]] = {}
        if self.activity is not None:
            found |= self._code_of_trials(shown)
        if self.weights is not None:
            kept = self._near(self.weights)
            weights = [f"weights = run['weights'].to_dataset().sel(problem={kept})"]
            found["partners"] = [
                *weights,
                "partners = pictures.partners(weights['recurrent_weights'], neuron, inks=inks, chosen=chosen)",
            ]
            both = ", ".join(f"weights['{way}put_weights'].isel(neuron=neuron)" for way in ("in", "out"))
            found["channels"] = [*weights, f"channels = pictures.channels({both})"]
        if "excitability" in shown:
            first, currents = int(self.properties["problem"][0]), self._tuning()["current"].values
            found["excitability"] = [
                f"own = properties.sel(problem=[{first}, problem]).isel(neuron=[neuron])",
                f"inputs = np.linspace(0, {currents[-1]:g}, {len(currents)})",
                f"tuned = neurons.fi_curve(own, inputs, dt={self._dt():g}, duration=4000).isel(neuron=0)",
                "excitability = pictures.fi_curves(tuned)",
            ]
        if "lesion" in shown:
            members = self._lesions()[0]["neuron"].values.tolist()
            which = f", {members}" if len(members) < self.properties.sizes["neuron"] else ""
            found["lesion"] = [
                "from ip2lab.probes import silenced",
                f"lost = silenced(run, {self._near(self.weights)}{which})",
                f"rate = {self.made.code_of_firing(self._near(self.activity))}",
                "lesion = pictures.lesion_costs(lost, rate, picked=neuron, inks=inks, chosen=chosen)",
            ]
        return found

    def _code_of_trials(self, shown: Sequence[str]) -> dict[str, list[str]]:
        s, kept = self.state, self._near(self.activity)
        signal = "spikes" if "spikes" in self.activity else "activity"
        there = f"run['activity'].to_dataset().sel(problem={kept}).load()"
        if s["repeats"]:
            trials = [f"trials = pictures.worded(ip2lab.probe(run, {kept}, repeats={NOISY})).isel(neuron=neuron)"]
        else:
            trials = [f"trials = pictures.worded({there}).isel(neuron=neuron)"]
        level = f"properties['threshold'].sel(problem={kept})[neuron]"
        if "adaptation" in self.activity and "adaptation_strength" in self.properties:
            level += f" + properties['adaptation_strength'].sel(problem={kept})[neuron] * one['adaptation']"
        level = level if "threshold" in self.properties else "None"
        same = f"run['activity'].to_dataset()[{signal!r}].isel(neuron=neuron, probe={s['trial']}).load()"
        return {
            "psth": [*trials, f"psth = pictures.psth({self._by_condition()[1]})"] if "psth" in shown else [],
            "raster": [*trials, f"raster = pictures.trial_raster(trials[{signal!r}])"],
            "trace": [
                f"one = {there}.isel(neuron=neuron, probe={s['trial']})",
                f"trace = pictures.neuron_trace(one, threshold={level})",
            ],
            "history": [f"history = pictures.history({same}, at={kept})"],
        }


def _banded(spikes: xr.DataArray) -> xr.Dataset | None:
    """The mean rate of each condition with its band; None where there is one trial of each, or all are alike."""
    try:
        return neurons.psth(spikes, trial="probe", by="condition", width=WIDTH)
    except ValueError:
        return None


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
