"""Training before one's eyes: an ordinary run whose curve, loss, spikes and properties grow while it trains."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import ipywidgets
import numpy as np
import xarray as xr

from ip2lab.analysis import neurons
from ip2lab.properties import PROPERTIES, properties_of
from ip2lab.records.stores import absolute
from ip2lab.tasks import Family, families
from ip2lab.tasks import family as make_family
from ip2lab.views import plots
from ip2lab.views.explorers.base import Explorer, NothingToShow, Panel, Picture, as_run, dropdown
from ip2lab.views.explorers.recipe import Recipe, call, later, ref
from ip2lab.views.markup import DOT, beside, caption, failure
from ip2lab.views.style import colours
from ip2lab.views.widget import export
from ip2lab.views.widget.figure import show

EVERY = 0.3  # seconds from one update to the next, where drawing is cheap enough
SHARE = 0.065  # of the training's time that drawing may take: what costs more is drawn less often
ALL = ("curve", "loss", "raster", "shift")
TURNS = ("loss", "raster", "loss", "shift")  # one picture an update, and the curve when there is something new in it
HEIGHT = 260  # of a panel, in pixels
LEARNABLE = {"the bias and the paper's three": "default", "nothing": "nothing", "all": "all"}
SIGNED = [name for name, row in PROPERTIES.items() if row.signed]  # these have no ratio to their first value


class LiveTraining(Explorer):
    """Choose a family and what may learn, start, and watch.

    The training runs in a thread of its own, so the notebook stays usable; drawing takes a fixed share of its time.
    Earlier runs of the same widget stay in the picture of the curves, to compare with. A run with a `path` goes on
    after a stop, in this widget or in a new one.

    Parameters
    ----------
    family : str or Family
        What is trained at first; a name can be changed in the widget.
    problems : int
        Length of the series.
    path : str or Path, optional
        Where the run is stored while it trains; then it can go on after a stop. In memory by default. What is there
        already is gone on with.
    **options
        Passed to :func:`ip2lab.train`.

    Attributes
    ----------
    run : DataTree or None
        The last run that came to its end or was stopped.
    runs : dict of str to DataTree
        All of them, by what they learnt with: what :class:`LearningExplorer` takes.

    Examples
    --------
    >>> live = LiveTraining("association", problems=1, neurons=20, max_trials=60)
    >>> live.start()
    >>> live.wait()["series"].sizes["problem"]
    1
    """

    def __init__(
        self,
        family: str | Family = "association",
        *,
        problems: int = 30,
        path: str | Path | None = None,
        **options: Any,
    ) -> None:
        self.run: xr.DataTree | None = None
        self.runs: dict[str, xr.DataTree] = {}
        self.path, self.options = None if path is None else absolute(path), dict(options)
        self._family = family
        self._series: Any = None
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._stopping, self._going = threading.Event(), threading.Event()
        self._start = self._next = self._rested = 0.0
        self._costs: deque[float] = deque(maxlen=3)
        self._turn = 0
        self._latest: SimpleNamespace | None = None  # what the training had come to when it was looked at last
        self._first: dict[str, np.ndarray] = {}
        self._epochs: np.ndarray | None = None
        self._trained: dict[str, Any] = {}
        self._name = ""
        name = family.name if isinstance(family, Family) else family
        words = [*LEARNABLE.items(), *((PROPERTIES[each].label, each) for each in properties_of("spiking"))]
        wide = {"style": {"description_width": "initial"}}
        number = {"layout": {"width": "140px"}, **wide}
        controls: dict[str, ipywidgets.Widget] = {
            "family": dropdown("family", [name] if isinstance(family, Family) else families()),
            "learnable": dropdown("learnable", words),
            "start": dropdown("start", ["homogeneous", "heterogeneous"]),
            "neurons": ipywidgets.BoundedIntText(100, 2, 2000, description="neurons", **number),
            "problems": ipywidgets.BoundedIntText(30, 1, 100_000, description="problems", **number),
            "seed": ipywidgets.BoundedIntText(0, 0, 2**31 - 1, description="seed", **number),
        }
        self.controls = controls
        given = {each: self.options.pop(each) for each in controls if each in self.options}
        for each, value in {"family": name, "problems": problems, **given}.items():
            self._set(each, "nothing" if each == "learnable" and value is None else value)
        self._buttons = {
            "start": ipywidgets.Button(
                description="Start", icon="play", button_style="primary", layout={"width": "90px"}
            ),
            "pause": ipywidgets.Button(description="Pause", icon="pause", disabled=True, layout={"width": "90px"}),
            "stop": ipywidgets.Button(description="Stop", icon="stop", disabled=True, layout={"width": "90px"}),
        }
        self._status = ipywidgets.HTML()
        super().__init__(controls, [list(controls.values()), [*self._buttons.values(), self._status]])
        self._buttons["start"].on_click(lambda _: self.start())
        self._buttons["pause"].on_click(lambda _: self.pause() if self._going.is_set() else self.go_on())
        self._buttons["stop"].on_click(lambda _: self.stop())
        if self.path is not None and self.path.exists():
            self._take_up(as_run(self.path))
        for control in controls.values():
            control.observe(lambda _: self._label_start(), "value")

    def _take_up(self, run: xr.DataTree) -> None:
        """Set the controls to what a stored run was trained with, so that Start goes on with it."""
        config, learnable = run.attrs["config"], "+".join(run.attrs["learnable"])
        known = {"bias+tau_dendrite+tau_soma+threshold": "default", "": "nothing"}
        chosen = {
            "family": run.attrs["family"],
            "learnable": known.get(learnable, learnable),
            "seed": run.attrs["seed"],
        }
        chosen |= {"start": config["start"], "neurons": config["neurons"], "problems": config["problems"]}
        for name, value in chosen.items():
            control = self.controls[name]
            if hasattr(control, "options") and value not in [
                o[1] if isinstance(o, tuple) else o for o in control.options
            ]:
                cure = "which this widget does not offer; go on with it by ip2lab.resume, or give another path"
                raise ValueError(f"{self.path} holds a run with {name} {value!r}, {cure}")
            control.value = value
        self.run, self._trained = run, self.state
        self._label_start()

    def _blanks(self) -> dict[str, Any]:
        """Pictures of the build that the first ones of a training have: those then only exchange data."""
        series = xr.Dataset({"trials_to_criterion": ("problem", np.empty(0))}, {"problem": np.empty(0, int)})
        none = {
            "loss": ("trial", np.empty(0)),
            "correct": ("trial", np.empty(0, bool)),
            "problem": ("trial", np.empty(0, int)),
        }
        return {
            "curve": plots.learning_curves(series, height=HEIGHT),
            "loss": plots.within_problem_loss(xr.Dataset(none), 0, criterion=0.005, height=HEIGHT),
            "raster": plots.raster(_spikes(np.zeros((2, 2), bool), 20.0), height=HEIGHT),
        }

    # ------------------------------------------------------------------ what the buttons do

    def start(self) -> None:
        """Start to train with what is chosen; after a stop of a stored run, go on with it."""
        if self._thread_lives():
            raise RuntimeError("a training is under way; stop it first")
        self._error, self._series, self._latest, self._first = None, None, None, {}
        self._start, self._next, self._rested, self._turn = time.monotonic(), 0.0, 0.0, 0
        self._costs.extend([SHARE * EVERY] * 2)  # the first drawing of all makes the pictures: no measure of later ones
        self._stopping.clear()
        self._going.set()
        self._name = self._title() if self._continues() else self._unused(self._title())
        self._enable(True)
        self._say("preparing; where the kernels must be compiled, once on this machine, this takes half a minute")
        self._thread = threading.Thread(target=self._train, daemon=True)
        self._thread.start()

    def pause(self) -> None:
        """Hold the training where it is."""
        self._going.clear()
        self._buttons["pause"].description, self._buttons["pause"].icon = "Resume", "play"

    def go_on(self) -> None:
        """Go on after a pause."""
        self._going.set()
        self._buttons["pause"].description, self._buttons["pause"].icon = "Pause", "pause"

    def stop(self) -> None:
        """End the training; everything learnt so far is kept in `run`."""
        self._stopping.set()
        self.go_on()

    def wait(self, timeout: float | None = None) -> xr.DataTree:
        """Wait for the end and return the run; raises what the training raised, or TimeoutError after `timeout` s."""
        if self._thread is None:
            raise RuntimeError("nothing was started; call start() or press the button")
        self._thread.join(timeout)
        if self._thread.is_alive():
            raise TimeoutError(f"the training goes on after {timeout:g} s; stop() ends it")
        if self._error is not None or self.run is None:
            raise self._error or RuntimeError("the training left no run")
        return self.run

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        if export.wanted() and self._thread is not None:  # a picture that stands still shows the end
            self._thread.join()
        return super()._repr_mimebundle_(**kwargs)

    def _enable(self, training: bool) -> None:
        self._buttons["start"].disabled = training
        self._buttons["pause"].disabled = self._buttons["stop"].disabled = not training
        for control in self.controls.values():
            control.disabled = training

        self._label_start()

    def _label_start(self) -> None:
        self._buttons["start"].description = "Go on" if self._continues() else "Start"

    def _thread_lives(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _say(self, words: str) -> None:
        self._status.value = beside(words)

    # ------------------------------------------------------------------ the thread

    def _train(self) -> None:
        import warnings

        from ip2lab import training

        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "the run was stopped before its end")
                self.run = self._begin(training)
            self.runs[self._name] = self.run
        except Exception as error:
            self._error = error
            self._say(failure(error))
        finally:
            if self._series is not None and self._error is None:
                self._latest = self._snapshot(True, ended=True)
                self._say(DOT.join([self._words(), "done" if self._complete() else "stopped"]))
                self._look(ALL)
            self._enable(False)

    def _complete(self) -> bool:
        return self.run is not None and bool(self.run.attrs["complete"])

    def _continues(self) -> bool:
        """Whether what is chosen goes on with the stored run: the same, unfinished or with more problems."""
        if self.path is None or self.run is None or {**self.state, "problems": 0} != {**self._trained, "problems": 0}:
            return False
        return not self._complete() or self.state["problems"] > self.run["series"].sizes["problem"]

    def _begin(self, training: Any) -> xr.DataTree:
        s, again = self.state, self._continues()
        self._trained = s
        if again and self.path is not None:
            return training.resume(self.path, problems=s["problems"], progress=self._tell)
        return training.train(
            s["family"] if isinstance(self._family, str) else self._family,
            learnable=self._learnable(),
            problems=s["problems"],
            seed=s["seed"],
            neurons=s["neurons"],
            start=s["start"],
            path=self.path,
            progress=self._tell,
            **self.options,
        )

    def _tell(self, series: Any) -> None:
        """What the series calls some ten times a second, in its own thread."""
        self._series = series
        if not self._first:
            self._first = _values(series.initial_network())
            self._epochs = series.setting.trials(dt=series.options["dt"]).epoch.values[0]
        if not self._stopping.is_set() and time.monotonic() >= self._next and time.thread_time() >= self._rested:
            self._draw_now()
        if not self._going.is_set() and not self._stopping.is_set():  # there is time for everything
            self._latest = self._snapshot(True)
            self._look(ALL)
            self._say(DOT.join([self._words(), "paused"]))
        self._going.wait()
        if self._stopping.is_set():
            series.stop()

    def _draw_now(self) -> None:
        """Draw what is next, and find out when there is time for it again."""
        self._next, worked = time.monotonic() + EVERY, time.thread_time()
        panel = TURNS[self._turn % len(TURNS)]
        self._turn += 1
        first = self._turn == 1
        self._latest = self._snapshot(first or panel == "raster")
        self._look(ALL if first else (*(("curve",) if self._latest.news else ()), panel))
        self._costs.append(time.thread_time() - worked)
        # in the thread's own time, so that a busy machine slows both alike; one slow drawing is not made up for
        self._rested = time.thread_time() + sorted(self._costs)[1] * (1 / SHARE - 1)

    def _snapshot(self, with_spikes: bool, ended: bool = False) -> SimpleNamespace:
        """Copy what the pictures need; spikes need a trial of their own."""
        series, before = self._series, self._latest
        spikes = None if before is None else before.spikes
        if with_spikes and hasattr(series, "trials") and "spikes" in series.network.signals:
            spikes = _spikes_now(series)
        now = SimpleNamespace(problem=series.problem, trial=series.trial, spikes=spikes, values=_values(series.network))
        now.done = np.array(series.trials_to_criterion)
        now.news = before is None or len(now.done) != len(before.done)
        now.loss, now.correct, now.within = series.current.loss, series.current.correct, series.problem
        now.loss, now.correct = now.loss[: now.trial].copy(), now.correct[: now.trial].copy()
        if not now.trial and before is not None:  # between two problems: what is shown stays
            now.loss, now.correct, now.within = before.loss, before.correct, before.within
        if ended and self.run is not None and not now.trial:
            last = self.run["trials"].to_dataset()[["loss", "correct", "problem"]]
            last = last.isel(trial=(last["problem"] == series.problem - 1).values)
            now.loss, now.correct, now.within = last["loss"].values, last["correct"].values, series.problem - 1
        return now

    def _look(self, panels: Sequence[str]) -> None:
        """Draw panels; what goes wrong in drawing is told and does not end the training."""
        try:
            elements, captions, notes = self._draw(panels)
            self.figure.update(captions, notes, **elements)
            if self._going.is_set() and not self._stopping.is_set() and self._thread_lives():
                self._say(self._words())
        except Exception as error:
            self._say(f"the picture could not be drawn: {type(error).__name__}: {error}")

    def _words(self) -> str:
        seen = self._latest
        if seen is None:
            return ""
        problems = self._series.problems
        took = time.monotonic() - self._start
        where = f"problem {seen.problem}, trial {seen.trial}" if seen.problem < problems else "all problems done"
        return caption(where, "", f"{len(seen.done)} of {problems} problems", f"{took:.0f} s")

    def _learnable(self) -> str | None:
        chosen = self.state["learnable"]
        return None if chosen == "nothing" else str(chosen)

    def _title(self) -> str:
        s = self.state
        words = next((w for w, key in self.controls["learnable"].options if key == s["learnable"]), str(s["learnable"]))
        start = "" if s["start"] == "homogeneous" else f", {s['start']} start"
        return f"{s['family']}, {words} learnable{start}, seed {s['seed']}"

    def _unused(self, title: str) -> str:
        count = sum(name.split(" (")[0] == title for name in self.runs)
        return title if not count else f"{title} ({count + 1})"

    # ------------------------------------------------------------------ the panels

    def _present(self) -> SimpleNamespace:
        if self._latest is None:
            raise NothingToShow("Choose above, then press Start.")
        return self._latest

    def _curve(self) -> Picture:
        done, o = self._present().done, self._series.options
        cap = np.where(np.isnan(done), float(o["max_trials"] - o["window"]), np.nan)
        now = xr.Dataset(
            {"trials_to_criterion": ("problem", done), "censored_trials": ("problem", cap)},
            {"problem": np.arange(len(done))},
        )
        earlier = {name: run["series"].to_dataset() for name, run in self.runs.items() if name != self._name}
        current = {self._name: now} if len(done) else {}
        if not earlier and not current:
            raise NothingToShow("The first problem is under way; the curve grows as problems are solved.")
        names = [*earlier, self._name]  # the first run has the first colour here and in the LearningExplorer
        colors = dict(zip(names, colours(len(names)), strict=True))
        picture = plots.learning_curves({**earlier, **current}, colors=colors, height=HEIGHT)
        last = max([self._series.problems, *(one.sizes["problem"] for one in earlier.values())])
        return picture.opts(backend="bokeh", xlim=(-0.5, max(last - 0.5, 1))), caption(
            "Trials to criterion", " over problems"
        )

    def _loss(self) -> Picture:
        seen, o = self._present(), self._series.options
        if not len(seen.loss):
            raise NothingToShow("The first problem begins.")
        columns = {"loss": seen.loss, "correct": seen.correct, "problem": np.full(len(seen.loss), seen.within)}
        table = xr.Dataset({name: ("trial", column) for name, column in columns.items()})
        goal = {name: o[name] for name in ("criterion", "window")}
        words = f", its mean over {o['window']} trials, the criterion (dotted)"
        picture = plots.within_problem_loss(table, seen.within, height=HEIGHT, **goal)
        return picture, caption(f"Loss within problem {seen.within}", words)

    def _raster(self) -> Picture:
        spikes, dt = self._present().spikes, self._series.options["dt"]
        if spikes is None:
            raise NothingToShow(
                "The first trial is under way."
                if "spikes" in self._series.network.signals
                else "This network has no spikes."
            )
        words = " in a trial of the first condition, as the network is now"
        picture = plots.raster(_spikes(spikes, dt, self._epochs), height=HEIGHT)
        return picture, caption("Spikes", words, f"{1000 * spikes.mean() / dt:.1f} Hz")

    def _shift(self) -> Picture:
        values = self._present().values
        if not values:
            raise NothingToShow("No property can learn here.")
        ratio = {n: (("problem", "neuron"), np.stack([np.ones_like(v), v / self._first[n]])) for n, v in values.items()}
        found = neurons.density(xr.Dataset(ratio, {"problem": [-1, 0]}))
        words = ": how far the neurons' values have moved"
        return plots.shifts(found, at=0, height=HEIGHT), caption("Properties", words)

    PANELS: ClassVar[tuple[Panel, ...]] = (
        Panel("curve", "trials to criterion", draw=_curve),
        Panel("loss", "loss within the problem", draw=_loss),
        Panel("raster", "spikes", draw=_raster),
        Panel("shift", "properties", draw=_shift),
    )

    # ------------------------------------------------------------------ what leaves

    def data(self) -> xr.Dataset:
        """Return trials to criterion of the run so far."""
        if self._series is None:
            raise ValueError("nothing was trained yet; start it first")
        return xr.Dataset(
            {
                "trials_to_criterion": (
                    "problem",
                    np.array(self._series.trials_to_criterion),
                    {"units": "1", "long_name": "trials to criterion"},
                )
            }
        )

    def code(self) -> str:
        """Return the call that trains the same run without widgets, and draws what came out."""
        s, series, values = self.state, ref("series"), ref("values")
        family = s["family"]
        if isinstance(self._family, Family):
            family = call(make_family, family, **self._family.settings())
        chosen = {n: s[n] for n in ("problems", "seed", "neurons", "start")} | self.options
        goal = {name: ref("config")[name] for name in ("criterion", "window")}
        last, spikes = ref("trials")["problem"][-1], ref("run")["activity"]["spikes"]
        moved = (values / values.isel(problem=0, drop=True)).isel(problem=[0, -1])
        steps = {
            "run": later("ip2lab", "train")(family, learnable=self._learnable(), **chosen),
            "series": ref("run")["series"].to_dataset(),
            "trials": ref("run")["trials"].to_dataset(),
            "config": ref("run").attrs["config"],
            "curve": call(plots.learning_curves, series, height=HEIGHT),
            "loss": call(plots.within_problem_loss, ref("trials"), call(int, last), height=HEIGHT, **goal),
            "raster": call(plots.raster, spikes.isel(problem=-1, probe=0), height=HEIGHT),
            "values": ref("run")["properties"].to_dataset().drop_vars(SIGNED, errors="ignore"),
            "moved": call(neurons.density, moved),
            "shift": call(plots.shifts, ref("moved"), at=call(int, ref("moved")["problem"][-1]), height=HEIGHT),
        }
        titles = {"curve": "Trials to criterion", "loss": "Loss within the last problem", "raster": "Spikes"}
        titles |= {"shift": "Properties"} if self._learnable() is not None else {}
        return Recipe({}).code(steps, titles, call(show, {title: ref(name) for name, title in titles.items()}))


def _values(network: Any) -> dict[str, np.ndarray]:
    """Return the values (neuron,) of the properties that have a ratio to their first value."""
    table = {name: row for name, row in getattr(network, "table", {}).items() if not row.signed}
    return {name: row.to_value(network.free[name].detach().cpu().numpy()) for name, row in table.items()}


def _spikes_now(series: Any) -> np.ndarray:
    """(time, neuron): what a network does in one noise-free trial of its problem's first condition."""
    import torch

    bias = series.network.output_bias
    with torch.no_grad():
        one = torch.as_tensor(series.trials.probe.inputs[:1], dtype=bias.dtype, device=bias.device)
        return np.asarray(series.network(one).spikes[0].cpu().numpy() > 0)


def _spikes(spikes: np.ndarray, dt: float, epochs: Any = None) -> xr.DataArray:
    """(time, neuron) with labels."""
    times = ("time", np.arange(len(spikes)) * dt, {"long_name": "time from the start of the trial", "units": "ms"})
    coords = {"time": times} if epochs is None else {"time": times, "epoch": ("time", epochs)}
    return xr.DataArray(spikes, coords, ("time", "neuron"), "spikes", {"long_name": "spikes", "units": "1"})
