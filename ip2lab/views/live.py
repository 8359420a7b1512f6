"""Training before one's eyes: an ordinary run whose curve, loss, spikes and properties grow while it trains."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import ipywidgets
import numpy as np
import xarray as xr

from ip2lab.analysis import neurons
from ip2lab.properties import PROPERTIES
from ip2lab.tasks import Family, families
from ip2lab.views import pictures
from ip2lab.views.explorer import Explorer, NothingToShow, Picture, dropdown
from ip2lab.views.style import colours

EVERY = 0.35  # seconds between two updates, with room for their own time: two a second at least
HEIGHT = 260  # of a panel, in pixels
LEARNABLE = {"the paper's three": "default", "nothing": "nothing", "all": "all"}


class LiveTraining(Explorer):
    """Choose a family and what may learn, start, and watch.

    The training runs in a thread of its own, so the notebook stays usable. Earlier runs of the same widget stay in
    the picture of the curves, grey, to compare with.

    Parameters
    ----------
    family : str or Family
        What is trained at first; a name can be changed in the widget.
    problems : int
        Length of the series.
    path : str or Path, optional
        Where the run is stored while it trains; then it can go on after a stop. In memory by default.
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

    PANELS: ClassVar[dict[str, tuple[str, ...]]] = {"curve": (), "loss": (), "raster": (), "shift": ()}
    GRID = '"curve loss" "raster shift" / minmax(0, 1fr) minmax(0, 1fr)'

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
        self.path, self.options = path, dict(options)
        self._family = family
        self._series: Any = None
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._stopping, self._going = threading.Event(), threading.Event()
        self._drawn = self._start = 0.0
        self._turn = self._solved = 0
        self._first: dict[str, np.ndarray] = {}
        self._trained: dict[str, Any] = {}
        self._name = ""
        name = family.name if isinstance(family, Family) else family
        words = [
            *LEARNABLE.items(),
            *((f"{p.label}", p.name) for p in PROPERTIES.values() if p.name.startswith(("tau_d", "tau_s", "thr"))),
        ]
        wide = {"style": {"description_width": "initial"}}
        number = {"layout": {"width": "140px"}, **wide}
        learnable = self.options.pop("learnable", "default") or "nothing"
        controls: dict[str, ipywidgets.Widget] = {
            "family": dropdown("family", families() if isinstance(family, str) else [name], name),
            "learnable": dropdown("learnable", words, learnable),
            "start": dropdown("start", ["homogeneous", "heterogeneous"], self.options.pop("start", "homogeneous")),
            "neurons": ipywidgets.BoundedIntText(
                self.options.pop("neurons", 100), 2, 2000, description="neurons", **number
            ),
            "problems": ipywidgets.BoundedIntText(problems, 1, 100_000, description="problems", **number),
            "seed": ipywidgets.BoundedIntText(self.options.pop("seed", 0), 0, 2**31 - 1, description="seed", **number),
        }
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

    def _blanks(self) -> dict[str, Any]:
        """Pictures of the build that the first ones of a training have: those then only exchange data."""
        series = xr.Dataset({"trials_to_criterion": ("problem", np.empty(0))}, {"problem": np.empty(0, int)})
        none = {
            "loss": ("trial", np.empty(0)),
            "correct": ("trial", np.empty(0, bool)),
            "problem": ("trial", np.empty(0, int)),
        }
        return {
            "curve": pictures.learning_curves(series, height=HEIGHT),
            "loss": pictures.within_problem_loss(xr.Dataset(none), 0, criterion=0.005, height=HEIGHT),
            "raster": pictures.raster(_spikes(np.zeros((2, 2), bool), 20.0), height=HEIGHT),
        }

    # ------------------------------------------------------------------ what the buttons do

    def start(self) -> None:
        """Start to train with what is chosen; after a stop of a stored run, go on with it."""
        if self._thread is not None and self._thread.is_alive():
            raise RuntimeError("a training is under way; stop it first")
        self._error, self._series, self._first, self._start = None, None, {}, time.monotonic()
        self._stopping.clear()
        self._going.set()
        self._name = self._unused(self._title())
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

    def _enable(self, training: bool) -> None:
        self._buttons["start"].disabled = training
        self._buttons["pause"].disabled = self._buttons["stop"].disabled = not training
        for control in self.controls.values():
            control.disabled = training

    def _say(self, words: str) -> None:
        self._status.value = f"<span style='font-size: 13px'>{words}</span>"

    # ------------------------------------------------------------------ the thread

    def _train(self) -> None:
        import warnings

        from ip2lab import learning

        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "the run was stopped before its end")
                self.run = self._begin(learning)
            self.runs[self._name] = self.run
            self._say(f"{self._words()} &nbsp;·&nbsp; {'done' if self.run.attrs['complete'] else 'stopped'}")
        except Exception as error:
            self._error = error
            self._say(f"<b style='color: #c2455d'>{type(error).__name__}: {error}</b>")
        finally:
            self._enable(False)
            if self._series is not None and self._error is None:
                self._look()

    def _begin(self, learning: Any) -> xr.DataTree:
        s = self.state
        unfinished = self.path is not None and self.run is not None and not self.run.attrs["complete"]
        again = unfinished and {**s, "problems": 0} == {**self._trained, "problems": 0}
        self._trained = s
        if again and self.path is not None:
            return learning.resume(self.path, problems=s["problems"], progress=self._tell)
        return learning.train(
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
            self._first = self._values()
        if self._stopping.is_set():
            return series.stop()
        if time.monotonic() - self._drawn >= EVERY:
            self._turn += 1
            news = ("curve",) if len(series.trials_to_criterion) != self._solved else ()
            self._look((*news, "loss", "raster" if self._turn % 2 else "shift"))
        self._going.wait()
        if self._stopping.is_set():
            series.stop()
        return None

    def _look(self, panels: Sequence[str] = ("curve", "loss", "raster", "shift")) -> None:
        """Draw panels; what goes wrong in drawing is told and does not end the training."""
        try:
            self._refresh(panels)
        except Exception as error:
            self._drawn = time.monotonic()
            self._say(f"the picture could not be drawn: {type(error).__name__}: {error}")

    def _refresh(self, panels: Sequence[str]) -> None:
        """Draw panels again; while it trains not all at once, so that looking costs little of its speed."""
        self._drawn, self._solved = time.monotonic(), len(self._series.trials_to_criterion)
        elements, captions, notes = self._draw(panels)
        self.figure.update(captions, notes, **elements)
        self._say(self._words())

    def _words(self) -> str:
        series = self._series
        if series is None:
            return ""
        took = time.monotonic() - self._start
        where = (
            f"problem {series.problem}, trial {series.trial}"
            if series.problem < series.problems
            else "all problems done"
        )
        done = f"{len(series.trials_to_criterion)} of {series.problems} problems"
        return f"<b>{where}</b> &nbsp;·&nbsp; {done} &nbsp;·&nbsp; {took:.0f} s"

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

    def _present(self) -> Any:
        if self._series is None:
            raise NothingToShow("Choose above, then press Start.")
        return self._series

    def _values(self) -> dict[str, np.ndarray]:
        return {n: PROPERTIES[n].to_value(p.detach().cpu().numpy()) for n, p in self._series.network.free.items()}

    def _curve(self) -> Picture:
        series = self._present()
        done = np.array(series.trials_to_criterion)
        cap = np.where(np.isnan(done), float(series.options["max_trials"] - series.options["window"]), np.nan)
        now = xr.Dataset(
            {"trials_to_criterion": ("problem", done), "censored_trials": ("problem", cap)},
            {"problem": np.arange(len(done))},
        )
        earlier = {name: run["series"].to_dataset() for name, run in self.runs.items() if name != self._name}
        current = {self._name: now} if len(done) else {}
        if not earlier and not current:
            raise NothingToShow("The first problem is under way; the curve grows as problems are solved.")
        names = [*earlier, self._name]  # the first run has the first colour here and in the LearningExplorer
        inks = dict(zip(names, colours(len(names)), strict=True))
        picture = pictures.learning_curves({**earlier, **current}, inks=inks, height=HEIGHT)
        return picture.opts(
            backend="bokeh", xlim=(0, max(series.problems - 1, 1))
        ), "<b>Trials to criterion</b> over problems"

    def _loss(self) -> Picture:
        series = self._present()
        n, o = series.trial, series.options
        if not n:
            if self.figure.captions.get("loss"):
                return self.figure.elements["loss"], self.figure.captions["loss"]
            raise NothingToShow("The first problem begins.")
        now = series.current
        table = xr.Dataset(
            {
                "loss": ("trial", now.loss[:n].copy()),
                "correct": ("trial", now.correct[:n].copy()),
                "problem": ("trial", np.full(n, series.problem)),
            }
        )
        picture = pictures.within_problem_loss(
            table, series.problem, criterion=o["criterion"], window=o["window"], height=HEIGHT
        )
        return (
            picture,
            f"<b>Loss within problem {series.problem}</b>, its mean over {o['window']} trials, the criterion (dotted)",
        )

    def _raster(self) -> Picture:
        series = self._present()
        if not hasattr(series, "trials"):
            raise NothingToShow("The first trial is under way.")
        spikes = series.activity().spikes[0].cpu().numpy() > 0
        rate = 1000 * spikes.mean() / series.options["dt"]
        return pictures.raster(
            _spikes(spikes, series.options["dt"]), height=HEIGHT
        ), f"<b>Spikes</b> in a trial of the first condition, as the network is now &nbsp;·&nbsp; {rate:.1f} Hz"

    def _shift(self) -> Picture:
        self._present()
        values = self._values()
        if not values:
            raise NothingToShow("No property can learn here.")
        ratio = {n: (("problem", "neuron"), np.stack([np.ones_like(v), v / self._first[n]])) for n, v in values.items()}
        found = neurons.density(xr.Dataset(ratio, {"problem": [-1, 0]}))
        return pictures.shifts(found, at=0, height=HEIGHT), "<b>Properties</b>: how far the neurons' values have moved"

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
        """Return the call that trains the same run without widgets, and draws its curve."""
        s = self.state
        chosen = {
            "learnable": self._learnable(),
            **{n: s[n] for n in ("problems", "seed", "neurons", "start")},
            **self.options,
        }
        call = f"run = ip2lab.train({s['family']!r}, {', '.join(f'{n}={v!r}' for n, v in chosen.items())})"
        return "\n".join(
            [
                "import ip2lab",
                "from ip2lab.views import pictures, show",
                "",
                call,
                "show(pictures.learning_curves(run['series'].to_dataset()))",
            ]
        )


def _spikes(spikes: np.ndarray, dt: float) -> xr.DataArray:
    """(time, neuron) with labels."""
    times = ("time", np.arange(len(spikes)) * dt, {"long_name": "time from the start of the trial", "units": "ms"})
    return xr.DataArray(spikes, {"time": times}, ("time", "neuron"), "spikes", {"long_name": "spikes", "units": "1"})
