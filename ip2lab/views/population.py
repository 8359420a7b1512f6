"""The population: trajectories in a few components, with the raster of a trial beside them."""

from __future__ import annotations

from functools import lru_cache
from typing import ClassVar

import ipywidgets
import numpy as np
import xarray as xr

from ip2lab.analysis import neurons, population
from ip2lab.views import pictures
from ip2lab.views.explorer import Explorer, NothingToShow, Picture, as_run, dropdown, group, slider, source

BASES = {"this problem": "this", "all problems": "all", "the first problem": "first", "the last problem": "last"}
WIDTH = 50.0  # ms, standard deviation of the smoothing that makes rates of spikes
COMPONENTS = 6


class PopulationExplorer(Explorer):
    """Trajectories by condition, the raster of a trial, and how many dimensions the activity has, problem by problem.

    Parameters
    ----------
    run : DataTree
        A run with a group ``activity``. The slider moves through the problems that were kept.

    Examples
    --------
    >>> import ip2lab
    >>> run = ip2lab.train("association", problems=2, neurons=20, max_trials=60, progress=False)
    >>> explorer = PopulationExplorer(run)
    >>> explorer.state = {"problem": 1, "signal": "membrane"}
    >>> explorer.state["problem"]
    1
    """

    PANELS: ClassVar[dict[str, tuple[str, ...]]] = {
        "trajectories": ("problem", "time", "signal", "basis", "view", "by", "azimuth", "elevation"),
        "raster": ("problem", "time", "signal", "trial", "order", "basis"),
        "variance": ("problem", "signal"),
        "dimensions": ("problem", "signal"),
    }
    GRID = '"trajectories raster" "variance dimensions" / minmax(0, 1fr) minmax(0, 1fr)'

    def __init__(self, run: xr.DataTree) -> None:
        run = as_run(run)
        self.run = run
        self.activity = group(run, "activity")
        if not self.activity.sizes.get("problem"):
            raise ValueError("the run keeps no activity yet; train at least one problem to its end")
        problems = self.activity["problem"].values.tolist()
        times = self.activity["time"].values
        signals = {"rate": "rate"} if "spikes" in self.activity else {}
        signals |= {
            str(self.activity[v].attrs.get("long_name", v)): str(v)
            for v in self.activity
            if "neuron" in self.activity[v].dims
        }
        labels = [c for c in ("condition", "stimulus", "response", "context") if c in self.activity.coords]
        trials = {trial_name(self.activity, i): i for i in range(self.activity.sizes["probe"])}
        wide = {"style": {"description_width": "initial"}}
        controls: dict[str, ipywidgets.Widget] = {
            "problem": slider("problem", problems, problems[0]),
            "time": ipywidgets.FloatSlider(
                min=float(times[0]),
                max=float(times[-1]),
                step=float(times[1] - times[0]),
                value=float(times[0]),
                description="time (ms)",
                readout_format=".0f",
                layout={"width": "340px"},
                **wide,
            ),
            "signal": dropdown("signal", list(signals.items())),
            "basis": dropdown("basis of", list(BASES.items())),
            "view": dropdown(
                "components", [("1, 2", "1 2"), ("1, 3", "1 3"), ("2, 3", "2 3"), ("1, 2, 3 turned", "turned")]
            ),
            "azimuth": ipywidgets.IntSlider(30, -180, 180, 5, description="turn", layout={"width": "200px"}, **wide),
            "elevation": ipywidgets.IntSlider(25, -90, 90, 5, description="tilt", layout={"width": "200px"}, **wide),
            "by": dropdown("colour", labels),
            "trial": dropdown("raster of", list(trials.items())),
            "order": dropdown("sorted by", self._orders()),
        }
        self._one = lru_cache(64)(self._read)
        self._basis = lru_cache(64)(self._fit)
        self._spread = lru_cache(8)(self._measure)
        c = controls
        turn = [c["azimuth"], c["elevation"]]
        super().__init__(
            controls,
            [[c["problem"], c["time"]], [c["signal"], c["basis"], c["view"], c["by"], c["trial"], c["order"]], turn],
        )
        self._turning = self.children[2]
        self._turning.layout.display = "none"
        c["view"].observe(
            lambda change: setattr(self._turning.layout, "display", "flex" if change["new"] == "turned" else "none"),
            "value",
        )
        self.figure.listen("raster", "tap", lambda x, _: setattr(c["time"], "value", x))
        for name in ("variance", "dimensions"):
            self.figure.listen(
                name, "tap", lambda x, _: setattr(c["problem"], "value", min(problems, key=lambda p: abs(p - x)))
            )

    def _orders(self) -> list[tuple[str, str]]:
        found = [("peak time", "peak"), ("neuron", "neuron"), ("first component", "loading")]
        properties = group(self.run, "properties") if "properties" in self.run.children else xr.Dataset()
        return found + [(str(properties[v].attrs.get("long_name", v)), str(v)) for v in properties.data_vars]

    # ------------------------------------------------------------------ what the pictures are made of

    def _read(self, problem: int, signal: str) -> xr.DataArray:
        """(probe, time, neuron) of one problem."""
        if signal == "rate":
            return neurons.firing_rate(self.activity["spikes"].sel(problem=problem).load(), width=WIDTH)
        return self.activity[signal].sel(problem=problem).load()

    def _fit(self, problem: int, signal: str, basis: str) -> xr.Dataset:
        """The principal components of one problem, or of all."""
        problems = self.activity["problem"].values.tolist()
        chosen = {"this": [problem], "all": problems, "first": problems[:1], "last": problems[-1:]}[basis]
        data = (
            xr.concat([self._one(p, signal) for p in chosen], "problem")
            if len(chosen) > 1
            else self._one(chosen[0], signal)
        )
        return population.pca(data, n_components=min(COMPONENTS, data.sizes["neuron"]))

    def _measure(self, signal: str) -> tuple[xr.DataArray, xr.DataArray]:
        """Explained variance (component, problem) and participation ratio (problem)."""
        problems = self.activity["problem"].values.tolist()
        fits, ratios = [], []
        for problem in problems:
            try:
                fits.append(self._basis(problem, signal, "this")["explained_variance_ratio"][:3].values)
                ratios.append(float(population.participation_ratio(self._one(problem, signal))))
            except ValueError:  # a silent network has no variance to decompose
                fits.append(np.full(3, np.nan))
                ratios.append(np.nan)
        where = {"problem": problems}
        share = xr.DataArray(
            np.array(fits).T, dims=("component", "problem"), coords={**where, "component": [1, 2, 3][: len(fits[0])]}
        )
        ratio = xr.DataArray(ratios, dims="problem", coords=where)
        share.attrs.update(long_name="share of the variance", units="1")
        ratio.attrs.update(long_name="participation ratio", units="dimensions")
        return share, ratio

    def _scores(self) -> tuple[xr.DataArray, xr.Dataset]:
        s = self.state
        try:
            basis = self._basis(s["problem"] if s["basis"] == "this" else -1, s["signal"], s["basis"])
        except ValueError:
            raise NothingToShow("No neuron changes its activity here: there are no components to show.") from None
        return population.project(self._one(s["problem"], s["signal"]).astype(float), basis), basis

    # ------------------------------------------------------------------ the panels

    def _trajectories(self) -> Picture:
        s = self.state
        scores, basis = self._scores()
        if s["view"] == "turned":
            scores, x, y = pictures.turned(scores, s["azimuth"], s["elevation"]), 0, 1
        else:
            x, y = (int(i) - 1 for i in s["view"].split())
        where = next(words for words, key in BASES.items() if key == s["basis"])
        picture = pictures.trajectories(scores, x=x, y=y, by=s["by"], at=s["time"], height=340)
        share = ", ".join(
            f"{100 * v:.0f}" for v in basis["explained_variance_ratio"].values[:3]
        )  # in an axis' name it would lay out anew
        return (
            picture,
            f"<b>Trajectories</b> in problem {s['problem']} &nbsp;·&nbsp; components of {where}: {share} % of variance",
        )

    def _raster(self) -> Picture:
        s = self.state
        name = "spikes" if s["signal"] == "rate" else s["signal"]
        shown = self._one(s["problem"], name).isel(probe=s["trial"])
        words = {key: words for words, key in self.controls["order"].options}[s["order"]]
        picture = pictures.raster(
            shown, order=self._order(), order_name="" if s["order"] == "neuron" else words, at=s["time"], height=340
        )
        trial = trial_name(self.activity, s["trial"])
        return (
            picture,
            f"<b>{shown.attrs.get('long_name', name).capitalize()}</b> in problem {s['problem']} &nbsp;·&nbsp; {trial}",
        )

    def _order(self) -> np.ndarray:
        s = self.state
        if s["order"] == "neuron":
            return np.arange(self.activity.sizes["neuron"])
        if s["order"] == "loading":
            return np.argsort(self._scores()[1]["components"][0].values)
        if s["order"] == "peak":
            signal = self._one(s["problem"], s["signal"]).isel(probe=s["trial"])
            return np.argsort(-signal.argmax("time").values, kind="stable")
        return np.argsort(group(self.run, "properties")[s["order"]].sel(problem=s["problem"]).values)

    def _order_code(self) -> str:
        s = self.state
        return {
            "neuron": "None",
            "loading": "basis['components'][0].values.argsort()",
            "peak": f"(-signal.sel(problem={s['problem']})[{s['trial']}].argmax('time').values).argsort(kind='stable')",
        }.get(
            s["order"], f"run['properties'].to_dataset()[{s['order']!r}].sel(problem={s['problem']}).values.argsort()"
        )

    def _variance(self) -> Picture:
        s = self.state
        return pictures.over_problems(
            self._spread(s["signal"])[0], at=s["problem"], floor=0.0, height=200
        ), "<b>Explained variance</b>, each problem's own components"

    def _dimensions(self) -> Picture:
        s = self.state
        ratio = self._spread(s["signal"])[1]
        now = float(ratio.sel(problem=s["problem"]))
        return pictures.over_problems(
            ratio, at=s["problem"], floor=0.0, height=200
        ), f"<b>Participation ratio</b> &nbsp;·&nbsp; {now:.1f} dimensions in problem {s['problem']}"

    # ------------------------------------------------------------------ what leaves

    def data(self) -> xr.Dataset:
        """Return scores (probe, time, component) and signal (probe, time, neuron) as shown."""
        s = self.state
        scores, basis = self._scores()
        return xr.Dataset(
            {"scores": scores, "components": basis["components"], "signal": self._one(s["problem"], s["signal"])}
        )

    def code(self) -> str:
        """Return the calls that draw these pictures without widgets."""
        s = self.state
        problems = self.activity["problem"].values.tolist()
        of = {"this": [s["problem"]], "all": problems, "first": problems[:1], "last": problems[-1:]}[s["basis"]]
        signal = (
            f"neurons.firing_rate(activity['spikes'], width={WIDTH:g})"
            if s["signal"] == "rate"
            else f"activity[{s['signal']!r}]"
        )
        view = f"pictures.turned(scores, {s['azimuth']}, {s['elevation']}), x=0, y=1"
        if s["view"] != "turned":
            view = "scores, x={}, y={}".format(*(int(i) - 1 for i in s["view"].split()))
        shown, most = "spikes" if s["signal"] == "rate" else s["signal"], min(COMPONENTS, self.activity.sizes["neuron"])
        return "\n".join(
            [
                "import ip2lab",
                "from ip2lab.analysis import neurons, population",
                "from ip2lab.views import pictures, show",
                "",
                source(self.run),
                "activity = run['activity'].to_dataset()",
                f"signal = {signal}",
                f"basis = population.pca(signal.sel(problem={of}), n_components={most})",
                f"scores = population.project(signal.sel(problem={s['problem']}).astype(float), basis)",
                f"trajectories = pictures.trajectories({view}, by={s['by']!r}, at={s['time']})",
                f"shown = activity[{shown!r}].sel(problem={s['problem']}).isel(probe={s['trial']})",
                f"order = {self._order_code()}",
                f"raster = pictures.raster(shown, order=order, at={s['time']})",
                "show(trajectories)",
            ]
        )


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
