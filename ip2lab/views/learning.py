"""Learning curves: trials to criterion over problems, many runs at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, ClassVar, cast

import ipywidgets
import numpy as np
import xarray as xr

from ip2lab.analysis import curves
from ip2lab.views import pictures
from ip2lab.views.explorer import Explorer, NothingToShow, Picture, Switches, as_run, check, dropdown, group, source
from ip2lab.views.style import colours

Runs = xr.DataTree | Mapping[str, xr.DataTree] | Sequence[xr.DataTree]
GROUPINGS = {"each run": None, "model": "model", "family": "family", "learnable properties": "learnable"}


def named(runs: Runs) -> dict[str, xr.DataTree]:
    """Return runs by name: what they differ in, where no names are given.

    Examples
    --------
    >>> trees = [xr.DataTree(xr.Dataset(attrs={"model": "spiking", "seed": seed})) for seed in (0, 1)]
    >>> list(named(trees))
    ['seed 0', 'seed 1']
    """
    if isinstance(runs, (str, Path)):
        runs = as_run(runs)
    if isinstance(runs, xr.DataTree):
        return {_label(runs, ("model", "family")): runs}
    if isinstance(runs, Mapping):
        return {name: as_run(run) for name, run in cast("Mapping[str, xr.DataTree]", runs).items()}
    if not len(runs):
        raise ValueError("no runs were given; give a run, a list of runs, or a mapping of names to runs")
    runs = [as_run(run) for run in runs]
    keys = ("model", "learnable", "family", "seed")
    choices = [chosen for n in range(1, 5) for chosen in combinations(keys, n)]
    labels = ([_label(run, chosen) for run in runs] for chosen in choices)
    names = next((found for found in labels if len(set(found)) == len(runs)), [_label(run, keys) for run in runs])
    return {
        name if names.count(name) == 1 else f"{name} ({i + 1})": run
        for i, (name, run) in enumerate(zip(names, runs, strict=True))
    }


def _label(run: xr.DataTree, keys: Sequence[str]) -> str:
    words = []
    for key in keys:
        value = run.attrs.get(key)
        text = ("+".join(value) if value else "nothing learnable") if key == "learnable" else str(value)
        words.append(f"seed {text}" if key == "seed" else text)
    return ", ".join(words)


class LearningExplorer(Explorer):
    """Trials to criterion over problems, with the loss within the problem chosen and the efficiency in the end.

    Parameters
    ----------
    runs : DataTree, mapping of str to DataTree, or sequence of DataTree
        What is compared. A click into the curves chooses the problem; the buttons switch runs off and on.

    Examples
    --------
    >>> import ip2lab
    >>> run = ip2lab.train("association", problems=2, neurons=20, max_trials=60, progress=False)
    >>> explorer = LearningExplorer(run)
    >>> explorer.state["problem"]
    0
    """

    PANELS: ClassVar[dict[str, tuple[str, ...]]] = {
        "curve": ("shown", "by", "smooth", "log", "log_problems", "fit", "problem"),
        "loss": ("shown", "problem"),
        "final": ("shown", "by", "last"),
    }
    GRID = '"curve curve" "loss final" / minmax(0, 3fr) minmax(0, 2fr)'

    def __init__(self, runs: Runs) -> None:
        self.runs = named(runs)
        self.series = {name: group(run, "series").load() for name, run in self.runs.items()}
        self.trials = {name: group(run, "trials") for name, run in self.runs.items()}
        self.inks = dict(zip(self.runs, colours(len(self.runs)), strict=True))
        most = max((series.sizes["problem"] for series in self.series.values()), default=0)
        wide = {"style": {"description_width": "initial"}}
        self._curve_parts: tuple[Any, Any] = (None, None)
        controls: dict[str, ipywidgets.Widget] = {
            "problem": ipywidgets.IntSlider(
                0, 0, max(most - 1, 0), description="problem", layout={"width": "380px"}, **wide
            ),
            "smooth": ipywidgets.IntSlider(1, 1, 51, 2, description="smooth", layout={"width": "230px"}, **wide),
            "log": check("log trials", True),
            "log_problems": check("log problems", False),
            "fit": check("exponential fit", False),
            "by": dropdown("mean by", list(GROUPINGS), "each run"),
            "last": ipywidgets.BoundedIntText(
                max(1, min(30, most // 2)),
                1,
                max(most, 1),
                description="final over last",
                layout={"width": "170px"},
                **wide,
            ),
            "shown": Switches(self.inks),
        }
        c = controls
        first = [
            c["problem"],
            c["smooth"],
            c["log"],
            c["log_problems"],
            c["fit"],
            *([c["by"]] if len(self.runs) > 1 else []),
            c["last"],
        ]
        super().__init__(controls, [first, *([[c["shown"]]] if len(self.runs) > 1 else [])])
        self.figure.listen("curve", "tap", self._pick)

    def _pick(self, x: float, _: float) -> None:
        slider = self.controls["problem"]
        slider.value = int(np.clip(round(x - self.controls["log_problems"].value), slider.min, slider.max))

    def _groups(self) -> dict[str, xr.Dataset]:
        """The series shown: of each run, or of all runs that share a model, a family or a configuration."""
        shown = [name for name in self.series if name in self.controls["shown"].value]
        if not shown:
            raise NothingToShow("Every run is switched off.")
        key = GROUPINGS[self.controls["by"].value]
        if key is None:
            return {name: self.series[name] for name in shown if self.series[name].sizes["problem"]} or _nothing()
        kinds: dict[str, list[xr.Dataset]] = {}
        for name in shown:
            kinds.setdefault(_label(self.runs[name], [key]), []).append(
                self.series[name][["trials_to_criterion", "censored_trials"]]
            )
        return {kind: xr.concat(members, "run", join="inner") for kind, members in kinds.items()}

    def _inks(self, names: Mapping[str, Any]) -> dict[str, str]:
        return (
            {n: self.inks[n] for n in names}
            if set(names) <= set(self.inks)
            else dict(zip(names, colours(len(names)), strict=True))
        )

    def _curve(self) -> Picture:
        state = self.state
        key = {name: value for name, value in state.items() if name not in ("problem", "last")}
        if self._curve_parts[0] != key:
            groups = self._groups()
            fits = (
                {n: curves.exponential_fit(s, failures="cap") for n, s in groups.items() if s.sizes["problem"] >= 6}
                if state["fit"]
                else {}
            )
            picture = pictures.learning_curves(
                groups,
                smooth=state["smooth"],
                log=state["log"],
                log_problems=state["log_problems"],
                inks=self._inks(groups),
                fits=fits,
            )
            self._curve_parts = (key, (picture, self._fit_words(fits)))
        picture, words = self._curve_parts[1]
        return pictures.moved(
            picture, state["problem"] + state["log_problems"]
        ), f"<b>Trials to criterion</b> over problems{words}"

    @staticmethod
    def _fit_words(fits: Mapping[str, xr.Dataset]) -> str:
        words = [
            f"{name} τ = {float(f.tau.mean()):.1f} problems, end {float(f.asymptote.mean()):.1f} trials"
            for name, f in fits.items()
        ]
        return f" &nbsp;·&nbsp; fit: {'; '.join(words[:4])}" if words else ""

    def _loss(self) -> Picture:
        problem = self.controls["problem"].value
        shown = {
            n: t
            for n, t in self.trials.items()
            if n in self.controls["shown"].value and problem in self.series[n].problem
        }
        if not shown:
            raise NothingToShow("No run that is shown has this problem.")
        config = next(iter(self.runs.values())).attrs.get("config", {})
        picture = pictures.within_problem_loss(
            shown,
            problem,
            criterion=config.get("criterion"),
            window=config.get("window"),
            inks={n: self.inks[n] for n in shown},
        )
        needed = [self.series[n]["trials_to_criterion"].sel(problem=problem).item() for n in shown]
        words = ", ".join("not reached" if np.isnan(v) else f"{v:.0f}" for v in needed[:6])
        return picture, f"<b>Loss within problem {problem}</b> &nbsp;·&nbsp; trials to criterion {words}"

    def _final(self) -> Picture:
        groups, last = self._groups(), self.controls["last"].value
        found = {
            n: curves.final_efficiency(s, last=min(last, s.sizes["problem"]), failures="cap") for n, s in groups.items()
        }
        single = {n: v.values.tolist() for n, v in found.items() if v.ndim}
        picture = pictures.bars(
            {n: float(v.mean()) for n, v in found.items()}, "trials to criterion", self._inks(groups), single=single
        )
        failures = sum(int(self.series[n]["failed"].sum()) for n in self.controls["shown"].value)
        return picture, f"<b>Final efficiency</b>: last {last} problems &nbsp;·&nbsp; failures in all: {failures}"

    def data(self) -> xr.Dataset:
        """Return trials to criterion (run, problem) of the runs shown."""
        shown = self.state["shown"]
        both = [self.series[name][["trials_to_criterion", "censored_trials", "failed"]] for name in shown]
        return xr.concat(both, xr.DataArray(shown, dims="run", name="run"), join="outer")

    def code(self) -> str:
        """Return the calls that draw these pictures without widgets."""
        s = self.state
        lines = [
            "import ip2lab",
            "from ip2lab.analysis import curves",
            "from ip2lab.views import pictures, show",
            "",
            "runs = {}",
        ]
        for name in s["shown"]:
            path = source(self.runs[name], f"runs[{name!r}]")
            lines.append(path)
        lines += [
            "series = {name: run['series'].to_dataset() for name, run in runs.items()}",
            "trials = {name: run['trials'].to_dataset() for name, run in runs.items()}",
            "fits = {name: curves.exponential_fit(one, failures='cap') for name, one in series.items()}"
            if s["fit"]
            else "fits = {}",
            f"looks = dict(smooth={s['smooth']}, log={s['log']}, log_problems={s['log_problems']})",
            f"curve = pictures.learning_curves(series, fits=fits, at={s['problem'] + s['log_problems']}, **looks)",
            f"loss = pictures.within_problem_loss(trials, {s['problem']})",
            f"final = [curves.final_efficiency(one, last={s['last']}, failures='cap') for one in series.values()]",
            "final = dict(zip(series, map(float, final)))",
            "final = pictures.bars(final, 'trials to criterion')",
            "show(curve)",
        ]
        return "\n".join(lines)


def _nothing() -> dict[str, xr.Dataset]:
    raise NothingToShow("No problem is finished yet.")
