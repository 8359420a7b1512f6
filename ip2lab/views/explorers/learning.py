"""Learning curves: trials to criterion over problems, many runs at once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, ClassVar, cast

import holoviews as hv
import ipywidgets
import numpy as np
import xarray as xr
from markupsafe import Markup

from ip2lab.analysis import curves
from ip2lab.views import plots
from ip2lab.views.explorers.base import (
    SLIDER,
    Explorer,
    Panel,
    Switches,
    as_run,
    check,
    dropdown,
    group,
    slider,
    source,
)
from ip2lab.views.explorers.recipe import Recipe, call, ref
from ip2lab.views.labels import Labels, every_label, key_of
from ip2lab.views.markup import below, caption
from ip2lab.views.style import colours, plain

Runs = xr.DataTree | Mapping[str, xr.DataTree] | Sequence[xr.DataTree]
GROUPINGS = {"each run": "", "model": "model", "family": "family", "learnable properties": "learnable"}
SIDES = ("curve", "curve1", "curve2", "curve3", "curve4", "curve5")  # as many pictures side by side as there may be
RESAMPLES = 100  # of a fit, for its interval
SOON = 0.04  # seconds after which the place of a moving pointer counts


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
    if not isinstance(runs, Sequence):
        raise TypeError(f"runs: {runs!r} is not valid; give a run, a list of runs, or a mapping of names to runs")
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


def split(runs: Mapping[str, xr.DataTree], by: str = "model") -> dict[str, dict[str, xr.DataTree]]:
    """Sort runs by what they share: ``"model"``, ``"family"``, ``"learnable"``; each by itself with ``""``.

    Examples
    --------
    >>> trees = {str(seed): xr.DataTree(xr.Dataset(attrs={"model": "spiking"})) for seed in (0, 1)}
    >>> {kind: list(some) for kind, some in split(trees).items()}
    {'spiking': ['0', '1']}
    """
    kinds: dict[str, dict[str, xr.DataTree]] = {}
    for name, run in runs.items():
        kinds.setdefault(_label(run, [by]) if by else name, {})[name] = run
    return kinds


def grouped(runs: Mapping[str, xr.DataTree], by: str = "") -> dict[str, xr.Dataset]:
    """Return ``/series`` of runs by name, those that share a model, a family or learnable properties along `run`.

    A run that is shorter than another one has not attempted the rest. What has no finished problem yet is left out.

    Examples
    --------
    >>> import ip2lab
    >>> runs = {name: ip2lab.example(name) for name in ("association", "dms")}
    >>> dict(grouped(runs, "model")["spiking"].sizes)
    {'run': 2, 'problem': 60}
    """
    found = {name: group(run, "series").load() for name, run in runs.items()}
    if by:
        found = {kind: together({n: found[n] for n in some}) for kind, some in split(runs, by).items()}
    return {kind: series for kind, series in found.items() if series.sizes["problem"]}


def together(series: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """Return trials to criterion (run, problem) of several series, each with what a problem without a number is.

    Examples
    --------
    >>> long, short = (xr.Dataset({"trials_to_criterion": ("problem", trials)}) for trials in ([9.0, 5.0], [8.0]))
    >>> together({"long": long, "short": short})["attempted"].values.tolist()
    [[True, True], [True, False]]
    """
    tables = []
    for one in series.values():
        told = curves.failures(one)
        trials = one["trials_to_criterion"].astype(float)
        caps = one["censored_trials"] if "censored_trials" in one else xr.full_like(trials, np.nan)
        table = xr.Dataset({"trials_to_criterion": trials, "censored_trials": caps})
        tables.append(table.assign(failed=told["failed"], attempted=told["attempted"]).reset_coords(drop=True))
    filled = {"trials_to_criterion": np.nan, "censored_trials": np.nan, "failed": False, "attempted": False}
    tables = [one if "problem" in one.coords else one.assign_coords(problem=one["problem"]) for one in tables]
    return xr.concat(tables, "run", join="outer", fill_value=filled)


def fitted(groups: Mapping[str, xr.Dataset]) -> dict[str, xr.Dataset]:
    """Return an exponential fit of each curve that is long enough, with its 95 % interval.

    Of one run the interval is that of refits to its resampled residuals. Of several runs, each is fitted by itself;
    what is returned is the mean, and of three or more runs its interval is drawn over runs.

    Parameters
    ----------
    groups : mapping of str to Dataset
        What :func:`grouped` returns.

    Returns
    -------
    dict of str to Dataset
        As of :func:`ip2lab.analysis.curves.exponential_fit`.

    Examples
    --------
    >>> import ip2lab
    >>> fits = fitted(grouped({"a run": ip2lab.example("association")}))
    >>> dict(fits["a run"]["interval"].sizes)
    {'parameter': 3, 'bound': 2}
    """
    long = {name: series for name, series in groups.items() if series.sizes["problem"] >= 6}
    return {
        name: curves.mean_fit(_fit(one), over="run") if "run" in one.dims else _fit(one, RESAMPLES)
        for name, one in long.items()
    }


def _fit(series: xr.Dataset, resamples: int = 0) -> xr.Dataset:
    return curves.exponential_fit(series, failures="cap", resamples=resamples)


def counted(found: Mapping[str, xr.Dataset], problems: Sequence[Any]) -> dict[str, xr.Dataset]:
    """Return series or trials by name, their problems called by their places in a list, from 0.

    Parameters
    ----------
    found : mapping of str to Dataset
        With ``problem``, as a coordinate or a variable: words or dates.
    problems : sequence of str
        All problems, dates as text.

    Examples
    --------
    >>> series = xr.Dataset({"trials": ("problem", [9, 4])}, {"problem": ["day 3", "day 1"]})
    >>> counted({"a": series}, ["day 1", "day 2", "day 3"])["a"]["problem"].values.tolist()
    [2, 0]
    """
    place = {problem: i for i, problem in enumerate(problems)}

    def numbered(one: xr.Dataset) -> xr.Dataset:
        keys = [key_of(label) for label in one["problem"].values]
        unknown = [key for key in keys if key not in place]
        if unknown:
            known = ", ".join(map(str, problems[:5])) + (", ..." if len(problems) > 5 else "")
            raise ValueError(f"problem {unknown[0]!r} is none of the series, which have {known}; label both alike")
        numbers = (one["problem"].dims, [place[key] for key in keys])
        return one.assign_coords(problem=numbers) if "problem" in one.coords else one.assign(problem=numbers)

    return {name: numbered(one) for name, one in found.items()}


def efficiency_bars(groups: Mapping[str, xr.Dataset], last: int, colors: Mapping[str, str] | None = None) -> hv.Overlay:
    """Mean trials to criterion of the last problems as bars, with 95 % intervals.

    The interval is over runs where a group has three or more, and over problems where it is a single run: then it says
    how much the problems differ, nothing about another network.

    Parameters
    ----------
    groups : mapping of str to Dataset
        What :func:`grouped` returns.
    last : int
        Over how many problems.
    colors : mapping of str to str, optional
        Colour of each bar.

    Returns
    -------
    Overlay
        The bars.

    Examples
    --------
    >>> import ip2lab
    >>> len(efficiency_bars(grouped({"a run": ip2lab.example("association")}), 30))
    4
    """
    single: dict[str, list[float]] = {}
    values, intervals, words = {}, {}, {}
    for name, series in groups.items():
        told = curves.failures(series)
        found = curves.final_efficiency(series, last=min(last, int(told["problems"].min())), failures="cap")
        values[name] = float(found.mean())
        single |= {name: found.values.tolist()} if found.ndim else {}
        over = found if found.ndim else _last(series, told, last)
        if over.size >= 3:
            interval = curves.bootstrap(over, over=str(over.dims[0]))
            intervals[name] = (float(interval.lower), float(interval.upper))
        lost = int(told["count"].sum())
        words[name] = f", {lost} given up" if lost else ""
    return plots.bars(values, "trials to criterion", colors, single=single, intervals=intervals, words=words)


def _last(series: xr.Dataset, told: xr.Dataset, last: int) -> xr.DataArray:
    """Trials to criterion of the last problems that a single run tried, the cap where it was not reached."""
    trials = series["trials_to_criterion"].where(~told["failed"], series.get("censored_trials"))
    if "problem" in told.indexes:  # `told` is in the order of the problems
        trials = trials.reindex_like(told)
    return trials.isel(problem=np.flatnonzero(told["attempted"])[-last:])


def _label(run: xr.DataTree, keys: Sequence[str]) -> str:
    words = []
    for key in keys:
        value = run.attrs.get(key)
        text = ("+".join(value) if value else "nothing learnable") if key == "learnable" else str(value)
        words.append(f"seed {text}" if key == "seed" else text)
    return ", ".join(words)


def _side(i: int) -> Panel:
    """One of the curves side by side."""
    return Panel(
        SIDES[i],
        "trials to criterion",
        ("shown", "by", "beside", "smooth", "log", "log_problems", "fit", "problem"),
        lambda explorer: explorer._side_steps(i),
        lambda explorer: explorer._curve(i),
        hidden=lambda explorer: explorer._nothing(f"some_{i}", f"groups_{i}"),
        events={
            "tap": lambda explorer, *told: explorer._pick(*told),
            "legend": lambda explorer, *told: explorer._toggle(*told),
        },
    )


class LearningExplorer(Explorer):
    """Trials to criterion over problems, with the loss within the problem chosen and the efficiency in the end.

    Parameters
    ----------
    runs : DataTree, mapping of str to DataTree, or sequence of DataTree
        What is compared. A click into the curves chooses the problem, or the pointer does where it is followed; a click
        on a name in a legend switches a run off or on.

    Examples
    --------
    >>> import ip2lab
    >>> run = ip2lab.train("association", problems=2, neurons=20, max_trials=60, progress=False)
    >>> explorer = LearningExplorer(run)
    >>> explorer.state["problem"]
    0
    """

    def __init__(self, runs: Runs) -> None:
        self.runs = named(runs)
        self.series = {name: group(run, "series").load() for name, run in self.runs.items()}
        self._recipe = Recipe({f"run_{i}": run for i, run in enumerate(self.runs.values(), 1)})
        self._at: float | None = None
        most = max((series.sizes["problem"] for series in self.series.values()), default=0)
        self.labels = every_label([series["problem"].values for series in self.series.values()])
        several, wide = len(self.runs) > 1, {"style": {"description_width": "initial"}}
        c: dict[str, ipywidgets.Widget] = {
            "problem": self._problems(),
            "follow": check("follow the pointer", False),
            "smooth": ipywidgets.IntSlider(1, 1, 51, 2, description="smooth", layout={"width": "210px"}, **wide),
            "log": check("log trials", True),
            "log_problems": check("log problems", False),
            "fit": check("exponential fit", False),
            "by": dropdown("mean by", list(GROUPINGS), "each run"),
            "beside": dropdown("side by side", {"nothing": "", **{n: n for n in GROUPINGS}}, ""),
            "last": ipywidgets.BoundedIntText(
                max(1, min(30, most // 2)),
                1,
                max(most, 1),
                description="final over last",
                layout={"width": "170px"},
                **wide,
            ),
            "shown": Switches(dict(zip(self.runs, colours(len(self.runs)), strict=True))),
        }
        kinds = [c["by"], c["beside"]] if several else []
        row = [*(c[n] for n in ("problem", "follow", "smooth", "log", "log_problems", "fit")), *kinds, c["last"]]
        super().__init__(c, [row])
        c["follow"].observe(self._listen, "value")

    def _problems(self) -> ipywidgets.Widget:
        """A slider over whole numbers, or over labels."""
        keys = self.labels.keys or [0]
        if not all(isinstance(key, int) for key in keys):
            return slider("problem", keys, keys[0])
        first, wide = min(keys), {"style": {"description_width": "initial"}}
        return ipywidgets.IntSlider(first, first, max(keys), description="problem", layout=SLIDER, **wide)

    # ------------------------------------------------------------------ what a person does

    def _pick(self, _: str, x: float, __: float) -> None:
        control, at = self.controls["problem"], x - self.controls["log_problems"].value
        whole = isinstance(control, ipywidgets.IntSlider)
        control.value = int(np.clip(round(at), control.min, control.max)) if whole else self.labels.at(at)

    def _listen(self, change: Any) -> None:
        """Hear the pointer from the first time on that it is to be followed."""
        if change["new"] and not any(event == "mousemove" for _, event in self.figure._handlers):
            for panel in SIDES:
                self.figure.listen(panel, "mousemove", self._hover)

    def _hover(self, x: float, y: float) -> None:
        """Take the last place of a moving pointer, not every one on its way."""
        if not self.controls["follow"].value:
            return
        waiting, self._at = self._at is not None, x
        if not waiting:
            asyncio.get_running_loop().call_later(SOON, self._arrive)

    def _arrive(self) -> None:
        at, self._at = self._at, None
        if at is not None:
            self._pick("", at, 0.0)

    def _toggle(self, _: str, name: str) -> None:
        """Switch a run, or all runs of a group, off or on; all on where none would be left."""
        control, members = (
            self.controls["shown"],
            [run for kind, some in split(self.runs, self._key("by")).items() if plain(kind) == name for run in some],
        )
        kept = [n for n in control.value if n not in members]
        if len(kept) == len(control.value):
            kept = [n for n in self.runs if n in {*kept, *members}]
        control.value = tuple(kept or self.runs)

    # ------------------------------------------------------------------ what is drawn

    def _key(self, control: str) -> str:
        return GROUPINGS[self.controls[control].value or "each run"]

    def _sides(self) -> list[tuple[str, dict[str, xr.DataTree]]]:
        """The pictures side by side: a title, and the runs in it, those that are switched off among them."""
        if not self.controls["beside"].value:
            return [("", dict(self.runs))]
        return list(split(self.runs, self._key("beside")).items())[: len(SIDES)]

    def _grid(self) -> str:
        """One curve over the whole width, or several in rows of up to three; loss and bars below."""
        sides = self.visible()[:-2]
        columns = min(len(sides), 2 if len(sides) in (2, 4) else 3)
        rows = [sides[i : i + columns] for i in range(0, len(sides), columns)]
        rows[-1] += rows[-1][-1:] * (columns - len(rows[-1]))
        wide = [[name for name in row for _ in range(6 // columns)] for row in rows]
        areas = " ".join(f'"{" ".join(row)}"' for row in [*wide, ["loss"] * 4 + ["final"] * 2])
        return areas + " / " + " ".join(["minmax(0, 1fr)"] * 6)

    @property
    def colors(self) -> dict[str, str]:
        """The colour of each run, or of each group, whatever is switched off."""
        kinds = split(self.runs, self._key("by"))
        return dict(zip(kinds, colours(len(kinds)), strict=True))

    def visible(self) -> list[str]:
        """The panels that are shown now, in their order."""
        return [*SIDES[: len(self._sides())], "loss", "final"]

    def _heading(self, panel: str) -> str:
        title = self._sides()[SIDES.index(panel)][0] if panel in SIDES else ""
        return title or super()._heading(panel)

    def _shared(self) -> dict[str, Any]:
        s = self.state
        numbers = {name: f"run_{i}" for i, name in enumerate(self.runs, 1)}
        found: dict[str, Any] = {}
        for name, word in numbers.items():
            found |= source(self.runs[name], word)
        scales = {name: s[name] for name in ("log", "log_problems")}
        return found | {
            "runs": {name: ref(word) for name, word in numbers.items() if name in s["shown"]},
            "limits": call(plots.curve_limits, self._counted(call(grouped, ref("runs"))), **scales),
        }

    def _side_steps(self, i: int) -> dict[str, Any]:
        """The steps of one of the curves side by side; none where there are fewer of them."""
        s, by, sides = self.state, self._key("by"), self._sides()
        if i >= len(sides):
            return {}
        numbers = {name: f"run_{k}" for k, name in enumerate(self.runs, 1)}
        on = {name: ref(numbers[name]) for name in sides[i][1] if name in s["shown"]}
        off = [kind for kind, some in split(sides[i][1], by).items() if not on.keys() & some.keys()]
        look = {name: s[name] for name in ("log", "log_problems", "smooth")}
        groups, fits = ref(f"groups_{i}"), ref(f"fits_{i}")
        drawn = call(
            plots.learning_curves, groups, fits=fits, off=off, **look, limits=ref("limits"), colors=self.colors
        )
        return {
            f"some_{i}": on if s["beside"] else ref("runs"),
            f"groups_{i}": self._counted(call(grouped, ref(f"some_{i}"), by)),
            f"fits_{i}": call(fitted, groups) if s["fit"] else {},
            f"still_{i}": drawn,
            SIDES[i]: call(plots.move_marker, ref(f"still_{i}"), self.labels.place(s["problem"]) + s["log_problems"]),
        }

    def _loss_steps(self) -> dict[str, Any]:
        """The loss within the chosen problem, of the runs that are shown."""
        s = self.state
        numbers = {name: f"run_{i}" for i, name in enumerate(self.runs, 1) if name in s["shown"]}
        config = self.runs[(s["shown"] or list(self.runs))[0]].attrs.get("config", {})
        goal = {name: config.get(name) for name in ("criterion", "window")}
        single = {name: ink for name, ink in zip(self.runs, colours(len(self.runs)), strict=True) if name in numbers}
        place = self.labels.place(s["problem"])
        return {
            "trials": self._counted({name: ref(word)["trials"].to_dataset() for name, word in numbers.items()}),
            "loss": call(plots.within_problem_loss, ref("trials"), place, **goal, colors=single),
        }

    def _final_steps(self) -> dict[str, Any]:
        """The efficiency over the last problems."""
        return {
            "groups": self._counted(call(grouped, ref("runs"), self._key("by"))),
            "final": call(efficiency_bars, ref("groups"), self.state["last"], self.colors),
        }

    def _counted(self, series: Any) -> Any:
        """The step of series or trials whose problems are numbers, as axes and fits need them."""
        return series if self.labels.numeric else call(counted, series, self.labels.keys)

    def _nothing(self, *steps: str) -> str:
        """Why there is nothing to draw, where one of some steps gives nothing."""
        if not self.controls["shown"].value:
            return "Every run is switched off."
        return "" if all(self._value(name) for name in steps) else "No problem is finished yet."

    def _curve(self, side: int) -> Markup:
        title, fits = self._sides()[side][0], self._value(f"fits_{side}")
        smooth = self.controls["smooth"].value
        words = "" if title else " over problems"
        words += f", mean over {smooth} problems" if smooth > 1 else ""
        words += " (▾ given up: counted with the cap)" if self._lost() and not title else ""
        fitted = (
            "exponential fit (95 %): above its end at first, time to fall e-fold, end" if fits and not title else ""
        )
        lines = [line for line in [fitted, *(fit_words(*f) for f in fits.items())] if line]
        return below(caption(title or "Trials to criterion", words), *lines)

    def _lost(self) -> int:
        return sum(int(curves.failures(self.series[name])["count"]) for name in self.controls["shown"].value)

    def _with_problem(self) -> list[str]:
        """The runs that are shown and have the chosen problem."""
        problem = self.controls["problem"].value
        return [n for n in self.controls["shown"].value if problem in Labels(self.series[n]["problem"].values)]

    def _no_loss(self) -> str:
        return "" if self._with_problem() else "No run that is shown has this problem."

    def _loss(self) -> str:
        problem = self.controls["problem"].value
        label = self.labels[problem]
        needed = [self.series[n]["trials_to_criterion"].sel(problem=label).item() for n in self._with_problem()]
        words = ", ".join("not reached" if np.isnan(v) else f"{v:.0f}" for v in needed[:6])
        return caption(f"Loss within problem {problem}", "", f"trials to criterion {words}")

    def _final(self) -> str:
        over = "runs" if any("run" in one.dims for one in self._value("groups").values()) else "problems"
        words = f" in the last {self.controls['last'].value}, with 95 % over {over}"
        return caption("Final efficiency", words, f"{self._lost()} given up in all")

    PANELS: ClassVar[tuple[Panel, ...]] = (
        *map(_side, range(len(SIDES))),
        Panel("loss", "loss within the problem", ("shown", "problem"), _loss_steps, _loss, hidden=_no_loss),
        Panel(
            "final",
            "final efficiency",
            ("shown", "by", "last"),
            _final_steps,
            _final,
            hidden=lambda explorer: explorer._nothing("groups"),
        ),
    )

    # ------------------------------------------------------------------ what leaves

    def data(self) -> xr.Dataset:
        """Return trials to criterion (run, problem) of the runs shown, and which problems failed or were attempted."""
        shown = self.state["shown"]
        return together({name: self.series[name] for name in shown}).assign_coords(run=list(shown))


def fit_words(name: str, fit: xr.Dataset) -> str:
    """Return an exponential fit in words.

    Examples
    --------
    >>> fit = xr.Dataset({"scale": 20.0, "tau": 11.0, "asymptote": 8.0, "identified": True, "unidentified": 1})
    >>> fit_words("rate", fit)
    'rate: 20 trials, 11.0 problems, 8.0 trials; no interval, for which there must be three runs; 1 run cannot tell'
    >>> fit_words("a run", xr.Dataset({"identified": False, "reason": "constant"}))
    'a run: cannot be told (constant)'
    """
    if not fit["identified"]:
        return f"{name}: cannot be told" + (f" ({fit['reason'].item()})" if "reason" in fit else " by any run")

    def told(part: str, form: str) -> str:
        value = form.format(float(fit[part]))
        if "interval" not in fit:
            return value
        low, high = (form.format(float(v)) for v in fit["interval"].sel(parameter=part))
        return f"{value} ({low} to {high})"

    bare = "" if "interval" in fit else "; no interval, for which there must be three runs"
    untold = int(fit.get("unidentified", 0))
    rest = f"; {untold} run{'s' * (untold > 1)} cannot tell" if untold else ""
    scale, tau, end = told("scale", "{:.0f}"), told("tau", "{:.1f}"), told("asymptote", "{:.1f}")
    return f"{name}: {scale} trials, {tau} problems, {end} trials{bare}{rest}"
